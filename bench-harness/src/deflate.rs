//! permessage-deflate (RFC 7692) as the load client needs it: what is offered, messages that are compressed before the clock
//! starts, and replies as long as the server's compressor makes them.
//!
//! Owns one reply's header and, when replies are checked, its bytes and the window they were compressed with. Promises: a
//! reply that is not checked is skipped by its length; one that is checked is what it inflates to, and no more of it is
//! inflated than the message had. Refuses to know: sockets, and the engine's compression: it is flate2 on miniz_oxide.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::fault::Fault;

/// What is offered unless something else is asked for: every message stands for itself, in both directions.
pub const OFFER: &str = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
/// The first reserved bit of a frame: its message is compressed (RFC 7692 §6).
pub const RSV1: u8 = 0x40;

const EXTENSION: &str = "permessage-deflate";
/// Ends what was flushed to a byte; it does not travel (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
const FIN_TEXT: u8 = 0x81;
const MASK_BIT: u8 = 0x80;

/// What a server compresses a reply with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The reply alone: it was asked for `server_no_context_takeover` (RFC 7692 §7.1.1.1).
    None,
    /// The replies before it as well.
    TakenOver,
}

/// How a server that accepts `offer` compresses. An offer that is none, or that would have this client compress with a window
/// of the server's choice, is an error.
pub fn context(offer: &str) -> Result<Context, String> {
    let mut parameters = offer.split(';').map(str::trim);
    if parameters.next() != Some(EXTENSION) || offer.contains([',', '\r', '\n']) {
        return Err(format!("{offer:?} does not offer {EXTENSION} once"));
    }
    let mut context = Context::TakenOver;
    for parameter in parameters {
        match parameter.split('=').next().unwrap_or_default().trim() {
            "server_no_context_takeover" => context = Context::None,
            "client_no_context_takeover" | "server_max_window_bits" => {}
            _ => return Err(format!("{parameter:?}: not for an offer of this client, whose window is 32 KiB")),
        }
    }
    Ok(context)
}

/// Checks what a server answered to an offer, if it answered (RFC 7692 §7.1).
pub fn check_answer(offer: &str, answer: Option<&str>) -> Result<(), String> {
    let answer = answer.ok_or_else(|| format!("the server did not accept {EXTENSION}, which was offered"))?;
    let mut parameters = answer.split(';').map(str::trim);
    let known = parameters.next() == Some(EXTENSION)
        && parameters.clone().all(|parameter| match parameter.split_once('=') {
            None => ["server_no_context_takeover", "client_no_context_takeover"].contains(&parameter),
            Some((name, bits)) => {
                name.trim() == "server_max_window_bits"
                    && bits.trim().parse::<u8>().is_ok_and(|bits| (8..=15).contains(&bits))
            }
        });
    if !known {
        return Err(format!("the server answered {answer:?} to {offer:?}"));
    }
    // §7.1.1.1: who accepts an offer with it must say so.
    let keeps = !parameters.any(|parameter| parameter == "server_no_context_takeover");
    if keeps && context(offer)? == Context::None {
        return Err(format!("the server answered {answer:?} without the server_no_context_takeover of {offer:?}"));
    }
    Ok(())
}

/// Compresses one message by itself (RFC 7692 §7.2.1).
pub fn compress(message: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::default(), false);
    // Room for what cannot be shrunk, stored in blocks, and the flush behind it.
    let mut out = Vec::with_capacity(message.len() + message.len() / 1000 + 64);
    let status = deflater.compress_vec(message, &mut out, FlushCompress::Sync).expect("a fresh stream takes all");
    assert!(status == Status::Ok && deflater.total_in() == message.len() as u64, "there was room");
    assert!(out.ends_with(&TAIL), "flushed to a byte");
    out.truncate(out.len() - TAIL.len());
    out
}

/// One reply as it comes in.
#[derive(Default)]
pub struct Reply {
    head: [u8; 10],
    /// Bytes of `head` that have come.
    got: usize,
    /// Payload bytes that are still to come, once the header is whole.
    left: usize,
    /// Those that have come, if they are checked.
    held: Vec<u8>,
    inflater: Option<Box<Decompress>>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply {{ head: {:02x?}, left: {} }}", &self.head[..self.got], self.left)
    }
}

