//! What is written down of a message: enough to tell it from others.

use std::fmt;

use wsring::ring::sim::hash_of;

/// A message, by its kind, length and hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    pub text: bool,
    pub len: usize,
    hash: u64,
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}#{:04x}", if self.text { 't' } else { 'b' }, self.len, self.hash & 0xffff)
    }
}

impl Digest {
    pub fn of(text: bool, bytes: &[u8]) -> Self {
        Self { text, len: bytes.len(), hash: hash_of(bytes) }
    }
}
