//! Where TLS stands in the engine: between a connection's socket and everything else. Received bytes are decrypted
//! before `rx` sees them, output is encrypted when `turn` takes it to be sent, and neither knows of the other's bytes.
//!
//! One piece of output is encrypted ahead, the one that is with the kernel: records must leave in the order they were
//! encrypted in, and what is not encrypted can still grow. What is queued before the handshake is over waits.

use super::core::Core;
use super::life::{Event, Life};
use super::output::{Next, Output};
use super::stores::Stores;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Memory, Payload, Ring};
use crate::tls::{Tls, TlsError, TlsPeer, Unsealed};

/// Plaintext encrypted at once: a moved message of 16 MiB does not take as much again. 15 records, which a pooled buffer of
/// 256 KiB holds.
const STEP: usize = 240 << 10;

/// TLS of one connection.
pub(crate) struct Secure {
    tls: Tls,
    /// What a short send left: encrypted already, so it goes before anything else.
    rest: Option<Payload>,
}

impl Secure {
    pub(crate) fn new(tls: Tls) -> Box<Self> {
        Box::new(Self { tls, rest: None })
    }

    /// What the application may know of it.
    pub(super) fn peer(&self) -> TlsPeer<'_> {
        TlsPeer(&self.tls)
    }

    pub(crate) fn keep_rest(&mut self, rest: Payload) {
        debug_assert!(self.rest.is_none(), "two sends at once");
        self.rest = Some(rest);
    }

    /// The next bytes for the socket, and whether there are some that must wait for the handshake.
    /// `finishing`: nothing more will be queued.
    fn next(&mut self, output: &mut Output, finishing: bool, stores: &mut Stores) -> Result<Next, TlsError> {
        if let Some(rest) = self.rest.take() {
            return Ok(Next::Piece(rest));
        }
        let mut plain = match output.next() {
            Some(payload) if self.tls.takes_plain() => payload.bytes(),
            _ if !output.is_empty() && self.tls.takes_bytes() && !self.tls.has_own() => return Ok(Next::Waits),
            _ => &[],
        };
        let whole = plain.len() <= STEP;
        plain = &plain[..plain.len().min(STEP)];
        let is_all = whole && (output.is_empty() || !plain.is_empty() && output.is_one_piece());
        // RFC 8446 §6.1: the last thing we say.
        let last = finishing && is_all && self.tls.takes_plain();
        if plain.is_empty() && !self.tls.has_own() && !last {
            return Ok(Next::Nothing);
        }
        let mut memory = stores.bytes(self.tls.sealed_len(plain.len()));
        let len = loop {
            let need = match self.tls.seal(plain, last, memory.bytes_mut(), &mut stores.pool) {
                Ok(len) => break len,
                Err(Unsealed::Room(need)) => Ok(need),
                Err(Unsealed::Failed(error)) => Err(error),
            };
            stores.recycle(memory);
            memory = stores.bytes(need?);
        };
        let plain = plain.len() as u32;
        if let Memory::Heap(heap) = &mut memory {
            heap.truncate(len);
        }
        let payload = Payload { memory, from: 0, to: len as u32 };
        output.queued = output.queued - plain + payload.to;
        output.consume(stores, plain);
        Ok(Next::Piece(payload))
    }
}

impl<R: Ring, H: Handler> Core<R, H> {
    /// Has a new connection speak TLS, as the server, if that is configured. False if rustls refuses.
    pub(super) fn secure(&mut self, index: u32) -> bool {
        let Some(config) = &self.config.tls else { return true };
        match Tls::server(config.clone()) {
            Ok(tls) => {
                self.conns[index as usize].tls = Some(Secure::new(tls));
                true
            }
            Err(error) => {
                tracing::error!(%error, "a connection cannot be secured");
                self.out.stats.tls_failed += 1;
                false
            }
        }
    }

    /// Ciphertext of a connection, in order.
    pub(super) fn feed_sealed(&mut self, index: u32, bytes: &mut [u8]) {
        let life = self.out.link(index).life;
        let Some(secure) = &mut self.conns[index as usize].tls else { return };
        let tls = &mut secure.tls;
        let handshaking = tls.is_handshaking();
        // Once nothing is taken from it any more, a peer is heard only as far as our last words depend on it.
        let is_heard = match life {
            Life::Head { .. } | Life::Quiet { .. } | Life::Pinged { .. } | Life::Closing { .. } => true,
            Life::Finishing { .. } | Life::Lingering { .. } => handshaking,
            Life::Dying(_) | Life::Free => false,
        };
        if !is_heard || !tls.takes_bytes() {
            return;
        }
        let mut plain = std::mem::take(&mut self.plain);
        let fed = tls.feed(bytes, &mut plain, &mut self.out.stores.pool);
        if handshaking || tls.has_own() {
            self.out.peers.mark(index);
        }
        let peer_closed = tls.is_peer_closed();
        if !plain.is_empty() {
            self.feed_plain(index, &mut plain);
            plain.clear();
        }
        self.plain = plain;
        if let Err(error) = fed {
            self.fail_tls(index, &error);
        } else if peer_closed {
            self.out.peers.on(index, Event::PeerEnded);
            self.on_eof(index);
        }
    }

