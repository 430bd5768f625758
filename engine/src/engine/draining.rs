//! Owns what a core knows that is drained: whose turn to go comes when, who has been told and is not over, and when it ends.
//!
//! Promises that a second drain makes nothing longer. Refuses to know how anybody is told.

use std::time::Duration;

use rand::Rng;
use wsring_proto::close::CloseCode;

use super::departures::Departures;
use super::id::ConnId;
use super::planted::planted;
use crate::drain::Drain;
use crate::ring::Time;

/// A drain that has begun.
pub(crate) struct Draining {
    pub(super) turns: Departures,
    pub(super) code: CloseCode,
    pub(super) reason: Box<str>,
    /// Seconds.
    pub(super) retry_after: u64,
    /// Connections of its beginning that are open for the application.
    left: u64,
    /// A bit for each slot whose connection was told and is not over; as long as that of the last one.
    told: Vec<u64>,
    /// Not before that it ends because all have gone.
    least: Time,
    /// Then it ends.
    deadline: Time,
}

impl Draining {
    /// These go. `closing`: how long a closing handshake may take.
    pub(super) fn new(drain: &Drain, all: Vec<ConnId>, now: Time, closing: Duration, random: &mut impl Rng) -> Self {
        let slots = all.iter().map(|id| id.index() as usize + 1).max().unwrap_or(0);
        Self {
            left: all.len() as u64,
            told: vec![0; slots.div_ceil(64)],
            turns: Departures::new(all, now, now.plus(drain.window), random),
            code: drain.code,
            reason: drain.reason.clone(),
            retry_after: drain.retry_after.as_nanos().div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX),
            least: now.plus(drain.at_least),
            deadline: planted!(DrainWithoutEnd, Time::from_nanos(u64::MAX); now.plus(drain.whole(closing))),
        }
    }

    /// It is asked for again: each of its times is what it is, or what that makes it if that is sooner.
    pub(super) fn shorten(&mut self, drain: &Drain, now: Time, closing: Duration, random: &mut impl Rng) {
        self.turns.shorten(now, now.plus(drain.window), random);
        self.least = self.least.min(now.plus(drain.at_least));
        self.deadline = self.deadline.min(now.plus(drain.whole(closing)));
    }

    /// A connection is told.
    pub(super) fn tell(&mut self, index: u32) {
        self.told[index as usize / 64] |= 1 << (index % 64);
    }

    /// The connection of this slot was told, and is not over.
    pub(super) fn is_told(&self, index: u32) -> bool {
        self.told.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// One of those of its beginning is over. Whether it was told.
    pub(super) fn end(&mut self, index: u32) -> bool {
        self.left -= 1;
        let was_told = self.is_told(index);
        if was_told {
            self.told[index as usize / 64] &= !(1 << (index % 64));
        }
        was_told
    }

    /// Its deadline has come.
    pub(super) fn is_late(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// Nobody is left, and it has lasted for as long as it is to.
    pub(super) fn is_done(&self, now: Time) -> bool {
        self.left == 0 && now >= self.least
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Time {
        match self.left {
            0 => self.least.min(self.deadline),
            _ => self.turns.next_due().map_or(self.deadline, |turn| turn.min(self.deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::cores::Place;

    fn at(secs: u64) -> Time {
        Time::from_nanos(secs * 1_000_000_000)
    }

    fn begun(drain: &Drain, indices: &[u32]) -> Draining {
        let all = indices.iter().map(|index| ConnId::new(Place::new(0), 1, *index)).collect();
        Draining::new(drain, all, at(100), Duration::from_secs(5), &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn who_was_told_is_known_until_its_end() {
        let mut draining = begun(&Drain::over(Duration::from_secs(10)), &[0, 3, 64, 200]);
        draining.tell(64);
        draining.tell(200);
        assert_eq!(
            [0, 3, 64, 200, 201, 9_999].map(|index| draining.is_told(index)),
            [false, false, true, true, false, false]
        );
        assert!(draining.end(64) && !draining.end(0) && !draining.is_told(64) && draining.is_told(200));
        assert!(!draining.is_done(at(1_000)));
        assert!(draining.end(200) && !draining.end(3) && draining.is_done(at(100)));
    }

    #[test]
    fn it_ends_when_all_have_gone_and_no_later_than_its_deadline() {
        let secs = Duration::from_secs;
        let mut draining = begun(&Drain::over(secs(10)).at_least(secs(20)).deadline(secs(30)), &[7]);
        assert!(draining.due() >= at(100) && draining.due() < at(110));
        assert!(!draining.is_late(at(129)) && draining.is_late(at(130)));
        draining.end(7);
        assert_eq!((draining.due(), draining.is_done(at(119)), draining.is_done(at(120))), (at(120), false, true));
        let random = &mut StdRng::seed_from_u64(2);
        draining.shorten(&Drain::over(secs(50)).at_least(secs(50)), at(101), secs(5), random);
        assert!(draining.due() == at(120) && draining.is_late(at(130)), "it is no longer than it was");
        draining.shorten(&Drain::over(secs(2)).at_least(secs(8)), at(101), secs(5), random);
        assert_eq!((draining.due(), draining.is_late(at(107)), draining.is_late(at(108))), (at(108), false, true));
    }

    #[test]
    fn a_client_comes_back_after_whole_seconds() {
        let retry_after =
            |millis| begun(&Drain::over(Duration::ZERO).retry_after(Duration::from_millis(millis)), &[]).retry_after;
        assert_eq!([0, 1, 1_000, 1_001].map(retry_after), [0, 1, 1, 2]);
    }
}
