//! Owns what is to happen at some time, by the nanosecond: one ordered list for all of a core's dials. (Connections have the wheel of
//! `deadlines`, which is coarser and costs no memory.)
//!
//! Promises that timers come in the order of their times, and that one which its owner takes out leaves nothing. Refuses to know what its owners are.

use std::collections::BTreeMap;

use crate::ring::Time;

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    at: Time,
    /// No other has it.
    pub(crate) number: u64,
}

/// The timers of a core.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeMap<Timer, u32>,
    last: u64,
}

impl Timers {
    /// A timer of this owner.
    pub(crate) fn set(&mut self, at: Time, owner: u32) -> Timer {
        self.last += 1;
        let timer = Timer { at, number: self.last };
        self.set.insert(timer, owner);
        timer
    }

    /// It does not come any more.
    pub(crate) fn unset(&mut self, timer: Timer) {
        self.set.remove(&timer);
    }

    /// The number of the latest timer: what is set from here on has a higher one.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// When the next one comes.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.set.first_key_value().map(|(timer, _)| timer.at)
    }

    /// A timer whose time has come and its owner, of those up to `last`: one that is set for at once waits for the next pass,
    /// or a pass might never end.
    pub(crate) fn pop_due(&mut self, now: Time, last: u64) -> Option<(Timer, u32)> {
        let first = self.set.first_entry()?;
        let timer = *first.key();
        (timer.at <= now && timer.number <= last).then(|| (timer, first.remove()))
    }

    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_the_order_of_their_times() {
        let at = Time::from_nanos;
        let mut timers = Timers::default();
        let set = [(30, 1), (10, 2), (20, 3), (10, 4), (5, 5)].map(|(nanos, owner)| timers.set(at(nanos), owner));
        assert_eq!(set.map(|timer| timer.number), [1, 2, 3, 4, 5]);
        assert_eq!(timers.next_due(), Some(at(5)));
        timers.unset(set[4]);
        timers.unset(set[4]);
        assert_eq!(timers.next_due(), Some(at(10)));
        let mut due = |now, last| {
            std::iter::from_fn(|| timers.pop_due(at(now), last).map(|(timer, owner)| (timer.number, owner)))
                .collect::<Vec<_>>()
        };
        assert_eq!(due(9, u64::MAX), []);
        assert_eq!(due(10, 3), [(2, 2)], "the other one was set later");
        assert_eq!(due(25, u64::MAX), [(4, 4), (3, 3)]);
        assert_eq!(due(30, u64::MAX), [(1, 1)]);
        assert_eq!(timers.len(), 0);
    }
}
