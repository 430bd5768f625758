//! Opening handshakes: dripped, followed by frames at once, too slow, too many.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wsring::{Config, HeadLimits, RecvBuffers};

use crate::common::*;

/// Byte by byte, the head and a message behind it; every byte a segment of its own.
#[test]
fn a_handshake_dripped_byte_by_byte() {
    for recv_buffers in [RecvBuffers::Auto, RecvBuffers::Fixed { count: 2, bytes: 16 }] {
        let (running, addr) = serve(Config::default().recv_buffers(recv_buffers), 1, |_| Echo);
        let mut stream = tcp(addr);
        let mut bytes = upgrade_head("/").into_bytes();
        client_frame(&mut bytes, true, TEXT, "drip €".as_bytes(), [1, 2, 3, 4]);
        for byte in bytes {
            stream.write_all(&[byte]).expect("a byte goes out");
        }
        let mut client = Client::upgraded(stream);
        client.expect(TEXT, "drip €".as_bytes());
        client.close();
        assert_eq!(finish(running).messages, 1);
    }
}

/// RFC 6455 §4.1 lets no client send before the response, but bytes that are there anyway are not lost. In one segment,
/// and cut anywhere.
#[test]
fn frames_in_the_same_segment_as_the_head() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut bytes = upgrade_head("/").into_bytes();
    for len in [0, 1, 125, 126, 3000] {
        client_frame(&mut bytes, true, BINARY, &vec![len as u8; len], [9, 8, 7, 6]);
    }
    client_frame(&mut bytes, true, PING, b"p", [9, 8, 7, 6]);
    client_frame(&mut bytes, true, CLOSE, &1000_u16.to_be_bytes(), [9, 8, 7, 6]);
    let rounds = 20;
    for round in 0..rounds {
        let stream = tcp(addr);
        match round {
            0 => (&stream).write_all(&bytes).expect("all goes out"),
            _ => write_cut(&stream, &mut Random::new(round), &bytes),
        }
        let mut client = Client::upgraded(stream);
        for len in [0, 1, 125, 126, 3000] {
            client.expect(BINARY, &vec![len as u8; len]);
        }
        client.expect(PONG, b"p");
        assert_eq!(client.expect_close().0, 1000);
        assert_eq!(client.expect_end(), End::Eof);
    }
    assert_eq!(finish(running).messages, 5 * rounds);
}

