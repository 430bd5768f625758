//! A client of a core that is drained: what it says, how it goes, and what it has seen.

use std::rc::Rc;
use std::time::Duration;

use wsring::CloseCode;
use wsring::ring::Time;
use wsring::ring::sim::{Net, PipeId, Random, Read, Trace, Written};
use wsring_proto::{Event, Limits, MaskKey, Message, Opcode, Pool, Role, Session, encode};

use super::desk::GOODBYE;
use super::{Plan, Shared};

/// What a peer saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub status: Option<u16>,
    pub is_told_to_come_back: bool,
    pub close: Option<(Option<u16>, String)>,
    pub has_goodbye: bool,
    /// It closed, ended or reset by itself.
    pub left_at: Option<Time>,
    /// It reads nothing from some time on.
    pub is_deaf: bool,
    pub over: bool,
    pub reset: bool,
    pub faulted: bool,
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    /// It answers a Close, so long after it.
    Answers(Duration),
    /// It never does.
    Silent,
    /// It closes, ends or resets its connection by itself, so long after the beginning of the run.
    Leaves(Duration, u64),
    /// It reads nothing from then on.
    Deafens(Duration),
}

pub struct Peer {
    number: usize,
    random: Random,
    ledger: Shared,
    trace: Trace,
    start: Duration,
    temper: Temper,
    pipe: Option<PipeId>,
    out: Vec<u8>,
    come: Vec<u8>,
    session: Option<Session>,
    pool: Pool,
    answer_at: Option<Time>,
    timer: Option<Time>,
    says: u32,
}

