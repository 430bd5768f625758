//! What the bytes of an open connection become: messages, and answers to control frames.
//!
//! Frames are decoded where they lie, in the receive buffer, and each message goes to the handler from there, but for long ones
//! and those that came in pieces: they get a buffer of their own, which can move into a send. When the
//! handler pauses, its connection's output is full, or its share of the pass is used up, the bytes not yet worked on are stashed and
//! replayed later, so that a pause loses and reorders nothing.

use wsring_proto::close::CloseCode;
use wsring_proto::close::Violation;
use wsring_proto::session::input::Event;
use wsring_proto::simd;

use super::conns::{IDLE_STASHES_MAX, Phase, Stash};
use super::core::Core;
use super::life::Life;
use super::panics::{Payload, catch};
use super::planted::planted;
use super::reach::Waits;
use super::work;
use crate::handler::{CloseReason, Handler};
use crate::ring::Ring;

impl<R: Ring, H: Handler> Core<R, H> {
    #[inline]
    pub(super) fn feed_frames(&mut self, index: u32, bytes: &mut [u8]) {
        if self.is_unheard(index) {
            return self.keep_unread(index, bytes);
        }
        let stop = self.out.stop_of(index, bytes.len());
        let stopped = self.decode(index, bytes, stop);
        if self.ages.is_timed() {
            self.note_data(index);
        }
        if let Some(stopped) = stopped {
            self.stash(index, &bytes[stopped..]);
        }
    }

    /// A panic ends the core when this pass is over: no message of it is handed out any more.
    #[inline]
    fn is_failing(&self) -> bool {
        planted!(PanicOutlived, false; self.calls.has_failed() && self.stopping.is_none())
    }

    /// The same of one connection; while the core was stopping already, of one whose sends have failed: any other has been told, and what it says is discarded.
    #[inline]
    fn is_unheard(&self, index: u32) -> bool {
        let is_broken = || matches!(self.out.link(index).life, Life::Broken { .. });
        planted!(PanicOutlived, false; self.calls.has_failed() && (self.stopping.is_none() || is_broken()))
    }

    /// Keeps bytes for when the connection is closing: as what comes behind our Close they are counted, and not handed out. One whose sends have failed gets there no more.
    #[cold]
    fn keep_unread(&mut self, index: u32, bytes: &[u8]) {
        if self.stopping.is_none() && matches!(self.conns[index as usize].phase, Phase::Open(_)) {
            self.stash(index, bytes);
        }
    }

    /// Keeps bytes that cannot be worked on now.
    #[inline(never)]
    pub(super) fn stash(&mut self, index: u32, rest: &[u8]) {
        planted!(StashLost, return);
        let mut stash = self.out.stores.pool.take(rest.len(), rest.len());
        simd::copy_append(rest, &mut stash);
        let stash = Stash { bytes: stash, at: 0, listed: false };
        self.conns[index as usize].stash = Some(match self.idle_stashes.pop() {
            Some(mut idle) => {
                *idle = stash;
                idle
            }
            None => Box::new(stash),
        });
        self.out.peers.mark(index);
    }

    /// Works on frames until the bytes are used up (`None`), or the connection takes no more or has had its share of the pass: then says
    /// where. Looks at that share when it has come to `stop`.
    pub(super) fn decode(&mut self, index: u32, bytes: &mut [u8], stop: usize) -> Option<usize> {
        // Around all messages of a receive, so that none of them pays for it; and nothing but the place comes through it, in a register.
        match catch(|| self.run_frames(index, bytes, stop)) {
            Ok(stopped) => stopped,
            Err(panic) => {
                self.on_message_panicked(index, panic);
                None
            }
        }
    }

