//! A core that is drained in the middle of everything: drawn apart from everything else, and what must be true of its end (oracle 35).

use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{CloseCode, CoreState, Drain, Handle, Place, Stats};

use super::mail::Note;
use super::oracle::{Ledger, Person, Reason};
use super::{Manners, World};

/// By how much a core may be late to end.
const LATE: Duration = Duration::from_millis(200);

/// How a seed drains.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From the run's beginning.
    pub after: Duration,
    window: Duration,
    deadline: Duration,
    code: CloseCode,
}

impl Plan {
    /// In an eighth of the rude seeds that dial nobody.
    pub fn drawn(seed: u64, manners: Manners, dials: bool) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x0064_7261_696e_0021);
        if dials || manners != Manners::Rude || !random.chance(125) {
            return None;
        }
        let window = Duration::from_millis(random.pick(&[0, 20, 200, 1_500]) + random.below(100));
        Some(Self {
            after: Duration::from_micros(random.pick(&[1, 30, 300]) * random.below(3_000)),
            window,
            deadline: window + Duration::from_millis(random.below(800)),
            code: random.pick(&[CloseCode::GOING_AWAY, CloseCode::SERVICE_RESTART]),
        })
    }

    pub fn drain(&self) -> Drain {
        Drain::over(self.window).deadline(self.deadline).code(self.code).reason("drained")
    }

    /// It has begun, with so many open.
    pub fn begun(&self, at: Time, open: usize) -> Drained {
        Drained { at, by: at.plus(self.deadline), code: self.code.as_u16(), open }
    }
}

/// A drain that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    pub at: Time,
    /// When it ends at the latest.
    by: Time,
    pub code: u16,
    open: usize,
}

impl Person {
    /// Its connection is open.
    pub fn open(&mut self, now: Time) {
        (self.opened, self.opened_at) = (self.opened + 1, Some(now));
    }
}

/// Behind each pass: a core that ends its drain by itself begins to stop.
pub fn watch(handle: &Handle<Note>, world: &World, now: Time) {
    let mut ledger = world.ledger.borrow_mut();
    if ledger.drained.is_some() && handle.state(Place::new(0)) == CoreState::Stopping {
        ledger.stopped_at.get_or_insert(now);
    }
}

impl Ledger {
    /// It ends in time, and its report is what was told to the application.
    pub fn judge_drain(&self, stats: &Stats) {
        let Some(drained) = self.drained else { return assert_eq!(stats.drains, 0, "of a drain: nobody was told") };
        let stopped_at = self.stopped_at.expect("nothing else ends a run");
        let late = stopped_at.since(drained.by);
        assert!(late <= LATE + self.pause(), "of a drain: it went on for {late:?} too long");
        let report = stats.drain_report().expect("of a drain: none is counted");
        let sum = report.closed + report.unanswered + report.left + report.stopped;
        assert_eq!((report.open, sum), (drained.open as u64, report.open), "of a drain: {report}");
        let count = |of: fn(&Person) -> bool| self.people.iter().filter(|person| of(person)).count() as u64;
        let told = count(|person| person.told_at.is_some());
        assert_eq!(report.closed + report.unanswered, told, "of a drain: {told} had their turn, {report}");
        let clean = count(|person| person.reason == Some(Reason::Drained(true)));
        let is_exact = self.failed_at.is_none();
        assert!(report.closed >= clean && (!is_exact || report.closed == clean), "of a drain: {clean} went, {report}");
        let late = self.people.iter().find(|person| person.opened_at > Some(drained.at));
        assert!(late.is_none(), "of a drain: somebody has opened: {late:?}");
    }
}
