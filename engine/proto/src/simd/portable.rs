//! The kernel for any CPU: 64-bit words.
//!
//! Owns: nothing but the choice of the lane. On aarch64 the compiler turns its loop into NEON, which belongs to that
//! target's baseline; hand-written NEON would be code that no machine of ours runs.

use super::key::MaskKey;
use super::lane;

/// More than [`lane::SHORT_MAX`] bytes; the result is [`super::xor`]'s.
///
/// # Safety
/// As [`super::xor`], and `len > SHORT_MAX`.
pub(super) unsafe fn xor<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    // SAFETY: passed on; 64-bit integers are everywhere.
    unsafe { lane::long::<u64, TEXT>(from, to, len, key) }
}
