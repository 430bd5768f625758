//! A simulated engine among simulated clients and servers: one seed, one run, and the oracles that judge it.
//!
//! `script` decides what a peer will do, `peer` does it by its `channel` and reads what comes back, `wire` checks the bytes
//! without the crate's own decoder, `app` is the handler under test, which gives memory away (`given`) and panics (`clumsy`), `proxies` what stands in front of requests, `mail` other threads, `own` what connections are given that the configuration says otherwise, `draws` what else a seed decides, `turns` watches whose turn it is, `dial`
//! knows what a dial may come to, `reply` how servers answer one, `oracle` compares what all of them wrote down. Shared by `simulation`, `sim_tls` and `planted`.

#![allow(dead_code, reason = "each of the tests that share this looks at another part of an outcome")]

mod app;
mod board;
mod channel;
mod clumsy;
mod dial;
mod digest;
mod drains;
mod draws;
mod ends;
mod given;
mod mail;
mod oracle;
mod own;
mod packed;
mod peer;
mod pressures;
mod proxies;
mod rated;
mod reply;
mod script;
#[cfg(feature = "tls")]
pub mod secured;
mod seen;
mod turns;
mod wire;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use wsring::engine::testing::{Engine, Holding, Lookup, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Counts, Net, Outside, Random, SimConfig, SimRing, Trace};
use wsring::{Config, Deflate, DeflateMode, HeadLimits, Limits, OnPanic, SendBuffers, Stats};
use wsring_testkit::sim::{assert_nothing_is_left, rung};
use wsring_testkit::{effort, seeds};

use app::{App, Beat, Timing, timers_max};
use clumsy::{Clumsy, Meant};
use dial::Dial;
use drains::Plan as DrainPlan;
use draws::{bulk, dialler, early_acts, memory_max, part, share_from, shut_after, start};
use mail::{Mailers, Note, Plan};
use oracle::Ledger;
use own::Owners;
use peer::Peer;
use pressures::Pressures;
use proxies::Proxies;

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
    /// When it begins.
    pub start: Time,
    /// Messages are compressed.
    pub packs: bool,
    /// The application panics now and then.
    pub panics: bool,
    /// Messages that were given away and not let go.
    pub given: Arc<AtomicUsize>,
    /// How peers speak TLS, if they do.
    pub tls: Option<Arc<ClientConfig>>,
}

/// The key of the watch: wakes, and the stop. Peers have the keys above.
const WATCH: u64 = 0;
/// Called when the engine has connected to somebody.
const DIALLED: u64 = 1 << 40;
/// Called when a name has been looked up.
const NAMES: u64 = DIALLED + 1;
/// Called when another thread is to send mail.
const MAIL: u64 = DIALLED + 2;

/// Beyond the cap of an output: the head of an answer, a ping, two pongs and a Close; and over TLS what records add to all of it.
const CONTROL_MAX: usize = 4_000;

/// What the engine wants to know: host, port, and whom to tell.
type Names = Rc<RefCell<Vec<(String, u16, Lookup)>>>;

/// Peers, names, and the watch.
struct Town {
    peers: Vec<Peer>,
    remote: Remote<Note>,
    mailers: Option<Mailers>,
    world: World,
    stop_at: Time,
    /// Nobody more is accepted from then on.
    shut_at: Option<Time>,
    /// It is drained from some time on.
    drain: Option<DrainPlan>,
    /// The stop comes in the middle of everything.
    early: bool,
    stopped: bool,
    tick: Duration,
    /// For servers and names.
    random: Random,
    sim: SimConfig,
    settings: Settings,
    asked: Names,
    /// What is known of names, and when it is told.
    found: Vec<(Time, Lookup, io::Result<Vec<SocketAddr>>)>,
}

impl Town {
    /// The engine connected to somebody: here he is.
    fn welcome(&mut self, net: &mut Net) {
        loop {
            let number = self.peers.len();
            let Some(dialled) = net.take_dialled(number as u64 + 1) else { return };
            let server = Peer::serve(number, dialled, &mut self.random, &self.sim, &self.settings, &self.world);
            self.peers.push(server);
            self.peers[number].on_event(net);
        }
    }

