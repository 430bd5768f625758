//! Owns what is known of each dial of a run, as the application is told it, and judges every step: see `docs/simulation.md`.

use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{AnswerError, CompressionError, Declined, DialError, DialId, Dialled, Message, Reconnect, Target};

use super::Manners;
use super::oracle::{Ending, Person};

/// How late whatever waits may be: two ticks of 16 ms, and what a rude kernel takes.
const SLACK: Duration = Duration::from_millis(250);
/// Addresses that a name has at most.
pub const ADDRS_MAX: usize = 4;
/// What a heartbeat says, and nobody else.
pub const BEAT: &str = "the heart beats";

/// What a [`Reconnect`] was made of.
#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    first: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    attempts_max: u32,
    healthy_after: Duration,
}

impl Policy {
    fn reconnect(&self) -> Reconnect {
        Reconnect::default()
            .wait_first(self.first)
            .wait_max(self.max)
            .factor(self.factor)
            .jitter(self.jitter)
            .attempts_max(self.attempts_max)
            .healthy_after(self.healthy_after)
    }
}

/// What a dial was asked to do.
#[derive(Clone, Debug)]
pub struct Plan {
    policy: Option<Policy>,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    /// How late whatever waits may be.
    pub late: Duration,
    every: Option<Duration>,
    named: bool,
}

/// Where a dial stands, by what was told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Trying {
        since: Time,
    },
    /// `on_answer` took it: `on_open` is next.
    Taken {
        since: Time,
    },
    /// `on_answer` did not.
    Unwanted,
    /// `on_answer` or `on_reconnect` panicked.
    Panicked,
    Open {
        since: Time,
    },
    /// Lost for good: `Exhausted` is next.
    Lost {
        silent: bool,
    },
    Waiting {
        least: Time,
        most: Time,
    },
    Over,
}

/// A dial and its story.
#[derive(Debug)]
pub struct Dial {
    pub id: DialId,
    plan: Plan,
    stand: Stand,
    /// Attempts that failed in a row, by the documentation of `Reconnect`.
    failed: u32,
    abandoned: bool,
    pub attempts: usize,
    failures: Vec<Failure>,
    /// Lookups that were answered by an error, or by no address.
    pub nowhere: u32,
    /// Heartbeats that there was time for.
    beats_max: u64,
}

/// A failure that a server must have caused.
#[derive(Debug)]
enum Failure {
    Eof,
    Reset,
    HandshakeTimeout,
    Declined(Declined),
    Answer(AnswerError),
}

/// How a simulated server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 101, behind so many interim answers, choosing a subprotocol if one was offered.
    Valid {
        interims: usize,
    },
    /// Another status, and this body: with a length, in chunks, or to the end.
    Declined {
        status: u16,
        body: Vec<u8>,
        framing: u8,
    },
    Wrong(AnswerError),
    /// Nothing.
    Never,
    /// A part of a valid answer, then the end of the stream.
    Cut,
    Reset,
}

