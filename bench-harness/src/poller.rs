//! Edge-triggered epoll, as much of it as a byte echo needs.
//!
//! Owns: the epoll descriptor and the event array. Promises: safe calls, no allocation after `new`. Refuses to know: what
//! the descriptors are.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One descriptor that has become ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// As given to [`Poller::add`].
    pub token: u64,
    /// The socket takes bytes.
    pub writable: bool,
    /// The peer has ended its side or the socket has failed: read on to the end of stream, no further edge will come.
    pub hangup: bool,
}

/// An epoll instance (epoll(7)).
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready: usize,
}

impl Poller {
    /// Makes one that reports up to `batch` descriptors a wait. Fails as epoll_create1(2) does.
    pub fn new(batch: usize) -> io::Result<Poller> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us `fd`; nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Poller { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; batch.max(1)], ready: 0 })
    }

    /// Watches `socket` for both directions, once for its whole life: edges (EPOLLET) cost no epoll_ctl per message.
    /// The caller reads until a short read and writes until a short write, as epoll(7) asks. It forgets the socket when
    /// that closes. Fails as epoll_ctl(2) does.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        self.add_for(socket, token, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET)
    }

    /// Watches a listening socket, level-triggered.
    pub fn add_listener(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        self.add_for(socket, token, libc::EPOLLIN)
    }

    fn add_for(&self, socket: impl AsFd, token: u64, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open (borrowed), and `event` outlives the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for readiness, at most `timeout_ms` (0: does not block). Says how many are ready; a signal counts as none.
    pub fn wait(&mut self, timeout_ms: u16) -> io::Result<usize> {
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` has `room` writable entries and is borrowed mutably for the call.
        let ready =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, i32::from(timeout_ms)) };
        self.ready = 0;
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        }
        self.ready = ready as usize;
        Ok(self.ready)
    }

    /// The `index`th of the descriptors the last wait found ready.
    pub fn ready(&self, index: usize) -> Ready {
        assert!(index < self.ready, "event {index} of {}", self.ready);
        let event = self.events[index];
        let ended = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        Ready {
            token: event.u64,
            writable: event.events & libc::EPOLLOUT as u32 != 0,
            hangup: event.events & ended != 0,
        }
    }
}
