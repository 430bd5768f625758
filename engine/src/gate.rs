//! What a listener asks of those who come to it, and whose word it takes for who they are.
//!
//! Owns [`ProxyProtocol`], and what is set for one listener. Promises that nobody is believed who was not named. Refuses to know sockets and
//! connections.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wsring_proto::forwarded::{self, Field};
use wsring_proto::handshake::Request;
use wsring_proto::prefix::Prefix;

use crate::config::Config;
use crate::peer::Peer;

/// Whether connections begin with a PROXY header (HAProxy's doc/proxy-protocol.txt, version 1 or 2), in front of TLS and of everything else.
///
/// A listener requires one from everybody or takes it from nobody: to guess would let every client choose its address. So whoever can reach a
/// listener that requires it can say that it is anybody: let nobody but your proxies connect there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// There is none: who sends one is answered 400, as to any request that makes no sense; over TLS its handshake fails.
    #[default]
    Refused,
    /// Whoever sends something else is closed, told nothing and counted ([`Stats::proxy_failed`](crate::Stats::proxy_failed)).
    Required,
}

/// What is set for one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    pub(crate) proxy: ProxyProtocol,
    pub(crate) forwarders: Option<Forwarders>,
    #[cfg(feature = "tls")]
    pub(crate) speaks: Speaks,
}

/// Whether a listener speaks TLS.
#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default)]
pub(crate) enum Speaks {
    #[default]
    AsConfigured,
    Plain,
    Tls(crate::server_tls::ServerTls),
}

impl Gate {
    /// So many listeners for which nothing is set.
    #[cfg(any(test, feature = "sim", feature = "testing", feature = "unstable-ring"))]
    pub(crate) fn plain(listeners: u32) -> std::sync::Arc<[Gate]> {
        (0..listeners).map(|_| Gate::default()).collect()
    }

    /// With what the configuration says where nothing is set.
    pub(crate) fn resolved(&self, config: &Config) -> Gate {
        #[cfg(not(feature = "tls"))]
        let _ = config;
        Gate {
            #[cfg(feature = "tls")]
            speaks: match (&self.speaks, &config.tls) {
                (Speaks::Tls(tls), _) | (Speaks::AsConfigured, Some(tls)) => Speaks::Tls(tls.clone()),
                (Speaks::AsConfigured, None) | (Speaks::Plain, _) => Speaks::Plain,
            },
            ..self.clone()
        }
    }

    /// How it speaks TLS, if it does.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&crate::server_tls::ServerTls> {
        match &self.speaks {
            Speaks::Tls(config) => Some(config),
            Speaks::AsConfigured | Speaks::Plain => None,
        }
    }

    /// What is said on it in front of TLS cannot be answered.
    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls().is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(crate) fn requires_header(&self) -> bool {
        self.proxy == ProxyProtocol::Required
    }

    /// Whether this peer, by its address, is a proxy that tells of its clients in its requests.
    pub(crate) fn trusts(&self, peer: Peer) -> bool {
        self.forwarders.as_ref().is_some_and(|forwarders| forwarders.trusts(peer))
    }
}

/// Proxies that tell of their clients in the request.
#[derive(Clone, Debug)]
pub(crate) struct Forwarders {
    pub(crate) field: Field,
    pub(crate) from: Box<[Prefix]>,
    /// Whoever has no address is one of them: at a Unix-domain socket, whose file says who may connect.
    pub(crate) unaddressed: bool,
}

impl Forwarders {
    fn trusts(&self, peer: Peer) -> bool {
        peer.ip().map_or(self.unaddressed, |ip| self.is_listed(ip))
    }

    fn is_listed(&self, ip: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(ip))
    }

    /// The client for which `peer` asks, with port 0 if its port is not told. `None`: that is itself.
    pub(crate) fn client(&self, peer: Peer, request: &Request<'_>) -> Option<Peer> {
        // Of the peer it is asked first, and of no node that a client could write.
        let is_peer = Cell::new(self.trusts(peer));
        let is_trusted = |ip| is_peer.take() || self.is_listed(ip);
        let first = peer.ip().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let values = request.header_values(self.field.name());
        let (ip, port) = forwarded::client(self.field, first, is_trusted, values)?;
        Some(SocketAddr::new(ip, port.unwrap_or(0)).into())
    }
}

#[cfg(test)]
mod tests {
    use wsring_proto::handshake::{HeadLimits, HeaderTable};

    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<SocketAddr>().expect("an address").into()
    }

    fn forwarders(field: Field, from: &[&str], unaddressed: bool) -> Forwarders {
        let from = from.iter().map(|text| text.parse().expect("a network")).collect();
        Forwarders { field, from, unaddressed }
    }

    fn client_of(forwarders: &Forwarders, peer: Peer, fields: &str) -> Option<String> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (limits, mut table) = (HeadLimits::default(), HeaderTable::new());
        let request = Request::parse(head.as_bytes(), &limits, &mut table).expect("a request");
        forwarders.client(peer, &request).map(|client| client.to_string())
    }

    #[test]
    fn a_proxy_that_is_named_is_believed_and_nobody_else() {
        let proxies = forwarders(Field::XForwardedFor, &["10.0.0.0/8", "192.0.2.1"], false);
        let told = |from: &str, fields: &str| client_of(&proxies, peer(from), fields);
        assert_eq!(told("10.1.2.3:4", "X-Forwarded-For: 203.0.113.7\r\n").as_deref(), Some("203.0.113.7"));
        assert_eq!(told("[::ffff:192.0.2.1]:4", "x-forwarded-for: 203.0.113.7\r\n").as_deref(), Some("203.0.113.7"));
        assert_eq!(told("10.1.2.3:4", "X-Forwarded-For: [2001:db8::1]:80\r\n").as_deref(), Some("[2001:db8::1]:80"));
        assert_eq!(told("10.1.2.3:4", "X-Forwarded-For: 2001:db8::1\r\n").as_deref(), Some("2001:db8::1"));
        // What the client wrote stands in front of what its proxy did.
        let fields = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7, 10.9.9.9\r\n";
        assert_eq!(told("10.1.2.3:4", fields).as_deref(), Some("203.0.113.7"));
        for (from, fields) in [
            ("192.0.2.2:4", "X-Forwarded-For: 203.0.113.7\r\n"),
            ("10.1.2.3:4", "Forwarded: for=203.0.113.7\r\n"),
            ("10.1.2.3:4", "X-Forwarded-For: unknown\r\n"),
            ("10.1.2.3:4", ""),
        ] {
            assert_eq!(told(from, fields), None, "{from} {fields}");
        }
        assert_eq!(client_of(&proxies, Peer::default(), "X-Forwarded-For: 203.0.113.7\r\n"), None);
    }

    #[test]
    fn who_has_no_address_is_trusted_once() {
        let proxies = forwarders(Field::Forwarded, &[], true);
        let told = |fields: &str| client_of(&proxies, Peer::default(), fields);
        assert_eq!(told("Forwarded: for=203.0.113.7\r\n").as_deref(), Some("203.0.113.7"));
        // Who claims the address that stands for none is nobody's proxy.
        assert_eq!(told("Forwarded: for=198.51.100.1, for=0.0.0.0\r\n").as_deref(), Some("0.0.0.0"));
        assert_eq!(client_of(&proxies, peer("127.0.0.1:5"), "Forwarded: for=203.0.113.7\r\n"), None);
    }
}
