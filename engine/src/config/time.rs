//! Settings of time that are the application's to choose: its timers, ticks and flushes, and how long connections last.

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

    /// Calls [`on_tick`](crate::Handler::on_tick) of each core at this fixed rate, counted from its start: at most once in each such time, and never
    /// early. For 30 a second: `.tick(Duration::from_secs(1) / 30)`. It does not drift, and a tick for which the core was too late is counted as missed. How late ticks are is in
    /// [`Stats`](crate::Stats). `None` never. Longer than nothing. Default `None`.
    #[must_use]
    pub fn tick(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.pace.tick = period.into();
        self
    }

    /// A connection that has been open for so long is closed: it is told 1001, behind all that is queued for it, and `on_close` that it was
    /// [`CloseReason::Lifetime`](crate::CloseReason::Lifetime). Each ends up to a tenth of the time sooner, at random, so that those which
    /// came at once do not all come back at once; one that was dialled is dialled again, as its [`Reconnect`](crate::Reconnect)
    /// says. For certificates, tokens and placements that change. `None` lets them last. Longer than nothing. Default `None`.
    #[must_use]
    pub fn lifetime_max(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.pace.lifetime_max = time.into();
        self
    }

    /// A connection from which no whole message came for so long is closed: it is told 1001, and `on_close`
    /// [`CloseReason::NoData`](crate::CloseReason::NoData). Pings, pongs and parts of messages do not count, which is the difference to
    /// [`idle_timeout`](Self::idle_timeout); one that is not read when its time comes, because it is paused or its output is high, has the whole time again. For one
    /// kind of connection among others set timers instead ([`Conn::set_timer`](crate::Conn::set_timer)). `None` never. Longer than nothing. Default `None`.
    #[must_use]
    pub fn data_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pace.data_timeout = timeout.into();
        self
    }

    /// Attempts of dials that a core begins in a second, at equal distances; those beyond wait for their turn, in the order in which they would
    /// have begun. Those that are abandoned there, or given another wait, leave their turns to those behind them. For servers that ban who connects too fast, and so that a core that has lost all its connections does not come
    /// back in one burst. At least 1; `None` has no limit. Default `None`.
    #[must_use]
    pub fn connects_per_second(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.pace.connects_per_second = attempts.into();
        self
    }

    /// When messages that are sent go out. [`Flush::AtTick`] needs a [`tick`](Self::tick). Default [`Flush::EndOfPass`].
    #[must_use]
    pub fn flush(mut self, when: Flush) -> Self {
        self.pace.flush = when;
        self
    }
}
