//! Frames in, echoes out, over a wire of memory: `cargo bench --bench echo`.
//!
//! Every side reads what has arrived, validates text, echoes each message and writes; then all is rewound. wsring-proto
//! and sockudo-ws offer their protocol without a stream and are read and written for by one call each; the others come
//! with their streams. An opened connection is kept, as a server keeps it.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastwebsockets::{FragmentCollector, WebSocket};
use futures_util::{SinkExt, StreamExt};
use sockudo_ws::protocol::Protocol;
use tokio_websockets::ServerBuilder;
use wsring_criterion::{KINDS, Wire, at_once, frames};
use wsring_proto::{Event, Limits, Pool, Role, Session, encode};

const MESSAGE_MAX: usize = 16 << 20;

/// Echoes all that has arrived on its wire.
type Echo = Box<dyn FnMut()>;
/// Opens a connection on which so many messages arrive at once.
type Open = fn(Wire, usize) -> Echo;

fn wsring(mut wire: Wire, _: usize) -> Echo {
    let mut session = Session::new(Role::Server);
    let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
    let (mut received, mut output) = (vec![0; 65_536], vec![0; 65_536]);
    Box::new(move || {
        let len = wire.read(&mut received).expect("bytes have arrived");
        let (mut input, mut sent) = (session.input(&mut received[..len], &limits), 0);
        loop {
            match input.next(&mut pool).expect("valid frames") {
                Some(Event::Message { message, .. }) => {
                    let room = &mut output[sent..];
                    let written = encode::frame(room, true, message.opcode(), message.as_bytes(), None);
                    sent += written.expect("the output is as large as the input");
                }
                Some(event) => panic!("{event:?} from messages"),
                None => break,
            }
        }
        wire.write_all(&output[..sent]).expect("the wire takes all");
    })
}

fn sockudo(mut wire: Wire, _: usize) -> Echo {
    let mut protocol = Protocol::new(sockudo_ws::Role::Server, MESSAGE_MAX, MESSAGE_MAX);
    let (mut received, mut output) = (BytesMut::with_capacity(65_536), BytesMut::with_capacity(65_536));
    let (mut buffer, mut messages) = (vec![0; 65_536], Vec::new());
    Box::new(move || {
        let len = wire.read(&mut buffer).expect("bytes have arrived");
        received.extend_from_slice(&buffer[..len]);
        protocol.process_into(&mut received, &mut messages).expect("valid frames");
        for message in messages.drain(..) {
            protocol.encode_message(&message, &mut output).expect("the connection is open");
        }
        wire.write_all(&output).expect("the wire takes all");
        output.clear();
    })
}

fn tungstenite(wire: Wire, count: usize) -> Echo {
    let mut socket = tungstenite::WebSocket::from_raw_socket(wire, tungstenite::protocol::Role::Server, None);
    Box::new(move || {
        for _ in 0..count {
            let message = socket.read().expect("a message has arrived");
            socket.write(message).expect("the connection is open");
        }
        socket.flush().expect("the wire takes all");
    })
}

fn fastwebsockets(wire: Wire, count: usize) -> Echo {
    let mut socket = WebSocket::after_handshake(wire, fastwebsockets::Role::Server);
    socket.set_max_message_size(MESSAGE_MAX);
    // The collector is what validates text.
    let mut socket = FragmentCollector::new(socket);
    Box::new(move || {
        at_once(async {
            for _ in 0..count {
                let frame = socket.read_frame().await.expect("a frame has arrived");
                socket.write_frame(frame).await.expect("the connection is open");
            }
        });
    })
}

fn tokio_websockets(wire: Wire, count: usize) -> Echo {
    let mut socket = ServerBuilder::new().serve(wire);
    Box::new(move || {
        at_once(async {
            for _ in 0..count {
                let message = socket.next().await.expect("a message has arrived").expect("a valid frame");
                socket.feed(message).await.expect("the connection is open");
            }
            socket.flush().await.expect("the wire takes all");
        });
    })
}

const SIDES: [(&str, Open); 5] = [
    ("wsring-proto", wsring),
    ("tungstenite", tungstenite),
    ("fastwebsockets", fastwebsockets),
    ("tokio-websockets", tokio_websockets),
    ("sockudo-ws", sockudo),
];

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for count in [1, 16] {
        group.throughput(Throughput::Elements(count as u64));
        for kind in KINDS {
            let (input, reply) = frames(kind, count);
            for (side, open) in SIDES {
                let wire = Wire::new(&input);
                let mut echo = open(wire.clone(), count);
                for _ in 0..100 {
                    wire.rewind();
                    echo();
                    assert!(wire.sent() == reply, "{side} does not echo {count} x {}", kind.name);
                }
                group.bench_function(BenchmarkId::new(side, format!("{count} x {}", kind.name)), |b| {
                    b.iter(|| {
                        wire.rewind();
                        echo();
                        wire.sent_len()
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, echo);
criterion_main!(benches);
