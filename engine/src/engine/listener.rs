//! Owns accepting: one multishot accept a listener, re-armed whenever it ends, and the connection cap.
//!
//! An accept that fails for want of sockets, descriptors or memory, or for a reason that nobody listed, is tried again when a slot is
//! freed or after a short while, and open connections never notice: so no error of the kernel's can have a core do nothing but
//! accept. Each is counted; the log has one line of them in [`TOLD_EVERY`], because peers can bring them about.

use std::time::Duration;

use super::conns::{Conn, Phase};
use super::core::Core;
use super::id::Origin;
use super::tokens::CANCEL_ACCEPT;
use crate::handler::Handler;
use crate::ring::{Errno, Kind, Op, Ring, Socket, Time, Token};

/// How long a failed accept waits unless a slot is freed before.
const RETRY: Duration = Duration::from_millis(100);
/// How often the log says that accepts fail.
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its accept is with the kernel.
    Armed,
    /// To be armed at the end of the turn.
    Ended,
    /// To be armed at this time, or when a slot is freed.
    Waiting(Time),
    /// Stopped for good.
    Closed,
}

/// What an accept brought, to the accept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    /// A connection, or the end of one that was not accepted yet (accept(2)).
    Fine,
    /// It was cancelled by us.
    Cancelled,
    /// Nothing, and the next one may bring nothing either.
    Failed,
}

impl Brought {
    fn of(result: &Result<Socket, Errno>) -> Self {
        match result {
            Ok(_) | Err(Errno(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN)) => Brought::Fine,
            Err(Errno(libc::ECANCELED)) => Brought::Cancelled,
            Err(_) => Brought::Failed,
        }
    }
}

impl State {
    /// When it is to be armed, if it is: at once is long ago.
    fn arms_at(self) -> Option<Time> {
        match self {
            State::Ended => Some(Time::default()),
            State::Waiting(at) => Some(at),
            State::Armed | State::Closed => None,
        }
    }

    /// Where the end of an accept leads.
    fn after(self, brought: Brought, retry_at: Time) -> State {
        assert!(self == State::Armed, "an accept ended that is {self:?}");
        match brought {
            Brought::Failed => State::Waiting(retry_at),
            Brought::Fine | Brought::Cancelled => State::Ended,
        }
    }
}

/// The accepts of one core.
pub(crate) struct Listeners {
    states: Vec<State>,
    /// When the first of those that are to be armed is to be armed: each pass asks this, and the states change rarely.
    next_at: Option<Time>,
    /// When the log may say again that accepts fail, and how many did since it last did.
    told_again_at: Time,
    untold: u64,
}

impl Listeners {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            states: vec![State::Ended; count as usize],
            next_at: Some(Time::default()),
            told_again_at: Time::default(),
            untold: 0,
        }
    }

    fn set(&mut self, listener: u32, state: State) {
        self.states[listener as usize] = state;
        self.next_at = self.states.iter().filter_map(|state| state.arms_at()).min();
    }

    pub(crate) fn on_slot_freed(&mut self) {
        // Every connection that ends asks, and hardly ever does an accept wait.
        if self.next_at.is_none() {
            return;
        }
        for listener in 0..self.states.len() {
            if matches!(self.states[listener], State::Waiting(_)) {
                self.set(listener as u32, State::Ended);
            }
        }
    }

    /// When a failed accept is to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.next_at
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.states.contains(&State::Armed)
    }

    /// An accept failed. ENFILE is what a ring says that has no room, before the system says it.
    fn note_failure(&mut self, listener: u32, errno: Errno, now: Time) {
        self.untold += 1;
        if now < self.told_again_at {
            return;
        }
        let count = std::mem::take(&mut self.untold);
        self.told_again_at = now.plus(TOLD_EVERY);
        if errno.0 == libc::ENFILE {
            tracing::warn!(
                listener,
                count,
                "no room for a connection more, also to tell it so: the connection cap is reached"
            );
        } else {
            tracing::warn!(listener, count, errno = errno.0, "accepts fail: {errno:?}");
        }
    }
}

