//! No allocation per message in a steady state: a counting allocator sees the whole process, whose other thread is a
//! client that allocates nothing either. A program of its own without the test harness, which allocates as it pleases.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use wsring::{
    Config, CoreCx, Cx, Deflate, DeflateMode, Feature, Features, Handler, Message, Opening, OwnedMessage, RecvBuffers,
    Verdict,
};
use wsring_proto::deflate::{Deflater, Direction, Inflater, Scratch, Shared};
use wsring_proto::{Opcode, Pool, encode};
use wsring_testkit::packed::{Packed, words};
use wsring_testkit::{BINARY, CONTINUATION, Echo, Random, TEXT, client_frame, finish, serve, tcp, upgrade_head};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A client that sends the same bytes again and again and knows what must come back.
struct Loop {
    stream: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
    read: Vec<u8>,
}

/// What is sent at once.
struct Traffic {
    name: &'static str,
    connections: usize,
    /// Messages of a batch, and bytes of each.
    depth: usize,
    len: usize,
    /// Each in so many fragments.
    fragments: usize,
    batches: usize,
    deflate: Deflate,
}

impl Traffic {
    /// Allocations and growths that the engine may need for as much as can be in use at once, however the threads are
    /// scheduled: a buffer for each message of a batch and four things of each connection (a message in parts, a stash, the
    /// piece of output being filled, the queue of its pieces). Each is made once and kept, and grows at most seven times,
    /// from 4 KiB to 256 KiB or from one queued piece to 32. And some for lists that all share.
    ///
    /// Not by the number of batches: one allocation a batch is over this within a few rounds.
    fn in_use_max(&self) -> usize {
        64 + self.connections * (self.depth + 4) * 8
    }
}

impl Loop {
    /// Of compressed messages, whose echoes are compressed as the server does it.
    fn packed(addr: SocketAddr, traffic: &Traffic, settings: &Deflate, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut shared, mut scratch, mut pool) = (Shared::new(settings), Scratch::new(), Pool::new(1 << 20));
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        for i in 0..traffic.depth {
            let message = words(seed * 1000 + i as u64, traffic.len);
            let payload = shared.message(&message, 15, &mut scratch, &mut pool).expect("words compress");
            let at = request.len();
            client_frame(&mut request, true, TEXT, payload, random.key());
            request[at] |= 0x40;
            let mut frame = vec![0; encode::frame_len(payload.len(), false)];
            let len = encode::compressed_frame(&mut frame, Opcode::Text, payload, None).expect("room");
            reply.extend_from_slice(&frame[..len]);
        }
        let stream = Packed::connect(addr, "permessage-deflate").stream;
        let read = vec![0; reply.len()];
        Self { stream, request, reply, read }
    }

    fn new(addr: SocketAddr, traffic: &Traffic, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        for i in 0..traffic.depth {
            let (opcode, payload) = match i % 3 {
                0 => (BINARY, random.bytes(traffic.len)),
                1 => (TEXT, random.ascii(traffic.len)),
                _ => (TEXT, random.multi_byte(traffic.len)),
            };
            let piece = payload.len().div_ceil(traffic.fragments).max(1);
            let last = payload.chunks(piece).count() - 1;
            for (n, piece) in payload.chunks(piece).enumerate() {
                client_frame(&mut request, n == last, if n == 0 { opcode } else { CONTINUATION }, piece, random.key());
            }
            // The same frame without a mask.
            let mut frame = Vec::new();
            client_frame(&mut frame, true, opcode, &payload, [0; 4]);
            let head = frame.len() - payload.len();
            frame[1] &= 0x7f;
            reply.extend_from_slice(&frame[..head - 4]);
            reply.extend_from_slice(&payload);
        }
        let mut stream = tcp(addr);
        stream.write_all(upgrade_head("/").as_bytes()).expect("the head goes out");
        let (head, rest) = wsring_testkit::read_head(&stream).expect("a response");
        assert!(head.starts_with("HTTP/1.1 101 ") && rest.is_empty(), "{head}");
        let read = vec![0; reply.len()];
        Self { stream, request, reply, read }
    }

    fn send(&mut self) {
        self.stream.write_all(&self.request).expect("the batch goes out");
    }

    fn receive(&mut self) {
        self.stream.read_exact(&mut self.read).expect("the echoes come");
        assert!(self.read == self.reply, "an echo came back changed");
    }
}

/// Writes its echoes where they are sent from.
struct Writer;

impl Handler for Writer {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let bytes = message.as_bytes();
        let outcome = match message {
            Message::Text(_) => {
                cx.send_text_with(bytes.len(), |place| place.copy_from_slice(bytes)).expect("it is text")
            }
            Message::Binary(_) => cx.send_with(bytes.len(), |place| place.copy_from_slice(bytes)),
        };
        assert!(outcome.is_queued());
    }
}

/// Gives its echoes away, from memory that it keeps: it makes them when it sees a message for the first time.
struct Giver(Vec<OwnedMessage>);

impl Handler for Giver {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let known = self.0.iter().find(|known| known.as_bytes() == message.as_bytes());
        let echo = known.cloned().unwrap_or_else(|| {
            self.0.push(message.into());
            self.0[self.0.len() - 1].clone()
        });
        assert!(cx.send_owned(echo).is_queued());
    }
}

fn run(change: fn(Config) -> Config, traffic: &Traffic) {
    run_by(change, traffic, || Echo);
}

