//! Owns the application: the only caller of its [`Handler`], and what it keeps of connections.
//!
//! Promises that what was called is followed by `on_batch_end`: each callback of a pass leaves one owed, and
//! [`Calls::batch_end`] pays it. A panic of the application is caught here, or by [`Calls::judge`] for messages: it is counted, told to
//! the log, and either ends what the callback was about, which is the caller's to do, or the core. Nothing is called any more once
//! one has ended the core. Refuses to know why a callback is made and what comes of what it
//! asked for.

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use wsring_proto::opcode::Message;

use super::alarms::Fired;
use super::dial_error::DialError;
use super::dials::Dialled;
use super::id::ConnId;
use super::panics::{Mark, Panicked, Payload, catch, let_go, theirs};
use super::planted::planted;
use super::reach::Reach;
use super::states::{Lent, States};
use super::ticks::Tick;
use super::topics::Lagged;
use crate::config::OnPanic;
use crate::drain::Drain;
use crate::handler::{Answered, CloseReason, CoreCx, Cx, Handler, Opening, Redial, Response, Verdict};
use crate::peer::Peer;
use crate::target::Target;

/// What a panic in a callback ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// What the callback was about, unless the settings say otherwise.
    Its,
    /// The core: the callback was about nothing less.
    Core,
}

/// The application of a core, and whether it is owed an `on_batch_end`.
pub(crate) struct Calls<H: Handler> {
    handler: H,
    states: States<H::Conn>,
    owed: bool,
    on_panic: OnPanic,
    /// The panic that ends the core.
    fatal: Option<Payload>,
    /// Which panics are meant, in a test: any other is a failure of the test and goes on. `None`: all are caught.
    #[cfg(any(test, feature = "sim"))]
    pub(super) meant: Option<fn(&Payload) -> bool>,
}

