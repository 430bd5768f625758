//! A socket that others have opened.
//!
//! Promises that what is no listening socket of a stream is refused by what it is. Refuses to know what is set for listeners, and how it came here.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use socket2::{Domain, SockRef, Socket, Type};

use super::key::Key;
use crate::error::Error;

/// A socket that is to be looked at.
pub(crate) struct Given {
    /// What it is called in an error.
    name: String,
    /// Or what is wrong with it.
    socket: Result<OwnedFd, &'static str>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Given {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { name: format!("descriptor {}", socket.as_raw_fd()), socket: Ok(socket) }
    }

    /// The same, by another name; or what is wrong with it.
    pub(crate) fn named(name: String, socket: Result<OwnedFd, &'static str>) -> Self {
        Self { name, socket }
    }

    pub(crate) fn is_unix(&self) -> bool {
        let domain = |socket| SockRef::from(socket).domain();
        self.socket.as_ref().is_ok_and(|socket| domain(socket).is_ok_and(|domain| domain == Domain::UNIX))
    }

    /// The socket and where it is, if it is one that listens.
    pub(crate) fn check(self) -> Result<(Socket, Key), Error> {
        let refused = |source| Error::Bind { addr: self.name, source };
        let wrong = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
        match self.socket.map_err(wrong).and_then(listening) {
            Ok(found) => Ok(found),
            Err(source) => Err(refused(source)),
        }
    }
}

/// What this socket is, if it is a stream's that listens, of TCP or the Unix domain.
fn listening(socket: OwnedFd) -> io::Result<(Socket, Key)> {
    let wrong = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let socket = Socket::from(socket);
    let domain = socket.domain().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTSOCK) => wrong("it is no socket"),
        _ => error,
    })?;
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err(wrong(
            "it is a socket of another family than TCP over IPv4 or IPv6 and the Unix domain (SO_DOMAIN)",
        ));
    }
    if socket.r#type()? != Type::STREAM {
        return Err(wrong("it is a socket, and not of a stream (SO_TYPE is not SOCK_STREAM)"));
    }
    if !socket.is_listener()? {
        return Err(wrong(
            "it is a socket that does not listen (SO_ACCEPTCONN): in a unit of systemd that is Accept=yes",
        ));
    }
    // What a server that stopped has put before it: nobody could connect.
    if socket.detach_filter().is_ok() {
        tracing::debug!("a filter was taken off a listening socket");
    }
    let addr = socket.local_addr()?;
    let key = match addr.as_socket() {
        Some(addr) => Key::Tcp(addr),
        None => Key::Unix(match (addr.as_pathname(), addr.as_abstract_namespace()) {
            (Some(path), _) => path.to_owned(),
            (None, name) => PathBuf::from(format!("@{}", String::from_utf8_lossy(name.unwrap_or_default()))),
        }),
    };
    Ok((socket, key))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn refused(socket: impl Into<OwnedFd>) -> String {
        let error = Given::new(socket.into()).check().expect_err("it is nothing to accept at");
        let text = error.to_string();
        assert!(text.starts_with("cannot listen on descriptor "), "{text}");
        text
    }

    #[test]
    fn what_does_not_listen_is_told_by_what_it_is() {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listener = free();
        let addr = listener.local_addr().expect("an address");
        assert!(refused(File::open("/dev/null").expect("a file")).contains("it is no socket"));
        assert!(refused(UdpSocket::bind("127.0.0.1:0").expect("a free port")).contains("SO_TYPE"));
        assert!(refused(UnixDatagram::unbound().expect("a socket")).contains("SO_TYPE"));
        assert!(refused(TcpStream::connect(addr).expect("it listens")).contains("SO_ACCEPTCONN"));
        let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None).expect("a socket");
        assert!(refused(netlink).contains("SO_DOMAIN"));
        let (_, key) = Given::new(listener.into()).check().expect("it listens");
        assert_eq!(key, Key::Tcp(addr));
        let path = std::env::temp_dir().join(format!("wsring-given-{}", std::process::id()));
        let (_, key) =
            Given::new(UnixListener::bind(&path).expect("nobody is there").into()).check().expect("it listens");
        assert_eq!(key, Key::Unix(path.clone()));
        std::fs::remove_file(path).expect("nobody removes it");
    }
}
