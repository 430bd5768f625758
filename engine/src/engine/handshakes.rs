//! Owns the connections whose TLS handshake waits for its turn, and whether this pass has one left.
//!
//! A ClientHello costs its sender nothing if it was recorded once, and a server a signature: some tenths of a millisecond, a whole one
//! with RSA. So a pass has one of them, when all else that it brought has been worked on, and the rest wait in the order in which they
//! came, under their deadline for the handshake. A pass that has something else has none, up to [`HELD_BACK_MAX`] in a row: what it brought
//! from open connections is answered first, by the io_uring_enter(2) of the next, and what the ring has more of may be theirs. Those who
//! wait do so not among those whose messages are to be worked on: a thousand strangers are not ahead of an open connection. Refuses to
//! know bytes and TLS.

use std::collections::VecDeque;

use super::planted::planted;

/// Passes without a step, while handshakes wait and each has something else: a thousand strangers are read in some fifty passes, and those
/// whose turn it is are not to wait for ever on a core that is always busy.
const HELD_BACK_MAX: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// Index and generation.
    queue: VecDeque<(u32, u32)>,
    /// A step has been computed in this pass, or none is to be.
    spent: bool,
    /// Passes in a row that had none although somebody waits.
    held_back: u32,
}

impl Handshakes {
    /// A step has been computed.
    pub(super) fn on_step(&mut self) {
        assert!(!self.spent, "more steps of TLS handshakes than a pass has");
        self.spent = true;
    }

    /// Has a connection wait.
    pub(super) fn wait(&mut self, index: u32, generation: u32) {
        planted!(HandshakeLost, return);
        self.queue.push_back((index, generation));
    }

    /// Nobody waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// All that a pass brought has been worked on, and those who wait have their turn; not if the pass is `busy` otherwise, for a while.
    pub(super) fn begin_waiting(&mut self, busy: bool) {
        self.spent = busy && self.held_back < HELD_BACK_MAX;
        self.held_back = if self.spent { self.held_back + 1 } else { 0 };
    }

    /// Whose turn it is, if this pass has one left. It may be gone: compare the generation.
    pub(super) fn next(&mut self) -> Option<(u32, u32)> {
        if self.spent { None } else { self.queue.pop_front() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_one_step_and_the_rest_wait_in_their_order() {
        let mut handshakes = Handshakes::default();
        for index in 0..4 {
            handshakes.wait(index, 7);
        }
        handshakes.begin_waiting(false);
        assert_eq!(handshakes.next(), Some((0, 7)));
        // What is not whole yet has nothing to compute, and is no step.
        assert_eq!(handshakes.next(), Some((1, 7)));
        handshakes.on_step();
        assert!(handshakes.next().is_none() && !handshakes.is_empty());
        handshakes.begin_waiting(false);
        assert_eq!([handshakes.next(), handshakes.next(), handshakes.next()], [Some((2, 7)), Some((3, 7)), None]);
        assert!(handshakes.is_empty());
    }

    #[test]
    #[should_panic(expected = "more steps of TLS handshakes than a pass has")]
    fn a_second_step_is_a_fault() {
        let mut handshakes = Handshakes::default();
        handshakes.begin_waiting(false);
        handshakes.on_step();
        handshakes.on_step();
    }

    #[test]
    fn what_else_a_pass_has_comes_first_and_not_for_ever() {
        let mut handshakes = Handshakes::default();
        for index in 0..3 {
            handshakes.wait(index, 7);
        }
        for round in 0..2 {
            for _ in 0..HELD_BACK_MAX {
                handshakes.begin_waiting(true);
                assert_eq!(handshakes.next(), None);
            }
            handshakes.begin_waiting(true);
            assert_eq!(handshakes.next(), Some((round, 7)));
            handshakes.on_step();
        }
        handshakes.begin_waiting(true);
        assert_eq!(handshakes.next(), None);
        handshakes.begin_waiting(false);
        assert_eq!(handshakes.next(), Some((2, 7)));
    }
}
