//! Owns the provided-buffer ring: memory the kernel receives into, and whose turn each buffer is.
//!
//! A buffer belongs to the kernel while it is in the ring and to us between its completion and its release. With
//! incremental consumption (IOU_PBUF_RING_INC, Linux 6.12) one buffer serves several completions, each taking the next
//! bytes; it goes back when the kernel is done with it **and** nobody reads it. See io_uring_register_buf_ring(3).
//!
//! Promise: a byte is never lent while the kernel may write it. It refuses to know sockets.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue};

use super::send_blocks::Region;

/// The buffer group of all receives.
pub(super) const GROUP: u16 = 0;
/// IOU_PBUF_RING_INC of linux/io_uring.h.
const IOU_PBUF_RING_INC: u16 = 2;

/// Received bytes, lent. Give it back with [`Ring::release`](crate::ring::Ring::release): a lease that is dropped
/// instead leaves its buffer unusable until the ring ends.
#[must_use]
pub struct Lease {
    at: NonNull<u8>,
    len: u32,
    buffer: u16,
    region: Rc<Region>,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `lend` made the range from a completion: it lies inside `region` (asserted there, kept alive here),
        // the kernel has written it and writes it no more until the buffer is provided again, which takes this lease.
        // Ranges of one buffer are disjoint. Fails without it: tests/loopback/echoes.rs with tiny buffer rings.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; a lease is not Clone, so `&mut self` is the only path to these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease(buffer {}, {} bytes)", self.buffer, self.len)
    }
}

/// What we know of one buffer while it is not, or not only, the kernel's.
#[derive(Clone, Copy, Default)]
struct State {
    /// Bytes of it the kernel has consumed since it was provided.
    used: u32,
    /// Leases into it. Each has a byte at least, so they are never more than `used`.
    lent: u32,
    /// The kernel will write no more into it.
    done: bool,
}

/// The buffer ring of one core.
pub(super) struct BufferRing {
    /// Entries shared with the kernel; the tail lives in the first entry's `resv`.
    ring: Rc<Region>,
    region: Rc<Region>,
    states: Box<[State]>,
    size: u32,
    mask: u16,
    /// Our copy of the tail; published once per pass.
    tail: u16,
    incremental: bool,
}

