//! The values of the settings of the application's time, and what must be true of them.

use std::time::Duration;

use crate::engine::TIMERS_MAX;
use crate::flush::Flush;

/// See the setters in `time`.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) timers_max: u32,
    pub(crate) tick: Option<Duration>,
    pub(crate) flush: Flush,
}

impl Default for Pace {
    fn default() -> Self {
        Self { timers_max: 1_000_000, tick: None, flush: Flush::default() }
    }
}

impl Pace {
    /// Whether each makes sense, which one that is, and what it must be.
    pub(super) fn rules(&self) -> [(bool, &'static str, &'static str); 3] {
        [
            (self.timers_max <= TIMERS_MAX, "timers_max", "must be at most 16777216"),
            (self.tick != Some(Duration::ZERO), "tick", "must be longer than nothing; None never ticks"),
            (self.flush != Flush::AtTick || self.tick.is_some(), "flush", "at ticks needs a tick"),
        ]
    }
}
