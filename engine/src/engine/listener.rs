//! Owns accepting: one multishot accept a listener, re-armed whenever it ends, and the connection cap. When it is
//! reached, who has not asked for anything yet gives way to a newcomer (`heads`).
//!
//! An accept that fails for want of sockets, descriptors or memory, or for a reason that nobody listed, is tried again when a slot is
//! freed or after a short while, and open connections never notice: so no error of the kernel's can have a core do nothing but
//! accept. Each is counted; the log has a line of them now and then, because peers can bring them about.
//!
//! Closing a listener resets what waits in its queue and what is about to: connections whose TCP handshake is under way. So accepting
//! ends in steps. At a listener where nobody waits no connection more may begin, and it goes on accepting for as long as those that have
//! begun may take. Then, if nobody waits, its accept is cancelled; and when that has ended, if still nobody has come, it is closed. Else
//! it accepts again.
//!
//! A listener that another process has too is left at once: its accept is cancelled, whoever that had accepted by then is served, and who waits goes on to wait,
//! for the other.

use std::net::SocketAddr;
use std::time::Duration;

use super::accepts::{Brought, Door, State};
use super::conns::{Conn, Phase};
use super::core::Core;
#[cfg(any(test, feature = "sim"))]
use super::deadlines::Tick;
use super::heads::{Head, Standing};
use super::id::Origin;
use super::inbox::Leaving;
use super::life::Life;
use super::planted::planted;
use super::tokens::CANCEL_ACCEPT;
use super::upgrade::STOPPING;
use crate::handler::Handler;
use crate::peer::Peer;
use crate::ring::{Errno, Kind, Op, Ring, Socket, Token};

/// How long a failed accept waits unless a slot is freed before.
const RETRY: Duration = Duration::from_millis(100);
/// How often a core that accepts nobody any more looks whether all who had been accepted are open, answered or gone.
const LOOK: Duration = Duration::from_millis(5);
/// How much longer than their time to open they may take.
const SPARE: Duration = Duration::from_secs(1);

impl<R: Ring, H: Handler> Core<R, H> {
    /// Arms each accept that has ended and whose time has come.
    pub(super) fn arm_accepts(&mut self) {
        if self.out.stop_accepting {
            self.close_listeners();
        }
        let now = self.ring.now();
        if self.listeners.next_at.is_none_or(|at| at > now) {
            return;
        }
        for listener in 0..self.listeners.states.len() as u32 {
            if self.listeners.states[listener as usize].arms_at().is_some_and(|at| at <= now) {
                self.listeners.set(listener, State::Armed);
                self.ring.submit(Token::new(Kind::Accept, 0, listener), Op::Accept { listener });
            }
        }
    }

    /// Takes each listener a step further towards its end.
    #[cold]
    fn close_listeners(&mut self) {
        for listener in 0..self.listeners.states.len() as u32 {
            let state = self.listeners.states[listener as usize];
            match state {
                State::Armed if self.may_close(listener) => {
                    self.listeners.set(listener, State::Leaving);
                    let target = Token::new(Kind::Accept, 0, listener);
                    self.ring.submit(CANCEL_ACCEPT, Op::Cancel { target });
                }
                State::Ended | State::Waiting(_) => self.close_listener(listener),
                State::Armed | State::Leaving | State::Closed => {}
            }
        }
        let is_asked = self.listeners.leaving < Leaving::Left && self.listeners.shared.is_some();
        if is_asked && self.listeners.are_closed() {
            self.look_who_is_left();
        }
    }

    /// Tells other threads that nobody is accepted any more, and once nobody is left who was and is not open yet.
    fn look_who_is_left(&mut self) {
        let now = self.ring.now();
        if self.listeners.look_at.is_some_and(|at| at > now) {
            return;
        }
        // Each has its own deadline, which is that long; this is in case of one that does not hold.
        let by = *self.listeners.left_by.get_or_insert_with(|| now.plus(self.config.handshake_timeout).plus(SPARE));
        // Whom this core has dialled nobody else can serve, and he may take long to answer: he goes with the stop.
        let is_coming = |(index, _): (usize, &Conn)| {
            let link = self.out.link(index as u32);
            matches!(link.life, Life::Head { .. }) && !link.tenant.is_dialled()
        };
        let waits = by > now && self.conns.iter().any(is_coming);
        let come = if waits { Leaving::Closed } else { Leaving::Left };
        self.listeners.look_at = (come < Leaving::Left).then(|| now.plus(LOOK));
        if come > self.listeners.leaving {
            self.listeners.leaving = come;
            self.control.tell_leaving(come);
        }
    }

