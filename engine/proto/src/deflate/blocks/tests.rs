//! Streams of another compressor, ended here and read by a third one that never begins anew.

use super::*;
use alloc::string::String;
use alloc::vec;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use proptest::prelude::*;

/// A whole stream, as zlib ends it.
fn stream(level: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1000);
    let status = Compress::new(Compression::new(level), false).compress_vec(message, &mut out, FlushCompress::Finish);
    assert_eq!(status.expect("room"), Status::StreamEnd);
    out
}

/// A stream, ended; as it was if it is not whole.
fn ended(stream: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = [stream, &[0xAA]].concat();
    let Some(len) = end_message(&mut bytes, stream.len()) else {
        assert!(bytes[..stream.len()] == *stream && bytes[stream.len()] == 0xAA, "it was changed");
        return None;
    };
    bytes.truncate(len);
    Some(bytes)
}

/// What a client that keeps one inflater makes of a payload (RFC 7692 §7.2.2).
fn inflate(kept: &mut Decompress, payload: &[u8], len: usize) -> Vec<u8> {
    let (input, mut out) = ([payload, &[0x00, 0x00, 0xFF, 0xFF]].concat(), Vec::with_capacity(len + 100));
    let before = kept.total_in();
    let status = kept.decompress_vec(&input, &mut out, FlushDecompress::Sync).expect("a valid stream");
    assert!(status == Status::Ok && kept.total_in() - before == input.len() as u64, "{status:?}");
    out
}

/// Texts in which the blocks are of every type, one or many, with the last one ending at every bit of a byte.
fn messages() -> Vec<Vec<u8>> {
    let mut random = 1_u64;
    let mut byte = || {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (random >> 56) as u8
    };
    let mut messages: Vec<Vec<u8>> = vec![vec![], b"a".to_vec(), vec![b'x'; 1000], vec![0; 300_000]];
    for len in (3..400).chain([1023, 5000, 20_000, 200_000]) {
        messages.push((0..len).map(|_| b"abcdefgh,"[usize::from(byte() % 9)]).collect());
        messages.push((0..len).map(|at| if at % 3 == 0 { byte() } else { b' ' }).collect());
        messages.push((0..len).map(|_| byte()).collect());
    }
    messages
}

#[test]
fn who_never_begins_anew_reads_every_message() {
    let mut short_cuts = 0;
    for level in 0..=9 {
        let mut kept = Decompress::new(false);
        let mut ends = [false; 8];
        for message in messages() {
            let bytes = stream(level, &message);
            let block = final_block(&bytes).expect("a whole stream");
            if let Some(found) = only_block(&bytes) {
                assert_eq!(found, block, "{} bytes at level {level}", message.len());
                short_cuts += 1;
            }
            assert_eq!(block.end.div_ceil(8), bytes.len());
            ends[block.end % 8] = true;
            let (payload, len) = (ended(&bytes).expect("a whole stream"), message.len());
            assert!(inflate(&mut kept, &payload, len) == message, "{len} bytes at level {level}");
        }
        assert!(level == 0 || ends == [true; 8], "level {level} ends at {ends:?}");
    }
    assert!(short_cuts > 1000, "{short_cuts} streams were read by the lengths of their codes alone");
}

// RFC 7692 §7.2.3.4's stream becomes §7.2.3.1's.
#[test]
fn the_example_of_the_rfc() {
    let bytes = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(final_block(bytes), Some(Block { begin: 0, end: 50 }));
    assert_eq!(ended(bytes).expect("a whole stream"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
}

#[test]
fn what_is_no_whole_stream_is_known() {
    for message in [&b"Hello, hello, hello"[..], &[b'-'; 70_000]] {
        for level in [0, 1, 6] {
            let whole = stream(level, message);
            for len in 0..whole.len() {
                assert_eq!(final_block(&whole[..len]), None, "{len} of {}", whole.len());
            }
        }
    }
    assert_eq!(ended(b"\x07"), None, "no such type");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_are_ended(texts in prop::collection::vec("[a-p]{0,40}|.{0,200}|(ab){0,3000}", 1..8), level in 0u32..10) {
        let mut kept = Decompress::new(false);
        for text in texts.iter().map(String::as_bytes) {
            let bytes = stream(level, text);
            if let Some(found) = only_block(&bytes) {
                prop_assert_eq!(Some(found), final_block(&bytes));
            }
            let payload = ended(&bytes).expect("a whole stream");
            prop_assert_eq!(inflate(&mut kept, &payload, text.len()), text);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ended(&bytes);
    }
}
