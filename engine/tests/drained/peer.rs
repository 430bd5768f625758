//! A client of a core that is drained: what it says, how it goes, and what it has seen.

use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Net, PipeId, Random, Trace};
use wsring_proto::Opcode;
use wsring_testkit::sim::{Caller, Witness};
use wsring_testkit::{request_head, upgrade_head};

use super::desk::GOODBYE;
use super::{Plan, Shared};

/// What a peer saw.
#[derive(Debug)]
pub struct Seen {
    pub line: Witness,
    /// It closed, ended or reset by itself.
    pub left_at: Option<Time>,
    /// It reads nothing from some time on.
    pub is_deaf: bool,
}

impl Seen {
    pub fn is_told_to_come_back(&self) -> bool {
        self.line.borrow().answer.as_ref().is_some_and(|answer| answer.header("retry-after") == Some("1"))
    }

    pub fn has_goodbye(&self) -> bool {
        self.line.borrow().texts.iter().any(|text| text == GOODBYE)
    }
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// It answers a Close, so long after it.
    Answers(Duration),
    /// It never does.
    Silent,
    /// It closes, ends or resets its connection by itself then.
    Leaves(Time, u64),
    /// It reads nothing from then on.
    Deafens(Time),
}

pub struct Peer {
    number: usize,
    random: Random,
    ledger: Shared,
    trace: Trace,
    temper: Temper,
    line: Caller,
    answer_at: Option<Time>,
    /// Messages that it has for an open connection.
    says: u64,
}

impl Peer {
    pub fn new(number: usize, mut random: Random, plan: &Plan, ledger: &Shared, trace: &Trace) -> Self {
        let micros =
            |random: &mut Random, most: Duration| Duration::from_micros(random.below(1 + most.as_micros() as u64));
        let (whole, began) = (plan.at + plan.deadline, ledger.borrow().began);
        // Most come before it begins.
        let start = if random.chance(800) { micros(&mut random, plan.at) / 2 } else { micros(&mut random, whole) };
        let temper = match random.below(10) {
            0 => Temper::Silent,
            1 => Temper::Leaves(began.plus(micros(&mut random, whole)), random.below(3)),
            2 => Temper::Deafens(began.plus(micros(&mut random, whole))),
            _ => Temper::Answers(if random.chance(700) {
                Duration::ZERO
            } else {
                micros(&mut random, Duration::from_secs(1))
            }),
        };
        let path = format!("/{number}");
        let request = if random.chance(850) { upgrade_head(&path) } else { request_head("GET", &path, &[]) };
        let line = Caller::new(number, began.plus(start), &request, trace);
        ledger.borrow_mut().seen.push(Seen { line: line.witness(), left_at: None, is_deaf: false });
        let says = random.below(4);
        Self { number, random, ledger: ledger.clone(), trace: trace.clone(), temper, line, answer_at: None, says }
    }

    fn seen<R>(&self, see: impl FnOnce(&mut Seen) -> R) -> R {
        see(&mut self.ledger.borrow_mut().seen[self.number])
    }

    fn is_done(&self) -> bool {
        self.line.seen(|line| line.is_over()) || self.seen(|seen| seen.is_deaf)
    }

    pub fn on_event(&mut self, net: &mut Net) {
        if self.is_done() {
            return;
        }
        let Some(pipe) = self.line.on_called(net) else { return };
        match self.temper {
            Temper::Leaves(at, how) if self.line.has_opened() && !self.is_going() && self.line.is_time(net, at) => {
                self.leave(net, pipe, how);
            }
            Temper::Deafens(at) if self.line.is_time(net, at) => self.seen(|seen| seen.is_deaf = true),
            _ => {}
        }
        self.line.write(net);
        if self.is_done() {
            return;
        }
        let was_open = self.line.has_opened();
        self.line.read(net);
        if self.line.has_opened() && !was_open {
            for _ in 0..self.says {
                let text = "-".repeat(self.random.below(300) as usize);
                self.line.say(Opcode::Text, text.as_bytes());
            }
        }
        self.answer(net);
        self.line.write(net);
    }

    /// It has left, or was told to.
    fn is_going(&self) -> bool {
        self.seen(|seen| seen.left_at.is_some()) || self.line.seen(|line| line.close.is_some())
    }

    fn leave(&mut self, net: &mut Net, pipe: PipeId, how: u64) {
        let key = self.line.key();
        self.trace.note(&[60, key, how], || format!("                  peer {} leaves, {how}", self.number));
        let now = net.now();
        self.seen(|seen| seen.left_at = Some(now));
        match how {
            0 => self.line.say(Opcode::Close, &1000_u16.to_be_bytes()),
            1 => self.line.finish(net),
            _ => {
                self.line.seen(|line| line.ended_at = Some(now));
                net.reset(pipe);
            }
        }
    }

    /// It answers a Close when it is time.
    fn answer(&mut self, net: &mut Net) {
        let Temper::Answers(after) = self.temper else { return };
        let Some((code, _)) = self.line.seen(|line| line.close.clone()) else { return };
        let at = *self.answer_at.get_or_insert(net.now().plus(after));
        if self.line.is_time(net, at) {
            self.temper = Temper::Silent; // it has answered
            self.line.say(Opcode::Close, &code.unwrap_or(1000).to_be_bytes());
        }
    }
}
