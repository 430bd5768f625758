//! Values of keys, published by the server at its own rate, and readers of whom some are slow: what `wsring serve --demo feed` speaks.
//!
//! Owns the readers and the clock of a run. Promises that every value is held against what its reader had before (`judge`), that counts
//! are asked for and must add up exactly, that slow readers must get the newest of each key once they read on, and that a
//! load which was late itself says how late. Refuses to know which server it is.
//!
//! Latency is from publishing, by the server's clock, which is this machine's, to the moment in which the load looks at what came.

mod judge;
mod slow;
mod told;
mod update;

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::STALL;
use super::course::on_conn;
use super::plan::{Edge, OnEdge, Outcome, histogram};
use super::texts::{self, Texts};
use crate::dial::Target;
use crate::net::{Event, Keep, Net, Patience};
use crate::proc;
use crate::sockets::Sockets;

use judge::Reader;
use slow::{STEPS, Slow};
use told::{Told, say};
use update::Counts;

pub use slow::Ages;
pub use told::Readers;

/// How long a server has to answer and to send the newest, once the time that counts is over.
const SETTLE: Duration = if cfg!(test) { Duration::from_secs(5) } else { Duration::from_secs(60) };
/// The longest wait of a turn.
const TURN: Duration = Duration::from_millis(10);
const STATS: &str = r#"{"op":"stats"}"#;

/// What is read.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server, and its path.
    pub target: Target,
    /// Its process, whose memory is read in the end; none if that is not to be known.
    pub pid: Option<u32>,
    /// Who reads all that comes.
    pub fast: Readers,
    /// Who reads 1/100 of what it would be sent.
    pub slow: Readers,
    /// Keys that there are, named from K0 on.
    pub keys: u32,
    /// Updates a second that the server publishes.
    pub rate: u32,
    /// Time before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
}

/// What a run has shown beside its [`Outcome`], which is of the fast readers' latencies and of all deliveries.
pub struct Shown {
    /// Of the slow readers, if there were any.
    pub ages: Option<Ages>,
    /// How late the load itself may have looked at what had come, in nanoseconds, for each delivery to a fast reader.
    pub late: Histogram<u64>,
    /// Updates a second that the server published, by their numbers.
    pub published_per_second: f64,
    /// Resident memory of the server when the counted time was over, slow readers still behind.
    pub rss: Option<u64>,
    /// The sum of all readers' counts at that time.
    pub counts: Counts,
}

struct Fast {
    /// To speak through; the ring reads.
    stream: TcpStream,
    texts: Texts,
    reader: Reader,
    asked: bool,
}

struct Load<'a> {
    // Its ring ends before the readers' own descriptors.
    net: Net<'a>,
    fast: Vec<Fast>,
    slow: Vec<Slow>,
    sockets: Option<Sockets>,
    newest: Vec<u64>,
    latencies: Histogram<u64>,
    ages: Histogram<u64>,
    late: Histogram<u64>,
    counting: bool,
    /// Slow readers read all that comes.
    reads_on: bool,
    bytes_per_second: u64,
    /// The slow reader whose step is next, and when.
    next_step: (usize, u64),
    /// When readers began to subscribe.
    since: u64,
    /// When the ring was last looked at.
    looked: u64,
    updates: u64,
    bytes: u64,
    counts: Counts,
    buffer: Vec<u8>,
}

/// Runs `plan`. Whatever is not as it must be ends the run with an error that names the reader.
pub fn run(plan: &Plan, on_edge: OnEdge<'_>) -> io::Result<(Outcome, Shown)> {
    if plan.fast.count == 0 || plan.keys == 0 || plan.fast.keys.max(plan.slow.keys) > plan.keys {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "one fast reader at least, of no more keys than there are",
        ));
    }
    let mut load = Load::open(plan)?;
    let begun = Instant::now();
    load.turn_until(|load| begun.elapsed() >= plan.warmup && load.fast.iter().all(|fast| fast.reader.is_complete()))?;

    on_edge(Edge::Begin)?;
    load.begin();
    let (updates, bytes, numbers, idle) = (load.updates, load.bytes, load.numbers(), load.net.idle());
    let (begun, cpu) = (Instant::now(), proc::thread_cpu()?);
    load.turn_until(|load| begun.elapsed() >= plan.measured && !load.latencies.is_empty())?;
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = proc::thread_cpu()? - cpu;
    on_edge(Edge::End)?;
    load.counting = false;
    let published_per_second = (load.numbers() - numbers) as f64 / seconds;
    let (messages, reply_bytes) = (load.updates - updates, load.bytes - bytes);
    let client_idle = load.net.idle() - idle;

    let rss = plan.pid.map(proc::memory).transpose()?.map(|memory| memory.rss);
    let counts = load.settle()?;
    let Load { latencies, late, ages, .. } = load;
    let beyond = load
        .sockets
        .is_some()
        .then(|| load.slow.iter().map(|slow| slow.beyond(load.bytes_per_second)).max().unwrap_or(0));
    let ages = (!load.slow.is_empty()).then_some(Ages { ages, beyond });
    let messages_in_all = load.updates;
    Ok((
        Outcome { messages, reply_bytes, seconds, latencies, client_cpu, client_idle, messages_in_all },
        Shown { ages, late, published_per_second, rss, counts },
    ))
}

