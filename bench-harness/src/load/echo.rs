//! Messages that come back on the connection they were sent on: in a closed loop, or at a fixed rate.
//!
//! Owns: what each connection has in flight. Promises: one send per connection and pass; at a fixed rate a message counts
//! from the time it should have left. Refuses to know: sockets.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::course::{Clock, Turns, count, dial, on_conn};
use super::plan::{Bodies, OnEdge, Outcome, Plan, Shape, histogram};
use crate::dial;
use crate::frames::{Frames, Replies};
use crate::net::{Event, Keep, Net};

/// At a fixed rate: messages of one connection that leave in one send.
const BATCH_MAX: u32 = 64;
/// At a fixed rate: a server that is so many seconds behind is given up.
const BEHIND_MAX: u64 = 5;

/// One connection's two streams.
struct Conn {
    /// Where sending stands in the endless cycle of frames, in bytes.
    sent_at: usize,
    /// The frame that is handed over next.
    next: usize,
    /// Bytes to send that the socket has not taken yet.
    unsent: usize,
    sending: bool,
    marked: bool,
    replies: Replies,
    in_flight: u32,
    /// Messages in flight by the time they count from, oldest first: runs of (nanoseconds, count).
    runs: VecDeque<(u64, u32)>,
}

struct Load<'a> {
    frames: &'a Frames,
    net: Net<'a>,
    conns: Vec<Conn>,
    /// Connections with something to send at the end of the pass.
    marked: Vec<usize>,
    /// The most bytes of one send.
    batch_len: usize,
    clock: Clock,
    latencies: Histogram<u64>,
    check: bool,
    /// Finished messages are replaced by new ones, in a closed loop that goes on.
    refill: bool,
    pace: Option<Pace>,
    /// Times of sending whose latencies count.
    counted: Range<u64>,
    in_flight: u64,
    finished: u64,
}

/// A fixed rate.
struct Pace {
    rate: u64,
    /// When the first message was to leave.
    from: u64,
    /// Messages handed over so far.
    sent: u64,
}

impl Pace {
    fn due(&self) -> u64 {
        self.from + (u128::from(self.sent) * 1_000_000_000 / u128::from(self.rate)) as u64
    }
}

pub(super) fn run(plan: &Plan, random: &mut dyn Read, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    let batch = match plan.shape {
        Shape::Closed { depth } => depth,
        _ => BATCH_MAX,
    };
    let frames = match plan.target.context() {
        Some(context) => Frames::deflated(plan.size, batch as usize, context, random)?,
        None => Frames::new(plan.payload, plan.size, batch as usize, plan.target.echo(), random)?,
    };
    let keep = match plan.discards() {
        true => Keep::Heads(frames.head_len(), frames.reply_len() - frames.head_len()),
        false => Keep::All,
    };
    let net = dial(plan, plan.connections, frames.run(), keep)?;
    let clock = Clock(Instant::now());
    let conns = (0..plan.connections).map(|nth| {
        // Connections begin at different frames, so that neighbours do not carry the same masks.
        let first = nth * 7 % frames.distinct();
        Conn {
            sent_at: frames.start(first),
            next: first,
            unsent: 0,
            sending: false,
            marked: false,
            replies: Replies::from_frame(first),
            in_flight: 0,
            runs: VecDeque::new(),
        }
    });
    let mut load = Load {
        frames: &frames,
        net,
        conns: conns.collect(),
        marked: Vec::with_capacity(plan.connections),
        batch_len: batch as usize * frames.frame_len(),
        clock,
        latencies: histogram(),
        check: plan.bodies == Bodies::Compared,
        refill: true,
        pace: None,
        counted: 0..0,
        in_flight: 0,
        finished: 0,
    };
    match plan.shape {
        Shape::Open { rate } => load.pace = Some(Pace { rate: rate.into(), from: clock.nanos(), sent: 0 }),
        _ => (0..plan.connections).for_each(|conn| load.hand_over(conn, batch, 0)),
    }
    let outcome = count(&mut load, plan, clock, on_edge);
    if outcome.is_ok() {
        dial::say_goodbye(load.net.into_streams(), plan.target.echo());
    }
    outcome
}

