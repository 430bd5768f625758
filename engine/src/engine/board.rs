//! Owns the counters that other threads ask a core for, and those it had when it ended.
//!
//! Promises that an answer was given after its question, by a pass of the core or by its end. Refuses to know what is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::stats::Stats;

/// Where a core answers. Questions are numbered, so that none is answered by a pass that had begun before it.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Questions.
    asked: AtomicU64,
    /// Up to which question is answered.
    answered: AtomicU64,
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    stats: Option<Stats>,
    /// Up to this question.
    answered: u64,
    /// There will be no other answer.
    over: bool,
}

impl Board {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("nobody panics with it")
    }

    /// Asks, has the core look by `ring`, and waits for its answer, at most for so long.
    pub(super) fn ask(&self, ring: impl FnOnce(), patience: Duration) -> Option<Stats> {
        if self.told().over {
            return self.told().stats;
        }
        let question = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        ring();
        let waits = |told: &mut Told| told.answered < question && !told.over;
        let waited = self.changed.wait_timeout_while(self.told(), patience, waits);
        let told = waited.expect("nobody panics with it").0;
        if told.answered >= question || told.over { told.stats } else { None }
    }

    /// The last question that has not been answered: for the beginning of the pass that answers it.
    pub(super) fn question(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Acquire);
        (asked > self.answered.load(Ordering::Relaxed)).then_some(asked)
    }

    /// The core's answer to that question and those before it.
    pub(super) fn answer(&self, question: u64, stats: Stats) {
        self.answered.store(question, Ordering::Relaxed);
        let mut told = self.told();
        if !told.over {
            (told.stats, told.answered) = (Some(stats), question);
            self.changed.notify_all();
        }
    }

    /// The core has ended. `None`: it does not say what it has counted; what it said before is no answer.
    pub(super) fn end(&self, last: Option<Stats>) {
        let mut told = self.told();
        if !told.over {
            (told.stats, told.over) = (last, true);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn counted(messages: u64) -> Stats {
        Stats { messages, ..Stats::default() }
    }

    #[test]
    fn who_asks_gets_what_is_counted_then() {
        let board = Board::default();
        assert_eq!((board.question(), board.ask(|| (), Duration::ZERO)), (None, None), "nobody answers");
        let question = board.question().expect("it was asked");
        // A pass that had begun before a question answers the ones before.
        let core = || board.answer(question, counted(1));
        assert_eq!(board.ask(core, Duration::ZERO), None);
        let core = || {
            board.answer(board.question().expect("two were asked"), counted(2));
            assert_eq!(board.question(), None);
        };
        assert_eq!(board.ask(core, LONG), Some(counted(2)));
    }

    #[test]
    fn the_end_answers_for_ever() {
        for last in [Some(counted(7)), None] {
            let board = Board::default();
            let core = || {
                board.end(last);
                board.answer(1, counted(3));
            };
            assert_eq!(board.ask(core, LONG), last);
            board.end(Some(counted(9)));
            assert_eq!(board.ask(|| panic!("nobody looks"), LONG), last);
        }
    }
}
