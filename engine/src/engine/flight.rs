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

/// The operations of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    /// Cancels that have not completed.
    pub(crate) cancels: u16,
    pub(crate) recv: Recv,
    /// In the list of connections to settle at the end of the pass.
    pub(crate) marked: bool,
}

impl Flight {
    pub(crate) const fn none() -> Self {
        Self { cancels: 0, recv: Recv::Idle, marked: false }
    }

    /// The kernel has something.
    pub(crate) fn is_busy(&self) -> bool {
        self.recv != Recv::Idle || planted!(CancelForgotten, false; self.cancels > 0)
    }
}
