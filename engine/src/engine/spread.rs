//! What the verbs of topics do with the connections of a core: [`Topics`] decides who is given what, and here it goes into the outputs.
//!
//! Promises that the topics are never reached twice at once: they are taken out while they work, and what they end is ended
//! when they are back. Refuses to know what is waited for.

use wsring_proto::close::{CONTROL_PAYLOAD_MAX, CloseCode};
use wsring_proto::deflate::Mode;
use wsring_proto::encode;
use wsring_proto::opcode::Opcode;

use super::output::Flow;
use super::pack::Framing;
use super::planted::planted;
use super::reach::{How, Reach};
use super::topics::{
    Counts, Delivery, Lagged, Outlet, Publish, Published, Room, SubscribeError, Subscribed, Told, Topic, Topics,
};
use super::trails::TRAIL_MAX;
use crate::ring::Time;

/// To add up the counts of so many subscriptions is the work of a small message.
const SUMMED: u32 = 2;

impl Reach {
    /// The topics, at work.
    #[inline]
    pub(super) fn with_topics<T>(&mut self, work: impl FnOnce(&mut Topics, &mut Self) -> T) -> T {
        let mut topics = match self.topics.take() {
            Some(topics) => topics,
            None => self.new_topics(),
        };
        topics.set_now(self.clock, self.stats.passes);
        let done = work(&mut topics, self);
        let totals = topics.totals;
        (self.stats.published, self.stats.delivered) = (totals.published, totals.delivered);
        (self.stats.conflated, self.stats.dropped) = (totals.conflated, totals.dropped);
        let held = topics.held_bytes();
        if held != topics.charged {
            planted!(WaitingUncounted, topics.charged = held);
            self.stores.pool.note_change(std::mem::replace(&mut topics.charged, held), held);
        }
        let has_ends = !topics.ends.slow.is_empty() || !topics.ends.panicked.is_empty();
        self.topics = Some(topics);
        if has_ends {
            self.end_slow();
        }
        done
    }

    #[cold]
    fn new_topics(&mut self) -> Box<Topics> {
        Box::new(Topics::new(rand::Rng::next_u64(&mut self.random)))
    }

    /// Connections that a subscription ends, or a panic of a closure: these are the core's to end.
    #[cold]
    fn end_slow(&mut self) {
        let Some(topics) = &mut self.topics else { return };
        let ends = std::mem::take(&mut topics.ends);
        for (index, code) in ends.slow {
            self.close(index, Some(code), "too slow");
        }
        let panicked = ends.panicked.into_iter().map(|(index, panic)| (self.peers.id_of(index), panic));
        self.panicked.extend(panicked);
    }

    pub(crate) fn configure_topic(&mut self, topic: u32, how: Topic) {
        drop(self.with_topics(|topics, _| topics.configure(topic, how)));
    }

    /// Text is known to be text.
    pub(crate) fn publish(&mut self, topic: u32, how: Publish, opcode: Opcode, bytes: &[u8]) -> Published {
        let Publish { key, fixed, removes } = how;
        let now = self.clock;
        let published = self.with_topics(|topics, out| {
            topics.publish(topic, Told { key, opcode, bytes, now, removes, fixed: fixed && !removes }, out)
        });
        self.stores.trails.tidy(&mut self.stores.pool);
        published
    }

    /// Messages that many are sent are kept for this one, to be sent later.
    pub(super) fn keep_along(&mut self, index: u32) {
        self.peers.settling(index).output.land(&mut self.stores, 1);
    }

    /// They are to be sent to it.
    #[cfg(feature = "tls")]
    pub(super) fn settle_along(&mut self, index: u32) {
        self.peers.settling(index).output.settle_along(&mut self.stores);
    }

    pub(crate) fn subscribe(
        &mut self,
        index: u32,
        topic: u32,
        delivery: Delivery,
    ) -> Result<Subscribed, SubscribeError> {
        self.with_topics(|topics, out| topics.subscribe(index, topic, delivery, out))
    }

    pub(crate) fn unsubscribe(&mut self, index: u32, topic: u32) -> Option<Counts> {
        self.topics.as_ref()?;
        self.with_topics(|topics, out| topics.unsubscribe(index, topic, out))
    }

    pub(crate) fn counts(&self, index: u32, topic: u32) -> Option<Counts> {
        self.topics.as_ref()?.counts(index, topic)
    }

    pub(crate) fn sum_of_counts(&mut self, index: u32) -> Counts {
        let Some(topics) = &mut self.topics else { return Counts::default() };
        let (sum, subscriptions) = topics.sum(index);
        self.owe(u64::from(subscriptions / SUMMED));
        sum
    }

    /// See [`Topics::tidy`].
    pub(super) fn tidy_topics(&mut self) {
        if let Some(topics) = &mut self.topics {
            topics.tidy();
        }
    }

    /// The part that a connection has of the memory of all that waits.
    pub(super) fn waiting_part(&self, index: u32) -> usize {
        self.topics.as_ref().map_or(0, |topics| topics.part_of(index))
    }

    pub(crate) fn waits_since(&mut self, index: u32) -> Option<Time> {
        self.topics.as_mut()?.waits_since(index)
    }

    /// The connection is not sent to any more: nothing waits for it.
    #[inline]
    pub(super) fn end_topics(&mut self, index: u32) {
        if self.rates.is_on(index) {
            self.end_rate(index);
        }
        if self.topics.is_some() {
            self.with_topics(|topics, out| topics.end(index, out));
        }
    }

    /// All that waits for a connection goes into its output, as far as there is room: it is about to be closed.
    pub(super) fn flush_topics(&mut self, index: u32) {
        if self.topics.is_some() {
            self.with_topics(|topics, out| topics.flush(index, out));
        }
    }

