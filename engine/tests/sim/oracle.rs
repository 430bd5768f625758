//! Owns the ledger of a run, what each side says it did, and the verdict: RFC 6455 and the engine's own promises.
//!
//! Exact where the protocol is: a Close comes behind everything that was said before it, so whoever saw one saw all. Where a
//! connection failed, what arrived must still be an ordered prefix of what was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Abort, Counts};
use wsring::{DeflateMode, Stats};

use super::board::{Posts, Subscription};
use super::dial::Dial;
pub use super::digest::Digest;
use super::drains::Drained;
pub use super::ends::{Ending, Reason};
use super::mail::Post;
use super::own::Own;
use super::proxies::{self, Said};
use super::reply::Reply;
use super::{Manners, Settings, seen};

/// What is known of one peer and its connection.
#[derive(Clone, Debug, Default)]
pub struct Person {
    // As the peer tells it.
    pub sent: Vec<Digest>,
    pub pings: Vec<Digest>,
    pub ending: Option<Ending>,
    /// Answered the server's Close.
    pub answered: bool,
    pub statuses: Vec<u16>,
    pub status: Option<u16>,
    pub received: Vec<Digest>,
    /// Of topics.
    pub updates: Vec<String>,
    pub update_bytes: u64,
    /// At most so many of those a second, from then on.
    pub rate: Option<(u32, Time)>,
    pub subs: BTreeMap<u32, Subscription>,
    pub pongs: Vec<Digest>,
    pub close: Option<(Option<u16>, String)>,
    pub eof_at: Option<Time>,
    pub reset: bool,
    pub refused: bool,
    pub faulted: bool,
    /// When its connection was given up although bytes of it had come that were not looked at.
    pub neglected_at: Option<Time>,
    /// How long its connection had been broken when the engine gave it up with bytes of it unread.
    pub unheard_after: Option<Duration>,
    /// How the engine cut its connection off, if it did.
    pub abort: Option<Abort>,
    pub connected_at: Time,
    /// When it sent its first byte.
    pub spoke_at: Option<Time>,
    /// Bytes that it sent, of whatever is whole or not.
    pub written: usize,
    /// When the listener at which it waited to be accepted was closed.
    pub shut_out_at: Option<Time>,
    /// When the kernel had the last ping that it read.
    pub pinged_at: Option<Time>,
    /// It is a server, which the engine connected to.
    pub serves: bool,
    /// The dial that its request names.
    pub dial: Option<u64>,
    /// Which of the dial's targets that is.
    pub version: u32,
    pub reply: Option<Reply>,
    pub request_at: Option<Time>,
    /// Messages are taken from it also while its output is high, or were.
    pub reads_on: bool,
    /// Its output was high, or it was paused: it may be timed by what it takes.
    pub held: bool,
    /// It stopped reading for a while before it had the request.
    pub stalled: bool,
    /// When the last byte of its answer was on its way.
    pub answered_at: Option<Time>,
    pub beats: usize,
    // As the application tells it.
    pub own: Option<Own>,
    pub opened: u32,
    pub opened_at: Option<Time>,
    pub rejected: bool,
    /// It was met when it connected, and was not taken.
    pub met: bool,
    pub turned_away: bool,
    /// What it says in front of its request, where its listener requires that; and that it was met as the client of that.
    pub said: Option<Said>,
    pub heard: bool,
    /// When it began a message that it does not go on with.
    pub stalls_at: Option<Time>,
    /// When its messages were last taken again, or it ended although they were held up.
    pub held_at: Time,
    /// A callback of its connection panicked.
    pub panicked: bool,
    pub got: Vec<Digest>,
    pub queued: Vec<Digest>,
    pub app_close: Option<(u16, String)>,
    pub reason: Option<Reason>,
    pub closed_at: Time,
    /// When the application closed.
    pub closing_at: Option<Time>,
    /// When its turn came in a core that is drained.
    pub told_at: Option<Time>,
    /// The application has cut its connection.
    pub is_aborted: bool,
    /// The application was given messages over the high-water mark, or could not send any more although nobody had closed.
    pub cut: bool,
}

