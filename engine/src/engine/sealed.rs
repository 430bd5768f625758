//! TLS of one connection, on its output: plaintext in, records out.
//!
//! One piece of output is encrypted ahead, the one that is with the kernel: records must leave in the order they were
//! encrypted in, and what is not encrypted can still grow. What is queued before the handshake is over waits.

use wsring_proto::pool::Pool;

use super::output::{Next, Output};
use super::planted::planted;
use super::stores::Stores;
use crate::ring::{Heap, Memory, Payload};
use crate::tls::{Tls, TlsError, TlsPeer, Unsealed};

/// Plaintext encrypted at once: a moved message of 16 MiB does not take as much again. 15 records, which a pooled buffer of
/// 256 KiB holds.
const STEP: usize = 240 << 10;

/// TLS of one connection.
pub(crate) struct Sealed {
    pub(super) tls: Tls,
    /// What a short send left: encrypted already, so it goes before anything else.
    rest: Option<Payload>,
    /// Received in a handshake that waits for its turn. Without capacity otherwise.
    pub(super) waiting: Vec<u8>,
}

impl Sealed {
    /// What one takes at rest, nearly.
    pub(crate) const BYTES: usize = Tls::BYTES;

    pub(crate) fn new(tls: Tls, pool: &mut Pool) -> Box<Self> {
        pool.charge(Tls::BYTES);
        Box::new(Self { tls, rest: None, waiting: Vec::new() })
    }

    /// What the application may know of it.
    pub(super) fn peer(&self) -> TlsPeer<'_> {
        TlsPeer(&self.tls)
    }

    /// Nothing of the application's has gone either way.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(crate) fn keep_rest(&mut self, rest: Payload) {
        debug_assert!(self.rest.is_none(), "two sends at once");
        planted!(RestLost, return);
        self.rest = Some(rest);
    }

    /// Bytes of memory that it keeps, beside the rest of a send.
    pub(super) fn held_bytes(&self) -> usize {
        Self::BYTES + self.tls.held_bytes()
    }

    /// What a short send left.
    pub(super) fn rest(&self) -> Option<&Payload> {
        self.rest.as_ref()
    }

    /// What the socket is to be given next. `finishing`: nothing more will be queued.
    pub(super) fn next(&mut self, output: &mut Output, finishing: bool, stores: &mut Stores) -> Result<Next, TlsError> {
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
        let last = planted!(GoodbyeLost, false; last);
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
        if let Memory::Heap(Heap::Pooled(heap)) = &mut memory {
            heap.truncate(len);
        }
        let payload = Payload { memory, from: 0, to: len as u32 };
        output.queued = output.queued - plain + payload.to;
        output.consume(stores, plain);
        Ok(Next::Piece(payload))
    }

    /// Nothing more comes or goes: gives back all memory, and says how many bytes are sent no more.
    pub(super) fn release(self, stores: &mut Stores) -> u32 {
        let unsent = self.rest.map_or(0, |rest| {
            let len = rest.len() as u32;
            stores.recycle(rest.memory);
            len
        });
        stores.pool.put(self.waiting);
        self.tls.recycle(&mut stores.pool);
        stores.pool.discharge(Tls::BYTES);
        unsent
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
            let payload =
                Payload { memory: Memory::Heap(Heap::Pooled(piece.to_vec())), from: 0, to: piece.len() as u32 };
            output.add(stores, payload);
        }
        output
    }

    /// Long pieces go in steps, short ones in blocks; what is counted as queued is gone when all is sent, and the last
    /// step says goodbye.
    #[test]
    fn output_is_encrypted_in_steps() {
        let (mut client, server) = pair();
        let (mut stores, mut plain) = (Stores::new(SendBlocks::new(1, 512), 0), Vec::new());
        let mut sealed = Sealed::new(server, &mut stores.pool);
        let long: Vec<u8> = (0..3 * STEP / 2).map(|i| (i / 7) as u8).collect();
        let mut output = output(&[b"short", &long, b"the end"], &mut stores);
        let (mut lens, mut blocks_used) = (Vec::new(), 0);
        while let Next::Piece(mut piece) = sealed.next(&mut output, true, &mut stores).expect("it is open") {
            lens.push(piece.len());
            assert!(piece.len() <= STEP + (STEP >> 14) * 22 && piece.from + piece.whole() == piece.to);
            if lens.len() == 2 {
                // The kernel took a part: the rest goes next, as it is.
                let mut first = piece.bytes()[..1000].to_vec();
                client.feed(&mut first, &mut plain, &mut stores.pool).expect("sound");
                output.queued -= 1000;
                piece.from = 1000;
                sealed.keep_rest(piece);
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
        let mut stores = Stores::new(SendBlocks::new(1, 512), 0);
        let mut sealed = Sealed::new(server, &mut stores.pool);
        let mut output = output(&[b"early"], &mut stores);
        assert!(matches!(sealed.next(&mut output, false, &mut stores), Ok(Next::Waits)));
        let mut hello = vec![0; client.sealed_len(0)];
        let len = client.seal(&[], false, &mut hello, &mut stores.pool).expect("there is room");
        sealed.tls.feed(&mut hello[..len], &mut Vec::new(), &mut stores.pool).expect("sound");
        let Ok(Next::Piece(flight)) = sealed.next(&mut output, false, &mut stores) else { panic!("no answer") };
        assert_eq!((flight.bytes()[0], output.queued), (22, flight.to + 5), "a handshake record, RFC 8446 §5.1");
        assert!(matches!(sealed.next(&mut output, false, &mut stores), Ok(Next::Waits)));
        assert!(sealed.tls.cut());
        assert!(matches!(sealed.next(&mut output, false, &mut stores), Ok(Next::Nothing)));
    }
}
