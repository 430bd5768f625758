//! The masking key.
//!
//! Owns its four bytes and which of them comes next. Knows nothing of the bytes it is laid over.

/// The masking key as it applies to the next byte: its first byte, in memory order, is XORed with that byte.
/// RFC 6455 §5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MaskKey(pub(super) u32); // in memory order, so that a splat of it lies over the bytes as they are

impl MaskKey {
    /// No mask: what a server sends, and what XOR leaves alone. A peer may also choose four zero bytes as its key; the
    /// work is the same.
    pub const NONE: MaskKey = MaskKey(0);

    /// The key as it stands in a frame header.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        MaskKey(u32::from_ne_bytes(bytes))
    }

    /// The four bytes as they would stand in a frame header.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// Whether XOR with this key changes nothing.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The key as seen `n` bytes further on. Any `n` is allowed.
    #[inline]
    pub const fn advance(self, n: usize) -> Self {
        let bits = (n % 4) as u32 * 8;
        if cfg!(target_endian = "little") {
            MaskKey(self.0.rotate_right(bits))
        } else {
            MaskKey(self.0.rotate_left(bits))
        }
    }
}
