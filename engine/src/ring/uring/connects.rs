//! Outgoing connections: from an address to a socket of the ring.
//!
//! A socket is made as an ordinary descriptor, so that it can have options (a fixed file has none before kernel 6.7), and
//! connects (IORING_OP_CONNECT). Where sockets are ordinary descriptors that is all. Otherwise IORING_OP_FILES_UPDATE puts it into
//! a free slot of the fixed-file table and the descriptor is closed: two steps of one [`Op::Connect`](crate::ring::Op::Connect),
//! told apart by [`Connecting::connected`].
//!
//! Owns what the kernel reads and writes meanwhile, each at an address of its own. A connection attempt is rare: this may
//! allocate and search.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use slab::Slab;
use socket2::{Domain, Protocol, SockAddr, Type};

use super::descriptors::Descriptors;
use crate::ring::{Errno, Kind, Socket, Token};

/// The kernel is to choose the slot (IORING_FILE_INDEX_ALLOC of linux/io_uring.h, an all-ones 32-bit number).
const ANY_SLOT: i32 = -1;

/// One attempt. The kernel knows the addresses of the boxes.
struct Connecting {
    token: Token,
    socket: Option<OwnedFd>,
    remote: Box<SockAddr>,
    /// The descriptor to put into the table; the kernel writes the slot here.
    slot: Box<RawFd>,
    /// The first step is over.
    connected: bool,
    /// The socket could not be made.
    failed: Option<Errno>,
}

/// The attempts in flight, by key.
#[derive(Default)]
pub(super) struct Connects(Slab<Connecting>);

/// What a completion of an attempt means.
pub(super) enum Step {
    /// Submit this next.
    On(squeue::Entry),
    /// It is over: the socket, or why there is none.
    Over(Token, Result<Socket, Errno>),
}

impl Connects {
    /// The first SQE of an attempt.
    pub(super) fn begin(
        &mut self,
        token: Token,
        remote: SocketAddr,
        nodelay: bool,
        local: Option<IpAddr>,
    ) -> squeue::Entry {
        let made = make(remote, nodelay, local).map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)));
        let key = self.0.insert(Connecting {
            token,
            remote: Box::new(remote.into()),
            slot: Box::new(-1),
            connected: false,
            failed: made.as_ref().err().copied(),
            socket: made.ok().map(OwnedFd::from),
        });
        let attempt = &self.0[key];
        let entry = match &attempt.socket {
            Some(socket) => {
                opcode::Connect::new(Fd(socket.as_raw_fd()), attempt.remote.as_ptr().cast(), attempt.remote.len())
                    .build()
            }
            // Its error comes by way of the completion queue, like every other.
            None => opcode::Nop::new().build(),
        };
        entry.user_data(user_data(key))
    }

    /// Attempts in flight: each may need a slot.
    pub(super) fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// A completion of an attempt came with this result. `descriptors`: where its socket goes, if not into the fixed-file table.
    pub(super) fn on_done(&mut self, key: usize, result: i32, descriptors: Option<&mut Descriptors>) -> Step {
        let attempt = &mut self.0[key];
        let works = result >= 0 && attempt.failed.is_none();
        if works && !attempt.connected && descriptors.is_none() {
            attempt.connected = true;
            *attempt.slot = attempt.socket.as_ref().expect("it connected").as_raw_fd();
            let entry = opcode::FilesUpdate::new(&raw const *attempt.slot, 1).offset(ANY_SLOT).build();
            return Step::On(entry.user_data(user_data(key)));
        }
        let Connecting { token, socket, slot, failed, .. } = self.0.remove(key);
        let result = match (failed, descriptors) {
            (Some(errno), _) => Err(errno),
            (None, _) if result < 0 => Err(Errno(-result)),
            (None, None) => u32::try_from(*slot).map(Socket).map_err(|_| Errno(libc::ENFILE)),
            (None, Some(descriptors)) => descriptors.add(socket.expect("it connected")),
        };
        Step::Over(token, result)
    }

    /// What the kernel calls the attempt of this token while it waits for the peer; after that, what it calls nothing.
    pub(super) fn cancel_name(&self, token: Token) -> u64 {
        const NOTHING: Token = Token::new(Kind::Connect, Token::GENERATION_MASK, u32::MAX);
        let waits = self.0.iter().find(|(_, attempt)| attempt.token == token && !attempt.connected);
        waits.map_or(NOTHING.to_bits(), |(key, _)| user_data(key))
    }
}

fn user_data(key: usize) -> u64 {
    Token::new(Kind::Connect, 0, key as u32).to_bits()
}

fn make(remote: SocketAddr, nodelay: bool, local: Option<IpAddr>) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(nodelay)?;
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(socket)
}
