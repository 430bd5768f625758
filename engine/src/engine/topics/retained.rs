//! What a topic keeps for those who subscribe later, and how its messages are numbered.
//!
//! Promises that what was taken away leaves no ghost, and that values are told in an order that depends on nothing but what was
//! published. Refuses to know who is told.

use std::collections::HashMap;

use wsring_proto::opcode::Opcode;

use super::hash::Seeded;
use super::payload::is_wide;
use crate::engine::planted::planted;
use crate::ring::Time;

/// What a topic keeps for those who subscribe later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retain {
    /// Nothing.
    #[default]
    No,
    /// The last message.
    Last,
    /// The last message of each key, of at most so many keys: what is published with another beyond that is sent, but neither kept
    /// nor numbered. Messages are numbered per key, from 1, and anew after a key was removed.
    LastPerKey {
        /// How many keys, 1 to 4,294,967,295. It may be changed: all is kept if it is not less than there are keys.
        max: u32,
    },
}

/// A message as it is kept: in memory that its successor uses again.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) opcode: Opcode,
    pub(super) bytes: Vec<u8>,
    pub(super) published_at: Time,
    /// With which it was published, where keys are not kept apart.
    key: Option<u64>,
}

/// One key.
#[derive(Debug)]
struct Entry {
    key: Option<u64>,
    /// Number of its last message.
    seq: u64,
    value: Option<Value>,
}

/// A message as it is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'m> {
    pub(crate) key: Option<u64>,
    pub(crate) opcode: Opcode,
    pub(crate) bytes: &'m [u8],
    pub(crate) now: Time,
    /// It takes its key away.
    pub(crate) removes: bool,
    /// It is no state: it is neither conflated nor kept.
    pub(crate) fixed: bool,
}

/// What a topic keeps.
#[derive(Debug)]
pub(super) struct Retained {
    retain: Retain,
    /// Messages so far.
    count: u64,
    last: Option<Value>,
    entries: Vec<Entry>,
    places: HashMap<Option<u64>, u32, Seeded>,
    size: Size,
}

/// How many values are kept, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) values: usize,
    pub(super) bytes: usize,
}

impl Size {
    fn less(&mut self, gone: Option<&Value>) {
        if let Some(value) = gone {
            self.values -= 1;
            self.bytes -= value.bytes.len();
        }
    }
}

impl Retained {
    pub(super) fn new(seeded: Seeded) -> Self {
        let places = HashMap::with_hasher(seeded);
        Self { retain: Retain::No, count: 0, last: None, entries: Vec::new(), places, size: Size::default() }
    }

    /// Keeps so much from now on. What is kept so already stays, what is kept otherwise is let go. Whether numbers begin anew.
    pub(super) fn set(&mut self, retain: Retain) -> bool {
        let (was_per_key, before) = (self.is_per_key(), std::mem::replace(&mut self.retain, retain));
        let stays = match retain {
            Retain::LastPerKey { max } => was_per_key && self.entries.len() <= max as usize,
            Retain::No | Retain::Last => before == retain,
        };
        if stays {
            return false;
        }
        self.last = None;
        self.entries.clear();
        self.places.clear();
        self.size = Size::default();
        was_per_key || self.is_per_key()
    }

    /// Messages so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Each key has numbers of its own.
    pub(super) fn is_per_key(&self) -> bool {
        matches!(self.retain, Retain::LastPerKey { .. })
    }

    /// A key has numbers now.
    pub(super) fn has(&self, key: Option<u64>) -> bool {
        self.places.contains_key(&key)
    }

    /// The number of the last message, where there is one sequence for all.
    pub(super) fn last_seq(&self) -> u64 {
        self.count
    }

    /// Takes a message in, and says its number: 0 if it has none.
    pub(super) fn take(&mut self, told: &Told<'_>) -> u64 {
        self.count += 1;
        match self.retain {
            Retain::No => self.count,
            Retain::Last => {
                if told.removes {
                    let is_its = self.last.as_ref().is_some_and(|value| value.key == told.key);
                    planted!(GhostRetained, return self.count);
                    self.size.less(self.last.take_if(|_| is_its).as_ref());
                } else if !told.fixed {
                    keep(&mut self.last, told, &mut self.size);
                }
                self.count
            }
            Retain::LastPerKey { max } => self.take_keyed(told, max),
        }
    }

