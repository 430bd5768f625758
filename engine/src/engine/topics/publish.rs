//! A message to all subscribers of a topic: each is given it at once, or it waits, as the subscription's delivery says.

use wsring_proto::opcode::Opcode;

use super::delivery::{Fate, Policy, Published};
use super::lanes::Sub;
use super::outlet::{Outlet, Room};
use super::payload::{Payloads, Shared};
use super::pieces::{NONE, Piece, State, Through, cost_of};
use super::retained::Told;
use super::topic::{Entry, Numbers, text_or_not};
use super::whole::Topics;
use crate::engine::panics::{Payload, let_go};
use crate::engine::planted::planted;

/// A message on its way to many: what is made of it once.
pub(super) struct Sheet<'m> {
    pub(super) told: Told<'m>,
    pub(super) seq: u64,
    /// Its payload, once it has to wait for somebody.
    pub(super) shared: Option<Shared>,
    /// The same as the newest of its key, once a piece follows that.
    pub(super) newest: u32,
    /// What is sent to subscribers in step; and to others, whose numbers are not those.
    step: Variant,
    other: Variant,
    /// Which of them the outputs have been told of.
    begun: Begun,
    tells: bool,
    /// How many are in the topic's list.
    crowd: usize,
    /// It cannot be written for one.
    panic: Option<Payload>,
}

/// What is sent of a message to all whose numbers are the same.
struct Variant {
    /// None: it has not been made.
    numbers: Option<Numbers>,
    opcode: Opcode,
    /// What the topic writes of it, if it writes something.
    written: Vec<u8>,
    /// Its number among messages that go to many.
    number: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Begun {
    Nothing,
    Step,
    Other,
}

impl Variant {
    fn new(opcode: Opcode, written: Vec<u8>) -> Self {
        Self { numbers: None, opcode, written, number: 0 }
    }
}

impl Sheet<'_> {
    pub(super) fn shared(&mut self, payloads: &Payloads) -> Shared {
        self.shared.get_or_insert_with(|| payloads.keep(self.told.bytes)).clone()
    }

    fn numbers(&self, prev: u64) -> Numbers {
        Numbers { seq: self.seq, prev, merged: 1, removes: self.told.removes }
    }

    fn bytes<'s>(&'s self, variant: &'s Variant) -> &'s [u8] {
        if self.tells { &variant.written } else { self.told.bytes }
    }
}

impl Topics {
    /// Brings a message to all subscribers.
    pub(crate) fn publish(&mut self, topic: u32, told: Told<'_>, out: &mut impl Outlet) -> Published {
        let mut table = self.table(topic).take().expect("it was made");
        let seq = table.retained.take(&told);
        let step = Variant::new(told.opcode, std::mem::take(&mut self.scratch));
        let other = Variant::new(told.opcode, std::mem::take(&mut self.spare));
        let (tells, begun) = (table.topic.tells(), Begun::Nothing);
        let mut entries = std::mem::take(&mut table.entries);
        let crowd = entries.len();
        let mut sheet = Sheet { told, seq, shared: None, newest: NONE, step, other, begun, tells, crowd, panic: None };
        let has_followers = table.follower != NONE;
        // A subscription looks at its table, and at nothing of the list that is walked here.
        self.topics[topic as usize] = Some(table);
        let mut published = Published::default();
        if has_followers {
            published.conflated = self.tell_followers(topic, &mut sheet);
            self.totals.conflated += u64::from(published.conflated);
        }
        let mut at = 0;
        while let Some(entry) = entries.get_mut(at) {
            at += 1;
            // The short way: nothing is looked at but whether its socket keeps up.
            if entry.in_step
                && (sheet.begun == Begun::Step || self.write_step(topic, &mut sheet, out))
                && out.push(entry.conn, sheet.step.opcode, sheet.bytes(&sheet.step), sheet.step.number)
            {
                published.sent += 1;
                continue;
            }
            let (sub, place) = (entry.sub, at - 1);
            let fate = self.offer(topic, entry, &mut sheet, out);
            published.count(fate);
            planted!(
                SubscriberSkipped,
                if fate == Fate::Dropped {
                    at += 1;
                }
            );
            if self.may_follow(sub) {
                entries.swap_remove(place);
                if let Some(moved) = entries.get(place) {
                    self.subs[moved.sub as usize].place = place as u32;
                }
                at = place;
                self.begin_following(sub);
                self.follow(sub, fate, &mut sheet, out);
            }
        }
        self.topics[topic as usize].as_mut().expect("it was put back").entries = entries;
        if !self.visits.is_empty() {
            self.visit_all(topic, &mut sheet, &mut published, out);
        }
        if sheet.newest != NONE {
            self.end_telling(sheet.newest);
        }
        self.bare.clear();
        if let Some(panic) = sheet.panic.take() {
            let_go(panic); // nobody was to be given it at once
        }
        (self.scratch, self.spare) = (sheet.step.written, sheet.other.written);
        self.totals.published += 1;
        self.totals.delivered += u64::from(published.sent);
        published
    }

