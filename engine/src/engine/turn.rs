//! The loop of one thread's engine.
//!
//! A turn is: wait, work on every completion, replay what was stashed, look at deadlines, `on_batch_end`, and then
//! settle each connection that anything happened to.

use std::io;

use super::core::Core;
use super::deadlines::Tick;
use super::id::ConnId;
use super::panics::Payload;
use super::planted::planted;
use super::tokens::{CANCEL_ACCEPT, CANCEL_CONNECT, WAKE};
use super::topics::Lagged;
use crate::cores::CoreState;
use crate::handler::Handler;
use crate::ring::{Done, Op, Ring, Time, Token};
use crate::stats::Stats;

impl<R: Ring, H: Handler> Core<R, H> {
    /// Runs until stopped; bounded by the stop timeout from then on.
    pub(crate) fn run(&mut self) -> io::Result<Stats> {
        self.start();
        while !self.is_finished() {
            self.turn()?;
        }
        Ok(self.finish())
    }

    /// The same in a runtime: `wait` comes back when the ring has completions or the time has come.
    #[cfg(feature = "unstable-ring")]
    pub(crate) async fn run_async(&mut self, mut wait: impl AsyncFnMut(Option<Time>)) -> io::Result<Stats> {
        self.start();
        while !self.is_finished() {
            wait(self.until()).await;
            self.turn()?;
        }
        Ok(self.finish())
    }

    pub(crate) fn start(&mut self) {
        (self.out.clock, self.out.now) = (self.ring.now(), Tick::of(self.ring.now()));
        self.heard.skip_to(self.ring.now(), self.out.now);
        self.out.peers.begin(self.out.now);
        self.out.alarms.begin(self.out.clock);
        self.ring.submit(WAKE, Op::Wake);
        self.hear_shared();
        self.control.tell(CoreState::Running);
        self.calls.started(&mut self.out);
        // What else it wants is done by the first turn.
        self.arm_accepts();
    }

