//! Messages out of DEFLATE (RFC 7692 §7.2.2), bounded while they grow.
//!
//! Owns: where a message ends, how far it may grow, and how far it has come. Promises: no byte is made beyond the limit, and a message of exactly the limit
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

/// How far a peer may be beyond its ratio, in bytes, over all its messages: an inflater makes so much in a fraction of a millisecond.
const CREDIT_MAX: usize = 1 << 20;

/// Bytes of output that are cleared at once, so that a step costs what it makes, whatever the message will come to.
const FILL_MAX: usize = 256 << 10;

/// Memory for a message that is taken before anything of it is made, if its payload is shorter than that.
const GUESS_MAX: usize = 64 << 10;

/// How far a peer may still be beyond its ratio: what a message takes of it beyond
/// [`inflate_ratio_max`](Limits#structfield.inflate_ratio_max) times its payload, messages that stay below give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit(usize);

impl Credit {
    /// Of a peer that has sent nothing yet.
    pub(crate) const FULL: Credit = Credit(CREDIT_MAX);

    /// A payload was inflated to so many bytes.
    fn after(self, payload_len: usize, made: usize, limits: &Limits) -> Credit {
        Credit(earned(payload_len, limits).saturating_add(self.0).saturating_sub(made).min(CREDIT_MAX))
    }
}

/// What a payload may inflate to without credit.
fn earned(payload_len: usize, limits: &Limits) -> usize {
    payload_len.saturating_mul(limits.inflate_ratio_max as usize)
}

/// A message on its way out of DEFLATE.
#[derive(Debug)]
pub(crate) struct Making {
    /// [`HEADROOM`] zeros, what has been made, and room.
    bytes: Vec<u8>,
    filled: usize,
    payload_len: usize,
    bound: Bound,
}

impl Making {
    /// Of a payload of so many bytes, the frames' payloads joined.
    pub(crate) fn begin(payload_len: usize, limits: &Limits, credit: Credit, pool: &mut Pool) -> Making {
        let bound = Bound::of(payload_len, limits, credit);
        // Most JSON is a third to a tenth of its size. A long message may be long under way, in steps: its memory follows what is made.
        let wish = payload_len.saturating_mul(4).min(payload_len.max(GUESS_MAX));
        let guess = HEADROOM + bound.most.min(wish);
        let mut bytes = pool.take(guess, guess);
        bytes.resize(guess.min(HEADROOM + FILL_MAX), 0);
        Making { bytes, filled: HEADROOM, payload_len, bound }
    }

    /// Bytes made so far.
    pub(crate) fn len(&self) -> usize {
        self.filled - HEADROOM
    }

    /// Bytes of memory that it takes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The peer's credit when this is the whole message.
    pub(crate) fn credit(&self, before: Credit, limits: &Limits) -> Credit {
        before.after(self.payload_len, self.len(), limits)
    }

    /// [`HEADROOM`] zeros, then the message.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// More room behind what is there: twice as much, up to the bound. Without allocating if the pool has such a buffer.
    #[cold]
    fn grow(&mut self, pool: &mut Pool) {
        let len = self.bytes.len();
        let bytes = &mut self.bytes;
        let most = HEADROOM + self.bound.most;
        if bytes.capacity() == len {
            let room = HEADROOM + (len - HEADROOM).saturating_mul(2).max(4096 - HEADROOM).min(self.bound.most);
            match pool.take_kept(room, room) {
                Some(mut larger) => {
                    simd::copy_append(bytes, &mut larger);
                    pool.put(core::mem::replace(bytes, larger));
                }
                None => {
                    let before = bytes.capacity();
                    bytes.reserve_exact(room - len);
                    pool.note_change(before, bytes.capacity());
                }
            }
        }
        bytes.resize(bytes.capacity().min(most).min(len.saturating_add(FILL_MAX)), 0);
    }
}

