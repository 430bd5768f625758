//! Owns the dials of a core: what is to be connected, how far it has come, and when it is looked at again.
//!
//! A dial is one [`Target`] from [`connect`](crate::CoreCx::connect) to its end, over all its attempts. Each has at most one
//! timer. Nothing here submits an operation or calls back: `dialling` does.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use slab::Slab;

use super::planted::planted;
use super::timers::Timers;
use crate::cores::Place;
use crate::ring::{Time, Token};
use crate::target::Target;

/// Names a dial of one core, over all its attempts. A stale id is a quiet "gone", never another dial.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialId {
    place: Place,
    generation: u32,
    index: u32,
}

impl DialId {
    /// The place of the core that dials.
    pub const fn place(self) -> Place {
        self.place
    }
}

/// `place/index.generation`
impl fmt::Debug for DialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.place, self.index, self.generation)
    }
}

impl fmt::Display for DialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What callbacks about a dial are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dialled {
    /// As returned by [`connect`](crate::CoreCx::connect).
    pub id: DialId,
    /// The [`tag`](Target::tag) of its target.
    pub tag: u64,
    /// The number of this attempt: 1 for the first; begins anew after a connection that was healthy.
    pub attempt: u32,
}

/// How far a dial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// To be begun in this pass.
    Wanted,
    /// Its name is being looked up.
    Resolving,
    /// A connect is with the kernel, to this address.
    Connecting(SocketAddr),
    /// That connect took too long or is not wanted any more, and is being cancelled.
    Cancelling(SocketAddr),
    /// The connection of this index awaits the server's answer.
    Answering(u32),
    /// The connection of this index is open.
    Open(u32),
    /// Nothing is under way until its timer.
    Waiting,
    /// No further attempt is made: the application abandoned it, or the core stops.
    Leaving(Leaving),
}

/// What is still to end before a dial without further attempts is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// An attempt that nothing is under way for: the application is still to be told.
    Attempt,
    /// Nothing, and the application knows: it was between two attempts.
    Pause,
    /// A connect to this address, which is still to be cancelled.
    Connect(SocketAddr),
    /// The same, cancelled.
    Cancel(SocketAddr),
    /// The handshake on the connection of this index.
    Answer(u32),
    /// The open connection of this index.
    Connection(u32),
}

impl State {
    /// The same with no further attempt.
    fn leaving(self) -> Leaving {
        match self {
            Self::Wanted | Self::Resolving => Leaving::Attempt,
            Self::Connecting(addr) => Leaving::Connect(addr),
            Self::Cancelling(addr) => Leaving::Cancel(addr),
            Self::Answering(conn) => Leaving::Answer(conn),
            Self::Open(conn) => Leaving::Connection(conn),
            Self::Waiting => Leaving::Pause,
            Self::Leaving(leaving) => leaving,
        }
    }
}

pub(crate) struct Dial {
    pub(crate) generation: u32,
    /// Shared, so that it may be read while a callback reaches the dials.
    pub(crate) target: Rc<Target>,
    pub(crate) state: State,
    /// Addresses not tried yet.
    pub(crate) addrs: VecDeque<SocketAddr>,
    /// Attempts that failed in a row, and connections that were lost before they were healthy.
    pub(crate) failed: u32,
    /// It was begun before: what comes now is a new attempt.
    pub(crate) begun: bool,
    /// When its connection opened.
    pub(crate) opened_at: Time,
    /// The number of its timer; others of it are stale.
    timer: u64,
}

impl Dial {
    /// No further attempt is made from here on; what is still to end.
    pub(crate) fn leave(&mut self) -> Leaving {
        let leaving = self.state.leaving();
        self.state = State::Leaving(leaving);
        leaving
    }

    /// No further attempt is made.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving(_))
    }
}

