//! What a connection's backlog does: its output is high from the high-water mark on until it has fallen to the low one. That is told, it
//! holds up the input or does not ([`Pressure`]), its peer is timed by what it takes, and pongs do not pile up.
//!
//! Promises that no peer makes its output grow without the application: it is not read, or its pings are answered one at a time.
//! Refuses to know how frames are encoded, and what happens to bytes that are not taken.

use wsring_proto::opcode::Opcode;

use super::input::Input;
use super::norms::Marks;
use super::pack::Framing;
use super::planted::planted;
use super::pongs::{Answer, Ping};
use super::reach::{Reach, SendOutcome};
use crate::pressure::Pressure;

impl Reach {
    /// What the output of an open connection may come to.
    #[inline(always)]
    pub(super) fn marks_of(&self, index: u32, framing: Framing) -> &Marks {
        if framing.is_apart() { self.own_marks(index) } else { &self.marks }
    }

    #[cold]
    #[inline(never)]
    fn own_marks(&self, index: u32) -> &Marks {
        &self.norms.of(index).marks
    }

    /// Notes that the connection's output went over the high-water mark.
    #[inline]
    pub(super) fn press(&mut self, index: u32, framing: Framing) -> SendOutcome {
        self.press_above(index, self.marks_of(index, framing).high)
    }

    /// The same where that mark is known.
    #[inline]
    pub(super) fn press_above(&mut self, index: u32, high: u32) -> SendOutcome {
        if self.peers.get(index).output.queued <= high {
            return SendOutcome::Queued;
        }
        self.hold(index, Input::press);
        SendOutcome::High
    }

    /// From here on the peer is timed by what it takes. With a send in flight it has the send timeout to take that: until now it was
    /// timed by what it said. (A later send starts the time again: see `settle`.)
    #[inline(never)] // messages below the mark keep their short way
    fn hold(&mut self, index: u32, hold: fn(&mut Input)) {
        let link = self.peers.touch(index);
        let begins = link.output.is_sending && !link.life.is_timed_by_output();
        if let Some(input) = link.life.input() {
            hold(input);
        }
        self.peers.excuse_unread(index);
        if begins {
            self.time_output(index);
        }
    }

    /// A peer that is timed by what it takes has the send timeout to take what is with the kernel.
    #[inline(never)]
    pub(super) fn time_output(&mut self, index: u32) {
        let (now, after) = (self.now, self.norms.of(index).look_after);
        let life = self.peers.life(index);
        if life.is_open() {
            life.on_offered(now);
            self.peers.set_due(index, Some(now.after(after)));
        }
    }

    /// A peer that is timed by what it takes took so many bytes.
    #[inline(never)]
    pub(super) fn on_taken(&mut self, index: u32, sent: u32) {
        self.peers.life(index).on_offered(self.now);
        if let Some(ping) = self.pongs.on_sent(index, sent) {
            self.late_pong(index, &ping);
        }
    }

    /// The output of an open connection has fallen to the low-water mark after it was high: that is over.
    #[inline]
    pub(crate) fn relax(&mut self, index: u32) -> bool {
        let link = self.peers.get(index);
        let relaxes = link.life.is_high() && link.output.queued <= self.low_mark(index);
        if relaxes {
            self.on_drained(index);
        }
        relaxes
    }

    fn low_mark(&self, index: u32) -> u32 {
        let framing = self.peers.get(index).life.framing();
        framing.map_or(self.marks.low, |framing| self.marks_of(index, framing).low)
    }

    #[inline(never)]
    fn on_drained(&mut self, index: u32) {
        if let Some(input) = self.peers.life(index).input() {
            input.relax();
        }
        self.end_pongs(index);
    }

    /// From now on this is what high output does to the connection's input.
    pub(crate) fn set_pressure(&mut self, index: u32, pressure: Pressure) {
        if let Some(input) = self.peers.touch(index).life.input() {
            input.set_pressure(pressure);
        }
        self.peers.excuse_unread(index);
    }

    pub(crate) fn pause(&mut self, index: u32) {
        self.hold(index, Input::pause);
    }

    pub(crate) fn resume(&mut self, index: u32) {
        if let Some(input) = self.peers.touch(index).life.input() {
            input.resume();
        }
    }

    /// Pings the peer. A ping may pass the cap of the output: there is one at a time.
    pub(crate) fn ping(&mut self, index: u32) {
        self.control(index, Opcode::Ping, &[]);
    }

    /// The application pings the peer. False if the connection is not open, or an earlier ping of it is unanswered.
    pub(crate) fn ping_for_app(&mut self, index: u32) -> bool {
        if self.peers.get(index).life.framing().is_none() {
            return false;
        }
        let Some(payload) = self.pings.begin(index, self.clock) else { return false };
        self.control(index, Opcode::Ping, &payload);
        true
    }

    /// Answers a ping with the same payload (RFC 6455 §5.5.3). Pongs may pass the cap of the output: they are small, and they cannot
    /// pile up. While its output is high a peer is not read; or it is, and then one pong waits at a time.
    #[inline(never)] // the loop of messages keeps its registers
    pub(crate) fn pong(&mut self, index: u32, payload: &[u8]) {
        let is_high = self.peers.life(index).input().is_some_and(|input| input.is_high_and_read());
        if planted!(PongsPiled, false; is_high) {
            return self.pong_behind(index, payload);
        }
        self.control(index, Opcode::Pong, payload);
    }

    #[cold]
    fn pong_behind(&mut self, index: u32, payload: &[u8]) {
        match self.pongs.on_ping(index, payload) {
            Answer::Now => {
                self.control(index, Opcode::Pong, payload);
                self.pongs.on_queued(index, self.peers.get(index).output.queued);
            }
            Answer::Later => {}
            Answer::Instead => self.stats.pings_passed_over += 1,
        }
    }

    /// The pong that waited has gone: the ping that came last is answered, and its pong is the one that waits.
    #[cold]
    fn late_pong(&mut self, index: u32, ping: &Ping) {
        self.control(index, Opcode::Pong, ping.payload());
        self.pongs.on_queued(index, self.peers.get(index).output.queued);
    }

    /// No pong has to wait any more: the ping that came last is answered now.
    pub(super) fn end_pongs(&mut self, index: u32) {
        if let Some(ping) = self.pongs.end(index) {
            self.control(index, Opcode::Pong, ping.payload());
        }
    }

    /// Queues a control frame of an open connection.
    fn control(&mut self, index: u32, opcode: Opcode, payload: &[u8]) {
        if let Some(framing) = self.peers.get(index).life.framing() {
            self.frame(index, framing, opcode, payload);
            self.held.let_go(index);
            let _ = self.press(index, framing);
        }
    }

    /// Whether what is queued for a connection waits for the tick, where output does.
    #[cold]
    pub(super) fn holds_back(&mut self, index: u32) -> bool {
        let link = self.peers.get(index);
        let Some(framing) = link.life.framing().filter(|_| !link.output.is_empty()) else { return false };
        if link.output.queued > self.marks_of(index, framing).high {
            self.held.let_go(index);
        }
        self.held.holds(index, self.clock)
    }

    /// The application has been told of a tick: what waited for it goes, and whatever else is sent in this pass.
    pub(super) fn flush(&mut self) {
        if !self.held.is_on() {
            return;
        }
        let mut who = Vec::new();
        self.held.flush(self.clock, &mut who);
        for index in who {
            self.peers.mark(index);
        }
    }
}
