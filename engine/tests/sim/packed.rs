//! permessage-deflate of a simulated peer (RFC 7692), by another implementation of DEFLATE than the engine's.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use wsring::Deflate;
use wsring::ring::sim::Random;
use wsring_proto::deflate::Agreed;

/// What a client may offer. What it sends refers to no earlier message, which is always allowed (§7.1.1.2).
pub const OFFERS: [&str; 4] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9",
];

/// How messages are compressed: in a third of the seeds, drawn apart from everything else. None of those is a seed with a
/// name (`tests/simulation.rs`).
pub fn deflate(seed: u64) -> Deflate {
    let mut random = Random::new(seed ^ 0x6465_666c_6174_651b);
    if !random.chance(333) {
        return Deflate::off();
    }
    let level = random.pick(&[1, 1, 2, 6]);
    let (window_bits, memory_level) = (random.range(9, 15) as u8, random.range(1, 9) as u8);
    let threshold_bytes = random.pick(&[0, 1, 64, 512]);
    let deflate = random.pick(&[Deflate::shared(), Deflate::dedicated()]);
    deflate.level(level).window_bits(window_bits).memory_level(memory_level).threshold_bytes(threshold_bytes)
}

/// What ends a flushed block, and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A message compressed by itself.
pub fn pack(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 1000);
    let mut deflate = Compress::new(Compression::fast(), false);
    deflate.compress_vec(message, &mut out, FlushCompress::Sync).expect("room");
    let len = out.strip_suffix(&TAIL).map_or(0, <[u8]>::len);
    out.truncate(len);
    if out.is_empty() {
        out.push(0x00); // §7.2.3.6
    }
    out
}

/// What the server's head says was agreed on.
pub fn agreed(head: &str) -> Option<Agreed> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let (_, text) = headers.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"))?;
    let has = |name: &str| text.split("; ").any(|param| param == name);
    let bits = |name: &str| {
        let value = text.split("; ").find_map(|param| param.strip_prefix(name)?.strip_prefix('='));
        value.map_or(15, |bits| bits.parse().expect("a number of bits"))
    };
    assert!(text.starts_with("permessage-deflate"), "{text}");
    Some(Agreed {
        server_no_context_takeover: has("server_no_context_takeover"),
        client_no_context_takeover: has("client_no_context_takeover"),
        server_window_bits: bits("server_max_window_bits"),
        client_window_bits: bits("client_max_window_bits"),
    })
}

/// Inflates what the engine compressed, message by message.
pub struct Inflate {
    stream: Decompress,
    takeover: bool,
}

impl Inflate {
    pub fn new(takeover: bool) -> Self {
        Self { stream: Decompress::new(false), takeover }
    }

    /// The message in a payload (§7.2.2).
    pub fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.stream.reset(false);
        }
        let bytes = [payload, &TAIL].concat();
        let (mut at, mut out) = (0, Vec::with_capacity(4 * bytes.len() + 100));
        loop {
            let (before, full) = (self.stream.total_in(), out.len());
            let status = self.stream.decompress_vec(&bytes[at..], &mut out, FlushDecompress::Sync);
            let taken = (self.stream.total_in() - before) as usize;
            at += taken;
            if status.expect("sound DEFLATE") == Status::StreamEnd {
                self.stream.reset(false); // §7.2.3.4: behind a final block begins another stream
            }
            if at == bytes.len() && out.len() < out.capacity() {
                return out;
            }
            assert!(taken > 0 || out.len() > full, "a message that goes on");
            if out.len() == out.capacity() {
                out.reserve(out.len());
            }
        }
    }
}
