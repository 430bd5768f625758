//! What a reader of a feed may be told, held against what it was told.
//!
//! Owns where a reader stands in each of its keys. Promises that an older value behind a newer one, a gap that is not told, and a count that
//! does not add up each have a name. Refuses to know sockets and time.

use std::fmt;

use super::update::{Counts, Update};

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A key that was not subscribed to.
    Stranger(u32),
    /// A value that is not newer than the one before: key, number before, number now.
    Older(u32, u64, u64),
    /// `prev` is not the last that came: key, what came, what `prev` says.
    Chain(u32, u64, u64),
    /// It claims to stand for more updates than there were since the last: key, claimed, possible.
    Merged(u32, u64, u64),
    /// A retained value behind another value of its key.
    Retained(u32),
    /// published is not sent + waiting + conflated + dropped.
    Sum(Counts),
    /// `sent` is not what came: told, came.
    Sent(u64, u64),
    /// Nothing waits and nothing was dropped, but the numbers of what came do not add up to `published`: told, came.
    Published(u64, u64),
    /// Updates are missing that `dropped` does not tell of: missing, told.
    Lost(u64, u64),
    /// What came stands for other than `sent` + `conflated`: told, came.
    Conflated(u64, u64),
    /// More than one value of a key waits: waiting, keys.
    Waiting(u64, u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Wrong::Stranger(key) => write!(f, "K{key} was not subscribed to"),
            Wrong::Older(key, last, seq) => write!(f, "K{key}: {seq} came after {last}: an older value after a newer"),
            Wrong::Chain(key, last, prev) => write!(f, "K{key}: prev is {prev}, and {last} came last"),
            Wrong::Merged(key, merged, span) => write!(f, "K{key}: {merged} merged, and {span} were published since"),
            Wrong::Retained(key) => write!(f, "K{key}: a retained value behind another"),
            Wrong::Sum(counts) => write!(f, "counts do not add up: {counts:?}"),
            Wrong::Sent(told, came) => write!(f, "{told} sent by the server's count, {came} came"),
            Wrong::Published(told, came) => write!(f, "{told} published by the server's count, {came} by the numbers"),
            Wrong::Lost(missing, told) => write!(f, "{missing} updates are missing, {told} dropped by the count"),
            Wrong::Conflated(told, came) => write!(f, "{told} sent and conflated, what came stands for {came}"),
            Wrong::Waiting(waiting, keys) => write!(f, "{waiting} wait for a reader of {keys} keys"),
        }
    }
}

/// Where a reader stands in one key.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The number that it began with, and that of the last value.
    base: u64,
    last: u64,
    known: bool,
}

/// One reader, subscribed to a run of keys that wraps.
#[derive(Debug)]
pub struct Reader {
    first: u32,
    all: u32,
    slots: Vec<Slot>,
    /// Keys of which something has come.
    known: usize,
    /// Updates that came, without retained values,
    came: u64,
    /// how many they stand for,
    merged: u64,
    /// and how many were published between them that nobody stands for.
    missing: u64,
}

impl Reader {
    /// Of `count` keys from `first` on, of `all`.
    pub fn new(first: u32, count: u32, all: u32) -> Reader {
        assert!(count <= all && first < all, "{count} keys from {first} on, of {all}");
        let slots = vec![Slot::default(); count as usize];
        Reader { first, all, slots, known: 0, came: 0, merged: 0, missing: 0 }
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = u32> + use<'_> {
        (0..self.slots.len() as u32).map(|nth| (self.first + nth) % self.all)
    }

    /// Something of every key has come.
    pub fn is_complete(&self) -> bool {
        self.known == self.slots.len()
    }

