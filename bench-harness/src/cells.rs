//! Shapes of load by name: what `--cells` says, and the sets behind `--quick` and `--full`.
//!
//! Owns: their spelling. Promises: what is printed can be typed again. Refuses to know: how a load is run.

use std::fmt;
use std::str::FromStr;

use crate::client_echo::Flight;
use crate::contenders::Way;
use crate::frames::Payload;
use crate::load::Shape;
use crate::results::{self, Figure};

/// A shape of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Messages on open connections, or connections themselves.
    Load {
        /// What to do.
        shape: Shape,
        /// What payloads are made of.
        payload: Payload,
        /// Payload bytes of a message.
        size: usize,
        /// Connections.
        connections: usize,
        /// Plain, with messages compressed both ways, or over TLS.
        way: Way,
    },
    /// So many connections at rest: memory.
    Idle {
        /// Connections.
        connections: usize,
    },
    /// A client is what is measured, and the harness echoes.
    Client(Flight),
}

/// What `--quick` measures.
pub const QUICK: &str = "125x64x1,125x64x16,16384x64x1,rate:125x64@60000";
/// What `--full` measures.
pub const FULL: &str = "20x64x16,125x64x16,125x64x1,125x1000x16,125x1000x1,1024x64x1,16384x64x1,65536x64x1,1048576x1x1,\
    ascii:16384x64x1,utf8:16384x64x1,rate:125x64@60000,fanout:125x1000x1,connect:32,idle:10000,\
    deflate:1024x64x16,deflate:16384x64x1,tls:125x64x1,tls:125x64x16,tls:16384x64x1";

/// Bytes of the one message that a connection carries before it rests.
pub const IDLE_SIZE: usize = 125;
const CONNECTIONS_MAX: usize = 100_000;
const SIZE_MAX: usize = 16 << 20;

impl Cell {
    /// In words.
    pub fn title(&self) -> String {
        let way = match self.way() {
            Way::Plain => "",
            Way::Deflate => ", compressed both ways (permessage-deflate)",
            Way::Tls => ", over TLS",
            Way::Client => " by the client that is measured",
        };
        let plural = |count: usize| if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
        match *self {
            Cell::Idle { connections } => format!("{connections} connections at rest after one message"),
            Cell::Client(Flight { connections, depth, size }) => {
                format!("{size} bytes, {}, {depth} in flight each{way}", plural(connections))
            }
            Cell::Load { shape, payload, size, connections, .. } => {
                let kind = match payload {
                    _ if self.way() == Way::Deflate => " of trades as JSON",
                    Payload::Binary => "",
                    Payload::Ascii => " of ASCII text",
                    Payload::MultiByte => " of multi-byte text",
                };
                let what = format!("{size} bytes{kind}, {}", plural(connections));
                match shape {
                    Shape::Closed { depth } => format!("{what}, {depth} in flight each{way}"),
                    Shape::Open { rate } => format!("{what}, {rate} messages/s (latency from the intended send)"),
                    Shape::FanOut { depth } => {
                        format!("{size} bytes{kind} from 1 publisher to {connections} subscribers, {depth} in flight")
                    }
                    Shape::Connect => format!("connect, upgrade, close; {connections} at a time"),
                }
            }
        }
    }

    /// How many are open at once.
    pub fn connections(&self) -> usize {
        match *self {
            Cell::Idle { connections } | Cell::Load { connections, .. } | Cell::Client(Flight { connections, .. }) => {
                connections
            }
        }
    }

    /// How contenders are started for it.
    pub fn way(&self) -> Way {
        match *self {
            Cell::Idle { .. } => Way::Plain,
            Cell::Load { way, .. } => way,
            Cell::Client(_) => Way::Client,
        }
    }

    /// The figure that decides it.
    pub fn main(&self) -> Figure {
        match self {
            Cell::Idle { .. } => results::RSS,
            Cell::Load { shape: Shape::Open { .. }, .. } => results::P50,
            // Checking letters is work that differs by an order of magnitude: what a server gets done says it best.
            Cell::Load { payload: Payload::MultiByte, .. } => results::RATE,
            // What compressing costs depends on how well it is done: a rate, with the bytes that it bought beside it.
            Cell::Load { way: Way::Deflate, .. } => results::RATE,
            Cell::Load { .. } | Cell::Client(_) => results::CPU,
        }
    }

    /// Whether a server that returns bytes as they come can take part.
    pub fn suits_raw(&self) -> bool {
        match self {
            Cell::Idle { .. } => true,
            Cell::Load { way: Way::Deflate, .. } | Cell::Client(_) => false,
            Cell::Load { shape, .. } => matches!(shape, Shape::Closed { .. } | Shape::Open { .. }),
        }
    }

    /// The path to ask for.
    pub fn path(&self) -> &'static str {
        match self {
            Cell::Load { shape: Shape::FanOut { .. }, .. } => "/bcast",
            _ => "/",
        }
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Cell, String> {
        let wrong = || {
            format!(
                "{text:?} is none of SIZExCONNECTIONSxDEPTH, ascii:..., utf8:..., deflate:..., tls:..., client:..., \
                 rate:SIZExCONNECTIONS@RATE, fanout:SIZExSUBSCRIBERSxDEPTH, connect:AT_A_TIME, idle:CONNECTIONS"
            )
        };
        let (kind, numbers) = text.trim().split_once(':').unwrap_or(("binary", text.trim()));
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
            _ => return Err(wrong()),
        };
        let (connections, size, counts) = match cell {
            Cell::Idle { connections } => (connections, 0, true),
            Cell::Client(Flight { connections, depth, size }) => (connections, size, depth > 0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_again() {
        for name in QUICK.split(',').chain(FULL.split(',')).chain(["client:125x64x16", "client:0x1x1"]) {
            let cell: Cell = name.parse().expect(name);
            assert_eq!(cell.to_string(), name.trim());
            assert!(!cell.title().is_empty());
        }
        let cell: Cell = "125x64x16".parse().expect("a cell");
        let Cell::Load { shape, payload, size, connections, way } = cell else { panic!("{cell:?}") };
        assert_eq!((shape, payload, size, connections), (Shape::Closed { depth: 16 }, Payload::Binary, 125, 64));
        assert_eq!(way, Way::Plain);
    }

    #[test]
    fn compressed_secret_and_client_cells_are_for_those_who_can() {
        for (name, way, main, raw) in [
            ("deflate:1024x64x16", Way::Deflate, results::RATE, false),
            ("tls:125x64x16", Way::Tls, results::CPU, true),
            ("125x64x16", Way::Plain, results::CPU, true),
            ("client:125x64x16", Way::Client, results::CPU, false),
            ("utf8:125x64x16", Way::Plain, results::RATE, true),
        ] {
            let cell: Cell = name.parse().expect(name);
            assert_eq!((cell.way(), cell.main(), cell.suits_raw()), (way, main, raw), "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "125",
            "125x64",
            "125x64x16x1",
            "125x0x1",
            "125x1x0",
            "x1x1",
            "-1x1x1",
            "rate:1x1x1",
            "rate:1x1@0",
            "fanout:1x0x1",
            "idle:0",
            "idle:100001",
            "connect:",
            "16777217x1x1",
            "text:1x1x1",
            "deflate:0x1x1",
            "deflate:1x1",
            "tls:1x1x0",
            "client:1x1",
            "client:1x0x1",
            "client:1x1x0",
            "client:16777217x1x1",
        ] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }
}
