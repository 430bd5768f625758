//! The newest message of a key, which pieces follow: plain values.
//!
//! Refuses to know who follows, but for those of whom it has no piece any more.

use std::collections::HashMap;

use slab::Slab;
use wsring_proto::opcode::Opcode;

use super::hash::Seeded;
use super::payload::Shared;
use super::pieces::{NONE, PIECE};
use crate::ring::Time;

/// What a subscription counts that waits to be visited.
const BARE: usize = 16;

/// The newest message of a key, for all pieces that follow it.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) topic: u32,
    pub(super) key: Option<u64>,
    /// The stretch of its topic in which a newer message of its key takes its place.
    pub(super) stretch: u64,
    /// Messages that it has been.
    pub(super) count: u64,
    /// How many it had been with that which its key's numbers began with last.
    pub(super) anew: u64,
    /// Those that follow it; one more while a message of its key is published.
    pub(super) pieces: u32,
    /// None of them counts for a shorter payload.
    pub(super) least: u32,
    /// The youngest stamp of a subscription that its last message came to.
    pub(super) seen: u64,
    /// Subscriptions that it came to, and that have no piece which follows it, with their stamps: its next message comes to them.
    pub(super) bare: Vec<(u32, u64)>,
    pub(super) seq: u64,
    pub(super) removes: bool,
    pub(super) opcode: Opcode,
    pub(super) published_at: Time,
    pub(super) bytes: Shared,
}

/// All of a core.
#[derive(Debug)]
pub(super) struct AllNewest {
    pub(super) slab: Slab<Newest>,
    /// The last of each key; perhaps of a stretch that is over.
    index: HashMap<(u32, Option<u64>), u32, Seeded>,
    /// Subscriptions in all lists.
    bare: usize,
}

impl AllNewest {
    pub(super) fn new(seeded: Seeded) -> Self {
        Self { slab: Slab::new(), index: HashMap::with_hasher(seeded), bare: 0 }
    }

    pub(super) fn at(&mut self, at: u32) -> &mut Newest {
        &mut self.slab[at as usize]
    }

    /// That of a key in this stretch; [`NONE`] if there is none.
    pub(super) fn find(&self, topic: u32, key: Option<u64>, stretch: u64) -> u32 {
        let at = self.index.get(&(topic, key)).copied().unwrap_or(NONE);
        if at != NONE && self.slab[at as usize].stretch == stretch { at } else { NONE }
    }

    /// The same, and looks at this one first.
    pub(super) fn find_from(&self, first: u32, topic: u32, key: Option<u64>, stretch: u64) -> u32 {
        match self.slab.get(first as usize) {
            Some(newest) if (newest.topic, newest.key, newest.stretch) == (topic, key, stretch) => first,
            _ => self.find(topic, key, stretch),
        }
    }

    pub(super) fn add(&mut self, newest: Newest) -> u32 {
        let (topic, key) = (newest.topic, newest.key);
        let at = self.slab.insert(newest) as u32;
        self.index.insert((topic, key), at);
        at
    }

    /// One piece less follows it; with the last it goes.
    pub(super) fn leave(&mut self, at: u32) {
        let newest = self.at(at);
        newest.pieces -= 1;
        if newest.pieces == 0 {
            self.remove(at);
        }
    }

    #[cold]
    fn remove(&mut self, at: u32) {
        let gone = self.slab.remove(at as usize);
        self.bare -= gone.bare.len();
        let place = (gone.topic, gone.key);
        if self.index.get(&place) == Some(&at) {
            self.index.remove(&place);
        }
    }

    /// Its next message comes to this subscription.
    pub(super) fn bare(&mut self, at: u32, sub: u32, stamp: u64) {
        self.at(at).bare.push((sub, stamp));
        self.bare += 1;
    }

    /// To whom its next message comes, because they have no piece which follows it any more.
    pub(super) fn take_bare(&mut self, at: u32, into: &mut Vec<(u32, u64)>) {
        let bare = &mut self.slab[at as usize].bare;
        self.bare -= bare.len();
        into.append(bare);
    }

    /// Bytes of memory, payloads aside.
    pub(super) fn held_bytes(&self) -> usize {
        self.slab.len() * PIECE as usize + self.bare * BARE
    }

    /// The same, by looking everywhere.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn found_bytes(&self) -> usize {
        self.slab.iter().map(|(_, newest)| PIECE as usize + newest.bare.len() * BARE).sum()
    }

    /// Memory of a burst that is over is given back.
    pub(super) fn tidy(&mut self) {
        if self.slab.is_empty() {
            self.slab = Slab::new();
            self.index.shrink_to(0);
        }
    }
}
