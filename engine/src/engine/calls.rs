//! Owns the application: the only caller of its [`Handler`].
//!
//! Promises that what was called is followed by `on_batch_end`: each callback of a pass leaves one owed, and
//! [`Calls::batch_end`] pays it. Refuses to know why a callback is made and what comes of what it asked for.

use std::time::Duration;

use wsring_proto::opcode::Message;

use super::dial_error::DialError;
use super::dials::Dialled;
use super::id::ConnId;
use super::planted::planted;
use super::reach::Reach;
use crate::handler::{Answered, CloseReason, CoreCx, Cx, Handler, Opening, Response, Verdict};

/// The application of a core, and whether it is owed an `on_batch_end`.
pub(crate) struct Calls<H> {
    handler: H,
    owed: bool,
}

impl<H: Handler> Calls<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, owed: false }
    }

    /// The core runs. That is before the first pass, and no part of a batch.
    pub(crate) fn started(&mut self, out: &mut Reach) {
        self.handler.on_start(&mut CoreCx::new(out));
    }

    pub(crate) fn requested(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Response {
        self.owed = true;
        self.handler.on_request(&mut CoreCx::new(out), opening)
    }

    pub(crate) fn upgrading(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Verdict<H::Conn> {
        self.owed = true;
        self.handler.on_upgrade(&mut CoreCx::new(out), opening)
    }

    pub(crate) fn answered(&mut self, out: &mut Reach, dial: &Dialled, answered: &Answered<'_>) -> Option<H::Conn> {
        self.owed = true;
        self.handler.on_answer(&mut CoreCx::new(out), dial, answered)
    }

    pub(crate) fn dial_failed(&mut self, out: &mut Reach, dial: &Dialled, why: &DialError, retry: Option<Duration>) {
        self.owed = true;
        self.handler.on_dial_failed(&mut CoreCx::new(out), dial, why, retry);
    }

    pub(crate) fn reconnecting(&mut self, out: &mut Reach, dial: &Dialled) {
        self.owed = true;
        self.handler.on_reconnect(&mut CoreCx::new(out), dial);
    }

    pub(crate) fn opened(&mut self, out: &mut Reach, index: u32, data: &mut H::Conn) {
        self.owed = true;
        self.handler.on_open(&mut Cx::new(out, data, index, true));
    }

    /// `last`: no further whole message of this connection came with it.
    #[inline]
    pub(crate) fn message(
        &mut self,
        out: &mut Reach,
        index: u32,
        data: &mut H::Conn,
        last: bool,
        message: Message<'_>,
    ) {
        self.owed = true;
        self.handler.on_message(&mut Cx::new(out, data, index, last), message);
    }

    pub(crate) fn writable(&mut self, out: &mut Reach, index: u32, data: &mut H::Conn) {
        self.owed = true;
        self.handler.on_writable(&mut Cx::new(out, data, index, true));
    }

    pub(crate) fn closed(&mut self, out: &mut Reach, id: ConnId, data: H::Conn, why: &CloseReason<'_>) {
        self.owed = true;
        planted!(OnCloseLost, return);
        self.handler.on_close(&mut CoreCx::new(out), id, data, why);
    }

    pub(crate) fn woken(&mut self, out: &mut Reach) {
        self.owed = true;
        self.handler.on_wake(&mut CoreCx::new(out));
    }

    /// Something was called since the last `on_batch_end`.
    #[inline]
    pub(crate) fn is_owed(&self) -> bool {
        self.owed
    }

    /// Pays what is owed.
    #[inline]
    pub(crate) fn batch_end(&mut self, out: &mut Reach) {
        if std::mem::take(&mut self.owed) {
            self.handler.on_batch_end(&mut CoreCx::new(out));
        }
    }
}
