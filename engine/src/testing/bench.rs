//! [`Bench`]: the core under test, its clients and the clock.
//!
//! Owns when what happens: clients act, the core has its passes, the clock moves on, in this order, until all are at rest. Refuses to know
//! what clients say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wsring_proto::close::CloseCode;
use wsring_proto::opcode::{Message, Opcode};
use wsring_proto::pool::Pool;

use super::client::{Client, Ending, Means};
use super::handshake::{Handshake, Refused};
use crate::config::{Config, InvalidConfig};
use crate::cores::{Cpu, Place};
use crate::engine::{Bell, ConnId, Driven, Names};
use crate::handle::{CoreInfo, Handle, Member};
use crate::handler::{Handler, OwnedMessage, Response};
use crate::ring::Time;
use crate::ring::sim::{self, Faults, Net, Outside, Random, SimConfig, SimRing, Trace};
use crate::stats::Stats;

/// Bytes that a connection takes towards a client that does not read, and as many towards a core that does not: what is beyond waits with its sender.
pub const SOCKET_BYTES: usize = 64 << 10;

/// Connections of a core whose configuration does not say how many: a table for 100,000 would cost each test some milliseconds.
const CONNECTIONS_DEFAULT: u32 = 1_000;

/// Passes at one moment: a core that has more does not come to rest.
const PASSES_MAX: u32 = 100_000;

/// One bench is told from another.
static BENCHES: AtomicU32 = AtomicU32::new(0);

/// Names a client of a [`Bench`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    bench: u32,
    number: u32,
}

/// Its number, in the order in which they connected, from 0.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.number).finish()
    }
}

/// One core with your handler, clients that the test plays, and a clock that the test moves: see the [module](super).
///
/// What a client does is begun at once and worked on when the bench runs. [`advance`](Self::advance) runs it, and so does every look: at
/// messages, endings, counters or the handler. So a test cannot look too early, and what clients do between two looks arrives together.
pub struct Bench<H: Handler> {
    core: Driven<H>,
    handle: Handle<H::Mail>,
    clients: Vec<Client>,
    means: Means,
    number: u32,
    /// The counters of the core's end.
    ended: Option<Stats>,
}

/// How it begins, and what it is.
impl<H: Handler> Bench<H> {
    /// A core with these settings and the handler that `factory` makes, as [`Server::start`](crate::Server::start) would have it. Its
    /// [`on_start`](Handler::on_start) has been called.
    ///
    /// Everything arrives whole and in the order in which the test does it: [`Self::seeded`] is less kind.
    ///
    /// Settings of sockets, rings and TLS have no effect. A core that is not told takes 1,000 connections
    /// ([`Config::connections_max`]) and has no bound on its memory ([`Config::memory_max_bytes`]).
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn new(config: Config, factory: impl FnOnce(CoreInfo<H::Mail>) -> H) -> Result<Self, InvalidConfig> {
        Self::build(config, factory, None)
    }

    /// The same over a network as it may be: bytes come in pieces, messages of one moment from several clients in any order. `seed`
    /// decides all of it, and the core's own random numbers; the same seed and the same test give the same story. A test that must hold
    /// for all is a loop over some.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn seeded(
        seed: u64,
        config: Config,
        factory: impl FnOnce(CoreInfo<H::Mail>) -> H,
    ) -> Result<Self, InvalidConfig> {
        Self::build(config, factory, Some(seed))
    }

    fn build(
        mut config: Config,
        factory: impl FnOnce(CoreInfo<H::Mail>) -> H,
        seed: Option<u64>,
    ) -> Result<Self, InvalidConfig> {
        config.check()?;
        config.connections_max.get_or_insert(CONNECTIONS_DEFAULT);
        #[cfg(feature = "tls")]
        {
            config.tls = None;
        }
        let bell = sim::Bell::default();
        let ring = SimRing::new(network(&config, seed), Trace::new(false), Box::new(Nobody), &[]).rung_by(bell.clone());
        let member = Member::new(Bell::new(move || bell.ring()), config.mailbox_max);
        let names = Arc::new(Names::new(config.topics.topics_max));
        let handle = Handle::new(Place::new(0), [member], names);
        let handler = factory(CoreInfo { place: Place::new(0), cpu: Cpu::new(0), cores: 1, handle: handle.clone() });
        let seed = seed.unwrap_or(0);
        let core = Driven::start(config, ring, handle.clone(), handler, seed);
        let means = Means { pool: Pool::new(1 << 20), random: Random::new(seed ^ 0x6d65_616e_7321) };
        let number = BENCHES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { core, handle, clients: Vec::new(), means, number, ended: None })
    }

    /// Reaches the core as other threads do: mail, messages to a connection, what is published, a stop. The core is at place 0, and looks
    /// when the bench runs. [`Handle::stats`] waits in vain for that: see [`Self::stats`].
    pub fn handle(&self) -> Handle<H::Mail> {
        self.handle.clone()
    }
}