impl<H: Handler> Calls<H> {
    pub(crate) fn new(handler: H, on_panic: OnPanic, slots: usize) -> Self {
        Self {
            handler,
            states: States::new(slots),
            owed: false,
            on_panic,
            fatal: None,
            #[cfg(any(test, feature = "sim"))]
            meant: None,
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }

    /// What the application keeps of a connection that is open for it.
    #[cfg(feature = "testing")]
    pub(crate) fn state(&self, index: u32) -> Option<&H::Conn> {
        self.states.look(index)
    }

    /// A connection is open for the application from here on, until [`Self::closed`].
    pub(crate) fn begin(&mut self, index: u32, state: H::Conn) {
        self.states.begin(index, state);
    }

    /// The connection is open for the application.
    #[inline]
    pub(crate) fn has_state(&self, index: u32) -> bool {
        self.states.has(index)
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

    /// A panic of what a topic was given to write or merge a message with, for this connection.
    #[cold]
    pub(crate) fn judge_topic(&mut self, out: &mut Reach, index: u32, panic: Payload) -> Panicked {
        self.owed = true;
        self.panicked(out, "a topic's closure", Some(index), Ends::Its, panic)
    }

    #[inline(always)]
    fn call<R>(
        &mut self,
        out: &mut Reach,
        name: &'static str,
        index: Option<u32>,
        callback: impl FnOnce(&mut H, CoreCx<'_, H>) -> R,
    ) -> Result<R, Panicked> {
        if self.is_over() {
            return Err(self.refuse(callback));
        }
        self.owed = true;
        let (handler, states) = (&mut self.handler, Lent::All(&mut self.states));
        let called = catch(|| theirs(|| callback(handler, CoreCx::new(out, states))));
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
        let (handler, states) = (&mut self.handler, Lent::All(&mut self.states));
        let called = catch(|| theirs(|| callback(handler, &mut CoreCx::new(out, states))));
        out.forgive();
        if let Err(panic) = called {
            let _ = self.panicked(out, name, None, Ends::Core, panic); // `fatal` is what says so
        }
    }

    /// The core runs. That is before the first pass, and no part of a batch.
    pub(crate) fn started(&mut self, out: &mut Reach) {
        self.call_of_core(out, "on_start", H::on_start);
    }

    /// Whether a peer that has connected is taken.
    pub(crate) fn accepting(&mut self, out: &mut Reach, peer: &Peer) -> Result<bool, Panicked> {
        self.call(out, "on_accept", None, |handler, mut cx| handler.on_accept(&mut cx, peer))
    }

    pub(crate) fn requested(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Result<Response, Panicked> {
        self.call(out, "on_request", None, |handler, mut cx| handler.on_request(&mut cx, opening))
    }

    pub(crate) fn upgrading(&mut self, out: &mut Reach, opening: &Opening<'_>) -> Result<Verdict<H::Conn>, Panicked> {
        self.call(out, "on_upgrade", None, |handler, mut cx| handler.on_upgrade(&mut cx, opening))
    }

    /// What it wanted to know of a request that it has deferred has been found.
    pub(crate) fn admitting(
        &mut self,
        out: &mut Reach,
        opening: &Opening<'_>,
        found: H::Mail,
    ) -> Result<Verdict<H::Conn>, Panicked> {
        self.call(out, "on_admit", None, |handler, mut cx| handler.on_admit(&mut cx, opening, found))
    }

    pub(crate) fn answered(
        &mut self,
        out: &mut Reach,
        dial: &Dialled,
        answered: &Answered<'_>,
    ) -> Result<Option<H::Conn>, Panicked> {
        self.call(out, "on_answer", None, |handler, mut cx| handler.on_answer(&mut cx, dial, answered))
    }

    /// It is told of an end: a panic has nothing else to end.
    pub(crate) fn dial_failed(&mut self, out: &mut Reach, dial: &Dialled, why: &DialError, retry: Option<Duration>) {
        let callback = |handler: &mut H, mut cx: CoreCx<'_, H>| handler.on_dial_failed(&mut cx, dial, why, retry);
        let _ = self.call(out, "on_dial_failed", None, callback);
    }

    pub(crate) fn redialling(&mut self, out: &mut Reach, dial: &Dialled, target: &Target) -> Result<Redial, Panicked> {
        self.call(out, "on_redial", None, |handler, mut cx| handler.on_redial(&mut cx, dial, target))
    }

    pub(crate) fn resolved(
        &mut self,
        out: &mut Reach,
        dial: &Dialled,
        addrs: &mut Vec<SocketAddr>,
    ) -> Result<(), Panicked> {
        self.call(out, "on_resolved", None, |handler, mut cx| handler.on_resolved(&mut cx, dial, addrs))
    }

    pub(crate) fn opened(&mut self, out: &mut Reach, index: u32) -> Result<(), Panicked> {
        self.call(out, "on_open", Some(index), |handler, cx| handler.on_open(&mut Cx::new(cx, index, true)))
    }

    /// `last`: no further whole message of this connection came with it. A panic goes on, to whoever works on the bytes of a
    /// receive, and [`Self::judge`]: to catch each message's would cost every message.
    #[inline(always)]
    pub(crate) fn message(&mut self, out: &mut Reach, index: u32, last: bool, message: Message<'_>) {
        self.owed = true;
        let cx = CoreCx::new(out, Lent::All(&mut self.states));
        // No closure around it: a handler too long to be inlined would be called through that, at fifty instructions a message.
        let theirs = Mark::theirs();
        self.handler.on_message(&mut Cx::new(cx, index, last), message);
        theirs.end();
    }

    pub(crate) fn writable(&mut self, out: &mut Reach, index: u32) -> Result<(), Panicked> {
        self.call(out, "on_writable", Some(index), |handler, cx| handler.on_writable(&mut Cx::new(cx, index, true)))
    }

    #[cold]
    pub(crate) fn pong(&mut self, out: &mut Reach, index: u32, round_trip: Duration) -> Result<(), Panicked> {
        self.call(out, "on_pong", Some(index), |handler, cx| {
            handler.on_pong(&mut Cx::new(cx, index, true), round_trip);
        })
    }

    pub(crate) fn lagged(&mut self, out: &mut Reach, index: u32, lagged: Lagged) -> Result<(), Panicked> {
        self.call(out, "on_lagged", Some(index), |handler, cx| handler.on_lagged(&mut Cx::new(cx, index, true), lagged))
    }

    /// It is told of an end: a panic has nothing else to end.
    pub(crate) fn closed(&mut self, out: &mut Reach, id: ConnId, why: &CloseReason<'_>) {
        let data = self.states.end(id.index()).expect("an open connection has a state");
        planted!(OnCloseLost, return);
        let index = Some(id.index());
        let _ = self.call(out, "on_close", index, |handler, mut cx| handler.on_close(&mut cx, id, data, why));
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

    pub(crate) fn timer(&mut self, out: &mut Reach, timer: Fired) {
        self.owed = true;
        self.call_of_core(out, "on_timer", |handler, cx| handler.on_timer(cx, timer));
    }

    pub(crate) fn tick(&mut self, out: &mut Reach, tick: Tick) {
        self.owed = true;
        self.call_of_core(out, "on_tick", |handler, cx| handler.on_tick(cx, tick));
    }

    pub(crate) fn conn_timer(&mut self, out: &mut Reach, index: u32, timer: Fired) -> Result<(), Panicked> {
        self.call(out, "on_conn_timer", Some(index), |handler, cx| {
            handler.on_conn_timer(&mut Cx::new(cx, index, true), timer)
        })
    }

    /// The core is drained from here on.
    pub(crate) fn draining(&mut self, out: &mut Reach, drain: &Drain) {
        self.owed = true;
        self.call_of_core(out, "on_drain", |handler, cx| handler.on_drain(cx, drain));
    }

    /// The connection is about to be told to go.
    pub(crate) fn goodbye(&mut self, out: &mut Reach, index: u32) -> Result<(), Panicked> {
        self.call(out, "on_goodbye", Some(index), |handler, cx| handler.on_goodbye(&mut Cx::new(cx, index, true)))
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