    /// Names are looked up by another thread, in its own time.
    fn look_up(&mut self, net: &mut Net) {
        for (host, port, lookup) in self.asked.take() {
            let tag = usize::from(port) - 1000;
            assert_eq!(host, format!("feed{tag}.example"));
            let some = self.random.range(1, dial::ADDRS_MAX as u64) as u8;
            let addrs = |count: u8| (0..count).map(|last| SocketAddr::from(([10, 0, 0, last], port))).collect();
            let (found, most) = match self.random.below(20) {
                _ if self.world.manners == Manners::Quiet => (Ok(addrs(some)), 1_000),
                0 => (Err(io::ErrorKind::NotFound.into()), 10_000),
                1 => (Ok(addrs(0)), 10_000),
                2..=3 => (Ok(addrs(some)), 2_000_000), // late
                _ => (Ok(addrs(some)), 5_000),
            };
            if !found.as_ref().is_ok_and(|addrs: &Vec<SocketAddr>| !addrs.is_empty()) {
                self.world.ledger.borrow_mut().dials[tag].nowhere += 1;
            }
            let after = Duration::from_micros(self.random.below(most));
            self.world.trace.note(&[40, tag as u64], || format!("         {host} will be {found:?} in {after:?}"));
            self.found.push((net.now().plus(after), lookup, found));
            net.call_after(after, NAMES);
        }
        let now = net.now();
        for (_, lookup, found) in self.found.extract_if(.., |(at, ..)| *at <= now) {
            self.remote.resolved(lookup, found);
            net.wake();
        }
    }

    fn is_over(&self) -> bool {
        self.peers.iter().all(Peer::is_done) && self.world.ledger.borrow().dials.iter().all(Dial::is_over)
    }
}

impl Outside for Town {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        self.look_up(net);
        match key {
            WATCH => {}
            DIALLED => return self.welcome(net),
            NAMES => return,
            MAIL => {
                let handle = self.remote.handle();
                return self.mailers.iter_mut().for_each(|all| all.on_event(net, &handle, &self.world, MAIL));
            }
            peer => return self.peers[peer as usize - 1].on_event(net),
        }
        if self.stopped || self.world.ledger.borrow().stopped_at.is_some() {
            return;
        }
        let all_done = self.is_over();
        if all_done || net.now() >= self.stop_at {
            self.stopped = true;
            if !self.early {
                self.peers.iter().for_each(|peer| peer.check_moving(net));
                self.world.ledger.borrow().dials.iter().for_each(|dial| dial.check_moving(net.now()));
            }
            self.world.ledger.borrow_mut().stopped_at = Some(net.now());
            self.world.trace.note(&[1, 1], || "stop".to_owned());
            self.remote.stop();
            return net.wake();
        }
        self.remote.wake();
        if self.shut_at.take_if(|at| *at <= net.now()).is_some() {
            self.world.trace.note(&[1, 2], || "stop accepting".to_owned());
            self.remote.stop_accepting();
        }
        let start = self.world.start;
        if let Some(plan) = self.drain.take_if(|plan| start.plus(plan.after) <= net.now()) {
            self.world.trace.note(&[1, 3], || format!("drain {plan:?}"));
            self.remote.drain(plan.drain());
        }
        net.wake();
        net.call_after(self.tick, WATCH);
        self.tick = (self.tick * 5 / 4).min(Duration::from_millis(200));
    }
}

/// What a seed configures, and what its peers and oracles must know of that.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Config,
    pub limits: Limits,
    pub deflate: Deflate,
    pub head_bytes_max: usize,
    pub handshake_timeout: Duration,
    pub closing_timeout: Duration,
    pub closing_max: Duration,
    pub stop_timeout: Duration,
    pub stop_max: Duration,
    /// The shortest time after which a peer is cut that takes nothing.
    pub still_min: Duration,
    /// What the kernel may keep for a peer behind the end.
    pub kept: u32,
    pub message_timeout: Option<Duration>,
    /// What must come of a message in each such time.
    pub least: u32,
    /// Silent peers are pinged.
    pub pings: bool,
    /// No connection has more queued.
    pub queued_max: usize,
    pub pressures: Pressures,
    /// How long the process stands still.
    pub pause: Duration,
    /// What peers may have the engine keep.
    pub memory_max: Option<usize>,
    pub linger: Duration,
    pub pong_timeout: Duration,
    pub connections_max: u32,
    pub proxies: Proxies,
    /// There is a limit on those of one network.
    pub crowds: bool,
    /// Who has terms of its own.
    pub owners: Owners,
}

