//! A message that arrives in pieces: over several receives, over several frames, or both (RFC 6455 §5.4).
//!
//! Owns: one buffer, with room in front for the header of a frame that may carry the message on. Promises: every byte is
//! copied, unmasked and checked in one pass into memory nobody has zeroed first; text fails at the first byte that no
//! continuation could repair (RFC 6455 §8.1); memory follows the bytes received, never the length announced. Refuses to
//! know: opcodes, limits, and where the buffer comes from or goes to (see [`crate::pool`]).

use super::{InvalidUtf8, MaskKey, append, copy_append};
use alloc::vec::Vec;

/// Bytes kept free in front of the payload, so that a frame header can be written in place: a header is at most 14 bytes
/// (RFC 6455 §5.2), and 16 keeps the payload aligned.
pub const HEADROOM: usize = 16;

/// The least capacity a growing assembly takes, in bytes, headroom included.
const CAPACITY_MIN: usize = 4096;

/// A message that arrives in pieces: one `Vec`, [`HEADROOM`] reserved bytes, then the payload.
#[derive(Debug)]
pub struct Assembly {
    /// Invariant: at least HEADROOM bytes long.
    bytes: Vec<u8>,
    /// Invariant: `HEADROOM <= text_to <= bytes.len()`, and `bytes[HEADROOM..text_to]` is valid UTF-8.
    text_to: usize,
}

impl Assembly {
    /// An empty message in `bytes`, whose content is dropped and whose capacity is used first. Allocates (4 KiB) only if
    /// that capacity is below [`HEADROOM`].
    pub fn new(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        if bytes.capacity() < HEADROOM {
            bytes.reserve_exact(CAPACITY_MIN);
        }
        bytes.resize(HEADROOM, 0); // a few zeros, so that no old byte can leave through a header never written
        Assembly { bytes, text_to: HEADROOM }
    }

    /// A message that is whole: [`HEADROOM`] bytes without meaning, then the payload, checked if it is `text`.
    ///
    /// # Errors
    /// The bytes again, if they are text that is not UTF-8.
    ///
    /// # Panics
    /// If there are fewer than [`HEADROOM`] bytes.
    pub fn whole(bytes: Vec<u8>, text: bool) -> Result<Self, Vec<u8>> {
        let payload = &bytes[HEADROOM..];
        if !text {
            return Ok(Assembly { bytes, text_to: HEADROOM });
        }
        match simdutf8::basic::from_utf8(payload) {
            Ok(text) => {
                let text_to = HEADROOM + text.len();
                Ok(Assembly { bytes, text_to })
            }
            Err(_) => Err(bytes),
        }
    }

    /// Payload bytes received so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADROOM
    }

    /// Bytes of its buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether no payload byte has been received.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in the next piece of a frame's payload, unmasking it with `key`: the frame's key advanced by the bytes of
    /// this frame that came before, or [`MaskKey::NONE`].
    ///
    /// With `text`, all bytes so far are validated; a sequence left open at the end is no error yet.
    ///
    /// `expect`: payload bytes of this frame still announced beyond `piece`. It is a hint from the peer: a buffer that has
    /// to grow takes at most twice the payload received (at least 4 KiB) and only as much of that as `expect` promises to
    /// fill; but never less than a quarter more, so that any number of small pieces costs linear work.
    ///
    /// # Errors
    /// [`InvalidUtf8`] if a byte can no longer be part of valid text: at once for lone continuations, C0, C1, F5..FF, and
    /// for overlong forms, surrogates and values above U+10FFFF at their second byte. The message is then beyond repair:
    /// every further `append` with `text` says so again.
    pub fn append(&mut self, piece: &[u8], key: MaskKey, text: bool, expect: u64) -> Result<(), InvalidUtf8> {
        let start = self.bytes.len();
        if self.bytes.capacity() - start < piece.len() {
            self.grow(piece.len(), expect);
        }
        let high = if text {
            append::<true>(piece, &mut self.bytes, key)
        } else {
            append::<false>(piece, &mut self.bytes, key)
        };
        if !text {
            return Ok(());
        }
        if !high && self.text_to == start {
            self.text_to = self.bytes.len(); // ASCII behind a finished text is text
            return Ok(());
        }
        self.validate()
    }

    /// The payload received so far, unmasked.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADROOM..]
    }

    /// The payload as text: `Some` if all of it came as `text` and no sequence is left open, without looking at the bytes
    /// again. An empty message is text.
    #[inline]
    pub fn text(&self) -> Option<&str> {
        if self.text_to != self.bytes.len() {
            return None;
        }
        debug_assert!(core::str::from_utf8(self.payload()).is_ok());
        // SAFETY: `bytes[HEADROOM..text_to]` is valid UTF-8 (the invariant beside the field; only `append` and `validate`
        // move `text_to`, behind bytes that they have checked), and `text_to` is the end.
        Some(unsafe { core::str::from_utf8_unchecked(self.payload()) })
    }

    /// The buffer: [`HEADROOM`] bytes without meaning, then the payload.
    #[inline]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The capacity that [`Assembly::append`] of the same numbers would allocate, because its buffer has no room: the least
    /// that keeps its work linear, and the one it would like. `None` if it would not allocate.
    #[inline]
    pub fn growth(&self, more: usize, expect: u64) -> Option<(usize, usize)> {
        (self.bytes.capacity() - self.bytes.len() < more).then(|| self.grown(more, expect))
    }

    /// Goes on in `larger`, whose content is dropped; returns the old buffer.
    ///
    /// # Panics
    /// If `larger` cannot hold what is here.
    pub fn move_to(&mut self, mut larger: Vec<u8>) -> Vec<u8> {
        assert!(larger.capacity() >= self.bytes.len());
        larger.clear();
        copy_append(&self.bytes, &mut larger);
        core::mem::replace(&mut self.bytes, larger)
    }

    /// Room for `more` bytes; see [`Assembly::append`] for how much. The old content moves.
    #[cold]
    fn grow(&mut self, more: usize, expect: u64) {
        let (_, capacity) = self.grown(more, expect);
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }

    /// Capacities for `more` bytes: the least, and the one to allocate.
    fn grown(&self, more: usize, expect: u64) -> (usize, usize) {
        let payload = self.len() + more;
        let mut wanted = payload.saturating_add(usize::try_from(expect).unwrap_or(usize::MAX));
        while wanted > payload.saturating_mul(2) {
            wanted /= 2; // a half, a quarter, ... of the frame: the steps after this one then end exactly at its end
        }
        let least = payload.saturating_add(payload / 4);
        let capacity = |payload: usize| payload.saturating_add(HEADROOM).max(CAPACITY_MIN);
        (capacity(least), capacity(wanted.max(least)))
    }

    /// Moves `text_to` as far as the text is complete. What lies behind it is at most the last piece and 3 bytes, so all
    /// the validation of a message is linear.
    fn validate(&mut self) -> Result<(), InvalidUtf8> {
        match simdutf8::compat::from_utf8(&self.bytes[self.text_to..]) {
            Ok(text) => {
                self.text_to += text.len();
                Ok(())
            }
            Err(error) => {
                self.text_to += error.valid_up_to();
                match error.error_len() {
                    None => Ok(()), // the bytes at the end could still become a character
                    Some(_) => Err(InvalidUtf8),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
