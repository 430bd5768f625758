//! Where TLS stands in the engine: between a connection's socket and everything else. Received bytes are decrypted before
//! `frames` sees them, output is encrypted when `settle` takes it to be sent, and neither knows of the other's bytes.

use super::conns::Waiting;
use super::core::Core;
use super::life::{Event, Life};
use super::output::Next;
use super::planted::planted;
use super::sealed::Sealed;
use crate::handler::{CloseReason, Handler};
use crate::ring::Ring;
use crate::tls::{Tls, TlsError};

impl<R: Ring, H: Handler> Core<R, H> {
    /// Has a connection speak TLS from here on, as the server, if this listener does. False if rustls refuses.
    pub(super) fn secure(&mut self, index: u32, gate: u32) -> bool {
        let Some(config) = self.gates[gate as usize].tls() else { return true };
        match Tls::server(config.current()) {
            Ok(tls) => {
                self.conns[index as usize].tls = Some(Sealed::new(tls, &mut self.out.stores.pool));
                true
            }
            Err(error) => {
                tracing::error!(%error, "a connection cannot be secured");
                self.out.stats.tls_failed += 1;
                false
            }
        }
    }

    /// What TLS knows of a connection that opens, for callbacks that have no other way to it.
    pub(super) fn note_tls(&mut self, index: u32) {
        let Some(sealed) = &self.conns[index as usize].tls else { return };
        let peer = sealed.peer();
        let (server_name, alpn) = (peer.server_name().map(Into::into), peer.alpn().map(Into::into));
        // What a proxy in front tells of its own TLS is not what was negotiated here, also if that is nothing.
        let is_told =
            self.out.addresses.more(index).is_some_and(|more| more.server_name.is_some() || more.alpn.is_some());
        if server_name.is_some() || alpn.is_some() || is_told {
            self.out.note(index, |more| (more.server_name, more.alpn) = (server_name, alpn));
        }
    }

    /// Ciphertext of a connection, in order.
    pub(super) fn feed_sealed(&mut self, index: u32, bytes: &mut [u8]) {
        self.unseal(index, bytes, false);
    }

    /// The same. `has_turn`: if it is of a handshake, it has waited for its turn.
    fn unseal(&mut self, index: u32, bytes: &mut [u8], has_turn: bool) {
        let life = self.out.link(index).life;
        let Some(sealed) = &mut self.conns[index as usize].tls else { return };
        let tls = &mut sealed.tls;
        let handshaking = tls.is_handshaking();
        // Once nothing is taken from it any more, a peer is heard as far as our last words depend on it, and for its goodbye.
        let is_heard = match life {
            Life::Head { .. }
            | Life::Quiet { .. }
            | Life::Pinged { .. }
            | Life::Broken { .. }
            | Life::Closing { .. } => true,
            Life::Finishing { .. } | Life::Lingering { .. } => true,
            Life::Dying(..) | Life::Free => false,
        };
        if !is_heard || !tls.takes_bytes() {
            return;
        }
        if handshaking && planted!(HandshakesFree, false; !has_turn) {
            return self.defer_handshake(index, bytes);
        }
        let mut plain = std::mem::take(&mut self.plain);
        let fed = tls.feed(bytes, &mut plain, &mut self.out.stores.pool);
        let has_worked = tls.take_worked();
        if handshaking {
            tls.hear_name();
            if has_worked || tls.has_own() {
                self.handshakes.on_step();
            }
        }
        if planted!(FlightLost, !handshaking; handshaking || tls.has_own()) {
            self.out.peers.mark(index);
        }
        let peer_closed = tls.is_peer_closed();
        if !plain.is_empty() {
            self.feed_plain(index, &mut plain);
            plain.clear();
        }
        self.plain = plain;
        let is_over = matches!(life, Life::Finishing { .. } | Life::Lingering { .. }) && !handshaking;
        if let Err(error) = fed {
            // Once all is said, whatever else comes is discarded, sound or not.
            if !is_over {
                self.fail_tls(index, &error);
            }
        } else if peer_closed {
            self.out.peers.on(index, Event::PeerEnded);
            self.on_eof(index);
        }
    }

