//! The addresses of an attempt, raced (RFC 8305): the next one begins when those before have had a moment, or have failed; the first that
//! connects wins.
//!
//! Owns their order, who is under way and until when, and which addresses have disappointed a dial before. Promises that each is
//! tried once an attempt, and that one which has disappointed is tried behind those that have not. Refuses to know sockets, names, and what
//! time it is.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::ring::{Time, Token};

/// Addresses of a name that are tried.
pub(crate) const ADDRS_MAX: usize = 16;

/// An address that is being connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runner {
    /// Of its connect.
    pub(crate) token: Token,
    pub(crate) addr: SocketAddr,
    due: Time,
}

/// What is to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// This address begins.
    Begin(SocketAddr),
    /// Nothing until then.
    Wait(Time),
    /// None is left.
    Over,
}

/// The addresses of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    /// In the order in which they began.
    running: Vec<Runner>,
    /// When the next begins whatever the others do.
    next_at: Time,
    /// What became of the last that failed.
    failed: Option<(SocketAddr, io::Error)>,
}

impl Race {
    /// In this order.
    pub(crate) fn new(addrs: Vec<SocketAddr>) -> Self {
        Self { waiting: addrs.into(), ..Self::default() }
    }

    pub(crate) fn next(&self, now: Time) -> Next {
        match self.waiting.front() {
            Some(&addr) if self.running.is_empty() || self.next_at <= now => Next::Begin(addr),
            waiting => {
                let dues = self.running.iter().map(|runner| runner.due);
                let next = dues.chain(waiting.map(|_| self.next_at)).min();
                next.map_or(Next::Over, Next::Wait)
            }
        }
    }

    /// Nobody has begun that has not ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The next address begins: it has until `due`, and the one behind it waits for `delay` at most.
    pub(crate) fn begin(&mut self, token: Token, due: Time, now: Time, delay: Duration) {
        let addr = self.waiting.pop_front().expect("an address that waits");
        self.running.push(Runner { token, addr, due });
        self.next_at = now.plus(delay);
    }

    /// It has to wait for longer.
    pub(crate) fn put_off(&mut self, until: Time) {
        self.next_at = until;
    }

    /// The address of this connect found no place here, which is nothing that it has done: it is the next again. Returns it.
    pub(crate) fn put_back(&mut self, token: Token) -> Option<SocketAddr> {
        let runner = self.take(token)?;
        self.waiting.push_front(runner.addr);
        Some(runner.addr)
    }

    /// One that has had its time, and failed by that.
    pub(crate) fn pop_expired(&mut self, now: Time) -> Option<Runner> {
        let late = self.running.iter().position(|runner| runner.due <= now)?;
        let runner = self.running.remove(late);
        self.fail(runner, io::Error::from_raw_os_error(libc::ETIMEDOUT), now);
        Some(runner)
    }

    /// The address of this connect has failed.
    pub(crate) fn on_failed(&mut self, token: Token, error: io::Error, now: Time) -> Option<SocketAddr> {
        let runner = self.take(token)?;
        self.fail(runner, error, now);
        Some(runner.addr)
    }

    /// Whoever waits need not wait for it.
    fn fail(&mut self, runner: Runner, error: io::Error, now: Time) {
        self.failed = Some((runner.addr, error));
        self.next_at = now;
    }

    fn take(&mut self, token: Token) -> Option<Runner> {
        let at = self.running.iter().position(|runner| runner.token == token)?;
        Some(self.running.remove(at))
    }

    /// The address of this connect has won, and how many of those that still run began before it. They and the others are left to be
    /// [ended](Self::pop).
    pub(crate) fn win(&mut self, token: Token) -> Option<(SocketAddr, usize)> {
        let at = self.running.iter().position(|runner| runner.token == token)?;
        self.waiting.clear();
        Some((self.running.remove(at).addr, at))
    }

    /// Any that still runs, in the order in which they began; nobody else begins.
    pub(crate) fn pop(&mut self) -> Option<Runner> {
        self.waiting.clear();
        (!self.running.is_empty()).then(|| self.running.remove(0))
    }

