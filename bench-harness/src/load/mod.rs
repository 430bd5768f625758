//! The load client: one thread, one ring, every connection under one shape of load.
//!
//! Owns: what is asked for (`Plan`) and what came of it (`Outcome`). `echo` keeps messages in flight or sends them at a fixed
//! rate, `fanout` publishes to everybody, `connect` opens and closes. Promises: exact counts (at the end every message sent has
//! been answered once), bounded waits, a fault of the server ends the run with an error that names the connection. Refuses to
//! know: which server it loads.

mod connect;
mod echo;
mod fanout;

use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::dial::{CONNECTIONS_MAX, Target};
use crate::frames::Payload;
use crate::net::{Keep, Net, Patience};
use crate::proc;

/// No reply at all for so long ends the run.
pub const STALL: Duration = if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(10) };

/// From this size on a message's body can be discarded: it costs a second receive, which does not pay for less than a segment
/// of the loopback interface.
pub const DISCARD_MIN: usize = 64 << 10;

/// How long the server may take for what is in flight at the end.
const DRAIN: Duration = Duration::from_secs(30);
/// The most messages a second that are asked for.
const RATE_MAX: u32 = 10_000_000;

/// What to do with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each connection keeps so many messages in flight. Latency is the round trip.
    Closed {
        /// Messages in flight on each.
        depth: u32,
    },
    /// So many messages a second over all connections, whatever the server does. Latency counts from the intended time of
    /// sending, so that a server that stalls pays for every message it kept from leaving (no coordinated omission).
    Open {
        /// Messages a second.
        rate: u32,
    },
    /// One more connection publishes and all receive; the next message leaves when everybody has the one `depth` before.
    /// Latency is that of each delivery, and each delivery is a message.
    FanOut {
        /// Messages published and not yet with everybody.
        depth: u32,
    },
    /// Connect, upgrade, close; `connections` at a time.
    Connect,
}

/// What becomes of the bodies of replies. Heads and lengths are always compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bodies {
    /// The kernel discards those of [`DISCARD_MIN`] bytes and more; shorter ones are copied. Over TLS, in a fan-out and compressed,
    /// all are copied.
    #[default]
    Discarded,
    /// All are copied out of the sockets, as by a client that reads them.
    Copied,
    /// All are copied and every byte is compared.
    Compared,
}

/// What to send, where, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// What to do.
    pub shape: Shape,
    /// Connections, all opened before the clock starts.
    pub connections: usize,
    /// What payloads are made of.
    pub payload: Payload,
    /// Payload bytes of a message.
    pub size: usize,
    /// Time under load before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
    /// What becomes of the replies' bodies.
    pub bodies: Bodies,
    /// How to wait.
    pub patience: Patience,
}

impl Plan {
    /// Bodies of replies are discarded: asked for, worth it, and possible.
    pub fn discards(&self) -> bool {
        let echoes = matches!(self.shape, Shape::Closed { .. } | Shape::Open { .. });
        let is_plain = self.target.context().is_none() && !self.target.is_sealed();
        self.bodies == Bodies::Discarded && self.size >= DISCARD_MIN && echoes && is_plain
    }
}

/// The two ends of the counted time, told to whoever measures the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Counting begins.
    Begin,
    /// Counting has ended.
    End,
}

/// What a run has shown.
pub struct Outcome {
    /// Messages answered in the counted time; connections made in it.
    pub messages: u64,
    /// Payload bytes of their replies as they travelled: compressed, if they were.
    pub reply_bytes: u64,
    /// The counted time.
    pub seconds: f64,
    /// Latencies in nanoseconds: of what was sent and answered in the counted time; at a fixed rate of all that was to be sent
    /// in it, whenever it was answered.
    pub latencies: Histogram<u64>,
    /// CPU time of this thread in it.
    pub client_cpu: Duration,
    /// The part of it that was spent polling for nothing.
    pub client_idle: Duration,
    /// Messages answered over the whole run, warming up and draining included.
    pub messages_in_all: u64,
}

impl Outcome {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Payload bytes of a reply as it travelled, on average.
    pub fn reply_len(&self) -> f64 {
        self.reply_bytes as f64 / self.messages as f64
    }

    /// CPU time in which this thread had something to do.
    pub fn worked(&self) -> Duration {
        self.client_cpu.saturating_sub(self.client_idle)
    }

    /// How much of the counted time that was: near 1, it limits what is measured.
    pub fn busy(&self) -> f64 {
        self.worked().as_secs_f64() / self.seconds
    }
}