/// Who is too slow is cut off, and told if it has begun (RFC 9110 §15.5.9); who was in time is not.
#[test]
fn a_slow_handshake_is_cut_off_by_its_deadline() {
    // Long enough for a busy machine to let one in.
    let config = Config::default().handshake_timeout(Duration::from_secs(3));
    let (running, addr) = serve(config, 1, |_| Echo);
    let mut in_time = Client::connect(addr);
    let (silent, mut begun, mut dripping) = (tcp(addr), tcp(addr), tcp(addr));
    begun.write_all(b"GET / HT").expect("half a request goes out");
    // It sends all the time, but never the end: activity does not move the deadline.
    let deadline = Instant::now() + WAIT;
    while dripping.write_all(b"G").is_ok() {
        assert!(Instant::now() < deadline, "a slow handshake goes on for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut byte = [0];
    assert_eq!(read_some(&silent, &mut byte).expect("an end"), 0);
    let (code, head, _) = response(&begun).expect("it is told");
    assert!(code == 408 && head.contains("\r\nConnection: close\r\n"), "{head}");
    in_time.echo(TEXT, b"still here");
    in_time.close();
    let stats = finish(running);
    assert_eq!((stats.timeouts, stats.opened, stats.closed, stats.declined), (3, 1, 4, 2));
}

/// A head of exactly the limit passes, one byte more is 431.
#[test]
fn a_head_at_its_limit_passes_and_one_byte_more_is_431() {
    let config = Config::default().head_limits(HeadLimits::default().bytes_max(1000));
    let (running, addr) = serve(config, 1, |_| Echo);
    for (len, passes) in [(1000, true), (1001, false)] {
        let plain = upgrade_head("/").len();
        let path = format!("/{}", "p".repeat(len - plain));
        let mut stream = tcp(addr);
        stream.write_all(upgrade_head(&path).as_bytes()).expect("the head goes out");
        if passes {
            Client::upgraded(stream).close();
        } else {
            assert_eq!(status(&stream), Some(431));
        }
    }
    finish(running);
}

/// A response: its status, its head, what came behind it; `None` if the connection ended without one.
fn response(stream: &TcpStream) -> Option<(u16, String, Vec<u8>)> {
    match read_head(stream) {
        Ok((head, rest)) => Some((head[9..12].parse().expect("a status"), head, rest)),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The status of a response.
pub fn status(stream: &TcpStream) -> Option<u16> {
    response(stream).map(|(status, ..)| status)
}

/// Connects until it is let in; anything else must be 503.
pub fn let_in_at_last(addr: SocketAddr) -> Client {
    let deadline = Instant::now() + WAIT;
    loop {
        let mut stream = tcp(addr);
        // The response may come, and the connection end, before this is written.
        let _ = stream.write_all(upgrade_head("/").as_bytes());
        match response(&stream) {
            Some((101, head, rest)) => return Client::after(stream, &head, rest),
            Some((status, ..)) => assert_eq!(status, 503),
            None => {}
        }
        assert!(Instant::now() < deadline, "a free place is never given away");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_connection_cap_is_exact_and_a_place_is_given_away_when_one_leaves() {
    let (running, addr) = serve(Config::default().connections_max(4), 1, |_| Echo);
    let mut inside: Vec<Client> = (0..4).map(|_| Client::connect(addr)).collect();
    inside.iter_mut().for_each(|client| client.echo(TEXT, b"in"));
    let fifth = tcp(addr);
    assert_eq!(status(&fifth), Some(503));
    drop(fifth);
    inside.pop().expect("the fourth").close();
    inside.push(let_in_at_last(addr));
    for client in &mut inside {
        client.echo(TEXT, b"still in");
    }
    inside.into_iter().for_each(Client::close);
    let stats = finish(running);
    assert_eq!(stats.opened, 5);
    assert!(stats.full >= 1);
}

/// Silent sockets, as many as there are places, do not keep anybody out: the one that came first gives way. Who is open does not.
#[test]
fn silent_connections_give_way_at_the_cap() {
    let (running, addr) = serve(Config::default().connections_max(4), 1, |_| Echo);
    let silent: Vec<TcpStream> = (0..4).map(|_| tcp(addr)).collect();
    let mut inside = Vec::new();
    for stream in &silent {
        inside.push(let_in_at_last(addr));
        assert_eq!(read_some(stream, &mut [0]).expect("an end"), 0, "it is closed, and told nothing");
    }
    assert_eq!(status(&tcp(addr)), Some(503));
    for client in &mut inside {
        client.echo(TEXT, b"still in");
    }
    inside.into_iter().for_each(Client::close);
    let stats = finish(running);
    assert_eq!((stats.displaced, stats.opened, stats.timeouts), (4, 4, 0));
    assert!(stats.full >= 1);
}

/// A request that drips gives way a second after its connection came, and is told so.
#[test]
fn requests_that_have_begun_give_way_in_time() {
    let (running, addr) = serve(Config::default().connections_max(1).handshake_timeout(WAIT * 2), 1, |_| Echo);
    let mut begun = tcp(addr);
    begun.write_all(b"GET / HT").expect("half a request goes out");
    let inside = let_in_at_last(addr);
    assert_eq!(status(&begun), Some(503));
    inside.close();
    let stats = finish(running);
    assert_eq!((stats.displaced, stats.opened, stats.timeouts), (1, 1, 0));
}

/// Plain HTTP on the same port, and a connection that ends after it.
#[test]
fn a_plain_request_is_answered_and_the_connection_ends() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut stream = tcp(addr);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the request goes out");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response and an end");
    assert!(
        response.starts_with("HTTP/1.1 404 ") && response.ends_with("this is a WebSocket endpoint\n"),
        "{response}"
    );
    let stats = finish(running);
    assert_eq!((stats.opened, stats.declined, stats.closed), (0, 1, 1));
}

/// The health check of HAProxy that is told nothing else, to a handler that has no page; and by HEAD, where the status is that of
/// the GET and no body follows (RFC 7231 §4.3.2).
#[test]
fn options_are_told_by_a_handler_without_a_page() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let ask = |request: &str| {
        let stream = tcp(addr);
        (&stream).write_all(request.as_bytes()).expect("the request goes out");
        let mut response = String::new();
        (&stream).read_to_string(&mut response).expect("a response and an end");
        response.to_ascii_lowercase()
    };
    for request in ["OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let told = ask(request);
        assert!(told.starts_with("http/1.1 200 ") && told.ends_with("\r\n\r\n"), "{told}");
        assert!(told.contains("\r\nallow: get, head, options\r\n"), "{told}");
        assert!(told.contains("\r\ncontent-length: 0\r\n"), "{told}");
    }
    let told = ask("HEAD / HTTP/1.0\r\n\r\n");
    assert!(told.starts_with("http/1.1 404 ") && told.ends_with("\r\n\r\n"), "{told}");
    let stats = finish(running);
    assert_eq!((stats.opened, stats.declined, stats.closed), (0, 1, 3));
}

/// A proxy asks whether the user of a handshake may connect, with the headers of the handshake that are not for one hop alone.
#[test]
fn left_over_headers_of_a_handshake_make_a_plain_request() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut stream = tcp(addr);
    let head = upgrade_head("/").replace("Upgrade: websocket\r\n", "");
    stream.write_all(head.replace("Connection: Upgrade", "Connection: close").as_bytes()).expect("it goes out");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("a response and an end");
    assert!(told.starts_with("HTTP/1.1 404 ") && told.ends_with("this is a WebSocket endpoint\n"), "{told}");
    finish(running);
}
