//! What a peer will do, decided by its seed before it begins: a list of steps.

use std::time::Duration;

use wsring::ring::sim::{Random, SimConfig};
use wsring::{DeflateMode, Limits};
use wsring_proto::{MaskKey, Opcode, encode};

use super::oracle::Digest;
use super::packed::{OFFERS, pack};
use super::{Manners, Settings, draws};

/// How messages begin that begin alike.
const ALIKE: &[u8] = b"{\"type\":\"quote\",\"instrument\":\"XETR:SAP\",\"bid\":";
/// The longest message of anybody.
pub const LEN_MAX: usize = 300_000;

/// One thing a peer does, when everything before it has been sent.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes of whole frames, and the messages and pings that are complete with them.
    Frames(Vec<u8>, Vec<Digest>, Vec<Digest>),
    /// Bytes that break the protocol: from here on nothing is answered.
    Violation(Vec<u8>),
    /// Half a frame, then the end of the stream.
    Cut(Vec<u8>),
    /// Bytes of whole frames in pieces of so many bytes, and a pause behind each: slow, but not too slow.
    Slow(Vec<u8>, Vec<Digest>, usize, Duration),
    /// The beginning of a message, and no more of it; in single bytes and without an end if there is a pause.
    Stall(Vec<u8>, Option<Duration>),
    /// Nothing for a while.
    Pause(Duration),
    /// A Close: nothing more is sent.
    Close(Option<u16>, Vec<u8>),
    /// The end of its stream without a Close.
    Fin,
    /// A reset.
    Reset,
    /// Nothing more, until the server ends it.
    Silence,
}

/// How it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A valid handshake.
    Valid,
    /// Answered with this status.
    Refused(u16),
    /// A head that never ends.
    Never,
}

/// How it reads.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Bytes at a time.
    pub piece: usize,
    /// After each piece.
    pub pause: Duration,
    /// Stops reading once, after so many bytes, for so long.
    pub stall: Option<(usize, Duration)>,
    /// Reads between two writes alone, as a program of one thread that blocks in write(2): nothing while bytes of its own wait.
    pub blocks: bool,
}

/// Everything a peer will do.
#[derive(Clone, Debug)]
pub struct Script {
    pub start: Duration,
    pub opening: Opening,
    /// Extensions it offers.
    pub offer: Option<&'static str>,
    pub head: Vec<u8>,
    /// The head goes in pieces of this size.
    pub drip: Option<(usize, Duration)>,
    /// Frames follow the head without waiting for the answer.
    pub pipelined: bool,
    pub steps: Vec<Step>,
    pub reading: Reading,
    pub answers_close: bool,
    pub answers_ping: bool,
    /// A server that leaves the end of the connection to its client, against RFC 6455 §7.1.1.
    pub lingers: bool,
}

/// A valid key: 16 bytes in base64 (RFC 6455 §4.1).
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn head(number: usize, opening: Opening, offer: Option<&str>, random: &mut Random) -> Vec<u8> {
    let mut extra = String::new();
    for i in 0..random.below(4) {
        extra.push_str(&format!("X-Pad-{i}: {}\r\n", "p".repeat(random.below(40) as usize)));
    }
    if let Some(offer) = offer {
        extra.push_str(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    }
    let version = if opening == Opening::Refused(426) { 12 } else { 13 };
    let text = match opening {
        Opening::Refused(404) => format!("GET /none HTTP/1.1\r\nHost: sim\r\n{extra}\r\n"),
        Opening::Refused(431) => format!("GET /{number} HTTP/1.1\r\nX-Long: {}\r\n\r\n", "l".repeat(4000)),
        Opening::Refused(400) => format!("GET /{number} HTTP/1.1\r\nHost sim\r\n\r\n"),
        _ => format!(
            "GET /{number} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n{extra}\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: {version}\r\n\r\n"
        ),
    };
    let mut bytes = text.into_bytes();
    if opening == Opening::Never {
        bytes.truncate(random.below(bytes.len() as u64 - 4) as usize);
    }
    bytes
}

fn payload(random: &mut Random, text: bool, len: usize) -> Vec<u8> {
    if !text {
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&random.bits().to_le_bytes());
        }
        bytes.truncate(len);
        return bytes;
    }
    // Characters of one to four bytes, so that cuts fall inside of them.
    let mut string = String::with_capacity(len + 4);
    let rich = random.chance(500);
    while string.len() < len {
        let word = random.bits();
        if rich && word & 3 == 0 {
            string.push(random.pick(&['é', '€', '𝄞', '\u{10ffff}', '\u{7ff}']));
        } else {
            word.to_le_bytes().iter().for_each(|byte| string.push(char::from(byte & 0x3f | 0x40)));
        }
    }
    while string.len() > len {
        string.pop();
    }
    while string.len() < len {
        string.push('.');
    }
    string.into_bytes()
}

