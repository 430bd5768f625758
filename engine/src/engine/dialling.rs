//! Outgoing connections: from a dial to an open connection, and again when that is lost.
//!
//! ```text
//! Wanted ──> Resolving ──> Connecting ──> Answering ──> Open
//!               │              │ next address │           │
//!               └──────────────┴──────> failed <──── lost ┘
//!                                         │ the policy allows
//!                                      Waiting ──> Wanted
//! ```
//! From each of these a dial goes to `Leaving` when the application abandons it or the core stops: what is under way ends, and
//! no other attempt follows.
//!
//! Promises that each attempt comes to exactly one end: `on_open` and later `on_close`, or `on_dial_failed`; that an attempt
//! under way ends within its timeouts. Only the connect is submitted here; what a connection does is `settle`'s, and what
//! a server answers is judged in `answering`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng;
use wsring_proto::deflate::ClientOffer;
use wsring_proto::frame::Role;
use wsring_proto::handshake::{self, Answer};

use super::answering::{Answering, Asked, Fed};
use super::conns::Phase;
use super::core::Core;
use super::dial_error::DialError;
use super::dials::{Leaving, State};
use super::id::Origin;
use super::inbox::Lookup;
use super::panics::Panicked;
use super::planted::planted;
#[cfg(feature = "tls")]
use super::sealed::Sealed;
use super::tokens::CANCEL_CONNECT;
use crate::handler::{Answered, CloseReason, Handler};
use crate::ring::{Errno, Kind, Op, Ring, Socket, Time, Token};
#[cfg(feature = "tls")]
use crate::tls::Tls;

impl<R: Ring, H: Handler> Core<R, H> {
    /// Begins what callbacks wanted, and what has waited long enough.
    #[inline]
    pub(super) fn drive_dials(&mut self) {
        if self.dial_due().is_some_and(|due| due <= self.ring.now()) {
            self.drive_due_dials();
        }
    }

    #[cold]
    fn drive_due_dials(&mut self) {
        // What these callbacks want is for the next pass: a dial that fails at once must not hold up the core.
        for id in std::mem::take(&mut self.out.dials.wanted) {
            let Some(index) = self.out.dials.find(id) else { continue };
            match self.out.dials.dial(index).state {
                State::Wanted => self.begin_dial(index),
                State::Leaving(_) => self.leave_dial(index, DialError::Abandoned),
                _ => {}
            }
        }
        let (heard, last) = (self.heard.until(), self.out.dials.last_timer());
        while let Some(index) = self.out.dials.pop_due(heard, last) {
            self.on_dial_timer(index);
        }
    }

    fn begin_dial(&mut self, index: u32) {
        if self.stopping.is_some() {
            return self.dial_failed(index, DialError::Stopped);
        }
        let dialled = self.out.dials.dialled(index);
        if std::mem::replace(&mut self.out.dials.dial(index).begun, true) {
            let told = self.calls.reconnecting(&mut self.out, &dialled);
            if told.is_err() && !self.out.dials.dial(index).is_leaving() {
                return self.dial_failed(index, DialError::Panicked);
            }
        }
        let dial = self.out.dials.dial(index);
        if dial.is_leaving() {
            return; // since that callback: it is listed, and fails in the next pass
        }
        if dial.target.is_secure() && !dial.target.has_tls() {
            return self.dial_failed(index, DialError::TlsMissing);
        }
        let (host, port, timeout) = (dial.target.host().to_owned(), dial.target.port(), dial.target.connect_timeout);
        if let Some(ip) = dial.target.address() {
            dial.addrs = [SocketAddr::new(ip, port)].into();
            return self.connect_next(index, None);
        }
        dial.state = State::Resolving;
        self.out.dials.set_timer(index, self.ring.now().plus(timeout));
        match &self.resolve {
            Some(resolve) => resolve(host, port, (index, self.out.dials.last_timer())),
            None => self.dial_failed(index, DialError::Lookup { host, source: io::ErrorKind::Unsupported.into() }),
        }
    }

    /// A name was looked up.
    pub(super) fn on_resolved(&mut self, (index, timer): Lookup, found: io::Result<Vec<SocketAddr>>) {
        if !self.out.dials.has_timer(index, timer) {
            return; // the time of this lookup is over, whatever the dial does now
        }
        let dial = self.out.dials.dial(index);
        if dial.state != State::Resolving {
            return; // it is not wanted any more, or fails in this pass
        }
        let host = dial.target.host().to_owned();
        match found {
            Ok(addrs) if addrs.is_empty() => {
                self.dial_failed(index, DialError::Lookup { host, source: io::ErrorKind::NotFound.into() });
            }
            Ok(addrs) => {
                dial.addrs = addrs.into();
                self.connect_next(index, None);
            }
            Err(source) => self.dial_failed(index, DialError::Lookup { host, source }),
        }
    }

