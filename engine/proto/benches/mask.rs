//! Masking, unmasking text and assembling pieces, in memory: `cargo bench -p wsring-proto --bench mask`.
//!
//! Payloads lie one behind the other in 4 KiB or more, as frames lie in a receive, and each call takes the next one:
//! masking one small payload again and again would measure how the CPU forwards overlapping stores to the loads behind
//! them, which no received frame does.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wsring_proto::{
    pool::Pool,
    simd::{Assembly, HEADROOM, MaskKey, kernel_name, mask, mask_copy, scalar, unmask_text},
};

const KEY: MaskKey = MaskKey::from_bytes([0x37, 0x7A, 0x21, 0x3D]); // no high bits: masked ASCII stays below 0x80
const SIZES: [usize; 7] = [5, 16, 64, 125, 1024, 4096, 65_536];

/// Payloads of one size in a row, handed out round and round.
struct Row {
    bytes: Vec<u8>,
    size: usize,
    next: usize,
}

impl Row {
    fn new(size: usize, fill: &[u8]) -> Self {
        let header = if size < 126 { 6 } else { 8 };
        let slot = header + size;
        let slots = (4096 / slot).max(1);
        let bytes = fill.iter().copied().cycle().take(slot * slots).collect();
        Row { bytes, size: slot, next: header }
    }

    #[inline(always)]
    fn payload(&mut self, size: usize) -> &mut [u8] {
        if self.next + size > self.bytes.len() {
            self.next %= self.size;
        }
        let at = self.next;
        self.next += self.size;
        &mut self.bytes[at..at + size]
    }
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("mask ({})", kernel_name()));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut row = Row::new(size, b"a");
        group.bench_function(BenchmarkId::new("in place", size), |b| {
            b.iter(|| mask(row.payload(black_box(size)), KEY))
        });
        let mut target = vec![0; size];
        group.bench_function(BenchmarkId::new("copy", size), |b| {
            b.iter(|| mask_copy(row.payload(black_box(size)), black_box(&mut target), KEY))
        });
        group.bench_function(BenchmarkId::new("scalar twin", size), |b| {
            b.iter(|| scalar::mask(row.payload(black_box(size)), KEY))
        });
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask_text");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut row = Row::new(size, b"a");
        group.bench_function(BenchmarkId::new("ascii", size), |b| {
            b.iter(|| unmask_text(row.payload(black_box(size)), KEY).is_ok())
        });
        let mut row = Row::new(size, b"a");
        group.bench_function(BenchmarkId::new("ascii, then std", size), |b| {
            b.iter(|| {
                let bytes = row.payload(black_box(size));
                mask(bytes, KEY);
                std::str::from_utf8(bytes).is_ok()
            })
        });
    }
    // Unmasking turns valid text into noise for the next round, so this one masks it again: two passes and a check.
    for size in [1024, 16_384] {
        let mut bytes: Vec<u8> = "пароль ".bytes().cycle().take(size).collect();
        let whole = size - (size % "пароль ".len()); // a whole number of words
        let bytes = &mut bytes[..whole];
        group.throughput(Throughput::Bytes(whole as u64));
        group.bench_function(BenchmarkId::new("mask, unmask two-byte letters", size), |b| {
            b.iter(|| {
                mask(bytes, KEY);
                unmask_text(bytes, KEY).is_ok()
            })
        });
    }
    group.finish();
}

fn assembly(c: &mut Criterion) {
    let mut group = c.benchmark_group("assembly");
    let piece = vec![b'a'; 65_536];
    for (name, text) in [("1 MiB binary", false), ("1 MiB ascii", true)] {
        let len = 1 << 20;
        group.throughput(Throughput::Bytes(len as u64));
        let mut pool = Pool::new(16 << 20);
        pool.put(Vec::with_capacity(HEADROOM + len));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut assembly = Assembly::new(pool.take(4096, HEADROOM + len));
                for n in (0..16).rev() {
                    let verdict = assembly.append(black_box(&piece), KEY, text, n * 65_536);
                    assert!(verdict.is_ok());
                }
                pool.put(assembly.into_bytes());
            })
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("pool: put, take", |b| {
        let mut pool = Pool::new(16 << 20);
        b.iter_batched(
            || (),
            |()| {
                let bytes = pool.take(black_box(4096), black_box(70_000));
                pool.put(bytes);
            },
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

criterion_group!(benches, masking, text, assembly);
criterion_main!(benches);
