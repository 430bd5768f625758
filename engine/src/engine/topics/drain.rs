//! What waits goes out: to one connection, when its output is empty; and what is held joins those that wait, when its time has come.

use wsring_proto::opcode::Opcode;

use super::delivery::Lagged;
use super::follow::Value;
use super::outlet::Outlet;
use super::pieces::{NONE, Piece, State};
use super::topic::{Numbers, Table};
use super::whole::Topics;
use crate::engine::deadlines::Tick;
use crate::engine::planted::planted;
use crate::ring::Time;

/// Pieces looked at in a pass.
const EXPIRE_MAX: usize = 4096;

impl Topics {
    /// Encodes what waits for a connection, as long as its output takes more.
    pub(crate) fn drain(&mut self, conn: u32, out: &mut impl Outlet) {
        let (now, before) = (self.moment(), out.queued(conn));
        let step = self.lane_at(conn).map_or(0, |lane| {
            lane.stride.look(now);
            lane.stride.step()
        });
        while let Some(lane) = self.lane_at(conn) {
            let piece = lane.fifo.first;
            if piece == NONE || !out.drains(conn, step) {
                break;
            }
            if !self.send_piece(conn, piece, out) {
                if out.queued(conn) > 0 {
                    break; // it goes when that has gone
                }
                let sub = self.pieces.at(piece).sub;
                self.drop_piece(piece); // nothing will ever make room for it
                self.note_step(sub);
            }
        }
        if let Some(lane) = self.lane_at(conn) {
            lane.stride.note(out.queued(conn).saturating_sub(before));
            out.set_flow(conn, lane.stride.bytes());
        }
        self.note_emptied(conn, out);
    }

    /// Encodes all that waits for a connection, and what is held, as far as its output has room.
    pub(crate) fn flush(&mut self, conn: u32, out: &mut impl Outlet) {
        let mut sub = self.lane_at(conn).map_or(NONE, |lane| lane.first);
        while sub != NONE {
            self.release_held(sub, out);
            sub = self.subs[sub as usize].next;
        }
        while let Some(piece) = self.lane_at(conn).map(|lane| lane.fifo.first)
            && piece != NONE
            && self.send_piece(conn, piece, out)
        {}
        self.note_emptied(conn, out);
    }

    /// Whether the piece in front went.
    fn send_piece(&mut self, conn: u32, piece: u32, out: &mut impl Outlet) -> bool {
        let Piece { sub, key, retained, .. } = *self.pieces.at(piece);
        let Value { seq, prev, merged, removes, opcode, published_at, bytes } = self.value_of(piece);
        let topic = self.subs[sub as usize].topic;
        let table = self.topics[topic as usize].take().expect("it has a subscriber");
        let per_key = table.retained.is_per_key();
        let prev = match (per_key, retained) {
            (true, false) => self.lost(sub, key).before(prev),
            (true, true) => 0,
            (false, _) if seq == 0 => 0,
            (false, _) => self.subs[sub as usize].last,
        };
        let numbers = Numbers { seq, prev, merged, removes };
        let ends = self.ends.panicked.len();
        let went = self.write_one(conn, &table, key, numbers, published_at, opcode, &bytes, out);
        self.topics[topic as usize] = Some(table);
        if self.ends.panicked.len() > ends {
            self.drop_piece(piece);
            self.note_step(sub);
            return true; // its place is free
        }
        if !went {
            return false;
        }
        if !retained {
            self.totals.delivered += 1;
            if per_key {
                self.forget_head(sub, key);
            }
        }
        let owner = &mut self.subs[sub as usize];
        owner.last = owner.last.max(seq);
        if let Some(interval) = owner.delivery.interval {
            self.pieces.at(piece).until = Some(Tick::of(self.now).after(interval)); // for one that is held behind it
        }
        let cools = self.is_last(piece);
        self.discard(piece);
        if cools {
            self.cool(sub, key);
        }
        self.note_step(sub);
        true
    }

    /// Writes a message for one subscriber and sends it. Whether that was possible.
    #[allow(clippy::too_many_arguments, reason = "what an update says, and where it goes")]
    pub(super) fn write_one(
        &mut self,
        conn: u32,
        table: &Table,
        key: Option<u64>,
        numbers: Numbers,
        at: Time,
        opcode: Opcode,
        payload: &[u8],
        out: &mut impl Outlet,
    ) -> bool {
        let mut written = std::mem::take(&mut self.scratch);
        let update = table.update(key, numbers, at, payload);
        let went = match table.topic.written(&update, opcode, &mut written) {
            Ok((opcode, bytes)) => out.send(conn, opcode, bytes, None),
            Err(panic) => {
                self.ends.panicked.push((conn, panic));
                false
            }
        };
        self.scratch = written;
        went
    }

    /// A subscriber was given this message.
    pub(super) fn on_given(&mut self, sub: u32, key: Option<u64>, seq: u64, one_sequence: bool) {
        if one_sequence {
            let sub = &mut self.subs[sub as usize];
            sub.last = sub.last.max(seq);
        } else {
            self.forget_lost(sub, key);
        }
    }

    /// If nothing waits in a connection's lane any more, that is known, and told.
    pub(super) fn note_emptied(&mut self, conn: u32, out: &mut impl Outlet) {
        let now = self.moment();
        if let Some(lane) = self.lane_at(conn)
            && lane.fifo.is_empty()
        {
            lane.stride.end(now);
            out.set_flow(conn, lane.stride.bytes());
            out.set_waits(conn, false);
            planted!(LagUntold, return);
            self.note_lagged(conn);
        }
    }

    /// If a connection has missed something and nothing waits for it, that is told soon; once, however much it is.
    pub(super) fn note_lagged(&mut self, conn: u32) {
        let lane = self.lane(conn);
        if lane.fifo.is_empty() && lane.lagged != Lagged::default() && !std::mem::replace(&mut lane.is_told, true) {
            self.lagged.push(conn);
        }
    }

    /// What has been held long enough joins the lanes, and keys that have not been sent for long enough are forgotten.
    pub(crate) fn expire(&mut self, out: &mut impl Outlet) {
        let now = Tick::of(self.now);
        let Some(held) = &mut self.held else { return };
        let mut due = std::mem::take(&mut self.due);
        held.advance(now, &mut due, EXPIRE_MAX);
        for piece in due.drain(..) {
            let at = self.pieces.at(piece);
            let (sub, until) = (at.sub, at.until);
            if let Some(until) = until.filter(|until| !until.is_due(now)) {
                self.hold_until(piece, until); // beyond the wheel's horizon
                continue;
            }
            match at.state {
                State::Cooling => {
                    self.discard(piece);
                    self.note_step(sub);
                }
                State::Held => {
                    planted!(HeldLost, {
                        self.discard(piece);
                        continue;
                    });
                    self.release(piece, out);
                }
                State::Queued => {}
            }
        }
        self.due = due;
    }
}
