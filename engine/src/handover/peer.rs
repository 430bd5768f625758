//! Who is at the other end of a connection of the Unix domain (SO_PEERCRED, unix(7)).

use std::io;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::Socket;

/// A process and its user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials {
    /// 0 of one that this process cannot see (pid_namespaces(7)).
    pub(super) pid: u32,
    uid: u32,
}

impl Credentials {
    /// It is of the user of this process.
    pub(super) fn is_ours(self) -> bool {
        self.uid == nix::unistd::geteuid().as_raw()
    }
}

/// Of whoever connected, or of whoever listened there.
pub(super) fn credentials(conn: &Socket) -> io::Result<Credentials> {
    let told = getsockopt(conn, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: told.pid().unsigned_abs(), uid: told.uid() })
}
