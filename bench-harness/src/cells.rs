//! Shapes of load by name: what `--cells` says, and the sets behind `--quick` and `--full`.
//!
//! Owns: their spelling. Promises: what is printed can be typed again. Refuses to know: how a load is run.

use std::fmt;
use std::str::FromStr;

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
    },
    /// So many connections at rest: memory.
    Idle {
        /// Connections.
        connections: usize,
    },
}

/// What `--quick` measures.
pub const QUICK: &str = "125x64x1,125x64x16,16384x64x1,rate:125x64@60000";
/// What `--full` measures.
pub const FULL: &str = "20x64x16,125x64x16,125x64x1,125x1000x16,125x1000x1,1024x64x1,16384x64x1,65536x64x1,1048576x1x1,\
    ascii:16384x64x1,utf8:16384x64x1,rate:125x64@60000,fanout:125x1000x1,connect:32,idle:10000";

/// Bytes of the one message that a connection carries before it rests.
pub const IDLE_SIZE: usize = 125;
const CONNECTIONS_MAX: usize = 100_000;
const SIZE_MAX: usize = 16 << 20;

impl Cell {
    /// In words.
    pub fn title(&self) -> String {
        let plural = |count: usize| if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
        match *self {
            Cell::Idle { connections } => format!("{connections} connections at rest after one message"),
            Cell::Load { shape, payload, size, connections } => {
                let kind = match payload {
                    Payload::Binary => "",
                    Payload::Ascii => " of ASCII text",
                    Payload::MultiByte => " of multi-byte text",
                };
                let what = format!("{size} bytes{kind}, {}", plural(connections));
                match shape {
                    Shape::Closed { depth } => format!("{what}, {depth} in flight each"),
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
            Cell::Idle { connections } | Cell::Load { connections, .. } => connections,
        }
    }

    /// The figure that decides it.
    pub fn main(&self) -> Figure {
        match self {
            Cell::Idle { .. } => results::RSS,
            Cell::Load { shape: Shape::Open { .. }, .. } => results::P50,
            // Checking letters is work that differs by an order of magnitude: what a server gets done says it best.
            Cell::Load { payload: Payload::MultiByte, .. } => results::RATE,
            Cell::Load { .. } => results::CPU,
        }
    }

    /// Whether a server that returns bytes as they come can take part.
    pub fn suits_raw(&self) -> bool {
        match self {
            Cell::Idle { .. } => true,
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
                "{text:?} is none of SIZExCONNECTIONSxDEPTH, ascii:..., utf8:..., rate:SIZExCONNECTIONS@RATE, \
                 fanout:SIZExSUBSCRIBERSxDEPTH, connect:AT_A_TIME, idle:CONNECTIONS"
            )
        };
        let (kind, numbers) = text.trim().split_once(':').unwrap_or(("binary", text.trim()));
        let numbers: Vec<usize> =
            numbers.split(['x', '@']).map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let cell = match (kind, &numbers[..]) {
            ("binary" | "ascii" | "utf8", &[size, connections, depth]) => {
                let payload = match kind {
                    "binary" => Payload::Binary,
                    "ascii" => Payload::Ascii,
                    _ => Payload::MultiByte,
                };
                let depth = u32::try_from(depth).map_err(|_| wrong())?;
                Cell::Load { shape: Shape::Closed { depth }, payload, size, connections }
            }
            ("rate", &[size, connections, rate]) if text.contains('@') => {
                let rate = u32::try_from(rate).map_err(|_| wrong())?;
                Cell::Load { shape: Shape::Open { rate }, payload: Payload::Binary, size, connections }
            }
            ("fanout", &[size, connections, depth]) => {
                let depth = u32::try_from(depth).map_err(|_| wrong())?;
                Cell::Load { shape: Shape::FanOut { depth }, payload: Payload::Binary, size, connections }
            }
            ("connect", &[connections]) => {
                Cell::Load { shape: Shape::Connect, payload: Payload::Binary, size: 0, connections }
            }
            ("idle", &[connections]) => Cell::Idle { connections },
            _ => return Err(wrong()),
        };
        let (connections, size, counts) = match cell {
            Cell::Idle { connections } => (connections, 0, true),
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
            Cell::Load { shape, payload, size, connections } => {
                let kind = match payload {
                    Payload::Binary => "",
                    Payload::Ascii => "ascii:",
                    Payload::MultiByte => "utf8:",
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
        for name in QUICK.split(',').chain(FULL.split(',')) {
            let cell: Cell = name.parse().expect(name);
            assert_eq!(cell.to_string(), name.trim());
            assert!(!cell.title().is_empty());
        }
        let cell: Cell = "125x64x16".parse().expect("a cell");
        let Cell::Load { shape, payload, size, connections } = cell else { panic!("{cell:?}") };
        assert_eq!((shape, payload, size, connections), (Shape::Closed { depth: 16 }, Payload::Binary, 125, 64));
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
        ] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }
}
