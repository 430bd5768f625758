//! How pieces come, move and go: the one place where their lists, the index by key, and what is counted of them change together.

use std::time::Duration;

use super::delivery::Policy;
use super::follow::Value;
use super::lanes::Sub;
use super::outlet::Outlet;
use super::payload::Shared;
use super::pieces::{NONE, Piece, State, Through};
use super::whole::Topics;
use crate::engine::deadlines::{Span, Tick};
use crate::engine::planted::planted;

impl Topics {
    /// A piece joins the end of its connection's lane, and its subscription's.
    pub(super) fn enqueue(&mut self, piece: Piece, out: &mut impl Outlet) {
        let piece = self.attach(piece);
        self.join_lane(piece, out);
    }

    /// A piece joins its subscription.
    pub(super) fn attach(&mut self, piece: Piece) -> u32 {
        let Piece { sub: owner, retained, state, key, fixed, behind, .. } = piece;
        let cost = piece.cost();
        let index = self.pieces.add(piece);
        if behind != NONE {
            self.pieces.at(behind).newer = index;
        }
        let sub = &mut self.subs[owner as usize];
        let conn = sub.conn;
        sub.pieces += 1;
        let is_message = state != State::Cooling;
        if is_message && !retained {
            sub.waiting += 1;
            sub.waiting_bytes += cost;
            self.pieces.push(&mut sub.own, index, Through::Own);
        } else {
            self.pieces.push(&mut sub.rest, index, Through::Own);
        }
        if sub.delivery.conflates() && !fixed {
            self.pieces.at(index).indexed = true;
            match key {
                None => sub.unkeyed = index,
                Some(key) => drop(self.index.insert((owner, key), index)),
            }
        }
        self.lane(conn).pieces += 1;
        if is_message {
            self.lane(conn).bytes += cost;
            self.counted += u64::from(cost);
        }
        index
    }

    /// A piece joins the lane.
    pub(super) fn join_lane(&mut self, piece: u32, out: &mut impl Outlet) {
        self.pieces.at(piece).state = State::Queued;
        let sub = &mut self.subs[self.pieces.at(piece).sub as usize];
        sub.queued += 1;
        let conn = sub.conn;
        let now = self.moment();
        let lane = &mut self.lanes[self.lane_of[conn as usize] as usize];
        if lane.fifo.is_empty() {
            lane.stride.begin(now, out.is_sending(conn));
        }
        self.pieces.push(&mut lane.fifo, piece, Through::Lane);
        out.set_waits(conn, true);
    }

    /// A piece leaves the lane.
    pub(super) fn leave_lane(&mut self, piece: u32) {
        let sub = &mut self.subs[self.pieces.at(piece).sub as usize];
        sub.queued -= 1;
        let lane = self.lane_of[sub.conn as usize];
        self.pieces.unlink(&mut self.lanes[lane as usize].fifo, piece, Through::Lane);
    }

    /// The piece that a newer message of a key is conflated with, or has to wait behind.
    pub(super) fn find(&mut self, sub: u32, key: Option<u64>) -> Option<u32> {
        let piece = match key {
            None => self.subs[sub as usize].unkeyed,
            Some(key) => *self.index.get(&(sub, planted!(ConflatedWithAny, key & !1; key)))?,
        };
        if piece == NONE {
            return None;
        }
        let stretch = self.subs[sub as usize].stretch;
        let at = self.pieces.at(piece);
        let is_it = at.state == State::Cooling || at.stretch == stretch;
        is_it.then_some(piece)
    }

    /// The last piece of a key, of whatever stretch, among those that can be found; [`NONE`] if there is none.
    pub(super) fn last_of(&self, sub: u32, key: Option<u64>) -> u32 {
        match key {
            None => self.subs[sub as usize].unkeyed,
            Some(key) => self.index.get(&(sub, key)).copied().unwrap_or(NONE),
        }
    }

    /// Whether a piece is that.
    pub(super) fn is_last(&mut self, piece: u32) -> bool {
        let Piece { sub, key, indexed, .. } = *self.pieces.at(piece);
        indexed && self.last_of(sub, key) == piece
    }

    /// A piece stops being a message: it went, or is let go.
    pub(super) fn uncount(&mut self, piece: u32) {
        let Piece { sub: owner, state, retained, .. } = *self.pieces.at(piece);
        let cost = self.pieces.at(piece).cost();
        let sub = &mut self.subs[owner as usize];
        let conn = sub.conn;
        match state {
            State::Cooling => return,
            State::Queued => {}
            State::Held => {
                sub.held -= 1;
                self.pieces.unlink(&mut sub.holds, piece, Through::Lane);
            }
        }
        let follows = std::mem::replace(&mut self.pieces.at(piece).follows, NONE);
        if !retained {
            sub.waiting -= 1;
            sub.waiting_bytes -= cost;
            self.pieces.unlink(&mut sub.own, piece, Through::Own);
        } else {
            self.pieces.unlink(&mut sub.rest, piece, Through::Own);
        }
        self.lane(conn).bytes -= cost;
        self.counted -= u64::from(cost);
        if state == State::Queued {
            self.leave_lane(piece);
        }
        if follows != NONE {
            self.leave_newest(owner, follows);
        }
        // It is a key that was sent, until it is freed.
        let at = self.pieces.at(piece);
        (at.state, at.retained) = (State::Cooling, false);
        at.set_bytes(Shared::default());
        self.pieces.push(&mut self.subs[owner as usize].rest, piece, Through::Own);
    }

