//! Bodies in chunks, cut anywhere.

use alloc::format;
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::handshake::{ChunkScan, Chunks};

/// What comes of these bytes in pieces of `step`, up to the end of the body.
fn read(bytes: &[u8], step: usize, most: usize) -> (Chunks, Vec<u8>) {
    let (mut scan, mut body) = (ChunkScan::default(), Vec::new());
    for piece in bytes.chunks(step) {
        match scan.feed(piece, &mut body, most) {
            Chunks::Partial => {}
            end => return (end, body),
        }
    }
    (Chunks::Partial, body)
}

/// RFC 9112 §7.1: sizes in either case, with zeros in front, extensions behind them, and trailers that are not waited for.
#[test]
fn a_body_is_put_together_and_ends_with_its_last_chunk() {
    for (bytes, body) in [
        (&b"5\r\nhello\r\n0\r\n\r\n"[..], &b"hello"[..]),
        (b"5\nhello\n0\n", b"hello"),
        (b"0\r\n", b""),
        (b"000\r\nTrailer: x\r\n\r\n", b""),
        (b"00A;name=\"va;lue\"\r\n0123456789\r\n1 \r\nx\r\n0;end\r\nHTTP/1.1 200", b"0123456789x"),
        (b"b\r\n\r\n0\r\n\r\n0\r\n\r\r\n0\r\n", b"\r\n0\r\n\r\n0\r\n\r"),
    ] {
        for step in [1, 2, 3, bytes.len()] {
            assert_eq!(read(bytes, step, 100), (Chunks::Whole, body.to_vec()), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_chunk() {
    for bytes in [
        &b"\r\n"[..],
        b";x\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5, 6\r\n",
        b"10000000000000000\r\n",
        b"3\r\nabcd\r\n",
        b"bbbbbbbbbbbbbbbbb",
    ] {
        for step in [1, bytes.len()] {
            assert_eq!(read(bytes, step, 100).0, Chunks::Malformed, "{}", bytes.escape_ascii());
        }
    }
    assert_eq!(
        read(b"ffffffffffffffff\r\nabc", 1, 100),
        (Chunks::Partial, b"abc".to_vec()),
        "2^64 - 1 bytes are to come"
    );
}

/// As many bytes are kept as the caller wants, and the end is found all the same.
#[test]
fn no_more_is_kept_than_wanted() {
    let bytes = b"5\r\nhello\r\n6\r\n world\r\n0\r\n";
    for (most, body) in [(11, &b"hello world"[..]), (10, b"hello worl"), (5, b"hello"), (3, b"hel"), (0, b"")] {
        for step in [1, 4, 100] {
            assert_eq!(read(bytes, step, most), (Chunks::Whole, body.to_vec()), "{most}");
        }
    }
}

proptest! {
    /// Any chunks, cut anywhere, are the bytes that they were made of.
    #[test]
    fn chunks_are_what_they_were_made_of(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1_usize..50) {
        let mut bytes = Vec::new();
        for part in &parts {
            bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(read(&bytes, step, usize::MAX), (Chunks::Whole, parts.concat()));
    }

    /// No bytes panic, and it does not matter how they are cut.
    #[test]
    fn cuts_do_not_matter(bytes in prop::collection::vec(prop::sample::select(&b"0aF5\r\n;x "[..]), 0..40), step in 1_usize..50) {
        let whole = read(&bytes, usize::MAX, usize::MAX);
        prop_assert_eq!(read(&bytes, step, usize::MAX), whole);
    }
}
