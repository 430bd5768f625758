//! A subscription, and what waits for a connection: plain values.

use std::collections::HashMap;

use super::delivery::{Counts, Delivery, Lagged};
use super::hash::Seeded;
use super::pieces::List;
use super::stride::Stride;

/// Between which numbers of a key something was lost. A number of 0 is before the first, and a key that was removed begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// In front of what waits: the last number before that.
    pub(super) head: Option<u64>,
    /// Behind it: the same.
    pub(super) tail: Option<u64>,
}

impl Lost {
    /// The number before one that is given in front of all others of its key.
    pub(super) fn before(self, prev: u64) -> u64 {
        // What was lost of numbers that are over is in front of another 0.
        if prev == 0 { 0 } else { self.head.unwrap_or(prev) }
    }

    /// The same, of one that is given when no other of its key waits.
    pub(super) fn before_next(self, seq: u64) -> u64 {
        self.before(self.tail.unwrap_or(seq.saturating_sub(1)))
    }
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) conn: u32,
    pub(super) topic: u32,
    /// In the topic's list; none while it follows.
    pub(super) place: u32,
    /// Its number among those of the core that have begun to follow; 0 if it does not.
    pub(super) stamp: u64,
    /// Those that follow the same topic and began before and behind it.
    pub(super) older: u32,
    pub(super) younger: u32,
    /// While it follows: messages of the topic up to the last that came to it.
    pub(super) counted: u64,
    /// Its neighbours among those of its connection.
    pub(super) next: u32,
    pub(super) prev: u32,
    pub(super) delivery: Delivery,
    /// Messages of the topic before it began.
    pub(super) base: u64,
    /// What waits, oldest first.
    pub(super) own: List,
    /// What was retained and waits, and keys that have been sent a while ago.
    pub(super) rest: List,
    /// Pieces in both.
    pub(super) pieces: u32,
    pub(super) waiting: u32,
    pub(super) waiting_bytes: u32,
    /// Pieces in the lane.
    pub(super) queued: u32,
    pub(super) held: u32,
    /// Those held, oldest first: they are in no lane.
    pub(super) holds: List,
    pub(super) conflated: u64,
    pub(super) dropped: u64,
    /// The highest number that it was given, unless it is in step.
    pub(super) last: u64,
    pub(super) stretch: u32,
    /// Of messages without a key.
    pub(super) unkeyed: u32,
    #[allow(clippy::box_collection, reason = "a subscription that has missed nothing pays one word")]
    pub(super) lost: Option<Box<HashMap<Option<u64>, Lost, Seeded>>>,
    /// A removal was lost behind messages that wait: there may be keys among those whose numbers are over.
    pub(super) lost_removal: bool,
}

/// A connection that has subscribed to something.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) fifo: List,
    pub(super) stride: Stride,
    /// Of all that waits.
    pub(super) bytes: u32,
    /// Pieces of its subscriptions, and keys of which they have lost something.
    pub(super) pieces: u32,
    pub(super) lost: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) lagged: Lagged,
    /// It is among those that are about to be told of that.
    pub(super) is_told: bool,
    /// Of subscriptions that have ended.
    pub(super) ended: Counts,
}
