//! What lies in the send buffer of another process's socket, asked of the kernel by its addresses (sock_diag(7)).
//!
//! Owns the netlink socket. Promises one question and one answer a call, and no wait. Refuses to know whose sockets they are.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// SOCK_DIAG_BY_FAMILY of linux/sock_diag.h, NLM_F_REQUEST of linux/netlink.h.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
/// Bytes of `nlmsghdr` and of `inet_diag_req_v2`, and where `idiag_wqueue` lies in an answer (linux/inet_diag.h).
const HEAD: usize = 16;
const QUESTION: usize = 56;
const WQUEUE: usize = HEAD + 4 + 48 + 8;
/// TCP_LISTEN of linux/tcp_states.h.
const LISTEN: u8 = 10;

/// Asks about TCP sockets of this network namespace.
pub struct Sockets(OwnedFd);

impl Sockets {
    /// Fails as socket(2) does.
    pub fn open() -> io::Result<Sockets> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us `fd`; nothing else owns it.
        Ok(Sockets(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Bytes that the socket at `local`, connected to `remote`, has taken and its peer's kernel has not acknowledged.
    pub fn unacknowledged(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<u32> {
        let question = question(local, remote)?;
        // SAFETY: the kernel reads as many bytes as there are.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), question.as_ptr().cast(), question.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answer = [0_u8; 512];
        // SAFETY: the kernel writes at most as many bytes as there are. It has answered before send(2) returned.
        let got =
            unsafe { libc::recv(self.0.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        wqueue(&answer[..got])
    }
}

fn question(local: SocketAddr, remote: SocketAddr) -> io::Result<[u8; HEAD + QUESTION]> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (local, remote) else {
        return Err(io::Error::new(ErrorKind::Unsupported, "only IPv4 is asked about"));
    };
    let mut bytes = [0; HEAD + QUESTION];
    bytes[..4].copy_from_slice(&((HEAD + QUESTION) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    let of = &mut bytes[HEAD..];
    (of[0], of[1]) = (libc::AF_INET as u8, libc::IPPROTO_TCP as u8);
    of[4..8].copy_from_slice(&u32::MAX.to_ne_bytes()); // in any state
    of[8..10].copy_from_slice(&local.port().to_be_bytes());
    of[10..12].copy_from_slice(&remote.port().to_be_bytes());
    of[12..16].copy_from_slice(&local.ip().octets());
    of[28..32].copy_from_slice(&remote.ip().octets());
    of[48..56].fill(0xFF); // INET_DIAG_NOCOOKIE
    Ok(bytes)
}

fn wqueue(answer: &[u8]) -> io::Result<u32> {
    let short = || io::Error::new(ErrorKind::InvalidData, format!("sock_diag(7) answered {} bytes", answer.len()));
    let kind = answer.get(4..6).ok_or_else(short)?;
    if kind == (libc::NLMSG_ERROR as u16).to_ne_bytes() {
        let errno = answer.get(HEAD..HEAD + 4).ok_or_else(short)?;
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(errno.try_into().expect("four bytes"))));
    }
    // Where nobody is connected so, whoever listens there is told of.
    if *answer.get(HEAD + 1).ok_or_else(short)? == LISTEN {
        return Err(io::Error::new(ErrorKind::NotFound, "no socket is connected so"));
    }
    let bytes = answer.get(WQUEUE..WQUEUE + 4).ok_or_else(short)?;
    Ok(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
}

/// Bytes that `socket` has received and nobody has read (SIOCINQ, tcp(7)).
pub fn unread(socket: &impl AsRawFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut bytes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// What was written is in one of the two sockets until it is read, and then in neither.
    #[test]
    fn bytes_are_found_where_they_lie() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut server, from) = listener.accept().expect("accept");
        server.set_nonblocking(true).expect("non-blocking");
        let here = server.local_addr().expect("address");
        let sockets = match Sockets::open().and_then(|sockets| sockets.unacknowledged(here, from).map(|_| sockets)) {
            Ok(sockets) => sockets,
            // A kernel without it.
            Err(error) => return eprintln!("nothing to ask: {error}"),
        };
        let mut written = 0;
        while let Ok(some) = server.write(&[7; 64 << 10]) {
            written += some;
        }
        let lie = || {
            let unread = unread(&client).expect("unread") as usize;
            (sockets.unacknowledged(here, from).expect("an answer") as usize, unread)
        };
        let (kept, came) = lie();
        assert!(kept > 0 && came > 0 && kept + came >= written, "{kept} and {came} of {written}");
        let mut left = written;
        let mut bytes = vec![0; 1 << 20];
        while left > 0 {
            left -= client.read(&mut bytes).expect("read");
        }
        let unread = unread(&client).expect("unread");
        assert_eq!(unread, 0);
        assert!(sockets.unacknowledged(from, here).is_ok(), "either end can be asked about");
        assert!(sockets.unacknowledged(here, "127.0.0.1:1".parse().expect("address")).is_err(), "nobody's");
    }
}