/// A target of a seed's own, and what it asks for.
pub fn target(tag: u64, random: &mut Random, manners: Manners, handshake_timeout: Duration) -> (Target, Plan) {
    let quiet = manners == Manners::Quiet;
    let named = random.chance(300);
    let host = if named { format!("feed{tag}.example") } else { random.pick(&["10.0.0.1", "[fd00::1]"]).to_owned() };
    let url = format!("ws://{host}:{}/dial/{tag}", 1000 + tag);
    let mut target = Target::new(&url).expect("a URL").tag(tag);
    if random.chance(500) {
        target = target.subprotocol("v2").and_then(|target| target.subprotocol("v1")).expect("two tokens");
    }
    let mut plan = Plan {
        policy: None,
        connect_timeout: Duration::from_secs(10),
        handshake_timeout,
        late: SLACK,
        every: None,
        named,
    };
    if random.chance(600) {
        let every = Duration::from_millis(random.pick(&[0, 10, 30, 30, 50, 200, 200, 200]));
        target = target.heartbeat(every, Message::Text(BEAT));
        plan.every = Some(every.max(Duration::from_millis(1)));
    }
    if quiet {
        return (target, plan);
    }
    let mut some = |least: u64, most: u64| Duration::from_micros(random.range(least * 1000, most * 1000));
    plan.connect_timeout = if some(0, 9) < Duration::from_millis(4) { some(0, 20) } else { some(20, 900) };
    target = target.connect_timeout(plan.connect_timeout);
    if some(0, 9) < Duration::from_millis(5) {
        plan.handshake_timeout = some(0, 900);
        target = target.handshake_timeout(plan.handshake_timeout);
    }
    if some(0, 9) < Duration::from_millis(6) {
        let mut policy =
            Policy { first: some(0, 30), max: some(0, 100), healthy_after: some(0, 50), ..Policy::default() };
        if random.chance(300) {
            (policy.first, policy.healthy_after) = (Duration::ZERO, Duration::from_secs(10));
        }
        policy.factor = random.pick(&[0.0, 1.0, 2.0, 10.0]);
        policy.jitter = random.pick(&[0.0, 0.5, 1.0]);
        policy.attempts_max = random.below(5) as u32;
        plan.policy = Some(policy);
        target = target.reconnect(policy.reconnect());
    }
    (target, plan)
}

impl Dial {
    pub fn new(id: DialId, plan: Plan, now: Time) -> Self {
        let stand = Stand::Trying { since: now };
        let (failures, attempts) = (Vec::new(), 1);
        Self { id, plan, stand, failed: 0, abandoned: false, attempts, failures, nowhere: 0, beats_max: 0 }
    }

    pub fn is_over(&self) -> bool {
        self.stand == Stand::Over
    }

    pub fn is_trying(&self) -> bool {
        matches!(self.stand, Stand::Trying { .. })
    }

