//! Connections through proxies: HTTP CONNECT and SOCKS 5, and proxies that refuse.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use wsring::{DialError, Proxy, Reconnect, Target, TunnelError};

use super::caller::{Setup, Told, dial, scripted, switching};
use crate::common::*;

/// A server that only the proxy can find.
fn hidden() -> Target {
    Target::new("ws://feed.internal:8080/quotes").expect("a URL")
}

fn through(kind: &str, addr: SocketAddr) -> Target {
    hidden().proxy(Proxy::new(&format!("{kind}://me:se%3Acret@{addr}")).expect("a proxy")).expect("it can be asked")
}

/// Serves as the server behind it: opens, says a word at once, and echoes nothing.
fn serve_behind(mut stream: TcpStream) {
    let (head, rest) = read_head(&stream).expect("a request");
    assert!(head.starts_with("GET /quotes HTTP/1.1\r\nHost: feed.internal:8080\r\n") && rest.is_empty(), "{head}");
    let mut answer = switching(&head, "").into_bytes();
    answer.extend_from_slice(b"\x81\x02hi");
    stream.write_all(&answer).expect("it goes out");
}

#[track_caller]
fn opens(target: Target) {
    let line = dial(target);
    line.open();
    assert!(matches!(line.next(), Told::Text(text) if text == "hi"));
    assert_eq!(line.closed(), "Eof");
    line.finish();
}

/// The request goes to the server behind the proxy, as it would without, and the name is the proxy's to look up.
#[test]
fn through_an_http_proxy() {
    for answer in ["HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.0 200 OK\r\nVia: here\r\n\r\n"] {
        let (addr, proxy) = scripted(move |mut stream, head| {
            assert!(head.starts_with("CONNECT feed.internal:8080 HTTP/1.1\r\nHost: feed.internal:8080\r\n"), "{head}");
            assert!(head.contains("\r\nProxy-Authorization: Basic bWU6c2U6Y3JldA==\r\n"), "{head}");
            for byte in answer.bytes() {
                stream.write_all(&[byte]).expect("it goes out");
            }
            serve_behind(stream);
        });
        opens(through("http", addr));
        proxy.join().expect("the proxy is content");
    }
}

/// A SOCKS proxy that wants a name and a password.
fn socks(replies: &'static [u8], behind: fn(TcpStream)) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        bounded(&stream);
        let read = |len: usize| {
            let mut bytes = vec![0; len];
            (&stream).read_exact(&mut bytes).expect("it says so much");
            bytes
        };
        assert_eq!(read(4), [5, 2, 0, 2]);
        (&stream).write_all(&[5, 2]).expect("it goes out");
        assert_eq!(read(12), b"\x01\x02me\x07se:cret");
        (&stream).write_all(&[1, 0]).expect("it goes out");
        assert_eq!(read(5 + 13 + 2), b"\x05\x01\x00\x03\x0dfeed.internal\x1f\x90");
        (&stream).write_all(replies).expect("it goes out");
        behind(stream);
    });
    (addr, thread)
}

#[test]
fn through_a_socks_proxy() {
    let (addr, proxy) = socks(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", serve_behind);
    opens(through("socks5", addr));
    proxy.join().expect("the proxy is content");
}

/// Each reason is told; who does not know us is not asked again, who cannot reach the server is.
#[test]
fn a_proxy_that_refuses_is_told() {
    let policy = Reconnect::default();
    for (answer, why, again) in [
        ("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", TunnelError::Status(407), false),
        ("HTTP/1.1 502 Nobody\r\n\r\n", TunnelError::Status(502), true),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", TunnelError::Malformed, true),
    ] {
        let (addr, proxy) = scripted(move |mut stream, _| {
            stream.write_all(answer.as_bytes()).expect("it goes out");
            assert!(read_head(&stream).is_err(), "it hangs up by itself");
        });
        let line = dial(through("http", addr).reconnect(policy));
        match line.next() {
            Told::Failed { why: DialError::Proxy(said), retry, .. } => {
                assert_eq!((said, retry.is_some()), (why, again), "{answer}");
            }
            other => panic!("{other:?}"),
        }
        proxy.join().expect("the proxy is content");
        line.finish();
    }
    let (addr, proxy) = socks(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00", drop);
    let line = dial(through("socks5h", addr).reconnect(policy));
    let refused = TunnelError::Socks(5);
    assert!(matches!(line.next(), Told::Failed { why: DialError::Proxy(why), retry: Some(_), .. } if why == refused));
    proxy.join().expect("the proxy is content");
    line.finish();
}

/// A proxy that answers every question at once, and what it hears then.
fn hasty(greeting: usize, answers: &'static [u8]) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        bounded(&stream);
        let mut said = vec![0; greeting];
        (&stream).read_exact(&mut said).expect("it greets");
        (&stream).write_all(answers).expect("it goes out");
        said.clear();
        let _ = (&stream).read_to_end(&mut said); // its end may be a reset
        said
    });
    (addr, thread)
}

