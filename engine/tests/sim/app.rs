//! The handler under test: echoes, and does whatever else a handler may, decided by its seed. It keeps the ledger, and checks
//! in each callback what the engine promises of it.

mod acts;
mod cuts;
mod dialler;
mod drains;
mod mail;
mod messages;
mod posting;
mod states;
mod strangers;
mod timing;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use wsring::http::StatusCode;
use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{
    Answered, CloseCode, CloseReason, Conn, ConnId, CoreCx, Cx, DialError, Dialled, Drain, Fired, Handler, Lagged,
    Message, Opening, Peer, Pressure, Redial, Response, SendOutcome, Target, Tick, Verdict,
};

use super::board::Board;
use super::clumsy::{About, Clumsy};
use super::drains::Plan;
use super::mail::Note;
use super::oracle::{Digest, Person, Reason};
use super::own::Owners;
use super::{Manners, World, pressures::Pressures, turns::Turns};

pub use cuts::Cuts;
pub use dialler::Dialler;
pub use timing::{Beat, Timing, timers_max};

/// What the application knows of an open connection.
struct Open {
    peer: usize,
    paused: bool,
    /// Its output is high, and
    high: bool,
    /// that holds up its messages or does not.
    pressure: Pressure,
    closing: bool,
    /// Nothing can be sent any more, and nobody has closed: the connection must be broken.
    cut: bool,
    dial: Option<u64>,
    /// It may never have more queued.
    queued_max: usize,
}

pub struct App {
    random: Random,
    world: World,
    open: BTreeMap<ConnId, Open>,
    /// Ids that were once open: most are stale.
    known: Vec<ConnId>,
    resumes: VecDeque<ConnId>,
    /// When a callback ran since the last `on_batch_end`. A pass takes no time, and the next one is later.
    called: Option<Time>,
    /// How often it does something other than echo, in 1000.
    wild: u32,
    dialler: Option<Dialler>,
    /// For what it does where no connection is open yet, in handshakes and requests: a stream of its own.
    early: Option<Random>,
    /// For long messages of which compressing leaves little, and how many more of them it sends: a stream of its own.
    bulk: Option<(Random, u32)>,
    board: Option<Board>,
    clumsy: Option<Clumsy>,
    timing: Option<Timing>,
    beat: Option<Beat>,
    /// For mail to its own core: a stream of its own, and whose that mail is.
    own_mail: Option<(Random, usize)>,
    /// The seed, if it turns some of its peers away.
    turns_away: Option<u64>,
    cuts: Option<Cuts>,
    drain: Option<Plan>,
    pressures: Pressures,
    /// What verdicts and targets said of pressure, by peer and by dial.
    said: [BTreeMap<u64, Option<Pressure>>; 2],
    /// No connection without terms of its own (`owners`) may ever have more queued, and none more of a pass.
    bounds: (usize, Turns),
    owners: Owners,
}

/// From here on whatever is dialled is abandoned when it ends.
const PEOPLE_MAX: usize = 45;

type Core<'a> = CoreCx<'a, App>;

impl App {
    pub fn new(
        mut random: Random,
        world: World,
        dialler: Option<Dialler>,
        early: Option<Random>,
        clumsy: Option<Clumsy>,
        pressures: Pressures,
        bounds: (usize, Turns),
    ) -> Self {
        let wild = match world.manners {
            Manners::Quiet => 0,
            Manners::Rude => random.pick(&[0, 50, 200, 400]),
        };
        let (open, known, resumes) = (BTreeMap::new(), Vec::new(), VecDeque::new());
        let said = [BTreeMap::new(), BTreeMap::new()];
        Self {
            random,
            world,
            open,
            known,
            resumes,
            called: None,
            wild,
            dialler,
            early,
            bulk: None,
            board: None,
            clumsy,
            timing: None,
            beat: None,
            own_mail: None,
            turns_away: None,
            cuts: None,
            drain: None,
            pressures,
            said,
            bounds,
            owners: Owners::default(),
        }
    }