/// All dials of a core.
pub(crate) struct Dials {
    place: Place,
    dials: Slab<Dial>,
    /// Each dial gets the next: no two that live at once share one.
    generation: u32,
    /// To be looked at in this pass: begun or abandoned.
    pub(crate) wanted: Vec<DialId>,
    timers: Timers,
    /// The dial of a connection, where there is one; as long as the highest index of these.
    by_conn: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Dials {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            dials: Slab::new(),
            generation: 0,
            wanted: Vec::new(),
            timers: Timers::default(),
            by_conn: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, target: Target) -> DialId {
        self.generation = (self.generation + 1) & Token::GENERATION_MASK;
        let index = self.dials.insert(Dial {
            generation: self.generation,
            target: Rc::new(target),
            state: State::Wanted,
            addrs: VecDeque::new(),
            failed: 0,
            begun: false,
            opened_at: Time::default(),
            timer: 0,
        }) as u32;
        let id = self.id_of(index);
        self.wanted.push(id);
        id
    }

    pub(crate) fn id_of(&self, index: u32) -> DialId {
        DialId { place: self.place, generation: self.dials[index as usize].generation, index }
    }

    /// The index of a dial that still exists.
    pub(crate) fn find(&self, id: DialId) -> Option<u32> {
        let dial = self.dials.get(id.index as usize)?;
        (id.place == self.place && id.generation == dial.generation).then_some(id.index)
    }

    /// The same by the numbers of a token.
    pub(crate) fn find_token(&self, index: u32, generation: u32) -> Option<u32> {
        self.find(DialId { place: self.place, generation, index })
    }

    pub(crate) fn dial(&mut self, index: u32) -> &mut Dial {
        &mut self.dials[index as usize]
    }

    pub(crate) fn dialled(&self, index: u32) -> Dialled {
        let dial = &self.dials[index as usize];
        Dialled { id: self.id_of(index), tag: dial.target.tag, attempt: dial.failed + 1 }
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.dials.remove(index as usize);
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.dials.is_empty()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.dials.clear();
        self.wanted.clear();
    }

    pub(crate) fn indices(&self) -> Vec<u32> {
        self.dials.iter().map(|(index, _)| index as u32).collect()
    }

    /// The application wants no further attempt.
    pub(crate) fn abandon(&mut self, id: DialId) {
        if let Some(index) = self.find(id) {
            self.dial(index).leave();
            self.wanted.push(id);
        }
    }

    /// Sets the timer of a dial, instead of one that it has.
    pub(crate) fn set_timer(&mut self, index: u32, at: Time) {
        self.dial(index).timer = self.timers.set(at, index);
    }

    pub(crate) fn clear_timer(&mut self, index: u32) {
        self.dial(index).timer = 0;
    }

    /// Whether a dial has this timer still.
    pub(crate) fn has_timer(&self, index: u32, timer: u64) -> bool {
        self.dials.get(index as usize).is_some_and(|dial| dial.timer == timer)
    }

    /// When the next timer comes, or one that is not wanted any more.
    pub(crate) fn next_due(&self) -> Option<Time> {
        if !self.wanted.is_empty() {
            return Some(Time::default());
        }
        self.timers.next_due()
    }

    /// The last timer that was set: what is set from here on has a later one.
    pub(crate) fn last_timer(&self) -> u64 {
        self.timers.last()
    }

    /// A dial whose time has come, of the timers up to `last`.
    pub(crate) fn pop_due(&mut self, now: Time, last: u64) -> Option<u32> {
        while let Some((timer, index)) = self.timers.pop_due(now, last) {
            if let Some(dial) =
                self.dials.get_mut(index as usize).filter(|dial| planted!(DialTimerKept, true; dial.timer == timer))
            {
                dial.timer = 0;
                return Some(index);
            }
        }
        None
    }

    /// The connection `conn` is of this dial.
    pub(crate) fn tie(&mut self, conn: u32, index: u32) {
        if self.by_conn.len() <= conn as usize {
            self.by_conn.resize(conn as usize + 1, NONE);
        }
        self.by_conn[conn as usize] = index;
    }

