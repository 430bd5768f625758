//! What a subscription does with messages that its connection's socket does not take at once, and what became of them: plain values,
//! told by the application and to it.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use wsring_proto::close::CloseCode;

/// Bytes that may wait for one subscription, unless its [`Delivery`] says otherwise.
const BYTES_MAX: u32 = 1 << 20;
/// The same where messages are merged, which copies them each time.
const MERGED_MAX: u32 = 64 << 10;

/// What a subscription does with messages beyond what its connection's socket takes.
///
/// While the connection keeps up, all are the same: a message goes into its output as it is published. It does not keep up while the kernel
/// has not completed a send of its output, nor while 64 KiB or more are queued for it (or
/// [`output_high_bytes`](crate::Config::output_high_bytes), if that is less), by topics or by other sends. Of a connection for which messages have waited
/// it is what that takes in a tenth of a second, 1 KiB at least: what is queued grows old, and nothing newer takes its place. Nothing leaves inside of a callback, so one that publishes
/// more than that at once meets the caps of a reader that is idle, too: choose them, [`bytes_max`](Self::bytes_max) among them, for the most that is
/// published in one pass. For a connection that does not keep up they differ:
///
/// | | a message that cannot go at once |
/// |---|---|
/// | [`queue`](Self::queue) | is queued as [`Conn::send`](crate::Conn::send) does it, and refused where that refuses |
/// | [`drop_oldest`](Self::drop_oldest) | waits; beyond the cap the one that has waited longest is dropped |
/// | [`drop_newest`](Self::drop_newest) | waits; beyond the cap it is dropped |
/// | [`conflate`](Self::conflate) | takes the place of the one that waits with its key, or waits |
/// | [`merge`](Self::merge) | is merged into the one that waits with its key ([`Topic::merge`](crate::Topic::merge)), or waits |
/// | [`close`](Self::close) | waits; beyond the cap the connection is closed |
///
/// What waits is counted, per subscription, to its caps in messages and in bytes, which are strict; and to the connection's
/// [`output_max_bytes`](crate::Config::output_max_bytes), beyond which a message that found no place is refused. A message counts
/// its payload and 128 bytes; by [`conflate`](Self::conflate) the longest payload of those whose place it took, or that others wait for with
/// its key, as far as that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Delivery {
    pub(super) policy: Policy,
    pub(super) messages_max: u32,
    pub(super) bytes_max: u32,
    pub(super) interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Queue,
    DropOldest,
    DropNewest,
    Conflate,
    Merge,
    Close(CloseCode),
}

impl Delivery {
    const fn new(policy: Policy, messages_max: u32, bytes_max: u32) -> Self {
        Self { policy, messages_max, bytes_max, interval: None }
    }

    /// Queues every message, up to the cap of the connection's output; what that refuses is lost, and counted.
    pub const fn queue() -> Self {
        Self::new(Policy::Queue, u32::MAX, u32::MAX)
    }

    /// Keeps the newest so many messages, and at most 1 MiB of them.
    pub const fn drop_oldest(messages_max: u32) -> Self {
        Self::new(Policy::DropOldest, messages_max, BYTES_MAX)
    }

    /// Keeps the oldest so many messages, and at most 1 MiB of them.
    pub const fn drop_newest(messages_max: u32) -> Self {
        Self::new(Policy::DropNewest, messages_max, BYTES_MAX)
    }

    /// Keeps the newest message of each key. A newer one takes the place of the older, so keys leave in the order in which they began
    /// to wait, and no older value ever follows a newer one. Without [a rate](Self::at_most) those who do not keep up cost a publish nothing,
    /// however many they are.
    pub const fn conflate() -> Self {
        Self::new(Policy::Conflate, u32::MAX, u32::MAX)
    }

    /// As [`conflate`](Self::conflate), and the newer message is made of both by what the topic was given to
    /// [`merge`](crate::Topic::merge) with; without that it takes the older one's place. At most 64 KiB of them wait unless
    /// [`bytes_max`](Self::bytes_max) says otherwise: merging copies what waits, for each message and each reader that does not keep up. Once
    /// what is merged does not fit, what follows of its key is refused until it has gone, and counted as dropped.
    pub const fn merge() -> Self {
        Self::new(Policy::Merge, u32::MAX, MERGED_MAX)
    }

    /// Closes the connection with this code, and the reason `too slow`, when more than so many messages, or more than 1 MiB of them, would wait. What
    /// waits is dropped, what is queued goes out first; [`on_close`](crate::Handler::on_close) is told
    /// [`CloseReason::Local`](crate::CloseReason::Local).
    pub const fn close(code: CloseCode, messages_max: u32) -> Self {
        Self::new(Policy::Close(code), messages_max, BYTES_MAX)
    }