fn settings(seed: u64, manners: Manners, sim: &SimConfig) -> Settings {
    let mut random = Random::new(seed ^ 0x636f_6e66_6967);
    let send_buffers = SendBuffers { count: 64, bytes: 4096 };
    let mut settings = Settings {
        config: Config::default()
            .connections_max(64)
            .send_buffers(send_buffers)
            .deflate(packed::deflate(seed))
            .timers_max(timers_max(seed)),
        limits: Limits::default(),
        deflate: packed::deflate(seed),
        head_bytes_max: 8192,
        // The defaults.
        handshake_timeout: Duration::from_secs(10),
        closing_timeout: Duration::from_secs(5),
        closing_max: Duration::from_secs(600),
        stop_timeout: Duration::from_secs(2),
        stop_max: Duration::from_secs(8),
        still_min: Duration::from_secs(2),
        kept: 64 << 10,
        message_timeout: Some(Duration::from_secs(30)),
        least: 16 << 10,
        pings: true,
        queued_max: (20 << 20) + CONTROL_MAX,
        pressures: Pressures::new(seed, manners),
        pause: sim.pause.map_or(Duration::ZERO, |(_, pause)| pause),
        memory_max: None,
        linger: Duration::from_millis(200),
        pong_timeout: Duration::from_secs(10),
        connections_max: 64,
        proxies: Proxies::new(seed, manners, sim),
        crowds: false,
        owners: Owners::new(seed, manners, packed::deflate(seed).mode != DeflateMode::Off),
    };
    if manners == Manners::Quiet {
        return settings;
    }
    let mut some = |least: u64, most: u64| Duration::from_millis(random.range(least, most));
    let hasty = some(0, 9) < Duration::from_millis(4); // in the middle of heads that drip in
    settings.handshake_timeout = if hasty { some(1, 40) } else { some(40, 3000) };
    settings.closing_timeout = some(20, 1000);
    (settings.pong_timeout, settings.linger) = (some(20, 500), some(0, 200));
    settings.stop_timeout = some(20, 1000);
    let idle = some(50, 2000);
    let mut patience = Random::new(seed ^ 0x7061_7469_656e); // drawn apart
    let mut whole = |still: Duration| still + Duration::from_millis(patience.range(0, 3_000));
    settings.closing_max = whole(settings.closing_timeout);
    settings.stop_max = whole(settings.stop_timeout);
    settings.kept = patience.range(1_000, 4_000) as u32;
    let mut held = Random::new(seed ^ 0x6865_6c64);
    // A peer that takes nothing is cut within twice that, which is to be sooner than what counts as stuck.
    let send_timeout = Duration::from_millis(held.range(50, 1_000));
    let stills = [settings.closing_timeout, settings.stop_timeout, settings.pong_timeout, idle, send_timeout];
    settings.still_min = stills.into_iter().min().expect("there are five");
    settings.pings = !random.chance(300);
    let few = random.chance(300);
    let connections_max = if few { random.range(1, 6) } else { random.range(6, 64) } as u32;
    settings.connections_max = draws::places(seed, manners).unwrap_or(connections_max);
    let output_max_bytes = random.range(2_000, 400_000) as u32;
    let output_high_bytes = random.range(500, u64::from(output_max_bytes)) as u32;
    let output_low_bytes = random.range(0, u64::from(output_high_bytes)) as u32;
    let mut send_buffers = SendBuffers { count: random.range(1, 8) as u32, bytes: random.range(512, 4096) as u32 };
    let mut large = Random::new(seed ^ 0x626c_6f63_6b73); // blocks that hold many parts, drawn apart
    if large.chance(200) {
        send_buffers = SendBuffers { count: large.range(1, 4) as u32, bytes: large.range(4097, 200_000) as u32 };
    }
    let pool_max_bytes = random.range(0, 1 << 20) as usize;
    if random.chance(300) {
        let limit = random.range(100, 60_000);
        let fragments_max = random.range(1, 12) as u32;
        let limits = Limits::default().frame_max_bytes(limit).message_max_bytes(limit * 2);
        settings.limits = limits.fragments_max(fragments_max);
    }
    settings.queued_max = output_max_bytes as usize + CONTROL_MAX;
    let mut slow = Random::new(seed ^ 0x0073_6c6f_7777); // drawn apart
    settings.message_timeout = slow.chance(700).then(|| Duration::from_millis(slow.range(300, 2_000)));
    settings.least = slow.range(1, 50) as u32;
    settings.head_bytes_max = random.range(600, 2000) as usize;
    settings.memory_max = memory_max(seed);
    assert!(sim.listeners >= 1);
    let (crowd_max, crowd_bits) = draws::crowd(seed);
    settings.crowds = crowd_max.is_some();
    settings.config = settings
        .pressures
        .configure(settings.config)
        .crowd_max(crowd_max)
        .crowd_prefixes(crowd_bits, 64)
        .pass_share_messages(turns::share(seed, manners))
        .subscriptions_max(board::subscriptions_max(manners))
        .connections_max(settings.connections_max)
        .head_limits(HeadLimits::default().bytes_max(settings.head_bytes_max))
        .limits(settings.limits)
        .output_high_bytes(output_high_bytes)
        .output_low_bytes(output_low_bytes)
        .output_max_bytes(output_max_bytes)
        .pool_max_bytes(pool_max_bytes)
        .memory_max_bytes(settings.memory_max)
        .handshake_timeout(settings.handshake_timeout)
        .idle_timeout(settings.pings.then_some(idle))
        .pong_timeout(settings.pong_timeout)
        .send_timeout(send_timeout)
        .message_timeout(settings.message_timeout)
        .closing_timeout(settings.closing_timeout)
        .closing_max(settings.closing_max)
        .linger(settings.linger)
        .stop_timeout(settings.stop_timeout)
        .stop_max(settings.stop_max)
        .send_buffers(send_buffers);
    settings
}

