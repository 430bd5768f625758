//! Masking in place: `cargo bench --bench mask`.
//!
//! Payloads lie one behind the other, as frames lie in a receive, and a round takes each once; the time is per payload.
//! tungstenite and tokio-websockets keep their masking to themselves.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsring_proto::simd::{self, MaskKey};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const SIZES: [usize; 6] = [16, 64, 125, 1024, 4096, 65_536];
const ROW_LEN: usize = 16_384;

type Mask = fn(&mut [u8]);

const SIDES: [(&str, Mask); 4] = [
    ("wsring-proto", |bytes| simd::mask(bytes, MaskKey::from_bytes(black_box(KEY)))),
    ("fastwebsockets", |bytes| fastwebsockets::unmask(bytes, black_box(KEY))),
    ("sockudo-ws", |bytes| sockudo_ws::simd::apply_mask(bytes, black_box(KEY))),
    ("byte by byte", |bytes| plain(bytes, black_box(KEY))),
];

/// RFC 6455 §5.3 as it stands there. The compiler may make of it what it can.
fn plain(bytes: &mut [u8], key: [u8; 4]) {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key[at % 4];
    }
}

fn per_payload(size: usize, rounds: u64, mask: Mask) -> Duration {
    let slot = size + if size < 126 { 6 } else { 8 };
    let slots = (ROW_LEN / slot).max(1);
    let mut row = vec![b'a'; slot * slots];
    let start = Instant::now();
    for _ in 0..rounds {
        for frame in row.chunks_exact_mut(slot) {
            mask(black_box(&mut frame[slot - size..]));
        }
    }
    start.elapsed() / slots as u32
}

fn agree() {
    for len in 0..300 {
        let clear: Vec<u8> = (0..len).map(|at| (at * 31) as u8).collect();
        let mut expected = clear.clone();
        plain(&mut expected, KEY);
        for (side, mask) in SIDES {
            let mut bytes = clear.clone();
            mask(&mut bytes);
            assert!(bytes == expected, "{side} masks {len} bytes in another way");
        }
    }
}

fn masking(c: &mut Criterion) {
    agree();
    let mut group = c.benchmark_group("mask");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (side, mask) in SIDES {
            group.bench_function(BenchmarkId::new(side, size), |b| {
                b.iter_custom(|rounds| per_payload(size, rounds, mask));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, masking);
criterion_main!(benches);
