//! Owns the application: the only caller of its [`Handler`].
//!
//! Promises that what was called is followed by `on_batch_end`: each callback of a pass leaves one owed, and
//! [`Calls::batch_end`] pays it. A panic of the application is caught here, or by [`Calls::judge`] for messages: it is counted, told to
//! the log, and either ends what the callback was about, which is the caller's to do, or the core. Nothing is called any more once
//! one has ended the core, but for messages of the same pass. Refuses to know why a callback is made and what comes of what it
//! asked for.

use std::panic::resume_unwind;
use std::time::Duration;

use wsring_proto::opcode::Message;

use super::dial_error::DialError;
use super::dials::Dialled;
use super::id::ConnId;
use super::panics::{Panicked, Payload, catch, let_go, theirs};
use super::planted::planted;
use super::reach::Reach;
use crate::config::OnPanic;
use crate::handler::{Answered, CloseReason, CoreCx, Cx, Handler, Opening, Response, Verdict};

/// What a panic in a callback ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// What the callback was about, unless the settings say otherwise.
    Its,
    /// The core: the callback was about nothing less.
    Core,
}

/// The application of a core, and whether it is owed an `on_batch_end`.
pub(crate) struct Calls<H> {
    handler: H,
    owed: bool,
    on_panic: OnPanic,
    /// The panic that ends the core.
    fatal: Option<Payload>,
    /// Which panics are meant, in a test: any other is a failure of the test and goes on. `None`: all are caught.
    #[cfg(any(test, feature = "sim"))]
    pub(super) meant: Option<fn(&Payload) -> bool>,
}

impl<H: Handler> Calls<H> {
    pub(crate) fn new(handler: H, on_panic: OnPanic) -> Self {
        Self {
            handler,
            owed: false,
            on_panic,
            fatal: None,
            #[cfg(any(test, feature = "sim"))]
            meant: None,
        }
    }