/// Runs one seed and judges it. Panics with what went wrong.
pub fn run(seed: u64, manners: Manners, aloud: bool) -> Outcome {
    run_on(kernel(seed, manners), seed, manners, aloud, |config| (config, None))
}

fn kernel(seed: u64, manners: Manners) -> SimConfig {
    match manners {
        Manners::Rude => SimConfig::random(seed),
        Manners::Quiet => SimConfig::quiet(seed),
    }
}

/// The same on that kernel, with a configuration that `change` has changed, and peers that speak TLS if it says how.
fn run_on(
    mut sim: SimConfig,
    seed: u64,
    manners: Manners,
    aloud: bool,
    change: impl FnOnce(Config) -> (Config, Option<Arc<ClientConfig>>),
) -> Outcome {
    sim.dialled_key = Some(DIALLED);
    sim.start = start(seed);
    if let Some((at, _)) = &mut sim.pause {
        *at = sim.start.plus(Duration::from_nanos(at.as_nanos()));
    }
    let mut settings = settings(seed, manners, &sim);
    // Longer than that nobody on the way is waited for.
    sim.handshake_ns_max = sim.handshake_ns_max.min(settings.linger.as_nanos() as u64);
    let (config, tls) = change(settings.config);
    let clumsy = Clumsy::drawn(seed, manners);
    let stops = clumsy.as_ref().is_some_and(|clumsy| clumsy.stops);
    settings.config = config.on_panic(if stops { OnPanic::Stop } else { OnPanic::Close });
    if tls.is_some() {
        settings.proxies = Proxies::default(); // peers say all they say over TLS
        settings.kept = settings.kept.max(16 << 10); // a handshake that is given up may be on its way
    }
    let mut random = Random::new(seed ^ 0x0074_6f77_6e73);
    let trace = Trace::new(aloud);
    let packs = settings.deflate.mode != DeflateMode::Off;
    let ledger = Rc::default();
    let given = Arc::default();
    let panics = clumsy.is_some();
    let world = World { ledger, trace: trace.clone(), manners, start: sim.start, packs, panics, given, tls };
    if aloud {
        eprintln!("{sim:#?}\n{:#?}", settings.config);
    }
    let count = match manners {
        // Now and then a flood over the connection cap.
        Manners::Rude if random.chance(100) => random.range(10, 40),
        Manners::Rude => random.range(1, 12),
        Manners::Quiet => random.range(1, 8),
    };
    let dialler = dialler(seed, manners, &settings);
    let count = if dialler.is_some() { count.min(4) } else { count };
    world.ledger.borrow_mut().begin(count as usize, &settings);
    let peers = (0..count as usize).map(|number| Peer::new(number, &mut random, &sim, &settings, &world)).collect();
    let early = manners == Manners::Rude && random.chance(250);
    let stop_ns = if early { random.pick(&[1, 3, 30]) * random.below(1_000_000) } else { 6_000_000_000 };
    let drain = DrainPlan::drawn(seed, manners, dialler.is_some());
    let asked = Names::default();
    let board = board::Board::new(seed, manners);
    let plan = Plan::new(seed, manners, dialler.is_some(), board.is_some());
    let board = if plan.as_ref().is_some_and(|plan| plan.mailers.publish()) {
        board.map(board::Board::closing_nobody)
    } else {
        board
    };
    let (mailbox_max, letters_max) = plan.as_ref().map_or((1, 1), |plan| (plan.mailbox_max, plan.letters_max));
    let (mailers, own_mail) = plan.map(|plan| (plan.mailers, plan.own)).unzip();
    let (remote, bell) = rung(mailbox_max);
    let town = Town {
        random: Random::new(seed ^ 0x7365_7276_6572),
        sim: sim.clone(),
        settings: settings.clone(),
        asked: Rc::clone(&asked),
        found: Vec::new(),
        peers,
        remote: remote.clone(),
        mailers,
        world: world.clone(),
        early,
        stop_at: sim.start.plus(Duration::from_nanos(stop_ns)),
        stopped: false,
        shut_at: shut_after(seed, manners).map(|after| sim.start.plus(after)),
        drain: drain.clone(),
        tick: Duration::from_millis(random.range(1, 10)),
    };
    let handle = remote.handle();
    let keys: Vec<u64> = (WATCH..=count).chain(town.mailers.is_some().then_some(MAIL)).collect();
    let (listeners, proxied) = (sim.listeners, settings.proxies.listeners());
    let Settings { config, kept, queued_max, pressures, memory_max, least, pause, owners, .. } = settings;
    let (beat, config) = Beat::configure(seed, world.start, config);
    let ring = SimRing::new(sim, trace.clone(), Box::new(town), &keys).rung_by(bell);
    let bounds = (queued_max, turns::Turns::new(turns::share(seed, manners)));
    let app = App::new(random.fork(), world.clone(), dialler, early_acts(seed), clumsy, pressures, bounds);
    let app = app
        .and_bulk(bulk(seed, packs))
        .and_timing(Timing::new(seed, manners, pause), beat)
        .and_board(board)
        .and_mail(own_mail)
        .and_terms(owners)
        .and_strangers(draws::turns_away(seed, manners))
        .and_cuts(draws::cuts(seed, manners))
        .and_drain(drain);
    let mut engine = Engine::new(config, ring, app, listeners, &remote).seed(seed).panics(|panic| panic.is::<Meant>());
    engine = engine.resolver(move |host, port, lookup| asked.borrow_mut().push((host, port, lookup)));
    if let Some(bytes) = part(seed, manners) {
        engine = engine.part(bytes);
    }
    engine = engine.proxied(proxied).kept(kept).least(least).letters_max(letters_max);
    if let Some(bytes) = share_from(seed, manners) {
        engine = engine.share_from(bytes);
    }

    let mut memory = MemoryJudge { max: memory_max, calm_at: engine.ring().time() };
    let watch = |engine: &mut Engine<App>| {
        engine.holdings().for_each(judge_holding);
        let lent = engine.ring().memory();
        memory.judge(engine.memory(lent), engine.ring().time());
        drains::watch(&handle, &world, engine.ring().time());
    };
    let ended =
        catch_unwind(AssertUnwindSafe(|| engine.run_watched(watch).expect("the simulated ring does not break")));
    let failed = world.ledger.borrow().failed_at.is_some();
    let stats = match ended {
        Ok(_) if failed => panic!("a panic was to end the core, and went no further"),
        Err(panic) if !panic.is::<Meant>() => resume_unwind(panic),
        Err(_) => engine.stats(),
        Ok(stats) => stats,
    };

    assert_nothing_is_left(&mut engine);
    let given = world.given.load(Ordering::Relaxed);
    assert_eq!(given, 0, "left behind: messages that were given away are still held");
    let ended_at = engine.ring().time();
    // Who reads slowly takes its time for what has arrived.
    engine.ring().settle_outside(Duration::from_secs(600));
    let counts = engine.ring().counts();
    // Behind the last callback other threads may have published as well.
    world.ledger.borrow_mut().posts.learn(stats.published);
    let ledger = world.ledger.borrow();
    ledger.judge(manners, &stats, &counts, ended_at);
    ledger.judge_stop(ended_at);
    ledger.judge_stalls(&counts);
    Outcome { trace: trace.hash(), stats, counts }
}

