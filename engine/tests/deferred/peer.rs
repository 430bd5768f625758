//! A client that asks, drips or not, says more while it waits or goes, and reads what comes of it.

use std::rc::Rc;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Net, PipeId, Random, Read, Trace, Written};
use wsring::{Limits, Message};
use wsring_proto::{Event, MaskKey, Opcode, Pool, Role, Session, encode};

use super::Shared;

/// What a client wrote down.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// It asks for an upgrade.
    pub upgrades: bool,
    pub connected_at: Time,
    /// When the last byte of its request was on its way.
    pub whole_at: Option<Time>,
    /// The status of its answer, and when that was read. How many there were.
    pub status: Option<u16>,
    pub answered_at: Option<Time>,
    pub statuses: u32,
    pub sent: Vec<String>,
    pub echoed: Vec<String>,
    pub half_closed: bool,
    /// It went by itself, before or after its answer.
    pub left: bool,
    /// The end has come, and when.
    pub over: bool,
    pub ended_at: Option<Time>,
    pub faulted: bool,
}

impl Seen {
    /// Its connection may have ended while its request waited.
    pub fn may_be_gone(&self) -> bool {
        self.left || self.faulted || self.half_closed
    }
}

/// What it does behind its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Waits,
    /// It goes after that time, in order or by a reset.
    Goes(Duration, bool),
    /// It says that it sends nothing more, and waits.
    Ends,
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
    at: usize,
    /// The head's length, and in which pieces it goes.
    head: usize,
    drip: Option<(usize, Duration)>,
    write_at: Time,
    timer: Option<Time>,
    come: Vec<u8>,
    session: Option<Session>,
    pool: Pool,
    /// Messages that it sends when it is open, and whether it has closed.
    more: u64,
    closed: bool,
}