    /// Writes what is sent of a message to those in step.
    fn write_step(&mut self, topic: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> bool {
        let written = self.write_sheet(topic, sheet, sheet.seq.saturating_sub(1), out);
        if let Some(before) = std::mem::replace(&mut sheet.panic, written.err()) {
            let_go(before);
        }
        sheet.panic.is_none()
    }

    /// Writes what is sent of a message behind that number, unless that is there, and has the outputs told of it.
    fn write_sheet(
        &mut self,
        topic: u32,
        sheet: &mut Sheet<'_>,
        prev: u64,
        out: &mut impl Outlet,
    ) -> Result<(), Payload> {
        let (told, numbers) = (sheet.told, sheet.numbers(prev));
        let is_step = !sheet.tells || prev == sheet.seq.saturating_sub(1);
        let (variant, which) = if is_step { (&mut sheet.step, Begun::Step) } else { (&mut sheet.other, Begun::Other) };
        let is_made = variant.numbers.is_some_and(|made| !sheet.tells || made == numbers);
        if is_made && sheet.begun == which {
            return Ok(());
        }
        sheet.begun = Begun::Nothing;
        if !is_made {
            variant.numbers = None;
            let table = self.topics[topic as usize].as_ref().expect("it was made");
            let update = table.update(told.key, numbers, told.now, told.bytes);
            variant.opcode = table.topic.written(&update, told.opcode, &mut variant.written)?.0;
            variant.numbers = Some(numbers);
        }
        let bytes = if sheet.tells { &variant.written } else { told.bytes };
        // Others than those in step are sent it one by one.
        let crowd = if is_step { sheet.crowd } else { 0 };
        variant.number = out.begin(variant.opcode, bytes, crowd);
        sheet.begun = which;
        Ok(())
    }

    fn offer(&mut self, topic: u32, entry: &mut Entry, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let Entry { sub, in_step, .. } = *entry;
        if in_step {
            // What it was given before this message.
            let before = self.topics[topic as usize].as_ref().map_or(0, |table| table.retained.last_seq() - 1);
            self.subs[sub as usize].last = before;
        }
        let fate = self.offer_slowly(topic, sub, sheet, out);
        entry.in_step = self.in_step(sub);
        fate
    }

    pub(super) fn offer_slowly(&mut self, topic: u32, sub: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let Sub { conn, delivery, .. } = self.subs[sub as usize];
        let told = sheet.told;
        let room = out.room(conn);
        if room == Room::Gone {
            return self.lose(sub, sheet, Fate::Dropped);
        }
        if told.fixed {
            // Behind it nothing is conflated with what waits in front of it.
            self.subs[sub as usize].stretch += 1;
            planted!(TradeOvertakes, return self.give(topic, sub, sheet, out));
            self.release_held(sub, out);
        } else if delivery.conflates() {
            if let Some(piece) = self.find(sub, told.key) {
                return match self.pieces.at(piece).state {
                    State::Cooling => self.hold(sub, sheet, out),
                    State::Held | State::Queued => self.replace(topic, sub, piece, sheet, out),
                };
            }
            // An older one of its key waits in front of something that may not be conflated: both must not go at once.
            if delivery.interval.is_some() && self.last_of(sub, told.key) != NONE {
                return self.hold(sub, sheet, out);
            }
        }
        let goes = if delivery.has_lane() {
            room == Room::Free && self.lane(conn).fifo.is_empty()
        } else {
            self.subs[sub as usize].queued == 0
        };
        let goes = planted!(NewerOvertakes, true; goes);
        if goes { self.give(topic, sub, sheet, out) } else { self.wait(sub, sheet, out) }
    }

    /// Sends the message to a subscriber at once.
    fn give(&mut self, topic: u32, sub: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let Sub { conn, last, .. } = self.subs[sub as usize];
        let (key, seq) = (sheet.told.key, sheet.seq);
        let per_key = self.topics[topic as usize].as_ref().is_some_and(|table| table.retained.is_per_key());
        let prev = if per_key { self.lost(sub, key).before_next(seq) } else { last };
        let panicked = sheet.panic.take();
        if let Err(panic) = panicked.map_or_else(|| self.write_sheet(topic, sheet, prev, out), Err) {
            self.ends.panicked.push((conn, panic));
            return self.lose(sub, sheet, Fate::Dropped);
        }
        let variant = if sheet.begun == Begun::Step { &sheet.step } else { &sheet.other };
        if !out.send(conn, variant.opcode, sheet.bytes(variant), Some(variant.number)) {
            return self.lose(sub, sheet, Fate::Refused);
        }
        self.on_given(sub, key, seq, !per_key);
        if !sheet.told.fixed {
            self.cool(sub, key);
        }
        Fate::Sent
    }

    /// The message takes the place of the piece that waits, or is merged with it.
    fn replace(&mut self, topic: u32, sub: u32, piece: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let told = sheet.told;
        let table = self.topics[topic as usize].as_ref().expect("it has a subscriber");
        let (policy, old) = (self.subs[sub as usize].delivery.policy, self.pieces.at(piece));
        let (mut bytes, mut opcode) = (None, told.opcode);
        if policy == Policy::Merge && !told.removes && !old.removes {
            if old.full {
                return self.lose(sub, sheet, Fate::Refused);
            }
            let mut merged = Vec::new();
            if let Err(panic) = table.topic.merged(&old.bytes, told.bytes, &mut merged) {
                self.ends.panicked.push((self.subs[sub as usize].conn, panic));
                return self.lose(sub, sheet, Fate::Dropped);
            }
            opcode = if old.opcode == told.opcode { text_or_not(opcode, &merged) } else { Opcode::Binary };
            bytes = Some(self.payloads.keep(merged));
        }
        let len = bytes.as_ref().map_or(told.bytes.len(), |bytes: &Shared| bytes.len());
        let more = cost_of(len).saturating_sub(old.cost());
        let conn = self.subs[sub as usize].conn;
        let retained = old.retained;
        let mut fate = Fate::Conflated;
        if retained {
            // It counted as nothing: from now on it does.
            match self.may_wait(sub, cost_of(len), out) {
                Ok(as_any) => fate = as_any,
                Err(fate) => return self.lose(sub, sheet, fate),
            }
        } else if more > 0 && !self.has_room(sub, 0, more, out.spare(conn)) {
            if policy == Policy::Merge {
                self.pieces.at(piece).full = true; // nor will there be for what is merged next
                return self.lose(sub, sheet, Fate::Refused);
            }
            // An older value is worth nothing beside a newer one, for which the policy finds room or does not.
            self.drop_newest_of_key(piece);
            return match self.last_of(sub, told.key) {
                NONE => self.wait(sub, sheet, out),
                _ => self.hold(sub, sheet, out),
            };
        }
        let bytes = bytes.unwrap_or_else(|| sheet.shared(&self.payloads));
        let queued = self.pieces.at(piece).state == State::Queued;
        self.recount(sub, piece, bytes);
        let at = self.pieces.at(piece);
        (at.opcode, at.removes, at.seq, at.published_at) = (opcode, told.removes, sheet.seq, told.now);
        planted!(LagOfNewest, at.since = told.now);
        at.merged += planted!(MergedUncounted, u32::from(at.merged == 0); 1);
        let tail = self.forget_tail(sub, told.key);
        if sheet.seq <= 1 || tail == Some(0) {
            self.pieces.at(piece).prev = 0; // its key's numbers have begun anew
        }
        if retained {
            return fate;
        }
        self.subs[sub as usize].conflated += planted!(ConflatedUncounted, 0; 1);
        self.totals.conflated += 1;
        if queued {
            self.lane(conn).lagged.conflated += 1;
        }
        fate
    }

    /// The message waits until its key may be sent again: for as long as the last piece of that says, or until an interval after that has gone.
    fn hold(&mut self, sub: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let fate = match self.may_wait(sub, cost_of(sheet.told.bytes.len()), out) {
            Ok(fate) => fate,
            Err(fate) => return self.lose(sub, sheet, fate),
        };
        let last = self.last_of(sub, sheet.told.key);
        if last == NONE {
            // That was dropped to make room, and its key was at rest.
            let piece = self.piece(sub, State::Queued, sheet);
            self.enqueue(piece, out);
            return fate;
        }
        let Piece { state, until, behind, .. } = *self.pieces.at(last);
        let mut piece = self.piece(sub, State::Held, sheet);
        if state == State::Cooling {
            self.discard(last);
            (piece.until, piece.behind) = (until, behind);
        } else {
            piece.behind = last;
        }
        let piece = self.attach(piece);
        let owner = &mut self.subs[sub as usize];
        owner.held += 1;
        self.pieces.push(&mut owner.holds, piece, Through::Lane);
        planted!(RateIgnored, {
            self.release(piece, out);
            return fate;
        });
        if let Some(until) = self.pieces.at(piece).until {
            self.hold_until(piece, until);
        }
        fate
    }

    /// The message waits in the lane.
    fn wait(&mut self, sub: u32, sheet: &mut Sheet<'_>, out: &mut impl Outlet) -> Fate {
        let fate = match self.may_wait(sub, cost_of(sheet.told.bytes.len()), out) {
            Ok(fate) => fate,
            Err(fate) => return self.lose(sub, sheet, fate),
        };
        let piece = self.piece(sub, State::Queued, sheet);
        self.enqueue(piece, out);
        fate
    }

    fn piece(&mut self, sub: u32, state: State, sheet: &mut Sheet<'_>) -> Piece {
        let told = sheet.told;
        let tail = self.forget_tail(sub, told.key);
        let mut piece = Piece::new(sub, state, told.key, self.subs[sub as usize].stretch);
        (piece.removes, piece.fixed, piece.seq, piece.opcode) = (told.removes, told.fixed, sheet.seq, told.opcode);
        piece.prev = tail.unwrap_or(sheet.seq.saturating_sub(1));
        (piece.merged, piece.published_at, piece.since) = (1, told.now, told.now);
        piece.set_bytes(sheet.shared(&self.payloads));
        piece
    }

    /// What becomes of another message of this cost: it waits, and others may have been dropped for it; or it does not.
    fn may_wait(&mut self, sub: u32, cost: u32, out: &mut impl Outlet) -> Result<Fate, Fate> {
        let before = self.totals.dropped;
        if self.make_room(sub, 1, cost, out) {
            return Ok(if self.totals.dropped == before { Fate::Waiting } else { Fate::Dropped });
        }
        let Sub { conn, delivery, .. } = self.subs[sub as usize];
        match delivery.policy {
            Policy::Close(code) => {
                self.ends.slow.push((conn, code));
                Err(Fate::Dropped)
            }
            Policy::DropOldest | Policy::DropNewest => Err(Fate::Dropped),
            Policy::Queue | Policy::Conflate | Policy::Merge => Err(Fate::Refused),
        }
    }

    /// The message is lost for this subscriber.
    fn lose(&mut self, sub: u32, sheet: &Sheet<'_>, fate: Fate) -> Fate {
        self.lose_behind(sub, sheet.told.key, sheet.seq, sheet.told.removes);
        let conn = self.subs[sub as usize].conn;
        self.subs[sub as usize].dropped += 1;
        self.totals.dropped += 1;
        if self.subs[sub as usize].delivery.has_lane() {
            self.lane(conn).lagged.dropped += 1;
            self.note_lagged(conn);
        }
        fate
    }
}
