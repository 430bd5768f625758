//! What a completed send means: what went out, what is left, and what is lost.

use super::conns::Phase;
use super::core::Core;
use super::planted::planted;
use crate::handler::Handler;
use crate::ring::{Errno, Payload, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn on_sent(&mut self, index: u32, mut payload: Payload, result: Result<usize, Errno>) {
        let now = self.out.now;
        let link = self.out.peers.touch(index);
        link.output.is_sending = false;
        let sent = *result.as_ref().unwrap_or(&0) as u32;
        link.output.queued -= sent;
        if sent > 0 && !link.life.takes_messages() {
            link.life.on_progress(now); // a peer that is not read shows its life by reading
        }
        self.out.stats.bytes_out += u64::from(sent);
        let left = payload.whole() - sent;
        if let Err(errno) = result {
            self.out.stores.recycle(payload.memory);
            self.fail(index, errno);
            // What is lost still counts as queued when `on_close` is told.
            self.out.peers.touch(index).output.queued -= left;
            return;
        }
        if left == 0 {
            self.out.stores.recycle(payload.memory);
        } else {
            // A short count, or a long piece that goes in parts.
            planted!(ShortSendLost, {
                self.out.peers.touch(index).output.queued -= left;
                self.out.stores.recycle(payload.memory);
                return;
            });
            payload.from += sent;
            payload.to = payload.from + left;
            self.unpop(index, payload);
        }
        if self.out.relax(index) {
            planted!(WritableLost, return);
            if let Phase::Open { data, .. } = &mut self.conns[index as usize].phase
                && self.calls.writable(&mut self.out, index, data).is_err()
            {
                self.on_panicked(index);
            }
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
