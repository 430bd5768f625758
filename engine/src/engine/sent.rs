//! What a completed send means: what went out, what is left, and what is lost.

use super::conns::Phase;
use super::core::Core;
use super::flight::Unacked;
use super::life::Life;
use super::output::Lent;
use super::planted::planted;
use crate::handler::Handler;
use crate::ring::{Errno, Payload, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn on_sent(&mut self, index: u32, mut payload: Payload, result: Result<usize, Errno>) {
        let link = self.out.peers.touch(index);
        (link.output.is_sending, link.output.lent) = (false, Lent::BLOCK);
        let sent = *result.as_ref().unwrap_or(&0) as u32;
        link.output.queued -= sent;
        let is_looked_at = link.flight.unacked != Unacked::Unknown;
        if sent > 0 && link.life.is_timed_by_output() {
            self.out.on_taken(index, sent);
        }
        if is_looked_at {
            self.out.on_sent_since(index, sent);
        }
        self.out.stats.bytes_out += u64::from(sent);
        let left = payload.whole() - sent;
        if left == 0 {
            self.out.stores.recycle(payload.memory);
        } else {
            // A short count, or a long piece that goes in parts.
            planted!(ShortSendLost, {
                self.out.peers.touch(index).output.queued -= left;
                self.out.stores.recycle(payload.memory);
                return;
            });
            self.out.held.let_go(index);
            payload.from += sent;
            payload.to = payload.from + left;
            self.unpop(index, payload);
        }
        if let Err(errno) = result {
            return self.on_send_failed(index, errno); // what is lost counts as queued until the connection has ended
        }
        if self.out.relax(index) {
            planted!(WritableLost, return);
            if self.calls.has_state(index) && self.calls.writable(&mut self.out, index).is_err() {
                self.on_panicked(index);
            }
        }
    }

    /// Nothing more goes out. What the peer said before it broke the connection lies in the socket, or will be brought by a receive
    /// that goes on: a last message, and the code of its Close. That is heard first.
    fn on_send_failed(&mut self, index: u32, errno: Errno) {
        #[cfg(feature = "tls")]
        if self.conns[index as usize].tls.as_ref().is_some_and(|sealed| sealed.is_handshaking()) {
            return self.fail(index, errno);
        }
        let life = self.out.link(index).life;
        match (life, &mut self.conns[index as usize].phase) {
            _ if planted!(LastWordsLost, true; false) => self.fail(index, errno),
            (Life::Quiet { .. } | Life::Pinged { .. } | Life::Closing { .. }, _) => self.break_off(index, errno),
            // A server that declines need not have read the request. Its answer has until the handshake timeout.
            (Life::Head { eof: false, .. }, Phase::Answer(answering)) => answering.on_send_failed(errno),
            _ => self.fail(index, errno),
        }
    }

    /// Puts the rest of a short send back in front.
    pub(super) fn unpop(&mut self, index: u32, payload: Payload) {
        #[cfg(feature = "tls")]
        if let Some(sealed) = &mut self.conns[index as usize].tls {
            return sealed.keep_rest(payload);
        }
        self.out.unpop(index, payload);
    }
}
