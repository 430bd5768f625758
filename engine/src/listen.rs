//! Where a server listens, and what holds for who comes there: [`Listener`].
//!
//! Owns what is set for a listener, and whether its sockets are bound (`bound`), were opened by another process that hands them over, or are ones that the
//! application has (`given`). `file` owns the files of those of the Unix domain. Refuses to know cores and connections.

mod bound;
mod file;
mod given;
mod key;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use socket2::{Socket, Type};
use wsring_proto::forwarded::Field;
use wsring_proto::prefix::Prefix;

#[cfg(feature = "tls")]
use crate::config::Config;
use crate::error::Error;
#[cfg(feature = "tls")]
use crate::gate::Speaks;
use crate::gate::{Forwarders, Gate, ProxyProtocol};
#[cfg(feature = "tls")]
use crate::server_tls::ServerTls;
use bound::{How, bind_tcp};

pub(crate) use bound::{Bound, addrs_of, listen, name_of};
pub(crate) use file::{SocketFile, bind_unix};
pub(crate) use given::Given;
pub(crate) use key::{Key, Taken};

/// A place to listen at, with settings of its own: for [`Server::listen`](crate::Server::listen).
///
/// ```
/// use wsring::{Error, ForwardedField, Listener, ProxyProtocol, Server};
///
/// // Browsers connect to the first; behind the second is HAProxy with `send-proxy-v2`, behind the third nginx on the same machine.
/// let server = Server::listen(Listener::tcp("127.0.0.1:0"))?
///     .and_listen(Listener::tcp("127.0.0.1:0").proxy(ProxyProtocol::Required))?
///     .and_listen(
///         Listener::unix(std::env::temp_dir().join(format!("chat-{}.socket", std::process::id())))
///             .mode(0o660)
///             .trust_forwarded(ForwardedField::XForwardedFor, []),
///     )?;
/// assert_eq!((server.local_addrs()?.len(), server.local_paths().len()), (2, 1));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Listener {
    at: At,
    how: How,
    mode: Option<u32>,
    is_shared: bool,
    gate: Gate,
}

#[derive(Debug)]
enum At {
    Tcp(io::Result<Vec<SocketAddr>>),
    Unix(PathBuf),
    Given(Vec<Given>),
}

impl Listener {
    /// At every address that `addr` resolves to, now. Port 0 takes a free one. The port is shared with other cores and other servers of the same user
    /// (SO_REUSEPORT, socket(7)), unless it is [exclusive](Self::exclusive).
    pub fn tcp(addr: impl ToSocketAddrs) -> Self {
        Self::at(At::Tcp(addr.to_socket_addrs().map(Iterator::collect)))
    }

