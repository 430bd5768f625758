//! What topics give to a connection with a byte rate: all of it goes by its lane, and the lane goes on as its bucket allows.
//!
//! Promises that a message which waits for its rate goes when that allows it, and that connections without a rate take none of these ways. What
//! waits meanwhile is the topics' matter, and each subscription's delivery.

use wsring_proto::opcode::Opcode;

use super::alarms::Age;
use super::reach::Reach;
use super::topics::{Outlet, Room};

impl Reach {
    /// A connection opens.
    #[inline]
    pub(super) fn begin_rate(&mut self, index: u32) {
        if let Some(rate) = self.norms.of(index).topics_bytes_per_second {
            self.set_rate(index, Some(rate));
        }
    }

    /// It has this rate from now on, in bytes a second, or none.
    pub(crate) fn set_rate(&mut self, index: u32, rate: Option<u32>) {
        if !self.link(index).life.is_open() {
            return;
        }
        if let Some(timer) = self.rates.set(index, rate, self.clock) {
            self.alarms.cancel(timer);
        }
        if rate.is_none()
            && let Some(topics) = &mut self.topics
        {
            topics.forget_pace(index);
        }
        // As if something always waited: so nothing is given at once.
        let waits = rate.is_some() || self.waits_since(index).is_some();
        self.peers.touch(index).output.waits = waits;
    }

    /// A connection is not given anything any more.
    #[cold]
    pub(super) fn end_rate(&mut self, index: u32) {
        if let Some(timer) = self.rates.set(index, None, self.clock) {
            self.alarms.cancel(timer);
        }
        self.peers.settling(index).output.waits = false;
    }

    /// What waits for a connection with a rate goes on, and later again.
    pub(super) fn drain_paced(&mut self, index: u32) {
        if self.topics.is_none() {
            return;
        }
        self.with_topics(|topics, out| topics.drain(index, &mut Paced(out)));
        if self.waits_since(index).is_some()
            && let Some(wait) = self.rates.untimed_wait(index, self.clock)
        {
            let timer = self.alarms.set_age(self.clock, wait, Age::Rate, index);
            self.rates.set_timer(index, timer);
        }
    }

    /// There is something in its bucket again.
    pub(super) fn on_rate_due(&mut self, index: u32) {
        self.rates.on_timer(index);
        self.peers.mark(index);
    }
}

/// Outputs, of which one has a rate and is charged.
struct Paced<'r>(&'r mut Reach);

impl Outlet for Paced<'_> {
    fn room(&self, _: u32) -> Room {
        unreachable!("what is drained has waited")
    }

    fn drains(&self, index: u32, most: u32) -> bool {
        self.0.drains(index, most) && self.0.rates.has_any(index, self.0.clock)
    }

    fn is_sending(&self, index: u32) -> bool {
        self.0.is_sending(index)
    }

    fn queued(&self, index: u32) -> u32 {
        self.0.queued(index)
    }

    fn spare(&self, index: u32) -> u32 {
        self.0.spare(index)
    }

    fn subscriptions_max(&self, _: u32) -> u32 {
        unreachable!("what is drained was subscribed to")
    }

    fn begin(&mut self, _: Opcode, _: &[u8], _: usize) -> u64 {
        unreachable!("what is drained goes to one")
    }

    // Not the other's: a second caller would keep that out of the loop over all subscribers, for 18 instructions each.
    fn push(&mut self, _: u32, _: Opcode, _: &[u8], _: u64) -> bool {
        unreachable!("what is drained has waited")
    }

    fn send(&mut self, index: u32, opcode: Opcode, bytes: &[u8], number: Option<u64>) -> bool {
        let before = self.queued(index);
        let went = Outlet::send(self.0, index, opcode, bytes, number);
        let more = self.queued(index) - before;
        self.0.rates.take(index, more, self.0.clock);
        went
    }

    /// All that it is sent waits first.
    fn set_flow(&mut self, _: u32, _: u32) {}

    fn set_waits(&mut self, index: u32, waits: bool) {
        self.0.set_waits(index, waits);
    }
}