/// Where a long message may lie in one receive, half of all are long.
fn size(random: &mut Random, most: usize, narrow: usize) -> usize {
    if narrow > 65_536 && random.chance(500) {
        return (random.range(60_000, narrow as u64) as usize).min(most);
    }
    let size = match random.below(20) {
        0..=9 => random.below(200),
        10..=13 => random.pick(&[0, 1, 124, 125, 126, 127]),
        14..=16 => random.below(5_000),
        17 => random.pick(&[65_535, 65_536, 8_192, 8_191]),
        18 => random.range(8_000, 20_000),
        _ => random.below(70_000),
    };
    (size as usize).min(most)
}

/// Frames of one message; control frames may stand between its fragments (RFC 6455 §5.4).
fn message(
    random: &mut Random,
    most: usize,
    narrow: usize,
    limits: &Limits,
    serves: bool,
    packs: bool,
    steps: &mut Vec<Step>,
) -> usize {
    let most = most.min(limits.frame_max_bytes as usize);
    let text = random.chance(500);
    let len = size(random, most, narrow);
    // Where messages are compressed, half begin alike: what a compressor knows of one connection would serve another.
    let alike = if packs && random.chance(500) { &ALIKE[..ALIKE.len().min(len)] } else { &[] };
    let bytes = [alike, &payload(random, text, len - alike.len())].concat();
    let digest = Digest::of(text, &bytes);
    let opcode = if text { Opcode::Text } else { Opcode::Binary };
    let fragments_max = u64::from(limits.fragments_max.min(8));
    let fragments = if random.chance(250) { random.range(1, fragments_max) } else { 1 };
    let packed = (packs && random.chance(600)).then(|| pack(&bytes));
    let mut rest = packed.as_ref().unwrap_or(&bytes).as_slice();
    let mut out = Vec::new();
    let mut pings = Vec::new();
    for i in 0..fragments {
        let last = i + 1 == fragments;
        let take = if last { rest.len() } else { random.below(rest.len() as u64 + 1) as usize };
        let (piece, after) = rest.split_at(take);
        rest = after;
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        let begin = out.len();
        encode::append_frame(&mut out, last, opcode, piece, key(random, serves));
        if i == 0 && packed.is_some() {
            out[begin] |= 0x40; // RFC 7692 §6.1: on the first fragment alone
        }
        if !last && random.chance(300) {
            pings.push(ping(random, serves, &mut out));
        }
        if !last && random.chance(200) {
            steps.push(Step::Frames(std::mem::take(&mut out), Vec::new(), std::mem::take(&mut pings)));
            steps.push(pause(random));
        }
    }
    steps.push(Step::Frames(out, vec![digest], pings));
    len
}

/// Many frames that say little, in one piece: messages, pings, pongs, or one message in as many fragments as there may be.
fn flood(random: &mut Random, most: usize, limits: &Limits, serves: bool, steps: &mut Vec<Step>) -> usize {
    let (mut out, mut messages, mut pings) = (Vec::new(), Vec::new(), Vec::new());
    let count = random.range(20, 400).min(most as u64 / 64);
    let kind = random.below(5);
    for _ in 0..count {
        let text = random.chance(500);
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        let (len, key) = (random.below(3) as usize, key(random, serves));
        match kind {
            0 | 1 => {
                encode::append_frame(&mut out, true, opcode, &b"xy"[..len], key);
                messages.push(Digest::of(text, &b"xy"[..len]));
            }
            2 => pings.push(ping(random, serves, &mut out)),
            3 => encode::append_frame(&mut out, true, Opcode::Pong, b"", key),
            _ => {
                encode::append_frame(&mut out, limits.fragments_max == 1, opcode, b"", key);
                let more = u64::from(limits.fragments_max).min(count + 1).saturating_sub(1);
                for i in 1..=more {
                    encode::append_frame(&mut out, i == more, Opcode::Continuation, b"", key);
                }
                messages.push(Digest::of(text, b""));
                if messages.len() as u64 * (more + 1) > count {
                    break;
                }
            }
        }
    }
    let len = out.len();
    steps.push(Step::Frames(out, messages, pings));
    len
}

