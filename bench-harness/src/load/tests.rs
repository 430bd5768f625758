//! The load client against servers of a few lines: a good one, and ones that lie.

mod applications;
mod deflate;
mod feed;

use super::plan::DISCARD_MIN;
use super::*;
use crate::dial::Target;
use crate::echo_tests::{start_ring_with, tls_configs};
use crate::epoll_echo::EpollEcho;
use crate::frames::Payload;
use crate::net::Patience;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a server does wrong, from its `n`th message (0-based) on each connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    /// One byte of this reply's payload is flipped.
    Byte(u64),
    /// This reply is announced and sent one byte short.
    Short(u64),
    /// This reply is announced and sent one byte long.
    Long(u64),
    /// This reply has a byte more than it announces.
    Tail(u64),
    /// This reply has the text opcode.
    Opcode(u64),
    /// This reply is sent twice.
    Twice(u64),
    /// Every reply is sent twice.
    AllTwice,
    /// This reply never comes, and the connection ends.
    Hangup(u64),
    /// This reply never comes.
    Drop(u64),
    /// Before this reply nothing happens for 50 ms.
    Stall(u64),
    /// Every reply comes 5 ms late.
    Late,
}

struct Liar {
    addr: SocketAddr,
    echoed: Arc<AtomicU64>,
}

/// A WebSocket echo in blocking std calls: a thread per connection, ended by the client's hanging up.
fn serve(lie: Lie) -> Liar {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("address");
    let echoed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&echoed);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            // A connection's errors are the client's business in these tests.
            thread::spawn(move || echo(stream, lie, &count));
        }
    });
    Liar { addr, echoed }
}

/// The opening handshake, whatever is asked for.
fn accept(stream: &mut TcpStream) -> io::Result<()> {
    accept_with(stream, "").map(|_| ())
}

