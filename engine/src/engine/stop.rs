//! How a core stops: every peer is told, has its time to answer, and is cut; and what is left when the loop has ended.

use std::time::Duration;

use wsring_proto::close::CloseCode;

use super::conns::Phase;
use super::core::Core;
use super::life::{Event, Life, Parting};
use super::planted::planted;
use super::slow::Patience;
use super::upgrade::STOPPING;
use crate::cores::CoreState;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Ring, Time};
use crate::stats::Stats;

/// How long after the end of a stop the kernel may take to complete what was cancelled.
const GIVE_UP: Duration = Duration::from_secs(1);

impl<R: Ring, H: Handler> Core<R, H> {
    /// Stops accepting, answers requests in progress 503, tells every open peer 1001 (RFC 6455 §7.4.1), or 1011 if the application's
    /// panic ends the core, and gives each the stop timeout, and more while it takes what is queued for it.
    pub(super) fn begin_stop(&mut self) {
        let words = match self.calls.has_failed() {
            false => (CloseCode::GOING_AWAY, "server stopping"),
            true => (CloseCode::INTERNAL, "server failed"),
        };
        self.stop_saying(words, words);
    }

    /// The same in these words to peers, and in those to servers that were dialled.
    pub(super) fn stop_saying(&mut self, peers: (CloseCode, &str), servers: (CloseCode, &str)) {
        let has_failed = self.calls.has_failed();
        self.control.tell(if has_failed { CoreState::Failed } else { CoreState::Stopping });
        if has_failed {
            self.out.alarms.stop();
            self.mailbox.close();
        }
        let stopping = Patience::new(self.config.stop_timeout, self.config.stop_max);
        self.stopping = Some(self.out.now.after(stopping.whole));
        self.out.norms.hurry(stopping.still);
        self.out.stop_accepting = true;
        self.listeners.until = Some(self.out.now.after(stopping.still));
        self.stop_dials();
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            match self.out.link(index).life {
                Life::Head { .. } => self.stop_head(index),
                Life::Quiet { .. } | Life::Pinged { .. } => {
                    let is_dialled = self.out.link(index).tenant.is_dialled();
                    let (code, reason) = if is_dialled { servers } else { peers };
                    self.out.close(index, Some(code), reason);
                }
                Life::Closing { .. } | Life::Finishing { .. } | Life::Lingering { .. } => {
                    let (due, _) = self.out.norms.clocks(index, self.out.now);
                    let life = self.out.peers.life(index);
                    let sooner = life.due().map_or(due, |before| before.earlier(due));
                    life.put_off(sooner);
                    self.out.peers.set_due(index, Some(sooner));
                }
                // Nobody hears its last words any more.
                Life::Broken { .. } if self.calls.has_failed() => {
                    self.end_closing(index, false);
                    self.die(index);
                }
                Life::Broken { .. } | Life::Dying(..) | Life::Free => {}
            }
        }
    }

    /// A connection that is not open yet. Its peer is told so at once, and what it still sends of its request is discarded; behind a
    /// handshake of TLS, where that is not over.
    fn stop_head(&mut self, index: u32) {
        match self.conns[index as usize].phase {
            Phase::Head(..) | Phase::Proxy(..) => {
                planted!(HeadForgotten, self.die(index); self.refuse(index, &STOPPING));
            }
            Phase::Asked(_) => {
                planted!(StopForgetsDeferred, return);
                self.expire_asked(index, &STOPPING);
            }
            _ => self.die(index),
        }
    }

    pub(super) fn stop_due(&self) -> Option<Time> {
        let deadline = self.stopping?;
        let given_up = deadline.after(GIVE_UP);
        let heard = self.heard.tick();
        let next = if deadline.is_due(heard) { given_up } else { deadline };
        let accepting = self.listeners.until.filter(|until| !until.is_due(heard));
        let next = accepting.map_or(next, |until| until.earlier(next));
        Some(next.begins(self.ring.now()))
    }

    /// Past the end of the whole every connection is cut, and reset: its peer was told, and has not taken all.
    pub(super) fn expire_stop(&mut self) {
        if self.stopping.is_none_or(|deadline| !deadline.is_due(self.heard.tick())) {
            return;
        }
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            let life = self.out.link(index).life;
            if life.is_the_applications() {
                self.end_closing(index, false);
            }
            self.out.peers.on(index, Event::Died(Parting::Reset));
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let all_gone = self.conns.is_empty() && self.listeners.are_closed() && self.connects == 0;
        // The kernel owes the last completions within this; if not, the ring's end settles it.
        all_gone || deadline.after(GIVE_UP).is_due(self.out.now)
    }

    /// After the loop. The panic that has ended the core goes on from here.
    pub(super) fn finish(&mut self) -> Stats {
        self.abandon_all();
        self.mailbox.close();
        self.count_letters();
        let stats = self.stats();
        self.control.answer_last(stats);
        self.calls.go_on();
        stats
    }

    /// After the loop: whoever is still there was opened and gets its `on_close`. What is dialled from here on is forgotten.
    fn abandon_all(&mut self) {
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            if matches!(self.conns[index as usize].phase, Phase::Open { .. }) {
                self.end(index, &CloseReason::Stopped, false);
            }
        }
        self.end_dials();
        self.calls.batch_end(&mut self.out);
        self.out.dials.clear();
    }
}
