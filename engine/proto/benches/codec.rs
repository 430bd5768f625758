//! What a frame costs in memory: decode alone, and decode + encode as an echo does it.
//!
//! The state is real: a session and its output behind the heap, events borrowed from the input. Decoding unmasks in
//! place, so every round first restores its input by a copy; `restore` measures that copy alone, to be subtracted.
//! Criterion's throughput line gives the figure per frame where one input holds 16.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsring_proto::{Event, Limits, MaskKey, Message, Opcode, Pool, Role, Session, encode};

/// Name, payload bytes of a frame, text or binary.
const FRAMES: [(&str, usize, Opcode); 5] = [
    ("text 6+20", 20, Opcode::Text),
    ("text 6+125", 125, Opcode::Text),
    ("text 8+1024", 1024, Opcode::Text),
    ("binary 6+20", 20, Opcode::Binary),
    ("binary 6+125", 125, Opcode::Binary),
];

/// One connection of a server: what it received, and where its answers go.
struct Connection {
    session: Session,
    limits: Limits,
    pool: Pool,
    fresh: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    fn new(frames: usize, payload_len: usize, opcode: Opcode) -> Box<Connection> {
        let payload: Vec<u8> = (0..payload_len).map(|at| b' ' + (at % 95) as u8).collect();
        let mut fresh = Vec::new();
        for number in 0..frames as u32 {
            let key = number.wrapping_mul(0x9E37_79B9) | 1;
            let key = MaskKey::from_bytes(key.to_le_bytes());
            encode::append_frame(&mut fresh, true, opcode, &payload, Some(key));
        }
        Box::new(Connection {
            session: Session::new(Role::Server),
            limits: Limits::default(),
            pool: Pool::new(1 << 20),
            input: fresh.clone(),
            output: vec![0; fresh.len()],
            fresh,
        })
    }

    #[inline(always)]
    fn restore(&mut self) {
        self.input.copy_from_slice(black_box(&self.fresh));
    }

    /// Every message of the input to `on_message`, and the number of them that were last.
    #[inline(always)]
    fn decode(&mut self, mut on_message: impl FnMut(&mut [u8], Message<'_>)) -> usize {
        let (mut input, mut lasts) = (self.session.input(&mut self.input, &self.limits), 0);
        loop {
            match input.next(&mut self.pool) {
                Ok(Some(Event::Message { message, last, .. })) => {
                    lasts += usize::from(last);
                    on_message(&mut self.output, message);
                }
                Ok(None) => return lasts,
                other => panic!("{other:?} from valid messages"),
            }
        }
    }

    #[inline(always)]
    fn echo(&mut self) -> usize {
        let mut sent = 0;
        self.decode(|output, message| {
            let room = &mut output[sent..];
            let len = encode::frame(room, true, message.opcode(), message.as_bytes(), None);
            sent += len.expect("as large as the input");
        });
        sent
    }
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for frames in [1, 16] {
        group.throughput(Throughput::Elements(frames as u64));
        for (name, payload_len, opcode) in FRAMES {
            let name = format!("{frames} x {name}");
            let mut connection = Connection::new(frames, payload_len, opcode);
            group.bench_function(BenchmarkId::new("restore", &name), |b| {
                b.iter(|| black_box(&mut connection).restore());
            });
            group.bench_function(BenchmarkId::new("decode", &name), |b| {
                b.iter(|| {
                    let connection = black_box(&mut connection);
                    connection.restore();
                    connection.decode(|_, message| {
                        black_box(message);
                    })
                });
            });
            group.bench_function(BenchmarkId::new("echo", &name), |b| {
                b.iter(|| {
                    let connection = black_box(&mut connection);
                    connection.restore();
                    connection.echo()
                });
            });
        }
    }
    group.finish();
}

/// What a client's send costs: header, copy and mask.
fn client(c: &mut Criterion) {
    let mut group = c.benchmark_group("client");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for payload_len in [20, 125, 1024] {
        let payload = vec![b'x'; payload_len];
        let mut output = vec![0; encode::frame_len(payload_len, true)];
        let key = MaskKey::from_bytes([1, 2, 3, 4]);
        group.bench_function(BenchmarkId::new("frame", payload_len), |b| {
            b.iter(|| {
                let (payload, output) = (black_box(&payload), black_box(&mut output));
                encode::frame(output, true, Opcode::Binary, payload, Some(black_box(key)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec, client);
criterion_main!(benches);
