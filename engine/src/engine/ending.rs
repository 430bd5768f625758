//! How connections end: for the application by `on_close`, for the peer by what still goes out, for the slot by its close.
//!
//! Whatever the reason, the order is one: the stage moves on, what was kept of the peer's bytes goes back, and the application
//! is told.

use super::conns::Phase;
use super::core::Core;
use super::deferred::Wait;
use super::id::Origin;
use super::life::{Event, Life, Parting};
use super::planted::planted;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Errno, Ring};

impl<R: Ring, H: Handler> Core<R, H> {
    /// The peer's last byte has come. What waits before it is worked on first.
    pub(super) fn on_eof(&mut self, index: u32) {
        self.out.peers.mark(index);
        let stashed = self.conns[index as usize].stash.is_some();
        if planted!(EofFirst, false; stashed) {
            return;
        }
        #[cfg(feature = "tls")]
        if self.handshake_waits(index) || self.is_cut(index) {
            return;
        }
        match self.out.link(index).life {
            Life::Head { .. } => self.end_head(index, &CloseReason::Eof),
            // Half-closed: what was queued for it still goes out.
            Life::Quiet { .. } | Life::Pinged { .. } => self.end(index, &CloseReason::Eof, false),
            Life::Broken { errno, .. } => {
                self.end(index, &CloseReason::Reset(Errno(errno.into())), false);
                self.die(index);
            }
            Life::Closing { .. } => self.end_closing(index, false),
            Life::Lingering { .. } => self.out.peers.touch(index).flight.outdate(),
            Life::Finishing { .. } | Life::Dying(..) | Life::Free => {}
        }
    }

    /// The socket is broken: nothing more can come or go.
    pub(super) fn fail(&mut self, index: u32, errno: Errno) {
        let life = self.out.link(index).life;
        if matches!(life, Life::Dying(..) | Life::Free) {
            return self.out.peers.mark(index);
        }
        if (life.is_open() || matches!(life, Life::Closing { .. })) && errno.0 != libc::ECANCELED {
            self.out.stats.resets += 1;
        }
        #[cfg(feature = "tls")]
        if self.is_cut(index) {
            return self.die(index);
        }
        self.end(index, &CloseReason::Reset(errno), false);
        self.die(index);
    }

    /// The socket is broken, and what the peer has said is heard to its end: its receive goes on, and what is stashed is worked on
    /// as it would have been. The application may hold that up until the deadline.
    pub(super) fn break_off(&mut self, index: u32, errno: Errno) {
        self.out.stats.resets += 1;
        self.out.end_topics(index);
        let (due, _) = self.out.norms.clocks(index, self.out.now);
        let errno = errno.0.unsigned_abs() as u16;
        self.out.peers.on(index, Event::SendFailed { due, errno });
    }

    /// The application's part of the connection is over: `on_close`, then what is queued goes out and the socket closes,
    /// after a pause for the peer to read our last bytes if `linger`.
    pub(super) fn end(&mut self, index: u32, why: &CloseReason<'_>, linger: bool) {
        // Whatever ends it in the pass in which the application has cut it.
        let aborted = self.out.link(index).life.is_aborted();
        let why = if aborted { &CloseReason::Aborted } else { why };
        self.out.end_topics(index);
        let (due, until) = self.out.norms.clocks(index, self.out.now);
        self.out.peers.on(index, Event::Ended { due, until, linger });
        if planted!(AbortInOrder, false; aborted) {
            self.out.peers.on(index, Event::Died(Parting::Reset));
        }
        let conn = &mut self.conns[index as usize];
        if let Some(stash) = conn.stash.take() {
            self.out.stores.pool.put(stash.bytes);
        }
        match std::mem::replace(&mut conn.phase, Phase::Ended) {
            Phase::Open(mut session) => {
                self.windows -= u32::from(session.keeps_window());
                session.recycle(&mut self.out.stores.pool);
                let id = self.out.peers.id_of(index);
                self.note_gone(index, why);
                self.out.stats.open -= 1;
                self.end_ages(index);
                if self.out.link(index).tenant.is_dialled() {
                    self.before_dialled_end(index, why);
                }
                self.calls.closed(&mut self.out, id, why);
            }
            Phase::Head(_, Some(buffer), _) => self.out.stores.pool.put(*buffer),
            Phase::Proxy(Some(buffer), _) => {
                self.out.stats.proxy_failed += 1;
                self.out.stores.pool.put(*buffer);
            }
            Phase::Answer(answering) => self.on_answer_lost(*answering, why),
            Phase::Asked(asked) => self.end_wait(*asked, Wait::Gone),
            Phase::Head(_, None, _) | Phase::Proxy(None, _) | Phase::Ended => {}
        }
        if self.out.link(index).tenant.is_dialled() {
            self.on_dialled_end(index, why);
        }
    }

    /// Ends the connections that the application has cut, when its callbacks are over.
    #[cold]
    pub(super) fn end_aborted(&mut self) {
        while let Some(id) = self.out.aborted.pop() {
            if let Some(index) = self.out.peers.find(id)
                && self.out.link(index).life.is_aborted()
            {
                self.end(index, &CloseReason::Aborted, false);
            }
        }
    }

    /// A connection ends before it is open.
    pub(super) fn end_head(&mut self, index: u32, why: &CloseReason<'_>) {
        if matches!(self.conns[index as usize].phase, Phase::Answer(_)) {
            self.end(index, why, false);
        }
        self.die(index);
    }

    /// The end of a closing handshake that we began.
    pub(super) fn end_closing(&mut self, index: u32, clean: bool) {
        let why = match self.is_told_to_go(index) {
            true => CloseReason::Drained { clean },
            false if self.stopping.is_some() => CloseReason::Stopped,
            false => CloseReason::Local { clean },
        };
        let linger = clean && self.awaits_end(index);
        self.end(index, &why, linger);
    }

    /// Behind the two Closes the peer has something to send yet. RFC 6455 §7.1.1: the server closes the TCP connection, so a client gives
    /// it a moment. RFC 8446 §6.1: whoever is told goodbye in TLS says so too, and a socket that is closed by then answers with a
    /// reset, which its peer may take for an attack on the connection's end.
    pub(super) fn awaits_end(&self, index: u32) -> bool {
        #[cfg(feature = "tls")]
        if planted!(GoodbyeUnawaited, false; self.conns[index as usize].tls.is_some()) {
            return true;
        }
        self.out.link(index).tenant.is_dialled()
    }

    /// Nothing more goes out: cancel what is in flight, then close.
    pub(super) fn die(&mut self, index: u32) {
        // A head that is still awaited ends here too: its receive may yet bring bytes before it is cancelled.
        let ends = !matches!(self.conns[index as usize].phase, Phase::Ended);
        if planted!(HeadAfterDeath, matches!(self.conns[index as usize].phase, Phase::Open { .. }); ends) {
            self.end(index, &CloseReason::Local { clean: false }, false);
        }
        self.out.peers.on(index, Event::Died(Parting::Fin));
    }

    pub(super) fn on_closed(&mut self, index: u32) {
        self.admitted -= u32::from(self.out.link(index).tenant.origin() != Origin::Guest);
        self.out.forget(index);
        self.limits.set(index, None);
        self.crowd.leave(index);
        self.shortage.forget(index);
        self.conns.remove(index as usize);
        self.out.stats.closed += 1;
        self.listeners.on_slot_freed();
    }
}
