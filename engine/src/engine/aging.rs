//! What happens to connections that have lasted, or brought no message, for as long as they may.
//!
//! Promises that a connection which is not read when its time comes has it again, that those which opened at once do not all end at once, and that a core
//! without such limits pays a comparison a receive. Their times come as timers of a connection do (`alarms`), so what a peer had sent by
//! then is handled first.

use std::time::Duration;

use rand::Rng;
use wsring_proto::close::CloseCode;

use super::alarms::Age;
use super::core::Core;
use crate::handler::{CloseReason, Handler};
use crate::ring::Ring;

/// The part of its time that a connection may end sooner.
const SPREAD: f64 = 0.1;
/// A century: no arithmetic with it overflows.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

impl<R: Ring, H: Handler> Core<R, H> {
    /// A connection opens.
    pub(super) fn begin_ages(&mut self, index: u32) {
        let now = self.out.clock;
        let norm = self.out.norms.of(index);
        let (lifetime, silence) = (norm.lifetime, norm.silence);
        if let Some(lifetime) = lifetime {
            let part = (self.out.random.next_u32() as f64) / f64::from(u32::MAX);
            self.out.alarms.set_age(now, lifetime.min(LONGEST).mul_f64(1.0 - SPREAD * part), Age::Life, index);
        }
        if let Some(silence) = silence {
            self.ages.begin(index, now, self.out.stats.messages);
            self.out.alarms.set_age(now, silence, Age::Silence, index);
        }
    }

    /// An open connection is over.
    #[inline]
    pub(super) fn end_ages(&mut self, index: u32) {
        if self.ages.is_timed() && self.out.norms.of(index).silence.is_some() {
            self.ages.end();
        }
        self.out.alarms.end(index);
    }

    /// Bytes of a connection were worked on: if that has made messages, it is not silent.
    #[cold]
    pub(super) fn note_data(&mut self, index: u32) {
        if self.ages.has_news(self.out.stats.messages) {
            self.ages.note(index, self.out.clock);
        }
    }

    /// One of its times has come.
    #[cold]
    pub(super) fn on_age(&mut self, index: u32, age: Age) {
        if !self.out.link(index).life.is_open() {
            return; // it is ending
        }
        match age {
            Age::Life => self.end_aged(index, &CloseReason::Lifetime, "connection lifetime"),
            Age::Silence => self.on_silence(index),
            Age::Rate => self.out.on_rate_due(index),
        }
    }

    fn on_silence(&mut self, index: u32) {
        let Some(silence) = self.out.norms.of(index).silence else { return };
        let conn = &self.conns[index as usize];
        let is_read = self.out.link(index).life.takes_messages() && conn.stash.is_none() && !self.shortage.waits(index);
        let now = self.out.clock;
        if !is_read {
            self.ages.note(index, now);
        }
        let due = self.ages.silent_since(index).plus(silence);
        if due <= self.heard.until() {
            self.out.stats.timeouts += 1;
            return self.end_aged(index, &CloseReason::NoData, "no message came");
        }
        self.out.alarms.set_age(now, due.since(now), Age::Silence, index);
    }

    /// It is told, behind all that is queued for it and that waits for it of topics.
    fn end_aged(&mut self, index: u32, why: &CloseReason<'_>, reason: &str) {
        self.out.flush_topics(index);
        self.out.close_frame(index, Some(CloseCode::GOING_AWAY), reason);
        self.end(index, why, true);
    }
}
