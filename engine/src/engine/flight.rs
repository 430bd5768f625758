//! What the kernel has of a connection beside its send, and whether it is to be looked at that it should have more.
//!
//! The send is counted in the connection's [`Output`](super::output::Output), whose bytes it carries.

use super::planted::planted;

/// The one receive of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recv {
    /// None is with the kernel.
    Idle,
    Armed,
    /// It is with the kernel and is being cancelled.
    Cancelling,
}

/// What is known of how much its peer has not acknowledged: `engine/slow.rs` has the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unacked {
    Unknown,
    /// The kernel is being asked.
    Asked,
    /// The same, and will be asked again: its answer is of an earlier time.
    Outdated,
    /// It has answered, and what has been sent since is counted.
    Known,
}

/// The operations of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    /// Cancels that have not completed: at most one of the receive and one of everything.
    pub(crate) cancels: u8,
    pub(crate) recv: Recv,
    pub(crate) unacked: Unacked,
    /// In the list of connections to settle at the end of the pass.
    pub(crate) marked: bool,
}

impl Flight {
    pub(crate) const fn none() -> Self {
        Self { cancels: 0, recv: Recv::Idle, unacked: Unacked::Unknown, marked: false }
    }

    /// What was known, or will be, is too old: it is asked for anew.
    pub(crate) fn outdate(&mut self) {
        self.unacked = match self.unacked {
            Unacked::Unknown | Unacked::Known => Unacked::Unknown,
            Unacked::Asked | Unacked::Outdated => Unacked::Outdated,
        };
    }

    /// The kernel has something.
    pub(crate) fn is_busy(&self) -> bool {
        let asked = matches!(self.unacked, Unacked::Asked | Unacked::Outdated);
        self.recv != Recv::Idle || asked || planted!(CancelForgotten, false; self.cancels > 0)
    }
}