fn subscribe(reader: &Reader) -> Vec<u8> {
    let keys: Vec<String> = reader.keys().map(|key| format!(r#""K{key}""#)).collect();
    texts::text(&format!(r#"{{"op":"subscribe","keys":[{}],"delivery":"conflate"}}"#, keys.join(",")))
}

impl Load<'_> {
    fn open(plan: &Plan) -> io::Result<Load<'static>> {
        let reader = |nth: u32, keys: u32| {
            Reader::new((u64::from(nth) * u64::from(keys) % u64::from(plan.keys)) as u32, keys, plan.keys)
        };
        let (mut streams, mut fast, mut slow) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 0..plan.fast.count {
            let open = || {
                let stream = plan.target.dial(nth as usize)?;
                let twin = stream.tcp.try_clone()?;
                stream.tcp.set_nonblocking(true)?;
                streams.push(stream);
                Ok(Fast { stream: twin, texts: Texts::default(), reader: reader(nth, plan.fast.keys), asked: false })
            };
            fast.push(open_one(nth as usize, open)?);
        }
        for nth in 0..plan.slow.count {
            let at = (plan.fast.count + nth) as usize;
            let open = || {
                let stream = plan.target.dial(at)?.tcp;
                stream.set_nonblocking(true)?;
                Slow::new(stream, reader(nth, plan.slow.keys))
            };
            slow.push(open_one(at, open)?);
        }
        let net = Net::new(streams, &[], Patience::Poll, Keep::All)?;
        let since = proc::monotonic_nanos();
        for (nth, fast) in fast.iter_mut().enumerate() {
            say(&mut fast.stream, &subscribe(&fast.reader)).map_err(|error| on_conn(nth, error))?;
        }
        for (nth, slow) in slow.iter_mut().enumerate() {
            let asked = subscribe(&slow.reader);
            slow.say(&asked).map_err(|error| on_conn(fast.len() + nth, error))?;
        }
        let sockets =
            Sockets::open().ok().filter(|sockets| slow.first_mut().is_some_and(|slow| slow.look(sockets).is_ok()));
        let now = proc::monotonic_nanos();
        Ok(Load {
            net,
            fast,
            slow,
            sockets,
            newest: vec![0; plan.keys as usize],
            latencies: histogram(),
            ages: histogram(),
            late: histogram(),
            counting: false,
            reads_on: false,
            bytes_per_second: slow::bytes_per_second(plan.slow, plan.keys, plan.rate),
            next_step: (0, now),
            since,
            looked: now,
            updates: 0,
            bytes: 0,
            counts: Counts::default(),
            buffer: Vec::new(),
        })
    }

    fn begin(&mut self) {
        self.counting = true;
        self.slow.iter_mut().for_each(Slow::begin);
        self.looked = proc::monotonic_nanos();
    }

    /// The sum of the newest numbers: how much has been published, as far as anybody has seen.
    fn numbers(&self) -> u64 {
        self.newest.iter().sum()
    }

    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let (mut last, mut updates) = (Instant::now(), self.updates);
        while !done(self) {
            self.turn()?;
            if self.updates > updates {
                (last, updates) = (Instant::now(), self.updates);
            } else if last.elapsed() > STALL {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("no update for {STALL:?}")));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let idle = self.net.idle();
        let now = proc::monotonic_nanos();
        let until_step = Duration::from_nanos(self.next_step.1.saturating_sub(now));
        let timeout = match () {
            () if self.reads_on => Duration::ZERO,
            () if self.slow.is_empty() => TURN,
            () => until_step.min(TURN),
        };
        self.net.wait(timeout)?;
        let now = proc::monotonic_nanos();
        // What was found by polling had just come. Else it may have come as soon as the last look was over.
        let came = if self.net.idle() > idle { now } else { self.looked };
        self.looked = now;
        while let Some(event) = self.net.next() {
            match event {
                Event::Received(conn, piece) => {
                    let (now, since) = (proc::monotonic_nanos(), self.since);
                    let Load { net, fast, newest, latencies, late, counts, .. } = self;
                    let Fast { stream, texts, reader, asked } = &mut fast[conn];
                    let ages = self.counting.then_some(latencies);
                    let mut told = Told { now, since, newest, ages, updates: 0, bytes: 0, counts };
                    let taken = told.take(net.bytes(piece), texts, reader, asked, stream, &mut |_| ());
                    let (updates, bytes) = (told.updates, told.bytes);
                    net.release(piece);
                    taken.map_err(|error| on_conn(conn, error))?;
                    if self.counting && updates > 0 {
                        late.saturating_record_n((now - came).max(1), updates);
                    }
                    self.updates += updates;
                    self.bytes += bytes;
                }
                Event::Ended(conn, error) => return Err(on_conn(conn, error)),
                Event::Head(..) | Event::Discarded(..) | Event::Sent(..) => {
                    unreachable!("all is kept, nothing is sent")
                }
            }
        }
        self.read_slowly()
    }

    /// The steps of slow readers that are due, or all that there is for them.
    fn read_slowly(&mut self) -> io::Result<()> {
        if self.reads_on {
            for nth in 0..self.slow.len() {
                self.read_one(nth, u64::MAX)?;
            }
            return Ok(());
        }
        let step = 1_000_000_000 / STEPS / self.slow.len().max(1) as u64;
        while !self.slow.is_empty() && proc::monotonic_nanos() >= self.next_step.1 {
            let (nth, due) = self.next_step;
            self.next_step = ((nth + 1) % self.slow.len(), due + step);
            if let Some(sockets) = &self.sockets {
                self.slow[nth].look(sockets)?;
            }
            self.read_one(nth, self.bytes_per_second / STEPS)?;
        }
        Ok(())
    }

    fn read_one(&mut self, nth: usize, most: u64) -> io::Result<()> {
        let Load { slow, newest, ages, counts, buffer, .. } = self;
        let ages = self.counting.then_some(ages);
        let (now, since) = (proc::monotonic_nanos(), self.since);
        let mut told = Told { now, since, newest, ages, updates: 0, bytes: 0, counts };
        let read = slow[nth].read(most, buffer, &mut told);
        self.updates += told.updates;
        self.bytes += told.bytes;
        read.map_err(|error| on_conn(self.fast.len() + nth, error))?;
        Ok(())
    }

    fn ask(&mut self) -> io::Result<()> {
        let stats = texts::text(STATS);
        for (nth, fast) in self.fast.iter_mut().enumerate() {
            fast.asked = true;
            say(&mut fast.stream, &stats).map_err(|error| on_conn(nth, error))?;
        }
        for (nth, slow) in self.slow.iter_mut().enumerate() {
            slow.asked = true;
            slow.say(&stats).map_err(|error| on_conn(self.fast.len() + nth, error))?;
        }
        Ok(())
    }

    /// Everybody asks for counts, then the slow readers read on, until they have what was the newest before and all have been
    /// answered; then all ask once more. Gives back the sum of the first counts.
    fn settle(&mut self) -> io::Result<Counts> {
        self.counts = Counts::default();
        self.ask()?;
        let newest = self.newest.clone();
        self.reads_on = true;
        self.settled(&newest)?;
        let counts = self.counts;
        self.ask()?;
        self.settled(&newest)?;
        Ok(counts)
    }

    fn settled(&mut self, newest: &[u64]) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let unanswered = self.fast.iter().map(|fast| fast.asked).chain(self.slow.iter().map(|slow| slow.asked));
            let unanswered = unanswered.enumerate().find(|(_, asked)| *asked);
            let lacking = self.slow.iter().enumerate().find_map(|(nth, slow)| Some((nth, slow.reader.lacks(newest)?)));
            if unanswered.is_none() && lacking.is_none() {
                return Ok(());
            }
            if begun.elapsed() > SETTLE {
                let why = match (lacking, unanswered) {
                    (Some((nth, (key, last, newest))), _) => format!(
                        "connection {}: K{key} is at {last}, {newest} was the newest {SETTLE:?} ago",
                        self.fast.len() + nth
                    ),
                    (None, at) => format!("connection {}: no counts for {SETTLE:?}", at.map_or(0, |(nth, _)| nth)),
                };
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            self.turn()?;
        }
    }
}

fn open_one<T>(nth: usize, open: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    open().map_err(|error| on_conn(nth, error))
}
