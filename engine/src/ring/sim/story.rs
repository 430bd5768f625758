//! How operations and completions are told in a trace: as numbers for its hash, as text for a reader. No addresses and no bytes,
//! so that two runs that did the same tell the same.

use super::buffers::SimLease;
use super::trace::hash_of;
use super::{Done, Errno, Op, RecvEnd};

/// What the trace says of an operation.
pub(super) fn numbers_of(op: &Op) -> [u64; 3] {
    match op {
        Op::Accept { listener } => [1, u64::from(*listener), 0],
        Op::Recv { socket, once } => [2, u64::from(socket.0), u64::from(*once)],
        Op::Send { socket, payload } => [3, u64::from(socket.0), hash_of(payload.bytes())],
        Op::Cancel { target } => [4, target.to_bits(), 0],
        Op::CancelSocket { socket } => [5, u64::from(socket.0), 0],
        Op::Close { socket, reset } => [6, u64::from(socket.0), u64::from(*reset)],
        Op::Wake => [7, 0, 0],
        Op::Connect { remote, .. } => [8, u64::from(remote.port()), 0],
        Op::Unacked { socket } => [9, u64::from(socket.0), 0],
    }
}

/// What the trace says of a completion.
pub(super) fn numbers_of_done(done: &Done<SimLease>) -> [u64; 3] {
    let result = |result: &Result<usize, Errno>| match result {
        Ok(count) => *count as u64,
        Err(errno) => 1 << 32 | errno.0 as u64,
    };
    match done {
        Done::Accepted { result: Ok(socket), more, .. } => [1, u64::from(socket.0), u64::from(*more)],
        Done::Accepted { result: Err(errno), more, .. } => [2, errno.0 as u64, u64::from(*more)],
        Done::Received { lease, end } => {
            let end = match end {
                None => 0,
                Some(RecvEnd::Rearm) => 1,
                Some(RecvEnd::NoBuffers) => 2,
                Some(RecvEnd::Eof) => 3,
                Some(RecvEnd::Cancelled) => 4,
                Some(RecvEnd::Failed(errno)) => 1 << 32 | errno.0 as u64,
            };
            [3, lease.as_ref().map_or(0, |lease| hash_of(lease)), end]
        }
        Done::Sent { payload, result: sent } => [4, payload.len() as u64, result(sent)],
        Done::Cancelled => [5, 0, 0],
        Done::Closed => [6, 0, 0],
        Done::Woken => [7, 0, 0],
        Done::Connected { result: Ok(socket) } => [8, u64::from(socket.0), 0],
        Done::Connected { result: Err(errno) } => [9, errno.0 as u64, 0],
        Done::Unacked { result } => [10, result.map_or(u64::MAX, u64::from), 0],
    }
}

/// An operation as the trace tells it: no bytes, no addresses.
pub(super) fn story(op: &Op) -> String {
    match op {
        Op::Send { socket, payload } => format!("{socket:?} {} bytes", payload.len()),
        Op::Accept { .. }
        | Op::Connect { .. }
        | Op::Recv { .. }
        | Op::Cancel { .. }
        | Op::CancelSocket { .. }
        | Op::Unacked { .. }
        | Op::Close { .. }
        | Op::Wake => {
            format!("{op:?}")
        }
    }
}

/// A completion as the trace tells it.
pub(super) fn story_of_done(done: &Done<SimLease>) -> String {
    match done {
        Done::Sent { payload, result } => format!("{result:?}, {} bytes come back", payload.len()),
        Done::Accepted { .. }
        | Done::Connected { .. }
        | Done::Received { .. }
        | Done::Cancelled
        | Done::Unacked { .. }
        | Done::Closed
        | Done::Woken => {
            format!("{done:?}")
        }
    }
}
