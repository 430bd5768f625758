//! Chunk invariance, the first impossible byte, growth, and no byte left over.

use super::super::{
    scalar,
    tests::{BORDERS, mutated_text},
};
use super::*;
use alloc::vec;
use proptest::prelude::*;

const KEY: MaskKey = MaskKey::from_bytes([0x9A, 0x01, 0xC3, 0x7F]);

/// How many bytes it takes until no continuation can be valid: the definition, by the standard library.
fn impossible_from(bytes: &[u8]) -> Option<usize> {
    (0..=bytes.len()).find(|n| core::str::from_utf8(&bytes[..*n]).is_err_and(|error| error.error_len().is_some()))
}

fn masked(clear: &[u8], key: MaskKey) -> Vec<u8> {
    let mut bytes = clear.to_vec();
    scalar::mask(&mut bytes, key);
    bytes
}

/// Feeds `clear` as one masked frame in pieces that end at `cuts` (ascending) and at the end; checks every verdict.
fn feed_text(clear: &[u8], cuts: &[usize]) {
    let wire = masked(clear, KEY);
    let impossible = impossible_from(clear);
    let mut assembly = Assembly::new(Vec::new());
    let mut start = 0;
    for &end in cuts.iter().chain([&clear.len()]) {
        let verdict = assembly.append(&wire[start..end], KEY.advance(start), true, (clear.len() - end) as u64);
        let expected = impossible.is_none_or(|n| n > end);
        assert_eq!(verdict.is_ok(), expected, "{clear:X?} fed to {end}, cuts {cuts:?}");
        assert_eq!(assembly.payload(), &clear[..end]);
        assert_eq!(assembly.text(), core::str::from_utf8(&clear[..end]).ok(), "{clear:X?} at {end}");
        start = end;
    }
    let len = clear.len();
    assert_eq!(assembly.len(), len);
    assert_eq!(assembly.is_empty(), len == 0);
    let bytes = assembly.into_bytes();
    assert_eq!((bytes.len(), &bytes[HEADROOM..]), (HEADROOM + len, clear));
}

#[test]
fn fails_at_the_first_impossible_byte_wherever_it_is_cut() {
    // RFC 6455 §8.1; the Autobahn suite's 6.4 wants it before the message ends.
    for border in BORDERS {
        for before in [0, 1, 2, 15, 63, 64, 65, 127, 300] {
            let mut text = vec![b'a'; before];
            text.extend_from_slice(border);
            text.extend_from_slice("é€😀z".as_bytes());
            for cut in 0..=text.len() {
                feed_text(&text, &[cut]);
            }
            let from = before.saturating_sub(2);
            for cut in from..text.len() {
                for second in cut..=text.len() {
                    feed_text(&text, &[cut, second]);
                }
            }
            let every: Vec<usize> = (1..text.len()).collect();
            feed_text(&text, &every);
        }
    }
}

#[test]
fn the_forms_that_fail_early() {
    for (bytes, at) in [
        (&b"\xE0\x80"[..], 2),
        (b"\xED\xA0", 2),
        (b"\xF0\x8F", 2),
        (b"\xF4\x90", 2),
        (b"\xF5", 1),
        (b"\xC0", 1),
        (b"\x80", 1),
        (b"\xE2\x82z", 3),
    ] {
        assert_eq!(impossible_from(bytes), Some(at));
        let mut assembly = Assembly::new(Vec::new());
        let (last, before) = bytes.split_last().expect("not empty");
        assert_eq!(assembly.append(before, MaskKey::NONE, true, 0), Ok(()));
        assert_eq!(assembly.append(&[*last], MaskKey::NONE, true, 0), Err(InvalidUtf8));
        assert_eq!(assembly.append(b"ascii", MaskKey::NONE, true, 0), Err(InvalidUtf8), "for good");
        assert_eq!(assembly.text(), None);
    }
}