    /// Which listeners another process has too, and whether one that had has gone.
    pub(super) fn hear_shared(&mut self) {
        if let Some(shared) = self.control.take_shared() {
            self.listeners.shared = Some(shared);
        }
        if self.control.take_again() {
            for listener in 0..self.listeners.states.len() as u32 {
                if self.listeners.states[listener as usize] == State::Armed {
                    // It ends as if by itself, and is armed again.
                    let target = Token::new(Kind::Accept, 0, listener);
                    self.ring.submit(CANCEL_ACCEPT, Op::Cancel { target });
                }
            }
        }
    }

    /// Nobody waits at it or is on the way to it, or the time for those who are is over.
    fn may_close(&mut self, listener: u32) -> bool {
        planted!(QueueForgotten, return true);
        let is_late = self.listeners.until.is_some_and(|until| until.is_due(self.heard.tick()));
        if is_late || self.listeners.is_shared(listener) {
            return true;
        }
        let now = self.ring.now();
        let mut door = self.listeners.door(listener, now);
        if matches!(door, Door::Ajar(_)) || self.ring.has_waiting(listener) {
            return false;
        }
        if door == Door::Open {
            // Where others can begin meanwhile, there are always some on the way.
            let is_deaf = self.ring.deafen(listener);
            let trip = if planted!(TripForgotten, false; is_deaf) { self.config.linger } else { Duration::ZERO };
            self.listeners.set_door(listener, Door::Ajar(now.plus(trip)));
            door = self.listeners.door(listener, now);
        }
        door == Door::Shut
    }

