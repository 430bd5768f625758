//! Owns the connections whose TLS handshake waits for its turn, and whether this pass has one left.
//!
//! A ClientHello costs its sender nothing if it was recorded once, and a server a signature: some tenths of a millisecond, a whole one
//! with RSA. So a pass has one of them, whoever asks, and the rest wait in the order in which they came, under their deadline for the
//! handshake. While the ring has more than a pass brings, few passes have one: what peers that are open have sent is there, behind it. Those
//! who wait do so not among those whose messages are to be worked on: a thousand strangers are not ahead of an open connection.
//! Refuses to know bytes and TLS.

use std::collections::VecDeque;

use super::planted::planted;

/// Passes without a step, while handshakes wait and the ring has more than a pass brings: who is open comes first. A thousand strangers are
/// read in some fifty passes.
const HELD_BACK_MAX: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// Index and generation.
    queue: VecDeque<(u32, u32)>,
    /// A step has been computed in this pass, or is not to be.
    spent: bool,
    /// Passes in a row that had none although somebody waits.
    held_back: u32,
}

impl Handshakes {
    /// A pass begins. `more`: the ring has more than it brings.
    pub(super) fn begin_pass(&mut self, more: impl FnOnce() -> bool) {
        self.spent = !self.queue.is_empty() && self.held_back < HELD_BACK_MAX && more();
        self.held_back = if self.spent { self.held_back + 1 } else { 0 };
    }

    /// Another step would be too many for this pass.
    pub(super) fn is_over(&self) -> bool {
        planted!(HandshakesFree, false; self.spent)
    }

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
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whose turn it is, if this pass has one left. It may be gone: compare the generation.
    pub(super) fn next(&mut self) -> Option<(u32, u32)> {
        if self.is_over() { None } else { self.queue.pop_front() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_one_step_and_the_rest_wait_in_their_order() {
        let mut handshakes = Handshakes::default();
        handshakes.begin_pass(|| panic!("nobody waits"));
        for index in 0..4 {
            handshakes.wait(index, 7);
        }
        assert_eq!(handshakes.next(), Some((0, 7)));
        // What has nothing to compute is no step.
        assert_eq!(handshakes.next(), Some((1, 7)));
        handshakes.on_step();
        assert!(handshakes.is_over() && handshakes.next().is_none() && !handshakes.is_empty());
        handshakes.begin_pass(|| false);
        assert_eq!([handshakes.next(), handshakes.next(), handshakes.next()], [Some((2, 7)), Some((3, 7)), None]);
        assert!(handshakes.is_empty());
    }

    #[test]
    fn what_else_has_come_is_read_first_and_not_for_ever() {
        let mut handshakes = Handshakes::default();
        handshakes.wait(3, 7);
        for _ in 0..2 {
            for _ in 0..HELD_BACK_MAX {
                handshakes.begin_pass(|| true);
                assert_eq!(handshakes.next(), None);
            }
            handshakes.begin_pass(|| true);
            assert!(!handshakes.is_over());
        }
        handshakes.begin_pass(|| true);
        handshakes.begin_pass(|| false);
        assert_eq!(handshakes.next(), Some((3, 7)));
    }
}
