//! A message that is being written where it will be sent from.
//!
//! Room for it is kept at the end of a connection's output, or in a pooled buffer if it will be compressed. What is dropped
//! unsent, because it was no text or because its writer panicked, leaves the output as it was.

use wsring_proto::encode;
use wsring_proto::opcode::Opcode;
use wsring_proto::simd;

use super::pack::Framing;
use super::reach::{Reach, SendOutcome};

/// Where a draft is written.
enum Room {
    /// In the last piece of the output, from here on, with room for its header in front.
    Output(usize),
    /// It will be compressed.
    Pooled(Vec<u8>),
    /// It has been sent.
    Gone,
}

/// A message of a known length whose bytes are being written.
pub(crate) struct Draft<'r> {
    out: &'r mut Reach,
    index: u32,
    framing: Framing,
    len: usize,
    place: Room,
}

impl Reach {
    /// Keeps room for a message of `len` bytes; if there is none, says what becomes of the message.
    pub(crate) fn draft(&mut self, index: u32, len: usize) -> Result<Draft<'_>, SendOutcome> {
        let Some(framing) = self.peers.get(index).life.framing() else { return Err(self.gone()) };
        // `has_room` adds to the length, which must not overflow.
        if u32::try_from(len).is_err() || !self.has_room(index, framing, len) {
            return Err(self.refused());
        }
        let place = if self.packs(index, framing, len) {
            Room::Pooled(self.stores.pool.take_filled(len))
        } else {
            let need = encode::frame_len(len, framing.is_masked());
            Room::Output(self.peers.touch(index).output.reserve(&mut self.stores, need))
        };
        let mut draft = Draft { out: self, index, framing, len, place };
        // What lies there may be another peer's, and a writer need not write all of it.
        draft.bytes().fill(0);
        Ok(draft)
    }
}

impl Draft<'_> {
    /// The message's bytes, zeros until they are written.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let need = encode::frame_len(self.len, self.framing.is_masked());
        match &mut self.place {
            Room::Output(at) => &mut self.out.peers.settling(self.index).output.reserved(*at, need)[need - self.len..],
            Room::Pooled(bytes) => bytes,
            Room::Gone => unreachable!("sending takes the draft"),
        }
    }

    /// Queues the message.
    pub(crate) fn send(mut self, opcode: Opcode) -> SendOutcome {
        let (index, framing, len) = (self.index, self.framing, self.len);
        let place = std::mem::replace(&mut self.place, Room::Gone);
        self.out.stats.sent += 1;
        match place {
            Room::Output(at) => {
                // Drawn after the bytes were chosen (RFC 6455 §10.3).
                let mask = self.out.mask_of(framing);
                let need = encode::frame_len(len, framing.is_masked());
                let output = &mut self.out.peers.settling(index).output;
                let frame = output.reserved(at, need);
                if let Some(key) = mask {
                    simd::mask(&mut frame[need - len..], key);
                }
                encode::write_head(frame, need - len, true, opcode, len, mask);
                output.commit(at, need);
                self.out.press(index, framing)
            }
            Room::Pooled(bytes) => {
                let outcome = self.out.send_packed(index, framing, opcode, &bytes);
                self.out.stores.pool.put(bytes);
                outcome
            }
            Room::Gone => unreachable!("sending takes the draft"),
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.place, Room::Gone) {
            Room::Output(at) => {
                let output = &mut self.out.peers.settling(self.index).output;
                output.unreserve(&mut self.out.stores, at);
            }
            Room::Pooled(bytes) => self.out.stores.pool.put(bytes),
            Room::Gone => {}
        }
    }
}