    /// It sets timers, and is told of ticks.
    pub fn and_timing(mut self, timing: Option<Timing>, beat: Option<Beat>) -> Self {
        (self.timing, self.beat) = (timing, beat);
        self
    }

    fn note(&mut self, what: &str, numbers: &[u64]) {
        self.on_called();
        self.world.trace.note(numbers, || format!("         callback {what} {numbers:?}"));
    }

    /// A callback other than `on_batch_end`.
    fn on_called(&mut self) {
        let now = self.world.trace.now();
        let since = *self.called.get_or_insert(now);
        assert_eq!(since, now, "a callback, and no on_batch_end in its pass");
        self.check_cuts(now);
        let failed = self.world.ledger.borrow().failed_at.is_some();
        assert!(!failed, "a callback after a panic has ended the core");
    }

    /// In a callback: now and then a panic.
    fn stumble(&mut self, about: About) {
        if let Some(clumsy) = &mut self.clumsy {
            clumsy.stumble(&self.world, about);
        }
    }

    /// Writes down what became of a message.
    fn sent(&mut self, id: ConnId, digest: Digest, outcome: SendOutcome) {
        let mut ledger = self.world.ledger.borrow_mut();
        match outcome {
            SendOutcome::Queued | SendOutcome::High => {
                let open = self.open.get_mut(&id).expect("only open connections take messages");
                assert!(!open.closing, "{id} took a message behind its Close");
                assert!(!open.cut, "{id} took a message, and had been gone before");
                open.high |= outcome == SendOutcome::High;
                let person = &mut ledger.people[open.peer];
                person.held |= open.high;
                person.queued.push(digest);
            }
            SendOutcome::Refused => ledger.refused += 1,
            SendOutcome::Gone => {
                ledger.gone += 1;
                let stopped = ledger.stopped_at.is_some() || ledger.drained.is_some();
                if let Some(open) = self.open.get_mut(&id).filter(|open| !open.closing && !stopped) {
                    open.cut = true;
                    ledger.people[open.peer].cut = true;
                }
            }
            _ => panic!("an unknown outcome: {outcome:?}"),
        }
    }

    fn send_to(&mut self, cx: &mut Core<'_>, id: ConnId, message: Message<'_>) {
        self.send_by(cx, id, message, |conn| conn.send(message));
    }

    /// If it is the message being handled, only one connection can be given its memory.
    fn forward_to(&mut self, cx: &mut Core<'_>, id: ConnId, message: Message<'_>) {
        self.send_by(cx, id, message, |conn| conn.forward(message));
    }

