//! The kernel for x86-64 with AVX2.
//!
//! Owns: the 32-byte lane and the question whether the CPU has it. Refuses to know: the walk, see `lane`. AVX-512 was
//! measured elsewhere and bought nothing: the loop already stores as fast as the first-level cache takes it.

use super::key::MaskKey;
use super::lane::{self, Lane};
use core::arch::x86_64::{
    __m256i, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi32, _mm256_storeu_si256,
    _mm256_xor_si256,
};

/// Whether the CPU and the operating system have AVX2: a relaxed load and a bit test, the finding itself happens once
/// per process. A constant where the compiler is told.
#[cfg(feature = "std")]
#[inline(always)]
pub(super) fn is_present() -> bool {
    std::is_x86_feature_detected!("avx2")
}

/// Whether the target has AVX2: without `std` only the compiler knows.
#[cfg(not(feature = "std"))]
#[inline(always)]
pub(super) fn is_present() -> bool {
    cfg!(target_feature = "avx2")
}

// SAFETY: loads and stores are of 32 bytes. That the CPU has AVX2 is the promise of every caller of a `Lane`; these
// functions are inlined into `xor` below, which is compiled for AVX2.
unsafe impl Lane for __m256i {
    const LEN: usize = 32;
    #[inline(always)]
    unsafe fn splat(key: MaskKey) -> Self {
        // SAFETY: AVX2 by the caller's promise.
        unsafe { _mm256_set1_epi32(key.0 as i32) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: AVX2, and readable for 32 bytes, by the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: AVX2, and writable for 32 bytes, by the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: AVX2 by the caller's promise.
        unsafe { _mm256_xor_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: AVX2 by the caller's promise.
        unsafe { _mm256_or_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn has_high_bit(self) -> bool {
        // SAFETY: AVX2 by the caller's promise.
        unsafe { _mm256_movemask_epi8(self) != 0 }
    }
}

/// More than [`lane::SHORT_MAX`] bytes; the result is [`super::xor`]'s.
///
/// # Safety
/// As [`super::xor`]; `len > SHORT_MAX`; [`is_present`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn xor<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    // SAFETY: passed on.
    unsafe { lane::long::<__m256i, TEXT>(from, to, len, key) }
}
