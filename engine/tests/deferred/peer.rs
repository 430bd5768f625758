//! A client that asks, drips or not, says more while it waits or goes, and reads what comes of it.

use std::time::Duration;

use wsring::ring::sim::{Net, Random, Trace};
use wsring_proto::Opcode;
use wsring_testkit::sim::{Caller, Witness};
use wsring_testkit::{handshake, request_head};

use super::Shared;

/// What a client wrote down.
#[derive(Debug)]
pub struct Seen {
    pub line: Witness,
    /// It asks for an upgrade.
    pub upgrades: bool,
    pub sent: Vec<String>,
    pub half_closed: bool,
    /// It went by itself, before or after its answer.
    pub left: bool,
}

impl Seen {
    /// Its connection may have ended while its request waited.
    pub fn may_be_gone(&self) -> bool {
        self.left || self.line.borrow().is_faulted || self.half_closed
    }
}

/// What it does behind its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Waits,
    /// It goes so long after it has connected, in order or by a reset.
    Goes(Duration, bool),
    /// It says that it sends nothing more, and waits.
    Ends,
}

pub struct Peer {
    number: usize,
    random: Random,
    ledger: Shared,
    trace: Trace,
    temper: Temper,
    line: Caller,
    /// Messages that it sends when it is open, and whether it has closed.
    more: u64,
    closed: bool,
}

impl Peer {
    pub fn new(number: usize, mut random: Random, handshake_timeout: Duration, ledger: &Shared, trace: &Trace) -> Self {
        let upgrades = random.chance(750);
        let micros = handshake_timeout.as_micros() as u64;
        let temper = match random.below(10) {
            0 | 1 => Temper::Goes(Duration::from_micros(random.below(2 * micros)), random.chance(500)),
            2 => Temper::Ends,
            _ => Temper::Waits,
        };
        let drip =
            random.chance(300).then(|| (random.range(1, 60) as usize, Duration::from_micros(random.below(5_000))));
        // Some come at once, others one after the other.
        let span = if number.is_multiple_of(3) { 1_000 } else { 2 * micros };
        let start = ledger.borrow().began.plus(Duration::from_micros(random.below(span)));
        let pad = format!("X-Pad: {}", "p".repeat(random.pick(&[0, 10, 700, 3_000])));
        let (path, headers) = (format!("/{number}"), [&*pad, "X-Last: of the head"]);
        let request = if upgrades {
            handshake(&path, &headers)
        } else {
            request_head(random.pick(&["GET", "HEAD", "POST"]), &path, &headers)
        };
        let line = Caller::new(number, start, &request, trace).dripping(drip);
        let seen = Seen { line: line.witness(), upgrades, sent: Vec::new(), half_closed: false, left: false };
        ledger.borrow_mut().seen.push(seen);
        let (ledger, trace) = (ledger.clone(), trace.clone());
        let mut peer = Self { number, random, ledger, trace, temper, line, more: 0, closed: false };
        if peer.random.chance(400) && temper != Temper::Waits || peer.random.chance(300) {
            if upgrades {
                let early = peer.random.range(1, 4);
                peer.say(early);
            } else {
                peer.line.say_bytes(&vec![b'b'; peer.random.below(3_000) as usize]); // a body
            }
        }
        peer.more = peer.random.below(4);
        peer
    }

    pub fn is_done(&self) -> bool {
        self.line.seen(|line| line.is_over()) || self.seen(|seen| seen.left)
    }

    fn seen<R>(&self, see: impl FnOnce(&mut Seen) -> R) -> R {
        see(&mut self.ledger.borrow_mut().seen[self.number])
    }

    pub fn on_event(&mut self, net: &mut Net) {
        if self.is_done() {
            return;
        }
        let Some(pipe) = self.line.on_called(net) else { return };
        if let Temper::Goes(after, resets) = self.temper {
            let at = self.line.seen(|line| line.connected_at).plus(after);
            if self.line.is_time(net, at) {
                let key = self.line.key();
                self.trace.note(&[101, key], || format!("                  peer {} goes", self.number));
                self.seen(|seen| seen.left = true);
                return if resets { net.reset(pipe) } else { net.close(pipe) };
            }
        }
        self.write(net);
        let was_open = self.line.has_opened();
        self.line.read(net);
        if self.line.has_opened() && !was_open && self.temper != Temper::Ends {
            self.say(self.more);
        }
        self.close();
        self.write(net);
    }

    fn write(&mut self, net: &mut Net) {
        if self.line.write(net) && self.temper == Temper::Ends {
            self.seen(|seen| seen.half_closed = true);
            self.line.finish(net);
        }
    }

    /// It closes when it has got back all that it sent.
    fn close(&mut self) {
        let came = self.line.seen(|line| line.texts.len());
        let is_whole = self.line.has_opened() && self.seen(|seen| came == seen.sent.len());
        if is_whole && self.temper != Temper::Ends && !std::mem::replace(&mut self.closed, true) {
            self.line.say(Opcode::Close, &1000_u16.to_be_bytes());
        }
    }

    fn say(&mut self, count: u64) {
        for _ in 0..count {
            let message = self.seen(|seen| seen.sent.len());
            let text = format!("{}.{message} {}", self.number, "-".repeat(self.random.below(400) as usize));
            self.line.say(Opcode::Text, text.as_bytes());
            self.seen(|seen| seen.sent.push(text));
        }
    }
}
