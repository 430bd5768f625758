//! The epoll driver: a ring for where io_uring is forbidden or not there. Sockets are watched by epoll(7), and read and written by calls of
//! their own. `watch` owns what is ready, `sockets` the sockets, `buffers` what is received into; `listening` a listener; `accepts` and `connects` are how sockets come;
//! this file turns [`Op`]s into calls and what they bring into [`Done`]s.
//!
//! ```text
//! wait:  sends, closes, cancels, connects that were submitted: tried at once, in their order
//!        what has become ready since the last look: told to the sockets; sends that waited for room are tried again
//! next:  what has completed; then each socket that may have something and is to receive: one recv(2) into one buffer, in turn
//! ```
//! A socket that has more behind its buffer has its next turn in the next pass, so that none holds up another. Receiving when the core
//! takes it, rather than in `wait`, keeps the buffer warm and is why one buffer will mostly do.
//!
//! Promises that every call for a socket, and of epoll, is of the C library's function of that name, which a preloaded network stack puts its own
//! in place of; it makes no system call by itself, and has no unsafe code. Refuses to know connections.
#![forbid(unsafe_code)]

mod accepts;
mod buffers;
mod connects;
mod listening;
mod sockets;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::EpollFlags;
use socket2::SockRef;

pub use buffers::Lease;

use super::deaf::deafen;
#[cfg(any(test, feature = "unstable-ring"))]
use super::uring::Waker;
use super::uring::{Alarm, RingConfig, SetupError, monotonic, unacked};
use super::{Done, Errno, Kind, Op, Payload, RecvEnd, Ring, SendBlocks, Time, Token};
use buffers::Buffers;
use listening::Listening;
use sockets::{Receiving, Sock, Sockets};
use watch::{TO_READ, TO_READ_AND_WRITE, Watch};

/// The eventfd of the waker.
const BELL: Token = Token::new(Kind::Wake, 0, 0);

/// How long an accept waits at most (SO_RCVTIMEO, socket(7)) that is not to wait at all, when another process that has the socket has it block and has taken
/// who came.
const BLOCKED_MAX: Duration = Duration::from_millis(1);

/// What an error or an end is told by, beside bytes.
const MARKS: EpollFlags =
    EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLPRI).union(EpollFlags::EPOLLERR).union(EpollFlags::EPOLLHUP);

/// What may have something, and is to be asked.
#[derive(Clone, Copy)]
enum Turn {
    Receive(u32),
    Accept(u32),
}

/// One thread's epoll.
pub struct Epoll {
    watch: Watch,
    sockets: Sockets,
    buffers: Buffers,
    listeners: Vec<Listening>,
    /// Connects that have not ended, and the places of their sockets.
    connects: Vec<(Token, u32)>,
    /// The socket of each receive, by the index of its token.
    receiving: Vec<u32>,
    /// What the next wait does.
    submitted: Vec<(Token, Op)>,
    done: VecDeque<(Token, Done<Lease>)>,
    turns: VecDeque<Turn>,
    /// How many of the turns are for this pass.
    left: usize,
    /// The last wait has not looked, because it had something to tell without that.
    unlooked: bool,
    /// The last wait left something that had come by then.
    behind: bool,
    alarm: Alarm,
    now: Time,
    spin: Duration,
    /// Before this a wait polls rather than sleeps.
    spin_until: Time,
    /// System calls, those of `watch` aside.
    calls: u64,
}

