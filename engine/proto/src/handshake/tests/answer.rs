//! The server's answer: each item of RFC 6455 §4.1 broken by itself, beside what passes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;

const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const GOOD: [&str; 4] = [SWITCHING, UPGRADE, CONNECTION, ACCEPT];

/// Parses with a table that lives on, as a test's answer may.
fn parse_with<'a>(head: &'a [u8], limits: &HeadLimits) -> Result<Answer<'a>, AnswerError> {
    Answer::parse(head, limits, Box::leak(Box::new(HeaderTable::new())))
}

fn parse(head: &[u8]) -> Result<Answer<'_>, AnswerError> {
    parse_with(head, &HeadLimits::default())
}

/// What a client thinks of an answer of these lines that offered `chat` and `superchat`, and no extension.
fn judge(lines: &[&str]) -> Result<Option<String>, AnswerError> {
    judge_offering(lines, false)
}

fn judge_offering(lines: &[&str], extensions_offered: bool) -> Result<Option<String>, AnswerError> {
    let head = [&lines.join("\r\n"), "\r\n\r\n"].concat();
    let subprotocols = ["chat".to_string(), "superchat".to_string()];
    let answer = parse(head.as_bytes())?;
    let agreed = verify(&answer, &Expected { key: KEY, subprotocols: &subprotocols, extensions_offered })?;
    Ok(agreed.subprotocol.map(String::from))
}

/// `GOOD` with one line replaced, and lines added.
fn with(replaced: usize, line: &str, more: &[&str]) -> Result<Option<String>, AnswerError> {
    let mut lines = GOOD.to_vec();
    lines[replaced] = line;
    lines.extend_from_slice(more);
    judge(&lines)
}

fn adding(more: &[&str]) -> Result<Option<String>, AnswerError> {
    with(0, SWITCHING, more)
}

#[test]
fn good_answers() {
    assert_eq!(judge(&GOOD), Ok(None));
    let answer = ["HTTP/1.1 101", "CONNECTION: keep-alive,UPGRADE ", "upgrade:\tWebSocket", "Server: x", ACCEPT];
    assert_eq!(judge(&answer), Ok(None), "any order, any case, no reason");
    assert_eq!(adding(&["Connection: close", "Content-Length: 0"]), Ok(None));
    assert_eq!(with(2, "Connection: keep-alive", &["Connection: upgrade"]), Ok(None), "a list over two headers");
}

/// Item 1. RFC 7231 §6.2: interim responses precede the answer.
#[test]
fn the_status() {
    for (line, expected) in [
        ("HTTP/1.1 100 Continue", AnswerError::Interim(100)),
        ("HTTP/1.1 103 Early Hints", AnswerError::Interim(103)),
        ("HTTP/1.1 199 ?", AnswerError::Interim(199)),
        ("HTTP/1.1 200 OK", AnswerError::Status(200)),
        ("HTTP/1.0 302 Found", AnswerError::Status(302)),
        ("HTTP/1.1 401 Unauthorized", AnswerError::Status(401)),
        ("HTTP/1.1 999 ?", AnswerError::Status(999)),
        ("HTTP/1.0 101 Switching Protocols", AnswerError::Http10),
        ("HTTP/1.1 099 ?", AnswerError::StatusLine),
        ("HTTP/1.1 1010 ?", AnswerError::StatusLine),
        ("HTTP/1.1 10", AnswerError::StatusLine),
        ("HTTP/1.1  101 Switching", AnswerError::StatusLine),
        ("HTTP/1.2 101 Switching", AnswerError::StatusLine),
        ("HTTP/2.0 101 Switching", AnswerError::StatusLine),
        ("http/1.1 101 Switching", AnswerError::StatusLine),
        (" HTTP/1.1 101 Switching", AnswerError::StatusLine),
        ("HTTP/1.1 101 \u{1}", AnswerError::StatusLine),
        ("SSH-2.0-OpenSSH_9.2", AnswerError::StatusLine),
        ("GET / HTTP/1.1", AnswerError::StatusLine),
    ] {
        assert_eq!(with(0, line, &[]), Err(expected), "{line}");
    }
}

