//! Owns the beat of a core, if it has one: when the next tick is due. Promises that ticks do not drift, that none is early, and that each
//! one is told or counted as missed. Refuses to know the handler.

use std::time::Duration;

use super::planted::planted;
use crate::ring::Time;

/// A tick: see [`Config::tick`](crate::Config::tick).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tick {
    /// Which it is since the core's start, from 1: it was due so many periods behind that. The numbers of those that are missed are left
    /// out.
    pub number: u64,
    /// When it was due.
    pub due: Time,
    /// How late it is: what callbacks of this pass that ran before took is not in it.
    pub late: Duration,
    /// How many more were due by now: they are not told, and the next one has the number behind theirs.
    pub missed: u64,
}

/// The ticks of a core.
#[derive(Clone, Copy)]
pub(crate) struct Ticks {
    /// Nanoseconds; 0: there are none.
    period: u64,
    due: u64,
    number: u64,
}

impl Ticks {
    pub(crate) fn new(period: Option<Duration>) -> Self {
        let period = period.map_or(0, |period| u64::try_from(period.as_nanos()).unwrap_or(u64::MAX));
        Self { period, due: u64::MAX, number: 1 }
    }

    /// The core starts now.
    pub(crate) fn begin(&mut self, now: Time) {
        if self.period > 0 {
            self.due = now.as_nanos().saturating_add(self.period);
        }
    }

    /// When the next one is due; `u64::MAX`: never.
    pub(crate) fn next_due(&self) -> u64 {
        self.due
    }

    /// The tick that is due by now, if one is.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Tick> {
        let Self { period, due, number } = *self;
        let late = now.as_nanos().checked_sub(due).filter(|_| due < u64::MAX)?;
        let missed = late / period;
        let next = due.saturating_add((missed + 1).saturating_mul(period));
        self.due = planted!(TickDrift, now.as_nanos() + period; next);
        self.number += missed + 1;
        Some(Tick { number, due: Time::from_nanos(due), late: Duration::from_nanos(late), missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_ticks_do_not_drift() {
        const PERIOD: u64 = 33_333_333;
        let (start, mut told) = (1_000_000_007, 0);
        let mut ticks = Ticks::new(Some(Duration::from_nanos(PERIOD)));
        assert_eq!(ticks.pop(Time::from_nanos(u64::MAX)), None, "before the start");
        ticks.begin(Time::from_nanos(start));
        let mut number = 1;
        while number <= 10_000 {
            let due = start + number * PERIOD;
            assert_eq!((ticks.next_due(), ticks.pop(Time::from_nanos(due - 1))), (due, None));
            // Now and then so late that others are missed.
            let late = if number % 100 == 0 { PERIOD * 2 + 5 } else { number * 1_009 % PERIOD };
            let tick = ticks.pop(Time::from_nanos(due + late)).expect("it is due");
            let missed = late / PERIOD;
            assert_eq!(tick, Tick { number, due: Time::from_nanos(due), late: Duration::from_nanos(late), missed });
            (told, number) = (told + 1, number + missed + 1);
        }
        assert_eq!(told + 2 * 100, number - 1, "each is told or missed");
    }

    #[test]
    fn a_core_without_a_tick_is_never_woken_for_one() {
        let mut ticks = Ticks::new(None);
        ticks.begin(Time::from_nanos(5));
        assert_eq!((ticks.next_due(), ticks.pop(Time::from_nanos(u64::MAX))), (u64::MAX, None));
    }
}
