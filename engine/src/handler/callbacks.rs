//! [`Handler`], which an application implements, and the contexts that its callbacks are given: [`CoreCx`], [`Conn`], [`Cx`].
//!
//! Owns what they are; what can be done with them is in the files beside this one. Each reaches the one before it by deref.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use wsring_proto::opcode::Message;

use super::opening::{Answered, Opening};
use super::reason::CloseReason;
use super::redial::Redial;
use super::verdict::{Response, Verdict};
use crate::drain::Drain;
use crate::engine::{ConnId, DialError, Dialled, Fired, Lagged, Lent, Reach, Tick};
use crate::peer::Peer;
use crate::target::Target;

/// One core's application. Callbacks run on the core's thread and must not block: every connection of the core waits.
///
/// A callback that panics ends what it was about: its connection, and the others live on, or, where it is about the core (`on_mail`, `on_tick` and others), the core.
/// See [`Config::on_panic`](crate::Config::on_panic).
pub trait Handler: Sized {
    /// The application's state of a connection, stored inline in its slot.
    type Conn;

    /// What other threads and cores send to a core: see [`Handle::mail`](crate::Handle::mail). A handler that gets none has `()`.
    type Mail: Send + 'static;

    /// A peer has connected, and nothing of it has been read: whether to go on with it, before TLS and a request cost anything. If not, it is closed at once, told
    /// nothing, and counted ([`Stats::turned_away`](crate::Stats::turned_away)); a panic in here does the same. By default everybody is taken. Not
    /// called while the core stops. Of those that are taken not all open, and nobody is told when one that has not goes: count connections in
    /// [`on_open`](Self::on_open) and [`on_close`](Self::on_close).
    ///
    /// At a listener that requires PROXY headers ([`Listener::proxy`](crate::Listener::proxy)) this is called for the proxy first, which
    /// [`Peer::is_proxy`] tells, and again for the client when its header is there; once, if the proxy connects for itself. Whom a request names
    /// ([`Listener::trust_forwarded`](crate::Listener::trust_forwarded)) is told to [`on_upgrade`](Self::on_upgrade) and [`on_request`](Self::on_request) alone.
    fn on_accept(&mut self, cx: &mut CoreCx<'_, Self>, peer: &Peer) -> bool {
        let _ = (cx, peer);
        true
    }

    /// A valid opening handshake (RFC 6455 §4.2.1) whose origin is allowed, with TLS or without: accept or reject it. The
    /// connection has no id before [`Self::on_open`], but every other one of the core may be sent to or closed. By default
    /// 404: a handler that serves implements this.
    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Self::Conn> {
        let _ = (cx, opening);
        Verdict::reject_status(StatusCode::NOT_FOUND)
    }

    /// Of a request whose answer was [deferred](CoreCx::defer) it has been found what there was to find: by [`Handle::admit`](crate::Handle::admit),
    /// with the request as [`on_upgrade`](Self::on_upgrade) or [`on_request`](Self::on_request) had it. Accept or reject it, or defer it again, under the same
    /// deadline. A plain request cannot be accepted: reject it with the response. By default 404: a handler that is admitted to implements this.
    fn on_admit(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>, found: Self::Mail) -> Verdict<Self::Conn> {
        let _ = (cx, opening, found);
        Verdict::reject_status(StatusCode::NOT_FOUND)
    }

    /// A plain HTTP request on the same port: whatever does not ask for an upgrade to WebSocket. The connection closes after
    /// the response; a request body is not read. The response to a HEAD is written without its body. `Response::from(pending)` says that the answer comes
    /// later: see [`CoreCx::defer`].
    ///
    /// By default 404, and 200 to OPTIONS, with which HAProxy asks whether a server is up unless it is told otherwise; 503 while the core is
    /// [drained](crate::Drain). A check by GET or HEAD (Apache's, those of clouds) needs a page: implement this, and say 503 there as well while
    /// [`CoreCx::is_draining`].
    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        if opening.request.method() == "OPTIONS" {
            let mut response = Response::new(Vec::new());
            if cx.is_draining() {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            return response;
        }
        let mut response = Response::new(b"this is a WebSocket endpoint\n".to_vec());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }

