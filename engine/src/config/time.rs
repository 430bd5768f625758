//! Settings of the application's time.

use std::time::Duration;

use super::Config;
use crate::flush::Flush;

/// The application's time.
impl Config {
    /// Timers of a core that may be set at once, those of its connections included, up to 16,777,216; setting one more fails with
    /// [`TimersFull`](crate::TimersFull). Default 1,000,000. The most that were ever set at once have some 70 bytes each.
    #[must_use]
    pub fn timers_max(mut self, timers: u32) -> Self {
        self.pace.timers_max = timers;
        self
    }

    /// Calls [`on_tick`](crate::Handler::on_tick) of each core at this fixed rate, from its start on: once in each such time, in the pass that comes
    /// behind it. It does not drift, and a tick for which the core was too late is counted as missed. How late ticks are is in
    /// [`Stats`](crate::Stats). `None` never. Longer than nothing. Default `None`.
    #[must_use]
    pub fn tick(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.pace.tick = period.into();
        self
    }

    /// When messages that are sent go out. [`Flush::AtTick`] needs a [`tick`](Self::tick). Default [`Flush::EndOfPass`].
    #[must_use]
    pub fn flush(mut self, when: Flush) -> Self {
        self.pace.flush = when;
        self
    }
}