impl Peer {
    pub fn new(number: usize, mut random: Random, plan: &Plan, ledger: &Shared, trace: &Trace) -> Self {
        let micros =
            |random: &mut Random, most: Duration| Duration::from_micros(random.below(1 + most.as_micros() as u64));
        let whole = plan.at + plan.deadline;
        // Most come before it begins.
        let start = if random.chance(800) { micros(&mut random, plan.at) / 2 } else { micros(&mut random, whole) };
        let temper = match random.below(10) {
            0 => Temper::Silent,
            1 => Temper::Leaves(micros(&mut random, whole), random.below(3)),
            2 => Temper::Deafens(micros(&mut random, whole)),
            _ => Temper::Answers(if random.chance(700) {
                Duration::ZERO
            } else {
                micros(&mut random, Duration::from_secs(1))
            }),
        };
        let upgrades = random.chance(850);
        let asks = if upgrades {
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        let out = format!("GET /{number} HTTP/1.1\r\nHost: sim\r\n{asks}\r\n").into_bytes();
        Self {
            number,
            says: random.below(4) as u32,
            random,
            ledger: Rc::clone(ledger),
            trace: trace.clone(),
            start,
            temper,
            pipe: None,
            out,
            come: Vec::new(),
            session: None,
            pool: Pool::new(1 << 16),
            answer_at: None,
            timer: None,
        }
    }

    fn seen<R>(&self, see: impl FnOnce(&mut Seen) -> R) -> R {
        see(&mut self.ledger.borrow_mut().seen[self.number])
    }

    fn key(&self) -> u64 {
        self.number as u64 + 1
    }

    fn call_at(&mut self, net: &mut Net, at: Time) {
        if self.timer.is_none_or(|timer| at < timer) {
            self.timer = Some(at);
            net.call_after(at.since(net.now()), self.key());
        }
    }

    fn since_start(&self, after: Duration) -> Time {
        self.ledger.borrow().began.plus(after)
    }

    pub fn on_event(&mut self, net: &mut Net) {
        if self.seen(|seen| seen.over) {
            return;
        }
        if self.timer.is_some_and(|timer| timer <= net.now()) {
            self.timer = None;
        }
        let Some(pipe) = self.pipe else { return self.connect(net) };
        if let Temper::Leaves(after, how) = self.temper
            && self.session.is_some()
            && self.seen(|seen| seen.left_at.is_none() && seen.close.is_none())
        {
            let at = self.since_start(after);
            if net.now() < at {
                self.call_at(net, at);
            } else {
                self.leave(net, pipe, how);
            }
        }
        if let Temper::Deafens(after) = self.temper {
            let at = self.since_start(after);
            if net.now() < at {
                self.call_at(net, at);
            } else {
                self.seen(|seen| seen.is_deaf = true);
            }
        }
        self.write(net, pipe);
        self.read(net, pipe);
        if let Some(at) = self.answer_at {
            if net.now() < at {
                self.call_at(net, at);
            } else {
                self.answer_at = None;
                let code = self.seen(|seen| seen.close.clone()).and_then(|(code, _)| code).unwrap_or(1000);
                self.say(Opcode::Close, &code.to_be_bytes());
            }
        }
        self.write(net, pipe);
    }

    fn connect(&mut self, net: &mut Net) {
        let start = self.since_start(self.start);
        if net.now() < start {
            return self.call_at(net, start);
        }
        self.pipe = net.connect(0, self.key());
        if self.pipe.is_none() {
            return self.seen(|seen| seen.over = true); // nobody listens any more
        }
        self.on_event(net);
    }

    fn leave(&mut self, net: &mut Net, pipe: PipeId, how: u64) {
        self.trace.note(&[60, self.key(), how], || format!("                  peer {} leaves, {how}", self.number));
        let now = net.now();
        self.seen(|seen| seen.left_at = Some(now));
        match how {
            0 => self.say(Opcode::Close, &1000_u16.to_be_bytes()),
            1 => net.finish(pipe),
            _ => {
                self.seen(|seen| seen.over = true);
                net.reset(pipe);
            }
        }
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        encode::append_frame(&mut self.out, true, opcode, payload, Some(MaskKey::from_bytes([1, 2, 3, 4])));
    }

    fn write(&mut self, net: &mut Net, pipe: PipeId) {
        while !self.out.is_empty() && !self.seen(|seen| seen.over) {
            match net.write(pipe, &self.out) {
                Written::Bytes(0) | Written::Reset => return,
                Written::Bytes(count) => drop(self.out.drain(..count)),
            }
        }
    }

    fn read(&mut self, net: &mut Net, pipe: PipeId) {
        while !self.seen(|seen| seen.over || seen.is_deaf) {
            let mut bytes = Vec::new();
            let reset = match net.read(pipe, usize::MAX, &mut bytes) {
                Read::Nothing => return,
                Read::Bytes(_) => {
                    self.on_bytes(bytes, net.now());
                    continue;
                }
                Read::Eof => false,
                Read::Reset => true,
            };
            self.trace.note(&[61, self.key()], || format!("                  peer {} sees the end", self.number));
            let faulted = net.is_faulted(pipe);
            self.seen(|seen| (seen.over, seen.reset, seen.faulted) = (true, reset, faulted));
            if !reset {
                net.close(pipe);
            }
        }
        // What does not read does not see its end either.
        if self.seen(|seen| seen.is_deaf) {
            self.seen(|seen| seen.over = true);
        }
    }

    fn on_bytes(&mut self, bytes: Vec<u8>, now: Time) {
        if self.session.is_some() {
            return self.on_frames(bytes, now);
        }
        self.come.extend(bytes);
        let Some(end) = self.come.windows(4).position(|four| four == b"\r\n\r\n") else { return };
        let head = String::from_utf8_lossy(&self.come[..end]).into_owned();
        let status: u16 = head[9..12].parse().expect("a status line");
        let again = head.lines().any(|line| line.eq_ignore_ascii_case("retry-after: 1"));
        if self.seen(|seen| seen.status.is_none()) {
            self.trace
                .note(&[62, self.key(), status.into()], || format!("                  peer {}: {status}", self.number));
        }
        self.seen(|seen| (seen.status, seen.is_told_to_come_back) = (Some(status), again));
        if status == 101 {
            self.session = Some(Session::new(Role::Client));
            for _ in 0..self.says {
                let text = "-".repeat(self.random.below(300) as usize);
                self.say(Opcode::Text, text.as_bytes());
            }
            let rest = self.come.split_off(end + 4);
            self.on_frames(rest, now);
        }
    }

    fn on_frames(&mut self, mut bytes: Vec<u8>, now: Time) {
        let Some(session) = &mut self.session else { return };
        let limits = Limits::default();
        let mut input = session.input(&mut bytes, &limits);
        let (mut close, mut has_goodbye) = (None, false);
        while let Some(event) = input.next(&mut self.pool).expect("the engine breaks no rule") {
            match event {
                Event::Message { message: Message::Text(GOODBYE), .. } => has_goodbye = true,
                Event::Close { code, reason } => close = Some((code.map(CloseCode::as_u16), reason.to_owned())),
                _ => {}
            }
        }
        self.seen(|seen| seen.has_goodbye |= has_goodbye);
        if close.is_some() {
            self.seen(|seen| seen.close = close);
            if let (Temper::Answers(after), true) = (self.temper, self.seen(|seen| seen.left_at.is_none())) {
                self.answer_at = Some(now.plus(after));
            }
        }
    }
}
