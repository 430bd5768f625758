//! Owns what is known of each dial of a run, as the application is told it, and judges every step: see `docs/simulation.md`.

use std::net::SocketAddr;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{
    AnswerError, CompressionError, Declined, DialError, DialId, Dialled, HeadLimits, Message, Reconnect, Target,
};

use super::Manners;
use super::oracle::{Ending, Person};
use super::reply::{ASKED, HEAD_MAX, Reply};

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
    retry_after_max: Duration,
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
            .retry_after_max(self.retry_after_max)
            .healthy_after(self.healthy_after)
    }
}

/// What a dial was asked to do.
#[derive(Clone, Debug)]
pub struct Plan {
    policy: Option<Policy>,
    connect_timeout: Duration,
    race_delay: Duration,
    /// Addresses may have to wait for a place.
    tight: bool,
    handshake_timeout: Duration,
    /// How late whatever waits may be.
    pub late: Duration,
    every: Option<Duration>,
    named: bool,
    /// Of its target: what stands between the scheme and its number in the path.
    place: String,
    offers: bool,
}

/// Where a dial stands, by what was told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Trying {
        since: Time,
    },
    /// `on_redial` has said that the target is told later.
    Asking {
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
    /// The targets that it was given are numbered: the one that it dials, the one that its next attempt dials, if that is another, and the last.
    version: u32,
    next: Option<u32>,
    newest: u32,
    /// It was told what it had asked for, and may not have gone on since; what it was given meanwhile, which is what it dials if it had not, and what comes next
    /// if it had.
    told: bool,
    doubts: Vec<u32>,
    /// The next wait, if the application has set it.
    wait: Option<Duration>,
    /// It allowed none of the addresses.
    nowhere_to: bool,
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
    Declined(Declined, Time),
    Answer(AnswerError),
}

/// A target of a seed's own, and what it asks for.
pub fn target(
    tag: u64,
    random: &mut Random,
    manners: Manners,
    handshake_timeout: Duration,
    tight: bool,
) -> (Target, Plan) {
    let quiet = manners == Manners::Quiet;
    let named = random.chance(300);
    let host = if named { format!("feed{tag}.example") } else { random.pick(&["10.0.0.1", "[fd00::1]"]).to_owned() };
    let place = format!("ws://{host}:{}/dial/{tag}", 1000 + tag);
    let offers = random.chance(500);
    let mut plan = Plan {
        policy: None,
        connect_timeout: Duration::from_secs(10),
        race_delay: Duration::from_millis(250),
        tight,
        handshake_timeout,
        late: SLACK,
        every: None,
        named,
        place,
        offers,
    };
    if random.chance(600) {
        plan.every = Some(Duration::from_millis(random.pick(&[0, 10, 30, 30, 50, 200, 200, 200])));
    }
    if quiet {
        return (plan.target(0).tag(tag), plan);
    }
    let mut some = |least: u64, most: u64| Duration::from_micros(random.range(least * 1000, most * 1000));
    plan.connect_timeout = if some(0, 9) < Duration::from_millis(4) { some(0, 20) } else { some(20, 900) };
    plan.race_delay = [some(0, 0), some(0, 30), some(250, 250)][(tag % 3) as usize];
    if some(0, 9) < Duration::from_millis(5) {
        plan.handshake_timeout = some(0, 900);
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
        policy.retry_after_max =
            random.pick(&[Duration::ZERO, Duration::from_secs(1), Duration::from_secs(7 * 86_400)]);
        plan.policy = Some(policy);
    }
    let target = plan.target(0).tag(tag);
    (plan.policy.map_or(target.clone(), |policy| target.reconnect(policy.reconnect())), plan)
}

impl Plan {
    /// The target of this number, without what counts in the first alone.
    fn target(&self, version: u32) -> Target {
        let target = Target::new(&format!("{}?v={version}", self.place)).expect("a URL");
        let mut target = target
            .connect_timeout(self.connect_timeout)
            .race_delay(self.race_delay)
            .handshake_timeout(self.handshake_timeout)
            .answer_limits(HeadLimits::of_answers().bytes_max(HEAD_MAX));
        if self.offers {
            target = target.subprotocol("v2").and_then(|target| target.subprotocol("v1")).expect("two tokens");
        }
        match self.every {
            Some(every) => target.heartbeat(every, Message::Text(BEAT)),
            None => target,
        }
    }
}

