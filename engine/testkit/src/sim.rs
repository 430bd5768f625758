//! What simulated worlds share: a client on the simulated network, and how a core is run to its end there.
//!
//! A world is a test of its own: an application, what is around it, and a ledger that all of them write and by which they are judged. Its clients are each a
//! [`Caller`] with a temper. The client refuses to know what is good: it writes down what it has [`Seen`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Bell, Net, PipeId, Read, Trace, Written};
use wsring::{CloseCode, Handler, Limits, Message, Stats};
use wsring_proto::{Event, MaskKey, Opcode, Pool, Role, Session, encode};

use crate::http::Answer;
use crate::{effort, seeds};

/// What a run of a world came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub stats: Stats,
}

/// A world with a test of its own, which has this name.
#[derive(Clone, Copy)]
pub struct World {
    pub test: &'static str,
    /// Runs one seed, and tells its story if that is wanted. Panics with what went wrong.
    pub run: fn(u64, bool) -> Outcome,
}

impl World {
    /// The one seed that the environment names, aloud; or as many as it says, of which one in twenty reaches each of these.
    pub fn run_seeds<const N: usize>(self, reached: fn(&Stats) -> [(&'static str, u64); N]) {
        let Self { test, run } = self;
        if let Some(seed) = effort::number("SEED") {
            return println!("{}", run(seed, true).stats);
        }
        let (count, command) = (effort::seeds(), format!("cargo test -p wsring --features sim --test {test} seeds"));
        let total: Stats = seeds::run_all(count, &command, |seed| run(seed, false).stats);
        println!("{count} seeds: {total}");
        if count >= 1000 {
            seeds::assert_reached(count, 20, &reached(&total));
        }
    }

    /// See [`seeds::assert_same_again`].
    pub fn is_its_seeds(self) {
        seeds::assert_same_again(0..20, |seed| (self.run)(seed, false), |outcome| outcome.trace);
    }
}

/// What another thread has of a core, whose mailbox holds so many letters, and the bell that it rings.
pub fn rung<M>(mailbox_max: u32) -> (Remote<M>, Bell) {
    let bell = Bell::default();
    let rung = bell.clone();
    (Remote::new(move || rung.ring(), mailbox_max), bell)
}

/// Runs a core to its end, and looks at it after each pass. Its count of its memory is right, and nothing is left of it; then everybody else comes to an end as well. Says
/// what it counted, and when it had ended.
pub fn run_to_its_end<H: Handler>(engine: &mut Engine<H>, mut look: impl FnMut(&mut Engine<H>)) -> (Stats, Time) {
    let watched = engine.run_watched(|engine| {
        let lent = engine.ring().memory();
        let (counted, found) = engine.memory(lent);
        assert_eq!(counted, found, "the engine's count of its memory is not what is in use");
        look(engine);
    });
    let stats = watched.expect("the simulated ring does not break");
    assert_nothing_is_left(engine);
    let ended_at = engine.ring().time();
    engine.ring().settle_outside(Duration::from_secs(60));
    (stats, ended_at)
}

/// A core that has ended has left nothing behind, in itself or with the kernel.
#[track_caller]
pub fn assert_nothing_is_left<H: Handler>(engine: &mut Engine<H>) {
    let left: Vec<String> = engine.leftovers().into_iter().chain(engine.ring().end()).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// A judge's sentence: nothing, or what is wrong.
pub fn check(holds: bool, says: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(says.to_owned()) }
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connected_at: Time,
    /// Nobody listened when it came.
    pub is_refused: bool,
    /// When the last byte of its request was on its way.
    pub asked_at: Option<Time>,
    /// Its answer, with what had come of the body by the end, and when the head was read.
    pub answer: Option<Answer>,
    pub answered_at: Option<Time>,
    pub texts: Vec<String>,
    /// Its Close's code and reason.
    pub close: Option<(Option<u16>, String)>,
    /// When the end came, and whether as a reset; and whether it was the kernel who broke its connection.
    pub ended_at: Option<Time>,
    pub is_reset: bool,
    pub is_faulted: bool,
}

impl Seen {
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    /// Nothing more comes.
    pub fn is_over(&self) -> bool {
        self.is_refused || self.ended_at.is_some()
    }
}

/// What a client saw, for the client and for whoever judges.
pub type Witness = Rc<RefCell<Seen>>;

/// A client of a core on the simulated network: it sends a request in whatever pieces, reads the answer, and then frames. When it is called it is to do in this order what
/// it has to: [`Self::on_called`], [`Self::write`], [`Self::read`], [`Self::write`].
pub struct Caller {
    number: usize,
    start: Time,
    trace: Trace,
    seen: Witness,
    pipe: Option<PipeId>,
    timer: Option<Time>,
    /// What it says, how much of that has gone, and how much is its request.
    out: Vec<u8>,
    at: usize,
    request: usize,
    /// In which pieces the request goes, and how long after each other.
    drip: Option<(usize, Duration)>,
    write_at: Time,
    /// Its stream has ended.
    is_silent: bool,
    come: Vec<u8>,
    session: Option<Session>,
    pool: Pool,
}

impl Caller {
    /// One that connects then and sends this. The network calls it by its [`Self::key`].
    pub fn new(number: usize, start: Time, request: &str, trace: &Trace) -> Self {
        Self {
            number,
            start,
            trace: trace.clone(),
            seen: Witness::default(),
            pipe: None,
            timer: None,
            out: request.as_bytes().to_vec(),
            at: 0,
            request: request.len(),
            drip: None,
            write_at: Time::default(),
            is_silent: false,
            come: Vec::new(),
            session: None,
            pool: Pool::new(1 << 16),
        }
    }

    /// Its request goes in pieces of so many bytes, so long after each other.
    #[must_use]
    pub fn dripping(mut self, drip: Option<(usize, Duration)>) -> Self {
        self.drip = drip;
        self
    }

    pub fn key(&self) -> u64 {
        self.number as u64 + 1
    }

    pub fn witness(&self) -> Witness {
        Rc::clone(&self.seen)
    }

    /// Looks at what it saw.
    pub fn seen<R>(&self, see: impl FnOnce(&mut Seen) -> R) -> R {
        see(&mut self.seen.borrow_mut())
    }

    /// A WebSocket is open.
    pub fn has_opened(&self) -> bool {
        self.session.is_some()
    }

    /// Its connection, if it has one: it connects when its time has come.
    pub fn on_called(&mut self, net: &mut Net) -> Option<PipeId> {
        self.timer.take_if(|timer| *timer <= net.now());
        if self.pipe.is_none() && self.is_time(net, self.start) {
            self.pipe = net.connect(0, self.key());
            let mut seen = self.seen.borrow_mut();
            (seen.connected_at, seen.is_refused) = (net.now(), self.pipe.is_none());
        }
        self.pipe
    }

    /// Whether it is so late; if not, it is called then.
    pub fn is_time(&mut self, net: &mut Net, at: Time) -> bool {
        let has_come = net.now() >= at;
        if !has_come && self.timer.is_none_or(|timer| at < timer) {
            self.timer = Some(at);
            net.call_after(at.since(net.now()), self.key());
        }
        has_come
    }

    /// Says this behind all else, as bytes or as a frame.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        encode::append_frame(&mut self.out, true, opcode, payload, Some(MaskKey::from_bytes([1, 2, 3, 4])));
    }

    /// Writes what there is room for; true if that is all.
    pub fn write(&mut self, net: &mut Net) -> bool {
        let Some(pipe) = self.pipe else { return false };
        while self.at < self.out.len() && !self.is_silent && !self.seen.borrow().is_over() {
            if !self.is_time(net, self.write_at) {
                return false;
            }
            let drip = self.drip.filter(|_| self.at < self.request);
            let to = drip.map_or(self.out.len(), |(piece, _)| (self.at + piece).min(self.request));
            match net.write(pipe, &self.out[self.at..to]) {
                Written::Bytes(0) | Written::Reset => return false,
                Written::Bytes(count) => self.at += count,
            }
            if self.at >= self.request {
                self.seen.borrow_mut().asked_at.get_or_insert(net.now());
            } else if let Some((_, pause)) = drip {
                self.write_at = net.now().plus(pause);
            }
        }
        self.at == self.out.len()
    }

    /// Ends its stream: it writes nothing more, and reads on.
    pub fn finish(&mut self, net: &mut Net) {
        if let Some(pipe) = self.pipe.filter(|_| !self.is_silent) {
            self.is_silent = true;
            net.finish(pipe);
        }
    }

    /// Reads what is there.
    pub fn read(&mut self, net: &mut Net) {
        let Some(pipe) = self.pipe else { return };
        while !self.seen.borrow().is_over() {
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
            let number = self.number;
            self.trace.note(&[102, self.key()], || format!("                  peer {number} sees the end, {is_reset}"));
            let mut seen = self.seen.borrow_mut();
            (seen.ended_at, seen.is_reset, seen.is_faulted) = (Some(net.now()), is_reset, net.is_faulted(pipe));
            if !is_reset {
                net.close(pipe);
            }
        }
    }

    fn on_bytes(&mut self, mut bytes: Vec<u8>, now: Time) {
        if self.session.is_none() {
            if let Some(answer) = &mut self.seen.borrow_mut().answer {
                return answer.body.append(&mut bytes);
            }
            self.come.append(&mut bytes);
            let Some(end) = self.come.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            bytes = self.come.split_off(end + 4);
            let head = std::str::from_utf8(&self.come).expect("a head is ASCII");
            let mut answer = Answer::of(head);
            let (number, status) = (self.number, answer.status);
            self.trace.note(&[103, self.key(), status.into()], || format!("                  peer {number}: {status}"));
            if status == 101 {
                self.session = Some(Session::new(Role::Client));
            } else {
                answer.body = std::mem::take(&mut bytes);
            }
            let mut seen = self.seen.borrow_mut();
            (seen.answer, seen.answered_at) = (Some(answer), Some(now));
        }
        self.on_frames(bytes);
    }

    fn on_frames(&mut self, mut bytes: Vec<u8>) {
        let Some(session) = &mut self.session else { return };
        let (limits, mut seen) = (Limits::default(), self.seen.borrow_mut());
        let mut input = session.input(&mut bytes, &limits);
        while let Some(event) = input.next(&mut self.pool).expect("the engine breaks no rule") {
            match event {
                Event::Message { message: Message::Text(text), .. } => seen.texts.push(text.to_owned()),
                Event::Close { code, reason } => {
                    seen.close = Some((code.map(CloseCode::as_u16), reason.to_owned()));
                }
                _ => {}
            }
        }
    }
}