    pub fn beats_max(&self) -> u64 {
        self.beats_max
    }

    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    /// The application abandons it: one that waits is over without a word.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        if matches!(self.stand, Stand::Waiting { .. } | Stand::Lost { .. }) {
            self.stand = Stand::Over;
        }
    }

    fn is(&self, dialled: &Dialled) {
        assert_eq!(dialled.id, self.id, "another dial's id with this tag");
        assert_eq!(dialled.attempt, self.failed + 1, "the attempts of {:?} are miscounted", self.id);
    }

    /// The time an attempt may take: lookup, each address, handshake.
    fn most(&self) -> Duration {
        let Plan { connect_timeout, handshake_timeout, late, named, .. } = self.plan;
        let (lookup, addrs) = if named { (connect_timeout + late, ADDRS_MAX as u32) } else { (Duration::ZERO, 1) };
        lookup + (connect_timeout + late) * addrs + handshake_timeout + late
    }

    pub fn on_reconnect(&mut self, dialled: &Dialled, now: Time) {
        let Stand::Waiting { least, most } = self.stand else { panic!("on_reconnect of a dial that is {self:?}") };
        self.is(dialled);
        assert!(!self.abandoned, "an attempt of an abandoned dial");
        assert!(now >= least, "an attempt {:?} sooner than its wait: {self:?}", least.since(now));
        assert!(now <= most.plus(self.plan.late), "an attempt {:?} later than its wait: {self:?}", now.since(most));
        self.attempts += 1;
        self.stand = Stand::Trying { since: now };
    }

    pub fn on_answer(&mut self, dialled: &Dialled, taken: bool) {
        let Stand::Trying { since } = self.stand else { panic!("on_answer of a dial that is {self:?}") };
        self.is(dialled);
        assert!(!self.abandoned, "an answer for an abandoned dial");
        self.stand = if taken { Stand::Taken { since } } else { Stand::Unwanted };
    }

    /// Its `on_answer` or `on_reconnect` panics: the attempt fails, unless it has been given up in that very callback.
    pub fn on_panicked(&mut self) {
        if !(self.abandoned && self.is_trying()) {
            self.stand = Stand::Panicked;
        }
    }

    pub fn on_open(&mut self, now: Time) {
        let Stand::Taken { since } = self.stand else { panic!("on_open of a dial that is {self:?}") };
        let took = now.since(since);
        assert!(took <= self.most(), "an attempt opened after {took:?}: {self:?}");
        self.stand = Stand::Open { since: now };
    }

    /// The wait that the policy allows after so many failures; from, to.
    fn wait(&self, stopping: bool, passes: bool) -> Option<(Duration, Duration)> {
        let policy = self.plan.policy.filter(|_| passes && !stopping && !self.abandoned)?;
        if self.failed > policy.attempts_max {
            return None;
        }
        let longest = policy.first.mul_f64(policy.factor.max(1.0).powi(self.failed as i32 - 1)).min(policy.max);
        Some((longest.mul_f64(1.0 - policy.jitter), longest))
    }

    pub fn on_failed(
        &mut self,
        dialled: &Dialled,
        why: &DialError,
        retry: Option<Duration>,
        now: Time,
        stopping: bool,
    ) {
        self.is(dialled);
        let since = match self.stand {
            Stand::Trying { since } => since,
            Stand::Unwanted | Stand::Panicked | Stand::Lost { .. } => now,
            _ => panic!("on_dial_failed of a dial that is {self:?}: {why}"),
        };
        let took = now.since(since);
        // One that is made while the core stops fails at its end.
        let in_time = took <= self.most() || stopping && self.attempts == 1;
        assert!(in_time, "an attempt failed after {took:?}: {why}, {self:?}");
        match why {
            DialError::Lookup { .. } if self.nowhere > 0 => {}
            DialError::Lookup { .. } => assert!(self.plan.named && took >= self.plan.connect_timeout, "{why}"),
            DialError::Connect { .. } | DialError::Full => {}
            DialError::HandshakeTimeout => {
                assert!(took >= self.plan.handshake_timeout, "a handshake timed out after {took:?}: {self:?}");
                self.failures.push(Failure::HandshakeTimeout);
            }
            DialError::Eof => self.failures.push(Failure::Eof),
            DialError::Reset(_) => self.failures.push(Failure::Reset),
            DialError::Declined(declined) => self.failures.push(Failure::Declined((**declined).clone())),
            DialError::Answer(error) => self.failures.push(Failure::Answer(*error)),
            // The same fault of a server, of whom compression was asked.
            DialError::Compression(CompressionError::NotOffered) => {
                self.failures.push(Failure::Answer(AnswerError::ExtensionUnoffered));
            }
            DialError::Unwanted => assert_eq!(self.stand, Stand::Unwanted, "the application wanted it"),
            DialError::Panicked => assert_eq!(self.stand, Stand::Panicked, "nobody panicked"),
            DialError::Exhausted => assert!(matches!(self.stand, Stand::Lost { .. }), "{self:?} is not exhausted"),
            DialError::Abandoned => assert!(self.abandoned, "nobody abandoned {self:?}"),
            DialError::Stopped => assert!(stopping, "nobody stops"),
            _ => panic!("a new kind of error: {why}"),
        }
        if matches!(self.stand, Stand::Lost { .. }) {
            assert!(matches!(why, DialError::Exhausted), "a lost connection fails by {why}");
            assert_eq!(retry, None, "{self:?} is exhausted");
            self.stand = Stand::Over;
            return;
        }
        self.failed += 1;
        // Stopping begins a little after it was asked for.
        let expected = self.wait(false, may_pass(why));
        match (retry, expected) {
            (Some(wait), Some((least, most))) => {
                assert!(wait >= least && wait <= most, "a wait of {wait:?}, not {least:?} to {most:?}: {self:?}");
                let at = now.plus(wait);
                self.stand = Stand::Waiting { least: at, most: at };
            }
            (None, Some(_)) if !stopping => panic!("no further attempt after {why}: {self:?}"),
            (Some(wait), None) => panic!("a further attempt in {wait:?} after {why}: {self:?}"),
            (None, _) => self.stand = Stand::Over,
        }
    }

    /// Its connection ended; `ours`: by the application or a stop.
    pub fn on_close(&mut self, ours: bool, now: Time, stopping: bool) {
        let Stand::Open { since } = self.stand else { panic!("on_close of a dial that is {self:?}") };
        let open_for = now.since(since);
        if let Some(every) = self.plan.every {
            self.beats_max += (open_for.as_nanos() / every.as_nanos()) as u64;
        }
        self.stand = Stand::Over;
        let Some(policy) = self.plan.policy.filter(|_| !ours && !self.abandoned) else { return };
        if open_for >= policy.healthy_after {
            self.failed = 0;
        }
        self.failed += 1;
        match self.wait(false, true) {
            Some((least, most)) => self.stand = Stand::Waiting { least: now.plus(least), most: now.plus(most) },
            // Not told any more once it stops, and stopping begins a little after it was asked for.
            None => {
                self.failed -= 1; // the attempt that was lost is the last
                self.stand = Stand::Lost { silent: stopping };
            }
        }
    }

    /// Nothing of it is overdue.
    pub fn check_moving(&self, now: Time) {
        let most = match self.stand {
            Stand::Trying { since } => since.plus(self.most()),
            Stand::Waiting { most, .. } => most.plus(self.plan.late),
            Stand::Open { .. } | Stand::Over => return,
            Stand::Taken { .. } | Stand::Unwanted | Stand::Panicked | Stand::Lost { .. } => {
                panic!("half a step: {self:?}")
            }
        };
        assert!(now <= most, "a dial is stuck: {self:?}");
    }

    /// The run is over: so is every attempt, and every failure had its cause.
    pub fn judge(&self, tag: u64, people: &[Person], ended_at: Time, manners: Manners) {
        let over = match self.stand {
            Stand::Over | Stand::Waiting { .. } | Stand::Lost { silent: true } => true,
            // Made by the last callback of all.
            Stand::Trying { since } => since == ended_at && self.attempts == 1,
            _ => false,
        };
        assert!(over, "a dial never came to its end: {self:?}");
        let mut servers: Vec<&Person> = people.iter().filter(|person| person.dial == Some(tag)).collect();
        assert!(servers.len() <= self.attempts, "{} requests of {} attempts", servers.len(), self.attempts);
        // One that was reset before it read the request does not know whose it was.
        servers.extend(people.iter().filter(|person| person.serves && person.dial.is_none()));
        // Each failure gets a server of its own that can have caused it, so that none is told twice.
        let mut culprits: Vec<Option<usize>> = vec![None; servers.len()];
        for failure in 0..self.failures.len() {
            let found = self.accuse(failure, &servers, &mut culprits, &mut vec![false; servers.len()]);
            assert!(found, "no server made {:?} of dial {tag}: {servers:#?}", self.failures[failure]);
        }
        if manners == Manners::Quiet {
            assert!(self.failures.is_empty() && self.attempts == 1, "a quiet kernel failed a dial: {self:?}");
        }
    }

    /// One step of a bipartite matching: finds a server for a failure, and another for whoever has that one.
    fn accuse(&self, failure: usize, servers: &[&Person], culprits: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        (0..servers.len()).any(|at| {
            if seen[at] || servers[at].opened > 0 || !self.caused(&self.failures[failure], servers[at]) {
                return false;
            }
            seen[at] = true;
            let free = culprits[at].is_none_or(|other| self.accuse(other, servers, culprits, seen));
            if free {
                culprits[at] = Some(failure);
            }
            free
        })
    }

    fn caused(&self, failure: &Failure, person: &Person) -> bool {
        match (failure, &person.reply) {
            (Failure::Eof, Some(Reply::Cut)) => true,
            (Failure::Reset, reply) => {
                person.faulted || person.ending == Some(Ending::Reset) || *reply == Some(Reply::Reset)
            }
            // A server that answers in time is heard.
            (Failure::HandshakeTimeout, reply) => {
                let (Some(began), Some(answered)) = (person.request_at, person.answered_at) else { return true };
                matches!(reply, Some(Reply::Never | Reply::Reset))
                    || person.stalled
                    || answered.since(began) + self.plan.late >= self.plan.handshake_timeout
            }
            (
                Failure::Declined(Declined { status, body, .. }),
                Some(Reply::Declined { status: said, body: sent, .. }),
            ) => *status == *said && sent.starts_with(body) && body.len() <= Declined::BODY_MAX,
            (Failure::Answer(error), Some(Reply::Wrong(said))) => error == said,
            _ => false,
        }
    }
}

