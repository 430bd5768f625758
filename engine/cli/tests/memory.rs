//! A peer that never reads: memory of the server is bounded, others are served meanwhile, and nothing is lost.
//!
//! The server is a process of its own, so that its memory is its alone.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use wsring_testkit::effort;
use wsring_testkit::packed::{Packed, words};
use wsring_testkit::process::Serve;
use wsring_testkit::*;

/// What may be queued for it (`output_high_bytes`), a message that lies behind it, and what is kept of receive buffers.
const GROWTH_MAX: usize = 6 << 20;

fn never_reads(message_len: usize) {
    // What the peer wants to send: more than sockets and the server take.
    let total = effort::whole_or_quick(64 << 20, 32 << 20);
    let core = cores(1)[0].to_string();
    let server = Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &["--cores", &core]);
    // Once what it needs for anybody is there.
    let mut other = Client::connect(server.addr());
    let probe = other.random.bytes(message_len);
    other.echo(BINARY, &probe);
    let before = server.rss();

    let mut client = Client::connect(server.addr());
    let count = total / message_len;
    let messages: Vec<Vec<u8>> = (0..8).map(|_| client.random.bytes(message_len)).collect();
    let mut bytes = Vec::with_capacity(total + count * 14);
    for i in 0..count {
        client_frame(&mut bytes, true, BINARY, &messages[i % 8], (i as u32 + 1).to_be_bytes());
    }
    let mut worked = 0;
    let went = write_until_stalled(&client.stream, &bytes, || {
        other.echo(TEXT, b"it works");
        worked += 1;
    });
    assert!(went < bytes.len(), "the server took everything of a peer that reads nothing");
    for _ in 0..100 {
        other.echo(BINARY, &probe);
    }
    let grown = server.rss().saturating_sub(before);
    println!("{message_len} bytes a message: {went} bytes went out before the stall, the server grew by {grown}");
    assert!(grown <= GROWTH_MAX, "the server grew by {grown} bytes for a peer that reads nothing");

    // Now it reads: everything is there, in order.
    let mut stream = client.stream.try_clone().expect("a second descriptor");
    thread::scope(|scope| {
        scope.spawn(move || stream.write_all(&bytes[went..]).expect("the rest goes out"));
        for i in 0..count {
            client.expect(BINARY, &messages[i % 8]);
        }
    });
    client.close();
    other.close();
    let stats = server.stop();
    assert_eq!((stats["refused"], stats["messages"]), (0, count as u64 + 101 + worked));
}

#[test]
fn small_messages_to_a_peer_that_never_reads() {
    never_reads(125);
}

/// Unmasked into memory of their own and moved into the output, which has twice their capacity.
#[test]
fn messages_that_come_whole_and_move_to_a_peer_that_never_reads() {
    never_reads(64 << 10);
}

#[test]
fn messages_larger_than_a_receive_buffer_to_a_peer_that_never_reads() {
    never_reads(100_000);
}

#[test]
fn messages_larger_than_the_high_water_mark_to_a_peer_that_never_reads() {
    never_reads(2 << 20);
}

