//! Origins compared whole (RFC 6454 §4, §5), and the tricks that a comparison by prefix or suffix falls for.

use super::super::origin::is_same;
use super::super::*;

#[test]
fn a_list_is_exact() {
    let list = OriginList::new([
        "https://example.com",
        "http://Desk.Example.com:8080",
        "https://[2001:db8::1]:444",
        "chrome-extension://abcdefghijklmnop",
        "https://10.0.0.1",
    ])
    .expect("origins");
    for origin in [
        "https://example.com",
        "https://example.com:443",
        "HTTPS://EXAMPLE.COM",
        "http://desk.example.com:8080",
        "https://[2001:DB8:0:0::1]:444",
        "chrome-extension://abcdefghijklmnop",
        "https://10.0.0.1",
    ] {
        assert!(list.contains(origin.as_bytes()), "{origin}");
    }
    for origin in [
        "https://example.com.evil.net",
        "https://evil-example.com",
        "https://evil.net/https://example.com",
        "https://sub.example.com",
        "https://example.co",
        "https://example.com.",
        "http://example.com",
        "wss://example.com",
        "https://example.com:444",
        "https://example.com:80",
        "https://example.com:65979", // 443 + 65536
        "https://example.com:0x1bb",
        "https://example.com:+443",
        "https://example.com@evil.net",
        "https://evil.net@example.com",
        "https://user:pass@example.com",
        "https://evil.net#https://example.com",
        "https://evil.net?https://example.com",
        "https://example.com/",
        "https://example.com/path",
        "https://example.com\\evil.net",
        "https://example.com evil.net",
        "https://example.com https://evil.net",
        "https://example.com,https://evil.net",
        "https://example.com%00.evil.net",
        "https://ex\u{e4}mple.com",
        "https:example.com",
        "https:///example.com",
        "https://",
        "//example.com",
        "example.com",
        "null",
        "",
        "http://desk.example.com",
        "http://desk.example.com:80",
        "https://desk.example.com:8080",
        "https://[2001:db8::1]",
        "https://[2001:db8::1]:444]",
        "https://[2001:db8::1%25eth0]:444",
        "https://2001:db8::1:444",
        "https://[::ffff:10.0.0.1]",
        "https://10.0.0.10",
        "chrome-extension://abcdefghijklmno",
    ] {
        assert!(!list.contains(origin.as_bytes()), "{origin}");
    }
    assert!(!OriginList::default().contains(b"https://example.com"));
}

/// RFC 8089 §2: the one scheme that may have no host.
#[test]
fn files_can_be_listed() {
    let list = OriginList::new(["file://", "https://example.com"]).expect("origins");
    assert!(list.contains(b"file://") && list.contains(b"FILE://") && list.contains(b"https://example.com"));
    for origin in ["file:///", "file://localhost", "file:", "file:/", "https://", "files://", "null", ""] {
        assert!(!list.contains(origin.as_bytes()), "{origin}");
    }
    let web = OriginList::new(["https://example.com"]).expect("an origin");
    assert!(!web.contains(b"file://"));
    assert!(!is_same(b"file://", b"example.com") && !is_same(b"file://", b""));
    for text in ["file:///", "file:///index.html", "file://:80", "file"] {
        assert!(OriginList::new([text]).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_origin_cannot_be_listed() {
    for text in [
        "",
        "null",
        "*",
        "https://*",
        "https://*.example.com",
        "example.com",
        "https://",
        "https://example.com/",
        "https://a@b",
        "https://example.com:65536",
        "https://example.com:x",
        "1https://example.com",
        "https://[::1",
        "https://exa mple.com",
    ] {
        let error = OriginList::new(["https://example.com", text]).expect_err(text);
        assert!(alloc::format!("{error}").starts_with(&alloc::format!("{text:?} is not an origin")));
    }
    assert!(OriginList::new(["https://example.com:65535", "http://[::1]"]).is_ok());
}

#[test]
fn same_is_the_host_and_port_asked_for() {
    for (origin, host) in [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com", "EXAMPLE.com:443"),
        ("http://example.com:80", "example.com"),
        ("http://example.com:8080", "example.com:8080"),
        ("http://[::1]:9001", "[0:0:0:0:0:0:0:1]:9001"),
        ("http://localhost:9001", "localhost:09001"),
        ("http://example.com", "example.com:"),
    ] {
        assert!(is_same(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
    }
    for (origin, host) in [
        ("http://example.com", "example.com:443"),
        ("https://example.com", "example.com:80"),
        ("http://example.com:8080", "example.com"),
        ("http://example.com", "example.com:8080"),
        ("http://example.com.evil.net", "example.com"),
        ("http://example.com", "example.com.evil.net"),
        ("http://sub.example.com", "example.com"),
        ("http://[::1]", "[::2]"),
        ("http://127.0.0.1", "localhost"),
        ("chrome-extension://example.com", "example.com"),
        ("ws://example.com", "example.com"),
        ("http://user@example.com", "example.com"),
        ("null", "null"),
        ("", ""),
        ("http://", ""),
    ] {
        assert!(!is_same(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
    }
}
