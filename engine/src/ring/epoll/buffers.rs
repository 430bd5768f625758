//! What a core receives into: a few buffers, of which the one that came back last is the next to be used.
//!
//! A buffer is lent whole with what one receive brought, and mostly given back before the next: so one of them, which stays warm, serves
//! all traffic, and the others are made when they are needed. Promises that there are never more than so many. Refuses to know sockets.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::ring::uring::RecvBuffers;

/// As many and as large, unless the settings say otherwise.
const COUNT: usize = 16;
const BYTES: usize = 256 << 10;

/// Received bytes, lent. Give it back with [`Ring::release`](crate::ring::Ring::release): the buffer of one that is dropped instead is
/// not used again.
#[must_use]
pub struct Lease {
    buffer: Box<[u8]>,
    len: usize,
}

impl Lease {
    /// What is received into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// It has so many bytes.
    pub(super) fn with(mut self, len: usize) -> Self {
        self.len = len;
        self
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Lease {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len)
    }
}

/// The receive buffers of one core.
pub(super) struct Buffers {
    free: Vec<Box<[u8]>>,
    made: usize,
    max: usize,
    bytes: usize,
}

impl Buffers {
    pub(super) fn new(wanted: RecvBuffers) -> Self {
        let (max, bytes) = match wanted {
            RecvBuffers::Auto => (COUNT, BYTES),
            RecvBuffers::Fixed { count, bytes } => (count.into(), bytes as usize),
        };
        Self { free: Vec::new(), made: 0, max, bytes }
    }

    pub(super) fn count(&self) -> usize {
        self.max
    }

    /// A buffer, without bytes yet; `None` when all are lent.
    pub(super) fn take(&mut self) -> Option<Lease> {
        let buffer = match self.free.pop() {
            Some(buffer) => buffer,
            None if self.made == self.max => return None,
            None => {
                self.made += 1;
                vec![0; self.bytes].into()
            }
        };
        Some(Lease { buffer, len: 0 })
    }

    pub(super) fn give_back(&mut self, lease: Lease) {
        self.free.push(lease.buffer);
        assert!(self.free.len() <= self.made, "a buffer of another ring was given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_came_back_is_the_next_and_there_are_so_many() {
        let mut buffers = Buffers::new(RecvBuffers::Fixed { count: 2, bytes: 8 });
        let first = buffers.take().expect("one of two");
        let at = first.as_ptr();
        buffers.give_back(first);
        let again = buffers.take().expect("the same").with(3);
        assert_eq!((again.as_ptr(), again.len(), buffers.made), (at, 3, 1));
        let second = buffers.take().expect("two of two");
        assert!(buffers.take().is_none());
        drop(second);
        assert!(buffers.take().is_none(), "what is dropped is not used again");
        buffers.give_back(again);
        assert_eq!(buffers.take().expect("it came back").as_ptr(), at);
    }
}
