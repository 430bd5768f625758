//! What a place to listen at is called between processes, and what one hands over of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use socket2::Socket;

use super::file::SocketFile;

/// Where a listener is, in words that another process understands: what was asked for, such as port 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Tcp(SocketAddr),
    /// A path from the root, or the name of a socket that has no file, behind an `@`.
    Unix(PathBuf),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Tcp(addr) => addr.fmt(f),
            Key::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Sockets at one place that another process has opened.
#[derive(Debug)]
pub(crate) struct Taken {
    /// At least one.
    pub(crate) sockets: Vec<Socket>,
    /// Of those of the Unix domain, if the server has made it.
    pub(crate) file: Option<SocketFile>,
    /// A third process has them as well, as systemd does.
    pub(crate) is_shared: bool,
}
