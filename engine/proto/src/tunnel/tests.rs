//! Ways through proxies, with answers cut anywhere.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const LOGIN: Option<Credentials<'static>> = Some(Credentials { user: "me", password: "se:cret" });

/// What comes of this answer in pieces of `step`: what was said meanwhile, and what came through.
fn ask(tunnel: Tunnel, answer: &[u8], step: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), TunnelError> {
    ask_in_turn(tunnel, &[answer], step)
}

/// The same of several answers, none of which begins before what it answers has been said.
fn ask_in_turn(mut tunnel: Tunnel, answers: &[&[u8]], step: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), TunnelError> {
    let (mut said, mut through) = (Vec::new(), None::<Vec<u8>>);
    for piece in answers.iter().flat_map(|answer| answer.chunks(step)) {
        match &mut through {
            Some(through) => through.extend_from_slice(piece),
            None => through = tunnel.feed(piece, &mut said)?.map(|from| piece[from..].to_vec()),
        }
    }
    Ok((said, through))
}

fn http(login: Option<Credentials<'_>>) -> (Tunnel, String) {
    let mut out = Vec::new();
    let tunnel = Tunnel::http("feed.example", 443, login, &mut out).expect("a host");
    (tunnel, String::from_utf8(out).expect("text"))
}

fn socks(host: &str, login: Option<Credentials<'_>>) -> (Tunnel, Vec<u8>) {
    let mut out = Vec::new();
    (Tunnel::socks(host, 443, login, &mut out).expect("a host"), out)
}

#[test]
fn what_an_http_proxy_is_asked() {
    assert_eq!(http(None).1, "CONNECT feed.example:443 HTTP/1.1\r\nHost: feed.example:443\r\n\r\n");
    // RFC 7617 §2.
    assert!(http(LOGIN).1.ends_with("\r\nProxy-Authorization: Basic bWU6c2U6Y3JldA==\r\n\r\n"), "{}", http(LOGIN).1);
    let error = |host: &str, login| Tunnel::http(host, 1, login, &mut Vec::new()).err();
    for host in ["", "a b", "a\r\nX: y", "a\0"] {
        assert_eq!(error(host, None), Some(AskError::Host), "{host:?}");
    }
    for (user, password) in [("a:b", "c"), ("a\r\n", "c"), ("a", "c\n")] {
        assert_eq!(error("a", Some(Credentials { user, password })), Some(AskError::Credentials));
    }
}

#[test]
fn a_password_is_not_for_debugging() {
    let told = alloc::format!("{LOGIN:?} {:?} {:?}", http(LOGIN).0, socks("a", LOGIN).0);
    assert!(
        told.contains("me") && !told.contains("cret") && !told.contains(&alloc::format!("{:?}", b"cret")[1..]),
        "{told}"
    );
}

#[test]
fn interim_answers_end() {
    let answer = |interims: usize| ["HTTP/1.1 100 \r\n\r\n".repeat(interims), "HTTP/1.1 200 \r\n\r\n".into()].concat();
    for step in [7, 1_000] {
        assert_eq!(ask(http(None).0, answer(8).as_bytes(), step), Ok((vec![], Some(vec![]))));
        assert_eq!(ask(http(None).0, answer(9).as_bytes(), step), Err(TunnelError::Malformed));
    }
}

/// RFC 9110 §9.3.6: any 2xx opens the way behind its head; what is behind that came through.
#[test]
fn what_an_http_proxy_answers() {
    for (answer, through) in [
        (&b"HTTP/1.1 200 Connection established\r\n\r\nhello"[..], Ok(Some(&b"hello"[..]))),
        (b"HTTP/1.0 299 \r\nContent-Length: 7\r\n\r\n", Ok(Some(b""))),
        (b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\0", Ok(Some(b"\0"))),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", Ok(None)),
        (b"HTTP/1.1 407 Who\r\n\r\nsay who you are", Err(TunnelError::Status(407))),
        (b"HTTP/1.1 302 There\r\n\r\n", Err(TunnelError::Status(302))),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Err(TunnelError::Malformed)),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Err(TunnelError::Malformed)),
    ] {
        for step in [1, 5, 1000] {
            let found = ask(http(None).0, answer, step).map(|(said, through)| (said.is_empty(), through));
            let expected = through.map(|through| (true, through.map(<[u8]>::to_vec)));
            assert_eq!(found, expected, "{}", answer.escape_ascii());
        }
    }
    for (len, found) in [(HEAD_MAX, Ok(true)), (HEAD_MAX + 1, Err(TunnelError::Malformed))] {
        let head = "HTTP/1.1 200 OK\r\nA: ";
        let answer = [head.as_bytes(), &vec![b'a'; len - head.len() - 4], b"\r\n\r\n"].concat();
        assert_eq!(ask(http(None).0, &answer, 1000).map(|(_, through)| through.is_some()), found, "{len}");
    }
}

