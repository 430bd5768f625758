//! A deterministic kernel with faults: [`Ring`] over a simulated network, in virtual time, decided by a seed.
//!
//! Owns the loop of a wait: what was submitted starts, time passes, what happens happens, completions are gathered. `net` is
//! the network and its clock, `acks` what peers have acknowledged, `kernel` holds what is in flight, `start` begins operations and `steps` takes them further, `buffers`
//! are the provided buffers, `config` means and manners, `trace` the story. The world outside, peers and whoever stops the server, is the test's: [`Outside`].
//!
//! As rude as the real kernel, and stricter: what that only punishes, this asserts (`docs/simulation.md` has the list). It
//! knows nothing of WebSocket.
#![forbid(unsafe_code)]

mod acks;
mod buffers;
mod config;
mod held;
mod kernel;
mod net;
mod random;
mod start;
mod steps;
mod story;
mod trace;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

pub use acks::Abort;
pub use buffers::SimLease;
pub use config::{Faults, SimConfig};
pub use kernel::Counts;
pub use net::{Bell, Net, Outside, PipeId, Read, Written};
pub use random::Random;
pub use trace::{Trace, hash_of, mix};

use super::{Done, Errno, Kind, Op, Payload, RecvEnd, Ring, Socket, Time, Token};
use net::Event;

/// Polls in a row that bring nothing and submit nothing: more is a loop that never sleeps. A peer whose connection is broken may have
/// thousands of pings in what waits, and a share of a pass for two of them.
const IDLE_POLLS_MAX: u32 = 10_000;

/// The simulated ring.
pub struct SimRing {
    net: Net,
    outside: Option<Box<dyn Outside>>,
    submitted: Vec<(Token, Op)>,
    ready: VecDeque<(Token, Done<SimLease>)>,
    /// The clock as read by the last wait, and by the one before.
    clock: Time,
    clock_before: Time,
    enters: u64,
    idle_polls: u32,
    /// No wait goes on behind it.
    halt: Option<Time>,
    ended: bool,
}

impl SimRing {
    /// A ring on a new network. `Outside::on_event` is called with each of `keys` at the start.
    pub fn new(config: SimConfig, trace: Trace, outside: Box<dyn Outside>, keys: &[u64]) -> Self {
        let start = config.start;
        trace.set_now(start);
        let mut net = Net::new(config, trace);
        keys.iter().for_each(|key| net.schedule(start, Event::Outside(*key)));
        Self {
            net,
            outside: Some(outside),
            submitted: Vec::new(),
            ready: VecDeque::new(),
            clock: start,
            clock_before: start,
            enters: 0,
            idle_polls: 0,
            halt: None,
            ended: false,
        }
    }

    /// Is woken by this bell as well.
    #[must_use]
    pub fn rung_by(mut self, bell: Bell) -> Self {
        self.net.bell = bell;
        self
    }

    /// What the kernel has done.
    pub fn counts(&self) -> Counts {
        self.net.kernel.counts
    }

    /// Bytes of memory that sends have, from their submission until the engine looks at their completion.
    pub fn memory(&self) -> usize {
        let submitted = self.submitted.iter().filter_map(|(_, op)| match op {
            Op::Send { payload, .. } => Some(payload),
            _ => None,
        });
        let ready = self.ready.iter().filter_map(|(_, done)| kernel::payload_of(done));
        submitted.chain(ready).chain(self.net.kernel.payloads()).map(|payload| payload.memory.held_bytes()).sum()
    }

    /// Virtual time.
    pub fn time(&self) -> Time {
        self.net.now
    }

    /// Has no wait go on behind `at`: it comes back with nothing then, for whoever drives the engine from pass to pass.
    pub fn halt_at(&mut self, at: Time) {
        self.halt = Some(at);
    }

    /// The network, for peers that act between two passes.
    pub fn net(&mut self) -> &mut Net {
        &mut self.net
    }

    /// Nothing more happens at this moment, whatever the engine has not begun yet.
    pub fn is_at_rest(&self) -> bool {
        let is_due = self.next_event().is_some_and(|at| at <= self.net.now);
        !is_due && self.submitted.is_empty() && self.ready.is_empty() && !self.net.has_news()
    }

    /// The engine has ended: nothing may be submitted any more. What it left behind, one sentence each.
    #[must_use]
    pub fn end(&mut self) -> Vec<String> {
        self.ended = true;
        self.net.close_held_files();
        let mut left = self.net.kernel.leftovers();
        // The wake is armed to the end; the ring's end settles it. A cancel may be overtaken by the end of what it is for in the
        // engine's last pass; what is not over is among the leftovers anyway.
        let submitted = self.submitted.drain(..).filter(|(_, op)| !matches!(op, Op::Wake | Op::Cancel { .. }));
        left.extend(submitted.map(|(token, op)| format!("never handed over: {token:?} {op:?}")));
        for (token, done) in self.ready.drain(..) {
            left.push(format!("never looked at: {token:?} {done:?}"));
        }
        left
    }

