//! A server's opening handshake over a wire of memory: `cargo bench --bench handshake`.
//!
//! A request has arrived, the 101 is written. wsring-proto and sockudo-ws offer the parts without a stream; tungstenite
//! and tokio-websockets come with one and make the connection's state as well. fastwebsockets leaves HTTP to hyper and
//! is not here. wsring-proto chooses the subprotocol and checks the origin; of the others only some look at these.

use std::io::{Read, Write};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio_websockets::ServerBuilder;
use wsring_criterion::{ACCEPT, BROWSER, PROGRAM, Wire, at_once};
use wsring_proto::handshake::{HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request, accept, write_switching};

/// Answers the request that has arrived.
type Answer = Box<dyn FnMut(Wire)>;
type Make = fn() -> Answer;

fn wsring() -> Answer {
    let limits = HeadLimits::default();
    let policy = Policy::default().subprotocols(["quotes.v2"]);
    let (mut received, mut output) = (vec![0; 4096], Vec::with_capacity(512));
    Box::new(move |mut wire| {
        let len = wire.read(&mut received).expect("a head has arrived");
        let HeadEnd::Complete(len) = HeadScan::default().feed(&received[..len], &limits) else { panic!("incomplete") };
        let mut table = HeaderTable::new();
        let request = Request::parse(&received[..len], &limits, &mut table).expect("a valid head");
        let accepted = accept(&request, &policy).expect("a valid handshake");
        output.clear();
        write_switching(&mut output, &accepted.key, accepted.subprotocol, []).expect("no header of ours");
        wire.write_all(&output).expect("the wire takes all");
    })
}

fn sockudo() -> Answer {
    use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
    let mut received = vec![0; 4096];
    Box::new(move |mut wire| {
        let len = wire.read(&mut received).expect("a head has arrived");
        let (request, _) = parse_request(&received[..len]).expect("a valid head").expect("a complete one");
        let offered =
            request.protocol.and_then(|list| list.split(',').map(str::trim).find(|name| *name == "quotes.v2"));
        let response = build_response(&generate_accept_key(request.key), offered, None);
        wire.write_all(&response).expect("the wire takes all");
    })
}

fn tungstenite() -> Answer {
    Box::new(|wire| drop(tungstenite::accept(wire).expect("a valid handshake")))
}

fn tokio_websockets() -> Answer {
    let builder = ServerBuilder::new();
    Box::new(move |wire| drop(at_once(builder.accept(wire)).expect("a valid handshake")))
}

const SIDES: [(&str, Make); 4] = [
    ("wsring-proto", wsring),
    ("tungstenite", tungstenite),
    ("tokio-websockets", tokio_websockets),
    ("sockudo-ws", sockudo),
];

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, head) in [("a browser", BROWSER), ("a program", PROGRAM)] {
        for (side, make) in SIDES {
            let (wire, mut answer) = (Wire::new(head), make());
            answer(wire.clone());
            let sent = wire.sent();
            let accepts = sent.windows(ACCEPT.len()).any(|window| window == ACCEPT);
            assert!(sent.starts_with(b"HTTP/1.1 101 ") && sent.ends_with(b"\r\n\r\n") && accepts, "{side}: {name}");
            group.bench_function(BenchmarkId::new(side, name), |b| {
                b.iter(|| {
                    wire.rewind();
                    answer(wire.clone());
                    wire.sent_len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
