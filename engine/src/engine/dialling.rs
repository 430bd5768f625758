//! Outgoing connections: from a dial to an open connection, and again when that is lost.
//!
//! ```text
//! Wanted ──> Asking ──> Resolving ──> Connecting ──> Answering ──> Open
//!               │           │              │              │           │
//!               └───────────┴──────────────┴──────> failed <──── lost ┘
//!                                                     │ the policy allows
//!                                                  Waiting ──> Wanted
//! ```
//! From each of these a dial goes to `Leaving` when the application abandons it or the core stops: what is under way ends, and
//! no other attempt follows.
//!
//! Promises that each attempt comes to exactly one end: `on_open` and later `on_close`, or `on_dial_failed`; that an attempt
//! under way ends within its timeouts. Nothing is submitted here: connects are `connecting`'s, what a connection does is `settle`'s,
//! and what a server answers is judged in `answering`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rand::Rng;
use wsring_proto::deflate::ClientOffer;
use wsring_proto::frame::Role;
use wsring_proto::handshake::{self, Answer};
use wsring_proto::tunnel::TunnelError;

use super::answering::{Answering, Asked, Fed};
use super::conns::Phase;
use super::core::Core;
use super::dial_error::DialError;
use super::dials::{Leaving, State};
use super::id::Origin;
use super::inbox::Lookup;
use super::panics::Panicked;
use super::planted::planted;
use super::race::Grade;
#[cfg(feature = "tls")]
use super::sealed::Sealed;
use crate::config::Deflate;
use crate::handler::{Answered, CloseReason, Handler, Redial};
use crate::ring::{Ring, Socket, Time};
use crate::target::Target;
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
                State::Told => self.go_on_dialling(index),
                State::Leaving(_) => self.leave_dial(index, DialError::Abandoned),
                _ => {}
            }
        }
        let (heard, last) = (self.heard.until(), self.out.dials.last_timer());
        while let Some(index) = self.out.dials.pop_due(heard, last) {
            self.on_dial_timer(index);
        }
        while let Some(index) = self.out.dials.pop_turn(self.ring.now()) {
            self.out.dials.dial(index).state = State::Wanted;
            self.begin_attempt(index);
        }
    }

    fn begin_dial(&mut self, index: u32) {
        if self.stopping.is_some() {
            return self.dial_failed(index, DialError::Stopped);
        }
        if self.out.dials.may_begin(index, self.ring.now()) {
            return self.begin_attempt(index);
        }
        let dial = self.out.dials.dial(index);
        if dial.begun {
            dial.state = State::Waiting; // the attempt has not begun
        }
    }

    /// It has had its turn.
    fn begin_attempt(&mut self, index: u32) {
        let dial = self.out.dials.dial(index);
        if std::mem::replace(&mut dial.begun, true) {
            dial.take_next();
            let target = Rc::clone(&dial.target);
            let dialled = self.out.dials.dialled(index);
            let said = self.calls.redialling(&mut self.out, &dialled, &target);
            let dial = self.out.dials.dial(index);
            if dial.is_leaving() {
                return; // since that callback: it is listed, and fails in the next pass
            }
            match said {
                Err(Panicked) => return self.dial_failed(index, DialError::Panicked),
                Ok(Redial::To(target)) => dial.replace(*target),
                // It may have been given in that very callback.
                Ok(_) if dial.has_next() => dial.take_next(),
                Ok(Redial::Same) => {}
                Ok(Redial::Later) => {
                    dial.state = State::Asking;
                    let timeout = dial.target.connect_timeout;
                    return self.out.dials.set_timer(index, self.ring.now().plus(timeout));
                }
            }
        }
        self.go_on_dialling(index);
    }

    /// It is known what to connect to.
    fn go_on_dialling(&mut self, index: u32) {
        let dial = self.out.dials.dial(index);
        if dial.target.is_secure() && !dial.target.has_tls() {
            return self.dial_failed(index, DialError::TlsMissing);
        }
        let (host, port) = dial.target.first();
        let (host, timeout) = (host.to_owned(), dial.target.connect_timeout);
        // Also where there is nothing to look up: from here on what it is given is for the next attempt.
        dial.state = State::Resolving;
        if let Some(ip) = dial.target.address() {
            return self.race(index, vec![SocketAddr::new(ip, port)]);
        }
        self.out.dials.set_timer(index, self.ring.now().plus(timeout));
        match &self.resolve {
            Some(resolve) => {
                let lookup = (index, self.out.dials.last_timer());
                resolve(host, port, lookup, self.out.dials.dial(index).ask());
            }
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
        let host = dial.target.first().0.to_owned();
        match found {
            Ok(addrs) if addrs.is_empty() => {
                self.dial_failed(index, DialError::Lookup { host, source: io::ErrorKind::NotFound.into() });
            }
            Ok(addrs) => self.race(index, addrs),
            Err(source) => self.dial_failed(index, DialError::Lookup { host, source }),
        }
    }

    /// Connected: sends the request, or asks the proxy for the server first.
    pub(super) fn await_answer(&mut self, index: u32, socket: Socket, addr: SocketAddr) {
        let timeout = self.out.dials.dial(index).target.handshake_timeout.unwrap_or(self.config.handshake_timeout);
        let mut nonce = [0; 16];
        self.out.random.fill_bytes(&mut nonce);
        let mut answering = Answering::new(index, handshake::client_key(nonce));
        let target = Rc::clone(&self.out.dials.dial(index).target);
        let mut asked = Vec::new();
        if let Some(proxy) = &target.proxy {
            let tunnel = proxy.ask(target.host(), target.port(), &mut asked);
            answering.go_through(tunnel.expect("checked when the target was made"));
        }
        let conn = self.take_slot(socket, Phase::Answer(Box::new(answering)), timeout);
        self.admit(conn, Origin::Dialled);
        self.out.addresses.set(conn, addr.into());
        let dial = self.out.dials.dial(index);
        (dial.state, dial.at) = (State::Answering(conn), Some(addr));
        match target.proxy {
            None => self.ask_server(conn),
            Some(_) => self.say(conn, &asked),
        }
    }

    /// The server is at the other end: sends the request.
    fn ask_server(&mut self, conn: u32) {
        let Phase::Answer(answering) = &self.conns[conn as usize].phase else { return };
        let (index, key) = (answering.dial, *answering.key());
        #[cfg(feature = "tls")]
        match self.tls_for(index) {
            Ok(tls) => self.conns[conn as usize].tls = tls,
            Err(error) => return self.end_answer(conn, error),
        }
        let configured = self.config.deflate;
        let offer = offer_of(&self.out.dials.dial(index).target, configured).map(|offer| offer.to_string());
        let mut head = self.out.stores.pool.take(512, 512);
        let room = head.capacity();
        let target = &self.out.dials.dial(index).target;
        target.write(&mut head, &key, offer.as_deref()).expect("checked when the target was made");
        self.out.stores.pool.note_change(room, head.capacity());
        self.out.raw(conn, head);
    }

    /// Says this to a proxy.
    fn say(&mut self, conn: u32, text: &[u8]) {
        if !text.is_empty() {
            let mut bytes = self.out.stores.pool.take(text.len(), text.len());
            bytes.extend_from_slice(text);
            self.out.raw(conn, bytes);
        }
    }

    /// Bytes of a proxy.
    fn feed_tunnel(&mut self, conn: u32, bytes: &[u8]) {
        let Phase::Answer(answering) = &mut self.conns[conn as usize].phase else { return };
        let mut said = Vec::new();
        let (index, fed) = (answering.dial, answering.feed_tunnel(bytes, &mut said));
        // Nobody can have read what has not left; and what has not would go to the server, as plaintext of its TLS.
        let is_unsent = self.out.link(conn).output.queued > 0;
        let is_secure = self.out.dials.dial(index).target.is_secure();
        match fed {
            Err(error) => self.end_answer(conn, error.into()),
            Ok(None) if said.is_empty() => {}
            Ok(_) if is_unsent => self.end_answer(conn, TunnelError::Malformed.into()),
            Ok(None) => self.say(conn, &said),
            // The server has nothing to say before it is greeted (RFC 8446 §2).
            Ok(Some(used)) if is_secure && used < bytes.len() => {
                self.end_answer(conn, TunnelError::Malformed.into());
            }
            Ok(Some(used)) => {
                self.ask_server(conn);
                let mut rest = bytes[used..].to_vec();
                if !rest.is_empty() {
                    self.feed(conn, &mut rest);
                }
            }
        }
    }

    /// TLS for a new connection of this dial, if its scheme asks for it.
    #[cfg(feature = "tls")]
    fn tls_for(&mut self, index: u32) -> Result<Option<Box<Sealed>>, DialError> {
        let target = &self.out.dials.dial(index).target;
        match &target.tls {
            Some(config) if target.is_secure() => {
                let name = target.proven_name().to_owned().try_into().expect("checked when the target was made");
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
        if answering.is_on_the_way() {
            return self.feed_tunnel(conn, bytes);
        }
        let index = answering.dial;
        let dialled = self.out.dials.dialled(index);
        let dial = self.out.dials.dial(index);
        let (target, abandoned) = (Rc::clone(&dial.target), dial.is_leaving());
        let asked = Asked {
            limits: &target.answer_limits,
            offer: offer_of(&target, self.config.deflate),
            subprotocols: target.subprotocols(),
            abandoned,
        };
        let (calls, out) = (&mut self.calls, &mut self.out);
        #[cfg(feature = "tls")]
        let tls = at.tls.as_deref().map(Sealed::peer);
        let mut chosen: Option<Box<str>> = None;
        let agree = |answer: &Answer<'_>, subprotocol: Option<&str>| {
            chosen = subprotocol.map(Into::into);
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
                if chosen.is_some() {
                    self.out.note(conn, |more| more.subprotocol = chosen);
                }
                self.open(conn, Role::Client, compression, target.pressure, &target.terms, data);
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
        let (index, error) = (answering.dial, answering.failed(error));
        if error.is_of_address() {
            self.out.dials.dial(index).disappoint(Grade::Failed);
        }
        self.dial_failed(index, error);
    }

    fn on_dial_timer(&mut self, index: u32) {
        let now = self.ring.now();
        let dial = self.out.dials.dial(index);
        match dial.state {
            State::Waiting => {
                dial.state = State::Wanted;
                self.begin_dial(index);
            }
            State::Asking => self.dial_failed(index, DialError::NoTarget),
            State::Resolving => {
                let host = dial.target.first().0.to_owned();
                self.dial_failed(index, DialError::Lookup { host, source: io::ErrorKind::TimedOut.into() });
            }
            State::Connecting => {
                planted!(ConnectKept, return);
                self.go_on_racing(index);
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
            State::Wanted | State::Told | State::Answering(_) | State::Leaving(_) => {}
        }
    }

    /// No further attempt; what is under way is given up, an open connection is not touched.
    pub(super) fn leave_dial(&mut self, index: u32, why: DialError) {
        match self.out.dials.dial(index).leave() {
            Leaving::Attempt => self.dial_failed(index, why),
            Leaving::Answer(conn) => self.end_answer(conn, why),
            Leaving::Pause => self.out.dials.remove(index),
            Leaving::Connection(_) => {}
        }
    }

    /// An attempt has failed: tells the application, and when the next one comes.
    pub(super) fn dial_failed(&mut self, index: u32, error: DialError) {
        self.end_race(index);
        self.out.stats.dials_failed += 1;
        let dialled = self.out.dials.dialled(index);
        let asked = match &error {
            DialError::Declined(declined) => declined.retry_after(),
            _ => None,
        };
        let heeds = self.out.dials.dial(index).policy().is_some_and(|policy| policy.heeds_retry_after());
        let heeds = planted!(DeafAskedAgain, true; heeds);
        let retry = if error.may_pass(heeds) { self.schedule_again(index, asked) } else { None };
        if retry.is_none() {
            self.out.dials.remove(index);
        }
        self.calls.dial_failed(&mut self.out, &dialled, &error, retry);
    }

    /// The open connection of a dial ends, and the application is about to be told: from here on the dial says whether an attempt follows.
    pub(super) fn before_dialled_end(&mut self, conn: u32, why: &CloseReason<'_>) {
        let Some(index) = self.out.dials.tied(conn) else { return };
        let (now, stopping) = (self.ring.now(), self.stopping.is_some());
        let dial = self.out.dials.dial(index);
        let policy = dial.policy().filter(|_| !is_ours(why));
        if let Some(policy) = policy {
            if now.since(dial.opened_at) >= policy.healthy_after {
                dial.failed = 0;
                dial.at.iter().for_each(|addr| dial.bad.forget(*addr));
            } else {
                dial.disappoint(Grade::Lost);
            }
        }
        let lost = dial.failed.saturating_add(1);
        dial.ends(!stopping && policy.is_some_and(|policy| !policy.is_exhausted(lost)));
    }

    /// The application has been told.
    pub(super) fn on_dialled_end(&mut self, conn: u32, why: &CloseReason<'_>) {
        let Some(index) = self.out.dials.untie(conn) else { return };
        if self.out.dials.dial(index).policy().filter(|_| !is_ours(why)).is_none() {
            return self.out.dials.remove(index);
        }
        if self.schedule_again(index, None).is_none() {
            if self.stopping.is_some() {
                return self.out.dials.remove(index);
            }
            // What failed is the attempt that was lost, not one after it.
            self.out.dials.dial(index).failed -= 1;
            self.dial_failed(index, DialError::Exhausted);
        }
    }

    /// Sets the time of the next attempt, if there is to be one. `asked`: the server's Retry-After.
    fn schedule_again(&mut self, index: u32, asked: Option<Duration>) -> Option<Duration> {
        let random = f64::from(self.out.random.next_u32()) / (f64::from(u32::MAX) + 1.0);
        if self.stopping.is_some() {
            return None;
        }
        let dial = self.out.dials.dial(index);
        let wait = dial.next_wait(random, asked)?;
        dial.state = State::Waiting;
        self.out.dials.set_timer(index, self.ring.now().plus(wait));
        Some(wait)
    }

    /// The core stops: ends what is under way. Open connections are told like all others.
    pub(super) fn stop_dials(&mut self) {
        planted!(StopForgetsDials, return);
        self.out.dials.stop();
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

/// The application, or the core's stop, has ended it: it is not dialled again.
fn is_ours(why: &CloseReason<'_>) -> bool {
    matches!(why, CloseReason::Local { .. } | CloseReason::Stopped)
}

/// The compression that a server is offered, where the core's settings are these.
fn offer_of(target: &Target, configured: Deflate) -> Option<ClientOffer> {
    ClientOffer::new(&target.terms.deflate_or(configured)).filter(|_| !target.is_plain)
}
