//! A message that goes to many connections, on its way to one of them.
//!
//! Decides whether it is sent from where it lies, together with others, or copied behind what else is sent: see `forms` for what
//! it is made of.

use wsring_proto::encode;
use wsring_proto::opcode::{Message, Opcode};

use super::forms::Made;
use super::output::Output;
use super::pack::Shape;
use super::planted::planted;
use super::reach::{How, Reach, SendOutcome, mask_of};
use crate::ring::Payload;

/// From this length on it is shared also behind output of the same pass, which costs a send more. Less than for a message that moves
/// ([`MOVE_BEHIND_MIN`](super::promise::MOVE_BEHIND_MIN)): it goes to many, and copies for each of them are more than the caches hold.
const SHARE_BEHIND_MIN: usize = 12 << 10;

/// Whether a frame of this length is shared as a piece of its own rather than copied behind what else is sent: nothing else is,
/// or that waits for an earlier send anyway.
fn is_worth_sharing(len: usize, output: &Output) -> bool {
    output.is_empty() || output.is_sending || len >= SHARE_BEHIND_MIN
}

impl Reach {
    /// Queues a message that goes to many: this is its number.
    pub(crate) fn send_prepared(&mut self, index: u32, number: u64, message: Message<'_>) -> SendOutcome {
        self.send_shared(index, number, message.opcode(), message.as_bytes())
    }

    /// The same, of bytes that are text if the opcode says so.
    pub(super) fn send_shared(&mut self, index: u32, number: u64, opcode: Opcode, bytes: &[u8]) -> SendOutcome {
        let Some(framing) = self.peers.get(index).life.framing() else { return self.gone() };
        let packs = self.packs(index, framing, bytes.len());
        // With a compressor of its own, it becomes something else for each; and what is short is sent as any other.
        if packs && framing.is_own() || !packs && bytes.len() < self.forms.share_from {
            return self.send_how(index, opcode, bytes, How::Any);
        }
        // Whether there is room, by its length as it is: for all alike.
        if !self.has_room(index, framing, bytes.len()) {
            return self.refused();
        }
        self.stats.sent += 1;
        let shape = if packs { Shape::of(framing, self.packing(index, framing).level) } else { Shape::AS_IS };
        if packs && !self.forms.has(number, shape) {
            self.owe_packing(bytes.len(), shape.level);
        }
        let (packer, stores) = (&mut self.packer, &mut self.stores);
        let (made, compressed) = self.forms.form(number, shape, opcode, bytes, packer, &mut stores.pool);
        let mask = mask_of(&mut self.random, framing);
        let output = &mut self.peers.touch(index).output;
        self.stats.compressed += u64::from(compressed);
        let payload = match made {
            Made::Frame { frame, .. } if mask.is_none() && is_worth_sharing(frame.len(), output) => {
                let to = frame.len() as u32;
                let memory = stores.share(frame.clone());
                output.add(stores, Payload { memory, from: 0, to });
                return self.press(index, framing);
            }
            Made::Frame { frame, head_len } => &frame[usize::from(*head_len)..],
            Made::Payload(payload) => payload,
            Made::Same | Made::NotShorter => bytes,
        };
        output.frame(stores, opcode, payload, mask);
        if compressed {
            planted!(CompressedUnmarked, return self.press(index, framing));
            output.mark_compressed(opcode, encode::frame_len(payload.len(), framing.is_masked()));
        }
        self.press(index, framing)
    }
}

#[cfg(test)]
pub(super) mod tests;