/// The same with a line or more of the server's, telling what was asked for.
fn accept_with(stream: &mut TcpStream, lines: &str) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{lines}\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The next message: its first byte and its payload. None after a Close, which is answered.
fn read_message(stream: &mut TcpStream) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut start = [0; 2];
    stream.read_exact(&mut start)?;
    if start[0] == 0x88 {
        stream.write_all(&[0x88, 2, 0x03, 0xE8])?;
        return Ok(None);
    }
    assert!(matches!(start[0], 0x81 | 0x82 | 0xC1), "one whole message");
    assert_eq!(start[1] & 0x80, 0x80, "masked (RFC 6455 §5.1)");
    let mut wide = [0; 8];
    let len = match start[1] & 0x7F {
        126 => {
            stream.read_exact(&mut wide[6..])?;
            u64::from_be_bytes(wide)
        }
        127 => {
            stream.read_exact(&mut wide)?;
            u64::from_be_bytes(wide)
        }
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask)?;
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload)?;
    payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i & 3]);
    Ok(Some((start[0], payload)))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match payload.len() {
        len @ 0..=125 => vec![first, len as u8],
        len @ 126..=65_535 => vec![first, 126, (len >> 8) as u8, len as u8],
        len => [&[first, 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    bytes.extend(payload);
    bytes
}

fn echo(mut stream: TcpStream, lie: Lie, echoed: &AtomicU64) -> io::Result<()> {
    accept(&mut stream)?;
    for nth in 0.. {
        let Some((first, mut payload)) = read_message(&mut stream)? else { return Ok(()) };
        match lie {
            Lie::Byte(n) if n == nth => payload[0] ^= 0x10,
            Lie::Short(n) if n == nth => drop(payload.pop()),
            Lie::Long(n) if n == nth => payload.push(0),
            Lie::Hangup(n) if n == nth => return Ok(()),
            Lie::Drop(n) if n == nth => continue,
            Lie::Stall(n) if n == nth => thread::sleep(Duration::from_millis(50)),
            Lie::Late => thread::sleep(Duration::from_millis(5)),
            _ => {}
        }
        let reply = frame(if lie == Lie::Opcode(nth) { first ^ 3 } else { first }, &payload);
        // Counted before it is sent: once the client has it, it is in the count.
        echoed.fetch_add(1, Ordering::SeqCst);
        stream.write_all(&if lie == Lie::AllTwice { reply.repeat(2) } else { reply.clone() })?;
        if lie == Lie::Tail(nth) {
            stream.write_all(&[0])?;
        }
        if lie == Lie::Twice(nth) {
            stream.write_all(&reply)?;
        }
    }
    Ok(())
}

fn plan(target: Target, connections: usize, depth: u32, size: usize, check: bool) -> Plan {
    Plan {
        target,
        shape: Shape::Closed { depth },
        connections,
        payload: Payload::Binary,
        size,
        warmup: Duration::from_millis(20),
        measured: Duration::from_millis(150),
        bodies: if check { Bodies::Compared } else { Bodies::Discarded },
        patience: if size.is_multiple_of(2) { Patience::Sleep } else { Patience::Poll },
    }
}

fn random() -> std::fs::File {
    std::fs::File::open("/dev/urandom").expect("urandom")
}

fn load(lie: Lie, connections: usize, depth: u32, size: usize, check: bool) -> (io::Result<Outcome>, u64) {
    let server = serve(lie);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let outcome = run(&plan(target, connections, depth, size, check), &mut random(), &mut |_| Ok(()));
    (outcome, server.echoed.load(Ordering::SeqCst))
}

#[test]
fn counts_are_exact() {
    for (connections, depth, size) in [(1, 1, 0), (3, 1, 125), (4, 16, 126), (2, 3, 65_536), (2, 2, 1 << 20)] {
        let (outcome, echoed) = load(Lie::None, connections, depth, size, true);
        let outcome = outcome.expect("a good server");
        assert_eq!(outcome.messages_in_all, echoed, "{connections} x {depth} x {size}");
        assert!(outcome.messages > 0 && outcome.messages <= echoed);
        // One round trip per message but for those in flight when counting begins, which are late by our own meters.
        let begun_before = outcome.messages - outcome.latencies.len();
        assert!(begun_before <= connections as u64 * u64::from(depth), "{begun_before}");
        assert!(outcome.seconds >= 0.15 && outcome.client_cpu > Duration::ZERO);
    }
}

/// A machine that gives the load no time must not make a server look as if it had not answered.
#[test]
fn a_time_that_is_too_short_lasts_for_one_message() {
    let server = serve(Lie::None);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let plan = Plan { warmup: Duration::ZERO, measured: Duration::ZERO, ..plan(target, 2, 1, 125, true) };
    let outcome = run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server");
    assert!(outcome.messages > 0 && !outcome.latencies.is_empty(), "{}", outcome.messages);
    assert!(outcome.seconds > 0.0 && outcome.rate().is_finite());
}

#[test]
fn both_edges_are_told_once() {
    let server = serve(Lie::None);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let mut edges = Vec::new();
    let plan = plan(target, 1, 1, 10, false);
    let told = run(&plan, &mut random(), &mut |edge| {
        edges.push(edge);
        Ok(())
    });
    assert!(told.is_ok());
    assert_eq!(edges, [Edge::Begin, Edge::End]);
}

#[test]
fn a_corrupted_byte_is_caught_by_check_alone() {
    let (outcome, _) = load(Lie::Byte(20), 2, 4, 125, true);
    let error = outcome.map(|_| ()).expect_err("a flipped byte");
    assert!(error.to_string().contains("wrong byte in a reply, 0 bytes into"), "{error}");
    assert!(load(Lie::Byte(20), 2, 4, 125, false).0.is_ok(), "it is not looked for without --check");
}

/// Bodies are discarded where nobody looks at them, and nowhere else.
#[test]
fn only_long_plain_bodies_are_discarded() {
    let web = Target::web("ws://127.0.0.1:1/", false).expect("target");
    let plan = |target: &Target, size| Plan { bodies: Bodies::Discarded, ..plan(target.clone(), 1, 1, size, false) };
    assert!(plan(&web, DISCARD_MIN).discards());
    assert!(Plan { shape: Shape::Open { rate: 1 }, ..plan(&web, DISCARD_MIN) }.discards());
    assert!(!plan(&web, DISCARD_MIN - 1).discards());
    assert!(!Plan { bodies: Bodies::Copied, ..plan(&web, DISCARD_MIN) }.discards());
    assert!(!Plan { bodies: Bodies::Compared, ..plan(&web, DISCARD_MIN) }.discards());
    assert!(!Plan { shape: Shape::FanOut { depth: 1 }, ..plan(&web, DISCARD_MIN) }.discards());
    let sealed = Target::over_tls("127.0.0.1:1", tls_configs().1, false).expect("target");
    assert!(!plan(&sealed, DISCARD_MIN).discards());
    let packed = web.offering(crate::deflate::OFFER).expect("offer");
    assert!(!plan(&packed, DISCARD_MIN).discards());
}

#[test]
fn counts_of_discarded_bodies_are_exact() {
    for (connections, depth, size) in [(1, 1, DISCARD_MIN), (2, 3, DISCARD_MIN + 1), (3, 2, 1 << 20)] {
        for (shape, patience) in [
            (Shape::Closed { depth }, Patience::Sleep),
            (Shape::Closed { depth }, Patience::Poll),
            (Shape::Open { rate: 100 }, Patience::Poll),
        ] {
            let server = serve(Lie::None);
            let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
            let plan = Plan { shape, patience, ..plan(target, connections, depth, size, false) };
            assert!(plan.discards());
            let outcome = run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server");
            assert_eq!(outcome.messages_in_all, server.echoed.load(Ordering::SeqCst), "{plan:?}");
            assert!(outcome.messages > 0 && outcome.reply_bytes == outcome.messages * size as u64, "{plan:?}");
        }
    }
}

/// Whoever sends every reply twice answers before it is asked. Each time that is seen only if the second is there when the
/// first has been received; of all of them some are.
#[test]
fn replies_that_come_twice_and_are_discarded_are_caught() {
    for size in [DISCARD_MIN, DISCARD_MIN + 1] {
        let error = load(Lie::AllTwice, 1, 1, size, false).0.map(|_| ()).expect_err("twice as many");
        assert!(error.to_string().contains("no message asked for"), "{size}: {error}");
    }
}

/// Each of them is caught by the head of the next reply, or by the wait for it.
#[test]
fn lies_about_discarded_bodies_are_caught() {
    let size = DISCARD_MIN + 1;
    let error = |lie, depth| load(lie, 1, depth, size, false).0.map(|_| ()).expect_err("a lie").to_string();
    for depth in [1, 3] {
        assert!(error(Lie::Short(5), depth).contains("wrong reply header"));
        assert!(error(Lie::Long(5), depth).contains("wrong reply header"));
    }
    assert!(error(Lie::Hangup(5), 1).contains("closed the connection"));
    assert!(error(Lie::Drop(5), 1).contains("no reply for"));
    // A byte more than announced answers nothing, or stands where the next head should.
    let named = |error: &str| error.contains("no message asked for") || error.contains("wrong reply header");
    assert!([1, 3].into_iter().all(|depth| named(&error(Lie::Tail(5), depth))));
    assert!(load(Lie::Byte(5), 1, 3, size, false).0.is_ok(), "bodies are not looked at");
    let error = load(Lie::Byte(5), 1, 3, size, true).0.map(|_| ()).expect_err("a flipped byte");
    assert!(error.to_string().contains("wrong byte in a reply"), "{error}");
}

#[test]
fn a_wrong_length_or_opcode_is_always_caught() {
    for check in [false, true] {
        for size in [1, 125, 126, 65_536] {
            for lie in [Lie::Short(5), Lie::Long(5), Lie::Opcode(5)] {
                let error = load(lie, 2, 4, size, check).0.map(|_| ()).expect_err("a lie");
                assert!(error.to_string().contains("wrong reply header"), "{lie:?} {size}: {error}");
            }
        }
    }
}

#[test]
fn a_reply_too_many_or_too_few_is_caught() {
    // One in flight: the second copy answers nothing, or arrives in place of the next reply and differs from it.
    let error = load(Lie::Twice(5), 1, 1, 125, true).0.map(|_| ()).expect_err("one too many");
    let named = ["no message asked for", "wrong byte"].iter().any(|text| error.to_string().contains(text));
    assert!(named, "{error}");
    let error = load(Lie::Hangup(5), 1, 1, 125, false).0.map(|_| ()).expect_err("one too few");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

#[test]
fn a_server_that_refuses_is_not_loaded() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let target = Target::web(&format!("ws://{}/", listener.local_addr().expect("address")), false).expect("target");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    });
    let error = run(&plan(target, 1, 1, 1, false), &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("503"), "{error}");
}

