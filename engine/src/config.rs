//! Owns every setting of a server: its meaning, unit, default and range. Each has a test that shows its effect.

use std::time::Duration;

use wsring_proto::Limits;
pub use wsring_proto::deflate::Settings as Deflate;
use wsring_proto::handshake::{HeadLimits, Policy};

use crate::ring::uring::{Feature, Features, RingConfig, SetupError, descriptors_open, raise_nofile};

/// Sockets above the connection cap, for connections that are told 503: as many as the cap, but at least and at most so many.
const SOCKETS_SPARE: std::ops::RangeInclusive<u32> = 16..=64;
/// The most connections of a core that nobody set a cap for.
const CONNECTIONS_DEFAULT: u32 = 100_000;
/// Descriptors of a core beside its sockets: its ring, its waker, and a few for lookups of names.
const CORE_DESCRIPTORS: u64 = 8;
/// Descriptors that a default cap leaves to the rest of the process.
const PROCESS_DESCRIPTORS: u64 = 64;
/// A default cap below this is worth a warning.
const CONNECTIONS_FEW: u32 = 100;

/// Settings of a server. Start from `Config::default()` and change fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// Open connections per core, 1 to 1,048,512; one more is answered 503. Default `None`: what the limit on descriptors
    /// (RLIMIT_NOFILE, getrlimit(2)) allows, at most 100,000.
    ///
    /// A core needs 16 to 64 sockets more, for connections that are told 503. With [`Feature::DirectDescriptors`] the kernel holds the
    /// table of each core against the limit; without, the sockets of all cores of a server together count against it, beside what else
    /// the process has open when the server starts. A cap that the limit has no room for is refused then. Of a second server in the
    /// same process (in a tokio-uring runtime each thread has one) the first knows nothing: give each a cap. The soft limit is raised to
    /// the hard one first.
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
    /// How long a stop waits for peers to answer 1001. Behind it the kernel has a second to complete what was cancelled, and with
    /// `zero_copy_from` the ring another one for its memory. Default 2 s.
    pub stop_timeout: Duration,
    /// Sends small messages at once (TCP_NODELAY, tcp(7)). Default true.
    pub nodelay: bool,
    /// Connections that may wait to be accepted (listen(2)); the kernel caps it at net.core.somaxconn. Default 4096.
    pub backlog: u32,
    /// Bytes of free buffers a core keeps for large messages. Default 32 MiB.
    pub pool_bytes_max: usize,
    /// Microseconds for which a core polls rather than sleeps after it had a message (or a [`Handle`](crate::Handle) woke
    /// it), at most 1,000,000: lower latency for a busier core. Connections that come and go, and acknowledgements of what
    /// was sent, do not make it poll. Default 0. See `docs/decisions/0016-polling-follows-messages.md` for figures.
    pub spin_us: u32,
    /// Receive buffers of a core (a power of two up to 32768; bytes of each). Default (0, 0): chosen by what the kernel
    /// has, 2 x 256 KiB or 1024 x 4 KiB.
    pub recv_buffers: (u16, u32),
    /// Send blocks of a core, and bytes of each (at least 512). Default 1024 x 4 KiB.
    pub send_blocks: (usize, usize),
    /// Submission and completion queue entries; rounded up to powers of two. Default 1024 and 8192.
    pub queue_entries: (u32, u32),
    /// Sends of at least this many bytes avoid the copy into the kernel (IORING_OP_SEND_ZC). A loss on loopback and for
    /// small sends. What a peer has not acknowledged when a core ends (by a panic, or behind the stop timeout) stays in memory until the
    /// process ends. Default `None`.
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
            None => {
                let most = room.most(direct)?;
                if most < CONNECTIONS_FEW {
                    let limit = room.limit;
                    tracing::warn!(
                        "each core takes {most} connections, because the limit on descriptors is {limit} (ulimit -n)"
                    );
                }
                most
            }
        });
        Ok(self)
    }

    /// The connection cap of a core; before [`Self::resolved`], the most that it can be by default.
    pub(crate) fn connections_cap(&self) -> u32 {
        self.connections_max.unwrap_or(CONNECTIONS_DEFAULT)
    }

    /// Slots of a core's tables: connections, and a few that are told 503.
    pub(crate) fn sockets_max(&self) -> usize {
        sockets(self.connections_cap()) as usize
    }

    pub(crate) fn ring(&self) -> RingConfig {
        RingConfig {
            sq_entries: self.queue_entries.0,
            cq_entries: self.queue_entries.1,
            sockets_max: self.sockets_max() as u32,
            backlog: self.backlog,
            recv_buffers: self.recv_buffers,
            send_blocks: self.send_blocks,
            spin_us: self.spin_us,
            zero_copy_from: self.zero_copy_from,
            features: self.features,
        }
    }
}

