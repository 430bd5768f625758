//! The answers, byte for byte, and what must not get into one.

use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{handshake_with, judge};

const KEY: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn switching(subprotocol: Option<&str>, headers: &[(&str, &[u8])]) -> Result<String, ResponseError> {
    let mut out = b"before".to_vec();
    let result = write_switching(&mut out, KEY, subprotocol, headers.iter().copied());
    if result.is_err() {
        assert_eq!(out, b"before", "nothing is left of a response that failed");
    }
    result.map(|()| String::from_utf8_lossy(&out["before".len()..]).into())
}

// RFC 6455 §9.1: the answer to the offers, by the caller's text; it cannot begin another line.
#[test]
fn a_switching_response_with_extensions() {
    let mut out = Vec::new();
    write_switching_with(&mut out, KEY, None, Some("permessage-deflate"), []).expect("a line of text");
    assert!(out.ends_with(b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"));
    out.clear();
    let broken = write_switching_with(&mut out, KEY, None, Some("a\r\nb: c"), []);
    assert_eq!((broken, out.len()), (Err(ResponseError::HeaderValue), 0));
}

fn response(
    status: u16,
    reason: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
    head_only: bool,
) -> Result<String, ResponseError> {
    let mut out = b"before".to_vec();
    let result = write_response(&mut out, status, reason, headers.iter().copied(), body, head_only);
    if result.is_err() {
        assert_eq!(out, b"before", "nothing is left of a response that failed");
    }
    result.map(|()| String::from_utf8_lossy(&out["before".len()..]).into())
}

/// RFC 6455 §4.2.2, item 5.
#[test]
fn a_switching_response() {
    let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(switching(None, &[]).unwrap(), [start, "\r\n"].concat());
    let full = switching(Some("chat"), &[("Set-Cookie", b"a=b"), ("X", b"")]).unwrap();
    assert_eq!(full, [start, "Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\nX: \r\n\r\n"].concat());
}

#[test]
fn a_plain_response() {
    let ok = response(200, "OK", &[("Content-Type", b"text/plain")], b"hello", false).unwrap();
    assert_eq!(
        ok,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    );
    let head = response(200, "OK", &[], b"hello", true).unwrap();
    assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    let empty = response(599, "", &[], b"", false).unwrap();
    assert_eq!(empty, "HTTP/1.1 599 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let body = [b'x'; 12_345];
    assert!(response(200, "OK", &[], &body, false).unwrap().contains("\r\nContent-Length: 12345\r\n"));
    // RFC 7230 §3.3.2
    let none = response(204, "No Content", &[], b"", false).unwrap();
    assert_eq!(none, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

/// Only final statuses, and a body only where there can be one (RFC 7230 §3.3).
#[test]
fn statuses() {
    for (status, body, expected) in [
        (200, &b"x"[..], None),
        (599, b"x", None),
        (199, b"", Some(ResponseError::Status)),
        (101, b"", Some(ResponseError::Status)),
        (600, b"", Some(ResponseError::Status)),
        (0, b"", Some(ResponseError::Status)),
        (204, b"x", Some(ResponseError::Body)),
        (205, b"x", Some(ResponseError::Body)),
        (304, b"x", Some(ResponseError::Body)),
        (304, b"", None),
    ] {
        assert_eq!(response(status, "", &[], body, false).err(), expected, "{status}");
    }
}

#[test]
fn nothing_can_be_injected() {
    let good: &[(&str, &[u8])] = &[("X-Trace", b"a\tb \xc3\xa4"), ("!#$%&'*+-.^_`|~09az", b"x")];
    assert!(switching(None, good).is_ok() && response(200, "OK", good, b"", false).is_ok());
    for value in [&b"a\r\nSet-Cookie: b"[..], b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[0m", b"\r\n\r\n<html>"] {
        assert_eq!(switching(None, &[("X", b"ok"), ("X", value)]), Err(ResponseError::HeaderValue));
        assert_eq!(response(200, "OK", &[("X", value)], b"", false), Err(ResponseError::HeaderValue));
    }
    for name in ["", "X:", "X Y", "X\r\nY", "X\n", "X\0", "\u{e4}", "X(", "X\t", " X"] {
        assert_eq!(switching(None, &[(name, b"")]), Err(ResponseError::HeaderName), "{name:?}");
        assert_eq!(response(200, "OK", &[(name, b"")], b"", false), Err(ResponseError::HeaderName), "{name:?}");
    }
    for name in ["", "a b", "a,b", "chat\r\nX: y", "a\0", "\u{e4}"] {
        assert_eq!(switching(Some(name), &[]), Err(ResponseError::Subprotocol), "{name:?}");
    }
    for reason in ["OK\r\nX: y", "\n", "\0", "\x7f"] {
        assert_eq!(response(200, reason, &[], b"", false), Err(ResponseError::ReasonPhrase), "{reason:?}");
    }
}

#[test]
fn reserved_headers_are_ours() {
    for name in [
        "Connection",
        "UPGRADE",
        "content-length",
        "Transfer-Encoding",
        "Sec-WebSocket-Accept",
        "sec-websocket-protocol",
        "Sec-WebSocket-Extensions",
        "SEC-WEBSOCKET-",
        "Sec-WebSocket-Anything",
    ] {
        assert_eq!(switching(None, &[(name, b"x")]), Err(ResponseError::HeaderReserved), "{name}");
        assert_eq!(response(200, "OK", &[(name, b"x")], b"", false), Err(ResponseError::HeaderReserved), "{name}");
    }
    for name in ["Connections", "Sec-WebSocket", "Content-Type", "Server", "Set-Cookie"] {
        assert!(switching(None, &[(name, b"x")]).is_ok(), "{name}");
    }
}

#[test]
fn refusals() {
    let refused = |changes: &[&str]| {
        let mut out = Vec::new();
        write_refusal(&mut out, &judge(&handshake_with(changes), &Policy::default()).expect_err("refused"));
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        refused(&["Sec-WebSocket-Version: 8"]),
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Content-Type: text/plain\r\nContent-Length: 30\r\n\r\nunsupported WebSocket version\n"
    );
    assert_eq!(
        refused(&["POST / HTTP/1.1"]),
        "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nAllow: GET\r\nContent-Type: text/plain\r\n\
         Content-Length: 31\r\n\r\na WebSocket handshake is a GET\n"
    );
    // RFC 7230 §3.3: the answer to a HEAD has the length, not the body.
    assert!(refused(&["HEAD / HTTP/1.1"]).ends_with("Content-Length: 31\r\n\r\n"));
    assert_eq!(
        refused(&["Host:!"]),
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n\
         missing Host header\n"
    );
    let busy = Refusal::new(503, "too many connections");
    assert_eq!((busy.status(), busy.reason()), (503, "too many connections"));
    assert_eq!(alloc::format!("{busy}"), "503 Service Unavailable: too many connections");
}

proptest! {
    /// Whatever a handler gives, what is written is one response with just its headers, or nothing.
    #[test]
    fn what_is_written_reads_back(
        fields in prop::collection::vec(("[ -~\r\n]{0,3}[A-Z]?[a-z-]{0,8}", prop::collection::vec(prop_oneof![9 => 32..127u8, 1 => any::<u8>()], 0..12)), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut out = Vec::new();
        let headers: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        if write_response(&mut out, 200, "OK", headers.iter().copied(), &body, false).is_ok() {
            let mut table = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Response::new(&mut table);
            let len = parsed.parse(&out).expect("well-formed").unwrap();
            prop_assert_eq!(&out[len..], &body[..]);
            prop_assert_eq!(parsed.headers.len(), fields.len() + 2);
            for (header, (name, value)) in parsed.headers.iter().zip(&fields) {
                prop_assert_eq!((header.name, header.value), (&**name, value.trim_ascii()));
            }
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
