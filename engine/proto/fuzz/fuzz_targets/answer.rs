//! A server's answer: its end does not depend on how it comes; what opens a connection does so by RFC 6455 §4.1, and still does when it is
//! written again from what was understood of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsring_proto::handshake::{
    Answer, AnswerError, Expected, HeadEnd, HeadLimits, HeadScan, HeaderTable, accept_key, verify,
};

const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";

fuzz_target!(|data: &[u8]| {
    let [how, data @ ..] = data else { return };
    let limits = HeadLimits::default().bytes_max(4096).headers_max(16);
    let mut scan = HeadScan::default();
    let mut found = HeadEnd::Partial;
    for len in (0..data.len()).step_by(usize::from(how & 63) + 1).chain([data.len()]) {
        found = scan.feed(&data[..len], &limits);
        if found != HeadEnd::Partial {
            break;
        }
    }
    assert_eq!(found, HeadScan::default().feed(data, &limits));
    let HeadEnd::Complete(len) = found else { return };
    let mut table = HeaderTable::new();
    let Ok(answer) = Answer::parse(&data[..len], &limits, &mut table) else { return };
    let offered = ["v2".to_owned(), "v1".to_owned()];
    let expected = Expected { key: KEY, subprotocols: &offered, extensions_offered: how & 64 != 0 };
    let verdict = verify(&answer, &expected);
    assert!((100..1000).contains(&answer.status()), "status {}", answer.status());
    let _ = answer.body_len();
    match verdict {
        Ok(agreement) => {
            assert_eq!(answer.status(), 101);
            let is = |name, value: &[u8]| answer.header(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
            assert!(is("upgrade", b"websocket"));
            assert_eq!(answer.header("sec-websocket-accept"), Some(&accept_key(KEY)[..]));
            assert_eq!(agreement.subprotocol.map(str::as_bytes), answer.header("sec-websocket-protocol"));
            assert!(agreement.subprotocol.is_none_or(|name| offered.iter().any(|offer| offer == name)));
            assert!(expected.extensions_offered || answer.extensions().next().is_none());
        }
        Err(AnswerError::Interim(status)) => {
            assert!(status == answer.status() && (100..200).contains(&status) && status != 101)
        }
        Err(AnswerError::Status(status)) => assert!(status == answer.status() && status >= 200),
        Err(_) => assert_eq!(answer.status(), 101, "{verdict:?}"),
    }
    let mut again = format!("HTTP/1.1 {} {}\r\n", answer.status(), answer.reason()).into_bytes();
    for (name, value) in answer.headers() {
        again.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    again.extend(b"\r\n");
    if again.len() > limits.bytes_max || matches!(verdict, Err(AnswerError::Http10)) {
        return;
    }
    let mut table = HeaderTable::new();
    let answer = Answer::parse(&again, &limits, &mut table).expect("what was understood can be said");
    assert_eq!(verify(&answer, &expected), verdict);
});
