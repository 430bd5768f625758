//! What a load is asked for ([`Plan`]) and what came of it ([`Outcome`]).
//!
//! Owns their numbers and what follows from them alone. Knows nothing of how a load runs.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::dial::Target;
use crate::frames::Payload;
use crate::net::Patience;

/// From this size on a message's body can be discarded: it costs a second receive, which does not pay for less than a segment
/// of the loopback interface.
pub const DISCARD_MIN: usize = 64 << 10;

/// What to do with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each connection keeps so many messages in flight. Latency is the round trip.
    Closed {
        /// Messages in flight on each.
        depth: u32,
    },
    /// So many messages a second over all connections, whatever the server does. Latency counts from the intended time of
    /// sending, so that a server that stalls pays for every message it kept from leaving (no coordinated omission).
    Open {
        /// Messages a second.
        rate: u32,
    },
    /// One more connection publishes and all receive; the next message leaves when everybody has the one `depth` before.
    /// Latency is that of each delivery, and each delivery is a message.
    FanOut {
        /// Messages published and not yet with everybody.
        depth: u32,
    },
    /// Connect, upgrade, close; `connections` at a time.
    Connect,
}

/// What becomes of the bodies of replies. Heads and lengths are always compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bodies {
    /// The kernel discards those of [`DISCARD_MIN`] bytes and more; shorter ones are copied. Over TLS, in a fan-out and compressed,
    /// all are copied.
    #[default]
    Discarded,
    /// All are copied out of the sockets, as by a client that reads them.
    Copied,
    /// All are copied and every byte is compared.
    Compared,
}

/// What to send, where, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// What to do.
    pub shape: Shape,
    /// Connections, all opened before the clock starts.
    pub connections: usize,
    /// What payloads are made of.
    pub payload: Payload,
    /// Payload bytes of a message.
    pub size: usize,
    /// Time under load before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
    /// What becomes of the replies' bodies.
    pub bodies: Bodies,
    /// How to wait.
    pub patience: Patience,
}

impl Plan {
    /// Bodies of replies are discarded: asked for, worth it, and possible.
    pub fn discards(&self) -> bool {
        let echoes = matches!(self.shape, Shape::Closed { .. } | Shape::Open { .. });
        let is_plain = self.target.context().is_none() && !self.target.is_sealed();
        self.bodies == Bodies::Discarded && self.size >= DISCARD_MIN && echoes && is_plain
    }
}

/// The two ends of the counted time, told to whoever measures the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Counting begins.
    Begin,
    /// Counting has ended.
    End,
}

/// What a run has shown.
pub struct Outcome {
    /// Messages answered in the counted time; connections made in it.
    pub messages: u64,
    /// Payload bytes of their replies as they travelled: compressed, if they were.
    pub reply_bytes: u64,
    /// The counted time.
    pub seconds: f64,
    /// Latencies in nanoseconds: of what was sent and answered in the counted time; at a fixed rate of all that was to be sent
    /// in it, whenever it was answered.
    pub latencies: Histogram<u64>,
    /// CPU time of this thread in it.
    pub client_cpu: Duration,
    /// The part of it that was spent polling for nothing.
    pub client_idle: Duration,
    /// Messages answered over the whole run, warming up and draining included.
    pub messages_in_all: u64,
}

impl Outcome {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Payload bytes of a reply as it travelled, on average.
    pub fn reply_len(&self) -> f64 {
        self.reply_bytes as f64 / self.messages as f64
    }

    /// CPU time in which this thread had something to do.
    pub fn worked(&self) -> Duration {
        self.client_cpu.saturating_sub(self.client_idle)
    }

    /// How much of the counted time that was: near 1, it limits what is measured.
    pub fn busy(&self) -> f64 {
        self.worked().as_secs_f64() / self.seconds
    }
}

/// Told of both edges.
pub type OnEdge<'a> = &'a mut dyn FnMut(Edge) -> io::Result<()>;

/// 3 digits; a latency above a minute counts as a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that hdrhistogram documents")
}
