//! What happens to connections whose deadline has come.

use wsring_proto::close::CloseCode;

use super::begun::Round;
use super::conns::Phase;
use super::core::Core;
use super::deferred::UNDECIDED;
use super::life::Life;
use super::patience::LOOK;
use super::planted::planted;
use super::upgrade::LATE;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Errno, Ring};

/// Deadlines looked at in a turn.
const EXPIRE_MAX: usize = 512;

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn expire_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.out.peers.advance(self.heard.tick(), &mut due, EXPIRE_MAX);
        for index in due.drain(..) {
            self.expire(index);
        }
        self.due = due;
        self.expire_stop();
    }

    /// The deadline of a connection has come, or the wheel's horizon before it.
    pub(super) fn expire(&mut self, index: u32) {
        let heard = self.heard.tick();
        let life = self.out.link(index).life;
        if let Some(due) = life.due().filter(|due| !due.is_due(heard)) {
            return self.out.peers.set_due(index, Some(due));
        }
        match life {
            Life::Head { .. } => {
                self.out.stats.timeouts += 1;
                self.expire_head(index);
            }
            Life::Quiet { .. } | Life::Pinged { .. } if self.is_stalled(index) => self.end_stalled(index),
            Life::Quiet { .. } | Life::Pinged { .. } => {
                self.expire_idle(index);
                self.out.peers.set_round_due(index);
            }
            Life::Broken { errno, .. } => {
                self.end(index, &CloseReason::Reset(Errno(errno.into())), false);
                self.die(index);
            }
            Life::Closing { .. } | Life::Finishing { .. } | Life::Lingering { .. } => self.look_at(index, LOOK),
            Life::Dying(..) | Life::Free => {}
        }
    }

    /// Whether a message that has begun to come on an open connection comes too slowly. What is not read is not late.
    fn is_stalled(&mut self, index: u32) -> bool {
        if self.out.peers.begun().end(index).is_none() {
            return false;
        }
        let conn = &self.conns[index as usize];
        let Phase::Open(session) = &conn.phase else { return false };
        let Some(kept) = session.begun() else {
            self.out.peers.begun().clear(index);
            return false;
        };
        let is_read = self.out.link(index).life.takes_messages() && conn.stash.is_none() && !self.shortage.waits(index);
        let kept = is_read.then_some(planted!(ProgressUncounted, 0; kept));
        let (now, heard) = (self.out.now, self.heard.tick());
        let Some(round) = self.out.norms.of(index).round else { return false };
        matches!(self.out.peers.begun().look(index, now, heard, round, kept), Some(Round::Failed))
    }

    /// It is told why, and what else comes of it is discarded.
    fn end_stalled(&mut self, index: u32) {
        self.out.stats.timeouts += 1;
        self.out.close_frame(index, Some(CloseCode::POLICY), "message timeout");
        self.end(index, &CloseReason::Stalled, true);
    }

    /// RFC 9110 §15.5.9: a client that has begun a request is told that it took too long. One that has said nothing asks for nothing; and one whose
    /// request waits for its answer is told that we did (§15.6.4).
    fn expire_head(&mut self, index: u32) {
        if planted!(DeferredForEver, matches!(self.conns[index as usize].phase, Phase::Asked(_)); self.expire_asked(index, &UNDECIDED))
        {
            return;
        }
        let has_begun = matches!(self.conns[index as usize].phase, Phase::Head(_, Some(_), _));
        // Both bugs are in who is cut without a word.
        if planted!(HeadAfterDeath, false; planted!(UnreadCut, false; has_begun)) {
            return self.refuse(index, &LATE);
        }
        self.end_head(index, &CloseReason::Timeout);
    }

    /// An open connection: ping a silent peer, and end one that does not answer.
    pub(super) fn expire_idle(&mut self, index: u32) {
        if self.out.link(index).life.is_timed_by_output() {
            return self.expire_output(index);
        }
        let norm = self.out.norms.of(index);
        let (Some(idle), pong) = (norm.idle, norm.pong) else { return };
        let (now, heard) = (self.out.now, self.heard.tick());
        if self.shortage.waits_for_memory(index) {
            // Its answer may lie unread: it is asked again when it is read, which is soon or never.
            self.out.peers.life(index).forget_ping(now);
            return self.out.peers.set_due(index, Some(now.after(idle)));
        }
        let life = self.out.peers.life(index);
        match *life {
            // It may be taking what stands between it and our ping.
            Life::Pinged { due, .. } if due.is_due(heard) => self.look_at(index, pong),
            Life::Pinged { due, .. } => self.out.peers.set_due(index, Some(due)),
            Life::Quiet { since, .. } if !since.after(idle).is_due(heard) => {
                self.out.peers.set_due(index, Some(since.after(idle)));
            }
            _ => {
                let due = now.after(pong);
                life.on_pinged(due);
                self.out.peers.mark(index);
                self.out.forget_look(index);
                self.out.ping(index);
                self.out.peers.set_due(index, Some(due));
            }
        }
    }

    /// One that is not read, so that its silence is ours, or whose output is high, so that its words are cheap: it must take what is
    /// queued for it.
    fn expire_output(&mut self, index: u32) {
        let (now, heard) = (self.out.now, self.heard.tick());
        let is_sending = self.out.link(index).output.is_sending;
        let norm = self.out.norms.of(index);
        let (idle, take) = (norm.idle, norm.take);
        let life = self.out.peers.life(index);
        life.forget_ping(now); // its answer may lie unread: ask again when it is read
        let Life::Quiet { taken, .. } = *life else { return };
        let due = planted!(OutputUntimed, now.after(take); taken.after(take));
        if is_sending && due.is_due(heard) {
            return self.look_at(index, take);
        }
        // It may be read again before that, and then its silence counts.
        let look = idle.map(|idle| now.after(idle));
        let next = match look {
            Some(look) if !is_sending || look.is_due(due) => Some(look),
            _ => is_sending.then_some(due),
        };
        self.out.peers.set_due(index, next);
    }
}
