//! What a message of trades costs compressed: time and bytes, in each mode, and what it costs to inflate it.
//!
//! The messages are 256 different ones, as in `trade`; `bytes` is printed once, per message. Run with `-- NAME` for one.

#[path = "trade.rs"]
mod trade;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsring_proto::deflate::{Deflater, Direction, Inflater, Scratch, Settings, Shared};
use wsring_proto::{Limits, Pool};

const MESSAGES: u64 = 256;

/// One message after the other, again and again.
struct Messages {
    all: Vec<Vec<u8>>,
    next: usize,
}

impl Messages {
    fn new(all: Vec<Vec<u8>>) -> Messages {
        Messages { all, next: 0 }
    }

    fn trades(len: usize) -> Messages {
        Messages::new((0..MESSAGES).map(|number| trade::json(number, len).into_bytes()).collect())
    }

    fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.all.len();
        &self.all[self.next]
    }

    /// What `compress` makes of each.
    fn packed(&self, mut compress: impl FnMut(&[u8]) -> Vec<u8>) -> Messages {
        Messages::new(self.all.iter().map(|message| compress(message)).collect())
    }

    fn say_bytes(&self, name: &str) {
        let sum: usize = self.all.iter().map(Vec::len).sum();
        println!("{name}: {} bytes", sum / self.all.len());
    }
}

fn compress(c: &mut Criterion) {
    let mut group = c.benchmark_group("compress");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    for len in [256, 512, 1024, 4096, 16_384] {
        group.throughput(Throughput::Bytes(len as u64));
        let mut messages = Messages::trades(len);
        for level in [1, 2, 3, 4, 6, 9] {
            let settings = Settings::shared().level(level);
            let mut shared = Shared::new(&settings);
            let name = format!("shared level {level}");
            let mut pack = |message: &[u8]| {
                shared.message(message, 15, &mut scratch, &mut pool).expect("trades compress").to_vec()
            };
            messages.packed(&mut pack).say_bytes(&format!("{name}, {len}"));
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    black_box(shared.message(black_box(messages.next()), 15, &mut scratch, &mut pool));
                });
            });
        }
        for (level, window_bits, memory_level) in [(1, 15, 5), (1, 12, 5), (1, 9, 1), (2, 15, 8), (6, 15, 8)] {
            let settings = Settings::dedicated().level(level).window_bits(window_bits).memory_level(memory_level);
            let ours = Direction { takeover: true, window_bits };
            let mut deflater = Deflater::new(&settings, ours).expect("a window");
            let name = format!("dedicated level {level} window {window_bits} memory {memory_level}");
            let mut pack =
                |message: &[u8]| deflater.message(message, &mut scratch, &mut pool).expect("trades compress").to_vec();
            messages.packed(&mut pack).say_bytes(&format!("{name}, {len}"));
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    black_box(deflater.message(black_box(messages.next()), &mut scratch, &mut pool));
                });
            });
        }
    }
    group.finish();
}

fn inflate(c: &mut Criterion) {
    let mut group = c.benchmark_group("inflate");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let (mut scratch, mut pool, limits) = (Scratch::new(), Pool::new(1 << 20), Limits::default());
    for len in [1024, 16_384] {
        group.throughput(Throughput::Bytes(len as u64));
        for level in [1, 2, 6] {
            let mut shared = Shared::new(&Settings::shared().level(level));
            let mut packed = Messages::trades(len).packed(|message| {
                shared.message(message, 15, &mut scratch, &mut pool).expect("trades compress").to_vec()
            });
            let mut inflater = Inflater::new();
            group.bench_function(BenchmarkId::new(format!("shared level {level}"), len), |b| {
                b.iter(|| {
                    inflater.reset();
                    let message = inflater.message(black_box(packed.next()), &limits, &mut pool);
                    pool.put(message.expect("what was compressed"));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, compress, inflate);
criterion_main!(benches);
