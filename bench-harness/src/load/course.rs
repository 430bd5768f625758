//! The course of a run: connect, warm up, count between two edges, drain.
//!
//! Owns its clock and its bounds on waiting. Promises that a run ends: a stall is an error. Knows nothing of what a turn sends
//! ([`Turns`]).

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::plan::{Edge, OnEdge, Outcome, Plan, Shape};
use crate::net::{Keep, Net};
use crate::proc;

/// No reply at all for so long ends the run.
pub const STALL: Duration = if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(10) };

/// How long the server may take for what is in flight at the end.
const DRAIN: Duration = Duration::from_secs(30);
/// The time since the run began, in nanoseconds: one clock for all its threads of thought.
#[derive(Clone, Copy)]
pub(super) struct Clock(pub(super) Instant);

impl Clock {
    pub(super) fn nanos(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// A load that goes on turn by turn.
pub(super) trait Turns {
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
pub(super) fn count(load: &mut dyn Turns, plan: &Plan, clock: Clock, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
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
pub(super) fn dial<'a>(plan: &Plan, count: usize, run: &'a [u8], keep: Keep) -> io::Result<Net<'a>> {
    let dial = |nth| plan.target.dial(nth).map_err(|error| on_conn(nth, error));
    let streams: Vec<_> = (0..count).map(dial).collect::<io::Result<_>>()?;
    for stream in &streams {
        stream.tcp.set_nonblocking(true)?;
    }
    Net::new(streams, run, plan.patience, keep)
}

pub(super) fn on_conn(nth: usize, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {nth}: {error}"))
}