#[test]
fn what_a_socks_proxy_is_asked() {
    for (host, address) in [
        ("feed.example", [&[3, 12][..], b"feed.example"].concat()),
        ("192.0.2.7", vec![1, 192, 0, 2, 7]),
        ("2001:db8::1", [&[4, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1]].concat()),
    ] {
        let (tunnel, hello) = socks(host, None);
        assert_eq!(hello, [5, 1, 0], "{host}");
        let (said, _) = ask(tunnel, &[5, 0], 1).expect("it chooses");
        assert_eq!(said, [&[5, 1, 0][..], &address, &443_u16.to_be_bytes()].concat(), "{host}");
    }
    assert_eq!(socks("a", LOGIN).1, [5, 2, 0, 2]);
    let (long, longer) = ("a".repeat(255), "a".repeat(256));
    let error = |host: &str, login| Tunnel::socks(host, 1, login, &mut Vec::new()).err();
    assert_eq!(
        (error(&long, None), error(&longer, None), error("", None)),
        (None, Some(AskError::Host), Some(AskError::Host))
    );
    for (user, password, wrong) in
        [(&*long, &*long, false), (&longer, "", true), ("", "a", true), ("a", &longer, true), ("a", "", false)]
    {
        let expected = wrong.then_some(AskError::Credentials);
        assert_eq!(error("a", Some(Credentials { user, password })), expected, "{user} {password}");
    }
}

/// RFC 1928 §3 and §6, RFC 1929 §2.
#[test]
fn what_a_socks_proxy_answers() {
    let request = b"\x05\x01\x00\x03\x01a\x01\xbb";
    let login = b"\x01\x02me\x07se:cret";
    for (with, answers, said, through) in [
        (
            None,
            &[&b"\x05\x00"[..], b"\x05\x00\x00\x01\x7f\x00\x00\x01\x01\xbbhello"][..],
            &request[..],
            Ok(Some(&b"hello"[..])),
        ),
        (None, &[b"\x05\x00", b"\x05\x00\x00\x03\x02ab\x01\xbb"], request, Ok(Some(b""))),
        (None, &[b"\x05\x00", b"\x05\x00\x00\x04aaaabbbbccccdddd\x01\xbbx"], request, Ok(Some(b"x"))),
        (None, &[b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x01"], request, Ok(None)),
        (LOGIN, &[b"\x05\x02"], login, Ok(None)),
        (
            LOGIN,
            &[b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01abcdefhi"],
            &[&login[..], request].concat(),
            Ok(Some(b"hi")),
        ),
        (LOGIN, &[b"\x05\x00"], request, Ok(None)),
        (LOGIN, &[b"\x05\x02", b"\x01\x01"], b"", Err(TunnelError::Credentials)),
        (None, &[b"\x05\x02"], b"", Err(TunnelError::Credentials)),
        (LOGIN, &[b"\x05\xff"], b"", Err(TunnelError::Credentials)),
        (None, &[b"\x05\x07"], b"", Err(TunnelError::Malformed)),
        (None, &[b"\x04\x5a"], b"", Err(TunnelError::Malformed)),
        (None, &[b"HTTP/1.1 400 Bad\r\n\r\n"], b"", Err(TunnelError::Malformed)),
        (None, &[b"\x05\x00", b"\x05\x05\x00\x01\0\0\0\0\0\0"], b"", Err(TunnelError::Socks(5))),
        (None, &[b"\x05\x00", b"\x05\x00\x00\x02\0\0\0\0\0\0"], b"", Err(TunnelError::Malformed)),
    ] {
        for step in [1, 3, 1000] {
            let found = ask_in_turn(socks("a", with).0, answers, step);
            let expected = through.map(|through| (said.to_vec(), through.map(<[u8]>::to_vec)));
            assert_eq!(found, expected, "{answers:x?}");
        }
    }
}

/// What comes together with the answer in front of it answers what nobody has asked yet, and is not believed: the proxy has not read it.
#[test]
fn a_socks_proxy_answers_what_it_was_asked() {
    let reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x01\xbb";
    for (with, answers, why) in [
        (None, &[&[&b"\x05\x00"[..], reply].concat()[..]][..], TunnelError::Malformed),
        (None, &[b"\x05\x00\x05"], TunnelError::Malformed),
        (LOGIN, &[&[b"\x05\x02\x01\x00", &reply[..]].concat()], TunnelError::Malformed),
        (LOGIN, &[b"\x05\x02\x01"], TunnelError::Malformed),
        (LOGIN, &[b"\x05\x02", &[b"\x01\x00", &reply[..]].concat()], TunnelError::Malformed),
        // What it says of us it need not be asked for.
        (LOGIN, &[b"\x05\xffgo away"], TunnelError::Credentials),
        (LOGIN, &[b"\x05\x02", b"\x01\x01go away"], TunnelError::Credentials),
    ] {
        assert_eq!(ask_in_turn(socks("a", with).0, answers, 1000), Err(why), "{answers:x?}");
    }
}

#[test]
fn every_reason_is_a_line() {
    let all = (0..=9).map(TunnelError::Socks).chain([
        TunnelError::Status(407),
        TunnelError::Malformed,
        TunnelError::Credentials,
    ]);
    let mut lines: Vec<String> = all.map(|error| alloc::format!("{error}")).collect();
    assert!(lines.iter().all(|line| line.is_ascii() && !line.contains('\n')));
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 13);
}

proptest! {
    /// No bytes panic, and it does not matter how they are cut.
    #[test]
    fn cuts_do_not_matter(bytes in prop::collection::vec(prop::sample::select(&b"\x00\x01\x02\x03\x04\x05\xffHTP/1.20 \r\n"[..]), 0..60), step in 1_usize..20) {
        prop_assert_eq!(ask(http(None).0, &bytes, step).is_ok(), ask(http(None).0, &bytes, 100).is_ok());
        let _ = ask(socks("a", LOGIN).0, &bytes, step);
        prop_assert!(!matches!(ask(socks("a", LOGIN).0, &bytes, 100), Ok((_, Some(_)))), "a way that was opened unasked");
    }
}