/// Whether asking again may help, as `Reconnect` documents it.
fn may_pass(why: &DialError) -> bool {
    match why {
        DialError::Declined(declined) => {
            matches!(declined.status.as_u16(), 408 | 425 | 429) || !matches!(declined.status.as_u16(), 300..500)
        }
        DialError::Unwanted | DialError::Abandoned | DialError::Stopped => false,
        _ => true,
    }
}

const WRONG: [AnswerError; 10] = [
    AnswerError::AcceptWrong,
    AnswerError::AcceptMissing,
    AnswerError::UpgradeMissing,
    AnswerError::ConnectionMissing,
    AnswerError::SubprotocolUnoffered,
    AnswerError::ExtensionUnoffered,
    AnswerError::StatusLine,
    AnswerError::HeadTooLarge,
    AnswerError::Http10,
    AnswerError::Body,
];

impl Reply {
    pub fn new(random: &mut Random, manners: Manners) -> Self {
        let interims = if random.chance(200) { random.below(4) as usize } else { 0 };
        match random.below(20) {
            _ if manners == Manners::Quiet => Reply::Valid { interims },
            0..=2 => {
                let len = if random.chance(600) { random.range(4_000, 9_000) } else { random.below(200) };
                let status = random.pick(&[200, 204, 301, 401, 403, 404, 429, 500, 503]);
                let body = vec![b'b'; if status == 204 { 0 } else { len as usize }];
                Reply::Declined { status, body, framing: random.below(3) as u8 }
            }
            3..=4 => Reply::Wrong(random.pick(&WRONG)),
            5 => Reply::Never,
            6 => Reply::Cut,
            7 => Reply::Reset,
            _ => Reply::Valid { interims },
        }
    }

