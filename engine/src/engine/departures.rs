//! Owns whose turn to go comes when, in a core that is drained: the connections of its beginning in an order left to chance, and the times of their turns.
//!
//! ```text
//!   |--.---|-.----|----.-|.-----|   of n connections each has a turn in an n-th part of the time, somewhere in it:
//! begin                        end  even as a comb, and no two drains have the same teeth
//! ```
//! Promises that turns come no closer together than that, but for one in each of two parts that touch; and that a core which was held up does not
//! make up for it at once: what has come due meanwhile is spread over the time that is left. Refuses to know what a turn is, and whether a connection is still there.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

use super::id::ConnId;
use super::planted::planted;
use crate::ring::Time;

/// By how much of the whole a turn may be late without the others being put off.
const LATE: u32 = 50;

/// Whose turn comes when.
pub(crate) struct Departures {
    /// Those whose turn is to come, the next one last.
    waiting: Vec<ConnId>,
    /// When the parts begin, how many there are, and of how many the turn has been.
    begin: Time,
    parts: u64,
    past: u64,
    /// When all of it is over.
    end: Time,
    /// By how much a turn may be late.
    late: Duration,
    /// When the next turn comes.
    next: Time,
}

impl Departures {
    /// All of these go from `now` on until `end`.
    pub(crate) fn new(mut waiting: Vec<ConnId>, now: Time, end: Time, random: &mut impl Rng) -> Self {
        waiting.shuffle(random);
        let late = end.since(now) / LATE;
        let mut all = Self { waiting, begin: now, parts: 0, past: 0, end, late, next: now };
        all.spread(now, random);
        all
    }

    /// When the next turn comes, if one does.
    pub(crate) fn next_due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// All goes by `end`, if that is sooner than before.
    pub(crate) fn shorten(&mut self, now: Time, end: Time, random: &mut impl Rng) {
        if end < self.end {
            (self.end, self.late) = (end, end.since(now) / LATE);
            self.spread(now, random);
        }
    }

    /// A pass begins: up to when turns that are due come in it. Ends by [`Self::end_pass`].
    pub(crate) fn due_by(&self, now: Time) -> Time {
        planted!(DrainAtOnce, return Time::from_nanos(u64::MAX));
        if now >= self.end { now } else { now.min(self.next.plus(self.late)) }
    }

    /// Whose turn has come by then.
    pub(crate) fn pop(&mut self, by: Time, random: &mut impl Rng) -> Option<ConnId> {
        if self.next > by {
            return None;
        }
        let id = self.waiting.pop()?;
        self.past += 1;
        self.draw(random);
        Some(id)
    }

    /// Turns up to `by` have come: if that was not all that is due, the others are spread anew.
    pub(crate) fn end_pass(&mut self, by: Time, now: Time, random: &mut impl Rng) {
        if by < now && self.next <= now {
            self.spread(now, random);
        }
    }

    /// The rest goes from `now` on.
    fn spread(&mut self, now: Time, random: &mut impl Rng) {
        (self.begin, self.parts, self.past) = (now, self.waiting.len() as u64, 0);
        self.draw(random);
    }