/// What everybody wrote down.
#[derive(Default)]
pub struct Ledger {
    pub people: Vec<Person>,
    pub posts: Posts,
    /// By tag.
    pub dials: Vec<Dial>,
    pub post: Post,
    pub dials_failed: u64,
    pub stopped_at: Option<Time>,
    /// The core is drained.
    pub drained: Option<Drained>,
    /// When a panic began to end the core.
    pub failed_at: Option<Time>,
    pub panics: u64,
    pub refused: u64,
    pub gone: u64,
    handshake: Duration,
    pub(super) round: Option<Duration>,
    pub(super) closing: Duration,
    pub(super) closing_max: Duration,
    pub(super) pong: Duration,
    stopping: Duration,
    stopping_max: Duration,
    /// The shortest time after which a peer is cut that takes nothing.
    pub(super) still_min: Duration,
    kept: u32,
    idle: bool,
    /// How long the process stood still.
    pause: Duration,
    memory_max: Option<usize>,
    /// What a connection may take whatever it does: a compressor and a window, TLS.
    connection_bytes: usize,
    /// There is a limit on those of one network.
    crowds: bool,
    /// There may be more than have a place, dials included, so that who is silent may give way.
    displaces: bool,
}

/// From the close of a socket to the moment at which its peer can see it, whatever others do.
const CLOSING_NS_MAX: u64 = 50_000_000;
/// A deadline is late by at most two ticks of 16 ms, and a turn by what a rude kernel takes.
const SLACK: Duration = Duration::from_millis(40);
/// So many pings may keep a message from going on.
const PINGS_BETWEEN: usize = 100;

impl Ledger {
    pub fn begin(&mut self, people: usize, settings: &Settings) {
        let said = |number: usize| settings.proxies.of(number).map(|(said, _)| said);
        self.people = (0..people).map(|number| Person { said: said(number), ..Person::default() }).collect();
        (self.crowds, self.displaces) = (settings.crowds, people + 12 > settings.connections_max as usize);
        self.handshake = settings.handshake_timeout;
        self.round = settings.message_timeout;
        self.closing = settings.closing_timeout;
        self.closing_max = settings.closing_max;
        self.stopping = settings.stop_timeout;
        self.pong = settings.pong_timeout;
        self.stopping_max = settings.stop_max;
        self.still_min = settings.still_min;
        self.kept = settings.kept;
        self.idle = settings.pings;
        self.pause = settings.pause;
        self.memory_max = settings.memory_max;
        self.connection_bytes = if settings.deflate.mode == DeflateMode::Off { 0 } else { 450 << 10 };
    }

