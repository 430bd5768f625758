//! How a core is drained: nobody more opens, each connection that a peer has opened has its turn to go, and when all have gone the core stops; or at the
//! deadline, whoever is left.

use http::{HeaderValue, StatusCode, header};
use wsring_proto::close::CloseCode;

use super::conns::Phase;
use super::core::Core;
use super::draining::Draining;
use super::id::ConnId;
use super::planted::planted;
use crate::cores::CoreState;
use crate::drain::Drain;
use crate::handler::{CloseReason, Handler, Response};
use crate::ring::{Ring, Time};

/// Turns of a pass: sockets do not wait for more.
const TURNS_MAX: usize = 512;

impl<R: Ring, H: Handler> Core<R, H> {
    /// Begins a drain, or makes the one that has begun shorter.
    #[cold]
    pub(super) fn take_up_drain(&mut self, drain: &Drain) {
        if self.stopping.is_some() || self.calls.has_failed() {
            return;
        }
        let (now, closing) = (self.out.clock, self.config.closing_timeout);
        if let Some(draining) = &mut self.draining {
            return draining.shorten(drain, now, closing, &mut self.out.random);
        }
        self.control.tell(CoreState::Draining);
        let is_accepted = |index: usize| !self.out.link(index as u32).tenant.is_dialled();
        let open =
            self.conns.iter().filter(|(index, conn)| matches!(conn.phase, Phase::Open(_)) && is_accepted(*index));
        let all: Vec<ConnId> = open.map(|(index, _)| self.out.peers.id_of(index as u32)).collect();
        self.out.stats.drains += 1;
        self.out.stats.drain_open += all.len() as u64;
        tracing::info!(open = all.len(), window = ?drain.window, "a core is drained");
        self.draining = Some(Box::new(Draining::new(drain, all, now, closing, &mut self.out.random)));
        self.out.draining = true;
        let is_asked = |conn: &Phase| matches!(conn, Phase::Asked(asked) if asked.is_upgrade);
        let asked = self.conns.iter().filter(|(_, conn)| is_asked(&conn.phase));
        for index in asked.map(|(index, _)| index as u32).collect::<Vec<u32>>() {
            self.end_asked(index);
            self.refuse_opening(index, false);
        }
        self.calls.draining(&mut self.out, drain);
    }

    /// The same of what the application asks for.
    #[cold]
    pub(super) fn take_up_own_drains(&mut self) {
        for drain in std::mem::take(&mut self.out.drains) {
            self.take_up_drain(&drain);
        }
    }

    /// When a core that is drained has something to do.
    pub(super) fn drain_due(&self) -> Option<Time> {
        self.draining.as_ref().filter(|_| self.stopping.is_none()).map(|draining| draining.due())
    }

    /// Whose turn has come is told to go; who was the last, or the deadline, ends it.
    #[inline]
    pub(super) fn drive_drain(&mut self) {
        if self.draining.is_some() && self.stopping.is_none() {
            self.part_with_due();
        }
    }

    #[cold]
    fn part_with_due(&mut self) {
        let now = self.out.clock;
        let Some(by) = self.draining.as_ref().map(|draining| draining.turns.due_by(now)) else { return };
        for _ in 0..TURNS_MAX {
            if self.calls.has_failed() {
                return; // the stop that comes now has other words
            }
            let next = self.draining.as_mut().and_then(|draining| draining.turns.pop(by, &mut self.out.random));
            let Some(id) = next else { break };
            self.part_with(id);
        }
        let Some(draining) = &mut self.draining else { return };
        draining.turns.end_pass(by, now, &mut self.out.random);
        if (draining.is_late(now) || draining.is_done(now)) && !self.calls.has_failed() {
            let (code, reason) = (draining.code, draining.reason.clone());
            self.stop_saying((code, &reason), (CloseCode::GOING_AWAY, "client stopping"));
        }
    }

    /// The turn of this connection has come. One that is ending already does so by itself.
    fn part_with(&mut self, id: ConnId) {
        let Some(index) = self.out.peers.find_open(id).filter(|&index| self.out.link(index).life.is_open()) else {
            return;
        };
        planted!(
            DrainForgets,
            if index % 3 == 1 {
                return;
            }
        );
        if let Some(draining) = &mut self.draining {
            draining.tell(index);
        }
        if self.calls.goodbye(&mut self.out, index).is_err() {
            return self.on_panicked(index);
        }
        // It may have been closed in other words, or cut.
        if let Some(draining) = self.draining.as_ref().filter(|_| self.out.link(index).life.is_open()) {
            self.out.flush_and_close(index, draining.code, &draining.reason);
        }
    }

    /// The connection was told to go, and has not ended yet.
    pub(super) fn is_told_to_go(&self, index: u32) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.is_told(index))
    }

    /// An open connection has ended.
    #[inline]
    pub(super) fn note_gone(&mut self, index: u32, why: &CloseReason<'_>) {
        if self.draining.is_some() && !self.out.link(index).tenant.is_dialled() {
            self.count_gone(index, why);
        }
    }

    #[cold]
    fn count_gone(&mut self, index: u32, why: &CloseReason<'_>) {
        let Some(draining) = &mut self.draining else { return };
        let stats = &mut self.out.stats;
        let count = match (draining.end(index), why) {
            (true, CloseReason::Drained { clean: true }) => &mut stats.drain_closed,
            (true, _) => &mut stats.drain_unanswered,
            (false, _) if self.stopping.is_some() => &mut stats.drain_stopped,
            (false, _) => &mut stats.drain_left,
        };
        *count += planted!(DrainMiscounts, u64::from(!matches!(why, CloseReason::Reset(_))); 1);
    }

    /// Whoever asks for a WebSocket is told that there are none here any more, and when to ask again (RFC 9110 §15.6.4).
    #[cold]
    pub(super) fn refuse_opening(&mut self, index: u32, head_only: bool) {
        self.out.stats.drain_refused += 1;
        let mut response = Response::new(b"the server is draining\n".to_vec());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = self.draining.as_ref().map_or(1, |draining| draining.retry_after);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        self.respond(index, &response, head_only);
    }
}
