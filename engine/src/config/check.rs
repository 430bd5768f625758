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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Deflate;
    use crate::flush::Flush;
    use crate::ring::uring::{QueueEntries, SendBuffers};

    const NS: Duration = Duration::from_nanos(1);
    const NO: Duration = Duration::ZERO;

    /// The last value that passes, and the first that does not: as each setting's manual says. Those of topics and of what may wait are tested beside them.
    #[test]
    fn each_range_is_kept_and_named() {
        let config = Config::default;
        let fixed = |count, bytes| config().recv_buffers(RecvBuffers::Fixed { count, bytes });
        let blocks = |count, bytes| config().send_buffers(SendBuffers { count, bytes });
        let entries = |submission, completion| config().queue_entries(QueueEntries { submission, completion });
        let marks = |low, high, max| config().output_low_bytes(low).output_high_bytes(high).output_max_bytes(max);
        let second = Duration::from_secs(1);
        let table = [
            (
                "connections_max",
                vec![config().connections_max(1), config().connections_max(1_048_512)],
                vec![config().connections_max(0), config().connections_max(1_048_513)],
            ),
            ("output_low_bytes", vec![marks(5, 5, 9)], vec![marks(6, 5, 9)]),
            ("output_high_bytes", vec![marks(5, 9, 9)], vec![marks(5, 10, 9)]),
            ("output_max_bytes", vec![marks(5, 9, 1 << 30)], vec![marks(5, 9, (1 << 30) + 1)]),
            (
                "memory_max_bytes",
                vec![config().memory_max_bytes(65_536), config().memory_max_bytes(None)],
                vec![config().memory_max_bytes(65_535)],
            ),
            ("handshake_timeout", vec![config().handshake_timeout(NS)], vec![config().handshake_timeout(NO)]),
            (
                "idle_timeout",
                vec![config().idle_timeout(NS), config().idle_timeout(None)],
                vec![config().idle_timeout(NO)],
            ),
            ("pong_timeout", vec![config().pong_timeout(NS)], vec![config().pong_timeout(NO)]),
            ("send_timeout", vec![config().send_timeout(NS)], vec![config().send_timeout(NO)]),
            (
                "message_timeout",
                vec![config().message_timeout(NS), config().message_timeout(None)],
                vec![config().message_timeout(NO)],
            ),
            ("data_timeout", vec![config().data_timeout(NS)], vec![config().data_timeout(NO)]),
            ("lifetime_max", vec![config().lifetime_max(NS)], vec![config().lifetime_max(NO)]),
            ("tick", vec![config().tick(NS)], vec![config().tick(NO)]),
            ("flush", vec![config().tick(NS).flush(Flush::AtTick)], vec![config().flush(Flush::AtTick)]),
            (
                "timers_max",
                vec![config().timers_max(0), config().timers_max(1 << 24)],
                vec![config().timers_max((1 << 24) + 1)],
            ),
            ("connects_per_second", vec![config().connects_per_second(1)], vec![config().connects_per_second(0)]),
            ("spin", vec![config().spin(second)], vec![config().spin(second + NS)]),
            (
                "pass_share_messages",
                vec![config().pass_share_messages(1), config().pass_share_messages(1_000_000)],
                vec![config().pass_share_messages(0), config().pass_share_messages(1_000_001)],
            ),
            (
                "mailbox_max",
                vec![config().mailbox_max(1), config().mailbox_max(1_048_576)],
                vec![config().mailbox_max(0), config().mailbox_max(1_048_577)],
            ),
            ("recv_buffers", vec![fixed(1, 1), fixed(1 << 15, 1)], vec![fixed(0, 1), fixed(3, 1), fixed(1, 0)]),
            (
                "send_buffers",
                vec![blocks(0, 512), blocks(1 << 21, 512)],
                vec![blocks(1, 511), blocks((1 << 21) + 1, 512)],
            ),
            ("queue_entries", vec![entries(1, 1)], vec![entries(0, 1), entries(1, 0)]),
            ("crowd_max", vec![config().crowd_max(1)], vec![config().crowd_max(0)]),
            (
                "crowd_prefixes",
                vec![config().crowd_prefixes(32, 128)],
                vec![config().crowd_prefixes(33, 128), config().crowd_prefixes(32, 129)],
            ),
            (
                "deflate.level",
                vec![config().deflate(Deflate::shared().level(9))],
                vec![config().deflate(Deflate::shared().level(10)), config().deflate(Deflate::shared().level(0))],
            ),
        ];
        for (setting, right, wrong) in table {
            right.into_iter().for_each(|config| assert_eq!(config.check(), Ok(()), "{setting}"));
            for config in wrong {
                assert_eq!(config.check().expect_err(setting).setting(), setting);
            }
        }
    }
}