impl<R: Ring, H: Handler> Core<R, H> {
    /// Arms each accept that has ended and whose time has come.
    pub(super) fn arm_accepts(&mut self) {
        let now = self.ring.now();
        if self.listeners.next_at.is_none_or(|at| at > now) {
            return;
        }
        for listener in 0..self.listeners.states.len() as u32 {
            if self.listeners.states[listener as usize].arms_at().is_some_and(|at| at <= now) {
                self.listeners.set(listener, State::Armed);
                self.ring.submit(Token::new(Kind::Accept, 0, listener), Op::Accept { listener });
            }
        }
    }

    /// Ends all accepts; a listener closes when its accept has ended.
    pub(super) fn cancel_accepts(&mut self) {
        for listener in 0..self.listeners.states.len() as u32 {
            match self.listeners.states[listener as usize] {
                State::Armed => {
                    let target = Token::new(Kind::Accept, 0, listener);
                    self.ring.submit(CANCEL_ACCEPT, Op::Cancel { target });
                }
                State::Closed => {}
                State::Ended | State::Waiting(_) => {
                    self.listeners.set(listener, State::Closed);
                    self.ring.unlisten(listener);
                }
            }
        }
    }

    pub(super) fn on_accepted(&mut self, listener: u32, result: Result<Socket, Errno>, more: bool) {
        let now = self.ring.now();
        let brought = Brought::of(&result);
        if let (Brought::Failed, Err(errno)) = (brought, &result) {
            self.out.stats.accept_errors += 1;
            self.listeners.note_failure(listener, *errno, now);
        }
        if !more {
            let after = self.listeners.states[listener as usize].after(brought, now.plus(RETRY));
            if self.stopping.is_some() {
                self.listeners.set(listener, State::Closed);
                self.ring.unlisten(listener);
            } else {
                self.listeners.set(listener, after);
            }
        }
        if let Ok(socket) = result {
            self.insert(socket);
        }
    }

    /// A new connection of a peer.
    fn insert(&mut self, socket: Socket) {
        self.out.stats.accepted += 1;
        let full = self.admitted >= self.config.connections_max();
        let index = self.take_slot(socket, Phase::Head(Default::default(), None), self.config.handshake_timeout);
        #[cfg(feature = "tls")]
        if !self.secure(index) {
            return self.die(index);
        }
        if self.stopping.is_some() {
            self.die(index);
        } else if full {
            self.out.stats.full += 1;
            self.respond_full(index);
        } else {
            self.admit(index, Origin::Accepted);
        }
    }

    /// Counts a connection against the cap.
    pub(super) fn admit(&mut self, index: u32, origin: Origin) {
        let link = self.out.peers.touch(index);
        link.tenant = link.tenant.from(origin);
        self.admitted += 1;
    }

    /// A slot for a connection that is to open within `timeout`.
    pub(super) fn take_slot(&mut self, socket: Socket, phase: Phase<H::Conn>, timeout: Duration) -> u32 {
        let conn = Conn {
            phase,
            stash: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        let index = self.conns.insert(conn) as u32;
        self.out.peers.take(index, socket, self.out.now.after(timeout));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_an_accept_leads_somewhere() {
        let at = Time::from_nanos(7);
        assert_eq!(State::Armed.after(Brought::Fine, at), State::Ended);
        assert_eq!(State::Armed.after(Brought::Cancelled, at), State::Ended);
        assert_eq!(State::Armed.after(Brought::Failed, at), State::Waiting(at));
    }

    /// Connections that come and go at the cap once wrote a line each.
    #[test]
    fn the_log_has_a_line_now_and_then() {
        let mut listeners = Listeners::new(1);
        let times = (0..25_000_u64).map(|ms| Time::from_nanos(ms * 1_000_000));
        let told = times.filter(|now| {
            listeners.note_failure(0, Errno(libc::ENFILE), *now);
            listeners.untold == 0
        });
        assert_eq!(told.count(), 3, "at 0, 10 and 20 s");
    }

    /// An errno that nobody listed was once tried again at once, for ever.
    #[test]
    fn what_is_not_about_one_connection_waits() {
        for errno in
            [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EINVAL, libc::EPERM, libc::ENETDOWN]
        {
            assert_eq!(Brought::of(&Err(Errno(errno))), Brought::Failed, "{errno}");
        }
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EINTR, libc::EAGAIN] {
            assert_eq!(Brought::of(&Err(Errno(errno))), Brought::Fine, "{errno}");
        }
    }
}