    /// The last that failed, and why.
    pub(crate) fn why(&mut self) -> Option<(SocketAddr, io::Error)> {
        self.failed.take()
    }
}

/// How an address has disappointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// It opened a connection that did not last.
    Lost,
    /// It opened none.
    Failed,
}

/// The addresses that have disappointed a dial, and how; those that did so last at the end.
#[derive(Debug, Default)]
pub(crate) struct Bad(Vec<(SocketAddr, Grade)>);

impl Bad {
    /// It has.
    pub(crate) fn note(&mut self, addr: SocketAddr, grade: Grade) {
        self.forget(addr);
        if self.0.len() == ADDRS_MAX {
            self.0.remove(0);
        }
        self.0.push((addr, grade));
    }

    /// It has done well.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.0.retain(|(bad, _)| *bad != addr);
    }

    /// The order in which addresses are tried: the families take turns (RFC 8305 §4), the one that came first begins, and those that have
    /// disappointed come last: first those that opened a connection, then the others, and those that did so last behind their like.
    pub(crate) fn order(&self, addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let Some(first) = addrs.first().map(SocketAddr::is_ipv4) else { return addrs };
        let (ours, others): (VecDeque<_>, VecDeque<_>) = addrs.into_iter().partition(|addr| addr.is_ipv4() == first);
        let (mut lanes, mut mixed) = ([ours, others], Vec::new());
        while lanes.iter().any(|lane| !lane.is_empty()) {
            mixed.extend(lanes[0].pop_front());
            lanes.swap(0, 1);
        }
        mixed.sort_by_key(|addr| {
            let at = self.0.iter().position(|(bad, _)| bad == addr)?;
            Some((self.0[at].1, at))
        });
        mixed
    }
}

