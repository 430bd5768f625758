//! The message that may be moved, for the length of one callback.
//!
//! A long message that lies in a buffer of its own need not be copied to be sent on: its place in one connection's output is
//! promised, and the buffer moves in when the handler has returned and no longer borrows it.
//!
//! ```text
//! offered ──> the handler sends these very bytes ──> placed ──> the handler returns ──> moved
//!    └───────> it does not, or not behind enough output ──────────────────────────────> nothing
//! ```

use wsring_proto::opcode::Opcode;

use super::id::ConnId;
use super::pack::Framing;

/// A message shorter than this is copied into the current piece rather than moved: one send beats one copy.
const MOVE_MIN: usize = 8 << 10;
/// The same where other output waits before it. From here on it fills segments of its own, so that no send is saved.
pub(crate) const MOVE_BEHIND_MIN: usize = 64 << 10;

/// A payload of this length is moved, rather than copied, behind other output or not.
#[inline]
pub(crate) fn is_worth_moving(len: usize, behind_other: bool) -> bool {
    len >= if behind_other { MOVE_BEHIND_MIN } else { MOVE_MIN }
}

/// Where the message being handled lies, and its place in an output if it has one.
pub(crate) struct Offer {
    at: usize,
    len: usize,
    placed: Option<Placed>,
}

/// A place in the output of a connection, and what frame stands there. The connection may close before its buffer moves in.
pub(crate) struct Placed {
    pub(crate) id: ConnId,
    pub(crate) opcode: Opcode,
    pub(crate) framing: Framing,
}

impl Offer {
    /// Offers a message, if it is long enough ever to be moved.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Option<Offer> {
        let offer = || Offer { at: bytes.as_ptr() as usize, len: bytes.len(), placed: None };
        is_worth_moving(bytes.len(), false).then(offer)
    }

    /// These are the very bytes, and nobody has been promised them: only one output can be given them.
    pub(crate) fn is_for(&self, bytes: &[u8]) -> bool {
        self.placed.is_none() && self.at == bytes.as_ptr() as usize && self.len == bytes.len()
    }

    pub(crate) fn place(&mut self, placed: Placed) {
        self.placed = Some(placed);
    }

    /// The handler has returned.
    pub(crate) fn settle(self) -> Option<Placed> {
        self.placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores::Place;

    #[test]
    fn the_very_bytes_and_once() {
        let message = vec![1; MOVE_MIN];
        assert!(Offer::of(&message[1..]).is_none(), "too short");
        let mut offer = Offer::of(&message).expect("long enough");
        assert!(offer.is_for(&message) && !offer.is_for(&message[..MOVE_MIN - 1]) && !offer.is_for(&message.clone()));
        offer.place(Placed { id: ConnId::new(Place::new(0), 1, 2), opcode: Opcode::Text, framing: Framing::PLAIN });
        assert!(!offer.is_for(&message), "it is promised");
        assert_eq!(offer.settle().map(|placed| placed.id), Some(ConnId::new(Place::new(0), 1, 2)));
        assert!(Offer::of(&message).and_then(Offer::settle).is_none(), "nobody sent it on");
    }
}