    /// A piece is no more.
    pub(super) fn discard(&mut self, piece: u32) {
        self.uncount(piece);
        if let Some(held) = &mut self.held {
            held.remove(piece);
        }
        let Piece { sub: owner, key, indexed, until, behind, newer, .. } = *self.pieces.at(piece);
        let sub = &mut self.subs[owner as usize];
        self.pieces.unlink(&mut sub.rest, piece, Through::Own);
        sub.pieces -= 1;
        let conn = sub.conn;
        if indexed && self.last_of(owner, key) == piece {
            match key {
                None => self.subs[owner as usize].unkeyed = NONE,
                Some(key) => drop(self.index.remove(&(owner, key))),
            }
        }
        if behind != NONE {
            self.pieces.at(behind).newer = newer;
        }
        if newer != NONE {
            self.step_up(newer, behind, until);
        }
        self.pieces.free(piece);
        self.lane(conn).pieces -= 1;
    }

    /// The one in front of a piece has gone, which was behind this: if that is none, it is known when the key may be sent again.
    fn step_up(&mut self, piece: u32, behind: u32, until: Option<Tick>) {
        let until = until.unwrap_or(Tick::of(self.now));
        let at = self.pieces.at(piece);
        at.behind = behind;
        if behind == NONE {
            at.until = Some(until);
            if at.state != State::Queued {
                self.hold_until(piece, until);
            }
        }
    }

    /// A piece has other bytes, and counts as a message from now on.
    pub(super) fn recount(&mut self, sub: u32, piece: u32, bytes: Shared) {
        let at = self.pieces.at(piece);
        let (before, retained) = (at.cost(), std::mem::take(&mut at.retained));
        at.set_bytes(bytes);
        let after = at.cost();
        let owner = &mut self.subs[sub as usize];
        let conn = owner.conn;
        if retained {
            self.pieces.unlink(&mut owner.rest, piece, Through::Own);
            self.pieces.push(&mut owner.own, piece, Through::Own);
            owner.waiting += 1;
            owner.waiting_bytes += after;
        } else {
            owner.waiting_bytes = owner.waiting_bytes - before + after;
        }
        let lane = self.lane(conn);
        lane.bytes = lane.bytes - before + after;
        self.counted = self.counted - u64::from(before) + u64::from(after);
    }

    /// A message that waits counts so much more.
    pub(super) fn charge(&mut self, piece: u32, more: u32) {
        let at = self.pieces.at(piece);
        at.charge += more;
        let sub = &mut self.subs[at.sub as usize];
        sub.waiting_bytes += more;
        let conn = sub.conn;
        self.lane(conn).bytes += more;
        self.counted += u64::from(more);
    }

    /// What is held for a subscriber joins the lane.
    pub(super) fn release_held(&mut self, sub: u32, out: &mut impl Outlet) {
        while self.subs[sub as usize].held > 0 {
            self.release(self.subs[sub as usize].holds.first, out);
        }
    }

    /// A message that was held joins the lane. If that is sooner than its key may be sent, it knows so: it may be dropped.
    pub(super) fn release(&mut self, piece: u32, out: &mut impl Outlet) {
        if let Some(held) = &mut self.held {
            held.remove(piece);
        }
        let sub = self.pieces.at(piece).sub;
        let owner = &mut self.subs[sub as usize];
        owner.held -= 1;
        self.pieces.unlink(&mut owner.holds, piece, Through::Lane);
        self.pieces.at(piece).since = self.now;
        self.join_lane(piece, out);
    }

    /// A key was sent to a subscriber: for a while it may not be again, if there is a rate.
    pub(super) fn cool(&mut self, sub: u32, key: Option<u64>) {
        let Some(interval) = self.subs[sub as usize].delivery.interval else { return };
        if let Some(found) = self.find(sub, key) {
            if self.pieces.at(found).state != State::Cooling {
                return; // a newer one waits
            }
            self.discard(found);
        }
        self.cool_until(sub, key, Some(Tick::of(self.now).after(interval)), NONE);
    }