impl Turns for Load<'_> {
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = self.send_due(timeout)?;
        self.flush();
        self.net.wait(timeout)?;
        while let Some(event) = self.net.next() {
            match event {
                Event::Received(conn, piece) => {
                    let now = self.clock.nanos();
                    let Conn { replies, in_flight, .. } = &mut self.conns[conn];
                    let fed = replies.feed(self.frames, self.net.bytes(piece), *in_flight, self.check);
                    self.net.release(piece);
                    let finished = fed.map_err(|fault| on_conn(conn, fault.into()))?;
                    self.take_back(conn, finished, now);
                }
                Event::Head(conn, bytes) => {
                    let Conn { replies, in_flight, .. } = &mut self.conns[conn];
                    let fed = replies.feed(self.frames, self.net.head(conn, bytes), *in_flight, self.check);
                    fed.map_err(|fault| on_conn(conn, fault.into()))?;
                }
                Event::Discarded(conn, len, more) => {
                    let now = self.clock.nanos();
                    let Conn { replies, in_flight, .. } = &mut self.conns[conn];
                    let taken = replies.discarded(self.frames, len, *in_flight, more);
                    let is_whole = taken.map_err(|fault| on_conn(conn, fault.into()))?;
                    self.take_back(conn, is_whole.into(), now);
                }
                Event::Sent(conn, sent) => {
                    let state = &mut self.conns[conn];
                    state.sending = false;
                    state.unsent -= sent;
                    state.sent_at = (state.sent_at + sent) % self.frames.start(self.frames.distinct());
                    if state.unsent > 0 {
                        self.mark(conn);
                    }
                }
                Event::Ended(conn, error) => return Err(on_conn(conn, error)),
            }
        }
        self.flush();
        Ok(())
    }

    fn finished(&self) -> u64 {
        self.finished
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn reply_bytes(&self) -> u64 {
        self.conns.iter().map(|conn| conn.replies.payload_bytes()).sum()
    }

    fn idle(&self) -> Duration {
        self.net.idle()
    }

    fn timed(&self) -> u64 {
        self.latencies.len()
    }

    fn latencies(&mut self) -> &mut Histogram<u64> {
        &mut self.latencies
    }

    fn begin(&mut self, counted: Range<u64>) {
        self.latencies.reset();
        self.counted = counted;
    }

    fn end(&mut self) {
        // What should have left in the counted time still leaves, however late this thread noticed.
        while let Some(pace) = &mut self.pace
            && pace.due() < self.counted.end
        {
            let (conn, due) = ((pace.sent % self.conns.len() as u64) as usize, pace.due());
            pace.sent += 1;
            self.hand_over(conn, 1, due);
        }
        self.refill = false;
    }
}

impl Load<'_> {
    /// At a fixed rate: hands over what is due, and says how long until more is.
    fn send_due(&mut self, timeout: Duration) -> io::Result<Duration> {
        let Some(mut pace) = self.pace.as_mut() else { return Ok(timeout) };
        if !self.refill {
            return Ok(timeout);
        }
        if self.in_flight > pace.rate * BEHIND_MAX {
            let why = format!("the server is {BEHIND_MAX} s behind a rate of {} messages/s", pace.rate);
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        let now = self.clock.nanos();
        let count = self.conns.len() as u64;
        let mut due = pace.due();
        while due <= now {
            let conn = (pace.sent % count) as usize;
            pace.sent += 1;
            self.hand_over(conn, 1, due);
            let Some(next) = &mut self.pace else { unreachable!("the pace is kept") };
            pace = next;
            due = pace.due();
        }
        Ok(timeout.min(Duration::from_nanos(due - now)))
    }

    /// Puts `count` new messages in flight that count from `since`.
    fn hand_over(&mut self, conn: usize, count: u32, since: u64) {
        let state = &mut self.conns[conn];
        state.unsent += self.frames.span(state.next, count as usize);
        state.next = (state.next + count as usize) % self.frames.distinct();
        state.in_flight += count;
        state.runs.push_back((since, count));
        self.in_flight += u64::from(count);
        self.mark(conn);
    }

    fn mark(&mut self, conn: usize) {
        let state = &mut self.conns[conn];
        if !state.marked {
            state.marked = true;
            self.marked.push(conn);
        }
    }

    fn flush(&mut self) {
        for conn in self.marked.drain(..) {
            let state = &mut self.conns[conn];
            state.marked = false;
            if !state.sending && state.unsent > 0 {
                state.sending = true;
                // No batch wraps: the run goes on for `batch` frames behind its end.
                let len = state.unsent.min(self.batch_len).min(self.frames.run().len() - state.sent_at);
                self.net.send(conn, state.sent_at, len);
            }
        }
    }

    /// Takes the `finished` oldest messages of a connection out of flight and records their latencies.
    fn take_back(&mut self, conn: usize, finished: u32, now: u64) {
        if finished == 0 {
            return;
        }
        let state = &mut self.conns[conn];
        let mut left = finished;
        state.in_flight -= finished;
        while left > 0 {
            let (since, count) = state.runs.front_mut().expect("runs add up to the messages in flight");
            let step = left.min(*count);
            if self.counted.contains(since) {
                self.latencies.saturating_record_n((now - *since).max(1), u64::from(step));
            }
            *count -= step;
            left -= step;
            if *count == 0 {
                state.runs.pop_front();
            }
        }
        self.finished += u64::from(finished);
        self.in_flight -= u64::from(finished);
        if self.refill && self.pace.is_none() {
            self.hand_over(conn, finished, now);
        }
    }
}
