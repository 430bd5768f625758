//! Owns what a core may keep in memory for its peers, how near it is to that, who is known to hold much of it, and when it is to be
//! looked at again.
//!
//! ```text
//!        more than 3/4 of the budget is in use
//!  Calm ─────────────────────────────────────────> Tight
//!    ^                                                │
//!    └──────────── less than 5/8 is ──────────────────┘
//! ```
//! Promises that what is looked at in a pass has a bound, and that who holds more than an equal share of what is in use is found
//! by looking on. Refuses to know connections, and what is done to those that hold most.

use std::ops::Range;
use std::time::Duration;

use wsring_proto::deflate::Inflater;

use super::planted::planted;
use crate::ring::Time;

/// Connections looked at in a pass, and pieces of memory that they may have together: some tenths of a millisecond.
pub(super) const LOOK_MAX: usize = 2048;
pub(super) const PIECES_MAX: usize = 16 << 10;
/// Holders remembered of those that were looked at.
const HOLDERS_MAX: usize = 256;
/// How long more than the high mark may be in use before the largest holders are closed although there is room: who is not read
/// does not get done, and somebody must.
const GRACE: Duration = Duration::from_secs(1);
/// How often a core looks whether memory can be given back, as long as it has some.
const TIDY_EVERY: Duration = Duration::from_secs(2);
/// How often a core whose memory is tight looks who holds it.
const TIGHT_EVERY: Duration = Duration::from_millis(20);
/// What is kept of free memory for the next burst; of a small budget an eighth.
const FLOOR: usize = 4 << 20;
/// The allocator is asked to give memory back when so much has been freed, and not more often than this.
const TRIM_MIN: usize = 4 << 20;
const TRIM_EVERY: Duration = Duration::from_secs(5);
/// How often the log says that memory is short.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How near a core is to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Calm,
    /// Those who hold most are not read, and nobody new is served.
    Tight {
        since: Time,
    },
}

/// A connection that was seen to hold much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) memory: usize,
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// The budget of a core.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    level: Level,
    /// Those who were seen to hold most, the largest last.
    holders: Vec<Holder>,
    /// Where to look next, and the pass in which was last looked.
    next: usize,
    looked_in: u64,
    /// Those who are not read.
    held: Vec<(u32, u32)>,
    /// Those who were cut and whose last send the kernel still has, which is memory too.
    leaving: Vec<(u32, u32)>,
    look_at: Option<Time>,
    /// The most that was held since the allocator was last asked to give memory back, and when it may be asked again.
    peak: usize,
    trim_from: Time,
    told_again_at: Time,
    /// What happened since the log last said so.
    untold: Untold,
}

#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    refused: u64,
    closed: u64,
}

impl Budget {
    /// `max`: bytes; `None` bounds nothing.
    pub(crate) fn new(max: Option<usize>) -> Self {
        Self {
            max: max.unwrap_or(usize::MAX),
            level: Level::Calm,
            holders: Vec::new(),
            next: 0,
            looked_in: 0,
            held: Vec::new(),
            leaving: Vec::new(),
            look_at: None,
            peak: 0,
            trim_from: Time::default(),
            told_again_at: Time::default(),
            untold: Untold::default(),
        }
    }

    /// More than this is tight.
    pub(super) fn high(&self) -> usize {
        self.max / 4 * 3
    }

    /// Less than this is calm again.
    fn low(&self) -> usize {
        self.max / 8 * 5
    }

    /// Free memory that is kept for the next burst.
    pub(super) fn floor(&self) -> usize {
        FLOOR.min(self.max / 8)
    }

    /// The windows that peers keep, to compare with how many may: as if they were too many from a quarter of the budget on.
    pub(super) fn windows(&self, count: u32) -> u32 {
        if count as usize * Inflater::BYTES >= self.max / 4 { u32::MAX } else { count }
    }

    #[inline]
    pub(super) fn is_tight(&self) -> bool {
        self.level != Level::Calm
    }

    /// When it is to be looked at again.
    #[inline]
    pub(super) fn look_at(&self) -> Option<Time> {
        self.look_at
    }