/// Many peers at once: each costs what it may have queued and what had arrived when it was held back, not more. When they
/// are gone, no more stays than the pool keeps.
#[test]
fn several_peers_that_never_read() {
    const PEERS: usize = 20;
    // Up to `output_high_bytes` (1 MiB) queued and as much of receive buffers stashed, in buffers that may be twice as large.
    const EACH_MAX: usize = 4 << 20;
    const POOL_MAX: usize = 32 << 20;
    let server = Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &["--cores", &cores(1)[0].to_string()]);
    let mut other = Client::connect(server.addr());
    other.echo(TEXT, b"first");
    let before = server.rss();
    let mut bytes = Vec::new();
    for i in 0..500_u32 {
        client_frame(&mut bytes, true, BINARY, &vec![i as u8; 40_000], i.to_be_bytes());
    }
    let mut peers: Vec<Client> = (0..PEERS).map(|_| Client::connect(server.addr())).collect();
    let addr = server.addr();
    thread::scope(|scope| {
        for peer in &mut peers {
            let bytes = &bytes;
            scope.spawn(move || {
                let mut other = Client::connect(addr);
                let went = write_until_stalled(&peer.stream, bytes, || other.echo(TEXT, b"it works"));
                assert!(went < bytes.len());
                other.close();
            });
        }
    });
    other.echo(TEXT, b"served meanwhile");
    let grown = server.rss().saturating_sub(before);
    println!("{PEERS} peers that never read: the server grew by {grown}");
    assert!(grown <= PEERS * EACH_MAX, "{grown}");
    // They leave without a word: what was queued for them is gone with them.
    peers.into_iter().for_each(|peer| reset(peer.stream));
    let deadline = Instant::now() + WAIT;
    while server.sockets().values().sum::<usize>() > 1 {
        assert!(Instant::now() < deadline, "sockets stay open: {:?}", server.sockets());
        thread::sleep(Duration::from_millis(10));
    }
    other.echo(TEXT, b"and after");
    let kept = server.rss().saturating_sub(before);
    println!("after they are gone: {kept}");
    assert!(kept <= POOL_MAX + GROWTH_MAX, "{kept}");
    other.close();
    server.stop();
}

/// 1000:1 (RFC 7692 §8): in one frame, in fragments, of a peer that keeps its window and of one that does not. Inflating
/// stops at the limit, so the server grows by that and no more, and is as quick with a bomb as with a message of its limit.
#[test]
fn bombs_cost_the_message_limit_at_most() {
    const LIMIT: usize = 16 << 20;
    // The payload as it came, a window, and what the process takes meanwhile.
    const BESIDE: usize = 3 << 20;
    let bombs = effort::whole_or_quick(8, 2);
    for (mode, offer) in [
        ("shared", "permessage-deflate; client_no_context_takeover"),
        ("shared", "permessage-deflate"),
        ("dedicated", "permessage-deflate; client_no_context_takeover"),
        ("dedicated", "permessage-deflate"),
    ] {
        let server = Serve::start_by(
            Command::new(env!("CARGO_BIN_EXE_wsring")),
            &["--deflate", mode, "--cores", &cores(1)[0].to_string()],
        );
        let mut other = Packed::connect(server.addr(), offer);
        other.send(TEXT, b"first, with all that a first message needs");
        other.expect(TEXT, b"first, with all that a first message needs");
        let (before, cpu_before) = (server.rss_peak(), server.cpu());
        // 1 GB, made of a mebibyte that is a kilobyte compressed.
        let mut payload = Vec::new();
        let mut maker = Packed::connect(server.addr(), offer);
        let mebibyte = vec![0; 1 << 20];
        for _ in 0..1000 {
            payload.extend(maker.pack(&mebibyte));
            payload.extend([0, 0, 0xFF, 0xFF]); // blocks of one message: the tail stays between them
        }
        payload.truncate(payload.len() - 4);
        assert!(payload.len() * 900 < 1000 << 20, "{} bytes", payload.len());
        for round in 0..bombs {
            let mut client = Packed::connect(server.addr(), offer);
            match round % 2 {
                0 => client.send_raw(0xC2, &payload),
                _ => {
                    let (first, rest) = payload.split_at(payload.len() / 2);
                    client.send_raw(0x42, first);
                    client.send_raw(0x80, rest);
                }
            }
            assert_eq!(client.expect_close(), 1009);
            let grown = server.rss_peak() - before;
            println!("{mode}, {offer}, bomb {round}: the server grew by {grown} at most");
            assert!(grown <= LIMIT + BESIDE, "{grown} bytes for a bomb");
        }
        // A gigabyte took seconds; to the limit it is some ten milliseconds each. Counted by the process's own clock.
        let spent = server.cpu() - cpu_before;
        println!("{bombs} bombs took {spent:?} of the server's processor");
        assert!(spent < Duration::from_secs(4), "{spent:?}");
        other.forget_sent();
        other.forget_received();
        drop((other, maker));
        server.stop();
    }
}

