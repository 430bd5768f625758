//! Owns every setting of a server or client: its meaning, unit, default and range. Each has a test that shows its effect.

mod bounds;
mod crowd;
pub(crate) mod crowding;
mod invalid;
mod memory;
mod on_panic;
mod pace;
mod panics;
mod pending;
mod placing;
mod room;
mod share;
mod time;
mod topics;

use std::time::Duration;

use wsring_proto::Limits;
pub use wsring_proto::deflate::Settings as Deflate;
use wsring_proto::handshake::{HeadLimits, Policy};

use self::bounds::Bounds;
pub use self::invalid::InvalidConfig;
pub use self::on_panic::OnPanic;
use self::pace::Pace;
use self::room::Room;
use crate::engine::MAILBOX_MAX;
use crate::given_up::GivenUp;
use crate::pressure::Pressure;
use crate::ring::uring::{
    Feature, Features, QueueEntries, RecvBuffers, RingConfig, SendBuffers, SetupError, descriptors_open, heap,
    raise_nofile,
};
use crate::rings::RingKind;

/// Without an idle timeout: two ends that wait for each other do not do so for ever.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// A default cap below this is worth a warning.
const CONNECTIONS_FEW: u32 = 1000;

/// Settings of a server or client. Start from `Config::default()` and call what shall differ.
///
/// ```
/// use std::time::Duration;
/// use wsring::{Config, Limits, Origins, Policy};
///
/// let config = Config::default()
///     .connections_max(10_000)
///     .limits(Limits::default().message_max_bytes(1 << 20))
///     .policy(Policy::default().origins(Origins::Same))
///     .idle_timeout(Duration::from_secs(20));
/// ```
///
/// Whether the values make sense is asked when a server starts: [`InvalidConfig`].
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) connections_max: Option<u32>,
    pub(crate) head_limits: HeadLimits,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) output_high_bytes: u32,
    pub(crate) output_low_bytes: u32,
    pub(crate) output_max_bytes: u32,
    pub(crate) topics: Bounds,
    pub(crate) pressure_accepted: Pressure,
    pub(crate) pressure_dialled: Pressure,
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) pong_timeout: Duration,
    send_timeout: Option<Duration>,
    pub(crate) message_timeout: Option<Duration>,
    pub(crate) closing_timeout: Duration,
    pub(crate) closing_max: Duration,
    pub(crate) linger: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) stop_max: Duration,
    pub(crate) nodelay: bool,
    pub(crate) backlog: u32,
    pub(crate) pool_max_bytes: usize,
    pub(crate) memory_max_bytes: Option<usize>,
    pub(crate) pass_share_messages: u32,
    pub(crate) spin: Duration,
    pub(crate) recv_buffers: RecvBuffers,
    pub(crate) send_buffers: SendBuffers,
    pub(crate) queue_entries: QueueEntries,
    pub(crate) pace: Pace,
    pub(crate) crowd: crowding::Crowding,
    pub(crate) on_panic: OnPanic,
    pub(crate) mailbox_max: u32,
    pub(crate) deflate: Deflate,
    pub(crate) features: Features,
    pub(crate) ring: Option<RingKind>,
    pub(crate) pinned: Option<bool>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl Default for Config {
    fn default() -> Self {
        let ring = RingConfig::default();
        Self {
            connections_max: None,
            head_limits: HeadLimits::default(),
            policy: Policy::default(),
            limits: Limits::default(),
            output_high_bytes: 1 << 20,
            output_low_bytes: 256 << 10,
            output_max_bytes: 20 << 20,
            topics: Bounds::default(),
            pressure_accepted: Pressure::PauseReading,
            pressure_dialled: Pressure::ReadOn,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(60)),
            pong_timeout: Duration::from_secs(10),
            send_timeout: None,
            message_timeout: Some(Duration::from_secs(30)),
            closing_timeout: Duration::from_secs(5),
            closing_max: Duration::from_secs(600),
            linger: Duration::from_millis(200),
            stop_timeout: Duration::from_secs(2),
            stop_max: Duration::from_secs(8),
            nodelay: true,
            backlog: 4096,
            pool_max_bytes: 32 << 20,
            memory_max_bytes: None,
            pass_share_messages: 2_000,
            spin: ring.spin,
            recv_buffers: ring.recv_buffers,
            send_buffers: ring.send_buffers,
            queue_entries: ring.queue_entries,
            pace: Pace::default(),
            crowd: crowding::Crowding::default(),
            on_panic: OnPanic::default(),
            mailbox_max: MAILBOX_MAX,
            deflate: Deflate::off(),
            features: ring.features,
            ring: None,
            pinned: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Who may connect, and what of it is kept.
impl Config {
    /// Open connections per core, 1 to 1,048,512; one more is answered 503, unless one that has not asked for anything yet can give way to it: the one
    /// that has been silent for longest, and at least 5 ms; or one whose request or TLS handshake has begun and is not whole a second after the
    /// connection came ([`Stats::displaced`](crate::Stats::displaced)). Default `None`: what the limit on descriptors
    /// (RLIMIT_NOFILE, getrlimit(2)) allows, at most 100,000.
    ///
    /// A core needs 16 to 64 sockets more, for connections that are told 503. With [`Feature::DirectDescriptors`] the kernel holds the
    /// table of each core against the limit; without, the sockets of all cores of a server together count against it, beside what else
    /// the process has open when the server starts. A cap that the limit has no room for is refused then. Of a second server in the
    /// same process (in a tokio-uring runtime each thread has one) the first knows nothing: give each a cap. The soft limit is raised to
    /// the hard one first.
    #[must_use]
    pub fn connections_max(mut self, connections: impl Into<Option<u32>>) -> Self {
        self.connections_max = connections.into();
        self
    }

    /// Limits on a request head, beyond which it is answered 431. (Those on a server's answer are its [`Target`](crate::Target::answer_limits)'s.)
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.head_limits = limits;
        self
    }

    /// Which origins may connect, and the subprotocols spoken, most preferred first. Default: any origin, no subprotocol.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Limits on frames and messages; beyond them close code 1009.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// permessage-deflate (RFC 7692), for connections of both roles. Default off.
    ///
    /// A message is compressed if its connection agreed to that, it has at least [`Deflate::threshold_bytes`], and it becomes shorter.
    /// [`Limits::inflate_ratio_max`] bounds what peers may have us inflate. Memory of a connection: with
    /// [`Deflate::shared`] none, or 47 KiB for a peer that keeps a window, of which a core has
    /// [`Deflate::peer_windows_max`](field@wsring_proto::deflate::Settings::peer_windows_max) at most; with [`Deflate::dedicated`] 273 KiB
    /// and those 47 KiB, or less: see [`Deflate::window_bits`](field@wsring_proto::deflate::Settings::window_bits).
    #[must_use]
    pub fn deflate(mut self, settings: Deflate) -> Self {
        self.deflate = settings;
        self
    }

    /// Speaks TLS on every listener, by this configuration of rustls; a client that speaks none is told so by an alert.
    /// Names, certificates of clients, ALPN (`http/1.1`, RFC 7301), resumption and the provider of cryptography are its
    /// matter. Early data must be off: no profile says what of WebSocket may be replayed (RFC 8446 appendix E.5).
    /// Handshakes are computed on the core's thread, some tenths of a millisecond each. Default: no TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: std::sync::Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

/// What may be queued for a connection.
impl Config {
    /// Bytes queued for one connection above which the application is told so ([`SendOutcome::High`](crate::SendOutcome::High)),
    /// and its peer has to take some within the [`send_timeout`](Self::send_timeout). Whether messages of that peer are
    /// taken meanwhile says [`Pressure`]. Default 1 MiB.
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
    /// ends connections that do nothing wrong: see [`Limits::message_max_bytes`]. What is not in it: a core's own buffers
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

/// Deadlines.
impl Config {
    /// From accept to the end of the request head, TLS's handshake included, and to the answer if that is deferred. Who has begun a request by then is
    /// answered 408, who waits for an answer 503, and who has said nothing is closed without a word. Default 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Silence of a peer after which it is pinged; `None` never. Default 60 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// How long a pinged peer may stay silent. Default 10 s.
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
    /// [`Pressure::PauseReading`], for want of buffers) it stands still. Longer than nothing.
    #[must_use]
    pub fn message_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.message_timeout = timeout.into();
        self
    }

    /// How long a peer may take nothing of what is queued for it while its messages are not taken (paused, or held up by
    /// [`Pressure::PauseReading`]) or more than [`output_high_bytes`](Self::output_high_bytes) wait for it, whatever it says meanwhile;
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

/// Sockets and the ring.
impl Config {
    /// Connections that may wait to be accepted (listen(2)); the kernel caps it at net.core.somaxconn. Default 4096.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Letters that a core's mailbox holds: mail, and what a [`Handle`](crate::Handle) sends, publishes and closes. One more is refused
    /// ([`MailError::Full`](crate::MailError::Full)). 1 to 1,048,576; default 16,384. The first letter takes memory for all, of 80 bytes or more each.
    /// Nothing but this number bounds the messages in them: what they take together is as much as you send.
    #[must_use]
    pub fn mailbox_max(mut self, letters: u32) -> Self {
        self.mailbox_max = letters;
        self
    }

    /// How long a core polls rather than sleeps after it had a message (or a [`Handle`](crate::Handle) woke it), at most a second:
    /// lower latency for a busier core. Connections that come and go, and acknowledgements of what was sent, do not make it
    /// poll. Default zero. See
    /// [decision 16](https://github.com/wsring/wsring/blob/main/docs/decisions/0016-polling-follows-messages.md) for figures.
    #[must_use]
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// What a core receives into. Default [`RecvBuffers::Auto`].
    #[must_use]
    pub fn recv_buffers(mut self, buffers: RecvBuffers) -> Self {
        self.recv_buffers = buffers;
        self
    }

    /// The send blocks of a core. Default 1024 of 4 KiB.
    #[must_use]
    pub fn send_buffers(mut self, buffers: SendBuffers) -> Self {
        self.send_buffers = buffers;
        self
    }

    /// Entries of the ring's queues. Default 1024 for submissions, 8192 for completions; fewer where the limit on locked memory (RLIMIT_MEMLOCK,
    /// getrlimit(2)) has no room for them, down to 64 and 128 ([`GivenUp::Queues`]).
    #[must_use]
    pub fn queue_entries(mut self, entries: QueueEntries) -> Self {
        self.queue_entries = entries;
        self
    }

    /// The ring that the cores run on. Default `None`: [`RingKind::Uring`] where the kernel lets it be used, else
    /// [`RingKind::Epoll`], with a line in the log. One that is named is used, or the start fails. [`Running::ring`](crate::Running::ring) tells which
    /// it is. A tokio-uring runtime has its own.
    #[must_use]
    pub fn ring(mut self, ring: impl Into<Option<RingKind>>) -> Self {
        self.ring = ring.into();
        self
    }

    /// Kernel features to use where they exist: of io_uring, so that they say nothing to epoll. Default all.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let recv_buffers_fit = match self.recv_buffers {
            RecvBuffers::Auto => true,
            RecvBuffers::Fixed { count, bytes } => count.is_power_of_two() && count <= 1 << 15 && bytes > 0,
        };
        let send_bytes = u64::from(self.send_buffers.count) * u64::from(self.send_buffers.bytes);
        let rules = [
            (self.connections_max != Some(0), "connections_max", "must be at least 1"),
            // The kernel's bound on a table of fixed files, whatever the descriptor limit says.
            (self.sockets_max() <= 1 << 20, "connections_max", "must be at most 1048512"),
            (self.spin <= Duration::from_secs(1), "spin", "must be at most a second"),
            (!self.handshake_timeout.is_zero(), "handshake_timeout", "must be longer than nothing"),
            (!self.pong_timeout.is_zero(), "pong_timeout", "must be longer than nothing"),
            (self.send_timeout != Some(Duration::ZERO), "send_timeout", "must be longer than nothing"),
            (
                self.idle_timeout != Some(Duration::ZERO),
                "idle_timeout",
                "must be longer than nothing; None never pings",
            ),
            (
                self.message_timeout != Some(Duration::ZERO),
                "message_timeout",
                "must be longer than nothing; None waits for ever",
            ),
            (
                self.output_low_bytes <= self.output_high_bytes,
                "output_low_bytes",
                "must not be above output_high_bytes",
            ),
            (
                self.output_high_bytes <= self.output_max_bytes,
                "output_high_bytes",
                "must not be above output_max_bytes",
            ),
            (self.memory_max_bytes.is_none_or(|bytes| bytes >= 64 << 10), "memory_max_bytes", "must be at least 65536"),
            (self.output_max_bytes <= 1 << 30, "output_max_bytes", "must be at most 1 GiB"),
            (
                (1..=1_000_000).contains(&self.pass_share_messages),
                "pass_share_messages",
                "must be at least 1 and at most 1000000",
            ),
            (matches!(self.mailbox_max, 1..=0x10_0000), "mailbox_max", "must be 1 to 1048576"),
            (recv_buffers_fit, "recv_buffers", "must be a power of two up to 32768, of at least one byte each"),
            (
                self.send_buffers.bytes >= 512 && send_bytes <= 1 << 30,
                "send_buffers",
                "must be of at least 512 bytes each and 1 GiB together",
            ),
            (
                self.queue_entries.submission > 0 && self.queue_entries.completion > 0,
                "queue_entries",
                "must be at least 1",
            ),
            #[cfg(feature = "tls")]
            (
                self.tls.as_ref().is_none_or(|tls| tls.max_early_data_size == 0),
                "tls",
                "must not take early data: set max_early_data_size to 0",
            ),
            #[cfg(feature = "tls")]
            (
                self.tls.as_ref().is_none_or(|tls| crate::tls::Tls::server(tls.clone()).is_ok()),
                "tls",
                "has a max_fragment_size that rustls refuses",
            ),
        ];
        self.deflate.check()?;
        let rules = rules.into_iter().chain(self.pace.rules()).chain(self.topics.rules()).chain(self.crowd.rules());
        let broken = rules.into_iter().find(|(holds, ..)| !holds);
        broken.map_or(Ok(()), |(_, setting, rule)| Err(InvalidConfig { setting, rule }))
    }

    /// The settings for `cores` cores on a ring that has these features: with a connection cap that the descriptor limit allows, and what
    /// that has taken of the default.
    pub(crate) fn resolved(mut self, cores: usize, features: Features) -> Result<(Self, Option<GivenUp>), SetupError> {
        self.features = features;
        let read = |path: &str| std::fs::read_to_string(path).ok();
        self.memory_max_bytes =
            Some(self.memory_max_bytes.unwrap_or_else(|| memory::share(cores, read, heap::limits())));
        let room = Room { limit: raise_nofile(), cores: cores as u64, open: descriptors_open() };
        let direct = features.has(Feature::DirectDescriptors);
        let connections = match self.connections_max {
            // The kernel itself refuses a table that is too large.
            Some(wanted) if direct => wanted,
            Some(wanted) => room.check(wanted)?,
            None => room.most(direct)?,
        };
        let few = (self.connections_max.is_none() && connections < CONNECTIONS_FEW)
            .then_some(GivenUp::Connections { connections, limit: room.limit });
        self.connections_max = Some(connections);
        Ok((self, few))
    }

    /// See the setter.
    pub(crate) fn time_to_take(&self) -> Duration {
        self.send_timeout.or(self.idle_timeout).unwrap_or(SEND_TIMEOUT)
    }

    /// The budget of a core, once [`Self::resolved`].
    pub(crate) fn memory_budget(&self) -> usize {
        self.memory_max_bytes.unwrap_or(usize::MAX)
    }

    /// The connection cap of a core; before [`Self::resolved`], the most that it can be by default.
    pub(crate) fn connections_cap(&self) -> u32 {
        self.connections_max.unwrap_or(room::CONNECTIONS_DEFAULT)
    }

    /// Slots of a core's tables: connections, and a few that are told 503.
    pub(crate) fn sockets_max(&self) -> usize {
        room::sockets(self.connections_cap()) as usize
    }

    /// The part of the settings that a ring is made from. For this project's tests: versions are not counted for it.
    #[doc(hidden)]
    pub fn ring_config(&self) -> RingConfig {
        RingConfig {
            queue_entries: self.queue_entries,
            sockets_max: self.sockets_max() as u32,
            backlog: self.backlog,
            recv_buffers: self.recv_buffers,
            send_buffers: self.send_buffers,
            spin: self.spin,
            features: self.features,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A default that changes the process would do so also for whoever only looks at it.
    #[test]
    fn the_default_asks_nobody() {
        assert_eq!(Config::default().connections_max, None);
        let (direct, _) = Config::default().resolved(1, Features::all()).expect("a limit");
        let (shared, _) = Config::default().resolved(1, Features::none()).expect("a limit");
        assert!(direct.connections_max.is_some() && shared.connections_max <= direct.connections_max);
    }
}