/// RFC 6455 §5.1: a client masks, a server does not.
pub fn key(random: &mut Random, serves: bool) -> Option<MaskKey> {
    (!serves).then(|| MaskKey::from_bytes((random.bits() as u32).to_ne_bytes()))
}

fn ping(random: &mut Random, serves: bool, out: &mut Vec<u8>) -> Digest {
    let len = random.pick(&[0, 1, 8, 125]);
    ping_of(random, len, serves, out)
}

fn ping_of(random: &mut Random, len: usize, serves: bool, out: &mut Vec<u8>) -> Digest {
    let bytes = payload(random, false, len);
    encode::append_frame(out, true, Opcode::Ping, &bytes, key(random, serves));
    Digest::of(false, &bytes)
}

/// A message that takes several rounds, in each of which enough of it comes.
fn slow(random: &mut Random, least: u32, most: usize, round: Duration, serves: bool) -> Option<Step> {
    let piece = 3 * least as usize + 14;
    let len = piece * random.range(6, 12) as usize;
    if len > most {
        return None;
    }
    let bytes = payload(random, false, len);
    let digest = Digest::of(false, &bytes);
    let mut out = Vec::new();
    encode::append_frame(&mut out, true, Opcode::Binary, &bytes, key(random, serves));
    Some(Step::Slow(out, vec![digest], piece, round / 3))
}

/// The beginning of a message: a fragment, or a frame that drips, a third as fast as it would have to.
fn stall(random: &mut Random, least: u32, most: u64, round: Duration, serves: bool) -> Step {
    let mut out = Vec::new();
    if random.chance(500) || most < 1000 {
        encode::append_frame(&mut out, false, Opcode::Text, b"and then", key(random, serves));
        return Step::Stall(out, None);
    }
    encode::append_frame(&mut out, true, Opcode::Binary, &[7; 1000], key(random, serves));
    out.truncate(900);
    let fast = Duration::from_millis(random.range(20, 200));
    Step::Stall(out, Some(fast.max(round * 3 / least)))
}

fn pause(random: &mut Random) -> Step {
    let micros = if random.chance(100) { random.below(100_000) } else { random.below(500) };
    Step::Pause(Duration::from_micros(micros))
}

/// Bytes that nobody may take (RFC 6455 §5), from a client or from one that serves.
fn violation(random: &mut Random, limits: &Limits, serves: bool) -> Vec<u8> {
    // Heads are written as a client's, with the mask bit.
    let framed = |head: &[u8], payload: &[u8]| {
        let mut bytes = head.to_vec();
        match serves {
            true => bytes[1] &= 0x7f,
            false => bytes.extend([0; 4]),
        }
        bytes.extend_from_slice(payload);
        bytes
    };
    match random.below(9) {
        0 => framed(&[0xc2, 0x82], b"xx"),                   // §5.2: a reserved bit
        1 => framed(&[0x83, 0x82], b"xx"),                   // §5.2: a reserved opcode
        2 if serves => vec![0x82, 0x82, 1, 2, 3, 4, 5, 6],   // §5.1: a mask
        2 => vec![0x82, 0x02, 1, 2],                         // §5.1: no mask
        3 => framed(&[0x09, 0x82], b"xx"),                   // §5.5: a fragmented ping
        4 => framed(&[0x80, 0x82], b"xx"),                   // §5.4: nothing to continue
        5 => framed(&[0x82, 0xfe, 0, 2], b"xx"),             // §5.2: not the shortest length
        6 => framed(&[0x81, 0x82], &[0xc3, 0x28]),           // §8.1: not UTF-8
        7 => framed(&[0x88, 0x82], &1005_u16.to_be_bytes()), // §7.4.1: a code not to be sent
        _ => {
            let len = limits.frame_max_bytes + 1; // §10.4: one more than the limit
            match len {
                0..=125 => framed(&[0x82, 0x80 | len as u8], b"xx"),
                126..=65_535 => framed(&[&[0x82, 0xfe][..], &(len as u16).to_be_bytes()].concat(), b""),
                _ => framed(&[&[0x82, 0xff][..], &len.to_be_bytes()].concat(), b""),
            }
        }
    }
}

