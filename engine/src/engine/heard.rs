//! Owns up to when everything that peers had sent has been worked on. Deadlines are measured by that, not by the clock: who has
//! spoken in time is heard first, however long the process stood still or a callback took.
//!
//! Promises that this time is never later than what was really read, and that it goes on: while a ring always has more, it hands
//! completions over in the order in which they came, so that after enough passes those of an earlier moment have been seen. Refuses to
//! know the clock, and what a deadline means.

use super::deadlines::Tick;
use super::planted::planted;
use crate::ring::Time;

/// Passes after which everything has been seen that was ready when they began, beside one for every [`SOCKETS_A_PASS`].
const PASSES: usize = 64;
/// A call of io_uring_enter(2) runs some twenty pieces of task work (IO_LOCAL_TW_DEFAULT_MAX), and a socket has at most a receive, a
/// send and a few cancels: eight sockets a pass would do. A shortage of buffers is worked off in turns, which takes longer.
const SOCKETS_A_PASS: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Heard {
    until: Time,
    tick: Tick,
    /// How many passes in a row had a deadline to look at and left something unread.
    behind: usize,
    /// What the clock said before the first of them.
    began: Time,
}

impl Heard {
    /// By the nanosecond.
    pub(super) fn until(&self) -> Time {
        self.until
    }

    /// The tick of that.
    #[inline]
    pub(super) fn tick(&self) -> Tick {
        self.tick
    }

    /// A pass in which no deadline is due; `before` is what the clock said when it began to wait.
    #[inline]
    pub(super) fn skip_to(&mut self, before: Time, tick: Tick) {
        (self.until, self.tick) = (before, tick);
    }

    /// A pass in which some are. `more`: it left something unread that may have come before.
    pub(super) fn on_pass(&mut self, before: Time, more: bool, sockets: usize) {
        if !planted!(UnreadCut, false; more) {
            self.behind = 0;
            return self.skip_to(before, Tick::of(before));
        }
        if self.behind == 0 {
            self.began = before;
        }
        self.behind += 1;
        if self.behind > PASSES + sockets / SOCKETS_A_PASS {
            self.behind = 0;
            self.skip_to(self.began, Tick::of(self.began));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unread_holds_deadlines_up_and_not_for_ever() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut heard = Heard::default();
        heard.on_pass(at(10), false, 0);
        assert_eq!(heard.until(), at(10));
        // Everything is read after two passes: then all is known up to the last of them.
        heard.on_pass(at(5_000), true, 0);
        heard.on_pass(at(5_001), true, 0);
        assert_eq!((heard.until(), heard.tick()), (at(10), Tick::of(at(10))));
        heard.on_pass(at(5_002), false, 0);
        assert_eq!((heard.until(), heard.tick()), (at(5_002), Tick::of(at(5_002))));
        // There is always more: what was there at first has been seen after a bounded number of passes.
        for sockets in [0, 1_000] {
            let (first, passes) = (heard.until().plus(std::time::Duration::from_secs(1)), PASSES + sockets / 2);
            let later = |pass: usize| first.plus(std::time::Duration::from_millis(pass as u64));
            for pass in 0..passes {
                heard.on_pass(later(pass), true, sockets);
                assert!(heard.until() < first, "{pass} of {passes}");
            }
            heard.on_pass(later(passes), true, sockets);
            assert_eq!(heard.until(), first);
        }
    }
}
