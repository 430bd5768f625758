//! The values of the settings of time that are the application's to choose, and what must be true of them.

use std::time::Duration;

use crate::engine::TIMERS_MAX;
use crate::flush::Flush;

/// See the setters in `time`.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) timers_max: u32,
    pub(crate) tick: Option<Duration>,
    pub(crate) flush: Flush,
    pub(crate) lifetime_max: Option<Duration>,
    pub(crate) data_timeout: Option<Duration>,
    pub(crate) connects_per_second: Option<u32>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            timers_max: 1_000_000,
            tick: None,
            flush: Flush::default(),
            lifetime_max: None,
            data_timeout: None,
            connects_per_second: None,
        }
    }
}

impl Pace {
    /// Whether each makes sense, which one that is, and what it must be.
    pub(super) fn rules(&self) -> [(bool, &'static str, &'static str); 6] {
        [
            (self.timers_max <= TIMERS_MAX, "timers_max", "must be at most 16777216"),
            (self.tick != Some(Duration::ZERO), "tick", "must be longer than nothing; None never ticks"),
            (
                self.lifetime_max != Some(Duration::ZERO),
                "lifetime_max",
                "must be longer than nothing; None is for ever",
            ),
            (
                self.data_timeout != Some(Duration::ZERO),
                "data_timeout",
                "must be longer than nothing; None waits for ever",
            ),
            (self.connects_per_second != Some(0), "connects_per_second", "must be at least 1; None has no limit"),
            (self.flush != Flush::AtTick || self.tick.is_some(), "flush", "at ticks needs a tick"),
        ]
    }
}