/// Item 2: the value, not one in a list.
#[test]
fn upgrade() {
    for value in ["", "websockets", "websocket, h2c", "websocket/13", "h2c", "\"websocket\""] {
        assert_eq!(with(1, &format!("Upgrade: {value}"), &[]), Err(AnswerError::UpgradeWrong), "{value}");
    }
    assert_eq!(adding(&[UPGRADE]), Err(AnswerError::UpgradeWrong), "repeated");
    assert_eq!(with(1, "X: y", &[]), Err(AnswerError::UpgradeMissing));
}

/// Item 3: a token of the list.
#[test]
fn connection() {
    for value in ["", "close", "upgrades", "keep-alive; upgrade", "keep-alive upgrade"] {
        assert_eq!(with(2, &format!("Connection: {value}"), &[]), Err(AnswerError::ConnectionWrong), "{value}");
    }
    assert_eq!(with(2, "X: y", &[]), Err(AnswerError::ConnectionMissing));
}

/// Item 4, and RFC 6455 §11.3.3: not more than once. Base64 is compared as it is, not in any case.
#[test]
fn accept_header() {
    for value in ["", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo", "dGhlIHNhbXBsZSBub25jZQ=="] {
        let line = format!("Sec-WebSocket-Accept: {value}");
        assert_eq!(with(3, &line, &[]), Err(AnswerError::AcceptWrong), "{value}");
    }
    assert_eq!(with(3, "sec-websocket-accept:  \ts3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t", &[]), Ok(None));
    assert_eq!(with(3, "X: y", &[]), Err(AnswerError::AcceptMissing));
    assert_eq!(adding(&[ACCEPT]), Err(AnswerError::AcceptRepeated));
}

/// Item 5. What was offered is judged by its negotiator.
#[test]
fn extensions() {
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";
    assert_eq!(adding(&[deflate]), Err(AnswerError::ExtensionUnoffered));
    assert_eq!(adding(&["Sec-WebSocket-Extensions:"]), Err(AnswerError::ExtensionUnoffered));
    let offering = |more: &[&str]| judge_offering(&[&GOOD[..], more].concat(), true);
    assert_eq!(offering(&[]), Ok(None));
    assert_eq!(offering(&[deflate, "Sec-WebSocket-Extensions: other"]), Ok(None));
    for value in ["", ",", "a;", "a b", "a; b=\"c d\""] {
        let line = format!("Sec-WebSocket-Extensions: {value}");
        assert_eq!(offering(&[&line]), Err(AnswerError::ExtensionsMalformed), "{value}");
    }
    let head = [&[&GOOD[..], &[deflate, "Sec-WebSocket-Extensions: b"]].concat().join("\r\n"), "\r\n\r\n"].concat();
    let names = parse(head.as_bytes()).expect("well-formed").extensions().map(|offer| offer.map(|offer| offer.name()));
    assert_eq!(names.collect::<Vec<_>>(), [Ok("permessage-deflate"), Ok("b")]);
}

/// Item 6, and RFC 6455 §11.3.4: not more than once. One of those offered, exactly, or none.
#[test]
fn subprotocols() {
    assert_eq!(adding(&["Sec-WebSocket-Protocol: superchat"]), Ok(Some("superchat".into())));
    for value in ["", "other", "Chat", "chat, superchat", "chat,", "\"chat\"", "cha"] {
        let line = format!("Sec-WebSocket-Protocol: {value}");
        assert_eq!(adding(&[&line]), Err(AnswerError::SubprotocolUnoffered), "{value}");
    }
    let chat = "Sec-WebSocket-Protocol: chat";
    assert_eq!(adding(&[chat, chat]), Err(AnswerError::SubprotocolRepeated));
    // Nothing was offered, and a caller that offered what is no token gets no text out of it.
    let head = [&[&GOOD[..], &["Sec-WebSocket-Protocol: a b"]].concat().join("\r\n"), "\r\n\r\n"].concat();
    let answer = parse(head.as_bytes()).expect("well-formed");
    for subprotocols in [&[][..], &["a b".to_string()]] {
        let expected = Expected { key: KEY, subprotocols, extensions_offered: false };
        assert_eq!(verify(&answer, &expected), Err(AnswerError::SubprotocolUnoffered));
    }
}

