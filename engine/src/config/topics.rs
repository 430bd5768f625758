//! Settings of topics, and of sockets: what the kernel hides of those who are slow to read.

use super::Config;

/// Topics, and what sockets hold.
impl Config {
    /// Topics that there may be, on all cores together, 1 to 16,777,216. Default 100,000. One takes some 200 bytes on each core that
    /// uses it, and what it retains.
    #[must_use]
    pub fn topics_max(mut self, topics: u32) -> Self {
        self.topics.topics_max = topics;
        self
    }

    /// Subscriptions that a connection may have, at least 1. Default 10,000. One takes some 250 bytes.
    #[must_use]
    pub fn subscriptions_max(mut self, subscriptions: u32) -> Self {
        self.topics.subscriptions_max = subscriptions;
        self
    }

    /// Bytes a second that topics give to a connection, at least 1, unless it has another rate
    /// ([`Conn::set_topics_bytes_per_second`](crate::Conn::set_topics_bytes_per_second), where it says what that does). Default `None`: as many as its socket takes.
    #[must_use]
    pub fn topics_bytes_per_second(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.topics.bytes_per_second = bytes.into();
        self
    }

    /// Sends small messages at once (TCP_NODELAY, tcp(7)). Default true.
    #[must_use]
    pub fn nodelay(mut self, at_once: bool) -> Self {
        self.nodelay = at_once;
        self
    }

    /// Bytes that a socket's send buffer holds, of connections that are accepted (SO_SNDBUF, socket(7)), at least 1: the kernel doubles the number for its own
    /// needs, and takes no more than net.core.wmem_max. No effect at Unix-domain sockets, which take over nothing from their listener: net.core.wmem_default holds there. Default `None`: the kernel lets it grow to some megabytes (tcp_wmem, tcp(7)), and so
    /// much lies there before a peer that does not read is noticed, and grows old.
    #[must_use]
    pub fn socket_send_bytes(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.topics.socket_send_bytes = bytes.into();
        self
    }

    /// Bytes that a socket takes beyond what it has sent to its peer, of connections that are accepted (TCP_NOTSENT_LOWAT, tcp(7)), at least 1: the same
    /// bound without one on what is on its way. For those whose values must not grow old; 16 KiB is a good number. Default `None`: no bound.
    #[must_use]
    pub fn socket_unsent_bytes(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.topics.socket_unsent_bytes = bytes.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let config = Config::default;
        assert!(
            config()
                .topics_max(1)
                .subscriptions_max(1)
                .topics_bytes_per_second(1)
                .socket_send_bytes(1)
                .socket_unsent_bytes(1)
                .check()
                .is_ok()
        );
        assert!(config().topics_max(1 << 24).check().is_ok());
        for (config, setting) in [
            (config().topics_max(0), "topics_max"),
            (config().topics_max((1 << 24) + 1), "topics_max"),
            (config().subscriptions_max(0), "subscriptions_max"),
            (config().topics_bytes_per_second(0), "topics_bytes_per_second"),
            (config().socket_send_bytes(0), "socket_send_bytes"),
            (config().socket_unsent_bytes(0), "socket_unsent_bytes"),
        ] {
            let error = config.check().expect_err(setting).to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}