#[test]
fn the_baseline_returns_the_very_frames() {
    let mut echo = EpollEcho::bind("127.0.0.1:0".parse().expect("address"), 64 << 10).expect("bind");
    let target = Target::raw(&echo.local_addr().expect("address").to_string(), false).expect("target");
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let server = thread::spawn(move || echo.run(&seen));
    for (connections, depth, size) in [(64, 1, 125), (64, 16, 125), (3, 2, 1 << 20)] {
        // Unchecked, the mask behind a long head is discarded with the body.
        for check in [true, false] {
            let outcome = run(&plan(target.clone(), connections, depth, size, check), &mut random(), &mut |_| Ok(()));
            let outcome = outcome.expect("every byte comes back");
            assert!(outcome.messages > 0, "{connections} x {depth} x {size}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    server.join().expect("server").expect("echo");
}

/// The same over TLS, where a send's bytes are not those of the frames: in a closed loop, at a fixed rate, and to nobody
/// who cannot be trusted.
#[test]
fn the_baseline_returns_the_very_frames_over_tls() {
    let (server, client) = tls_configs();
    let echo = start_ring_with(Some((16, 64 << 10)), Some(server));
    let addr = echo.addr.to_string();
    let target = Target::over_tls(&addr, client, false).expect("target");
    for (connections, depth, size) in [(64, 1, 125), (8, 16, 125), (8, 1, 16 << 10), (3, 2, 1 << 20)] {
        let outcome = run(&plan(target.clone(), connections, depth, size, true), &mut random(), &mut |_| Ok(()));
        let outcome = outcome.expect("every byte comes back");
        assert!(outcome.messages > 0, "{connections} x {depth} x {size}");
    }
    let plan_at_a_rate = Plan { shape: Shape::Open { rate: 2000 }, ..plan(target, 4, 1, 125, true) };
    assert!(run(&plan_at_a_rate, &mut random(), &mut |_| Ok(())).expect("every byte comes back").messages > 0);
    let (_, stranger) = tls_configs();
    let target = Target::over_tls(&addr, stranger, false).expect("target");
    let error = run(&plan(target, 1, 1, 1, false), &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("no trust");
    assert!(error.to_string().contains("connection 0: invalid peer certificate"), "{error}");
}

#[test]
fn impossible_plans_are_refused() {
    let target = Target::raw("127.0.0.1:9", false).expect("target");
    for (connections, depth) in [(0, 1), (CONNECTIONS_MAX, 1), (1, 0)] {
        let outcome = run(&plan(target.clone(), connections, depth, 1, false), &mut random(), &mut |_| Ok(()));
        assert_eq!(outcome.map(|_| ()).expect_err("refused").kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn text_comes_back_as_text() {
    for payload in [Payload::Ascii, Payload::MultiByte] {
        let server = serve(Lie::None);
        let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
        let plan = Plan { payload, ..plan(target, 2, 3, 700, true) };
        assert!(run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server").messages > 0);
    }
}

#[test]
fn a_dropped_message_ends_the_run() {
    for (depth, check) in [(1, false), (4, false)] {
        let error = load(Lie::Drop(5), 1, depth, 125, check).0.map(|_| ()).expect_err("one too few");
        assert!(error.to_string().contains("no reply for"), "{error}");
    }
    // With bytes compared it shows at once: the next reply is not the one that was due.
    let error = load(Lie::Drop(5), 1, 4, 125, true).0.map(|_| ()).expect_err("one too few");
    assert!(error.to_string().contains("wrong byte"), "{error}");
}

fn at_a_rate(lie: Lie, rate: u32) -> Outcome {
    let server = serve(lie);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let shape = Shape::Open { rate };
    let plan = Plan { shape, measured: Duration::from_millis(500), ..plan(target, 1, 1, 125, true) };
    run(&plan, &mut random(), &mut |_| Ok(())).expect("a server that answers all")
}

/// Without coordinated omission: a stall of 50 ms delays every message that was due in it, not only the one that met it.
#[test]
fn a_stall_shows_in_all_that_it_held_up() {
    let outcome = at_a_rate(Lie::Stall(200), 2000);
    let counted = outcome.latencies.len();
    assert!((990..=1010).contains(&counted), "{counted} of 1000 messages due in 0.5 s");
    assert!(outcome.latencies.value_at_quantile(0.999) >= 40_000_000, "p99.9 shows the stall");
    // 100 messages were due while it lasted, 60 of them in its first 30 ms.
    let held_up = counted - outcome.latencies.count_between(0, 15_000_000);
    assert!(held_up >= 50, "{held_up} messages were more than 15 ms late");
}

#[test]
fn late_replies_show_in_the_median() {
    let (outcome, _) = load(Lie::Late, 2, 1, 125, false);
    assert!(outcome.expect("late, but all").latencies.value_at_quantile(0.5) >= 5_000_000);
    // 100/s is half of what it can do.
    assert!(at_a_rate(Lie::Late, 100).latencies.value_at_quantile(0.5) >= 5_000_000);
}

#[test]
fn a_server_that_cannot_keep_the_rate_is_given_up() {
    let server = serve(Lie::Late);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let shape = Shape::Open { rate: 1_000_000 };
    let plan = Plan { shape, measured: Duration::from_secs(60), ..plan(target, 4, 1, 125, false) };
    let error = run(&plan, &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("200 a second");
    assert!(error.to_string().contains("s behind a rate of 1000000"), "{error}");
}

/// Everybody gets everything; with a `skip`, the connection of that number misses the 10th message.
fn broadcast(skip: Option<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("address");
    thread::spawn(move || {
        let all: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        for mut stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            {
                // In the order of arrival, which is that of the load's connections.
                let mut all = all.lock().expect("no thread panics");
                all.push(stream.try_clone().expect("clone"));
                accept(&mut stream).expect("handshake");
            }
            thread::spawn(move || -> io::Result<()> {
                for nth in 0.. {
                    let Some((first, payload)) = read_message(&mut stream)? else { return Ok(()) };
                    for (at, other) in all.lock().expect("no thread panics").iter_mut().enumerate() {
                        if nth != 10 || skip != Some(at) {
                            other.write_all(&frame(first, &payload))?;
                        }
                    }
                }
                Ok(())
            });
        }
    });
    addr
}

#[test]
fn deliveries_are_counted_for_each_subscriber() {
    for depth in [1, 3] {
        let target = Target::web(&format!("ws://{}/bcast", broadcast(None)), false).expect("target");
        let plan = Plan { shape: Shape::FanOut { depth }, ..plan(target, 5, 1, 125, true) };
        let outcome = run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server");
        assert_eq!(outcome.messages_in_all % 6, 0, "5 subscribers and the publisher have had each message");
        let begun_before = outcome.messages - outcome.latencies.len();
        assert!(outcome.messages > 0 && begun_before <= 6 * u64::from(depth), "{begun_before}");
    }
    let target = Target::web(&format!("ws://{}/bcast", broadcast(Some(3))), false).expect("target");
    let plan = Plan { shape: Shape::FanOut { depth: 1 }, ..plan(target, 5, 1, 125, false) };
    let error = run(&plan, &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("one has missed a message");
    assert!(error.to_string().contains("no reply for"), "{error}");
}

#[test]
fn connections_are_opened_and_closed() {
    let server = serve(Lie::None);
    let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
    let plan = Plan { shape: Shape::Connect, ..plan(target, 4, 1, 125, false) };
    let outcome = run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server");
    assert!(outcome.messages > 0 && outcome.messages.is_multiple_of(4) && outcome.messages == outcome.latencies.len());
}