#[test]
fn an_open_sequence_is_closed_by_later_pieces_only() {
    let mut assembly = Assembly::new(Vec::new());
    assert_eq!(assembly.append(b"a\xF0\x9F", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(assembly.text(), None);
    assert_eq!(assembly.append(b"", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(assembly.append(b"\x98", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(assembly.text(), None);
    assert_eq!(assembly.append(b"\x80b", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(assembly.text(), Some("a😀b"));

    // ASCII behind an open sequence is not the fast path's to judge.
    let mut assembly = Assembly::new(Vec::new());
    assert_eq!(assembly.append(b"\xC3", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(assembly.append(b"plain", MaskKey::NONE, true, 0), Err(InvalidUtf8));
}

#[test]
fn only_an_open_sequence_is_looked_at_again() {
    // Every piece ends in mid-character: without a memory of what is valid, n pieces would cost n squared.
    let text = "€".repeat(1000).into_bytes();
    let mut assembly = Assembly::new(Vec::new());
    for end in (2..text.len()).step_by(3) {
        let start = assembly.len();
        assert_eq!(assembly.append(&text[start..end], MaskKey::NONE, true, 0), Ok(()));
        assert_eq!(assembly.text_to, HEADROOM + end - 2);
    }
}

#[test]
fn binary_is_never_text() {
    let mut assembly = Assembly::new(Vec::new());
    assert_eq!(assembly.text(), Some(""), "nothing yet: empty text is text");
    assert_eq!(assembly.append(b"\xFF\xFE", KEY, false, 0), Ok(()));
    assert_eq!(assembly.text(), None);
    assert_eq!(assembly.payload(), masked(b"\xFF\xFE", KEY));
    assert_eq!(assembly.append(b"text", MaskKey::NONE, true, 0), Err(InvalidUtf8), "all so far");

    let mut ascii = Assembly::new(Vec::new());
    assert_eq!(ascii.append(b"not ", MaskKey::NONE, false, 0), Ok(()));
    assert_eq!(ascii.text(), None, "ASCII, but nobody looked");
    assert_eq!(ascii.append(b"yet", MaskKey::NONE, true, 0), Ok(()));
    assert_eq!(ascii.text(), Some("not yet"));
}

#[test]
fn memory_follows_the_bytes_received() {
    // A header may announce 2^63 bytes (RFC 6455 §5.2); what comes decides.
    for expect in [0, 1, 100_000, 1 << 40, u64::MAX] {
        let mut assembly = Assembly::new(Vec::new());
        assert_eq!(assembly.bytes.capacity(), CAPACITY_MIN);
        for size in [1, 3000, 1500, 1, 60_000, 5, 200_000] {
            assert_eq!(assembly.append(&vec![7; size], KEY, false, expect), Ok(()));
            let received = assembly.len();
            let capacity = assembly.bytes.capacity();
            assert!(capacity <= CAPACITY_MIN.max(2 * received + HEADROOM), "{capacity} for {received}");
        }
    }
}

#[test]
fn the_first_buffer_holds_4_kib_exactly() {
    let mut assembly = Assembly::new(Vec::new());
    assert_eq!(assembly.append(&[1; CAPACITY_MIN - HEADROOM], KEY, false, 0), Ok(()));
    assert_eq!(assembly.bytes.capacity(), CAPACITY_MIN);
    assert_eq!(assembly.append(&[1], KEY, false, 0), Ok(()));
    assert!(assembly.bytes.capacity() > CAPACITY_MIN);
}

#[test]
fn the_announced_length_is_taken_exactly_once_it_is_near() {
    // 1 MiB in 64 KiB pieces: the last growth ends at the message, not at the next power of two.
    let mut assembly = Assembly::new(Vec::new());
    let mut moves = 0;
    for n in (0..16).rev() {
        let before = assembly.bytes.capacity();
        assert_eq!(assembly.append(&[0; 65_536], KEY, true, n * 65_536), Err(InvalidUtf8));
        moves += usize::from(assembly.bytes.capacity() != before);
    }
    assert_eq!(assembly.bytes.capacity(), HEADROOM + (1 << 20));
    assert!(moves <= 5, "{moves}");
}

#[test]
fn many_small_frames_cost_linear_work() {
    // 262,144 fragments of one byte each, none announcing more: the buffer moves a logarithmic number of times. Growing to
    // what is announced, and no further, would move it at every other fragment.
    for expect in [0, 1] {
        let mut assembly = Assembly::new(Vec::new());
        let mut moves = 0;
        for _ in 0..262_144 {
            let before = assembly.bytes.capacity();
            assert_eq!(assembly.append(b"a", MaskKey::NONE, true, expect), Ok(()));
            moves += usize::from(assembly.bytes.capacity() != before);
        }
        assert!(moves <= 20, "{moves}");
        assert_eq!(assembly.text().map(str::len), Some(262_144));
    }
}

#[test]
fn a_pooled_buffer_is_used_as_it_is_and_tells_nothing() {
    let mut old = Vec::with_capacity(100_000);
    old.resize(5000, 0xEE);
    let at = old.as_ptr();
    let mut assembly = Assembly::new(old);
    assert!(assembly.is_empty() && assembly.payload().is_empty());
    assert_eq!(assembly.append(&[3; 100_000 - HEADROOM], MaskKey::NONE, false, 0), Ok(()));
    let bytes = assembly.into_bytes();
    assert_eq!((bytes.as_ptr(), bytes.capacity()), (at, 100_000));
    assert_eq!(bytes[..HEADROOM], [0; HEADROOM], "no old byte in front");
    let mut small = Vec::with_capacity(HEADROOM);
    small.push(1);
    assert_eq!(Assembly::new(small).into_bytes(), [0; HEADROOM]);
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        text in prop_oneof![mutated_text(), prop::collection::vec(any::<u8>(), 0..300)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        feed_text(&text, &cuts);
    }

    #[test]
    fn binary_chunks_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..9000),
        key in any::<[u8; 4]>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        expect in any::<u64>(),
    ) {
        let key = MaskKey::from_bytes(key);
        let wire = masked(&bytes, key);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.push(wire.len());
        cuts.sort_unstable();
        let mut assembly = Assembly::new(Vec::new());
        let mut start = 0;
        for end in cuts {
            prop_assert_eq!(assembly.append(&wire[start..end], key.advance(start), false, expect), Ok(()));
            start = end;
        }
        prop_assert_eq!(assembly.payload(), &bytes[..]);
    }
}

#[test]
fn a_move_keeps_what_is_here_and_its_text() {
    let text = "héllo €".as_bytes();
    let mut assembly = Assembly::new(Vec::with_capacity(32));
    assembly.append(&masked(&text[..8], KEY), KEY, true, 0).unwrap();
    assert_eq!(assembly.growth(8, 1000), None, "it has the room");
    let (least, wish) = assembly.growth(9, 100_000).expect("one byte too many");
    assert!(HEADROOM + 17 <= least && least <= wish);
    let old = assembly.move_to(vec![0xff; 100]);
    assert_eq!(old.capacity(), 32);
    assert_eq!(assembly.payload(), &text[..8]);
    assembly.append(&masked(&text[8..], KEY), KEY, true, 0).unwrap();
    assert_eq!(assembly.text(), Some("héllo €"));
    assert_eq!(assembly.into_bytes().capacity(), 100);
}

#[test]
#[should_panic(expected = "assertion failed")]
fn a_move_to_a_buffer_too_small_is_our_bug() {
    let mut assembly = Assembly::new(Vec::new());
    assembly.append(b"abc", MaskKey::NONE, false, 0).unwrap();
    assembly.move_to(Vec::with_capacity(HEADROOM + 2));
}