/// Time.
impl<H: Handler> Bench<H> {
    /// The clock, as callbacks have it by [`CoreCx::now`](crate::CoreCx::now). It begins at 0.
    pub fn now(&self) -> Time {
        self.core.now()
    }

    /// Lets happen what happens without the clock moving on.
    ///
    /// # Panics
    /// If that has no end: a handler that mails itself in each `on_mail`, say. With the panic of a callback that ends the core: see the
    /// [module](super#panics).
    #[track_caller]
    pub fn run(&mut self) {
        self.run_to(self.now());
    }

    /// Runs, and moves the clock on by `time`. What comes meanwhile comes at its own moment: timers and ticks to the nanosecond, deadlines of
    /// connections some hundredths of a second late, as on any core.
    ///
    /// # Panics
    /// As [`Self::run`].
    #[track_caller]
    pub fn advance(&mut self, time: Duration) {
        self.run_to(self.now().plus(time));
    }

    #[track_caller]
    fn run_to(&mut self, end: Time) {
        let mut passes = (self.now(), 0);
        loop {
            let has_acted = self.clients_act();
            let now = self.now();
            let halt = self.next_read().map_or(end, |next| next.min(end));
            if self.ended.is_some() {
                if !has_acted && now >= end {
                    return;
                }
                self.core.net().sleep_to(if has_acted { now } else { halt });
                continue;
            }
            if self.core.has_failed() || self.core.is_finished() {
                self.finish();
                continue;
            }
            if !has_acted && now >= end && self.core.is_at_rest() {
                return;
            }
            passes = if passes.0 == now { (now, passes.1 + 1) } else { (now, 0) };
            assert!(
                passes.1 < PASSES_MAX,
                "the core does not come to rest: {PASSES_MAX} passes at one moment, {:?} after its start",
                now.since(Time::default())
            );
            self.core.turn(halt);
        }
    }

    /// When a client reads on that reads slowly.
    fn next_read(&self) -> Option<Time> {
        let now = self.now();
        self.clients.iter().filter_map(|client| client.wants_at(now)).min()
    }

    /// Whether any client did something.
    fn clients_act(&mut self) -> bool {
        let (net, means) = (self.core.net(), &mut self.means);
        self.clients.iter_mut().fold(false, |any, client| client.act(net, means) | any)
    }

    /// Ends a core that was stopped, or has failed, however long it takes by its settings.
    #[track_caller]
    fn finish(&mut self) {
        while !self.core.is_finished() {
            self.clients_act();
            let end = Time::from_nanos(u64::MAX);
            assert!(self.now() < end, "a core that stops comes to its end");
            self.core.turn(self.next_read().unwrap_or(end));
        }
        self.ended = Some(self.core.stats()); // also if a panic goes on
        self.ended = Some(self.core.finish());
    }

    /// Stops the core as [`Handle::stop`] does, and runs to its end: open clients are told 1001, and have their time to answer. Returns the counters.
    /// What clients have got can still be looked at. A bench that is dropped is no core that stops: its `on_close` are not called.
    ///
    /// # Panics
    /// As [`Self::run`].
    #[track_caller]
    pub fn stop(&mut self) -> Stats {
        self.handle.stop();
        self.run();
        if self.ended.is_none() {
            self.finish();
        }
        self.run();
        self.ended.expect("it has come to its end")
    }
}

/// What clients do. A client that has closed, or has seen the end of its connection, cannot say anything more: a test that has it do so
/// panics, with how it ended.
impl<H: Handler> Bench<H> {
    /// A new client asks for a WebSocket and gets the answer. It reads all that comes, at once, and answers pings and Closes, until it is
    /// told otherwise.
    ///
    /// # Errors
    /// How it was refused.
    ///
    /// # Panics
    /// If what it asks cannot be said in HTTP. As [`Self::run`].
    #[track_caller]
    pub fn connect(&mut self, asked: impl Into<Handshake>) -> Result<Peer, Refused> {
        let peer = self.ask(asked)?;
        self.outcome(peer).unwrap_or(Err(Refused::Deferred)).map(|()| peer)
    }

