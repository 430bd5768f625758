//! Where a core's compressors write.
//!
//! Owns: a chunk that every message is compressed into, and the memory of one that does not fit there. Promises: nothing is
//! cleared for a message; what a message is compressed to takes memory by its own length, not by that of the message, so that
//! whoever keeps it copies it. Refuses to know: compressors, and frames.

use alloc::vec;
use alloc::vec::Vec;

use crate::pool::Pool;
use crate::simd;

/// What is made at a time. The output of libdeflate, which makes whole messages, fits: they are at most a window long.
pub(super) const CHUNK: usize = 64 << 10;

/// Memory that all compressors of a core share: 64 KiB from the first message on.
#[derive(Debug, Default)]
pub struct Scratch {
    /// [`CHUNK`] bytes once it was used: written over and over, and cleared once.
    chunk: Vec<u8>,
    /// What did not fit into one chunk, whole; empty for other messages.
    long: Vec<u8>,
}

impl Scratch {
    /// One that has no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { chunk: Vec::new(), long: Vec::new() }
    }

    /// Gives back what a long message took, for whoever has copied it.
    pub fn recycle(&mut self, pool: &mut Pool) {
        if self.long.capacity() > 0 {
            pool.put(core::mem::take(&mut self.long));
        }
    }

    /// The chunk, to be written over.
    pub(super) fn chunk(&mut self) -> &mut [u8] {
        if self.chunk.is_empty() {
            self.chunk = vec![0; CHUNK];
        }
        &mut self.chunk
    }

    /// Bytes that have been put aside.
    pub(super) fn aside(&self) -> usize {
        self.long.len()
    }

    /// Puts the first `len` bytes of the chunk behind what was put aside. That is never in more than twice its memory, and is
    /// moved as often as its length doubles.
    pub(super) fn put_aside(&mut self, len: usize, pool: &mut Pool) {
        let least = self.long.len() + len;
        if self.long.capacity() < least {
            let mut larger = pool.take(least, least);
            simd::copy_append(&self.long, &mut larger);
            pool.put(core::mem::replace(&mut self.long, larger));
        }
        simd::copy_append(&self.chunk[..len], &mut self.long);
    }

    /// The message that was made, of so many bytes: the beginning of the chunk, or of what was put aside.
    pub(super) fn made(&self, len: usize) -> &[u8] {
        if self.long.is_empty() { &self.chunk[..len] } else { &self.long[..len] }
    }

    /// The memory of a long message.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.long.capacity()
    }
}
