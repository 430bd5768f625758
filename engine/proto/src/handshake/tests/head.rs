//! Where a head ends: agreement with the parser, the limit, linear work.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{handshake_with, parse_with};

fn scan(bytes: &[u8]) -> HeadEnd {
    HeadScan::default().feed(bytes, &HeadLimits::default())
}

#[test]
fn frames_behind_the_head_are_left() {
    let mut bytes = handshake_with(&[]);
    let len = bytes.len();
    assert_eq!(scan(&bytes), HeadEnd::Complete(len));
    bytes.extend_from_slice(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n");
    assert_eq!(scan(&bytes), HeadEnd::Complete(len));
    assert_eq!(scan(&bytes[..len - 1]), HeadEnd::Partial);
}

/// RFC 7230 §3.5: bare LF, and empty lines before the request line.
#[test]
fn line_ends() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\n\nrest"[..], HeadEnd::Complete(16)),
        (b"GET / HTTP/1.1\r\n\nrest", HeadEnd::Complete(17)),
        (b"GET / HTTP/1.1\n\r\nrest", HeadEnd::Complete(17)),
        (b"\r\n\r\n\n\r\nGET / HTTP/1.1\r\n\r\nrest", HeadEnd::Complete(25)),
        (b"GET / HTTP/1.1\r\r\r\n", HeadEnd::Partial),
        (b"\r\n\r\n", HeadEnd::Partial),
        (b"\n\r", HeadEnd::Partial),
        (b"", HeadEnd::Partial),
    ] {
        assert_eq!(scan(bytes), expected, "{}", bytes.escape_ascii());
    }
}

/// The exact limit passes, one more fails, and one is known to fail as soon as it must.
#[test]
fn the_limit_on_bytes() {
    let head = handshake_with(&[]);
    let exact = HeadLimits::default().bytes_max(head.len());
    let short = HeadLimits::default().bytes_max(head.len() - 1);
    assert_eq!(HeadScan::default().feed(&head, &exact), HeadEnd::Complete(head.len()));
    assert!(parse_with(&head, &exact).is_ok());
    assert_eq!(HeadScan::default().feed(&head, &short), HeadEnd::TooLarge);
    assert_eq!(parse_with(&head, &short).map(|_| ()), Err(Refusal::HEAD_TOO_LARGE));
    assert_eq!(Refusal::HEAD_TOO_LARGE.status(), 431);
    // Nothing more can complete a head that has filled the limit.
    let (mut with_exact, mut with_short) = (HeadScan::default(), HeadScan::default());
    let unfinished = &head[..head.len() - 1];
    assert_eq!(with_exact.feed(unfinished, &exact), HeadEnd::Partial);
    assert_eq!(with_short.feed(unfinished, &short), HeadEnd::TooLarge);
    // Empty lines count too: they cannot hold a connection for ever.
    assert_eq!(HeadScan::default().feed(&b"\r\n".repeat(5000), &HeadLimits::default()), HeadEnd::TooLarge);
}

/// A head that arrives byte by byte was parsed again and again elsewhere (CVE-2023-43669): each call may look at the new
/// bytes and the two before them.
#[test]
fn a_dripping_head_costs_linear_work() {
    let limits = HeadLimits::default().bytes_max(1 << 16);
    let mut head = b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec();
    while head.len() < 60_000 {
        head.extend_from_slice(b"a:\r\n");
    }
    head.extend_from_slice(b"\r\n");
    for step in [1, 2, 7, 1000] {
        let mut scan = HeadScan::default();
        let mut calls = 0;
        for end in (step..head.len()).step_by(step) {
            assert_eq!(scan.feed(&head[..end], &limits), HeadEnd::Partial);
            calls += 1;
        }
        assert_eq!(scan.feed(&head, &limits), HeadEnd::Complete(head.len()));
        assert!(scan.examined() >= head.len() - 4, "it counts");
        assert!(scan.examined() <= head.len() + 2 * (calls + 1), "{} bytes at {step} a call", scan.examined());
    }
    // And a whole limit of bytes without an end is looked at once, not beyond.
    let mut scan = HeadScan::default();
    assert_eq!(scan.feed(&[b'a'; 1 << 20], &limits), HeadEnd::TooLarge);
    assert_eq!(scan.examined(), limits.bytes_max);
}

/// Bytes rich in line ends.
fn liney() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(&b"\r\n"[..]),
        2 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        2 => Just(&b"GET / HTTP/1.1"[..]),
        2 => Just(&b"Host: a"[..]),
        2 => Just(&b"x"[..]),
        1 => Just(&b"0123456789abcdef0123456789abcdef"[..]),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    /// Whatever the cuts, the answer is that of one call on all the bytes, and that of the definition.
    #[test]
    fn chunks_change_nothing(bytes in liney(), cuts in prop::collection::vec(0usize..300, 0..8)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let mut scan = HeadScan::default();
        let limits = HeadLimits::default();
        let mut early = None;
        for cut in cuts {
            if let HeadEnd::Complete(len) = scan.feed(&bytes[..cut], &limits) {
                early = early.or(Some(len));
            }
        }
        let end = HeadScan::default().feed(&bytes, &limits);
        prop_assert_eq!(scan.feed(&bytes, &limits), end);
        if let Some(len) = early {
            prop_assert_eq!(end, HeadEnd::Complete(len));
        }

        let mut begin = 0;
        while bytes[begin..].starts_with(b"\n") || bytes[begin..].starts_with(b"\r\n") {
            begin += 1;
        }
        let ends = |at: usize| bytes[begin..at].ends_with(b"\n\n") || bytes[begin..at].ends_with(b"\n\r\n");
        let defined = (begin..=bytes.len()).find(|&at| ends(at)).map_or(HeadEnd::Partial, HeadEnd::Complete);
        prop_assert_eq!(end, defined);
    }

    /// The parser needs every byte of what the scan calls a head, and no more.
    #[test]
    fn the_scan_agrees_with_the_parser(bytes in liney()) {
        if let HeadEnd::Complete(len) = scan(&bytes) {
            let limits = HeadLimits::default().bytes_max(usize::MAX).headers_max(usize::MAX);
            match parse_with(&bytes[..len], &limits) {
                Ok(request) => prop_assert!(parse_with(&bytes[..len - 1], &limits).is_err(), "{:?}", request),
                Err(refusal) => prop_assert_ne!(refusal.reason(), "incomplete request"),
            }
        }
    }
}
