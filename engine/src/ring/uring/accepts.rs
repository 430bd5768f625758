//! Accepts into the fixed-file table: one operation of the engine, and how the kernel is asked.
//!
//! A slot of that table has no system call that tells its peer's address. Where there is room for all that may wait, one accept that goes on (multishot) is with the
//! kernel for each listener. It writes all addresses to one place, so of those that it serves in one call of io_uring_enter(2) the last has its address there, and
//! for the others the kernel is asked ([`questions`](super::questions)). Where there is less room, or the kernel does not answer, several accepts that serve one connection
//! each are with it ([`MANY`] a ring, shared by its listeners), each with memory of its own for an address, and each is submitted again when it has served.
//! A listener has the one or the others with the kernel, never both. To the engine they are one that goes on; it ends when all have, and all questions are answered.
//!
//! Owns that memory, which the kernel writes until the accept completes, at an address of its own. Refuses to know descriptors, and how much room there is:
//! where there is none the kernel drops whom it has accepted, so no more of them are to be with the kernel than the table has room for.

use std::net::{SocketAddr, TcpListener};

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd};
use io_uring::{cqueue, opcode, squeue};
use socket2::{Domain, SockRef};

use super::questions::{Place, Questions, VACANT};
use crate::ring::{Errno, Kind, Token};

/// Accepts that are with the kernel, of all listeners together, each of which has at least one: as many connections a pass, which is as many as a call of
/// io_uring_enter(2) brings. No more, so that those of listeners where nobody comes never hold the last slots that another's connections need.
pub(super) const MANY: u32 = 16;

/// IORING_ACCEPT_MULTISHOT and IORING_ACCEPT_POLL_FIRST, io_uring_enter(2), the second since Linux 6.10: slots of the table are used from 6.13 on.
const MULTISHOT: u16 = 1;
const POLL_FIRST: u16 = 1 << 2;

/// The numbers of accepts that serve one connection are lower, those of questions higher.
const GOES_ON: u32 = MANY;
const QUESTIONS: u32 = GOES_ON + 1;

/// A listener's accept that goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Many {
    No,
    /// It is with the kernel.
    Armed,
    /// It is being cancelled, because others are to serve in its place.
    Leaving,
}

/// An accept is found by the next cancel that is submitted behind it, because it waits by then.
const CANCELS_MAX: u8 = 4;

/// The accepts of one listener.
struct Listener {
    /// The engine's operation, while it goes on.
    token: Option<Token>,
    /// Bytes of its peers' addresses, which all have the same family; none if they have no address (unix(7)).
    address_bytes: Option<u32>,
    /// Never moved: the kernel knows their addresses. The accept that goes on has the first.
    places: Box<[Place]>,
    /// Those that are not with the kernel for one connection.
    free: Vec<u32>,
    many: Many,
    /// What is submitted next goes on.
    wants_many: bool,
    /// The last that the accept which goes on has served, if it has not been told yet.
    known: Option<(u32, SocketAddr)>,
    /// Whose address has been asked for, or is to be, and is not known yet.
    asked: u32,
    /// Why it is ending, and how often those with the kernel have been cancelled for that.
    end: Option<Errno>,
    cancels: u8,
}

/// The accepts of a ring whose sockets are in the fixed-file table.
pub(super) struct Accepts {
    listeners: Vec<Listener>,
    questions: Questions,
    /// Whether the kernel answers them.
    answers: bool,
}

/// What a completion means.
pub(super) enum Told {
    /// To the engine: of this operation, the slot or an error with the peer's address; whether it goes on.
    Engine(Token, Result<u32, Errno>, Option<SocketAddr>, bool),
    /// To the engine: a connection ended before it was told who it is, or that is not to be known, with this error. Its slot is to be closed.
    Gone(Token, u32, Errno),
    /// Nothing yet.
    Nobody,
}

/// Sets flags of an accept.
fn with_flags(mut accept: squeue::Entry, flags: u16) -> squeue::Entry {
    const _: () = assert!(size_of::<squeue::Entry>() == 64);
    // SAFETY: an `Entry` is one SQE of the kernel's interface (`repr(C)`, of that size), plain integers; `ioprio` is bytes 2 and 3 of each, aligned, where an accept
    // has its flags. The crate names no setter for it. A wrong place would fail every test of `tests/loopback` that accepts.
    unsafe { (&raw mut accept).cast::<u16>().add(1).write(flags) };
    accept
}

