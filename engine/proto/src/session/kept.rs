//! What a session keeps of its peer's compressed messages (RFC 7692): the window, the credit, and a message that is inflated in steps.
//!
//! Owns their memory. Knows nothing of the session, and does nothing with it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::deflate::inflate::{Credit, Making};
use crate::inflater::Inflater;

/// What is kept of the compressed messages of a peer, from the first of them on.
#[derive(Debug)]
pub(super) struct Inflation {
    /// The peer's window, if it takes that over.
    pub(super) window: Option<Box<Inflater>>,
    pub(super) credit: Credit,
    pub(super) under_way: Option<UnderWay>,
}

/// A whole message, of which a part has been inflated.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) inflater: Box<Inflater>,
    /// Used up to there.
    pub(super) payload: Vec<u8>,
    pub(super) at: usize,
    pub(super) making: Making,
}

impl Default for Inflation {
    fn default() -> Self {
        Inflation { window: None, credit: Credit::FULL, under_way: None }
    }
}