    /// Tries the next address; `last` is what became of the one before.
    fn connect_next(&mut self, index: u32, last: Option<(SocketAddr, io::Error)>) {
        if !self.has_place(self.connects) {
            return self.dial_failed(index, DialError::Full);
        }
        let nodelay = self.config.nodelay;
        let dial = self.out.dials.dial(index);
        let Some(remote) = dial.addrs.pop_front() else {
            let (addr, source) = last.expect("a dial has an address");
            return self.dial_failed(index, DialError::Connect { addr, source });
        };
        if let Some((addr, error)) = last {
            tracing::debug!(%addr, %error, "an address could not be connected to");
        }
        dial.state = State::Connecting(remote);
        let (token, timeout) = (Token::new(Kind::Connect, dial.generation, index), dial.target.connect_timeout);
        self.out.dials.set_timer(index, self.ring.now().plus(timeout));
        self.connects += 1;
        self.ring.submit(token, Op::Connect { remote, nodelay });
    }

    pub(super) fn on_connected(&mut self, token: Token, result: Result<Socket, Errno>) {
        self.connects -= 1;
        self.out.stats.connected += u64::from(result.is_ok());
        let index = self.out.dials.find_token(token.index(), token.generation());
        let index = index.expect("a dial lives as long as its connect");
        self.out.dials.clear_timer(index);
        let state = self.out.dials.dial(index).state;
        let (addr, leaving) = match state {
            State::Connecting(addr) | State::Cancelling(addr) => (addr, false),
            State::Leaving(Leaving::Connect(addr) | Leaving::Cancel(addr)) => (addr, true),
            _ => panic!("a connect completed for a dial that is {state:?}"),
        };
        let over = leaving || self.stopping.is_some();
        match result {
            // Peers may have filled the core meanwhile.
            Ok(socket) if over || !self.has_place(0) => {
                planted!(ConnectForgotten, return self.dial_failed(index, DialError::Abandoned));
                let conn = self.take_slot(socket, Phase::Ended, Duration::ZERO);
                self.die(conn);
                if !over {
                    return self.dial_failed(index, DialError::Full);
                }
            }
            Ok(socket) => return self.await_answer(index, socket, addr),
            Err(_) if over => {}
            Err(Errno(libc::ENFILE)) => return self.dial_failed(index, DialError::Full),
            Err(errno) => {
                let late = matches!(state, State::Cancelling(_)) && errno.0 == libc::ECANCELED;
                let errno = if late { Errno(libc::ETIMEDOUT) } else { errno };
                return self.connect_next(index, Some((addr, errno.into())));
            }
        }
        let why = if self.stopping.is_some() { DialError::Stopped } else { DialError::Abandoned };
        self.dial_failed(index, why);
    }

    /// Connected: sends the request.
    fn await_answer(&mut self, index: u32, socket: Socket, addr: SocketAddr) {
        let timeout = self.out.dials.dial(index).target.handshake_timeout.unwrap_or(self.config.handshake_timeout);
        let mut nonce = [0; 16];
        self.out.random.fill_bytes(&mut nonce);
        let key = handshake::client_key(nonce);
        let mut head = self.out.stores.pool.take(512, 512);
        let offer = ClientOffer::new(&self.config.deflate).map(|offer| offer.to_string());
        let target = &self.out.dials.dial(index).target;
        let room = head.capacity();
        target.write(&mut head, &key, offer.as_deref()).expect("checked when the target was made");
        self.out.stores.pool.note_change(room, head.capacity());
        let answering = Answering::new(index, key);
        #[cfg(feature = "tls")]
        let tls = match self.tls_for(index) {
            Ok(tls) => tls,
            Err(error) => {
                let conn = self.take_slot(socket, Phase::Ended, Duration::ZERO);
                self.die(conn);
                self.out.stores.pool.put(head);
                return self.dial_failed(index, error);
            }
        };
        let conn = self.take_slot(socket, Phase::Answer(Box::new(answering)), timeout);
        #[cfg(feature = "tls")]
        {
            self.conns[conn as usize].tls = tls;
        }
        self.admit(conn, Origin::Dialled);
        self.out.addresses.set(conn, addr.into());
        self.out.dials.dial(index).state = State::Answering(conn);
        self.out.raw(conn, head);
    }

