//! Owns the application's timers: of the core and of its connections, one-shot and repeating, and their names; the core's ticks; and when
//! connections come of age (`ages`), or may be given more of topics (`rates`).
//!
//! The core's are measured by the clock. Those of a connection are measured by up to when its peer has been heard (`heard`), as
//! deadlines are, so they lie in a wheel of their own: what a peer had sent by then is handled first. Promises what [`Wheel`] does;
//! that a timer which was cancelled, has fired or whose connection has ended is not named by anything any more; and that timers
//! which nobody sets cost a comparison a pass. Refuses to know the handler.

use std::fmt;
use std::time::Duration;

use super::planted::planted;
use super::ticks::{Tick, Ticks};
use super::wheel::{NONE, Node, Wheel};
use crate::cores::Place;
use crate::ring::Time;

/// The most timers that a core can be allowed.
pub(crate) const TIMERS_MAX: u32 = 1 << 24;
/// Bits of an index in a [`TimerId`]: as many timers, and all three ages of each connection.
const INDEX_BITS: u32 = 25;
const GENERATION: u32 = u32::MAX >> (INDEX_BITS - 24);

/// Names a timer of one core until it has fired for the last time, is cancelled, or its connection ends. A stale id is a
/// quiet nothing, never another timer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

impl TimerId {
    fn new(place: Place, generation: u32, index: u32) -> Self {
        Self(u64::from(place.number()) << 56 | u64::from(generation & GENERATION) << INDEX_BITS | u64::from(index))
    }

    /// The place of the core that has the timer.
    pub const fn place(self) -> Place {
        Place::new((self.0 >> 56) as u8)
    }

    fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & GENERATION
    }

    fn index(self) -> u32 {
        self.0 as u32 & ((1 << INDEX_BITS) - 1)
    }
}

/// `place/index.generation`
impl fmt::Debug for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.place(), self.index(), self.generation())
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A timer that has come: see [`Handler::on_timer`](crate::Handler::on_timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fired {
    /// As returned when it was set. Stale by now, unless the timer repeats.
    pub id: TimerId,
    /// What it was set with.
    pub key: u64,
    /// When it was to come; it never comes before.
    pub due: Time,
    /// Of a timer that repeats: how many times more it was to come by now. They are not told apart, and the next one comes where it
    /// would have come anyway.
    pub missed: u64,
}

/// What a time of a connection is that is no timer of the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// It has been open for as long as it may be.
    Life,
    /// It may have brought no message for as long as it may.
    Silence,
    /// Topics may give it something again (`rates`).
    Rate,
}

/// What has come of a connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Timer(Fired),
    Age(Age),
}

/// A core has as many timers as it may: see [`Config::timers_max`](crate::Config::timers_max). Nothing was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the core has as many timers as timers_max allows")]
pub struct TimersFull;

/// There is no timer.
const NEVER: Time = Time::from_nanos(u64::MAX);

/// What is known of a timer beside its time; or a place for one.
#[derive(Clone, Copy)]
struct Alarm {
    key: u64,
    /// Nanoseconds; 0: it comes once.
    period: u64,
    generation: u32,
    /// The connection, or `NONE`: it is the core's.
    owner: u32,
    /// Its neighbours among those of its connection; the next free place.
    next: u32,
    prev: u32,
    is_set: bool,
    /// It is none of the application's, and does not count.
    age: Option<Age>,
}

/// The timers of a core.
pub(crate) struct Alarms {
    place: Place,
    most: u32,
    /// How many are set.
    count: u32,
    /// The first free place.
    free: u32,
    nodes: Vec<Node>,
    alarms: Vec<Alarm>,
    /// What comes by the clock, and what comes by what has been heard.
    core: Wheel,
    conns: Wheel,
    /// The first timer of each connection; as long as was needed so far.
    firsts: Vec<u32>,
    ticks: Ticks,
    /// No timer and no tick comes before that.
    next: Time,
}