    /// Takes a value; false if it was retained.
    pub fn take(&mut self, update: &Update) -> Result<bool, Wrong> {
        let Update { key, seq, prev, merged, .. } = *update;
        let nth = if key >= self.first { key - self.first } else { key.wrapping_add(self.all - self.first) };
        let slot = match self.slots.get_mut(nth as usize) {
            Some(slot) if key < self.all => slot,
            _ => return Err(Wrong::Stranger(key)),
        };
        if !slot.known {
            slot.known = true;
            self.known += 1;
            if merged == 0 {
                (slot.base, slot.last) = (seq, seq);
                return Ok(false);
            }
            // Nothing was retained: what it says came before is where it begins.
            (slot.base, slot.last) = (prev, prev);
        }
        if merged == 0 {
            return Err(Wrong::Retained(key));
        }
        if seq <= slot.last {
            return Err(Wrong::Older(key, slot.last, seq));
        }
        if prev != slot.last {
            return Err(Wrong::Chain(key, slot.last, prev));
        }
        let span = seq - prev;
        if merged > span {
            return Err(Wrong::Merged(key, merged, span));
        }
        slot.last = seq;
        self.came += 1;
        self.merged += merged;
        self.missing += span - merged;
        Ok(true)
    }

    /// Holds the server's counts, which came behind what was taken so far, against it.
    pub fn hold(&self, counts: &Counts) -> Result<(), Wrong> {
        let Counts { published, sent, waiting, conflated, dropped } = *counts;
        if published != sent + waiting + conflated + dropped {
            return Err(Wrong::Sum(*counts));
        }
        if sent != self.came {
            return Err(Wrong::Sent(sent, self.came));
        }
        if waiting > self.slots.len() as u64 {
            return Err(Wrong::Waiting(waiting, self.slots.len() as u64));
        }
        if self.missing > dropped {
            return Err(Wrong::Lost(self.missing, dropped));
        }
        // What was merged into one that still waits is in `conflated` and not here yet.
        let told = sent + conflated;
        if self.merged > told || waiting == 0 && dropped == 0 && self.merged != told {
            return Err(Wrong::Conflated(told, self.merged));
        }
        let numbers: u64 = self.slots.iter().map(|slot| slot.last - slot.base).sum();
        if numbers > published || waiting == 0 && dropped == 0 && numbers != published {
            return Err(Wrong::Published(published, numbers));
        }
        Ok(())
    }

