//! Owns the clocks of messages that have begun to come and are not whole: by when each connection's must have come further.
//!
//! A clock runs from the first byte that waits for others, in rounds. In each round at least [`LEAST`] bytes more of the message must come,
//! or the rest of it. A round in which the connection was not read, for whatever reason of ours, does not count, nor does the one
//! in which that ended. One that brought too little is looked at once more a moment later: behind a pause of the process what had
//! come in time may not have been read.
//!
//! Promises that a connection without such a message costs nothing: the tables are zeros that nobody has touched. Refuses to know the
//! bytes, what a round that brought too little means, and how time is noticed.

use std::time::Duration;

use super::deadlines::{Span, Tick};

/// Bytes of a message that must come in each round, unless a test sets others.
pub(crate) const LEAST: u32 = 16 << 10;

/// No clock runs.
const NONE: u32 = 0;
/// How many bytes had come when the round began is not known, or does not matter: it does not count.
const EXCUSED: u32 = AGAIN - 1;
/// Beside that number: the round is over, and is looked at once more.
const AGAIN: u32 = 1 << 31;
/// How long a round that brought too little goes on.
const MOMENT: Duration = Duration::from_millis(200);

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// It lasts until then.
    Lasts(Tick),
    /// Enough has come, or it does not count: another one began, to last until then.
    Passed(Tick),
    /// Too little has come.
    Failed,
}

/// The clocks, by the index of their connection.
pub(crate) struct Begun {
    /// Connections there is room for.
    slots: usize,
    least: u32,
    /// When the round ends, as the bits of a tick with the lowest one set; or [`NONE`].
    ends: Vec<u32>,
    /// How many bytes had come when it began, or [`EXCUSED`]; and [`AGAIN`] or not.
    from: Vec<u32>,
}

impl Begun {
    /// `at_once`: whether clocks will run as a rule, so that the tables for so many connections are made now.
    pub(crate) fn new(at_once: bool, slots: usize) -> Self {
        let mut begun = Self { slots, least: LEAST, ends: Vec::new(), from: Vec::new() };
        if at_once {
            begun.make();
        }
        begun
    }

    /// Zeros that the allocator has from the kernel: a page is there when it is written to.
    fn make(&mut self) {
        (self.ends, self.from) = (vec![NONE; self.slots], vec![NONE; self.slots]);
    }

    /// For a test: what must come in each round.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn set_least(&mut self, bytes: u32) {
        self.least = bytes;
    }

    /// A message has begun or goes on, of which so many bytes are kept: when its round ends, which lasts so long, if that begins now.
    #[inline]
    pub(crate) fn begin(&mut self, index: u32, now: Tick, round: Span, kept: usize) -> Option<Tick> {
        if index as usize >= self.ends.len() {
            self.grow(index);
        }
        let ends = self.ends.get_mut(index as usize).filter(|ends| **ends == NONE)?;
        let end = now.plus(round);
        *ends = end.to_bits() | 1;
        self.from[index as usize] = count(kept);
        Some(end)
    }

    /// The first clock runs; or a ring has more sockets than it was said to.
    #[cold]
    fn grow(&mut self, index: u32) {
        if self.ends.is_empty() {
            self.make();
        }
        if (index as usize) < self.ends.len() {
            return;
        }
        let slots = (index as usize + 1).next_power_of_two();
        self.ends.resize(slots, NONE);
        self.from.resize(slots, NONE);
    }

    /// A message is whole, or the connection is another's: what begins next has a clock of its own.
    #[inline]
    pub(crate) fn clear(&mut self, index: u32) {
        if let Some(ends) = self.ends.get_mut(index as usize).filter(|ends| **ends != NONE) {
            *ends = NONE;
        }
    }

    /// The connection is not read from here on: this round does not count.
    #[inline]
    pub(crate) fn excuse(&mut self, index: u32) {
        if self.ends.get(index as usize).is_some_and(|ends| *ends != NONE) {
            self.from[index as usize] = EXCUSED;
        }
    }

    /// Looks at the clock, whose rounds last so long. `kept`: how many bytes are kept by now; `None` if the connection is not read.
    pub(crate) fn look(
        &mut self,
        index: u32,
        now: Tick,
        heard: Tick,
        round: Span,
        kept: Option<usize>,
    ) -> Option<Round> {
        let end = self.end(index)?;
        if !end.is_due(heard) {
            return Some(Round::Lasts(end));
        }
        let (last, kept) = (self.from[index as usize], kept.map_or(EXCUSED, count));
        let from = last & EXCUSED;
        // A message that is shorter than the one before is another, of which nothing had come.
        let passed = from == EXCUSED || kept == EXCUSED || kept < from || kept - from >= self.least;
        if !passed && last & AGAIN != 0 {
            self.ends[index as usize] = NONE;
            return Some(Round::Failed);
        }
        let (end, from) = if passed { (now.plus(round), kept) } else { (now.after(MOMENT), last | AGAIN) };
        self.ends[index as usize] = end.to_bits() | 1;
        self.from[index as usize] = from;
        Some(if passed { Round::Passed(end) } else { Round::Lasts(end) })
    }

    /// When the round of this connection ends, if a clock runs.
    pub(crate) fn end(&self, index: u32) -> Option<Tick> {
        self.ends.get(index as usize).filter(|ends| **ends != NONE).map(|ends| Tick::from_bits(*ends))
    }
}

