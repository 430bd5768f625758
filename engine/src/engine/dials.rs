//! Owns the dials of a core: what is to be connected, how far it has come, and when it is looked at again.
//!
//! A dial is one [`Target`] from [`connect`](crate::CoreCx::connect) to its end, over all its attempts. Each has at most one
//! timer, and one place in the line of those that wait for their turn; whatever ends either takes it out, so that nothing is left of it. Nothing here submits an
//! operation or calls back: `dialling` does.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use slab::Slab;

use super::id::DialId;
use super::planted::planted;
use super::race::{Bad, Grade, Race};
use super::timers::{Timer, Timers};
use super::turnstile::{Ticket, Turnstile};
use crate::cores::Place;
use crate::reconnect::Reconnect;
use crate::ring::{Kind, Time, Token};
use crate::target::Target;

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
    /// The application is to say what to dial.
    Asking,
    /// It has: to go on in this pass.
    Told,
    /// Its name is being looked up.
    Resolving,
    /// Connects are with the kernel: see its race.
    Connecting,
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
    /// An attempt without a connection: the application is still to be told.
    Attempt,
    /// Nothing, and the application knows: it was between two attempts.
    Pause,
    /// The handshake on the connection of this index.
    Answer(u32),
    /// The open connection of this index.
    Connection(u32),
}

impl State {
    /// The same with no further attempt.
    fn leaving(self) -> Leaving {
        match self {
            Self::Wanted | Self::Asking | Self::Told | Self::Resolving | Self::Connecting => Leaving::Attempt,
            Self::Answering(conn) => Leaving::Answer(conn),
            Self::Open(conn) => Leaving::Connection(conn),
            Self::Waiting => Leaving::Pause,
            Self::Leaving(leaving) => leaving,
        }
    }
}

pub(crate) struct Dial {
    pub(crate) generation: u32,
    /// What this attempt dials. Shared, so that it may be read while a callback reaches the dials.
    pub(crate) target: Rc<Target>,
    /// What the next one does, if that is another.
    next: Option<Rc<Target>>,
    /// Of its first target, as what follows: those of later ones do not count.
    tag: u64,
    policy: Option<Reconnect>,
    /// The next wait, if the application has set it.
    wait: Option<Duration>,
    pub(crate) state: State,
    /// The addresses of this attempt.
    pub(crate) race: Race,
    /// Those of earlier ones that disappointed.
    pub(crate) bad: Bad,
    /// Its name is being looked up for this attempt; gone with it.
    asked: Option<Arc<()>>,
    /// Where its connection is to.
    pub(crate) at: Option<SocketAddr>,
    /// Attempts that failed in a row, and connections that were lost before they were healthy.
    pub(crate) failed: u32,
    /// It waits for its turn.
    ticket: Option<Ticket>,
    /// Its connection ends for the application now, and no attempt follows.
    is_last: bool,
    /// It was begun before: what comes now is a new attempt.
    pub(crate) begun: bool,
    /// When its connection opened.
    pub(crate) opened_at: Time,
    timer: Option<Timer>,
}

impl Dial {
    /// No further attempt is made from here on; what is still to end.
    pub(crate) fn leave(&mut self) -> Leaving {
        let leaving = self.state.leaving();
        self.state = State::Leaving(leaving);
        leaving
    }

    /// Whether it is dialled again, and how.
    pub(crate) fn policy(&self) -> Option<Reconnect> {
        self.policy.filter(|_| !self.is_leaving())
    }

    /// How long until the next attempt, after one more that failed: what the application has set, or what its policy says with what the
    /// server asked for. `None`: there is none.
    pub(crate) fn next_wait(&mut self, random: f64, asked: Option<Duration>) -> Option<Duration> {
        let policy = self.policy()?;
        self.failed = self.failed.saturating_add(planted!(AttemptUncounted, 0; 1));
        let asked = planted!(RetryAfterIgnored, None; asked);
        let wait = policy.wait(self.failed, random, asked)?;
        Some(planted!(WaitUnset, None; self.wait.take()).unwrap_or(wait))
    }

    /// The target that was given since the last attempt began is that of this one.
    pub(crate) fn take_next(&mut self) {
        if let Some(next) = self.next.take() {
            planted!(TargetStale, return);
            self.target = next;
        }
    }

    /// Its name is to be looked up: what is returned is gone when the answer is not wanted any more.
    pub(crate) fn ask(&mut self) -> Weak<()> {
        Arc::downgrade(self.asked.insert(Arc::new(())))
    }

    /// Nobody waits for the answer.
    pub(crate) fn unask(&mut self) {
        self.asked = None;
    }

    /// The address of its connection is no good: the next attempt begins with another.
    pub(crate) fn disappoint(&mut self, grade: Grade) {
        if let Some(addr) = self.at.take() {
            self.bad.note(addr, grade);
        }
    }

