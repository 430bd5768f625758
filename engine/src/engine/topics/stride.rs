//! How much a connection is given at once of what it is sent by topics.
//!
//! What is encoded and not taken by the socket grows old, and is replaced by nothing newer: of a reader with 10 KB a second, 64 KiB in the output are values seven
//! seconds older than they had to be. Whoever reads fast is to have much at once, or it would not keep up with a core whose passes are long.
//! So it is as much as the connection takes in a tenth of a second: measured while something waits for it, if that is for a second at least, and lowered only if the socket
//! was what it waited for, most of that time; twice as much again, once a second, when what waited has gone at once. No sooner, because a socket that had been full takes a third of its
//! buffer at once, however slow its reader is. Refuses to know what waits.

use std::time::Duration;

use crate::ring::Time;

/// Bytes that a connection is given at once, as long as nothing has waited for it and at most; when something has; and at least.
pub(crate) const MOST: u32 = 64 << 10;
const FIRST: u32 = 32 << 10;
const LEAST: u32 = 1 << 10;
/// What has waited goes on by a part of that, and 1 KiB at least: newer values may come meanwhile.
const STEPS: u32 = 8;
const MEASURED: Duration = Duration::from_secs(1);
/// The part of a second in which what is given at once is to be taken; what waited and has gone in that time has gone at once.
const PART: u32 = 10;
/// A send that a socket takes at once has completed after so many passes: if what waits goes on then, the core was what it waited for.
const PROMPT: u64 = 2;

/// A moment, and the pass that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Time,
    pub(crate) pass: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    bytes: u32,
    /// What has been taken since then, of what waits; and for how long of that time the socket was what it waited for.
    taken: u32,
    since: Time,
    blocked: Duration,
    /// When a send was left with the kernel; none if none was.
    left: Option<Moment>,
    /// When it was judged how fast the connection is.
    judged: Time,
    /// Something has waited.
    known: bool,
}

impl Stride {
    pub(super) const fn new() -> Self {
        let (zero, blocked) = (Time::from_nanos(0), Duration::ZERO);
        Self { bytes: FIRST, taken: 0, since: zero, blocked, left: None, judged: zero, known: false }
    }

    /// So many bytes at once.
    pub(super) fn bytes(&self) -> u32 {
        if self.known { self.bytes } else { MOST }
    }

    /// Of what has waited.
    pub(super) fn step(&self) -> u32 {
        (self.bytes / STEPS).max(LEAST)
    }

    /// Something begins to wait; for a send that is with the kernel, or else for the end of the pass.
    pub(super) fn begin(&mut self, now: Moment, is_sending: bool) {
        self.known = true;
        self.left = is_sending.then_some(now);
        self.measure(now.at);
    }

    fn measure(&mut self, now: Time) {
        (self.since, self.taken, self.blocked) = (now, 0, Duration::ZERO);
    }

    /// What waits can go on.
    pub(super) fn look(&mut self, now: Moment) {
        match self.left.replace(now) {
            None => self.measure(now.at), // so far nothing could
            Some(left) if now.pass - left.pass > PROMPT => self.blocked += now.at.since(left.at),
            Some(_) => {}
        }
        let passed = now.at.since(self.since);
        if passed < MEASURED {
            return;
        }
        let taken = u128::from(self.taken) * MEASURED.as_nanos() / passed.as_nanos();
        let bytes = (taken / u128::from(PART)).clamp(LEAST.into(), MOST.into()) as u32;
        if bytes > self.bytes || 2 * self.blocked >= passed {
            self.bytes = bytes;
        }
        self.judged = now.at;
        self.measure(now.at);
    }

