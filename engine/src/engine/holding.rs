//! What one connection keeps of its core's memory, by capacities; and how many bytes that is for.
//!
//! Promises to leave nothing out that a peer can make grow: half a message, what waits to be worked on or sent, TLS. What the
//! kernel has of an output is not seen here, only counted. Refuses to know what is too much.

use wsring_proto::deflate::Inflater;

use super::conns::{Conn, Link, Phase};
#[cfg(feature = "tls")]
use super::sealed::Sealed;
use super::stores::Stores;
use crate::ring::Payload;

/// The memory of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Bytes of memory; of what it shares with others, its part.
    pub memory: usize,
    /// The part of that.
    pub shared: usize,
    /// Bytes that lie in it or, being sent, with the kernel.
    pub counted: usize,
    /// Bytes that are with the kernel, whose memory is not seen here.
    pub sending: usize,
    /// Pieces of memory that may each be larger than needed by up to 8 KiB: the least that is kept, or twice that.
    pub pieces: usize,
}

impl Holding {
    fn add(&mut self, memory: usize, counted: usize) {
        self.memory += memory;
        self.counted += counted;
        self.pieces += 1;
    }

    fn add_output(&mut self, piece: &Payload, stores: &Stores) {
        let shared = stores.part_of(&piece.memory);
        self.shared += shared;
        self.add(piece.memory.held_bytes() + shared, 0);
        self.sending = self.sending.saturating_sub(piece.whole() as usize);
    }

    /// That of a connection. The answer to a dial is not in it, which is a head at most.
    pub(crate) fn of(link: &Link, conn: &Conn, stores: &Stores) -> Self {
        // What is counted and does not wait is with the kernel.
        let queued = link.output.queued as usize;
        let mut holding = Holding { counted: queued, sending: queued, ..Self::default() };
        link.output.pieces().for_each(|piece| holding.add_output(piece, stores));
        match &conn.phase {
            Phase::Head(_, Some(head), _) | Phase::Proxy(Some(head), _) => holding.add(head.capacity(), head.len()),
            Phase::Asked(asked) => holding.add(asked.head.capacity(), asked.head.len()),
            Phase::Open(session) => {
                let (memory, counted) = session.held_bytes();
                holding.add(memory, counted);
                if session.has_window() {
                    holding.add(Inflater::BYTES, Inflater::BYTES);
                }
            }
            Phase::Head(_, None, _) | Phase::Proxy(None, _) | Phase::Answer(_) | Phase::Ended => {}
        }
        if let Some(stash) = &conn.stash {
            holding.add(stash.bytes.capacity(), stash.bytes.len() - stash.at);
        }
        #[cfg(feature = "tls")]
        if let Some(sealed) = &conn.tls {
            holding.add(sealed.held_bytes(), Sealed::BYTES);
            sealed.rest().into_iter().for_each(|piece| holding.add_output(piece, stores));
            holding.add(sealed.waiting.capacity(), sealed.waiting.len());
        }
        holding
    }
}
