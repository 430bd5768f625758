//! The bytes the load sends and the bytes it must get back, made before the clock starts.
//!
//! Owns: one run of masked frames laid end to end, and the expected reply to each. Promises: every frame has its own
//! random mask and payload, and a batch of frames is one contiguous slice wherever it begins; `replies` compares what comes
//! back. Refuses to know: sockets, time.

mod replies;

use std::io::{self, Read};

use crate::deflate;
use crate::trade;

pub use replies::Replies;

/// The most bytes a run of frames may hold, in flight frames included.
pub const RUN_BYTES_MAX: usize = 256 << 20;

/// First byte of a whole text or binary message: FIN set, no reserved bit, opcode 1 or 2 (RFC 6455 §5.2).
const FIN_TEXT: u8 = 0x81;
const FIN_BINARY: u8 = 0x82;
/// Distinct messages that are compressed, at most: compressed, they stay in L2.
const DEFLATED_MAX: usize = 512;

/// What payloads are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// Random bytes, as a binary message.
    #[default]
    Binary,
    /// Printable ASCII, as a text message.
    Ascii,
    /// Letters of two and three bytes, as a text message: a server has to look at each.
    MultiByte,
}

impl Payload {
    /// Makes `bytes`, which are random, what they should be.
    fn shape(self, bytes: &mut [u8]) {
        match self {
            Payload::Binary => {}
            Payload::Ascii => bytes.iter_mut().for_each(|byte| *byte = b' ' + *byte % 95),
            Payload::MultiByte => {
                let mut rest = bytes;
                while rest.len() >= 2 {
                    // Cyrillic а..п and kana, by the bytes that stood there; what is left over at the end is ASCII.
                    let (letter, len) = match (rest[0] % 4, rest.len()) {
                        (0, 3..) => ([0xE3, 0x81, 0x82 + rest[1] % 32], 3),
                        _ => ([0xD0, 0xB0 + rest[1] % 16, 0], 2),
                    };
                    rest[..len].copy_from_slice(&letter[..len]);
                    rest = &mut rest[len..];
                }
                rest.fill(b'.');
            }
        }
    }

    fn first_byte(self) -> u8 {
        if self == Payload::Binary { FIN_BINARY } else { FIN_TEXT }
    }
}

/// What comes back for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// A WebSocket server: the same payload behind an unmasked header (RFC 6455 §5.1).
    WebSocket,
    /// A raw byte echo: the very bytes that were sent, mask and all.
    Raw,
}

/// A run of masked frames of one message size, and the replies they ask for.
pub struct Frames {
    /// `distinct + depth` frames: the first `depth` stand again at the end, so that no batch ever wraps.
    sent: Vec<u8>,
    /// Where each of them begins, and the end of the last.
    starts: Vec<usize>,
    /// The bodies expected back, frame by frame; for a raw echo they are read out of `sent`.
    payloads: Vec<u8>,
    distinct: usize,
    size: usize,
    echo: Echo,
    /// The one header that a reply may have; none if replies are as long as a server's compressor makes them.
    head: Vec<u8>,
    /// How compressed replies are read, if they are compressed.
    deflated: Option<deflate::Context>,
}