    /// So many bytes of it were encoded.
    pub(super) fn note(&mut self, bytes: u32) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// Nothing waits any more.
    pub(super) fn end(&mut self, now: Moment) {
        if now.at.since(self.since) < MEASURED / PART && now.at.since(self.judged) >= MEASURED {
            self.bytes = (2 * self.bytes).min(MOST);
            self.judged = now.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a core with a pass each millisecond.
    fn at(millis: u64) -> Moment {
        Moment { at: Time::from_nanos(millis * 1_000_000), pass: millis }
    }

    /// A reader takes so many bytes a millisecond of what always waits, for twenty seconds: what it is given at once in the end.
    fn steady(stride: &mut Stride, from: u64, rate: u32) -> (u32, u64) {
        let mut now = from;
        stride.begin(at(now), true);
        while now < from + 20_000 {
            stride.look(at(now));
            stride.note(stride.step());
            now += u64::from((stride.step() / rate).max(1));
        }
        (stride.bytes(), now)
    }

    #[test]
    fn a_stride_is_what_is_taken_in_a_tenth_of_a_second() {
        let mut stride = Stride::new();
        assert_eq!((stride.bytes(), stride.step()), (MOST, 4 << 10));
        let (bytes, now) = steady(&mut stride, 0, 10);
        assert!((LEAST..1_400).contains(&bytes), "{bytes}");
        let (bytes, now) = steady(&mut stride, now, 200);
        assert!((18_000..22_000).contains(&bytes), "{bytes}");
        assert_eq!(steady(&mut stride, now, 100_000).0, MOST);
    }

    /// It waits for ten seconds, and takes 100 KB then: that is no fast reader.
    #[test]
    fn bursts_of_a_slow_reader_are_seen_through() {
        let mut stride = Stride::new();
        for burst in 1..5 {
            stride.begin(at((burst - 1) * 10_000), true);
            for _ in 0..100 {
                stride.look(at(burst * 10_000));
                assert_eq!(stride.bytes(), LEAST);
                stride.note(stride.step());
            }
            // What is published meanwhile waits as well, and goes at once.
            for millis in 1..50 {
                stride.end(at(burst * 10_000 + millis));
                assert_eq!(stride.bytes(), LEAST);
                stride.begin(at(burst * 10_000 + millis), millis % 2 == 0);
            }
        }
    }

    /// A core with passes of 50 ms, or one that was held up for seconds: a reader that takes all that it is given is not slow for that.
    #[test]
    fn a_slow_core_makes_no_slow_reader() {
        for (pass_millis, passes) in [(50, 400), (5_000, 3)] {
            let mut stride = Stride::new();
            let at = |pass: u64| Moment { at: Time::from_nanos(pass * pass_millis * 1_000_000), pass };
            stride.begin(at(0), false);
            for pass in 1..passes {
                stride.look(at(pass));
                stride.note(stride.step());
                assert_eq!(stride.bytes(), FIRST);
            }
        }
        // Held back until a tick of two seconds, each time.
        let mut stride = Stride::new();
        for tick in 1..9 {
            stride.begin(at(2_000 * tick), false);
            stride.look(at(2_000 * tick + 1_900));
            stride.note(4_000);
            stride.end(at(2_000 * tick + 1_901));
            assert!(stride.bytes() >= FIRST);
        }
        assert_eq!(stride.bytes(), MOST);
    }

    /// Whoever has become fast is given more each time that it proves it.
    #[test]
    fn whoever_takes_all_at_once_is_given_more() {
        let mut stride = Stride::new();
        steady(&mut stride, 0, 1);
        assert_eq!(stride.bytes(), LEAST);
        for time in 1..=6 {
            stride.begin(at(50_000 + 1_000 * time), true);
            stride.end(at(50_000 + 1_000 * time + 99));
            assert_eq!(stride.bytes(), LEAST << time);
        }
        stride.begin(at(90_000), true);
        stride.end(at(90_001));
        assert_eq!(stride.bytes(), MOST);
        // Not so whoever takes its time.
        steady(&mut stride, 100_000, 1);
        stride.begin(at(200_000), true);
        stride.end(at(200_100));
        assert_eq!(stride.bytes(), LEAST);
    }
}