impl Listener {
    /// The engine's operation goes on.
    fn goes_on(&self) -> bool {
        self.token.is_some() && self.end.is_none()
    }

    /// None that serves one connection is with the kernel.
    fn has_all(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Nothing more comes of it by itself.
    fn is_idle(&self) -> bool {
        self.has_all() && self.many == Many::No && self.asked == 0
    }

    /// The kernel has accepted somebody since the place was looked at: it sets the length.
    fn has_news(&self) -> bool {
        // SAFETY: the place is this listener's, aligned and initialised; the kernel, which has its address, writes it while io_uring_enter(2) runs.
        self.many != Many::No && unsafe { (&raw const self.places[0].len).read_volatile() } != VACANT
    }

    /// An accept of one of its places. The kernel looks whether anybody waits before it tries to accept: a try makes a socket, an inode and a file before it finds
    /// nobody, and frees them again; and an accept that is submitted because one has served finds nobody as a rule. And of one that goes on nothing is done
    /// before the kernel has found that it can wait for more, which it then does on this thread.
    fn accept(&mut self, fd: Fd, number: u32, flags: u16) -> squeue::Entry {
        let Place { storage, len } = &mut self.places[number as usize];
        *len = VACANT;
        let (storage, len) = match self.address_bytes {
            Some(_) => ((&raw mut *storage).cast(), &raw mut *len),
            None => (std::ptr::null_mut(), std::ptr::null_mut()),
        };
        let slot = DestinationSlot::auto_target();
        with_flags(opcode::Accept::new(fd, storage, len).file_index(Some(slot)).build(), flags | POLL_FIRST)
    }
}

impl Accepts {
    /// `address_bytes`: by listener, how long its peers' addresses are, if they have any. `many`: accepts of one connection that may be with the kernel at once, if there
    /// are not more listeners. `answers`: the kernel tells the address of a slot, and completes nothing but in io_uring_enter(2).
    pub(super) fn new(address_bytes: impl ExactSizeIterator<Item = Option<u32>>, many: u32, answers: bool) -> Self {
        assert!(many <= MANY, "those that serve one have the lowest numbers");
        let many = (many / address_bytes.len().max(1) as u32).max(1);
        let listener = |address_bytes| Listener {
            token: None,
            address_bytes,
            places: (0..many).map(|_| Place::default()).collect(),
            free: (0..many).rev().collect(),
            many: Many::No,
            wants_many: false,
            known: None,
            asked: 0,
            end: None,
            cancels: 0,
        };
        Self { listeners: address_bytes.map(listener).collect(), questions: Questions::default(), answers }
    }

    /// A completion of this name is the answer to a question: no socket has come.
    pub(super) fn is_answer(name: Token) -> bool {
        name.generation() >= QUESTIONS
    }

    /// The engine's accept begins.
    pub(super) fn begin(&mut self, token: Token) {
        let listener = &mut self.listeners[token.index() as usize];
        assert!(listener.token.is_none(), "a second accept was submitted");
        (listener.token, listener.end, listener.cancels) = (Some(token), None, 0);
    }

    /// Accepts of one connection, of all listeners, that are with the kernel.
    pub(super) fn armed(&self) -> u32 {
        self.listeners.iter().map(|listener| (listener.places.len() - listener.free.len()) as u32).sum()
    }

    /// Has one accept that goes on with the kernel for each listener of which that is wanted, and none for others, and says what to submit next for that.
    /// `own`: the name of what nobody is told of.
    pub(super) fn turn(&mut self, listener: u32, fd: Fd, wants_many: bool, own: Token) -> Option<squeue::Entry> {
        let name = Token::new(Kind::Accept, GOES_ON, listener).to_bits();
        let owner = &mut self.listeners[listener as usize];
        owner.wants_many = wants_many && self.answers;
        match owner.many {
            Many::No if owner.wants_many && owner.goes_on() && owner.has_all() => {
                owner.many = Many::Armed;
                Some(owner.accept(fd, 0, MULTISHOT).user_data(name))
            }
            Many::Armed if !owner.wants_many && owner.goes_on() => {
                owner.many = Many::Leaving;
                Some(AsyncCancel2::new(CancelBuilder::user_data(name)).build().user_data(own.to_bits()))
            }
            _ => None,
        }
    }