    /// One pass of the loop.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        let until = self.until();
        let (before, tick) = (self.ring.now(), self.out.now);
        self.ring.wait(until)?;
        (self.out.clock, self.out.now) = (self.ring.now(), Tick::of(self.ring.now()));
        // Something is due, but peers that spoke in time may not have been heard yet: those of twenty are, after a pause of the process.
        // So may an answer of the kernel's be on which a deadline waits; and where all places are taken, whoever has not asked for anything may have to
        // give way.
        let full = self.admitted >= self.connections_max;
        self.heads.begin_pass(full);
        let mut unread = true;
        if full || self.questions > 0 || until.is_some_and(|until| until <= before) {
            let more = self.ring.has_more() || self.is_behind();
            self.heard.on_pass(before, more, self.conns.len());
            unread = more;
        } else {
            self.heard.skip_to(before, tick);
        }
        self.out.stats.passes += 1;
        self.out.stats.enters = planted!(EntersUnseen, 0; self.ring.enters());
        let messages = self.out.stats.messages;
        self.out.work.begin_pass(messages);
        #[cfg(feature = "tls")]
        let accepted = self.out.stats.accepted;
        while let Some((token, done)) = self.ring.next() {
            self.complete(token, done);
        }
        if !self.arrivals.is_empty() {
            self.take_arrivals(unread);
        }
        self.replay_stashes();
        #[cfg(feature = "tls")]
        if !self.handshakes.is_empty() {
            self.drive_handshakes(self.out.stats.messages != messages || self.out.stats.accepted != accepted);
        }
        if self.out.stats.messages != messages {
            self.ring.expect_more();
        }
        self.expire_deadlines();
        self.out.expire_topics();
        self.drive_dials();
        self.fire_timers();
        self.drive_drain();
        if self.out.stores.pool.has_news() || self.budget.is_due(self.ring.now()) {
            self.look_after_memory();
        }
        self.finish_pass();
        self.arm_accepts();
        Ok(())
    }

    /// Tells the application that all is handled, and makes operations of what it wants. A stop fails dials, connections that were cut
    /// end, and settling may find that TLS of a connection is broken: what is called then is followed by a batch end as well. That ends,
    /// because a core stops once and a connection ends once.
    fn finish_pass(&mut self) {
        let mut has_told = false;
        loop {
            self.calls.batch_end(&mut self.out);
            if !self.out.aborted.is_empty() {
                self.end_aborted();
            }
            if !self.out.drains.is_empty() {
                self.take_up_own_drains();
            }
            if self.out.stop && self.stopping.is_none() {
                self.begin_stop();
            }
            self.settle_all();
            self.rearm_starved();
            // Once: what that causes in turn is told in the next pass, or this one might never end.
            if !std::mem::replace(&mut has_told, true) {
                self.tell_of_topics();
            }
            planted!(BatchEndLost, return);
            if !self.calls.is_owed() {
                return;
            }
        }
    }

    /// What connections have missed of topics is told to the application; those with a message that it could not write are ended.
    #[inline]
    fn tell_of_topics(&mut self) {
        for index in self.out.take_lagged() {
            if let Some(lagged) = self.out.lagged_of(index) {
                self.on_lagged(index, lagged);
            }
        }
        for (id, panic) in std::mem::take(&mut self.out.panicked) {
            self.on_topic_panicked(id, panic);
        }
    }

    #[cold]
    fn on_lagged(&mut self, index: u32, lagged: Lagged) {
        if self.calls.has_state(index) && self.calls.lagged(&mut self.out, index, lagged).is_err() {
            self.on_panicked(index);
        }
    }

    /// As a callback of that connection, whatever was called when it happened.
    #[cold]
    fn on_topic_panicked(&mut self, id: ConnId, panic: Payload) {
        let _ = self.calls.judge_topic(&mut self.out, id.index(), panic);
        if let Some(index) = self.out.peers.find(id)
            && self.out.link(index).life.is_open()
        {
            self.on_panicked(index);
        }
    }

    /// When the ring must come back although nothing completes; the past if there is work left.
    pub(super) fn until(&self) -> Option<Time> {
        // `on_start` may have asked to stop, or to be drained, before the first turn.
        let must_end = self.out.stop && self.stopping.is_none() || !self.out.drains.is_empty();
        if self.is_behind() || !self.due.is_empty() || must_end {
            return Some(Time::default());
        }
        let deadline = self.out.peers.next_due(self.ring.now());
        let alarm = planted!(TimersSleptOver, None; self.out.alarms.next_due());
        let topics = self.out.topics_due(self.ring.now());
        let others = [self.listeners.retry_at(), self.stop_due(), self.dial_due(), self.budget.look_at(), alarm];
        others.into_iter().chain([deadline, topics, self.drain_due()]).flatten().min()
    }

    /// Something has come, or may have, that had to wait for a later pass.
    #[inline]
    fn is_behind(&self) -> bool {
        #[cfg(feature = "tls")]
        if !self.handshakes.is_empty() {
            return true;
        }
        !self.shortage.is_over() || !self.out.replay.is_empty()
    }

    #[inline(always)] // the loop calls it alone, and a completion that stays in registers saves some 20 instructions
    fn complete(&mut self, token: Token, done: Done<R::Lease>) {
        let index = token.index();
        match done {
            Done::Accepted { result, peer, more } => return self.on_accepted(index, result, peer, more),
            Done::Woken => return self.on_woken(),
            Done::Connected { result } => return self.on_connected(token, result),
            Done::Cancelled if token == CANCEL_ACCEPT || token == CANCEL_CONNECT => return,
            _ => {}
        }
        let link = self.out.link(index);
        assert_eq!(link.tenant.generation(), token.generation(), "a completion outlived its connection: {token:?}");
        match done {
            Done::Received { lease, end } => self.on_received(index, lease, end),
            Done::Sent { payload, result } => self.on_sent(index, payload, result),
            Done::Unacked { result } => self.on_unacked(index, result),
            Done::Cancelled => self.out.peers.touch(index).flight.cancels -= 1,
            Done::Closed => self.on_closed(index),
            Done::Accepted { .. } | Done::Connected { .. } | Done::Woken => unreachable!("handled above"),
        }
    }
}