impl Dial {
    pub fn new(id: DialId, plan: Plan, now: Time) -> Self {
        let stand = Stand::Trying { since: now };
        Self {
            id,
            plan,
            stand,
            failed: 0,
            abandoned: false,
            version: 0,
            next: None,
            newest: 0,
            told: false,
            doubts: Vec::new(),
            wait: None,
            nowhere_to: false,
            attempts: 1,
            failures: Vec::new(),
            nowhere: 0,
            beats_max: 0,
        }
    }

    /// Another target for it.
    pub fn another(&mut self) -> (Target, u32) {
        self.newest += 1;
        (self.plan.target(self.newest), self.newest)
    }

    /// It waits to be told what to dial.
    pub fn is_asking(&self) -> bool {
        matches!(self.stand, Stand::Asking { .. }) && !self.abandoned
    }

    /// Whether an attempt follows the one that it has, or may; a stop begins a little after it was asked for.
    fn check_taken(&self, taken: bool, stopping: bool) {
        let never = self.plan.policy.is_none_or(|policy| policy.attempts_max == 0);
        let over = self.abandoned || never || matches!(self.stand, Stand::Over | Stand::Lost { .. });
        assert!(!taken || !over, "it was taken, and nothing follows: {self:?}");
        assert!(taken || over || stopping, "it was refused: {self:?}");
    }

    /// The application has given it that; `taken` is what it was told. `again`: in the same callback as the one before.
    pub fn retarget(&mut self, version: u32, taken: bool, again: bool, now: Time, stopping: bool) {
        self.check_taken(taken, stopping);
        if !taken {
            return;
        }
        if matches!(self.stand, Stand::Asking { .. }) {
            (self.version, self.stand, self.told) = (version, Stand::Trying { since: now }, true);
        } else if again && self.told && self.doubts.is_empty() {
            self.version = version;
        } else if self.told {
            self.doubts.push(version);
        } else {
            self.next = Some(version);
        }
    }

    /// The application has set its next wait.
    pub fn set_wait(&mut self, wait: Duration, taken: bool, now: Time, stopping: bool) {
        self.check_taken(taken, stopping);
        if !taken {
            return;
        }
        match &mut self.stand {
            Stand::Waiting { least, most } => (*least, *most) = (now.plus(wait), now.plus(wait)),
            _ => self.wait = Some(wait),
        }
    }

    pub fn is_over(&self) -> bool {
        self.stand == Stand::Over
    }

    pub fn is_trying(&self) -> bool {
        matches!(self.stand, Stand::Trying { .. } | Stand::Asking { .. })
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
        let Plan { connect_timeout, race_delay, tight, handshake_timeout, late, named, .. } = self.plan;
        let (lookup, addrs) = if named { (connect_timeout + late, ADDRS_MAX as u32) } else { (Duration::ZERO, 1) };
        // The last address begins when all others have had a moment (RFC 8305), or one behind the other.
        let in_turn = (connect_timeout + late) * addrs;
        let raced = race_delay * (addrs - 1) + connect_timeout + late;
        lookup + if tight { in_turn } else { raced.min(in_turn) } + handshake_timeout + late
    }

    pub fn on_redial(&mut self, dialled: &Dialled, target: &Target, now: Time) {
        let Stand::Waiting { least, most } = self.stand else { panic!("on_redial of a dial that is {self:?}") };
        self.is(dialled);
        assert!(!self.abandoned, "an attempt of an abandoned dial");
        assert!(now >= least, "an attempt {:?} sooner than its wait: {self:?}", least.since(now));
        assert!(now <= most.plus(self.plan.late), "an attempt {:?} later than its wait: {self:?}", now.since(most));
        self.attempts += 1;
        self.stand = Stand::Trying { since: now };
        self.version = self.next.take().unwrap_or(self.version);
        let is_named = target.host().ends_with(".example");
        assert_eq!(is_named, self.plan.named, "the target of another dial: {target:?}, {self:?}");
    }

    /// What it says of the target: none if the same, or its number; `None` if that is told later.
    pub fn on_redialled(&mut self, said: Option<Option<u32>>, now: Time) {
        let given = self.next.take();
        match said {
            Some(another) => self.version = another.or(given).unwrap_or(self.version),
            None if given.is_some() => self.version = given.unwrap_or(self.version),
            None => self.stand = Stand::Asking { since: now },
        }
    }

    /// These are to be tried; `none`: the application allows none of them.
    pub fn on_resolved(&mut self, dialled: &Dialled, addrs: &[SocketAddr], none: bool) {
        self.is(dialled);
        self.told = false;
        assert!(matches!(self.stand, Stand::Trying { .. }) && !self.abandoned, "addresses of a dial that is {self:?}");
        let port = Some(1000 + dialled.tag as u16);
        let few = if self.plan.named { 1..=ADDRS_MAX } else { 1..=1 };
        assert!(
            few.contains(&addrs.len()) && addrs.iter().all(|addr| Some(addr.port()) == port),
            "{addrs:?}: {self:?}"
        );
        self.nowhere_to = none;
    }