/// Of more than 2 GiB no difference is made.
fn count(bytes: usize) -> u32 {
    bytes.min(EXCUSED as usize - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(seconds))
    }

    fn look(begun: &mut Begun, seconds: u64, kept: Option<usize>) -> &'static str {
        match begun.look(0, at(seconds), at(seconds), Span::of(ROUND), kept) {
            None => "nothing",
            Some(Round::Lasts(_)) => "lasts",
            Some(Round::Passed(_)) => "passed",
            Some(Round::Failed) => "failed",
        }
    }

    /// A look at the end of a round, and another one a moment later.
    fn looks(begun: &mut Begun, seconds: u64, kept: Option<usize>) -> &'static str {
        match look(begun, seconds, kept) {
            "lasts" => look(begun, seconds + 1, kept),
            said => said,
        }
    }

    #[test]
    fn there_is_a_clock_for_each_connection_however_many_there_are() {
        let mut begun = Begun::new(true, 1);
        assert!([0, 1, 100].into_iter().all(|index| begun.begin(index, at(0), Span::of(ROUND), 0).is_some()));
        assert_eq!((begun.end(1), begun.end(2)), (begun.end(0), None));
    }

    #[test]
    fn a_round_must_bring_so_much() {
        let least = LEAST as usize;
        let mut begun = Begun::new(true, 4);
        assert_eq!(look(&mut begun, 0, Some(0)), "nothing");
        assert!(
            begun.begin(0, at(0), Span::of(ROUND), 100).is_some_and(|end| end.is_due(at(31)) && !end.is_due(at(29)))
        );
        assert_eq!(begun.begin(0, at(20), Span::of(ROUND), 200), None, "it runs");
        assert_eq!(look(&mut begun, 29, Some(100)), "lasts");
        assert_eq!(look(&mut begun, 31, Some(100 + least)), "passed");
        assert_eq!(looks(&mut begun, 62, Some(100 + 2 * least - 1)), "failed");
        assert_eq!(look(&mut begun, 99, Some(100 + 2 * least)), "nothing");
        assert_eq!((begun.end(1), begun.end(100)), (None, None));
    }

    #[test]
    fn a_message_that_is_whole_has_no_clock() {
        let mut begun = Begun::new(true, 4);
        begun.begin(0, at(0), Span::of(ROUND), 100);
        begun.clear(0);
        begun.clear(1);
        assert_eq!(look(&mut begun, 100, Some(100)), "nothing");
        begun.begin(0, at(100), Span::of(ROUND), 0);
        assert_eq!(look(&mut begun, 129, Some(0)), "lasts");
        assert_eq!(looks(&mut begun, 131, Some(0)), "failed");
    }

    /// Neither the round in which the connection was not read counts, nor the one in which it was read again.
    #[test]
    fn what_is_not_read_is_not_late() {
        let mut begun = Begun::new(true, 4);
        begun.begin(0, at(0), Span::of(ROUND), 0);
        begun.excuse(0);
        assert_eq!(look(&mut begun, 31, Some(0)), "passed", "it was read again at its end");
        assert_eq!(look(&mut begun, 62, None), "passed", "it is not read");
        assert_eq!(look(&mut begun, 93, Some(0)), "passed", "since some time");
        assert_eq!(looks(&mut begun, 124, Some(0)), "failed");
        begun.excuse(0);
        assert_eq!(begun.end(0), None, "no clock runs");
    }

    /// A process stood still, and the first look found a round over of which most had not been read.
    #[test]
    fn what_is_read_a_moment_later_was_not_late() {
        let mut begun = Begun::new(true, 4);
        begun.begin(0, at(0), Span::of(ROUND), 100);
        assert_eq!(look(&mut begun, 300, Some(100)), "lasts");
        assert_eq!(look(&mut begun, 301, Some(100 + LEAST as usize)), "passed");
        assert_eq!(look(&mut begun, 320, Some(200 + LEAST as usize)), "lasts");
        assert_eq!(look(&mut begun, 332, Some(200 + LEAST as usize)), "lasts");
        assert_eq!(look(&mut begun, 333, Some(200 + LEAST as usize)), "failed");
        // Nor is one that is not read meanwhile.
        begun.begin(0, at(0), Span::of(ROUND), 100);
        assert_eq!(look(&mut begun, 31, Some(100)), "lasts");
        begun.excuse(0);
        assert_eq!(look(&mut begun, 32, Some(100)), "passed");
    }

    /// Where clocks do not run as a rule, the tables are made for the first that does.
    #[test]
    fn no_clock_runs_that_nobody_wants() {
        let mut begun = Begun::new(false, 4);
        begun.excuse(0);
        begun.clear(0);
        assert_eq!((look(&mut begun, 100, Some(100)), begun.ends.len()), ("nothing", 0));
        assert!(begun.begin(2, at(0), Span::of(ROUND), 0).is_some());
        assert_eq!((begun.end(0), begun.end(2).is_some(), begun.ends.len()), (None, true, 4));
    }

    /// Each connection has the rounds that it was given.
    #[test]
    fn rounds_may_differ() {
        let mut begun = Begun::new(true, 4);
        let second = Span::of(Duration::from_secs(1));
        begun.begin(0, at(0), second, 0);
        begun.begin(1, at(0), Span::of(ROUND), 0);
        assert!(matches!(begun.look(0, at(2), at(2), second, Some(LEAST as usize)), Some(Round::Passed(_))));
        assert!(matches!(begun.look(1, at(2), at(2), Span::of(ROUND), Some(0)), Some(Round::Lasts(_))));
        assert!(begun.end(0).is_some_and(|end| end.is_due(at(4))));
    }
}