/// RFC 7230 §3.3.1, §3.3.2: a 101 has neither.
#[test]
fn a_body() {
    for line in ["Content-Length: 5", "Content-Length: x", "Content-Length:", "Transfer-Encoding: chunked"] {
        assert_eq!(adding(&[line]), Err(AnswerError::Body), "{line}");
    }
    assert_eq!(adding(&["Content-Length: 0", "Content-Length: 1"]), Err(AnswerError::Body));
}

#[test]
fn the_length_of_another_answers_body() {
    for (lines, expected) in [
        (&["HTTP/1.1 401 Unauthorized", "Content-Length: 12"][..], BodyLen::Exactly(12)),
        (&["HTTP/1.1 401 Unauthorized", "Content-Length: 12", "content-length: 12"], BodyLen::Exactly(12)),
        (&["HTTP/1.1 200 OK", "Content-Length: 18446744073709551615"], BodyLen::Exactly(u64::MAX)),
        (&["HTTP/1.1 200 OK"], BodyLen::UntilClose),
        (&["HTTP/1.1 200 OK", "Content-Length: 18446744073709551616"], BodyLen::UntilClose),
        (&["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"], BodyLen::UntilClose),
        (&["HTTP/1.1 200 OK", "Content-Length: +1"], BodyLen::UntilClose),
        (&["HTTP/1.1 200 OK", "Content-Length:"], BodyLen::UntilClose),
        (&["HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"], BodyLen::Chunked),
        (&["HTTP/1.1 204 No Content", "Content-Length: 9"], BodyLen::Exactly(0)),
        (&["HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked"], BodyLen::Exactly(0)),
        (&["HTTP/1.1 103 Early Hints"], BodyLen::Exactly(0)),
    ] {
        let head = [&lines.join("\r\n"), "\r\n\r\n"].concat();
        assert_eq!(parse(head.as_bytes()).expect("well-formed").body_len(), expected, "{lines:?}");
    }
}

#[test]
fn what_an_answer_says() {
    let head = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nlocation: /second\r\nX:  \xe4 \r\n\r\n";
    let answer = parse(head).expect("well-formed");
    assert_eq!((answer.status(), answer.reason()), (302, "Found"));
    assert_eq!(answer.header("LOCATION"), Some(&b"/other"[..]));
    assert_eq!(answer.header("Server"), None);
    let headers: &[(&str, &[u8])] = &[("Location", b"/other"), ("location", b"/second"), ("X", b"\xe4")];
    assert_eq!(answer.headers().collect::<Vec<_>>(), headers);
    assert_eq!(parse(b"HTTP/1.1 302\r\n\r\n").expect("well-formed").reason(), "");
    assert_eq!(parse(b"HTTP/1.1 302 \xe4\r\n\r\n").expect("obs-text").reason(), "");
    assert_eq!(parse(b"HTTP/1.1 302 Found\n\n").expect("a bare LF ends a line").reason(), "Found");
}

#[test]
fn malformed_heads() {
    for (lines, expected) in [
        ("\r\nHTTP/1.1 101 S", AnswerError::StatusLine),
        ("\nHTTP/1.1 101 S", AnswerError::StatusLine),
        ("HTTP/1.1 101 S\r\nA : b", AnswerError::Header),
        ("HTTP/1.1 101 S\r\nA", AnswerError::Header),
        ("HTTP/1.1 101 S\r\nA: b\r\n c", AnswerError::Header), // RFC 7230 §3.2.4
        ("HTTP/1.1 101 S\r\nA: b\0", AnswerError::Header),
        ("HTTP/1.1 101 S\r\nA: b\rB: c", AnswerError::Header),
        ("HTTP/1.1 101 S\r\n: b", AnswerError::Header),
    ] {
        let head = [lines, "\r\n\r\n"].concat();
        assert_eq!(parse(head.as_bytes()).map(|answer| answer.status()), Err(expected), "{lines:?}");
    }
    for bytes in [&b""[..], b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 101 S\r\nA: b\r\n", b"HTTP/1.1 200 OK\r\n\r\nbody"] {
        let found = parse(bytes).map(|answer| answer.status());
        assert_eq!(found, Err(AnswerError::Incomplete), "{}", bytes.escape_ascii());
    }
}

