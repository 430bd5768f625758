//! What the ring is asked for, and what has happened then.
//!
//! Owns the numbers by which a completion is told, and the words for it. Knows no socket.

use std::io;
use std::ops::Range;

use crate::ring_buffers::Piece;

pub(super) const RECV: u64 = 1;
pub(super) const SEND: u64 = 2;
pub(super) const RECV_HEAD: u64 = 3;
pub(super) const RECV_BODY: u64 = 4;

/// What has happened.
pub enum Event {
    /// Bytes for a connection; give the piece back.
    Received(usize, Piece),
    /// Bytes of the head of a connection's reply: ask for them before the next wait.
    Head(usize, Range<usize>),
    /// So many bytes of its body have come, and are gone; whether the socket has more.
    Discarded(usize, usize, bool),
    /// The socket has taken so many bytes.
    Sent(usize, usize),
    /// The server has ended a connection, or it has failed.
    Ended(usize, io::Error),
}