    /// Lets the world outside go on without the engine until nothing happens any more, at most for a while.
    pub fn settle_outside(&mut self, most: Duration) {
        let until = self.net.now.plus(most);
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.net.now = self.net.now.max(at);
            self.happen_until_now();
        }
    }

    fn next_event(&self) -> Option<Time> {
        self.net.calendar.peek().map(|entry| entry.0.0)
    }

    fn happen_until_now(&mut self) {
        while self.next_event().is_some_and(|at| at <= self.net.now) {
            let Some(std::cmp::Reverse((_, _, _, event))) = self.net.calendar.pop() else {
                return;
            };
            self.net.trace.set_now(self.net.now);
            self.net.kernel.now = self.net.now;
            let Event::Outside(key) = event else {
                self.net.happen(event);
                continue;
            };
            self.net.on_called(key);
            let mut outside = self.outside.take().expect("the world outside does not wait for completions");
            outside.on_event(&mut self.net, key);
            self.outside = Some(outside);
            self.net.hear_bell();
        }
    }

    /// The process stops where it is, if it is time for that: before it submits what a pass left to do, or between the last completion and
    /// a look at the clock.
    fn stand_still(&mut self) {
        if let Some((_, most)) = self.net.config.pause.take_if(|(at, _)| *at <= self.net.now) {
            let until = self.net.now.plus(most);
            while let Some(at) = self.next_event().filter(|at| *at <= until) {
                self.net.now = self.net.now.max(at);
                self.happen_until_now();
            }
            self.net.now = until;
        }
    }

    fn pass(&mut self, nanos: u64) {
        self.net.now = self.net.now.plus(Duration::from_nanos(nanos));
    }
}

impl Ring for SimRing {
    type Lease = SimLease;

    fn submit(&mut self, token: Token, op: Op) {
        assert!(!self.ended, "{op:?} was submitted after the end");
        let [kind, socket, hash] = story::numbers_of(&op);
        self.net.trace.note(&[token.to_bits(), kind, socket, hash], || {
            format!("submit   {} {}", Label(token), story::story(&op))
        });
        self.submitted.push((token, op));
    }

    fn wait(&mut self, until: Option<Time>) -> io::Result<()> {
        assert!(!self.ended, "a wait after the end");
        assert!(self.ready.is_empty(), "{} completions were not looked at", self.ready.len());
        self.enters += 1;
        assert!(self.enters < self.net.config.waits_max, "{} waits: the engine gets nowhere", self.enters);
        // The engine's own work takes time, and sometimes its thread is not scheduled.
        let (least, most) = self.net.config.work_ns;
        let mut work = self.net.random.range(least, most);
        if self.net.random.chance(self.net.config.faults.late) {
            work += self.net.random.below(2_000_000);
        }
        self.pass(work);
        if self.net.config.pauses_unsubmitted && self.submitted.iter().any(|(_, op)| matches!(op, Op::Send { .. })) {
            self.stand_still();
        }
        self.net.hear_bell(); // what the engine's own callbacks have rung
        let polls = until.is_some_and(|until| until <= self.clock);
        let idle = self.submitted.is_empty();
        for (token, op) in std::mem::take(&mut self.submitted) {
            if matches!(op, Op::CancelSocket { .. }) {
                self.net.note_neglect(token, self.clock_before);
            }
            self.net.start(token, op);
        }
        self.net.kernel.flush_overflow();
        let empty = self.net.random.chance(self.net.config.faults.empty_wait);
        let interrupt = empty.then(|| self.net.now.plus(Duration::from_nanos(self.net.random.below(1_000_000))));
        let limit = [until, interrupt, self.halt].into_iter().flatten().min();
        loop {
            self.happen_until_now();
            if self.net.kernel.has_completions() || limit.is_some_and(|limit| limit <= self.net.now) {
                break;
            }
            let next = [self.next_event(), limit].into_iter().flatten().min();
            let next = next.expect("the engine sleeps and nothing will ever wake it");
            self.net.now = self.net.now.max(next);
        }
        self.net.kernel.gather(&mut self.ready, self.net.config.batch_max);
        if !self.net.config.pauses_unsubmitted {
            self.stand_still();
        }
        (self.clock_before, self.clock) = (self.clock, self.net.now);
        self.net.kernel.on_gathered();
        self.net.trace.set_now(self.clock);
        self.idle_polls = if polls && idle && self.ready.is_empty() { self.idle_polls + 1 } else { 0 };
        assert!(self.idle_polls < IDLE_POLLS_MAX, "{IDLE_POLLS_MAX} polls in a row brought nothing: the engine spins");
        Ok(())
    }

    fn next(&mut self) -> Option<(Token, Done<SimLease>)> {
        let (token, done) = self.ready.pop_front()?;
        if matches!(done, Done::Received { lease: Some(_), .. }) {
            self.net.trace.on_handed(token.index());
        }
        let [kind, first, second] = story::numbers_of_done(&done);
        let numbers = [token.to_bits(), kind, first, second];
        self.net.trace.note(&numbers, || format!("complete {} {}", Label(token), story::story_of_done(&done)));
        Some((token, done))
    }

    fn has_more(&mut self) -> bool {
        self.net.kernel.has_more()
    }

    fn room_for(&self, bytes: u32) -> usize {
        let (count, size) = self.net.config.buffers;
        let taken = if self.net.config.incremental { (bytes as usize).max(1) } else { size };
        count * size / 2 / taken
    }

    fn release(&mut self, lease: SimLease) {
        self.net.kernel.buffers.release(lease);
    }

    fn has_waiting(&mut self, listener: u32) -> bool {
        self.net.has_waiting(listener)
    }

    fn deafen(&mut self, listener: u32) -> bool {
        self.net.deafen(listener);
        true
    }

    fn unlisten(&mut self, listener: u32) {
        self.net.trace.note(&[9, u64::from(listener)], || format!("unlisten {listener}"));
        self.net.close_listener(listener);
    }

    fn now(&self) -> Time {
        self.clock
    }

    fn enters(&self) -> u64 {
        self.enters
    }
}

/// A token as the trace tells it.
struct Label(Token);

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}.{}", self.0.kind(), self.0.index(), self.0.generation())
    }
}
