//! Masking, unmasking text and assembling pieces, in memory: `cargo bench -p wsring-proto --bench mask`.
//!
//! Payloads lie one behind the other in 16 KiB or more, as frames lie in a receive, and a round takes each once; the time
//! given is per payload. Masking one small payload again and again would measure how the CPU waits for overlapping
//! stores before it can load across them, which no received frame makes it do. The loop itself costs about 0.5 ns.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use wsring_proto::{
    pool::Pool,
    simd::{self, Assembly, HEADROOM, MaskKey, kernel_name, mask, mask_copy, scalar, unmask_text},
};

const KEY: MaskKey = MaskKey::from_bytes([0x37, 0x7A, 0x21, 0x3D]); // no high bits: masked ASCII stays below 0x80
const SIZES: [usize; 7] = [5, 16, 64, 125, 1024, 4096, 65_536];
const ROW_LEN: usize = 16_384;

/// Runs `work` over rounds of payloads of `size` bytes of 'a', each behind the room of its header: time per payload.
fn per_payload(size: usize, rounds: u64, mut work: impl FnMut(&mut [u8], MaskKey)) -> Duration {
    let header = if size < 126 { 6 } else { 8 };
    let slot = header + size;
    let slots = (ROW_LEN / slot).max(1);
    let mut row = vec![b'a'; slot * slots];
    let key = black_box(KEY);
    let start = Instant::now();
    for _ in 0..rounds {
        for frame in row.chunks_exact_mut(slot) {
            work(black_box(&mut frame[header..]), key);
        }
    }
    start.elapsed() / slots as u32
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("mask ({})", kernel_name()));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("in place", size), |b| {
            b.iter_custom(|rounds| per_payload(size, rounds, mask));
        });
        let mut target = vec![0; size];
        group.bench_function(BenchmarkId::new("copy", size), |b| {
            b.iter_custom(|rounds| per_payload(size, rounds, |from, key| mask_copy(from, &mut target, key)));
        });
    }
    group.bench_function(BenchmarkId::new("scalar twin", 4096), |b| {
        b.iter_custom(|rounds| {
            per_payload(4096, rounds, |bytes, key| {
                black_box(scalar::mask(bytes, key));
            })
        });
    });
    group.finish();
}

/// What `simd::copy` is for: `memcpy` on AMD's Zen 3 where the target lies a few bytes behind the source, modulo a page.
fn copying(c: &mut Criterion) {
    const PAGE: usize = 4096;
    let mut group = c.benchmark_group("copy");
    for size in [1024, 4096, 16_384, 65_536] {
        group.throughput(Throughput::Bytes(size as u64));
        for behind in [12, 700] {
            let from = vec![b'a'; size + PAGE];
            let mut to = vec![0; size + 2 * PAGE];
            let from = &from[from.as_ptr().align_offset(PAGE)..][..size];
            let page = to.as_ptr().align_offset(PAGE);
            let to = &mut to[page + behind..][..size];
            for (name, copy) in
                [("memcpy", <[u8]>::copy_from_slice as fn(&mut [u8], &[u8])), ("ours", |to, from| simd::copy(from, to))]
            {
                let id = BenchmarkId::new(format!("{name}, target {behind} bytes behind"), size);
                group.bench_function(id, |b| b.iter(|| copy(black_box(to), black_box(from))));
            }
        }
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask_text");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("ascii", size), |b| {
            b.iter_custom(|rounds| {
                per_payload(size, rounds, |bytes, key| {
                    black_box(unmask_text(bytes, key).is_ok());
                })
            });
        });
        group.bench_function(BenchmarkId::new("ascii, mask then std", size), |b| {
            b.iter_custom(|rounds| {
                per_payload(size, rounds, |bytes, key| {
                    mask(bytes, key);
                    black_box(std::str::from_utf8(bytes).is_ok());
                })
            });
        });
    }
    // Unmasking valid text makes noise of it for the next round, so each masks it first: two passes and the check.
    for words in [85, 1365] {
        let mut bytes = "письмо ".repeat(words).into_bytes();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("letters of two bytes, and mask", bytes.len()), |b| {
            b.iter(|| {
                mask(black_box(&mut bytes), KEY);
                assert!(unmask_text(black_box(&mut bytes), KEY).is_ok());
            });
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
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("pool: take and put", |b| {
        let mut pool = Pool::new(16 << 20);
        b.iter(|| {
            let bytes = pool.take(black_box(4096), black_box(60_000));
            pool.put(bytes);
        });
    });
    group.finish();
}

criterion_group!(benches, masking, copying, text, assembly);
criterion_main!(benches);
