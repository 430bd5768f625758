//! Owns the connections whose TLS handshake waits for its turn, and how many turns are left in this pass.
//!
//! A ClientHello costs its sender nothing if it was recorded once, and a server a signature: some tenths of a millisecond, a whole one
//! with RSA. So a pass has few of them, whoever asks, and the rest wait in the order in which they came, under their deadline for the
//! handshake. They do not wait among those whose messages are to be worked on: a thousand strangers are not ahead of an open connection.
//! Refuses to know bytes and TLS.

use std::collections::VecDeque;

use super::planted::planted;

/// Steps of handshakes in a pass that had an answer to be computed, unless a test sets another number.
const A_PASS: u32 = 2;

#[derive(Debug)]
pub(crate) struct Handshakes {
    /// Index and generation.
    queue: VecDeque<(u32, u32)>,
    /// In a pass.
    pub(super) most: u32,
    left: u32,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { queue: VecDeque::new(), most: A_PASS, left: A_PASS }
    }
}

impl Handshakes {
    pub(super) fn begin_pass(&mut self) {
        self.left = self.most;
    }

    /// Another step would be too many for this pass.
    pub(super) fn is_over(&self) -> bool {
        planted!(HandshakesFree, false; self.left == 0)
    }

    /// A step has been computed.
    pub(super) fn on_step(&mut self) {
        self.left = self.left.saturating_sub(1);
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
    fn a_pass_has_two_steps_and_the_rest_wait_in_their_order() {
        let mut handshakes = Handshakes::default();
        handshakes.begin_pass();
        for index in 0..5 {
            handshakes.wait(index, 7);
        }
        assert_eq!(handshakes.next(), Some((0, 7)));
        // What has nothing to compute is no step.
        assert_eq!(handshakes.next(), Some((1, 7)));
        handshakes.on_step();
        assert_eq!(handshakes.next(), Some((2, 7)));
        handshakes.on_step();
        assert!(handshakes.is_over() && handshakes.next().is_none() && !handshakes.is_empty());
        handshakes.begin_pass();
        assert_eq!([handshakes.next(), handshakes.next(), handshakes.next()], [Some((3, 7)), Some((4, 7)), None]);
        assert!(handshakes.is_empty());
    }
}
