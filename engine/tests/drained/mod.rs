//! An engine that is drained: one seed, one run, and what must come of it (oracle 35).
//!
//! `peer` is a client that comes before or behind the beginning of the drain, stays, goes by itself, or does not answer; `desk` the application, which sees each turn
//! come. In some seeds it is drained twice, stopped in the middle of it, or accepts nobody any more.

mod desk;
mod peer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Net, Outside, Random, SimConfig, SimRing, Trace};
use wsring::{CloseCode, Config, Drain, Stats};
use wsring_testkit::sim::{Outcome, check, run_to_its_end, rung};

use desk::App;
use peer::{Peer, Seen};

/// The key of the one who has the engine drained and stopped; peers have those behind it.
const WATCH: u64 = 0;

/// A pass may be late by what a rude kernel takes, and by ticks.
const SLACK: Duration = Duration::from_millis(200);
/// What a stop may take.
const STOP_MAX: Duration = Duration::from_millis(1_000);
/// So much later than it may take it is stopped by hand.
const BEYOND: Duration = Duration::from_secs(5);
const REASON: &str = "drained";

/// How a seed drains.
#[derive(Clone, Copy, Debug)]
struct Plan {
    window: Duration,
    deadline: Duration,
    at_least: Duration,
    code: CloseCode,
    /// From the run's beginning.
    at: Duration,
    /// So long behind that it is asked for again, with a window of so much.
    again: Option<(Duration, Duration)>,
    /// So long behind that it is stopped.
    stop: Option<Duration>,
    /// Nobody is accepted any more.
    shuts: bool,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let window = Duration::from_millis(random.pick(&[0, 50, 1_000, 3_000]) + random.below(500));
        let some =
            |random: &mut Random, most: Duration| Duration::from_micros(random.below(1 + most.as_micros() as u64));
        let deadline = window + some(random, Duration::from_secs(2));
        Self {
            window,
            deadline,
            at_least: if random.chance(300) { some(random, window * 2) } else { Duration::ZERO },
            code: random.pick(&[CloseCode::GOING_AWAY, CloseCode::SERVICE_RESTART]),
            at: some(random, Duration::from_millis(600)),
            again: random.chance(150).then(|| (some(random, window), some(random, window * 2))),
            stop: random.chance(150).then(|| some(random, deadline)),
            shuts: random.chance(150),
        }
    }

    fn drain(&self, window: Duration) -> Drain {
        Drain::over(window).deadline(self.deadline).at_least(self.at_least).code(self.code).reason(REASON)
    }
}

/// What is known of a connection that was open when the drain began.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    told_at: Option<Time>,
    /// When it was over for the application; and whether it was drained and had answered.
    over: Option<(Time, bool)>,
}

/// What everybody in a run wrote down.
#[derive(Default)]
struct Ledger {
    began: Time,
    seen: Vec<Seen>,
    /// When the core has begun to be drained, and with what it says that it is.
    drained_at: Option<Time>,
    stopped_at: Option<Time>,
    /// By the peers' numbers.
    open: BTreeMap<usize, Open>,
    opened: u64,
}

type Shared = Rc<RefCell<Ledger>>;

/// Peers, and who has it drained.
struct Town {
    peers: Vec<Peer>,
    remote: Remote,
    ledger: Shared,
    /// What is still to be asked for, the next one last.
    asks: Vec<(Time, Ask)>,
}

#[derive(Clone, Debug)]
enum Ask {
    Drain(Drain),
    Shut,
    Stop,
}

impl Outside for Town {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        if key != WATCH {
            return self.peers[key as usize - 1].on_event(net);
        }
        while let Some((_, ask)) = self.asks.pop_if(|(at, _)| *at <= net.now()) {
            match ask {
                Ask::Drain(drain) => self.remote.drain(drain),
                Ask::Shut => self.remote.stop_accepting(),
                Ask::Stop => {
                    self.ledger.borrow_mut().stopped_at = Some(net.now());
                    self.remote.stop();
                }
            }
            net.wake();
        }
        if let Some((at, _)) = self.asks.last() {
            net.call_after(at.since(net.now()), WATCH);
        }
    }
}

/// Runs one seed. Panics with what went wrong.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    let mut random = Random::new(seed ^ 0x0064_7261_696e);
    let mut sim = SimConfig::random(seed);
    (sim.sockets_max, sim.listeners, sim.backlog) = (64, 1, 40);
    let pause = sim.pause.map_or(Duration::ZERO, |(_, pause)| pause);
    let plan = Plan::new(&mut random);
    let closing = Duration::from_millis(random.range(50, 6_000));
    let config = Config::default()
        .connections_max(60)
        .handshake_timeout(Duration::from_millis(random.range(50, 500)))
        .closing_timeout(closing)
        .closing_max(closing * 2)
        .stop_timeout(Duration::from_millis(300))
        .stop_max(STOP_MAX)
        .linger(Duration::from_millis(100))
        .idle_timeout(None);
    if aloud {
        eprintln!("{sim:#?}\n{config:#?}\n{plan:#?}");
    }
    let trace = Trace::new(aloud);
    let ledger: Shared = Rc::default();
    let count = if random.chance(300) { random.range(20, 40) } else { random.range(1, 12) } as usize;
    ledger.borrow_mut().began = sim.start;
    let peers = (0..count).map(|number| Peer::new(number, random.fork(), &plan, &ledger, &trace)).collect();
    let at = |after: Duration| sim.start.plus(plan.at + after);
    let mut asks = vec![(at(Duration::ZERO), Ask::Drain(plan.drain(plan.window)))];
    asks.extend(plan.shuts.then(|| (at(Duration::ZERO), Ask::Shut)));
    asks.extend(plan.again.map(|(after, window)| (at(after), Ask::Drain(plan.drain(window)))));
    asks.extend(plan.stop.map(|after| (at(after), Ask::Stop)));
    let most = plan.deadline + STOP_MAX + pause + SLACK + BEYOND;
    asks.push((at(most), Ask::Stop)); // by hand, or a bug would run for ever
    asks.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let (remote, bell) = rung(16);
    let town = Town { peers, remote: remote.clone(), ledger: Rc::clone(&ledger), asks };
    let keys: Vec<u64> = (WATCH..=count as u64).collect();
    let ring = SimRing::new(sim, trace.clone(), Box::new(town), &keys).rung_by(bell);
    let app = App::new(random.fork(), &ledger, &trace);
    let mut engine = Engine::new(config, ring, app, 1, &remote).seed(seed);
    let (stats, ended_at) = run_to_its_end(&mut engine, |_| ());
    ledger.borrow().judge(&stats, &plan, pause, ended_at);
    Outcome { stats, trace: trace.hash() }
}

