//! What a core has of topics, and nothing that it does: that is in the files beside this one, each of which adds methods.

use std::collections::HashMap;

use slab::Slab;
use wsring_proto::close::CloseCode;

use super::delivery::Lagged;
use super::hash::Seeded;
use super::lanes::{Lane, Sub};
use super::newest::AllNewest;
use super::payload::Payloads;
use super::pieces::{NONE, PIECE, Pieces};
use super::stride::{Moment, Stride};
use super::topic::{Entry, Table};
use crate::engine::deadlines::{Deadlines, Tick};
use crate::engine::panics::Payload;
use crate::ring::Time;

/// What a key counts of which a subscription has lost something.
const LOST: usize = 64;

/// What has happened since the core began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) conflated: u64,
    pub(crate) dropped: u64,
}

/// What a panic of the application's, or its policy, ends: connections.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// A subscription says so.
    pub(crate) slow: Vec<(u32, CloseCode)>,
    /// A closure of a topic panicked with a message of its.
    pub(crate) panicked: Vec<(u32, Payload)>,
}

/// The topics of a core.
pub(crate) struct Topics {
    pub(super) topics: Vec<Option<Box<Table>>>,
    pub(super) subs: Slab<Sub>,
    /// By connection and topic.
    pub(super) pairs: HashMap<(u32, u32), u32, Seeded>,
    pub(super) lanes: Slab<Lane>,
    /// By connection; grown where there are subscriptions.
    pub(super) lane_of: Vec<u32>,
    pub(super) pieces: Pieces,
    pub(super) payloads: Payloads,
    /// Messages that pieces follow.
    pub(super) newest: AllNewest,
    /// How many subscriptions have begun to follow.
    pub(super) stamps: u64,
    /// While a message is published: those that follow to whom it comes, and those of them that have no piece which follows it.
    pub(super) visits: Vec<(u32, u64)>,
    pub(super) bare: Vec<(u32, u64)>,
    /// What all lanes count.
    pub(super) counted: u64,
    /// Keys of which subscriptions have lost something.
    pub(super) lost_keys: usize,
    /// What the core's memory was last told of [`Self::held_bytes`].
    pub(crate) charged: usize,
    /// Pieces that can be found by their keys.
    pub(super) index: HashMap<(u32, u64), u32, Seeded>,
    /// When pieces may go that are held; made when the first is.
    pub(super) held: Option<Box<Deadlines>>,
    pub(super) due: Vec<u32>,
    pub(super) seeded: Seeded,
    /// What is written for subscribers: for those in step, and for one or others.
    pub(super) scratch: Vec<u8>,
    pub(super) spare: Vec<u8>,
    pub(crate) ends: Ends,
    /// Connections whose lane has emptied, and that missed something.
    pub(super) lagged: Vec<u32>,
    pub(crate) totals: Totals,
    pub(super) now: Time,
    pub(super) pass: u64,
    /// Subscriptions that were looked at because a message was longer than those of its key before.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Topics {
    pub(crate) fn new(seed: u64) -> Self {
        let seeded = Seeded(seed);
        Self {
            topics: Vec::new(),
            subs: Slab::new(),
            pairs: HashMap::with_hasher(seeded),
            lanes: Slab::new(),
            lane_of: Vec::new(),
            pieces: Pieces::default(),
            payloads: Payloads::default(),
            newest: AllNewest::new(seeded),
            stamps: 0,
            visits: Vec::new(),
            bare: Vec::new(),
            counted: 0,
            lost_keys: 0,
            charged: 0,
            index: HashMap::with_hasher(seeded),
            held: None,
            due: Vec::new(),
            seeded,
            scratch: Vec::new(),
            spare: Vec::new(),
            ends: Ends::default(),
            lagged: Vec::new(),
            totals: Totals::default(),
            now: Time::default(),
            pass: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// The time, as of this pass.
    pub(crate) fn set_now(&mut self, now: Time, pass: u64) {
        (self.now, self.pass) = (now, pass);
    }

    /// The same, and the pass.
    pub(super) fn moment(&self) -> Moment {
        Moment { at: self.now, pass: self.pass }
    }

    /// A connection has no byte rate any more: how fast it was given says nothing.
    pub(crate) fn forget_pace(&mut self, conn: u32) {
        if let Some(lane) = self.lane_at(conn) {
            lane.stride = Stride::new();
        }
    }

    /// The table of a topic, made when it is first asked for.
    pub(super) fn table(&mut self, topic: u32) -> &mut Option<Box<Table>> {
        let at = topic as usize;
        if self.topics.len() <= at {
            self.topics.resize_with(at + 1, || None);
        }
        let seeded = self.seeded;
        let place = &mut self.topics[at];
        place.get_or_insert_with(|| Box::new(Table::new(seeded)));
        place
    }

    /// Has [`Self::expire`] come up with a piece then.
    pub(super) fn hold_until(&mut self, piece: u32, until: Tick) {
        let now = Tick::of(self.now);
        let held = self.held.get_or_insert_with(|| {
            let mut held = Box::new(Deadlines::new(0));
            held.begin(now);
            held
        });
        held.set(piece, until);
    }

    /// Whether [`Self::expire`] has something to do.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.next_due(now).is_some_and(|due| due <= now)
    }

    /// When something is held no longer, or is to be told.
    pub(crate) fn next_due(&self, now: Time) -> Option<Time> {
        if !self.due.is_empty() || !self.lagged.is_empty() {
            return Some(Time::default());
        }
        self.held.as_ref()?.next_due(now)
    }

    /// Connections that have missed something, and whose lane has emptied.
    pub(crate) fn take_lagged(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.lagged)
    }

