//! Accepts into the fixed-file table: one operation of the engine, and how the kernel is asked.
//!
//! A slot of that table has no system call that tells its peer's address, and of an accept that goes on (multishot) the kernel writes all addresses
//! to one place. So several accepts that serve one connection each are with the kernel ([`MANY`] a ring, shared by its listeners), each with memory of its own for an
//! address, and each is submitted again when it has served. To the engine they are one that goes on; it ends when all have.
//!
//! Owns that memory, which the kernel writes until the accept completes, at an address of its own. Refuses to know descriptors, and how much room there is:
//! where there is none the kernel drops whom it has accepted, so no more of them are to be with the kernel than the table has room for.

use std::net::SocketAddr;

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd};
use io_uring::{opcode, squeue};
use socket2::{SockAddr, SockAddrStorage};

use crate::ring::{Errno, Kind, Token};

/// Accepts that are with the kernel, of all listeners together, each of which has at least one: as many connections a pass, which is as many as a call of
/// io_uring_enter(2) brings. No more, so that those of listeners where nobody comes never hold the last slots that another's connections need.
pub(super) const MANY: u32 = 16;

/// IORING_ACCEPT_POLL_FIRST, io_uring_enter(2), since Linux 6.10: slots of the table are used from 6.13 on.
const POLL_FIRST: u16 = 1 << 2;

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

/// Has the kernel look whether anybody waits before it tries to accept. A try makes a socket, an inode and a file before it finds nobody, and frees them
/// again; and an accept that is submitted because one has served finds nobody as a rule.
fn poll_first(mut accept: squeue::Entry) -> squeue::Entry {
    const _: () = assert!(size_of::<squeue::Entry>() == 64);
    // SAFETY: an `Entry` is one SQE of the kernel's interface (`repr(C)`, of that size), plain integers; `ioprio` is bytes 2 and 3 of each, aligned, where an accept
    // has its flags. The crate names no setter for it. A wrong place would fail every test of `tests/loopback` that accepts.
    unsafe { (&raw mut accept).cast::<u16>().add(1).write(POLL_FIRST) };
    accept
}

impl Accepts {
    /// `many`: accepts that may be with the kernel at once, if there are not more listeners.
    pub(super) fn new(listeners: usize, many: u32) -> Self {
        let many = (many / listeners.max(1) as u32).max(1);
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

    /// Accepts of all listeners that are with the kernel.
    pub(super) fn armed(&self) -> u32 {
        self.listeners.iter().map(|listener| (listener.places.len() - listener.free.len()) as u32).sum()
    }

    /// The listener that goes on accepting and has the fewest accepts with the kernel, fewer than it may have, of those that are open.
    pub(super) fn neediest<T>(&self, open: impl Fn(u32) -> Option<T>) -> Option<(u32, T)> {
        let goes_on = |listener: &Listener| listener.token.is_some() && listener.end.is_none();
        let short =
            self.listeners.iter().zip(0..).filter(|(listener, _)| goes_on(listener) && !listener.free.is_empty());
        let open = short.filter_map(|(listener, number)| Some((listener, number, open(number)?)));
        let neediest = open.max_by_key(|(listener, number, _)| (listener.free.len(), u32::MAX - number));
        neediest.map(|(_, number, socket)| (number, socket))
    }

    /// The next SQE of a listener's accept, if there is room for one more.
    pub(super) fn next(&mut self, listener: u32, fd: Fd, has_room: bool) -> Option<squeue::Entry> {
        let Listener { token: Some(_), places, free, end: None } = &mut self.listeners[listener as usize] else {
            return None;
        };
        let number = free.pop_if(|_| has_room)?;
        let place = &mut places[number as usize];
        place.len = size_of::<SockAddrStorage>() as libc::socklen_t;
        let accept = opcode::Accept::new(fd, (&raw mut place.storage).cast(), &raw mut place.len)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        Some(poll_first(accept).user_data(Token::new(Kind::Accept, number, listener).to_bits()))
    }

    /// The engine cancels its accept: none is submitted any more. If none is with the kernel, what is to be submitted for a last completion.
    pub(super) fn cancel(&mut self, listener: u32) -> Option<squeue::Entry> {
        let owner = &mut self.listeners[listener as usize];
        owner.end = owner.end.or(Some(Errno(libc::ECANCELED)));
        let is_last = owner.free.len() == owner.places.len();
        if is_last && owner.token.is_some() { self.last(listener) } else { None }
    }

    /// All end, and none is submitted any more: the ring goes.
    pub(super) fn end(&mut self) {
        self.listeners.iter_mut().for_each(|listener| listener.end = Some(Errno(libc::ECANCELED)));
    }

    /// What brings one more completion, which is an error (ENOENT).
    fn last(&mut self, listener: u32) -> Option<squeue::Entry> {
        let number = self.listeners[listener as usize].free.pop()?;
        let nothing = AsyncCancel2::new(CancelBuilder::user_data(u64::MAX)).build();
        Some(nothing.user_data(Token::new(Kind::Accept, number, listener).to_bits()))
    }

    /// A completion came with this result: what to tell, whether the others of its listener are to be cancelled, and what to submit.
    pub(super) fn on_done(&mut self, name: Token, result: i32) -> (Told, bool, Option<squeue::Entry>) {
        let Listener { token, places, free, end } = &mut self.listeners[name.index() as usize];
        let number = name.generation();
        free.push(number);
        let is_last = free.len() == places.len();
        let engine = token.expect("an accept completed that nobody began");
        if let Ok(slot) = u32::try_from(result) {
            let peer = address(&mut places[number as usize]);
            // Behind it comes the end, of which the error has not been told.
            let last = if end.is_some() && is_last { self.last(name.index()) } else { None };
            return (Told::Engine(engine, Ok(slot), peer, true), false, last);
        }
        let errno = Errno(-result);
        let is_of_one = matches!(errno.0, libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN);
        if end.is_none() && is_of_one {
            return (Told::Engine(engine, Err(errno), None, true), false, None);
        }
        let was_going_on = end.is_none();
        let why = *end.get_or_insert(errno);
        if is_last {
            *token = None;
            return (Told::Engine(engine, Err(why), None, false), false, None);
        }
        // The first is told at the end, which it is; each of the others has lost somebody too.
        let is_lost = !was_going_on && !matches!(errno.0, libc::ECANCELED | libc::ENOENT);
        let told = if is_lost { Told::Engine(engine, Err(errno), None, true) } else { Told::Nobody };
        (told, was_going_on, None)
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
