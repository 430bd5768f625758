//! An engine whose application answers later: one seed, one run, and what must come of it (oracle 33).
//!
//! `peer` is a client that asks, waits or does not, and says more meanwhile; `desk` the application that defers, and the other thread that answers, in
//! any order, late, twice, or never.

mod desk;
mod peer;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Net, Outside, Random, SimConfig, SimRing, Trace};
use wsring::{Config, Stats};
use wsring_testkit::sim::{Outcome, check, run_to_its_end, rung};

use desk::{App, Clerk, Found};
use peer::{Peer, Seen};

/// The key of the one who stops the engine, and of the one who answers; peers have those between.
const WATCH: u64 = 0;
const CLERK: u64 = 1 << 40;

/// A deadline may be late by ticks, and by what a rude kernel takes.
const SLACK: Duration = Duration::from_millis(200);
/// Nobody is served for longer.
const RUN: Duration = Duration::from_secs(3);

/// What is known of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The application has not been asked.
    Unasked,
    /// It waits, by that number. The first response to it, if there is one, was taken by the mailbox at that time.
    Waits(u64, Option<(Time, u16)>),
    /// The application has said that by a verdict.
    Said(u16),
}

/// What everybody in a run wrote down.
#[derive(Default)]
struct Ledger {
    seen: Vec<Seen>,
    stages: Vec<Stage>,
    /// Deferrals, and those that the engine refused.
    deferred: u64,
    refused: u64,
    /// Calls of `on_admit`, and answers that the mailbox took.
    admitted: u64,
    posted: u64,
    /// When each deferral began that the application does not know to be over.
    waiting: Vec<(u64, Time)>,
    stopped_at: Option<Time>,
    began: Time,
    /// By how much anything may be late.
    slack: Duration,
}

type Shared = Rc<RefCell<Ledger>>;

/// Peers, the thread that answers, and who stops it all.
struct Town {
    peers: Vec<Peer>,
    clerk: Clerk,
    remote: Remote<Found>,
    ledger: Shared,
    stop_at: Time,
    tick: Duration,
}

impl Outside for Town {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        match key {
            WATCH => {}
            CLERK => return self.clerk.on_event(net, &self.remote.handle(), CLERK),
            peer => return self.peers[peer as usize - 1].on_event(net),
        }
        if self.ledger.borrow().stopped_at.is_some() {
            return;
        }
        if net.now() >= self.stop_at || self.peers.iter().all(Peer::is_done) {
            self.ledger.borrow_mut().stopped_at = Some(net.now());
            self.remote.stop();
            return net.wake();
        }
        net.call_after(self.tick, WATCH);
    }
}

/// Runs one seed. Panics with what went wrong.
pub fn run(seed: u64, aloud: bool) -> Outcome {
    let mut random = Random::new(seed ^ 0x6465_6665_7272);
    let mut sim = SimConfig::random(seed);
    sim.sockets_max = 64;
    sim.listeners = 1;
    let pause = sim.pause.map_or(Duration::ZERO, |(_, pause)| pause);
    let handshake = Duration::from_millis(random.range(20, 500));
    let pending_max = random.range(1, 8) as u32;
    let config = Config::default()
        .connections_max(30)
        .pending_max(pending_max)
        .handshake_timeout(handshake)
        .closing_timeout(Duration::from_millis(500))
        .closing_max(Duration::from_millis(1_000))
        .stop_timeout(Duration::from_millis(500))
        .stop_max(Duration::from_millis(1_000))
        .linger(Duration::from_millis(100))
        .idle_timeout(None);
    if aloud {
        eprintln!("{sim:#?}\n{config:#?}");
    }
    let trace = Trace::new(aloud);
    let ledger: Shared = Rc::default();
    let count = random.range(1, 20) as usize;
    ledger.borrow_mut().stages = vec![Stage::Unasked; count];
    ledger.borrow_mut().slack = pause + SLACK;
    ledger.borrow_mut().began = sim.start;
    let peers = (0..count).map(|number| Peer::new(number, random.fork(), handshake, &ledger, &trace)).collect();
    let stop_after = if random.chance(300) { Duration::from_micros(random.below(600_000)) } else { RUN };
    let desk = desk::Desk::default();
    let (remote, bell) = rung(random.pick(&[1, 4, 1_000]));
    let clerk = Clerk::new(random.fork(), handshake, &desk, &ledger, &trace);
    let stop_at = sim.start.plus(stop_after);
    let town = Town {
        peers,
        clerk,
        remote: remote.clone(),
        ledger: Rc::clone(&ledger),
        stop_at,
        tick: Duration::from_millis(5),
    };
    let keys: Vec<u64> = (WATCH..=count as u64).chain([CLERK]).collect();
    let ring = SimRing::new(sim, trace.clone(), Box::new(town), &keys).rung_by(bell);
    let app = App::new(random.fork(), pending_max, desk, &ledger, &trace);
    let mut engine = Engine::new(config, ring, app, 1, &remote).seed(seed).letters_max(random.pick(&[1, 2, 256]));
    let judged = Rc::clone(&ledger);
    let (stats, _) = run_to_its_end(&mut engine, |engine| {
        let (pending, now) = (engine.stats().pending, engine.ring().time());
        assert!(pending <= pending_max.into(), "deferred: {pending} requests wait, and {pending_max} may");
        let may = |(_, since): &&(u64, Time)| now <= since.plus(handshake + pause + SLACK);
        let may = judged.borrow().waiting.iter().filter(may).count() as u64;
        assert!(pending <= may, "deferred: {pending} requests wait, of which {may} have not had their time");
    });
    ledger.borrow().judge(&stats, handshake);
    Outcome { stats, trace: trace.hash() }
}

