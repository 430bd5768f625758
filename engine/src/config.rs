//! Owns every setting of a server or client: its meaning, unit, default and range. Each has a test that shows its effect. Those that are not of who may
//! connect stand in the files below, and which values make sense in `check`.

mod bounds;
mod check;
mod crowd;
pub(crate) mod crowding;
mod deadlines;
mod invalid;
mod memory;
mod on_panic;
mod pace;
mod panics;
mod pending;
mod placing;
mod queues;
mod room;
mod share;
mod sockets;
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
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(60);

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
/// Whether the values make sense is asked when a server starts: [`InvalidConfig`]. Where single connections need other limits and timeouts than all
/// others, by the path that they ask for or because we dialled them, there are [`Terms`](crate::Terms).
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
    pub(crate) send_timeout: Option<Duration>,
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
    pub(crate) tls: Option<crate::server_tls::ServerTls>,
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
    /// Handshakes are computed on the core's thread, some tenths of a millisecond each. It is an `Arc<rustls::ServerConfig>`, or a
    /// [`ServerTls`](crate::ServerTls), which can be exchanged while the server runs. Default: no TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<crate::server_tls::ServerTls>) -> Self {
        self.tls = Some(config.into());
        self
    }
}

impl Config {
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
