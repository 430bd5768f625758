//! What one topic is on one core: how it is set up, who has subscribed, and what it keeps.
//!
//! Promises that a subscriber comes and goes at the same cost however many there are.

use std::fmt;
use std::rc::Rc;

use wsring_proto::opcode::Opcode;

use super::hash::Seeded;
use super::pieces::NONE;
use super::retained::{Retain, Retained};
use crate::engine::panics::{Payload, catch, theirs};
use crate::engine::planted::planted;
use crate::ring::Time;

type Merge = dyn Fn(&[u8], &[u8], &mut Vec<u8>);
type Write = dyn Fn(&Update<'_>, &mut Vec<u8>);

/// How a core treats a topic: see [`CoreCx::configure_topic`](crate::CoreCx::configure_topic). What the two closures do must depend on their
/// arguments alone: what is written is sent to all subscribers for whom they are the same.
#[derive(Clone, Default)]
#[must_use]
pub struct Topic {
    pub(super) retain: Retain,
    merge: Option<Rc<Merge>>,
    write: Option<Rc<Write>>,
}

impl Topic {
    /// Keeps messages for those who subscribe later, who are given them first. Default [`Retain::No`].
    pub fn retain(mut self, retain: Retain) -> Self {
        self.retain = retain;
        self
    }

    /// Makes one message, into the empty `Vec`, of the one that waits for a subscriber and of the newer one with its key, for those who
    /// subscribed with [`Delivery::merge`](crate::Delivery::merge): partial updates, order-book deltas. It is no text unless both are and it is UTF-8. Default: the newer one.
    pub fn merge(mut self, merge: impl Fn(&[u8], &[u8], &mut Vec<u8>) + 'static) -> Self {
        self.merge = Some(Rc::new(merge));
        self
    }

    /// Writes a message, into the empty `Vec`, as it is sent to a subscriber: with its number and the one before, or with a mark
    /// that it stands for several. Text stays text if it is UTF-8. Default: the payload as it was published.
    pub fn write(mut self, write: impl Fn(&Update<'_>, &mut Vec<u8>) + 'static) -> Self {
        self.write = Some(Rc::new(write));
        self
    }

    /// The messages' numbers matter.
    pub(super) fn tells(&self) -> bool {
        self.write.is_some()
    }

    /// A message made of the one that waits and a newer one.
    pub(super) fn merged(&self, old: &[u8], new: &[u8], into: &mut Vec<u8>) -> Result<(), Payload> {
        match &self.merge {
            None => into.extend_from_slice(new),
            Some(merge) => catch(|| theirs(|| merge(old, new, into)))?,
        }
        Ok(())
    }

    /// A message as it is sent: its payload, or what is written for it.
    pub(super) fn written<'m>(
        &self,
        update: &Update<'m>,
        opcode: Opcode,
        into: &'m mut Vec<u8>,
    ) -> Result<(Opcode, &'m [u8]), Payload> {
        let Some(write) = &self.write else { return Ok((opcode, update.payload)) };
        into.clear();
        catch(|| theirs(|| write(update, into)))?;
        Ok((text_or_not(opcode, into), into))
    }
}

/// Text is UTF-8 (RFC 6455 §5.6).
pub(super) fn text_or_not(opcode: Opcode, bytes: &[u8]) -> Opcode {
    if opcode == Opcode::Text && std::str::from_utf8(bytes).is_err() { Opcode::Binary } else { opcode }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (merge, write) = (self.merge.is_some(), self.write.is_some());
        let mut topic = f.debug_struct("Topic");
        topic.field("retain", &self.retain).field("merge", &merge).field("write", &write).finish()
    }
}

/// A message on its way to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update<'m> {
    /// The key that it was published with.
    pub key: Option<u64>,
    /// Its number on this core, from 1 without a gap: among those of its key where the topic keeps one per key
    /// ([`Retain::LastPerKey`](crate::Retain::LastPerKey)), else among those of the topic. 0: it has none, because its key found no room there, or
    /// has no value there yet and this [must not be conflated](crate::Publish::must_not_conflate), or because it waited while the topic's numbers
    /// [began anew](crate::CoreCx::configure_topic). Other cores number
    /// for themselves, so a client that comes back begins anew, with what is retained.
    pub seq: u64,
    /// The number of the last that this subscription was given before (the highest, where the topic has one sequence for all keys); if none,
    /// of the last that was published before it began. 0: there was none, or this is a value that was retained, and there is nothing to
    /// compare; or its key was removed since, and numbers begin anew: a client that has another number then has missed the removal. Between `prev` and `seq` lie those that this one stands for and those that were dropped. A client whose own last number is not `prev` has lost
    /// something itself. What a full mailbox did not take was never numbered: see [`Handle::publish`](crate::Handle::publish).
    pub prev: u64,
    /// How many published messages it stands for: 1, more if some were conflated, 0 if it was retained.
    pub merged: u32,
    /// It takes its key away.
    pub removes: bool,
    /// The message as it was published, or merged.
    pub payload: &'m [u8],
    /// When its newest part was published: nanoseconds of CLOCK_MONOTONIC.
    pub published_at: u64,
}

/// One subscriber that each message of a topic comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) conn: u32,
    pub(super) sub: u32,
    /// It has been given all that was published, at once, and nothing has to be looked at but whether its socket keeps up.
    pub(super) in_step: bool,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) topic: Topic,
    /// Subscribers that each message comes to.
    pub(super) entries: Vec<Entry>,
    /// Of those that follow the last to begin, and the youngest stamp that one of them had.
    pub(super) follower: u32,
    pub(super) youngest: u64,
    /// Perhaps the newest message of the key that was published last.
    pub(super) newest: u32,
    /// Which a message ends that may not be conflated, while anybody follows.
    pub(super) stretch: u64,
    pub(super) retained: Retained,
}

impl Table {
    pub(super) fn new(seeded: Seeded) -> Self {
        let (entries, retained) = (Vec::new(), Retained::new(seeded));
        Self { topic: Topic::default(), entries, follower: NONE, youngest: 0, newest: NONE, stretch: 0, retained }
    }

    /// What a subscriber's `Update` says beside its payload.
    pub(super) fn update<'m>(&self, key: Option<u64>, numbers: Numbers, at: Time, payload: &'m [u8]) -> Update<'m> {
        let Numbers { seq, prev, merged, removes } = numbers;
        let prev = planted!(GapUnseen, seq.saturating_sub(1); prev);
        Update { key, seq, prev, merged, removes, payload, published_at: at.as_nanos() }
    }
}

/// What is the same for two subscribers who get the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u64,
    pub(super) prev: u64,
    pub(super) merged: u32,
    pub(super) removes: bool,
}