impl Inflater {
    /// Inflates the payload of one message, the frames' payloads joined, into memory from `pool`: [`HEADROOM`] zeros, then
    /// the message.
    ///
    /// # Errors
    /// [`Violation::MessageTooBig`] beyond `limits.message_max_bytes`, [`Violation::InflatedTooMuch`] beyond
    /// `limits.inflate_ratio_max` times the payload and a mebibyte, [`Violation::BrokenDeflate`] for what is no message of
    /// RFC 7692 §7.2. The window is lost then.
    pub fn message(&mut self, payload: &[u8], limits: &Limits, pool: &mut Pool) -> Result<Vec<u8>, Violation> {
        let mut making = Making::begin(payload.len(), limits, Credit::FULL, pool);
        let mut rest = payload;
        let done = self.make(&mut making, &mut rest, usize::MAX, pool)?;
        debug_assert!(done, "there was no bound on a step");
        Ok(making.into_bytes())
    }

    /// Goes on with a message, of whose payload `rest` has not been taken yet, until it has made `step` bytes more. True if that is all
    /// of it.
    ///
    /// # Errors
    /// As [`message`](Self::message); what was made so far is of no use then.
    pub(crate) fn make(
        &mut self,
        making: &mut Making,
        rest: &mut &[u8],
        step: usize,
        pool: &mut Pool,
    ) -> Result<bool, Violation> {
        let made = self.make_some(making, rest, step, pool);
        if made.is_err() {
            // Not for the pool: what a bomb made us take would stay, and each bomb adds what it outgrew.
            pool.note_change(making.bytes.capacity(), 0);
            making.bytes = Vec::new();
            self.reset();
        }
        made
    }

    fn make_some(
        &mut self,
        making: &mut Making,
        rest: &mut &[u8],
        step: usize,
        pool: &mut Pool,
    ) -> Result<bool, Violation> {
        if making.payload_len == 0 {
            // zlib makes no byte of an empty message that follows an empty one.
            return Ok(true);
        }
        let stop = making.filled.saturating_add(step);
        loop {
            let to = making.bytes.len().min(stop);
            let (status, used, made) = self.step(rest, &mut making.bytes[making.filled..to], InflateFlush::NoFlush)?;
            *rest = &rest[used..];
            making.filled += made;
            match status {
                // RFC 7692 §7.2.3.4: a final block ends a stream; what follows it begins another, at the next byte.
                Status::StreamEnd => self.reset(),
                Status::Ok | Status::BufError if making.filled == making.bytes.len() => {
                    if making.len() == making.bound.most {
                        self.probe(rest, making.bound.violation)?;
                        break;
                    }
                    making.grow(pool);
                    if making.filled == stop {
                        return Ok(false);
                    }
                    continue;
                }
                Status::Ok | Status::BufError if making.filled == stop => return Ok(false),
                Status::Ok => {}
                // Room and input, but no progress.
                Status::BufError if !rest.is_empty() => return Err(Violation::BrokenDeflate),
                Status::BufError => {}
            }
            if rest.is_empty() {
                break;
            }
            if making.filled == stop {
                return Ok(false); // behind a final block
            }
        }
        making.bytes.truncate(making.filled);
        // A message whose last block is final lacks nothing, though §7.2.1 wants the first bits of an empty block behind it:
        // a peer that forgets them is understood.
        if !self.is_fresh() {
            self.finish()?;
        }
        Ok(true)
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
#[derive(Debug)]
struct Bound {
    most: usize,
    violation: Violation,
}

impl Bound {
    fn of(payload_len: usize, limits: &Limits, credit: Credit) -> Bound {
        let size = usize::try_from(limits.message_max_bytes).unwrap_or(usize::MAX);
        let ratio = earned(payload_len, limits).saturating_add(credit.0);
        match size <= ratio {
            true => Bound { most: size, violation: Violation::MessageTooBig },
            false => Bound { most: ratio, violation: Violation::InflatedTooMuch },
        }
    }
}

#[cfg(test)]
mod tests;
