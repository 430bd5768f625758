//! Frames written, against the bytes of RFC 6455 §5.7 and against each other.

use super::*;
use crate::close::read_payload;
use alloc::vec;
use proptest::prelude::*;

const KEY: MaskKey = MaskKey::from_bytes([0x37, 0xfa, 0x21, 0x3d]);

// RFC 6455 §5.7, every example.
#[test]
fn the_examples_of_the_rfc() {
    let mut out = [0; 64];
    let mut put = |fin, opcode, payload: &[u8], mask| {
        let len = frame(&mut out, fin, opcode, payload, mask).expect("room");
        out[..len].to_vec()
    };
    assert_eq!(put(true, Opcode::Text, b"Hello", None), b"\x81\x05Hello");
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(put(true, Opcode::Text, b"Hello", Some(KEY)), masked);
    assert_eq!(put(false, Opcode::Text, b"Hel", None), b"\x01\x03Hel");
    assert_eq!(put(true, Opcode::Continuation, b"lo", None), b"\x80\x02lo");
    assert_eq!(put(true, Opcode::Ping, b"Hello", None), b"\x89\x05Hello");
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(put(true, Opcode::Pong, b"Hello", Some(KEY)), pong);

    let mut long = Vec::new();
    append_frame(&mut long, true, Opcode::Binary, &[7; 256], None);
    assert_eq!(long[..4], [0x82, 0x7E, 0x01, 0x00]);
    assert_eq!(long[4..], [7; 256]);
    long.clear();
    append_frame(&mut long, true, Opcode::Binary, &vec![7; 65_536], None);
    assert_eq!(long[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(long.len(), 10 + 65_536);
}

#[test]
fn a_frame_is_written_whole_or_not_at_all() {
    for payload_len in [0, 1, 125, 126, 65_535, 65_536] {
        for mask in [None, Some(KEY)] {
            let payload = vec![9; payload_len];
            let len = frame_len(payload_len, mask.is_some());
            let mut out = vec![0xAA; len + 1];
            assert_eq!(frame(&mut out[..len - 1], true, Opcode::Binary, &payload, mask), None);
            assert!(out.iter().all(|&byte| byte == 0xAA), "something was written");
            assert_eq!(frame(&mut out[..len], true, Opcode::Binary, &payload, mask), Some(len));
            assert_eq!(frame(&mut out, true, Opcode::Binary, &payload, mask), Some(len));
            assert_eq!(out[len], 0xAA, "a byte beyond the frame");
        }
    }
}

#[test]
#[should_panic(expected = "no room for a header of 4 before 126 bytes at 3")]
fn a_header_needs_its_room() {
    write_head(&mut [0; 256], 3, true, Opcode::Binary, 126, None);
}

// RFC 6455 §5.5.1: the body is empty, or a code and a reason; never more than 125 bytes.
#[test]
fn close_frames() {
    let mut out = [0xAA; 131];
    assert_eq!(close_frame(&mut out, None, "left out", None), Some(2));
    assert_eq!(out[..2], [0x88, 0]);
    assert_eq!(close_frame(&mut out, Some(CloseCode::NORMAL), "bye", None), Some(7));
    assert_eq!(&out[..7], b"\x88\x05\x03\xE8bye");
    let reason = "é".repeat(100);
    assert_eq!(close_frame(&mut out, Some(CloseCode::POLICY), &reason, Some(KEY)), Some(130));
    simd::mask(&mut out[6..130], KEY);
    assert_eq!(out[..2], [0x88, 0x80 | 124]);
    assert_eq!(read_payload(&out[6..130]), Ok((Some(CloseCode::POLICY), &reason[..122])));
    assert_eq!(close_frame(&mut out[..6], Some(CloseCode::NORMAL), "bye", None), None);
}

proptest! {
    // Three ways to write a frame give the same bytes.
    #[test]
    fn in_place_copied_and_appended_agree(
        payload in prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..300),
            1 => prop::collection::vec(any::<u8>(), 65_500..65_600),
        ],
        fin: bool, key in prop::option::of(any::<[u8; 4]>()), spare in 0usize..20,
    ) {
        let mask = key.map(MaskKey::from_bytes);
        let mut appended = vec![0xBB; spare];
        append_frame(&mut appended, fin, Opcode::Binary, &payload, mask);

        let mut copied = vec![0; frame_len(payload.len(), mask.is_some())];
        prop_assert_eq!(frame(&mut copied, fin, Opcode::Binary, &payload, mask), Some(copied.len()));
        prop_assert_eq!(&appended[spare..], &copied[..]);
        prop_assert!(appended[..spare].iter().all(|&byte| byte == 0xBB));

        let payload_at = HEAD_MAX + spare;
        let mut placed = vec![0xBB; payload_at];
        placed.extend_from_slice(&payload);
        let start = write_head(&mut placed, payload_at, fin, Opcode::Binary, payload.len(), mask);
        if let Some(key) = mask {
            simd::mask(&mut placed[payload_at..], key);
        }
        prop_assert_eq!(&placed[start..], &copied[..]);
        prop_assert!(placed[..start].iter().all(|&byte| byte == 0xBB));
    }
}