impl Script {
    /// Of a client, or of one that `serves`: then the opening is not its.
    pub fn new(
        number: usize,
        random: &mut Random,
        sim: &SimConfig,
        settings: &Settings,
        manners: Manners,
        serves: bool,
    ) -> Self {
        let quiet = manners == Manners::Quiet;
        let mut opening = match random.below(40) {
            _ if quiet || serves => Opening::Valid,
            0 => Opening::Refused(404),
            1 => Opening::Refused(426),
            2 => Opening::Refused(400),
            3 => Opening::Refused(431),
            4 => Opening::Never,
            _ => Opening::Valid,
        };
        // Drawn only where the server compresses: others draw what they always drew.
        // What is no handshake says nothing of extensions.
        let asks =
            settings.deflate.mode != DeflateMode::Off && !serves && random.chance(800) && opening == Opening::Valid;
        let offer = asks.then(|| random.pick(&OFFERS));
        let head = if serves { Vec::new() } else { head(number, opening, offer, random) };
        let drip = random.chance(300).then(|| {
            let piece = random.range(1, 60) as usize;
            (piece, Duration::from_micros(random.below(if quiet { 500 } else { 5_000 })))
        });
        // No more bytes than the narrowest place lets through in a few hundred steps.
        let narrow = [sim.buffers.1, sim.rx_capacity.0, sim.tx_capacity.0].into_iter().min().expect("three");
        let mut budget = (narrow * 150).clamp(500, if narrow > 65_536 { 800_000 } else { 200_000 });
        let mut steps = Vec::new();
        // Places between two messages.
        let mut borders = vec![0];
        let mut pipelined = random.chance(200);
        let count = if random.chance(200) { random.below(40) } else { random.below(14) };
        // Drawn apart from everything else.
        let mut floods = Random::new(sim.seed ^ (number as u64) << 32 ^ 0x0066_6c6f_6f64);
        for _ in 0..count {
            if !quiet && floods.chance(60) {
                budget -= flood(&mut floods, budget, &settings.limits, serves, &mut steps).min(budget);
            }
            if random.chance(200) {
                let mut out = Vec::new();
                let pinged = ping(random, serves, &mut out);
                steps.push(Step::Frames(out, Vec::new(), vec![pinged]));
            }
            if random.chance(50) {
                let mut out = Vec::new();
                encode::append_frame(&mut out, true, Opcode::Pong, b"unasked", key(random, serves));
                steps.push(Step::Frames(out, Vec::new(), Vec::new()));
            }
            budget -= message(random, budget, narrow, &settings.limits, serves, asks, &mut steps).min(budget);
            borders.push(steps.len());
            if random.chance(400) {
                steps.push(pause(random));
            }
        }
        let code = random.pick(&[1000, 1001, 1002, 1003, 1011, 3000, 4999]);
        let (mut answers_close, mut answers_ping) = (true, true);
        let last = match random.below(20) {
            0 => Step::Close(None, Vec::new()),
            8..=10 => Step::Fin,
            _ if quiet => Step::Close(Some(code), b"done".to_vec()),
            1..=7 => {
                let reason = payload(random, true, random_len(number));
                Step::Close(Some(code), reason)
            }
            11 => Step::Reset,
            12 => {
                let mut bytes = violation(random, &settings.limits, serves);
                if random.chance(500) {
                    bytes.resize(bytes.len() + random.below(3_000) as usize, 0xaa); // it does not notice, and goes on
                }
                Step::Violation(bytes)
            }
            13 => {
                let mut out = Vec::new();
                encode::append_frame(&mut out, true, Opcode::Binary, &[7; 50], key(random, serves));
                out.truncate(random.range(1, out.len() as u64 - 1) as usize);
                Step::Cut(out)
            }
            14 => {
                answers_close = random.chance(500);
                answers_ping = random.chance(500);
                Step::Silence
            }
            _ => Step::Silence,
        };
        steps.push(last);
        let round = settings.message_timeout.filter(|_| !quiet);
        let drips = round.is_some_and(|round| stalls(number, sim, settings, round, serves, borders, &mut steps));
        // A peer that drips a frame says nothing else.
        answers_close &= !drips;
        let slow = !quiet && random.chance(150);
        // Some read so slowly that each deadline comes while they do, and never stop.
        let steady = !quiet && random.chance(80);
        let reading = Reading {
            piece: match (steady, slow) {
                (true, _) => random.range(100, 2_000) as usize,
                (false, true) => random.range(50, 500) as usize,
                (false, false) => usize::MAX,
            },
            pause: Duration::from_micros(match (steady, slow) {
                (true, _) => random.range(2_000, 60_000),
                (false, true) => random.below(500),
                (false, false) => 0,
            }),
            stall: (!quiet && random.chance(150))
                .then(|| (random.below(5_000) as usize, Duration::from_millis(random.below(600)))),
            blocks: false,
        };
        let mut reading = if quiet { reading } else { habits(number, sim, serves, &mut steps, reading) };
        // One that did not read until its frame is out would not see for longer than a run lasts that its connection is over.
        reading.blocks &= !drips;
        if opening != Opening::Valid {
            pipelined = false;
        }
        let said = settings.proxies.of(number).filter(|_| !serves);
        let mut head = head;
        if let Some((said, bytes)) = said {
            head = [bytes, head].concat();
            if said.nonsense {
                (opening, pipelined) = (Opening::Never, false);
            }
        }
        let start_max = if random.chance(700) { 2_000 } else { 200_000 };
        let mut start = Duration::from_micros(random.below(start_max));
        if !serves && draws::places(sim.seed, manners).is_some() {
            if let Some(said) = draws::idles(sim.seed, number) {
                (opening, pipelined) = (Opening::Never, false);
                head.truncate(said);
            } else {
                start = start * 10 + Duration::from_millis(10);
            }
        }
        Script {
            start,
            opening,
            offer,
            head,
            drip,
            pipelined,
            steps,
            reading,
            answers_close,
            answers_ping,
            lingers: serves && !quiet && random.chance(100),
        }
    }
}

