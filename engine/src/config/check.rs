//! Which values of the settings make sense. Each part of them that has rules of its own adds them here.

use std::time::Duration;

use super::{Config, InvalidConfig};
use crate::ring::uring::RecvBuffers;

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
            // Where nothing may be queued no topic's message is ever begun.
            (self.output_high_bytes > 0, "output_high_bytes", "must be at least 1"),
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
        ];
        self.deflate.check()?;
        let rules = rules.into_iter().chain(self.pace.rules()).chain(self.topics.rules()).chain(self.crowd.rules());
        #[cfg(feature = "tls")]
        let rules = rules.chain(self.tls.iter().flat_map(crate::server_tls::ServerTls::rules));
        let broken = rules.into_iter().find(|(holds, ..)| !holds);
        broken.map_or(Ok(()), |(_, setting, rule)| Err(InvalidConfig { setting, rule }))
    }
}