    /// A new client asks for a WebSocket, and nobody waits for the answer: see [`Self::outcome`]. For a handler that [defers](crate::CoreCx::defer) it.
    ///
    /// # Errors
    /// [`Refused::Closed`]: nobody listens any more.
    ///
    /// # Panics
    /// As [`Self::connect`].
    #[track_caller]
    pub fn ask(&mut self, asked: impl Into<Handshake>) -> Result<Peer, Refused> {
        let number = self.clients.len();
        let pipe = self.core.net().connect(0, number as u64).ok_or(Refused::Closed)?;
        self.clients.push(Client::new(pipe, &asked.into(), &mut self.means));
        Ok(Peer { bench: self.number, number: number as u32 })
    }

    /// What became of a client that [asked](Self::ask), for a WebSocket or by a plain request, of which every answer is in
    /// [`Refused::Answered`]. `None`: it has no answer yet.
    ///
    /// A handler that defers, and a test in the place of its other threads:
    ///
    /// ```
    /// use wsring::testing::Bench;
    /// use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Pending, Verdict};
    ///
    /// #[derive(Default)]
    /// struct Door(Vec<Pending>);
    ///
    /// impl Handler for Door {
    ///     type Conn = String;
    ///     type Mail = String;
    ///     fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
    ///         let pending = cx.defer(opening).expect("there is room");
    ///         self.0.push(pending);
    ///         Verdict::defer(pending)
    ///     }
    ///     fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, user: String) -> Verdict<String> {
    ///         Verdict::accept(user)
    ///     }
    ///     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut bench = Bench::new(Config::default(), |_| Door::default())?;
    /// let ann = bench.ask("/")?;
    /// assert!(bench.outcome(ann).is_none());
    /// let pending = bench.handler().0[0];
    /// bench.handle().admit(pending, "ann".to_owned())?;
    /// assert!(matches!(bench.outcome(ann), Some(Ok(()))));
    /// assert_eq!(bench.data(ann).map(String::as_str), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`Self::run`].
    #[track_caller]
    pub fn outcome(&mut self, peer: Peer) -> Option<Result<(), Refused>> {
        self.run();
        let client = self.client(peer);
        if let Some(response) = client.declined() {
            return Some(Err(Refused::Answered(Box::new(response.clone()))));
        }
        match &client.answer {
            Some(answer) => (answer.status() == http::StatusCode::SWITCHING_PROTOCOLS).then_some(Ok(())),
            None => client.ending().map(|_| Err(Refused::Closed)),
        }
    }

    /// A new client makes a plain HTTP request, for [`on_request`](Handler::on_request), and leaves. A body is not sent. `None`: nobody answers.
    ///
    /// ```
    /// # use wsring::{Config, Cx, Handler, Message, testing::Bench};
    /// # struct Echo;
    /// # impl Handler for Echo {
    /// #     type Conn = ();
    /// #     type Mail = ();
    /// #     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// # }
    /// # let mut bench = Bench::new(Config::default(), |_| Echo)?;
    /// let request = wsring::http::Request::get("/healthz").body(())?;
    /// assert_eq!(bench.request(&request).expect("an answer").status(), 404);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// As [`Self::run`].
    #[track_caller]
    pub fn request(&mut self, request: &http::Request<()>) -> Option<Response> {
        let peer = self.ask_plain(request).ok()?;
        self.run();
        self.client(peer).declined().cloned()
    }

