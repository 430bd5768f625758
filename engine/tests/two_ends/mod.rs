//! Two engines against each other: one serves, one dials, each on a simulated kernel of its own, and both have more to say than the
//! sockets between them hold. One seed, one run, and what must come of it.
//!
//! `end` is the application of either side, `wire` carries bytes from one network to the other.

#![allow(dead_code, reason = "each of the tests that share this looks at another part of an outcome")]

mod end;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Random, SimConfig, SimRing, Trace};
use wsring::{Config, Pressure, SendBuffers, Stats};
use wsring_testkit::sim::assert_nothing_is_left;

use end::{End, Manner, Side};
use wire::{Cable, Post, Way};

/// Between two looks at the other side's bytes.
const TICK: Duration = Duration::from_millis(1);
/// Beyond the send timeout: ticks of deadlines, and what a rude kernel takes for its completions.
const SLACK: Duration = Duration::from_secs(2);
/// Pongs, pings and a Close pass the cap: one of each waits, and a pong behind it.
const CONTROL_MAX: usize = 4 * 131;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of the server, and of the one that dialled.
    pub pressures: [Pressure; 2],
    pub stats: [Stats; 2],
    /// An end was cut because it took nothing.
    pub timed_out: bool,
    /// Answers that were refused, and told.
    pub refused: usize,
}

/// What both sides of a run have, and each alone.
struct Plan {
    send_timeout: Duration,
    sims: [SimConfig; 2],
    configs: [Config; 2],
    manners: [Manner; 2],
    parts: [u32; 2],
}

fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x7477_6f65_6e64);
    let send_timeout = Duration::from_millis(random.range(4_000, 8_000));
    let mut one = |role: u64| {
        let pressure = random.pick(&[Pressure::PauseReading, Pressure::ReadOn]);
        let high = random.range(200, 30_000) as u32;
        let low = random.range(0, u64::from(high)) as u32;
        let longest = random.range(1, 6_000) as u32;
        let max = high + longest + 14 + random.below(100_000) as u32;
        let idle = random.chance(500).then(|| Duration::from_millis(random.range(500, 10_000)));
        let config = Config::default()
            .connections_max(8)
            .send_buffers(SendBuffers { count: random.range(1, 8) as u32, bytes: random.range(512, 4096) as u32 })
            .output_high_bytes(high)
            .output_low_bytes(low)
            .output_max_bytes(max)
            .idle_timeout(idle)
            .send_timeout(send_timeout);
        let manner = Manner {
            pressure,
            by: random.pick(&end::WAYS),
            eager: random.chance(300),
            echoes: random.chance(500),
            messages: random.range(1, 60) as usize,
            longest,
            output_max: max as usize + CONTROL_MAX,
        };
        // Whatever a kernel may do, but break the connection.
        let mut sim = SimConfig::random(seed ^ role);
        sim.rx_capacity = (500, 20_000);
        sim.tx_capacity = (500, 20_000);
        (sim.sockets_max, sim.pause) = (8, None);
        let faults = &mut sim.faults;
        (faults.reset, faults.accept_aborted, faults.accept_failed) = (0, 0, 0);
        (faults.connect_refused, faults.connect_hangs) = (0, 0);
        (sim, manner.configure(config, role == 0), manner, random.range(16, 2_000) as u32)
    };
    let ((first, server, manner, part), (second, client, other, parts)) = (one(0), one(1 << 50));
    Plan {
        send_timeout,
        sims: [first, second],
        configs: [server, client],
        manners: [manner, other],
        parts: [part, parts],
    }
}

/// Runs one seed. Panics with what went wrong.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    let Plan { send_timeout, sims, configs, manners, parts } = plan(seed);
    if aloud {
        eprintln!("{manners:#?}\n{sims:#?}\n{configs:#?}");
    }
    let pressures = manners.each_ref().map(|manner| manner.pressure);
    let cable = Rc::new(RefCell::new(Cable::default()));
    let sides = [Rc::new(RefCell::new(Side::default())), Rc::new(RefCell::new(Side::default()))];
    let mut engines = Vec::new();
    let mut remotes = Vec::new();
    for (role, ((mut sim, config), manner)) in sims.into_iter().zip(configs).zip(manners).enumerate() {
        let (remote, trace) = (Remote::default(), Trace::new(aloud));
        let way = if role == 0 { Way::Serves } else { Way::Dials };
        sim.dialled_key = (way == Way::Dials).then_some(wire::PIPE);
        let post = Post::new(way, Rc::clone(&cable), TICK);
        let listeners = sim.listeners;
        let ring = SimRing::new(sim, trace, Box::new(post), &[wire::TICK]);
        let end = End::new(manner, seed ^ role as u64, way == Way::Dials, Rc::clone(&sides[role]));
        let engine = Engine::new(config, ring, end, listeners, &remote).seed(seed).part(parts[role]);
        engines.push(engine);
        remotes.push(remote);
    }
    engines.iter_mut().for_each(Engine::start);
    let (mut moved, mut seen, mut stopped) = (Time::default(), 0, false);
    loop {
        // Whoever is behind goes on, so that both clocks stay within a tick of each other.
        let times = [0, 1].map(|role: usize| engines[role].ring().time());
        let open: Vec<usize> = (0..2).filter(|&role| !engines[role].is_finished()).collect();
        let Some(&role) = open.iter().min_by_key(|&&role| times[role]) else { break };
        engines[role].turn().expect("the simulated ring does not break");
        let now = times[role];
        let (all, count) = {
            let [server, client] = sides.each_ref().map(|side| side.borrow());
            server.check(&client);
            client.check(&server);
            let ended = server.reason.is_some() && client.reason.is_some();
            (ended || server.is_through(&client) && client.is_through(&server), server.steps + client.steps)
        };
        if count != seen {
            (seen, moved) = (count, now);
        }
        let still = now.since(moved);
        assert!(
            stopped || still <= 2 * send_timeout + SLACK, // looked at when it is over, and again after as long
            "two ends stand still: nothing has come of anything for {still:?}, server {:?} and client {:?}: {:?}",
            pressures[0],
            pressures[1],
            sides
        );
        if all && !stopped {
            stopped = true;
            for (remote, engine) in remotes.iter().zip(&mut engines) {
                remote.stop();
                let _ = engine; // its next tick wakes it
            }
        }
    }
    let mut all = Vec::new();
    for engine in &mut engines {
        all.push(engine.end());
        assert_nothing_is_left(engine);
    }
    let [server, client] = sides.each_ref().map(|side| side.borrow());
    let timed_out = server.timed_out || client.timed_out;
    let both_pause = pressures == [Pressure::PauseReading; 2];
    assert!(both_pause || !timed_out, "two ends stand still, one of which reads on: {pressures:?} {sides:?}");
    assert!(timed_out || server.is_through(&client) && client.is_through(&server), "something was lost: {sides:?}");
    Outcome { pressures, stats: [all[0], all[1]], timed_out, refused: server.refused + client.refused }
}
