//! Accepts into the fixed-file table: one operation of the engine, and how the kernel is asked.
//!
//! A slot of that table has no system call that tells its peer's address, and of an accept that goes on (multishot) the kernel writes all addresses
//! to one place. So several accepts that serve one connection each are with the kernel ([`MANY`] a listener), each with memory of its own for an
//! address, and each is submitted again when it has served. To the engine they are one that goes on; it ends when all have.
//!
//! Owns that memory, which the kernel writes until the accept completes, at an address of its own. Promises that no more of them are with the kernel than
//! the table has room for, or one: where there is no room the kernel drops whom it has accepted. Refuses to know descriptors.

use std::net::SocketAddr;

use io_uring::types::{DestinationSlot, Fd};
use io_uring::{opcode, squeue};
use socket2::{SockAddr, SockAddrStorage};

use crate::ring::{Errno, Kind, Token};

/// Accepts of a listener that are with the kernel: as many connections a pass, which is as many as a call of io_uring_enter(2) brings.
pub(super) const MANY: u32 = 16;

/// Where the kernel writes the address of whoever is accepted.
struct Place {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// The accepts of one listener.
struct Listener {
    /// The engine's operation, while it goes on.
    token: Option<Token>,
    /// Never moved: the kernel knows their addresses.
    places: Box<[Place]>,
    /// Those that are not with the kernel.
    free: Vec<u32>,
    /// Why it is ending.
    end: Option<Errno>,
}

/// The accepts of a ring whose sockets are in the fixed-file table.
pub(super) struct Accepts {
    listeners: Vec<Listener>,
}

/// What a completion means.
pub(super) enum Told {
    /// To the engine: of this operation, the slot or an error with the peer's address; whether it goes on.
    Engine(Token, Result<u32, Errno>, Option<SocketAddr>, bool),
    /// Nothing: it was one of several that end.
    Nobody,
}

impl Accepts {
    /// `many`: accepts of a listener that may be with the kernel at once.
    pub(super) fn new(listeners: usize, many: u32) -> Self {
        let listener = || Listener {
            token: None,
            places: (0..many).map(|_| Place { storage: SockAddrStorage::zeroed(), len: 0 }).collect(),
            free: (0..many).rev().collect(),
            end: None,
        };
        Self { listeners: (0..listeners).map(|_| listener()).collect() }
    }

    /// The engine's accept begins.
    pub(super) fn begin(&mut self, token: Token) {
        let listener = &mut self.listeners[token.index() as usize];
        assert!(listener.token.is_none(), "a second accept was submitted");
        (listener.token, listener.end) = (Some(token), None);
    }

    /// The next SQE of a listener's accept, if one more is to be with the kernel: `room` slots are free, of the whole table.
    pub(super) fn next(&mut self, listener: u32, fd: Fd, room: u32) -> Option<squeue::Entry> {
        let Listener { token: Some(_), places, free, end: None } = &mut self.listeners[listener as usize] else {
            return None;
        };
        let armed = places.len() - free.len();
        if armed > 0 && armed >= room as usize {
            return None;
        }
        let number = free.pop()?;
        let place = &mut places[number as usize];
        place.len = size_of::<SockAddrStorage>() as libc::socklen_t;
        let accept = opcode::Accept::new(fd, (&raw mut place.storage).cast(), &raw mut place.len)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        Some(accept.user_data(Token::new(Kind::Accept, number, listener).to_bits()))
    }

    /// The engine cancels its accept: none is submitted any more.
    pub(super) fn cancel(&mut self, listener: u32) {
        let listener = &mut self.listeners[listener as usize];
        listener.end = listener.end.or(Some(Errno(libc::ECANCELED)));
    }

    /// A completion came with this result. Second: the others of its listener are to be cancelled.
    pub(super) fn on_done(&mut self, name: Token, result: i32) -> (Told, bool) {
        let Listener { token, places, free, end } = &mut self.listeners[name.index() as usize];
        let number = name.generation();
        free.push(number);
        let is_last = free.len() == places.len();
        let engine = token.expect("an accept completed that nobody began");
        if let Ok(slot) = u32::try_from(result) {
            let peer = address(&mut places[number as usize]);
            let goes_on = end.is_none() || !is_last;
            if !goes_on {
                *token = None;
            }
            return (Told::Engine(engine, Ok(slot), peer, goes_on), false);
        }
        let errno = Errno(-result);
        let is_of_one = matches!(errno.0, libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN);
        if end.is_none() && is_of_one {
            return (Told::Engine(engine, Err(errno), None, true), false);
        }
        let was_going_on = end.is_none();
        let end = *end.get_or_insert(errno);
        if !is_last {
            return (Told::Nobody, was_going_on);
        }
        *token = None;
        (Told::Engine(engine, Err(end), None, false), false)
    }

    /// Nothing of this may go any more: the kernel may yet write to it.
    pub(super) fn keep_for_ever(&mut self) {
        std::mem::forget(std::mem::take(&mut self.listeners));
    }
}

/// The address that the kernel has written; none of a peer that has none.
fn address(place: &mut Place) -> Option<SocketAddr> {
    let len = place.len.min(size_of::<SockAddrStorage>() as libc::socklen_t);
    // SAFETY: the storage began as zeros, and the kernel wrote a socket address of `len` bytes there (accept(2)) before it completed the accept that
    // this is read for; the place is not with the kernel now.
    unsafe { SockAddr::new(std::mem::replace(&mut place.storage, SockAddrStorage::zeroed()), len) }.as_socket()
}