    /// The same, and nobody waits for the answer: see [`Self::outcome`].
    ///
    /// # Errors
    /// [`Refused::Closed`]: nobody listens any more.
    #[track_caller]
    pub fn ask_plain(&mut self, request: &http::Request<()>) -> Result<Peer, Refused> {
        let number = self.clients.len();
        let pipe = self.core.net().connect(0, number as u64).ok_or(Refused::Closed)?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
        if !request.headers().contains_key(http::header::HOST) {
            head.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in request.headers() {
            head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        self.clients.push(Client::plain(pipe, head, request.method() == http::Method::HEAD));
        Ok(Peer { bench: self.number, number: number as u32 })
    }

    /// Sends a message: a `&str` is text, bytes are binary.
    #[track_caller]
    pub fn send<'m>(&mut self, peer: Peer, message: impl Into<Message<'m>>) {
        let message = message.into();
        self.speak(peer, |client, means| client.say(message.opcode(), message.as_bytes(), means));
    }

    /// Sends a ping with this payload, at most 125 bytes. What answers is in [`Self::take_pongs`].
    #[track_caller]
    pub fn ping(&mut self, peer: Peer, payload: &[u8]) {
        assert!(payload.len() <= 125, "a ping has at most 125 bytes, not {} (RFC 6455 §5.5)", payload.len());
        self.speak(peer, |client, means| client.say(Opcode::Ping, payload, means));
    }

    /// Sends a Close, and reads on until the core has closed the connection. A code of `None` is a Close without one. A reason of more than 123 bytes is cut.
    #[track_caller]
    pub fn close(&mut self, peer: Peer, code: impl Into<Option<CloseCode>>, reason: &str) {
        let code = code.into();
        self.speak(peer, |client, means| client.say_close(code, reason, means));
    }

    /// Sends these bytes as they are: half a frame, or what breaks the protocol. Frames of clients are masked (RFC 6455 §5.3).
    #[track_caller]
    pub fn send_raw(&mut self, peer: Peer, bytes: &[u8]) {
        self.speak(peer, |client, _| client.write(bytes));
    }

    /// Closes the socket without a Close, as a program does that has been killed. Where all had been read that came, `on_close` is told
    /// [`CloseReason::Eof`](crate::CloseReason::Eof), otherwise that the connection was reset.
    #[track_caller]
    pub fn hang_up(&mut self, peer: Peer) {
        self.leave(peer, false);
    }

    /// Resets the connection, as a network does that has lost it: `on_close` is told [`CloseReason::Reset`](crate::CloseReason::Reset). What the client sent in this
    /// moment may be lost.
    #[track_caller]
    pub fn reset(&mut self, peer: Peer) {
        self.leave(peer, true);
    }

    /// Reads nothing from now on. The connection takes [`SOCKET_BYTES`] more, then the core's output for this client grows.
    #[track_caller]
    pub fn stop_reading(&mut self, peer: Peer) {
        self.client(peer).read_nothing();
    }

    /// Reads so many bytes a second from now on, in pieces of a hundredth of that.
    ///
    /// # Panics
    /// If that is none: see [`Self::stop_reading`].
    #[track_caller]
    pub fn read_slowly(&mut self, peer: Peer, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "who reads no byte a second has stopped reading");
        let now = self.now();
        self.client(peer).read_slowly(bytes_per_second, now);
    }

    /// Reads all that comes, at once, from now on.
    #[track_caller]
    pub fn read_on(&mut self, peer: Peer) {
        self.client(peer).read_all();
    }

    /// Answers nothing from now on: no ping, and no Close. It reads as before, and a test may still have it send.
    #[track_caller]
    pub fn fall_silent(&mut self, peer: Peer) {
        self.client(peer).fall_silent();
    }

    #[track_caller]
    fn leave(&mut self, peer: Peer, at_once: bool) {
        self.clients_act(); // what was begun before has gone
        let number = self.number_of(peer);
        self.clients[number].leave(self.core.net(), at_once);
    }

    #[track_caller]
    fn speak(&mut self, peer: Peer, say: impl FnOnce(&mut Client, &mut Means)) {
        let number = self.number_of(peer);
        let client = &mut self.clients[number];
        if let Some(why) = client.muteness() {
            panic!("{peer:?} cannot say anything: {why}");
        }
        say(client, &mut self.means);
        client.act(self.core.net(), &mut self.means);
    }
}

/// What came of it. Each of these runs the bench first, and panics as [`Self::run`] does.
impl<H: Handler> Bench<H> {
    /// The messages that a client has got since this was last asked, in order.
    #[track_caller]
    pub fn take(&mut self, peer: Peer) -> Vec<OwnedMessage> {
        self.take_timed(peer).into_iter().map(|(_, message)| message).collect()
    }

    /// The same, each with the moment at which its last byte was read.
    #[track_caller]
    pub fn take_timed(&mut self, peer: Peer) -> Vec<(Time, OwnedMessage)> {
        self.run();
        self.client(peer).messages.drain(..).collect()
    }