/// Sockets of a core that takes so many connections.
fn sockets(connections: u32) -> u32 {
    connections + connections.clamp(*SOCKETS_SPARE.start(), *SOCKETS_SPARE.end())
}

/// The most connections of a core that has so many sockets; 0 if there are too few.
fn connections(sockets: u64) -> u32 {
    let (least, most) = (u64::from(*SOCKETS_SPARE.start()), u64::from(*SOCKETS_SPARE.end()));
    let spare = sockets.div_ceil(2).clamp(least, most);
    u32::try_from(sockets.saturating_sub(spare)).unwrap_or(u32::MAX)
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
    /// The most connections a core, beside `others` descriptors.
    fn fits(&self, others: u64) -> u32 {
        let a_core = self.limit.saturating_sub(self.open + others) / self.cores;
        connections(a_core.saturating_sub(CORE_DESCRIPTORS))
    }

    /// `wanted` connections a core, if there are descriptors for all of them.
    fn check(&self, wanted: u32) -> Result<u32, SetupError> {
        let needed = self.open + self.cores * (u64::from(sockets(wanted)) + CORE_DESCRIPTORS);
        if needed <= self.limit {
            return Ok(wanted);
        }
        Err(SetupError::TooFewDescriptors {
            wanted: needed,
            connections: wanted,
            cores: self.cores,
            limit: self.limit,
            fits: self.fits(0),
        })
    }

    /// As many a core as there is room for.
    fn most(&self, direct: bool) -> Result<u32, SetupError> {
        let most = if direct { connections(self.limit) } else { self.fits(PROCESS_DESCRIPTORS) };
        match most.min(CONNECTIONS_DEFAULT) {
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
    fn sockets_and_connections_agree() {
        for cap in (1..300).chain([1_000, 100_000]) {
            let all = sockets(cap);
            assert!((cap + 16..=cap + 64).contains(&all));
            assert_eq!(connections(all.into()), cap, "{all} sockets");
            assert!(connections(u64::from(all) - 1) < cap);
        }
        assert_eq!((connections(0), connections(16), connections(17)), (0, 0, 1));
    }

    #[test]
    fn direct_descriptors_are_held_against_the_limit_core_by_core() {
        for (limit, most) in [(20_000, 19_936), (1 << 20, 100_000), (100, 50), (64, 32), (17, 1)] {
            assert_eq!(room(limit, 8).most(true).expect("the kernel checks"), most, "{limit}");
        }
    }

    #[test]
    fn ordinary_descriptors_are_shared_by_all_cores() {
        for (limit, cores, most) in
            [(20_000, 1, 19_854), (20_000, 2, 9_891), (1 << 20, 4, 100_000), (1024, 4, 165), (1024, 8, 55)]
        {
            assert_eq!(room(limit, cores).most(false).expect("there is room"), most, "{limit} for {cores}");
        }
        // 1 + 16 + 8 descriptors a core are the least, beside the 10 that are open. What is kept for others comes after that.
        assert_eq!(room(10 + 25, 1).most(false).expect("room for one"), 1);
        let told = room(10 + 24, 1).most(false).expect_err("no room for one").to_string();
        assert!(
            told.starts_with("35 descriptors are needed for 1 connections on each of 1 cores, and the limit is 34"),
            "{told}"
        );
    }

    #[test]
    fn a_cap_that_was_asked_for_is_kept_or_refused() {
        let exact = 10 + 2 * (1000 + 64 + 8);
        assert_eq!(room(exact, 2).check(1000).expect("exactly enough"), 1000);
        let told = room(exact - 1, 2).check(1000).expect_err("one short").to_string();
        assert!(told.starts_with("2154 descriptors are needed for 1000 connections on each of 2 cores"), "{told}");
        assert!(told.contains("ulimit -n") && told.contains("connection cap to 999 or below"), "{told}");
        assert_eq!(room(exact - 1, 2).check(999).expect("what was said"), 999);
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