    fn take_keyed(&mut self, told: &Told<'_>, max: u32) -> u64 {
        if told.removes {
            let Some(&place) = self.places.get(&told.key) else { return 1 };
            planted!(GhostRetained, {
                self.entries[place as usize].seq += 1;
                return self.entries[place as usize].seq;
            });
            self.places.remove(&told.key);
            let gone = self.entries.swap_remove(place as usize);
            self.size.less(gone.value.as_ref());
            if let Some(moved) = self.entries.get(place as usize) {
                self.places.insert(moved.key, place);
            }
            return gone.seq + 1;
        }
        let place = match self.places.get(&told.key) {
            Some(&place) => place,
            // What is no state takes no place of a state.
            None if told.fixed || self.entries.len() >= max as usize => return 0,
            None => {
                let place = self.entries.len() as u32;
                self.entries.push(Entry { key: told.key, seq: 0, value: None });
                self.places.insert(told.key, place);
                place
            }
        };
        let entry = &mut self.entries[place as usize];
        entry.seq += 1;
        if !told.fixed {
            keep(&mut entry.value, told, &mut self.size);
        }
        entry.seq
    }

    /// What is kept.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// The same, by looking everywhere, and the memory that it takes.
    #[cfg(test)]
    pub(super) fn found(&self) -> (Size, usize) {
        let values = self.entries.iter().filter_map(|entry| entry.value.as_ref()).chain(&self.last);
        values.fold((Size::default(), 0), |(Size { values, bytes }, memory), value| {
            (Size { values: values + 1, bytes: bytes + value.bytes.len() }, memory + value.bytes.capacity())
        })
    }

    /// The value at this place, from 0: its key, the number of the last message with that, and itself. Places without a value are passed over by the caller.
    pub(super) fn at(&self, place: usize) -> Option<Option<(Option<u64>, u64, &Value)>> {
        if let Some(value) = &self.last {
            return (place == 0).then_some(Some((value.key, self.count, value)));
        }
        let entry = self.entries.get(place)?;
        Some(entry.value.as_ref().map(|value| (entry.key, entry.seq, value)))
    }
}

/// Keeps a message where another was; in the memory of that, unless it is much too large.
fn keep(value: &mut Option<Value>, told: &Told<'_>, size: &mut Size) {
    planted!(
        RetainedStale,
        if value.is_some() {
            return;
        }
    );
    size.less(value.as_ref());
    (size.values, size.bytes) = (size.values + 1, size.bytes + told.bytes.len());
    let before = value.take().map(|value| value.bytes);
    let mut bytes = before.filter(|bytes| !is_wide(bytes.capacity(), told.bytes.len())).unwrap_or_default();
    bytes.clear();
    bytes.extend_from_slice(told.bytes);
    *value = Some(Value { opcode: told.opcode, bytes, published_at: told.now, key: told.key });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: u64, bytes: &[u8]) -> Told<'_> {
        Told { key: Some(key), opcode: Opcode::Binary, bytes, now: Time::default(), removes: false, fixed: false }
    }

    /// A snapshot that was long once, among updates that are short.
    #[test]
    fn a_value_that_is_much_shorter_than_the_one_before_gives_the_memory_back() {
        for retain in [Retain::Last, Retain::LastPerKey { max: 1 }] {
            let mut retained = Retained::new(Seeded(7));
            retained.set(retain);
            for (len, memory) in [(1_000, 1_000), (500, 1_000), (499, 499), (249, 249), (0, 249)] {
                retained.take(&told(1, &vec![1; len]));
                assert_eq!(retained.found(), (Size { values: 1, bytes: len }, memory), "{len} bytes");
            }
        }
    }

    #[test]
    fn what_is_kept_is_known_without_a_look_at_it() {
        for retain in [Retain::No, Retain::Last, Retain::LastPerKey { max: 2 }] {
            let mut retained = Retained::new(Seeded(7));
            retained.set(retain);
            for (key, len, removes, fixed) in [
                (1, 10, false, false),
                (2, 20, false, false),
                (3, 30, false, false),
                (1, 40, false, false),
                (2, 50, false, true),
                (1, 0, true, false),
                (1, 0, true, false),
                (4, 0, false, false),
                (2, 5, false, false),
                (2, 0, true, false),
            ] {
                retained.take(&Told { removes, fixed, ..told(key, &vec![1; len]) });
                assert_eq!(retained.size(), retained.found().0, "{retain:?}");
            }
            retained.set(Retain::No);
            assert_eq!(retained.size(), Size::default());
        }
    }
}