    /// What such a connection missed, if that is still so; each is told once.
    pub(crate) fn lagged_of(&mut self, conn: u32) -> Option<Lagged> {
        let lane = self.lane_at(conn)?;
        lane.is_told = false;
        let is_over = lane.fifo.is_empty() && lane.lagged != Lagged::default();
        is_over.then(|| std::mem::take(&mut lane.lagged))
    }

    pub(super) fn lane_at(&mut self, conn: u32) -> Option<&mut Lane> {
        let lane = *self.lane_of.get(conn as usize)?;
        self.lanes.get_mut(lane as usize)
    }

    pub(super) fn lane(&mut self, conn: u32) -> &mut Lane {
        self.lane_at(conn).expect("a connection that has subscribed has a lane")
    }

    /// It has been given all that was published, at once: see [`Entry`].
    pub(super) fn in_step(&self, sub: u32) -> bool {
        let sub = &self.subs[sub as usize];
        let table = self.topics[sub.topic as usize].as_ref().expect("it was put back");
        let all = table.retained.is_per_key() || sub.last == table.retained.last_seq();
        all && sub.pieces == 0
            && sub.delivery.interval.is_none()
            && sub.lost.as_ref().is_none_or(|lost| lost.is_empty())
    }

    /// What the list of its topic says of it is right again.
    pub(super) fn note_step(&mut self, sub: u32) {
        let Sub { stamp, topic, place, pieces, lost_removal, .. } = self.subs[sub as usize];
        if lost_removal && pieces == 0 {
            self.forget_removed(sub);
        }
        match (stamp > 0, self.may_follow(sub)) {
            (true, true) => {}
            (true, false) => {
                self.end_following(sub);
                self.enlist(sub);
            }
            (false, true) => {
                self.delist(sub);
                self.begin_following(sub);
            }
            (false, false) => {
                let in_step = self.in_step(sub);
                let table = self.topics[topic as usize].as_mut().expect("it has a subscriber");
                table.entries[place as usize].in_step = in_step;
            }
        }
    }

    /// Each message of its topic comes to a subscription.
    pub(super) fn enlist(&mut self, sub: u32) {
        let in_step = self.in_step(sub);
        let owner = &mut self.subs[sub as usize];
        let table = self.topics[owner.topic as usize].as_mut().expect("it has a subscriber");
        owner.place = table.entries.len() as u32;
        table.entries.push(Entry { conn: owner.conn, sub, in_step });
    }

    pub(super) fn delist(&mut self, sub: u32) {
        let Sub { topic, place, .. } = self.subs[sub as usize];
        let entries = &mut self.topics[topic as usize].as_mut().expect("it has a subscriber").entries;
        entries.swap_remove(place as usize);
        if let Some(moved) = entries.get(place as usize) {
            self.subs[moved.sub as usize].place = place;
        }
    }

    /// From here on the subscription itself knows what it was given.
    pub(super) fn out_of_step(&mut self, sub: u32) {
        let Sub { topic, place, .. } = self.subs[sub as usize];
        if place == NONE {
            return; // it follows
        }
        let table = self.topics[topic as usize].as_mut().expect("it has a subscriber");
        if std::mem::replace(&mut table.entries[place as usize].in_step, false) {
            self.subs[sub as usize].last = table.retained.last_seq();
        }
    }

    /// Bytes of memory of all that waits.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pieces.0.len() * PIECE as usize + self.shared_bytes() + self.lost_keys * LOST
    }

    /// What is not of one connection alone.
    fn shared_bytes(&self) -> usize {
        self.payloads.held() + self.newest.held_bytes()
    }

    /// The part of that of one connection: its pieces, what it knows to be lost, and as much of all payloads as of all that waits.
    pub(crate) fn part_of(&self, conn: u32) -> usize {
        let lane = self.lane_of.get(conn as usize).and_then(|&lane| self.lanes.get(lane as usize));
        let payloads = |bytes: u32| u128::from(bytes) * self.shared_bytes() as u128 / u128::from(self.counted.max(1));
        let own = |lane: &Lane| lane.pieces as usize * PIECE as usize + lane.lost as usize * LOST;
        lane.map_or(0, |lane| own(lane) + payloads(lane.bytes) as usize)
    }

    /// The same as [`Self::held_bytes`], by looking everywhere.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn found_bytes(&self) -> usize {
        let payloads = self.pieces.0.iter().map(|(_, piece)| &piece.bytes);
        let payloads = payloads.chain(self.newest.slab.iter().map(|(_, newest)| &newest.bytes));
        let payloads: HashMap<usize, usize> = payloads.filter_map(|shared| shared.memory()).collect();
        let lost = self.subs.iter().map(|(_, sub)| sub.lost.as_ref().map_or(0, |lost| lost.len())).sum::<usize>();
        self.pieces.0.len() * PIECE as usize
            + payloads.values().sum::<usize>()
            + self.newest.found_bytes()
            + lost * LOST
    }

    /// Memory of a burst that is over is given back.
    pub(crate) fn tidy(&mut self) {
        if self.pieces.0.is_empty() {
            (self.pieces, self.held) = (Pieces::default(), None);
            self.index.shrink_to(0);
            self.newest.tidy();
        }
    }

    /// Since when the message in front of a lane has waited, or that whose place it took.
    pub(crate) fn waits_since(&mut self, conn: u32) -> Option<Time> {
        let first = self.lane_at(conn)?.fifo.first;
        (first != NONE).then(|| self.pieces.at(first).since)
    }
}
