//! What we compress, read by another implementation and by ourselves.

use super::*;
use crate::deflate::Inflater;
use crate::limits::Limits;
use crate::simd::HEADROOM;
use alloc::string::String;
use alloc::vec;
use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::*;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Somebody else inflates a payload as RFC 7692 §7.2.2 says: the tail put back, a final block followed by a new stream.
fn inflate(stream: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let input = [payload, &TAIL].concat();
    let (mut at, mut out) = (0, Vec::with_capacity(1 << 20));
    while at < input.len() {
        let before = stream.total_in();
        let status = stream.decompress_vec(&input[at..], &mut out, FlushDecompress::Sync).expect("a valid stream");
        at += (stream.total_in() - before) as usize;
        match status {
            Status::StreamEnd => stream.reset(false),
            Status::Ok => {}
            Status::BufError => break,
        }
    }
    assert_eq!(at, input.len());
    out
}

fn direction(takeover: bool, window_bits: u8) -> Direction {
    Direction { takeover, window_bits }
}

fn words(seed: usize, len: usize) -> Vec<u8> {
    let words = ["trade", "price", "quantity", "\"", ":", ",", "12", "7", "0.5", "symbol"];
    let mut random = seed;
    let mut text = Vec::new();
    while text.len() < len {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        text.extend_from_slice(words[(random >> 33) % words.len()].as_bytes());
    }
    text.truncate(len);
    text
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = seed;
    let mut byte = || {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (random >> 56) as u8
    };
    (0..len).map(|_| byte()).collect()
}

// Every setting that can be made compresses, and everybody reads it.
#[test]
fn every_setting_round_trips() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    let messages: Vec<Vec<u8>> = [200, 1024, 3000, 40_000].iter().map(|&len| words(len, len)).collect();
    for level in 1..=9 {
        for window_bits in 9..=15 {
            for memory_level in [1, 5, 9] {
                let settings = Settings::dedicated().level(level).memory_level(memory_level);
                for takeover in [false, true] {
                    let mut deflater = Deflater::new(&settings, direction(takeover, window_bits)).expect("a window");
                    let (mut theirs, mut ours) = (Decompress::new(false), Inflater::new());
                    for message in &messages {
                        let payload = deflater.message(message, &mut scratch, &mut pool).expect("words compress");
                        assert!(payload.len() < message.len());
                        if !takeover {
                            theirs.reset(false);
                            ours.reset();
                        }
                        assert!(inflate(&mut theirs, payload) == *message);
                        let made = ours.message(payload, &Limits::default(), &mut pool).expect("ours");
                        assert!(made[HEADROOM..] == *message);
                    }
                }
            }
            let mut shared = Shared::new(&Settings::shared().level(level));
            for message in &messages {
                let payload = shared.message(message, window_bits, &mut scratch, &mut pool).expect("words compress");
                assert!(payload.len() < message.len());
                assert!(inflate(&mut Decompress::new(false), payload) == *message);
                let made = Inflater::new().message(payload, &Limits::default(), &mut pool).expect("ours");
                assert!(made[HEADROOM..] == *message);
            }
        }
    }
}

// Clients that keep one inflater, whatever was agreed on, read every message: no block is final (RFC 7692 §7.2.3.4 allows it,
// and they stop there).
#[test]
fn no_message_ends_the_stream() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    for level in 1..=9 {
        let mut shared = Shared::new(&Settings::shared().level(level));
        let mut theirs = Decompress::new(false);
        for len in (20..300).chain([1000, 12_000, 32_768, 100_000]) {
            let message = words(len, len);
            let Some(payload) = shared.message(&message, 15, &mut scratch, &mut pool) else { continue };
            let input = [payload, &TAIL].concat();
            let mut out = Vec::with_capacity(len + 1);
            let status = theirs.decompress_vec(&input, &mut out, FlushDecompress::Sync).expect("a valid stream");
            assert!(status == Status::Ok && out == message, "{status:?} after {len} bytes at level {level}");
        }
        assert!(theirs.total_out() > 100_000);
    }
}

