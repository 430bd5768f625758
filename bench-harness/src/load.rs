//! The load client: a closed loop on one thread, every connection with a fixed number of messages in flight.
//!
//! Owns: the connections, the counters, the round-trip histogram. Promises: exact counts (at the end every message sent has
//! been answered once), one write per connection and pass, bounded waits. Refuses to know: which server it loads.
//!
//! A pass: wait for edges; per ready connection read what is there, count the replies, send as many new messages in one
//! write. What the socket does not take waits for its next edge, while reading goes on: two full directions cannot deadlock.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::dial::{CONNECTIONS_MAX, Target};
use crate::frames::{Frames, Replies};
use crate::poller::{Poller, Ready};
use crate::proc;

/// One read takes up to this many bytes.
const READ_BYTES: usize = 256 << 10;
/// No reply at all for so long ends the run.
const STALL: Duration = Duration::from_secs(10);
/// A masked Close frame, code 1000 (RFC 6455 §5.5.1); the mask is `01 02 03 04`.
const CLOSE: [u8; 8] = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE8 ^ 2];
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What to send, where, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Connections, all opened before the clock starts.
    pub connections: usize,
    /// Messages each connection keeps in flight.
    pub depth: u32,
    /// Payload bytes of a message.
    pub size: usize,
    /// Time under load before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
    /// Compare every byte that comes back.
    pub check: bool,
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
    /// Messages answered in the counted time.
    pub messages: u64,
    /// The counted time.
    pub seconds: f64,
    /// Round trips that ended in it, in nanoseconds.
    pub round_trips: Histogram<u64>,
    /// CPU time of this thread in it.
    pub client_cpu: Duration,
    /// Messages answered over the whole run, warming up and draining included.
    pub messages_in_all: u64,
}

impl Outcome {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

/// Runs `plan`; payloads and masks come from `random`, and `on_edge` is called at both ends of the counted time. Any fault
/// of the server (a wrong header or length; a wrong byte when checking; a closed connection; 10 s of silence) ends the run
/// with an error that names the connection.
pub fn run(plan: &Plan, random: &mut dyn Read, on_edge: &mut dyn FnMut(Edge) -> io::Result<()>) -> io::Result<Outcome> {
    if plan.connections == 0 || plan.connections > CONNECTIONS_MAX || plan.depth == 0 {
        let why = format!("1 to {CONNECTIONS_MAX} connections with at least one message in flight");
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    let frames = Frames::new(plan.size, plan.depth as usize, plan.target.echo(), random)?;
    let mut load = Load::open(plan, &frames)?;
    load.fill()?;

    let started = Instant::now();
    load.turn_until(|_, now| now >= started + plan.warmup)?;
    let messages_before = load.finished;
    load.round_trips.reset();
    on_edge(Edge::Begin)?;
    let (begun, cpu_before) = (Instant::now(), proc::thread_cpu()?);

    load.turn_until(|_, now| now >= begun + plan.measured)?;
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = proc::thread_cpu()? - cpu_before;
    on_edge(Edge::End)?;
    let messages = load.finished - messages_before;
    let round_trips = load.round_trips.clone();

    load.drain()?;
    let messages_in_all = load.finished;
    load.close();
    Ok(Outcome { messages, seconds, round_trips, client_cpu, messages_in_all })
}

/// One connection's two streams.
struct Conn {
    stream: TcpStream,
    /// Where sending stands in the endless cycle of frames, in bytes.
    sent_at: usize,
    /// Bytes handed over for sending that the socket has not taken yet.
    unsent: usize,
    replies: Replies,
    in_flight: u32,
    /// Messages in flight by the time they were handed over, oldest first: at most `depth` runs of (time, count).
    runs: VecDeque<(Instant, u32)>,
}

struct Load<'a> {
    plan: &'a Plan,
    frames: &'a Frames,
    poller: Poller,
    conns: Vec<Conn>,
    buffer: Vec<u8>,
    round_trips: Histogram<u64>,
    /// Finished messages are replaced by new ones; false while draining.
    refill: bool,
    in_flight: u64,
    finished: u64,
}

impl<'a> Load<'a> {
    fn open(plan: &'a Plan, frames: &'a Frames) -> io::Result<Load<'a>> {
        let poller = Poller::new(1024)?;
        let mut conns = Vec::with_capacity(plan.connections);
        for nth in 0..plan.connections {
            let stream = plan.target.dial(nth).map_err(|error| on_conn(nth, error))?;
            stream.set_nonblocking(true)?;
            poller.add(&stream, nth as u64)?;
            // Connections begin at different frames, so that neighbours do not carry the same masks.
            let first = nth * 7 % frames.distinct();
            conns.push(Conn {
                stream,
                sent_at: first * frames.frame_len(),
                unsent: 0,
                replies: Replies::from_frame(first),
                in_flight: 0,
                runs: VecDeque::new(),
            });
        }
        // 3 digits; a round trip above a minute counts as a minute.
        let round_trips = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
        let buffer = vec![0; READ_BYTES];
        Ok(Load { plan, frames, poller, conns, buffer, round_trips, refill: true, in_flight: 0, finished: 0 })
    }