    #[inline(always)] // it has one caller
    fn run_frames(&mut self, index: u32, bytes: &mut [u8], stop: usize) -> Option<usize> {
        let Phase::Open(session) = &mut self.conns[index as usize].phase else { return None };
        let (out, calls) = (&mut self.out, &mut self.calls);
        let len = bytes.len();
        let mut input = session.input(bytes, self.limits.of(index, &self.config.limits));
        input.stop_at(stop);
        loop {
            // Asked once per message, here: a callback may have closed or paused this connection, or filled its output.
            let life = &out.peers.get(index).life;
            if !life.is_open() && life.is_closed_by_us() {
                input.on_close_sent();
            }
            if !life.takes_messages() {
                break;
            }
            let (message, last) = match input.next_whole(&mut out.stores.pool) {
                Ok(Some(whole)) => whole,
                Ok(None) => match input.next_at(&mut out.work.pace, &mut out.stores.pool) {
                    Ok(None) => {
                        let at = input.at();
                        if at < len || out.work.is_to_be_counted() {
                            let next = out.go_on(index, at);
                            if at < len || input.is_inflating() {
                                let Some(stop) = next else { break };
                                input.stop_at(stop);
                                continue;
                            }
                        }
                        return if input.is_at_rest() { None } else { self.on_begun(index) };
                    }
                    Ok(Some(Event::Message { message, last, is_own })) => {
                        out.peers.begun().clear(index);
                        if is_own {
                            out.offer(message.as_bytes());
                        }
                        (message, last)
                    }
                    Ok(Some(Event::Ping(payload))) => {
                        planted!(PongLost, continue);
                        out.pong(index, payload);
                        if !input.is_in_message() {
                            out.peers.begun().clear(index);
                        }
                        if out.spends(index, work::PONG) { break } else { continue }
                    }
                    // Any byte shows life: see `on_received`.
                    Ok(Some(Event::Pong(payload))) => {
                        let is_open = out.peers.get(index).life.is_open();
                        let round_trip = out.pings.end(index, payload, out.clock).filter(|_| is_open);
                        if !input.is_in_message() {
                            out.peers.begun().clear(index);
                        }
                        if let Some(round_trip) = round_trip
                            && calls.pong(out, index, round_trip).is_err()
                        {
                            self.on_panicked(index);
                            return None;
                        }
                        continue;
                    }
                    Ok(Some(Event::Discarded)) => {
                        out.stats.discarded += 1;
                        continue;
                    }
                    Ok(Some(Event::Close { code, reason })) => {
                        let reason = reason.to_owned();
                        self.on_peer_close(index, code, &reason);
                        return None;
                    }
                    Ok(Some(_)) => unreachable!("an event of a wsring-proto that this engine does not know"),
                    Err(violation) => {
                        self.on_violation(index, violation);
                        return None;
                    }
                },
                Err(violation) => {
                    self.on_violation(index, violation);
                    return None;
                }
            };
            out.stats.messages += 1;
            calls.message(out, index, last, message);
            if out.has_aftermath() {
                if let Some(placed) = out.settle_offer() {
                    let bytes = input.take_message().expect("an offered message lies in a buffer of its own");
                    out.move_in(placed, bytes);
                }
                // It came in pieces, or was inflated, or what the handler sent was compressed.
                if out.go_on(index, input.at()).is_none() {
                    break;
                }
            }
        }
        input.give_back(&mut out.stores.pool); // it may be long until the next call
        match input.at() {
            at if at < len || input.is_inflating() => Some(at),
            _ if input.is_at_rest() => None,
            _ => self.on_begun(index),
        }
    }

    /// The bytes are used up, and a message or a frame has begun to come: it has its time to be whole.
    #[inline(never)]
    fn on_begun(&mut self, index: u32) -> Option<usize> {
        let Phase::Open(session) = &self.conns[index as usize].phase else { return None };
        if let Some(kept) = session.begun().filter(|_| self.out.link(index).life.is_open())
            && let Some(round) = self.out.norms.of(index).round
        {
            planted!(StallIgnored, return None);
            self.out.peers.begin_message(index, self.out.now, round, kept);
            self.out.peers.excuse_unread(index);
        }
        None
    }

    /// A message was sent on before its callback panicked: it is kept, as any that was queued.
    #[cold]
    fn on_message_panicked(&mut self, index: u32, panic: Payload) {
        let _ = self.calls.judge(&mut self.out, index, panic);
        self.out.forgive();
        if let Some(placed) = self.out.settle_offer() {
            let Phase::Open(session) = &mut self.conns[index as usize].phase else { unreachable!("it had a message") };
            let bytes = session.take_message().expect("an offered message lies in a buffer of its own");
            planted!(PromiseForgotten, return self.on_panicked(index));
            self.out.move_in(placed, bytes);
        }
        self.on_panicked(index);
    }