    /// A panic of the application ends this core.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.fatal.is_some()
    }

    /// Nothing is called any more.
    #[inline]
    fn is_over(&self) -> bool {
        planted!(PanicOutlived, false; self.has_failed())
    }

    /// That panic goes on, if there was one: all is done that could be.
    pub(crate) fn go_on(&mut self) {
        if let Some(panic) = self.fatal.take() {
            resume_unwind(panic);
        }
    }

    /// A callback has panicked.
    #[cold]
    fn panicked(
        &mut self,
        out: &mut Reach,
        name: &'static str,
        index: Option<u32>,
        ends: Ends,
        panic: Payload,
    ) -> Panicked {
        #[cfg(any(test, feature = "sim"))]
        if self.meant.is_some_and(|meant| !meant(&panic)) {
            resume_unwind(panic);
        }
        out.stats.panics += planted!(PanicUncounted, 0; 1);
        // Nothing of what it said: that may be a peer's bytes. The process's panic hook has had it.
        let conn = index.map(|index| out.peers.id_of(index));
        tracing::error!(callback = name, conn = conn.map(tracing::field::display), "the application panicked");
        if ends == Ends::Its && self.on_panic == OnPanic::Close {
            let_go(panic);
        } else {
            out.stop = true;
            self.fatal = Some(panic);
        }
        Panicked
    }

    /// A panic of `on_message`, which was called for messages of this connection.
    #[cold]
    pub(crate) fn judge(&mut self, out: &mut Reach, index: u32, panic: Payload) -> Panicked {
        self.panicked(out, "on_message", Some(index), Ends::Its, panic)
    }

    #[inline(always)]
    fn call<R>(
        &mut self,
        out: &mut Reach,
        name: &'static str,
        index: Option<u32>,
        callback: impl FnOnce(&mut H, &mut Reach) -> R,
    ) -> Result<R, Panicked> {
        if self.is_over() {
            return Err(self.refuse(callback));
        }
        self.owed = true;
        let handler = &mut self.handler;
        let called = catch(|| theirs(|| callback(handler, out)));
        out.forgive();
        called.map_err(|panic| self.panicked(out, name, index, Ends::Its, panic))
    }

    /// What was to be handed over is let go instead.
    #[cold]
    fn refuse<C>(&mut self, callback: C) -> Panicked {
        if let Err(panic) = catch(|| theirs(|| drop(callback))) {
            let_go(panic);
        }
        Panicked
    }

    /// A callback that is about the core.
    #[inline(always)]
    fn call_of_core(&mut self, out: &mut Reach, name: &'static str, callback: impl FnOnce(&mut H, &mut CoreCx<'_, H>)) {
        if self.is_over() {
            return;
        }
        let handler = &mut self.handler;
        let called = catch(|| theirs(|| callback(handler, &mut CoreCx::new(out))));
        out.forgive();
        if let Err(panic) = called {
            let _ = self.panicked(out, name, None, Ends::Core, panic); // `fatal` is what says so
        }
    }

    /// The core runs. That is before the first pass, and no part of a batch.
    pub(crate) fn started(&mut self, out: &mut Reach) {
        self.call_of_core(out, "on_start", H::on_start);
    }

    pub(crate) fn requested(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Result<Response, Panicked> {
        self.call(out, "on_request", None, |handler, out| handler.on_request(&mut CoreCx::new(out), opening))
    }

    pub(crate) fn upgrading(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Result<Verdict<H::Conn>, Panicked> {
        self.call(out, "on_upgrade", None, |handler, out| handler.on_upgrade(&mut CoreCx::new(out), opening))
    }

    pub(crate) fn answered(
        &mut self,
        out: &mut Reach,
        dial: &Dialled,
        answered: &Answered<'_>,
    ) -> Result<Option<H::Conn>, Panicked> {
        self.call(out, "on_answer", None, |handler, out| handler.on_answer(&mut CoreCx::new(out), dial, answered))
    }

    /// It is told of an end: a panic has nothing else to end.
    pub(crate) fn dial_failed(&mut self, out: &mut Reach, dial: &Dialled, why: &DialError, retry: Option<Duration>) {
        let callback =
            |handler: &mut H, out: &mut Reach| handler.on_dial_failed(&mut CoreCx::new(out), dial, why, retry);
        let _ = self.call(out, "on_dial_failed", None, callback);
    }

    pub(crate) fn reconnecting(&mut self, out: &mut Reach, dial: &Dialled) -> Result<(), Panicked> {
        self.call(out, "on_reconnect", None, |handler, out| handler.on_reconnect(&mut CoreCx::new(out), dial))
    }

    pub(crate) fn opened(&mut self, out: &mut Reach, index: u32, data: &mut H::Conn) -> Result<(), Panicked> {
        self.call(out, "on_open", Some(index), |handler, out| handler.on_open(&mut Cx::new(out, data, index, true)))
    }

    /// `last`: no further whole message of this connection came with it. A panic goes on, to whoever works on the bytes of a
    /// receive, and [`Self::judge`]: to catch each message's would cost every message.
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
        theirs(|| self.handler.on_message(&mut Cx::new(out, data, index, last), message));
    }

    pub(crate) fn writable(&mut self, out: &mut Reach, index: u32, data: &mut H::Conn) -> Result<(), Panicked> {
        self.call(out, "on_writable", Some(index), |handler, out| {
            handler.on_writable(&mut Cx::new(out, data, index, true))
        })
    }

    /// It is told of an end: a panic has nothing else to end.
    pub(crate) fn closed(&mut self, out: &mut Reach, id: ConnId, data: H::Conn, why: &CloseReason<'_>) {
        planted!(OnCloseLost, return);
        let index = Some(id.index());
        let _ =
            self.call(out, "on_close", index, |handler, out| handler.on_close(&mut CoreCx::new(out), id, data, why));
    }

    pub(crate) fn woken(&mut self, out: &mut Reach) {
        self.owed = true;
        self.call_of_core(out, "on_wake", H::on_wake);
    }

    pub(crate) fn mail(&mut self, out: &mut Reach, mail: H::Mail) {
        self.owed = true;
        out.stats.mails += 1;
        self.call_of_core(out, "on_mail", |handler, cx| handler.on_mail(cx, mail));
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
            self.call_of_core(out, "on_batch_end", H::on_batch_end);
        }
    }
}