    /// The same for one that is given now.
    pub(crate) fn replace(&mut self, target: Target) {
        self.next = Some(Rc::new(target));
        self.take_next();
    }

    /// The target that was given since the last attempt began.
    pub(crate) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// No further attempt is made, whatever becomes of its connection.
    fn is_final(&self) -> bool {
        let is_last = planted!(LastUntold, false; self.is_last);
        is_last || self.is_leaving() || self.policy.is_none_or(|policy| policy.is_never())
    }

    /// Its connection ends for the application now: whether an attempt follows.
    pub(crate) fn ends(&mut self, follows: bool) {
        self.is_last = !follows;
    }

    /// No further attempt is made.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving(_))
    }
}

/// A connect that is with the kernel.
struct Connect {
    generation: u32,
    /// Who waits for it.
    dial: Option<DialId>,
}

/// All dials of a core.
pub(crate) struct Dials {
    place: Place,
    dials: Slab<Dial>,
    /// Those that are with the kernel; some outlive their dial.
    connects: Slab<Connect>,
    /// Each dial and each connect gets the next: no two that live at once share one.
    generation: u32,
    /// To be looked at in this pass: begun or abandoned.
    pub(crate) wanted: Vec<DialId>,
    timers: Timers,
    turnstile: Turnstile,
    stopping: bool,
    /// The dial of a connection, where there is one; as long as the highest index of these.
    by_conn: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Dials {
    /// `per_second`: attempts that begin.
    pub(crate) fn new(place: Place, per_second: Option<u32>) -> Self {
        Self {
            place,
            turnstile: Turnstile::new(per_second),
            dials: Slab::new(),
            connects: Slab::new(),
            generation: 0,
            wanted: Vec::new(),
            timers: Timers::default(),
            stopping: false,
            by_conn: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, target: Target) -> DialId {
        let generation = self.step();
        let index = self.dials.insert(Dial {
            generation,
            tag: target.tag,
            policy: target.reconnect,
            target: Rc::new(target),
            next: None,
            wait: None,
            state: State::Wanted,
            race: Race::default(),
            bad: Bad::default(),
            asked: None,
            at: None,
            failed: 0,
            ticket: None,
            is_last: false,
            begun: false,
            opened_at: Time::default(),
            timer: None,
        }) as u32;
        let id = self.id_of(index);
        self.wanted.push(id);
        id
    }

    fn step(&mut self) -> u32 {
        self.generation = (self.generation + 1) & Token::GENERATION_MASK;
        self.generation
    }

    pub(crate) fn id_of(&self, index: u32) -> DialId {
        DialId::new(self.place, self.dials[index as usize].generation, index)
    }

    /// Whether a dial that is to begin may. If not, it stands in line from here on.
    pub(crate) fn may_begin(&mut self, index: u32, now: Time) -> bool {
        let ticket = self.turnstile.pass(now, index);
        self.dial(index).ticket = ticket;
        ticket.is_none()
    }

    /// A dial whose turn has come.
    pub(crate) fn pop_turn(&mut self, now: Time) -> Option<u32> {
        let index = self.turnstile.pop_due(now)?;
        self.dial(index).ticket = None;
        Some(index)
    }

    /// It stands in line no more.
    fn leave_line(&mut self, index: u32) {
        if let Some(ticket) = self.dial(index).ticket.take() {
            self.turnstile.leave(ticket);
        }
    }

    /// The index of a dial that still exists.
    pub(crate) fn find(&self, id: DialId) -> Option<u32> {
        let dial = self.dials.get(id.index() as usize)?;
        (id.place() == self.place && id.generation() == dial.generation).then_some(id.index())
    }

    /// A connect begins for this dial: its token, which no other has that is with the kernel.
    pub(crate) fn begin_connect(&mut self, index: u32) -> Token {
        let dial = Some(self.id_of(index));
        let generation = self.step();
        let slot = self.connects.insert(Connect { generation, dial });
        Token::new(Kind::Connect, generation, slot as u32)
    }

    /// Nobody waits for this connect any more; no effect if it has ended.
    pub(crate) fn disown(&mut self, token: Token) {
        if let Some(connect) = self.connects.get_mut(token.index() as usize)
            && connect.generation == token.generation()
        {
            connect.dial = None;
        }
    }

    /// A connect has ended: the dial that waits for it.
    pub(crate) fn end_connect(&mut self, token: Token) -> Option<u32> {
        let Connect { generation, dial } = self.connects.remove(token.index() as usize);
        assert_eq!(generation, token.generation(), "a connect ended twice: {token:?}");
        self.find(dial?).filter(|&index| self.dials[index as usize].state == State::Connecting)
    }

    pub(crate) fn dial(&mut self, index: u32) -> &mut Dial {
        &mut self.dials[index as usize]
    }

    pub(crate) fn dialled(&self, index: u32) -> Dialled {
        let dial = &self.dials[index as usize];
        Dialled { id: self.id_of(index), tag: dial.tag, attempt: dial.failed + 1 }
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.leave_line(index);
        self.clear_timer(index);
        self.dials.remove(index as usize);
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.dials.is_empty()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.dials.clear();
        self.connects.clear();
        self.wanted.clear();
        self.timers.clear();
        self.turnstile.clear();
    }

    pub(crate) fn indices(&self) -> Vec<u32> {
        self.dials.iter().map(|(index, _)| index as u32).collect()
    }

    /// The application wants no further attempt.
    pub(crate) fn abandon(&mut self, id: DialId) {
        if let Some(index) = self.find(id).filter(|&index| !self.dials[index as usize].is_leaving()) {
            self.leave_line(index);
            self.dial(index).leave();
            self.wanted.push(id);
        }
    }

    /// The core stops: no attempt follows any more, of no dial.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// The next attempt dials this, or the one that waits to be told. False if there is none.
    pub(crate) fn retarget(&mut self, id: DialId, target: Target) -> bool {
        let Some(index) = self.find(id) else { return false };
        let is_final = self.is_final(index);
        let dial = self.dial(index);
        match dial.state {
            State::Leaving(_) => return false,
            State::Asking => {
                dial.replace(target);
                dial.state = State::Told;
                self.clear_timer(index);
                self.wanted.push(id);
            }
            // It has not gone on yet: what is said last counts.
            State::Told if planted!(FirstTargetKept, false; true) => dial.replace(target),
            _ if is_final => return false,
            _ => dial.next = Some(Rc::new(target)),
        }
        true
    }

    fn is_final(&self, index: u32) -> bool {
        self.stopping || self.dials[index as usize].is_final()
    }

    /// The next attempt comes after this wait: from `now` on, if it is waited for already. False if there is none.
    pub(crate) fn set_wait(&mut self, id: DialId, wait: Duration, now: Time) -> bool {
        let Some(index) = self.find(id).filter(|&index| !self.is_final(index)) else { return false };
        let dial = self.dial(index);
        if dial.state == State::Waiting {
            planted!(WaitUnset, return true);
            self.leave_line(index); // it comes at another time: it waits for its turn then
            self.set_timer(index, now.plus(wait));
        } else {
            dial.wait = Some(wait);
        }
        true
    }

    /// Sets the timer of a dial, instead of one that it has.
    pub(crate) fn set_timer(&mut self, index: u32, at: Time) {
        self.clear_timer(index);
        self.dial(index).timer = Some(self.timers.set(at, index));
    }

    pub(crate) fn clear_timer(&mut self, index: u32) {
        if let Some(timer) = self.dial(index).timer.take() {
            planted!(DialTimerKept, return);
            self.timers.unset(timer);
        }
    }

    /// Whether a dial has the timer of this number still.
    pub(crate) fn has_timer(&self, index: u32, number: u64) -> bool {
        let timer = self.dials.get(index as usize).and_then(|dial| dial.timer);
        timer.is_some_and(|timer| timer.number == number)
    }

    /// When the next timer or turn comes.
    pub(crate) fn next_due(&self) -> Option<Time> {
        if !self.wanted.is_empty() {
            return Some(Time::default());
        }
        self.timers.next_due().into_iter().chain(self.turnstile.next_due()).min()
    }

    /// The last timer that was set: what is set from here on has a later one.
    pub(crate) fn last_timer(&self) -> u64 {
        self.timers.last()
    }

    /// A dial whose time has come, of the timers up to `last`.
    pub(crate) fn pop_due(&mut self, now: Time, last: u64) -> Option<u32> {
        let (timer, index) = self.timers.pop_due(now, last)?;
        // A dial that is over has taken its timer with it.
        planted!(DialTimerKept, return self.dials.contains(index as usize).then_some(index));
        let dial = self.dial(index);
        debug_assert_eq!(dial.timer, Some(timer), "what was taken out comes nevertheless");
        dial.timer = None;
        Some(index)
    }

    /// The connection `conn` is of this dial.
    pub(crate) fn tie(&mut self, conn: u32, index: u32) {
        if self.by_conn.len() <= conn as usize {
            self.by_conn.resize(conn as usize + 1, NONE);
        }
        self.by_conn[conn as usize] = index;
    }

    /// The dial of a connection.
    pub(crate) fn tied(&self, conn: u32) -> Option<u32> {
        self.by_conn.get(conn as usize).copied().filter(|&index| index != NONE)
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
mod tests;
