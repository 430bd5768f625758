//! What peers send in the cells, and what an echo must answer.

use wsring_proto::{MaskKey, Opcode, encode};

/// What a message says.
#[derive(Clone, Copy)]
pub enum Words {
    /// Text of one byte a letter.
    Ascii,
    /// Text of two bytes a letter: it is validated by a walk of its own.
    Letters,
    /// Bytes of every value.
    Binary,
}

/// Messages that arrive together on one connection.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub messages: usize,
    pub words: Words,
    /// Payload bytes of a message.
    pub len: usize,
    /// Frames of a message.
    pub fragments: usize,
}

impl Traffic {
    pub const fn new(messages: usize, words: Words, len: usize) -> Self {
        Self { messages, words, len, fragments: 1 }
    }

    fn payload(&self, number: usize) -> Vec<u8> {
        match self.words {
            Words::Ascii => (0..self.len).map(|at| b' ' + ((at + number) % 95) as u8).collect(),
            Words::Letters => "щ".repeat(self.len / 2).into_bytes(),
            Words::Binary => (0..self.len).map(|at| (at * 7 + number) as u8).collect(),
        }
    }

    /// The frames as a client sends them.
    pub fn input(&self) -> Vec<u8> {
        let mut input = Vec::new();
        for number in 0..self.messages {
            let payload = self.payload(number);
            let pieces = payload.chunks(self.len.div_ceil(self.fragments));
            let last = pieces.len() - 1;
            for (at, piece) in pieces.enumerate() {
                let opcode = if at == 0 { self.opcode() } else { Opcode::Continuation };
                let key = ((number * 16 + at) as u32).wrapping_mul(0x9E37_79B9) | 1;
                let key = MaskKey::from_bytes(key.to_le_bytes());
                encode::append_frame(&mut input, at == last, opcode, piece, Some(key));
            }
        }
        input
    }

    /// The frames of their echo.
    pub fn reply(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        for number in 0..self.messages {
            encode::append_frame(&mut reply, true, self.opcode(), &self.payload(number), None);
        }
        reply
    }

    fn opcode(&self) -> Opcode {
        match self.words {
            Words::Ascii | Words::Letters => Opcode::Text,
            Words::Binary => Opcode::Binary,
        }
    }
}
