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

use super::conns::{Phase, Stash};
use super::core::Core;
use super::life::Life;
use super::planted::planted;
use super::reach::Waits;
use crate::handler::{CloseReason, Handler};
use crate::ring::Ring;

/// How a run of frames ended.
enum Run {
    /// All bytes are used up.
    Consumed,
    /// The connection takes no more messages for now; bytes from here on wait.
    Stopped(usize),
    /// So much has been walked over, and it was more work than its messages: whether there is time for more is to be asked.
    Walked { at: usize, work: u32, inflating: bool },
    /// The peer's Close.
    PeerClosed(Option<CloseCode>, String),
    /// The peer broke the protocol.
    Violated(Violation),
}

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn feed_frames(&mut self, index: u32, bytes: &mut [u8]) {
        if let Some(stopped) = self.decode(index, bytes) {
            planted!(StashLost, return);
            let rest = &bytes[stopped..];
            let mut stash = self.out.stores.pool.take(rest.len(), rest.len());
            simd::copy_append(rest, &mut stash);
            self.conns[index as usize].stash = Some(Box::new(Stash { bytes: stash, at: 0, listed: false }));
            self.out.peers.mark(index);
        }
    }

    /// Works on frames until the bytes are used up (`None`) or the connection takes no more: then says where.
    pub(super) fn decode(&mut self, index: u32, bytes: &mut [u8]) -> Option<usize> {
        let stop = self.out.work.begin(index, self.out.stats.messages);
        self.decode_to(index, bytes, stop)
    }

    /// Looks at the share again.
    #[cold]
    #[inline(never)]
    fn decode_on(&mut self, index: u32, bytes: &mut [u8], at: usize, work: u32, inflating: bool) -> Option<usize> {
        let slice = self.out.go_on(work, at);
        if at == bytes.len() && !inflating {
            return None;
        }
        match slice {
            None => Some(at),
            Some(slice) => self.decode_to(index, &mut bytes[at..], slice).map(|more| at + more),
        }
    }

    /// The same, and begins no frame at `stop` or behind before it has looked at the share.
    fn decode_to(&mut self, index: u32, bytes: &mut [u8], stop: usize) -> Option<usize> {
        match self.run_frames(index, bytes, stop) {
            Run::Consumed => None,
            Run::Stopped(at) => Some(at),
            Run::Walked { at, work, inflating } => self.decode_on(index, bytes, at, work, inflating),
            Run::PeerClosed(code, reason) => {
                self.on_peer_close(index, code, &reason);
                None
            }
            Run::Violated(violation) => {
                self.on_violation(index, violation);
                None
            }
        }
    }

    #[inline(always)] // it has one caller
    fn run_frames(&mut self, index: u32, bytes: &mut [u8], stop: usize) -> Run {
        let Phase::Open { session, data } = &mut self.conns[index as usize].phase else { return Run::Consumed };
        let (out, calls) = (&mut self.out, &mut self.calls);
        let len = bytes.len();
        let mut input = session.input(bytes, &self.config.limits);
        input.stop_at(stop);
        input.inflate_at_once(out.work.inflate_at_once());
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
                Ok(None) => match input.next(&mut out.stores.pool) {
                    Ok(None) => {
                        let (at, done) = (input.at(), input.take_work());
                        if at == len && done == 0 {
                            return Run::Consumed;
                        }
                        return Run::Walked { at, work: done, inflating: input.is_inflating() };
                    }
                    Ok(Some(Event::Message { message, last, is_own })) => {
                        if is_own {
                            out.offer(message.as_bytes());
                        }
                        (message, last)
                    }
                    Ok(Some(Event::Ping(payload))) => {
                        planted!(PongLost, continue);
                        if out.pong(index, payload) { continue } else { break }
                    }
                    Ok(Some(Event::Pong(_))) => continue, // any byte shows life: see `on_received`
                    Ok(Some(Event::Close { code, reason })) => return Run::PeerClosed(code, reason.to_owned()),
                    Ok(Some(_)) => unreachable!("an event of a wsring-proto that this engine does not know"),
                    Err(violation) => return Run::Violated(violation),
                },
                Err(violation) => return Run::Violated(violation),
            };
            out.stats.messages += 1;
            calls.message(out, index, data, last, message);
            if out.has_aftermath() {
                if let Some(placed) = out.settle_offer() {
                    let bytes = input.take_message().expect("an offered message lies in a buffer of its own");
                    out.move_in(placed, bytes);
                }
                // It came in pieces, or was inflated, or what the handler sent was compressed.
                if out.go_on(input.take_work(), 0).is_none() {
                    break;
                }
            }
        }
        input.give_back(&mut out.stores.pool); // it may be long until the next call
        let at = input.at();
        if at < len || input.is_inflating() { Run::Stopped(at) } else { Run::Consumed }
    }

    /// RFC 6455 §5.5.1: a Close is answered with a Close, once; then the server closes the TCP connection (§7.1.1), for which
    /// a client waits a while. Both wait for the other's goodbye in TLS.
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
            if takes_messages {
                self.replay(index);
            }
        }
    }

    fn replay(&mut self, index: u32) {
        let Some(mut stash) = self.conns[index as usize].stash.take() else { return };
        let stopped = self.decode(index, &mut stash.bytes[stash.at..]);
        self.out.peers.mark(index);
        match stopped {
            Some(at) => {
                stash.at += at;
                // Moving the rest down only when that halves it keeps the work linear, and its memory in step.
                if stash.at > stash.bytes.len() / 2 {
                    stash.bytes.drain(..stash.at);
                    stash.at = 0;
                    stash.bytes = self.out.stores.pool.fit(stash.bytes);
                }
                self.conns[index as usize].stash = Some(stash);
            }
            None => {
                self.out.stores.pool.put(stash.bytes);
                if self.out.link(index).life.is_past_end() {
                    self.on_eof(index);
                }
            }
        }
    }
}