impl Epoll {
    /// Sets up a ring and its send blocks, listening on `listeners` and woken by `waker`.
    ///
    /// # Errors
    /// [`SetupError`] names the cause and the knob.
    pub fn new(
        config: &RingConfig,
        listeners: Vec<impl Into<Arc<TcpListener>>>,
        waker: super::uring::Waker,
    ) -> Result<(Self, SendBlocks), SetupError> {
        let failed = |error| SetupError::of_epoll("epoll, its timer and its listeners", 2, error);
        let mut watch = Watch::new().map_err(failed)?;
        let alarm = Alarm::new(waker);
        watch.add(alarm.bell(), BELL, EpollFlags::EPOLLIN | EpollFlags::EPOLLET).map_err(failed)?;
        let listeners: Vec<Arc<TcpListener>> = listeners.into_iter().map(Into::into).collect();
        for (listener, number) in listeners.iter().zip(0..) {
            listener.set_nonblocking(true).map_err(failed)?;
            // That is one mark for all processes that have the socket, and one on io_uring takes it off.
            SockRef::from(listener).set_read_timeout(Some(BLOCKED_MAX)).map_err(failed)?;
            watch.add(listener, Token::new(Kind::Accept, 0, number), TO_READ).map_err(failed)?;
        }
        let ring = Self {
            watch,
            sockets: Sockets::new(config.sockets_max),
            buffers: Buffers::new(config.recv_buffers),
            listeners: listeners.into_iter().map(Listening::new).collect(),
            connects: Vec::new(),
            receiving: Vec::new(),
            submitted: Vec::new(),
            done: VecDeque::new(),
            turns: VecDeque::new(),
            left: 0,
            unlooked: false,
            behind: false,
            alarm,
            now: monotonic(),
            spin: config.spin,
            spin_until: Time::default(),
            calls: 0,
        };
        let blocks = SendBlocks::new(config.send_buffers.count as usize, config.send_buffers.bytes as usize);
        Ok((ring, blocks))
    }

    /// Wakes this ring from another thread.
    #[cfg(any(test, feature = "unstable-ring"))]
    pub fn waker(&self) -> Waker {
        self.alarm.waker().clone()
    }

    fn tell(&mut self, token: Token, done: Done<Lease>) {
        self.done.push_back((token, done));
    }

    /// Does what was submitted.
    fn hand_over(&mut self) {
        let mut submitted = std::mem::take(&mut self.submitted);
        for (token, op) in submitted.drain(..) {
            self.begin(token, op);
        }
        self.submitted = submitted;
    }

    fn begin(&mut self, token: Token, op: Op) {
        match op {
            Op::Send { socket, payload } => self.send(token, socket.0, payload),
            Op::Recv { socket, once } => self.receive_from(token, socket.0, once),
            Op::Accept { listener } => self.accept_from(token, listener),
            Op::Connect { remote, nodelay, local } => self.connect(token, remote, nodelay, local.map(|local| *local)),
            Op::Cancel { target } => {
                self.cancel(target);
                self.tell(token, Done::Cancelled);
            }
            Op::CancelSocket { socket } => {
                self.cancel_all(socket.0);
                self.tell(token, Done::Cancelled);
            }
            Op::Unacked { socket } => {
                self.calls += 1;
                let result = unacked(&self.sockets.get(socket.0).socket);
                self.tell(token, Done::Unacked { result });
            }
            Op::Close { socket, reset } => self.close(token, socket.0, reset),
            Op::Wake => self.alarm.set(token),
        }
    }

