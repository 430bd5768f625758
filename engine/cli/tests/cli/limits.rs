//! What a peer may do and for how long: `--max-message`, `--max-head`, `--max-connections`, `--idle-timeout`, `--message-timeout`,
//! `--handshake-timeout`.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use wsring_testkit::{BINARY, CLOSE, Client, PING, PONG, TEXT, WAIT, handshake, patiently, tcp};

use crate::process::{Serve, first_core, start};

/// RFC 6455 §7.4.1: 1009 for a message too big. The limit itself passes, whole and in fragments; one byte more does not.
#[test]
fn a_message_of_the_limit_passes_and_one_byte_more_closes_1009() {
    let serve = start(&["--max-message", "1000"]);
    let exact = vec![b'x'; 1000];
    let mut peer = Client::open(serve.addr(), "/");
    peer.echo(TEXT, &exact);
    peer.echo(BINARY, &exact);
    peer.send_frame(false, BINARY, &exact[..600]);
    peer.send_frame(true, 0, &exact[..400]);
    assert_eq!(peer.frame().payload, exact);
    peer.close();

    let mut whole = Client::open(serve.addr(), "/");
    whole.send(BINARY, &[0; 1001]);
    let mut fragmented = Client::open(serve.addr(), "/");
    fragmented.send_frame(false, BINARY, &exact[..600]);
    fragmented.send_frame(true, 0, &exact[..401]);
    // What is only announced counts already.
    let mut announced = Client::open(serve.addr(), "/");
    announced.send_head(true, BINARY, 1001);
    for mut peer in [whole, fragmented, announced] {
        assert_eq!(peer.frame().close_code(), 1009);
        assert_eq!(peer.frame_or_end(), None);
    }
    let stats = serve.stop();
    assert_eq!((stats["messages"], stats["violations"]), (3, 3));
}

/// RFC 6585 §5: 431 for one byte or one header more than the limit.
#[test]
fn a_head_of_the_limits_passes_and_one_more_is_431() {
    let status = |serve: &Serve, path: &str, headers: &[&str]| {
        Client::try_open(serve.addr(), path, headers).map_or_else(|answer| answer.status, |_| 101)
    };
    let shortest = handshake("/", &[]).len();
    let path = |len: usize| format!("/{}", "p".repeat(len - shortest));
    let serve = start(&["--max-head", "300"]);
    assert_eq!([300, 301].map(|len| status(&serve, &path(len), &[])), [101, 431]);
    let serve = start(&[]);
    assert_eq!([8192, 8193].map(|len| status(&serve, &path(len), &[])), [101, 431]);
    let serve = start(&["--max-head", "100000", "--max-headers", "100"]);
    assert_eq!([100_000, 100_001].map(|len| status(&serve, &path(len), &[])), [101, 431]);
    let own = handshake("/", &[]).lines().filter(|line| line.contains(": ")).count();
    assert_eq!([100, 101].map(|count| status(&serve, "/", &vec!["X: y"; count - own])), [101, 431]);
}

/// The default accepts messages to 16 MiB.
#[test]
fn sixteen_mebibytes_pass_by_default() {
    let serve = start(&["--cores", &first_core()]);
    let mut peer = Client::open(serve.addr(), "/");
    let payload: Vec<u8> = (0..16_usize << 20).map(|at| (at % 251) as u8).collect();
    peer.send(BINARY, &payload);
    let frame = peer.frame();
    assert!(frame.opcode == BINARY && frame.payload == payload, "{} bytes came back", frame.payload.len());
    peer.send_head(true, BINARY, (16 << 20) + 1);
    assert_eq!(peer.frame().close_code(), 1009);
}

#[test]
fn one_connection_too_many_is_told_503_until_another_leaves() {
    let serve = start(&["--cores", &first_core(), "--max-connections", "3"]);
    assert_eq!(serve.told("connections"), "3 a core");
    let mut peers: Vec<Client> = (0..3).map(|_| Client::open(serve.addr(), "/")).collect();
    for _ in 0..2 {
        let answer = Client::try_open(serve.addr(), "/", &[]).expect_err("a fourth connection");
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"not disturbed"));
    peers.pop().unwrap().close();
    // Its slot is free when the kernel has closed the socket.
    let since = Instant::now();
    let mut next = loop {
        match Client::try_open(serve.addr(), "/", &[]) {
            Ok(peer) => break peer,
            Err(answer) => assert!(answer.status == 503 && since.elapsed() < WAIT, "{answer:?}"),
        }
    };
    next.echo(TEXT, b"in");
    drop((peers, next));
    let stats = serve.stop();
    assert!(stats["opened"] == 4 && stats["full"] >= 2, "{stats:?}");
}

