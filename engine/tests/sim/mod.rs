//! A simulated server under simulated peers: one seed, one run, and the oracles that judge it.
//!
//! `script` decides what a peer will do, `peer` does it by its `channel` and reads what comes back, `wire` checks the bytes without the crate's
//! own decoder, `app` is the handler under test, `oracle` compares what all of them wrote down. Shared by `simulation` and
//! `planted`.

#![allow(dead_code, reason = "each of the tests that share this looks at another part of an outcome")]

#[path = "../common/certificates.rs"]
pub mod certificates;

mod app;
mod channel;
mod oracle;
mod peer;
mod script;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use wsring::core::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Counts, Net, Outside, Random, SimConfig, SimRing, Trace};
use wsring::{Config, Limits, Stats};

use app::App;
use oracle::Ledger;
use peer::Peer;

/// How a run is made from its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Kernel, peers and application do whatever they may.
    Rude,
    /// Nobody does anything wrong: then everything must arrive.
    Quiet,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of everything that crossed the seam or was called back.
    pub trace: u64,
    /// The engine's counters.
    pub stats: Stats,
    /// The kernel's.
    pub counts: Counts,
}

/// What everybody in a run can reach.
#[derive(Clone)]
pub struct World {
    pub ledger: Rc<RefCell<Ledger>>,
    pub trace: Trace,
    pub manners: Manners,
    /// How peers speak TLS, if they do.
    pub tls: Option<Arc<ClientConfig>>,
}

/// The key of the watch: wakes, and the stop. Peers have the keys above.
const WATCH: u64 = 0;

/// Peers and the watch.
struct Town {
    peers: Vec<Peer>,
    remote: Remote,
    world: World,
    stop_at: Time,
    /// The stop comes in the middle of everything.
    early: bool,
    stopped: bool,
    tick: Duration,
}

impl Outside for Town {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        if key != WATCH {
            return self.peers[key as usize - 1].on_event(net);
        }
        if self.stopped {
            return;
        }
        let all_done = self.peers.iter().all(Peer::is_done);
        if all_done || net.now() >= self.stop_at {
            self.stopped = true;
            if !self.early {
                self.peers.iter().for_each(|peer| peer.check_moving(net));
            }
            self.world.ledger.borrow_mut().stopped_at = Some(net.now());
            self.world.trace.note(&[1, 1], || "stop".to_owned());
            self.remote.stop();
            return net.wake();
        }
        self.remote.wake();
        net.wake();
        net.call_after(self.tick, WATCH);
        self.tick = (self.tick * 5 / 4).min(Duration::from_millis(200));
    }
}

fn config(seed: u64, manners: Manners, sim: &SimConfig) -> Config {
    let mut random = Random::new(seed ^ 0x636f_6e66_6967);
    // `Config::default` asks the machine for its descriptor limit: no seed may depend on that.
    let mut config = Config { connections_max: 64, send_blocks: (64, 4096), ..Config::default() };
    if manners == Manners::Quiet {
        return config;
    }
    let mut some = |least: u64, most: u64| Duration::from_millis(random.range(least, most));
    let hasty = some(0, 9) < Duration::from_millis(4); // in the middle of heads that drip in
    config.handshake_timeout = if hasty { some(1, 40) } else { some(40, 3000) };
    config.closing_timeout = some(20, 1000);
    config.pong_timeout = some(20, 500);
    config.linger = some(0, 200);
    config.stop_timeout = some(20, 1000);
    config.idle_timeout = Some(some(50, 2000));
    if random.chance(300) {
        config.idle_timeout = None;
    }
    config.connections_max = if random.chance(300) { random.range(1, 6) } else { random.range(6, 64) } as u32;
    config.output_max = random.range(2_000, 400_000) as u32;
    config.output_high = random.range(500, u64::from(config.output_max)) as u32;
    config.output_low = random.range(0, u64::from(config.output_high)) as u32;
    config.send_blocks = (random.range(1, 8) as usize, random.range(512, 4096) as usize);
    config.pool_bytes_max = random.range(0, 1 << 20) as usize;
    if random.chance(300) {
        let limit = random.range(100, 60_000);
        let fragments_max = random.range(1, 12) as u32;
        config.limits = Limits { frame_max: limit, message_max: limit * 2, fragments_max, ..Limits::default() };
    }
    config.head.bytes_max = random.range(600, 2000) as usize;
    config.zero_copy_from = sim.zero_copy_from; // as a ring is made from its configuration
    assert!(sim.listeners >= 1);
    config
}

/// Where sends are parted, drawn apart from everything else. A send block may be larger than a part.
fn send_max(seed: u64, manners: Manners) -> Option<u32> {
    let mut random = Random::new(seed ^ 0x7069_6563_6573);
    (manners == Manners::Rude && random.chance(500)).then(|| random.range(64, 20_000) as u32)
}

/// Runs one seed and judges it. Panics with what went wrong.
pub fn run(seed: u64, manners: Manners, aloud: bool) -> Outcome {
    run_as(seed, manners, aloud, |_| None)
}

/// The same with a configuration that `change` has changed, and peers that speak TLS if it says how.
pub fn run_as(
    seed: u64,
    manners: Manners,
    aloud: bool,
    change: impl FnOnce(&mut Config) -> Option<Arc<ClientConfig>>,
) -> Outcome {
    let sim = match manners {
        Manners::Rude => SimConfig::random(seed),
        Manners::Quiet => SimConfig::quiet(seed),
    };
    let mut config = config(seed, manners, &sim);
    let tls = change(&mut config);
    let mut random = Random::new(seed ^ 0x0074_6f77_6e73);
    let trace = Trace::new(aloud);
    let world = World { ledger: Rc::default(), trace: trace.clone(), manners, tls };
    if aloud {
        eprintln!("{sim:#?}\n{config:#?}");
    }
    let count = match manners {
        // Now and then a flood over the connection cap.
        Manners::Rude if random.chance(100) => random.range(10, 40),
        Manners::Rude => random.range(1, 12),
        Manners::Quiet => random.range(1, 8),
    };
    world.ledger.borrow_mut().begin(count as usize, &config);
    let peers = (0..count as usize).map(|number| Peer::new(number, &mut random, &sim, &config, &world)).collect();
    let early = manners == Manners::Rude && random.chance(250);
    let town = Town {
        peers,
        remote: Remote::default(),
        world: world.clone(),
        early,
        stop_at: Time::from_nanos(if early {
            random.pick(&[1, 3, 30]) * random.below(1_000_000)
        } else {
            6_000_000_000
        }),
        stopped: false,
        tick: Duration::from_millis(random.range(1, 10)),
    };
    let remote = town.remote.clone();
    let keys: Vec<u64> = (WATCH..=count).collect();
    let listeners = sim.listeners;
    let stop_timeout = config.stop_timeout;
    let ring = SimRing::new(sim, trace.clone(), Box::new(town), &keys);
    let app = App::new(random.fork(), world.clone());
    let mut engine = Engine::new(config, ring, app, listeners, &remote);
    if let Some(bytes) = send_max(seed, manners) {
        engine = engine.send_max(bytes);
    }

    let stats = engine.run().expect("the simulated ring does not break");

    let left: Vec<String> = engine.leftovers().into_iter().chain(engine.ring().end()).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let ended_at = engine.ring().time();
    engine.ring().settle_outside(Duration::from_secs(20));
    let counts = engine.ring().counts();
    let ledger = world.ledger.borrow();
    ledger.judge(manners, &stats, &counts);
    ledger.judge_stop(ended_at, stop_timeout);
    Outcome { trace: trace.hash(), stats, counts }
}
