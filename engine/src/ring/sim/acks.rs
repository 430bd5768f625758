//! Owns what the peers of a simulated network have acknowledged: what was sent travels to a peer's receive buffer as far as that has
//! room, and a while later its acknowledgement is back. Whether the peer has read it is another matter.
//!
//! Promises that what was not acknowledged stays with the server's socket. Refuses to know the calendar and the engine.

use std::time::Duration;

use super::{Random, SimConfig, Time};

/// How far the peer's end of a connection has come.
#[derive(Debug)]
pub(super) struct Acks {
    /// Bytes of the peer's receive buffer.
    window: u64,
    /// From a byte that is sent to its acknowledgement.
    trip: Duration,
    /// Bytes that the server's socket took, that the peer read, and that were acknowledged.
    sent: u64,
    read: u64,
    acked: u64,
    /// When the last of them were, or there were some for the first time.
    moved_at: Time,
    /// An acknowledgement is on its way.
    travels: bool,
    /// How long nothing had been when the engine last asked.
    still_for: Option<Duration>,
    abort: Option<Abort>,
}

/// How the engine cut a connection off: by a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a test looks at all of it")]
pub struct Abort {
    /// When.
    pub at: Time,
    /// How long its peer had acknowledged nothing when the engine last asked, if it did.
    pub still_for: Option<Duration>,
    /// How much it had not acknowledged.
    pub unacked: u32,
}

impl Acks {
    /// Of a new connection, whose two buffers together have `capacity`.
    pub(super) fn new(config: &SimConfig, pipe: usize, capacity: usize, now: Time) -> Self {
        // Drawn apart, so that what was drawn before peers had buffers of their own stays as it was.
        let mut random = Random::new(config.seed ^ (pipe as u64) << 20 ^ 0x7769_6e64_6f77);
        Self {
            window: random.range(1, capacity as u64 / 2 + 1),
            trip: Duration::from_micros(random.range(10, config.trip_us_max.max(10))),
            sent: 0,
            read: 0,
            acked: 0,
            moved_at: now,
            travels: false,
            still_for: None,
            abort: None,
        }
    }

    pub(super) fn on_sent(&mut self, count: usize, now: Time) {
        if self.unacked() == 0 {
            self.moved_at = now;
        }
        self.sent += count as u64;
    }

    pub(super) fn on_read(&mut self, count: usize) {
        self.read += count as u64;
    }

    /// Bytes that have arrived at the peer.
    fn arrived(&self) -> u64 {
        self.sent.min(self.read + self.window)
    }

    /// When the acknowledgement of what has arrived is there, if one is to be sent.
    pub(super) fn travel(&mut self, now: Time) -> Option<Time> {
        let travels = self.arrived() > self.acked && !std::mem::replace(&mut self.travels, true);
        travels.then(|| now.plus(self.trip))
    }

    /// It is there.
    pub(super) fn on_ack(&mut self, broken: bool, now: Time) {
        self.travels = false;
        if !broken {
            (self.acked, self.moved_at) = (self.arrived(), now);
        }
    }

    /// The engine asks what has not been acknowledged.
    pub(super) fn tell(&mut self, now: Time) -> u32 {
        self.still_for = Some(now.since(self.moved_at));
        self.unacked()
    }

    /// The server closes the connection by a reset. Returns how much has arrived and was not read: the rest is lost.
    pub(super) fn abort(&mut self, now: Time) -> usize {
        self.abort = Some(Abort { at: now, still_for: self.still_for, unacked: self.unacked() });
        (self.arrived() - self.read) as usize
    }

    pub(super) fn aborted(&self) -> Option<Abort> {
        self.abort
    }

    /// Bytes that the server's socket holds.
    pub(super) fn unacked(&self) -> u32 {
        (self.sent - self.acked) as u32
    }
}
