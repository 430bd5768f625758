//! Sockets at one place: how they are bound, what they are called, and how many the cores get.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::file::SocketFile;
use super::key::Key;
use crate::config::Config;
use crate::error::Error;
use crate::gate::Gate;

/// How a socket of TCP is bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    pub(super) exclusive: bool,
    pub(super) ipv4_too: bool,
}

impl How {
    /// Sockets that were taken are as whoever bound them said: what is asked of them otherwise cannot be.
    pub(super) fn compare(self, addr: SocketAddr, socket: &Socket) {
        if socket.reuse_port().is_ok_and(|reuse| reuse == self.exclusive) {
            tracing::warn!(%addr, exclusive = !self.exclusive, "a socket that was handed over is shared, or exclusive, as the process before had it");
        }
        if addr.is_ipv6() && socket.only_v6().is_ok_and(|only| only == self.ipv4_too) {
            tracing::warn!(%addr, ipv4_too = !self.ipv4_too, "a socket that was handed over takes IPv4, or not, as the process before had it");
        }
    }
}

/// The sockets of a listener at one place.
#[derive(Debug)]
pub(crate) struct Bound {
    /// One, or as many as were taken.
    pub(super) sockets: Vec<Socket>,
    pub(crate) key: Key,
    pub(super) how: How,
    /// Somebody else has opened them: none is bound beside them.
    pub(crate) is_taken: bool,
    /// Others have them too: who waits there is theirs when this server goes.
    pub(crate) is_shared: bool,
    /// Of one of the Unix domain that is this server's.
    pub(crate) file: Option<Arc<SocketFile>>,
    /// That the file is to have, where it was taken and has not yet.
    pub(crate) mode: Option<u32>,
    pub(crate) gate: Gate,
}

impl Bound {
    fn socket(&self) -> &Socket {
        &self.sockets[0]
    }

    /// Its address, if it has one.
    pub(crate) fn addr(&self) -> io::Result<Option<SocketAddr>> {
        Ok(self.socket().local_addr()?.as_socket())
    }

    /// The path of its file, if it is of the Unix domain and has one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.key {
            Key::Unix(path) if path.is_absolute() => Some(path.clone()),
            _ => None,
        }
    }

    /// Sockets for so many cores: one for each of them, or those that there are.
    pub(crate) fn for_cores(mut self, cores: usize) -> Result<Vec<Socket>, Error> {
        let failed = |source, socket: &Socket| Error::Bind { addr: name_of(socket), source };
        let addr = self.addr().map_err(|error| failed(error, self.socket()))?;
        if let Some(addr) = addr.filter(|_| !self.is_taken && !self.how.exclusive) {
            for _ in 1..cores {
                let again = bind_tcp(addr, self.how).map_err(|error| failed(error, self.socket()))?;
                self.sockets.push(again);
            }
        }
        Ok(self.sockets)
    }
}

/// A socket that shares its port with those of other cores (SO_REUSEPORT, socket(7)), or with none.
pub(super) fn bind_tcp(addr: SocketAddr, how: How) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!how.exclusive)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!how.ipv4_too)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
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

/// The addresses of those that have one, with the ports the kernel chose.
pub(crate) fn addrs_of(bound: &[Bound]) -> Result<Vec<SocketAddr>, Error> {
    bound.iter().filter_map(|bound| bound.addr().transpose()).collect::<Result<_, _>>().map_err(Error::Start)
}