    /// The listener that goes on accepting one by one and has the fewest accepts with the kernel, fewer than it may have, of those that are open.
    pub(super) fn neediest<T>(&self, open: impl Fn(u32) -> Option<T>) -> Option<(u32, T)> {
        let is_short = |listener: &Listener| {
            let one_by_one = listener.many == Many::No && !listener.wants_many;
            one_by_one && listener.goes_on() && !listener.free.is_empty()
        };
        let short = self.listeners.iter().zip(0..).filter(|(listener, _)| is_short(listener));
        let open = short.filter_map(|(listener, number)| Some((listener, number, open(number)?)));
        let neediest = open.max_by_key(|(listener, number, _)| (listener.free.len(), u32::MAX - number));
        neediest.map(|(_, number, socket)| (number, socket))
    }

    /// The next SQE of a listener's accept of one connection, if there is room for one more.
    pub(super) fn next(&mut self, listener: u32, fd: Fd, has_room: bool) -> Option<squeue::Entry> {
        let owner = &mut self.listeners[listener as usize];
        let number = owner.free.pop_if(|_| has_room)?;
        Some(owner.accept(fd, number, 0).user_data(Token::new(Kind::Accept, number, listener).to_bits()))
    }

    /// The next question for an address, if there is one and the kernel does not have as many as it may.
    pub(super) fn next_question(&mut self) -> Option<squeue::Entry> {
        self.questions.next(|listener, number| Token::new(Kind::Accept, QUESTIONS + number, listener))
    }

    /// Somebody was accepted since it was last looked, by an accept that goes on.
    pub(super) fn has_news(&self) -> bool {
        self.listeners.iter().any(Listener::has_news)
    }

    /// Looks at the addresses that the kernel has written. `come`: all completions that have come since that was last done, and no other is on its way.
    #[cold]
    pub(super) fn name_the_last(&mut self, come: &[cqueue::Entry]) {
        for (listener, index) in self.listeners.iter_mut().zip(0..).filter(|(listener, _)| listener.has_news()) {
            let name = Token::new(Kind::Accept, GOES_ON, index).to_bits();
            let Some(last) = come.iter().rev().find(|entry| entry.user_data() == name) else { continue };
            let place = &mut listener.places[0];
            let peer = place.address(place.len);
            place.len = VACANT;
            // Of an error it is not known whom the address was of. Who was known before and is not told yet is asked for.
            if let (Ok(slot), Some(peer)) = (u32::try_from(last.result()), peer) {
                listener.known = Some((slot, peer));
            }
        }
    }

    /// The engine cancels its accept: none is submitted any more. If none is with the kernel, what is to be submitted for a last completion.
    pub(super) fn cancel(&mut self, listener: u32) -> Option<squeue::Entry> {
        let owner = &mut self.listeners[listener as usize];
        owner.end = owner.end.or(Some(Errno(libc::ECANCELED)));
        if owner.is_idle() && owner.token.is_some() { self.last(listener) } else { None }
    }

