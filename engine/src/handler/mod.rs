//! The API an application implements and calls: [`Handler`], [`Cx`], [`Conn`], [`CoreCx`].
//!
//! One handler lives on each core's thread and is called for that core's connections alone, so it needs no lock and
//! need not be `Send`. What a callback asks for (send, close, pause) is noted and done at the end of the pass; a call
//! never calls back, so any callback may close, send to or pause any connection, its own included, at any point.

mod conn;
mod cx;
mod opening;
mod owned;
mod verdict;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use wsring_proto::close::CloseCode;
pub use wsring_proto::close::Violation;
pub use wsring_proto::handshake::Request;
pub use wsring_proto::opcode::Message;

pub use self::conn::Conn;
pub use self::cx::{CoreCx, Prepared};
pub use self::opening::{Answered, Opening};
pub use self::owned::OwnedMessage;
pub(crate) use self::verdict::{Acceptance, VerdictKind};
pub use self::verdict::{Response, Verdict};
use crate::engine::{ConnId, DialError, Dialled, Reach};
use crate::ring::Errno;

/// One core's application. Callbacks run on the core's thread and must not block: every connection of the core waits.
///
/// A callback that panics ends what it was about, and the others live on: see [`Config::on_panic`](crate::Config::on_panic).
pub trait Handler: Sized {
    /// The application's state of a connection, stored inline in its slot.
    type Conn;

    /// What other threads and cores send to a core: see [`Handle::mail`](crate::Handle::mail). A handler that gets none has `()`.
    type Mail: Send + 'static;

    /// A valid opening handshake (RFC 6455 §4.2.1) whose origin is allowed, with TLS or without: accept or reject it. The
    /// connection has no id before [`Self::on_open`], but every other one of the core may be sent to or closed. By default
    /// 404: a handler that serves implements this.
    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Self::Conn> {
        let _ = (cx, opening);
        Verdict::reject_status(StatusCode::NOT_FOUND)
    }

    /// A plain HTTP request on the same port: whatever does not ask for an upgrade to WebSocket. The connection closes after
    /// the response; a request body is not read. The response to a HEAD is written without its body.
    ///
    /// By default 404, and 200 to OPTIONS, with which HAProxy asks whether a server is up unless it is told otherwise. A check
    /// by GET or HEAD (Apache's, those of clouds) needs a page: implement this.
    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let _ = cx;
        if opening.request.method() == "OPTIONS" {
            let mut response = Response::new(Vec::new());
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

    /// A new attempt begins, after one that failed or a connection that was lost; `dial.attempt` counts them.
    fn on_reconnect(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled) {
        let _ = (cx, dial);
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

    /// Another thread called [`Handle::wake`](crate::Handle::wake) for this core; several calls may come as one.
    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let _ = cx;
    }

    /// Another thread, or a core (this one too), sent this: by [`Handle::mail`](crate::Handle::mail) or [`CoreCx::mail`]. What one sender
    /// sends comes in order, and in order with what it sends and closes by [`Handle::send`](crate::Handle::send) and
    /// [`Handle::close`](crate::Handle::close). A pass takes at most 256 letters, so that connections have their turn in between.
    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, mail: Self::Mail) {
        let _ = (cx, mail);
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

/// A callback's own connection: what any has ([`Conn`], by deref), and its state.
pub struct Cx<'a, H: Handler> {
    conn: Conn<'a, H>,
    data: &'a mut H::Conn,
    last: bool,
}

impl<'a, H: Handler> Cx<'a, H> {
    pub(crate) fn new(out: &'a mut Reach, data: &'a mut H::Conn, index: u32, last: bool) -> Self {
        Self { conn: Conn::new(CoreCx::new(out), index), data, last }
    }

    /// The application's state of this connection. It is borrowed together with everything that can be sent to; [`split`](Self::split)
    /// lends them apart.
    pub fn data(&mut self) -> &mut H::Conn {
        self.data
    }

