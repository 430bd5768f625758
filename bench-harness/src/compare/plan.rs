//! What a comparison is: cells, rounds, contenders, and who takes part in what.
//!
//! Owns the plan and what follows from it alone. Knows nothing of how a turn goes.

use std::time::Duration;

use crate::cells::Cell;
use crate::contenders::{Contender, Way};
use crate::load::Bodies;
use crate::net::Patience;

/// What a turn takes beside its warm-up and its counted time.
const TURN_OVERHEAD: Duration = Duration::from_millis(150);

/// A comparison.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shapes of load, in order.
    pub cells: Vec<Cell>,
    /// Rounds per cell.
    pub rounds: usize,
    /// Counted time of each turn.
    pub measured: Duration,
    /// Time under load before it.
    pub warmup: Duration,
    /// The servers, in the order of turns.
    pub contenders: Vec<Contender>,
    /// Core of the servers.
    pub server_core: usize,
    /// Core of the load.
    pub load_core: usize,
    /// What is offered where messages are compressed.
    pub offer: String,
    /// What becomes of the replies' bodies.
    pub bodies: Bodies,
    /// How the load waits, except at a fixed rate, where it always polls.
    pub patience: Patience,
    /// The command line, for the report.
    pub command: String,
}

impl Plan {
    /// How long it will take, roughly.
    pub fn expected(&self) -> Duration {
        let turn = self.warmup + self.measured + TURN_OVERHEAD;
        self.cells.iter().map(|cell| turn * cell.phases() * (self.turns(cell) * self.rounds) as u32).sum()
    }

    /// Drops who was listed for one kind of cell and finds none of it.
    pub fn drop_variants(&mut self) {
        let cells = &self.cells;
        let stays = |one: &Contender| !one.is_variant() || cells.iter().any(|cell| takes_part(one, cell));
        self.contenders.retain(stays);
    }

    /// Turns in each round of a cell.
    pub fn turns(&self, cell: &Cell) -> usize {
        self.contenders.iter().filter(|contender| takes_part(contender, cell)).count()
    }
}

/// How a contender is started for a cell; none if it has no part in it.
pub fn way(contender: &Contender, cell: &Cell) -> Option<Way> {
    let way = if contender.raw { cell.raw_way()? } else { cell.way() };
    contender.command(way).map(|_| way)
}

/// Whether a contender has turns in a cell.
pub fn takes_part(contender: &Contender, cell: &Cell) -> bool {
    contender.missing.is_none() && way(contender, cell).is_some()
}
