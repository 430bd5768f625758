//! A ring and the buffers its receives draw from (io_uring_register_buf_ring(3)), for the ring echo and for the load client.
//!
//! Owns: the ring, the buffers' memory, and whose turn each buffer is. Promises: with incremental consumption where the kernel
//! has it, a byte is never handed out twice, and a buffer goes back only when nobody holds a piece of it; no completion is
//! lost, and none is outstanding when the memory goes. Refuses to know: sockets.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::types::{BufRingEntry, CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

/// IORING_ENTER_GETEVENTS and IORING_ENTER_EXT_ARG of linux/io_uring.h.
const GETEVENTS: u32 = 1;
const EXT_ARG: u32 = 8;
/// So often a full queue is handed over before the ring counts as broken; 1 ms apart when nothing moves.
const PUSH_TRIES: u32 = 1000;
/// How long the end of a ring waits for the operations it has cancelled, and how long between two attempts.
const QUIET_WAIT: Duration = Duration::from_secs(1);
const QUIET_STEP: Duration = Duration::from_millis(10);

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
    // 32 bits: an incremental buffer is given out in pieces of as little as one byte.
    held: u32,
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

/// An io_uring that is entered by hand, with its buffers.
pub struct Ring {
    uring: IoUring,
    /// What its receives draw from; dropped behind the ring, which `drop` has made quiet.
    pub buffers: Buffers,
    /// Completions that are out of the shared queue and not yet taken by `next`.
    ready: VecDeque<cqueue::Entry>,
    /// Operations pushed whose last completion has not been gathered.
    in_flight: usize,
    enters: u64,
}

impl Ring {
    /// Takes over a new ring and gives it `count` buffers (a power of two, at most 32768) of `size` bytes each.
    pub fn new(uring: IoUring, count: u16, size: u32) -> io::Result<Ring> {
        // Nothing behind this fails, so the buffers never go before the ring.
        let buffers = Buffers::register(&uring, count, size)?;
        Ok(Ring { uring, buffers, ready: VecDeque::with_capacity(8192), in_flight: 0, enters: 0 })
    }

    /// io_uring_enter(2) calls made so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// What the entry points to must outlive the ring or the operation.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) {
        let mut last = None;
        for _ in 0..PUSH_TRIES {
            // SAFETY: the caller's promise; `drop` waits for what is still in flight at the end.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.in_flight += 1;
                return;
            }
            // The queue is full: hand it over without waiting. Gathering makes room for completions, without which the
            // kernel may refuse (EBUSY); `next` delivers them as usual.
            last = self.enter_once(0, Duration::ZERO).err();
            assert!(last.as_ref().is_none_or(passes), "io_uring_enter(2) cannot submit: {last:?}");
            if self.gather() == 0 && last.is_some() {
                thread::sleep(Duration::from_millis(1)); // EAGAIN: the kernel is short of memory
            }
        }
        // Other sockets' work is in the queue as well: there is no connection to blame and nothing to go on with.
        panic!("io_uring_enter(2) has left the queue full {PUSH_TRIES} times: {last:?}");
    }

    /// Hands over all that is queued and waits for `want` completions, at most `timeout`; with none it only looks.
    pub fn enter(&mut self, want: u32, timeout: Duration) -> io::Result<()> {
        match self.enter_once(want, timeout) {
            // The next pass goes on with it.
            Err(error) if passes(&error) => Ok(()),
            done => done,
        }
    }

    fn enter_once(&mut self, want: u32, timeout: Duration) -> io::Result<()> {
        let queued = self.uring.submission().len() as u32;
        self.enter_with(queued, want, timeout)
    }

    fn enter_with(&mut self, queued: u32, want: u32, timeout: Duration) -> io::Result<()> {
        self.enters += 1;
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        // GETEVENTS always: deferred completions (IORING_SETUP_DEFER_TASKRUN) appear in no other way, a long send is
        // continued in no other way, and the io-uring crate asks for them only if it waits or sees a flag.
        // SAFETY: with IORING_ENTER_EXT_ARG the kernel reads one SubmitArgs; without, no pointer.
        let done = unsafe {
            match want {
                0 => self.uring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None),
                _ => self.uring.submitter().enter(queued, want, GETEVENTS | EXT_ARG, Some(&args)),
            }
        };
        done.map(drop)
    }

    /// Moves all completions out of the shared queue and says how many.
    pub fn gather(&mut self) -> usize {
        let before = self.ready.len();
        let mut ended = 0;
        self.ready.extend(self.uring.completion().inspect(|entry| ended += usize::from(!cqueue::more(entry.flags()))));
        self.in_flight -= ended;
        self.ready.len() - before
    }

    /// The next completion that was gathered.
    pub fn next(&mut self) -> Option<cqueue::Entry> {
        self.ready.pop_front()
    }

    /// Whether completions can be had without entering: gathered, or in the shared queue.
    pub fn has_some(&mut self) -> bool {
        !self.ready.is_empty() || !self.uring.completion().is_empty()
    }

    /// Whether entries wait to be handed over.
    pub fn has_queued(&mut self) -> bool {
        !self.uring.submission().is_empty()
    }

    /// Whether entering would bring completions: deferred ones (seen only with IORING_SETUP_TASKRUN_FLAG), and those that did
    /// not fit into the queue.
    pub fn kernel_has_some(&mut self) -> bool {
        let flags = self.uring.submission();
        flags.taskrun() || flags.cq_overflow()
    }

    /// Cancels all that is in flight and gathers its completions. False if the kernel would not within [`QUIET_WAIT`].
    pub fn quiet(&mut self) -> bool {
        let began = Instant::now();
        // What was queued and never handed over, the kernel does not know.
        let queued = self.uring.submission().len();
        loop {
            self.gather();
            if self.in_flight <= queued {
                return true;
            }
            // IORING_REGISTER_SYNC_CANCEL (Linux 6.0). It ends what waits for a socket; the completions come with an enter.
            let wait = Some(Timespec::from(QUIET_WAIT));
            let cancelled = self.uring.submitter().register_sync_cancel(wait, CancelBuilder::any());
            if cancelled.is_err() || began.elapsed() >= QUIET_WAIT {
                return false;
            }
            match self.enter_with(0, 1, QUIET_STEP) {
                Err(error) if !passes(&error) => return false,
                _ => {}
            }
        }
    }
}