    /// The core runs; called once, before anything else. Where a client dials from.
    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let _ = cx;
    }

    /// A server opened a connection that we dialled (RFC 6455 §4.1): the application's state for it, or `None` to leave
    /// it at once. The connection has no id before [`Self::on_open`]. By default `None`: a handler that dials implements
    /// this.
    fn on_answer(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, answered: &Answered<'_>) -> Option<Self::Conn> {
        let _ = (cx, dial, answered);
        None
    }

    /// An attempt to connect failed. `retry`: how long from now the next one comes, by the target's
    /// [`Reconnect`](crate::Reconnect); `None`: the dial is over and its id stale.
    ///
    /// Of each attempt that was begun exactly one of this and `on_open` is called; after the `on_close` of a connection whose
    /// attempts are used up, this tells [`DialError::Exhausted`].
    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, why: &DialError, retry: Option<Duration>) {
        let _ = (cx, dial, why, retry);
    }

    /// A new attempt begins, after one that failed or a connection that was lost; `dial.attempt` counts them. What it dials: `target`, which
    /// is that of the attempt before it or what [`CoreCx::retarget`] has given since, another, or one that is
    /// [told later](Redial::Later), from any thread. The dial keeps the tag and the [`Reconnect`](crate::Reconnect) that it began with, and its
    /// count of attempts; everything else is the new target's: its TLS, proxy, headers and heartbeat too. By default [`Self::on_reconnect`] is called, and the target stays.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wsring::{CoreCx, Cx, Dialled, Handler, Message, Redial, Target, TargetError};
    /// # struct Desk { token: String }
    /// impl Desk {
    ///     /// Whole, as the first attempt had it.
    ///     fn target(&self) -> Result<Target, TargetError> {
    ///         let target = Target::new(&format!("ws://exchange.example/stream?token={}", self.token))?;
    ///         Ok(target.heartbeat(Duration::from_secs(20), Message::Text("ping")))
    ///     }
    /// }
    /// # impl Handler for Desk {
    /// #     type Conn = ();
    /// #     type Mail = ();
    /// #     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// fn on_redial(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Target) -> Redial {
    ///     self.target().map_or(Redial::Same, Redial::from)
    /// }
    /// # }
    /// ```
    fn on_redial(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, target: &Target) -> Redial {
        let _ = target;
        self.on_reconnect(cx, dial);
        Redial::Same
    }

    /// The same for whoever dials the same target each time. Not called where [`Self::on_redial`] is implemented.
    fn on_reconnect(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled) {
        let _ = (cx, dial);
    }

    /// An attempt knows the addresses that it may connect to, of the lookup or of the URL itself, in the order in which they are tried, at most
    /// 16: take away those that nobody may connect to (of this machine, of the inner network), or change their order. The first begins at
    /// once, each further one [`race_delay`](Target::race_delay) later or when one before it has failed, and the first that connects is
    /// taken (RFC 8305). If none is left the attempt fails with [`DialError::NoAddress`]. By default all are taken: the families in turn,
    /// and behind them those that have disappointed this dial before.
    fn on_resolved(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, addrs: &mut Vec<SocketAddr>) {
        let _ = (cx, dial, addrs);
    }

    /// The connection is open, and what is sent here goes first. (On the server's side behind the 101, which is queued.)
    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx;
    }

    /// A whole message. It is borrowed from the receive buffer: copy what must outlive the call.
    /// [`Conn::forward`] sends it on unchanged, which is cheap at any size.
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>);

    /// The connection's output fell below the low-water mark after it had been above the high one.
    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx;
    }

    /// The peer has answered a ping of [`Conn::ping`]. `round_trip`: from the pass in which it was sent to the one in which its pong came, and
    /// what was queued before it is in that. Pings of [`Config::idle_timeout`](crate::Config::idle_timeout) are not told, nor are pongs that nobody asked for.
    fn on_pong(&mut self, cx: &mut Cx<'_, Self>, round_trip: Duration) {
        let _ = (cx, round_trip);
    }

    /// A timer of the core has come: see [`CoreCx::set_timer`].
    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, timer: Fired) {
        let _ = (cx, timer);
    }

    /// A tick: see [`Config::tick`](crate::Config::tick). It comes behind all that has arrived by this pass and behind its timers; only `on_batch_end` follows, and
    /// what the end of a pass itself tells, such as `on_lagged`. With
    /// [`Flush::AtTick`](crate::Flush::AtTick) what was sent since the last tick, and what is sent here and in `on_batch_end`, goes out now.
    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        let _ = (cx, tick);
    }

    /// A timer of this connection has come: see [`Conn::set_timer`]. Also while the connection is paused; never after its `on_close`.
    fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Fired) {
        let _ = (cx, timer);
    }

    /// Messages of topics had to wait for this connection, none does any more, and it has missed some: so many, since this was last told.
    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let _ = (cx, lagged);
    }

    /// Another thread called [`Handle::wake`](crate::Handle::wake) for this core; several calls may come as one.
    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let _ = cx;
    }

    /// Another thread, or a core (this one too), sent this: by [`Handle::mail`](crate::Handle::mail) or [`CoreCx::mail`]. A panic in here ends the core: check what a
    /// peer has sent before you mail it. What one sender
    /// sends comes in order, and in order with what it sends and closes by [`Handle::send`](crate::Handle::send) and
    /// [`Handle::close`](crate::Handle::close). A pass takes at most 256 letters, so that connections have their turn in between.
    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, mail: Self::Mail) {
        let _ = (cx, mail);
    }

    /// The core is drained from here on: see [`Drain`]. Called once. Whoever tells all clients here has them all come back in one moment:
    /// [`Self::on_goodbye`] tells each in its turn.
    fn on_drain(&mut self, cx: &mut CoreCx<'_, Self>, drain: &Drain) {
        let _ = (cx, drain);
    }

    /// The core is drained, and the turn of this connection has come: what is sent here goes before the Close that follows. It may be closed in words of
    /// your own instead.
    ///
    /// ```
    /// # use wsring::{Cx, Handler, Message};
    /// # struct Desk;
    /// # impl Handler for Desk {
    /// #     type Conn = ();
    /// #     type Mail = ();
    /// #     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
    ///     let _ = cx.send(r#"{"bye":"come back, your session is kept"}"#);
    /// }
    /// # }
    /// ```
    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx;
    }

    /// All that arrived in this pass of the loop has been handled. Called in each pass that called anything else, behind that:
    /// once, but again where the end of a pass calls back itself, because the core begins to stop or because TLS of a
    /// connection turns out to be broken when it is to send.
    fn on_batch_end(&mut self, cx: &mut CoreCx<'_, Self>) {
        let _ = cx;
    }

    /// The connection is over: called exactly once for each `on_open`. Its id is stale from here on; only
    /// [`CoreCx::unsent`] still knows it, and says how many bytes of its output no socket has taken, our Close aside: they will
    /// still be tried after a Close of the peer, for as long as it takes any, and are lost after [`CloseReason::Reset`],
    /// [`CloseReason::Timeout`] or [`CloseReason::Memory`].
    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, conn: Self::Conn, why: &CloseReason<'_>) {
        let _ = (cx, id, conn, why);
    }
}

