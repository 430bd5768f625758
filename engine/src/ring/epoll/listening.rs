//! One listener: its socket, the accept that is with it, and whether somebody may wait there. Refuses to accept.

use std::net::TcpListener;
use std::sync::Arc;

use crate::ring::Token;

/// Connections that a listener brings in a pass.
pub(super) const ACCEPTS: u32 = 64;

/// One listener.
pub(super) struct Listening {
    /// `None`: closed.
    pub(super) listener: Option<Arc<TcpListener>>,
    /// Of the accept that has not ended.
    pub(super) token: Option<Token>,
    /// Somebody may wait there.
    pub(super) ready: bool,
    pub(super) has_turn: bool,
    /// Connections that it may bring in this pass.
    pub(super) left: u32,
}

impl Listening {
    pub(super) fn new(listener: Arc<TcpListener>) -> Self {
        Self { listener: Some(listener), token: None, ready: false, has_turn: false, left: ACCEPTS }
    }

    pub(super) fn socket(&self) -> Option<&TcpListener> {
        self.listener.as_deref()
    }

    /// Nothing is accepted there any more. Who has the socket is to stop watching it: others may have it too, so that it stays open.
    pub(super) fn close(&mut self) -> Option<Arc<TcpListener>> {
        self.listener.take()
    }

    pub(super) fn begin_pass(&mut self) {
        self.left = ACCEPTS;
    }

    /// Ends its accept, if it is this one.
    pub(super) fn end(&mut self, accept: Token) -> bool {
        let is_it = self.token == Some(accept);
        self.token.take_if(|_| is_it);
        is_it
    }
}
