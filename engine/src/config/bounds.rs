//! The values of the settings of topics, of what sockets hold and of what may wait, and what must be true of them.

use crate::engine::TOPICS_MAX;

/// See the setters in `topics` and `pending`.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) topics_max: u32,
    pub(crate) subscriptions_max: u32,
    pub(crate) bytes_per_second: Option<u32>,
    pub(crate) socket_send_bytes: Option<u32>,
    pub(crate) socket_unsent_bytes: Option<u32>,
    pub(crate) pending_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            topics_max: TOPICS_MAX,
            subscriptions_max: 10_000,
            bytes_per_second: None,
            socket_send_bytes: None,
            socket_unsent_bytes: None,
            pending_max: 1_024,
        }
    }
}

impl Bounds {
    /// Whether each makes sense, which one that is, and what it must be.
    pub(super) fn rules(&self) -> [(bool, &'static str, &'static str); 6] {
        [
            ((1..=1 << 24).contains(&self.topics_max), "topics_max", "must be 1 to 16777216"),
            (self.subscriptions_max >= 1, "subscriptions_max", "must be at least 1"),
            (self.bytes_per_second != Some(0), "topics_bytes_per_second", "must be at least 1; None bounds nothing"),
            (self.socket_send_bytes != Some(0), "socket_send_bytes", "must be at least 1"),
            (self.socket_unsent_bytes != Some(0), "socket_unsent_bytes", "must be at least 1"),
            (self.pending_max <= 1 << 20, "pending_max", "must be at most 1048576"),
        ]
    }
}
