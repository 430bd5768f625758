//! Owns the memory that the connections of a core share: send blocks, pooled buffers, and queues of pieces that no output uses.
//!
//! Promises that what was lent comes back by one door. Refuses to know whose it was.
#![allow(clippy::vec_box, clippy::box_collection, reason = "queues move between here and the outputs as they are")]

use std::collections::VecDeque;

use bytes::Bytes;
use wsring_proto::pool::Pool;

use super::planted::planted;
use crate::ring::{Heap, Memory, Payload, SendBlocks};

/// Queues kept for connections with more than one piece of output, and pieces that a kept one has room for.
const QUEUES_MAX: usize = 1024;
const QUEUE_ROOM_MAX: usize = 32;
/// Boxes kept for messages that are sent from where the application has them.
const SHELLS_MAX: usize = 1024;

/// One piece of a connection's output, in order.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Bytes ready to go.
    Ready(Payload),
    /// The place of the message now being handled: its own buffer moves in when the handler returns.
    Promised,
}

/// The memory of a core.
pub(crate) struct Stores {
    pub(crate) blocks: SendBlocks,
    pub(crate) pool: Pool,
    /// Empty, for the next connection that has more than one piece of output.
    queues: Vec<Box<VecDeque<Segment>>>,
    /// Empty, for the next message that is sent from where the application has it.
    shells: Vec<Box<Bytes>>,
}

impl Stores {
    pub(crate) fn new(blocks: SendBlocks, pool_max_bytes: usize) -> Self {
        Self { blocks, pool: Pool::new(pool_max_bytes), queues: Vec::new(), shells: Vec::new() }
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
            Heap::Shared(mut bytes) => {
                let shared = std::mem::take(&mut *bytes);
                if self.shells.len() < SHELLS_MAX {
                    self.shells.push(bytes);
                }
                planted!(SharedKept, std::mem::forget(shared); drop(shared));
            }
        }
    }

    /// The application's bytes, as memory to send from.
    pub(crate) fn share(&mut self, bytes: Bytes) -> Memory {
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