impl Peer {
    pub fn new(number: usize, mut random: Random, handshake: Duration, ledger: &Shared, trace: &Trace) -> Self {
        let upgrades = random.chance(750);
        let micros = handshake.as_micros() as u64;
        let temper = match random.below(10) {
            0 | 1 => Temper::Goes(Duration::from_micros(random.below(2 * micros)), random.chance(500)),
            2 => Temper::Ends,
            _ => Temper::Waits,
        };
        let drip =
            random.chance(300).then(|| (random.range(1, 60) as usize, Duration::from_micros(random.below(5_000))));
        let start = Duration::from_micros(random.below(random_span(micros, number)));
        let pad = "p".repeat(random.pick(&[0, 10, 700, 3_000]));
        let asks = if upgrades {
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        let method = if upgrades { "GET" } else { random.pick(&["GET", "HEAD", "POST"]) };
        let mut out =
            format!("{method} /{number} HTTP/1.1\r\nHost: sim\r\n{asks}X-Pad: {pad}\r\nX-Last: of the head\r\n\r\n")
                .into_bytes();
        let head = out.len();
        let mut sent = Vec::new();
        if random.chance(400) && temper != Temper::Waits || random.chance(300) {
            if upgrades {
                for message in 0..random.range(1, 4) {
                    say(&mut out, &mut sent, number, message, &mut random);
                }
            } else {
                out.extend_from_slice(&vec![b'b'; random.below(3_000) as usize]); // a body
            }
        }
        {
            let seen = &mut ledger.borrow_mut().seen[number];
            (seen.upgrades, seen.sent) = (upgrades, sent);
        }
        Self {
            number,
            more: random.below(4),
            random,
            ledger: Rc::clone(ledger),
            trace: trace.clone(),
            start,
            temper,
            pipe: None,
            out,
            at: 0,
            head,
            drip,
            write_at: Time::default(),
            timer: None,
            come: Vec::new(),
            session: None,
            pool: Pool::new(1 << 16),
            closed: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.seen(|seen| seen.over || seen.left)
    }

    fn seen<R>(&self, see: impl FnOnce(&mut Seen) -> R) -> R {
        see(&mut self.ledger.borrow_mut().seen[self.number])
    }

    fn key(&self) -> u64 {
        self.number as u64 + 1
    }

    /// It is called then, once.
    fn call_at(&mut self, net: &mut Net, at: Time) {
        if self.timer.is_none_or(|timer| at < timer) {
            self.timer = Some(at);
            net.call_after(at.since(net.now()), self.key());
        }
    }

    pub fn on_event(&mut self, net: &mut Net) {
        if self.is_done() {
            return;
        }
        if self.timer.is_some_and(|timer| timer <= net.now()) {
            self.timer = None;
        }
        let Some(pipe) = self.pipe else { return self.connect(net) };
        if let Temper::Goes(after, resets) = self.temper
            && net.now() >= self.seen(|seen| seen.connected_at).plus(after)
        {
            self.trace.note(&[101, self.key()], || format!("                  peer {} goes", self.number));
            self.seen(|seen| seen.left = true);
            return if resets { net.reset(pipe) } else { net.close(pipe) };
        }
        self.write(net, pipe);
        self.read(net, pipe);
        self.write(net, pipe);
    }

    fn connect(&mut self, net: &mut Net) {
        let start = self.ledger.borrow().began.plus(self.start);
        if net.now() < start {
            return self.call_at(net, start);
        }
        self.pipe = net.connect(0, self.key());
        let (now, refused) = (net.now(), self.pipe.is_none());
        self.seen(|seen| (seen.connected_at, seen.left) = (now, refused));
        if let Temper::Goes(after, _) = self.temper {
            net.call_after(after, self.key());
        }
        if !refused {
            self.on_event(net);
        }
    }

    fn write(&mut self, net: &mut Net, pipe: PipeId) {
        while self.at < self.out.len() {
            if net.now() < self.write_at {
                return self.call_at(net, self.write_at);
            }
            let to = match self.drip.filter(|_| self.at < self.head) {
                Some((piece, _)) => (self.at + piece).min(self.head),
                None => self.out.len(),
            };
            match net.write(pipe, &self.out[self.at..to]) {
                Written::Bytes(0) | Written::Reset => return,
                Written::Bytes(count) => self.at += count,
            }
            if self.at >= self.head {
                let now = net.now();
                self.seen(|seen| _ = seen.whole_at.get_or_insert(now));
            } else if let Some((_, pause)) = self.drip {
                self.write_at = net.now().plus(pause);
            }
        }
        if self.temper == Temper::Ends && !self.seen(|seen| std::mem::replace(&mut seen.half_closed, true)) {
            net.finish(pipe);
        }
    }

    fn read(&mut self, net: &mut Net, pipe: PipeId) {
        loop {
            let mut bytes = Vec::new();
            let is_reset = match net.read(pipe, usize::MAX, &mut bytes) {
                Read::Nothing => return,
                Read::Bytes(_) => {
                    self.on_bytes(bytes, net.now());
                    continue;
                }
                Read::Eof => false,
                Read::Reset => true,
            };
            let (now, faulted) = (net.now(), net.is_faulted(pipe));
            self.trace.note(&[102, self.key()], || {
                format!("                  peer {} sees the end, {is_reset}", self.number)
            });
            self.seen(|seen| (seen.over, seen.ended_at, seen.faulted) = (true, Some(now), faulted));
            if !is_reset {
                net.close(pipe);
            }
            return;
        }
    }

    fn on_bytes(&mut self, bytes: Vec<u8>, now: Time) {
        if self.session.is_none() {
            self.come.extend(bytes);
            let Some(end) = self.come.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            let rest = self.come.split_off(end + 4);
            if self.seen(|seen| seen.status.is_none()) {
                self.on_head(now);
            } else {
                assert!(!self.come.starts_with(b"HTTP"), "deferred: it was answered twice");
            }
            self.come = rest;
            if self.session.is_none() {
                return self.on_body();
            }
            let rest = std::mem::take(&mut self.come);
            return self.on_frames(rest);
        }
        self.on_frames(bytes);
    }

    fn on_head(&mut self, now: Time) {
        let head = std::str::from_utf8(&self.come).expect("a head is ASCII");
        let status: u16 = head[9..12].parse().expect("a status line");
        self.trace.note(&[103, self.key(), status.into()], || {
            format!("                  peer {} is told {status}", self.number)
        });
        self.seen(|seen| {
            (seen.status, seen.answered_at) = (Some(status), Some(now));
            seen.statuses += 1;
        });
        if status == 101 {
            self.session = Some(Session::new(Role::Client));
            let mut sent = self.seen(|seen| std::mem::take(&mut seen.sent));
            let from = sent.len() as u64;
            if self.temper != Temper::Ends {
                for message in from..from + self.more {
                    say(&mut self.out, &mut sent, self.number, message, &mut self.random);
                }
            }
            self.seen(|seen| seen.sent = sent);
        }
    }

    /// What the application says names whom it says it to.
    fn on_body(&mut self) {
        let body = String::from_utf8_lossy(&self.come);
        if let Some(to) = body.strip_prefix("to peer ").and_then(|rest| rest.strip_suffix('\n')) {
            assert_eq!(to, self.number.to_string(), "deferred: it got the answer to another");
        }
    }

    fn on_frames(&mut self, mut bytes: Vec<u8>) {
        let Some(session) = &mut self.session else { return };
        let limits = Limits::default();
        let mut input = session.input(&mut bytes, &limits);
        while let Some(event) = input.next(&mut self.pool).expect("the engine breaks no rule") {
            if let Event::Message { message: Message::Text(text), .. } = event {
                self.ledger.borrow_mut().seen[self.number].echoed.push(text.to_owned());
            }
        }
        // It closes when it has got back all that it sent.
        let is_whole = self.seen(|seen| seen.echoed.len() == seen.sent.len());
        if is_whole && self.temper != Temper::Ends && !std::mem::replace(&mut self.closed, true) {
            let key = MaskKey::from_bytes([1, 2, 3, 4]);
            encode::append_frame(&mut self.out, true, Opcode::Close, &1000_u16.to_be_bytes(), Some(key));
        }
    }
}

/// Some come at once, others one after the other.
fn random_span(micros: u64, number: usize) -> u64 {
    if number.is_multiple_of(3) { 1_000 } else { 2 * micros }
}

fn say(out: &mut Vec<u8>, sent: &mut Vec<String>, number: usize, message: u64, random: &mut Random) {
    let text = format!("{number}.{message} {}", "-".repeat(random.below(400) as usize));
    encode::append_frame(out, true, Opcode::Text, text.as_bytes(), Some(MaskKey::from_bytes([5, 6, 7, 8])));
    sent.push(text);
}