    /// What it says to a request with this key, which `accept` answers; `peer` is who says it.
    pub fn write(&self, accept: &str, subprotocol: Option<&str>, peer: usize, random: &mut Random) -> Vec<u8> {
        use AnswerError as E;
        let chosen = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let valid = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nX-Peer: {peer}\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
        );
        let with = |line: &str| valid.replacen("X-Peer", &format!("{line}\r\nX-Peer"), 1);
        let without = |line: &str| valid.replacen(line, "X-Not", 1);
        let text = match self {
            Reply::Valid { interims } => {
                let interim = ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"];
                (0..*interims).map(|_| random.pick(&interim)).collect::<String>() + &valid
            }
            Reply::Declined { status, body, framing } => {
                let framing = match framing {
                    0 => format!("Content-Length: {}\r\n", body.len()),
                    1 => "Transfer-Encoding: chunked\r\n".to_owned(),
                    _ => String::new(),
                };
                let body = String::from_utf8_lossy(body);
                format!("HTTP/1.1 {status} So\r\nServer: sim\r\n{framing}\r\n{body}")
            }
            Reply::Wrong(error) => match error {
                E::AcceptWrong => valid.replace(accept, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                E::AcceptMissing => without("Sec-WebSocket-Accept"),
                E::UpgradeMissing => without("Upgrade:").replacen("X-Not", "X-Not:", 1),
                E::ConnectionMissing => without("Connection"),
                E::SubprotocolUnoffered => with("Sec-WebSocket-Protocol: chat").replace(&chosen, ""),
                E::ExtensionUnoffered => with("Sec-WebSocket-Extensions: x-unheard-of"),
                E::Http10 => valid.replace("HTTP/1.1", "HTTP/1.0"),
                E::Body => with("Content-Length: 5"),
                E::HeadTooLarge if random.chance(500) => "HTTP/1.1 100 Continue\r\n\r\n".repeat(9),
                E::HeadTooLarge => with(&format!("X-Long: {}", "l".repeat(9_000))),
                _ => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            },
            Reply::Cut => valid[..random.below(valid.len() as u64) as usize].to_owned(),
            Reply::Never | Reply::Reset => String::new(),
        };
        text.into_bytes()
    }
}
