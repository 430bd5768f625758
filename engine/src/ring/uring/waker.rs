//! Wakes a ring from other threads: [`Waker`].
//!
//! Owns the eventfd that the ring's [`Op::Wake`](crate::ring::Op::Wake) reads. Refuses to know who wakes, and why.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::setup::SetupError;

/// Wakes a ring that waits, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

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
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Completes the ring's [`Op::Wake`](crate::ring::Op::Wake). One write(2); wakes that come before it is armed again are not lost.
    pub fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: write(2) reads 8 bytes through a valid pointer. It fails only when the counter is at its maximum,
        // and then the ring is about to wake anyway.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// What the ring reads.
    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
