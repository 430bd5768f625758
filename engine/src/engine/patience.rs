//! How long the engine waits for peers to take what is sent to them, and what becomes of those that do not.
//!
//! When the deadline of such a connection comes, the kernel is asked how much the peer has not acknowledged. A peer that took any since the
//! last look is alive, and its deadline moves; one that took none is cut. Who is cut is told if it has taken everything else, so that
//! a Close reaches it, and reset if it has not: the kernel would keep megabytes for it for minutes after the slot is free.

use std::time::Duration;

use wsring_proto::close::CloseCode;

use super::core::Core;
use super::deadlines::Tick;
use super::flight::Unacked;
use super::life::{Event, Life, Parting};
use super::planted::planted;
use super::slow::Seen;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Errno, Kind, Op, Ring, Token};

/// How often a connection is looked at that only waits for its peer to take the last of its bytes.
pub(super) const LOOK: Duration = Duration::from_millis(200);

impl<R: Ring, H: Handler> Core<R, H> {
    /// The deadline of a connection has come: its peer is looked at. If that decides nothing, because something happens before the
    /// answer comes, the deadline comes again after a while.
    pub(super) fn look_at(&mut self, index: u32, again: Duration) {
        self.out.peers.set_due(index, Some(self.out.now.after(again)));
        self.ask(index);
    }

    /// Asks how much the peer has not acknowledged; [`Self::on_unacked`] goes on from there.
    pub(super) fn ask(&mut self, index: u32) {
        let link = self.out.peers.settling(index);
        if matches!(link.flight.unacked, Unacked::Asked | Unacked::Outdated) {
            return;
        }
        link.flight.unacked = Unacked::Asked;
        self.questions += 1;
        let token = Token::new(Kind::Unacked, link.tenant.generation(), index);
        self.ring.submit(token, Op::Unacked { socket: link.socket });
    }

    /// The kernel has said how much that is. One that does not say it counts as if it were nothing.
    pub(super) fn on_unacked(&mut self, index: u32, result: Result<u32, Errno>) {
        let now = self.out.now;
        self.questions -= 1;
        let link = self.out.peers.touch(index);
        let outdated = link.flight.unacked == Unacked::Outdated;
        link.flight.unacked = if outdated { Unacked::Unknown } else { Unacked::Known };
        if outdated {
            return; // settling asks again
        }
        let (unacked, queued) = (result.unwrap_or(0), link.output.queued);
        match link.life {
            Life::Quiet { .. } if !link.life.is_timed_by_output() => self.out.forget_look(index), // it has spoken meanwhile
            Life::Quiet { .. } | Life::Pinged { .. } => {
                let last = self.out.slow.look(index, unacked, queued, now);
                self.judge_open(index, unacked, last);
            }
            Life::Closing { .. } | Life::Finishing { .. } | Life::Lingering { .. } => {
                let last = self.out.slow.look(index, unacked, queued, now);
                self.judge_closing(index, unacked, last);
            }
            Life::Free | Life::Head { .. } | Life::Broken { .. } | Life::Dying(..) => {}
        }
    }

    /// An open connection: it did not answer a ping, or is timed by what it takes and has something to take.
    fn judge_open(&mut self, index: u32, unacked: u32, last: Option<Seen>) {
        let heard = self.heard.tick();
        let link = self.out.link(index);
        let norm = self.out.norms.of(index);
        let (still, due) = match link.life {
            Life::Pinged { due, .. } => (norm.pong, due),
            Life::Quiet { taken, .. } if link.life.is_timed_by_output() && link.output.is_sending => {
                (norm.take, taken.after(norm.take))
            }
            _ => return,
        };
        if !due.is_due(heard) {
            return; // the first look, to compare with
        }
        match self.verdict(index, unacked, last, still) {
            Verdict::Waits(later) => {
                // One that took nothing since the last look has its time from there on, not anew with each look.
                let taken = last.filter(|last| unacked >= last.unacked).map_or(self.out.now, |last| last.since);
                let life = self.out.peers.life(index);
                life.on_progress(taken);
                life.put_off(later);
                self.out.peers.set_due(index, Some(later));
            }
            Verdict::TookAll => self.time_out(index),
            Verdict::TakesNothing => self.cut(index, Parting::Reset),
        }
    }

