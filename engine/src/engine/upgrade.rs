//! From request head to open connection, or to an HTTP response and the end.
//!
//! A head that arrives whole is parsed where it lies; one that arrives in pieces is gathered in a pooled buffer, capped,
//! and scanned once. Frames that follow the head in the same segment are worked on at once.

use std::borrow::Cow;

use wsring_proto::Session;
use wsring_proto::deflate::{self, Agreed, Mode};
use wsring_proto::frame::Role;
use wsring_proto::handshake::{self, Accept, HeadEnd, HeaderTable, Refusal, Request};

use super::addresses::More;
use super::conns::{Conn, Phase};
use super::core::Core;
use super::deferred::Wait;
use super::life::Event;
use super::pack::Framing;
use super::panics::Panicked;
use super::pending::Pending;
use super::planted::planted;
#[cfg(feature = "tls")]
use super::sealed::Sealed;
use crate::handler::{Acceptance, Handler, Opening, Response, Verdict, VerdictKind};
use crate::peer::Peer;
use crate::pressure::Pressure;
use crate::ring::Ring;
use crate::terms::Terms;

/// Told to a connection over the cap.
const FULL: Refusal = Refusal::new(503, "too many connections");
/// Told to whoever had no connection yet when the core began to stop.
pub(super) const STOPPING: Refusal = Refusal::new(503, "the server is stopping");
/// Told to whoever began a request and did not end it in time.
pub(super) const LATE: Refusal = Refusal::new(408, "the request took too long");
/// The handler's answer could not be written.
const BROKEN: Refusal = Refusal::new(500, "the server made no valid response");

