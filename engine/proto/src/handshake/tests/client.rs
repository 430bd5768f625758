//! The client's request, byte for byte; what must not get into one; and that our own server takes it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::parse_with;

/// RFC 6455 §1.3: the nonce of its example, and the key it is sent as.
const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";

const PLAIN: UpgradeRequest<'_> = UpgradeRequest {
    authority: "server.example.com",
    target: "/chat",
    key: KEY,
    origin: None,
    subprotocols: &[],
    extensions: None,
};

fn write(request: &UpgradeRequest<'_>, headers: &[(&str, &[u8])]) -> Result<String, RequestError> {
    let mut out = b"before".to_vec();
    let result = write_request(&mut out, request, headers.iter().copied());
    if result.is_err() {
        assert_eq!(out, b"before", "nothing is left of a request that failed");
    }
    result.map(|()| String::from_utf8_lossy(&out["before".len()..]).into())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn the_key_of_a_nonce() {
    assert_eq!(&client_key(*b"the sample nonce"), KEY);
    assert_eq!(&client_key([0; 16]), b"AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(&client_key([255; 16]), b"/////////////////////w==");
}

/// RFC 6455 §4.1: each header of the handshake, and those of the caller behind them.
#[test]
fn a_request() {
    let start = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(write(&PLAIN, &[]).unwrap(), [start, "\r\n"].concat());

    let subprotocols = names(&["chat", "superchat"]);
    let request = UpgradeRequest {
        origin: Some("http://example.com"),
        subprotocols: &subprotocols,
        extensions: Some("permessage-deflate; client_max_window_bits"),
        ..PLAIN
    };
    let headers: &[(&str, &[u8])] = &[("Authorization", b"Bearer 1234"), ("X", b"")];
    assert_eq!(
        write(&request, headers).unwrap(),
        [
            start,
            "Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Authorization: Bearer 1234\r\nX: \r\n\r\n"
        ]
        .concat()
    );
}

#[test]
fn authorities() {
    for authority in ["a", "127.0.0.1:9001", "[::1]", "[2001:db8::1]:443", "a.example:80", "xn--bcher-kva.example"] {
        let text = write(&UpgradeRequest { authority, ..PLAIN }, &[]).expect(authority);
        assert!(text.contains(&["\r\nHost: ", authority, "\r\n"].concat()), "{authority}");
    }
    for authority in
        ["", ":80", "a b", "a/b", "user@a", "a\r\nX: y", "a\n", "::1", "[::1", "a:65536", "a:x", "\u{e4}", "a\0"]
    {
        assert_eq!(write(&UpgradeRequest { authority, ..PLAIN }, &[]), Err(RequestError::Authority), "{authority:?}");
    }
}

#[test]
fn targets() {
    for target in ["/", "/?", "/a?b=c&d=%20", "//a", "/a;b:@!$&'()*+,="] {
        assert!(
            write(&UpgradeRequest { target, ..PLAIN }, &[])
                .expect(target)
                .starts_with(&["GET ", target, " H"].concat())
        );
    }
    for target in
        ["", "a", "?a", "*", "http://a/", "/a b", "/a\r\nX: y", "/a\n", "/\0", "/\x7f", "/a#b", "/#", "/\u{e4}", " /"]
    {
        assert_eq!(write(&UpgradeRequest { target, ..PLAIN }, &[]), Err(RequestError::Target), "{target:?}");
    }
}

#[test]
fn keys_origins_and_extensions() {
    for key in [b"dGhlIHNhbXBsZSBub25jZQ=\n", b"\r\nX: y\r\n\r\nGET / HTTP/1.1", b"dGhlIHNhbXBsZSBub25jZR=="] {
        assert_eq!(write(&UpgradeRequest { key, ..PLAIN }, &[]), Err(RequestError::Key), "{}", key.escape_ascii());
    }
    for origin in ["null", "https://a.example:8443"] {
        assert!(write(&UpgradeRequest { origin: Some(origin), ..PLAIN }, &[]).is_ok(), "{origin}");
    }
    for origin in ["", "http://a\r\nX: y", "a\n", "a\0", "a b", "\u{e4}", "\x7f"] {
        let request = UpgradeRequest { origin: Some(origin), ..PLAIN };
        assert_eq!(write(&request, &[]), Err(RequestError::Origin), "{origin:?}");
    }
    for extensions in ["a", "a; b=\"c\", d", "permessage-deflate; server_max_window_bits=10, permessage-deflate"] {
        assert!(write(&UpgradeRequest { extensions: Some(extensions), ..PLAIN }, &[]).is_ok(), "{extensions}");
    }
    for extensions in ["", ",", "a;", "a\r\nX: y", "a\n", "\na", "a; b=\"\r\n\"", "a\0", "a b", "\u{e4}"] {
        let request = UpgradeRequest { extensions: Some(extensions), ..PLAIN };
        assert_eq!(write(&request, &[]), Err(RequestError::Extensions), "{extensions:?}");
    }
}

/// RFC 6455 §4.1, item 10: tokens, each once. They are compared exactly, as the server does.
#[test]
fn subprotocols() {
    let ask = |list: &[&str]| write(&UpgradeRequest { subprotocols: &names(list), ..PLAIN }, &[]);
    assert!(ask(&["a", "A", "v2.b-c_d~"]).unwrap().contains("\r\nSec-WebSocket-Protocol: a, A, v2.b-c_d~\r\n"));
    assert_eq!(ask(&["a", "b", "a"]), Err(RequestError::SubprotocolRepeated));
    for name in ["", "a b", "a,b", "a\r\nX: y", "a\n", "a\0", "\u{e4}", "\"a\""] {
        assert_eq!(ask(&["ok", name]), Err(RequestError::Subprotocol), "{name:?}");
    }
}

#[test]
fn no_header_injects_another() {
    for value in [&b"a\r\nCookie: b"[..], b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[0m", b"\r\n\r\nGET / HTTP/1.1"] {
        assert_eq!(write(&PLAIN, &[("X", b"ok"), ("X", value)]), Err(RequestError::HeaderValue));
    }
    for name in ["", "X:", "X Y", "X\r\nY", "X\n", "X\0", "\u{e4}", "X(", "X\t", " X"] {
        assert_eq!(write(&PLAIN, &[(name, b"")]), Err(RequestError::HeaderName), "{name:?}");
    }
    for name in [
        "Host",
        "HOST",
        "Connection",
        "upgrade",
        "Content-Length",
        "transfer-encoding",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        "Sec-WebSocket-Extensions",
        "SEC-WEBSOCKET-",
    ] {
        assert_eq!(write(&PLAIN, &[(name, b"x")]), Err(RequestError::HeaderReserved), "{name}");
    }
    for name in ["Hosts", "Cookie", "Authorization", "User-Agent", "Sec-WebSocket"] {
        assert!(write(&PLAIN, &[(name, b"a\tb \xc3\xa4")]).is_ok(), "{name}");
    }
    // An Origin stands in the request once, from one place.
    assert!(write(&PLAIN, &[("Origin", b"http://a")]).is_ok());
    let request = UpgradeRequest { origin: Some("http://a"), ..PLAIN };
    assert_eq!(write(&request, &[("ORIGIN", b"http://a")]), Err(RequestError::HeaderReserved));
}

proptest! {
    /// What is written is a request that our server takes as what was meant, whatever a caller gives; or nothing.
    #[test]
    fn our_server_takes_it(
        nonce in any::<[u8; 16]>(),
        authority in prop_oneof![9 => "[a-z]{1,8}(:[0-9]{1,4})?", 1 => "\\PC{0,8}"],
        target in prop_oneof![9 => "/[!-~]{0,12}", 1 => "\\PC{0,8}"],
        origin in prop::option::of(prop_oneof![9 => "https?://[a-z]{1,8}", 1 => "[ -~\r\n]{0,8}"]),
        subprotocols in prop::collection::vec(prop_oneof![9 => "[a-z.]{1,8}", 1 => "[ -~\r\n]{0,3}"], 0..4),
        extensions in prop::option::of(prop_oneof![9 => "[a-z-]{1,8}(; [a-z]{1,4}(=[0-9]{1,2})?){0,2}", 1 => "[ -~\r\n]{0,8}"]),
        fields in prop::collection::vec(("[ \r\n]{0,1}X-[a-z-]{0,8}", prop::collection::vec(prop_oneof![19 => 32..127u8, 1 => any::<u8>()], 0..12)), 0..3),
    ) {
        let key = client_key(nonce);
        let request = UpgradeRequest {
            authority: &authority,
            target: &target,
            key: &key,
            origin: origin.as_deref(),
            subprotocols: &subprotocols,
            extensions: extensions.as_deref(),
        };
        let headers: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        if let Ok(text) = write(&request, &headers) {
            let mut out = Vec::new();
            write_request(&mut out, &request, headers.iter().copied()).expect("as before");
            prop_assert_eq!(HeadScan::default().feed(&out, &HeadLimits::default()), HeadEnd::Complete(out.len()));
            let parsed = parse_with(&out, &HeadLimits::default()).expect(&text);
            let policy = Policy::default().subprotocols(subprotocols.iter().rev().cloned());
            let accepted = accept(&parsed, &policy).expect(&text);
            prop_assert_eq!(accepted.key, accept_key(&key));
            prop_assert_eq!(accepted.subprotocol, subprotocols.last().map(|name| &**name));
            prop_assert_eq!(parsed.host(), Some(&*authority));
            prop_assert_eq!(parsed.target(), &*target);
            prop_assert_eq!(parsed.header_str("Origin"), origin.as_deref());
            prop_assert_eq!(parsed.header_str("Sec-WebSocket-Extensions"), extensions.as_deref().map(str::trim));
            prop_assert_eq!(parsed.subprotocols().collect::<Vec<_>>(), subprotocols.iter().map(|name| &**name).collect::<Vec<_>>());
            let own = parsed.headers().filter(|(name, _)| name.starts_with("X-"));
            let given: Vec<_> = headers.iter().map(|(name, value)| (*name, value.trim_ascii())).collect();
            prop_assert_eq!(own.collect::<Vec<_>>(), given);
        }
    }

    /// The server reads back the nonce that the client drew.
    #[test]
    fn a_key_is_the_nonce(nonce in any::<[u8; 16]>()) {
        use base64::Engine as _;
        let key = client_key(nonce);
        prop_assert!(super::super::accept_key::parse_key(&key).is_some());
        prop_assert_eq!(base64::engine::general_purpose::STANDARD.decode(key), Ok(nonce.to_vec()));
    }
}
