//! Asks the kernel by experiments whether direct descriptors can be used, and whether it tells the addresses of their peers.
//!
//! Before Linux 6.13 a file that was closed in the table of fixed files is kept until every operation on any fixed file that began
//! earlier has completed, in order (axboe/liburing#1192). Each resting connection has such an operation, its receive: so a socket
//! that was closed beside it stays open, its peer never sees the end, and nothing tells. A version number would be the wrong
//! question, because distributions carry changes back and forth.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode};
use socket2::{Domain, Socket, Type};

/// Whether a socket of the fixed-file table is closed when it is told to be, although an operation on another one goes on.
///
/// The kernel is asked once a process. The answer depends on no clock: a kernel that closes at once has done so when
/// io_uring_enter(2) returns, and one that takes its time counts as one that does not close.
pub(super) fn closes_beside_operations() -> io::Result<bool> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let found = experiment()?;
    Ok(*KNOWN.get_or_init(|| found))
}

fn experiment() -> io::Result<bool> {
    const RESTING: Fixed = Fixed(0);
    const CLOSED: Fixed = Fixed(1);
    // Completions are deferred, so none of them interrupts what this thread does next.
    let mut uring: IoUring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(4)?;
    let (resting, resting_peer) = UnixStream::pair()?;
    let (closed, mut closed_peer) = UnixStream::pair()?;
    uring.submitter().register_files(&[resting.as_raw_fd(), closed.as_raw_fd()])?;
    drop((resting, closed)); // from here on the table alone holds them
    let rests = opcode::PollAdd::new(RESTING, libc::POLLIN as u32).build();
    let closes = opcode::Close::new(CLOSED).build();
    for entry in [rests.user_data(0), closes.user_data(1)] {
        // SAFETY: neither operation has memory of ours; the table outlives both, because it is the ring's.
        unsafe { uring.submission().push(&entry) }.expect("a queue of four has room for two");
    }
    uring.submit_and_wait(1)?;
    let is_closed = is_closed(&mut closed_peer);
    drop(resting_peer); // ends the poll: a ring that went with it would leave its end to a signal (TWA_SIGNAL)
    uring.submit_and_wait(2)?;
    for entry in uring.completion() {
        match (entry.user_data(), entry.result()) {
            (1, 0) => {}
            (0, events) if events > 0 => {}
            (_, error) if error < 0 => return Err(io::Error::from_raw_os_error(-error)),
            (what, result) => return Err(io::Error::other(format!("operation {what} of two ended with {result}"))),
        }
    }
    is_closed
}

/// Whether a new ring is told the address of a socket's peer that it asks for (SO_PEERNAME by IORING_OP_URING_CMD, Linux 6.7): of a socket that has no peer, that it is
/// not connected. A kernel that does not know the question says so otherwise, as does whoever forbids it. Of an error that is returned the ring is to be dropped.
pub(super) fn tells_peers(uring: &mut IoUring) -> io::Result<bool> {
    let made = [Domain::IPV4, Domain::IPV6].into_iter().find_map(|family| Socket::new(family, Type::STREAM, None).ok());
    let Some(socket) = made else { return Ok(false) };
    let mut answer = [0_u8; size_of::<libc::sockaddr_in>()];
    let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_PEERNAME as u32);
    let (fd, at) = (Fd(socket.as_raw_fd()), answer.as_mut_ptr().cast());
    let question = opcode::GetSockOpt::new(fd, level, option, at, answer.len() as u32).build();
    // SAFETY: the question completes in the call that submits it, and is waited for; the answer and the socket outlive that. A call that fails has submitted nothing,
    // and nothing is submitted to that ring again.
    unsafe { uring.submission().push(&question) }.expect("the queue of a new ring has room");
    while let Err(error) = uring.submit_and_wait(1) {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(uring.completion().next().is_some_and(|told| told.result() == -libc::ENOTCONN))
}

/// Whether this socket's other end is closed.
fn is_closed(peer: &mut UnixStream) -> io::Result<bool> {
    peer.set_nonblocking(true)?;
    match peer.read(&mut [0]) {
        Ok(0) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Ok(_) => Err(io::Error::other("a socket brought bytes that nobody sent")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 6.13 on they close at once. Of an older one nothing is asserted: its distribution may have mended it.
    #[test]
    fn the_experiment_agrees_with_the_kernels_that_are_known() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().expect("6"), numbers.next().expect("a minor version"));
        let closes = experiment().expect("io_uring is allowed");
        println!("{}: {closes}", release.trim());
        assert!(closes || version < (6, 13), "on {release}");
        assert_eq!(closes_beside_operations().expect("known"), closes);
        let mut uring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(4).expect("a ring");
        let tells = tells_peers(&mut uring).expect("an answer");
        println!("of peers: {tells}");
        assert!(tells || version < (6, 7), "on {release}");
    }
}
