//! How subscriptions come, change and go, and what they count.

use wsring_proto::opcode::Opcode;

use super::delivery::{Counts, Delivery, Lagged, Policy, SubscribeError, Subscribed};
use super::lanes::{Lane, Sub};
use super::outlet::{Outlet, Room};
use super::pieces::{List, NONE, Piece, State, cost_of};
use super::retained::Size;
use super::stride::{MOST, Stride};
use super::topic::{Numbers, Table};
use super::whole::Topics;
use crate::engine::planted::planted;
use crate::ring::Time;

impl Topics {
    /// Subscribes a connection, or changes how it is served. What the topic retains goes to a new subscriber first.
    pub(crate) fn subscribe(
        &mut self,
        conn: u32,
        topic: u32,
        delivery: Delivery,
        out: &mut impl Outlet,
    ) -> Result<Subscribed, SubscribeError> {
        if out.room(conn) == Room::Gone {
            return Err(SubscribeError::Gone);
        }
        if let Some(&sub) = self.pairs.get(&(conn, topic)) {
            self.change(sub, delivery, out);
            return Ok(Subscribed { is_new: false, retained: 0 });
        }
        let (count, waiting) = self.lane_at(conn).map_or((0, 0), |lane| (lane.count, lane.bytes));
        if count >= out.subscriptions_max(conn) {
            return Err(SubscribeError::TooMany);
        }
        let Size { values, bytes } = self.table(topic).as_ref().map_or(Size::default(), |table| table.retained.size());
        let need = (waiting as usize).saturating_add(bytes);
        if values > 0 && need.saturating_add(values * cost_of(0) as usize) > out.spare(conn) as usize {
            return Err(SubscribeError::NoRoom);
        }
        self.make_lane(conn);
        let table = self.table(topic).take().expect("it was made");
        let sub = self.insert(conn, topic, &table, delivery);
        let retained = self.give_retained(sub, &table, out);
        self.topics[topic as usize] = Some(table);
        self.enlist(sub);
        self.note_step(sub);
        Ok(Subscribed { is_new: true, retained })
    }

    fn make_lane(&mut self, conn: u32) {
        if self.lane_at(conn).is_some() {
            return;
        }
        let (lagged, ended) = (Lagged::default(), Counts::default());
        let lane = self.lanes.insert(Lane {
            fifo: List::EMPTY,
            stride: Stride::new(),
            bytes: 0,
            pieces: 0,
            lost: 0,
            first: NONE,
            count: 0,
            lagged,
            is_told: false,
            ended,
        });
        if self.lane_of.len() <= conn as usize {
            self.lane_of.resize(conn as usize + 1, NONE);
        }
        self.lane_of[conn as usize] = lane as u32;
    }

    pub(super) fn insert(&mut self, conn: u32, topic: u32, table: &Table, delivery: Delivery) -> u32 {
        let next = self.lane(conn).first;
        let base = table.retained.count();
        let sub = Sub {
            conn,
            topic,
            place: NONE,
            stamp: 0,
            older: NONE,
            younger: NONE,
            counted: 0,
            next,
            prev: NONE,
            delivery,
            base,
            own: List::EMPTY,
            rest: List::EMPTY,
            pieces: 0,
            waiting: 0,
            waiting_bytes: 0,
            queued: 0,
            held: 0,
            holds: List::EMPTY,
            conflated: 0,
            dropped: 0,
            last: base,
            stretch: 0,
            unkeyed: NONE,
            lost: None,
            lost_removal: false,
        };
        let sub = self.subs.insert(sub) as u32;
        if let Some(next) = self.subs.get_mut(next as usize) {
            next.prev = sub;
        }
        let lane = self.lane(conn);
        (lane.first, lane.count) = (sub, lane.count + 1);
        self.pairs.insert((conn, topic), sub);
        sub
    }

    /// Gives a new subscriber what is retained; how many values that is.
    fn give_retained(&mut self, sub: u32, table: &Table, out: &mut impl Outlet) -> u32 {
        let (mut at, mut given) = (0, 0);
        while let Some(value) = table.retained.at(at) {
            at += 1;
            let Some((key, seq, value)) = value else { continue };
            given += 1;
            self.subs[sub as usize].last = 0; // until it has been given
            let conn = self.subs[sub as usize].conn;
            let free = out.room(conn) == Room::Free && self.lane(conn).fifo.is_empty();
            let numbers = Numbers { seq, prev: 0, merged: 0, removes: false };
            let went =
                free && self.write_one(conn, table, key, numbers, value.published_at, value.opcode, &value.bytes, out);
            if went {
                self.on_given(sub, key, seq, !table.retained.is_per_key());
                self.cool(sub, key);
            } else {
                self.keep_retained(sub, key, seq, (value.opcode, &value.bytes, value.published_at), out);
            }
        }
        given
    }

