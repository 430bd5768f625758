//! Owns accepting: one multishot accept a listener, re-armed whenever it ends, and the connection cap.
//!
//! A full fixed-file table (ENFILE) or a process out of memory ends an accept; it is tried again when a slot is freed or
//! after a short while, and open connections never notice.

use std::time::Duration;

use super::conns::{Conn, Link, Phase, Stage, flag};
use super::turn::{CANCEL_ACCEPT, Core};
use crate::handler::Handler;
use crate::ring::{Errno, Kind, Op, Ring, Socket, Time, Token};

/// How long a failed accept waits unless a slot is freed before.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
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

/// The accepts of one core.
pub(crate) struct Listeners {
    states: Vec<State>,
}

impl Listeners {
    pub(crate) fn new(count: u32) -> Self {
        Self { states: vec![State::Ended; count as usize] }
    }

    pub(crate) fn on_slot_freed(&mut self) {
        for state in &mut self.states {
            if matches!(state, State::Waiting(_)) {
                *state = State::Ended;
            }
        }
    }

    /// When a failed accept is to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        let times = self.states.iter().filter_map(|state| match state {
            State::Waiting(at) => Some(*at),
            _ => None,
        });
        times.min()
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.states.contains(&State::Armed)
    }
}

impl<R: Ring, H: Handler> Core<R, H> {
    /// Arms each accept that has ended and whose time has come.
    pub(super) fn arm_accepts(&mut self) {
        let now = self.ring.now();
        for (listener, state) in self.listeners.states.iter_mut().enumerate() {
            let ready = match *state {
                State::Ended => true,
                State::Waiting(at) => at <= now,
                State::Armed | State::Closed => false,
            };
            if ready {
                *state = State::Armed;
                let listener = listener as u32;
                self.ring.submit(Token::new(Kind::Accept, 0, listener), Op::Accept { listener });
            }
        }
    }

    /// Ends all accepts; a listener closes when its accept has ended.
    pub(super) fn cancel_accepts(&mut self) {
        for (listener, state) in self.listeners.states.iter_mut().enumerate() {
            let listener = listener as u32;
            if *state == State::Armed {
                let target = Token::new(Kind::Accept, 0, listener);
                self.ring.submit(CANCEL_ACCEPT, Op::Cancel { target });
            } else if *state != State::Closed {
                *state = State::Closed;
                self.ring.unlisten(listener);
            }
        }
    }

    pub(super) fn on_accepted(&mut self, listener: u32, result: Result<Socket, Errno>, more: bool) {
        if !more {
            let state = &mut self.listeners.states[listener as usize];
            assert!(*state == State::Armed, "an accept ended twice");
            *state = match result {
                _ if self.stopping.is_some() => {
                    self.ring.unlisten(listener);
                    State::Closed
                }
                Err(Errno(libc::ENFILE | libc::EMFILE | libc::ENOMEM | libc::ENOBUFS)) => {
                    self.out.stats.accept_errors += 1;
                    State::Waiting(self.ring.now().plus(RETRY))
                }
                // ECONNABORTED and the like concern one connection; so does the end of a multishot.
                _ => State::Ended,
            };
        }
        if let Ok(socket) = result {
            self.insert(socket);
        }
    }

    /// A new connection of a peer.
    fn insert(&mut self, socket: Socket) {
        self.out.stats.accepted += 1;
        let full = self.admitted >= self.config.connections_max;
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
            self.out.link(index).raise(flag::ADMITTED);
            self.admitted += 1;
        }
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
        if self.out.links.len() <= index as usize {
            self.out.links.resize_with(index as usize + 1, Link::free);
        }
        let deadline = self.out.now.after(timeout);
        let now = self.out.now;
        let link = self.out.link(index);
        assert!(link.stage == Stage::Free && !link.is_busy(), "slot {index} was reused before its last completion");
        link.socket = socket;
        link.stage = Stage::Head;
        link.flags &= flag::DIRTY | flag::REPLAY_LISTED;
        link.active = now;
        link.deadline = deadline;
        self.out.deadlines.set(index, deadline);
        self.out.mark(index);
        index
    }
}