    /// Sends what the socket takes. If it takes none, that waits for room.
    fn send(&mut self, token: Token, key: u32, payload: Payload) {
        let name = self.sockets.name(key);
        let sock = self.sockets.get(key);
        assert!(sock.sending.is_none(), "two sends on socket {key}");
        self.calls += 1;
        let result = match sock.socket.send_with_flags(payload.bytes(), libc::MSG_NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                // From here on it is told when there is room, which it is only after it was full: most sockets never are.
                let watched = match sock.watches_room {
                    true if error.kind() == ErrorKind::WouldBlock => Ok(()),
                    _ => self.watch.change(&sock.socket, name, TO_READ_AND_WRITE),
                };
                match watched {
                    Ok(()) => {
                        sock.watches_room = true;
                        sock.sending = Some((token, payload));
                        return;
                    }
                    Err(error) => Err(errno_of(&error)),
                }
            }
            Err(error) => Err(errno_of(&error)),
        };
        self.tell(token, Done::Sent { payload, result });
    }

    fn receive_from(&mut self, token: Token, key: u32, once: bool) {
        let index = token.index() as usize;
        if self.receiving.len() <= index {
            self.receiving.resize(index + 1, u32::MAX);
        }
        self.receiving[index] = key;
        let sock = self.sockets.get(key);
        assert!(sock.receiving.is_none(), "two receives on socket {key}");
        sock.receiving = Some(Receiving { token, once });
        offer(sock, key, &mut self.turns);
    }

    /// Ends an operation, if it goes on.
    fn cancel(&mut self, target: Token) {
        match target.kind() {
            Kind::Recv => {
                let key = self.receiving.get(target.index() as usize).copied().unwrap_or(u32::MAX);
                if let Some(sock) = self.sockets.at(key)
                    && sock.receiving.is_some_and(|receiving| receiving.token == target)
                {
                    sock.receiving = None;
                    self.tell(target, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) });
                }
            }
            Kind::Accept => {
                if self.listeners[target.index() as usize].end(target) {
                    self.tell(target, Done::Accepted { result: Err(Errno(libc::ECANCELED)), peer: None, more: false });
                }
            }
            Kind::Connect => self.cancel_connect(target),
            Kind::Send | Kind::Cancel | Kind::Unacked | Kind::Close | Kind::Wake => {
                unreachable!("nobody cancels {target:?}")
            }
        }
    }

    /// Ends what goes on on a socket.
    fn cancel_all(&mut self, key: u32) {
        let sock = self.sockets.get(key);
        let (receiving, sending) = (sock.receiving.take(), sock.sending.take());
        if let Some(Receiving { token, .. }) = receiving {
            self.tell(token, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) });
        }
        if let Some((token, payload)) = sending {
            self.tell(token, Done::Sent { payload, result: Err(Errno(libc::ECANCELED)) });
        }
    }

    fn close(&mut self, token: Token, key: u32, reset: bool) {
        let sock = self.sockets.remove(key);
        assert!(sock.receiving.is_none() && sock.sending.is_none(), "socket {key} is closed under an operation");
        if reset {
            // Lingering on, and for no time: socket(7). It fails for what is broken already, and then nothing is kept anyway.
            let _ = sock.socket.set_linger(Some(Duration::ZERO));
        }
        self.calls += 1 + u64::from(reset);
        drop(sock);
        self.tell(token, Done::Closed);
    }

    /// Learns what the last look found.
    fn take_up(&mut self) {
        let mut at = 0;
        while let Some((name, flags)) = self.watch.found(at) {
            at += 1;
            match name.kind() {
                Kind::Recv => self.on_ready(name, flags),
                Kind::Accept => self.on_waiting(name.index()),
                _ => {} // the bell, or the timer: it has done its work
            }
        }
        self.behind |= self.watch.is_full();
    }

    #[inline]
    fn on_ready(&mut self, name: Token, flags: EpollFlags) {
        let key = name.index();
        let Some(sock) = self.sockets.find(name) else { return };
        sock.has_marks |= flags.intersects(MARKS);
        if flags.intersects(MARKS.union(EpollFlags::EPOLLIN)) {
            sock.readable = true;
            offer(sock, key, &mut self.turns);
        }
        if sock.connecting.is_some() {
            return self.on_connecting(key);
        }
        if flags.intersects(EpollFlags::EPOLLOUT.union(EpollFlags::EPOLLERR).union(EpollFlags::EPOLLHUP))
            && let Some((token, payload)) = sock.sending.take()
        {
            self.send(token, key, payload);
        }
    }

    fn look(&mut self) -> io::Result<()> {
        self.watch.look()?;
        self.take_up();
        Ok(())
    }

    fn has_something(&self) -> bool {
        !self.done.is_empty() || !self.turns.is_empty()
    }

    /// Looks until something shows, somebody rings, or `most` has passed, and says whether it has.
    fn spin(&mut self, most: Duration) -> io::Result<bool> {
        let start = monotonic();
        loop {
            self.look()?;
            if self.has_something() || self.alarm.is_rung() {
                return Ok(false);
            }
            if monotonic().since(start) >= most {
                return Ok(true);
            }
        }
    }

    /// Looks until something shows or `until` has come: at first without sleeping, if messages came.
    fn rest(&mut self, until: Option<Time>) -> io::Result<()> {
        let spin = self.spin_until.since(self.now);
        if !spin.is_zero() {
            let most = until.map_or(spin, |until| spin.min(until.since(self.now)));
            if !self.spin(most)? || until.is_some_and(|until| until <= monotonic()) {
                return Ok(());
            }
        }
        if !self.alarm.sleep() {
            return self.look();
        }
        let slept = self.watch.sleep(until);
        self.alarm.wake_up();
        slept?;
        self.take_up();
        Ok(())
    }

    /// One receive of one socket, in its turn.
    #[inline]
    fn receive(&mut self, key: u32) -> Option<(Token, Done<Lease>)> {
        let sock = self.sockets.at(key)?;
        sock.has_turn = false;
        if !sock.readable {
            return None;
        }
        let Receiving { token, once } = sock.receiving?;
        let Some(mut lease) = self.buffers.take() else {
            sock.receiving = None;
            return Some((token, Done::Received { lease: None, end: Some(RecvEnd::NoBuffers) }));
        };
        self.calls += 1;
        let room = lease.room();
        let wanted = room.len();
        let end = match (&sock.socket).read(room) {
            Ok(0) => RecvEnd::Eof,
            Ok(len) => {
                // It had no more: epoll(7), question 9.
                sock.readable = len == wanted || sock.has_marks;
                if once {
                    sock.receiving = None;
                }
                offer(sock, key, &mut self.turns);
                let end = once.then_some(RecvEnd::Rearm);
                return Some((token, Done::Received { lease: Some(lease.with(len)), end }));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                sock.readable = error.kind() == ErrorKind::Interrupted;
                offer(sock, key, &mut self.turns);
                self.buffers.give_back(lease);
                return None;
            }
            Err(error) => RecvEnd::Failed(errno_of(&error)),
        };
        sock.receiving = None;
        self.buffers.give_back(lease);
        Some((token, Done::Received { lease: None, end: Some(end) }))
    }
}

