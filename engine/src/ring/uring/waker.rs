//! Wakes a ring from other threads: [`Waker`], and the ring's own side of it, [`Alarm`].
//!
//! Owns the eventfd that wakes a ring that sleeps, and the byte that says whether it does: whoever wakes a ring that runs or polls only
//! leaves a mark there, and makes no system call. Promises that no wake is lost. Refuses to know who wakes, and why.
//!
//! ```text
//! other threads: what is to be seen; if swap(state, RUNG) == SLEEPING: write(eventfd)
//! the ring:      before it sleeps:  compare_exchange(state, AWAKE, SLEEPING), and if that fails it has been rung and polls
//!                behind its sleep:  compare_exchange(state, SLEEPING, AWAKE)
//!                when it tells:     swap(state, AWAKE); what is to be seen is seen
//! ```
//! Every change of the state reads the one before it, in the one order that all changes of an atomic have. So a swap to RUNG is either in
//! front of the ring's change to SLEEPING, which then fails, or behind it, and then it finds SLEEPING and writes. And the swap that
//! tells finds each RUNG in front of it, or one that follows that in its release sequence: with Acquire it sees all that was written
//! before any of them. Nothing depends on the order of two different atomics, so no fence and no SeqCst is needed.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::setup::SetupError;
use crate::ring::{Kind, Token};

/// It runs, or polls, and looks here before it sleeps.
const AWAKE: u8 = 0;
/// It sleeps, or is about to: a write wakes it.
const SLEEPING: u8 = 1;
/// It was woken, and has not told.
const RUNG: u8 = 2;

/// Wakes a ring that waits, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    state: AtomicU8,
    writes: AtomicU64,
}

impl Waker {
    /// Of a ring that is yet to be made: [`Uring::new`](super::Uring::new) takes it. What wakes it before is not lost. Costs a descriptor.
    ///
    /// # Errors
    /// If the process or the machine has no descriptor left.
    pub fn new() -> Result<Self, SetupError> {
        // SAFETY: eventfd(2) takes no pointers; a negative result is an error and is handled.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(SetupError::new("the waker", 1, io::Error::last_os_error()));
        }
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(Bell { fd, state: AtomicU8::new(AWAKE), writes: AtomicU64::new(0) })))
    }

    /// Completes the ring's [`Op::Wake`](crate::ring::Op::Wake); what was written before is seen by whoever is told of that. One write(2)
    /// if the ring sleeps and nobody has woken it yet, else no system call. Wakes that come before the operation is submitted again are
    /// not lost.
    #[inline]
    pub fn wake(&self) {
        if self.0.state.swap(RUNG, Ordering::AcqRel) == SLEEPING {
            self.0.write();
        }
    }

    /// How often [`Self::wake`] found the ring asleep, and made a system call.
    #[cfg(any(test, feature = "unstable-ring"))]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }
}

impl Bell {
    #[cold]
    fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let one = 1_u64.to_ne_bytes();
        // SAFETY: write(2) reads 8 bytes through a valid pointer. It fails only when the counter is at its maximum,
        // and then the ring is about to wake anyway.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// The ring's own side of its waker.
pub(in crate::ring) struct Alarm {
    waker: Waker,
    /// Of the [`Op::Wake`](crate::ring::Op::Wake) that has not completed.
    token: Option<Token>,
    /// The eventfd is being read: once for many wakes, because most of them write nothing.
    reads: bool,
    /// It was rung by the last look: told once a pass, so that nobody who rings without end holds up a pass.
    rung: bool,
    /// What is read: eight bytes of a counter that nobody looks at.
    count: Box<u64>,
}

impl Alarm {
    pub(in crate::ring) fn new(waker: Waker) -> Self {
        Self { waker, token: None, reads: false, rung: false, count: Box::new(0) }
    }

    #[cfg(any(test, feature = "unstable-ring"))]
    pub(in crate::ring) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// What becomes readable when a ring is woken that sleeps.
    pub(in crate::ring) fn bell(&self) -> &OwnedFd {
        &self.waker.0.fd
    }

    /// Sets it, for a ring that watches the [`bell`](Self::bell).
    pub(in crate::ring) fn set(&mut self, token: Token) {
        assert_eq!(token.kind(), Kind::Wake, "by another kind something else would complete");
        self.token = Some(token);
    }

