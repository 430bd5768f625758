//! Owns what one core knows of its connections, in two tables of the same index.
//!
//! [`Conn`] is the receive side; [`Link`] is the send side with the socket's operations. They are
//! apart so that a handler can hold a borrowed message of one connection and send to any, without unsafe or RefCell. (What the application
//! keeps of a connection is apart for the same reason: see `states`.)
//!
//! A slot ends when its last operation has completed; then its generation steps, and ids and tokens of the earlier owner
//! are stale.

use wsring_proto::{Pool, Session, handshake::HeadScan, simd};

use super::answering::Answering;
use super::flight::Flight;
use super::id::Tenant;
use super::life::Life;
use super::output::Output;
use super::pack::Framing;
use super::pending::Asked;
use crate::ring::{Block, Memory, Socket};

/// The send side of a connection, its operations, and its place in time. Lives as long as the table; the generation
/// survives its owners.
pub(crate) struct Link {
    pub(crate) tenant: Tenant,
    pub(crate) socket: Socket,
    pub(crate) life: Life,
    pub(crate) flight: Flight,
    pub(crate) output: Output,
}

impl Link {
    pub(crate) const fn free() -> Self {
        Self {
            tenant: Tenant::first(),
            socket: Socket(u32::MAX),
            life: Life::Free,
            flight: Flight::none(),
            output: Output::new(),
        }
    }

    /// The kernel still has an operation of this connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.flight.is_busy() || self.output.is_sending
    }

    /// The one block that this pass fills, if whatever is sent now only has to be added to it: the connection is open, its
    /// frames are plain, and it is marked for the end of the pass.
    #[inline]
    pub(crate) fn block_of_pass(&mut self) -> Option<(&mut Block, &mut u32)> {
        if self.flight.marked && self.life.framing() == Some(Framing::PLAIN) { self.output.only_block() } else { None }
    }
}

/// The receive side of a connection.
pub(crate) struct Conn {
    pub(crate) phase: Phase,
    /// Bytes received and not yet worked on: the handler paused, the output is full, or the connection has had its share of the pass.
    pub(crate) stash: Option<Box<Stash>>,
    /// What stands between the connection and its socket.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Box<super::sealed::Sealed>>,
}

/// Received bytes that wait.
pub(crate) struct Stash {
    pub(crate) bytes: Vec<u8>,
    /// Worked on up to here.
    pub(crate) at: usize,
    /// In the list of connections whose stash is to be worked on.
    pub(crate) listed: bool,
}

/// What waits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nothing,
    /// So few bytes that more may come meanwhile.
    Little,
    Much,
}

/// Above so many bytes that wait, nothing more is received. Below, a connection that only waits for its turn keeps its receive: cancelling it
/// and submitting it again costs more than to keep what it brings.
const MUCH: usize = 64 << 10;

/// So many stashes without bytes are kept for the next connections whose bytes wait: where shares of a pass are used up in ordinary
/// traffic, that costs no allocation.
pub(crate) const IDLE_STASHES_MAX: usize = 64;

/// So much memory is not worth a move.
const FITTING_MIN: usize = 8 << 10;

impl Stash {
    /// More bytes, behind those that wait.
    pub(crate) fn add(&mut self, more: &[u8], pool: &mut Pool) {
        if self.at > 0 && self.bytes.capacity() - self.bytes.len() < more.len() {
            self.bytes.drain(..self.at); // not to double what has been worked on
            self.at = 0;
        }
        pool.append(more, &mut self.bytes);
    }

    /// So many bytes more have been worked on. Moves the rest where its memory is more than twice as much: to as much as it needs, so
    /// that no byte is moved more than once on average.
    pub(crate) fn advance(&mut self, by: usize, pool: &mut Pool) {
        self.at += by;
        let rest = self.bytes.len() - self.at;
        if self.bytes.capacity() > 2 * rest + FITTING_MIN {
            let mut fitting = pool.take(rest, rest);
            simd::copy_append(&self.bytes[self.at..], &mut fitting);
            pool.put(std::mem::replace(&mut self.bytes, fitting));
            self.at = 0;
        }
    }

    /// How much waits.
    #[cold]
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting::of(self.bytes.len() - self.at)
    }
}

impl Waiting {
    /// So many bytes, and at least one.
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes <= MUCH { Waiting::Little } else { Waiting::Much }
    }
}

/// What arriving bytes are.
pub(crate) enum Phase {
    /// Part of the PROXY header that the listener of this number requires; the buffer exists once one has come in pieces.
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    Proxy(Option<Box<Vec<u8>>>, u32),
    /// Part of a request head; the buffer exists once a head has come in pieces. And by which listener.
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    Head(HeadScan, Option<Box<Vec<u8>>>, u32),
    /// Behind a request that waits for its answer.
    Asked(Box<Asked>),
    /// Part of the server's answer to a request of ours.
    Answer(Box<Answering>),
    /// Frames.
    Open(Session),
    /// Nobody's: they are discarded.
    Ended,
}

const _: () = assert!(size_of::<Link>() <= 72, "an idle connection pays for every byte of a Link");
const _: () = assert!(size_of::<Memory>() == 24, "one word of a Vec tells it from a block");

#[cfg(test)]
mod tests {
    use super::*;

    fn stash(bytes: Vec<u8>) -> Stash {
        Stash { bytes, at: 0, listed: false }
    }

    // Whatever is worked on at a time, what waits lies in at most twice the memory (and 8 KiB), and is not moved again and again.
    #[test]
    fn a_stash_keeps_no_more_memory_than_twice_what_waits() {
        for step in [1, 100, 3_000, 50_000] {
            let (mut pool, content) = (Pool::new(0), (0..200_000_u32).map(|i| i as u8).collect::<Vec<u8>>());
            let mut stash = stash(Vec::with_capacity(1 << 20));
            stash.add(&content, &mut pool);
            let (mut worked, mut moves) = (0, 0);
            while worked < content.len() {
                let by = step.min(content.len() - worked);
                worked += by;
                stash.advance(by, &mut pool);
                moves += usize::from(stash.at == 0);
                assert_eq!(stash.bytes[stash.at..], content[worked..]);
                assert!(stash.bytes.capacity() <= 2 * (content.len() - worked) + FITTING_MIN);
            }
            assert!(moves <= 6, "{moves} moves in steps of {step}");
        }
    }

    #[test]
    fn what_has_been_worked_on_is_not_doubled() {
        let mut stash = stash(Vec::with_capacity(100_000));
        let mut pool = Pool::new(0);
        stash.add(&[1; 100_000], &mut pool);
        stash.advance(50_000, &mut pool);
        stash.add(&[2; 45_000], &mut pool);
        assert_eq!((stash.at, stash.bytes.len(), stash.bytes.capacity()), (0, 95_000, 100_000));
        assert!(stash.bytes.iter().position(|&byte| byte == 2) == Some(50_000));
        assert_eq!(stash.waiting(), Waiting::Much);
        stash.advance(95_000 - MUCH, &mut pool);
        assert_eq!(stash.waiting(), Waiting::Little);
    }
}