    /// TLS for a new connection of this dial, if its scheme asks for it.
    #[cfg(feature = "tls")]
    fn tls_for(&mut self, index: u32) -> Result<Option<Box<Sealed>>, DialError> {
        let target = &self.out.dials.dial(index).target;
        match &target.tls {
            Some(config) if target.is_secure() => {
                let name = target.host().to_owned().try_into().expect("checked when the target was made");
                {
                    let pool = &mut self.out.stores.pool;
                    let tls = Tls::client(config.clone(), name, pool)?;
                    Ok(Some(Sealed::new(tls, pool)))
                }
            }
            _ => Ok(None),
        }
    }

    /// Bytes of a server's answer.
    pub(super) fn feed_answer(&mut self, conn: u32, bytes: &[u8]) {
        let at = &mut self.conns[conn as usize];
        let Phase::Answer(answering) = &mut at.phase else { return };
        let index = answering.dial;
        let dialled = self.out.dials.dialled(index);
        let dial = self.out.dials.dial(index);
        let (target, abandoned) = (Rc::clone(&dial.target), dial.is_leaving());
        let asked = Asked {
            limits: &self.config.head_limits,
            offer: ClientOffer::new(&self.config.deflate),
            subprotocols: target.subprotocols(),
            abandoned,
        };
        let (calls, out) = (&mut self.calls, &mut self.out);
        #[cfg(feature = "tls")]
        let tls = at.tls.as_deref().map(Sealed::peer);
        let agree = |answer: &Answer<'_>, subprotocol: Option<&str>| {
            let answered = Answered {
                answer,
                subprotocol,
                #[cfg(feature = "tls")]
                tls,
            };
            match calls.answered(out, &dialled, &answered) {
                Ok(data) => data.ok_or(DialError::Unwanted),
                Err(Panicked) => Err(DialError::Panicked),
            }
        };
        match answering.feed(bytes, &asked, agree) {
            Fed::More => {}
            Fed::Failed(error) => self.end_answer(conn, error),
            Fed::Opened { data, compression, mut bytes, len } => {
                planted!(AnswerDialLost, self.out.dials.wanted.clear());
                self.on_agreed(index, conn);
                let pressure = target.pressure.unwrap_or(self.config.pressure_dialled);
                self.open(conn, Role::Client, compression, pressure, data);
                self.feed_frames(conn, &mut bytes[len..]);
            }
        }
    }

    /// The server and the application agree: this connection is the dial's.
    fn on_agreed(&mut self, index: u32, conn: u32) {
        let now = self.ring.now();
        let dial = self.out.dials.dial(index);
        dial.state = match dial.state {
            // Abandoned by the callback that took the connection: that is open, and the last one.
            State::Leaving(_) => State::Leaving(Leaving::Connection(conn)),
            _ => State::Open(conn),
        };
        dial.opened_at = now;
        let heartbeat = dial.target.heartbeat.as_ref().map(|heartbeat| heartbeat.every);
        match heartbeat {
            Some(every) => self.out.dials.set_timer(index, now.plus(every)),
            None => self.out.dials.clear_timer(index),
        }
        self.out.dials.tie(conn, index);
    }

    /// The handshake on this connection has failed; the connection ends.
    pub(super) fn end_answer(&mut self, conn: u32, error: DialError) {
        let phase = std::mem::replace(&mut self.conns[conn as usize].phase, Phase::Ended);
        let Phase::Answer(answering) = phase else { return };
        self.die(conn);
        self.answer_failed(*answering, error);
    }

    /// The same for a connection that ended for a reason of its own.
    pub(super) fn on_answer_lost(&mut self, answering: Answering, why: &CloseReason<'_>) {
        let error = match why {
            CloseReason::Timeout => DialError::HandshakeTimeout,
            CloseReason::Reset(errno) => DialError::Reset((*errno).into()),
            #[cfg(feature = "tls")]
            CloseReason::Tls(error) => DialError::Tls((*error).clone()),
            _ if self.stopping.is_some() => DialError::Stopped,
            _ => DialError::Eof,
        };
        self.answer_failed(answering, error);
    }

    fn answer_failed(&mut self, answering: Answering, error: DialError) {
        self.dial_failed(answering.dial, answering.failed(error));
    }

    fn on_dial_timer(&mut self, index: u32) {
        let now = self.ring.now();
        let dial = self.out.dials.dial(index);
        match dial.state {
            State::Waiting => {
                dial.state = State::Wanted;
                self.begin_dial(index);
            }
            State::Resolving => {
                let host = dial.target.host().to_owned();
                self.dial_failed(index, DialError::Lookup { host, source: io::ErrorKind::TimedOut.into() });
            }
            State::Connecting(_) => {
                planted!(ConnectKept, return);
                self.cancel_connect(index);
            }
            State::Open(conn) | State::Leaving(Leaving::Connection(conn)) => {
                let target = Rc::clone(&dial.target);
                let Some(heartbeat) = &target.heartbeat else { return };
                planted!(BeatAfterClose, {
                    let (input, framing) = (super::input::Input::new(false), super::pack::Framing::PLAIN.masked());
                    let now = self.out.now;
                    *self.out.peers.life(conn) = super::life::Life::Quiet { since: now, taken: now, input, framing };
                });
                let _ = self.out.send(conn, heartbeat.message()); // refused: counted, and the next one may pass
                self.out.dials.set_timer(index, now.plus(heartbeat.every));
            }
            // The handshake's deadline is the connection's; a dial that began to leave in this pass is listed.
            State::Wanted | State::Cancelling(_) | State::Answering(_) | State::Leaving(_) => {}
        }
    }

    /// The connect takes too long: the next address follows it.
    fn cancel_connect(&mut self, index: u32) {
        let dial = self.out.dials.dial(index);
        let State::Connecting(addr) = dial.state else { return };
        dial.state = State::Cancelling(addr);
        self.submit_cancel(index);
    }

    fn submit_cancel(&mut self, index: u32) {
        let target = Token::new(Kind::Connect, self.out.dials.dial(index).generation, index);
        self.ring.submit(CANCEL_CONNECT, Op::Cancel { target });
    }

    /// No further attempt; what is under way is given up, an open connection is not touched.
    pub(super) fn leave_dial(&mut self, index: u32, why: DialError) {
        match self.out.dials.dial(index).leave() {
            Leaving::Attempt => self.dial_failed(index, why),
            Leaving::Connect(addr) => {
                self.out.dials.clear_timer(index);
                self.out.dials.dial(index).state = State::Leaving(Leaving::Cancel(addr));
                self.submit_cancel(index);
            }
            Leaving::Answer(conn) => self.end_answer(conn, why),
            Leaving::Pause => self.out.dials.remove(index),
            Leaving::Cancel(_) | Leaving::Connection(_) => {}
        }
    }

    /// An attempt has failed: tells the application, and when the next one comes.
    fn dial_failed(&mut self, index: u32, error: DialError) {
        self.out.stats.dials_failed += 1;
        let dialled = self.out.dials.dialled(index);
        let retry = if error.may_pass() { self.schedule_again(index) } else { None };
        if retry.is_none() {
            self.out.dials.remove(index);
        }
        self.calls.dial_failed(&mut self.out, &dialled, &error, retry);
    }

    /// The open connection of a dial has ended, and the application knows.
    pub(super) fn on_dialled_end(&mut self, conn: u32, why: &CloseReason<'_>) {
        let Some(index) = self.out.dials.untie(conn) else { return };
        let now = self.ring.now();
        let ours = matches!(why, CloseReason::Local { .. } | CloseReason::Stopped);
        let dial = self.out.dials.dial(index);
        let Some(policy) = dial.target.reconnect.filter(|_| !ours && !dial.is_leaving()) else {
            return self.out.dials.remove(index);
        };
        if now.since(dial.opened_at) >= policy.healthy_after {
            dial.failed = 0;
        }
        if self.schedule_again(index).is_none() {
            if self.stopping.is_some() {
                return self.out.dials.remove(index);
            }
            // What failed is the attempt that was lost, not one after it.
            self.out.dials.dial(index).failed -= 1;
            self.dial_failed(index, DialError::Exhausted);
        }
    }

    /// Sets the time of the next attempt, if there is to be one.
    fn schedule_again(&mut self, index: u32) -> Option<Duration> {
        let random = f64::from(self.out.random.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let stopping = self.stopping.is_some();
        let dial = self.out.dials.dial(index);
        if dial.is_leaving() || stopping {
            return None;
        }
        let policy = dial.target.reconnect?;
        dial.failed = dial.failed.saturating_add(planted!(AttemptUncounted, 0; 1));
        let wait = policy.wait(dial.failed, random)?;
        dial.state = State::Waiting;
        self.out.dials.set_timer(index, self.ring.now().plus(wait));
        Some(wait)
    }

    /// The core stops: ends what is under way. Open connections are told like all others.
    pub(super) fn stop_dials(&mut self) {
        planted!(StopForgetsDials, return);
        for index in self.out.dials.indices() {
            self.leave_dial(index, DialError::Stopped);
        }
    }

    /// The loop has ended: what was dialled while the core stopped, and what the kernel has not ended in time, fails here.
    pub(super) fn end_dials(&mut self) {
        planted!(LateDialLost, return);
        for index in self.out.dials.indices() {
            self.dial_failed(index, DialError::Stopped);
        }
    }

    /// When a dial must be looked at. While the core stops none is: those that callbacks make would keep it busy for nothing.
    pub(super) fn dial_due(&self) -> Option<Time> {
        self.out.dials.next_due().filter(|_| self.stopping.is_none())
    }
}
