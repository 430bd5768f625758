//! Subscriptions that follow: their connections do not keep up, newer messages take the place of older ones, and a publish does not
//! come to them. Their pieces take the newest message of their keys when they go.
//!
//! Promises for each key that has a newest message, and each subscription that follows: it has a piece which follows that message, or its next
//! message comes to it, because it is bare or has followed only since. What was conflated meanwhile is counted when it is
//! asked for: all messages of the topic that did not come to the subscription. Refuses to know sockets.

use wsring_proto::opcode::Opcode;

use super::delivery::{Fate, Published};
use super::lanes::Sub;
use super::newest::Newest;
use super::outlet::Outlet;
use super::payload::Shared;
use super::pieces::{NONE, State, Through, len_of};
use super::publish::Sheet;
use super::whole::Topics;
use crate::engine::planted::planted;
use crate::ring::Time;

/// What a piece is a message of now.
pub(super) struct Value {
    pub(super) seq: u64,
    /// The number before it, if its key has numbers of its own, and nothing of that was lost in front of it.
    pub(super) prev: u64,
    pub(super) merged: u32,
    pub(super) removes: bool,
    pub(super) opcode: Opcode,
    pub(super) published_at: Time,
    pub(super) bytes: Shared,
}

impl Topics {
    /// Whether a subscription is to follow: nothing is made of what waits but what is newest.
    pub(super) fn may_follow(&self, sub: u32) -> bool {
        let sub = &self.subs[sub as usize];
        sub.pieces > 0 && sub.delivery.follows()
    }

    /// A subscription follows from now on; it is in its topic's list no more.
    pub(super) fn begin_following(&mut self, sub: u32) {
        self.stamps += 1;
        let stamp = self.stamps;
        let owner = &mut self.subs[sub as usize];
        let table = self.topics[owner.topic as usize].as_mut().expect("it has a subscriber");
        (owner.stamp, owner.counted, owner.place) = (stamp, table.retained.count(), NONE);
        table.youngest = stamp;
        let older = std::mem::replace(&mut table.follower, sub);
        owner.older = older;
        if let Some(older) = self.subs.get_mut(older as usize) {
            older.younger = sub;
        }
    }

    /// A subscription does not follow any more: it is in no list, and its pieces are what they are.
    pub(super) fn end_following(&mut self, sub: u32) {
        let owner = &mut self.subs[sub as usize];
        let table = self.topics[owner.topic as usize].as_mut().expect("it has a subscriber");
        owner.stamp = 0;
        let (older, younger) = (owner.older, owner.younger);
        (owner.older, owner.younger) = (NONE, NONE);
        if table.follower == sub {
            table.follower = older;
        }
        let count = table.retained.count();
        if let Some(older) = self.subs.get_mut(older as usize) {
            older.younger = younger;
        }
        if let Some(younger) = self.subs.get_mut(younger as usize) {
            younger.older = older;
        }
        self.count_followed(sub, count);
        let mut piece = self.subs[sub as usize].own.first;
        while piece != NONE {
            self.unfollow(piece);
            piece = self.pieces.next(piece, Through::Own);
        }
    }

    /// Counts what was conflated while messages did not come to a subscription, up to so many of its topic.
    fn count_followed(&mut self, sub: u32, count: u64) {
        let owner = &mut self.subs[sub as usize];
        let more = count - std::mem::replace(&mut owner.counted, count);
        owner.conflated += planted!(FollowedUncounted, 0; more);
        let conn = owner.conn;
        self.lane(conn).lagged.conflated += more;
    }

    /// A piece is what it was last, whatever is published from now on.
    fn unfollow(&mut self, piece: u32) {
        let follows = self.pieces.at(piece).follows;
        if follows != NONE {
            let value = self.value_of(piece);
            let at = self.pieces.at(piece);
            (at.seq, at.prev, at.merged, at.removes) = (value.seq, value.prev, value.merged, value.removes);
            (at.opcode, at.published_at, at.bytes) = (value.opcode, value.published_at, value.bytes);
            at.follows = NONE;
            self.newest.leave(follows);
        }
    }

