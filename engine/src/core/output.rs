//! Owns one connection's output: pieces of bytes in order, how many they are, and the send that is with the kernel.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use crate::ring::{Block, Memory, Payload};

/// One piece of a connection's output, in order.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Bytes ready to go.
    Ready(Payload),
    /// The place of the message now being handled: its own buffer moves in when the handler returns.
    Promised,
}

/// What is to be sent on a connection.
pub(crate) struct Output {
    /// The piece being filled or next to go; `rest` follows it.
    pub(crate) first: Option<Segment>,
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    pub(crate) rest: Option<Box<VecDeque<Segment>>>,
    /// Bytes queued or with the kernel.
    pub(crate) queued: u32,
    /// Bytes of the send that is with the kernel.
    pub(crate) sending: Option<NonZeroU32>,
}

impl Output {
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: None, queued: 0, sending: None }
    }

    /// A send is with the kernel.
    #[inline]
    pub(crate) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// The last piece, where small frames are added.
    pub(crate) fn tail(&mut self) -> Option<&mut Segment> {
        match &mut self.rest {
            Some(rest) if !rest.is_empty() => rest.back_mut(),
            _ => self.first.as_mut(),
        }
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

    /// Adds a piece at the end.
    pub(crate) fn push(&mut self, segment: Segment) {
        match (&self.first, &mut self.rest) {
            (None, _) => self.first = Some(segment),
            (Some(_), Some(rest)) => rest.push_back(segment),
            (Some(_), None) => self.rest.get_or_insert_default().push_back(segment),
        }
    }

    /// Takes the piece that goes next. The queue stays, also when it is empty: `Outbox::pop` takes it back.
    pub(crate) fn pop(&mut self) -> Option<Payload> {
        let Some(Segment::Ready(_)) = self.first else { return None };
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        match std::mem::replace(&mut self.first, next) {
            Some(Segment::Ready(payload)) => Some(payload),
            _ => unreachable!("matched above"),
        }
    }

    /// Puts the rest of a short send back in front.
    pub(crate) fn unpop(&mut self, payload: Payload) {
        if let Some(first) = self.first.replace(Segment::Ready(payload)) {
            self.rest.get_or_insert_default().push_front(first);
        }
    }
}