    pub fn on_answer(&mut self, dialled: &Dialled, version: u32, taken: bool) {
        let Stand::Trying { since } = self.stand else { panic!("on_answer of a dial that is {self:?}") };
        self.is(dialled);
        assert!(!self.abandoned, "an answer for an abandoned dial");
        self.told = false;
        let doubts = std::mem::take(&mut self.doubts);
        let known = version == self.version || doubts.contains(&version);
        assert!(known, "an attempt dialled {version}, another target than it was given: {self:?}");
        self.version = version;
        self.next = self.next.or(doubts.last().copied().filter(|last| *last != version));
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

    /// The wait that the policy allows after so many failures, from and to, or that was set; `asked`: what the server has asked for.
    fn next_wait(&mut self, passes: bool, asked: Option<Duration>) -> Option<(Duration, Duration)> {
        let policy = self.plan.policy.filter(|_| passes && !self.abandoned)?;
        if self.failed > policy.attempts_max {
            return None;
        }
        let longest = policy.first.mul_f64(policy.factor.max(1.0).powi(self.failed as i32 - 1)).min(policy.max);
        if let Some(wait) = self.wait.take() {
            return Some((wait, wait));
        }
        let asked = asked.unwrap_or_default().min(policy.retry_after_max);
        Some((asked + longest.mul_f64(1.0 - policy.jitter), asked + longest))
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
            Stand::Trying { since } | Stand::Asking { since } => since,
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
            DialError::Declined(declined) => self.failures.push(Failure::Declined((**declined).clone(), now)),
            DialError::NoAddress => assert!(self.nowhere_to, "every address was allowed"),
            DialError::NoTarget => {
                let asked = matches!(self.stand, Stand::Asking { .. });
                assert!(asked && took >= self.plan.connect_timeout, "no target after {took:?}: {self:?}");
            }
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
        // Whichever of them it dialled: the last is what the next one does.
        self.told = false;
        self.version = std::mem::take(&mut self.doubts).pop().unwrap_or(self.version);
        // Stopping begins a little after it was asked for.
        let heeds = self.plan.policy.is_none_or(|policy| !policy.retry_after_max.is_zero());
        let expected = self.next_wait(may_pass(why, heeds), asked_by(why));
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
            self.beats_max += (open_for.as_nanos() / every.as_nanos().max(1_000_000)) as u64;
        }
        self.stand = Stand::Over;
        let Some(policy) = self.plan.policy.filter(|_| !ours && !self.abandoned) else { return };
        if open_for >= policy.healthy_after {
            self.failed = 0;
        }
        self.failed += 1;
        match self.next_wait(true, None) {
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
            Stand::Trying { since } | Stand::Asking { since } => since.plus(self.most()),
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
                Failure::Declined(Declined { status, body, headers, .. }, at),
                Some(Reply::Declined { status: said, body: sent, framing, long, .. }),
            ) => {
                // One that says where it ends is told then, whatever the connection does. It may come by few bytes a receive.
                let ended = person.answered_at.filter(|_| *framing < 2);
                let trip = self.plan.late + Duration::from_micros(400) * sent.len() as u32;
                let is_late = ended.is_some_and(|ended| *at > ended.plus(trip));
                let is_it = *status == *said && sent.starts_with(body) && body.len() <= Declined::BODY_MAX;
                is_it && *long == headers.is_empty() && !is_late
            }
            (Failure::Answer(error), Some(Reply::Wrong(said))) => error == said,
            _ => false,
        }
    }
}

/// Whether asking again may help, as `Reconnect` documents it. `heeds`: what a server asks for by Retry-After counts.
fn may_pass(why: &DialError, heeds: bool) -> bool {
    match why {
        DialError::Declined(declined) => {
            let status = declined.status.as_u16();
            let asked = status >= 400 && heeds && asked_by(why).is_some();
            matches!(status, 408 | 425 | 429) || !matches!(status, 300..500) || asked
        }
        DialError::Unwanted | DialError::Abandoned | DialError::Stopped => false,
        _ => true,
    }
}

/// When a server wants to be asked again, as it says in plain words beside Retry-After.
fn asked_by(why: &DialError) -> Option<Duration> {
    let DialError::Declined(declined) = why else { return None };
    let seconds = declined.headers.get(ASKED)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