    /// How long the process stands still.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Compares everything with everything.
    pub fn judge(&self, manners: Manners, stats: &Stats, counts: &Counts, ended_at: Time) {
        let closing = counts.closing_ns_max;
        assert!(closing <= CLOSING_NS_MAX, "a closed socket stayed open for {} ms", closing / 1_000_000);
        let kept = counts.kept_max;
        assert!(
            kept <= self.kept.into(),
            "the kernel keeps {kept} bytes of a connection that was closed, of {} allowed",
            self.kept
        );
        for (number, person) in self.people.iter().enumerate() {
            let verdict = self.judge_person(manners, person);
            assert!(verdict.is_ok(), "peer {number}: {}\n{person:?}", verdict.unwrap_err());
            let verdict = seen::judge(person, &self.posts);
            assert!(verdict.is_ok(), "of topics, peer {number}: {}\n{person:?}", verdict.unwrap_err());
        }
        self.posts.judge(stats);
        self.judge_drain(stats);
        let sum = |of: fn(&Person) -> usize| self.people.iter().map(|person| of(person) as u64).sum::<u64>();
        let violated = |person: &Person| usize::from(matches!(person.reason, Some(Reason::Violation(_))));
        let same = [
            ("messages", stats.messages, sum(|person| person.got.len())),
            ("opened", stats.opened, sum(|person| person.opened as usize)),
            ("accepted", stats.accepted, counts.accepted),
            ("closed", stats.closed, counts.closed),
            ("open at the end", stats.open, 0),
            ("connected", stats.connected, counts.connected),
            ("closed, of those begun", stats.closed, stats.accepted + stats.connected),
            ("panics", stats.panics, self.panics),
            ("aborted", stats.aborted, sum(|person| person.is_aborted.into())),
            ("turned_away", stats.turned_away, sum(|person| person.turned_away.into())),
            ("bytes_in", stats.bytes_in, counts.bytes_in),
            ("bytes_out", stats.bytes_out, counts.bytes_out),
            ("starved", stats.starved, counts.no_buffers),
        ];
        for (what, engine, known) in same {
            assert_eq!(engine, known, "the engine miscounts {what}");
        }
        // What happens after a panic has ended the core is told to nobody.
        let told =
            [("dials_failed", stats.dials_failed, self.dials_failed), ("violations", stats.violations, sum(violated))];
        for (what, engine, known) in told {
            let agrees = if self.failed_at.is_some() { engine >= known } else { engine == known };
            assert!(agrees, "the engine miscounts {what}: {engine}, not {known}");
        }
        if self.failed_at.is_none() {
            for (tag, dial) in self.dials.iter().enumerate() {
                dial.judge(tag as u64, &self.people, ended_at, manners);
            }
            self.judge_beats(stats, sum(|person| person.queued.len()), sum(|person| person.beats));
            self.judge_unanswered(manners, stats);
        }
        self.post.judge(stats, self.posts.read());
        let full = sum(|person| usize::from(person.status == Some(503)));
        let of_memory = stats.memory_refused + stats.memory_closed;
        let counted =
            stats.full + stats.displaced + of_memory + if self.stopped_at.is_some() { stats.declined } else { 0 };
        assert!(counted >= full, "{full} peers were told 503, and {counted} counted");
        let closed = sum(|person| usize::from(person.reason == Some(Reason::Memory)));
        assert!(
            stats.memory_closed >= closed,
            "the engine miscounts memory_closed: {}, not {closed}",
            stats.memory_closed
        );
        assert_eq!(stats.memory_bytes, 0, "memory is still in use at the end");
        // A message takes a header: nobody can make more callbacks than that (RFC 6455 §5.2).
        assert!(stats.messages * 2 <= stats.bytes_in, "{} messages of {} bytes", stats.messages, stats.bytes_in);
        let work = counts.completions + stats.passes;
        let bound = 20_000 + 40 * (counts.bytes_in + counts.bytes_out);
        assert!(work <= bound, "{work} completions and turns for so little work ({bound})");
    }

    /// Pings that have no pong of their own, and messages that were not handed out.
    fn judge_unanswered(&self, manners: Manners, stats: &Stats) {
        let sum = |of: fn(&Person) -> usize| self.people.iter().map(|person| of(person) as u64).sum::<u64>();
        let (passed_over, discarded) = (stats.pings_passed_over, stats.discarded);
        let unanswered = sum(|person| person.pings.len() - person.pongs.len());
        assert!(
            passed_over <= unanswered,
            "the engine miscounts pings: {passed_over} passed over, {unanswered} unanswered"
        );
        let exact = manners == Manners::Rude || passed_over == unanswered;
        assert!(exact, "a quiet kernel lost pongs: {unanswered} pings are unanswered, {passed_over} passed over");
        // Of what breaks the protocol some is judged by its format alone once we have closed, and passes as a message.
        let wrong = |person: &Person| usize::from(person.ending == Some(Ending::Violation));
        let untold = sum(|person| person.sent.len() - person.got.len()) + sum(wrong);
        assert!(discarded <= untold, "the engine miscounts what it discarded: {discarded}, and {untold} were not told");
    }

    /// Heartbeats are the engine's, and count like the application's messages.
    fn judge_beats(&self, stats: &Stats, queued: u64, beats: u64) {
        let known =
            [("sent", stats.sent, queued), ("refused", stats.refused, self.refused), ("gone", stats.gone, self.gone)];
        let mut more = 0;
        for (what, engine, app) in known {
            assert!(engine >= app, "the engine miscounts {what}: {engine}, and the application knows of {app}");
            more += engine - app;
        }
        assert!(stats.sent - queued >= beats, "more heartbeats came than were sent");
        let most: u64 = self.dials.iter().map(Dial::beats_max).sum();
        assert!(more <= most, "{more} heartbeats in the time for {most}");
    }