/// A declared length costs nothing: memory follows the bytes received (RFC 6455 §10.4).
#[test]
fn announced_lengths_cost_nothing() {
    let server = Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &[]);
    let mut other = Client::connect(server.addr());
    other.echo(TEXT, b"first");
    let before = server.rss();
    let peers: Vec<Client> = (0..500)
        .map(|_| {
            let mut client = Client::connect(server.addr());
            let mut bytes = Vec::new();
            client_header(&mut bytes, true, BINARY, 16 << 20, [1, 2, 3, 4]);
            bytes.extend_from_slice(&[0; 100]);
            client.stream.write_all(&bytes).expect("it goes out");
            client
        })
        .collect();
    // One core at least has read all of them when the last has its echo; the others are as many.
    other.echo(TEXT, b"second");
    let grown = server.rss().saturating_sub(before);
    println!("500 announced messages of 16 MiB: the server grew by {grown}");
    assert!(grown <= 500 * (4096 + 2048) + (1 << 20), "{grown} bytes for lengths that were only announced");
    drop(peers);
    other.close();
    server.stop();
}

/// A message of 16 MiB to a room whose members read nothing lies in memory once, however many they are; and all get it, those
/// that compress and those that do not, when they read.
#[test]
fn a_broadcast_lies_in_memory_once() {
    const MEMBERS: usize = 20;
    const LEN: usize = 16 << 20;
    // The message as it came, in a buffer that may be twice as large, and as all get it; what the pool keeps (of the trial to
    // compress it), and what the process takes meanwhile.
    const BROADCAST_MAX: usize = 3 * LEN + (32 << 20) + GROWTH_MAX;
    let core = cores(1)[0].to_string();
    let server =
        Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &["--cores", &core, "--deflate", "shared"]);
    let offer = "permessage-deflate; client_no_context_takeover";
    let mut sender = Client::open(server.addr(), "/bcast");
    let mut members: Vec<Client> = (0..MEMBERS / 2).map(|_| Client::open(server.addr(), "/bcast")).collect();
    let mut packed: Vec<Packed> =
        (0..MEMBERS / 2).map(|_| Packed::connect_to(server.addr(), "/bcast", offer)).collect();
    let before = server.rss();
    let message = sender.random.bytes(LEN); // does not compress
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, BINARY, &message, [1, 2, 3, 4]);
    sender.stream.write_all(&bytes).expect("it goes out");
    sender.expect(BINARY, &message);
    let grown = server.rss().saturating_sub(before);
    println!("16 MiB to {MEMBERS} members that read nothing: the server grew by {grown}");
    assert!(grown <= BROADCAST_MAX, "{grown}");
    for member in &mut members {
        member.expect(BINARY, &message);
    }
    for member in &mut packed {
        assert!(!member.expect(BINARY, &message));
    }
    drop((members, packed));
    sender.close();
    let stats = server.stop();
    assert_eq!((stats["messages"], stats["delivered"], stats["dropped"]), (1, MEMBERS as u64 + 1, 0));
}

/// What hostile peers do to a core's budget.
struct Attack {
    budget: usize,
    peers: usize,
    path: &'static str,
    options: &'static [&'static str],
    /// What each says behind its handshake, as far as it is taken.
    says: Vec<u8>,
    /// It is compressed.
    packed: bool,
    /// The most that one receive may become.
    growth: usize,
}

