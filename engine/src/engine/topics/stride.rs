//! How much a connection is given at once of what it is sent by topics.
//!
//! What is encoded and not taken by the socket grows old, and is replaced by nothing newer: of a reader with 10 KB a second, 64 KiB in the output are values seven
//! seconds older than they had to be. Whoever reads fast is to have much at once, or it would not keep up with a core whose passes are long.
//! So it is as much as the connection takes in a tenth of a second: measured while something waits for it, if that is for a second at least; twice as much again,
//! once a second, when what waited has gone at once. No sooner, because a socket that had been full takes a third of its buffer at once, however slow its reader is.
//! Refuses to know what waits.

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

#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    bytes: u32,
    /// What has been taken since then, of what waits.
    since: Time,
    taken: u32,
    /// When that was judged.
    judged: Time,
}

impl Stride {
    pub(super) const fn new() -> Self {
        Self { bytes: FIRST, since: Time::from_nanos(0), taken: 0, judged: Time::from_nanos(0) }
    }

    /// So many bytes at once.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Of what has waited.
    pub(super) fn step(&self) -> u32 {
        (self.bytes / STEPS).max(LEAST)
    }

    /// Something begins to wait.
    pub(super) fn begin(&mut self, now: Time) {
        (self.since, self.taken) = (now, 0);
    }

    /// What waits can go on.
    pub(super) fn look(&mut self, now: Time) {
        let passed = now.since(self.since);
        if passed >= MEASURED {
            let taken = u128::from(self.taken) * MEASURED.as_nanos() / passed.as_nanos();
            self.bytes = (taken / u128::from(PART)).clamp(LEAST.into(), MOST.into()) as u32;
            self.judged = now;
            self.begin(now);
        }
    }

    /// So many bytes of it were encoded.
    pub(super) fn note(&mut self, bytes: u32) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// Nothing waits any more.
    pub(super) fn end(&mut self, now: Time) {
        if now.since(self.since) < MEASURED / PART && now.since(self.judged) >= MEASURED {
            self.bytes = (2 * self.bytes).min(MOST);
            self.judged = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// A reader takes so many bytes a millisecond of what always waits, for twenty seconds: what it is given at once in the end.
    fn steady(stride: &mut Stride, from: u64, rate: u32) -> (u32, u64) {
        let mut now = from;
        stride.begin(at(now));
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
        assert_eq!((stride.bytes(), stride.step()), (FIRST, 4 << 10));
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
            stride.begin(at((burst - 1) * 10_000));
            for _ in 0..100 {
                stride.look(at(burst * 10_000));
                assert_eq!(stride.bytes(), LEAST);
                stride.note(stride.step());
            }
            // What is published meanwhile waits as well, and goes at once.
            for millis in 1..50 {
                stride.end(at(burst * 10_000 + millis));
                assert_eq!(stride.bytes(), LEAST);
                stride.begin(at(burst * 10_000 + millis));
            }
        }
    }

    /// Whoever has become fast is given more each time that it proves it.
    #[test]
    fn whoever_takes_all_at_once_is_given_more() {
        let mut stride = Stride::new();
        steady(&mut stride, 0, 1);
        assert_eq!(stride.bytes(), LEAST);
        for time in 1..=6 {
            stride.begin(at(50_000 + 1_000 * time));
            stride.end(at(50_000 + 1_000 * time + 99));
            assert_eq!(stride.bytes(), LEAST << time);
        }
        stride.begin(at(90_000));
        stride.end(at(90_001));
        assert_eq!(stride.bytes(), MOST);
        // Not so whoever takes its time.
        steady(&mut stride, 100_000, 1);
        stride.begin(at(200_000));
        stride.end(at(200_100));
        assert_eq!(stride.bytes(), LEAST);
    }
}
