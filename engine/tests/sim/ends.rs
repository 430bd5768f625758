//! How connections end: what peers do, and what the application is told.

/// How a peer ended its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Close(Option<u16>, String),
    Fin,
    Reset,
    Violation,
}

/// What the application was told of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Peer(Option<u16>, String),
    Local(bool),
    Violation(u16),
    Eof,
    Timeout,
    Stalled,
    Reset,
    Stopped,
    /// It was clean.
    Drained(bool),
    Panicked,
    Memory,
    Aborted,
}