/// The handler gave no answer at all.
const PANICKED: Refusal = Refusal::new(500, "the server failed");

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn feed_head(&mut self, index: u32, bytes: &mut [u8]) {
        let Phase::Head(scan, buffer, _) = &mut self.conns[index as usize].phase else { return };
        let Some(gathered) = buffer else {
            match scan.feed(bytes, &self.config.head_limits) {
                HeadEnd::Complete(len) => {
                    let (head, frames) = bytes.split_at_mut(len);
                    self.on_head(index, head);
                    planted!(FramesBehindHead, return);
                    self.feed_behind(index, frames);
                }
                HeadEnd::Partial => {
                    let mut gathered = self.out.stores.pool.take(bytes.len(), bytes.len());
                    gathered.extend_from_slice(bytes);
                    *buffer = Some(Box::new(gathered));
                }
                HeadEnd::TooLarge => self.refuse(index, &Refusal::HEAD_TOO_LARGE),
            }
            return;
        };
        // Bounded: the scan stops it at the cap, and a segment is at most one receive buffer.
        planted!(HeadPieceLost, gathered.truncate(gathered.len() / 2));
        self.out.stores.pool.append(bytes, gathered);
        match scan.feed(gathered, &self.config.head_limits) {
            HeadEnd::Complete(len) => {
                let mut gathered = buffer.take().expect("matched above");
                self.on_head(index, &gathered[..len]);
                self.feed_behind(index, &mut gathered[len..]);
                self.out.stores.pool.put(*gathered);
            }
            HeadEnd::Partial => {}
            HeadEnd::TooLarge => self.refuse(index, &Refusal::HEAD_TOO_LARGE),
        }
    }

    /// What came behind a head in the same segment.
    fn feed_behind(&mut self, index: u32, bytes: &mut [u8]) {
        match self.conns[index as usize].phase {
            Phase::Asked(_) => self.feed_asked(index, bytes),
            _ => self.feed_frames(index, bytes),
        }
    }

    fn on_head(&mut self, index: u32, head: &[u8]) {
        if self.calls.has_failed() {
            return self.refuse(index, &STOPPING); // at the end of this pass
        }
        let config = std::sync::Arc::clone(&self.config);
        let mut table = HeaderTable::new();
        let request = match Request::parse(head, &config.head_limits, &mut table) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(index, &refusal),
        };
        if let Some(refusal) = self.hear_forwarder(index, &request) {
            return self.refuse(index, &refusal.to_head(request.method() == "HEAD"));
        }
        if planted!(DrainOpens, false; self.out.draining) && request.is_upgrade() {
            return self.refuse_opening(index, request.method() == "HEAD");
        }
        self.out.pending.begin();
        let (peer, more) = (self.out.addresses.get(index), self.out.addresses.lift(index));
        if !request.is_upgrade() {
            let opening = opening(index, &self.conns[index as usize], peer, more.as_deref(), &request, None);
            let response = self.calls.requested(&mut self.out, &opening);
            self.out.addresses.lay(index, more);
            let response = match response {
                Ok(response) => response,
                Err(Panicked) => return self.refuse(index, &PANICKED.to_head(request.method() == "HEAD")),
            };
            return match response.extensions().get::<Pending>() {
                Some(&pending) => self.defer(index, head, pending, false),
                None => self.respond(index, &response, request.method() == "HEAD"),
            };
        }
        let accept = match handshake::accept(&request, &config.policy) {
            Ok(accept) => accept,
            Err(refusal) => {
                self.out.addresses.lay(index, more);
                return self.refuse(index, &refusal);
            }
        };
        let opening = opening(index, &self.conns[index as usize], peer, more.as_deref(), &request, Some(&accept));
        let verdict = self.calls.upgrading(&mut self.out, &opening);
        self.out.addresses.lay(index, more);
        match verdict {
            Ok(verdict) => self.carry_out(index, head, &request, Some(&accept), verdict),
            Err(Panicked) => self.refuse(index, &PANICKED),
        }
    }

    /// The application has found out what it wanted to know of a request, whose head this is.
    pub(super) fn on_found(&mut self, index: u32, head: &[u8], found: H::Mail) {
        let config = std::sync::Arc::clone(&self.config);
        let mut table = HeaderTable::new();
        let request = Request::parse(head, &config.head_limits, &mut table).expect("it was a request when it came");
        let accept = request.is_upgrade().then(|| handshake::accept(&request, &config.policy));
        let accept = accept.map(|accept| accept.expect("it was a handshake when it came"));
        self.out.pending.begin();
        let (peer, more) = (self.out.addresses.get(index), self.out.addresses.lift(index));
        let opening = opening(index, &self.conns[index as usize], peer, more.as_deref(), &request, accept.as_ref());
        let admitted = self.calls.admitting(&mut self.out, &opening, found);
        self.out.addresses.lay(index, more);
        match admitted {
            Ok(verdict) => self.carry_out(index, head, &request, accept.as_ref(), verdict),
            Err(Panicked) => self.refuse(index, &PANICKED.to_head(request.method() == "HEAD")),
        }
    }

    fn defer(&mut self, index: u32, head: &[u8], pending: Pending, is_upgrade: bool) {
        if !self.wait_for_answer(index, head, pending, is_upgrade) {
            let is_head = self.is_head(head);
            self.refuse(index, &BROKEN.to_head(is_head));
        }
    }

    /// What the application says of a request with this head. `accept`: it asks for an upgrade.
    fn carry_out(
        &mut self,
        index: u32,
        head: &[u8],
        request: &Request<'_>,
        accept: Option<&Accept<'_>>,
        verdict: Verdict<H::Conn>,
    ) {
        let Acceptance { conn, subprotocol, headers, pressure, terms } = match verdict.0 {
            VerdictKind::Accept(acceptance) => acceptance,
            VerdictKind::Reject(response) => return self.respond(index, &response, request.method() == "HEAD"),
            VerdictKind::Defer(pending) => return self.defer(index, head, pending, accept.is_some()),
        };
        let Some(accept) = accept else {
            tracing::error!("the handler accepted a request that asks for no upgrade");
            return self.refuse(index, &BROKEN.to_head(request.method() == "HEAD"));
        };
        let subprotocol = match subprotocol {
            Some(name) if request.subprotocols().any(|offered| offered == name) => Some(Cow::Owned(name)),
            Some(name) => {
                tracing::error!(%name, "the handler chose a subprotocol that the client did not offer");
                return self.refuse(index, &BROKEN);
            }
            None => accept.subprotocol.map(Cow::Borrowed),
        };
        let settings = terms.deflate_or(self.config.deflate);
        let compression = match settings.mode {
            Mode::Off => None,
            _ => deflate::choose(request.extensions(), &settings, self.budget.windows(self.windows))
                .expect("`accept` has read them"),
        };
        let mut text = [0; deflate::ANSWER_LEN_MAX];
        let extensions = compression.as_ref().map(|answer| answer.text(&mut text));
        let mut bytes = self.out.stores.pool.take(512, 512);
        let room = bytes.capacity();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let written =
            handshake::write_switching_with(&mut bytes, &accept.key, subprotocol.as_deref(), extensions, headers);
        self.out.stores.pool.note_change(room, bytes.capacity());
        if let Err(error) = written {
            tracing::error!(%error, "the handler's upgrade response cannot be sent");
            self.out.stores.pool.put(bytes);
            return self.refuse(index, &BROKEN);
        }
        self.out.raw(index, bytes);
        if let Some(name) = subprotocol.as_deref() {
            self.out.note(index, |more| more.subprotocol = Some(name.into()));
        }
        self.open(index, Role::Server, compression.map(|answer| answer.agreed()), pressure, &terms, conn);
    }

    /// The handshake is done, from either end.
    pub(super) fn open(
        &mut self,
        index: u32,
        role: Role,
        compression: Option<Agreed>,
        pressure: Option<Pressure>,
        terms: &Terms,
        data: H::Conn,
    ) {
        self.out.stats.opened += 1;
        self.out.stats.open += 1;
        let session = match &compression {
            Some(agreed) => planted!(DeflateUnread, Session::new(role); Session::with_deflate(role, agreed)),
            None => Session::new(role),
        };
        self.windows += u32::from(session.keeps_window());
        self.conns[index as usize].phase = Phase::Open(session);
        #[cfg(feature = "tls")]
        self.note_tls(index);
        self.calls.begin(index, data);
        let memory = self.out.norms.begin(index, terms, &self.config);
        self.out.stores.pool.charge(memory);
        self.limits.set(index, self.out.norms.own(index).map(|norm| &norm.limits));
        let norm = self.out.norms.of(index);
        let packed = |agreed: Agreed| Framing::packed(&norm.deflate, agreed.of(role));
        let framing = compression.map_or(Framing::PLAIN, packed);
        let framing = if role == Role::Client { framing.masked() } else { framing };
        let framing = if norm.sends_apart { framing.apart() } else { framing };
        let (pressure, idle) = (pressure.unwrap_or(norm.pressure(role)), norm.idle);
        let now = self.out.now;
        self.out.peers.settle(index, Event::Opened { now, framing });
        self.out.set_pressure(index, pressure);
        self.out.peers.set_due(index, idle.map(|idle| now.after(idle)));
        self.begin_ages(index);
        self.out.begin_rate(index);
        if self.calls.opened(&mut self.out, index).is_err() {
            self.on_panicked(index);
        }
    }

    /// Answers with the protocol's own refusal and closes.
    pub(super) fn refuse(&mut self, index: u32, refusal: &Refusal) {
        self.out.stats.declined += 1;
        let mut bytes = self.out.stores.pool.take(512, 512);
        handshake::write_refusal(&mut bytes, refusal);
        self.last_words(index, bytes);
    }

    pub(super) fn respond_full(&mut self, index: u32) {
        let mut bytes = self.out.stores.pool.take(512, 512);
        handshake::write_refusal(&mut bytes, &planted!(FullMisnamed, BROKEN; FULL));
        self.last_words(index, bytes);
    }

    /// Answers with the handler's response and closes.
    pub(super) fn respond(&mut self, index: u32, response: &Response, head_only: bool) {
        let broken = BROKEN.to_head(head_only);
        if response.extensions().get::<Pending>().is_some() {
            tracing::error!("the handler has a request wait by an answer, where none can wait");
            return self.refuse(index, &broken);
        }
        let status = response.status();
        let mut bytes = self.out.stores.pool.take(512 + response.body().len(), 0);
        let room = bytes.capacity();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let phrase = status.canonical_reason().unwrap_or("");
        let written =
            handshake::write_response(&mut bytes, status.as_u16(), phrase, headers, response.body(), head_only);
        self.out.stores.pool.note_change(room, bytes.capacity());
        if let Err(error) = written {
            tracing::error!(%error, "the handler's response cannot be sent");
            self.out.stores.pool.put(bytes);
            return self.refuse(index, &broken);
        }
        if !status.is_success() {
            self.out.stats.declined += 1;
        }
        self.last_words(index, bytes);
    }

    /// Queues a response; the connection ends when the peer has had time to read it, whatever it still sends.
    fn last_words(&mut self, index: u32, bytes: Vec<u8>) {
        let conn = &mut self.conns[index as usize];
        let stash = conn.stash.take();
        match std::mem::replace(&mut conn.phase, Phase::Ended) {
            Phase::Head(_, Some(buffer), _) => self.out.stores.pool.put(*buffer),
            Phase::Asked(asked) => self.end_wait(*asked, Wait::Gone),
            Phase::Proxy(buffer, gate) => {
                if let Some(buffer) = buffer {
                    self.out.stats.proxy_failed += 1;
                    self.out.stores.pool.put(*buffer);
                }
                if self.gates[gate as usize].is_secure() {
                    // TLS begins behind the header, so that nothing can be said yet.
                    self.out.stores.pool.put(bytes);
                    return self.die(index);
                }
            }
            _ => {}
        }
        if let Some(stash) = stash {
            self.out.stores.pool.put(stash.bytes);
        }
        let (due, until) = self.out.norms.clocks(index, self.out.now);
        self.out.peers.on(index, Event::Ended { due, until, linger: true });
        self.out.raw(index, bytes);
    }
}

/// What the application is told of a request.
fn opening<'a>(
    index: u32,
    conn: &'a Conn,
    peer: Peer,
    more: Option<&'a More>,
    request: &'a Request<'a>,
    accept: Option<&Accept<'a>>,
) -> Opening<'a> {
    #[cfg(not(feature = "tls"))]
    let _ = conn;
    Opening {
        request,
        subprotocol: accept.and_then(|accept| accept.subprotocol),
        peer,
        via: more.and_then(|more| more.via),
        more,
        #[cfg(feature = "tls")]
        tls: conn.tls.as_deref().map(Sealed::peer),
        index,
    }
}
