//! What a core does about its memory: those who hold most are not read, and closed if that does not do; what nobody needs is given
//! back.
//!
//! Memory is added up where it is allocated and freed (`Pool::held_bytes`), so a message costs nothing more for having a budget; who
//! has it is found out only when it is tight, by looking at connections, a bounded number in a pass. Entered when more has been
//! allocated, and as often as the [`Budget`](super::budget::Budget) wants.

use wsring_proto::close::CloseCode;

use super::budget::{Holder, Level, PIECES_MAX};
use super::conns::Phase;
use super::core::Core;
use super::flight::Recv;
use super::holding::Holding;
use super::life::{Event, Life, Parting};
use super::planted::planted;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Kind, Op, Ring, Token};

impl<R: Ring, H: Handler> Core<R, H> {
    /// In the middle of a pass more memory was allocated: if it is too much, the largest holders go before anything else is read.
    #[cold]
    #[inline(never)]
    pub(super) fn on_growth(&mut self) {
        self.note_use();
        self.relieve();
    }

    /// At the end of a pass in which more was allocated, or that the budget wanted.
    #[cold]
    #[inline(never)]
    pub(super) fn look_after_memory(&mut self) {
        let now = self.ring.now();
        let is_due = self.budget.is_due(now);
        if is_due {
            self.tidy();
        }
        self.note_use();
        self.relieve();
        if self.budget.is_tight() {
            self.look_for_holders();
            self.hold_holders();
            let lent = self.out.stores.pool.lent_bytes();
            self.budget.tell(lent, now);
        }
    }

    /// Tells the budget how much is in use, and does what begins or ends with that.
    fn note_use(&mut self) {
        let pool = &mut self.out.stores.pool;
        let (lent, held) = (pool.lent_bytes(), pool.held_bytes());
        if self.budget.on_use(lent, held, self.ring.now()) == Some(Level::Calm) {
            planted!(HoldKept, return);
            for (index, generation) in self.budget.take_held() {
                if self.out.link(index).tenant.generation() == generation && self.shortage.release(index) {
                    self.out.peers.mark(index);
                }
            }
        }
        // While it is tight each pass and each receive asks.
        if !self.budget.is_tight() {
            self.out.stores.pool.clear_news();
        }
    }

    /// Closes the largest holders until no more is in use than may be. Memory of those who were cut before is on its way back.
    fn relieve(&mut self) {
        let goal = self.budget.goal(self.ring.now());
        let peers = &self.out.peers;
        let is_busy = |index: u32, generation| {
            let link = peers.get(index);
            link.tenant.generation() == generation && link.output.is_sending
        };
        let waits = self.budget.is_leaving(is_busy) && !self.budget.is_far_above(self.out.stores.pool.lent_bytes());
        while !waits && self.out.stores.pool.lent_bytes() > goal {
            let Some(holder) = self.largest_holder() else { return };
            self.squeeze(holder);
        }
    }

    /// Takes the largest holder of those that are known, if it still holds what it did.
    fn largest_holder(&mut self) -> Option<Holder> {
        loop {
            let Some(holder) = self.budget.next_holder() else {
                if !self.look_for_holders() {
                    return None;
                }
                continue;
            };
            let is_still = self.holder(holder.index as usize).map(|(now, _)| now);
            if is_still.is_some_and(|now| now.generation == holder.generation && now.memory >= holder.memory / 2) {
                return is_still;
            }
        }
    }

    /// What a connection holds that can be made to let go, and in how many pieces.
    fn holder(&self, index: usize) -> Option<(Holder, usize)> {
        let (conn, link) = (self.conns.get(index)?, self.out.link(index as u32));
        if matches!(link.life, Life::Free | Life::Dying(..)) || matches!(conn.phase, Phase::Answer(_)) {
            return None;
        }
        let Holding { memory, sending, pieces, .. } = Holding::of(link, conn, &self.out.stores);
        let sending = link.output.lent.bytes(sending, self.out.stores.mean_part());
        let memory = memory + sending + self.out.packer.own_bytes(index) + self.out.waiting_part(index as u32);
        Some((Holder { memory, index: index as u32, generation: link.tenant.generation() }, pieces))
    }