/// A silent peer is pinged; one that answers stays, one that does not is told 1001 and cut.
#[test]
fn silence_is_answered_with_a_ping_and_then_with_the_end() {
    let serve = start(&["--cores", &first_core(), "--idle-timeout", "3"]);
    let never = start(&["--cores", &first_core(), "--idle-timeout", "0"]);
    let mut unbothered = Client::open(never.addr(), "/");
    let (mut alive, mut dead) = (Client::open(serve.addr(), "/"), Client::open(serve.addr(), "/"));
    let cut = std::thread::spawn(move || {
        assert_eq!(dead.frame().opcode, PING);
        // RFC 6455 §7.4.1: told why, since it has taken all that was sent to it.
        let close = dead.frame();
        assert_eq!((close.opcode, close.close_code()), (CLOSE, 1001), "{close:?}");
        assert_eq!(dead.frame_or_end(), None);
    });
    let mut pings = 0;
    while pings < 2 || !cut.is_finished() {
        let ping = alive.frame();
        assert_eq!(ping.opcode, PING);
        alive.send(PONG, &ping.payload);
        pings += 1;
        assert!(pings < 1000, "the silent peer was not cut");
    }
    cut.join().unwrap();
    alive.echo(TEXT, b"still here");
    drop(alive);
    assert_eq!(serve.stop()["timeouts"], 1);
    assert!(!unbothered.hears_within(Duration::from_millis(100)), "pinged although --idle-timeout is 0");
    unbothered.echo(TEXT, b"still here");
    drop(unbothered);
    assert_eq!(never.stop()["timeouts"], 0);
}

/// A message that has begun must become whole, unless nobody minds.
#[test]
fn half_a_message_is_answered_with_the_end() {
    let serve = start(&["--cores", &first_core(), "--message-timeout", "0.5"]);
    let never = start(&["--cores", &first_core(), "--message-timeout", "0"]);
    let (mut stalled, mut waited_for) = (Client::open(serve.addr(), "/"), Client::open(never.addr(), "/"));
    let mut whole = Client::open(serve.addr(), "/");
    stalled.send_frame(false, TEXT, b"half");
    waited_for.send_frame(false, TEXT, b"half");
    let close = stalled.frame();
    assert_eq!((close.opcode, close.close_code()), (CLOSE, 1008), "{close:?}");
    whole.echo(TEXT, b"still here");
    drop((stalled, whole));
    assert_eq!(serve.stop()["timeouts"], 1);
    assert!(!waited_for.hears_within(Duration::from_millis(100)), "closed although --message-timeout is 0");
    waited_for.send_frame(true, 0, b" and half");
    waited_for.expect(TEXT, b"half and half");
    drop(waited_for);
    assert_eq!(never.stop()["timeouts"], 0);
}

/// Half a request head, at once or byte by byte, holds a connection no longer than the deadline, and is answered 408 (RFC 9110 §15.5.9); an
/// open one stays.
#[test]
fn a_slow_handshake_is_cut_off() {
    let serve = start(&["--cores", &first_core(), "--handshake-timeout", "2"]);
    let mut open = Client::open(serve.addr(), "/");
    let mut halted = tcp(serve.addr());
    halted.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut silent = tcp(serve.addr());
    let mut dripping = tcp(serve.addr());
    dripping.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let head = handshake("/", &[&format!("X-Long: {}", "x".repeat(7000))]);
    let cut = head.as_bytes().iter().any(|byte| {
        // A write to a connection that is gone fails; so does the read, with anything but a timeout.
        let written = dripping.write_all(&[*byte]);
        match patiently(|| dripping.read(&mut [0; 1])) {
            Ok(_) => true,
            Err(error) => written.is_err() || error.kind() != ErrorKind::WouldBlock,
        }
    });
    assert!(cut, "7,000 bytes dripped past the deadline");
    for (stream, told) in [(&mut halted, "HTTP/1.1 408 Request Timeout\r\n"), (&mut silent, "")] {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with(told) && rest.is_empty() == told.is_empty(), "{rest}");
    }
    open.echo(TEXT, b"not disturbed");
    drop(open);
    let stats = serve.stop();
    assert_eq!((stats["timeouts"], stats["opened"]), (3, 1));
}
