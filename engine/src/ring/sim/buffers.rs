//! Owns the simulated provided-buffer ring: whose turn each buffer is, and who still reads it.
//!
//! As in the kernel, a buffer is the kernel's until a completion names it, and comes back when the kernel is done with it
//! **and** its last lease is released. Stricter than the kernel: every lease carries a number, and one that comes back twice,
//! comes from another ring or never comes back is found. The bytes are copied out, so nothing here is unsafe.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::engine::planted::planted;

/// Numbers of the leases that are out.
type Out = Rc<RefCell<BTreeSet<u64>>>;

/// Received bytes, lent by a simulated ring.
#[must_use]
pub struct SimLease {
    bytes: Vec<u8>,
    buffer: usize,
    number: u64,
    out: Out,
}

impl Deref for SimLease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for SimLease {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for SimLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} of buffer {}, {} bytes", self.number, self.buffer, self.bytes.len())
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    used: usize,
    lent: u32,
    /// The kernel writes no more into it.
    done: bool,
}

/// The buffers of one ring.
pub(super) struct Buffers {
    states: Vec<State>,
    /// The kernel's, first to be filled first.
    ring: VecDeque<usize>,
    size: usize,
    incremental: bool,
    leases: u64,
    out: Out,
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    pub(super) fn new(count: usize, size: usize, incremental: bool) -> Self {
        assert!(count > 0 && size > 0, "{count} buffers of {size} bytes");
        Self {
            states: vec![State::default(); count],
            ring: (0..count).collect(),
            size,
            incremental,
            leases: 0,
            out: Out::default(),
            spare: Vec::new(),
        }
    }

    /// Bytes that fit into the buffer whose turn it is; `None` if the kernel has none.
    pub(super) fn room(&self) -> Option<usize> {
        let buffer = *self.ring.front()?;
        Some(self.size - self.states[buffer].used)
    }

    /// Lends what `fill` appends, `len` bytes, out of the buffer whose turn it is. `last`: the kernel is done with that buffer
    /// although it is not full.
    pub(super) fn lend(&mut self, len: usize, last: bool, fill: impl FnOnce(&mut Vec<u8>)) -> SimLease {
        let buffer = *self.ring.front().expect("the caller asked for room");
        let state = &mut self.states[buffer];
        assert!(len > 0 && state.used + len <= self.size && !state.done, "buffer {buffer}: {} + {len}", state.used);
        state.used += len;
        state.lent += 1;
        if !self.incremental || last || state.used == self.size {
            state.done = true;
            self.ring.pop_front();
        }
        self.leases += 1;
        self.out.borrow_mut().insert(self.leases);
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        fill(&mut bytes);
        assert_eq!(bytes.len(), len, "a lease of another length");
        SimLease { bytes, buffer, number: self.leases, out: Rc::clone(&self.out) }
    }

    /// Takes a lease back.
    pub(super) fn release(&mut self, lease: SimLease) {
        assert!(Rc::ptr_eq(&lease.out, &self.out), "a {lease:?} of another ring");
        self.give_back(lease.buffer, lease.number);
        planted!(LeaseTwice, self.give_back(lease.buffer, lease.number));
        self.spare.push(lease.bytes);
    }

    fn give_back(&mut self, buffer: usize, number: u64) {
        assert!(self.out.borrow_mut().remove(&number), "lease {number} of buffer {buffer} was released twice");
        let state = &mut self.states[buffer];
        state.lent -= 1;
        if state.done && state.lent == 0 {
            *state = State::default();
            self.ring.push_back(buffer);
        }
    }

    /// Leases not released.
    pub(super) fn lent(&self) -> usize {
        self.out.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend(buffers: &mut Buffers, len: usize) -> SimLease {
        buffers.lend(len, false, |bytes| bytes.resize(len, 7))
    }

    #[test]
    fn an_incremental_buffer_comes_back_when_full_and_released() {
        let mut buffers = Buffers::new(2, 100, true);
        let (first, second) = (lend(&mut buffers, 60), lend(&mut buffers, 40));
        assert_eq!((first.buffer, second.buffer), (0, 0));
        assert_eq!(buffers.room(), Some(100));
        let third = lend(&mut buffers, 100);
        assert_eq!((third.buffer, buffers.room()), (1, None));
        buffers.release(second);
        assert_eq!(buffers.room(), None, "the first lease still reads the buffer");
        buffers.release(first);
        assert_eq!((buffers.room(), buffers.lent()), (Some(100), 1));
        buffers.release(third);
        assert_eq!(buffers.lent(), 0);
    }

    #[test]
    fn a_whole_buffer_serves_one_lease() {
        let mut buffers = Buffers::new(1, 100, false);
        let lease = lend(&mut buffers, 1);
        assert_eq!(buffers.room(), None);
        buffers.release(lease);
        assert_eq!(buffers.room(), Some(100));
    }

    #[test]
    #[should_panic(expected = "of another ring")]
    fn a_lease_of_another_ring_is_refused() {
        let lease = lend(&mut Buffers::new(1, 10, false), 1);
        Buffers::new(1, 10, false).release(lease);
    }

    #[test]
    #[should_panic(expected = "released twice")]
    fn a_lease_comes_back_once() {
        let mut buffers = Buffers::new(1, 10, false);
        let lease = lend(&mut buffers, 1);
        buffers.give_back(lease.buffer, lease.number);
        buffers.release(lease);
    }
}
