//! What a topic keeps for those who subscribe later, and how its messages are numbered.
//!
//! Promises that what was taken away leaves no ghost, and that values are told in an order that depends on nothing but what was
//! published. Refuses to know who is told.

use std::collections::HashMap;

use wsring_proto::opcode::Opcode;

use super::hash::Seeded;
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
        /// How many keys, 1 to 4,294,967,295.
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
}

impl Retained {
    pub(super) fn new(seeded: Seeded) -> Self {
        let places = HashMap::with_hasher(seeded);
        Self { retain: Retain::No, count: 0, last: None, entries: Vec::new(), places }
    }

    /// Keeps so much from now on; what is kept otherwise is let go.
    pub(super) fn set(&mut self, retain: Retain) {
        if self.retain != retain {
            self.last = None;
            self.entries.clear();
            self.places.clear();
        }
        self.retain = retain;
    }

    /// Messages so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Each key has numbers of its own.
    pub(super) fn is_per_key(&self) -> bool {
        matches!(self.retain, Retain::LastPerKey { .. })
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
                    self.last.take_if(|_| is_its);
                } else if !told.fixed {
                    keep(&mut self.last, told);
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
            keep(&mut entry.value, told);
        }
        entry.seq
    }

    /// How many values are kept, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.values().fold((0, 0), |(count, bytes), (_, _, value)| (count + 1, bytes + value.bytes.len()))
    }

    fn values(&self) -> impl Iterator<Item = (Option<u64>, u64, &Value)> {
        let last = self.last.iter().map(|value| (value.key, self.count, value));
        last.chain(self.entries.iter().filter_map(|entry| Some((entry.key, entry.seq, entry.value.as_ref()?))))
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

fn keep(value: &mut Option<Value>, told: &Told<'_>) {
    planted!(
        RetainedStale,
        if value.is_some() {
            return;
        }
    );
    let mut bytes = value.take().map_or_else(Vec::new, |value| value.bytes);
    bytes.clear();
    bytes.extend_from_slice(told.bytes);
    *value = Some(Value { opcode: told.opcode, bytes, published_at: told.now, key: told.key });
}
