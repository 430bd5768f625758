//! Owns the memory that the connections of a core share: send blocks, pooled buffers, and queues of pieces that no output uses.
//!
//! Promises that what was lent comes back by one door. Refuses to know whose it was.
#![allow(clippy::vec_box, clippy::box_collection, reason = "queues move between here and the outputs as they are")]

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use wsring_proto::pool::Pool;

use super::planted::planted;
use super::trails::{Span, Trails};
use crate::ring::{Heap, Memory, Payload, SendBlocks};

/// Queues kept for connections with more than one piece of output, and pieces that a kept one has room for.
const QUEUES_MAX: usize = 1024;
const QUEUE_ROOM_MAX: usize = 32;
/// What a piece of output costs that is sent from where it lies, beside its bytes: its place in the queue, and a box.
const SHARE_COST: usize = 96;
/// Boxes kept for messages that are sent from where the application has them.
const SHELLS_MAX: usize = 1024;

/// One piece of a connection's output, in order.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Bytes ready to go.
    Ready(Payload),
    /// The place of the message now being handled: its own buffer moves in when the handler returns.
    Promised,
    /// Messages that many are sent. Only in front, and nothing is behind it.
    Along(Span),
}

/// The memory of a core.
pub(crate) struct Stores {
    pub(crate) blocks: SendBlocks,
    pub(crate) pool: Pool,
    /// Empty, for the next connection that has more than one piece of output.
    queues: Vec<Box<VecDeque<Segment>>>,
    /// Empty, for the next message that is sent from where the application has it.
    shells: Vec<Box<Bytes>>,
    /// What is sent from where it lies, by its address: how many pieces of output it is, and its length. It counts once.
    shared: HashMap<usize, (u32, usize)>,
    /// Their sums.
    shared_uses: usize,
    shared_len: usize,
    pub(crate) trails: Trails,
}

impl Stores {
    pub(crate) fn new(blocks: SendBlocks, pool_max_bytes: usize) -> Self {
        let (queues, shells, shared) = (Vec::new(), Vec::new(), HashMap::new());
        let (pool, trails) = (Pool::new(pool_max_bytes), Trails::default());
        Self { blocks, pool, queues, shells, shared, shared_uses: 0, shared_len: 0, trails }
    }

    /// Room for `len` bytes to be written one after the other: a send block if they fit.
    pub(crate) fn room(&mut self, len: usize) -> Memory {
        let block = if len <= self.blocks.size() { self.blocks.take() } else { None };
        block.map_or_else(|| Memory::Heap(Heap::Pooled(self.pool.take(len, len))), Memory::Block)
    }

    /// `len` bytes to be written over, in any order: a send block if they fit.
    #[cfg(feature = "tls")]
    pub(crate) fn bytes(&mut self, len: usize) -> Memory {
        let block = if len <= self.blocks.size() { self.blocks.take() } else { None };
        block.map_or_else(|| Memory::Heap(Heap::Pooled(self.pool.take_filled(len))), Memory::Block)
    }

    /// Gives the memory of a finished or abandoned piece back.
    pub(crate) fn recycle(&mut self, memory: Memory) {
        match memory {
            Memory::Block(block) => self.blocks.put(block),
            Memory::Heap(heap) => self.recycle_heap(heap),
        }
    }

    #[inline(never)] // blocks keep their short way
    fn recycle_heap(&mut self, heap: Heap) {
        match heap {
            Heap::Pooled(bytes) => self.pool.put(bytes),
            Heap::Trail(bytes) => self.trails.give_back(bytes, &mut self.pool),
            Heap::Shared(mut bytes) => {
                let shared = std::mem::take(&mut *bytes);
                self.unshare(shared.as_ptr() as usize);
                if self.shells.len() < SHELLS_MAX {
                    self.shells.push(bytes);
                }
                planted!(SharedKept, std::mem::forget(shared); drop(shared));
            }
        }
    }