    /// A key may not be sent before then, or before what waits of it has gone.
    fn cool_until(&mut self, sub: u32, key: Option<u64>, until: Option<Tick>, behind: u32) {
        let mut piece = Piece::new(sub, State::Cooling, key, self.subs[sub as usize].stretch);
        (piece.until, piece.behind) = (until, behind);
        let piece = self.attach(piece);
        if let Some(until) = until {
            self.hold_until(piece, until);
        }
    }

    /// No key has to wait because it was sent. Nothing is held any more.
    pub(super) fn end_cooling(&mut self, sub: u32) {
        let Sub { own, rest, .. } = self.subs[sub as usize];
        for mut piece in [own.first, rest.first] {
            while piece != NONE {
                let next = self.pieces.next(piece, Through::Own);
                let at = self.pieces.at(piece);
                match at.state {
                    State::Cooling => self.discard(piece),
                    State::Queued | State::Held => at.until = None,
                }
                piece = next;
            }
        }
    }

    /// The interval of a subscription is another: it counts from when each key was sent, and what has been held for so long goes on.
    pub(super) fn retime(&mut self, sub: u32, before: Duration, after: Duration, out: &mut impl Outlet) {
        let (before, after, now) = (Span::of(before), Span::of(after), Tick::of(self.now));
        let Sub { own, rest, .. } = self.subs[sub as usize];
        for mut piece in [own.first, rest.first] {
            while piece != NONE {
                let next = self.pieces.next(piece, Through::Own);
                let at = self.pieces.at(piece);
                if let Some(until) = &mut at.until {
                    *until = until.minus(before).plus(after);
                    let (until, state) = (*until, at.state);
                    match (state, until.is_due(now)) {
                        (State::Queued, _) => {}
                        (State::Held, true) => self.release(piece, out),
                        (State::Cooling, true) => self.discard(piece),
                        (State::Held | State::Cooling, false) => self.hold_until(piece, until),
                    }
                }
                piece = next;
            }
        }
    }

    /// Drops a message that waits, in front of all others of its key.
    pub(super) fn drop_piece(&mut self, piece: u32) {
        self.drop_from(piece, Self::lose_first);
    }

    /// Drops one that waits behind all others of its key, for a newer one that comes now.
    pub(super) fn drop_newest_of_key(&mut self, piece: u32) {
        self.drop_from(piece, Self::lose_last);
    }

    fn drop_from(&mut self, piece: u32, lose: fn(&mut Self, u32, Option<u64>, u64, bool)) {
        let Value { seq, prev, removes, .. } = self.value_of(piece);
        let Piece { sub, key, retained, state, until, behind, .. } = *self.pieces.at(piece);
        let Sub { conn, delivery, .. } = self.subs[sub as usize];
        let is_last = self.is_last(piece);
        self.discard(piece);
        let is_early = behind != NONE || until.is_some_and(|until| !until.is_due(Tick::of(self.now)));
        if is_last && is_early && delivery.interval.is_some() {
            self.cool_until(sub, key, until, behind); // its key may not be sent sooner for that
        }
        if retained {
            return;
        }
        // What never had a number leaves no gap.
        if seq > 0 {
            lose(self, sub, key, prev, removes);
        }
        self.subs[sub as usize].dropped += planted!(DropUncounted, 0; 1);
        self.totals.dropped += 1;
        if state == State::Queued {
            self.lane(conn).lagged.dropped += 1;
        }
    }

    /// Drops the oldest, where they are dropped, until so much more fits.
    pub(super) fn make_room(&mut self, sub: u32, messages: u32, cost: u32, out: &mut impl Outlet) -> bool {
        loop {
            let Sub { conn, delivery, own, .. } = self.subs[sub as usize];
            if self.has_room(sub, messages, cost, out.spare(conn)) {
                return true;
            }
            let may_fit = self.may_fit(sub, messages, cost, out.spare(conn));
            if delivery.policy != Policy::DropOldest || own.is_empty() || !may_fit {
                return false;
            }
            self.drop_piece(own.first);
        }
    }

    /// There would be room if nothing of the subscription's own waited.
    fn may_fit(&mut self, sub: u32, messages: u32, cost: u32, spare: u32) -> bool {
        let Sub { conn, delivery, waiting_bytes, .. } = self.subs[sub as usize];
        let others = u64::from(self.lane(conn).bytes - waiting_bytes);
        messages <= delivery.messages_max && cost <= delivery.bytes_max && others + u64::from(cost) <= u64::from(spare)
    }

    /// `spare`: how much more the output may have, and what waits beside it.
    pub(super) fn has_room(&mut self, sub: u32, messages: u32, cost: u32, spare: u32) -> bool {
        let Sub { conn, delivery, waiting, waiting_bytes, .. } = self.subs[sub as usize];
        let all = u64::from(self.lane(conn).bytes) + u64::from(cost);
        waiting.saturating_add(messages) <= delivery.messages_max
            && waiting_bytes.saturating_add(cost) <= delivery.bytes_max
            && all <= u64::from(spare)
    }
}
