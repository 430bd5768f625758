//! Inflating against RFC 7692 §7.2.3's examples, against another implementation, and at its limits.

use super::*;
use alloc::string::String;
use alloc::vec;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

/// One message through a fresh inflater.
fn inflate(payload: &[u8]) -> Result<Vec<u8>, Violation> {
    message(&mut Inflater::new(), payload, &Limits::default())
}

fn message(inflater: &mut Inflater, payload: &[u8], limits: &Limits) -> Result<Vec<u8>, Violation> {
    let bytes = inflater.message(payload, limits, &mut Pool::new(64 << 20))?;
    assert_eq!(bytes[..HEADROOM], [0; HEADROOM]);
    Ok(bytes[HEADROOM..].to_vec())
}

/// Somebody else's stream: each message flushed, the tail taken off (RFC 7692 §7.2.1).
fn deflate(stream: &mut Compress, message: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1000);
    stream.compress_vec(message, &mut out, flush).expect("room");
    out
}

fn flushed(stream: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = deflate(stream, message, FlushCompress::Sync);
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - 4);
    out
}

fn fresh(level: u32) -> Compress {
    Compress::new(Compression::new(level), false)
}

// RFC 7692 §7.2.3.1-6, the payloads of all its examples.
#[test]
fn the_examples_of_the_rfc() {
    let hello: [&[u8]; 5] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        // §7.2.3.4's block without the byte behind it: nothing is missing.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00",
    ];
    for payload in hello {
        assert_eq!(inflate(payload).as_deref(), Ok(&b"Hello"[..]), "{payload:x?}");
    }
    let mut window = Inflater::new();
    assert_eq!(message(&mut window, hello[0], &Limits::default()).as_deref(), Ok(&b"Hello"[..]));
    let again = b"\xf2\x00\x11\x00\x00"; // §7.2.3.2
    assert_eq!(message(&mut window, again, &Limits::default()).as_deref(), Ok(&b"Hello"[..]));
    window.reset();
    assert_eq!(message(&mut window, again, &Limits::default()), Err(Violation::BrokenDeflate));
    // §7.2.3.6, and what zlib makes of an empty message behind another.
    for empty in [&b"\x00"[..], b"\x02\x00", b""] {
        assert_eq!(inflate(empty).as_deref(), Ok(&b""[..]));
    }
}

// RFC 7692 §7.2.1: blocks of any type, final or not, any number of them.
#[test]
fn final_blocks_anywhere_in_a_message() {
    let words: [&[u8]; 3] = [b"one, ", b"two, one, ", b"three"];
    for last_is_final in [false, true] {
        let mut payload = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let is_final = at < 2 || last_is_final;
            let flush = if is_final { FlushCompress::Finish } else { FlushCompress::Sync };
            payload.extend(deflate(&mut fresh(6), word, flush));
        }
        match last_is_final {
            true => payload.push(0),
            false => payload.truncate(payload.len() - 4),
        }
        let mut inflater = Inflater::new();
        assert_eq!(message(&mut inflater, &payload, &Limits::default()), Ok(words.concat()));
        // A final block begins a new window; the next message has what came since.
        assert_eq!(
            message(&mut inflater, b"\xf2\x48\xcd\xc9\xc9\x07\x00", &Limits::default()).as_deref(),
            Ok(&b"Hello"[..])
        );
    }
}

// RFC 7692 §7.2.2: what cannot come out of §7.2.1 is refused: reserved block types, references before the beginning, lengths
// that contradict, and blocks that do not end where the message does.
#[test]
fn broken_streams() {
    let cases: [&[u8]; 10] = [
        b"\xff",
        b"\x06\x00",
        b"\xf2\x00\x11\x00\x00",
        b"\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f",
        b"\xf2\x48\xcd\xc9",
        b"\xf2\x48\xcd\xc9\xc9\x07",
        b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", // the tail was not taken off
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x48",         // more behind the last block than the first bits of another
    ];
    for payload in cases {
        assert_eq!(inflate(payload), Err(Violation::BrokenDeflate), "{payload:x?}");
    }
}

/// Limits on a message's size and ratio.
fn limits(message_max_bytes: u64, inflate_ratio_max: u32) -> Limits {
    Limits::default().message_max_bytes(message_max_bytes).inflate_ratio_max(inflate_ratio_max)
}

// RFC 6455 §10.4: exactly the limit passes, one byte more does not, and nothing is made beyond it.
#[test]
fn the_limit_is_exact_whatever_the_ratio() {
    for len in [0usize, 1, 7, 4079, 4080, 4081, 65_536, 3 << 20] {
        for byte in [None, Some(b'x')] {
            let content: Vec<u8> = (0..len).map(|at| byte.unwrap_or((at * at / 7) as u8)).collect();
            for flush in [FlushCompress::Sync, FlushCompress::Finish] {
                let mut payload = deflate(&mut fresh(6), &content, flush);
                match flush {
                    FlushCompress::Finish => payload.push(0),
                    _ => payload.truncate(payload.len() - 4),
                }
                let at = |message_max_bytes: u64| {
                    message(&mut Inflater::new(), &payload, &limits(message_max_bytes, u32::MAX))
                };
                assert_eq!(at(len as u64).as_deref(), Ok(&content[..]));
                assert_eq!(at(len as u64 + 1).as_deref(), Ok(&content[..]));
                if len > 0 {
                    assert_eq!(at(len as u64 - 1), Err(Violation::MessageTooBig), "{len} {byte:?} {flush:?}");
                }
            }
        }
    }
}