    /// A piece of output less lies there.
    fn unshare(&mut self, at: usize) {
        let uses = self.shared.get_mut(&at).expect("it was shared");
        uses.0 -= 1;
        let (left, len) = *uses;
        self.shared_uses -= 1;
        if left == 0 {
            self.shared_len -= len;
            self.shared.remove(&at);
        }
        self.pool.discharge(SHARE_COST + if left == 0 { len } else { 0 });
    }

    /// The part that one of those has who share memory: with its own cost nothing is left over when all have let go.
    pub(crate) fn part_of(&self, memory: &Memory) -> usize {
        match memory {
            Memory::Heap(Heap::Shared(bytes)) => {
                let uses = self.shared.get(&(bytes.as_ptr() as usize));
                SHARE_COST + uses.map_or(0, |&(uses, len)| len / uses.max(1) as usize)
            }
            Memory::Heap(Heap::Trail(bytes)) => bytes.capacity() / Rc::strong_count(bytes),
            Memory::Heap(Heap::Pooled(_)) | Memory::Block(_) => 0,
        }
    }

    /// The part of all memory that is shared that one of those has who share any.
    pub(crate) fn mean_part(&self) -> usize {
        let (pieces, bytes) = self.trails.shared();
        SHARE_COST + (self.shared_len + bytes) / (self.shared_uses + pieces).max(1)
    }

    /// Bytes of all memory that is shared, and of what sharing costs.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn shared_bytes(&self) -> usize {
        let given = self.shared.values().map(|&(uses, len)| len + uses as usize * SHARE_COST).sum::<usize>();
        given + self.trails.held_bytes()
    }

    /// Bytes that others may have too, as memory to send from. However many pieces of output they are, they count once.
    pub(crate) fn share(&mut self, bytes: Bytes) -> Memory {
        let uses = self.shared.entry(bytes.as_ptr() as usize).or_insert((0, bytes.len()));
        uses.0 += 1;
        let (uses, len) = *uses;
        self.shared_uses += 1;
        self.shared_len += if uses == 1 { len } else { 0 };
        let is_first = planted!(SharedTwice, true; uses == 1);
        self.pool.charge(SHARE_COST + if is_first { len } else { 0 });
        let mut shell = self.shells.pop().unwrap_or_default();
        *shell = bytes;
        Memory::Heap(Heap::Shared(shell))
    }

    pub(crate) fn take_queue(&mut self) -> Box<VecDeque<Segment>> {
        self.queues.pop().unwrap_or_default()
    }

    /// Keeps an empty queue, unless it has grown large.
    pub(crate) fn put_queue(&mut self, queue: Box<VecDeque<Segment>>) {
        debug_assert!(queue.is_empty());
        if self.queues.len() < QUEUES_MAX && queue.capacity() <= QUEUE_ROOM_MAX {
            self.queues.push(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pieces of output of one message and one of another: each message counts once, and each piece has its part.
    #[test]
    fn what_several_send_counts_once() {
        let mut stores = Stores::new(SendBlocks::new(0, 0), 0);
        let (long, short) = (Bytes::from(vec![7; 3000]), Bytes::from(vec![8; 1000]));
        let mut pieces: Vec<Memory> = (0..3).map(|_| stores.share(long.clone())).collect();
        assert_eq!(stores.pool.lent_bytes(), 3000 + 3 * SHARE_COST);
        pieces.push(stores.share(short));
        let all = 4000 + 4 * SHARE_COST;
        assert_eq!((stores.pool.lent_bytes(), stores.shared_bytes()), (all, all));
        let parts: Vec<usize> = pieces.iter().map(|piece| stores.part_of(piece) - SHARE_COST).collect();
        assert_eq!((&parts[..], stores.mean_part()), (&[1000, 1000, 1000, 1000][..], SHARE_COST + 1000));
        stores.recycle(pieces.remove(0));
        assert_eq!(stores.part_of(&pieces[0]), SHARE_COST + 1500);
        pieces.into_iter().for_each(|piece| stores.recycle(piece));
        assert_eq!((stores.pool.lent_bytes(), stores.shared_bytes(), stores.mean_part()), (0, 0, SHARE_COST));
    }
}
