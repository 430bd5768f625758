//! Owns one connection's output: pieces of bytes in order, how many they are, and the send that is with the kernel.
//!
//! Frames are encoded straight into the last piece: a send block while it fits, then a pooled buffer, so that all replies of a
//! pass leave in one send. Refuses to know whether the connection may send, what is compressed, and where masking keys
//! come from.

use std::collections::VecDeque;

use bytes::Bytes;
use wsring_proto::encode;
use wsring_proto::opcode::Opcode;
use wsring_proto::simd::{self, HEADROOM, MaskKey};

use super::planted::planted;
use super::stores::{Segment, Stores};
use super::trails::Span;
use crate::ring::{Block, Heap, Memory, Payload};

/// Small frames are gathered in one piece up to this many bytes; larger pieces would be copied too often.
pub(crate) const COALESCE_MAX: usize = 256 << 10;
/// Up to so many bytes a piece that grows would like room for twice as many: fewer moves, where little can lie idle.
const DOUBLED_MAX: usize = 32 << 10;

/// What follows messages that many are sent goes into one piece with them, copied, up to so many bytes together: beyond, a send more costs less.
const LANDED_MAX: usize = 12 << 10;

/// What a connection's socket is to be given next, over TLS.
#[cfg(feature = "tls")]
pub(crate) enum Next {
    Piece(Payload),
    /// Nothing until the handshake of TLS is over.
    Waits,
    Nothing,
}

/// What is to be sent on a connection.
pub(crate) struct Output {
    /// The piece being filled or next to go; `rest` follows it.
    first: Option<Segment>,
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    rest: Option<Box<VecDeque<Segment>>>,
    /// Bytes queued or with the kernel.
    pub(crate) queued: u32,
    /// A send is with the kernel.
    pub(crate) is_sending: bool,
    /// And so much memory.
    pub(crate) lent: Lent,
    /// Messages of topics wait beside this output, to go when it is empty.
    pub(crate) waits: bool,
    /// They do when so much is queued.
    pub(crate) flow: Flow,
}

/// What memory the kernel has of an output, in a byte: of a long piece that is sent in parts it has all of it until the last has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lent(u8);

impl Lent {
    /// None, or a block, which is its core's for good.
    pub(crate) const BLOCK: Self = Self(0);
    const SHARED: Self = Self(u8::MAX);

    pub(crate) fn of(memory: &Memory) -> Self {
        let of_its_own = || memory.held_bytes().checked_ilog2().map_or(Self::BLOCK, |log| Self(log as u8));
        if memory.is_shared() { Self::SHARED } else { of_its_own() }
    }

    /// How many bytes that is at least, and more than half, of a send with so many bytes left. Of what others have too nobody knows how
    /// many they are: `mean`, as much as on average, however few are left.
    pub(crate) fn bytes(self, left: usize, mean: usize) -> usize {
        match self {
            Self::BLOCK => left,
            Self::SHARED => mean,
            Self(log) => left.max(1 << log),
        }
    }
}

/// Bytes from which on a connection does not keep up with what topics have for it, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow(u8);

impl Flow {
    const MOST: Self = Self(64);

    /// Of 1 KiB at least, and 64 KiB at most.
    pub(crate) fn of(bytes: u32) -> Self {
        Self((bytes >> 10).clamp(1, Self::MOST.0.into()) as u8)
    }

    #[inline]
    pub(crate) fn bytes(self) -> u32 {
        u32::from(self.0) << 10
    }
}

