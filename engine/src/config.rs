//! Owns every setting of a server: its meaning, unit, default and range. Each has a test that shows its effect.

use std::time::Duration;

use wsring_proto::Limits;
pub use wsring_proto::deflate::Settings as Deflate;
use wsring_proto::handshake::{HeadLimits, Policy};

use crate::ring::uring::{Feature, Features, RingConfig, SetupError, descriptors_open, raise_nofile};

/// Slots above the connection cap, for connections that are told 503.
const SOCKETS_SPARE: u32 = 64;
/// The most connections of a core that nobody set a cap for.
const CONNECTIONS_DEFAULT: u32 = 100_000;
/// Descriptors of a core beside its sockets: its ring, its waker, and a few for lookups of names.
const CORE_DESCRIPTORS: u64 = 8;
/// Descriptors that a default cap leaves to the rest of the process.
const PROCESS_DESCRIPTORS: u64 = 64;

/// Settings of a server. Start from `Config::default()` and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// Open connections per core, 1 to 1,048,512; one more is answered 503. Default `None`: what the limit on descriptors
    /// (RLIMIT_NOFILE, getrlimit(2)) allows, at most 100,000.
    ///
    /// A core needs 64 sockets more, for those who are told 503. With [`Feature::DirectDescriptors`] the kernel holds the table of
    /// each core against the limit; without, the sockets of all cores together count against it, beside what else the process has
    /// open. A cap that the limit has no room for is refused at the start. The soft limit is raised to the hard one first.
    pub connections_max: Option<u32>,
    /// Limits on a request head; beyond them 431.
    pub head: HeadLimits,
    /// Which origins may connect, and the subprotocols offered, most preferred first.
    pub policy: Policy,
    /// Limits on frames and messages; beyond them close code 1009.
    pub limits: Limits,
    /// Bytes queued for one connection above which the engine takes nothing more from it. Default 1 MiB. A peer held back
    /// so costs more than this: what was in flight is stashed, and buffers are powers of two; about 3 MB were measured.
    pub output_high: u32,
    /// Bytes queued below which it takes messages again. Default 256 KiB.
    pub output_low: u32,
    /// Bytes queued for one connection beyond which `send` refuses. At most 1 GiB. Default 20 MiB.
    pub output_max: u32,
    /// From accept to the end of the request head, TLS's handshake included. Default 10 s.
    pub handshake_timeout: Duration,
    /// Silence of a peer after which it is pinged; `None` never. Default 60 s.
    pub idle_timeout: Option<Duration>,
    /// How long a pinged peer may stay silent. Default 10 s.
    pub pong_timeout: Duration,
    /// How long a peer has to answer a Close, and queued output to leave before a connection ends. Default 5 s.
    pub closing_timeout: Duration,
    /// How long a connection that we end is read and discarded, so that the peer gets our last bytes before a reset
    /// could destroy them (RFC 6455 §7.1.1). Default 200 ms.
    pub linger: Duration,
    /// How long a stop waits for peers to answer 1001. Default 2 s.
    pub stop_timeout: Duration,
    /// Sends small messages at once (TCP_NODELAY, tcp(7)). Default true.
    pub nodelay: bool,
    /// Connections that may wait to be accepted (listen(2)); the kernel caps it at net.core.somaxconn. Default 4096.
    pub backlog: u32,
    /// Bytes of free buffers a core keeps for large messages. Default 32 MiB.
    pub pool_bytes_max: usize,
    /// Microseconds for which a core polls rather than sleeps after it had a message (or a [`Handle`](crate::Handle) woke
    /// it), at most 1,000,000: lower latency for a busier core. Connections that come and go, and acknowledgements of what
    /// was sent, do not make it poll. Default 0. See `docs/decisions.md` for figures.
    pub spin_us: u32,
    /// Receive buffers of a core (a power of two up to 32768; bytes of each). Default (0, 0): chosen by what the kernel
    /// has, 2 x 256 KiB or 1024 x 4 KiB.
    pub recv_buffers: (u16, u32),
    /// Send blocks of a core, and bytes of each (at least 512). Default 1024 x 4 KiB.
    pub send_blocks: (usize, usize),
    /// Submission and completion queue entries; rounded up to powers of two. Default 1024 and 8192.
    pub queue_entries: (u32, u32),
    /// Sends of at least this many bytes avoid the copy into the kernel (IORING_OP_SEND_ZC). A loss on loopback and for
    /// small sends. Default `None`.
    pub zero_copy_from: Option<usize>,
    /// permessage-deflate (RFC 7692), for connections of both roles. Default off.
    ///
    /// A message is compressed if its connection agreed to that, it has at least `threshold` bytes, and it becomes shorter.
    /// [`Limits::inflate_ratio_max`] bounds what peers may have us inflate. Memory of a connection: none with
    /// [`Deflate::shared`], 273 KiB with [`Deflate::dedicated`] and 47 KiB more for a peer that keeps a window too, or less:
    /// see [`Deflate::window_bits`](wsring_proto::deflate::Settings::window_bits).
    pub deflate: Deflate,
    /// Kernel features to use where they exist. Default all.
    pub features: Features,
    /// Speaks TLS on every listener, by this configuration of rustls; a client that speaks none is told so by an alert.
    /// Names, certificates of clients, ALPN (`http/1.1`, RFC 7301), resumption and the provider of cryptography are its
    /// matter. Early data must be off: no profile says what of WebSocket may be replayed (RFC 8446 appendix E.5).
    /// Handshakes are computed on the core's thread, some tenths of a millisecond each. Default `None`.
    #[cfg(feature = "tls")]
    pub tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl Default for Config {
    fn default() -> Self {
        let ring = RingConfig::default();
        Self {
            connections_max: None,
            head: HeadLimits::default(),
            policy: Policy::default(),
            limits: Limits::default(),
            output_high: 1 << 20,
            output_low: 256 << 10,
            output_max: 20 << 20,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(60)),
            pong_timeout: Duration::from_secs(10),
            closing_timeout: Duration::from_secs(5),
            linger: Duration::from_millis(200),
            stop_timeout: Duration::from_secs(2),
            nodelay: true,
            backlog: 4096,
            pool_bytes_max: 32 << 20,
            spin_us: ring.spin_us,
            recv_buffers: ring.recv_buffers,
            send_blocks: ring.send_blocks,
            queue_entries: (ring.sq_entries, ring.cq_entries),
            zero_copy_from: ring.zero_copy_from,
            features: ring.features,
            #[cfg(feature = "tls")]
            tls: None,
            deflate: Deflate::off(),
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(pub(crate) &'static str);

impl Config {
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let rules = [
            (self.connections_max != Some(0), "connections_max must be at least 1"),
            // The kernel's bound on a table of fixed files, whatever the descriptor limit says.
            (self.sockets_max() <= 1 << 20, "connections_max must be at most 1048512"),
            (self.spin_us <= 1_000_000, "spin_us must be at most 1000000, which is a second"),
            (self.output_low <= self.output_high, "output_low must not be above output_high"),
            (self.output_high <= self.output_max, "output_high must not be above output_max"),
            (self.output_max <= 1 << 30, "output_max must be at most 1 GiB"),
            (
                self.recv_buffers == (0, 0)
                    || self.recv_buffers.0.is_power_of_two()
                        && self.recv_buffers.0 <= 1 << 15
                        && self.recv_buffers.1 > 0,
                "recv_buffers must be a power of two up to 32768, of at least one byte each",
            ),
            (
                self.send_blocks.1 >= 512 && self.send_blocks.0.saturating_mul(self.send_blocks.1) <= 1 << 30,
                "send_blocks must be of at least 512 bytes each and 1 GiB together",
            ),
            (self.queue_entries.0 > 0 && self.queue_entries.1 > 0, "queue_entries must be at least 1"),
            #[cfg(feature = "tls")]
            (
                self.tls.as_ref().is_none_or(|tls| tls.max_early_data_size == 0),
                "tls must not take early data: set max_early_data_size to 0",
            ),
            #[cfg(feature = "tls")]
            (
                self.tls.as_ref().is_none_or(|tls| crate::tls::Tls::server(tls.clone()).is_ok()),
                "tls has a max_fragment_size that rustls refuses",
            ),
        ];
        self.deflate.check().map_err(InvalidConfig)?;
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, says)| Err(InvalidConfig(says)))
    }

    /// The settings for `cores` cores on a ring that has these features: with a connection cap that the descriptor limit allows.
    pub(crate) fn resolved(mut self, cores: usize, features: Features) -> Result<Self, SetupError> {
        self.features = features;
        let room = Room { limit: raise_nofile(), cores: cores as u64, open: descriptors_open() };
        let direct = features.has(Feature::DirectDescriptors);
        self.connections_max = Some(match self.connections_max {
            // The kernel itself refuses a table that is too large.
            Some(wanted) if direct => wanted,
            Some(wanted) => room.check(wanted)?,
            None => room.most(direct)?,
        });
        Ok(self)
    }

    /// The connection cap of a core; before [`Self::resolved`], the most that it can be by default.
    pub(crate) fn connections_max(&self) -> u32 {
        self.connections_max.unwrap_or(CONNECTIONS_DEFAULT)
    }

    /// Slots of a core's tables: connections, and a few that are told 503.
    pub(crate) fn sockets_max(&self) -> usize {
        self.connections_max() as usize + SOCKETS_SPARE as usize
    }

    pub(crate) fn ring(&self) -> RingConfig {
        RingConfig {
            sq_entries: self.queue_entries.0,
            cq_entries: self.queue_entries.1,
            sockets_max: self.sockets_max() as u32,
            recv_buffers: self.recv_buffers,
            send_blocks: self.send_blocks,
            spin_us: self.spin_us,
            zero_copy_from: self.zero_copy_from,
            features: self.features,
        }
    }
}

