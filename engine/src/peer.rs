//! Who is at the other end of a connection: [`Peer`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end of a connection, by address. An IPv4 client of a listener on `[::]` is told by its IPv4 address.
///
/// ```
/// use wsring::Peer;
///
/// let peer = Peer::from("192.0.2.7:40000".parse::<std::net::SocketAddr>().expect("an address"));
/// assert_eq!(peer.to_string(), "192.0.2.7:40000");
/// assert_eq!(Peer::default().addr(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    pub(crate) addr: Option<SocketAddr>,
    is_proxy: bool,
}

impl Peer {
    /// The address from which it connected, or to which we did; with port 0, if a proxy tells of it without its port. `None`: it has none, as at
    /// a Unix-domain socket, or had gone before it could be asked for.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The same without the port.
    pub fn ip(&self) -> Option<IpAddr> {
        self.addr.map(|addr| addr.ip())
    }

    /// It has connected to a listener that requires a PROXY header ([`ProxyProtocol::Required`](crate::ProxyProtocol::Required)), and has not said
    /// yet for whom. Told to [`on_accept`](crate::Handler::on_accept) alone.
    pub fn is_proxy(&self) -> bool {
        self.is_proxy
    }

    /// The same, as one that is to tell for whom it comes.
    pub(crate) fn as_proxy(self) -> Self {
        Self { is_proxy: true, ..self }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self { addr: Some(SocketAddr::new(addr.ip().to_canonical(), addr.port())), is_proxy: false }
    }
}

/// The address, without its port if that is not known, or `unknown`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) if addr.port() == 0 => fmt::Display::fmt(&addr.ip(), f),
            Some(addr) => fmt::Display::fmt(&addr, f),
            None => f.write_str("unknown"),
        }
    }
}