    /// Sets it, for a ring that reads the bell; with what to hand to the kernel, if the kernel does not have that still.
    pub(super) fn arm(&mut self, token: Token) -> Option<squeue::Entry> {
        self.set(token);
        if std::mem::replace(&mut self.reads, true) {
            return None;
        }
        let (fd, count) = (Fd(self.waker.0.fd.as_raw_fd()), &raw mut *self.count);
        Some(opcode::Read::new(fd, count.cast(), 8).build().user_data(token.to_bits()))
    }

    /// Somebody rings, and the ring is to tell of that.
    #[inline]
    pub(in crate::ring) fn is_rung(&self) -> bool {
        self.waker.0.state.load(Ordering::Relaxed) == RUNG && self.token.is_some()
    }

    /// The ring is about to sleep. False: it must not, for it is rung.
    #[inline]
    pub(in crate::ring) fn sleep(&self) -> bool {
        let state = &self.waker.0.state;
        state.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Relaxed).is_ok() || self.token.is_none()
    }

    /// The ring has slept.
    #[inline]
    pub(in crate::ring) fn wake_up(&self) {
        let _ = self.waker.0.state.compare_exchange(SLEEPING, AWAKE, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// A pass begins.
    #[inline]
    pub(in crate::ring) fn look(&mut self) {
        self.rung = self.is_rung();
    }

    /// All else of the pass has been told: now that it was rung, if it was.
    #[inline]
    pub(in crate::ring) fn tell(&mut self) -> Option<Token> {
        if self.rung { self.take() } else { None }
    }

    /// The eventfd was read: that is to be told, unless it has been.
    pub(super) fn on_read(&mut self) -> Option<Token> {
        self.reads = false;
        self.take()
    }

    fn take(&mut self) -> Option<Token> {
        self.rung = false;
        let token = self.token.take()?;
        self.waker.0.state.swap(AWAKE, Ordering::AcqRel);
        Some(token)
    }

    /// The kernel may write what it reads for as long as it likes.
    pub(super) fn keep_for_ever(&mut self) {
        std::mem::forget(std::mem::take(&mut self.count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAKE: Token = Token::new(Kind::Wake, 0, 0);

    fn armed() -> (Waker, Alarm) {
        let waker = Waker::new().expect("a descriptor");
        let mut alarm = Alarm::new(waker.clone());
        assert!(alarm.arm(WAKE).is_some() && alarm.arm(WAKE).is_none(), "the eventfd is read once");
        (waker, alarm)
    }

    #[test]
    fn a_ring_that_sleeps_is_woken_by_one_write() {
        let (waker, mut alarm) = armed();
        for slept in 1..4 {
            assert!(alarm.sleep());
            (0..1000).for_each(|_| waker.wake());
            assert_eq!(waker.writes(), slept);
            alarm.wake_up();
            alarm.look();
            (0..1000).for_each(|_| waker.wake());
            assert_eq!((alarm.tell(), alarm.tell()), (Some(WAKE), None));
            alarm.arm(WAKE);
            alarm.look();
            assert_eq!(alarm.tell(), None, "all of them were in front of that");
        }
        assert_eq!(waker.writes(), 3);
    }

    #[test]
    fn a_ring_that_is_rung_does_not_sleep() {
        let (waker, mut alarm) = armed();
        waker.wake();
        assert!(!alarm.sleep() && alarm.is_rung());
        alarm.look();
        assert_eq!((alarm.tell(), waker.writes()), (Some(WAKE), 0));
        // Nobody is to be told: then it sleeps, and what has rung meanwhile is told once somebody is.
        waker.wake();
        assert!(!alarm.is_rung() && alarm.sleep());
        alarm.wake_up();
        assert!(alarm.arm(WAKE).is_none());
        assert!(alarm.is_rung() && !alarm.sleep());
    }

    /// The write of a wake that was told of already comes late: it wakes the ring once more, and that is all.
    #[test]
    fn a_late_write_is_one_wake_more() {
        let (waker, mut alarm) = armed();
        assert!(alarm.sleep());
        waker.wake();
        alarm.wake_up();
        alarm.look();
        assert_eq!(alarm.tell(), Some(WAKE));
        assert_eq!(alarm.on_read(), None, "nobody is to be told");
        assert!(alarm.arm(WAKE).is_some(), "it is read again");
        assert_eq!(alarm.on_read(), Some(WAKE));
    }
}
