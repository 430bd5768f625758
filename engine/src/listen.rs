//! Where a server listens, and what holds for who comes there: [`Listener`].
//!
//! Owns the sockets before they are a ring's: how they are bound, for each core, and the files of those of the Unix domain. Promises that a file
//! which somebody listens at is never taken away, and that one which nobody does is no hindrance. Refuses to know cores and connections.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wsring_proto::forwarded::Field;
use wsring_proto::prefix::Prefix;

use crate::config::Config;
use crate::error::Error;
#[cfg(feature = "tls")]
use crate::gate::Speaks;
use crate::gate::{Forwarders, Gate, ProxyProtocol};

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
    gate: Gate,
}

/// How a socket of TCP is bound.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    exclusive: bool,
    ipv4_too: bool,
}

#[derive(Debug)]
enum At {
    Tcp(io::Result<Vec<SocketAddr>>),
    Unix(PathBuf),
}

impl Listener {
    /// At every address that `addr` resolves to, now. Port 0 takes a free one. The port is shared with other cores and other servers of the same user
    /// (SO_REUSEPORT, socket(7)), unless it is [exclusive](Self::exclusive).
    pub fn tcp(addr: impl ToSocketAddrs) -> Self {
        Self::at(At::Tcp(addr.to_socket_addrs().map(Iterator::collect)))
    }

    /// At a socket of the Unix domain (unix(7)), which all cores accept from. Its path has at most 107 bytes. A socket's file that is there and at which
    /// nobody listens any more is replaced; one at which somebody does is an error, and so is a file that is no socket. When the server has ended,
    /// the file is removed, if it is still its own.
    ///
    /// Who connects there has no address ([`Peer::addr`](crate::Peer::addr)), and who may, says the [mode](Self::mode) of the file.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(At::Unix(path.into()))
    }

    fn at(at: At) -> Self {
        Self { at, how: How::default(), mode: None, gate: Gate::default() }
    }

    /// Takes the port for this server alone: it is bound without SO_REUSEPORT, so that no other process shares it, of the same user either, and a second server that is
    /// started by mistake fails with [`Error::Bind`]; so does this one if somebody has the port. Default: no, so that a new version of a program can
    /// take over from the old one.
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

    /// Who may connect to a Unix-domain socket, as chmod(1) says it: `0o660` for owner and group. It holds before anybody can connect. Default: what
    /// the umask leaves. No effect on TCP.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether connections begin with a PROXY header, which tells for whom a proxy has connected. Default [`ProxyProtocol::Refused`].
    ///
    /// Where it is required the handler is told of the client as [`Opening::peer`](crate::Opening::peer) and [`Conn::peer`](crate::Conn::peer), and of the proxy
    /// as `via`. A header that speaks for the proxy itself (LOCAL), or tells no address of TCP (UNKNOWN, UNSPEC), leaves the proxy as the peer. Behind one that tells no address
    /// nobody's [field](Self::trust_forwarded) is believed: the proxy may have passed it on as its client wrote it. The header must have come within the
    /// [`handshake_timeout`](Config::handshake_timeout), TLS and the request included; while it has not, its connection counts as one that has asked for nothing.
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
        let unaddressed = matches!(self.at, At::Unix(_));
        self.gate.forwarders = Some(Forwarders { field, from: from.into_iter().collect(), unaddressed });
        self
    }

    /// Speaks TLS here, by this configuration instead of that of [`Config::tls`], which says more.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.gate.speaks = Speaks::Tls(config);
        self
    }

    /// Speaks no TLS here, whatever [`Config::tls`] says.
    #[cfg(feature = "tls")]
    pub fn without_tls(mut self) -> Self {
        self.gate.speaks = Speaks::Plain;
        self
    }

    /// Binds its sockets.
    pub(crate) fn bind(self) -> Result<Vec<Bound>, Error> {
        #[cfg(feature = "tls")]
        if let Speaks::Tls(tls) = &self.gate.speaks {
            Config::default().tls(Arc::clone(tls)).check()?;
        }
        let (gate, how) = (self.gate, self.how);
        match self.at {
            At::Tcp(addrs) => {
                let unresolved = |source| Error::Bind { addr: "the given HOST:PORT".to_owned(), source };
                let addrs = addrs.map_err(unresolved)?;
                if addrs.is_empty() {
                    return Err(unresolved(io::Error::from(ErrorKind::AddrNotAvailable)));
                }
                let bind = |addr: SocketAddr| {
                    let socket =
                        bind_tcp(addr, how).map_err(|source| Error::Bind { addr: addr.to_string(), source })?;
                    Ok(Bound { socket, how, file: None, gate: gate.clone() })
                };
                addrs.into_iter().map(bind).collect()
            }
            At::Unix(path) => match bind_unix(&path, self.mode) {
                Ok((socket, file)) => Ok(vec![Bound { socket, how, file: Some(Arc::new(file)), gate }]),
                Err(source) => Err(Error::Bind { addr: path.display().to_string(), source }),
            },
        }
    }
}

