//! Settings of sockets, the ring and the mailbox. Refuses to know what a kernel has of them.

use std::time::Duration;

use super::Config;
use crate::ring::uring::{Features, QueueEntries, RecvBuffers, SendBuffers};
use crate::rings::RingKind;

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
    /// getrlimit(2)) has no room for them, down to 64 and 128 ([`GivenUp::Queues`](crate::GivenUp::Queues)).
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