/// The furthest that a payload refers back, by trial: the least window that a strict inflater needs.
fn distance_max(payload: &[u8]) -> u16 {
    // A reader of blocks of its own: what an inflater with a smaller window would refuse.
    let mut bits = payload.iter().chain(&TAIL).flat_map(|&byte| (0..8).map(move |bit| byte >> bit & 1));
    let mut take = |count: u8| (0..count).map(|at| u16::from(bits.next().expect("a whole message")) << at).sum::<u16>();
    const LENGTHS: [(u16, u8); 29] = {
        let mut table = [(0, 0); 29];
        let (mut at, mut base) = (0, 3);
        while at < 28 {
            let extra = if at < 8 { 0 } else { (at / 4 - 1) as u8 };
            table[at] = (base, extra);
            base += 1 << extra;
            at += 1;
        }
        table[28] = (258, 0);
        table
    };
    let mut furthest = 0;
    loop {
        assert_eq!(take(1), 0, "zlib-rs flushes");
        match take(2) {
            0 => return furthest, // the empty block at the end
            1 => {}
            _ => panic!("level 1 makes fixed blocks"),
        }
        loop {
            // RFC 1951 §3.2.6: codes of 7, 8 or 9 bits, highest bit first.
            let mut code = 0;
            let mut more = |count: u8, code: &mut u16| (0..count).for_each(|_| *code = *code << 1 | take(1));
            more(7, &mut code);
            let symbol = if code <= 0b001_0111 {
                256 + code
            } else {
                more(1, &mut code);
                match code {
                    0b0011_0000..=0b1011_1111 => code - 0b0011_0000,
                    0b1100_0000..=0b1100_0111 => 280 + code - 0b1100_0000,
                    _ => {
                        more(1, &mut code);
                        144 + code - 0b1_1001_0000
                    }
                }
            };
            match symbol {
                0..=255 => {}
                256 => break,
                _ => {
                    let (_, extra) = LENGTHS[usize::from(symbol - 257)];
                    take(extra);
                    let code = (0..5).fold(0, |code, _| code << 1 | take(1));
                    let extra = if code < 4 { 0 } else { (code / 2 - 1) as u8 };
                    let base = if code < 4 { code + 1 } else { ((2 + code % 2) << extra) + 1 };
                    furthest = furthest.max(base + take(extra));
                }
            }
        }
    }
}

// RFC 7692 §7.1.2: nothing refers back further than was agreed on, whatever the settings would like.
#[test]
fn the_window_agreed_on_is_kept() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    // The same 300 bytes again after each of many distances, with letters of 8 bits between.
    let chapter = words(7, 300);
    let mut message = chapter.clone();
    for gap in [300usize, 800, 1500, 3000, 7000, 14_000, 25_000] {
        message.extend(noise(gap as u64, gap).iter().map(|byte| b' ' + byte % 96));
        message.extend_from_slice(&chapter);
    }
    let mut widest = 0;
    for window_bits in 9..=15 {
        let mut shared = Shared::new(&Settings::shared());
        let payload = shared.message(&message, window_bits, &mut scratch, &mut pool).expect("it repeats itself");
        let furthest = distance_max(payload);
        assert!(furthest <= 1 << window_bits, "{furthest} in {window_bits} bits");
        widest = widest.max(furthest);
        let narrow = Settings::shared().window_bits(window_bits);
        let payload = Shared::new(&narrow).message(&message, 15, &mut scratch, &mut pool).expect("it repeats itself");
        assert!(distance_max(payload) <= 1 << window_bits);
    }
    assert!(widest > 1 << 14, "the message tests nothing: {widest}");
    // Too small a window for any compressor of ours: plain (see WINDOW_BITS_MIN).
    assert!(Shared::new(&Settings::shared()).message(&message, 8, &mut scratch, &mut pool).is_none());
    assert!(Deflater::new(&Settings::dedicated(), direction(true, 8)).is_none());
}

// A message that does not shrink is not sent compressed, and later ones do not refer to it: the peer never saw it.
#[test]
fn what_does_not_shrink_leaves_no_trace() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    let noise = noise(1, 2000);
    for level in [1, 2, 6] {
        let settings = Settings::dedicated().level(level);
        let mut deflater = Deflater::new(&settings, direction(true, 15)).expect("a window");
        let mut theirs = Decompress::new(false);
        let first = deflater.message(&words(1, 500), &mut scratch, &mut pool).expect("words compress");
        assert_eq!(inflate(&mut theirs, first), words(1, 500));
        assert!(deflater.message(&noise, &mut scratch, &mut pool).is_none());
        let twice = [&noise[..], &noise].concat();
        let payload = deflater.message(&twice, &mut scratch, &mut pool).expect("it repeats itself");
        assert_eq!(inflate(&mut theirs, payload), twice);
        let mut shared = Shared::new(&Settings::shared().level(level));
        assert!(shared.message(&noise, 15, &mut scratch, &mut pool).is_none());
        for short in [&b""[..], b"a", b"ab", b"abc"] {
            assert!(shared.message(short, 15, &mut scratch, &mut pool).is_none(), "{short:?}");
            assert!(deflater.message(short, &mut scratch, &mut pool).is_none(), "{short:?}");
        }
    }
}

