//! The echo against wsring's client, and against clients of a few lines: a good one, and ones that do wrong.

use super::*;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::dial::Target;
use crate::frames::{Frames, Payload};
use crate::ring_client;

const SIZES: [usize; 6] = [0, 1, 125, 126, 65_535, 65_536];

fn plan(connections: usize, depth: u32, size: usize) -> Plan {
    Plan {
        flight: Flight { connections, depth, size },
        warmup: Duration::from_millis(20),
        measured: Duration::from_millis(100),
        patience: Patience::Sleep,
    }
}

fn random() -> File {
    File::open("/dev/urandom").expect("urandom")
}

/// Frames as the load has them, which are made without the code under test.
fn frames(size: usize, depth: usize) -> Frames {
    Frames::new(Payload::Binary, size, depth, crate::frames::Echo::WebSocket, &mut random()).expect("frames")
}

#[test]
fn counts_and_replies_are_exact_however_the_bytes_are_cut() {
    for size in SIZES {
        let asked = Asked::new(Flight { connections: 1, depth: 3, size });
        let frames = frames(size, 3);
        let sent = frames.bytes(0, frames.span(0, 3));
        let expected: Vec<u8> = (0..3)
            .flat_map(|nth| {
                [crate::frames::head(size, false), frames.message(nth % frames.distinct()).to_vec()].concat()
            })
            .collect();
        for step in [1, 2, 3, 7, 8, 13, 125, 131, 4096, sent.len()] {
            let (mut incoming, mut out, mut messages) = (Incoming::default(), Vec::new(), 0);
            for piece in sent.chunks(step) {
                messages += incoming.feed(&asked, piece, &mut out).expect("good frames");
            }
            assert_eq!((messages, incoming.got), (3, 0), "{size} bytes in pieces of {step}");
            assert!(out == expected, "{size} bytes in pieces of {step}");
        }
        // One byte short of it the third is not counted.
        let counted = Incoming::default().feed(&asked, &sent[..sent.len() - 1], &mut Vec::new());
        assert_eq!(counted.expect("good frames"), 2);
    }
}

#[test]
fn only_what_was_asked_for_is_taken() {
    let asked = Asked::new(Flight { connections: 1, depth: 2, size: 125 });
    let good = [&[0x82, 0xFD, 1, 2, 3, 4][..], &[0; 125]].concat();
    let fed =
        |bytes: &[u8]| Incoming::default().feed(&asked, bytes, &mut Vec::new()).map_err(|error| error.to_string());
    assert_eq!(fed(&good), Ok(1));
    assert_eq!(fed(&good.repeat(2)), Ok(2));
    assert!(fed(&good.repeat(3)).is_err_and(|why| why.contains("3 messages in flight, not 2")));
    // Text, a fragment, compressed, a Ping, a Close; one byte less, not masked (RFC 6455 §5.1).
    for (at, byte) in [(0, 0x81), (0, 0x02), (0, 0xC2), (0, 0x89), (0, 0x88), (1, 0xFC), (1, 0x7D)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(fed(&bad).is_err_and(|why| why.contains("wrong header")), "{byte:02x} at {at}");
    }
}

/// Every message that the client has had back was counted, and no more than it had in flight besides.
#[test]
fn our_client_keeps_messages_in_flight() {
    let core = core_affinity::get_core_ids().expect("cores")[0].id;
    for (connections, depth, size) in [(1, 1, 0), (64, 16, 125), (2, 3, 70_000), (1, 8, 1 << 20)] {
        for patience in [Patience::Poll, Patience::Sleep] {
            let plan = Plan { patience, ..plan(connections, depth, size) };
            let echo = ClientEcho::bind().expect("bind");
            let url = format!("ws://127.0.0.1:{}/", echo.port().expect("port"));
            let client = thread::spawn(move || ring_client::run(&url, plan.flight, core, 0, &AtomicBool::new(false)));
            let mut edges = Vec::new();
            let outcome = echo.run(&plan, &mut |edge| {
                edges.push(edge);
                Ok(())
            });
            let outcome = outcome.expect("a good client");
            // It ends because its connections were closed.
            let stats = client.join().expect("no panic").expect("a clean end");
            let in_flight = connections as u64 * u64::from(depth);
            let counted = outcome.messages_in_all;
            assert!(outcome.messages > 0 && counted >= outcome.messages, "{connections} x {depth} x {size}");
            assert!((stats.messages..=stats.messages + in_flight).contains(&counted), "{counted}, {stats}");
            assert!(stats.sent <= stats.messages + in_flight, "{stats}");
            assert_eq!((stats.opened, edges), (connections as u64, vec![Edge::Begin, Edge::End]));
        }
    }
}

