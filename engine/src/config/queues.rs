//! Settings of what may be queued for a connection, and of what peers may have a core keep. Refuses to know who counts it.

use super::Config;
use crate::pressure::Pressure;

/// What may be queued for a connection.
impl Config {
    /// Bytes queued for one connection above which the application is told so ([`SendOutcome::High`](crate::SendOutcome::High)),
    /// and its peer has to take some within the [`send_timeout`](Self::send_timeout). Whether messages of that peer are
    /// taken meanwhile says [`Pressure`]. At least 1. Default 1 MiB.
    ///
    /// A peer that is not read above this mark costs more than this: what was in flight is stashed, and buffers are powers of two; about
    /// 3 MB were measured.
    #[must_use]
    pub fn output_high_bytes(mut self, bytes: u32) -> Self {
        self.output_high_bytes = bytes;
        self
    }

    /// Bytes queued from which down [`on_writable`](crate::Handler::on_writable) is called for a connection that had more than
    /// [`output_high_bytes`](Self::output_high_bytes), and its messages are taken again if they were not; not above that. Default
    /// 256 KiB.
    #[must_use]
    pub fn output_low_bytes(mut self, bytes: u32) -> Self {
        self.output_low_bytes = bytes;
        self
    }

    /// Bytes queued for one connection beyond which `send` refuses; not below [`output_high_bytes`](Self::output_high_bytes), at
    /// most 1 GiB. Default 20 MiB.
    #[must_use]
    pub fn output_max_bytes(mut self, bytes: u32) -> Self {
        self.output_max_bytes = bytes;
        self
    }

    /// Whether messages of a connection that was accepted are taken while more than
    /// [`output_high_bytes`](Self::output_high_bytes) are queued for it, unless its [`Verdict`](crate::Verdict::pressure) says
    /// otherwise. Default [`Pressure::PauseReading`]: a peer that does not read what it asked for is not read.
    #[must_use]
    pub fn pressure_accepted(mut self, pressure: Pressure) -> Self {
        self.pressure_accepted = pressure;
        self
    }

    /// The same of a connection that was dialled, unless its [`Target`](crate::Target::pressure) says otherwise. Default
    /// [`Pressure::ReadOn`], so that two ends with a backlog for each other never wait for each other.
    #[must_use]
    pub fn pressure_dialled(mut self, pressure: Pressure) -> Self {
        self.pressure_dialled = pressure;
        self
    }

    /// Bytes that all peers of a core together may have it keep: half messages, bytes that wait to be worked on, queued output and what waits of
    /// topics (what several share once), TLS, windows and compressors of single connections. At least 64 KiB; `usize::MAX` bounds nothing. Default
    /// `None`: half of what the process may use beyond 16 MiB, shared by its cores, and at least 1 MiB. It may use the least of the
    /// machine's memory, of what its control groups leave it (cgroups(7)), and of RLIMIT_AS and RLIMIT_DATA (getrlimit(2)), as they are at
    /// the start; of a second server in the same process the first knows nothing. [`Running::memory_max`](crate::Running::memory_max) tells it.
    ///
    /// | in use | what the core does |
    /// |---|---|
    /// | more than 3/4 | reads no more from those who hold more than an equal share, answers new connections 503, frees its free buffers |
    /// | more than all, or more than 3/4 for a second | ends the connections that hold most, the largest first, until no more is in use, or less than 5/8: [`CloseReason::Memory`](crate::CloseReason::Memory) |
    /// | less than 5/8 | goes on as before |
    ///
    /// With a shared compressor the windows of peers take a quarter of it at most: clients beyond that are asked to keep none, as those beyond
    /// [`Deflate::peer_windows_max`](field@wsring_proto::deflate::Settings::peer_windows_max) are.
    ///
    /// It may be passed by what one receive brings and becomes. A budget that holds less than a few messages of the longest kind
    /// ends connections that do nothing wrong: see [`Limits::message_max_bytes`](crate::Limits::message_max_bytes). What is not in it: a core's own buffers
    /// ([`recv_buffers`](Self::recv_buffers), [`send_buffers`](Self::send_buffers)), what your handler keeps, the kernel's socket buffers, and what
    /// the application has the core keep: subscriptions, topics and what they retain ([`subscriptions_max`](Self::subscriptions_max),
    /// [`topics_max`](Self::topics_max)), timers ([`timers_max`](Self::timers_max)), letters ([`mailbox_max`](Self::mailbox_max)).
    ///
    /// After 4 MiB or more have been freed, glibc is asked to give it back to the system (malloc_trim(3), on a thread of its own, at
    /// most every 5 s); other C libraries do that by themselves.
    #[must_use]
    pub fn memory_max_bytes(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.memory_max_bytes = bytes.into();
        self
    }

    /// Bytes of free buffers a core keeps for large messages. What nobody has needed for two seconds is freed, down to 4 MiB or an
    /// eighth of [`memory_max_bytes`](Self::memory_max_bytes). Default 32 MiB.
    #[must_use]
    pub fn pool_max_bytes(mut self, bytes: usize) -> Self {
        self.pool_max_bytes = bytes;
        self
    }
}