    fn send_by(
        &mut self,
        cx: &mut Core<'_>,
        id: ConnId,
        message: Message<'_>,
        send: impl FnOnce(&mut Conn<'_, App>) -> SendOutcome,
    ) {
        let Some(outcome) = self.conn(cx, id).map(|mut conn| send(&mut conn)) else { return };
        let digest = Digest::of(matches!(message, Message::Text(_)), message.as_bytes());
        self.sent(id, digest, outcome);
    }

    /// A connection by its id: it is found from its `on_open` to its `on_close`, and no longer.
    fn conn<'c>(&self, cx: &'c mut Core<'_>, id: ConnId) -> Option<Conn<'c, App>> {
        self.learn(cx);
        let conn = cx.conn(id);
        // A panic that ends the core ends its connection untold; others may have messages in the same pass.
        let failed = self.world.ledger.borrow().failed_at.is_some();
        assert!(
            failed || conn.is_some() == self.open.contains_key(&id),
            "{id}, which is open for the application or not"
        );
        assert!(conn.as_ref().is_none_or(|conn| conn.id() == id));
        conn
    }

    fn close(&mut self, cx: &mut Core<'_>, id: ConnId) {
        let code = self.random.pick(&[1000, 1008, 1011, 4000]);
        let reason = self.random.pick(&["", "enough", "ééééé"]);
        self.before_closing(cx, id);
        if let Some(mut conn) = self.conn(cx, id) {
            conn.close(CloseCode::new(code).expect("a valid code"), reason);
        }
        let mut ledger = self.world.ledger.borrow_mut();
        // Once stopping, it may be closing with 1001 already, which nobody has told us; then this has no effect.
        if let Some(open) = self.open.get_mut(&id).filter(|open| !open.closing) {
            open.closing = true;
            let person = &mut ledger.people[open.peer];
            person.app_close = Some((code, reason.to_owned()));
            person.closing_at = Some(self.world.trace.now());
        }
    }

    fn pause(&mut self, cx: &mut Core<'_>, id: ConnId) {
        if let Some(mut conn) = self.conn(cx, id) {
            conn.pause();
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.paused = true;
            self.world.ledger.borrow_mut().people[open.peer].held = true;
            self.resumes.push_back(id);
        }
    }

    fn resume_one(&mut self, cx: &mut Core<'_>) {
        if let Some(id) = self.resumes.pop_front() {
            if let Some(mut conn) = self.conn(cx, id) {
                conn.resume();
            }
            // Paused twice, resumed once: a resume ends every pause.
            if let Some(open) = self.open.get_mut(&id) {
                open.paused = false;
                self.world.ledger.borrow_mut().people[open.peer].held_at = self.world.trace.now();
            }
        }
    }

    /// Any connection, open or stale, of this core or of another.
    fn somebody(&mut self) -> Option<ConnId> {
        if self.known.is_empty() { None } else { Some(self.random.pick(&self.known)) }
    }

    /// Enough has happened.
    fn is_crowded(&self) -> bool {
        self.world.ledger.borrow().people.len() > PEOPLE_MAX
    }

    /// The counters are those of this very moment.
    fn check_stats(&self, cx: &Core<'_>) {
        self.learn(cx);
        let (stats, ledger) = (cx.stats(), self.world.ledger.borrow());
        let sum = |of: fn(&Person) -> usize| ledger.people.iter().map(|person| of(person) as u64).sum::<u64>();
        let same = [
            // The simulated ring is entered once a pass.
            ("enters", stats.enters, stats.passes),
            ("messages", stats.messages, sum(|person| person.got.len())),
            ("opened", stats.opened, sum(|person| person.opened as usize)),
            ("dials_failed", stats.dials_failed, ledger.dials_failed),
            ("panics", stats.panics, ledger.panics),
            ("mails", stats.mails, ledger.post.mails()),
        ];
        for (what, engine, known) in same {
            assert_eq!(engine, known, "the engine miscounts {what} in a callback");
        }
        // Heartbeats are the engine's, and counted with the application's messages.
        let queued = sum(|person| person.queued.len());
        for (what, engine, known) in [
            ("sent", stats.sent, queued),
            ("refused", stats.refused, ledger.refused),
            ("gone", stats.gone, ledger.gone),
        ] {
            let agrees = if self.dialler.is_some() { engine >= known } else { engine == known };
            assert!(agrees, "the engine miscounts {what} in a callback: {engine}, not {known}");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let failed = self.world.ledger.borrow().failed_at.is_some() || std::thread::panicking();
        assert!(self.called.is_none() || failed, "a callback, and no on_batch_end before the end");
    }
}

impl Handler for App {
    type Conn = usize;
    type Mail = Note;

    fn on_accept(&mut self, cx: &mut CoreCx<'_, Self>, peer: &Peer) -> bool {
        self.note("on_accept", &[14]);
        self.act_early(cx);
        self.takes(peer)
    }

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<usize> {
        let peer: usize = opening.request.path()[1..].parse().expect("the path names the peer");
        self.is_from(peer, opening.peer, opening.via);
        self.note("on_upgrade", &[1, peer as u64]);
        self.act_early(cx);
        self.stumble(About::Request(peer));
        if self.wild > 0 && self.random.chance(30) {
            self.world.ledger.borrow_mut().people[peer].rejected = true;
            return Verdict::reject_status(StatusCode::FORBIDDEN);
        }
        let said = self.pressures.opening();
        self.said[0].insert(peer as u64, said);
        let verdict =
            Verdict::accept(peer).terms(&self.owners.to_client(peer).map(|own| own.terms).unwrap_or_default());
        said.into_iter().fold(verdict, Verdict::pressure)
    }

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let dials = self.dialler.as_mut().map_or(0, |dialler| dialler.random.range(1, u64::from(dialler.left)));
        for _ in 0..dials {
            self.connect(cx);
        }
        self.begin_topics(cx);
        self.act_on_dials(cx);
        self.act_on_timers(cx, None);
        self.stumble(About::Core);
    }

    fn on_answer(&mut self, cx: &mut CoreCx<'_, Self>, dialled: &Dialled, answered: &Answered<'_>) -> Option<usize> {
        let peer = std::str::from_utf8(answered.header("x-peer").expect("every valid answer has one"));
        let peer: usize = peer.ok().and_then(|peer| peer.parse().ok()).expect("a number");
        self.note("on_answer", &[8, dialled.tag, peer as u64]);
        let said = answered.header("Sec-WebSocket-Protocol");
        assert_eq!(answered.subprotocol.map(str::as_bytes), said, "the subprotocol that the server chose");
        let dialler = self.dialler.as_mut().expect("it dials");
        let taken = self.wild == 0 || dialler.random.chance(970);
        let version = self.world.ledger.borrow().people[peer].version;
        self.dialled(dialled.tag, |dial, _, _| dial.on_answer(dialled, version, taken));
        self.act_early(cx);
        self.stumble(About::Attempt(dialled.tag));
        taken.then_some(peer)
    }

    fn on_redial(&mut self, cx: &mut CoreCx<'_, Self>, dialled: &Dialled, target: &Target) -> Redial {
        self.note("on_redial", &[9, dialled.tag, u64::from(dialled.attempt)]);
        self.dialled(dialled.tag, |dial, now, _| dial.on_redial(dialled, target, now));
        self.act(cx, None, None);
        self.stumble(About::Attempt(dialled.tag));
        self.redial(dialled.tag)
    }

    fn on_resolved(&mut self, cx: &mut CoreCx<'_, Self>, dialled: &Dialled, addrs: &mut Vec<SocketAddr>) {
        self.note("on_resolved", &[15, dialled.tag, addrs.len() as u64]);
        self.allow(dialled, addrs);
        self.act(cx, None, None);
        self.stumble(About::Attempt(dialled.tag));
    }

    fn on_dial_failed(
        &mut self,
        cx: &mut CoreCx<'_, Self>,
        dialled: &Dialled,
        why: &DialError,
        retry: Option<Duration>,
    ) {
        self.on_called();
        let numbers = [10, dialled.tag, u64::from(dialled.attempt), retry.map_or(0, |wait| 1 + wait.as_nanos() as u64)];
        self.world.trace.note(&numbers, || format!("         callback on_dial_failed {dialled:?} {why}, {retry:?}"));
        self.world.ledger.borrow_mut().dials_failed += 1;
        self.dialled(dialled.tag, |dial, now, stopping| dial.on_failed(dialled, why, retry, now, stopping));
        if self.is_crowded() {
            self.abandon(cx, dialled.tag);
        }
        let again = self.dialler.as_mut().is_some_and(|dialler| dialler.random.chance(300));
        if again || matches!(why, DialError::Stopped) {
            self.connect(cx); // another in its place, by hand
        }
        self.stumble(About::Nothing);
        self.act(cx, None, None);
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        self.note("on_request", &[2, opening.request.path().len() as u64]);
        self.act_early(cx);
        self.stumble(About::Nothing);
        let mut response = Response::new(b"no such thing\n".to_vec());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let (id, peer) = (cx.id(), *cx.data());
        self.is_from(peer, cx.peer(), cx.via());
        self.note("on_open", &[3, peer as u64]);
        self.world.ledger.borrow_mut().people[peer].open(self.world.trace.now());
        let dial = cx.dial().map(|id| self.tag_of(id));
        if let Some(tag) = dial {
            assert_eq!(self.world.ledger.borrow().people[peer].dial, Some(tag), "the answer of another dial");
            self.dialled(tag, |dial, now, _| dial.on_open(now));
        }
        let said = dial.map_or_else(|| self.said[0][&(peer as u64)], |tag| self.said[1][&tag]);
        let pressure = self.pressures.of(said, dial.is_some());
        self.world.ledger.borrow_mut().people[peer].reads_on |= pressure == Pressure::ReadOn;
        let queued_max = self.owners.queued_max(dial.is_some(), peer).unwrap_or(self.bounds.0);
        let fresh = Open { peer, paused: false, high: false, pressure, closing: false, cut: false, dial, queued_max };
        assert!(self.open.insert(id, fresh).is_none(), "{id} names two open connections");
        assert!(!self.known.contains(&id), "{id} was the name of an earlier connection");
        self.known.push(id);
        self.world.ledger.borrow_mut().post.known.push((id, peer));
        if let Some(board) = &self.board {
            let (now, person) = (self.world.trace.now(), &mut self.world.ledger.borrow_mut().people[peer]);
            board.rated.open(cx, peer, now, self.world.packs, person);
        }
        if self.bulk.is_some() {
            // What an earlier owner of its slot may have been sent too.
            self.send_to(cx, id, Message::Text(&"much of the same ".repeat(50)));
        }
        self.act(cx, Some(id), None);
        self.stumble(About::Conn(peer));
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let (id, peer) = (cx.id(), *cx.data());
        let digest = Digest::of(matches!(message, Message::Text(_)), message.as_bytes());
        self.note("on_message", &[4, peer as u64, digest.len as u64]);
        let open = self.open.get_mut(&id).unwrap_or_else(|| panic!("a message of {id}, which is not open"));
        assert_eq!(open.peer, peer, "the state of another connection");
        let dial = open.dial.map(|tag| self.world.ledger.borrow().dials[tag as usize].id);
        assert_eq!(cx.dial(), dial, "the dial of another connection");
        assert!(!open.closing, "a message of {id} behind our Close (RFC 6455 §5.5.1)");
        assert!(!open.paused, "a message of {id}, which is paused");
        // Unless nothing goes out: then nothing holds up what comes.
        let pressed = open.high && open.pressure == Pressure::PauseReading;
        open.cut |= pressed;
        self.world.ledger.borrow_mut().people[peer].cut |= pressed;
        self.bounds.1.on_message(id, &self.world.trace);
        self.world.ledger.borrow_mut().people[peer].got.push(digest);
        if digest.len.is_multiple_of(8) {
            self.check_split(cx);
        }
        self.act(cx, Some(id), Some(message));
        if self.wild == 0 || self.random.chance(900) {
            let outcome = cx.forward(message);
            self.sent(id, digest, outcome);
        }
        self.send_bulk(cx, id);
        self.stumble(About::Conn(peer));
        self.act(cx, Some(id), Some(message));
    }

    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        let (id, peer) = (cx.id(), *cx.data());
        self.note("on_writable", &[5, peer as u64]);
        let open = self.open.get_mut(&id).expect("only open connections become writable");
        assert!(!open.closing, "{id} is writable behind its Close");
        open.high = false;
        self.world.ledger.borrow_mut().people[peer].held_at = self.world.trace.now();
        self.act(cx, Some(id), None);
        self.stumble(About::Conn(peer));
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, timer: Fired) {
        self.note("on_timer", &[11, timer.key]);
        self.on_fired(cx, None, timer);
        if timer.key.is_multiple_of(4) {
            self.act(cx, None, None);
        }
        if timer.key.is_multiple_of(16) {
            self.stumble(About::Core);
        }
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        self.note("on_tick", &[13, tick.number]);
        self.on_beat(tick);
        // Ticks are many: what is wild comes seldom, or few runs would see their end.
        if tick.number.is_multiple_of(64) {
            self.act(cx, None, None);
            self.stumble(About::Core);
        }
    }

    fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Fired) {
        let (id, peer) = (cx.id(), *cx.data());
        self.note("on_conn_timer", &[12, timer.key]);
        assert_eq!(self.open.get(&id).map(|open| open.peer), Some(peer), "a timer of {id}, which is not open");
        self.on_fired(cx, Some(id), timer);
        self.act(cx, Some(id), None);
        self.stumble(About::Conn(peer));
    }

    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let (id, peer) = (cx.id(), *cx.data());
        self.note("on_lagged", &[14, peer as u64]);
        self.on_missed(cx, lagged);
        self.act(cx, Some(id), None);
        self.stumble(About::Conn(peer));
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.note("on_wake", &[6]);
        for _ in 0..self.resumes.len() {
            self.resume_one(cx);
        }
        self.act(cx, None, None);
        self.stumble(About::Core);
    }

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, note: Note) {
        self.note("on_mail", &[11]);
        self.got_mail(cx, &note);
        self.act(cx, None, None);
        self.stumble(About::Core);
    }

    fn on_drain(&mut self, cx: &mut CoreCx<'_, Self>, _: &Drain) {
        self.begin_drain(cx);
    }

    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        self.say_goodbye(cx);
    }

    fn on_batch_end(&mut self, cx: &mut CoreCx<'_, Self>) {
        let called = self.called.take();
        assert_eq!(called, Some(self.world.trace.now()), "on_batch_end, and no other callback in its pass");
        self.check_queued(cx);
        self.check_states(cx);
        self.check_timers(true);
        self.act(cx, None, None);
        self.stumble(About::Core);
        if self.random.chance(300) {
            self.resume_one(cx);
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, peer: usize, why: &CloseReason<'_>) {
        let open = self.open.remove(&id).unwrap_or_else(|| panic!("on_close of {id}, which is not open"));
        assert_eq!(open.peer, peer, "the state of another connection");
        let (number, reason) = match why {
            CloseReason::Peer { code, reason } => (0, Reason::Peer(code.map(CloseCode::as_u16), (*reason).to_owned())),
            CloseReason::Local { clean } => (1, Reason::Local(*clean)),
            CloseReason::Violation(violation) => (2, Reason::Violation(violation.close_code().as_u16())),
            CloseReason::Eof => (3, Reason::Eof),
            CloseReason::Timeout => (4, Reason::Timeout),
            CloseReason::Stalled => (8, Reason::Stalled),
            CloseReason::Reset(_) => (5, Reason::Reset),
            CloseReason::Stopped => (6, Reason::Stopped),
            CloseReason::Panicked => (7, Reason::Panicked),
            CloseReason::Memory => (9, Reason::Memory),
            CloseReason::Aborted => (10, Reason::Aborted),
            CloseReason::Drained { clean } => (11, Reason::Drained(*clean)),
            _ => panic!("an unknown reason: {why:?}"),
        };
        self.note("on_close", &[7, peer as u64, number]);
        self.check_states(cx);
        self.on_owner_closed(id);
        self.on_cut_closed(id);
        {
            let mut ledger = self.world.ledger.borrow_mut();
            let person = &mut ledger.people[peer];
            assert!(person.reason.is_none(), "on_close of {id} twice");
            person.reason = Some(reason);
            person.closed_at = self.world.trace.now();
            person.held_at = if open.high || open.paused { person.closed_at } else { person.held_at };
        }
        if let Some(tag) = open.dial {
            let ours = matches!(why, CloseReason::Local { .. } | CloseReason::Stopped);
            self.dialled(tag, |dial, now, stopping| dial.on_close(ours, now, stopping));
            self.set_wait_at_end(cx, tag);
            if self.is_crowded() {
                self.abandon(cx, tag);
            }
        }
        self.stumble(About::Nothing);
        self.act(cx, Some(id), None);
    }
}