#[test]
fn our_client_ends_when_it_is_told_to_or_finds_nobody() {
    let core = core_affinity::get_core_ids().expect("cores")[0].id;
    let flight = Flight { connections: 2, depth: 1, size: 1 };
    let closed = format!("ws://127.0.0.1:{}/", proc::free_port().expect("port"));
    assert!(ring_client::run(&closed, flight, core, 0, &AtomicBool::new(false)).is_err(), "nobody listens");
    let huge = Flight { depth: 513, size: 1 << 20, ..flight };
    assert!(ring_client::run(&closed, huge, core, 0, &AtomicBool::new(false)).is_err(), "513 MiB in flight");

    let (echo, stop) = (ClientEcho::bind().expect("bind"), AtomicBool::new(false));
    let url = format!("ws://127.0.0.1:{}/", echo.port().expect("port"));
    thread::scope(|scope| {
        let client = scope.spawn(|| ring_client::run(&url, flight, core, 0, &stop));
        let outcome = echo.run(&plan(2, 1, 1), &mut |_| {
            stop.store(true, Ordering::Relaxed);
            Ok(())
        });
        // It says goodbye, which is no message.
        let error = outcome.map(|_| ()).expect_err("it has ended");
        assert!(error.to_string().contains("found [88]"), "{error}");
        client.join().expect("no panic").expect("a clean end");
    });
}

/// What is said of a client that opens one connection, has `good` messages answered and then does `last`.
fn blamed(good: u64, connections: usize, last: impl FnOnce(&mut crate::stream::Stream) + Send) -> String {
    let echo = ClientEcho::bind().expect("bind");
    let url = format!("ws://127.0.0.1:{}/", echo.port().expect("port"));
    let frames = frames(125, 1);
    let mut plan = plan(connections, 1, 125);
    plan.measured = Duration::from_secs(60);
    thread::scope(|scope| {
        let served = scope.spawn(move || echo.run(&plan, &mut |_| Ok(())));
        let mut stream = Target::web(&url, false).expect("target").dial(0).expect("a handshake by the letter");
        for nth in 0..good as usize {
            let index = nth % frames.distinct();
            stream.write_all(frames.bytes(frames.start(index), frames.frame_len())).expect("send");
            let mut reply = vec![0; frames.reply_len()];
            stream.read_exact(&mut reply).expect("a reply");
            assert!(reply[2..] == *frames.message(index), "message {nth}");
        }
        last(&mut stream);
        let outcome = served.join().expect("no panic");
        outcome.map(|_| ()).expect_err("a bad client").to_string()
    })
}

#[test]
fn a_client_that_stops_answering_fails_and_its_messages_were_counted() {
    let why = blamed(7, 1, |_| {});
    assert!(why.contains("no message for 3s, 7 in all"), "{why}");
}

#[test]
fn a_client_that_does_wrong_fails() {
    let why = blamed(2, 1, |stream| stream.tcp.shutdown(std::net::Shutdown::Both).expect("shutdown"));
    assert!(why.contains("connection 0: the client closed it"), "{why}");
    let why = blamed(2, 1, |stream| stream.write_all(&[0x81]).expect("send"));
    assert!(why.contains("connection 0: wrong header"), "{why}");
    let why = blamed(0, 2, |_| {});
    assert!(why.contains("the client opened 1 of 2 connections"), "{why}");
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let good = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let bad = [
        (good.replace(": 13", ": 12"), "wrong handshake"),
        (good.to_owned() + "\u{2}", "bytes behind the handshake"),
        (good.replace("Host: x", &format!("Host: x\r\nA: {}", "a".repeat(9000))), "a handshake without end"),
    ];
    for (request, says) in bad {
        let echo = ClientEcho::bind().expect("bind");
        let mut stream = TcpStream::connect(("127.0.0.1", echo.port().expect("port"))).expect("connect");
        stream.write_all(request.as_bytes()).expect("send");
        let why = echo.run(&plan(1, 1, 1), &mut |_| Ok(())).map(|_| ()).expect_err("no handshake").to_string();
        assert!(why.contains(says), "{why}");
    }
}
