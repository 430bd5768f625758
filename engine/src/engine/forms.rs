//! The forms in which a message leaves that goes to many connections of a core.
//!
//! Owns those of the last one that was prepared: as it is, and compressed for each window that its receivers agreed on, at each level that they have.
//! Promises that each form is made once, however its receivers come mixed, and that a long one is a whole frame in memory that all
//! can share whose frames are not masked (RFC 6455 §5.3: a server's). Refuses to know: who receives it, and how it is compressed.

use bytes::Bytes;
use wsring_proto::encode;
use wsring_proto::opcode::Opcode;
use wsring_proto::pool::Pool;

use super::pack::{Packer, Shape};
use super::planted::planted;
use super::trails::Span;

/// A form of this length lies in memory once for all receivers, unless a test sets another. A shorter one is copied into what
/// they are sent anyway: its copies cost less than a send for each.
pub(super) const SHARE_MIN: usize = 4 << 10;

/// From so many receivers on a message is not copied for each.
const CROWD_MIN: usize = 32;

/// What the message is for all for whom it is compressed alike.
struct Form {
    shape: Shape,
    made: Made,
}

pub(super) enum Made {
    /// The message itself: it is short.
    Same,
    /// A compressed payload that is short.
    Payload(Box<[u8]>),
    /// A whole frame without a mask: a header of so many bytes, then the payload.
    Frame { frame: Bytes, head_len: u8 },
    /// Compressing does not make it shorter: as it is.
    NotShorter,
}

/// The forms of the last prepared message.
pub(crate) struct Forms {
    number: u64,
    made: Vec<Form>,
    /// Messages prepared so far; the first is 1.
    count: u64,
    pub(super) share_from: usize,
    /// The frame of the last one that was published, as it is without a mask; empty if it goes as it is to nobody.
    pub(super) frame: Vec<u8>,
    /// Whether that is short enough to be copied.
    pub(super) copies: bool,
    /// The same frame behind others, if many are sent it.
    pub(super) span: Option<Span>,
    /// So many are many, unless a test sets another number.
    pub(super) crowd_from: usize,
}

impl Forms {
    pub(crate) fn new() -> Self {
        Self {
            number: 0,
            made: Vec::new(),
            count: 0,
            share_from: SHARE_MIN,
            frame: Vec::new(),
            copies: false,
            span: None,
            crowd_from: CROWD_MIN,
        }
    }

    /// Lets go of what was made: another receiver of the same message has it made anew.
    pub(super) fn clear(&mut self) {
        self.made.clear();
    }

    /// A number for a message that goes to many.
    pub(crate) fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Whether that form has been made.
    pub(super) fn has(&self, number: u64, shape: Shape) -> bool {
        self.number == number && self.made.iter().any(|form| form.shape == shape)
    }

    /// The form of the message of this number in this shape, made now or before; and whether it is compressed.
    pub(super) fn form(
        &mut self,
        number: u64,
        shape: Shape,
        opcode: Opcode,
        bytes: &[u8],
        packer: &mut Packer,
        pool: &mut Pool,
    ) -> (&Made, bool) {
        let number = planted!(PreparedStale, 0; number);
        if self.number != number {
            self.made.clear();
            self.number = number;
        }
        let mut at = self.place(shape, opcode, bytes, packer, pool);
        if matches!(self.made[at].made, Made::NotShorter) {
            at = self.place(Shape::AS_IS, opcode, bytes, packer, pool);
        }
        (&self.made[at].made, self.made[at].shape != Shape::AS_IS)
    }

    /// Where the form of this shape is.
    fn place(&mut self, shape: Shape, opcode: Opcode, bytes: &[u8], packer: &mut Packer, pool: &mut Pool) -> usize {
        if let Some(at) = self.made.iter().position(|form| form.shape == shape) {
            return at;
        }
        let made = if shape == Shape::AS_IS {
            if bytes.len() >= self.share_from { frame(opcode, bytes, false) } else { Made::Same }
        } else {
            let made = match packer.pack_shared(shape, bytes, pool) {
                None => Made::NotShorter,
                Some(payload) if payload.len() >= self.share_from => frame(opcode, payload, true),
                Some(payload) => Made::Payload(payload.into()),
            };
            packer.recycle(pool);
            made
        };
        self.made.push(Form { shape, made });
        self.made.len() - 1
    }
}

/// A whole frame in memory of its own length.
fn frame(opcode: Opcode, payload: &[u8], compressed: bool) -> Made {
    let len = encode::frame_len(payload.len(), false);
    let mut frame = Vec::with_capacity(len);
    encode::append_frame(&mut frame, true, opcode, payload, None);
    if compressed {
        encode::mark_compressed(&mut frame, opcode);
    }
    Made::Frame { head_len: (len - payload.len()) as u8, frame: frame.into() }
}

#[cfg(test)]
impl Forms {
    /// How many were made.
    pub(super) fn len(&self) -> usize {
        self.made.len()
    }
}