    /// Looks at connections, once a pass and so many: those remembered hold at least half of an equal share of what is in use. Whether
    /// anybody was found.
    fn look_for_holders(&mut self) -> bool {
        let slots = self.conns.iter().next_back().map_or(0, |(index, _)| index + 1);
        let Some(look) = self.budget.look(self.out.stats.passes, slots) else { return false };
        let (share, mut found, mut looked, mut pieces) = (self.share(), Vec::new(), 0, 0);
        for at in look {
            looked += 1;
            if let Some((holder, of)) = self.holder(at % slots) {
                pieces += of;
                found.extend((holder.memory >= share / 2).then_some(holder));
            }
            if pieces > PIECES_MAX {
                break;
            }
        }
        let any = !found.is_empty();
        self.budget.end_look(looked, slots, found);
        any
    }

    /// What each connection would have if all had the same.
    fn share(&self) -> usize {
        self.out.stores.pool.lent_bytes() / self.conns.len().max(1)
    }

    /// Reads no more from those who hold more than their share.
    fn hold_holders(&mut self) {
        let share = self.share();
        let holders: Vec<Holder> =
            self.budget.holders().iter().filter(|holder| holder.memory > share).copied().collect();
        for Holder { index, generation, .. } in holders {
            let link = self.out.link(index);
            if link.tenant.generation() != generation || !link.life.is_open() || !self.shortage.hold(index) {
                continue;
            }
            self.budget.note_held(index, generation);
            self.out.peers.begun().excuse(index);
            let link = self.out.peers.touch(index);
            if link.flight.recv == Recv::Armed {
                link.flight.recv = Recv::Cancelling;
                link.flight.cancels += 1;
                let token = |kind| Token::new(kind, generation, index);
                self.ring.submit(token(Kind::Cancel), Op::Cancel { target: token(Kind::Recv) });
            }
        }
    }

    /// Has a connection let go of what it holds. It is told where its socket still takes that: 1009 for half a message, 1013
    /// (<https://www.iana.org/assignments/websocket>: try again later) for anything else. One with output before that is cut.
    fn squeeze(&mut self, Holder { index, generation, .. }: Holder) {
        self.out.stats.memory_closed += 1;
        self.budget.note_closed();
        let link = self.out.link(index);
        let (life, takes_words) = (link.life, link.output.queued == 0 && !link.output.is_sending);
        if let Life::Head { .. } = life {
            #[cfg(feature = "tls")]
            if self.conns[index as usize].tls.is_some() {
                return self.die(index);
            }
            return self.respond_full(index);
        }
        if life.is_open() && takes_words {
            let is_in_message =
                matches!(&self.conns[index as usize].phase, Phase::Open(session) if session.holds_buffer());
            let code = if is_in_message { CloseCode::TOO_BIG } else { CloseCode::TRY_AGAIN };
            self.out.close_frame(index, Some(code), "the server is short of memory");
            return self.end(index, &CloseReason::Memory, true);
        }
        if life.is_the_applications() {
            self.end(index, &CloseReason::Memory, false);
        }
        // By a reset: the kernel is to keep nothing for it either.
        self.out.peers.on(index, Event::Died(Parting::Reset));
        if self.out.link(index).output.is_sending {
            self.budget.note_leaving(index, generation);
        }
        self.give_up_output(index);
    }

    /// Frees what nobody has needed for a while, and asks the allocator to give back what was freed, if that is much.
    fn tidy(&mut self) {
        self.out.stores.pool.tidy(self.budget.floor());
        self.out.forms.clear();
        self.out.tidy_topics();
        let (held, now) = (self.out.stores.pool.held_bytes(), self.ring.now());
        if self.budget.wants_trim(held, now) && self.trim.as_ref().is_none_or(|trim| trim()) {
            self.budget.note_trimmed(held, now);
        }
    }
}