    /// A callback of an open connection panicked: the peer is told (RFC 6455 §7.4.1), and what else comes of it is discarded.
    #[cold]
    pub(super) fn on_panicked(&mut self, index: u32) {
        let life = self.out.link(index).life;
        if life.is_open() {
            planted!(PanicUntold, return self.end(index, &CloseReason::Panicked, true));
            self.out.close_frame(index, Some(CloseCode::INTERNAL), "");
        }
        self.end(index, &CloseReason::Panicked, true);
        if matches!(life, Life::Broken { .. }) {
            self.die(index); // nothing can be told
        }
    }

    /// RFC 6455 §5.5.1: a Close is answered with a Close, once; then the server closes the TCP connection (§7.1.1), for which
    /// a client waits a while. Both wait for the other's goodbye in TLS.
    #[cold]
    fn on_peer_close(&mut self, index: u32, code: Option<CloseCode>, reason: &str) {
        match self.out.link(index).life {
            Life::Quiet { .. } | Life::Pinged { .. } => {
                planted!(CloseFrameLost, return self.end(index, &CloseReason::Peer { code, reason }, false));
                self.out.close_frame(index, code, "");
                let linger = self.awaits_end(index);
                self.end(index, &CloseReason::Peer { code, reason }, linger);
            }
            // It cannot be answered, but it was said.
            Life::Broken { closed, .. } => {
                match closed {
                    false => self.end(index, &CloseReason::Peer { code, reason }, false),
                    true => self.end_closing(index, true),
                }
                self.die(index);
            }
            _ => self.end_closing(index, true),
        }
    }

    /// RFC 6455 §7.1.7: tell the peer why, then fail the connection.
    #[cold]
    fn on_violation(&mut self, index: u32, violation: Violation) {
        self.out.stats.violations += 1;
        let life = self.out.link(index).life;
        if life.is_open() {
            self.out.close_frame(index, Some(violation.close_code()), violation.as_str());
        }
        self.end(index, &CloseReason::Violation(violation), true);
        if matches!(life, Life::Broken { .. }) {
            self.die(index); // nothing can be told
        }
    }

    /// Works on what was stashed, for connections that take messages: on a share of each in the order in which they began to wait, as
    /// far as the pass goes. Who has more is listed again when the connection is settled, behind all others.
    pub(super) fn replay_stashes(&mut self) {
        if self.out.replay.is_empty() {
            return;
        }
        self.out.work.begin_waiting(self.out.stats.messages);
        let mut last = 0;
        for _ in 0..self.out.replay.len() {
            if self.is_failing() {
                return;
            }
            if self.out.work.is_over(self.out.stats.messages) {
                planted!(TurnLost, self.out.replay.clear());
                return;
            }
            let Some(Waits { index, generation, since }) = self.out.replay.pop_front() else { return };
            // Who has had a turn waits behind everybody who has not.
            assert!(since >= last, "{index} waits since pass {since}, and one that waits since {last} went first");
            last = since;
            let link = self.out.link(index);
            if link.tenant.generation() != generation {
                continue;
            }
            let takes_messages = link.life.takes_messages();
            if let Some(stash) = &mut self.conns[index as usize].stash {
                stash.listed = false;
            }
            if takes_messages && !self.is_unheard(index) {
                self.replay(index);
            }
        }
    }

    fn replay(&mut self, index: u32) {
        let Some(mut stash) = self.conns[index as usize].stash.take() else { return };
        let stop = self.out.share_of(index);
        let stopped = self.decode(index, &mut stash.bytes[stash.at..], stop);
        if self.ages.is_timed() {
            self.note_data(index);
        }
        self.out.peers.mark(index);
        match stopped {
            Some(at) => {
                stash.advance(at, &mut self.out.stores.pool);
                self.conns[index as usize].stash = Some(stash);
            }
            None => {
                self.out.stores.pool.put(std::mem::take(&mut stash.bytes));
                if self.idle_stashes.len() < IDLE_STASHES_MAX {
                    self.idle_stashes.push(stash);
                }
                if self.out.link(index).life.is_past_end() {
                    self.on_eof(index);
                }
            }
        }
    }
}