    /// A key of which it has not got as new a value as `newest` has, by the number of the key: key, its number, the newest.
    pub fn lacks(&self, newest: &[u64]) -> Option<(u32, u64, u64)> {
        let behind = |(key, slot): (u32, &Slot)| {
            let newest = newest[key as usize];
            (slot.last < newest).then_some((key, slot.last, newest))
        };
        self.keys().zip(&self.slots).find_map(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(key: u32, prev: u64, seq: u64, merged: u64) -> Update {
        Update { key, seq, prev, merged, at: 0 }
    }

    fn counts(sent: u64, waiting: u64, conflated: u64, dropped: u64) -> Counts {
        Counts { published: sent + waiting + conflated + dropped, sent, waiting, conflated, dropped }
    }

    /// Of keys 8, 9, 0 and 1 of ten; each began at 100.
    fn reader() -> Reader {
        let mut reader = Reader::new(8, 4, 10);
        assert!(reader.keys().eq([8, 9, 0, 1]));
        for key in [8, 9, 0, 1] {
            assert!(!reader.is_complete());
            assert_eq!(reader.take(&update(key, 0, 100, 0)), Ok(false));
        }
        assert!(reader.is_complete() && reader.came == 0);
        reader
    }

    #[test]
    fn a_good_feed_is_good() {
        let mut reader = reader();
        assert_eq!(reader.take(&update(8, 100, 101, 1)), Ok(true));
        assert_eq!(reader.take(&update(0, 100, 105, 5)), Ok(true));
        assert_eq!(reader.take(&update(8, 101, 103, 2)), Ok(true));
        assert_eq!(reader.hold(&counts(3, 0, 5, 0)), Ok(()));
        // Two of K9 and one of K1 have come meanwhile and wait.
        assert_eq!(reader.hold(&counts(3, 2, 6, 0)), Ok(()));
        assert_eq!(reader.lacks(&[105, 100, 0, 0, 0, 0, 0, 0, 103, 100]), None);
    }

    #[test]
    fn keys_that_had_no_value_begin_with_their_first() {
        let mut reader = Reader::new(0, 2, 2);
        assert_eq!(reader.take(&update(0, 0, 1, 1)), Ok(true));
        assert_eq!(reader.take(&update(1, 0, 3, 3)), Ok(true));
        assert_eq!(reader.hold(&counts(2, 0, 2, 0)), Ok(()));
    }

    #[test]
    fn an_older_value_after_a_newer_is_reported() {
        let mut reader = reader();
        assert_eq!(reader.take(&update(9, 100, 105, 5)), Ok(true));
        assert_eq!(reader.take(&update(9, 100, 104, 4)), Err(Wrong::Older(9, 105, 104)));
        assert_eq!(reader.take(&update(9, 104, 105, 1)), Err(Wrong::Older(9, 105, 105)), "twice");
    }

    #[test]
    fn a_gap_that_is_not_told_is_reported() {
        let mut reader = reader();
        assert_eq!(reader.take(&update(1, 101, 102, 1)), Err(Wrong::Chain(1, 100, 101)));
        assert_eq!(reader.take(&update(1, 100, 102, 3)), Err(Wrong::Merged(1, 3, 2)));
        assert_eq!(reader.take(&update(2, 0, 1, 1)), Err(Wrong::Stranger(2)));
        assert_eq!(reader.take(&update(10, 0, 1, 1)), Err(Wrong::Stranger(10)));
        assert_eq!(reader.take(&update(1, 0, 102, 0)), Err(Wrong::Retained(1)));
    }

    #[test]
    fn a_lost_count_is_reported() {
        let mut reader = reader();
        assert_eq!(reader.take(&update(8, 100, 103, 3)), Ok(true));
        assert_eq!(reader.hold(&counts(1, 0, 2, 0)), Ok(()));
        let sum = Counts { published: 4, ..counts(1, 0, 2, 0) };
        assert_eq!(reader.hold(&sum), Err(Wrong::Sum(sum)));
        assert_eq!(reader.hold(&counts(2, 0, 1, 0)), Err(Wrong::Sent(2, 1)));
        assert_eq!(reader.hold(&counts(1, 0, 3, 0)), Err(Wrong::Conflated(4, 3)));
        assert_eq!(reader.hold(&counts(1, 0, 1, 0)), Err(Wrong::Conflated(2, 3)));
        assert_eq!(reader.hold(&counts(1, 5, 2, 0)), Err(Wrong::Waiting(5, 4)));
        // 104 is passed over in silence.
        assert_eq!(reader.take(&update(8, 103, 105, 1)), Ok(true));
        assert_eq!(reader.hold(&counts(2, 0, 2, 0)), Err(Wrong::Lost(1, 0)));
        assert_eq!(reader.hold(&counts(2, 0, 2, 1)), Ok(()), "a drop that is told");
    }

    #[test]
    fn numbers_beyond_what_was_published_are_reported() {
        let mut reader = Reader::new(0, 1, 1);
        assert_eq!(reader.take(&update(0, 4, 6, 1)), Ok(true));
        assert_eq!(reader.hold(&counts(1, 0, 0, 1)), Ok(()));
        assert_eq!(reader.hold(&Counts { published: 1, ..counts(1, 0, 0, 0) }), Err(Wrong::Lost(1, 0)));
    }

    #[test]
    fn a_newest_value_that_never_comes_is_reported() {
        let mut reader = reader();
        assert_eq!(reader.take(&update(9, 100, 104, 4)), Ok(true));
        let newest = [100, 100, 0, 0, 0, 0, 0, 0, 100, 105];
        assert_eq!(reader.lacks(&newest), Some((9, 104, 105)));
        assert_eq!(reader.take(&update(9, 104, 105, 1)), Ok(true));
        assert_eq!(reader.lacks(&newest), None);
    }
}
