//! So many a second, one behind the other at equal distances: for attempts of dials.
//!
//! Owns who stands in line, in the order in which they came. Promises that whoever leaves the line leaves its turn to those behind it, and that no
//! turn is kept that nobody waited for. Refuses to know who passes, and what time it is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ring::Time;

/// A place in the line, which nobody else ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Lets one pass in each such time.
#[derive(Debug)]
pub(crate) struct Turnstile {
    /// `None`: as many as want to.
    every: Option<Duration>,
    /// When the next may pass.
    next: Time,
    line: BTreeMap<Ticket, u32>,
    last: u64,
}

impl Turnstile {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self {
            every: per_second.map(|count| Duration::from_secs(1) / count.max(1)),
            next: Time::default(),
            line: BTreeMap::new(),
            last: 0,
        }
    }

    /// Somebody wants to pass now, and does, or stands in line from here on.
    #[must_use]
    pub(crate) fn pass(&mut self, now: Time, who: u32) -> Option<Ticket> {
        let every = self.every?;
        if self.line.is_empty() && self.next <= now {
            self.next = now.plus(every);
            return None;
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        self.line.insert(ticket, who);
        Some(ticket)
    }

    /// It does not want to pass any more.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.line.remove(&ticket);
    }

    /// When the first in line may pass.
    pub(crate) fn next_due(&self) -> Option<Time> {
        (!self.line.is_empty()).then_some(self.next)
    }

    /// Whoever's turn has come. Several may have theirs, if nobody has looked for long.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u32> {
        if self.next > now {
            return None;
        }
        let (_, who) = self.line.pop_first()?;
        self.next = self.next.plus(self.every?);
        Some(who)
    }

    pub(crate) fn clear(&mut self) {
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::default().plus(Duration::from_millis(millis))
    }

    #[test]
    fn one_passes_in_each_time() {
        let mut turnstile = Turnstile::new(Some(10));
        assert_eq!(turnstile.pass(at(5), 1), None);
        let [second, third] = [turnstile.pass(at(5), 2), turnstile.pass(at(6), 3)];
        assert!(second < third && second.is_some());
        assert_eq!((turnstile.next_due(), turnstile.pop_due(at(104))), (Some(at(105)), None));
        assert_eq!((turnstile.pop_due(at(105)), turnstile.pop_due(at(204))), (Some(2), None));
        assert!(turnstile.pass(at(205), 4).is_some(), "nobody overtakes who stands in line");
        assert_eq!(
            (turnstile.pop_due(at(310)), turnstile.pop_due(at(310))),
            (Some(3), Some(4)),
            "both turns are there"
        );
        assert_eq!(turnstile.next_due(), None);
        assert!(turnstile.pass(at(404), 5).is_some() && turnstile.next_due() == Some(at(405)));
    }

    /// Turns that nobody waited for are not kept.
    #[test]
    fn a_quiet_time_makes_no_crowd() {
        let mut turnstile = Turnstile::new(Some(10));
        assert_eq!(turnstile.pass(at(10_000), 1), None);
        assert!(turnstile.pass(at(10_000), 2).is_some());
        assert_eq!(turnstile.pop_due(at(10_100)), Some(2));
        let mut open = Turnstile::new(None);
        assert!((0..100).all(|who| open.pass(at(1), who).is_none()) && open.next_due().is_none());
    }

    #[test]
    fn whoever_leaves_the_line_leaves_its_turn() {
        let mut turnstile = Turnstile::new(Some(10));
        assert_eq!(turnstile.pass(at(0), 0), None);
        let tickets = [1, 2, 3].map(|who| turnstile.pass(at(0), who).expect("it stands in line"));
        turnstile.leave(tickets[0]);
        turnstile.leave(tickets[1]);
        assert_eq!(turnstile.pop_due(at(100)), Some(3), "the turn of the first");
        turnstile.leave(tickets[2]);
        assert_eq!((turnstile.next_due(), turnstile.pass(at(199), 4).is_some()), (None, true), "it has passed");
    }
}
