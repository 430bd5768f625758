//! Owns the table of a core's accepts, one for each listener: whether it is with the kernel, when it is tried again, whether connections may
//! still begin there, and how often the log says that accepts fail. Refuses to know the ring.

use std::sync::Arc;
use std::time::Duration;

use super::deadlines::Tick;
use super::inbox::Leaving;
use super::planted::planted;
use crate::ring::{Errno, Socket, Time};

/// How often the log says that accepts fail.
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its accept is with the kernel.
    Armed,
    /// To be armed at the end of the turn.
    Ended,
    /// To be armed at this time, or when a slot is freed.
    Waiting(Time),
    /// Its accept is being cancelled, because nobody waited and accepting is to end.
    Leaving,
    /// Stopped for good.
    Closed,
}

/// Whether connections may still begin at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// None begins; those whose handshake was under way have until then to come.
    Ajar(Time),
    /// None begins, and none is under way.
    Shut,
}

/// What an accept brought, to the accept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A connection, or the end of one that was not accepted yet (accept(2)).
    Fine,
    /// It was cancelled by us.
    Cancelled,
    /// Nothing, and the next one may bring nothing either.
    Failed,
}

impl Brought {
    pub(super) fn of(result: &Result<Socket, Errno>) -> Self {
        match result {
            Ok(_) | Err(Errno(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN)) => Brought::Fine,
            Err(Errno(libc::ECANCELED)) => Brought::Cancelled,
            Err(_) => Brought::Failed,
        }
    }
}

impl State {
    /// When it is to be armed, if it is: at once is long ago.
    pub(super) fn arms_at(self) -> Option<Time> {
        match self {
            State::Ended => Some(Time::default()),
            State::Waiting(at) => planted!(RetryLost, None; Some(at)),
            State::Armed => planted!(TwoAccepts, Some(Time::default()); None),
            State::Leaving | State::Closed => None,
        }
    }

    /// Where the end of an accept leads.
    pub(super) fn after(self, brought: Brought, retry_at: Time) -> State {
        assert!(matches!(self, State::Armed | State::Leaving), "an accept ended that is {self:?}");
        match brought {
            Brought::Failed => State::Waiting(retry_at),
            Brought::Fine | Brought::Cancelled => planted!(AcceptLost, self; State::Ended),
        }
    }
}

/// The accepts of one core.
pub(crate) struct Listeners {
    pub(super) states: Vec<State>,
    doors: Vec<Door>,
    /// When something is to be done next, an accept to be armed or a door to be shut: each pass asks this, and both change rarely.
    pub(super) next_at: Option<Time>,
    /// When stopping: until then who waits to be accepted is, if accepts succeed.
    pub(super) until: Option<Tick>,
    /// Those that another process has too. None: nobody has said, and nobody waits for this core to leave.
    pub(super) shared: Option<Arc<[bool]>>,
    /// What other threads were told of how far they are, and when it is looked again whether anybody who was accepted is not open yet.
    pub(super) leaving: Leaving,
    pub(super) look_at: Option<Time>,
    /// Until when that is looked for.
    pub(super) left_by: Option<Time>,
    /// When the log may say again that accepts fail, and how many did since it last did.
    told_again_at: Time,
    untold: u64,
}

impl Listeners {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            states: vec![State::Ended; count as usize],
            doors: vec![Door::Open; count as usize],
            next_at: (count > 0).then(Time::default),
            until: None,
            shared: None,
            leaving: Leaving::default(),
            look_at: None,
            left_by: None,
            told_again_at: Time::default(),
            untold: 0,
        }
    }

    pub(super) fn set(&mut self, listener: u32, state: State) {
        self.states[listener as usize] = state;
        self.look_ahead();
    }

    fn look_ahead(&mut self) {
        let shuts_at = |(door, state): (&Door, &State)| match door {
            Door::Ajar(at) if !matches!(state, State::Leaving | State::Closed) => Some(*at),
            _ => None,
        };
        let shuts_at = self.doors.iter().zip(&self.states).filter_map(shuts_at).min();
        self.next_at = self.states.iter().filter_map(|state| state.arms_at()).chain(shuts_at).min();
    }

    /// How far the end of a listener's connections has come by now.
    pub(super) fn door(&mut self, listener: u32, now: Time) -> Door {
        match self.doors[listener as usize] {
            Door::Ajar(at) if at <= now => self.set_door(listener, Door::Shut),
            door => door,
        }
    }

    pub(super) fn set_door(&mut self, listener: u32, door: Door) -> Door {
        self.doors[listener as usize] = door;
        self.look_ahead();
        door
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

    /// Another process has this listener too: who waits there is its, and nothing is to be done to the socket.
    pub(super) fn is_shared(&self, listener: u32) -> bool {
        self.shared.as_ref().and_then(|shared| shared.get(listener as usize)).copied().unwrap_or(false)
    }

    /// When a failed accept is to be tried again, or a listener that is to be closed is to be looked at, or those who were accepted before.
    pub(crate) fn retry_at(&self) -> Option<Time> {
        self.next_at.into_iter().chain(self.look_at).min()
    }

    /// All listeners are closed, and no accept is with the kernel.
    pub(crate) fn are_closed(&self) -> bool {
        self.states.iter().all(|state| *state == State::Closed)
    }

    /// An accept failed. ENFILE is what a ring says that has no room, before the system says it.
    pub(super) fn note_failure(&mut self, listener: u32, errno: Errno, now: Time) {
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
            tracing::warn!(listener, count, errno = errno.0, "accepts fail: {errno}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core without listeners once never slept.
    #[test]
    fn nothing_is_tried_again_where_nothing_listens() {
        assert_eq!(Listeners::new(0).retry_at(), None);
        assert_eq!(Listeners::new(1).retry_at(), Some(Time::default()));
    }

    #[test]
    fn every_end_of_an_accept_leads_somewhere() {
        let at = Time::from_nanos(7);
        assert_eq!(State::Armed.after(Brought::Fine, at), State::Ended);
        assert_eq!(State::Armed.after(Brought::Cancelled, at), State::Ended);
        assert_eq!(State::Armed.after(Brought::Failed, at), State::Waiting(at));
    }

    /// An open door has no time, and the door of a listener that leaves wakes nobody.
    #[test]
    fn a_door_is_shut_in_time() {
        let at = |nanos| Time::from_nanos(nanos);
        let mut listeners = Listeners::new(2);
        listeners.set(0, State::Armed);
        listeners.set(1, State::Armed);
        assert_eq!((listeners.retry_at(), listeners.door(0, at(5))), (None, Door::Open));
        for (listener, until) in [(0, 70), (1, 90)] {
            listeners.set_door(listener, Door::Ajar(at(until)));
        }
        assert_eq!((listeners.retry_at(), listeners.door(0, at(69))), (Some(at(70)), Door::Ajar(at(70))));
        assert_eq!((listeners.door(0, at(70)), listeners.retry_at()), (Door::Shut, Some(at(90))));
        listeners.set(1, State::Leaving);
        assert_eq!(listeners.retry_at(), None);
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
