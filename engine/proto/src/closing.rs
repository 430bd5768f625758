//! How far a connection has come on its way to the end: [`State`].
//!
//! Owns the closing handshake as a state (RFC 6455 §5.5.1, §7.1) and its one function of moves. Promises that no move leads
//! back. Sends and reads nothing, and keeps no deadline.
//!
//! ```text
//!            we sent a close frame               the peer's is here
//!  Open ──────────────────────────> CloseSent ─────────────────────> Closed
//!   │  the peer's is here                             we sent one      ^
//!   └──────────────────────────> CloseReceived ────────────────────────┘
//!  Open, CloseSent ── a violation, or bytes given up ──> Failed
//! ```

/// How far a connection has come (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // a closing handshake has no further steps
pub enum State {
    /// Everything is surfaced.
    Open,
    /// We sent a close frame; of the peer only its own still counts (RFC 6455 §5.5.1).
    CloseSent,
    /// The peer's close frame was surfaced and awaits our answer.
    CloseReceived,
    /// Both close frames went their way: close the TCP connection (RFC 6455 §7.1.1).
    Closed,
    /// The peer broke a rule, or received bytes were given up: send a close frame and close (RFC 6455 §7.1.7).
    Failed,
}

/// What brings a connection nearer to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// We sent a close frame.
    CloseSent,
    /// The peer's close frame is complete and valid.
    CloseReceived,
    /// The peer broke a rule.
    Violation,
    /// Bytes without which the rest cannot be read were given up.
    GivenUp,
}

impl State {
    /// Whether the peer's bytes are still read. RFC 6455 §1.4, §5.5.1: what follows a close frame is ignored; §7.1.7: so is
    /// what follows a fault.
    pub(crate) const fn reads(self) -> bool {
        match self {
            State::Open | State::CloseSent => true,
            State::CloseReceived | State::Closed | State::Failed => false,
        }
    }

    /// Where a move leads.
    #[must_use]
    pub(crate) const fn after(self, by: Move) -> State {
        match (self, by) {
            (State::Open, Move::CloseSent) => State::CloseSent,
            (State::Open, Move::CloseReceived) => State::CloseReceived,
            (State::CloseSent, Move::CloseReceived) | (State::CloseReceived, Move::CloseSent) => State::Closed,
            (State::Open | State::CloseSent, Move::Violation | Move::GivenUp) => State::Failed,
            // A second close frame of ours changes nothing, and a peer that is not read any more cannot either.
            (State::CloseSent, Move::CloseSent) => State::CloseSent,
            (State::CloseReceived, Move::CloseReceived | Move::Violation | Move::GivenUp) => State::CloseReceived,
            (ended @ (State::Closed | State::Failed), _) => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6455 §7.1: every state and every move.
    #[test]
    fn every_move() {
        use State::*;
        const MOVES: [Move; 4] = [Move::CloseSent, Move::CloseReceived, Move::Violation, Move::GivenUp];
        let table = [
            (Open, [CloseSent, CloseReceived, Failed, Failed]),
            (CloseSent, [CloseSent, Closed, Failed, Failed]),
            (CloseReceived, [Closed, CloseReceived, CloseReceived, CloseReceived]),
            (Closed, [Closed; 4]),
            (Failed, [Failed; 4]),
        ];
        for (from, to) in table {
            assert_eq!(MOVES.map(|by| from.after(by)), to, "from {from:?}");
            assert_eq!(from.reads(), matches!(from, Open | CloseSent));
        }
    }
}
