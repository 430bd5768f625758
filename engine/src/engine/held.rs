//! Owns which connections have output that waits for the tick: see [`Flush::AtTick`](crate::Flush::AtTick).
//!
//! A connection's output waits, or goes until nothing of it is left. Promises that each one that waits is listed once. Where output
//! does not wait for ticks nothing here is ever touched. Refuses to know what is in the output, and why it may go.

use crate::ring::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is queued, or it has not been looked at.
    Rest,
    /// Listed: it goes at the tick.
    Waits,
    /// What is queued goes.
    Goes,
}

pub(crate) struct Held {
    is_on: bool,
    /// By the index of the connection; as long as was needed so far.
    states: Vec<State>,
    /// Those that wait, and some that do not any more.
    waiting: Vec<u32>,
    /// The pass of the last tick: all output goes in it.
    flushed: Option<Time>,
}

impl Held {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, states: Vec::new(), waiting: Vec::new(), flushed: None }
    }

    /// Output waits for the tick.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    fn state(&mut self, index: u32) -> &mut State {
        let index = index as usize;
        if self.states.len() <= index {
            self.states.resize(index + 1, State::Rest);
        }
        &mut self.states[index]
    }

    /// What is queued for a connection goes, and what is queued for it until all of that is with the kernel.
    pub(crate) fn let_go(&mut self, index: u32) {
        if self.is_on {
            *self.state(index) = State::Goes;
        }
    }

    /// Something is queued for a connection: whether it waits for the tick.
    pub(crate) fn holds(&mut self, index: u32, now: Time) -> bool {
        let is_flushing = self.flushed == Some(now);
        let state = self.state(index);
        match *state {
            State::Rest | State::Waits if is_flushing => *state = State::Goes,
            State::Rest => {
                *state = State::Waits;
                self.waiting.push(index);
                return true;
            }
            State::Waits => return true,
            State::Goes => {}
        }
        false
    }

    /// All that was queued for a connection is with the kernel, or its slot is free.
    pub(crate) fn forget(&mut self, index: u32) {
        if self.is_on {
            *self.state(index) = State::Rest;
        }
    }

    /// A tick: from here on all output goes, until the pass is over. Those that waited are put into `who`.
    pub(crate) fn flush(&mut self, now: Time, who: &mut Vec<u32>) {
        self.flushed = Some(now);
        for index in std::mem::take(&mut self.waiting) {
            let state = self.state(index);
            if *state == State::Waits {
                *state = State::Goes;
                who.push(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_waits_until_it_goes() {
        let at = Time::from_nanos;
        let mut held = Held::new(true);
        let flush = |held: &mut Held, now| {
            let mut who = Vec::new();
            held.flush(at(now), &mut who);
            who
        };
        assert!(held.holds(3, at(1)) && held.holds(3, at(2)) && held.holds(5, at(2)) && held.holds(7, at(2)));
        held.let_go(5);
        assert!(!held.holds(5, at(2)), "for another reason");
        held.forget(7);
        assert!(held.holds(7, at(3)), "the next owner of its slot, listed again");
        assert_eq!(flush(&mut held, 4), [3, 7]);
        assert!(!held.holds(3, at(4)) && !held.holds(9, at(4)), "all of the tick's pass");
        assert!(!held.holds(3, at(5)), "until nothing of it is left");
        for index in [3, 5, 9] {
            held.forget(index);
            assert!(held.holds(index, at(5)));
        }
        assert_eq!(flush(&mut held, 6), [3, 5, 9]);
        assert_eq!(flush(&mut held, 7), []);
    }

    #[test]
    fn who_does_not_wait_for_ticks_costs_nothing() {
        let mut held = Held::new(false);
        held.let_go(77);
        held.forget(77);
        assert!(!held.is_on() && held.states.is_empty());
    }
}
