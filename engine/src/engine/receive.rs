//! What a receive brings: bytes, an end, or both. Bytes go to TLS, to what awaits a head, or to the frames; those of a
//! connection whose older bytes wait are kept behind them.

use super::conns::{Phase, Waiting};
use super::core::Core;
use super::flight::Recv;
use super::life::{Event, Life};
use super::planted::planted;
use crate::handler::Handler;
use crate::ring::{Errno, RecvEnd, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn on_received(&mut self, index: u32, lease: Option<R::Lease>, end: Option<RecvEnd>) {
        if let Some(mut lease) = lease {
            if self.out.peers.life(index).on_heard(self.out.now) {
                self.out.forget_look(index);
            }
            self.out.stats.bytes_in += lease.len() as u64;
            self.shortage.on_received(lease.len());
            if self.out.stores.pool.has_news() {
                self.on_growth();
            }
            self.feed(index, &mut lease);
            planted!(LeaseKept, {
                std::mem::forget(lease);
                return;
            });
            self.ring.release(lease);
        }
        match end {
            None => {}
            Some(RecvEnd::Rearm | RecvEnd::Cancelled) => {
                planted!(LostRearm, return);
                // Other connections wait for buffers already, so this one queues behind them, unless no bytes are wanted from it.
                self.out.peers.touch(index).flight.recv = Recv::Idle;
                if !self.shortage.is_over() && self.out.link(index).life.wants_bytes() {
                    self.starve(index);
                }
            }
            Some(RecvEnd::NoBuffers) => {
                self.out.stats.starved += 1;
                planted!(LostStarved, return);
                self.out.peers.touch(index).flight.recv = Recv::Idle;
                self.starve(index);
            }
            Some(RecvEnd::Eof) => {
                self.end_of_input(index);
                self.on_eof(index);
            }
            Some(RecvEnd::Failed(errno)) => {
                self.end_of_input(index);
                self.on_receive_failed(index, errno);
            }
        }
    }

    /// The socket is broken; what is stashed came before that, and is worked on first.
    fn on_receive_failed(&mut self, index: u32, errno: Errno) {
        let stashed = self.conns[index as usize].stash.is_some();
        match self.out.link(index).life {
            Life::Broken { .. } if stashed => self.out.peers.mark(index),
            Life::Quiet { .. } | Life::Pinged { .. } if stashed => self.break_off(index, errno),
            _ => self.fail(index, errno),
        }
    }

    /// A receive has ended for good.
    pub(super) fn end_of_input(&mut self, index: u32) {
        self.out.peers.touch(index).flight.recv = Recv::Idle;
        self.out.peers.on(index, Event::PeerEnded);
    }

    /// Has a connection wait for receive buffers.
    pub(super) fn starve(&mut self, index: u32) {
        let in_frame = match &self.conns[index as usize].phase {
            Phase::Open(session) => session.is_in_frame(),
            _ => false,
        };
        if matches!(self.out.link(index).life, Life::Head { .. }) {
            self.heads.starve(index, self.out.link(index).tenant.generation(), self.ring.now());
        }
        self.out.peers.begun().excuse(index);
        self.shortage.wait(index, self.out.link(index).tenant.generation(), in_frame);
    }

    /// Received bytes of a connection, in order.
    #[inline]
    pub(super) fn feed(&mut self, index: u32, bytes: &mut [u8]) {
        #[cfg(feature = "tls")]
        if self.conns[index as usize].tls.is_some() {
            return self.feed_sealed(index, bytes);
        }
        self.feed_plain(index, bytes);
    }

    /// The same without TLS around them.
    #[inline]
    pub(super) fn feed_plain(&mut self, index: u32, bytes: &mut [u8]) {
        let conn = &mut self.conns[index as usize];
        if let Some(stash) = &mut conn.stash {
            planted!(StashOvertaken, {
                self.decode(index, bytes, bytes.len());
                return;
            });
            // Older bytes wait: these follow them, until so many do that the receive is cancelled, and what was in flight then.
            stash.add(bytes, &mut self.out.stores.pool);
            if stash.waiting() == Waiting::Much {
                self.out.peers.mark(index);
            }
            return;
        }
        match &mut conn.phase {
            Phase::Open { .. } => self.feed_frames(index, bytes),
            _ => self.feed_opening(index, bytes),
        }
    }

    /// The same of a connection that is not open yet, or any more.
    #[inline(never)]
    fn feed_opening(&mut self, index: u32, bytes: &mut [u8]) {
        match &self.conns[index as usize].phase {
            Phase::Head(..) => self.feed_head(index, bytes),
            Phase::Asked(_) => self.feed_asked(index, bytes),
            Phase::Proxy(..) => self.feed_proxy(index, bytes),
            Phase::Answer(_) => self.feed_answer(index, bytes),
            Phase::Open { .. } | Phase::Ended => {}
        }
    }
}
