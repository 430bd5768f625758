//! The load's sockets where their buffers run out, and where they end.

use super::*;
use crate::dial::Target;
use crate::epoll_echo::EpollEcho;
use crate::frames::Payload;
use crate::load::{self, Plan, Shape};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const CONNS: usize = 64;
const LEN: usize = 64 << 10;

/// Runs `with` against an epoll echo.
fn with_echo(with: impl FnOnce(SocketAddr)) {
    let mut echo = EpollEcho::bind("127.0.0.1:0".parse().expect("address"), 64 << 10).expect("bind");
    let addr = echo.local_addr().expect("address");
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let server = thread::spawn(move || echo.run(&seen));
    with(addr);
    stop.store(true, Ordering::Relaxed);
    server.join().expect("server").expect("echo");
}

fn connect(addr: SocketAddr, count: usize) -> Vec<Stream> {
    let connect = |_| {
        let stream = TcpStream::connect(addr).expect("connect");
        stream.set_nonblocking(true).expect("non-blocking");
        stream.into()
    };
    (0..count).map(connect).collect()
}

/// 4 MiB come back and there are buffers for one: held pieces leave most receives without, more than one pass arms again.
#[test]
fn receives_without_a_buffer_get_their_bytes_later() {
    let run: Vec<u8> = (0..CONNS * LEN).map(|at| ((at as u64 * 0x9E37_79B9) >> 16) as u8).collect();
    for patience in [Patience::Sleep, Patience::Poll] {
        with_echo(|addr| {
            let mut net = Net::new(connect(addr, CONNS), &run, patience, Keep::All).expect("net");
            let mut unsent = vec![LEN; CONNS];
            let mut back = vec![0; CONNS];
            let mut held = VecDeque::new();
            (0..CONNS).for_each(|conn| net.send(conn, conn * LEN, LEN));
            let began = Instant::now();
            let mut starved_max = 0;
            let mut work = |net: &mut Net<'_>, release: bool, back: &mut Vec<usize>| {
                while let Some(event) = net.next() {
                    match event {
                        Event::Received(conn, piece) => held.push_back((conn, piece)),
                        Event::Sent(conn, sent) => {
                            unsent[conn] -= sent;
                            if unsent[conn] > 0 {
                                net.send(conn, (conn + 1) * LEN - unsent[conn], unsent[conn]);
                            }
                        }
                        Event::Ended(conn, error) => panic!("connection {conn}: {error}"),
                        Event::Head(..) | Event::Discarded(..) => unreachable!("all is kept"),
                    }
                }
                while release && let Some((conn, piece)) = held.pop_front() {
                    let at = conn * LEN + back[conn];
                    assert!(net.bytes(piece) == &run[at..at + piece.len as usize], "connection {conn}");
                    back[conn] += piece.len as usize;
                    net.release(piece);
                }
            };
            // Nothing is given back until all that remain are starved: surely more than one pass arms again.
            while net.starved.len() <= REARM_MAX {
                net.wait(Duration::from_millis(10)).expect("wait");
                work(&mut net, false, &mut back);
                starved_max = starved_max.max(net.starved.len());
                assert!(began.elapsed() < Duration::from_secs(10), "{} starved", net.starved.len());
            }
            // Some stay starved, whose bytes nothing announces: no waiting, and none of it counted as idle.
            let (asked, idle) = (Instant::now(), net.idle());
            net.wait(Duration::from_secs(10)).expect("wait");
            assert!(asked.elapsed() < Duration::from_secs(5) && net.idle() == idle, "{:?}", asked.elapsed());
            while back.iter().any(|back| *back < LEN) {
                work(&mut net, true, &mut back);
                net.wait(Duration::from_millis(10)).expect("wait");
                assert!(began.elapsed() < Duration::from_secs(20), "{back:?}");
            }
            assert!(back.iter().all(|back| *back == LEN) && starved_max > REARM_MAX);
        });
    }
}

/// Heads come in two pieces, each time cut elsewhere, and bodies take several receives: nothing of a head is lost, nothing of a
/// body is written.
#[test]
fn heads_are_kept_and_bodies_are_discarded() {
    const HEAD: usize = 10;
    const BODY: usize = (1 << 20) + 77;
    for patience in [Patience::Sleep, Patience::Poll] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let streams = connect(listener.local_addr().expect("address"), 2);
        let mut servers: Vec<TcpStream> = (0..2).map(|_| listener.accept().expect("accept").0).collect();
        let mut net = Net::new(streams, &[], patience, Keep::Heads(HEAD, BODY)).expect("net");
        for round in 1..HEAD {
            for (conn, server) in servers.iter_mut().enumerate() {
                let head: Vec<u8> = (0..HEAD).map(|at| (round * 20 + conn * 10 + at) as u8).collect();
                let body = vec![0xA5; BODY];
                server.write_all(&head[..round]).expect("the beginning of a head");
                let mut kept = Vec::new();
                wait_for(&mut net, |net, event| {
                    let Event::Head(of, bytes) = event else { panic!("a head comes first") };
                    kept.extend_from_slice(net.head(of, bytes));
                    of == conn && kept.len() == round
                });
                // A body is more than a socket takes, so it is written meanwhile.
                let mut writer = server.try_clone().expect("a second descriptor");
                let rest = [&head[round..], &body].concat();
                let writer = thread::spawn(move || writer.write_all(&rest).expect("the rest of a reply"));
                let mut gone = 0;
                wait_for(&mut net, |net, event| {
                    match event {
                        Event::Head(of, bytes) if gone == 0 => kept.extend_from_slice(net.head(of, bytes)),
                        Event::Discarded(_, len, _) => {
                            assert_eq!(kept, head, "a body comes behind its head");
                            gone += len;
                        }
                        _ => panic!("a head, then its body"),
                    }
                    gone == BODY
                });
                writer.join().expect("written");
            }
        }
        assert!(net.heads.as_ref().expect("heads").nowhere.iter().all(|byte| *byte == 0), "MSG_TRUNC of tcp(7)");
    }
}