impl Frames {
    /// Prepares frames of `size` payload bytes for up to `depth` in flight, masks and payloads drawn from `random`.
    /// Allocates up to [`RUN_BYTES_MAX`] for the frames and as much for the payloads; more is an `InvalidInput` error. Fails when `random` does.
    pub fn new(payload: Payload, size: usize, depth: usize, echo: Echo, random: &mut dyn Read) -> io::Result<Frames> {
        if size > RUN_BYTES_MAX {
            let why = format!("messages of {size} bytes; at most {RUN_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut masked_head = vec![payload.first_byte()];
        push_len(&mut masked_head, size, true);
        let frame_len = masked_head.len() + 4 + size;
        // Several masks, yet a run that stays in L2 while frames are small.
        let distinct = ((2 << 20) / frame_len).clamp(2, 64);
        let fits = (distinct + depth).checked_mul(frame_len).is_some_and(|bytes| bytes <= RUN_BYTES_MAX);
        if !fits {
            let why = format!("{depth} in flight of {size} bytes each need more than {RUN_BYTES_MAX} bytes of frames");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut payloads = vec![0; distinct * size];
        random.read_exact(&mut payloads)?;
        if size > 0 {
            payloads.chunks_exact_mut(size).for_each(|bytes| payload.shape(bytes));
        }
        let first = masked_head[0];
        let bodies: Vec<&[u8]> = (0..distinct).map(|index| &payloads[index * size..(index + 1) * size]).collect();
        let (sent, starts) = lay_out(first, &bodies, depth, random)?;
        let head = match echo {
            Echo::Raw => masked_head,
            Echo::WebSocket => {
                let mut head = vec![payload.first_byte()];
                push_len(&mut head, size, false);
                head
            }
        };
        Ok(Frames { sent, starts, payloads, distinct, size, echo, head, deflated: None })
    }

    /// The same for messages of trades as JSON, `size` bytes each, compressed one by one with permessage-deflate (RFC 7692
    /// §7.2.1); `context` says how replies are compressed. A size of zero leaves nothing to compress and is an error, too.
    pub fn deflated(size: usize, depth: usize, context: deflate::Context, random: &mut dyn Read) -> io::Result<Frames> {
        let distinct = ((2 << 20) / size.max(1)).clamp(2, DEFLATED_MAX);
        // Deflate stores what it cannot shrink, and no message of JSON grows by it.
        let fits = (distinct + depth).checked_mul(size + 14).is_some_and(|bytes| bytes <= RUN_BYTES_MAX);
        if size == 0 || !fits {
            let why = format!(
                "{depth} in flight of {size} bytes each to compress: 1 byte at least, {RUN_BYTES_MAX} bytes of frames at most"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let payloads: Vec<u8> =
            (0..distinct as u64).flat_map(|number| trade::json(number, size).into_bytes()).collect();
        let bodies: Vec<Vec<u8>> = payloads.chunks_exact(size).map(deflate::compress).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let (sent, starts) = lay_out(deflate::RSV1 | FIN_TEXT, &bodies, depth, random)?;
        let (echo, head) = (Echo::WebSocket, Vec::new());
        Ok(Frames { sent, starts, payloads, distinct, size, echo, head, deflated: Some(context) })
    }

    /// How many frames differ in mask and payload.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// Bytes of the longest frame as sent: header, mask, payload. All are that long unless they are compressed.
    pub fn frame_len(&self) -> usize {
        self.starts.windows(2).map(|pair| pair[1] - pair[0]).max().expect("two frames at least")
    }

    /// Where frame `index` begins in the endless cycle, whose length is that of `distinct` frames.
    pub fn start(&self, index: usize) -> usize {
        self.starts[index]
    }

    /// Bytes of `count` frames from frame `index` on, which is one of the distinct ones. `count` is at most `depth`.
    pub fn span(&self, index: usize, count: usize) -> usize {
        debug_assert!(index < self.distinct);
        self.starts[index + count] - self.starts[index]
    }

    /// Bytes of one reply; not for compressed ones, which differ.
    pub fn reply_len(&self) -> usize {
        debug_assert!(self.deflated.is_none());
        self.head.len() + if self.echo == Echo::Raw { 4 } else { 0 } + self.size
    }

    /// Bytes of the head that every reply begins with; not for compressed ones.
    pub fn head_len(&self) -> usize {
        debug_assert!(self.deflated.is_none());
        self.head.len()
    }

    /// All that is ever sent; [`Frames::bytes`] is a part of it.
    pub fn run(&self) -> &[u8] {
        &self.sent
    }

    /// `len` bytes to send, `at` bytes into the endless cycle of frames. `len` is at most `depth` frames.
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        debug_assert!(at < self.starts[self.distinct]);
        &self.sent[at..at + len]
    }

    /// The message that frame `index` carries.
    pub fn message(&self, index: usize) -> &[u8] {
        &self.payloads[index * self.size..(index + 1) * self.size]
    }

    /// What follows the checked header in the reply to frame `index`: payload, behind the mask if the echo is raw.
    fn body(&self, index: usize) -> &[u8] {
        match self.echo {
            Echo::WebSocket => self.message(index),
            Echo::Raw => &self.sent[self.starts[index] + self.head.len()..self.starts[index + 1]],
        }
    }
}

/// Frames that begin with `first`, one for each of `bodies` and `depth` of them again, and where each begins.
fn lay_out(first: u8, bodies: &[&[u8]], depth: usize, random: &mut dyn Read) -> io::Result<(Vec<u8>, Vec<usize>)> {
    let longest = bodies.iter().map(|body| body.len()).max().unwrap_or(0);
    let mut sent = Vec::with_capacity((bodies.len() + depth) * (longest + 14));
    let mut starts = Vec::with_capacity(bodies.len() + depth + 1);
    for body in bodies {
        // RFC 6455 §5.3: a fresh, unpredictable mask for every frame. It repeats only after all of them.
        let mut mask = [0; 4];
        random.read_exact(&mut mask)?;
        starts.push(sent.len());
        sent.push(first);
        push_len(&mut sent, body.len(), true);
        sent.extend_from_slice(&mask);
        sent.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
    let cycle = sent.len();
    for again in 0..depth {
        let (round, index) = (again / bodies.len(), again % bodies.len());
        let begin = starts[index];
        let end = if index + 1 < bodies.len() { starts[index + 1] } else { cycle };
        debug_assert_eq!(sent.len(), (round + 1) * cycle + begin);
        starts.push(sent.len());
        sent.extend_from_within(begin..end);
    }
    starts.push(sent.len());
    Ok((sent, starts))
}

/// Header of a whole binary message, up to its mask if it has one.
pub fn head(len: usize, masked: bool) -> Vec<u8> {
    let mut head = vec![FIN_BINARY];
    push_len(&mut head, len, masked);
    head
}

/// Payload length in its only legal, shortest form (RFC 6455 §5.2), with the mask bit as asked.
fn push_len(head: &mut Vec<u8>, len: usize, masked: bool) {
    let mask_bit = if masked { 0x80 } else { 0 };
    match len {
        0..=125 => head.push(mask_bit | len as u8),
        126..=0xFFFF => {
            head.push(mask_bit | 126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