    #[inline]
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.look_at.is_some_and(|at| at <= now)
    }

    /// So much is in use (`lent`), and so much is held in all: moves on to the level of that, and sees to it that it is looked at
    /// again as long as there is something to be tight or tidy about. Whether that has begun or ended a level.
    pub(super) fn on_use(&mut self, lent: usize, held: usize, now: Time) -> Option<Level> {
        self.peak = self.peak.max(held);
        let before = self.level;
        match self.level {
            Level::Calm if lent > self.high() => self.level = Level::Tight { since: now },
            Level::Tight { .. } if lent < self.low() => {
                self.level = Level::Calm;
                self.holders.clear();
            }
            Level::Calm | Level::Tight { .. } => {}
        }
        let every = if self.is_tight() { TIGHT_EVERY } else { TIDY_EVERY };
        let is_work = self.is_tight() || held > self.floor() || self.is_worth_trimming(held);
        let at = self.look_at.filter(|&at| at > now).map_or(now.plus(every), |at| at.min(now.plus(every)));
        self.look_at = is_work.then_some(at);
        (self.level != before).then_some(self.level)
    }

    /// What may stay in use: the budget, and after a while of tightness what is calm.
    pub(super) fn goal(&self, now: Time) -> usize {
        planted!(BudgetIgnored, return usize::MAX);
        match self.level {
            Level::Tight { since } if now.since(since) >= GRACE => self.low().saturating_sub(1),
            Level::Calm | Level::Tight { .. } => self.max,
        }
    }

    /// So much more than the budget is in use that nobody who is leaving is waited for.
    pub(super) fn is_far_above(&self, lent: usize) -> bool {
        lent > self.max.saturating_add(self.max / 4)
    }

    /// Begins a look at the connections of a table with so many slots: those to look at in this pass, modulo the slots, as far
    /// as [`Self::end_look`] says. `None` if that has been done.
    pub(super) fn look(&mut self, pass: u64, slots: usize) -> Option<Range<usize>> {
        if self.looked_in == pass || slots == 0 {
            return None;
        }
        self.looked_in = pass;
        let first = self.next % slots;
        Some(first..first + slots.min(LOOK_MAX))
    }

    /// So many were looked at, and these seen to hold much.
    pub(super) fn end_look(&mut self, looked: usize, slots: usize, found: Vec<Holder>) {
        let first = self.next % slots;
        self.next = (first + looked) % slots;
        // What was known of those that were looked at is old.
        self.holders.retain(|known| (known.index as usize + slots - first) % slots >= looked);
        self.holders.extend(found);
        self.holders.sort_unstable_by_key(|holder| planted!(SmallestClosed, usize::MAX - holder.memory; holder.memory));
        let excess = self.holders.len().saturating_sub(HOLDERS_MAX);
        self.holders.drain(..excess);
    }

    /// Takes the largest holder that is known.
    pub(super) fn next_holder(&mut self) -> Option<Holder> {
        let next = self.holders.pop()?;
        assert!(self.holders.iter().all(|other| other.memory <= next.memory), "{next:?} is not the largest holder");
        Some(next)
    }

    pub(super) fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// A connection is not read any more.
    pub(super) fn note_held(&mut self, index: u32, generation: u32) {
        self.held.push((index, generation));
    }

    /// All that are not read.
    pub(super) fn take_held(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.held)
    }

    /// A connection was cut, and the kernel still has its last send.
    pub(super) fn note_leaving(&mut self, index: u32, generation: u32) {
        self.leaving.push((index, generation));
    }

    /// Somebody is leaving who still is what `is_busy` says.
    pub(super) fn is_leaving(&mut self, is_busy: impl Fn(u32, u32) -> bool) -> bool {
        self.leaving.retain(|&(index, generation)| is_busy(index, generation));
        !self.leaving.is_empty()
    }

    fn is_worth_trimming(&self, held: usize) -> bool {
        self.peak.saturating_sub(held) >= TRIM_MIN
    }

    /// So much has been freed since the allocator was last asked to give memory back that it is to be asked again.
    pub(super) fn wants_trim(&self, held: usize, now: Time) -> bool {
        self.is_worth_trimming(held) && now >= self.trim_from
    }

    /// It was asked.
    pub(super) fn note_trimmed(&mut self, held: usize, now: Time) {
        (self.peak, self.trim_from) = (held, now.plus(TRIM_EVERY));
    }

    pub(super) fn note_refused(&mut self) {
        self.untold.refused += 1;
    }

    pub(super) fn note_closed(&mut self) {
        self.untold.closed += 1;
    }

    /// Says in the log that memory is tight, if it is and was not said lately.
    pub(super) fn tell(&mut self, lent: usize, now: Time) {
        if !self.is_tight() || now < self.told_again_at {
            return;
        }
        let Untold { refused, closed } = std::mem::take(&mut self.untold);
        self.told_again_at = now.plus(TOLD_EVERY);
        tracing::warn!(
            in_use = lent,
            budget = self.max,
            refused,
            closed,
            "memory is tight: those who hold most are not read, and new connections are answered 503 \
             (Config::memory_max_bytes)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 << 20;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn holder(index: u32, memory: usize) -> Holder {
        Holder { memory, index, generation: 7 }
    }

    #[test]
    fn marks_are_three_quarters_and_five_eighths() {
        let mut budget = Budget::new(Some(MAX));
        let (high, low) = (48 << 20, 40 << 20);
        for (ms, lent, level) in [
            (0, high, None),
            (1, high + 1, Some(Level::Tight { since: at(1) })),
            (2, MAX * 2, None),
            (3, low, None),
            (4, low - 1, Some(Level::Calm)),
            (5, high, None),
            (6, high + 1, Some(Level::Tight { since: at(6) })),
        ] {
            assert_eq!(budget.on_use(lent, lent, at(ms)), level, "{lent} at {ms}");
        }
        let mut none = Budget::new(None);
        assert_eq!(none.on_use(usize::MAX / 2, usize::MAX / 2, at(0)), None);
        assert_eq!(none.goal(at(9_000)), usize::MAX);
    }

    #[test]
    fn windows_of_peers_take_a_quarter() {
        let budget = Budget::new(Some(4 * 10 * Inflater::BYTES));
        assert_eq!((budget.windows(9), budget.windows(10)), (9, u32::MAX));
        assert_eq!(Budget::new(None).windows(u32::MAX - 1), u32::MAX - 1);
    }

    /// Who is not read does not get done: after a second the largest go although there is room.
    #[test]
    fn the_goal_is_the_budget_and_then_the_mark() {
        let mut budget = Budget::new(Some(MAX));
        budget.on_use(MAX - 1, MAX - 1, at(5));
        assert_eq!((budget.goal(at(1_004)), budget.goal(at(1_005))), (MAX, (40 << 20) - 1));
        assert!(!budget.is_far_above(80 << 20) && budget.is_far_above((80 << 20) + 1));
    }

    /// Nothing wakes a core that has nothing to give back.
    #[test]
    fn it_is_looked_at_again_while_there_is_something_to_do() {
        let mut budget = Budget::new(Some(MAX));
        budget.on_use(1 << 20, FLOOR, at(0));
        assert_eq!(budget.look_at(), None);
        budget.on_use(1 << 20, FLOOR + 1, at(0));
        budget.on_use(1 << 20, FLOOR + 1, at(100));
        assert_eq!(budget.look_at(), Some(at(2_000)), "not put off");
        budget.on_use(MAX, MAX, at(200));
        assert_eq!(budget.look_at(), Some(at(220)));
        assert!(!budget.is_due(at(219)) && budget.is_due(at(220)));
        budget.on_use(0, 0, at(230));
        assert_eq!(budget.look_at(), Some(at(2_230)), "64 MiB may be given back");
        assert!(budget.wants_trim(0, at(2_230)));
        budget.note_trimmed(0, at(2_230));
        budget.on_use(0, 0, at(2_230));
        assert_eq!(budget.look_at(), None);
    }

    #[test]
    fn the_allocator_is_asked_for_much_and_not_often() {
        let mut budget = Budget::new(None);
        budget.on_use(20 << 20, 20 << 20, at(0));
        assert!(!budget.wants_trim((16 << 20) + 1, at(1)) && budget.wants_trim(16 << 20, at(1)));
        budget.note_trimmed(16 << 20, at(1));
        budget.on_use(30 << 20, 30 << 20, at(2));
        assert!(!budget.wants_trim(0, at(5_000)) && budget.wants_trim(0, at(5_001)));
    }

    /// A table that is too large for one pass is looked at by and by, all of it; each pass once.
    #[test]
    fn a_look_has_a_bound_and_comes_round() {
        let mut budget = Budget::new(Some(MAX));
        let slots = 2 * LOOK_MAX + 100;
        let mut seen = vec![0; slots];
        for pass in 1..=3 {
            let look = budget.look(pass, slots).expect("a new pass");
            assert_eq!(look.len(), LOOK_MAX);
            budget.end_look(LOOK_MAX, slots, Vec::new());
            look.for_each(|at| seen[at % slots] += 1);
            assert!(budget.look(pass, slots).is_none());
        }
        assert!(seen.iter().all(|&count| count >= 1));
        assert_eq!(budget.look(4, 3).expect("a new pass").count(), 3);
        assert!(budget.look(5, 0).is_none());
    }

    #[test]
    fn the_largest_goes_first() {
        let mut budget = Budget::new(Some(MAX));
        // Of two looks at a table of four, the second begins where the first stopped and sees the first slot again.
        budget.end_look(3, 4, vec![holder(0, 10), holder(2, 30)]);
        budget.end_look(2, 4, vec![holder(3, 20), holder(0, 25)]);
        let order: Vec<u32> = std::iter::from_fn(|| budget.next_holder()).map(|holder| holder.index).collect();
        assert_eq!(order, [2, 0, 3]);
        budget.end_look(1000, 1000, (0..1000).map(|index| holder(index, index as usize)).collect());
        assert_eq!((budget.holders().len(), budget.next_holder()), (HOLDERS_MAX, Some(holder(999, 999))));
    }

    #[test]
    fn who_has_left_is_not_waited_for() {
        let mut budget = Budget::new(Some(MAX));
        budget.note_leaving(1, 5);
        assert!(budget.is_leaving(|index, generation| (index, generation) == (1, 5)));
        assert!(!budget.is_leaving(|_, _| false) && !budget.is_leaving(|_, _| true));
    }
}
