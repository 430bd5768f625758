//! The grammar of a head, held against httparse, and what a request says of itself.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{handshake_with, judge, parse_with};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 8192, headers_max: 64 };

fn parse(head: &[u8]) -> Result<Request<'_>, Refusal> {
    parse_with(head, &LIMITS)
}

#[test]
fn what_a_request_says() {
    let head =
        b"GET /a%20b/c?d=e?f HTTP/1.1\r\nHost: h:1\r\nX-One:  \t one \t\r\nEmpty:\r\nx-one: two\r\nRaw: \xe4\r\n\r\n";
    let request = parse(head).expect("a request");
    assert_eq!((request.method(), request.target()), ("GET", "/a%20b/c?d=e?f"));
    assert_eq!((request.path(), request.query()), ("/a%20b/c", Some("d=e?f")));
    assert_eq!((request.version_minor(), request.host()), (1, Some("h:1")));
    assert_eq!(request.header("X-ONE"), Some(&b"one"[..]));
    assert_eq!(request.header_str("empty"), Some(""));
    assert_eq!((request.header("raw"), request.header_str("raw")), (Some(&b"\xe4"[..]), None));
    assert_eq!(request.header("x-on"), None);
    let values: Vec<_> = request.header_values("X-ONE").collect();
    assert_eq!(values, [&b"one"[..], b"two"]);
    assert_eq!(request.header_values("x-one").next_back(), Some(&b"two"[..]));
    assert_eq!(request.header_values("x-on").next(), None);
    let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "X-One", "Empty", "x-one", "Raw"]);
    assert!(!request.is_upgrade() && !request.declares_body());
}

/// RFC 7230 §5.3.
#[test]
fn targets() {
    for (line, path, query, host) in [
        ("GET / HTTP/1.1", "/", None, "h"),
        ("GET /? HTTP/1.1", "/", Some(""), "h"),
        ("GET //x?a HTTP/1.1", "//x", Some("a"), "h"),
        ("GET http://o:80/p?q HTTP/1.1", "/p", Some("q"), "o:80"),
        ("GET WS://o HTTP/1.1", "/", None, "o"),
        ("GET https://[::1]?q=/ HTTP/1.1", "/", Some("q=/"), "[::1]"),
        ("OPTIONS * HTTP/1.1", "*", None, "h"),
        ("CONNECT o:443 HTTP/1.1", "", None, "o:443"),
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        let request = parse(head.as_bytes()).expect(line);
        assert_eq!((request.path(), request.query(), request.host()), (path, query, Some(host)), "{line}");
    }
    for target in ["*", "a", "o:443", "/#f", "/\u{e4}", "ftp://o/", "http:///", "http://u@o/", "?q", "http:/o"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(parse(head.as_bytes()).map_or_else(|refusal| refusal.status(), |_| 200), 400, "{target}");
    }
}

#[test]
fn what_means_a_websocket() {
    let means = |header: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
        parse(head.as_bytes()).expect(header).is_upgrade()
    };
    // RFC 6455 §4.2.1 has the rest judged, and refused by name.
    for header in ["Upgrade: WebSocket", "Upgrade: a, websocket", "Connection: close\r\nUpgrade: websocket"] {
        assert!(means(header), "{header}");
    }
    for header in [
        "Upgrade: h2c",
        "Connection: upgrade",
        "Sec-Fetch-Mode: websocket",
        // What a proxy sends that asks whether this user may connect: the user's headers without those for one hop.
        "Connection: close\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate",
    ] {
        assert!(!means(header), "{header}");
    }
}

#[test]
fn subprotocols_and_extensions_over_repeated_headers() {
    let head = handshake_with(&[
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: x; p=1, y",
        "Other: z",
        "SEC-WEBSOCKET-PROTOCOL: c",
        "sec-websocket-extensions: w",
    ]);
    let request = parse(&head).expect("a request");
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["a", "b", "c"]);
    let names: Vec<_> = request.extensions().map(|offer| offer.expect("well-formed").name()).collect();
    assert_eq!(names, ["x", "y", "w"]);
    let plain = handshake_with(&[]);
    let request = parse(&plain).expect("a request");
    assert_eq!((request.subprotocols().count(), request.extensions().count()), (0, 0));
}

