//! One publishes, everybody receives.
//!
//! Owns: when each message was published and who still lacks it. Promises: the next message leaves only when everybody has the
//! one `depth` before it, so that no server is measured by what it keeps in queues. Refuses to know: sockets.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::course::{Clock, Turns, count, dial, on_conn};
use super::plan::{Bodies, OnEdge, Outcome, Plan, histogram};
use crate::dial;
use crate::frames::{Frames, Replies};
use crate::net::{Event, Keep, Net};

/// How long a server has to let everybody join.
const JOIN_WAIT: Duration = Duration::from_millis(200);
/// The connection that publishes; it receives too.
const PUBLISHER: usize = 0;

struct Subscriber {
    replies: Replies,
    /// Messages received since the first.
    received: u64,
}

struct Load<'a> {
    frames: &'a Frames,
    net: Net<'a>,
    subscribers: Vec<Subscriber>,
    depth: u64,
    /// Messages that not everybody has yet, oldest first: when it was published, and how many lack it.
    open: VecDeque<(u64, usize)>,
    published: u64,
    sent_at: usize,
    unsent: usize,
    sending: bool,
    clock: Clock,
    latencies: Histogram<u64>,
    /// Times of publishing whose latencies count.
    counted: Range<u64>,
    check: bool,
    refill: bool,
    delivered: u64,
}

pub(super) fn run(plan: &Plan, depth: u32, random: &mut dyn Read, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    if plan.target.context().is_some() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "compressed messages do not fan out"));
    }
    // Without WebSocket everybody gets the very bytes that the publisher sent.
    let frames = Frames::new(plan.payload, plan.size, depth as usize, plan.target.echo(), random)?;
    let net = dial(plan, plan.connections + 1, frames.run(), Keep::All)?;
    // A server may answer the handshake before it has put the newcomer among those who receive.
    thread::sleep(JOIN_WAIT);
    let clock = Clock(Instant::now());
    let subscribers = (0..=plan.connections).map(|_| Subscriber { replies: Replies::default(), received: 0 });
    let mut load = Load {
        frames: &frames,
        net,
        subscribers: subscribers.collect(),
        depth: depth.into(),
        open: VecDeque::new(),
        published: 0,
        sent_at: 0,
        unsent: 0,
        sending: false,
        clock,
        latencies: histogram(),
        counted: 0..0,
        check: plan.bodies == Bodies::Compared,
        refill: true,
        delivered: 0,
    };
    let outcome = count(&mut load, plan, clock, on_edge);
    if outcome.is_ok() {
        dial::say_goodbye(load.net.into_streams(), plan.target.echo());
    }
    outcome
}

impl Load<'_> {
    fn publish(&mut self) {
        while self.refill && (self.open.len() as u64) < self.depth {
            self.open.push_back((self.clock.nanos(), self.subscribers.len()));
            self.published += 1;
            self.unsent += self.frames.frame_len();
        }
        if self.unsent > 0 && !self.sending {
            self.sending = true;
            self.net.send(PUBLISHER, self.sent_at, self.unsent);
        }
    }

    /// `finished` more messages have reached a subscriber.
    fn deliver(&mut self, conn: usize, finished: u32, now: u64) {
        let subscriber = &mut self.subscribers[conn];
        let first_open = self.published - self.open.len() as u64;
        for _ in 0..finished {
            let (since, lacking) = &mut self.open[(subscriber.received - first_open) as usize];
            if self.counted.contains(since) {
                self.latencies.saturating_record((now - *since).max(1));
            }
            *lacking -= 1;
            subscriber.received += 1;
        }
        self.delivered += u64::from(finished);
        while self.open.front().is_some_and(|(_, lacking)| *lacking == 0) {
            self.open.pop_front();
        }
    }
}

impl Turns for Load<'_> {
    fn reply_bytes(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.replies.payload_bytes()).sum()
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        self.publish();
        self.net.wait(timeout)?;
        while let Some(event) = self.net.next() {
            match event {
                Event::Received(conn, piece) => {
                    let now = self.clock.nanos();
                    let Subscriber { replies, received } = &mut self.subscribers[conn];
                    let lacking = (self.published - *received) as u32;
                    let fed = replies.feed(self.frames, self.net.bytes(piece), lacking, self.check);
                    self.net.release(piece);
                    let finished = fed.map_err(|fault| on_conn(conn, fault.into()))?;
                    self.deliver(conn, finished, now);
                }
                Event::Head(..) | Event::Discarded(..) => unreachable!("all is kept"),
                Event::Sent(_, sent) => {
                    self.sending = false;
                    self.unsent -= sent;
                    self.sent_at = (self.sent_at + sent) % self.frames.start(self.frames.distinct());
                }
                Event::Ended(conn, error) => return Err(on_conn(conn, error)),
            }
        }
        Ok(())
    }

    fn finished(&self) -> u64 {
        self.delivered
    }

    fn in_flight(&self) -> u64 {
        self.open.iter().map(|(_, lacking)| *lacking as u64).sum()
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
        self.refill = false;
    }
}