// RFC 7692 §8: a peer cannot have us make a thousand bytes for each of its own.
#[test]
fn the_ratio_is_bounded_above_a_mebibyte() {
    let zeros = |len: usize| flushed(&mut fresh(9), &vec![0; len]);
    let free = zeros(CREDIT_MAX);
    assert!(free.len() * 500 < CREDIT_MAX);
    assert_eq!(message(&mut Inflater::new(), &free, &limits(u64::MAX, 0)).map(|bytes| bytes.len()), Ok(CREDIT_MAX));
    let beyond = zeros(CREDIT_MAX + 1);
    assert_eq!(message(&mut Inflater::new(), &beyond, &limits(u64::MAX, 0)), Err(Violation::InflatedTooMuch));
    let bomb = zeros(8 << 20);
    let ratio = ((7 << 20) as f64 / bomb.len() as f64).ceil() as u32;
    assert!(ratio > 500);
    let made = |ratio| message(&mut Inflater::new(), &bomb, &limits(u64::MAX, ratio)).map(|bytes| bytes.len());
    assert_eq!(made(ratio), Ok(8 << 20));
    assert_eq!(made(ratio - 1), Err(Violation::InflatedTooMuch));
    // The smaller of both limits is the one that is told.
    assert_eq!(message(&mut Inflater::new(), &bomb, &limits(1 << 20, 1)), Err(Violation::MessageTooBig));
}

// Memory follows what was made: a bomb takes at most its limit, and the next message of its size allocates nothing.
#[test]
fn memory_is_bounded_and_kept() {
    let bomb = flushed(&mut fresh(9), &vec![0; 8 << 20]);
    let mut pool = Pool::new(64 << 20);
    let limit = 1 << 20;
    let made = Inflater::new().message(&bomb, &limits(limit, u32::MAX), &mut pool);
    assert_eq!(made, Err(Violation::MessageTooBig));
    assert!(pool.kept_bytes() <= limit as usize + 2 * HEADROOM + 4096, "{}", pool.kept_bytes());

    let mut pool = Pool::new(64 << 20);
    let mut inflater = Inflater::new();
    let mut kept = Vec::new();
    for _ in 0..12 {
        let bytes = inflater.message(&bomb, &Limits::default().inflate_ratio_max(u32::MAX), &mut pool);
        let bytes = bytes.expect("within the limits");
        inflater.reset();
        pool.put(bytes);
        kept.push(pool.kept_bytes());
    }
    assert!(kept[8..].iter().all(|&bytes| bytes == kept[7]), "{kept:?}");
}

// A message cut inside a block of dynamic codes, where the tail happens to hold the end of the block: what is left of the tail's
// last byte would begin the next block. Found by `cut_messages_are_broken`.
#[test]
fn a_block_that_ends_inside_the_tail_is_broken() {
    let payload = b"\x0c\x8e\x89\x09\x00\x30\x08\x03\x67\xcd\x67\xba\xff\x04\x0d";
    assert_eq!(inflate(payload), Err(Violation::BrokenDeflate));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    // What another implementation makes of any messages is read back, with its window and without.
    #[test]
    fn somebody_elses_messages(
        messages in prop::collection::vec(prop_oneof![
            "[a-e]{0,300}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..300),
            (any::<u8>(), 0usize..100_000).prop_map(|(byte, len)| vec![byte; len]),
        ], 1..6),
        level in 0u32..10, takeover: bool,
    ) {
        let (mut stream, mut inflater) = (fresh(level), Inflater::new());
        for content in &messages {
            if !takeover {
                stream.reset();
                inflater.reset();
            }
            // Not every flush makes the tail: one of nothing behind another makes nothing.
            let mut payload = deflate(&mut stream, content, FlushCompress::Sync);
            let len = payload.strip_suffix(&TAIL).map_or(0, <[u8]>::len);
            payload.truncate(len);
            prop_assert_eq!(&message(&mut inflater, &payload, &Limits::default()), &Ok(content.clone()));
        }
    }

    // Any bytes: no panic, no byte beyond the limit, and if they are a message then zlib's rules hold for them.
    #[test]
    fn any_bytes(payload in prop::collection::vec(any::<u8>(), 0..200), message_max_bytes in 0u64..600) {
        let mut inflater = Inflater::new();
        if let Ok(made) = message(&mut inflater, &payload, &limits(message_max_bytes, 1)) {
            prop_assert!(made.len() as u64 <= message_max_bytes);
            let more = message(&mut Inflater::new(), &payload, &limits(message_max_bytes + 1, 1));
            prop_assert_eq!(more, Ok(made));
        }
    }

    // A message cut short anywhere is broken, never shorter.
    #[test]
    fn cut_messages_are_broken(content in "[a-h]{1,200}", level in 1u32..10, cut: prop::sample::Index) {
        let payload = flushed(&mut fresh(level), content.as_bytes());
        let cut = cut.index(payload.len());
        // Where the block is stored, its first bits alone are an empty message.
        prop_assume!(cut > 0 && payload[0] & 0b110 != 0);
        prop_assert_eq!(inflate(&payload[..cut]), Err(Violation::BrokenDeflate));
    }
}