impl Alarms {
    pub(crate) fn new(place: Place, most: u32, tick: Option<Duration>) -> Self {
        Self {
            place,
            most: most.min(TIMERS_MAX),
            count: 0,
            free: NONE,
            nodes: Vec::new(),
            alarms: Vec::new(),
            core: Wheel::default(),
            conns: Wheel::default(),
            firsts: Vec::new(),
            ticks: Ticks::new(tick),
            next: NEVER,
        }
    }

    /// The core starts now.
    pub(crate) fn begin(&mut self, now: Time) {
        self.ticks.begin(now);
        self.look_ahead();
    }

    /// The application is not called any more: nothing comes.
    pub(crate) fn stop(&mut self) {
        *self = Self::new(self.place, 0, None);
    }

    /// No timer and no tick comes before that; `None`: none comes.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Time> {
        (self.next < NEVER).then_some(self.next)
    }

    /// One may have come by then.
    #[inline]
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.next <= now
    }

    /// Sets a timer, of a connection or of the core: `after` from `now`, and then each such time if it repeats. It comes in a later
    /// pass in any case: at least a nanosecond from now.
    pub(crate) fn set(
        &mut self,
        now: Time,
        after: Duration,
        repeats: bool,
        key: u64,
        owner: Option<u32>,
    ) -> Result<TimerId, TimersFull> {
        if self.count >= self.most {
            return Err(TimersFull);
        }
        self.count += 1;
        Ok(self.begin_alarm(now, after, repeats, key, owner, None))
    }

    /// Sets such a time of a connection, `after` from `now`. It comes and ends as its timers do.
    pub(crate) fn set_age(&mut self, now: Time, after: Duration, age: Age, owner: u32) -> TimerId {
        self.begin_alarm(now, after, false, 0, Some(owner), Some(age))
    }

    fn begin_alarm(
        &mut self,
        now: Time,
        after: Duration,
        repeats: bool,
        key: u64,
        owner: Option<u32>,
        age: Option<Age>,
    ) -> TimerId {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).max(1);
        let due = now.as_nanos().saturating_add(planted!(TimerEarly, after.div_ceil(2); after));
        let index = self.take_place();
        let owner = owner.unwrap_or(NONE);
        let alarm = &mut self.alarms[index as usize];
        let period = if repeats { after } else { 0 };
        *alarm = Alarm { key, period, owner, is_set: true, age, next: NONE, prev: NONE, ..*alarm };
        let id = TimerId::new(self.place, alarm.generation, index);
        if owner != NONE {
            self.link(index, owner);
        }
        self.insert(index, due);
        self.next = self.next.min(Time::from_nanos(due));
        id
    }

    /// It does not come any more. False: it has come, was cancelled, or its connection has ended.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        let index = id.index();
        let alarm = self.alarms.get(index as usize);
        let is_it = |alarm: &Alarm| {
            alarm.is_set && alarm.generation & GENERATION == id.generation() && id.place() == self.place
        };
        if !alarm.is_some_and(is_it) {
            return false;
        }
        planted!(TimerAfterCancel, return true);
        self.drop_timer(index);
        self.look_ahead();
        true
    }

    /// The connection has ended, and its timers with it.
    #[inline]
    pub(crate) fn end(&mut self, owner: u32) {
        if self.firsts.get(owner as usize).is_some_and(|first| *first != NONE) {
            planted!(TimerOfDeadConnection, return);
            self.end_all(owner);
        }
    }

    #[cold]
    fn end_all(&mut self, owner: u32) {
        while self.firsts[owner as usize] != NONE {
            self.drop_timer(self.firsts[owner as usize]);
        }
        self.look_ahead();
    }

    /// A connection's time that has come, and which connection that is. `heard`: up to when its peer has been heard.
    pub(crate) fn pop_conn(&mut self, heard: Time) -> Option<(u32, Came)> {
        let index = self.conns.pop(&mut self.nodes, heard.as_nanos())?;
        let Alarm { owner, age, .. } = self.alarms[index as usize];
        let fired = self.fire(index, heard);
        Some((owner, age.map_or(Came::Timer(fired), Came::Age)))
    }

    /// A timer of the core's that has come, or a time of a connection's, and which that is, on which no word of its peer bears.
    pub(crate) fn pop_core(&mut self, now: Time) -> Option<(Option<u32>, Came)> {
        let index = self.core.pop(&mut self.nodes, now.as_nanos())?;
        let Alarm { owner, age, .. } = self.alarms[index as usize];
        let fired = self.fire(index, now);
        Some(((owner != NONE).then_some(owner), age.map_or(Came::Timer(fired), Came::Age)))
    }

    /// The tick that has come, if one has.
    pub(crate) fn pop_tick(&mut self, now: Time) -> Option<Tick> {
        self.ticks.pop(now)
    }

    /// After some were popped: what comes next.
    pub(crate) fn look_ahead(&mut self) {
        let timers = self.core.next_due().min(self.conns.next_due());
        self.next = Time::from_nanos(timers.min(self.ticks.next_due()));
    }

    /// What has come: its place is free, or it is set anew.
    fn fire(&mut self, index: u32, now: Time) -> Fired {
        let due = self.nodes[index as usize].due();
        let Alarm { key, period, generation, .. } = self.alarms[index as usize];
        let id = TimerId::new(self.place, generation, index);
        let missed = (now.as_nanos() - due).checked_div(period);
        if let Some(missed) = missed {
            let next = due.saturating_add(missed.saturating_add(1).saturating_mul(period));
            self.insert(index, planted!(TimerDrift, now.as_nanos() + period; next));
        } else {
            self.free(index); // it comes once
        }
        Fired { id, key, due: Time::from_nanos(due), missed: missed.unwrap_or(0) }
    }

    fn insert(&mut self, index: u32, due: u64) {
        let wheel = if self.is_by_clock(index) { &mut self.core } else { &mut self.conns };
        wheel.insert(&mut self.nodes, index, due);
    }

    /// It comes by the clock, and not by what has been heard.
    fn is_by_clock(&self, index: u32) -> bool {
        let Alarm { owner, age, .. } = self.alarms[index as usize];
        owner == NONE || age == Some(Age::Rate)
    }

    fn take_place(&mut self) -> u32 {
        if self.free == NONE {
            self.nodes.push(Node::out());
            self.alarms.push(Alarm {
                key: 0,
                period: 0,
                generation: 0,
                owner: NONE,
                next: NONE,
                prev: NONE,
                is_set: false,
                age: None,
            });
            assert!(self.alarms.len() <= 1 << INDEX_BITS, "more times than an id can name");
            return self.alarms.len() as u32 - 1;
        }
        let index = self.free;
        self.free = self.alarms[index as usize].next;
        index
    }

    /// Takes a timer out of its wheel.
    fn drop_timer(&mut self, index: u32) {
        let wheel = if self.is_by_clock(index) { &mut self.core } else { &mut self.conns };
        wheel.remove(&mut self.nodes, index);
        self.free(index);
    }

    /// A timer that lies in no wheel ends: its id is stale.
    fn free(&mut self, index: u32) {
        self.unlink(index);
        let alarm = &mut self.alarms[index as usize];
        (alarm.is_set, alarm.generation) = (false, alarm.generation.wrapping_add(1));
        alarm.next = std::mem::replace(&mut self.free, index);
        self.count -= u32::from(alarm.age.is_none());
    }

    /// Puts it in front of those of its connection.
    fn link(&mut self, index: u32, owner: u32) {
        if self.firsts.len() <= owner as usize {
            self.firsts.resize(owner as usize + 1, NONE);
        }
        let next = std::mem::replace(&mut self.firsts[owner as usize], index);
        self.alarms[index as usize].next = next;
        if next != NONE {
            self.alarms[next as usize].prev = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Alarm { owner, next, prev, .. } = self.alarms[index as usize];
        if owner == NONE {
            return;
        }
        match prev {
            NONE => self.firsts[owner as usize] = next,
            prev => self.alarms[prev as usize].next = next,
        }
        if next != NONE {
            self.alarms[next as usize].prev = prev;
        }
    }
}

#[cfg(test)]
mod tests;