/// Some send a message slowly but fast enough, some begin one and do not end it; drawn apart from everything else. Returns whether that
/// is a frame that drips. `borders`: places between two messages.
fn stalls(
    number: usize,
    sim: &SimConfig,
    settings: &Settings,
    round: Duration,
    serves: bool,
    mut borders: Vec<usize>,
    steps: &mut Vec<Step>,
) -> bool {
    let mut random = Random::new(sim.seed ^ 0x0073_7461_6c6c ^ (number as u64) << 40);
    let (mut drips, mut last) = (false, steps.len() - 1);
    let most = settings.limits.frame_max_bytes.min(settings.limits.message_max_bytes);
    let slow = random.chance(100).then(|| slow(&mut random, settings.least, most as usize, round, serves)).flatten();
    if random.chance(60) {
        let stall = stall(&mut random, settings.least, most, round, serves);
        drips = matches!(stall, Step::Stall(_, Some(_)));
        last = random.pick(&borders);
        steps.truncate(last);
        steps.extend([stall, Step::Silence]);
    }
    borders.retain(|at| *at <= last);
    if let Some(slow) = slow {
        steps.insert(random.pick(&borders), slow);
    }
    drips
}

/// Habits of some, drawn apart from everything else: to block in writing, to read slowly and steadily for long, to ping without end.
fn habits(number: usize, sim: &SimConfig, serves: bool, steps: &mut Vec<Step>, reading: Reading) -> Reading {
    let mut random = Random::new(sim.seed ^ 0x6861_6269_7473 ^ (number as u64) << 40);
    let mut reading = Reading { blocks: random.chance(150), ..reading };
    if random.chance(100) {
        // 30 to 200 KB/s: what its socket holds is read within the time that it is given after the end.
        let millis = random.range(1, 20);
        (reading.piece, reading.pause) = ((millis * random.range(30, 200)) as usize, Duration::from_millis(millis));
    }
    if random.chance(70) {
        let (mut out, mut pings) = (Vec::new(), Vec::new());
        for _ in 0..random.range(100, 2_000) {
            pings.push(ping_of(&mut random, 125, serves, &mut out));
        }
        let last = steps.len() as u64 - 1;
        steps.insert(random.range(0, last) as usize, Step::Frames(out, Vec::new(), pings));
        reading.stall = Some((random.below(500) as usize, Duration::from_millis(random.range(100, 1_000))));
    }
    reading
}

/// Close reasons of every kind of length, the longest that fits among them (RFC 6455 §5.5.1).
fn random_len(number: usize) -> usize {
    [0, 1, 17, 122, 123][number % 5]
}
