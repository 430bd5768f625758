//! A programme of byte-exact echoes around every border: whole, in fragments, cut into segments anywhere, many in flight.

use std::net::SocketAddr;
use std::thread;

use wsring::{Config, RecvBuffers};

use crate::common::*;

/// Payload lengths at which something changes: forms of the header (RFC 6455 §5.2), receive buffers, send blocks, where
/// a message is moved instead of copied, where pieces stop being gathered.
pub(crate) fn borders(config: &Config) -> Vec<usize> {
    let mut lens = vec![0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 127, 65_535, 65_536, 65_537];
    let ring = config.ring_config();
    let recv = match ring.recv_buffers {
        RecvBuffers::Fixed { bytes, .. } => bytes as usize,
        _ => 4096,
    };
    for edge in [recv, 2 * recv, ring.send_buffers.bytes as usize, 8 << 10, 64 << 10, 256 << 10] {
        // A frame of exactly `edge` bytes, from the client (4 more for the mask) and from the server.
        for head in [0, 2, 4, 10, 6, 8, 14] {
            lens.extend((0..3).map(|i| (edge + i).saturating_sub(head + 1)));
        }
    }
    lens.sort_unstable();
    lens.dedup();
    lens
}

fn payload(random: &mut Random, kind: usize, len: usize) -> (u8, Vec<u8>) {
    match kind % 3 {
        0 => (BINARY, random.bytes(len)),
        1 => (TEXT, random.ascii(len)),
        _ => (TEXT, random.multi_byte(len)),
    }
}

/// One message at a time, whole, at every border and at 1 MiB.
fn whole(addr: SocketAddr, lens: &[usize]) {
    let mut client = Client::connect(addr);
    let mut random = Random::new(1);
    for &len in lens.iter().chain(&[1 << 20]) {
        for kind in 0..3 {
            let (opcode, payload) = payload(&mut random, kind, len);
            client.echo(opcode, &payload);
        }
    }
    client.close();
}

/// In fragments (RFC 6455 §5.4), some of them empty, with pings between, cut into segments anywhere.
fn fragmented(addr: SocketAddr, lens: &[usize]) {
    let mut client = Client::connect(addr);
    let mut random = Random::new(2);
    for (round, &len) in lens.iter().enumerate() {
        let (opcode, payload) = payload(&mut random, round, len);
        let (mut rest, mut bytes, mut pings) = (&payload[..], Vec::new(), Vec::new());
        let mut code = opcode;
        loop {
            let (now, later) = rest.split_at(random.below(rest.len() + 1));
            let fin = random.below(4) == 0;
            client_frame(&mut bytes, fin, code, if fin { rest } else { now }, random.key());
            if fin {
                break;
            }
            (rest, code) = (later, CONTINUATION);
            let ping = random.bytes(pings.len() % 126);
            client_frame(&mut bytes, true, PING, &ping, random.key());
            pings.push(ping);
        }
        client.send_cut(&bytes);
        pings.iter().for_each(|ping| client.expect(PONG, ping));
        client.expect(opcode, &payload);
    }
    client.close();
}

/// Many in flight, cut into segments anywhere: a writer does not wait for its echoes.
fn pipelined(addr: SocketAddr, lens: &[usize]) {
    let mut client = Client::connect(addr);
    let mut random = Random::new(client.stream.local_addr().expect("an address").port().into());
    let messages: Vec<(u8, Vec<u8>)> = (0..300)
        .map(|i| {
            let len = if i % 3 == 0 { lens[random.below(lens.len())] } else { random.below(300) };
            payload(&mut random, i, len)
        })
        .collect();
    let mut bytes = Vec::new();
    for (opcode, payload) in &messages {
        client_frame(&mut bytes, true, *opcode, payload, random.key());
    }
    let stream = client.stream.try_clone().expect("a second descriptor");
    thread::scope(|scope| {
        scope.spawn(move || write_cut(&stream, &mut random, &bytes));
        messages.iter().for_each(|(opcode, payload)| client.expect(*opcode, payload));
    });
    client.close();
}

/// Four clients with messages of these lengths. Returns how many messages that is.
pub(crate) fn programme(addr: SocketAddr, lens: &[usize]) -> u64 {
    thread::scope(|scope| {
        scope.spawn(|| whole(addr, lens));
        scope.spawn(|| fragmented(addr, lens));
        scope.spawn(|| pipelined(addr, lens));
        scope.spawn(|| pipelined(addr, lens));
    });
    (3 * (lens.len() + 1) + lens.len() + 2 * 300) as u64
}

/// The longest message of the default limits, whole and in fragments, and one byte more: 1009 (RFC 6455 §7.4.1).
#[test]
fn sixteen_mebibytes_come_back_and_one_byte_more_is_1009() {
    const MAX: usize = 16 << 20;
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut client = Client::connect(addr);
    let mut random = Random::new(3);
    for kind in 0..3 {
        let (opcode, payload) = payload(&mut random, kind, MAX);
        client.echo(opcode, &payload);
        client.send_frame(false, opcode, &payload[..MAX / 2 + 1]);
        client.send_frame(false, CONTINUATION, &payload[MAX / 2 + 1..]);
        client.send_frame(true, CONTINUATION, b"");
        client.expect(opcode, &payload);
    }
    // In a fragment: what came before fits exactly.
    client.send_frame(false, BINARY, &random.bytes(MAX));
    client.send_frame(true, CONTINUATION, b"x");
    assert_eq!(client.expect_close().0, 1009);
    // Whole: the header alone tells.
    let mut client = Client::connect(addr);
    let mut head = Vec::new();
    client_header(&mut head, true, BINARY, MAX as u64 + 1, [1, 2, 3, 4]);
    client.send_cut(&head);
    assert_eq!(client.expect_close().0, 1009);
    drop(client);
    let stats = finish(running);
    assert_eq!((stats.messages, stats.violations), (6, 2));
}
