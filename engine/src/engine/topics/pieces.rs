//! The messages that wait, of all subscriptions of a core, and two lists through each: the lane of its connection, first in first
//! out, and those of its subscription.
//!
//! Promises that adding, removing and replacing one costs the same however many wait. Refuses to know what a list means.

use slab::Slab;
use wsring_proto::opcode::Opcode;

use super::payload::Shared;
use crate::engine::deadlines::Tick;
use crate::ring::Time;

/// No piece.
pub(super) const NONE: u32 = u32::MAX;

/// What a piece counts beside its bytes.
pub(super) const PIECE: u32 = 128;

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In the lane.
    Queued,
    /// Until its key may be sent again.
    Held,
    /// No message: its key has been sent, and may not be again for a while.
    Cooling,
}

/// A place in a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    next: u32,
    prev: u32,
}

const UNLINKED: Link = Link { next: NONE, prev: NONE };

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// Which of a piece's links a list runs through.
#[derive(Clone, Copy)]
pub(super) enum Through {
    Lane,
    Own,
}

/// A message that waits for one subscriber, or what is left of one that went.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) sub: u32,
    pub(super) state: State,
    /// A value that was retained: it counts as nothing.
    pub(super) retained: bool,
    /// It takes its key away.
    pub(super) removes: bool,
    /// It is not conflated.
    pub(super) fixed: bool,
    /// What was to be merged into it did not fit: nothing more is tried.
    pub(super) full: bool,
    /// It can be found by its key.
    pub(super) indexed: bool,
    /// The stretch of its subscription within which messages are conflated.
    pub(super) stretch: u32,
    pub(super) key: Option<u64>,
    pub(super) seq: u64,
    /// The number before it, if its key has numbers of its own.
    pub(super) prev: u64,
    /// Messages that it stands for.
    pub(super) merged: u32,
    pub(super) opcode: Opcode,
    pub(super) bytes: Shared,
    /// Bytes of payload that it counts.
    pub(super) charge: u32,
    /// The newest message that it follows: then it is that, and not what stands here. How many messages that had been when it began.
    pub(super) follows: u32,
    pub(super) joined: u64,
    pub(super) published_at: Time,
    /// When the place that it has was taken.
    pub(super) since: Time,
    /// When its key may be sent again, if it was sent a while ago.
    pub(super) until: Option<Tick>,
    /// The older one of its key, of an earlier stretch, that it is held behind: when that has gone it is known until when. And the newer one behind itself.
    pub(super) behind: u32,
    pub(super) newer: u32,
    lane: Link,
    own: Link,
}

impl Piece {
    /// A piece in no list.
    pub(super) fn new(sub: u32, state: State, key: Option<u64>, stretch: u32) -> Self {
        Self {
            sub,
            state,
            retained: false,
            removes: false,
            fixed: false,
            full: false,
            indexed: false,
            stretch,
            key,
            seq: 0,
            prev: 0,
            merged: 0,
            opcode: Opcode::Binary,
            bytes: Shared::default(),
            charge: 0,
            follows: NONE,
            joined: 0,
            published_at: Time::default(),
            since: Time::default(),
            until: None,
            behind: NONE,
            newer: NONE,
            lane: UNLINKED,
            own: UNLINKED,
        }
    }

    /// Bytes that it counts.
    pub(super) fn cost(&self) -> u32 {
        self.charge.saturating_add(PIECE)
    }

    pub(super) fn set_bytes(&mut self, bytes: Shared) {
        (self.charge, self.bytes) = (len_of(&bytes), bytes);
    }

    fn link(&mut self, through: Through) -> &mut Link {
        match through {
            Through::Lane => &mut self.lane,
            Through::Own => &mut self.own,
        }
    }
}

/// Bytes that a message of this length counts.
pub(super) fn cost_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).saturating_add(PIECE)
}

/// The same of its payload alone.
pub(super) fn len_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// All pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces(pub(super) Slab<Piece>);

impl Pieces {
    pub(super) fn at(&mut self, index: u32) -> &mut Piece {
        &mut self.0[index as usize]
    }

    pub(super) fn add(&mut self, piece: Piece) -> u32 {
        self.0.insert(piece) as u32
    }

    pub(super) fn free(&mut self, index: u32) -> Piece {
        self.0.remove(index as usize)
    }

    /// Puts a piece at the end of a list.
    pub(super) fn push(&mut self, list: &mut List, index: u32, through: Through) {
        *self.at(index).link(through) = Link { next: NONE, prev: list.last };
        match list.last {
            NONE => list.first = index,
            last => self.at(last).link(through).next = index,
        }
        list.last = index;
    }

    /// Takes a piece out of the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32, through: Through) {
        let Link { next, prev } = std::mem::replace(self.at(index).link(through), UNLINKED);
        match prev {
            NONE => list.first = next,
            prev => self.at(prev).link(through).next = next,
        }
        match next {
            NONE => list.last = prev,
            next => self.at(next).link(through).prev = prev,
        }
    }

    /// The one behind it.
    pub(super) fn next(&mut self, index: u32, through: Through) -> u32 {
        self.at(index).link(through).next
    }
}