    /// Starts the closing handshake as the application does, behind all that waits.
    pub(crate) fn flush_and_close(&mut self, index: u32, code: CloseCode, reason: &str) {
        self.flush_topics(index);
        self.close(index, Some(code), reason);
    }

    /// What waits for a connection goes on.
    #[cold]
    #[inline(never)]
    pub(super) fn drain(&mut self, index: u32) {
        match self.rates.is_on(index) {
            true => self.drain_paced(index),
            false => self.with_topics(|topics, out| topics.drain(index, out)),
        }
        self.forgive(); // nor is that work of whoever is worked on next
    }

    /// What has been held long enough goes on.
    pub(super) fn expire_topics(&mut self) {
        if self.topics.as_ref().is_some_and(|topics| topics.is_due(self.clock)) {
            self.with_topics(|topics, out| topics.expire(out));
            self.forgive(); // it is no connection's work
        }
    }

    /// When that is.
    pub(super) fn topics_due(&self, now: Time) -> Option<Time> {
        if !self.panicked.is_empty() {
            return Some(Time::default());
        }
        self.topics.as_ref()?.next_due(now)
    }

    /// Connections that have missed something, and for which nothing waits.
    #[inline]
    pub(super) fn take_lagged(&mut self) -> Vec<u32> {
        self.topics.as_mut().map_or_else(Vec::new, |topics| topics.take_lagged())
    }

    /// What that was; each is told once.
    pub(super) fn lagged_of(&mut self, index: u32) -> Option<Lagged> {
        self.topics.as_mut()?.lagged_of(index)
    }

    /// Bytes from which on a connection does not keep up: below the high-water mark.
    #[inline]
    fn flow(&self, index: u32, framing: Framing) -> u32 {
        self.peers.get(index).output.flow.bytes().min(self.marks_of(index, framing).high)
    }
}

impl Outlet for Reach {
    #[inline]
    fn room(&self, index: u32) -> Room {
        let link = self.peers.get(index);
        let Some(framing) = link.life.framing() else { return Room::Gone };
        let output = &link.output;
        let keeps_up = !output.is_sending && !output.waits && output.queued < self.flow(index, framing);
        if keeps_up { Room::Free } else { Room::Busy }
    }

    fn drains(&self, index: u32, most: u32) -> bool {
        let link = self.peers.get(index);
        let Some(framing) = link.life.framing() else { return false };
        !link.output.is_sending && link.output.queued < most.min(self.flow(index, framing))
    }

    fn is_sending(&self, index: u32) -> bool {
        self.peers.get(index).output.is_sending
    }

    fn queued(&self, index: u32) -> u32 {
        self.peers.get(index).output.queued
    }

    fn spare(&self, index: u32) -> u32 {
        let link = self.peers.get(index);
        let max = link.life.framing().map_or(self.marks.max, |framing| self.marks_of(index, framing).max);
        max.saturating_sub(link.output.queued)
    }

    fn subscriptions_max(&self, index: u32) -> u32 {
        self.norms.of(index).subscriptions_max
    }

    fn begin(&mut self, opcode: Opcode, bytes: &[u8], crowd: usize) -> u64 {
        let forms = &mut self.forms;
        forms.frame.clear();
        let is_along = crowd >= forms.crowd_from && bytes.len() <= TRAIL_MAX;
        let is_plain = self.packer.settings().mode == Mode::Off || !self.packer.wants(bytes.len());
        forms.copies = bytes.len() <= CONTROL_PAYLOAD_MAX || is_plain && bytes.len() < forms.share_from;
        if is_along || forms.copies {
            encode::append_frame(&mut forms.frame, true, opcode, bytes, None);
        }
        let stores = &mut self.stores;
        forms.span = is_along.then(|| stores.trails.append(&forms.frame, &mut stores.pool));
        forms.next()
    }

    /// A frame that is plain lies in memory once for all if many are sent it. Else one that is short is copied as it is.
    #[inline]
    fn push(&mut self, index: u32, opcode: Opcode, bytes: &[u8], number: u64) -> bool {
        let flow = self.flow(index, Framing::PLAIN);
        if let Some(link) = self.peers.filling(index)
            && !self.forms.frame.is_empty()
            && !link.output.is_sending
            && !link.output.waits
            && link.life.framing() == Some(Framing::PLAIN)
            && link.output.queued + (self.forms.frame.len() as u32) < flow
        {
            let output = &mut self.peers.touch(index).output;
            return self.forms.span.as_ref().is_some_and(|span| output.go_along(&mut self.stores, span))
                || self.forms.copies && output.copy(&mut self.stores, &self.forms.frame)
                || Outlet::send(self, index, opcode, bytes, Some(number));
        }
        self.room(index) == Room::Free && Outlet::send(self, index, opcode, bytes, Some(number))
    }

    fn send(&mut self, index: u32, opcode: Opcode, bytes: &[u8], number: Option<u64>) -> bool {
        // Messages of topics have counters of their own.
        let before = (self.stats.sent, self.stats.refused, self.stats.gone);
        let outcome = match number {
            Some(number) => self.send_shared(index, number, opcode, bytes),
            None => self.send_how(index, opcode, bytes, How::Any),
        };
        (self.stats.sent, self.stats.refused, self.stats.gone) = before;
        outcome.is_queued()
    }

    fn set_flow(&mut self, index: u32, bytes: u32) {
        self.peers.settling(index).output.flow = Flow::of(bytes);
    }

    fn set_waits(&mut self, index: u32, waits: bool) {
        if waits {
            self.peers.touch(index).output.waits = true; // so that it is settled, whatever waits for it
        } else if let Some(link) = self.peers.filling(index) {
            link.output.waits = self.rates.is_on(index);
        }
    }
}

#[cfg(test)]
mod tests;