impl Ledger {
    fn judge(&self, stats: &Stats, plan: &Plan, pause: Duration, ended_at: Time) {
        // A stop that came with it, or before the core looked, leaves nothing to drain.
        let Some(drained_at) = self.drained_at else {
            assert_eq!(stats.drain_report(), None, "of a drain, nobody was told");
            return assert!(self.stopped_at.is_some(), "of a drain, the application was not told");
        };
        let most = plan.deadline + STOP_MAX + pause + Duration::from_millis(300) + SLACK;
        let took = ended_at.since(drained_at);
        assert!(took <= most, "of a drain: it took {took:?}, and {most:?} are allowed");
        self.judge_numbers(stats);
        if plan.again.is_none() && plan.stop.is_none() && pause.is_zero() {
            self.judge_turns(plan);
        }
        // Whoever is there for the whole window has its turn in it.
        let is_whole = plan.stop.is_none() && plan.deadline > plan.window + pause + SLACK;
        let missed = stats.drain_stopped;
        assert!(!is_whole || missed == 0, "of a drain: {missed} had no turn in all of the window");
        for (number, seen) in self.seen.iter().enumerate() {
            let verdict = self.judge_peer(seen, self.open.get(&number), plan);
            let open = self.open.get(&number);
            assert!(verdict.is_ok(), "of a drain, peer {number}: {}\n{open:?} {seen:?}", verdict.unwrap_err());
        }
    }

    /// What is counted is what was seen.
    fn judge_numbers(&self, stats: &Stats) {
        let report = stats.drain_report().expect("of a drain: none is counted");
        let count = |of: fn(&Open) -> bool| self.open.values().filter(|open| of(open)).count() as u64;
        let clean = |open: &Open| open.told_at.is_some() && open.over.is_some_and(|(_, clean)| clean);
        let same = [
            ("open", report.open, self.open.len() as u64),
            ("closed", report.closed, count(clean)),
            ("told", report.closed + report.unanswered, count(|open| open.told_at.is_some())),
            ("those that had no turn", report.left + report.stopped, count(|open| open.told_at.is_none())),
            ("opened", stats.opened, self.opened),
            ("drains", report.cores, 1),
        ];
        for (what, engine, known) in same {
            assert_eq!(engine, known, "of a drain, the engine miscounts {what}");
        }
        let refused = self.seen.iter().filter(|seen| seen.is_told_to_come_back()).count() as u64;
        assert!(report.refused >= refused, "of a drain: {} refused, and {refused} were told so", report.refused);
    }

    /// In no part of the window more have their turn than in a part of its length, but for one in each of two that touch it, and for those of a pass that was late.
    fn judge_turns(&self, plan: &Plan) {
        let turns: Vec<Time> = self.open.values().filter_map(|open| open.told_at).collect();
        let late = SLACK.as_secs_f64() + plan.window.as_secs_f64() / 50.0;
        for part in [2, 4, 8] {
            let length = plan.window / part;
            let share = self.open.len() as f64 * (length.as_secs_f64() + late) / plan.window.as_secs_f64().max(0.001);
            for from in &turns {
                let some = turns.iter().filter(|at| **at >= *from && at.since(*from) < length).count();
                assert!(some as f64 <= share + 2.0, "of a drain: {some} of {} within {length:?}", self.open.len());
            }
        }
    }

    fn judge_peer(&self, seen: &Seen, open: Option<&Open>, plan: &Plan) -> Result<(), String> {
        let line = seen.line.borrow();
        check(line.is_over() || seen.left_at.is_some() || seen.is_deaf, "its connection never ended")?;
        check(matches!(line.status(), None | Some(101 | 200 | 408 | 503)), "an unexpected status")?;
        check(open.is_none() || line.status() != Some(503), "it was refused, and is open")?;
        let Some(open) = open.filter(|_| !line.is_faulted && seen.left_at.is_none() && !seen.is_deaf) else {
            return Ok(());
        };
        check(open.over.is_some(), "it was never closed")?;
        // Whoever is there to be told is, by the drain or by the stop that ends it.
        let Some((code, reason)) = &line.close else { return check(line.is_reset, "it was never told") };
        let by_drain = (*code, reason.as_str()) == (Some(plan.code.as_u16()), REASON);
        let by_stop = self.stopped_at.is_some() && *code == Some(1001);
        check(by_drain || by_stop && open.told_at.is_none(), "it was told something else")?;
        check(open.told_at.is_none() || seen.has_goodbye(), "what the application said before is lost")
    }
}