    /// The state and the connection apart: what is sent may be made of the state, and the state may be changed by what became of that.
    ///
    /// ```
    /// use wsring::{Cx, Handler};
    ///
    /// struct Log { lines: Vec<String>, sent: usize }
    ///
    /// fn send_on<H: Handler<Conn = Log>>(cx: &mut Cx<'_, H>) {
    ///     let (log, conn) = cx.split();
    ///     for line in &log.lines[log.sent..] {
    ///         if !conn.send(line.as_str()).is_queued() {
    ///             break;
    ///         }
    ///         log.sent += 1;
    ///     }
    /// }
    /// ```
    pub fn split(&mut self) -> (&mut H::Conn, &mut Conn<'a, H>) {
        (self.data, &mut self.conn)
    }

    /// Whether no further whole message of this connection has arrived with this one. Outside of `on_message` true.
    #[inline]
    pub fn is_last_in_batch(&self) -> bool {
        self.last
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

impl<H: Handler> fmt::Debug for Cx<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("conn", &self.conn).field("last", &self.last).finish_non_exhaustive()
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum CloseReason<'a> {
    /// The peer closed (RFC 6455 §7.1.5). `code` is `None` if its Close carried none (1005).
    Peer {
        /// The status code, RFC 6455 §7.4.
        code: Option<CloseCode>,
        /// The reason, at most 123 bytes.
        reason: &'a str,
    },
    /// We closed. `clean`: the peer answered before the deadline.
    Local {
        /// The peer's Close came in time.
        clean: bool,
    },
    /// The peer broke the protocol or a limit; it was told the close code of the violation, unless a Close of ours was on
    /// its way already.
    Violation(Violation),
    /// The peer ended its side without a Close (1006).
    Eof,
    /// Nothing came from the peer, not even a pong, although it had taken everything: it was told 1001. Or it took nothing of what was
    /// queued for it within the [`send_timeout`](crate::Config::send_timeout): it was reset.
    Timeout,
    /// The peer began a message and did not go on with it fast enough ([`Config::message_timeout`](crate::Config::message_timeout)); it was
    /// told 1008.
    Stalled,
    /// The socket failed, and of what the peer had said before that nothing is left: a Close of its would be the reason instead.
    Reset(Errno),
    /// TLS failed.
    #[cfg(feature = "tls")]
    Tls(&'a crate::TlsError),
    /// The core's memory was used up, and this connection held most of it. It was told 1009 if half a message had come, or 1013;
    /// one that took nothing of its output was cut.
    Memory,
    /// The server stopped; peers were told 1001.
    Stopped,
    /// A callback of this connection panicked ([`Config::on_panic`](crate::Config::on_panic)); its peer was told 1011, unless a Close
    /// of ours was on its way already. What that callback had begun with the connection's state is as it left it.
    Panicked,
}

/// One line for a log. What the peer wrote as its reason is escaped.
impl fmt::Display for CloseReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { code: None, .. } => f.write_str("closed by the peer without a code"),
            Self::Peer { code: Some(code), reason: "" } => write!(f, "closed by the peer: {code}"),
            Self::Peer { code: Some(code), reason } => write!(f, "closed by the peer: {code} {reason:?}"),
            Self::Local { clean: true } => f.write_str("closed by us"),
            Self::Local { clean: false } => f.write_str("closed by us, and the peer did not answer"),
            Self::Violation(violation) => write!(f, "the peer broke the protocol: {violation}"),
            Self::Eof => f.write_str("the peer ended the connection without a close"),
            Self::Timeout => f.write_str("the peer is silent"),
            Self::Stalled => f.write_str("the peer did not finish a message in time"),
            Self::Reset(errno) => write!(f, "the connection broke: {errno}"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => fmt::Display::fmt(error, f),
            Self::Memory => f.write_str("the core's memory was used up, and this connection held most of it"),
            Self::Stopped => f.write_str("stopped"),
            Self::Panicked => f.write_str("the application panicked"),
        }
    }
}