    /// RFC-free: a stop ends within its bound, whatever anybody does.
    pub fn judge_stop(&self, ended_at: Time) {
        let stopped_at = self.stopped_at.expect("nothing else ends a run");
        let took = ended_at.since(stopped_at);
        // Past the timeout every connection is cut; what the kernel then still owes takes it a moment.
        assert!(
            took <= self.stopping_max + self.pause + Duration::from_millis(300),
            "a stop took {took:?}, allowed {:?}",
            self.stopping_max
        );
    }

    /// Who takes bytes is alive; who is cut is told, or reset; and whoever sees an orderly end has seen everything.
    fn judge_cut(&self, person: &Person) -> Result<(), String> {
        let Some(reason) = person.reason.as_ref().filter(|_| !person.faulted) else { return Ok(()) };
        if person.eof_at.is_some() && person.received != person.queued {
            return Err("it saw an orderly end, and not all that was queued".to_owned());
        }
        let told = person.close.as_ref().is_some_and(|(code, _)| *code == Some(1001));
        if *reason == Reason::Timeout && !told && !person.reset {
            return Err("it was cut, and neither told nor reset".to_owned());
        }
        let Some(abort) = person.abort.filter(|abort| abort.unacked > 0 && !person.is_aborted) else { return Ok(()) };
        let begun = [person.closing_at, self.stopped_at].into_iter().flatten().fold(person.closed_at, Time::min);
        let (took, stopping) = (abort.at.since(begun), self.stopped_at.map(|stopped| abort.at.since(stopped)));
        let still = abort.still_for.is_some_and(|still| still + SLACK >= self.still_min_of(person));
        let closing_max = self.closing_max_of(person);
        let whole = took + SLACK >= closing_max || stopping.is_some_and(|took| took + SLACK >= self.stopping_max);
        // Who holds much of a budget that is used up has no time of its own.
        let squeezed = self.memory_max.is_some_and(|max| self.may_hold_much(person, max));
        if !still && !whole && !squeezed {
            return Err(format!("it was reset after {took:?} although it took what was sent: {abort:?}"));
        }
        // The kernel takes its time to cancel what it has.
        if took > closing_max + self.pause + Duration::from_millis(500) {
            return Err(format!("it was waited for beyond its time: {took:?}"));
        }
        Ok(())
    }

    /// Nobody holds half a message for ever, though he answers pings.
    pub fn judge_stalls(&self, counts: &Counts) {
        let Some(stopped) = self.stopped_at else { return };
        if counts.no_buffers > 0 {
            return; // whoever waits for buffers is not late
        }
        for (number, person) in self.people.iter().enumerate() {
            // A pong that waits may hold up its messages, of which the application is not told.
            let waits = person.pings.len() > person.pongs.len() || !person.subs.is_empty(); // so may what it is sent of topics
            // Nor is whoever holds much of the memory, and is not read for that.
            let unread = waits || self.memory_max.is_some_and(|max| self.may_hold_much(person, max));
            let holds = person.reason == Some(Reason::Stopped) && !unread && person.held_at < stopped;
            let stalls = person.stalls_at.filter(|_| holds).zip(self.round_of(person));
            let Some((stalls_at, round)) = stalls else { continue };
            // Two rounds, of which the first may not count, and what a slow kernel and a pause take.
            let most = round * 2 + self.pause + Duration::from_secs(1);
            let held_for = stopped.since(stalls_at.max(person.held_at));
            assert!(
                held_for <= most,
                "peer {number} held half a message for {held_for:?}, and was not closed\n{person:?}"
            );
        }
    }

