//! The kernel for any x86-64: SSE2 belongs to the baseline, so nothing has to be detected.
//!
//! Owns: the 16-byte lane, which the inline path uses too. Refuses to know: the walk, see `lane`.

use super::key::MaskKey;
use super::lane::{self, Lane};
use core::arch::x86_64::{
    __m128i, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
};

// SAFETY: loads and stores are of 16 bytes, and SSE2 is in the target's baseline (the module's cfg).
unsafe impl Lane for __m128i {
    const LEN: usize = 16;
    #[inline(always)]
    unsafe fn splat(key: MaskKey) -> Self {
        // SAFETY: SSE2 is in the baseline.
        unsafe { _mm_set1_epi32(key.0 as i32) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: readable for 16 bytes by the caller's promise.
        unsafe { _mm_loadu_si128(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: writable for 16 bytes by the caller's promise.
        unsafe { _mm_storeu_si128(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: SSE2 is in the baseline.
        unsafe { _mm_xor_si128(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: SSE2 is in the baseline.
        unsafe { _mm_or_si128(self, other) }
    }
    #[inline(always)]
    unsafe fn has_high_bit(self) -> bool {
        // SAFETY: SSE2 is in the baseline.
        unsafe { _mm_movemask_epi8(self) != 0 }
    }
}

/// More than [`lane::SHORT_MAX`] bytes; the result is [`super::xor`]'s.
///
/// # Safety
/// As [`super::xor`], and `len > SHORT_MAX`.
#[inline(never)]
pub(super) unsafe fn xor<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    // SAFETY: passed on; SSE2 is in the baseline.
    unsafe { lane::long::<__m128i, TEXT>(from, to, len, key) }
}