    /// What a piece is a message of.
    pub(super) fn value_of(&mut self, piece: u32) -> Value {
        let at = self.pieces.at(piece);
        if at.follows == NONE {
            let (seq, prev, merged, removes) = (at.seq, at.prev, at.merged, at.removes);
            let (opcode, published_at, bytes) = (at.opcode, at.published_at, at.bytes.clone());
            return Value { seq, prev, merged, removes, opcode, published_at, bytes };
        }
        let newest = &self.newest.slab[at.follows as usize];
        let merged = u64::from(at.merged) + newest.count - at.joined;
        let merged = u32::try_from(merged).unwrap_or(u32::MAX);
        let (seq, prev, removes) = (newest.seq, if at.joined < newest.anew { 0 } else { at.prev }, newest.removes);
        let (opcode, published_at, bytes) = (newest.opcode, newest.published_at, newest.bytes.clone());
        Value { seq, prev, merged, removes, opcode, published_at, bytes }
    }

    /// A piece that followed has gone: the next message of its key comes to its subscription, if that still follows then.
    pub(super) fn leave_newest(&mut self, sub: u32, follows: u32) {
        let Sub { stamp, topic, .. } = self.subs[sub as usize];
        let stretch = self.topics[topic as usize].as_ref().map(|table| table.stretch);
        let newest = self.newest.at(follows);
        if stamp > 0 && newest.pieces > 1 && stretch == Some(newest.stretch) {
            planted!(BareForgotten, return self.newest.leave(follows));
            self.newest.bare(follows, sub, stamp);
        }
        self.newest.leave(follows);
    }

    /// A message is published: it is the newest of its key for all pieces that follow that, and `visits` are those that it comes to beside
    /// the topic's list. How many pieces follow it.
    pub(super) fn tell_followers(&mut self, topic: u32, sheet: &mut Sheet<'_>) -> u32 {
        let told = sheet.told;
        let table = self.topics[topic as usize].as_mut().expect("it was put back");
        if told.fixed {
            table.stretch += planted!(TradeFollowed, 0; 1);
        }
        let at = self.newest.find_from(table.newest, topic, told.key, table.stretch);
        table.newest = at;
        let (follower, youngest) = (table.follower, table.youngest);
        if told.fixed || at == NONE {
            self.visit_since(follower, 0);
            return 0;
        }
        let newest = self.newest.at(at);
        newest.pieces += 1; // it stays while the message is published
        let seen = newest.seen;
        if !newest.bare.is_empty() {
            self.newest.take_bare(at, &mut self.visits);
        }
        if youngest > seen {
            self.visit_since(follower, seen);
        }
        let newest = self.newest.at(at);
        let len = len_of(told.bytes);
        if len > newest.least {
            self.visit_shorter(topic, at, len);
        }
        let newest = self.newest.at(at);
        newest.count += 1;
        if sheet.seq <= 1 {
            newest.anew = newest.count;
        }
        (newest.seq, newest.removes, newest.opcode) = (sheet.seq, told.removes, told.opcode);
        newest.published_at = told.now;
        planted!(FollowsStale, (); self.payloads.renew(&mut newest.bytes, told.bytes));
        sheet.shared = Some(newest.bytes.clone());
        sheet.newest = at;
        newest.pieces - 1
    }

    /// Those that have begun to follow since, of whom this is the last, are visited.
    #[cold]
    fn visit_since(&mut self, follower: u32, seen: u64) {
        let mut sub = follower;
        while let Some(&Sub { stamp, older, .. }) = self.subs.get(sub as usize)
            && stamp > seen
        {
            self.visits.push((sub, stamp));
            sub = older;
        }
    }

    /// Pieces that count for less than a longer message are looked at by themselves: it may not fit.
    #[cold]
    fn visit_shorter(&mut self, topic: u32, at: u32, len: u32) {
        let mut sub = self.topics[topic as usize].as_ref().map_or(NONE, |table| table.follower);
        let key = self.newest.at(at).key;
        while let Some(&Sub { stamp, older, .. }) = self.subs.get(sub as usize) {
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            if let Some(piece) = self.find(sub, key)
                && self.pieces.at(piece).follows == at
                && self.pieces.at(piece).charge < len
            {
                self.unfollow(piece);
                self.visits.push((sub, stamp));
            }
            sub = older;
        }
        self.newest.at(at).least = len;
    }

