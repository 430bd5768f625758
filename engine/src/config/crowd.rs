//! The settings of how many connections may come from one network.

use super::Config;

/// Many connections from one place.
impl Config {
    /// Connections of a core from one network, those that are not open yet included; one more is closed at once, told nothing and counted
    /// ([`Stats::crowded`](crate::Stats::crowded)), before [`on_accept`](crate::Handler::on_accept) is asked. At least 1; `None` sets no limit. Default `None`. What a network is says
    /// [`crowd_prefixes`](Self::crowd_prefixes). Each core counts for itself, and the kernel spreads the connections of a client over the cores.
    ///
    /// Who comes through a proxy is counted by its own address, where a listener believes the proxy ([`Listener`](crate::Listener)), and the proxy is not: for a client that a
    /// PROXY header names the same holds as above, and one that a request names is answered 429. Whoever has no address, at a Unix-domain
    /// socket, is not counted, nor are connections that we dialled.
    #[must_use]
    pub fn crowd_max(mut self, connections: impl Into<Option<u32>>) -> Self {
        self.crowd.max = connections.into();
        self
    }

    /// How many bits of an address make the network that [`crowd_max`](Self::crowd_max) counts by: of IPv4, 0 to 32, and of IPv6, 0 to 128. Default 32 and
    /// 64: an IPv4 address, and the 2^64 addresses of IPv6 that one customer has at least.
    #[must_use]
    pub fn crowd_prefixes(mut self, v4_bits: u8, v6_bits: u8) -> Self {
        (self.crowd.v4_len, self.crowd.v6_len) = (v4_bits, v6_bits);
        self
    }
}
