//! Frames read by a second reader, replies whatever the cuts.

use super::*;
use crate::fault::Fault;

/// Bytes that differ from call to call: enough to tell frames apart.
fn random() -> impl Read {
    io::Read::chain(&b"wsring"[..], std::fs::File::open("/dev/urandom").expect("urandom"))
}

/// A second reader of RFC 6455 §5.2, written from the text and not from the code above.
fn read_frame(bytes: &[u8]) -> (Vec<u8>, [u8; 4], usize) {
    assert_eq!(bytes[0], 0b1000_0010);
    assert_eq!(bytes[1] & 0x80, 0x80, "a client masks");
    let (len, mut at) = match bytes[1] & 0x7F {
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 => (u64::from_be_bytes(bytes[2..10].try_into().expect("8 bytes")) as usize, 10),
        short => (usize::from(short), 2),
    };
    let mask: [u8; 4] = bytes[at..at + 4].try_into().expect("4 bytes");
    at += 4;
    let payload = (0..len).map(|i| bytes[at + i] ^ mask[i & 3]).collect();
    (payload, mask, at + len)
}

fn server_frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match payload.len() {
        len @ 0..=125 => bytes.push(len as u8),
        len @ 126..=65_535 => bytes.extend([126, (len >> 8) as u8, len as u8]),
        len => {
            bytes.push(127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

#[test]
fn frames_round_trip_at_every_length_form() {
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let depth = 3;
        let frames = Frames::new(Payload::Binary, size, depth, Echo::WebSocket, &mut random()).expect("frames");
        let mut masks = Vec::new();
        for index in 0..frames.distinct() {
            let (payload, mask, used) = read_frame(frames.bytes(index * frames.frame_len(), frames.frame_len()));
            assert_eq!(used, frames.frame_len());
            assert_eq!(payload, frames.body(index));
            masks.push(mask);
        }
        masks.dedup();
        assert!(masks.len() > 1, "masks vary");
        // A batch that begins in the last frame runs on into the first.
        let last = (frames.distinct() - 1) * frames.frame_len();
        let batch = frames.bytes(last, depth * frames.frame_len());
        assert_eq!(batch[frames.frame_len()..2 * frames.frame_len()], *frames.bytes(0, frames.frame_len()));
    }
}

#[test]
fn replies_are_counted_whatever_the_cuts() {
    for size in [0, 5, 125, 126, 70_000] {
        let frames = Frames::new(Payload::Binary, size, 4, Echo::WebSocket, &mut random()).expect("frames");
        let stream: Vec<u8> = (0..4).flat_map(|k| server_frame(frames.body(k))).collect();
        assert_eq!(stream.len(), 4 * frames.reply_len());
        for step in [1, 2, 3, 7, 1000, stream.len()] {
            let mut replies = Replies::from_frame(0);
            let mut left = 4;
            for piece in stream.chunks(step) {
                left -= replies.feed(&frames, piece, left, true).expect("exact");
            }
            assert_eq!((left, replies.got), (0, 0), "size {size} step {step}");
        }
    }
}

#[test]
fn a_raw_echo_returns_the_bytes_sent() {
    let frames = Frames::new(Payload::Binary, 300, 4, Echo::Raw, &mut random()).expect("frames");
    let sent = frames.bytes(0, 4 * frames.frame_len()).to_vec();
    assert_eq!(Replies::default().feed(&frames, &sent, 4, true), Ok(4));
    assert_eq!(Replies::default().feed(&frames, &sent, 3, true), Err(Fault::Unasked));
}

#[test]
fn wrong_headers_are_named_and_bodies_compared_on_request() {
    let frames = Frames::new(Payload::Binary, 126, 1, Echo::WebSocket, &mut random()).expect("frames");
    let good = server_frame(frames.body(0));
    for bad in 0..4 {
        let mut bytes = good.clone();
        bytes[bad] ^= 1;
        let fault = Replies::default().feed(&frames, &bytes, 1, false).expect_err("a wrong header");
        assert_eq!(fault, Fault::Head { expected: good[..4].to_vec(), found: bytes[..=bad].to_vec() });
    }
    let mut bytes = good.clone();
    bytes[4 + 77] ^= 1;
    assert_eq!(Replies::default().feed(&frames, &bytes, 1, false), Ok(1));
    assert_eq!(Replies::default().feed(&frames, &bytes, 1, true), Err(Fault::Byte { at: 77 }));
}

#[test]
fn the_run_has_a_limit() {
    // frame = 10 + 4 + size; two distinct ones and `depth` more fill the limit to the byte.
    let size = (RUN_BYTES_MAX / 4) - 14;
    assert!(Frames::new(Payload::Binary, size, 2, Echo::Raw, &mut io::repeat(7)).is_ok());
    assert!(Frames::new(Payload::Binary, size, 3, Echo::Raw, &mut io::repeat(7)).is_err());
    assert!(Frames::new(Payload::Binary, usize::MAX, 1, Echo::Raw, &mut io::repeat(7)).is_err());
    assert!(Frames::new(Payload::Binary, 125, usize::MAX / 2, Echo::Raw, &mut io::repeat(7)).is_err());
}

#[test]
fn text_is_text_and_a_server_must_look_at_it() {
    for size in [0, 1, 2, 3, 5, 125, 16_384] {
        for (payload, ascii) in [(Payload::Ascii, true), (Payload::MultiByte, size < 2)] {
            let frames = Frames::new(payload, size, 2, Echo::WebSocket, &mut random()).expect("frames");
            assert_eq!(frames.run()[0], 0x81);
            for index in 0..frames.distinct() {
                let text = std::str::from_utf8(frames.body(index)).expect("valid UTF-8");
                assert_eq!((text.len(), text.is_ascii()), (size, ascii), "{payload:?} {text}");
            }
        }
    }
}
