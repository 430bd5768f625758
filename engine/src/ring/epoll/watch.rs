//! What is ready: the epoll instance of one thread, and the timer by which a wait ends.
//!
//! Owns both, and what the last look found. Promises that a wait ends no earlier than asked, and as soon behind that as the kernel's
//! timers are exact: epoll_wait(2) counts milliseconds, so the end of a wait is a timer that is watched like a socket
//! (timerfd_create(2)), which is set anew only when that end changes. Everything is watched for changes (EPOLLET), so nothing that stays
//! ready is told twice. Refuses to know what is behind a token.

use std::io;
use std::os::fd::AsFd;

use nix::errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::ring::{Kind, Time, Token};

/// Of the timer.
const TIMER: Token = Token::new(Kind::Cancel, 0, 0);

/// How many are told of at once; more are told by the next look.
const EVENTS: usize = 1024;

/// Bytes, an end, or urgent bytes (tcp(7)) have come; or what says nothing of bytes: an error, and the end of both directions, which are always told.
pub(super) const TO_READ: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLPRI).union(EpollFlags::EPOLLET);
/// There is room to send, too.
pub(super) const TO_READ_AND_WRITE: EpollFlags = TO_READ.union(EpollFlags::EPOLLOUT);

/// See the module.
pub(super) struct Watch {
    epoll: Epoll,
    timer: TimerFd,
    /// When the timer goes off; `None` when it has.
    goes_off: Option<Time>,
    events: Box<[EpollEvent]>,
    found: usize,
    /// System calls made here.
    pub(super) calls: u64,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(timer.as_fd(), EpollEvent::new(TO_READ, TIMER.to_bits()))?;
        Ok(Self { epoll, timer, goes_off: None, events: [EpollEvent::empty(); EVENTS].into(), found: 0, calls: 0 })
    }

    /// Watches from now on, and tells what is ready already.
    pub(super) fn add(&mut self, what: impl AsFd, token: Token, flags: EpollFlags) -> io::Result<()> {
        self.calls += 1;
        Ok(self.epoll.add(what, EpollEvent::new(flags, token.to_bits()))?)
    }

    /// Watches for other things, and tells of those that are there already.
    pub(super) fn change(&mut self, what: impl AsFd, token: Token, flags: EpollFlags) -> io::Result<()> {
        self.calls += 1;
        Ok(self.epoll.modify(what, &mut EpollEvent::new(flags, token.to_bits()))?)
    }

    /// Watches no more. Closing does that by itself where nobody else has the same.
    pub(super) fn forget(&mut self, what: impl AsFd) {
        self.calls += 1;
        let _ = self.epoll.delete(what); // it was added
    }

    /// Finds out what has become ready since the last look.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.wait(EpollTimeout::ZERO)
    }

    /// Sleeps until something becomes ready, or `until`.
    pub(super) fn sleep(&mut self, until: Option<Time>) -> io::Result<()> {
        if let Some(until) = until
            && self.goes_off != Some(until)
        {
            self.calls += 1;
            let nanos = until.as_nanos().max(1); // zero would stop it
            let at = TimeSpec::new((nanos / 1_000_000_000) as _, (nanos % 1_000_000_000) as _);
            self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.goes_off = Some(until);
        }
        self.wait(EpollTimeout::NONE)
    }

    fn wait(&mut self, timeout: EpollTimeout) -> io::Result<()> {
        self.calls += 1;
        self.found = match self.epoll.wait(&mut self.events, timeout) {
            Ok(found) => found,
            Err(errno::Errno::EINTR) => 0, // the next pass's to go on with
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// What the last look found, by its place there.
    #[inline]
    pub(super) fn found(&mut self, at: usize) -> Option<(Token, EpollFlags)> {
        let event = self.events[..self.found].get(at)?;
        if event.data() == TIMER.to_bits() {
            // A timer that has gone off wakes nobody again, whatever the next wait is until.
            self.goes_off = None;
        }
        Some((Token::from_bits(event.data()), event.events()))
    }

    /// The last look may have left something for the next.
    pub(super) fn is_full(&self) -> bool {
        self.found == EVENTS
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::ring::uring::monotonic;

    const ONE: Token = Token::new(Kind::Recv, 7, 1);

    /// Also again until the same time and until an earlier one, though the timer has gone off.
    #[test]
    fn a_sleep_ends_at_its_time() {
        let mut watch = Watch::new().expect("descriptors");
        for micros in [0_u64, 1, 300, 1_300] {
            let until = monotonic().plus(Duration::from_micros(micros));
            for again in [until, until, Time::default()] {
                watch.sleep(Some(again)).expect("it works");
                assert!(monotonic() >= again);
                assert_eq!(watch.found(0).map(|(token, _)| token), Some(TIMER));
                assert_eq!(watch.goes_off, None);
            }
        }
    }

    #[test]
    fn the_timer_is_set_when_its_time_changes() {
        let mut watch = Watch::new().expect("descriptors");
        let (ours, mut theirs) = UnixStream::pair().expect("two sockets");
        watch.add(&ours, ONE, TO_READ).expect("it is watched");
        let until = monotonic().plus(Duration::from_secs(3600));
        for round in 0..3 {
            theirs.write_all(b"x").expect("it goes out");
            let before = watch.calls;
            watch.sleep(Some(until)).expect("it works");
            assert_eq!(watch.calls - before, if round == 0 { 2 } else { 1 });
            assert_eq!(watch.found(0).map(|(token, _)| token), Some(ONE));
        }
    }

    /// What stays ready is not told again; what becomes ready is, though what came before has not been read.
    #[test]
    fn a_change_is_told_once() {
        let mut watch = Watch::new().expect("descriptors");
        let (mut ours, mut theirs) = UnixStream::pair().expect("two sockets");
        theirs.write_all(b"one").expect("it goes out");
        watch.add(&ours, ONE, TO_READ).expect("it is watched");
        watch.look().expect("it works");
        assert!(matches!(watch.found(0), Some((ONE, flags)) if flags.contains(EpollFlags::EPOLLIN)));
        assert_eq!(watch.found(1), None);
        watch.look().expect("it works");
        assert_eq!(watch.found(0), None);
        theirs.write_all(b"two").expect("it goes out");
        watch.look().expect("it works");
        assert!(watch.found(0).is_some());
        assert_eq!(ours.read(&mut [0; 9]).expect("they are there"), 6);
        // Other things are told at once if they are there.
        watch.change(&ours, ONE, TO_READ_AND_WRITE).expect("it is watched");
        watch.look().expect("it works");
        assert!(matches!(watch.found(0), Some((ONE, flags)) if flags == EpollFlags::EPOLLOUT));
        drop(theirs);
        watch.look().expect("it works");
        assert!(matches!(watch.found(0), Some((ONE, flags)) if flags.contains(EpollFlags::EPOLLRDHUP)));
    }
}