/// Feeds `done` with events until it says so.
fn wait_for(net: &mut Net<'_>, mut done: impl FnMut(&Net<'_>, Event) -> bool) {
    let began = Instant::now();
    let mut is_done = false;
    while !is_done {
        net.wait(Duration::from_millis(10)).expect("wait");
        while let Some(event) = net.next() {
            assert!(!is_done, "an event too many");
            is_done = done(net, event);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nothing more comes");
    }
}

/// Inside a head, inside a body, and before anything has come.
#[test]
fn a_ring_that_discards_ends_quietly() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let streams = connect(listener.local_addr().expect("address"), 9);
    let mut net = Net::new(streams, &[], Patience::Sleep, Keep::Heads(10, 1 << 20)).expect("net");
    let mut servers: Vec<TcpStream> = (0..9).map(|_| listener.accept().expect("accept").0).collect();
    servers.iter_mut().enumerate().for_each(|(nth, server)| {
        server.write_all(&vec![0; [0, 5, 500][nth % 3]]).expect("a part of a reply");
    });
    let mut came = 0;
    wait_for(&mut net, |_, event| {
        came += match event {
            Event::Head(_, bytes) => bytes.len(),
            Event::Discarded(_, len, _) => len,
            _ => panic!("nobody ends"),
        };
        came == 3 * 505
    });
    let began = Instant::now();
    assert!(net.ring.quiet(), "the kernel ends what is cancelled");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn a_load_with_more_in_flight_than_buffers_loses_nothing() {
    for patience in [Patience::Sleep, Patience::Poll] {
        with_echo(|addr| {
            let plan = Plan {
                target: Target::raw(&addr.to_string(), false).expect("target"),
                shape: Shape::Closed { depth: 2 },
                connections: CONNS,
                payload: Payload::Binary,
                size: LEN,
                warmup: Duration::from_millis(20),
                measured: Duration::from_millis(200),
                bodies: load::Bodies::Compared,
                patience,
            };
            let mut random = std::fs::File::open("/dev/urandom").expect("urandom");
            assert!(load::run(&plan, &mut random, &mut |_| Ok(())).expect("every byte comes back").messages > 0);
        });
    }
}

/// A full queue is handed over by the way, and what completes then is not lost.
#[test]
fn more_than_the_queue_holds_is_sent() {
    let run = [7; 8];
    with_echo(|addr| {
        // 256 entries: a receive that ends with its connection and a send make 2 each.
        let mut net = Net::new(connect(addr, 8), &run, Patience::Sleep, Keep::All).expect("net");
        for _ in 0..1000 {
            net.send(0, 0, 8);
        }
        let (mut sent, mut back) = (0, 0);
        let began = Instant::now();
        while sent < 8000 || back < 8000 {
            net.wait(Duration::from_millis(10)).expect("wait");
            while let Some(event) = net.next() {
                match event {
                    Event::Received(_, piece) => {
                        back += piece.len as usize;
                        net.release(piece);
                    }
                    Event::Sent(_, some) => sent += some,
                    Event::Ended(conn, error) => panic!("connection {conn}: {error}"),
                    Event::Head(..) | Event::Discarded(..) => unreachable!("all is kept"),
                }
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{sent} sent, {back} back");
        }
    });
}

/// Receives that wait for bytes and a send that waits for room are all over before the memory goes.
#[test]
fn a_ring_that_ends_is_quiet() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let run = vec![0; 16 << 20];
    let mut net =
        Net::new(connect(listener.local_addr().expect("address"), 8), &run, Patience::Sleep, Keep::All).expect("net");
    let mut sending = false;
    // Nobody reads: the socket takes some, and then a send stays.
    for _ in 0..1000 {
        if !sending {
            net.send(0, 0, run.len());
        }
        sending = true;
        net.wait(Duration::from_millis(200)).expect("wait");
        match net.next() {
            Some(Event::Sent(..)) => sending = false,
            Some(_) => panic!("nobody sends, nobody ends"),
            None => break,
        }
    }
    assert!(sending, "a send is in flight");
    let began = Instant::now();
    assert!(net.ring.quiet(), "the kernel ends what is cancelled");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}