/// RFC 7230 §3.1.1, §3.2, §3.2.4.
#[test]
fn malformed_heads() {
    assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_ok()); // no Host needed (RFC 7230 §5.4)
    for head in [
        &b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n"[..], // folded
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x7fc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA\xe4: b\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
        b"GET / http/1.1\r\nHost: h\r\n\r\n",
        b"GET /\r\nHost: h\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n",                // no end
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", // a TLS client
        b"",
    ] {
        assert_eq!(parse(head).map_or_else(|refusal| refusal.status(), |_| 200), 400, "{}", head.escape_ascii());
    }
}

#[test]
fn as_many_headers_as_the_limit() {
    let head = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert!(parse(head(64).as_bytes()).is_ok());
    assert_eq!(parse(head(65).as_bytes()).expect_err("one more").status(), 431);
}

/// A handshake, some of its bytes replaced, put in or taken out.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'\r'),
        Just(b'\n'),
        Just(b' '),
        Just(b'\t'),
        Just(b':'),
        Just(0),
        Just(0x7f),
        Just(0x80),
        Just(0x1f),
        any::<u8>()
    ];
    let edit = (any::<prop::sample::Index>(), byte, 0..3u8);
    prop::collection::vec(edit, 0..4).prop_map(|edits| {
        let mut head = handshake_with(&[
            "Origin: https://example.com",
            "Cookie: a=b; c=d",
            "X1-Y_z: \t q",
            "Sec-WebSocket-Protocol: a, b",
        ]);
        for (at, byte, kind) in edits {
            let at = at.index(head.len());
            match kind {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => drop(head.remove(at)),
            }
        }
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// RFC 7230 §3.2: whatever is damaged, what passes is one field a line, of token names and printable values.
    #[test]
    fn what_passes_is_one_clean_field_a_line(head in damaged()) {
        if let Ok(request) = parse(&head) {
            let text = head.trim_ascii();
            prop_assert_eq!(request.headers().count(), text.iter().filter(|&&b| b == b'\n').count());
            for (name, value) in request.headers() {
                prop_assert!(crate::handshake::is_token(name.as_bytes()), "{:?}", name);
                prop_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0 | 0x7f)), "{:?}", value);
            }
            prop_assert!(request.target().bytes().all(|b| b.is_ascii_graphic()));
        }
    }

    /// Peer bytes never panic, wherever they get to.
    #[test]
    fn no_bytes_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), damaged()], tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let end = HeadScan::default().feed(&bytes, &LIMITS);
        if let HeadEnd::Complete(len) = end {
            let _ = judge(&bytes[..len], &Policy::default());
        }
        let _ = judge(&bytes, &Policy::default().origins(Origins::Same));
        for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Origin", "Host", "Sec-WebSocket-Key", "Upgrade"] {
            let head = [b"GET / HTTP/1.1\r\n", name.as_bytes(), b":", &tail[..], b"\r\n\r\n"].concat();
            if let Ok(request) = parse(&head) {
                let _ = (request.path(), request.query(), request.subprotocols().count(), request.extensions().count());
            }
            let head = handshake_with(&[&format!("{name}: {}", String::from_utf8_lossy(&tail))]);
            let _ = judge(&head, &Policy::default().origins(Origins::Same));
        }
    }
}

/// RFC 7230 §3.2.6: the words of `token_len` stop at the same byte as its table, whatever stands where.
#[test]
fn a_token_ends_at_its_first_other_byte() {
    for byte in 0..=255_u8 {
        for around in [b'a', b'7', b'_', b'!'] {
            for at in 0..20 {
                let mut bytes = [around; 20];
                bytes[at] = byte;
                let expected = if TOKEN[usize::from(byte)] { 20 } else { at };
                assert_eq!(token_len(&bytes), expected, "{byte:#x} at {at} among {around:#x}");
            }
        }
    }
}

#[test]
fn a_request_is_shown_as_text() {
    let head = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Name: caf\xe9 \"x\"\r\n\r\n";
    let shown = format!("{:?}", parse(head).expect("a request"));
    let headers = r#"{"Host": "h", "X-Name": "caf\xe9 \"x\""}"#;
    assert_eq!(shown, format!(r#"Request {{ method: "GET", target: "/a?b", headers: {headers}, .. }}"#));
}
