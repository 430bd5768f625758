//! Buffers that a ring's receives draw from (io_uring_register_buf_ring(3)), for the ring echo and for the load client.
//!
//! Owns: the memory, and whose turn each buffer is. Promises: with incremental consumption where the kernel has it, a byte is
//! never handed out twice, and a buffer goes back only when nobody holds a piece of it. Refuses to know: sockets.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue};

/// IOU_PBUF_RING_INC of linux/io_uring.h (Linux 6.12).
const INCREMENTAL: u16 = 2;
/// The buffer group.
pub const GROUP: u16 = 0;

/// A part of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    buffer: u16,
    from: u32,
    /// Bytes in it.
    pub len: u32,
}

/// One buffer's bytes: how many the kernel has used up, how many pieces of it are held.
#[derive(Clone, Copy, Default)]
struct Use {
    at: u32,
    held: u16,
    done: bool,
}

/// Memory that the kernel and this thread share, page-aligned.
struct Shared {
    pages: Vec<Page>,
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Shared {
    fn new(len: usize) -> Shared {
        Shared { pages: vec![Page([0; 4096]); len.div_ceil(4096)] }
    }

    fn base(&mut self) -> *mut u8 {
        self.pages.as_mut_ptr().cast()
    }
}

/// The buffers that all receives draw from.
pub struct Buffers {
    ring: Shared,
    memory: Shared,
    uses: Vec<Use>,
    size: u32,
    tail: u16,
    incremental: bool,
}

impl Buffers {
    /// Registers `count` buffers (a power of two, at most 32768) of `size` bytes each. They must outlive the ring: declare
    /// them behind it.
    pub fn register(uring: &IoUring, count: u16, size: u32) -> io::Result<Buffers> {
        if !count.is_power_of_two() || count > 1 << 15 || size == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a power of two of buffers, at most 32768"));
        }
        let mut ring = Shared::new(usize::from(count) * size_of::<BufRingEntry>());
        let base = ring.base() as u64;
        let register = |flags| {
            // SAFETY: `ring` has room for `count` entries, is page-aligned, and lives as long as the io_uring: the echo
            // drops that first.
            unsafe { uring.submitter().register_buf_ring_with_flags(base, count, GROUP, flags) }
        };
        let incremental = register(INCREMENTAL).is_ok();
        if !incremental {
            register(0)?;
        }
        let memory = Shared::new(usize::from(count) * size as usize);
        let uses = vec![Use::default(); usize::from(count)];
        let mut buffers = Buffers { ring, memory, uses, size, tail: 0, incremental };
        for buffer in 0..count {
            buffers.provide(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Bytes of all buffers.
    pub fn len(&self) -> usize {
        self.uses.len() * self.size as usize
    }

    /// Where a piece lies; asserts that it lies inside.
    pub fn at(&mut self, piece: Piece) -> *const u8 {
        let offset = usize::from(piece.buffer) * self.size as usize + piece.from as usize;
        assert!(offset + piece.len as usize <= self.len(), "a piece lies inside the memory");
        self.memory.base().wrapping_add(offset)
    }

    /// What a completion of `len` bytes brought.
    pub fn take(&mut self, flags: u32, len: u32) -> Piece {
        let buffer = cqueue::buffer_select(flags).expect("bytes come in a buffer");
        let using = &mut self.uses[usize::from(buffer)];
        let piece = Piece { buffer, from: using.at, len };
        using.at += len;
        using.held += 1;
        using.done = !(self.incremental && cqueue::buffer_more(flags));
        piece
    }

    /// Gives a piece back.
    pub fn put(&mut self, piece: Piece) {
        let buffer = piece.buffer;
        let using = &mut self.uses[usize::from(buffer)];
        using.held -= 1;
        if using.done && using.held == 0 {
            *using = Use::default();
            self.provide(buffer);
        }
    }

    fn provide(&mut self, buffer: u16) {
        let slot = usize::from(self.tail) & (self.uses.len() - 1);
        let at = self.memory.base().wrapping_add(usize::from(buffer) * self.size as usize);
        // SAFETY: `slot` is below the number of entries; the kernel reads an entry only behind a published tail, and no
        // more than all buffers are ever provided, so not this one now.
        let entry = unsafe { &mut *self.ring.base().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(at as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back: once a pass.
    pub fn publish(&mut self) {
        // SAFETY: the first entry of a registered ring holds the tail, a u16 that the kernel only loads.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.base().cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// The bytes of a piece.
    pub fn bytes(&mut self, piece: Piece) -> &[u8] {
        // SAFETY: `at` asserts that the piece lies inside the memory, which is initialised; the kernel has written it and
        // does not again before `put` takes the piece back.
        unsafe { std::slice::from_raw_parts(self.at(piece), piece.len as usize) }
    }
}