/// Writes until nothing goes out for a while, or the server has ended it.
fn flood(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).expect("nonblocking");
    let (mut at, mut moved) = (0, Instant::now());
    while at < bytes.len() && moved.elapsed() < Duration::from_millis(50) {
        match stream.write(&bytes[at..]) {
            Ok(n) => (at, moved) = (at + n, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

/// However many they are: the core keeps no more than it may, a neighbour is served meanwhile, and when they are gone the memory is the
/// system's again.
fn is_kept_within_the_budget(attack: &Attack) {
    const GIVEN_BACK: usize = 10 << 20;
    let (core, budget) = (cores(1)[0].to_string(), attack.budget.to_string());
    let mut options = vec!["--cores", &core, "--memory-max", &budget];
    options.extend(attack.options);
    let server = Serve::start_by(Command::new(env!("CARGO_BIN_EXE_wsring")), &options);
    let mut neighbour = Client::connect(server.addr());
    neighbour.echo(TEXT, b"first");
    let before = server.rss();
    let offer: &[&str] = if attack.packed { &["Sec-WebSocket-Extensions: permessage-deflate"] } else { &[] };
    let mut peers = Vec::new();
    for _ in 0..effort::whole_or_quick(attack.peers, attack.peers / 2) {
        if let Ok(peer) = Client::try_open(server.addr(), attack.path, offer) {
            flood(&peer.stream, &attack.says);
            peers.push(peer);
        }
        neighbour.echo(TEXT, b"meanwhile");
    }
    let grown = server.rss_peak() - before;
    println!("{} peers: the server grew by {grown} for a budget of {budget}", peers.len());
    assert!(grown <= attack.budget + attack.budget / 4 + attack.growth + GROWTH_MAX, "{grown}, of {budget}");
    peers.into_iter().for_each(|peer| reset(peer.stream));
    let deadline = Instant::now() + WAIT;
    while server.rss() > before + GIVEN_BACK {
        assert!(Instant::now() < deadline, "{} bytes are not given back", server.rss() - before);
        thread::sleep(Duration::from_millis(50));
    }
    neighbour.echo(TEXT, b"after");
    neighbour.close();
    let (stats, told) = server.stop_and_tell();
    assert!(stats["memory_closed"] + stats["memory_refused"] > 0, "{stats:?}");
    assert!(told.contains("memory is tight"), "{told}");
}

/// A message of 16 MiB, of which so much comes.
fn half_a_message(bytes: usize) -> Vec<u8> {
    let mut says = Vec::new();
    client_header(&mut says, true, BINARY, 16 << 20, [0; 4]);
    says.resize(says.len() + bytes, 1);
    says
}

/// So many messages of this length.
fn messages(count: usize, len: usize) -> Vec<u8> {
    let mut one = Vec::new();
    client_frame(&mut one, true, BINARY, &vec![1; len], [0; 4]);
    one.repeat(count)
}

const PLAIN: Attack =
    Attack { budget: 16 << 20, peers: 60, path: "/", options: &[], says: Vec::new(), packed: false, growth: 0 };

#[test]
fn halves_of_messages_are_kept_within_the_budget() {
    is_kept_within_the_budget(&Attack { says: half_a_message(3 << 20), growth: 8 << 20, ..PLAIN });
}

#[test]
fn echoes_that_nobody_reads_are_kept_within_the_budget() {
    is_kept_within_the_budget(&Attack { says: messages(8, 1 << 20), growth: 4 << 20, ..PLAIN });
}

#[test]
fn small_echoes_that_nobody_reads_are_kept_within_the_budget() {
    is_kept_within_the_budget(&Attack { says: messages(100_000, 64), peers: 100, growth: 4 << 20, ..PLAIN });
}

/// Each message lies in memory once, and there are many.
#[test]
fn what_nobody_in_a_room_reads_is_kept_within_the_budget() {
    is_kept_within_the_budget(&Attack { says: messages(1, 4 << 20), path: "/bcast", growth: 12 << 20, ..PLAIN });
}

/// A compressor of its own for each peer, and a window.
#[test]
fn compressors_are_kept_within_the_budget() {
    let mut says = Vec::new();
    client_frame(&mut says, true, TEXT, &words(1, 4096), [0; 4]);
    is_kept_within_the_budget(&Attack {
        says,
        packed: true,
        options: &["--deflate", "dedicated"],
        budget: 8 << 20,
        peers: 120,
        ..PLAIN
    });
}