/// Gives a socket a turn, if it may have something, is to receive, and has none.
#[inline]
fn offer(sock: &mut Sock, key: u32, turns: &mut VecDeque<Turn>) {
    if sock.is_due() && !sock.has_turn {
        sock.has_turn = true;
        turns.push_back(Turn::Receive(key));
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Ring for Epoll {
    type Lease = Lease;

    #[inline]
    fn submit(&mut self, token: Token, op: Op) {
        self.submitted.push((token, op));
    }

    fn wait(&mut self, until: Option<Time>) -> io::Result<()> {
        self.behind = !self.turns.is_empty();
        let was_unlooked = std::mem::take(&mut self.unlooked);
        self.hand_over();
        let polls = self.alarm.is_rung() || until.is_some_and(|until| until <= self.now);
        if !self.has_something() && !polls {
            self.rest(until)?;
        } else if self.turns.is_empty() && !self.done.is_empty() && !was_unlooked {
            // What has completed is told first; the peers' answers are not there yet, so that a look now would find few of them.
            self.unlooked = true;
        } else {
            self.look()?;
        }
        self.listeners.iter_mut().for_each(|listening| listening.begin_pass());
        self.left = self.turns.len();
        self.alarm.look();
        self.now = monotonic();
        Ok(())
    }

    fn room_for(&self, _bytes: u32) -> usize {
        self.buffers.count().div_ceil(2) // each takes a whole one
    }

    fn expect_more(&mut self) {
        self.spin_until = self.now.plus(self.spin);
    }

    #[inline]
    fn next(&mut self) -> Option<(Token, Done<Lease>)> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        while self.left > 0 {
            self.left -= 1;
            let done = match self.turns.pop_front()? {
                Turn::Receive(key) => self.receive(key),
                Turn::Accept(listener) => self.accept(listener),
            };
            if done.is_some() {
                return done;
            }
        }
        self.alarm.tell().map(|token| (token, Done::Woken))
    }

    fn release(&mut self, lease: Lease) {
        self.buffers.give_back(lease);
    }

    fn has_waiting(&mut self, listener: u32) -> bool {
        let Some(listener) = self.listeners[listener as usize].socket() else { return false };
        self.calls += 1;
        let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        // Of an error nothing is known, and then nobody waits.
        let ready = nix::poll::poll(&mut asked, PollTimeout::ZERO).unwrap_or(0);
        ready > 0 && asked[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    fn deafen(&mut self, listener: u32) -> bool {
        self.calls += 1;
        self.listeners[listener as usize].socket().is_none_or(deafen)
    }

    fn unlisten(&mut self, listener: u32) {
        self.calls += 1;
        if let Some(listener) = self.listeners[listener as usize].close() {
            self.watch.forget(listener);
        }
    }

    /// A wait that did not look does so now: what it finds is of this pass as well.
    fn has_more(&mut self) -> bool {
        if std::mem::take(&mut self.unlooked) {
            if let Err(error) = self.look() {
                tracing::debug!(%error, "epoll_wait(2) fails, and the next wait will say so");
                return true;
            }
            self.left = self.turns.len();
        }
        self.behind
    }

    fn now(&self) -> Time {
        self.now
    }

    fn enters(&self) -> u64 {
        self.calls + self.watch.calls
    }
}
