//! Unmasking text and validating it: `cargo bench --bench utf8`.
//!
//! Ours checks while it unmasks; the others unmask and then validate, each with the best that is public. A round takes
//! payloads that lie one behind the other and are restored before it, outside the time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wsring_proto::simd::{self, MaskKey};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const SIZES: [usize; 4] = [20, 125, 1024, 16_384];
const ROW_LEN: usize = 16_384;

type Check = fn(&mut [u8]) -> bool;

const SIDES: [(&str, Check); 5] = [
    ("wsring-proto, in one pass", |bytes| simd::unmask_text(bytes, MaskKey::from_bytes(black_box(KEY))).is_ok()),
    ("wsring-proto's mask, then simdutf8", |bytes| {
        simd::mask(bytes, MaskKey::from_bytes(black_box(KEY)));
        simdutf8::basic::from_utf8(bytes).is_ok()
    }),
    ("wsring-proto's mask, then std", |bytes| {
        simd::mask(bytes, MaskKey::from_bytes(black_box(KEY)));
        std::str::from_utf8(bytes).is_ok()
    }),
    ("fastwebsockets' unmask, then simdutf8", |bytes| {
        fastwebsockets::unmask(bytes, black_box(KEY));
        simdutf8::basic::from_utf8(bytes).is_ok()
    }),
    ("sockudo-ws' mask and validation", |bytes| {
        sockudo_ws::simd::apply_mask(bytes, black_box(KEY));
        sockudo_ws::utf8::validate_utf8(bytes)
    }),
];

/// Text of about `size` bytes, masked.
fn masked(letters: &str, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = letters.repeat(size / letters.len() + 1).into_bytes();
    bytes.truncate(size - size % letters.len().min(2));
    simd::mask(&mut bytes, MaskKey::from_bytes(KEY));
    bytes
}

fn per_payload(payload: &[u8], rounds: u64, check: Check) -> Duration {
    let slot = payload.len() + if payload.len() < 126 { 6 } else { 8 };
    let slots = (ROW_LEN / slot).max(1);
    let mut fresh = vec![0; slot * slots];
    for frame in fresh.chunks_exact_mut(slot) {
        frame[slot - payload.len()..].copy_from_slice(payload);
    }
    let (mut row, mut time) = (fresh.clone(), Duration::ZERO);
    for _ in 0..rounds {
        row.copy_from_slice(&fresh);
        let start = Instant::now();
        for frame in row.chunks_exact_mut(slot) {
            assert!(check(black_box(&mut frame[slot - payload.len()..])));
        }
        time += start.elapsed();
    }
    time / slots as u32
}

fn agree(payload: &[u8]) {
    for (side, check) in SIDES {
        assert!(check(&mut payload.to_vec()), "{side} takes valid text for invalid");
        let mut broken = payload.to_vec();
        broken[payload.len() / 2] ^= 0x80;
        assert!(!check(&mut broken), "{side} takes invalid text for valid");
    }
}

fn text(c: &mut Criterion) {
    for (name, letters) in [("ascii", "a letter, and another; "), ("two bytes a letter", "щ")] {
        let mut group = c.benchmark_group(name);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for size in SIZES {
            let payload = masked(letters, size);
            agree(&payload);
            group.throughput(Throughput::Bytes(payload.len() as u64));
            for (side, check) in SIDES {
                group.bench_function(BenchmarkId::new(side, size), |b| {
                    b.iter_custom(|rounds| per_payload(&payload, rounds, check));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, text);
criterion_main!(benches);
