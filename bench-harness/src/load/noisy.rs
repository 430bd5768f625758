//! One connection that says little, and how its round trips go beside a neighbour that says as much as it can.
//!
//! Owns both connections. Promises that the quiet one is served first by this load in every turn, that a turn hands over a bounded part of
//! the noise, and that the load's own lateness is known. Refuses to know what comes back to the neighbour: it is counted and dropped.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::STALL;
use super::course::on_conn;
use super::plan::{Edge, OnEdge, Outcome, histogram};
use super::texts;
use crate::deflate;
use crate::dial::Target;
use crate::frames::{Frames, Payload, Replies};
use crate::net::{Event, Keep, Net, Patience};
use crate::proc;

/// The quiet peer's message, and its pause behind each answer.
const SIZE: usize = 19;
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes of noise that a turn hands over at most: the copying of them delays whoever comes behind.
const CHUNK: usize = 64 << 10;
/// Bytes of noise that are laid out, at least.
const RUN: usize = 1 << 20;
const QUIET: usize = 0;

/// What a neighbour sends, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Messages of one byte.
    Tiny,
    /// Empty pings.
    Ping,
    /// Messages of 1 MiB.
    Long,
    /// Messages that a few bytes inflate to.
    Packed,
}

impl Noise {
    /// All of them.
    pub const ALL: [Noise; 4] = [Noise::Tiny, Noise::Ping, Noise::Long, Noise::Packed];

    /// On the command line.
    pub fn name(self) -> &'static str {
        match self {
            Noise::Tiny => "tiny",
            Noise::Ping => "ping",
            Noise::Long => "long",
            Noise::Packed => "packed",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Noise::Tiny => "messages of one byte",
            Noise::Ping => "empty pings",
            Noise::Long => "messages of 1 MiB",
            Noise::Packed => "compressed messages of 1,000 zeros",
        }
    }

    /// Whole frames of it, again and again.
    fn frames(self) -> Vec<u8> {
        let one = match self {
            Noise::Tiny => texts::frame(0x82, b"x"),
            Noise::Ping => texts::frame(0x89, b""),
            Noise::Long => texts::frame(0x82, &vec![0xA5; 1 << 20]),
            Noise::Packed => texts::frame(0x82 | deflate::RSV1, &deflate::compress(&[0; 1000])),
        };
        one.repeat(RUN.div_ceil(one.len()))
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server, as both ask for it.
    pub target: Target,
    /// What the neighbour sends; it is open and silent if nothing.
    pub noise: Option<Noise>,
    /// What is offered if the noise is compressed.
    pub offer: String,
    /// Time before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
}

/// What a run has shown beside its [`Outcome`], which is of the quiet peer alone.
pub struct Shown {
    /// Bytes a second that the neighbour's socket has taken.
    pub noise_per_second: f64,
    /// How late the load itself may have looked at each answer, in nanoseconds.
    pub late: Histogram<u64>,
}

struct Load<'a> {
    net: Net<'a>,
    frames: &'a Frames,
    /// Where the noise lies in what is sent: its begin and its length.
    noise: (usize, usize),
    noise_at: usize,
    noise_sending: bool,
    noise_sent: u64,
    replies: Replies,
    /// When the quiet peer's message left, or when the next leaves.
    sent: Option<u64>,
    next: u64,
    turns: usize,
    counting: bool,
    latencies: Histogram<u64>,
    late: Histogram<u64>,
    looked: u64,
    answered: u64,
}

