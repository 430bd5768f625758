//! Settings of how long peers have: to ask, to answer, to be whole, to take what is sent to them. Refuses to know the clock.

use std::time::Duration;

use super::Config;

/// Deadlines.
impl Config {
    /// From accept to the end of the request head, TLS's handshake included, and to the answer if that is deferred. Who has begun a request by then is
    /// answered 408, who waits for an answer 503, and who has said nothing is closed without a word. Longer than nothing. Default 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Silence of a peer after which it is pinged; `None` never. Longer than nothing. Default 60 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// How long a pinged peer may stay silent. Longer than nothing. Default 10 s.
    #[must_use]
    pub fn pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = timeout;
        self
    }

    /// How long a message that has begun to come may take to be whole; a longer one, and one on a slow link, has as long again for
    /// each 16 KiB of it that came in time. `None` for ever. Default 30 s, so that a link of 600 bytes a second has its time and
    /// 16 MiB at 20 KB/s pass. A peer that sends less is told 1008 ([`CloseReason::Stalled`](crate::CloseReason::Stalled)), and counted
    /// in [`Stats::timeouts`](crate::Stats::timeouts): pongs show that it is alive, and would have us hold its half message for ever.
    ///
    /// It runs from the first byte that waits for others, of a frame's header too, and between the frames of a message: a stream that
    /// is sent as one endless message wants `None`. While the connection is not read (paused, held up by
    /// [`Pressure::PauseReading`](crate::Pressure::PauseReading), for want of buffers) it stands still. Longer than nothing.
    #[must_use]
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.message_timeout = timeout.into();
        self
    }

    /// How long a peer may take nothing of what is queued for it while its messages are not taken (paused, or held up by
    /// [`Pressure::PauseReading`](crate::Pressure::PauseReading)) or more than [`output_high_bytes`](Self::output_high_bytes) wait for it, whatever it says meanwhile;
    /// then it is cut ([`CloseReason::Timeout`](crate::CloseReason::Timeout)). That is looked at when this time is over, so who stops taking in
    /// between has up to twice as long. Default: the [`idle_timeout`](Self::idle_timeout), and 60 s without one. Longer than nothing.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = Some(timeout);
        self
    }

    /// How long a peer that has taken all has to answer a Close, and how long one that has not may take nothing before it is reset. A
    /// peer that takes what is queued for it, however slowly, has until [`closing_max`](Self::closing_max). Whether it does is looked
    /// at when this time is over, so who stops taking in between has up to twice as long. Default 5 s.
    #[must_use]
    pub fn closing_timeout(mut self, timeout: Duration) -> Self {
        self.closing_timeout = timeout;
        self
    }

    /// From a Close, or the end of a peer's stream, to the moment at which even a peer is reset that takes what is queued for it steadily.
    /// Never less than [`closing_timeout`](Self::closing_timeout). At the default of 10 minutes 20 MiB, the most that is
    /// queued ([`output_max_bytes`](Self::output_max_bytes)), arrive whole at 35 KB/s.
    #[must_use]
    pub fn closing_max(mut self, time: Duration) -> Self {
        self.closing_max = time;
        self
    }

    /// How long a connection that we end is read and discarded, so that the peer gets our last bytes before a reset
    /// could destroy them (RFC 6455 §7.1.1). For as long a listener that is to be closed, at a stop or by
    /// [`stop_accepting`](crate::Handle::stop_accepting), waits for connections whose TCP handshake is under way: a round trip should
    /// not take longer. Default 200 ms.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// How long a stop waits for a peer that has taken all to answer 1001, and how long one that has not may take nothing before it is
    /// reset; not longer than [`closing_timeout`](Self::closing_timeout) either way. A peer that takes what is queued for it, however
    /// slowly, has until [`stop_max`](Self::stop_max). Who had not opened yet has as long to take its 503. Default 2 s.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// How long a stop takes at most, also while peers take what is queued for them; behind that the kernel has a second to complete what
    /// was cancelled. Never less than [`stop_timeout`](Self::stop_timeout). Default 8 s: less than the 10 s behind which `docker stop` kills.
    #[must_use]
    pub fn stop_max(mut self, time: Duration) -> Self {
        self.stop_max = time;
        self
    }
}