/// The exact limit passes, and one more fails.
#[test]
fn the_limits() {
    let head = [&GOOD.join("\r\n"), "\r\n\r\n"].concat();
    let at = |bytes_max, headers_max| {
        parse_with(head.as_bytes(), &HeadLimits::default().bytes_max(bytes_max).headers_max(headers_max))
            .map(|answer| answer.status())
    };
    assert_eq!(at(head.len(), 3), Ok(101));
    assert_eq!(at(head.len() - 1, 3), Err(AnswerError::HeadTooLarge));
    assert_eq!(at(head.len(), 2), Err(AnswerError::TooManyHeaders));
    let many = |count: usize| {
        let head = ["HTTP/1.1 200 OK\r\n", &"A: b\r\n".repeat(count), "\r\n"].concat();
        parse_with(head.as_bytes(), &HeadLimits::of_answers().headers_max(usize::MAX)).map(|answer| answer.status())
    };
    assert_eq!(many(HEADERS_MAX), Ok(200));
    assert_eq!(many(HEADERS_MAX + 1), Err(AnswerError::TooManyHeaders));
}

/// What the status line says, and nothing of what is behind it.
#[test]
fn a_status_without_its_head() {
    for (bytes, status) in [
        (&b"HTTP/1.1 403 Forbidden\r\nA: b\0\r\n c"[..], Some(403)),
        (b"HTTP/1.0 999\n", Some(999)),
        (b"HTTP/1.1 100 ", Some(100)),
        (b"HTTP/1.1 101\r", Some(101)),
        (b"HTTP/1.1 403", None),
        (b"HTTP/1.1 4030\r\n", None),
        (b"HTTP/1.1 099 X\r\n", None),
        (b"HTTP/1.1  403\r\n", None),
        (b"HTTP/1.2 403\r\n", None),
        (b"HTTP/2 403\r\n", None),
        (b"\r\nHTTP/1.1 403\r\n", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"", None),
    ] {
        assert_eq!(status_of(bytes), status, "{}", bytes.escape_ascii());
        let head = [bytes, b"\r\n\r\n"].concat();
        if let Ok(answer) = parse(&head) {
            assert_eq!(status_of(&head), Some(answer.status()), "the parser reads another status");
        }
    }
}

/// One line each, and no two alike: the user sees nothing else.
#[test]
fn every_error_says_which() {
    let all = [
        AnswerError::HeadTooLarge,
        AnswerError::TooManyHeaders,
        AnswerError::StatusLine,
        AnswerError::Header,
        AnswerError::Incomplete,
        AnswerError::Interim(103),
        AnswerError::Status(503),
        AnswerError::Http10,
        AnswerError::UpgradeMissing,
        AnswerError::UpgradeWrong,
        AnswerError::ConnectionMissing,
        AnswerError::ConnectionWrong,
        AnswerError::AcceptMissing,
        AnswerError::AcceptWrong,
        AnswerError::AcceptRepeated,
        AnswerError::ExtensionUnoffered,
        AnswerError::ExtensionsMalformed,
        AnswerError::SubprotocolUnoffered,
        AnswerError::SubprotocolRepeated,
        AnswerError::Body,
    ];
    let mut lines: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert!(lines.iter().all(|line| line.is_ascii() && !line.contains('\n')));
    assert!(lines[5].contains("103") && lines[6].contains("503"));
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), all.len());
    assert!(size_of::<AnswerError>() <= 4);
}