    /// The dial of a connection, which it is no longer.
    pub(crate) fn untie(&mut self, conn: u32) -> Option<u32> {
        let tied = self.by_conn.get_mut(conn as usize)?;
        planted!(DialTied, return Some(*tied).filter(|&index| index != NONE));
        Some(std::mem::replace(tied, NONE)).filter(|&index| index != NONE)
    }

    /// The dial of a connection.
    pub(crate) fn of_conn(&self, conn: u32) -> Option<DialId> {
        let index = *self.by_conn.get(conn as usize).filter(|&&index| index != NONE)?;
        Some(self.id_of(index))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::default().plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_dial_has_one_timer_and_stale_ones_are_skipped() {
        let mut dials = Dials::new(Place::new(0));
        let [first, second] =
            [0, 1].map(|_| dials.add(Target::new("ws://127.0.0.1/").expect("a URL"))).map(|id| dials.find(id).unwrap());
        dials.wanted.clear();
        dials.set_timer(first, at(10));
        dials.set_timer(second, at(20));
        dials.set_timer(first, at(30));
        assert_eq!(dials.pop_due(at(15), u64::MAX), None, "its first timer was replaced");
        assert_eq!(dials.pop_due(at(40), u64::MAX), Some(second));
        dials.remove(first);
        assert_eq!(dials.pop_due(at(40), u64::MAX), None, "it is gone");
        assert_eq!(dials.next_due(), None);
    }

    /// What is set while timers are worked on waits for the next round, however early it is due.
    #[test]
    fn a_timer_set_for_at_once_waits_for_the_next_round() {
        let mut dials = Dials::new(Place::new(0));
        let id = dials.add(Target::new("ws://127.0.0.1/").expect("a URL"));
        let index = dials.find(id).expect("there");
        dials.set_timer(index, at(10));
        let last = dials.last_timer();
        assert_eq!(dials.pop_due(at(10), last), Some(index));
        dials.set_timer(index, at(10));
        assert_eq!(dials.pop_due(at(10), last), None);
        assert_eq!(dials.pop_due(at(10), dials.last_timer()), Some(index));
    }

    #[test]
    fn a_dial_that_leaves_ends_what_is_under_way_and_stays_left() {
        let addr: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        for (state, leaving) in [
            (State::Wanted, Leaving::Attempt),
            (State::Resolving, Leaving::Attempt),
            (State::Connecting(addr), Leaving::Connect(addr)),
            (State::Cancelling(addr), Leaving::Cancel(addr)),
            (State::Answering(7), Leaving::Answer(7)),
            (State::Open(7), Leaving::Connection(7)),
            (State::Waiting, Leaving::Pause),
        ] {
            assert_eq!(state.leaving(), leaving, "{state:?}");
            assert_eq!(State::Leaving(leaving).leaving(), leaving, "once more");
        }
        let mut dials = Dials::new(Place::new(0));
        let id = dials.add(Target::new("ws://127.0.0.1/").expect("a URL"));
        dials.wanted.clear();
        let index = dials.find(id).expect("there");
        assert!(!dials.dial(index).is_leaving());
        dials.abandon(id);
        assert!(dials.dial(index).is_leaving() && dials.wanted == [id], "it is looked at in this pass");
    }

    #[test]
    fn ids_are_never_another_dials() {
        let mut dials = Dials::new(Place::new(3));
        let target = Target::new("ws://127.0.0.1/").expect("a URL");
        let old = dials.add(target.clone());
        let index = dials.find(old).expect("there");
        dials.remove(index);
        let new = dials.add(target);
        assert_eq!(dials.find(new), Some(index), "the same slot");
        assert_eq!(dials.find(old), None);
        assert_eq!(dials.find(DialId { place: Place::new(4), ..new }), None);
    }
}
