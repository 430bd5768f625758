//! Owns what one core knows of its connections, in two tables of the same index.
//!
//! [`Conn`] is the receive side with the user's state; [`Link`] is the send side with the socket's operations. They are
//! apart so that a handler can hold a borrowed message of one connection and send to any, without unsafe or RefCell.
//!
//! A slot ends when its last operation has completed; then its generation steps, and ids and tokens of the earlier owner
//! are stale.

use wsring_proto::{Session, handshake::HeadScan};

use super::answering::Answering;
use super::flight::Flight;
use super::id::Tenant;
use super::life::Life;
use super::output::Output;
use super::pack::Framing;
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

/// The receive side of a connection and the user's state.
pub(crate) struct Conn<C> {
    pub(crate) phase: Phase<C>,
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

impl Stash {
    /// How much waits, of a stash or of none.
    pub(crate) fn waiting(stash: Option<&Self>) -> Waiting {
        match stash {
            None => Waiting::Nothing,
            Some(stash) if stash.bytes.len() - stash.at <= MUCH => Waiting::Little,
            Some(_) => Waiting::Much,
        }
    }
}

/// What arriving bytes are.
pub(crate) enum Phase<C> {
    /// Part of a request head; the buffer exists once a head has come in pieces.
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    Head(HeadScan, Option<Box<Vec<u8>>>),
    /// Part of the server's answer to a request of ours.
    Answer(Box<Answering>),
    /// Frames.
    Open { session: Session, data: C },
    /// Nobody's: they are discarded.
    Ended,
}

const _: () = assert!(size_of::<Link>() <= 72, "an idle connection pays for every byte of a Link");
const _: () = assert!(size_of::<Memory>() == 24, "one word of a Vec tells it from a block");
