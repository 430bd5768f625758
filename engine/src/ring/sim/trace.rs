//! Owns the story of a run: one hash over everything that crossed the seam or was called back, and, when asked for, the
//! readable lines.
//!
//! Promises that two runs with the same hash did the same at the same virtual times; and says how far the engine has come with what was
//! handed to it. Shared by the simulated kernel, the
//! peers and the application under test, because a story told in three files cannot be read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::Time;

#[derive(Debug)]
struct Story {
    hash: u64,
    aloud: bool,
    now: Time,
    /// When bytes were last handed to the engine, and how often in that pass: by index.
    handed: BTreeMap<u32, (Time, u64)>,
}

/// The story of one run. Clones share it.
#[derive(Clone, Debug)]
pub struct Trace(Rc<RefCell<Story>>);

impl Trace {
    /// An empty story; told on standard error as it happens if `aloud`.
    pub fn new(aloud: bool) -> Self {
        let (hash, now, handed) = (0xcbf2_9ce4_8422_2325, Time::default(), BTreeMap::new());
        Self(Rc::new(RefCell::new(Story { hash, aloud, now, handed })))
    }

    /// Adds to the story: `numbers` to the hash, `line` to what is read.
    pub fn note(&self, numbers: &[u64], line: impl FnOnce() -> String) {
        let mut story = self.0.borrow_mut();
        let now = story.now.as_nanos();
        for number in [now].iter().chain(numbers) {
            story.hash = mix(story.hash, *number);
        }
        if story.aloud {
            eprintln!("{:>14} {}", Clock(now), line());
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.0.borrow().now
    }

    pub(super) fn set_now(&self, now: Time) {
        self.0.borrow_mut().now = now;
    }

    /// When bytes of the connection with this index were last handed to the engine, and how often in that pass.
    pub fn handed(&self, index: u32) -> (Time, u64) {
        self.0.borrow().handed.get(&index).copied().unwrap_or_default()
    }

    pub(super) fn on_handed(&self, index: u32) {
        let mut story = self.0.borrow_mut();
        let now = story.now;
        let handed = story.handed.entry(index).or_default();
        *handed = if handed.0 == now { (now, handed.1 + 1) } else { (now, 1) };
    }
}

/// One step of a 64-bit hash (a multiply and a rotate; collisions by chance are what it must avoid, not by intent).
pub fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29)
}

/// A hash of some bytes and their number.
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = mix(0xcbf2_9ce4_8422_2325, bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    chunks.remainder().iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// Nanoseconds as milliseconds with six decimals.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}