/// Pieces of answers, right and wrong, so that arbitrary bytes get past the status line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 14] = [
        b"HTTP/1.1 101 S\r\n",
        b"HTTP/1.0 200\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        b"Sec-WebSocket-Protocol: chat\r\n",
        b"Sec-WebSocket-Extensions: a; b=\"\\c\"\r\n",
        b"Content-Length: 0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b": ",
        b"\0",
        b"\xff",
    ];
    let piece = prop_oneof![9 => prop::sample::select(&PIECES[..]).prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..8)];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// No bytes panic; and an answer passes only with all that the RFC asks for in it.
    #[test]
    fn arbitrary_bytes(start in prop::option::of(Just(GOOD)), rest in pieces()) {
        let mut bytes: Vec<u8> = start.map(|lines| [&lines.join("\r\n"), "\r\n"].concat().into_bytes()).unwrap_or_default();
        bytes.extend_from_slice(&rest);
        let limits = HeadLimits::default().bytes_max(256);
        let HeadEnd::Complete(len) = HeadScan::default().feed(&bytes, &limits) else { return Ok(()) };
        let subprotocols = ["chat".to_string()];
        let expected = Expected { key: KEY, subprotocols: &subprotocols, extensions_offered: rest.len() % 2 == 0 };
        // The scan and the parser mean the same bytes, or the head is malformed.
        let Ok(answer) = parse_with(&bytes[..len], &limits) else { return Ok(()) };
        let _ = (answer.reason(), answer.body_len(), answer.extensions().count());
        if verify(&answer, &expected).is_ok() {
            let count = |name: &str| answer.headers().filter(|(known, _)| known.eq_ignore_ascii_case(name)).count();
            prop_assert_eq!(answer.status(), 101);
            prop_assert_eq!((count("Upgrade"), count("Sec-WebSocket-Accept")), (1, 1));
            prop_assert!(count("Connection") >= 1 && count("Sec-WebSocket-Protocol") <= 1);
            prop_assert!(expected.extensions_offered || count("Sec-WebSocket-Extensions") == 0);
        }
    }

    /// What our server answers, our client takes, and with no other key.
    #[test]
    fn our_servers_answer(
        nonce in any::<[u8; 16]>(),
        other in any::<[u8; 16]>(),
        subprotocol in prop::option::of("[a-z.]{1,8}"),
        cookie in "[ -~]{0,20}",
    ) {
        let key = client_key(nonce);
        let mut out = Vec::new();
        write_switching(&mut out, &accept_key(&key), subprotocol.as_deref(), [("Set-Cookie", cookie.as_bytes())]).expect("text");
        prop_assert_eq!(HeadScan::default().feed(&out, &HeadLimits::default()), HeadEnd::Complete(out.len()));
        let answer = parse(&out).expect("well-formed");
        prop_assert_eq!(answer.header("set-cookie"), Some(cookie.trim_ascii().as_bytes()));
        let subprotocols: Vec<String> = ["first".to_string()].into_iter().chain(subprotocol.clone()).collect();
        let expected = Expected { key: &key, subprotocols: &subprotocols, extensions_offered: false };
        prop_assert_eq!(verify(&answer, &expected), Ok(Agreement { subprotocol: subprotocol.as_deref() }));
        let other = client_key(other);
        if other != key {
            prop_assert_eq!(verify(&answer, &Expected { key: &other, ..expected }), Err(AnswerError::AcceptWrong));
        }
    }

    /// Our server's refusals and plain responses are read back as what they are.
    #[test]
    fn our_servers_refusal(status in 200..=599u16, reason in "[ -~]{0,12}", body in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut out = Vec::new();
        if write_response(&mut out, status, &reason, [], &body, false).is_ok() {
            let HeadEnd::Complete(len) = HeadScan::default().feed(&out, &HeadLimits::default()) else { panic!("a whole head") };
            let answer = parse(&out[..len]).expect("well-formed");
            prop_assert_eq!((answer.status(), answer.reason()), (status, &*reason));
            prop_assert_eq!(answer.body_len(), BodyLen::Exactly(body.len() as u64));
            let expected = Expected { key: KEY, subprotocols: &[], extensions_offered: false };
            prop_assert_eq!(verify(&answer, &expected), Err(AnswerError::Status(status)));
        }
    }
}

#[test]
fn an_answer_is_shown_as_text() {
    let shown = format!("{:?}", parse(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n").expect("well-formed"));
    assert_eq!(shown, r#"Answer { status: 404, reason: "Not Found", headers: {"Server": "x"}, .. }"#);
}