/// What a callback without a connection of its own can do: reach every connection of this core.
///
/// It belongs to the core's thread and cannot leave it:
///
/// ```compile_fail
/// fn escape<H: wsring::Handler>(cx: &mut wsring::CoreCx<'_, H>) {
///     fn needs_send<T: Send>(_: T) {}
///     needs_send(cx);
/// }
/// ```
pub struct CoreCx<'a, H: Handler> {
    pub(super) out: &'a mut Reach,
    pub(super) states: Lent<'a, H::Conn>,
    /// Neither Send nor Sync: another thread must go through a `Handle`.
    thread: PhantomData<*mut ()>,
}

impl<'a, H: Handler> CoreCx<'a, H> {
    #[inline]
    pub(crate) fn new(out: &'a mut Reach, states: Lent<'a, H::Conn>) -> Self {
        Self { out, states, thread: PhantomData }
    }

    /// The same core, for as long as this one is lent.
    #[inline]
    pub(super) fn reborrow(&mut self) -> CoreCx<'_, H> {
        CoreCx::new(self.out, self.states.reborrow())
    }
}

/// A connection of this core that the application has been told is open and has not been told is closed: what a callback can
/// do with it, and through it with the core ([`CoreCx`], by deref).
///
/// A callback with a connection of its own has one in its [`Cx`](crate::Cx), by deref; [`CoreCx::conn`] finds any other.
pub struct Conn<'a, H: Handler> {
    pub(super) core: CoreCx<'a, H>,
    pub(super) index: u32,
}

impl<'a, H: Handler> Conn<'a, H> {
    #[inline]
    pub(super) fn new(core: CoreCx<'a, H>, index: u32) -> Self {
        Self { core, index }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }
}

impl<'a, H: Handler> Deref for Conn<'a, H> {
    type Target = CoreCx<'a, H>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.core
    }
}

impl<H: Handler> DerefMut for Conn<'_, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.core
    }
}

/// A connection with its state: the callback's own, or one that [`CoreCx::cx_of`] or [`CoreCx::for_each`] found. What any connection has is
/// in [`Conn`], by deref.
pub struct Cx<'a, H: Handler> {
    pub(super) conn: Conn<'a, H>,
    pub(super) last: bool,
}

impl<'a, H: Handler> Cx<'a, H> {
    #[inline]
    pub(crate) fn new(core: CoreCx<'a, H>, index: u32, last: bool) -> Self {
        Self { conn: Conn::new(core, index), last }
    }
}

impl<'a, H: Handler> Deref for Cx<'a, H> {
    type Target = Conn<'a, H>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.conn
    }
}

impl<H: Handler> DerefMut for Cx<'_, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.conn
    }
}