    /// At most so many bytes wait, 128 for each message included. Of no effect on [`queue`](Self::queue).
    pub const fn bytes_max(mut self, bytes: u32) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// At most one message per key and interval, and always the newest last: one that comes sooner is held until the interval is over,
    /// and a newer one takes its place, or is merged with it, whatever the delivery does otherwise. Intervals are rounded up to steps of
    /// 16 ms, and one more may pass: of 33 ms become 48 to 64, of 100 ms 112 to 128. For an exact rate publish in
    /// [`on_tick`](crate::Handler::on_tick). A message that [must not be conflated](crate::Publish::must_not_conflate) is not held. What
    /// was held when it comes goes in front of it, sooner than it would have; what is published behind it, of a key that went so, is held until an interval after that.
    ///
    /// Whoever subscribes again with another interval is served by that at once: for each key that the old one still held back it counts from when that was sent last.
    pub const fn at_most(mut self, interval: Duration) -> Self {
        self.interval = if interval.is_zero() { None } else { Some(interval) };
        self
    }

    /// Newer messages take the place of older ones that wait.
    pub(super) fn conflates(&self) -> bool {
        matches!(self.policy, Policy::Conflate | Policy::Merge) || self.interval.is_some()
    }

    /// What waits is the newest of each key and nothing else: what it was before matters to nobody.
    pub(super) fn follows(&self) -> bool {
        self.policy == Policy::Conflate && self.interval.is_none()
    }

    /// What does not go at once waits in a lane; else in the output.
    pub(super) fn has_lane(&self) -> bool {
        self.policy != Policy::Queue || self.interval.is_some()
    }
}

/// What became of a message for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Waiting,
    Conflated,
    Dropped,
    Refused,
}

/// What became of a message that was published: how many subscribers each happened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// It was encoded into the connection's output.
    pub sent: u32,
    /// It waits.
    pub waiting: u32,
    /// It waits in the place of an earlier one.
    pub conflated: u32,
    /// A message was dropped for want of room: it or, by [`Delivery::drop_oldest`], the oldest. The connections that
    /// [`Delivery::close`] closed are among them.
    pub dropped: u32,
    /// It was refused: the output, or what waits beside it, is at its cap.
    pub refused: u32,
}

impl Published {
    pub(super) fn count(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Sent => &mut self.sent,
            Fate::Waiting => &mut self.waiting,
            Fate::Conflated => &mut self.conflated,
            Fate::Dropped => &mut self.dropped,
            Fate::Refused => &mut self.refused,
        };
        *count += 1;
    }

    /// How many subscribers the topic had.
    pub fn subscribers(&self) -> u32 {
        self.sent + self.waiting + self.conflated + self.dropped + self.refused
    }
}

/// What became of all messages that were published while a subscription stood. The first number is the sum of the others, always.
/// Values that were retained, and given to a late subscriber, are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages of the topic.
    pub published: u64,
    /// Those encoded into the connection's output.
    pub sent: u64,
    /// Those that wait.
    pub waiting: u64,
    /// Those that another took the place of, or was merged with, before they went.
    pub conflated: u64,
    /// Those that were dropped or refused.
    pub dropped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.sent += other.sent;
        self.waiting += other.waiting;
        self.conflated += other.conflated;
        self.dropped += other.dropped;
    }
}

/// What a connection missed while messages of topics waited for it: told once none do any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lagged {
    /// Messages dropped or refused.
    pub dropped: u64,
    /// Messages that a newer one took the place of.
    pub conflated: u64,
}

/// What came of a call to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscribed {
    /// False: the connection had subscribed before, and its delivery has been changed.
    pub is_new: bool,
    /// Values that were retained, and are given to the subscriber before anything else of the topic.
    pub retained: u32,
}

/// Why a connection has not subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// It is closing.
    #[error("the connection is closing")]
    Gone,
    /// It has as many subscriptions as it may.
    #[error("the connection has as many subscriptions as Config::subscriptions_max allows")]
    TooMany,
    /// What the topic retains does not fit beside what waits for the connection.
    #[error("what the topic retains does not fit below Config::output_max_bytes")]
    NoRoom,
}

/// `published = sent + waiting + conflated + dropped`
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, sent, waiting, conflated, dropped } = self;
        write!(f, "{published} = {sent} + {waiting} + {conflated} + {dropped}")
    }
}
