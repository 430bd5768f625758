//! Shapes of load by name: what `--cells` says, and the sets behind `--quick` and `--full`.
//!
//! Owns: their spelling. Promises: what is printed can be typed again. Refuses to know: how a load is run.

use crate::client_echo::Flight;
use crate::contenders::{Program, Way};
use crate::frames::Payload;
use crate::load::Shape;
use crate::load::feed::Readers;
use crate::load::noisy::Noise;
use crate::results::{self, Figure};

mod spelling;

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
    /// Values of keys, and readers of whom some are slow.
    Feed {
        /// Who reads all.
        fast: Readers,
        /// Who reads 1/100 of what it would be sent.
        slow: Readers,
        /// Updates of all keys in a second.
        rate: u32,
        /// Keys.
        keys: u32,
    },
    /// A game that tells its players of each tick.
    Tick {
        /// Players.
        players: usize,
        /// Ticks a second.
        hz: u32,
    },
    /// One connection that says little, beside one that says as much as it can.
    Noisy(Noise),
}

/// What `--quick` measures.
pub const QUICK: &str = "125x64x1,125x64x16,16384x64x1,rate:125x64@60000";
/// What `--full` measures.
pub const FULL: &str = "20x64x16,125x64x16,125x64x1,125x1000x16,125x1000x1,1024x64x1,16384x64x1,65536x64x1,1048576x1x1,\
    ascii:16384x64x1,utf8:16384x64x1,rate:125x64@60000,fanout:125x1000x1,connect:32,idle:10000,\
    deflate:1024x64x16,deflate:16384x64x1,tls:125x64x1,tls:125x64x16,tls:16384x64x1";

/// What applications do, beside the fan-out: with `--applications`.
pub const APPLICATIONS: &str = "feed:500x20@50000/1000,feed:500x20+50x200@50000/1000,fanout:125x1000x4,fanout:16384x1000x1,\
    tick:2000x30,noisy:tiny,noisy:ping,noisy:long,noisy:packed";

/// Bytes of the one message that a connection carries before it rests.
pub const IDLE_SIZE: usize = 125;

impl Cell {
    /// In words.
    pub fn title(&self) -> String {
        let way = match self.way() {
            Way::Plain => "",
            Way::Deflate => ", compressed both ways (permessage-deflate)",
            Way::Tls => ", over TLS",
            Way::Client => " by the client that is measured",
            Way::FanOut | Way::Feed | Way::Game => "",
        };
        let plural = |count: usize| if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
        match *self {
            Cell::Idle { connections } => format!("{connections} connections at rest after one message"),
            Cell::Feed { fast, slow, rate, keys } => {
                let slow = match slow.count {
                    0 => String::new(),
                    count => format!(", and {count} who read 1/100 of their {} keys", slow.keys),
                };
                let Readers { count, keys: each } = fast;
                format!(
                    "{rate} updates/s of {keys} keys to {count} readers of {each} keys each{slow} (latency from publishing)"
                )
            }
            Cell::Tick { players, hz } => format!("{players} players, {hz} ticks/s"),
            Cell::Noisy(noise) => {
                format!("a round trip every millisecond, beside one peer that sends {}", noise.title())
            }
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
            // Each fast reader has two descriptors here.
            Cell::Feed { fast, slow, .. } => (2 * fast.count + slow.count) as usize,
            Cell::Tick { players, .. } => players,
            Cell::Noisy(_) => 2,
        }
    }

    /// How many servers a turn of it takes, one after the other.
    pub fn phases(&self) -> u32 {
        match self {
            Cell::Feed { slow: Readers { count: 1.., .. }, .. } | Cell::Noisy(_) => 2,
            _ => 1,
        }
    }

    /// What its server does of its own accord.
    pub fn program(&self) -> Program {
        match *self {
            Cell::Feed { rate, keys, .. } => Program { rate, keys, ..Program::default() },
            Cell::Tick { hz, .. } => Program { hz, ..Program::default() },
            _ => Program::default(),
        }
    }

    /// How contenders are started for it.
    pub fn way(&self) -> Way {
        match *self {
            Cell::Idle { .. } => Way::Plain,
            Cell::Load { way, .. } => way,
            Cell::Client(_) => Way::Client,
            Cell::Feed { .. } => Way::Feed,
            Cell::Tick { .. } => Way::Game,
            Cell::Noisy(Noise::Packed) => Way::Deflate,
            Cell::Noisy(_) => Way::Plain,
        }
    }

    /// The same of one who does not speak WebSocket: none if such a one has no part in it.
    pub fn raw_way(&self) -> Option<Way> {
        match self {
            Cell::Load { shape: Shape::FanOut { .. }, .. } => Some(Way::FanOut),
            Cell::Load { way: Way::Deflate, .. } | Cell::Load { shape: Shape::Connect, .. } => None,
            Cell::Client(_) | Cell::Feed { .. } | Cell::Tick { .. } | Cell::Noisy(Noise::Packed) => None,
            Cell::Idle { .. } | Cell::Load { .. } | Cell::Noisy(_) => Some(self.way()),
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
            Cell::Feed { .. } | Cell::Noisy(_) => results::P99,
            Cell::Tick { .. } => results::TICK_CPU,
        }
    }

    /// The path to ask for.
    pub fn path(&self) -> &'static str {
        match self {
            Cell::Load { shape: Shape::FanOut { .. }, .. } => "/bcast",
            Cell::Feed { .. } => "/feed",
            _ => "/",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_again() {
        for name in QUICK
            .split(',')
            .chain(FULL.split(','))
            .chain(APPLICATIONS.split(','))
            .chain(["client:125x64x16", "client:0x1x1"])
        {
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
            ("fanout:125x64x16", Way::Plain, results::CPU, true),
            ("connect:1", Way::Plain, results::CPU, false),
            ("feed:1x1@1/1", Way::Feed, results::P99, false),
            ("tick:1x1", Way::Game, results::TICK_CPU, false),
            ("noisy:ping", Way::Plain, results::P99, true),
            ("noisy:packed", Way::Deflate, results::P99, false),
        ] {
            let cell: Cell = name.parse().expect(name);
            assert_eq!((cell.way(), cell.main(), cell.raw_way().is_some()), (way, main, raw), "{name}");
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
            "feed:1x1@1",
            "feed:0x1@1/1",
            "feed:1x2@1/1",
            "feed:1x1+1x2@1/1",
            "feed:1x1+1@1/1",
            "feed:1x1@0/1",
            "feed:100001x1@1/1",
            "tick:1",
            "tick:0x1",
            "tick:1x0",
            "tick:1x1001",
            "noisy:",
            "noisy:loud",
        ] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }
}