impl Ledger {
    fn judge(&self, stats: &Stats, handshake: Duration) {
        for (number, (seen, stage)) in self.seen.iter().zip(&self.stages).enumerate() {
            let verdict = self.judge_peer(number, seen, *stage, handshake);
            assert!(verdict.is_ok(), "deferred, peer {number}: {}\n{stage:?} {seen:?}", verdict.unwrap_err());
        }
        let ended = stats.deferred_answered + stats.deferred_expired + stats.deferred_gone;
        let read = stats.deferred_answered + stats.answers_late + stats.mail_unread;
        let gone = self.seen.iter().filter(|seen| seen.may_be_gone()).count() as u64;
        let same = [
            ("deferred", stats.deferred, self.deferred),
            ("deferred_refused", stats.deferred_refused, self.refused),
            ("pending at the end", stats.pending, 0),
            ("deferrals that have ended", ended, self.deferred),
            ("answers", read, self.posted),
            ("memory_bytes at the end", stats.memory_bytes, 0),
        ];
        for (what, engine, known) in same {
            assert_eq!(engine, known, "deferred: the engine miscounts {what}");
        }
        assert!(stats.deferred_answered >= self.admitted, "deferred: the engine miscounts those that were answered");
        assert!(
            stats.deferred_gone <= gone,
            "deferred: {} are counted as gone, and {gone} may be",
            stats.deferred_gone
        );
    }

    fn judge_peer(&self, number: usize, seen: &Seen, stage: Stage, handshake: Duration) -> Result<(), String> {
        let line = seen.line.borrow();
        check(line.is_over() || seen.left, "its connection never ended")?;
        check(
            line.texts.len() <= seen.sent.len() && seen.sent.starts_with(&line.texts),
            "its echoes are not what it sent",
        )?;
        let body = line.answer.as_ref().map(|answer| String::from_utf8_lossy(&answer.body)).unwrap_or_default();
        check(!body.contains("HTTP/1.1"), "it was answered twice")?;
        // What the application says names whom it says it to.
        let to = body.strip_prefix("to peer ").and_then(|rest| rest.strip_suffix('\n'));
        check(to.is_none_or(|to| to == number.to_string()), "it got the answer to another")?;
        if seen.left || line.is_refused || line.is_faulted {
            return Ok(());
        }
        let stopped = |by: Option<Time>| self.stopped_at.is_some_and(|at| by.is_none_or(|by| at <= by));
        let is_over = line.answered_at.is_some_and(|at| at.since(line.connected_at) >= handshake);
        // Its request was on its way for so long that its time may have been over before all of it had come.
        let is_slow = line.asked_at.is_none_or(|at| at.since(line.connected_at) + self.slack >= handshake);
        match (line.status(), stage) {
            (Some(101), Stage::Said(101)) => {
                check(line.texts == seen.sent || stopped(line.ended_at), "what it had sent was lost")
            }
            (Some(408), Stage::Unasked) => check(is_slow, "its request was whole"),
            (Some(503), Stage::Unasked) => check(stopped(line.answered_at), "it was told 503, and nobody knows why"),
            (Some(503), Stage::Waits(_, response)) => {
                check(is_over || stopped(line.answered_at), "its time was not over")?;
                let kept = self.stopped_at.is_some_and(|stop| line.answered_at > Some(stop.plus(self.slack)));
                check(!kept, "a stop let it wait")?;
                let due = line.connected_at.plus(handshake);
                let late = response.is_none_or(|(at, _)| at.plus(self.slack) >= due || stopped(line.answered_at));
                check(late, "it was answered in time, and told that it was not")
            }
            (Some(said), Stage::Waits(_, Some((_, status)))) => check(said == status, "it was told something else"),
            (Some(said), Stage::Said(status)) => check(said == status, "it was told something else"),
            (None, _) if seen.half_closed => Ok(()),
            (None, Stage::Unasked) => check(is_slow || stopped(line.ended_at), "it was never asked about"),
            (None, _) => check(false, "it was never answered"),
            (Some(_), _) => check(false, "nobody said that"),
        }
    }
}