    fn judge_person(&self, manners: Manners, person: &Person) -> Result<(), String> {
        let check = |holds: bool, says: &str| if holds { Ok(()) } else { Err(says.to_owned()) };
        check(person.eof_at.is_some() || person.reset || person.refused, "its connection never ended")?;
        check(person.sent.starts_with(&person.got), "on_message is no prefix of what it sent")?;
        check(person.queued.starts_with(&person.received), "what it received is no prefix of what was queued")?;
        if person.reads_on {
            // RFC 6455 §5.5.3: of pings whose pongs have not been sent the last may be answered alone.
            let mut pings = person.pings.iter();
            check(
                person.pongs.iter().all(|pong| pings.any(|ping| ping == pong)),
                "the pongs are not to its pings, in order",
            )?;
        } else {
            check(person.pings.starts_with(&person.pongs), "the pongs are no prefix of its pings")?;
        }
        check(person.opened <= 1, "it was opened twice")?;
        let served = person.opened > 0 || person.status.is_some();
        check(!(person.turned_away && served), "it was turned away, and served")?;
        let unheard = self.displaces || self.failed_at.is_some() || self.memory_max.is_some();
        proxies::judge(person, self.handshake, self.stopped_at, unheard || proxies::is_shunned(person, self.crowds))?;
        let told = (person.opened == 1) == person.reason.is_some();
        check(told || person.opened == 1 && self.failed_at.is_some(), "on_open without on_close, or the reverse")?;
        let aborted = person.is_aborted == (person.reason == Some(Reason::Aborted));
        check(aborted || person.reason.is_none(), "on_close does not say whether it was aborted")?;
        check(!person.is_aborted || person.eof_at.is_none(), "it was aborted, and its stream ended in order")?;
        // What the application has cut stays cut, also if that very callback panics.
        let panicked = person.is_aborted || person.panicked == (person.reason == Some(Reason::Panicked));
        check(panicked || self.failed_at.is_some(), "on_close does not say whether a callback panicked")?;
        check(person.close.is_none() || person.opened == 1, "a Close without a connection")?;
        self.judge_stopped(person)?;
        // Others may go with bytes unread: their ends were decided by what they had sent before, or by the network.
        let timed_out = match &person.reason {
            Some(reason) => matches!(reason, Reason::Timeout | Reason::Local(false)),
            None => person.status.is_none() && !person.serves,
        };
        // Who holds much may be closed in the middle of its request.
        let timed_out = timed_out && (person.reason.is_some() || self.memory_max.is_none());
        let neglected = person.neglected_at.is_some_and(|at| self.stopped_at.is_none_or(|stopped| at < stopped));
        let neglected = neglected && !proxies::is_shunned(person, self.crowds);
        check(!(neglected && timed_out && !person.faulted), "it was cut, and what it had sent in time was not read")?;
        let is_told = person.close.as_ref().is_some_and(|(_, why)| why == "no answer to a ping");
        let hurried = person.pinged_at.is_some_and(|at| person.closed_at < at.plus(self.pong_of(person)));
        check(!(is_told && hurried), "it was cut before it had had its time to answer a ping")?;
        // What a peer says ends with its Close or with the connection, not with the first send that fails.
        let stopped = self.stopped_at.is_some_and(|stopped| stopped <= person.closed_at);
        let early = person.unheard_after.is_some_and(|after| after + SLACK < self.closing_of(person));
        let unheard = early && person.reason == Some(Reason::Reset) && !stopped;
        check(!unheard, "what it had said before its connection broke was not heard")?;
        self.judge_cut(person)?;
        let broke = person.reset || person.faulted;
        check(!person.cut || broke, "messages over the high-water mark, or sends refused, on a connection that works")?;
        if let Some(status) = person.status {
            let expected = if person.opened == 1 { &[101][..] } else { &person.statuses };
            let is_late = person.eof_at.is_none_or(|at| at.since(person.connected_at) >= self.handshake);
            check(expected.contains(&status) && (status != 408 || is_late), "an unexpected status")?;
        }
        if person.close.is_some() {
            // The Close is behind everything that was queued.
            check(person.received == person.queued, "a Close came ahead of a queued message")?;
        }
        if let Some(reason) = &person.reason {
            self.judge_reason(person, reason)?;
            self.judge_close(person, reason)?;
        } else if let Some(failed_at) = self.failed_at.filter(|_| person.opened == 1) {
            self.judge_failed(person, failed_at)?;
        }
        if manners == Manners::Quiet {
            check((person.status == Some(101)) != person.serves && !person.reset, "a quiet kernel lost a handshake")?;
            check(person.got == person.sent, "a quiet kernel lost a message to the server")?;
            check(person.received == person.queued, "a quiet kernel lost a message to the peer")?;
            // Of pings that met high output the last may be answered alone: `judge` counts those that were passed over.
            let all =
                if person.reads_on { person.pongs.last() == person.pings.last() } else { person.pongs == person.pings };
            check(all, "a quiet kernel lost a pong")?;
            let both = matches!(person.reason, Some(Reason::Peer(..)) | Some(Reason::Eof));
            check(both, "a quiet peer was cut off")?;
        }
        Ok(())
    }

