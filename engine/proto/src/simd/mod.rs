//! Masking, and the UTF-8 check that rides on it (RFC 6455 §5.3 and §8.1).
//!
//! Owns: the XOR kernels, the choice between them, and [`Assembly`], where a message that arrives in pieces is copied
//! and unmasked in one pass. Promises: no byte outside the slices it is given is read or written; the kernels agree
//! with [`scalar`] at every length, alignment and key rotation; text is never walked a second time unless it holds a
//! byte above 0x7F. Refuses to know: frames, opcodes, limits.
//!
//! | length | path |
//! |---|---|
//! | 0..=64 | inline: overlapping loads and stores, no loop, no call |
//! | 65.. | AVX2, else SSE2, else 64-bit words: chosen by one relaxed load of the CPU features std has found once |
//!
//! Without the feature `std` the choice is made by the compiler (`-C target-feature=+avx2`).
#![allow(unsafe_code)] // the only module of the crate that may; see `lane` for whose promises make it sound

mod assembly;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx2;
mod key;
mod lane;
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod portable;
pub mod scalar;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2;
#[cfg(test)]
mod tests;

pub use assembly::{Assembly, HEADROOM};
pub use key::MaskKey;

use alloc::vec::Vec;
use core::fmt;

/// From so many bytes on a copy is the kernels' work too, with a key of zeros, and not `memcpy`'s: glibc copies them by
/// `rep movsb`, which AMD's Zen 3 does 14 to 35 times slower where the target lies 1 to 31 bytes behind the source, modulo 4096. A
/// payload that moves behind a header of another length often does.
const COPY_MIN: usize = 2048;

/// The 16-byte lane of the inline path.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
type Half = core::arch::x86_64::__m128i;
/// The 16-byte lane of the inline path.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
type Half = u128;

/// The bytes are not UTF-8, and no further byte could make them so. RFC 6455 §8.1: the connection fails with 1007.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text that is not valid UTF-8")
    }
}

impl core::error::Error for InvalidUtf8 {}

/// XORs `bytes` with `key` in place: masks what is clear, unmasks what is masked. Allocates nothing. RFC 6455 §5.3.
#[inline]
pub fn mask(bytes: &mut [u8], key: MaskKey) {
    if key.is_none() {
        return;
    }
    let at = bytes.as_mut_ptr();
    // SAFETY: one exclusive slice, read and written over its own length; source and target are the same place.
    unsafe { xor::<false>(at, at, bytes.len(), key) };
}

/// Writes `from` XOR `key` into `to` in one pass: a client sends what it may not change. Allocates nothing.
/// RFC 6455 §5.3.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn mask_copy(from: &[u8], to: &mut [u8], key: MaskKey) {
    assert!(from.len() == to.len(), "mask_copy from {} bytes to {}", from.len(), to.len());
    if key.is_none() {
        return copy(from, to);
    }
    // SAFETY: both slices have this length (asserted), and a shared and an exclusive one cannot overlap.
    unsafe { xor::<false>(from.as_ptr(), to.as_mut_ptr(), from.len(), key) };
}

/// Writes `from` into `to`: as `copy_from_slice`, but for what `memcpy` makes of long slices on some processors (the 2 KiB
/// and more that a kernel copies here). Allocates nothing.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn copy(from: &[u8], to: &mut [u8]) {
    if from.len() < COPY_MIN { to.copy_from_slice(from) } else { copy_long(from, to) }
}

#[inline(never)] // beside it stay the copies of small messages, which are many
fn copy_long(from: &[u8], to: &mut [u8]) {
    assert!(from.len() == to.len(), "copy from {} bytes to {}", from.len(), to.len());
    // SAFETY: as in `mask_copy`.
    unsafe { xor::<false>(from.as_ptr(), to.as_mut_ptr(), from.len(), MaskKey::NONE) };
}