    /// A connection that is closing: what is queued for it is on its way, or its Close is awaited.
    fn judge_closing(&mut self, index: u32, unacked: u32, last: Option<Seen>) {
        let heard = self.heard.tick();
        let life = self.out.link(index).life;
        let (Some(due), Some(until)) = (life.due(), life.until()) else { return };
        if let Life::Lingering { eof, .. } = life {
            let enough = if eof { self.kept_max } else { 0 };
            if planted!(KeptAll, eof || due.is_due(heard); unacked <= enough && (eof || due.is_due(heard))) {
                return self.die(index);
            }
        }
        if !due.is_due(heard) {
            return; // the first look, to compare with
        }
        let verdict = self.verdict(index, unacked, last, self.out.norms.of(index).patience.still);
        let over = planted!(WholeUnbounded, false; until.is_due(heard));
        let verdict = if over { Verdict::TakesNothing } else { verdict };
        match verdict {
            Verdict::Waits(later) => {
                let soon = self.out.now.after(LOOK);
                let later = if matches!(life, Life::Lingering { .. }) { soon.earlier(later) } else { later };
                self.out.peers.life(index).put_off(later);
                self.out.peers.set_due(index, Some(later.earlier(until)));
            }
            Verdict::TookAll => self.cut(index, Parting::Fin),
            Verdict::TakesNothing => self.cut(index, Parting::Reset),
        }
    }

    /// What a look at a peer came to whose time is over, `still` being how long it may take nothing.
    fn verdict(&self, index: u32, unacked: u32, last: Option<Seen>, still: Duration) -> Verdict {
        let (now, heard) = (self.out.now, self.heard.tick());
        let output = &self.out.link(index).output;
        let took_all = unacked == 0 && !output.is_sending && output.is_empty();
        planted!(ProgressUnseen, return if took_all { Verdict::TookAll } else { Verdict::TakesNothing });
        match last {
            // What was on its way at the last look has arrived long since: the peer had all of its time.
            Some(last) if took_all && last.unacked > self.kept_max => Verdict::Waits(now.after(still)),
            // It may have to answer what went out just now: the process stood still before that, or much stood in front of it.
            _ if took_all => {
                let over = last.map_or(now, |last| last.out_at).after(still);
                let is_over = planted!(AnswerHurried, true; over.is_due(heard));
                if is_over { Verdict::TookAll } else { Verdict::Waits(over) }
            }
            Some(last) if unacked >= last.unacked => {
                let over = last.since.after(still);
                if over.is_due(heard) { Verdict::TakesNothing } else { Verdict::Waits(over) }
            }
            _ => Verdict::Waits(now.after(still)),
        }
    }

    /// The peer has taken all, our ping as well, and is silent: it is told.
    pub(super) fn time_out(&mut self, index: u32) {
        self.out.stats.timeouts += 1;
        planted!(CutUntold, {
            self.end(index, &CloseReason::Timeout, false);
            return self.die(index);
        });
        self.out.close_frame(index, Some(CloseCode::GOING_AWAY), "no answer to a ping");
        self.end(index, &CloseReason::Timeout, true);
    }

    /// The deadline of a connection has come, and nothing more is to be said.
    fn cut(&mut self, index: u32, parting: Parting) {
        match self.out.link(index).life {
            Life::Quiet { .. } | Life::Pinged { .. } => {
                self.out.stats.timeouts += 1;
                self.end(index, &CloseReason::Timeout, false);
            }
            Life::Closing { .. } => {
                self.out.stats.timeouts += u64::from(self.stopping.is_none());
                self.end_closing(index, false);
            }
            _ => {}
        }
        self.out.peers.on(index, Event::Died(planted!(CutKept, Parting::Fin; parting)));
    }
}

/// What is known of a peer whose time is over.
enum Verdict {
    /// It takes what is sent to it, or has not had its time: until then.
    Waits(Tick),
    /// It has taken everything.
    TookAll,
    /// It has taken nothing for as long as it had.
    TakesNothing,
}
