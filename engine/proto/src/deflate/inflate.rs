//! Messages out of DEFLATE (RFC 7692 §7.2.2), bounded while they grow.
//!
//! Owns: where a message ends, and how far it may grow. Promises: no byte is made beyond the limit, and a message of exactly the limit
//! passes; memory follows what was made, never what was announced; a stream that is cut, broken, or goes on where it should
//! end is told from a good one. Refuses to know: where the compressed bytes came from, and whether they are text.

use alloc::vec::Vec;

use zlib_rs::{InflateFlush, Status};

use crate::close::Violation;
use crate::inflater::Inflater;
use crate::limits::Limits;
use crate::pool::Pool;
use crate::simd::{self, HEADROOM};

/// What the sender took off (RFC 7692 §7.2.1): the end of an empty block, whose first bits it left.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// What a message may inflate to whatever its ratio, in bytes. Below that the ratio protects nothing: an inflater makes so
/// much in a fraction of a millisecond.
const RATIO_FREE: usize = 1 << 20;

impl Inflater {
    /// Inflates the payload of one message, the frames' payloads joined, into memory from `pool`: [`HEADROOM`] zeros, then
    /// the message.
    ///
    /// # Errors
    /// [`Violation::MessageTooBig`] beyond `limits.message_max_bytes`, [`Violation::InflatedTooMuch`] beyond
    /// `limits.inflate_ratio_max` times the payload and a mebibyte, [`Violation::BrokenDeflate`] for what is no message of
    /// RFC 7692 §7.2. The window is lost then.
    pub fn message(&mut self, payload: &[u8], limits: &Limits, pool: &mut Pool) -> Result<Vec<u8>, Violation> {
        let bound = Bound::of(payload.len(), limits);
        // Most JSON is a third to a tenth of its size.
        let guess = HEADROOM + bound.most.min(payload.len().saturating_mul(4));
        let mut bytes = pool.take(guess, guess);
        bytes.resize(guess, 0);
        let made = self.message_into(payload, &bound, &mut bytes, pool);
        match made {
            Ok(()) => Ok(bytes),
            Err(violation) => {
                // Not for the pool: what a bomb made us take would stay, and each bomb adds what it outgrew.
                pool.note_change(bytes.capacity(), 0);
                drop(bytes);
                self.reset();
                Err(violation)
            }
        }
    }

    fn message_into(
        &mut self,
        payload: &[u8],
        bound: &Bound,
        bytes: &mut Vec<u8>,
        pool: &mut Pool,
    ) -> Result<(), Violation> {
        if payload.is_empty() {
            // zlib makes no byte of an empty message that follows an empty one.
            return Ok(());
        }
        let mut filled = HEADROOM;
        let mut rest = payload;
        loop {
            let (status, used, made) = self.step(rest, &mut bytes[filled..], InflateFlush::NoFlush)?;
            rest = &rest[used..];
            filled += made;
            match status {
                // RFC 7692 §7.2.3.4: a final block ends a stream; what follows it begins another, at the next byte.
                Status::StreamEnd => self.reset(),
                Status::Ok | Status::BufError if filled == bytes.len() => {
                    if filled - HEADROOM == bound.most {
                        self.probe(rest, bound.violation)?;
                        break;
                    }
                    grow(bytes, bound.most, pool);
                    continue;
                }
                Status::Ok => {}
                // Room and input, but no progress.
                Status::BufError if !rest.is_empty() => return Err(Violation::BrokenDeflate),
                Status::BufError => {}
            }
            if rest.is_empty() {
                break;
            }
        }
        bytes.truncate(filled);
        // A message whose last block is final lacks nothing, though §7.2.1 wants the first bits of an empty block behind it:
        // a peer that forgets them is understood.
        if self.is_fresh() { Ok(()) } else { self.finish() }
    }

    /// The output is as long as it may be: fails if the stream has more of it, else uses `rest` up.
    fn probe(&mut self, mut rest: &[u8], violation: Violation) -> Result<(), Violation> {
        loop {
            let (status, used, made) = self.step(rest, &mut [0], InflateFlush::NoFlush)?;
            rest = &rest[used..];
            if made > 0 {
                return Err(violation);
            }
            match status {
                Status::StreamEnd => self.reset(),
                Status::Ok => {}
                Status::BufError if !rest.is_empty() => return Err(Violation::BrokenDeflate),
                Status::BufError => {}
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Puts the tail back (RFC 7692 §7.2.2). In a good message it completes an empty block and nothing else.
    ///
    /// Stopping at the block's end shows that: a byte too many is offered, and left alone exactly if the tail ended a block.
    /// A message that was cut inside a block takes other bytes of it, or makes some.
    fn finish(&mut self) -> Result<(), Violation> {
        // Each is a whole stored block, or the end of one: zlib stops behind it and leaves the byte more. The second shows that
        // it stopped at the byte's end: where bits of the tail are left, they are ones, and no block that goes on begins so.
        let mut blocks = [0; 1 + TAIL.len() + 1];
        blocks[1..=TAIL.len()].copy_from_slice(&TAIL);
        for (block, len) in [(&blocks[1..], TAIL.len()), (&blocks[..], 1 + TAIL.len())] {
            let (status, used, made) = self.step(block, &mut [0], InflateFlush::Block)?;
            if used != len || made > 0 || status == Status::StreamEnd {
                return Err(Violation::BrokenDeflate);
            }
        }
        Ok(())
    }
}

/// What a message may inflate to, and what it is called beyond.
struct Bound {
    most: usize,
    violation: Violation,
}

impl Bound {
    fn of(payload_len: usize, limits: &Limits) -> Bound {
        let size = usize::try_from(limits.message_max_bytes).unwrap_or(usize::MAX);
        let ratio = payload_len.saturating_mul(limits.inflate_ratio_max as usize).saturating_add(RATIO_FREE);
        match size <= ratio {
            true => Bound { most: size, violation: Violation::MessageTooBig },
            false => Bound { most: ratio, violation: Violation::InflatedTooMuch },
        }
    }
}

/// More room behind what is there: twice as much, up to the bound. Without allocating if the pool has such a buffer.
#[cold]
fn grow(bytes: &mut Vec<u8>, most: usize, pool: &mut Pool) {
    let len = HEADROOM + (bytes.len() - HEADROOM).saturating_mul(2).max(4096 - HEADROOM).min(most);
    if bytes.capacity() < len {
        match pool.take_kept(len, len) {
            Some(mut larger) => {
                simd::copy_append(bytes, &mut larger);
                pool.put(core::mem::replace(bytes, larger));
            }
            None => {
                let before = bytes.capacity();
                bytes.reserve_exact(len - bytes.len());
                pool.note_change(before, bytes.capacity());
            }
        }
    }
    bytes.resize(len, 0);
}

#[cfg(test)]
mod tests;