/// Runs `plan`.
pub fn run(plan: &Plan, random: &mut dyn Read, on_edge: OnEdge<'_>) -> io::Result<(Outcome, Shown)> {
    let frames = Frames::new(Payload::Binary, SIZE, 1, plan.target.echo(), random)?;
    let mut bytes = frames.run().to_vec();
    let noise = plan.noise.map_or(Vec::new(), Noise::frames);
    let noise_run = (bytes.len(), noise.len());
    bytes.extend(noise);
    let neighbour = match plan.noise {
        Some(Noise::Packed) => plan.target.clone().offering(&plan.offer)?,
        _ => plan.target.clone(),
    };
    let open = |nth: usize, target: &Target| {
        let stream = target.dial(nth).map_err(|error| on_conn(nth, error))?;
        stream.tcp.set_nonblocking(true)?;
        Ok::<_, io::Error>(stream)
    };
    let streams = vec![open(QUIET, &plan.target)?, open(1, &neighbour)?];
    let net = Net::new(streams, &bytes, Patience::Poll, Keep::All)?;
    let now = proc::monotonic_nanos();
    let mut load = Load {
        net,
        frames: &frames,
        noise: noise_run,
        noise_at: 0,
        noise_sending: false,
        noise_sent: 0,
        replies: Replies::default(),
        sent: None,
        next: now,
        turns: 0,
        counting: false,
        latencies: histogram(),
        late: histogram(),
        looked: now,
        answered: 0,
    };
    let begun = Instant::now();
    load.turn_until(|_| begun.elapsed() >= plan.warmup)?;
    on_edge(Edge::Begin)?;
    load.counting = true;
    // One that is on its way waited for the meters.
    load.looked = proc::monotonic_nanos();
    let (answered, noise_sent, idle) = (load.answered, load.noise_sent, load.net.idle());
    let (begun, cpu) = (Instant::now(), proc::thread_cpu()?);
    // What is on its way at the end counts, however late it is answered; never is an error.
    load.turn_until(|load| begun.elapsed() >= plan.measured && load.latencies.len() > 1 && load.sent.is_none())?;
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = proc::thread_cpu()? - cpu;
    on_edge(Edge::End)?;
    let messages = load.answered - answered;
    let noise_per_second = (load.noise_sent - noise_sent) as f64 / seconds;
    let client_idle = load.net.idle() - idle;
    let Load { latencies, late, answered, .. } = load;
    let reply_bytes = messages * SIZE as u64;
    let outcome =
        Outcome { messages, reply_bytes, seconds, latencies, client_cpu, client_idle, messages_in_all: answered };
    Ok((outcome, Shown { noise_per_second, late }))
}

impl Load<'_> {
    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let (mut last, mut answered) = (Instant::now(), self.answered);
        while !done(self) {
            self.turn()?;
            if self.answered > answered {
                (last, answered) = (Instant::now(), self.answered);
            } else if last.elapsed() > STALL {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("the quiet peer had no answer for {STALL:?}")));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = proc::monotonic_nanos();
        if self.sent.is_none() && now >= self.next {
            let at = self.frames.start(self.turns % self.frames.distinct());
            self.turns += 1;
            self.net.send(QUIET, at, self.frames.frame_len());
            self.sent = Some(proc::monotonic_nanos());
        } else if self.noise.1 > 0 && !self.noise_sending {
            // Not in a turn with a quiet message, which would wait for the copying.
            self.noise_sending = true;
            let len = CHUNK.min(self.noise.1 - self.noise_at);
            self.net.send(1, self.noise.0 + self.noise_at, len);
        }
        let until = Duration::from_nanos(self.next.saturating_sub(now)).min(PAUSE);
        let idle = self.net.idle();
        self.net.wait(if self.sent.is_some() { PAUSE } else { until })?;
        let now = proc::monotonic_nanos();
        let since = if self.net.idle() > idle { now } else { self.looked };
        self.looked = now;
        let mut noise = Vec::new();
        while let Some(event) = self.net.next() {
            match event {
                Event::Received(QUIET, piece) => {
                    let fed =
                        self.replies.feed(self.frames, self.net.bytes(piece), u32::from(self.sent.is_some()), true);
                    self.net.release(piece);
                    let finished = fed.map_err(|fault| on_conn(QUIET, fault.into()))?;
                    if finished > 0 {
                        let now = proc::monotonic_nanos();
                        let sent = self.sent.take().expect("no more is answered than was sent");
                        if self.counting {
                            self.latencies.saturating_record((now - sent).max(1));
                            self.late.saturating_record((now - since.max(sent)).max(1));
                        }
                        self.answered += 1;
                        self.next = now + PAUSE.as_nanos() as u64;
                    }
                }
                Event::Received(_, piece) => noise.push(piece),
                Event::Sent(QUIET, _) => {}
                Event::Sent(_, sent) => {
                    self.noise_sending = false;
                    self.noise_sent += sent as u64;
                    self.noise_at = (self.noise_at + sent) % self.noise.1;
                }
                Event::Ended(conn, error) => return Err(on_conn(conn, error)),
                Event::Head(..) | Event::Discarded(..) => unreachable!("all is kept"),
            }
        }
        noise.into_iter().for_each(|piece| self.net.release(piece));
        Ok(())
    }
}