/// The memory of a connection is at most twice what is counted for it; and one message, which may be half there, or half sent.
/// Each piece of memory is at least so large.
fn judge_holding(holding: Holding) {
    const PIECE: usize = 8 << 10;
    let most = 2 * holding.counted + (script::LEN_MAX + PIECE).next_power_of_two() + (holding.pieces + 1) * PIECE;
    assert!(holding.memory <= most, "a connection keeps more memory than it counts: {holding:?}");
}

/// The engine counts all of its memory and nothing twice; and no more is in use than the budget, but for what a receive became: a
/// message, half of one and the next, in memory of twice their length; and for what those who were closed still have with the kernel.
/// It is not tight for long.
struct MemoryJudge {
    max: Option<usize>,
    calm_at: Time,
}

impl MemoryJudge {
    fn judge(&mut self, (counted, found): (usize, usize), now: Time) {
        const TIGHT_MAX: Duration = Duration::from_secs(3);
        assert_eq!(counted, found, "the engine's count of its memory is not what is in use");
        let Some(max) = self.max else { return };
        let most = max + max / 4 + 4 * script::LEN_MAX.next_power_of_two();
        assert!(counted <= most, "more memory is in use than {max}: {counted}");
        if counted < max / 8 * 5 {
            self.calm_at = now;
        }
        let tight = now.since(self.calm_at);
        assert!(counted <= max / 4 * 3 || tight < TIGHT_MAX, "more memory is in use than {max} allows for {tight:?}");
    }
}

