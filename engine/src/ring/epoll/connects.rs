//! Connections that we make: from an address to a socket that is watched.
//!
//! A socket connects while it is watched, and has its place from the start. Promises that each attempt is told once: by its socket, by the
//! errno of connect(2), or by ECANCELED; and that an attempt that failed leaves nothing behind.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Type};

use super::watch::TO_READ_AND_WRITE;
use super::{Epoll, errno_of};
use crate::ring::{Done, Errno, Socket, Token};

impl Epoll {
    pub(super) fn connect(&mut self, token: Token, remote: SocketAddr, nodelay: bool, local: Option<IpAddr>) {
        if let Err(error) = self.begin_connect(token, remote, nodelay, local) {
            self.tell(token, Done::Connected { result: Err(errno_of(&error)) });
        }
    }

    /// Makes a socket and has it connect. It is told when it has, or why not.
    fn begin_connect(
        &mut self,
        token: Token,
        remote: SocketAddr,
        nodelay: bool,
        local: Option<IpAddr>,
    ) -> io::Result<()> {
        if !self.sockets.has_room() {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        }
        self.calls += 4;
        let socket =
            socket2::Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(nodelay)?;
        if let Some(local) = local {
            socket.bind(&SocketAddr::new(local, 0).into())?;
            self.calls += 1;
        }
        match socket.connect(&remote.into()) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => return Err(error),
            _ => {}
        }
        let (key, name) = self.sockets.add(socket);
        let sock = self.sockets.get(key);
        (sock.connecting, sock.watches_room) = (Some(token), true);
        if let Err(error) = self.watch.add(&sock.socket, name, TO_READ_AND_WRITE) {
            self.sockets.remove(key);
            return Err(error);
        }
        self.connects.push((token, key));
        Ok(())
    }

    /// Something is told of a socket that connects: connect(2), EINPROGRESS.
    #[cold]
    pub(super) fn on_connecting(&mut self, key: u32) {
        let sock = self.sockets.get(key);
        self.calls += 2;
        let result = match sock.socket.take_error() {
            Ok(Some(error)) | Err(error) => Err(errno_of(&error)),
            // It was told of something else, such as a time that the kernel tries again.
            Ok(None) if sock.socket.peer_addr().is_err() => return,
            Ok(None) => Ok(Socket(key)),
        };
        let Some(token) = sock.connecting.take() else { return };
        self.connects.retain(|(connect, _)| *connect != token);
        if result.is_err() {
            self.sockets.remove(key);
        }
        self.tell(token, Done::Connected { result });
    }

    /// Ends an attempt that goes on.
    pub(super) fn cancel_connect(&mut self, target: Token) {
        if let Some(at) = self.connects.iter().position(|(token, _)| *token == target) {
            let (_, key) = self.connects.swap_remove(at);
            self.calls += 1;
            self.sockets.remove(key);
            self.tell(target, Done::Connected { result: Err(Errno(libc::ECANCELED)) });
        }
    }
}