    /// The time of the next turn: anywhere in its part.
    fn draw(&mut self, random: &mut impl Rng) {
        let whole = u128::from(self.end.as_nanos().saturating_sub(self.begin.as_nanos()));
        let at = u128::from(self.past) << 32 | u128::from(random.next_u32());
        // Below 2^64 * 2^64, for there are fewer than 2^32 parts.
        let after = (whole * at / u128::from(self.parts.max(1))) >> 32;
        self.next = Time::from_nanos(self.begin.as_nanos().saturating_add(after as u64));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::cores::Place;

    fn ids(count: u32) -> Vec<ConnId> {
        (0..count).map(|index| ConnId::new(Place::new(0), 1, index)).collect()
    }

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// Whose turn came, and when, of a core that has a pass at each of these times.
    fn run(all: &mut Departures, passes: impl IntoIterator<Item = Time>, random: &mut StdRng) -> Vec<(Time, ConnId)> {
        let mut gone = Vec::new();
        for now in passes {
            let by = all.due_by(now);
            while let Some(id) = all.pop(by, random) {
                gone.push((now, id));
            }
            all.end_pass(by, now, random);
        }
        gone
    }

    /// How many went in each of the ten parts of that time.
    fn tenths(gone: &[(Time, ConnId)], begin: Time, end: Time) -> [usize; 10] {
        let mut tenths = [0; 10];
        for (at, _) in gone {
            let tenth = at.since(begin).as_nanos() * 10 / end.since(begin).as_nanos();
            tenths[tenth.min(9) as usize] += 1;
        }
        tenths
    }

    #[test]
    fn each_has_one_turn_and_every_tenth_of_the_time_a_tenth_of_them() {
        for (seed, count) in [(1, 5_000), (2, 5_000), (3, 10), (4, 100), (5, 1)] {
            let mut random = StdRng::seed_from_u64(seed);
            let mut all = Departures::new(ids(count), at(500), at(10_500), &mut random);
            let gone = run(&mut all, (500..=10_501).map(at), &mut random);
            assert_eq!(gone.iter().map(|(_, id)| *id).collect::<BTreeSet<_>>().len(), count as usize);
            assert_eq!((gone.len(), all.next_due()), (count as usize, None));
            let tenths = tenths(&gone, at(500), at(10_501));
            assert!(tenths.iter().all(|&some| some.abs_diff(count as usize / 10) <= 2), "{tenths:?}");
        }
    }

    #[test]
    fn no_two_drains_are_alike() {
        let order = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut all = Departures::new(ids(100), at(0), at(1_000), &mut random);
            run(&mut all, (0..=1_000).map(at), &mut random)
        };
        type Gone = (Vec<Time>, Vec<ConnId>);
        let (one, other): (Gone, Gone) = (order(1).into_iter().unzip(), order(2).into_iter().unzip());
        assert_ne!(one.0, other.0);
        assert_ne!(one.1, other.1);
        assert_ne!(one.1, ids(100));
    }

    /// The process stood still for half of the time: what was due then is not told all at once.
    #[test]
    fn who_was_held_up_does_not_make_up_for_it_at_once() {
        let mut random = StdRng::seed_from_u64(7);
        let mut all = Departures::new(ids(1_000), at(0), at(10_000), &mut random);
        let gone = run(&mut all, (0..2_000).chain(7_010..=10_001).map(at), &mut random);
        assert_eq!(gone.len(), 1_000);
        let tenths = tenths(&gone, at(0), at(10_001));
        assert_eq!(tenths[2..7], [0; 5]);
        // 800 in three tenths, and a fiftieth of the whole at once.
        assert!(tenths[7..].iter().all(|&some| some.abs_diff(266) <= 22), "{tenths:?}");
    }

    /// Each pass takes longer than a turn may be late: in each some go, and none is left.
    #[test]
    fn a_core_that_is_always_late_gets_on() {
        for step in [3, 40, 250, 999, 5_000] {
            let mut random = StdRng::seed_from_u64(step);
            let mut all = Departures::new(ids(1_000), at(0), at(1_000), &mut random);
            let passes = (1..).map(|pass| pass * step).take_while(|now| *now < 1_000 + step);
            let gone = run(&mut all, passes.map(at), &mut random);
            assert_eq!(gone.len(), 1_000, "passes of {step} ms");
        }
    }

    #[test]
    fn what_is_shortened_is_spread_over_what_is_left() {
        let mut random = StdRng::seed_from_u64(9);
        let mut all = Departures::new(ids(1_000), at(0), at(10_000), &mut random);
        let mut gone = run(&mut all, (0..5_000).map(at), &mut random);
        assert!(gone.len().abs_diff(500) <= 1);
        all.shorten(at(5_000), at(20_000), &mut random);
        assert_eq!(all.end, at(10_000), "it never gets longer");
        all.shorten(at(5_000), at(7_000), &mut random);
        gone.extend(run(&mut all, (5_000..=7_001).map(at), &mut random));
        assert_eq!(gone.len(), 1_000);
        let tenths = tenths(&gone[gone.len() - 500..], at(5_000), at(7_001));
        assert!(tenths.iter().all(|&some| some.abs_diff(50) <= 2), "{tenths:?}");
        all.shorten(at(7_000), at(7_000), &mut random);
        assert_eq!(all.next_due(), None);
    }

    #[test]
    fn a_time_of_nothing_and_one_without_end() {
        let mut random = StdRng::seed_from_u64(1);
        let mut all = Departures::new(ids(100), at(5), at(5), &mut random);
        assert_eq!((run(&mut all, [at(5)], &mut random).len(), all.next_due()), (100, None));
        let mut all = Departures::new(ids(100), at(5), Time::from_nanos(u64::MAX), &mut random);
        assert!(run(&mut all, [at(6)], &mut random).is_empty() && all.next_due() > Some(at(6)));
    }
}
