//! How much of a pass each connection had, as the application sees it: none has more than its share at a time.
//!
//! Knows of the kernel only when it handed bytes of whom to the engine. In which order connections have their turns is the engine's own
//! assertion (`replay_stashes`): a turn need not bring a message.

use std::collections::BTreeMap;

use wsring::ConnId;
use wsring::engine::testing::index_of;
use wsring::ring::Time;
use wsring::ring::sim::{Random, Trace};

use super::Manners;

/// Messages that one look at a share may let through beside it: see `SLICE_MIN` in `engine/src/engine/work.rs`.
const LOOK_MIN: u64 = 6;

/// Work of a connection in a pass, in small messages. What a peer of a simulation sends is less than the share that a connection has by
/// default. Drawn apart.
pub fn share(seed: u64, manners: Manners) -> u32 {
    let mut random = Random::new(seed ^ 0x0073_6861_7265);
    let is_small = manners == Manners::Rude && random.chance(600);
    if is_small { random.pick(&[1, 1, 2, 5, 20, 100]) } else { 2_000 }
}

pub struct Turns {
    share: u64,
    /// The pass of each connection's last message, and how many it has brought.
    of: BTreeMap<ConnId, (Time, u64)>,
}

impl Turns {
    pub fn new(share: u32) -> Self {
        Self { share: share.into(), of: BTreeMap::new() }
    }

    pub fn on_message(&mut self, id: ConnId, trace: &Trace) {
        let now = trace.now();
        let (handed, receives) = trace.handed(index_of(id));
        let (pass, messages) = self.of.entry(id).or_default();
        if *pass != now {
            (*pass, *messages) = (now, 0);
        }
        *messages += 1;
        // Each receive may be a turn, and then the rest of them once more.
        let turns = 1 + if handed == now { receives } else { 0 };
        let most = turns * (self.share + (2 * self.share).max(LOOK_MIN));
        assert!(*messages <= most, "{id} had more than its share of a pass: {messages} messages, {most} at most");
    }
}