impl Drop for Ring {
    /// Closing a ring ends its operations some time after close(2) has returned (io_uring_setup(2)), so they are ended here,
    /// before buffers and sends' bytes go. Where that fails, the close remains: it cancels what waits for a socket, and
    /// a cancelled receive or send moves no byte.
    fn drop(&mut self) {
        self.quiet();
    }
}

/// Nothing came in time, a signal did, completions must be taken first, or memory is short: no fault of the ring's.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
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
    fn register(uring: &IoUring, count: u16, size: u32) -> io::Result<Buffers> {
        if !count.is_power_of_two() || count > 1 << 15 || size == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a power of two of buffers, at most 32768"));
        }
        let mut ring = Shared::new(usize::from(count) * size_of::<BufRingEntry>());
        let base = ring.base() as u64;
        let register = |flags| {
            // SAFETY: `ring` has room for `count` entries and is page-aligned; it goes behind the io_uring of its `Ring`,
            // which has no operation left by then. Fails without it: net/tests.rs, a ring that ends is quiet.
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

    /// One buffer serves several receives.
    pub fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// How many receives of `bytes` bytes each they take.
    pub fn room_for(&self, bytes: usize) -> usize {
        // What is not incremental gives a whole buffer to each.
        if self.incremental { self.len() / bytes } else { self.uses.len() }
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

    /// The bytes of a piece, to be written over.
    pub fn bytes_mut(&mut self, piece: Piece) -> &mut [u8] {
        // SAFETY: as in `bytes`; the kernel does not look at what it has written, and no other piece covers these.
        unsafe { std::slice::from_raw_parts_mut(self.at(piece).cast_mut(), piece.len as usize) }
    }

    /// The bytes of a piece.
    pub fn bytes(&mut self, piece: Piece) -> &[u8] {
        // SAFETY: `at` asserts that the piece lies inside the memory, which is initialised; the kernel has written it and
        // does not again before `put` takes the piece back.
        unsafe { std::slice::from_raw_parts(self.at(piece), piece.len as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece may be one byte: 65,537 of them in one buffer overflowed a count of 16 bits.
    #[test]
    fn a_buffer_may_be_held_in_more_pieces_than_16_bits_count() {
        let uring = IoUring::new(8).expect("io_uring_setup(2)");
        let mut ring = Ring::new(uring, 1, 128 << 10).expect("buffers");
        // IORING_CQE_F_BUFFER and IORING_CQE_F_BUF_MORE, buffer 0.
        let (some, last) = (1 | 16, 1);
        let mut pieces: Vec<_> = (0..65_537).map(|_| ring.buffers.take(some, 1)).collect();
        pieces.push(ring.buffers.take(last, 1));
        let given_back = ring.buffers.tail;
        for piece in pieces {
            assert_eq!(ring.buffers.tail, given_back, "a buffer goes back with its last piece");
            ring.buffers.put(piece);
        }
        assert_eq!(ring.buffers.tail, given_back.wrapping_add(1));
    }
}
