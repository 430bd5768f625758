//! Owns what is to happen at some time, by the nanosecond: one heap for all of a core's dials. (Connections have the wheel of
//! `deadlines`, which is coarser and costs no memory.)
//!
//! A timer is never taken out: its owner remembers the number of its latest, and earlier ones are stale. Promises that
//! timers come in the order of their times. Refuses to know what its owners are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ring::Time;

/// The timers of a core.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    last: u64,
}

impl Timers {
    /// A timer of this owner; its number, which is never 0.
    pub(crate) fn set(&mut self, at: Time, owner: u32) -> u64 {
        self.last += 1;
        self.heap.push(Reverse((at, self.last, owner)));
        self.last
    }

    /// The number of the latest timer: what is set from here on has a higher one.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// When the next one comes, stale or not.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// A timer whose time has come and its owner, of those up to `last`: one that is set for at once waits for the next pass,
    /// or a pass might never end.
    pub(crate) fn pop_due(&mut self, now: Time, last: u64) -> Option<(u64, u32)> {
        let &Reverse((at, timer, owner)) = self.heap.peek()?;
        if at > now || timer > last {
            return None;
        }
        self.heap.pop();
        Some((timer, owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_the_order_of_their_times() {
        let at = Time::from_nanos;
        let mut timers = Timers::default();
        let numbers = [(30, 1), (10, 2), (20, 3), (10, 4)].map(|(nanos, owner)| timers.set(at(nanos), owner));
        assert_eq!((numbers, timers.next_due()), ([1, 2, 3, 4], Some(at(10))));
        let mut due = |now, last| std::iter::from_fn(|| timers.pop_due(at(now), last)).collect::<Vec<_>>();
        assert_eq!(due(9, u64::MAX), []);
        assert_eq!(due(10, 3), [(2, 2)], "the other one was set later");
        assert_eq!(due(25, u64::MAX), [(4, 4), (3, 3)]);
        assert_eq!(due(30, u64::MAX), [(1, 1)]);
    }
}