    fn keep_retained(
        &mut self,
        sub: u32,
        key: Option<u64>,
        seq: u64,
        (opcode, bytes, at): (Opcode, &[u8], Time),
        out: &mut impl Outlet,
    ) {
        let mut piece = Piece::new(sub, State::Queued, key, self.subs[sub as usize].stretch);
        (piece.retained, piece.seq, piece.opcode) = (true, seq, opcode);
        (piece.published_at, piece.since) = (at, self.now);
        piece.set_bytes(self.payloads.keep(bytes));
        self.enqueue(piece, out);
    }

    /// Its delivery changes: what waits keeps its order, and nothing is conflated with it any more unless it was and is to be. Another interval counts from when
    /// each key was sent.
    fn change(&mut self, sub: u32, delivery: Delivery, out: &mut impl Outlet) {
        self.out_of_step(sub);
        let had = std::mem::replace(&mut self.subs[sub as usize].delivery, delivery);
        if had == delivery {
            return self.note_step(sub);
        }
        if !delivery.follows() {
            self.note_step(sub); // what waits is now what it was last
        }
        match (had.interval, delivery.interval) {
            (None, _) => {}
            (Some(before), Some(after)) => self.retime(sub, before, after, out),
            (Some(_), None) => {
                self.release_held(sub, out);
                self.end_cooling(sub);
            }
        }
        self.subs[sub as usize].stretch += u32::from(!(had.conflates() && delivery.conflates()));
        if delivery.policy == Policy::DropOldest {
            self.make_room(sub, 0, 0, out);
        }
        self.note_step(sub);
        let conn = self.subs[sub as usize].conn;
        self.note_emptied(conn, out);
    }

    /// Ends a subscription, and says what became of its messages: those that waited are dropped.
    pub(crate) fn unsubscribe(&mut self, conn: u32, topic: u32, out: &mut impl Outlet) -> Option<Counts> {
        let sub = *self.pairs.get(&(conn, topic))?;
        let counts = self.remove(sub);
        self.lane(conn).ended += counts;
        self.note_emptied(conn, out);
        Some(counts)
    }

    /// A connection is over: so are its subscriptions, and what waits for it is let go.
    pub(crate) fn end(&mut self, conn: u32, out: &mut impl Outlet) {
        planted!(LaneKept, return);
        let Some(lane) = self.lane_at(conn) else { return };
        let mut sub = lane.first;
        while sub != NONE {
            let next = self.subs[sub as usize].next;
            self.remove(sub);
            sub = next;
        }
        let lane = std::mem::replace(&mut self.lane_of[conn as usize], NONE);
        let lane = self.lanes.remove(lane as usize);
        debug_assert!(
            lane.fifo.is_empty() && lane.bytes == 0 && lane.pieces == 0 && lane.lost == 0 && lane.count == 0,
            "{lane:?}"
        );
        out.set_waits(conn, false);
        out.set_flow(conn, MOST);
    }

    pub(super) fn remove(&mut self, sub: u32) -> Counts {
        match self.subs[sub as usize].stamp {
            0 => self.delist(sub),
            _ => self.end_following(sub),
        }
        let dropped = u64::from(self.subs[sub as usize].waiting);
        for list in [|sub: &Sub| sub.own, |sub: &Sub| sub.rest] {
            loop {
                let piece = list(&self.subs[sub as usize]).first;
                if piece == NONE {
                    break;
                }
                self.discard(piece);
            }
        }
        self.subs[sub as usize].dropped += dropped;
        self.totals.dropped += dropped;
        self.forget_all_lost(sub);
        let counts = self.counts_of(sub);
        let Sub { conn, topic, next, prev, .. } = self.subs.remove(sub as usize);
        self.pairs.remove(&(conn, topic));
        if let Some(next) = self.subs.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.subs.get_mut(prev as usize) {
            prev.next = next;
        }
        let lane = self.lane(conn);
        lane.count -= 1;
        if lane.first == sub {
            lane.first = next;
        }
        counts
    }

    fn counts_of(&self, sub: u32) -> Counts {
        let sub = &self.subs[sub as usize];
        let table = self.topics[sub.topic as usize].as_ref().expect("it has a subscriber");
        let published = table.retained.count() - sub.base;
        let followed = if sub.stamp > 0 { table.retained.count() - sub.counted } else { 0 };
        let (waiting, conflated, dropped) = (sub.waiting.into(), sub.conflated + followed, sub.dropped);
        Counts { published, sent: published - waiting - conflated - dropped, waiting, conflated, dropped }
    }

    /// What became of the messages of a subscription; `None` if there is none.
    pub(crate) fn counts(&self, conn: u32, topic: u32) -> Option<Counts> {
        self.pairs.get(&(conn, topic)).map(|&sub| self.counts_of(sub))
    }

    /// The sum of all subscriptions of a connection, those that have ended included; and how many were looked at. There is no running total: it would be
    /// work of each publish for each of its subscribers.
    pub(crate) fn sum(&mut self, conn: u32) -> (Counts, u32) {
        let Some(lane) = self.lane_at(conn) else { return (Counts::default(), 0) };
        let (mut sum, mut sub, count) = (lane.ended, lane.first, lane.count);
        while sub != NONE {
            sum += self.counts_of(sub);
            sub = self.subs[sub as usize].next;
        }
        (sum, count)
    }
}
