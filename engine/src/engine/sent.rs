//! What a completed send means: what went out, what is left, and what is lost.

use std::num::NonZeroU32;

use super::conns::Phase;
use super::core::Core;
use super::planted::planted;
use crate::handler::Handler;
use crate::ring::{Errno, Payload, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn on_sent(&mut self, index: u32, payload: Option<Payload>, result: Result<usize, Errno>) {
        let now = self.out.now;
        let link = self.out.peers.touch(index);
        let asked = link.output.sending.take().map_or(0, NonZeroU32::get);
        let sent = *result.as_ref().unwrap_or(&0) as u32;
        link.output.queued -= sent;
        if sent > 0 && !link.life.takes_messages() {
            link.life.on_progress(now); // a peer that is not read shows its life by reading
        }
        self.out.stats.bytes_out += u64::from(sent);
        let short = sent < asked;
        // What is lost still counts as queued when `on_close` is told.
        let (failed, lost) = match (result, payload) {
            (Err(errno), Some(payload)) => {
                let lost = payload.whole();
                self.out.stores.recycle(payload.memory);
                (Some(errno), lost)
            }
            // io_uring_prep_send_zc(3): a failed request may be followed by a notification too.
            (Err(errno), None) => {
                self.out.peers.touch(index).flight.owed += planted!(ZeroCopyForgotten, 0; 1);
                (Some(errno), asked)
            }
            (Ok(_), Some(mut payload)) => {
                let left = payload.whole() - sent;
                payload.from += sent;
                payload.to = payload.from + left;
                if left == 0 {
                    self.out.stores.recycle(payload.memory);
                } else {
                    // A short count, or a long piece that goes in parts.
                    planted!(ShortSendLost, {
                        self.out.peers.touch(index).output.queued -= left;
                        self.out.stores.recycle(payload.memory);
                        return;
                    });
                    self.unpop(index, payload);
                }
                (None, 0)
            }
            // Zero-copy: the memory comes back on its own. A short count is how the kernel reports a failed socket
            // when some bytes had gone (MSG_WAITALL), and the rest cannot be named any more.
            (Ok(_), None) => {
                self.out.peers.touch(index).flight.owed += 1;
                (short.then_some(Errno(libc::EPIPE)), asked - sent)
            }
        };
        if let Some(errno) = failed {
            self.fail(index, errno);
            self.out.peers.touch(index).output.queued -= lost;
            return;
        }
        if self.out.relax(index) {
            planted!(WritableLost, return);
            if let Phase::Open { data, .. } = &mut self.conns[index as usize].phase {
                self.calls.writable(&mut self.out, index, data);
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
