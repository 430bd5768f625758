//! A body in chunks (RFC 9112 §7.1), put together as it comes.
//!
//! Owns: where a chunk ends, and where the body does. Promises: linear work however the bytes are cut, no allocation but the
//! output's own growth, and no byte of it beyond what the caller wants.
//! Refuses to know: what extensions of a chunk mean, and trailers: the body ends in front of them.

use alloc::vec::Vec;

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums)] // callers must handle each
pub enum Chunks {
    /// More is to come.
    Partial,
    /// It is whole.
    Whole,
    /// What came is no chunk: nothing more of the body can be told apart.
    Malformed,
}

/// Where in the chunks the bytes have come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkScan(At);

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the digits of a size, of which there are some.
    Size {
        size: u64,
        begun: bool,
    },
    /// Behind them, in the same line.
    Line {
        size: u64,
    },
    /// In a chunk, of which so much is to come.
    Data {
        left: u64,
    },
    /// Behind a chunk, where its line ends.
    Behind,
    /// The last chunk has come.
    End,
    Broken,
}

impl Default for At {
    fn default() -> Self {
        At::Size { size: 0, begun: false }
    }
}

impl ChunkScan {
    /// The next bytes of the body, in order. What chunks hold is appended to `body` until that is `most` bytes long; the rest is
    /// passed over. A line ends in CRLF or a bare LF, as those of a head do.
    pub fn feed(&mut self, mut bytes: &[u8], body: &mut Vec<u8>, most: usize) -> Chunks {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.0 {
                At::Size { size, begun } => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        let longer = size.checked_mul(16).map(|size| size | u64::from(digit));
                        self.0 = longer.map_or(At::Broken, |size| At::Size { size, begun: true });
                    }
                    None if begun && matches!(byte, b'\r' | b'\n' | b';' | b' ' | b'\t') => {
                        self.0 = At::Line { size };
                        continue;
                    }
                    None => self.0 = At::Broken,
                },
                At::Line { size } if byte == b'\n' => {
                    self.0 = if size == 0 { At::End } else { At::Data { left: size } }
                }
                At::Line { .. } => {}
                At::Data { left } => {
                    let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    let (data, rest) = bytes.split_at(here);
                    body.extend_from_slice(&data[..here.min(most.saturating_sub(body.len()))]);
                    let left = left - here as u64;
                    self.0 = if left == 0 { At::Behind } else { At::Data { left } };
                    bytes = rest;
                    continue;
                }
                At::Behind => match byte {
                    b'\r' => {}
                    b'\n' => self.0 = At::default(),
                    _ => self.0 = At::Broken,
                },
                At::End => return Chunks::Whole,
                At::Broken => return Chunks::Malformed,
            }
            bytes = rest;
        }
        match self.0 {
            At::End => Chunks::Whole,
            At::Broken => Chunks::Malformed,
            _ => Chunks::Partial,
        }
    }
}
