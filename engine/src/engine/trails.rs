//! Messages that go to many, one behind the other in one memory as they were published.
//!
//! Owns that memory while it is written, and counts who is to be sent a [`Span`] of it: whoever gets several messages in a row gets one longer span,
//! and nothing is copied for anybody. Promises: nothing that a span names changes, because what is read is written no more ([`Trails::lend`] closes
//! it, and the next message begins another trail); and the memory goes back to the pool with the last who had a part of it.
//! Refuses to know: who they are, and what is in a message.

use std::rc::Rc;

use wsring_proto::pool::Pool;

use super::planted::planted;
use crate::ring::{Heap, Memory, Payload};

/// A trail is no longer than this, unless its only message is: whoever reads slowly keeps all of it.
pub(crate) const TRAIL_MAX: usize = 64 << 10;
/// A part in so many is little.
const LITTLE: usize = 8;
/// Empty memory kept for trails that are closed.
const SHELLS_MAX: usize = 64;

/// Messages of a trail that one connection is to be sent, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    trail: u32,
    from: u32,
    to: u32,
}

impl Span {
    pub(crate) fn len(&self) -> u32 {
        self.to - self.from
    }

    /// Takes in the message of another span, if that is the next one. Whether it is.
    pub(super) fn extend(&mut self, next: &Span) -> bool {
        let follows = self.trail == next.trail && planted!(TrailUnbroken, self.to <= next.from; self.to == next.from);
        if follows {
            self.to = next.to;
        }
        follows
    }
}

/// What is written no more.
struct Closed {
    number: u32,
    users: u32,
    bytes: Rc<Vec<u8>>,
}

/// The trails of a core.
#[derive(Default)]
pub(crate) struct Trails {
    /// The one that is written, which nobody reads; its number, and how many spans of it there are.
    written: Vec<u8>,
    number: u32,
    users: u32,
    /// Those with spans for which nobody has come yet.
    closed: Vec<Closed>,
    shells: Vec<Rc<Vec<u8>>>,
    /// Pieces of output that were lent, and the memory of all trails that are closed.
    pieces: usize,
    lent: usize,
}

impl Trails {
    /// Adds a message. It is there until the next is added or [`Self::tidy`], and as long as anybody has joined.
    pub(crate) fn append(&mut self, frame: &[u8], pool: &mut Pool) -> Span {
        if self.users == 0 {
            self.written.clear();
            self.number = self.number.wrapping_add(1);
        } else if self.written.len() + frame.len() > TRAIL_MAX {
            self.close();
        }
        let (from, need) = (self.written.len(), self.written.len() + frame.len());
        if self.written.capacity() < need {
            let mut larger = pool.take(need, (2 * need).min(TRAIL_MAX).max(need));
            larger.extend_from_slice(&self.written);
            let before = std::mem::replace(&mut self.written, larger);
            if before.capacity() > 0 {
                pool.put(before);
            }
        }
        self.written.extend_from_slice(frame);
        Span { trail: self.number, from: from as u32, to: need as u32 }
    }

    /// One more is to be sent this, if it is still there.
    #[inline]
    pub(crate) fn join(&mut self, span: &Span) -> bool {
        let users = if span.trail == self.number {
            Some(&mut self.users)
        } else {
            self.closed.iter_mut().find(|closed| closed.number == span.trail).map(|closed| &mut closed.users)
        };
        users.map(|users| *users += 1).is_some()
    }

    /// It is little of its trail, all of which it would keep.
    pub(crate) fn is_little(&self, span: &Span) -> bool {
        let all =
            if span.trail == self.number { self.written.len() } else { self.closed[self.place(span)].bytes.len() };
        all >= LITTLE * span.len() as usize
    }

    /// What a span names.
    pub(crate) fn bytes(&self, span: &Span) -> &[u8] {
        let bytes = if span.trail == self.number { &self.written } else { &*self.closed[self.place(span)].bytes };
        &bytes[span.from as usize..span.to as usize]
    }

    /// The same, to be sent by the one who joined.
    pub(crate) fn lend(&mut self, span: Span) -> Payload {
        if span.trail == self.number {
            self.close();
        }
        let bytes = self.let_go(self.place(&span));
        self.pieces += 1;
        Payload { memory: Memory::Heap(Heap::Trail(bytes)), from: span.from, to: span.to }
    }

    /// One who joined has copied it.
    pub(crate) fn leave(&mut self, span: Span, pool: &mut Pool) {
        if span.trail == self.number {
            self.users -= 1;
            self.tidy(pool);
        } else {
            let bytes = self.let_go(self.place(&span));
            self.reclaim(bytes, pool);
        }
    }

    /// The memory of messages that nobody has joined goes back.
    #[inline]
    pub(crate) fn tidy(&mut self, pool: &mut Pool) {
        if self.users == 0 && self.written.capacity() > 0 {
            pool.put(std::mem::take(&mut self.written));
            self.number = self.number.wrapping_add(1); // nobody joins what has gone
        }
    }

    /// What was lent comes back.
    pub(crate) fn give_back(&mut self, bytes: Rc<Vec<u8>>, pool: &mut Pool) {
        planted!(TrailKept, return std::mem::forget(bytes));
        self.pieces -= 1;
        self.reclaim(bytes, pool);
    }

