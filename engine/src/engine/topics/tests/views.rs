//! What the model knows of topics: what was published, what each subscriber was given, and who has which place in a lane. Plain values.

use std::collections::BTreeMap;

use crate::engine::topics::{Counts, Delivery, Retain};
use crate::ring::Time;

pub(super) type Key = Option<u64>;

/// What one subscriber was given, and what it must be given next.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) delivery: Delivery,
    pub(super) published: u64,
    pub(super) begun: u64,
    pub(super) counted: u64,
    pub(super) merged: u64,
    /// Retained values that it has not been given: the number and the value of each key.
    pub(super) retained: BTreeMap<Key, (u64, String)>,
    /// The number that it was given last, by key.
    pub(super) last: BTreeMap<Key, u64>,
    /// The highest of all.
    pub(super) highest: u64,
    /// The newest publish that it was given, by key, and when.
    pub(super) newest: BTreeMap<Key, (u64, Time)>,
    /// The last that could not be conflated, and the newest of all.
    pub(super) fixed: u64,
    pub(super) any: u64,
    pub(super) stretch: u32,
    pub(super) before: Counts,
    pub(super) changed: bool,
    /// When each key was sent last, but for messages that may not be conflated.
    pub(super) sent: BTreeMap<Key, Time>,
    /// The same of those that were published under a rate, and before when that key may not be sent again.
    pub(super) free: BTreeMap<Key, (Time, Time)>,
    /// What was published before had none.
    pub(super) rated_from: u64,
}

impl View {
    /// It is served otherwise from now on, when so many messages have been published.
    pub(super) fn change(&mut self, delivery: Delivery, now: Time, published: u64) {
        match (self.delivery.interval, delivery.interval) {
            (Some(_), Some(interval)) => self.free.retain(|_, (sent, free)| {
                let is_held = *free > now;
                *free = sent.plus(interval);
                is_held
            }),
            (None, Some(_)) => self.rated_from = published,
            (_, None) => self.free.clear(),
        }
        self.delivery = delivery;
    }

    /// Its topic's numbers begin anew, behind so many.
    pub(super) fn begin_anew(&mut self, count: u64) {
        self.last.clear();
        self.highest = count;
        self.retained.values_mut().for_each(|(seq, _)| *seq = 0);
    }

    /// This key is sent now; the message is that many of all.
    pub(super) fn send(&mut self, key: Key, number: u64, now: Time) {
        self.sent.insert(key, now);
        if let Some(interval) = self.delivery.interval.filter(|_| number >= self.rated_from) {
            self.free.insert(key, (now, now.plus(interval)));
        }
    }
}

/// A key's place in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) topic: u32,
    pub(super) key: Key,
    pub(super) since: Time,
    pub(super) retained: bool,
    /// It was, when it began to wait: in which order those are told is not asked.
    pub(super) was_retained: bool,
    pub(super) fixed: bool,
    pub(super) stretch: u32,
}

/// What a topic's messages were.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) retain: Retain,
    pub(super) count: u64,
    pub(super) last: BTreeMap<Key, u64>,
    pub(super) value: BTreeMap<Key, String>,
    /// There was one sequence of numbers for all keys, for a while at least.
    pub(super) mixed: bool,
}

impl Facts {
    pub(super) fn is_per_key(&self) -> bool {
        matches!(self.retain, Retain::LastPerKey { .. })
    }

    /// Keeps so much from now on; whether its numbers begin anew.
    pub(super) fn set(&mut self, retain: Retain) -> bool {
        let was_per_key = self.is_per_key();
        let before = std::mem::replace(&mut self.retain, retain);
        self.mixed |= !self.is_per_key();
        let fits = matches!(retain, Retain::LastPerKey { max } if was_per_key && self.last.len() <= max as usize);
        if before == retain || fits {
            return false;
        }
        self.last.clear();
        self.value.clear();
        was_per_key || self.is_per_key()
    }

    /// A message is published; its number.
    pub(super) fn publish(&mut self, key: Key, removes: bool, fixed: bool, payload: &str) -> u64 {
        self.count += 1;
        let Retain::LastPerKey { max } = self.retain else {
            match self.retain {
                Retain::Last if removes => self.value.retain(|kept, _| *kept != key),
                Retain::Last if !fixed => self.value = BTreeMap::from([(key, payload.to_owned())]),
                _ => {}
            }
            return self.count;
        };
        if removes {
            self.value.remove(&key);
            return self.last.remove(&key).unwrap_or(0) + 1;
        }
        if !self.last.contains_key(&key) && (fixed || self.last.len() >= max as usize) {
            return 0;
        }
        if !fixed {
            self.value.insert(key, payload.to_owned());
        }
        let last = self.last.entry(key).or_default();
        *last += 1;
        *last
    }
}

/// A published message.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) topic: u32,
    pub(super) key: Key,
    pub(super) fixed: bool,
    pub(super) removes: bool,
    /// Its number; none since those of its topic began anew.
    pub(super) seq: u64,
}

pub(super) fn drop_places(lane: &mut Vec<Place>, topic: u32, dropped: u64) {
    for _ in 0..dropped {
        if let Some(at) = lane.iter().position(|place| place.topic == topic && !place.retained) {
            lane.remove(at);
        }
    }
}