const BOTH: &[u8] = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";

/// What answers a question that has not been asked is not believed, and neither the login nor the request goes out behind it.
#[test]
fn answers_to_what_was_not_asked_are_refused() {
    let (addr, proxy) = hasty(4, BOTH);
    let line = dial(through("socks5", addr));
    assert!(matches!(line.failed(), DialError::Proxy(TunnelError::Malformed)));
    assert_eq!(proxy.join().expect("no panic"), b"");
    line.finish();
}

/// The same in front of TLS: what is said to a proxy never becomes what TLS says to the server; and a server that speaks before it is greeted is none.
#[cfg(feature = "tls")]
#[test]
fn tls_begins_behind_all_that_proxies_say() {
    let tls = std::sync::Arc::new(crate::common::certificates::Authority::new().client(&[&rustls::version::TLS13]));
    let opened = b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x00\x02\x02\x00";
    for (kind, greeting, answers) in [("socks5", 4, BOTH), ("http", 40, opened)] {
        let (addr, proxy) = hasty(greeting, answers);
        let proxied = Proxy::new(&format!("{kind}://me:se%3Acret@{addr}")).expect("a proxy");
        let target = Target::new("wss://feed.internal/").expect("a URL").tls(std::sync::Arc::clone(&tls));
        let line = dial(target.proxy(proxied).expect("it can be asked"));
        assert!(matches!(line.failed(), DialError::Proxy(TunnelError::Malformed)), "{kind}");
        let said = proxy.join().expect("no panic");
        assert!(!said.windows(3).any(|three| three == b"\x16\x03\x01"), "a ClientHello: {said:x?}");
        line.finish();
    }
}

/// One that says nothing is given up when the handshake's time is over, and one that hangs up is told as that.
#[test]
fn a_proxy_that_says_nothing_is_given_up() {
    let (addr, proxy) = scripted(|stream, _| assert!(read_head(&stream).is_err(), "it hangs up by itself"));
    let line = dial(through("http", addr).handshake_timeout(std::time::Duration::from_millis(100)));
    assert!(matches!(line.failed(), DialError::HandshakeTimeout));
    proxy.join().expect("the proxy is content");
    line.finish();
    let (addr, proxy) = scripted(|stream, _| drop(stream));
    let line = dial(through("http", addr));
    assert!(matches!(line.failed(), DialError::Eof));
    proxy.join().expect("the proxy is content");
    line.finish();
}

/// What the server says right behind the proxy's answer, in one piece with it, is the server's.
#[test]
fn bytes_behind_the_answer_are_the_servers() {
    // It cannot answer our key before it has it; but it may end the connection, or be no WebSocket server.
    let (addr, proxy) = scripted(|mut stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nbad")
            .expect("it goes out");
        let _ = read_head(&stream);
    });
    let setup = Setup { says: vec![b"never".to_vec()], ..Setup::default() };
    let line = setup.dial([through("http", addr)]);
    match line.failed() {
        DialError::Declined(declined) => {
            assert_eq!((declined.status.as_u16(), &declined.body[..]), (403, &b"bad"[..]));
        }
        other => panic!("{other}"),
    }
    proxy.join().expect("the proxy is content");
    line.finish();
}
