//! Every kernel against the scalar twin; text against the standard library.

use super::*;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

const KEY: MaskKey = MaskKey::from_bytes([0x37, 0xFA, 0x21, 0x3D]);

/// Keys that hold 0x80 in every place, in some, and in none: masked ASCII looks like anything.
const KEYS: [MaskKey; 4] = [
    KEY,
    MaskKey::from_bytes([0x80, 0x01, 0x7F, 0xFF]),
    MaskKey::from_bytes([0xFF, 0xFF, 0xFF, 0xFF]),
    MaskKey::from_bytes([0x00, 0x00, 0x00, 0x01]),
];

type Xor = unsafe fn(*const u8, *mut u8, usize, MaskKey) -> bool;

/// A kernel under test: any length, without and with the search for high bits.
struct Kernel {
    mask: Xor,
    text: Xor,
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What the scalar twin makes of `bytes`.
fn twin(bytes: &[u8], key: MaskKey) -> (Vec<u8>, bool) {
    let mut out = bytes.to_vec();
    let high = scalar::mask(&mut out, key);
    (out, high)
}

/// A place in an arena at a known distance from a multiple of 64.
fn aligned(arena: &[u8], offset: usize) -> usize {
    let past = arena.as_ptr().addr() % 64;
    64 - past + offset
}

/// Every length to 300, every alignment, every rotation of the key, in place; the bytes around stay.
fn in_place(kernel: &Kernel) {
    let clear = noise(1024);
    let mut arena = vec![0; 1024];
    for len in 0..=300 {
        for rotation in 0..4 {
            let key = KEY.advance(rotation);
            let (expected, high) = twin(&clear[..len], key);
            for offset in 0..32 {
                let start = aligned(&arena, offset);
                let mut untouched = clear.clone();
                for (xor, says) in [(kernel.mask, false), (kernel.text, high)] {
                    arena.copy_from_slice(&clear);
                    arena[start..start + len].copy_from_slice(&clear[..len]);
                    let at = arena[start..].as_mut_ptr();
                    // SAFETY: len bytes from start lie in the arena; the caller has seen that the CPU has the kernel.
                    let said = unsafe { xor(at, at, len, key) };
                    untouched[start..start + len].copy_from_slice(&expected);
                    assert!(arena == untouched, "len {len} offset {offset} rotation {rotation}");
                    assert_eq!(said, says, "len {len} offset {offset} rotation {rotation}");
                }
            }
        }
    }
}

/// Every length to 300, every alignment of source and target, every rotation of the key.
fn copying(kernel: &Kernel) {
    let source = noise(1024);
    let guard = 0xA5;
    let mut target = vec![guard; 1024];
    for len in 0..=300 {
        for from in 0..32 {
            let from = aligned(&source, from);
            for rotation in 0..4 {
                let key = KEY.advance(rotation);
                let (expected, high) = twin(&source[from..from + len], key);
                for to in 0..32 {
                    let to = aligned(&target, to);
                    let text = to & 1 != 0;
                    let xor = if text { kernel.text } else { kernel.mask };
                    // SAFETY: both places hold len bytes and lie in two allocations; the CPU has the kernel.
                    let said = unsafe { xor(source[from..].as_ptr(), target[to..].as_mut_ptr(), len, key) };
                    assert_eq!(said, high && text);
                    assert!(target[to..to + len] == expected, "len {len} from {from} to {to}");
                    target[to..to + len].fill(guard);
                    let near = &target[to.saturating_sub(64)..(to + len + 64)];
                    assert!(near.iter().all(|b| *b == guard), "len {len} from {from} to {to}: outside");
                }
            }
        }
    }
}

/// Exactly one byte above 0x7F after unmasking, in every place of every length; and none at all.
fn high_bit_anywhere(kernel: &Kernel) {
    let mut bytes = [0u8; 300];
    for len in 0..=300 {
        for key in KEYS {
            for high in (0..len).map(Some).chain([None]) {
                bytes[..len].fill(b'x');
                if let Some(at) = high {
                    bytes[at] = 0x80;
                }
                scalar::mask(&mut bytes[..len], key);
                let at = bytes.as_mut_ptr();
                // SAFETY: len <= 300; the CPU has the kernel.
                let said = unsafe { (kernel.text)(at, at, len, key) };
                assert_eq!(said, high.is_some(), "len {len}, high bit at {high:?}");
                assert!(bytes[..len].iter().all(|b| *b == b'x' || *b == 0x80));
            }
        }
    }
}

/// Lengths around every border of the loop, up to a socket buffer, in allocations of exactly that length: reading or
/// writing past them is what the address sanitizer would see.
fn long_and_exact(kernel: &Kernel) {
    let borders = [512, 1024, 4096, 16_384, 65_536];
    for len in borders.into_iter().flat_map(|n| n - 34..n + 34) {
        let source = noise(len).into_boxed_slice();
        let key = KEY.advance(len);
        let (expected, high) = twin(&source, key);
        let mut target = vec![0; len].into_boxed_slice();
        let mut place = source.clone();
        // SAFETY: all three slices have this length and are separate allocations; the CPU has the kernel.
        unsafe {
            assert_eq!((kernel.text)(source.as_ptr(), target.as_mut_ptr(), len, key), high);
            let at = place.as_mut_ptr();
            assert!(!(kernel.mask)(at, at, len, key));
        }
        assert!(*target == *expected && *place == *expected, "len {len}");
    }
}

/// The same properties over every kernel that this machine can run: the lane of the inline path, the kernel beyond it.
macro_rules! every_kernel {
    ($($name:ident: $half:ty, $long:path, if $present:expr;)*) => {$(
        mod $name {
            use super::*;

            unsafe fn whole<const TEXT: bool>(
                from: *const u8,
                to: *mut u8,
                len: usize,
                key: MaskKey,
            ) -> bool {
                // SAFETY: the caller's promise, for both lengths.
                unsafe {
                    if len <= lane::SHORT_MAX {
                        lane::short::<$half, TEXT>(from, to, len, key)
                    } else {
                        $long(from, to, len, key)
                    }
                }
            }

            fn check(property: fn(&Kernel)) {
                if $present {
                    property(&Kernel { mask: whole::<false>, text: whole::<true> });
                }
            }

            #[test]
            fn agrees_in_place() {
                check(in_place);
            }
            #[test]
            fn agrees_copying() {
                check(copying);
            }
            #[test]
            fn finds_a_high_bit_anywhere() {
                check(high_bit_anywhere);
            }
            #[test]
            fn agrees_when_long_and_exact() {
                check(long_and_exact);
            }
        }
    )*};
}

every_kernel! {
    portable_kernel: u128, portable::xor::<TEXT>, if true;
    wide_words: u128, lane::long::<u128, TEXT>, if true;
    chosen_kernel: Half, long::<TEXT>, if true;
}
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
every_kernel! {
    sse2_kernel: Half, sse2::xor::<TEXT>, if true;
    avx2_kernel: Half, avx2::xor::<TEXT>, if avx2::is_present();
}

#[test]
fn the_twin_is_what_the_rfc_says() {
    // RFC 6455 §5.7: a single-frame masked text message, "Hello".
    let mut bytes = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
    assert!(!scalar::mask(&mut bytes, KEY));
    assert_eq!(&bytes, b"Hello");
}

#[test]
fn a_key_turns_with_the_bytes() {
    assert_eq!(KEY.to_bytes(), [0x37, 0xFA, 0x21, 0x3D]);
    assert_eq!(KEY.advance(1).to_bytes(), [0xFA, 0x21, 0x3D, 0x37]);
    assert_eq!(KEY.advance(usize::MAX), KEY.advance(3));
    assert!(MaskKey::NONE.is_none() && MaskKey::default().is_none() && !KEY.is_none());
    // RFC 6455 §5.3: octet i is masked with octet i modulo 4, however the payload is cut.
    for cut in 0..=9 {
        let (whole, _) = twin(b"nine more", KEY);
        let mut parts = *b"nine more";
        mask(&mut parts[..cut], KEY);
        mask(&mut parts[cut..], KEY.advance(cut));
        assert_eq!(parts, *whole);
    }
}

#[test]
fn mask_and_mask_copy_are_the_twin() {
    for len in [0, 1, 5, 64, 65, 1000, COPY_MIN - 1, COPY_MIN, 5000] {
        for key in KEYS.into_iter().chain([MaskKey::NONE]) {
            let from = noise(len);
            let (expected, _) = twin(&from, key);
            let mut to = vec![0; len];
            mask_copy(&from, &mut to, key);
            assert_eq!(to, expected);
            mask(&mut to, key);
            assert_eq!(to, from, "twice is never");
        }
    }
}

// Behind what is there, and not a byte further than it says; with room, in the room that is there.
#[test]
fn what_is_appended_is_the_twin_behind_the_old() {
    for len in (0..=300).chain(COPY_MIN - 40..=COPY_MIN + 40) {
        let from = noise(len + 1);
        for key in [KEY, MaskKey::NONE] {
            for (before, room) in [(0, 0), (1, len), (13, len + 7), (64, len / 2)] {
                let (old, from) = (noise(before), &from[1..]);
                let (expected, _) = twin(from, key);
                let mut to = Vec::with_capacity(before + room);
                to.extend_from_slice(&old);
                let at = to.as_ptr();
                mask_append(from, &mut to, key);
                assert_eq!((&to[..before], &to[before..]), (&old[..], &expected[..]), "{before} + {len}, {key:?}");
                assert!(room < len || to.as_ptr() == at, "it had room for {len} more and moved");
            }
        }
        let mut to = vec![7; 3];
        copy_append(&from, &mut to);
        assert_eq!((&to[..3], &to[3..]), (&[7; 3][..], &from[..]));
    }
}

#[test]
#[should_panic(expected = "mask_copy from 3 bytes to 4")]
fn mask_copy_wants_equal_lengths() {
    mask_copy(&[1, 2, 3], &mut [0; 4], KEY);
}

#[test]
fn the_kernel_has_a_name() {
    assert!(["avx2", "sse2", "portable"].contains(&kernel_name()));
}

/// Sequences at the borders of UTF-8 (RFC 3629 §4), valid and not.
pub(super) const BORDERS: [&[u8]; 27] = [
    b"",
    b"\x7F",
    b"\x80",
    b"\xC0\x80",
    b"\xC1\xBF",
    b"\xC2\x80",
    b"\xC2",
    b"\xDF\xBF",
    b"\xE0\x80\x80",
    b"\xE0\x9F\xBF",
    b"\xE0\xA0\x80",
    b"\xE0\xA0",
    b"\xED\x9F\xBF",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xEE\x80\x80",
    b"\xEF\xBF\xBF",
    b"\xF0\x80\x80\x80",
    b"\xF0\x8F\xBF\xBF",
    b"\xF0\x90\x80\x80",
    b"\xF0\x90\x80",
    b"\xF4\x8F\xBF\xBF",
    b"\xF4\x90\x80\x80",
    b"\xF5\x80\x80\x80",
    b"\xF8\x88\x80\x80\x80",
    b"\xFE",
    b"\xFF",
];

/// Masks `text`, unmasks it with `unmask_text`, compares verdict and bytes with the standard library.
fn check_unmask_text(text: &[u8], key: MaskKey) {
    let mut bytes = text.to_vec();
    scalar::mask(&mut bytes, key);
    let verdict = unmask_text(&mut bytes, key).map(str::as_bytes).map(<[u8]>::to_vec);
    assert_eq!(verdict.is_ok(), core::str::from_utf8(text).is_ok(), "{text:X?}");
    assert_eq!(bytes, text, "unmasked once, valid or not");
    if let Ok(seen) = verdict {
        assert_eq!(seen, text);
    }
}

#[test]
fn unmask_text_agrees_with_std_at_the_borders() {
    for border in BORDERS {
        for before in (0..140).chain([255, 256, 257, 1000]) {
            for after in [0, 1, 3, 63, 200] {
                let mut text = vec![b'a'; before];
                text.extend_from_slice(border);
                text.resize(text.len() + after, b'z');
                check_unmask_text(&text, KEY);
                check_unmask_text(&text, MaskKey::NONE);
            }
        }
    }
}

/// Text that is mostly valid: characters of every length, then perhaps one byte changed, then perhaps cut.
pub(super) fn mutated_text() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop::collection::vec(prop_oneof![3 => prop::char::range('a', 'z'), 1 => any::<char>()], 0..200);
    (valid, any::<u8>(), any::<prop::sample::Index>(), 0..4u8).prop_map(|(chars, byte, at, how)| {
        let mut bytes = chars.into_iter().collect::<alloc::string::String>().into_bytes();
        if how & 1 != 0 && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if how & 2 != 0 {
            bytes.truncate(at.index(bytes.len() + 1));
        }
        bytes
    })
}

proptest! {
    #[test]
    fn unmask_text_agrees_with_std(
        text in prop_oneof![mutated_text(), prop::collection::vec(any::<u8>(), 0..300)],
        key in any::<[u8; 4]>(),
    ) {
        check_unmask_text(&text, MaskKey::from_bytes(key));
    }
}