    /// The same of a client that gets text alone.
    ///
    /// # Panics
    /// If one of them is binary.
    #[track_caller]
    pub fn take_texts(&mut self, peer: Peer) -> Vec<String> {
        let messages = self.take(peer);
        let text = |message: OwnedMessage| match message.as_message() {
            Message::Text(text) => text.to_owned(),
            Message::Binary(bytes) => panic!("{peer:?} got a binary message: {bytes:?}"),
        };
        messages.into_iter().map(text).collect()
    }

    /// The payloads of the pongs that a client has got since this was last asked, in order.
    #[track_caller]
    pub fn take_pongs(&mut self, peer: Peer) -> Vec<Vec<u8>> {
        self.run();
        std::mem::take(&mut self.client(peer).pongs)
    }

    /// How many pings a client has got.
    #[track_caller]
    pub fn pings(&mut self, peer: Peer) -> usize {
        self.run();
        self.client(peer).pings
    }

    /// How a client's connection ended, as that client has seen it; from the Close on, if there was one. `None`: it has not seen the end. One that does not read sees none.
    #[track_caller]
    pub fn ending(&mut self, peer: Peer) -> Option<Ending> {
        self.run();
        self.client(peer).ending()
    }

    /// The core's answer to a client's handshake: 101, with the subprotocol and the headers that the [`Verdict`](crate::Verdict) added.
    #[track_caller]
    pub fn answer(&mut self, peer: Peer) -> &http::Response<()> {
        self.client(peer).answer.as_ref().expect("a peer has been answered")
    }

    /// The id of a client's connection on the core; `None` once it is over there. For [`Handle::send`] and [`Handle::close`].
    #[track_caller]
    pub fn id(&mut self, peer: Peer) -> Option<ConnId> {
        self.run();
        let pipe = self.client(peer).pipe;
        self.core.id_of(pipe).filter(|_| self.ended.is_none())
    }

    /// What the handler keeps of a client's connection; `None` once that is over on the core.
    #[track_caller]
    pub fn data(&mut self, peer: Peer) -> Option<&H::Conn> {
        self.id(peer)?;
        let pipe = self.client(peer).pipe;
        self.core.state_of(pipe)
    }

    /// The handler.
    #[track_caller]
    pub fn handler(&mut self) -> &H {
        self.run();
        self.core.handler()
    }

    /// The core's counters. `enters` counts passes, as there is no kernel to enter.
    #[track_caller]
    pub fn stats(&mut self) -> Stats {
        self.run();
        self.ended.unwrap_or_else(|| self.core.stats())
    }

    #[track_caller]
    fn client(&mut self, peer: Peer) -> &mut Client {
        let number = self.number_of(peer);
        &mut self.clients[number]
    }

    #[track_caller]
    fn number_of(&self, peer: Peer) -> usize {
        assert_eq!(peer.bench, self.number, "{peer:?} is a client of another bench");
        peer.number as usize
    }
}

impl<H: Handler> fmt::Debug for Bench<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.clients.iter().filter(|client| client.is_open()).count();
        f.debug_struct("Bench").field("now", &self.now()).field("open", &open).finish_non_exhaustive()
    }
}

/// A network that takes no time and has room for all; with a seed, one that cuts what it carries, and hands over a little a pass.
fn network(config: &Config, seed: Option<u64>) -> SimConfig {
    let cuts = Faults { short_recv: 700, short_send: 300, buffer_ends: 100, more_cleared: 50, ..Faults::default() };
    let (faults, batch_max) = match seed {
        Some(seed) => (cuts, Random::new(seed).pick(&[1, 2, 5])),
        None => (Faults::default(), usize::MAX),
    };
    SimConfig {
        sockets_max: config.sockets_max() as u32,
        backlog: 4096,
        buffers: (8, 64 << 10),
        cq_entries: 1 << 16,
        rx_capacity: (SOCKET_BYTES, SOCKET_BYTES),
        tx_capacity: (SOCKET_BYTES, SOCKET_BYTES),
        delay_ns_max: 0,
        work_ns: (0, 0),
        in_order: seed.is_none(),
        waits_max: u64::MAX,
        batch_max,
        faults,
        ..SimConfig::quiet(seed.unwrap_or(0))
    }
}

/// Clients act between two passes, and not when the network calls.
struct Nobody;

impl Outside for Nobody {
    fn on_event(&mut self, _: &mut Net, _: u64) {}
}