    /// The first messages of every connection.
    fn fill(&mut self) -> io::Result<()> {
        let depth = self.plan.depth;
        for (nth, conn) in self.conns.iter_mut().enumerate() {
            conn.hand_over(self.frames, depth, Instant::now());
            conn.flush(self.frames).map_err(|error| on_conn(nth, error))?;
            self.in_flight += u64::from(depth);
        }
        Ok(())
    }

    /// Turns until `done`, asked once a pass; a stall is the other way to end.
    fn turn_until(&mut self, done: impl Fn(&Load<'_>, Instant) -> bool) -> io::Result<()> {
        let mut last_reply = Instant::now();
        loop {
            let before = self.finished;
            let ready = self.poller.wait(100)?;
            for event in 0..ready {
                let event = self.poller.ready(event);
                self.on_ready(event).map_err(|error| on_conn(event.token as usize, error))?;
            }
            let now = Instant::now();
            if self.finished > before {
                last_reply = now;
            } else if now > last_reply + STALL {
                let unsent: usize = self.conns.iter().map(|conn| conn.unsent).sum();
                let why = format!("no reply for {STALL:?}: {} in flight, {unsent} bytes unsent", self.in_flight);
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            if done(self, now) {
                return Ok(());
            }
        }
    }

    fn on_ready(&mut self, event: Ready) -> io::Result<()> {
        let conn = &mut self.conns[event.token as usize];
        // Bytes left over mean a full socket: only its edge makes another write worth while.
        let was_full = conn.unsent > 0;
        let mut finished = 0;
        // It ends: the server owes at most `depth` replies, and one byte more is a fault.
        loop {
            let count = match conn.stream.read(&mut self.buffer) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            finished += conn
                .replies
                .feed(self.frames, &self.buffer[..count], conn.in_flight - finished, self.plan.check)
                .map_err(|fault| io::Error::new(ErrorKind::InvalidData, fault.to_string()))?;
            if count < self.buffer.len() && !event.hangup {
                break;
            }
        }
        if finished > 0 {
            let now = Instant::now();
            conn.take_back(finished, now, &mut self.round_trips);
            self.finished += u64::from(finished);
            self.in_flight -= u64::from(finished);
            if self.refill {
                conn.hand_over(self.frames, finished, now);
                self.in_flight += u64::from(finished);
            }
        }
        if was_full && !event.writable {
            return Ok(());
        }
        conn.flush(self.frames)
    }

    /// Waits for every reply that is owed, and asks for no more.
    fn drain(&mut self) -> io::Result<()> {
        self.refill = false;
        if self.in_flight == 0 { Ok(()) } else { self.turn_until(|load, _| load.in_flight == 0) }
    }

    /// Says goodbye as RFC 6455 §7.1.1 wishes: Close, then the server ends the connection. Whoever is late is dropped.
    fn close(mut self) {
        if self.plan.target.echo() == crate::frames::Echo::Raw {
            return;
        }
        for conn in &mut self.conns {
            let _ = conn.stream.write(&CLOSE);
        }
        let deadline = Instant::now() + CLOSE_WAIT;
        for conn in &mut self.conns {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let _ = conn.stream.set_nonblocking(false);
            let _ = conn.stream.set_read_timeout(Some(left));
            // The server's Close, then the end of stream: two reads, or one that fails.
            for _ in 0..2 {
                if !matches!(conn.stream.read(&mut self.buffer), Ok(1..)) {
                    break;
                }
            }
        }
    }
}

impl Conn {
    /// Puts `count` new messages in flight.
    fn hand_over(&mut self, frames: &Frames, count: u32, now: Instant) {
        self.unsent += count as usize * frames.frame_len();
        self.in_flight += count;
        self.runs.push_back((now, count));
    }

    /// Writes what is unsent, once. A short write means a full socket: its next edge comes back here.
    fn flush(&mut self, frames: &Frames) -> io::Result<()> {
        if self.unsent == 0 {
            return Ok(());
        }
        let taken = match self.stream.write(frames.bytes(self.sent_at, self.unsent)) {
            Ok(taken) => taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent -= taken;
        self.sent_at = (self.sent_at + taken) % (frames.distinct() * frames.frame_len());
        Ok(())
    }

    /// Takes the `count` oldest messages out of flight and records their round trips.
    fn take_back(&mut self, mut count: u32, now: Instant, round_trips: &mut Histogram<u64>) {
        self.in_flight -= count;
        while count > 0 {
            let (since, left) = self.runs.front_mut().expect("runs add up to the messages in flight");
            let step = count.min(*left);
            let nanos = u64::try_from((now - *since).as_nanos()).unwrap_or(u64::MAX);
            round_trips.saturating_record_n(nanos, u64::from(step));
            *left -= step;
            count -= step;
            if *left == 0 {
                self.runs.pop_front();
            }
        }
    }
}

fn on_conn(nth: usize, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {nth}: {error}"))
}

#[cfg(test)]
mod tests;