    /// At a socket of the Unix domain (unix(7)), which all cores accept from. Its path has at most 107 bytes. A socket's file that is there and at which
    /// nobody listens any more is replaced; one at which somebody does is an error, and so is a file that is no socket. When the server has ended,
    /// the file is removed, if it is still its own. Servers that do either at the same time take turns, by a lock on the folder (flock(2)); where another process keeps that
    /// for more than 2 s, which whoever may read the folder can, they go on without, with a line in the log.
    ///
    /// Who connects there has no address ([`Peer::addr`](crate::Peer::addr)), and who may, says the [mode](Self::mode) of the file.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(At::Unix(path.into()))
    }

    /// At a socket that somebody has opened and that listens already: of TCP or of the Unix domain (SOCK_STREAM, listen(2)), as a
    /// [`std::net::TcpListener`] or [`std::os::unix::net::UnixListener`] is, or what another process left to this one. It is looked at by
    /// [`Server::listen`](crate::Server::listen), which says what is wrong with one that is something else ([`Error::Bind`]). All cores accept from it, and its queue
    /// is as long as [`Config::backlog`](crate::Config::backlog) says from then on. Its file, if it has one, is left alone.
    ///
    /// Say by [`Self::shared`] whether others have it too. Those that systemd(1) opens are had by [`ListenFds`](crate::ListenFds).
    ///
    /// ```
    /// use wsring::{Error, Listener, Server};
    ///
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0").map_err(Error::Start)?;
    /// let server = Server::listen(Listener::from_fd(socket))?;
    /// assert_eq!(server.local_addrs()?.len(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_fd(socket: impl Into<OwnedFd>) -> Self {
        Self::given(vec![Given::new(socket.into())])
    }

    /// At sockets that are looked at when they are bound.
    pub(crate) fn given(given: Vec<Given>) -> Self {
        Self::at(At::Given(given))
    }

    fn at(at: At) -> Self {
        Self { at, how: How::default(), mode: None, is_shared: false, gate: Gate::default() }
    }

    /// Whether other processes have these sockets too, and accept there when this server does no more. A stop then leaves them those who wait in
    /// the queue, who would be answered 503 otherwise; if nobody has the socket when it is closed, the kernel resets them. Default: no, and yes for what
    /// [`ListenFds`](crate::ListenFds) brings, because systemd keeps it.
    pub fn shared(mut self, shared: bool) -> Self {
        self.is_shared = shared;
        self
    }

    /// Whether it is at a socket of the Unix domain, or one of its sockets is.
    pub fn is_unix(&self) -> bool {
        match &self.at {
            At::Tcp(_) => false,
            At::Unix(_) => true,
            At::Given(given) => given.iter().any(Given::is_unix),
        }
    }

    /// Takes the port for this server alone: it is bound without SO_REUSEPORT, so that no other process shares it, of the same user either, and a second server that is
    /// started by mistake fails with [`Error::Bind`]; so does this one if somebody has the port. Default: no, so that two versions of a program can
    /// run beside each other; [`Server::take_over`](crate::Server::take_over) works with either.
    ///
    /// All cores accept from one queue then, and a core that is idle takes several connections in a row. A core that is stopped alone
    /// ([`CoreCx::stop_core`](crate::CoreCx::stop_core)) has nobody more come to the others. No effect on a Unix-domain socket, which nobody shares.
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.how.exclusive = exclusive;
        self
    }

    /// Takes IPv4 as well at an IPv6 address that has room for it, which is `[::]` (IPV6_V6ONLY, ipv6(7)). Who comes by IPv4 is told as such
    /// ([`Peer::addr`](crate::Peer::addr)). Default: no, so that `0.0.0.0` and `[::]` can be bound beside each other.
    pub fn ipv4_too(mut self, ipv4_too: bool) -> Self {
        self.how.ipv4_too = ipv4_too;
        self
    }

    /// Who may connect to a Unix-domain socket, as chmod(1) says it: `0o660` for owner and group. It holds before anybody can connect; of a file
    /// that is [handed over](crate::Handover), from when this server has taken over. Default: what the umask leaves. No effect on TCP.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether connections begin with a PROXY header, which tells for whom a proxy has connected. Default [`ProxyProtocol::Refused`].
    ///
    /// Where it is required the handler is told of the client as [`Opening::peer`](crate::Opening::peer) and [`Conn::peer`](crate::Conn::peer), and of the proxy
    /// as `via`. A header that speaks for the proxy itself (LOCAL), or tells no address of TCP (UNKNOWN, UNSPEC), leaves the proxy as the peer. Behind one that tells no address
    /// nobody's [field](Self::trust_forwarded) is believed: the proxy may have passed it on as its client wrote it. The header must have come within the
    /// [`handshake_timeout`](crate::Config::handshake_timeout), TLS and the request included; while it has not, its connection counts as one that has asked for nothing.
    pub fn proxy(mut self, proxy: ProxyProtocol) -> Self {
        self.gate.proxy = proxy;
        self
    }

    /// Proxies that tell of their clients in this field of their requests: those in `from`, and at a Unix-domain socket whoever may connect. Of the nodes in the field the last that such a
    /// proxy wrote is the client, told as [`Opening::peer`](crate::Opening::peer) and [`Conn::peer`](crate::Conn::peer), and the proxy as `via`; where the proxy does not tell the
    /// client's port it is 0. Default: nobody's word is taken, and the field is one like any other.
    ///
    /// Where a [PROXY header](Self::proxy) is required too, it is whom the header names that has to be listed; the proxy itself, where it speaks for itself (LOCAL); and behind a
    /// header that names nobody the field is one like any other.
    ///
    /// Say which of the two fields your proxies write: the other one they pass on as the client sent it, with any address in it.
    pub fn trust_forwarded(mut self, field: Field, from: impl IntoIterator<Item = Prefix>) -> Self {
        // Whoever has no address is one of them at a socket of the Unix domain, as which `bind` finds it.
        self.gate.forwarders = Some(Forwarders { field, from: from.into_iter().collect(), unaddressed: false });
        self
    }

    /// Speaks TLS here, by this configuration instead of that of [`Config::tls`](crate::Config::tls) (see there).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<ServerTls>) -> Self {
        self.gate.speaks = Speaks::Tls(config.into());
        self
    }

    /// Speaks no TLS here, whatever [`Config::tls`](crate::Config::tls) says.
    #[cfg(feature = "tls")]
    pub fn without_tls(mut self) -> Self {
        self.gate.speaks = Speaks::Plain;
        self
    }

    /// Binds its sockets, but for those that `taken` has: another process has opened them for this one. Asked for one that is given, it has none but that itself.
    pub(crate) fn bind(
        self,
        taken: &mut dyn FnMut(&Key, Option<&Socket>) -> Option<Taken>,
    ) -> Result<Vec<Bound>, Error> {
        #[cfg(feature = "tls")]
        if let Speaks::Tls(tls) = &self.gate.speaks {
            Config::default().tls(tls.clone()).check()?;
        }
        let Self { at, how, mode, is_shared, gate } = self;
        let bound = |sockets: Vec<Socket>, key: Key, file: Option<SocketFile>, origin: Origin| {
            let mut gate = gate.clone();
            if let Some(forwarders) = &mut gate.forwarders {
                forwarders.unaddressed = matches!(key, Key::Unix(_));
            }
            let (is_taken, is_shared) = match origin {
                Origin::Bound => (false, is_shared),
                Origin::Taken { is_shared: was_shared } => (true, is_shared || was_shared),
            };
            let mode = mode.filter(|_| is_taken && file.is_some());
            Bound { sockets, key, how, is_taken, is_shared, file: file.map(Arc::new), mode, gate }
        };
        match at {
            At::Tcp(addrs) => {
                let unresolved = |source| Error::Bind { addr: "the given HOST:PORT".to_owned(), source };
                let addrs = addrs.map_err(unresolved)?;
                if addrs.is_empty() {
                    return Err(unresolved(io::Error::from(ErrorKind::AddrNotAvailable)));
                }
                let bind = |addr: SocketAddr| {
                    let key = Key::Tcp(addr);
                    if let Some(Taken { sockets, is_shared, .. }) = taken(&key, None) {
                        how.compare(addr, &sockets[0]);
                        return Ok(bound(sockets, key, None, Origin::Taken { is_shared }));
                    }
                    let socket =
                        bind_tcp(addr, how).map_err(|source| Error::Bind { addr: addr.to_string(), source })?;
                    Ok(bound(vec![socket], key, None, Origin::Bound))
                };
                addrs.into_iter().map(bind).collect()
            }
            At::Unix(path) => {
                let failed = |source| Error::Bind { addr: path.display().to_string(), source };
                let key = Key::Unix(std::path::absolute(&path).map_err(failed)?);
                if let Some(Taken { sockets, file, is_shared }) = taken(&key, None) {
                    if let (Some(_), Some(file)) = (mode, &file) {
                        file.try_mode().map_err(failed)?;
                    }
                    return Ok(vec![bound(sockets, key, file, Origin::Taken { is_shared })]);
                }
                let (socket, file) = bind_unix(&path, Type::STREAM, mode).map_err(failed)?;
                Ok(vec![bound(vec![socket], key, Some(file), Origin::Bound)])
            }
            At::Given(given) => {
                let check = |given: Given| {
                    let (socket, key) = given.check()?;
                    drop(taken(&key, Some(&socket))); // the process before had it too
                    Ok(bound(vec![socket], key, None, Origin::Taken { is_shared }))
                };
                given.into_iter().map(check).collect()
            }
        }
    }
}

/// Who opened a socket.
enum Origin {
    /// This server.
    Bound,
    /// Somebody else, and others may have it.
    Taken { is_shared: bool },
}

#[cfg(test)]
mod tests;