impl BufferRing {
    /// Allocates `count` (a power of two, at most 32768) buffers of `size` bytes and registers them.
    ///
    /// Incremental consumption is used if asked for and known to this kernel; [`Self::is_incremental`] tells.
    pub(super) fn register(uring: &IoUring, count: u16, size: u32, incremental: bool) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "{count} buffers: the kernel wants a power of two");
        let ring = Rc::new(Region::new(usize::from(count), size_of::<BufRingEntry>()));
        let region = Rc::new(Region::new(usize::from(count), size as usize));
        let register = |flags| {
            // SAFETY: `ring` is page-aligned, zeroed memory for `count` entries; it lives in the same struct as the
            // buffers and outlives all operations: `Uring::drop` sees to that.
            unsafe { uring.submitter().register_buf_ring_with_flags(ring.base().as_ptr() as u64, count, GROUP, flags) }
        };
        let incremental = incremental && register(IOU_PBUF_RING_INC).is_ok();
        if !incremental {
            register(0)?;
        }
        let mut buffers = Self {
            ring,
            region,
            states: vec![State::default(); usize::from(count)].into(),
            size,
            mask: count - 1,
            tail: 0,
            incremental,
        };
        for buffer in 0..count {
            buffers.provide(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The kernel may write into them until the process ends.
    pub(super) fn keep_for_ever(&self) {
        std::mem::forget((Rc::clone(&self.ring), Rc::clone(&self.region)));
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// How many receives of `bytes` bytes each all the buffers take.
    pub(super) fn room_for(&self, bytes: u32) -> usize {
        // What is not incremental gives a whole buffer to each.
        let taken = if self.incremental { bytes.max(1) } else { self.size };
        self.states.len() * self.size as usize / taken as usize
    }

    /// The bytes of a completion of `len` bytes with these CQE flags.
    pub(super) fn lend(&mut self, flags: u32, len: u32) -> Lease {
        let buffer = cqueue::buffer_select(flags).expect("a receive with bytes names its buffer");
        let state = &mut self.states[usize::from(buffer)];
        let from = state.used;
        // `from` is never above the size, so this does not wrap whatever `len` is.
        assert!(!state.done && len <= self.size - from, "buffer {buffer}: {from} + {len} of {} bytes", self.size);
        state.used += len;
        state.lent += 1;
        state.done = !(self.incremental && cqueue::buffer_more(flags));
        let offset = usize::from(buffer) * self.size as usize + from as usize;
        // SAFETY: `buffer` indexed `states`, so it is below the count, and `len <= size - from` was asserted: the range
        // lies inside the region.
        let at = unsafe { self.region.base().add(offset) };
        Lease { at, len, buffer, region: Rc::clone(&self.region) }
    }

    /// A completion that names a buffer but brings no bytes (EOF or an error on some kernels).
    pub(super) fn skip(&mut self, flags: u32) {
        if cqueue::buffer_select(flags).is_some() {
            let lease = self.lend(flags, 0);
            self.release(lease);
        }
    }

    /// Takes a lease back; the buffer is provided again when it was the last.
    pub(super) fn release(&mut self, lease: Lease) {
        assert!(Rc::ptr_eq(&lease.region, &self.region), "a lease of another ring");
        let state = &mut self.states[usize::from(lease.buffer)];
        state.lent -= 1;
        if state.done && state.lent == 0 {
            *state = State::default();
            self.provide(lease.buffer);
        }
    }

    fn provide(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & self.mask);
        // SAFETY: `buffer` is below the count, so its first byte lies in the region.
        let at = unsafe { self.region.base().add(usize::from(buffer) * self.size as usize) };
        // SAFETY: `slot` is below the count of entries of `ring`; the kernel reads an entry only once the tail has
        // passed it, and at most `count` buffers exist, so it does not read this one now. `resv` of entry 0 is the
        // tail and is not touched: the setters write addr, len and bid alone.
        let entry = unsafe { &mut *self.ring.base().cast::<BufRingEntry>().as_ptr().add(slot) };
        entry.set_addr(at.as_ptr() as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers provided since the last call.
    pub(super) fn publish(&mut self) {
        // SAFETY: the ring's base is the first entry of a registered buffer ring; the tail is a u16 inside it that the
        // kernel only loads, and this thread only stores, atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.base().cast().as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IORING_CQE_F_BUFFER and IORING_CQE_F_BUF_MORE of linux/io_uring.h: bytes in buffer 0, which goes on.
    const SOME_OF_IT: u32 = 1 | 1 << 4;
    /// The same, and they were its last.
    const LAST_OF_IT: u32 = 1;

    /// 65,537 leases were counted as one: the buffer went back to the kernel when the first of them did.
    #[test]
    fn a_buffer_is_provided_again_behind_its_last_lease() {
        let uring = IoUring::new(4).expect("a ring");
        let mut buffers = BufferRing::register(&uring, 1, 1 << 20, true).expect("plain memory");
        if !buffers.is_incremental() {
            return; // before Linux 6.12 a buffer has one lease
        }
        let provided = buffers.tail;
        let many = u32::from(u16::MAX) + 1;
        let mut leases: Vec<Lease> = (0..many).map(|_| buffers.lend(SOME_OF_IT, 1)).collect();
        leases.push(buffers.lend(LAST_OF_IT, 1));
        while let Some(lease) = leases.pop() {
            buffers.release(lease);
            let again = buffers.tail.wrapping_sub(provided);
            assert_eq!(again, u16::from(leases.is_empty()), "provided with {} leases out", leases.len());
        }
    }

    /// With 32 bits of buffer a sum of the bytes used and received would wrap.
    #[test]
    #[should_panic(expected = "of 100 bytes")]
    fn a_completion_beyond_its_buffer_is_refused() {
        let uring = IoUring::new(4).expect("a ring");
        let mut buffers = BufferRing::register(&uring, 1, 100, true).expect("plain memory");
        let _ = buffers.lend(SOME_OF_IT, 50);
        let _ = buffers.lend(LAST_OF_IT, 0_u32.wrapping_sub(10));
    }
}
