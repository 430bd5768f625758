//! The opening handshake in memory: a browser's request in, the 101 out, into a buffer that is reused.
//!
//! `cargo bench -p wsring-proto --bench handshake`. The aim is 500 ns for `accept a browser`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wsring_proto::handshake::{
    HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request, accept, accept_key, write_switching,
};

/// What a desktop browser sends to a page's own server: 15 headers, 624 bytes.
const BROWSER: &[u8] = include_bytes!("browser.http");

/// What a program sends: the least a handshake can be, with a short path.
const PROGRAM: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn answer(bytes: &[u8], limits: &HeadLimits, policy: &Policy, out: &mut Vec<u8>) {
    let HeadEnd::Complete(len) = HeadScan::default().feed(bytes, limits) else { panic!("the head is complete") };
    let mut table = HeaderTable::new();
    let request = Request::parse(&bytes[..len], limits, &mut table).expect("a valid head");
    let accepted = accept(&request, policy).expect("a valid handshake");
    write_switching(out, &accepted.key, accepted.subprotocol, []).expect("no header of ours");
}

fn bench(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let policy = Policy::default().subprotocols(["quotes.v2"]);
    let mut out = Vec::with_capacity(512);
    for (name, bytes) in [("accept a browser", BROWSER), ("accept a program", PROGRAM)] {
        c.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                answer(black_box(bytes), &limits, &policy, &mut out);
                black_box(out.last().copied())
            });
        });
    }
    c.bench_function("find the end of a browser's head", |b| {
        b.iter(|| HeadScan::default().feed(black_box(BROWSER), &limits));
    });
    c.bench_function("parse a browser's head", |b| {
        b.iter(|| {
            Request::parse(black_box(BROWSER), &limits, &mut HeaderTable::new())
                .is_ok_and(|request| request.is_upgrade())
        });
    });
    c.bench_function("accept key", |b| b.iter(|| accept_key(black_box(b"dGhlIHNhbXBsZSBub25jZQ=="))));
}

criterion_group!(benches, bench);
criterion_main!(benches);