/// Runs `plan`; payloads and masks come from `random`, and `on_edge` is called at both ends of the counted time. Any fault
/// of the server (a wrong header or length; a wrong byte when checking; a closed connection; 10 s of silence) ends the run
/// with an error that names the connection.
pub fn run(plan: &Plan, random: &mut dyn Read, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    let possible = match plan.shape {
        Shape::Closed { depth } | Shape::FanOut { depth } => depth > 0,
        Shape::Open { rate } => (1..=RATE_MAX).contains(&rate),
        Shape::Connect => true,
    };
    if plan.connections == 0 || plan.connections >= CONNECTIONS_MAX || !possible {
        let why = format!(
            "1 to {} connections with at least one message in flight, or 1 to {RATE_MAX} messages/s",
            CONNECTIONS_MAX - 1
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    match plan.shape {
        Shape::Closed { .. } | Shape::Open { .. } => echo::run(plan, random, on_edge),
        Shape::FanOut { depth } => fanout::run(plan, depth, random, on_edge),
        Shape::Connect => connect::run(plan, on_edge),
    }
}

/// Told of both edges.
pub type OnEdge<'a> = &'a mut dyn FnMut(Edge) -> io::Result<()>;

/// 3 digits; a latency above a minute counts as a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that hdrhistogram documents")
}

/// The time since the run began, in nanoseconds: one clock for all its threads of thought.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn nanos(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// A load that goes on turn by turn.
trait Turns {
    /// Waits at most `timeout`, works on what has come, sends what is to be sent.
    fn turn(&mut self, timeout: Duration) -> io::Result<()>;
    /// Messages answered so far.
    fn finished(&self) -> u64;
    /// Payload bytes of those answers, as they travelled.
    fn reply_bytes(&self) -> u64;
    /// Messages sent and not answered.
    fn in_flight(&self) -> u64;
    /// Time spent polling for nothing.
    fn idle(&self) -> Duration;
    /// How many latencies have been recorded so far.
    fn timed(&self) -> u64;
    /// Latencies recorded so far.
    fn latencies(&mut self) -> &mut Histogram<u64>;
    /// From here on what is sent, or at a fixed rate is to be sent, in these nanoseconds has its latency recorded.
    fn begin(&mut self, counted: Range<u64>);
    /// From here on nothing new is sent.
    fn end(&mut self);
}

/// Turns until `done`, asked once a pass; a stall is the other way to end.
fn turn_until(load: &mut dyn Turns, done: impl Fn(&dyn Turns) -> bool) -> io::Result<()> {
    let mut last_reply = Instant::now();
    while !done(load) {
        let before = load.finished();
        load.turn(Duration::from_millis(100))?;
        if load.finished() > before || load.in_flight() == 0 {
            last_reply = Instant::now();
        } else if last_reply.elapsed() > STALL {
            let why = format!("no reply for {STALL:?}: {} in flight", load.in_flight());
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
    }
    Ok(())
}

/// The course of a run: warm up, count between two edges, drain.
fn count(load: &mut dyn Turns, plan: &Plan, clock: Clock, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    let warm = plan.warmup.as_nanos() as u64;
    turn_until(load, |_| clock.nanos() >= warm)?;
    on_edge(Edge::Begin)?;
    // The meters took a moment, and what was in flight meanwhile is late for no fault of the server's: latencies are those of
    // what is sent from here on. CPU time has it at both edges.
    let from = clock.nanos();
    // Without a rate, what is answered before the end counts, however late in the last pass it was sent.
    let at_a_rate = matches!(plan.shape, Shape::Open { .. });
    load.begin(from..if at_a_rate { from + plan.measured.as_nanos() as u64 } else { u64::MAX });
    let (finished_before, bytes_before, idle_before) = (load.finished(), load.reply_bytes(), load.idle());
    let (begun, cpu_before) = (Instant::now(), proc::thread_cpu()?);
    // Others may take the core for all of a short time: it goes on until it has something to tell. At a rate it must not,
    // because what is to be sent in it has been settled.
    turn_until(load, |load| begun.elapsed() >= plan.measured && (at_a_rate || load.timed() > 0))?;
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = proc::thread_cpu()? - cpu_before;
    on_edge(Edge::End)?;
    let messages = load.finished() - finished_before;
    let reply_bytes = load.reply_bytes() - bytes_before;
    let client_idle = load.idle() - idle_before;
    let mut latencies = load.latencies().clone();

    load.end();
    let draining = Instant::now();
    turn_until(load, |load| load.in_flight() == 0 || draining.elapsed() > DRAIN)?;
    if load.in_flight() > 0 {
        let why = format!("{} messages were still unanswered {DRAIN:?} after the end", load.in_flight());
        return Err(io::Error::new(ErrorKind::TimedOut, why));
    }
    if at_a_rate {
        latencies = load.latencies().clone(); // what was to be sent in the counted time may be answered after it
    }
    let messages_in_all = load.finished();
    Ok(Outcome { messages, reply_bytes, seconds, latencies, client_cpu, client_idle, messages_in_all })
}

/// Opens all connections of a plan and hands them to a ring.
fn dial<'a>(plan: &Plan, count: usize, run: &'a [u8], keep: Keep) -> io::Result<Net<'a>> {
    let dial = |nth| plan.target.dial(nth).map_err(|error| on_conn(nth, error));
    let streams: Vec<_> = (0..count).map(dial).collect::<io::Result<_>>()?;
    for stream in &streams {
        stream.tcp.set_nonblocking(true)?;
    }
    Net::new(streams, run, plan.patience, keep)
}

fn on_conn(nth: usize, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {nth}: {error}"))
}

#[cfg(test)]
mod tests;
