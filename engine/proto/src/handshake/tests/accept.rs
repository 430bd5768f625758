//! RFC 6455 §4.2.1 and §4.2.2, rule by rule.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha1::{Digest as _, Sha1};

use super::super::*;
use super::{handshake_with, judge, status, status_under};

/// RFC 6455 §1.3, and §4.2.2 item 5.
#[test]
fn the_example_of_the_rfc() {
    assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let policy = Policy::default().subprotocols(["superchat", "chat"]);
    let head = handshake_with(&["Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat"]);
    assert_eq!(judge(&head, &policy), Ok(("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into(), Some("superchat".into()))));
}

proptest! {
    /// The padding laid out by hand against the hasher that pads for itself.
    #[test]
    fn accept_key_is_the_hash_of_key_and_guid(nonce: [u8; 16]) {
        let key = STANDARD.encode(nonce);
        let digest = Sha1::new().chain_update(&key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
        let expected = STANDARD.encode(digest);
        let accepted = accept_key(key.as_bytes().try_into().expect("24 characters"));
        prop_assert_eq!(&accepted[..], expected.as_bytes());
        prop_assert_eq!(status(&[&format!("Sec-WebSocket-Key: {key}")]), 101);
    }
}

#[test]
fn the_method_is_get() {
    assert_eq!(status(&[]), 101);
    for method in ["POST", "HEAD", "OPTIONS", "get", "GETS"] {
        let line = format!("{method} /chat HTTP/1.1");
        assert_eq!(status(&[&line]), 405, "{method}");
    }
}

#[test]
fn http_1_0_is_too_old() {
    assert_eq!(status(&["GET /chat HTTP/1.0"]), 400);
    assert_eq!(status(&["GET /chat HTTP/1.1"]), 101);
}

/// RFC 7230 §5.4.
#[test]
fn exactly_one_host() {
    assert_eq!(status(&["Host: example.com:9001"]), 101);
    assert_eq!(status(&["Host: [::1]:9001"]), 101);
    for wrong in [
        &["Host:!"][..],
        &["Host: a.example", "Host: a.example"],
        &["Host: a.example", "host: b.example"],
        &["Host:"],
        &["Host: user@example.com"],
        &["Host: example.com/path"],
        &["Host: example.com, other.com"],
        &["Host: example.com:port"],
        &["Host: example.com:65536"],
        &["Host: [::1"],
        &["Host: ex\u{e4}mple.com"],
    ] {
        assert_eq!(status(wrong), 400, "{wrong:?}");
    }
}

#[test]
fn upgrade_lists_websocket() {
    for right in [
        &["Upgrade: WebSocket"][..],
        &["Upgrade: h2c, websocket"],
        &["Upgrade: ,\t websocket\t ,"],
        &["Upgrade: h2c", "UPGRADE: websocket"],
    ] {
        assert_eq!(status(right), 101, "{right:?}");
    }
    for wrong in
        ["Upgrade:!", "Upgrade:", "Upgrade: h2c", "Upgrade: websockets", "Upgrade: web socket", "Upgrade: websocket/13"]
    {
        assert_eq!(status(&[wrong]), 400, "{wrong}");
    }
}

#[test]
fn connection_lists_upgrade() {
    for right in [
        &["Connection: upgrade"][..],
        &["Connection: keep-alive, Upgrade"],
        &["Connection: keep-alive", "Connection: UPGRADE"],
    ] {
        assert_eq!(status(right), 101, "{right:?}");
    }
    for wrong in [
        "Connection:!",
        "Connection: keep-alive",
        "Connection: close",
        "Connection: upgraded",
        "Connection: keep-alive Upgrade",
    ] {
        assert_eq!(status(&[wrong]), 400, "{wrong}");
    }
}

#[test]
fn one_key_of_sixteen_bytes() {
    assert_eq!(status(&["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]), 101);
    for wrong in [
        &["Sec-WebSocket-Key:!"][..],
        &["Sec-WebSocket-Key:"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA"],   // no padding
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="], // 17 bytes
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"], // 18 bytes
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"],     // 15 bytes
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB=="], // unused bits set (RFC 4648 §3.5)
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA A=="], // no character of base64
        &["Sec-WebSocket-Key: AAAAAAAAAAA-_AAAAAAAAA=="], // the other alphabet
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==="],
        &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAA\u{e4}=="],
    ] {
        assert_eq!(status(wrong), 400, "{wrong:?}");
    }
}

/// RFC 6455 §4.4: whoever speaks another version learns which one is spoken here.
#[test]
fn the_version_is_13() {
    for wrong in ["8", "14", "013", "13, 8", "", "13;", "0", "\u{e4}"] {
        assert_eq!(status(&[&format!("Sec-WebSocket-Version: {wrong}")]), 426, "{wrong:?}");
    }
    // A wrong version is what such a client hears of, whatever its version has in place of a key.
    assert_eq!(status(&["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key:!"]), 426);
    assert_eq!(status(&["Sec-WebSocket-Version:!"]), 400);
    assert_eq!(status(&["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"]), 400);
    for changes in [["Sec-WebSocket-Version: 8"], ["Sec-WebSocket-Version:!"]] {
        let mut out = Vec::new();
        write_refusal(&mut out, &judge(&handshake_with(&changes), &Policy::default()).expect_err("no version 13"));
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
    }
}

/// No body, no smuggling: what follows the head is read as frames.
#[test]
fn a_declared_body_is_refused() {
    for wrong in [
        "Content-Length: 5",
        "Content-Length:",
        "Content-Length: -0",
        "Content-Length: 0x0",
        "Content-Length: 0, 5",
        "content-length: x",
        "Transfer-Encoding: chunked",
        "transfer-encoding:",
    ] {
        assert_eq!(status(&[wrong]), 400, "{wrong}");
    }
    assert_eq!(status(&["Content-Length: 0", "Content-Length: 5"]), 400);
    assert_eq!(status(&["Content-Length: 5", "Content-Length: 0"]), 400);
    assert_eq!(status(&["Content-Length: 0", "Transfer-Encoding: chunked"]), 400);
    assert_eq!(status(&["Content-Type: text/plain", "Content-Language: en"]), 101);
    // RFC 7230 §3.3.2: this says that there is none. The client of Java's own library writes it.
    assert_eq!(status(&["Content-Length: 0"]), 101);
    assert_eq!(status(&["content-length: 0 "]), 101);
}

#[test]
fn the_subprotocol_is_the_servers_first_choice() {
    let policy = Policy::default().subprotocols(["v2", "v1"]);
    let chosen = |changes: &[&str]| judge(&handshake_with(changes), &policy).map(|(_, subprotocol)| subprotocol);
    assert_eq!(chosen(&["Sec-WebSocket-Protocol: v1, v2"]), Ok(Some("v2".into())));
    assert_eq!(chosen(&["Sec-WebSocket-Protocol: v1", "X: y", "sec-websocket-protocol: v2"]), Ok(Some("v2".into())));
    assert_eq!(chosen(&["Sec-WebSocket-Protocol: ,, v1 ,"]), Ok(Some("v1".into())));
    // None in common, or another case: no subprotocol, and the client decides.
    assert_eq!(chosen(&["Sec-WebSocket-Protocol: v3, V2"]), Ok(None));
    assert_eq!(chosen(&[]), Ok(None));
}

#[test]
fn malformed_and_repeated_subprotocols_are_refused() {
    for wrong in [
        &["Sec-WebSocket-Protocol: a, a"][..],
        &["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: a"],
        &["Sec-WebSocket-Protocol: a b"],
        &["Sec-WebSocket-Protocol: a;b"],
        &["Sec-WebSocket-Protocol: \"a\""],
        &["Sec-WebSocket-Protocol: a/1"],
        &["Sec-WebSocket-Protocol: \u{e4}"],
        &["Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: a b"],
    ] {
        assert_eq!(status(wrong), 400, "{wrong:?}");
    }
    assert_eq!(status(&["Sec-WebSocket-Protocol: a, A"]), 101); // differ in case
}

#[test]
fn as_many_subprotocols_as_the_limit() {
    let offer = |count: usize| {
        let names = (0..count).map(|i| format!("p{i}")).collect::<Vec<_>>().join(",");
        status(&[&format!("Sec-WebSocket-Protocol: {names}")])
    };
    assert_eq!(offer(SUBPROTOCOLS_MAX), 101);
    assert_eq!(offer(SUBPROTOCOLS_MAX + 1), 400);
}

#[test]
fn malformed_extensions_are_refused() {
    assert_eq!(status(&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]), 101);
    assert_eq!(status(&["Sec-WebSocket-Extensions: a; b=\"c"]), 400);
    assert_eq!(status(&["Sec-WebSocket-Extensions: a", "Sec-WebSocket-Extensions: b;"]), 400);
}

/// RFC 7230 §7: who lists nothing offers nothing.
#[test]
fn empty_lists_are_as_none() {
    let policy = Policy::default().subprotocols(["v1"]);
    for empty in ["", ",", " , ,\t"] {
        let headers = [format!("Sec-WebSocket-Protocol:{empty}"), format!("Sec-WebSocket-Extensions:{empty}")];
        let offers = [&*headers[0], &*headers[1]];
        assert_eq!(judge(&handshake_with(&offers), &policy).map(|(_, subprotocol)| subprotocol), Ok(None), "{empty:?}");
        // Beside a header that lists something, each is still read.
        let more = [&*headers[0], "Sec-WebSocket-Protocol: v1", &*headers[1], "Sec-WebSocket-Extensions: a"];
        let chosen = judge(&handshake_with(&more), &policy).map(|(_, subprotocol)| subprotocol);
        assert_eq!(chosen, Ok(Some("v1".into())), "{empty:?}");
    }
}

/// RFC 6455 §10.2 and §4.2.2, item 4.
#[test]
fn the_policy_decides_about_absent_null_and_other_origins() {
    let list = OriginList::new(["https://example.com"]).expect("an origin");
    let listed = Policy::default().origins(Origins::List(list));
    let same = Policy::default().origins(Origins::Same);
    let any = Policy::default();
    let host = "Host: example.com";
    let absent = &[host][..];
    for (policy, expected) in
        [(&listed, [101, 101, 403, 403, 403]), (&same, [101, 101, 403, 403, 403]), (&any, [101; 5])]
    {
        let got = [
            status_under(policy, absent),
            status_under(policy, &[host, "Origin: https://example.com"]),
            status_under(policy, &[host, "Origin: null"]),
            status_under(policy, &[host, "Origin: https://example.com.evil.net"]),
            status_under(policy, &[host, "Origin:"]),
        ];
        assert_eq!(got, expected, "{policy:?}");
        assert_eq!(status_under(policy, &[host, "Origin: https://example.com", "Origin: https://example.com"]), 400);

        let strict = policy.clone().allow_absent_origin(false).allow_null_origin(true);
        let is_any = policy.origins == Origins::Any;
        assert_eq!(status_under(&strict, absent), if is_any { 101 } else { 403 });
        assert_eq!(status_under(&strict, &[host, "Origin: null"]), 101);
        assert_eq!(status_under(&strict, &[host, "Origin: NULL"]), if is_any { 101 } else { 403 });
    }
}