/// What the limit on descriptors leaves to the connections of a server that is about to start.
struct Room {
    /// RLIMIT_NOFILE.
    limit: u64,
    cores: u64,
    /// Descriptors that the process has open already.
    open: u64,
}

impl Room {
    /// `wanted` connections a core, if there are descriptors for all of them.
    fn check(&self, wanted: u32) -> Result<u32, SetupError> {
        let a_core = u64::from(wanted) + u64::from(SOCKETS_SPARE) + CORE_DESCRIPTORS;
        let needed = self.open + self.cores * a_core;
        if needed > self.limit { Err(SetupError::descriptors("connections of all cores", needed)) } else { Ok(wanted) }
    }

    /// As many a core as there is room for.
    fn most(&self, direct: bool) -> Result<u32, SetupError> {
        let a_core = match direct {
            true => self.limit.saturating_sub(u64::from(SOCKETS_SPARE)).max(16),
            false => {
                let free = self.limit.saturating_sub(self.open + PROCESS_DESCRIPTORS) / self.cores;
                free.saturating_sub(CORE_DESCRIPTORS + u64::from(SOCKETS_SPARE))
            }
        };
        match u32::try_from(a_core).unwrap_or(u32::MAX).min(CONNECTIONS_DEFAULT) {
            0 => self.check(1),
            most => Ok(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: u64, cores: u64) -> Room {
        Room { limit, cores, open: 10 }
    }

    #[test]
    fn direct_descriptors_are_held_against_the_limit_core_by_core() {
        for (limit, most) in [(20_000, 19_936), (1 << 20, 100_000), (100, 36), (64, 16)] {
            assert_eq!(room(limit, 8).most(true).expect("the kernel checks"), most, "{limit}");
        }
    }

    #[test]
    fn ordinary_descriptors_are_shared_by_all_cores() {
        for (limit, cores, most) in [(20_000, 1, 19_854), (20_000, 2, 9_891), (1 << 20, 4, 100_000), (1024, 4, 165)] {
            assert_eq!(room(limit, cores).most(false).expect("there is room"), most, "{limit} for {cores}");
        }
        // 73 descriptors a core is the least, beside the 10 that are open.
        assert_eq!(room(10 + 73, 1).most(false).expect("room for one"), 1);
        let told = room(10 + 72, 1).most(false).expect_err("no room for one").to_string();
        assert!(told.contains("83 wanted") && told.contains("ulimit -n"), "{told}");
    }

    #[test]
    fn a_cap_that_was_asked_for_is_kept_or_refused() {
        let exact = 10 + 2 * (1000 + 64 + 8);
        assert_eq!(room(exact, 2).check(1000).expect("exactly enough"), 1000);
        let told = room(exact - 1, 2).check(1000).expect_err("one short").to_string();
        assert!(told.contains("2154 wanted") && told.contains("connection cap"), "{told}");
    }

    /// A default that changes the process would do so also for whoever only looks at it.
    #[test]
    fn the_default_asks_nobody() {
        assert_eq!(Config::default().connections_max, None);
        let direct = Config::default().resolved(1, Features::all()).expect("a limit");
        let shared = Config::default().resolved(1, Features::none()).expect("a limit");
        assert!(direct.connections_max.is_some() && shared.connections_max <= direct.connections_max);
    }
}