    /// Closes a listener whose accept has ended, unless somebody waits there or is on the way.
    fn close_listener(&mut self, listener: u32) {
        if self.may_close(listener) {
            self.listeners.set(listener, State::Closed);
            self.ring.unlisten(listener);
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        listener: u32,
        result: Result<Socket, Errno>,
        peer: Option<SocketAddr>,
        more: bool,
    ) {
        let now = self.ring.now();
        let brought = Brought::of(&result);
        if let (Brought::Failed, Err(errno)) = (brought, &result) {
            self.out.stats.accept_errors += 1;
            self.listeners.note_failure(listener, *errno, now);
        }
        if !more {
            let after = self.listeners.states[listener as usize].after(brought, now.plus(RETRY));
            self.listeners.set(listener, after);
        }
        if let Ok(socket) = result {
            let peer = peer.map_or_else(Peer::default, Peer::from);
            if self.admitted >= self.connections_max {
                return self.arrivals.push((listener, socket, peer));
            }
            self.insert(listener, socket, peer);
        }
    }

    /// Those who came when all places were taken: whoever might give way to them has been heard now. `more`: as far as it had come.
    #[cold]
    pub(super) fn take_arrivals(&mut self, more: bool) {
        self.heads.end_reading(more);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (listener, socket, peer) in arrivals.drain(..) {
            self.insert(listener, socket, peer);
        }
        self.arrivals = arrivals;
    }

    /// A new connection of a peer.
    fn insert(&mut self, gate: u32, socket: Socket, peer: Peer) {
        self.out.stats.accepted += 1;
        let awaits_header = self.gates[gate as usize].requires_header();
        // A proxy's connections are its clients', who are counted when they are known.
        let is_counted = !awaits_header && !self.gates[gate as usize].trusts(peer);
        let has_room = !is_counted || self.has_room_for(peer);
        if !has_room || !self.takes(if awaits_header { peer.as_proxy() } else { peer }) {
            let index = self.take_slot(socket, Phase::Ended, Duration::ZERO);
            return self.die(index);
        }
        let tight = self.budget.is_tight();
        let full = self.stopping.is_none() && !tight && !self.has_place(0);
        let phase = if awaits_header { Phase::Proxy(None, gate) } else { Phase::Head(Default::default(), None, gate) };
        let index = self.take_slot(socket, phase, self.config.handshake_timeout);
        self.out.addresses.set(index, peer);
        if is_counted {
            self.crowd.enter(index, peer);
        }
        #[cfg(feature = "tls")]
        if !awaits_header && !self.secure(index, gate) {
            return self.die(index);
        }
        if self.stopping.is_some() {
            self.refuse(index, &STOPPING);
        } else if full || tight {
            #[cfg(any(test, feature = "sim"))]
            self.check_refused(full);
            self.count_refused(full);
            self.respond_full(index);
        } else {
            self.admit(index, Origin::Accepted);
            let head = Head { index, generation: self.out.link(index).tenant.generation(), since: self.ring.now() };
            let mut heads = std::mem::take(&mut self.heads);
            heads.add(head, |head| self.stands(head));
            self.heads = heads;
        }
    }

    /// Whether the network of a peer has room for a connection more; if not, that is counted.
    #[inline]
    pub(super) fn has_room_for(&mut self, peer: Peer) -> bool {
        let has_room = self.crowd.has_room_for(peer);
        self.out.stats.crowded += u64::from(!has_room);
        has_room
    }

    /// Whether the application takes a peer. Of whom a core that stops is told, it is not asked.
    pub(super) fn takes(&mut self, peer: Peer) -> bool {
        let is_stopping = self.stopping.is_some() || self.calls.has_failed();
        let takes = is_stopping
            || planted!(TurnedAwayServed, true; self.calls.accepting(&mut self.out, &peer).unwrap_or(false));
        self.out.stats.turned_away += u64::from(!takes);
        takes
    }

    /// Whether there is a place for a connection more: one that is free, or that of a peer which has not asked for anything yet and gives way.
    /// `coming`: so many are already on their way to theirs.
    pub(super) fn has_place(&mut self, coming: u32) -> bool {
        self.admitted + coming < self.connections_max || self.displace()
    }

    /// Has the connection give way that has been awaited for longest, if there is one. It counts against the cap no more.
    #[cold]
    fn displace(&mut self) -> bool {
        let mut heads = std::mem::take(&mut self.heads);
        let heard = heads.heard(self.heard.until(), self.ring.now());
        let found = heads.give_way(heard, |head| self.stands(head));
        self.heads = heads;
        let Some((Head { index, .. }, standing)) = found else { return false };
        self.out.stats.displaced += 1;
        if planted!(DisplacedKept, false; true) {
            let link = self.out.peers.touch(index);
            link.tenant = link.tenant.from(Origin::Guest);
            self.admitted -= 1;
        }
        // Whoever has said nothing has asked for nothing; and there is no answer where TLS has not begun.
        let has_asked = standing == Standing::Begun;
        #[cfg(feature = "tls")]
        let has_asked = has_asked && !self.is_handshaking(index);
        if has_asked {
            self.respond_full(index)
        } else {
            self.die(index)
        }
        true
    }

    /// Nobody is refused for want of a place that is a silent one's; for tests, which look at everybody.
    #[cfg(any(test, feature = "sim"))]
    fn check_refused(&self, full: bool) {
        let until = self.heads.heard(self.heard.until(), self.ring.now());
        let heard = Tick::of(until);
        let is_known = full && self.heads.was_full() && self.heads.are_heard(until);
        for (index, _) in self.conns.iter().filter(|_| is_known) {
            let (index, link) = (index as u32, self.out.link(index as u32));
            let Life::Head { due, .. } = link.life else { continue };
            let head = Head { index, generation: link.tenant.generation(), since: self.ring.now() };
            let is_old = due.after(Duration::from_millis(16)).is_due(heard.after(self.config.handshake_timeout));
            assert!(!is_old || self.stands(&head) != Standing::Silent, "a silent connection kept its place");
        }
    }

    /// How a connection stands that was awaited when it came.
    fn stands(&self, head: &Head) -> Standing {
        let link = self.out.link(head.index);
        let is_it = link.tenant.generation() == head.generation && link.tenant.origin() == Origin::Accepted;
        let Some(conn) = self.conns.get(head.index as usize).filter(|_| is_it) else { return Standing::Gone };
        let (Phase::Head(_, gathered, _) | Phase::Proxy(gathered, _)) = &conn.phase else { return Standing::Gone };
        if !matches!(link.life, Life::Head { .. }) {
            return Standing::Gone;
        }
        let waits = conn.stash.is_some() || self.shortage.waits(head.index);
        #[cfg(feature = "tls")]
        let waits = waits || self.handshake_waits(head.index);
        let has_begun = gathered.is_some();
        #[cfg(feature = "tls")]
        let has_begun = has_begun || conn.tls.as_ref().is_some_and(|sealed| sealed.tls.has_begun());
        match (waits, has_begun) {
            (true, _) => Standing::Ours,
            (false, true) => Standing::Begun,
            (false, false) => Standing::Silent,
        }
    }

    /// Counts a connection that is told 503.
    fn count_refused(&mut self, full: bool) {
        if full {
            self.out.stats.full += 1;
        } else {
            self.out.stats.memory_refused += 1;
            self.budget.note_refused();
        }
    }

    /// Counts a connection against the cap.
    pub(super) fn admit(&mut self, index: u32, origin: Origin) {
        assert!(self.admitted < self.connections_max, "more connections than places");
        let link = self.out.peers.touch(index);
        link.tenant = link.tenant.from(origin);
        self.admitted += 1;
    }

    /// A slot for a connection that is to open within `timeout`.
    pub(super) fn take_slot(&mut self, socket: Socket, phase: Phase, timeout: Duration) -> u32 {
        let conn = Conn {
            phase,
            stash: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        let index = self.conns.insert(conn) as u32;
        self.out.peers.take(index, socket, self.out.now.after(timeout));
        index
    }
}
