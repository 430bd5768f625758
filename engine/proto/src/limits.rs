//! What a peer may make us keep and work on: [`Limits`].
//!
//! Owns the limits (RFC 6455 §10.4) and what they leave of the next frame. Promises that a value equal to a limit passes
//! and the next one does not. Knows nothing of where in the stream we are: that is told by numbers.

use crate::close::Violation;
use crate::frame::{Expect, Role};
use crate::simd::HEADROOM;

/// What a peer may make us keep (RFC 6455 §10.4). A value equal to a limit passes, one more ends the connection with
/// 1009, at the first byte of the header that shows it. Control frames have their own limit, 125 bytes.
///
/// ```
/// use wsring_proto::Limits;
///
/// let limits = Limits::default().frame_max_bytes(64 << 10).message_max_bytes(1 << 20);
/// assert_eq!((limits.message_max_bytes, limits.fragments_max), (1 << 20, 262_144));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Payload bytes of one data frame. For a compressed message the limit is raised by an eighth and a kibibyte, because
    /// deflating what does not compress makes it longer. Default 16 MiB.
    pub frame_max_bytes: u64,
    /// Payload bytes of one message, over all its frames. For a compressed message it is the length after inflating; its
    /// frames together may have an eighth and a kibibyte more. Default 16 MiB.
    pub message_max_bytes: u64,
    /// Frames of one message, empty ones included; 0 is taken as 1. Default 262,144.
    pub fragments_max: u32,
    /// Compressed messages may inflate to this many times their payloads, and all of a peer together to a mebibyte more: what one message
    /// takes of that, later ones that stay below the ratio give back. It protects the processor:
    /// DEFLATE reaches 1032, so without it a peer buys a thousand bytes of our work with one of its own. Default 256; from 1032 on nothing
    /// is bounded by it.
    pub inflate_ratio_max: u32,
}

impl Limits {
    /// Sets [`frame_max_bytes`](Self#structfield.frame_max_bytes).
    #[must_use]
    pub const fn frame_max_bytes(mut self, bytes: u64) -> Self {
        self.frame_max_bytes = bytes;
        self
    }

    /// Sets [`message_max_bytes`](Self#structfield.message_max_bytes).
    #[must_use]
    pub const fn message_max_bytes(mut self, bytes: u64) -> Self {
        self.message_max_bytes = bytes;
        self
    }

    /// Sets [`fragments_max`](Self#structfield.fragments_max).
    #[must_use]
    pub const fn fragments_max(mut self, frames: u32) -> Self {
        self.fragments_max = frames;
        self
    }

    /// Sets [`inflate_ratio_max`](Self#structfield.inflate_ratio_max).
    #[must_use]
    pub const fn inflate_ratio_max(mut self, ratio: u32) -> Self {
        self.inflate_ratio_max = ratio;
        self
    }

    /// Only the rules of the format: for a message that is passed over and not kept.
    pub(crate) const NONE: Limits = Limits {
        frame_max_bytes: u64::MAX,
        message_max_bytes: u64::MAX,
        fragments_max: u32::MAX,
        inflate_ratio_max: u32::MAX,
    };

    /// Payload bytes of a message of one frame.
    #[inline]
    pub(crate) fn whole_max(&self) -> u64 {
        self.frame_max_bytes.min(self.message_max_bytes)
    }

    /// What the next header may be, after `fragments` frames with `sum` bytes of an open message.
    pub(crate) fn expect(&self, role: Role, fragments: u32, sum: u64) -> Expect {
        let (payload_max, too_big) = self.room(sum);
        Expect {
            role,
            in_message: fragments > 0,
            compression: false,
            fragment_allowed: fragments < self.fragments_max.max(1),
            payload_max,
            packed_max: payload_max,
            too_big,
        }
    }

    /// The same where messages may be compressed, and the open one is or is not.
    #[cold]
    #[inline(never)]
    pub(crate) fn expect_packed(&self, role: Role, fragments: u32, sum: u64, compressed: bool) -> Expect {
        let packed = self.packed();
        let limits = if compressed { &packed } else { self };
        Expect { compression: true, packed_max: packed.whole_max(), ..limits.expect(role, fragments, sum) }
    }

    /// The capacity that the longest message needs.
    pub(crate) fn capacity_max(&self) -> usize {
        usize::try_from(self.message_max_bytes).unwrap_or(usize::MAX).saturating_add(HEADROOM)
    }

    /// The limits of what is compressed. DEFLATE's worst honest case is a block of fixed codes, nine bits per byte (RFC 1951
    /// §3.2.6), so whatever may be sent plain may be sent compressed.
    fn packed(&self) -> Limits {
        let longer = |len: u64| len.saturating_add(len / 8).saturating_add(1024);
        Limits {
            frame_max_bytes: longer(self.frame_max_bytes),
            message_max_bytes: longer(self.message_max_bytes),
            ..*self
        }
    }

    /// How many bytes a data frame may have after `sum` bytes of its message, and which limit a longer one exceeds.
    #[inline(always)]
    fn room(&self, sum: u64) -> (u64, Violation) {
        let room = self.message_max_bytes.saturating_sub(sum);
        if room < self.frame_max_bytes {
            (room, Violation::MessageTooBig)
        } else {
            (self.frame_max_bytes, Violation::FrameTooBig)
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_max_bytes: 16 << 20,
            message_max_bytes: 16 << 20,
            fragments_max: 262_144,
            inflate_ratio_max: 256,
        }
    }
}
