//! How a shape of load is written on the command line.
//!
//! Owns the spelling alone. Promises that what is printed can be typed again, and that what cannot be run is refused.

use std::fmt;
use std::str::FromStr;

use super::Cell;
use crate::client_echo::Flight;
use crate::contenders::Way;
use crate::frames::Payload;
use crate::load::Shape;
use crate::load::feed::Readers;
use crate::load::noisy::Noise;

const CONNECTIONS_MAX: usize = 100_000;
const SIZE_MAX: usize = 16 << 20;
/// The most ticks a second that are asked for.
const HZ_MAX: u32 = 1000;
/// The most keys of a feed, and updates of all in a second.
const KEYS_MAX: u32 = 100_000;
const RATE_MAX: u32 = 10_000_000;

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Cell, String> {
        let wrong = || {
            format!(
                "{text:?} is none of SIZExCONNECTIONSxDEPTH, ascii:..., utf8:..., deflate:..., tls:..., client:..., \
                 rate:SIZExCONNECTIONS@RATE, fanout:SIZExSUBSCRIBERSxDEPTH, connect:AT_A_TIME, idle:CONNECTIONS, \
                 feed:READERSxKEYS[+SLOWxKEYS]@RATE/ALL_KEYS, tick:PLAYERSxHZ, noisy:tiny, noisy:ping, noisy:long, noisy:packed"
            )
        };
        let (kind, numbers) = text.trim().split_once(':').unwrap_or(("binary", text.trim()));
        match kind {
            "feed" => return feed(numbers).ok_or_else(wrong),
            "noisy" => {
                return Noise::ALL.into_iter().find(|noise| noise.name() == numbers).map(Cell::Noisy).ok_or_else(wrong);
            }
            _ => {}
        }
        let numbers: Vec<usize> =
            numbers.split(['x', '@']).map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let cell = match (kind, &numbers[..]) {
            ("binary" | "ascii" | "utf8" | "deflate" | "tls", &[size, connections, depth]) => {
                let (payload, way) = match kind {
                    "binary" => (Payload::Binary, Way::Plain),
                    "ascii" => (Payload::Ascii, Way::Plain),
                    "deflate" => (Payload::Ascii, Way::Deflate),
                    "tls" => (Payload::Binary, Way::Tls),
                    _ => (Payload::MultiByte, Way::Plain),
                };
                let depth = u32::try_from(depth).map_err(|_| wrong())?;
                // Nothing is compressed of an empty message.
                if way == Way::Deflate && size == 0 {
                    return Err(wrong());
                }
                Cell::Load { shape: Shape::Closed { depth }, payload, size, connections, way }
            }
            ("rate", &[size, connections, rate]) if text.contains('@') => {
                let rate = u32::try_from(rate).map_err(|_| wrong())?;
                Cell::Load { shape: Shape::Open { rate }, payload: Payload::Binary, size, connections, way: Way::Plain }
            }
            ("fanout", &[size, connections, depth]) => {
                let depth = u32::try_from(depth).map_err(|_| wrong())?;
                Cell::Load {
                    shape: Shape::FanOut { depth },
                    payload: Payload::Binary,
                    size,
                    connections,
                    way: Way::Plain,
                }
            }
            ("client", &[size, connections, depth]) => {
                let depth = u32::try_from(depth).map_err(|_| wrong())?;
                Cell::Client(Flight { connections, depth, size })
            }
            ("connect", &[connections]) => {
                Cell::Load { shape: Shape::Connect, payload: Payload::Binary, size: 0, connections, way: Way::Plain }
            }
            ("idle", &[connections]) => Cell::Idle { connections },
            ("tick", &[players, hz]) => Cell::Tick { players, hz: u32::try_from(hz).map_err(|_| wrong())? },
            _ => return Err(wrong()),
        };
        let (connections, size, counts) = match cell {
            Cell::Idle { connections } => (connections, 0, true),
            Cell::Client(Flight { connections, depth, size }) => (connections, size, depth > 0),
            Cell::Tick { players, hz } => (players, 0, (1..=HZ_MAX).contains(&hz)),
            Cell::Feed { .. } | Cell::Noisy(_) => unreachable!("they have been read"),
            Cell::Load { shape, size, connections, .. } => {
                let counts =
                    !matches!(shape, Shape::Closed { depth: 0 } | Shape::FanOut { depth: 0 } | Shape::Open { rate: 0 });
                (connections, size, counts)
            }
        };
        let fits = (1..=CONNECTIONS_MAX).contains(&connections) && size <= SIZE_MAX && counts;
        if fits { Ok(cell) } else { Err(wrong()) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cell::Idle { connections } => write!(f, "idle:{connections}"),
            Cell::Client(Flight { connections, depth, size }) => write!(f, "client:{size}x{connections}x{depth}"),
            Cell::Feed { fast, slow, rate, keys } => {
                write!(f, "feed:{}x{}", fast.count, fast.keys)?;
                if slow.count > 0 {
                    write!(f, "+{}x{}", slow.count, slow.keys)?;
                }
                write!(f, "@{rate}/{keys}")
            }
            Cell::Tick { players, hz } => write!(f, "tick:{players}x{hz}"),
            Cell::Noisy(noise) => write!(f, "noisy:{}", noise.name()),
            Cell::Load { shape, payload, size, connections, way } => {
                let kind = match (way, payload) {
                    (Way::Deflate, _) => "deflate:",
                    (Way::Tls, _) => "tls:",
                    (_, Payload::Binary) => "",
                    (_, Payload::Ascii) => "ascii:",
                    (_, Payload::MultiByte) => "utf8:",
                };
                match shape {
                    Shape::Closed { depth } => write!(f, "{kind}{size}x{connections}x{depth}"),
                    Shape::Open { rate } => write!(f, "rate:{size}x{connections}@{rate}"),
                    Shape::FanOut { depth } => write!(f, "fanout:{size}x{connections}x{depth}"),
                    Shape::Connect => write!(f, "connect:{connections}"),
                }
            }
        }
    }
}

/// `READERSxKEYS[+SLOWxKEYS]@RATE/ALL_KEYS`
fn feed(text: &str) -> Option<Cell> {
    let (readers, published) = text.split_once('@')?;
    let (rate, keys) = published.split_once('/')?;
    let (rate, keys) = (rate.parse().ok()?, keys.parse().ok()?);
    let group = |text: &str| {
        let (count, keys) = text.split_once('x')?;
        Some(Readers { count: count.parse().ok()?, keys: keys.parse().ok()? })
    };
    let (fast, slow) = match readers.split_once('+') {
        Some((fast, slow)) => (group(fast)?, group(slow).filter(|slow| slow.count > 0)?),
        None => (group(readers)?, Readers { count: 0, keys: 0 }),
    };
    let fits = |readers: Readers| readers.count as usize <= CONNECTIONS_MAX && readers.keys <= keys;
    let counts = fast.count > 0 && fast.keys > 0 && (slow.count == 0 || slow.keys > 0);
    let range = (1..=RATE_MAX).contains(&rate) && (1..=KEYS_MAX).contains(&keys);
    (fits(fast) && fits(slow) && counts && range).then_some(Cell::Feed { fast, slow, rate, keys })
}