fn run_by<H: Handler<Mail = ()> + 'static>(change: fn(Config) -> Config, traffic: &Traffic, handler: fn() -> H) {
    let config = change(Config::default().deflate(traffic.deflate));
    let (running, addr) = serve(config, 1, move |_| handler());
    let mut loops: Vec<Loop> = (0..traffic.connections as u64)
        .map(|seed| match traffic.deflate.mode {
            DeflateMode::Off => Loop::new(addr, traffic, seed),
            _ => Loop::packed(addr, traffic, &traffic.deflate, seed),
        })
        .collect();
    let mut batches = |count: usize| {
        for _ in 0..count {
            loops.iter_mut().for_each(Loop::send);
            loops.iter_mut().for_each(Loop::receive);
        }
    };
    let per_round = traffic.connections * traffic.depth * traffic.batches;
    // How much is in use at once depends on how the threads are scheduled, so any round may still add a buffer; but only
    // as many as can be in use at once, and they stay. So some round adds none, or the sum passes what may be added.
    let begin = Region::new(ALLOCATOR);
    let mut rounds = 0;
    loop {
        rounds += 1;
        let region = Region::new(ALLOCATOR);
        batches(traffic.batches);
        let counts = |change: Stats| (change.allocations, change.reallocations, change.deallocations);
        let (round, all) = (counts(region.change()), counts(begin.change()));
        println!("{}, round {rounds}: {round:?} (new, grown, freed) in {per_round} messages", traffic.name);
        if round == (0, 0, 0) {
            break;
        }
        let most = traffic.in_use_max();
        assert!(all.0 + all.1 <= most, "{} allocates: {all:?} in {rounds} rounds, at most {most}", traffic.name);
    }
    drop(loops);
    let stats = finish(running);
    assert_eq!(stats.messages as usize, rounds * per_round);
}

/// The figures of `Deflate::window_bits`, in KiB.
fn compressors_cost_what_the_manual_says() {
    let bytes_of = |make: &dyn Fn() -> Box<dyn std::any::Any>| {
        let region = Region::new(ALLOCATOR);
        let made = std::hint::black_box(make());
        let change = region.change();
        drop(made);
        change.bytes_allocated
    };
    for (window_bits, memory_level, kib) in [(9, 1, 134), (12, 5, 161), (15, 5, 273), (15, 8, 371)] {
        let settings = Deflate::dedicated().window_bits(window_bits).memory_level(memory_level);
        let ours = Direction { takeover: true, window_bits };
        let bytes = bytes_of(&|| Box::new(Deflater::new(&settings, ours).expect("a window")));
        println!("a compressor of {window_bits} bits at memory level {memory_level}: {bytes} bytes");
        assert!((kib << 10..(kib + 1) << 10).contains(&bytes), "{bytes} bytes, {kib} KiB in the manual");
        // What counts against a core's budget.
        assert!(settings.memory_bytes(window_bits).abs_diff(bytes) < 1 << 10);
    }
    let bytes = bytes_of(&|| Box::new(Inflater::new()));
    println!("an inflater: {bytes} bytes");
    assert!((46 << 10..=47 << 10).contains(&bytes));
}

fn main() {
    // The counter counts: or nothing below proves anything.
    let region = Region::new(ALLOCATOR);
    let probe = std::hint::black_box(vec![0_u8; 100]);
    assert_eq!((region.change().allocations, probe.len()), (1, 100));

    compressors_cost_what_the_manual_says();

    let small = Traffic {
        name: "125 B, 16 deep, 8 connections",
        connections: 8,
        depth: 16,
        len: 125,
        fragments: 1,
        batches: 800,
        deflate: Deflate::off(),
    };
    run(|c| c, &small);
    run(
        |c| {
            c.recv_buffers(RecvBuffers::Fixed { count: 1024, bytes: 4096 })
                .features(Features::all().without(Feature::IncrementalBuffers).without(Feature::MultishotRecv))
        },
        &Traffic { name: "the same in whole buffers, one receive at a time", ..small },
    );
    run(|c| c, &Traffic { name: "1 KiB, 16 deep, 8 connections", len: 1024, ..small });
    run(|c| c, &Traffic { name: "64 KiB, 4 deep, 8 connections", depth: 4, len: 65_536, batches: 600, ..small });
    run(|c| c, &Traffic { name: "4 KiB in 5 fragments", len: 4096, fragments: 5, ..small });
    run(|c| c, &Traffic { name: "64 KiB in 5 fragments", depth: 4, len: 65_536, fragments: 5, batches: 200, ..small });
    run(|c| c, &Traffic { name: "1 MiB, 1 connection", connections: 1, depth: 1, len: 1 << 20, batches: 200, ..small });
    run_by(|c| c, &Traffic { name: "1 KiB, written in place", len: 1024, ..small }, || Writer);
    run_by(
        |c| c,
        &Traffic { name: "100 KB, written in place", depth: 2, len: 100_000, batches: 200, ..small },
        || Writer,
    );
    run_by(
        |c| c,
        &Traffic { name: "100 KB, given away", depth: 2, len: 100_000, batches: 200, ..small },
        || Giver(Vec::new()),
    );
    let packed = Traffic {
        name: "1 KiB compressed, 16 deep, 8 connections",
        len: 1024,
        batches: 100,
        deflate: Deflate::shared(),
        ..small
    };
    run(|c| c, &packed);
    run(|c| c, &Traffic { name: "the same, smaller", deflate: Deflate::shared().level(2), ..packed });
    run(|c| c, &Traffic { name: "100 KB compressed, 2 deep, 8 connections", depth: 2, len: 100_000, ..packed });
}