    /// The message comes to those that follow and have to be told of it.
    #[cold]
    pub(super) fn visit_all(
        &mut self,
        topic: u32,
        sheet: &mut Sheet<'_>,
        published: &mut Published,
        out: &mut impl Outlet,
    ) {
        let mut visits = std::mem::take(&mut self.visits);
        for follower in visits.drain(..) {
            if let Some(fate) = self.visit(topic, follower, sheet, out) {
                published.count(fate);
            }
        }
        self.visits = visits;
    }

    /// The message comes to a subscription that follows.
    fn visit(
        &mut self,
        topic: u32,
        (sub, stamp): (u32, u64),
        sheet: &mut Sheet<'_>,
        out: &mut impl Outlet,
    ) -> Option<Fate> {
        // It may have ended since, or have begun anew.
        if self.subs.get(sub as usize).is_none_or(|owner| owner.stamp != stamp) {
            return None;
        }
        let count = self.topics[topic as usize].as_ref().map_or(0, |table| table.retained.count());
        self.count_followed(sub, count - 1);
        self.subs[sub as usize].counted = count;
        let fate = self.offer_slowly(topic, sub, sheet, out);
        self.note_step(sub);
        if self.subs[sub as usize].stamp > 0 {
            self.follow(sub, fate, sheet, out);
        }
        Some(fate)
    }

    /// The message has come to a subscription that follows: from now on the piece that it became follows the newest of its key. The first of
    /// a key does not: it costs less if none comes before it has gone.
    pub(super) fn follow(&mut self, sub: u32, fate: Fate, sheet: &mut Sheet<'_>, out: &mut impl Outlet) {
        let waits = fate == Fate::Conflated || fate == Fate::Waiting && sheet.newest != NONE && !sheet.told.fixed;
        match self.find(sub, sheet.told.key).filter(|_| waits) {
            Some(piece) if !self.pieces.at(piece).retained && self.pieces.at(piece).state == State::Queued => {
                self.join_newest(sub, piece, sheet, out);
            }
            _ => self.bare.push((sub, self.subs[sub as usize].stamp)),
        }
    }

    fn join_newest(&mut self, sub: u32, piece: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) {
        let Sub { topic, conn, .. } = self.subs[sub as usize];
        let charge = self.pieces.at(piece).charge;
        if sheet.newest == NONE {
            let table = self.topics[topic as usize].as_ref().expect("it has a subscriber");
            let (key, stretch, seq, bytes) = (sheet.told.key, table.stretch, sheet.seq, sheet.shared(&self.payloads));
            let (removes, opcode, published_at) = (sheet.told.removes, sheet.told.opcode, sheet.told.now);
            let (count, anew, pieces, least, seen, bare) = (1, 0, 1, charge, 0, Vec::new());
            let newest = Newest {
                topic,
                key,
                stretch,
                count,
                anew,
                pieces,
                least,
                seen,
                bare,
                seq,
                removes,
                opcode,
                published_at,
                bytes,
            };
            sheet.newest = self.newest.add(newest);
        }
        // It counts as much as the others do: so none is looked at by itself before a message is longer than all before. If that does not fit, the
        // next message comes to it.
        let more = self.newest.at(sheet.newest).least.saturating_sub(charge);
        if more > 0 {
            if !self.has_room(sub, 0, more, out.spare(conn)) {
                return self.bare.push((sub, self.subs[sub as usize].stamp));
            }
            self.charge(piece, more);
        }
        let newest = self.newest.at(sheet.newest);
        let at = self.pieces.at(piece);
        newest.pieces += 1;
        (at.follows, at.joined, at.bytes) = (sheet.newest, newest.count, Shared::default());
    }

    /// The message has come to all that it comes to.
    pub(super) fn end_telling(&mut self, newest: u32) {
        while let Some((sub, stamp)) = self.bare.pop() {
            self.newest.bare(newest, sub, stamp);
        }
        self.newest.at(newest).seen = self.stamps;
        self.newest.leave(newest);
    }
}
