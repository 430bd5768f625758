//! How much is done in a call, and how much was: so that a caller can have other work between.
//!
//! Owns two numbers. Knows neither messages nor the stream.

/// How fast [`Input::next_at`](super::input::Input::next_at) may go, and what work it has been beside whole messages.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes that are inflated at once.
    #[cfg_attr(not(feature = "deflate"), allow(dead_code, reason = "nothing is inflated"))]
    pub(super) step: usize,
    /// In small messages.
    pub(super) work: u32,
}

/// Work that inflating a message is beside what it makes, in small messages.
const INFLATE: usize = 16;
/// Bytes made by inflating that are as much work as a small message.
const INFLATED_BYTES: usize = 64;

impl Pace {
    /// However long it takes.
    pub const FREE: Pace = Pace::inflating(usize::MAX);

    /// Inflates at most about so many bytes in a call, at least one.
    pub const fn inflating(bytes: usize) -> Pace {
        Pace { step: if bytes > 0 { bytes } else { 1 }, work: 0 }
    }

    /// What has been done since the last call of this beside messages, measured in small ones: each frame that does not begin a message, and each
    /// message that is discarded, is as much work as one, a message that is inflated as 16, and 64 bytes of it as another.
    #[inline]
    pub fn take_work(&mut self) -> u32 {
        core::mem::take(&mut self.work)
    }

    /// Whether [`take_work`](Pace::take_work) has something to say.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.work > 0
    }

    /// A frame that begins no message.
    pub(super) fn on_frame(&mut self) {
        self.work = self.work.saturating_add(1);
    }

    /// Some bytes of a message have been inflated, the first of it if it was `begun`.
    #[cfg_attr(not(feature = "deflate"), allow(dead_code, reason = "nothing is inflated"))]
    pub(super) fn on_inflated(&mut self, begun: bool, bytes: usize) {
        let work = if begun { INFLATE } else { 1 } + bytes / INFLATED_BYTES;
        self.work = self.work.saturating_add(u32::try_from(work).unwrap_or(u32::MAX));
    }
}