impl Reply {
    /// Takes the bytes of one reply to `message` at most; says how many, and its payload's length when it is whole.
    pub fn feed(
        &mut self,
        message: &[u8],
        context: Context,
        bytes: &[u8],
        check: bool,
    ) -> Result<(usize, Option<usize>), Fault> {
        let mut used = 0;
        while self.got < self.head_len() {
            let Some(byte) = bytes.get(used) else { return Ok((used, None)) };
            self.head[self.got] = *byte;
            (self.got, used) = (self.got + 1, used + 1);
            self.check_head()?;
            if self.got == self.head_len() {
                self.left = self.payload_len(message.len())?;
            }
        }
        let step = self.left.min(bytes.len() - used);
        if check {
            self.held.extend_from_slice(&bytes[used..used + step]);
        }
        self.left -= step;
        used += step;
        if self.left > 0 {
            return Ok((used, None));
        }
        let len = self.payload_len(message.len())?;
        if check {
            self.check(message, context)?;
        }
        self.got = 0;
        Ok((used, Some(len)))
    }

    fn head_len(&self) -> usize {
        match self.head[1] & !MASK_BIT {
            _ if self.got < 2 => 2,
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    /// FIN and text, compressed or not (RFC 7692 §6 leaves it to the sender), and no mask (RFC 6455 §5.1).
    fn check_head(&self) -> Result<(), Fault> {
        let expected = match self.head[..self.got] {
            [first] if first & !RSV1 != FIN_TEXT => vec![RSV1 | FIN_TEXT],
            [first, second] if second & MASK_BIT != 0 => vec![first, second & !MASK_BIT],
            _ => return Ok(()),
        };
        Err(Fault::Head { expected, found: self.head[..self.got].to_vec() })
    }

    /// What the whole header announces, for a message of `size` bytes.
    fn payload_len(&self, size: usize) -> Result<usize, Fault> {
        let head = &self.head[..self.got];
        let (len, least) = match *head {
            [_, short] => (u64::from(short), 0),
            [_, _, high, low] => (u64::from(u16::from_be_bytes([high, low])), 126),
            [_, _, ref wide @ ..] => (wide.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)), 1 << 16),
            _ => unreachable!("a whole header"),
        };
        // A plain reply is the message; deflate stores what it cannot shrink, at 5 bytes for each block.
        let most = if head[0] & RSV1 == 0 { size } else { size + size / 8 + 64 };
        let exact = head[0] & RSV1 != 0 || len == size as u64;
        if len < least || len > most as u64 || !exact {
            return Err(Fault::Deflate(format!("{len} bytes announced by {head:02x?} for a message of {size}")));
        }
        Ok(len as usize)
    }

    /// What was held must be, or inflate to, `message` (RFC 7692 §7.2.2).
    fn check(&mut self, message: &[u8], context: Context) -> Result<(), Fault> {
        let mut held = std::mem::take(&mut self.held);
        let differs = |found: &[u8]| {
            let same = found.iter().zip(message).take_while(|(a, b)| a == b).count();
            if found.len() == message.len() && same == found.len() { Ok(()) } else { Err(Fault::Byte { at: same }) }
        };
        if self.head[0] & RSV1 == 0 {
            differs(&held)?;
        } else {
            held.extend(TAIL);
            let inflater = self.inflater.get_or_insert_with(|| Box::new(Decompress::new(false)));
            if context == Context::None {
                inflater.reset(false);
            }
            // One byte more than the message: a reply that inflates to more is not inflated to its end.
            let mut found = vec![0; message.len() + 1];
            let len = inflate(inflater, &held, &mut found)?;
            differs(&found[..len])?;
        }
        held.clear();
        self.held = held;
        Ok(())
    }
}

/// Inflates into `out`, says how many bytes; all of `bytes` must be used unless `out` is full.
fn inflate(inflater: &mut Decompress, bytes: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
    let (mut read, mut written) = (0, 0);
    while read < bytes.len() && written < out.len() {
        let (in_before, out_before) = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(&bytes[read..], &mut out[written..], FlushDecompress::Sync)
            .map_err(|error| Fault::Deflate(format!("it does not inflate: {error}")))?;
        let (more_read, more_written) = (inflater.total_in() - in_before, inflater.total_out() - out_before);
        (read, written) = (read + more_read as usize, written + more_written as usize);
        if status == Status::StreamEnd {
            // A block with BFINAL ends the stream, not the message (RFC 7692 §7.2.3.4).
            inflater.reset(false);
        } else if more_read == 0 && more_written == 0 {
            return Err(Fault::Deflate(format!("it does not inflate beyond byte {read}")));
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