    /// Keeps bytes of a handshake for the end of the pass, or of a later one; much is not received meanwhile, as with a stash.
    fn defer_handshake(&mut self, index: u32, bytes: &[u8]) {
        let Some(sealed) = &mut self.conns[index as usize].tls else { return };
        if sealed.waiting.is_empty() {
            sealed.waiting = self.out.stores.pool.take(bytes.len(), bytes.len());
            self.handshakes.wait(index, self.out.link(index).tenant.generation());
        }
        self.out.stores.pool.append(bytes, &mut sealed.waiting);
        if Waiting::of(sealed.waiting.len()) == Waiting::Much {
            self.out.peers.mark(index);
        }
    }

    /// How much of a connection waits, with what does of its handshake; `waiting`: without.
    #[cold]
    pub(super) fn waiting_of(&self, index: u32, waiting: Waiting) -> Waiting {
        let sealed = self.conns.get(index as usize).and_then(|conn| conn.tls.as_ref());
        match sealed.map_or(0, |sealed| sealed.waiting.len()) {
            0 => waiting,
            bytes => Waiting::of(bytes),
        }
    }

    /// Goes on with handshakes, as far as a pass may. `busy`: it had something else.
    pub(super) fn drive_handshakes(&mut self, busy: bool) {
        self.handshakes.begin_waiting(busy || self.ring.has_more());
        while let Some((index, generation)) = self.handshakes.next() {
            if self.out.link(index).tenant.generation() != generation {
                continue;
            }
            let sealed = self.conns.get_mut(index as usize).and_then(|conn| conn.tls.as_mut());
            let Some(mut bytes) = sealed.map(|sealed| std::mem::take(&mut sealed.waiting)) else { continue };
            self.unseal(index, &mut bytes, true);
            self.out.stores.pool.put(bytes);
            if self.out.link(index).life.is_past_end() {
                self.on_eof(index);
            }
        }
    }

    /// Its TLS handshake is not done: what it is told cannot be read.
    pub(super) fn is_handshaking(&self, index: u32) -> bool {
        self.conns[index as usize].tls.as_ref().is_some_and(|sealed| sealed.tls.is_handshaking())
    }

    /// Bytes of its handshake wait for their turn.
    pub(super) fn handshake_waits(&self, index: u32) -> bool {
        self.conns[index as usize].tls.as_ref().is_some_and(|sealed| !sealed.waiting.is_empty())
    }

    /// TLS of a connection is broken: the peer gets the alert, if rustls has one, and nothing else any more.
    fn fail_tls(&mut self, index: u32, error: &TlsError) {
        if matches!(self.out.link(index).life, Life::Dying(..) | Life::Free) {
            return;
        }
        tracing::debug!(conn = %self.out.peers.id_of(index), %error, "a connection ends");
        self.out.stats.tls_failed += 1;
        self.out.abandon(index);
        self.end(index, &CloseReason::Tls(error), true);
    }

    /// The peer's last byte has come. True if that leaves a handshake unfinished, which is then the reason of the end. A
    /// peer that has sent nothing only looked whether somebody listens.
    pub(super) fn is_cut(&mut self, index: u32) -> bool {
        let waits = self.handshake_waits(index);
        let Some(sealed) = &mut self.conns[index as usize].tls else { return false };
        if !sealed.tls.cut() && !waits {
            return false;
        }
        self.fail_tls(index, &TlsError::Cut);
        true
    }

    /// Takes the bytes that go next, encrypted.
    pub(super) fn pop_sealed(&mut self, index: u32) -> Next {
        let Some(sealed) = &mut self.conns[index as usize].tls else { return Next::Nothing };
        let link = self.out.peers.settling(index);
        let finishing = matches!(link.life, Life::Finishing { .. });
        sealed.next(&mut link.output, finishing, &mut self.out.stores).unwrap_or_else(|error| {
            self.fail_tls(index, &error);
            Next::Nothing
        })
    }

    /// Nothing more comes or goes: gives back what TLS holds.
    pub(super) fn drop_tls(&mut self, index: u32) {
        let Some(sealed) = self.conns[index as usize].tls.take() else { return };
        let unsent = sealed.release(&mut self.out.stores);
        self.out.peers.settling(index).output.queued -= unsent;
    }
}
