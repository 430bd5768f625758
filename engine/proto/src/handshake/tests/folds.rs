//! Answers with fields over several lines (RFC 9112 §5.2).

use alloc::vec::Vec;

use proptest::prelude::*;

use crate::handshake::{Answer, AnswerError, HeadEnd, HeadLimits, HeadScan, HeaderTable, unfold};

fn unfolded(head: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    unfold(&mut head);
    head
}

#[test]
fn a_fold_becomes_spaces() {
    for (head, expected) in [
        (&b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"[..], &b"HTTP/1.1 200 OK\r\nA: b   c\r\n\r\n"[..]),
        (b"HTTP/1.1 200 OK\nA: b\n\tc\nD: e\n\n", b"HTTP/1.1 200 OK\nA: b \tc\nD: e\n\n"),
        (b"HTTP/1.1 200 OK\r\nA:\r\n\r\n", b"HTTP/1.1 200 OK\r\nA:\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n \r\n\t\r\nD: e\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b     \t\r\nD: e\r\n\r\n"),
        // Not in front of the first field, and not behind an empty line.
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n"),
        (b"HTTP/1.1 200 OK\nA: b\n\n c\n d", b"HTTP/1.1 200 OK\nA: b\n\n c\n d"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n c\n d", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n c\n d"),
        (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"),
        (b"\n", b"\n"),
        (b"", b""),
    ] {
        let found = unfolded(head);
        assert_eq!(found, expected, "{}: {}", head.escape_ascii(), found.escape_ascii());
    }
}

#[test]
fn a_folded_answer_is_read_once_it_is_unfolded() {
    let head =
        b"HTTP/1.1 403 No\r\nContent-Security-Policy: default-src 'self';\r\n  img-src *\r\nContent-Length: 0\r\n\r\n";
    let (limits, mut table) = (HeadLimits::default(), HeaderTable::new());
    assert_eq!(Answer::parse(head, &limits, &mut table).err(), Some(AnswerError::Header));
    let (head, mut table) = (unfolded(head), HeaderTable::new());
    let answer = Answer::parse(&head, &limits, &mut table).expect("whole lines");
    assert_eq!(answer.header("content-security-policy"), Some(&b"default-src 'self';    img-src *"[..]));
    let (head, mut table) = (unfolded(b"HTTP/1.1 403 No\r\n A: b\r\n\r\n"), HeaderTable::new());
    assert_eq!(Answer::parse(&head, &limits, &mut table).err(), Some(AnswerError::Header), "that goes on nothing");
}

proptest! {
    /// The head ends where it did, and unfolding once is enough.
    #[test]
    fn a_head_ends_where_it_did(tail in prop::collection::vec(prop::sample::select(&b"\r\n\t A:b"[..]), 0..60)) {
        let head = [&b"HTTP/1.1 200 OK\r\n"[..], &tail].concat();
        let HeadEnd::Complete(len) = HeadScan::default().feed(&head, &HeadLimits::default()) else { return Ok(()) };
        let found = unfolded(&head[..len]);
        prop_assert_eq!(HeadScan::default().feed(&found, &HeadLimits::default()), HeadEnd::Complete(len));
        prop_assert_eq!(unfolded(&found), found);
    }
}