/// Appends `from` XOR `key` to `to` in one pass. Allocates only if `to` has no room. RFC 6455 §5.3.
pub fn mask_append(from: &[u8], to: &mut Vec<u8>, key: MaskKey) {
    if key.is_none() {
        return copy_append(from, to);
    }
    to.reserve(from.len());
    append::<false>(from, to, key);
}

/// Appends `from` to `to`: to `extend_from_slice` what [`copy`] is to `copy_from_slice`. Allocates only if `to` has no room.
pub fn copy_append(from: &[u8], to: &mut Vec<u8>) {
    if from.len() < COPY_MIN {
        return to.extend_from_slice(from);
    }
    to.reserve(from.len());
    append::<false>(from, to, MaskKey::NONE);
}

/// [`mask_append`] into room that is there; with `TEXT`, says whether any byte appended has its high bit set.
///
/// # Panics
/// If `to` has no room.
#[inline(always)] // as `xor`
fn append<const TEXT: bool>(from: &[u8], to: &mut Vec<u8>, key: MaskKey) -> bool {
    let start = to.len();
    assert!(to.capacity() - start >= from.len());
    // SAFETY: `start <= capacity`, and the assertion above leaves `from.len()` writable bytes behind `start`; `from` cannot
    // overlap memory that `to` owns and nobody has initialised. `xor` initialises all of them, so the new length covers
    // initialised bytes only. Fails without: tests under the address sanitizer.
    unsafe {
        let high = xor::<TEXT>(from.as_ptr(), to.as_mut_ptr().add(start), from.len(), key);
        to.set_len(start + from.len());
        high
    }
}

/// Unmasks a whole text in place and validates it. RFC 6455 §5.3 and §8.1.
///
/// The XOR gathers the high bits as it goes: ASCII is valid the moment it is unmasked, and only other text is walked
/// again, by a validator. With [`MaskKey::NONE`] nothing is written. Allocates nothing.
///
/// # Errors
/// [`InvalidUtf8`] if the text is not valid as a whole, an unfinished sequence at its end included. All of `bytes` is
/// unmasked all the same: calling again with the same key would mask it.
#[inline]
pub fn unmask_text(bytes: &mut [u8], key: MaskKey) -> Result<&str, InvalidUtf8> {
    let high = if key.is_none() {
        !bytes.is_ascii()
    } else {
        let at = bytes.as_mut_ptr();
        // SAFETY: as in `mask`.
        unsafe { xor::<true>(at, at, bytes.len(), key) }
    };
    if high {
        return simdutf8::basic::from_utf8(bytes).map_err(|_| InvalidUtf8);
    }
    // SAFETY: no byte has its high bit set (the kernel's promise, tests::high_bit_anywhere), and ASCII is UTF-8.
    Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
}

/// The kernel in use for more than 64 bytes on this machine: `"avx2"`, `"sse2"` or `"portable"`.
pub fn kernel_name() -> &'static str {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    return if avx2::is_present() { "avx2" } else { "sse2" };
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    return "portable";
}

/// Writes `from[..len] ^ key` to `to[..len]`. With `TEXT`, says whether any byte written has its high bit set; without,
/// says false.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and the two are the same place or do not overlap. `to` need not
/// be initialised.
#[inline(always)]
unsafe fn xor<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    // SAFETY: the caller's promise is passed on, and the length is what each path asks for.
    unsafe {
        if len <= lane::SHORT_MAX {
            lane::short::<Half, TEXT>(from, to, len, key)
        } else {
            long::<TEXT>(from, to, len, key)
        }
    }
}

/// The kernel for more than [`lane::SHORT_MAX`] bytes.
///
/// # Safety
/// As [`xor`], and `len > SHORT_MAX`.
#[inline]
unsafe fn long<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    // SAFETY: the caller's promise is passed on; AVX2 is called only where it is.
    unsafe {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        return if avx2::is_present() {
            avx2::xor::<TEXT>(from, to, len, key)
        } else {
            sse2::xor::<TEXT>(from, to, len, key)
        };
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
        return portable::xor::<TEXT>(from, to, len, key);
    }
}