impl Output {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            rest: None,
            queued: 0,
            is_sending: false,
            lent: Lent::BLOCK,
            waits: false,
            flow: Flow::MOST,
        }
    }

    /// No piece waits; a send may be with the kernel.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The next piece, if it is ready to go.
    #[cfg(feature = "tls")]
    pub(crate) fn next(&self) -> Option<&Payload> {
        match &self.first {
            Some(Segment::Ready(payload)) => Some(payload),
            _ => None,
        }
    }

    /// All pieces that wait.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Payload> {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        self.first.iter().chain(rest).filter_map(|segment| match segment {
            Segment::Ready(payload) => Some(payload),
            Segment::Promised | Segment::Along(_) => None,
        })
    }

    /// There is one piece, and no other behind it.
    #[cfg(feature = "tls")]
    pub(crate) fn is_one_piece(&self) -> bool {
        self.first.is_some() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    /// The block that is all there is, and how full it is.
    #[inline]
    pub(crate) fn only_block(&mut self) -> Option<(&mut Block, &mut u32)> {
        match &mut self.first {
            Some(Segment::Ready(Payload { memory: Memory::Block(block), to, .. })) if self.rest.is_none() => {
                Some((block, to))
            }
            _ => None,
        }
    }

    /// Encodes a frame at the end, whatever its size.
    #[inline(always)]
    pub(crate) fn frame(&mut self, stores: &mut Stores, opcode: Opcode, bytes: &[u8], mask: Option<MaskKey>) {
        // A server's frame has no mask, which leaves half of the encoder out.
        match mask {
            None => self.encode(stores, opcode, bytes, None),
            Some(key) => self.frame_masked(stores, opcode, bytes, key),
        }
    }

    #[inline(never)]
    fn frame_masked(&mut self, stores: &mut Stores, opcode: Opcode, bytes: &[u8], key: MaskKey) {
        self.encode(stores, opcode, bytes, Some(key));
    }

    #[inline(always)]
    fn encode(&mut self, stores: &mut Stores, opcode: Opcode, bytes: &[u8], mask: Option<MaskKey>) {
        let need = encode::frame_len(bytes.len(), mask.is_some());
        if self.first.is_none() && need <= stores.blocks.size() {
            let block = stores.blocks.take();
            self.first = block.map(|block| Segment::Ready(Payload { memory: Memory::Block(block), from: 0, to: 0 }));
        }
        if let Some(Segment::Ready(Payload { memory: Memory::Block(block), to, .. })) = self.tail()
            && let Some(written) = encode::frame(&mut block[*to as usize..], true, opcode, bytes, mask)
        {
            *to += written as u32;
            self.queued += written as u32;
            return;
        }
        if self.is_along() {
            return self.frame_landed(stores, opcode, bytes, mask);
        }
        match self.room(stores, need) {
            Payload { memory: Memory::Block(block), to, .. } => {
                let written = encode::frame(&mut block[*to as usize..], true, opcode, bytes, mask);
                *to += written.expect("room was made") as u32;
            }
            Payload { memory: Memory::Heap(Heap::Pooled(heap)), to, .. } => {
                encode::append_frame(heap, true, opcode, bytes, mask);
                *to = heap.len() as u32;
            }
            Payload { memory: Memory::Heap(Heap::Shared(_) | Heap::Trail(_)), .. } => {
                unreachable!("no frame is added to shared memory")
            }
        }
        self.queued += need as u32;
    }

    /// Messages that many are sent wait here, and nothing else does.
    #[inline]
    pub(crate) fn is_along(&self) -> bool {
        matches!(self.first, Some(Segment::Along(_)))
    }

    /// Takes part in a message that many are sent, if nothing waits but those in front of it. Whether it does.
    #[inline]
    pub(crate) fn go_along(&mut self, stores: &mut Stores, message: &Span) -> bool {
        let goes = match &mut self.first {
            None => stores.trails.join(message),
            Some(Segment::Along(span)) => span.extend(message),
            Some(_) => false,
        };
        if goes {
            self.queued += message.len();
            if self.first.is_none() {
                self.first = Some(Segment::Along(*message));
            }
        }
        goes
    }

    /// Those messages become a piece like others: something else is to be done with it than to go on with the next of them.
    pub(crate) fn settle_along(&mut self, stores: &mut Stores) {
        if let Some(Segment::Along(span)) = self.first {
            self.first = Some(Segment::Ready(stores.trails.lend(span)));
        }
    }

    /// The same, where so many bytes are to follow or they are to be kept for long: copied if they are few.
    #[cold]
    #[inline(never)]
    pub(crate) fn land(&mut self, stores: &mut Stores, need: usize) {
        let Some(Segment::Along(span)) = self.first else { return };
        let len = span.len() as usize;
        if len + need > LANDED_MAX {
            return self.settle_along(stores);
        }
        let mut memory = stores.room(len + need);
        let bytes = stores.trails.bytes(&span);
        match &mut memory {
            Memory::Block(block) => block[..len].copy_from_slice(bytes),
            Memory::Heap(Heap::Pooled(heap)) => heap.extend_from_slice(bytes),
            Memory::Heap(Heap::Shared(_) | Heap::Trail(_)) => unreachable!("room is no shared memory"),
        }
        stores.trails.leave(span, &mut stores.pool);
        self.first = Some(Segment::Ready(Payload { memory, from: 0, to: len as u32 }));
    }

    #[cold]
    #[inline(never)]
    fn frame_landed(&mut self, stores: &mut Stores, opcode: Opcode, bytes: &[u8], mask: Option<MaskKey>) {
        self.land(stores, encode::frame_len(bytes.len(), mask.is_some()));
        self.encode(stores, opcode, bytes, mask);
    }

    /// Copies a frame into the block that is filled, or into one that is begun for it. Whether there is one with room.
    #[inline]
    pub(crate) fn copy(&mut self, stores: &mut Stores, frame: &[u8]) -> bool {
        if self.first.is_none() && frame.len() <= stores.blocks.size() {
            let block = stores.blocks.take();
            self.first = block.map(|block| Segment::Ready(Payload { memory: Memory::Block(block), from: 0, to: 0 }));
        }
        let Some((block, to)) = self.only_block() else { return false };
        let Some(room) = block.get_mut(*to as usize..*to as usize + frame.len()) else { return false };
        room.copy_from_slice(frame);
        *to += frame.len() as u32;
        self.queued += frame.len() as u32;
        true
    }

    /// The last piece takes so many bytes more, in more memory if need be.
    fn can_grow(&mut self, need: usize) -> bool {
        match self.tail() {
            Some(Segment::Ready(tail)) => tail.to as usize + need <= COALESCE_MAX && !tail.memory.is_shared(),
            _ => false,
        }
    }

    /// The piece with room for `need` more bytes: the last one, grown if it stays small, or a new one.
    #[inline(always)]
    fn room(&mut self, stores: &mut Stores, need: usize) -> &mut Payload {
        let grown = match self.tail() {
            Some(Segment::Ready(tail)) if tail.to as usize + need <= COALESCE_MAX && !tail.memory.is_shared() => {
                let used = tail.to as usize;
                match &mut tail.memory {
                    Memory::Heap(Heap::Pooled(heap)) if heap.capacity() - heap.len() >= need => {}
                    memory => {
                        let least = used + need;
                        let mut larger = stores.pool.take(least, if least > DOUBLED_MAX { least } else { 2 * least });
                        simd::copy_append(&memory.bytes()[..used], &mut larger);
                        stores.recycle(std::mem::replace(memory, Memory::Heap(Heap::Pooled(larger))));
                    }
                }
                true
            }
            _ => false,
        };
        if !grown {
            let memory = stores.room(need);
            self.push(stores, Segment::Ready(Payload { memory, from: 0, to: 0 }));
        }
        self.last_piece()
    }

    /// The piece that `need` more bytes are written to: the block that is filled, while they fit, or else by [`Self::room`].
    fn fit(&mut self, stores: &mut Stores, need: usize) -> &mut Payload {
        if self.is_along() {
            self.land(stores, need);
        }
        if self.first.is_none() && need <= stores.blocks.size() {
            let block = stores.blocks.take();
            self.first = block.map(|block| Segment::Ready(Payload { memory: Memory::Block(block), from: 0, to: 0 }));
        }
        let fits = match self.tail() {
            Some(Segment::Ready(Payload { memory: Memory::Block(block), to, .. })) => {
                block.len() - *to as usize >= need
            }
            _ => false,
        };
        if fits { self.last_piece() } else { self.room(stores, need) }
    }

    /// Keeps `need` bytes at the end, to be written over, and says where they begin in the last piece. Nothing of them counts
    /// before [`Self::commit`]; one of this and [`Self::unreserve`] comes before anything else.
    pub(crate) fn reserve(&mut self, stores: &mut Stores, need: usize) -> usize {
        if need > stores.blocks.size() && !self.can_grow(need) {
            // As it lies in the pool: what will be written over need not be cleared.
            let memory = Memory::Heap(Heap::Pooled(stores.pool.take_filled(need)));
            self.push(stores, Segment::Ready(Payload { memory, from: 0, to: 0 }));
            return 0;
        }
        let piece = self.fit(stores, need);
        let at = piece.to as usize;
        if let Memory::Heap(Heap::Pooled(heap)) = &mut piece.memory {
            heap.resize(at + need, 0);
        }
        at
    }

    /// What was reserved there.
    pub(crate) fn reserved(&mut self, at: usize, need: usize) -> &mut [u8] {
        &mut self.last_piece().memory.bytes_mut()[at..at + need]
    }

    /// What was reserved there has been written.
    pub(crate) fn commit(&mut self, at: usize, need: usize) {
        self.last_piece().to = (at + need) as u32;
        self.queued += need as u32;
    }

    /// What was reserved there is not needed.
    pub(crate) fn unreserve(&mut self, stores: &mut Stores, at: usize) {
        if at > 0 {
            if let Memory::Heap(Heap::Pooled(heap)) = &mut self.last_piece().memory {
                heap.truncate(at);
            }
            return;
        }
        // A piece that was begun for it.
        let last = match &mut self.rest {
            Some(rest) if !rest.is_empty() => rest.pop_back(),
            _ => self.first.take(),
        };
        if let Some(Segment::Ready(empty)) = last {
            stores.recycle(empty.memory);
        }
        if let Some(queue) = self.rest.take_if(|rest| rest.is_empty()) {
            stores.put_queue(queue);
        }
    }

    /// Begins a piece with room for so many bytes: what a planted bug does.
    #[cfg(any(test, feature = "planted"))]
    pub(crate) fn begin_piece(&mut self, stores: &mut Stores, room: usize) {
        let memory = Memory::Heap(Heap::Pooled(stores.pool.take(room, room)));
        self.push(stores, Segment::Ready(Payload { memory, from: 0, to: 0 }));
    }

    /// The last piece, which is being written to.
    #[inline(always)]
    fn last_piece(&mut self) -> &mut Payload {
        match self.tail() {
            Some(Segment::Ready(piece)) => piece,
            _ => unreachable!("a piece was found or pushed"),
        }
    }

    /// Marks the last frame, which is so long, as a compressed message's (RFC 7692 §6.1).
    pub(crate) fn mark_compressed(&mut self, opcode: Opcode, frame_len: usize) {
        // It is the end of the last piece.
        if let Some(Segment::Ready(Payload { memory, to, .. })) = self.tail() {
            encode::mark_compressed(&mut memory.bytes_mut()[*to as usize - frame_len..], opcode);
        }
    }

    /// Adds a frame without a mask whose payload stays where the application has it: the header ends the piece in front.
    pub(crate) fn share(&mut self, stores: &mut Stores, opcode: Opcode, bytes: Bytes) {
        let mut head = [0; encode::HEAD_MAX];
        let head_len = encode::head(&mut head, true, opcode, bytes.len(), None);
        let (to, memory) = (bytes.len() as u32, stores.share(bytes));
        let payload = Payload { memory, from: 0, to };
        planted!(SharedHeadLate, {
            self.add(stores, payload);
            return self.append(stores, &head[..head_len]);
        });
        self.append(stores, &head[..head_len]);
        self.add(stores, payload);
    }

    fn append(&mut self, stores: &mut Stores, bytes: &[u8]) {
        let at = self.reserve(stores, bytes.len());
        self.reserved(at, bytes.len()).copy_from_slice(bytes);
        self.commit(at, bytes.len());
    }

    /// Adds bytes as a piece of their own.
    pub(crate) fn add(&mut self, stores: &mut Stores, piece: Payload) {
        self.queued += piece.len() as u32;
        self.push(stores, Segment::Ready(piece));
    }

    /// Keeps a place at the end for a piece of `len` bytes, which moves in by [`Self::keep_promise`].
    pub(crate) fn promise(&mut self, stores: &mut Stores, len: usize) {
        self.queued += len as u32;
        self.settle_along(stores);
        planted!(PromiseMisplaced, {
            if let Some(first) = self.first.replace(Segment::Promised) {
                self.rest.get_or_insert_default().push_front(first);
            }
            return;
        });
        self.push(stores, Segment::Promised);
    }

    pub(crate) fn keep_promise(&mut self, piece: Payload) {
        let rest = self.rest.iter_mut().flat_map(|rest| rest.iter_mut());
        let place = self.first.iter_mut().chain(rest).find(|segment| matches!(segment, Segment::Promised));
        *place.expect("a promised place stays until the handler returns") = Segment::Ready(piece);
    }

    /// Takes the piece that goes next. A queue with nothing left in it goes back.
    pub(crate) fn pop(&mut self, stores: &mut Stores) -> Option<Payload> {
        let Some(Segment::Ready(_)) = self.first else { return self.pop_along(stores) };
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        let Some(Segment::Ready(payload)) = std::mem::replace(&mut self.first, next) else {
            unreachable!("matched above");
        };
        if let Some(queue) = self.rest.take_if(|rest| rest.is_empty()) {
            stores.put_queue(queue);
        }
        Some(payload)
    }

    /// The messages that many are sent, if they wait here: nothing is behind them.
    #[inline(never)] // what is sent to one keeps its short way
    fn pop_along(&mut self, stores: &mut Stores) -> Option<Payload> {
        let Some(Segment::Along(span)) = self.first else { return None };
        if !stores.trails.is_little(&span) {
            self.first = None;
            return Some(stores.trails.lend(span));
        }
        self.land(stores, 0);
        self.pop(stores)
    }

    /// So many bytes of the next piece need not be sent as they are; what is left of it goes next. An empty piece goes back.
    #[cfg(feature = "tls")]
    pub(crate) fn consume(&mut self, stores: &mut Stores, len: u32) {
        if let Some(Segment::Ready(first)) = &mut self.first {
            first.from += len;
            if first.is_empty()
                && let Some(done) = self.pop(stores)
            {
                planted!(PlainKept, std::mem::forget(done.memory); stores.recycle(done.memory));
            }
        }
    }

    /// Puts the rest of a short send back in front.
    pub(crate) fn unpop(&mut self, stores: &mut Stores, rest: Payload) {
        planted!(ShortSendLast, {
            self.push(stores, Segment::Ready(rest));
            return;
        });
        if let Some(first) = self.first.replace(Segment::Ready(rest)) {
            self.rest.get_or_insert_with(|| stores.take_queue()).push_front(first);
        }
    }

    /// Throws away what is queued: the connection has failed.
    pub(crate) fn abandon(&mut self, stores: &mut Stores) {
        while let Some(payload) = self.pop(stores) {
            self.queued -= payload.len() as u32;
            stores.recycle(payload.memory);
        }
        assert!(self.first.is_none(), "a promised piece outlived its handler");
    }

    /// The last piece, where small frames are added.
    fn tail(&mut self) -> Option<&mut Segment> {
        match &mut self.rest {
            Some(rest) if !rest.is_empty() => rest.back_mut(),
            _ => self.first.as_mut(),
        }
    }

    fn push(&mut self, stores: &mut Stores, segment: Segment) {
        self.settle_along(stores);
        if self.first.is_none() {
            self.first = Some(segment);
        } else {
            self.rest.get_or_insert_with(|| stores.take_queue()).push_back(segment);
        }
    }
}

/// Writes a frame's header in front of the payload behind the headroom, and masks that with a key; where the frame begins.
pub(crate) fn head_in_front(opcode: Opcode, bytes: &mut [u8], mask: Option<MaskKey>) -> u32 {
    if let Some(key) = mask {
        simd::mask(&mut bytes[HEADROOM..], key);
    }
    let payload_len = bytes.len() - HEADROOM;
    encode::write_head(bytes, HEADROOM, true, opcode, payload_len, mask) as u32
}

#[cfg(test)]
mod tests;
