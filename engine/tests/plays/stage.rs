//! A stage for small plays in virtual time: peers that do a given thing at a given millisecond, a handler made of closures, and
//! a record of what everybody saw when.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::{Engine, Remote};
use wsring::ring::Time;
use wsring::ring::sim::{Net, Outside, PipeId, Read, SimConfig, SimRing, Trace, Written};
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Drain, Fired, Handler, Message, Opening, Stats, Terms, Tick,
    Verdict,
};
use wsring_proto::{MaskKey, Opcode, encode};
use wsring_testkit::sim::assert_nothing_is_left;

/// What a peer does.
#[derive(Clone, Debug)]
pub enum Do {
    Connect,
    /// Connects and asks for an upgrade.
    Open,
    /// The same, of this path.
    OpenAt(&'static str),
    Write(Vec<u8>),
    /// Reads no more.
    Deaf,
    /// Reads again.
    Listen,
    /// Reads so many bytes at most, although it reads no more otherwise.
    Sip(usize),
    Fin,
    Reset,
    /// Not the peer: another thread has `on_wake` called.
    Wake,
    /// Answers Closes from here on (RFC 6455 §5.5.1).
    Polite,
    /// Not the peer: another thread stops the server.
    Stop,
    /// Not the peer: another thread has it drained.
    Drain(Drain),
    /// Not the peer: another thread has it accept nobody more.
    StopAccepting,
}

/// At this millisecond, this peer does this.
pub type Step = (u64, usize, Do);

/// What the handler does with a message.
pub type OnMessage = dyn FnMut(&mut Cx<'_, Act>, Message<'_>);
/// What it does when woken, at that millisecond, with the ids of all connections in the order of their opening.
pub type OnWake = dyn FnMut(&mut CoreCx<'_, Act>, u64, &[ConnId]);

/// What it does when it begins.
pub type OnStart = dyn FnMut(&mut CoreCx<'_, Act>);
/// What it does with a timer of the core, and with one of a connection.
pub type OnTimer = dyn FnMut(&mut CoreCx<'_, Act>, Fired);
pub type OnConnTimer = dyn FnMut(&mut Cx<'_, Act>, Fired);

/// What it does at a tick, with the ids of all connections in the order of their opening.
pub type OnTick = dyn FnMut(&mut CoreCx<'_, Act>, Tick, &[ConnId]);

/// What it does when the core begins to be drained, and when a connection's turn has come.
pub type OnDrain = dyn FnMut(&mut CoreCx<'_, Act>, &Drain);
pub type OnGoodbye = dyn FnMut(&mut Cx<'_, Act>);

/// What the handler does.
pub struct Act {
    pub on_message: Box<OnMessage>,
    pub on_wake: Box<OnWake>,
    pub on_start: Box<OnStart>,
    pub on_timer: Box<OnTimer>,
    pub on_conn_timer: Box<OnConnTimer>,
    pub on_tick: Box<OnTick>,
    pub on_drain: Box<OnDrain>,
    pub on_goodbye: Box<OnGoodbye>,
    /// Of whoever asks for one of these paths.
    pub terms: Vec<(&'static str, Terms)>,
    ids: Vec<ConnId>,
    trace: Trace,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    peers: BTreeMap<usize, Peer>,
    /// When a message of a peer was handled.
    handled: Vec<(u64, usize)>,
    reasons: BTreeMap<usize, (u64, String)>,
    /// What was not sent when `on_close` was called.
    unsent: BTreeMap<usize, usize>,
    /// Bytes queued at each `on_writable`.
    writable: Vec<usize>,
}

/// What became of a play.
pub struct Play {
    pub stats: Stats,
    /// The millisecond at which the engine ended.
    pub ended: u64,
    pub pool_bytes: usize,
    pub writable: Vec<usize>,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Peer {
    pipe: Option<PipeId>,
    deaf: bool,
    polite: bool,
    out: Vec<u8>,
    bytes: Vec<u8>,
    /// How many bytes had come by then.
    arrivals: Vec<(u64, usize)>,
    gone: Option<(u64, bool)>,
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn millis(time: Time) -> u64 {
    time.as_nanos() / 1_000_000
}

/// A quiet kernel.
pub fn quiet() -> SimConfig {
    SimConfig::quiet(1)
}

/// A request for an upgrade (RFC 6455 §1.2).
pub fn open() -> Vec<u8> {
    open_at("/")
}

/// The same of this path.
fn open_at(path: &str) -> Vec<u8> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    head.into_bytes()
}

/// One masked frame.
pub fn piece(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::append_frame(&mut bytes, fin, opcode, payload, Some(MaskKey::from_bytes([1, 2, 3, 4])));
    bytes
}

/// One masked frame, whole.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    piece(true, opcode, payload)
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(Opcode::Text, payload.as_bytes())
}

pub fn close_of(code: u16) -> Vec<u8> {
    frame(Opcode::Close, &code.to_be_bytes())
}

impl Act {
    /// Echoes.
    pub fn echo() -> Self {
        Self {
            on_message: Box::new(|cx, message| assert!(cx.forward(message).is_queued())),
            on_wake: Box::new(|_, _, _| {}),
            on_start: Box::new(|_| {}),
            on_timer: Box::new(|_, _| {}),
            on_conn_timer: Box::new(|_, _| {}),
            on_tick: Box::new(|_, _, _| {}),
            on_drain: Box::new(|_, _| {}),
            on_goodbye: Box::new(|_| {}),
            terms: Vec::new(),
            ids: Vec::new(),
            trace: Trace::new(false),
            seen: Rc::default(),
        }
    }

    fn now(&self) -> u64 {
        millis(self.trace.now())
    }
}

impl Handler for Act {
    type Conn = usize;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<usize> {
        let verdict = Verdict::accept(self.ids.len());
        let terms = self.terms.iter().find(|(path, _)| *path == opening.request.path());
        terms.into_iter().fold(verdict, |verdict, (_, terms)| verdict.terms(terms))
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.ids.push(cx.id());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.seen.borrow_mut().handled.push((self.now(), *cx.data()));
        (self.on_message)(cx, message);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        self.seen.borrow_mut().writable.push(cx.queued());
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let now = self.now();
        (self.on_wake)(cx, now, &self.ids);
    }

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        (self.on_start)(cx);
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, timer: Fired) {
        (self.on_timer)(cx, timer);
    }

    fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Fired) {
        (self.on_conn_timer)(cx, timer);
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        (self.on_tick)(cx, tick, &self.ids);
    }

    fn on_drain(&mut self, cx: &mut CoreCx<'_, Self>, drain: &Drain) {
        (self.on_drain)(cx, drain);
    }

    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        (self.on_goodbye)(cx);
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, conn: usize, why: &CloseReason<'_>) {
        let mut seen = self.seen.borrow_mut();
        seen.reasons.insert(conn, (self.now(), format!("{why:?}")));
        seen.unsent.insert(conn, cx.unsent(id));
    }
}

/// Keys of the steps are their numbers; those of the peers lie above.
const PEERS: u64 = 1 << 32;

struct Cast {
    steps: Vec<Step>,
    seen: Rc<RefCell<Seen>>,
    remote: Remote,
    started: bool,
}

impl Outside for Cast {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        if !self.started {
            self.started = true;
            for (number, (at, _, _)) in self.steps.iter().enumerate() {
                net.call_after(ms(*at), number as u64 + 1);
            }
            return;
        }
        let mut seen = self.seen.borrow_mut();
        let number = if key >= PEERS {
            (key - PEERS) as usize
        } else {
            let (_, number, what) = self.steps[key as usize - 1].clone();
            let peer = seen.peers.entry(number).or_default();
            match what {
                Do::Wake => {
                    self.remote.wake();
                    net.wake();
                }
                Do::Stop => {
                    self.remote.stop();
                    net.wake();
                }
                Do::Drain(drain) => {
                    self.remote.drain(drain);
                    net.wake();
                }
                Do::StopAccepting => {
                    self.remote.stop_accepting();
                    net.wake();
                }
                what => peer.act(net, PEERS + number as u64, what),
            }
            number
        };
        seen.peers.entry(number).or_default().go_on(net);
    }
}

impl Peer {
    fn act(&mut self, net: &mut Net, key: u64, what: Do) {
        if self.gone.is_some() {
            return;
        }
        match what {
            Do::Connect => self.pipe = Some(net.connect(0, key).expect("the backlog is large")),
            Do::Open => self.act(net, key, Do::OpenAt("/")),
            Do::OpenAt(path) => {
                self.act(net, key, Do::Connect);
                self.out.extend(open_at(path));
            }
            Do::Write(bytes) => self.out.extend(bytes),
            Do::Deaf => self.deaf = true,
            Do::Listen => self.deaf = false,
            Do::Sip(most) => {
                self.read(net, most);
            }
            Do::Fin => net.finish(self.pipe.expect("connected")),
            Do::Reset => net.reset(self.pipe.expect("connected")),
            Do::Polite => self.polite = true,
            Do::Wake | Do::Stop | Do::Drain(_) | Do::StopAccepting => unreachable!("not the peer's"),
        }
    }

    fn go_on(&mut self, net: &mut Net) {
        self.write(net);
        while !self.deaf && self.gone.is_none() && self.read(net, usize::MAX) {}
        if self.polite
            && let Some((.., payload)) = self.frames().into_iter().find(|frame| frame.1 == Opcode::Close)
        {
            self.polite = false;
            self.out.extend(frame(Opcode::Close, &payload));
            self.write(net);
        }
    }

    fn write(&mut self, net: &mut Net) {
        if let Some(pipe) = self.pipe.filter(|_| self.gone.is_none() && !self.out.is_empty())
            && let Written::Bytes(count) = net.write(pipe, &self.out)
        {
            self.out.drain(..count);
        }
    }

    /// Whether something came.
    fn read(&mut self, net: &mut Net, most: usize) -> bool {
        let Some(pipe) = self.pipe.filter(|_| self.gone.is_none()) else { return false };
        let now = millis(net.now());
        match net.read(pipe, most, &mut self.bytes) {
            Read::Bytes(_) => {
                self.arrivals.push((now, self.bytes.len()));
                return true;
            }
            Read::Nothing => {}
            Read::Eof => {
                net.close(pipe);
                self.gone = Some((now, false));
            }
            Read::Reset => self.gone = Some((now, true)),
        }
        false
    }

    /// What came: when, opcode, payload.
    fn frames(&self) -> Vec<(u64, Opcode, Vec<u8>)> {
        let head = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(mut at) = head.map(|head| head + 4).filter(|_| self.bytes.starts_with(b"HTTP/1.1 101")) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        while self.bytes.len() >= at + 2 {
            let (len, head) = match self.bytes[at + 1] {
                127 => {
                    let Some(len) = self.bytes.get(at + 2..at + 10) else { break };
                    (u64::from_be_bytes(len.try_into().expect("eight bytes")) as usize, 10)
                }
                126 => (usize::from(u16::from_be_bytes([self.bytes[at + 2], self.bytes[at + 3]])), 4),
                short => (usize::from(short), 2),
            };
            let end = at + head + len;
            let Some(payload) = self.bytes.get(at + head..end) else {
                break;
            };
            let came = self.arrivals.iter().find(|(_, bytes)| *bytes >= end).expect("it has come").0;
            frames.push((came, Opcode::from_bits(self.bytes[at]).expect("a known opcode"), payload.to_vec()));
            at = end;
        }
        frames
    }
}

/// Runs a play; the server is stopped after `length` milliseconds, unless a step does so before.
pub fn play(config: Config, sim: SimConfig, act: Act, steps: Vec<Step>, length: u64) -> Play {
    play_on(config, sim, act, steps, length, |engine| engine)
}

/// The same on an engine for which `set` sets something.
pub fn play_on(
    config: Config,
    sim: SimConfig,
    mut act: Act,
    mut steps: Vec<Step>,
    length: u64,
    set: impl FnOnce(Engine<Act>) -> Engine<Act>,
) -> Play {
    steps.push((length, usize::MAX, Do::Stop));
    let seen = Rc::new(RefCell::new(Seen::default()));
    act.seen = Rc::clone(&seen);
    let trace = Trace::new(std::env::var_os("ALOUD").is_some());
    act.trace = trace.clone();
    let remote = Remote::default();
    let cast = Cast { steps, seen: Rc::clone(&seen), remote: remote.clone(), started: false };
    let ring = SimRing::new(sim, trace, Box::new(cast), &[0]);
    let mut engine = set(Engine::new(config, ring, act, 1, &remote));
    let stats = engine.run().expect("the simulated ring does not break");
    assert_nothing_is_left(&mut engine);
    let ended = millis(engine.ring().time());
    engine.ring().settle_outside(ms(100));
    let writable = seen.borrow().writable.clone();
    Play { stats, ended, pool_bytes: engine.pool_bytes(), writable, seen }
}

impl Play {
    fn of<R>(&self, peer: usize, read: impl FnOnce(&Peer) -> R) -> R {
        read(&self.seen.borrow().peers[&peer])
    }

    fn frames(&self, peer: usize) -> Vec<(u64, Opcode, Vec<u8>)> {
        self.of(peer, Peer::frames)
    }

    /// The HTTP status it was answered.
    pub fn status(&self, peer: usize) -> Option<u16> {
        self.of(peer, |peer| std::str::from_utf8(peer.bytes.get(9..12)?).ok()?.parse().ok())
    }

    /// All that came, as text.
    pub fn text(&self, peer: usize) -> String {
        self.of(peer, |peer| String::from_utf8_lossy(&peer.bytes).into_owned())
    }

    /// When its connection ended, as it saw it.
    pub fn gone_at(&self, peer: usize) -> Option<u64> {
        self.of(peer, |peer| peer.gone.map(|(at, _)| at))
    }

    pub fn was_reset(&self, peer: usize) -> bool {
        self.of(peer, |peer| peer.gone.is_some_and(|(_, reset)| reset))
    }

    /// When it first got a frame of this kind.
    pub fn saw_at(&self, peer: usize, opcode: Opcode) -> Option<u64> {
        self.frames(peer).iter().find(|frame| frame.1 == opcode).map(|frame| frame.0)
    }

    pub fn last_at(&self, peer: usize, opcode: Opcode) -> Option<u64> {
        self.frames(peer).iter().rev().find(|frame| frame.1 == opcode).map(|frame| frame.0)
    }

    pub fn count(&self, peer: usize, opcode: Opcode) -> usize {
        self.frames(peer).iter().filter(|frame| frame.1 == opcode).count()
    }

    pub fn messages(&self, peer: usize) -> Vec<Vec<u8>> {
        let data = |frame: &(u64, Opcode, Vec<u8>)| !frame.1.is_control();
        self.frames(peer).into_iter().filter(data).map(|frame| frame.2).collect()
    }

    /// When something came behind the answer to its request, by sends: the simulated kernel hands over each one whole.
    pub fn sends(&self, peer: usize) -> Vec<u64> {
        self.of(peer, |peer| peer.arrivals.iter().skip(1).map(|(at, _)| *at).collect())
    }

    /// What its frames of this kind hold.
    pub fn payloads(&self, peer: usize, opcode: Opcode) -> Vec<Vec<u8>> {
        self.frames(peer).into_iter().filter(|frame| frame.1 == opcode).map(|frame| frame.2).collect()
    }

    /// Codes and reasons of the Closes it got.
    pub fn closes(&self, peer: usize) -> Vec<(Option<u16>, String)> {
        let frames = self.frames(peer);
        let closes = frames.iter().filter(|frame| frame.1 == Opcode::Close);
        let read = closes.map(|(_, _, payload)| {
            let (code, reason) = wsring_proto::close::read_payload(payload).expect("a valid Close");
            (code.map(CloseCode::as_u16), reason.to_owned())
        });
        read.collect()
    }

    /// How many messages of a peer were handled by then.
    pub fn handled_by(&self, peer: usize, at: u64) -> usize {
        self.seen.borrow().handled.iter().filter(|handled| handled.1 == peer && handled.0 < at).count()
    }

    /// Whose messages were handled, in their order.
    pub fn order(&self) -> Vec<usize> {
        self.seen.borrow().handled.iter().map(|(_, peer)| *peer).collect()
    }

    /// What `on_close` was told.
    pub fn reason(&self, peer: usize) -> Option<&'static str> {
        let known = [
            "NoData",
            "Lifetime",
            "Timeout",
            "Stalled",
            "Eof",
            "Stopped",
            "Drained { clean: false }",
            "Drained { clean: true }",
            "Local { clean: false }",
            "Local { clean: true }",
        ];
        let seen = self.seen.borrow();
        let (_, reason) = seen.reasons.get(&peer)?;
        known.into_iter().find(|known| known == reason)
    }

    /// Bytes that `on_close` was told had not been sent.
    pub fn unsent(&self, peer: usize) -> Option<usize> {
        self.seen.borrow().unsent.get(&peer).copied()
    }

    /// When `on_close` was called.
    pub fn closed_at(&self, peer: usize) -> Option<u64> {
        self.seen.borrow().reasons.get(&peer).map(|(at, _)| *at)
    }
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = self.seen.borrow();
        for (number, peer) in &seen.peers {
            let frames: Vec<_> =
                peer.frames().iter().map(|(at, opcode, bytes)| format!("{at}:{opcode:?}:{}", bytes.len())).collect();
            writeln!(f, "peer {number}: {} bytes, frames {frames:?}, gone {:?}", peer.bytes.len(), peer.gone)?;
        }
        writeln!(
            f,
            "reasons {:?}, handled {}, ended {} ms, {}",
            seen.reasons,
            seen.handled.len(),
            self.ended,
            self.stats
        )
    }
}