    /// Why it ended agrees with what the peer did, and with how far its messages came.
    fn judge_reason(&self, person: &Person, reason: &Reason) -> Result<(), String> {
        let ending = person.ending.as_ref();
        let whole = person.got == person.sent;
        let agrees = match reason {
            // RFC 6455 §7.1.5, §7.1.6: code and reason as the peer sent them, and everything before.
            Reason::Peer(code, text) => whole && ending == Some(&Ending::Close(*code, text.clone())),
            Reason::Eof => whole && ending == Some(&Ending::Fin),
            // RFC 6455 §7.1.7: everything before the fault was delivered.
            Reason::Violation(code) => {
                // Then messages are discarded.
                let closing = person.app_close.is_some() || self.stopped_at.is_some() || person.told_at.is_some();
                ending == Some(&Ending::Violation) && [1002, 1007, 1009].contains(code) && (whole || closing)
            }
            Reason::Local(clean) | Reason::Drained(clean) => {
                let closed = person.answered || matches!(ending, Some(Ending::Close(..)));
                let is_drained = matches!(reason, Reason::Drained(_));
                let by_us = if is_drained { person.told_at.is_some() } else { person.app_close.is_some() };
                by_us && (!clean || closed)
            }
            // A pong may make its output high, of which the application is not told.
            Reason::Timeout => self.idle || person.held || !person.subs.is_empty() || !person.pings.is_empty(),
            Reason::Stalled => {
                let due = person.stalls_at.zip(self.round_of(person)).map(|(at, round)| at.plus(round));
                // Or it put so many pings between the fragments of a message that a slow network took longer than a round for them.
                due.is_some_and(|due| person.closed_at >= due) || person.pings.len() > PINGS_BETWEEN
            }
            Reason::Reset => person.faulted || ending == Some(&Ending::Reset),
            Reason::Stopped => self.stopped_at.is_some(),
            Reason::Panicked => person.panicked,
            Reason::Aborted => person.is_aborted,
            Reason::Memory => self.memory_max.is_some_and(|max| self.may_hold_much(person, max)),
        };
        match reason {
            _ if agrees => Ok(()),
            Reason::Memory => Err("it was closed for memory that others hold".to_owned()),
            _ => Err(format!("{reason:?} does not agree with what the peer did")),
        }
    }

    /// Whether a peer may have held at least half of an equal share of what is calm: what it sent and what was queued for it, in
    /// memory of twice that; and what any connection may have, with compression and TLS.
    fn may_hold_much(&self, person: &Person, max: usize) -> bool {
        // A ping is sent, and its pong is queued.
        let pings = person.pings.iter().chain(&person.pings);
        let whole: usize = person.sent.iter().chain(&person.queued).chain(pings).map(|digest| digest.len + 14).sum();
        let bytes = whole.max(person.written);
        let connection = (24 << 10) + self.connection_bytes;
        2 * (2 * bytes + connection) >= max / 8 * 5 / self.people.len().max(1)
    }

    /// Whoever had no connection yet when the core began to stop is answered, if there is time for it.
    fn judge_stopped(&self, person: &Person) -> Result<(), String> {
        let cut_at = self.stopped_at.map(|stopped| stopped.plus(self.stopping));
        if person.shut_out_at.is_some_and(|at| cut_at.is_none_or(|cut| at < cut)) {
            return Err("it was reset where it waited to be accepted".to_owned());
        }
        let (Some(stopped), Some(at)) = (self.stopped_at, person.eof_at) else { return Ok(()) };
        let in_time = at.since(stopped) + SLACK < self.stopping.min(self.closing)
            && at.since(person.connected_at) + SLACK < self.handshake;
        let unanswered = person.status.is_none() && !person.serves && person.opened == 0 && !person.faulted;
        // Or it had not asked for anything, and gave way to another while all places were taken.
        let was_silent = person.spoke_at.is_none_or(|spoke| at.since(spoke) < SLACK + self.pause);
        if unanswered && at >= stopped && in_time && !was_silent && !proxies::is_shunned(person, self.crowds) {
            return Err("a stop left its request unanswered".to_owned());
        }
        Ok(())
    }

