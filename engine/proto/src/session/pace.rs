//! How much is done in a call, and how much was: so that a caller can have other work between.
//!
//! Owns two numbers. Knows neither messages nor the stream.

/// How fast the walk may be, and what work it has been beside whole messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes that are inflated at once.
    pub(super) step: usize,
    /// In small messages: see [`Input::take_work`](super::input::Input::take_work).
    pub(super) work: u32,
}

/// Work that inflating a message is beside what it makes, in small messages.
const INFLATE: usize = 16;
/// Bytes made by inflating that are as much work as a small message.
const INFLATED_BYTES: usize = 64;

impl Pace {
    /// Some bytes of a message have been inflated, the first of it if it was `begun`.
    #[cfg_attr(not(feature = "deflate"), allow(dead_code, reason = "nothing is inflated"))]
    pub(super) fn on_inflated(&mut self, begun: bool, bytes: usize) {
        let work = if begun { INFLATE } else { 1 } + bytes / INFLATED_BYTES;
        self.work = self.work.saturating_add(u32::try_from(work).unwrap_or(u32::MAX));
    }
}