    /// A cancel has completed. A listener that is ending with accepts that it has not found: one that the kernel was about to try when the cancel came, with nobody left to accept,
    /// waits behind it. It is to be cancelled again; a few times at most.
    pub(super) fn left_behind(&mut self) -> Option<u32> {
        let ends = |listener: &Listener| listener.token.is_some() && listener.end.is_some() && listener.asked == 0;
        let left = |listener: &Listener| ends(listener) && !listener.is_idle() && listener.cancels < CANCELS_MAX;
        let at = self.listeners.iter().position(left)?;
        self.listeners[at].cancels += 1;
        Some(at as u32)
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

    /// A connection of this slot is told; if its accept has ended and nothing else comes, what brings the end behind it, of which the error has not been told.
    fn told(&mut self, index: u32, slot: u32, peer: Option<SocketAddr>) -> (Told, bool, Option<squeue::Entry>) {
        let listener = &self.listeners[index as usize];
        let engine = listener.token.expect("an accept completed that nobody began");
        let is_last = listener.end.is_some() && listener.is_idle();
        (Told::Engine(engine, Ok(slot), peer, true), false, if is_last { self.last(index) } else { None })
    }

    /// A completion came with this result, and whether another one of the same accept follows: what to tell, whether the others of its listener are to be
    /// cancelled, and what to submit.
    pub(super) fn on_done(&mut self, name: Token, result: i32, more: bool) -> (Told, bool, Option<squeue::Entry>) {
        let (number, index) = (name.generation(), name.index());
        match number {
            GOES_ON => return self.on_served(index, result, more),
            QUESTIONS.. => return self.on_answer(index, number - QUESTIONS, result),
            _ => {}
        }
        let listener = &mut self.listeners[index as usize];
        listener.free.push(number);
        match u32::try_from(result) {
            Ok(slot) => {
                let place = &mut listener.places[number as usize];
                let peer = listener.address_bytes.and_then(|_| place.address(place.len));
                self.told(index, slot, peer)
            }
            Err(_) => self.on_error(index, Errno(-result)),
        }
    }

    /// The same, of one that goes on.
    fn on_served(&mut self, index: u32, result: i32, more: bool) -> (Told, bool, Option<squeue::Entry>) {
        let listener = &mut self.listeners[index as usize];
        let was_leaving = listener.many == Many::Leaving;
        if !more {
            listener.many = Many::No;
        }
        match u32::try_from(result) {
            Ok(slot) => {
                let known = listener.known.take_if(|(known, _)| *known == slot).map(|(_, peer)| peer);
                if known.is_some() || listener.address_bytes.is_none() {
                    return self.told(index, slot, known);
                }
                listener.asked += 1;
                self.questions.add(index, slot, listener.address_bytes.unwrap_or(0));
                (Told::Nobody, false, None)
            }
            // Others serve in its place.
            Err(_) if was_leaving && result == -libc::ECANCELED && listener.end.is_none() => {
                (Told::Nobody, false, None)
            }
            Err(_) => self.on_error(index, Errno(-result)),
        }
    }

    /// An address, or why it is not known.
    fn on_answer(&mut self, index: u32, number: u32, result: i32) -> (Told, bool, Option<squeue::Entry>) {
        let (slot, place) = self.questions.on_answer(number);
        let peer = u32::try_from(result).ok().and_then(|len| place.address(len));
        let listener = &mut self.listeners[index as usize];
        listener.asked -= 1;
        if peer.is_some() {
            return self.told(index, slot, peer);
        }
        // Whoever is gone has none. Where the kernel answered once and does not now, somebody forbids it: that is asked no more.
        self.answers &= result == -libc::ENOTCONN;
        let (told, others, next) = self.told(index, slot, None);
        match told {
            Told::Engine(engine, ..) => {
                let errno = if result == -libc::ENOTCONN { libc::ECONNABORTED } else { -result };
                (Told::Gone(engine, slot, Errno(errno)), others, next)
            }
            told => (told, others, next),
        }
    }

    fn on_error(&mut self, index: u32, errno: Errno) -> (Told, bool, Option<squeue::Entry>) {
        let listener = &mut self.listeners[index as usize];
        let engine = listener.token.expect("an accept completed that nobody began");
        let is_of_one = matches!(errno.0, libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN);
        if listener.end.is_none() && is_of_one {
            return (Told::Engine(engine, Err(errno), None, true), false, None);
        }
        let was_going_on = listener.end.is_none();
        let why = *listener.end.get_or_insert(errno);
        if listener.is_idle() {
            listener.token = None;
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
        std::mem::forget(std::mem::take(&mut self.questions));
    }
}

/// How long the addresses of those are who come to a listener, if they have any.
pub(super) fn address_bytes(listener: &TcpListener) -> Option<u32> {
    let family = SockRef::from(listener).domain().ok()?;
    match family {
        Domain::IPV4 => Some(size_of::<libc::sockaddr_in>() as u32),
        Domain::IPV6 => Some(size_of::<libc::sockaddr_in6>() as u32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: Fd = Fd(-1);
    const ENGINE: Token = Token::new(Kind::Accept, 0, 0);

    /// One listener, whose accept has served two in one call; of neither an address has been found.
    fn served() -> Accepts {
        let mut accepts = Accepts::new([Some(16)].into_iter(), MANY, true);
        accepts.begin(ENGINE);
        assert!(accepts.turn(0, LISTENER, true, ENGINE).is_some() && accepts.turn(0, LISTENER, true, ENGINE).is_none());
        for slot in [5, 6] {
            assert!(matches!(accepts.on_done(Token::new(Kind::Accept, GOES_ON, 0), slot, true), (Told::Nobody, ..)));
            assert!(accepts.next_question().is_some());
        }
        assert!(accepts.next_question().is_none());
        accepts
    }

    fn answer(accepts: &mut Accepts, number: u32, errno: i32) -> Told {
        accepts.on_done(Token::new(Kind::Accept, QUESTIONS + number, 0), -errno, false).0
    }

    /// Whoever has no address any more is told as one who has left while he was accepted, and nobody stays with an accept that nothing is known of.
    #[test]
    fn where_the_kernel_does_not_answer_each_accept_serves_one() {
        let mut accepts = served();
        assert!(matches!(answer(&mut accepts, 0, libc::ENOTCONN), Told::Gone(ENGINE, 5, Errno(libc::ECONNABORTED))));
        assert!(accepts.turn(0, LISTENER, true, ENGINE).is_none(), "he has left, which forbids nothing");
        assert!(matches!(answer(&mut accepts, 1, libc::EACCES), Told::Gone(ENGINE, 6, Errno(libc::EACCES))), "counted");
        assert!(
            accepts.neediest(Some).is_none() && accepts.turn(0, LISTENER, true, ENGINE).is_some(),
            "it is cancelled"
        );
        let end = accepts.on_done(Token::new(Kind::Accept, GOES_ON, 0), -libc::ECANCELED, false);
        assert!(matches!(end, (Told::Nobody, false, None)), "for the engine it goes on");
        assert!(accepts.turn(0, LISTENER, true, ENGINE).is_none());
        assert_eq!(accepts.neediest(Some), Some((0, 0)));
        assert_eq!((0..20).map_while(|_| accepts.next(0, LISTENER, true)).count(), MANY as usize);
    }

    /// One that was being tried when the cancel came waits behind it.
    #[test]
    fn what_a_cancel_has_not_found_is_cancelled_again() {
        let mut accepts = Accepts::new([Some(16)].into_iter(), MANY, true);
        accepts.begin(ENGINE);
        assert!(accepts.next(0, LISTENER, true).is_some() && accepts.next(0, LISTENER, true).is_some());
        assert_eq!(accepts.left_behind(), None, "it goes on");
        assert!(accepts.cancel(0).is_none());
        let cancelled = |accepts: &mut Accepts, number| {
            accepts.on_done(Token::new(Kind::Accept, number, 0), -libc::ECANCELED, false).0
        };
        assert!(matches!(cancelled(&mut accepts, 0), Told::Nobody));
        for _ in 0..CANCELS_MAX {
            assert_eq!(accepts.left_behind(), Some(0));
        }
        assert_eq!(accepts.left_behind(), None, "a kernel that finds it never is not asked for ever");
        assert!(matches!(cancelled(&mut accepts, 1), Told::Engine(ENGINE, Err(Errno(libc::ECANCELED)), None, false)));
        accepts.begin(ENGINE);
        assert!(accepts.next(0, LISTENER, true).is_some() && accepts.cancel(0).is_none());
        assert_eq!(accepts.left_behind(), Some(0));
        assert!(matches!(cancelled(&mut accepts, 0), Told::Engine(..)));
        assert_eq!(accepts.left_behind(), None);
    }

    /// The error that ends an accept comes behind those who are asked for, and is the one that was met.
    #[test]
    fn an_error_waits_for_the_answers() {
        let mut accepts = served();
        let name = Token::new(Kind::Accept, GOES_ON, 0);
        assert!(matches!(accepts.on_done(name, -libc::ENFILE, false), (Told::Nobody, ..)));
        assert!(matches!(answer(&mut accepts, 0, libc::ENOTCONN), Told::Gone(ENGINE, 5, _)));
        let last = Token::new(Kind::Accept, QUESTIONS + 1, 0);
        let (told, _, Some(_)) = accepts.on_done(last, -libc::ENOTCONN, false) else {
            panic!("nothing brings the end")
        };
        assert!(matches!(told, Told::Gone(ENGINE, 6, _)));
        let (told, ..) = accepts.on_done(Token::new(Kind::Accept, 0, 0), -libc::ENOENT, false);
        assert!(matches!(told, Told::Engine(ENGINE, Err(Errno(libc::ENFILE)), None, false)));
    }
}
