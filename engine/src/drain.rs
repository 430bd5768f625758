//! How a core is emptied before it ends: [`Drain`], what is asked for; and [`DrainReport`], what came of it.

use std::fmt;
use std::time::Duration;

use wsring_proto::close::CloseCode;

use crate::stats::Stats;

/// A drain, for [`Handle::drain`](crate::Handle::drain): cores that take no more WebSockets and part with those that they have one after
/// another, so that their clients do not all come back to the next server in one moment.
///
/// | meanwhile | |
/// |---|---|
/// | who asks for a WebSocket | is answered 503 with Retry-After, and the handler is not asked. So is whoever [waits for an answer](crate::CoreCx::defer) to that |
/// | a plain request | is answered as ever: a handler says 503 to health checks while [`CoreCx::is_draining`](crate::CoreCx::is_draining) |
/// | who connects | is accepted, so that health checks and clients are told; unless nobody more is to be: [`Handle::stop_accepting`](crate::Handle::stop_accepting) |
/// | an open connection | is served until its turn. Then [`on_goodbye`](crate::Handler::on_goodbye) may have the last word, and the closing handshake begins behind all that is queued |
/// | dials, connections that were dialled | go on until the end |
///
/// When all accepted connections have gone a core ends, as by [`Handle::stop`](crate::Handle::stop). So it does at the [deadline](Self::deadline), whoever is left.
///
/// ```
/// use std::time::Duration;
/// use wsring::{CloseCode, Drain};
///
/// let drain = Drain::over(Duration::from_secs(30)).code(CloseCode::SERVICE_RESTART).reason("back in a minute");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drain {
    pub(crate) window: Duration,
    pub(crate) at_least: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) code: CloseCode,
    pub(crate) reason: Box<str>,
    pub(crate) retry_after: Duration,
}

impl Drain {
    /// One that closes connections over this time, evenly and in an order that is left to chance: of `n` connections each has its turn in an `n`th part of
    /// it, somewhere in there. Each core does so with its own. [`Duration::ZERO`]: all are closed at once, and the core ends when they have answered.
    ///
    /// A core that was held up does not make up for it at once: what is left is spread over the time that is left.
    pub fn over(window: Duration) -> Self {
        Self {
            window,
            at_least: Duration::ZERO,
            deadline: None,
            code: CloseCode::GOING_AWAY,
            reason: "server draining".into(),
            retry_after: Duration::from_secs(1),
        }
    }

    /// The code that peers are told. Default 1001 ([`CloseCode::GOING_AWAY`]); 1012 ([`CloseCode::SERVICE_RESTART`]) says that the service will be back.
    pub fn code(mut self, code: CloseCode) -> Self {
        self.code = code;
        self
    }

    /// The reason that they are told; of more than 123 bytes those that fit (RFC 6455 §5.5.1). Default "server draining".
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = reason.into();
        self
    }

    /// When a core ends although connections are left, from the drain's beginning: they are told what the others were, and have the time that a
    /// [stop](crate::Config::stop_timeout) gives them. So all is over at the latest [`Config::stop_max`](crate::Config::stop_max) (8 s) behind it. Never less than the
    /// window. Default: [`Config::closing_timeout`](crate::Config::closing_timeout) (5 s) behind the window; whoever is still
    /// taking what was queued for him then has the time of the stop, and not [`Config::closing_max`](crate::Config::closing_max).
    pub fn deadline(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.deadline = after.into();
        self
    }

    /// How long a core goes on to accept and to answer, also if it has no connections any more: for load balancers that are told by a health check, or
    /// later, that they are to send nobody. Ends with the deadline. Default [`Duration::ZERO`].
    pub fn at_least(mut self, time: Duration) -> Self {
        self.at_least = time;
        self
    }

    /// When clients that are answered 503 are to come back (Retry-After, RFC 9110 §10.2.3), in whole seconds, rounded up. Default 1 s, for behind a proxy they come to
    /// another server.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = time;
        self
    }

    /// How long it takes at most, if a closing handshake may take so long.
    pub(crate) fn whole(&self, closing_timeout: Duration) -> Duration {
        self.deadline.unwrap_or_else(|| self.window.saturating_add(closing_timeout)).max(self.window)
    }
}

/// What came of a drain, of one core or of several together: [`Stats::drain_report`].
///
/// Of the connections that were open when it began `open = closed + unanswered + left + stopped` when the core has ended; before that some have not had their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Cores that were drained.
    pub cores: u64,
    /// Accepted connections that were open when it began.
    pub open: u64,
    /// Those that were told, and answered with their Close.
    pub closed: u64,
    /// Those that were told, and ended without an answer: they broke, or were cut when their time was over.
    pub unanswered: u64,
    /// Those that ended before their turn: their peers or the application closed, or they broke.
    pub left: u64,
    /// Those whose turn had not come when the core was stopped, or came to its deadline. Also those that were closing already when their turn came, and were there
    /// still when the core stopped.
    pub stopped: u64,
    /// Requests for a WebSocket that were answered 503.
    pub refused: u64,
}

/// One line for a log.
impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, closed, unanswered, left, stopped, refused, .. } = self;
        write!(
            f,
            "{open} connections: {closed} closed, {unanswered} without an answer, {left} left before, {stopped} stopped; {refused} refused"
        )
    }
}

impl Stats {
    /// What came of a drain; `None`: there was none.
    pub fn drain_report(&self) -> Option<DrainReport> {
        (self.drains > 0).then_some(DrainReport {
            cores: self.drains,
            open: self.drain_open,
            closed: self.drain_closed,
            unanswered: self.drain_unanswered,
            left: self.drain_left,
            stopped: self.drain_stopped,
            refused: self.drain_refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_takes_no_less_than_its_window() {
        let secs = Duration::from_secs;
        let whole = |drain: &Drain| drain.whole(secs(5));
        assert_eq!(whole(&Drain::over(secs(30))), secs(35));
        assert_eq!(whole(&Drain::over(secs(30)).deadline(secs(60))), secs(60));
        assert_eq!(whole(&Drain::over(secs(30)).deadline(secs(2))), secs(30));
        assert_eq!(whole(&Drain::over(Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn a_report_is_of_all_cores_that_were_drained() {
        assert_eq!(Stats::default().drain_report(), None);
        let mut stats = Stats { drains: 1, drain_open: 3, drain_closed: 2, drain_left: 1, ..Stats::default() };
        stats += Stats {
            drains: 1,
            drain_open: 2,
            drain_unanswered: 1,
            drain_stopped: 1,
            drain_refused: 4,
            ..Stats::default()
        };
        let report = stats.drain_report().expect("two were");
        assert_eq!((report.cores, report.open), (2, 5));
        assert_eq!(
            report.to_string(),
            "5 connections: 2 closed, 1 without an answer, 1 left before, 1 stopped; 4 refused"
        );
    }
}