    /// TLS of a connection is broken: the peer gets the alert, if rustls has one, and nothing else any more.
    fn fail_tls(&mut self, index: u32, error: &TlsError) {
        if matches!(self.out.link(index).life, Life::Dying(_) | Life::Free) {
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
        let Some(secure) = &mut self.conns[index as usize].tls else { return false };
        if !secure.tls.cut() {
            return false;
        }
        self.fail_tls(index, &TlsError::Cut);
        true
    }

    /// Takes the bytes that go next, encrypted.
    pub(super) fn pop_sealed(&mut self, index: u32) -> Next {
        let Some(secure) = &mut self.conns[index as usize].tls else { return Next::Nothing };
        let link = self.out.peers.settling(index);
        let finishing = matches!(link.life, Life::Finishing { .. });
        secure.next(&mut link.output, finishing, &mut self.out.stores).unwrap_or_else(|error| {
            self.fail_tls(index, &error);
            Next::Nothing
        })
    }

    /// Nothing more comes or goes: gives back what TLS holds.
    pub(super) fn drop_tls(&mut self, index: u32) {
        let Some(secure) = self.conns[index as usize].tls.take() else { return };
        if let Some(rest) = secure.rest {
            self.out.peers.settling(index).output.queued -= rest.len() as u32;
            self.out.stores.recycle(rest.memory);
        }
        secure.tls.recycle(&mut self.out.stores.pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::SendBlocks;
    use crate::tls::testing::pair;

    /// These pieces of output.
    fn output(pieces: &[&[u8]], stores: &mut Stores) -> Output {
        let mut output = Output::new();
        for piece in pieces {
            let payload = Payload { memory: Memory::Heap(piece.to_vec()), from: 0, to: piece.len() as u32 };
            output.add(stores, payload);
        }
        output
    }

    /// Long pieces go in steps, short ones in blocks; what is counted as queued is gone when all is sent, and the last
    /// step says goodbye.
    #[test]
    fn output_is_encrypted_in_steps() {
        let (mut client, server) = pair();
        let mut secure = Secure::new(server);
        let (mut stores, mut plain) = (Stores::new(SendBlocks::new(1, 512), 0), Vec::new());
        let long: Vec<u8> = (0..3 * STEP / 2).map(|i| (i / 7) as u8).collect();
        let mut output = output(&[b"short", &long, b"the end"], &mut stores);
        let (mut lens, mut blocks_used) = (Vec::new(), 0);
        while let Next::Piece(mut piece) = secure.next(&mut output, true, &mut stores).expect("it is open") {
            lens.push(piece.len());
            assert!(piece.len() <= STEP + (STEP >> 14) * 22 && piece.from + piece.whole() == piece.to);
            if lens.len() == 2 {
                // The kernel took a part: the rest goes next, as it is.
                let mut first = piece.bytes()[..1000].to_vec();
                client.feed(&mut first, &mut plain, &mut stores.pool).expect("sound");
                output.queued -= 1000;
                piece.from = 1000;
                secure.keep_rest(piece);
                lens.pop();
                lens.push(1000);
                continue;
            }
            client.feed(&mut piece.bytes().to_vec(), &mut plain, &mut stores.pool).expect("sound");
            output.queued -= piece.to - piece.from;
            if let Memory::Block(block) = piece.memory {
                stores.blocks.put(block);
                blocks_used += 1;
            }
        }
        assert!(plain == [b"short", &long[..], b"the end"].concat());
        assert_eq!((output.queued, output.is_empty(), blocks_used, lens.len()), (0, true, 2, 5), "{lens:?}");
        assert!(client.is_peer_closed());
    }

    /// Before the handshake is over output waits, behind TLS's own; after a failure nothing does.
    #[test]
    fn output_waits_for_the_handshake() {
        let (mut client, server) = crate::tls::testing::strangers();
        let mut secure = Secure::new(server);
        let mut stores = Stores::new(SendBlocks::new(1, 512), 0);
        let mut output = output(&[b"early"], &mut stores);
        assert!(matches!(secure.next(&mut output, false, &mut stores), Ok(Next::Waits)));
        let mut hello = vec![0; client.sealed_len(0)];
        let len = client.seal(&[], false, &mut hello, &mut stores.pool).expect("there is room");
        secure.tls.feed(&mut hello[..len], &mut Vec::new(), &mut stores.pool).expect("sound");
        let Ok(Next::Piece(flight)) = secure.next(&mut output, false, &mut stores) else { panic!("no answer") };
        assert_eq!((flight.bytes()[0], output.queued), (22, flight.to + 5), "a handshake record, RFC 8446 §5.1");
        assert!(matches!(secure.next(&mut output, false, &mut stores), Ok(Next::Waits)));
        assert!(secure.tls.cut());
        assert!(matches!(secure.next(&mut output, false, &mut stores), Ok(Next::Nothing)));
    }
}
