//! Requests that the application answers later: kept when it defers, and answered when the letter comes, by the deadline of the handshake, or by the
//! core that stops or is drained.
//!
//! While one waits, its connection is one whose handshake is not done: it counts against the cap, does not give way there, because it has asked,
//! and is read, so that a peer that goes is noticed. What comes behind a request for an upgrade is stashed, within the bounds of any stash; what comes
//! behind another is its body, which nobody reads.

use wsring_proto::handshake::{HeaderTable, Refusal, Request};

use super::conns::Phase;
use super::core::Core;
use super::panics::let_go;
use super::pending::{Asked, Pending};
use super::planted::planted;
use crate::handler::{Handler, Response};
use crate::ring::Ring;

/// Told to whoever got no answer of the application in time.
pub(super) const UNDECIDED: Refusal = Refusal::new(503, "the server took too long to decide");

/// What ends the wait of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The application has answered.
    Answered,
    /// Its time was over, or the core began to stop or to be drained.
    Expired,
    /// Its connection has ended.
    Gone,
}

impl<R: Ring, H: Handler> Core<R, H> {
    /// Has a request wait for its answer. False if that is not the name that its callback was given.
    pub(super) fn wait_for_answer(&mut self, index: u32, head: &[u8], pending: Pending, is_upgrade: bool) -> bool {
        if !self.out.pending.has_given(pending) {
            tracing::error!(?pending, "the handler deferred a request by the name of another");
            return false;
        }
        let mut kept = self.out.stores.pool.take(head.len(), head.len());
        kept.extend_from_slice(head);
        self.conns[index as usize].phase = Phase::Asked(Box::new(Asked { pending, head: kept, is_upgrade }));
        self.out.stats.deferred += 1;
        self.out.stats.pending += 1;
        self.out.peers.mark(index);
        true
    }

    /// Bytes that come behind a request which waits.
    pub(super) fn feed_asked(&mut self, index: u32, bytes: &[u8]) {
        let Phase::Asked(asked) = &self.conns[index as usize].phase else { return };
        if asked.is_upgrade && !bytes.is_empty() {
            planted!(BehindLost, return);
            self.stash(index, bytes);
        }
    }

    /// A request waits no more. What was kept of it goes back.
    pub(super) fn end_wait(&mut self, asked: Asked, wait: Wait) {
        self.out.stores.pool.put(asked.head);
        self.count_wait(wait);
    }

    fn count_wait(&mut self, wait: Wait) {
        let stats = &mut self.out.stats;
        stats.pending -= planted!(GonePending, u64::from(wait != Wait::Gone); 1);
        match wait {
            Wait::Answered => stats.deferred_answered += 1,
            Wait::Expired => stats.deferred_expired += 1,
            Wait::Gone => stats.deferred_gone += 1,
        }
    }

    /// A request that waits is told that there is no answer. False if none does on this connection.
    pub(super) fn expire_asked(&mut self, index: u32, refusal: &Refusal) -> bool {
        let ended = self.end_asked(index);
        if let Some(is_head) = ended {
            self.refuse(index, &refusal.to_head(is_head));
        }
        ended.is_some()
    }

    /// A request that waits does so no more, and is to be told at once that there is no answer: whether it is a HEAD. `None` if none does on this connection.
    pub(super) fn end_asked(&mut self, index: u32) -> Option<bool> {
        let Phase::Asked(asked) = &mut self.conns[index as usize].phase else { return None };
        let head = std::mem::take(&mut asked.head);
        self.conns[index as usize].phase = Phase::Head(Default::default(), None, 0);
        let is_head = self.is_head(&head);
        self.out.stores.pool.put(head);
        self.count_wait(Wait::Expired);
        Some(is_head)
    }

    /// The connection on which the request of this name waits, and what was kept of it; then it waits no more. `None`, and counted: it has ended.
    fn take_asked(&mut self, pending: Pending) -> Option<(u32, Asked)> {
        let index = pending.index();
        let conn = self.conns.get_mut(index as usize);
        let phase =
            conn.map(|conn| &mut conn.phase).filter(|phase| matches!(phase, Phase::Asked(asked) if asked.is(pending)));
        let Some(phase) = phase else {
            self.out.stats.answers_late += planted!(LateUncounted, 0; 1);
            return None;
        };
        let Phase::Asked(asked) = std::mem::replace(phase, Phase::Head(Default::default(), None, 0)) else {
            unreachable!("it was looked at")
        };
        self.count_wait(Wait::Answered);
        Some((index, *asked))
    }

    /// The application has found out what it wanted to know of a request.
    pub(super) fn on_admit(&mut self, pending: Pending, found: H::Mail) {
        let Some((index, Asked { head, .. })) = self.take_asked(pending) else { return let_go(found) };
        self.on_found(index, &head, found);
        self.out.stores.pool.put(head);
    }

    /// The application has answered a request.
    pub(super) fn on_response(&mut self, pending: Pending, response: &Response) {
        let Some((index, Asked { head, .. })) = self.take_asked(pending) else { return };
        planted!(AnswerForgotten, {
            self.out.stores.pool.put(head);
            return;
        });
        let is_head = self.is_head(&head);
        self.respond(index, response, is_head);
        self.out.stores.pool.put(head);
    }

    /// Whether a request that was kept is a HEAD.
    pub(super) fn is_head(&self, head: &[u8]) -> bool {
        let mut table = HeaderTable::new();
        let request = Request::parse(head, &self.config.head_limits, &mut table);
        request.is_ok_and(|request| request.method() == "HEAD")
    }
}