// zlib-rs 0.6.8, reset while it held output back, lost that much of its room for good and panicked when there was none
// left. Found by an echo of random bytes in between others.
#[test]
fn many_messages_that_do_not_shrink() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    for level in 1..=9 {
        for memory_level in [1, 5] {
            for takeover in [false, true] {
                let settings = Settings::dedicated().level(level).memory_level(memory_level);
                let mut deflater = Deflater::new(&settings, direction(takeover, 9)).expect("a window");
                let mut theirs = Decompress::new(false);
                for round in 0..60 {
                    for message in [noise(round, 300 + 97 * round as usize), words(round as usize, 200)] {
                        let Some(payload) = deflater.message(&message, &mut scratch, &mut pool) else { continue };
                        if !takeover {
                            theirs.reset(false);
                        }
                        assert!(inflate(&mut theirs, payload) == message, "level {level}, {round}");
                    }
                }
            }
        }
    }
}

// What is made takes memory by its own length: none of the pool's for 16 MiB that become 16 KiB, and at most twice its length
// beyond a chunk. In a steady state nothing is allocated for a message: the buffers come back.
#[test]
fn memory_follows_what_is_made() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(64 << 20));
    let zeros = vec![0; 16 << 20];
    let mut smallest = Shared::new(&Settings::shared().level(9));
    let payload = smallest.message(&zeros, 15, &mut scratch, &mut pool).expect("zeros compress");
    assert!(payload.len() < CHUNK, "{} bytes", payload.len());
    scratch.recycle(&mut pool);
    assert_eq!(pool.kept_bytes(), 0);

    let mut shared = Shared::new(&Settings::shared().level(2));
    let message = words(1, 1 << 20);
    for round in 0..4 {
        let payload = shared.message(&message, 15, &mut scratch, &mut pool).expect("words compress");
        let len = payload.len();
        assert!(inflate(&mut Decompress::new(false), payload) == message);
        let (kept, taken) = (pool.kept_bytes(), scratch.taken());
        assert!(len > 2 * CHUNK && (len..=2 * len).contains(&taken), "{taken} bytes for {len}, round {round}");
        // What was outgrown, each half of the next.
        assert!(kept <= taken, "{kept} bytes were outgrown by {taken}");
        scratch.recycle(&mut pool);
        assert_eq!(pool.kept_bytes(), kept + taken);
    }
}

// Chunks end at every byte of what is made, also of the marker at the end, which zlib repeats if it was told to go on there.
#[test]
fn a_payload_may_end_wherever_a_chunk_does() {
    let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
    let letters: Vec<u8> = noise(3, 120_000).iter().map(|byte| b'@' + byte % 64).collect();
    for settings in [Settings::dedicated(), Settings::dedicated().level(6)] {
        let mut deflater = Deflater::new(&settings, direction(false, 15)).expect("a window");
        let mut made = |len: usize| {
            let payload = deflater.message(&letters[..len], &mut scratch, &mut pool).expect("six bits of eight");
            assert!(inflate(&mut Decompress::new(false), payload) == letters[..len], "{len} bytes");
            let mut ours = Inflater::new();
            let message = ours.message(payload, &Limits::default(), &mut Pool::new(0)).expect("ours");
            assert!(message[HEADROOM..] == letters[..len]);
            payload.len()
        };
        // The length whose payload fills a chunk, by halving.
        let (mut least, mut most) = (0, letters.len());
        while most - least > 1 {
            let len = least.midpoint(most);
            if made(len.max(100)) + TAIL_LEN < CHUNK { least = len } else { most = len }
        }
        let lens: Vec<usize> = (least - 20..least + 20).map(made).collect();
        let around = |len: usize| lens.iter().filter(|&&made| made.abs_diff(CHUNK) <= len).count();
        assert!(lens[0] < CHUNK - TAIL_LEN && lens[39] > CHUNK && around(8) > 8, "{lens:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_round_trip(
        messages in prop::collection::vec(prop_oneof![
            "[a-e]{0,300}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..300),
            (any::<u8>(), 0usize..70_000).prop_map(|(byte, len)| vec![byte; len]),
        ], 1..6),
        level in 1u8..10, window_bits in 9u8..16, takeover: bool,
    ) {
        let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
        let settings = Settings::dedicated().level(level);
        let mut deflater = Deflater::new(&settings, direction(takeover, window_bits)).expect("a window");
        let mut shared = Shared::new(&Settings::shared().level(level));
        let mut theirs = Decompress::new(false);
        for message in &messages {
            if let Some(payload) = deflater.message(message, &mut scratch, &mut pool) {
                prop_assert!(payload.len() < message.len());
                if !takeover {
                    theirs.reset(false);
                }
                prop_assert_eq!(&inflate(&mut theirs, payload), message);
            }
            if let Some(payload) = shared.message(message, window_bits, &mut scratch, &mut pool) {
                prop_assert!(payload.len() < message.len());
                prop_assert_eq!(&inflate(&mut Decompress::new(false), payload), message);
            }
        }
    }
}