    /// Memory of all trails.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn held_bytes(&self) -> usize {
        self.written.capacity() + self.lent
    }

    /// Pieces of output that were lent, and the memory that they share.
    pub(crate) fn shared(&self) -> (usize, usize) {
        (self.pieces, self.lent)
    }

    /// Nothing more is written to it: from now on it is read.
    fn close(&mut self) {
        let mut bytes = self.shells.pop().unwrap_or_default();
        *Rc::get_mut(&mut bytes).expect("a shell is nobody's") = std::mem::take(&mut self.written);
        self.lent += bytes.capacity();
        planted!(TrailReused, Rc::get_mut(&mut bytes).expect("nobody has it yet").rotate_left(1));
        self.closed.push(Closed { number: self.number, users: self.users, bytes });
        (self.number, self.users) = (self.number.wrapping_add(1), 0);
    }

    fn place(&self, span: &Span) -> usize {
        let found = self.closed.iter().rposition(|closed| closed.number == span.trail);
        found.expect("a trail stays for whoever joined")
    }

    /// One of its users has come.
    fn let_go(&mut self, place: usize) -> Rc<Vec<u8>> {
        let closed = &mut self.closed[place];
        closed.users -= 1;
        if closed.users == 0 { self.closed.swap_remove(place).bytes } else { Rc::clone(&closed.bytes) }
    }

    /// Memory whose last owner this is goes back.
    fn reclaim(&mut self, mut bytes: Rc<Vec<u8>>, pool: &mut Pool) {
        let Some(last) = Rc::get_mut(&mut bytes) else { return };
        let memory = std::mem::take(last);
        self.lent -= memory.capacity();
        pool.put(memory);
        if self.shells.len() < SHELLS_MAX {
            self.shells.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give_back(trails: &mut Trails, payload: Payload, pool: &mut Pool) {
        let Memory::Heap(Heap::Trail(bytes)) = payload.memory else { panic!("no trail") };
        trails.give_back(bytes, pool);
    }

    /// Two who were there from the first message, one from the second: each reads a span of one memory, which goes back with the last.
    #[test]
    fn spans_are_of_one_memory() {
        let (mut trails, mut pool) = (Trails::default(), Pool::new(1 << 20));
        let mut first = trails.append(b"one", &mut pool);
        assert!(trails.join(&first) && trails.join(&first));
        let mut other = first;
        let second = trails.append(b"second", &mut pool);
        assert!(first.extend(&second) && other.extend(&second) && trails.join(&second));
        assert_eq!((first.len(), trails.bytes(&first)), (9, &b"onesecond"[..]));
        let pieces = [first, second, other].map(|span| trails.lend(span));
        assert_eq!(pieces.each_ref().map(|piece| piece.bytes()), [&b"onesecond"[..], b"second", b"onesecond"]);
        assert_eq!(pieces[0].memory.bytes().as_ptr(), pieces[1].memory.bytes().as_ptr());
        assert_eq!(trails.shared(), (3, 4096));
        // What comes now lies elsewhere.
        let third = trails.append(b"third", &mut pool);
        assert!(!first.extend(&third) && trails.join(&third));
        assert_eq!((pieces[0].bytes(), trails.bytes(&third)), (&b"onesecond"[..], &b"third"[..]));
        trails.leave(third, &mut pool);
        for piece in pieces {
            assert_eq!(trails.shared().1, 4096);
            give_back(&mut trails, piece, &mut pool);
        }
        assert_eq!((trails.shared(), trails.held_bytes(), pool.lent_bytes()), ((0, 0), 0, 0));
        trails.append(b"nobody's", &mut pool);
        assert_eq!(pool.lent_bytes(), 4096);
        trails.tidy(&mut pool);
        assert_eq!((trails.held_bytes(), pool.lent_bytes()), (0, 0));
    }

    /// A message that nobody joined is written over; one between two others is a gap.
    #[test]
    fn what_nobody_is_sent_takes_no_room() {
        let (mut trails, mut pool) = (Trails::default(), Pool::new(1 << 20));
        let (nobodys, first) = (trails.append(b"nobody's", &mut pool), trails.append(b"first", &mut pool));
        assert!(trails.join(&first) && nobodys.len() == 8);
        let (_, last) = (trails.append(b"missed", &mut pool), trails.append(b"last", &mut pool));
        let mut span = first;
        assert!(!span.extend(&last) && trails.bytes(&span) == b"first");
        assert!(trails.join(&last));
        let pieces = [span, last].map(|span| trails.lend(span));
        assert!(!trails.join(&last), "it has gone with the last who had joined");
        assert_eq!(pieces.each_ref().map(|piece| piece.bytes()), [&b"first"[..], b"last"]);
        pieces.into_iter().for_each(|piece| give_back(&mut trails, piece, &mut pool));
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn a_trail_has_an_end_and_its_memory_is_used_again() {
        let (mut trails, mut pool) = (Trails::default(), Pool::new(1 << 20));
        let mut held = Vec::new();
        for _ in 0..3 {
            let long = vec![7; TRAIL_MAX - 3];
            let mut first = trails.append(&long, &mut pool);
            assert!(trails.join(&first));
            let fits = trails.append(b"fit", &mut pool);
            assert!(first.extend(&fits));
            let next = trails.append(b"x", &mut pool);
            assert!(!first.extend(&next) && trails.join(&next));
            assert_eq!(trails.bytes(&first).len(), TRAIL_MAX);
            trails.leave(first, &mut pool);
            let piece = trails.lend(next);
            assert_eq!(piece.bytes(), b"x");
            give_back(&mut trails, piece, &mut pool);
            assert_eq!((trails.held_bytes(), pool.lent_bytes()), (0, 0));
            held.push(pool.held_bytes());
        }
        assert!(held[0] > TRAIL_MAX && held.iter().all(|&bytes| bytes == held[0]), "{held:?}");
    }
}
