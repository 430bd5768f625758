//! Connections that come and go, 50,000 for each server, beside a thousand that rest: a server of its own process must not grow by a
//! descriptor, a socket or a page that it did not have after the first of them. Sockets are counted by the kernel, by state: on Linux
//! before 6.13 the engine once had closed all of them, and none was (`uring/probe.rs`).
//!
//! `CHURN` in the environment sets another number; `QUICK` a fifth of it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use wsring::Feature;
use wsring_testkit::effort;
use wsring_testkit::process::Serve;
use wsring_testkit::*;

const THREADS: usize = 4;
/// Connections after which a server is warm, at least: each of two cores has then touched all of 1024 receive buffers, which is what it
/// has without incremental ones, though the kernel gives one core more connections than the other.
const WARM: usize = 5000;
/// Connections that only are there, each with its receive.
const RESTING: usize = 1000;
/// What a warm server may still grow by: allocator noise, not per connection.
const GROWTH_MAX: usize = 1 << 20;

/// Connects from an address of the loopback net of our own, so that ports do not run out.
fn connect_from(source: Ipv4Addr, addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("a port");
    socket.connect_timeout(&addr.into(), WAIT).expect("connects");
    let stream = TcpStream::from(socket);
    bounded(&stream);
    stream
}

/// One connection of each kind in turn; returns whether it sent a message.
fn visit(kind: usize, stream: TcpStream) -> bool {
    let head = upgrade_head("/");
    match kind % 6 {
        // A clean close.
        0 => {
            let mut client = greeted(stream, &head);
            client.send(CLOSE, &1000_u16.to_be_bytes());
            assert_eq!(client.expect_close().0, 1000);
            assert_eq!(client.expect_end(), End::Eof);
        }
        // A reset.
        1 => reset(greeted(stream, &head).stream),
        // An end without a Close, waited for and not.
        2 => {
            let mut client = greeted(stream, &head);
            client.half_close();
            assert_eq!(client.expect_end(), End::Eof);
        }
        3 => drop(greeted(stream, &head)),
        // Half a handshake, then an end, or a reset.
        4 => {
            (&stream).write_all(&head.as_bytes()[..head.len() / 2]).expect("half of it goes out");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            match read_some(&stream, &mut [0; 64]) {
                Ok(0) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                other => panic!("{other:?}"),
            }
        }
        _ => {
            (&stream).write_all(&head.as_bytes()[..head.len() / 2]).expect("half of it goes out");
            reset(stream);
        }
    }
    kind % 6 < 4
}

fn greeted(mut stream: TcpStream, head: &str) -> Client {
    // The message is in the same segment as the head.
    let mut bytes = head.as_bytes().to_vec();
    client_frame(&mut bytes, true, TEXT, b"hello and goodbye", [1, 2, 3, 4]);
    stream.write_all(&bytes).expect("it goes out");
    let mut client = Client::upgraded(stream);
    client.expect(TEXT, b"hello and goodbye");
    client
}

/// Returns how many messages were sent.
fn churn(addr: SocketAddr, count: usize) -> u64 {
    thread::scope(|scope| {
        let visitors: Vec<_> = (0..THREADS)
            .map(|part| {
                scope.spawn(move || {
                    let from = |i: usize| Ipv4Addr::new(127, 0, 1 + part as u8, 1 + (i % 250) as u8);
                    (0..count / THREADS).map(|i| u64::from(visit(i, connect_from(from(i), addr)))).sum::<u64>()
                })
            })
            .collect();
        visitors.into_iter().map(|visitor| visitor.join().expect("no visit failed")).sum()
    })
}

/// Waits until nobody is left but those that rest; `listeners` sockets are not connections.
#[track_caller]
fn settled(server: &Serve, listeners: usize) {
    let deadline = Instant::now() + WAIT;
    let expected = (BTreeMap::from([("ESTABLISHED", RESTING)]), RESTING + listeners);
    loop {
        let sockets = (server.sockets(), server.sockets_open());
        if sockets == expected {
            return;
        }
        assert!(Instant::now() < deadline, "sockets stay open: {sockets:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn churns(without: &[&str]) {
    let total = effort::number("CHURN").unwrap_or_else(|| effort::whole_or_quick(50_000, 10_000)) as usize;
    wsring_testkit::raise_nofile();
    // Those that rest are not asked whether they live.
    let server =
        Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &[&["--idle-timeout", "0"], without].concat());
    let listeners = server.sockets_open();
    let from = |i: usize| Ipv4Addr::new(127, 0, 9, 1 + (i % 250) as u8);
    let resting: Vec<Client> = (0..RESTING)
        .map(|i| {
            let mut stream = connect_from(from(i), server.addr());
            stream.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
            Client::upgraded(stream)
        })
        .collect();
    assert!(total > WARM, "CHURN must be above {WARM}: so many make a server warm");
    let first = (total / 10).max(WARM);
    let rest = total - first;
    let mut messages = churn(server.addr(), first);
    settled(&server, listeners);
    let (descriptors, rss) = (server.descriptors(), server.rss());
    messages += churn(server.addr(), rest);
    settled(&server, listeners);
    let grown = server.rss().saturating_sub(rss);
    assert_eq!(server.descriptors(), descriptors);
    assert!(grown <= GROWTH_MAX, "{grown} bytes more after {total} connections");
    println!("{total} connections, {grown} bytes of growth; {}; {:?}", server.start_line, server.sockets());
    resting.into_iter().for_each(Client::close);
    let mut client = Client::connect(server.addr());
    client.echo(TEXT, b"as on the first day");
    client.close();
    let stats = server.stop();
    let accepted = ((first / THREADS + rest / THREADS) * THREADS + RESTING + 1) as u64;
    assert_eq!((stats["accepted"], stats["closed"], stats["messages"]), (accepted, accepted, messages + 1));
}

#[test]
fn connections_come_and_go_without_a_trace() {
    churns(&[]);
}

#[test]
fn connections_come_and_go_without_a_trace_without_any_feature() {
    churns(&Feature::ALL.map(|feature| ["--without", feature.name()]).concat());
}

#[test]
fn connections_come_and_go_without_a_trace_with_ordinary_descriptors() {
    churns(&["--without", Feature::DirectDescriptors.name()]);
}