    /// RFC 6455 §7.4.1: what peers are told by a core that stops, or that a panic ends.
    fn is_of_stop(&self, code: Option<u16>) -> bool {
        let stopped = self.stopped_at.is_some() && code == Some(1001);
        stopped
            || self.drained.is_some_and(|drained| code == Some(drained.code))
            || self.failed_at.is_some() && code == Some(1011)
    }

    /// A panic ended the core and nobody was told of this connection's end but its peer, which had done nothing to end it.
    fn judge_failed(&self, person: &Person, failed_at: Time) -> Result<(), String> {
        let in_time =
            person.eof_at.is_some_and(|at| at.since(failed_at) + SLACK < self.stopping.min(self.closing_of(person)));
        match &person.close {
            Some((code, _)) if self.is_of_stop(*code) || person.panicked || person.app_close.is_some() => Ok(()),
            // The memory of that very pass.
            Some((Some(1009 | 1013), _)) if self.memory_max.is_some_and(|max| self.may_hold_much(person, max)) => {
                Ok(())
            }
            Some(_) if person.ending.is_some() => Ok(()), // its own Close, or its violation, of that very pass
            Some((code, _)) => Err(format!("the server's Close is for another reason than a panic: {code:?}")),
            None if in_time && !person.faulted && person.ending.is_none() => {
                Err("the Close was lost, and nothing kept it".to_owned())
            }
            None => Ok(()),
        }
    }

    /// The server's Close says the right thing; and it is there unless something kept it.
    fn judge_close(&self, person: &Person, reason: &Reason) -> Result<(), String> {
        if let Some((code, text)) = &person.close {
            let by_app = person.app_close.as_ref().is_some_and(|(said, why)| Some(*said) == *code && why == text);
            let by_stop = self.is_of_stop(*code);
            let (first, ours) = (person.app_close.is_none(), by_app || by_stop);
            let agrees = match reason {
                Reason::Peer(theirs, _) => code == theirs, // RFC 6455 §5.5.1: typically echoes the code
                Reason::Violation(violation) => ours || first && *code == Some(*violation),
                Reason::Panicked => ours || first && *code == Some(1011),
                Reason::Stalled => *code == Some(1008),
                Reason::Memory => ours || first && matches!(code, Some(1009 | 1013)),
                Reason::Timeout => ours || first && *code == Some(1001), // no answer to a ping
                Reason::Local(_)
                | Reason::Drained(_)
                | Reason::Stopped
                | Reason::Eof
                | Reason::Reset
                | Reason::Aborted => ours,
            };
            if !agrees {
                return Err(format!("the server's Close is for another reason than {reason:?}"));
            }
        }
        // Everything queued goes out before the socket closes, unless the peer takes longer than the deadline.
        let Some(eof_at) = person.eof_at else {
            return Ok(());
        };
        let in_time = eof_at.since(person.closed_at) + SLACK < self.closing_of(person)
            && self.stopped_at.is_none_or(|stopped| eof_at.since(stopped) + SLACK < self.stopping);
        // Who holds much may be cut also when the application has been told of another end.
        let squeezed = self.memory_max.is_some_and(|max| self.may_hold_much(person, max));
        if !in_time || person.faulted || squeezed {
            return Ok(());
        }
        match reason {
            Reason::Peer(..)
            | Reason::Local(true)
            | Reason::Drained(true)
            | Reason::Violation(_)
            | Reason::Panicked
            | Reason::Stalled
                if person.close.is_none() =>
            {
                Err("the Close was lost, and nothing kept it".to_owned())
            }
            Reason::Eof if person.received != person.queued => {
                Err("a half-closed peer missed queued messages".to_owned())
            }
            Reason::Peer(..) if person.pongs.last() != person.pings.last() => Err("a pong was lost".to_owned()),
            Reason::Peer(..) if !person.reads_on && person.pongs != person.pings => Err("a pong was lost".to_owned()),
            _ => Ok(()),
        }
    }
}