/// Each address once, and no more than are tried.
pub(crate) fn few(addrs: &mut Vec<SocketAddr>) {
    let mut seen = Vec::new();
    addrs.retain(|addr| {
        let is_new = seen.len() < ADDRS_MAX && !seen.contains(addr);
        seen.extend(is_new.then_some(*addr));
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Kind;

    fn at(millis: u64) -> Time {
        Time::default().plus(Duration::from_millis(millis))
    }

    fn token(index: u32) -> Token {
        Token::new(Kind::Connect, 1, index)
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 80))
    }

    const DELAY: Duration = Duration::from_millis(250);

    /// Every 250 ms one more, until one has won: those that began before it were overtaken.
    #[test]
    fn the_next_begins_when_those_before_have_had_a_moment() {
        let mut race = Race::new(vec![v4(1), v4(2), v4(3)]);
        assert_eq!(race.next(at(0)), Next::Begin(v4(1)));
        race.begin(token(1), at(10_000), at(0), DELAY);
        assert_eq!(race.next(at(0)), Next::Wait(at(250)));
        assert_eq!(race.next(at(249)), Next::Wait(at(250)));
        assert_eq!(race.next(at(250)), Next::Begin(v4(2)));
        race.begin(token(2), at(10_250), at(250), DELAY);
        race.begin(token(3), at(10_500), at(500), DELAY);
        assert_eq!(race.next(at(500)), Next::Wait(at(10_000)), "nobody waits any more");
        assert_eq!(race.win(token(2)), Some((v4(2), 1)));
        assert_eq!(race.pop().map(|runner| runner.addr), Some(v4(1)));
        assert_eq!(race.pop().map(|runner| runner.token), Some(token(3)));
        assert_eq!((race.pop(), race.next(at(9))), (None, Next::Over));
        assert_eq!(race.win(token(2)), None, "it has ended");
    }

    /// One that fails is not waited for, and the last failure is the reason.
    #[test]
    fn a_failure_lets_the_next_begin() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let mut race = Race::new(vec![v4(1), v4(2)]);
        race.begin(token(1), at(10_000), at(0), DELAY);
        assert_eq!(race.on_failed(token(9), refused(), at(1)), None, "no runner of this race");
        assert_eq!(race.on_failed(token(1), refused(), at(2)), Some(v4(1)));
        assert_eq!(race.next(at(2)), Next::Begin(v4(2)));
        race.begin(token(2), at(100), at(2), DELAY);
        assert_eq!(race.pop_expired(at(99)), None);
        assert_eq!(race.pop_expired(at(100)).map(|runner| runner.addr), Some(v4(2)));
        assert_eq!(race.next(at(100)), Next::Over);
        let (addr, why) = race.why().expect("both have failed");
        assert_eq!((addr, why.raw_os_error()), (v4(2), Some(libc::ETIMEDOUT)));
    }

    #[test]
    fn whoever_has_no_place_waits() {
        let mut race = Race::new(vec![v4(1), v4(2)]);
        race.begin(token(1), at(10_000), at(0), DELAY);
        race.put_off(at(500));
        assert_eq!(race.next(at(250)), Next::Wait(at(500)));
        assert!(!race.is_idle());
        let won = Race::new(Vec::new());
        assert!(won.is_idle() && won.next(at(0)) == Next::Over);
    }

    #[test]
    fn whoever_found_no_place_is_the_next_again() {
        let mut race = Race::new(vec![v4(1), v4(2), v4(3)]);
        race.begin(token(1), at(10_000), at(0), DELAY);
        race.begin(token(2), at(10_250), at(250), DELAY);
        assert_eq!(race.put_back(token(9)), None, "no runner of this race");
        assert_eq!((race.put_back(token(2)), race.is_idle()), (Some(v4(2)), false));
        race.put_off(at(260));
        assert_eq!((race.next(at(255)), race.next(at(260))), (Next::Wait(at(260)), Next::Begin(v4(2))));
        assert_eq!(race.put_back(token(1)), Some(v4(1)));
        assert!(race.is_idle() && race.why().is_none(), "nothing has failed");
    }

    /// RFC 8305 §4.
    #[test]
    fn families_take_turns() {
        let bad = Bad::default();
        let order = bad.order(vec![v6(1), v6(2), v6(3), v4(1), v4(2)]);
        assert_eq!(order, [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(bad.order(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(bad.order(Vec::new()), []);
    }

    #[test]
    fn each_is_tried_once_and_not_too_many() {
        let mut addrs = vec![v4(1), v4(2), v4(1), v6(1), v4(2)];
        few(&mut addrs);
        assert_eq!(addrs, [v4(1), v4(2), v6(1)]);
        for (given, kept) in [(ADDRS_MAX, ADDRS_MAX), (ADDRS_MAX + 1, ADDRS_MAX)] {
            let mut addrs: Vec<SocketAddr> = (0..given as u8).map(v4).collect();
            few(&mut addrs);
            assert_eq!(addrs.len(), kept);
        }
    }

    /// Whoever has disappointed is not the first again, and when all have they take turns.
    #[test]
    fn a_bad_address_comes_last() {
        let mut bad = Bad::default();
        let all = || vec![v4(1), v4(2), v4(3)];
        bad.note(v4(1), Grade::Failed);
        assert_eq!(bad.order(all()), [v4(2), v4(3), v4(1)]);
        bad.note(v4(2), Grade::Failed);
        assert_eq!(bad.order(all()), [v4(3), v4(1), v4(2)]);
        bad.note(v4(3), Grade::Failed);
        assert_eq!(bad.order(all()), [v4(1), v4(2), v4(3)]);
        bad.note(v4(1), Grade::Failed);
        assert_eq!(bad.order(all()), [v4(2), v4(3), v4(1)]);
        bad.forget(v4(2));
        bad.forget(v4(3));
        assert_eq!(bad.order(all()), [v4(2), v4(3), v4(1)]);
        bad.note(v4(1), Grade::Lost);
        bad.note(v4(2), Grade::Failed);
        bad.note(v4(3), Grade::Lost);
        assert_eq!(bad.order(all()), [v4(1), v4(3), v4(2)], "whoever opens a connection comes before who does not");
        bad.note(v4(1), Grade::Lost);
        assert_eq!(bad.order(all()), [v4(3), v4(1), v4(2)], "and they take turns");
        (0..100).for_each(|last| bad.note(v4(last), Grade::Failed));
        assert_eq!(bad.0.len(), ADDRS_MAX, "no more is remembered");
    }
}