/// What many runs did, together.
#[derive(Default)]
pub struct Total {
    pub stats: Stats,
    pub overflows: u64,
}

impl AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.stats += other.stats;
        self.overflows += other.overflows;
    }
}

/// Seeds by `run`, of which cargo is told so: `features --test name`.
#[derive(Clone, Copy)]
pub struct Runs {
    pub test: &'static str,
    pub run: fn(u64, Manners, bool) -> Outcome,
}

impl Runs {
    pub fn all(self, seeds: u64, manners: Manners) -> Total {
        let command = format!("MANNERS={manners:?} cargo test -p wsring --features {} seeds", self.test);
        seeds::run_all(seeds, &command, |seed| {
            let Outcome { stats, counts, .. } = (self.run)(seed, manners, false);
            Total { stats, overflows: counts.overflows }
        })
    }

    /// The one that the environment names, aloud: then no others are run.
    pub fn is_one_told(self) -> bool {
        let Some(seed) = effort::number("SEED") else { return false };
        let quiet = std::env::var("MANNERS").is_ok_and(|manners| manners == "Quiet");
        let outcome = (self.run)(seed, if quiet { Manners::Quiet } else { Manners::Rude }, true);
        println!("seed {seed}: {:#?}", outcome.stats);
        true
    }
}