/// A socket of a listener.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Socket,
    how: How,
    /// Of one of the Unix domain.
    pub(crate) file: Option<Arc<SocketFile>>,
    pub(crate) gate: Gate,
}

impl Bound {
    /// Its address, if it has one.
    pub(crate) fn addr(&self) -> io::Result<Option<SocketAddr>> {
        Ok(self.socket.local_addr()?.as_socket())
    }

    /// A socket at the same place for another core: one of its own, or the same.
    pub(crate) fn again(&self) -> Result<Socket, Error> {
        let again = match self.addr() {
            Ok(Some(addr)) if !self.how.exclusive => bind_tcp(addr, self.how),
            Ok(_) => self.socket.try_clone(),
            Err(error) => Err(error),
        };
        again.map_err(|source| Error::Bind { addr: name_of(&self.socket), source })
    }
}

/// A socket that shares its port with those of other cores (SO_REUSEPORT, socket(7)), or with none.
fn bind_tcp(addr: SocketAddr, how: How) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!how.exclusive)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!how.ipv4_too)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// A socket that listens at this path. At once: one that is bound and does not listen looks like one that nobody has any more.
fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<(Socket, SocketFile)> {
    let addr = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_nobodys(path, &addr)? => {
            fs::remove_file(path)?;
            socket.bind(&addr)?;
        }
        bound => bound?,
    }
    let file = SocketFile::new(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(Config::default().backlog as i32)?;
    Ok((socket, file))
}

/// Whether the file at this path is a socket's at which nobody listens.
fn is_nobodys(path: &Path, addr: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let asks = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    asks.set_nonblocking(true)?; // a full queue is somebody's
    Ok(asks.connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// The file of a Unix-domain socket, removed with this unless it is another's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), is: identity(path)? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|is| is == self.is) {
            let _ = fs::remove_file(&self.path); // whoever listens here next replaces it
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// What a bound socket is called in an error.
pub(crate) fn name_of(socket: &Socket) -> String {
    let addr = socket.local_addr().ok();
    let path = addr.as_ref().and_then(|addr| addr.as_pathname().map(|path| path.display().to_string()));
    let addr = addr.as_ref().and_then(SockAddr::as_socket).map(|addr| addr.to_string());
    addr.or(path).unwrap_or_else(|| "a socket without an address".to_owned())
}

/// Makes a bound socket listen as configured.
pub(crate) fn listen(socket: &Socket, config: &Config) -> io::Result<()> {
    let is_tcp = !socket.local_addr()?.is_unix();
    // Inherited by accepted sockets: no call is made for each, and of a fixed file none could be before Linux 6.7.
    if is_tcp {
        socket.set_tcp_nodelay(config.nodelay)?;
    }
    if let Some(bytes) = config.topics.socket_send_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = config.topics.socket_unsent_bytes.filter(|_| is_tcp) {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))
}

/// The listeners of a server that starts.
pub(crate) struct Listening {
    /// Of each core those of all listeners, in their order.
    pub(crate) sockets: Vec<Vec<Socket>>,
    pub(crate) gates: Arc<[Gate]>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) files: Vec<Arc<SocketFile>>,
}

impl Listening {
    /// Nothing, on so many cores.
    pub(crate) fn nowhere(cores: usize) -> Self {
        let sockets = (0..cores).map(|_| Vec::new()).collect();
        Self { sockets, gates: Gate::plain(0), addrs: Vec::new(), files: Vec::new() }
    }

    /// At these, on so many cores, at least one.
    pub(crate) fn at(bound: Vec<Bound>, cores: usize) -> Result<Self, Error> {
        let mut sockets = vec![];
        for _ in 1..cores {
            sockets.push(bound.iter().map(Bound::again).collect::<Result<_, _>>()?);
        }
        let addrs = addrs_of(&bound)?;
        let files = bound.iter().filter_map(|bound| bound.file.clone()).collect();
        let (first, gates): (Vec<_>, Vec<_>) = bound.into_iter().map(|bound| (bound.socket, bound.gate)).unzip();
        sockets.insert(0, first);
        Ok(Self { sockets, gates: gates.into(), addrs, files })
    }
}

/// The addresses of those that have one, with the ports the kernel chose.
pub(crate) fn addrs_of(bound: &[Bound]) -> Result<Vec<SocketAddr>, Error> {
    bound.iter().filter_map(|bound| bound.addr().transpose()).collect::<Result<_, _>>().map_err(Error::Start)
}

#[cfg(test)]
mod tests;
