//! What one connection keeps of its core's memory, by capacities; and how many bytes that is for.
//!
//! Promises to leave nothing out that a peer can make grow: half a message, what waits to be worked on or sent, TLS. What the
//! kernel has of an output is not seen here, only counted. Refuses to know what is too much.

use super::conns::{Conn, Link, Phase};

/// The memory of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Bytes of memory.
    pub memory: usize,
    /// Bytes that lie in it or, being sent, with the kernel.
    pub counted: usize,
    /// Pieces of memory that may each be larger than needed by up to 8 KiB: the least that is kept, or twice that.
    pub pieces: usize,
}

impl Holding {
    fn add(&mut self, memory: usize, counted: usize) {
        self.memory += memory;
        self.counted += counted;
        self.pieces += 1;
    }

    /// That of a connection.
    pub(crate) fn of<C>(link: &Link, conn: &Conn<C>) -> Self {
        let mut holding = Holding { counted: link.output.queued as usize, ..Self::default() };
        for memory in link.output.memories() {
            holding.add(memory.held_bytes(), 0);
        }
        match &conn.phase {
            Phase::Head(_, Some(head)) => holding.add(head.capacity(), head.len()),
            Phase::Answer(answering) => holding.add(answering.held_bytes(), 0),
            Phase::Open { session, .. } => {
                let (memory, counted) = session.held_bytes();
                holding.add(memory, counted);
            }
            Phase::Head(_, None) | Phase::Ended => {}
        }
        if let Some(stash) = &conn.stash {
            holding.add(stash.bytes.capacity(), stash.bytes.len() - stash.at);
        }
        #[cfg(feature = "tls")]
        if let Some(sealed) = &conn.tls {
            holding.add(sealed.held_bytes(), 0);
        }
        holding
    }
}
