//! Why a connection ended, as `on_close` is told.

use std::fmt;

use wsring_proto::close::{CloseCode, Violation};

use crate::ring::Errno;

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
    /// No whole message came from the peer within the [`Config::data_timeout`](crate::Config::data_timeout); it was told 1001.
    NoData,
    /// It was open for as long as [`Config::lifetime_max`](crate::Config::lifetime_max) allows; the peer was told 1001.
    Lifetime,
    /// The socket failed, and of what the peer had said before that nothing is left: a Close of its would be the reason instead.
    Reset(Errno),
    /// TLS failed.
    #[cfg(feature = "tls")]
    Tls(&'a crate::TlsError),
    /// The core's memory was used up, and this connection held most of it. It was told 1009 if half a message had come, or 1013;
    /// one that took nothing of its output was cut.
    Memory,
    /// The application cut it ([`Conn::abort`](crate::Conn::abort)); the peer was reset.
    Aborted,
    /// The core was drained, and its turn had come: the peer was told what the [`Drain`](crate::Drain) says, or
    /// [`on_goodbye`](crate::Handler::on_goodbye). `clean`: it answered before the deadline.
    Drained {
        /// The peer's Close came in time.
        clean: bool,
    },
    /// The server stopped; peers were told 1001, or, at the deadline of a [`Drain`](crate::Drain), what that says.
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
            Self::NoData => f.write_str("the peer sent no message"),
            Self::Lifetime => f.write_str("the connection was open for as long as it may be"),
            Self::Reset(errno) => write!(f, "the connection broke: {errno}"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => fmt::Display::fmt(error, f),
            Self::Memory => f.write_str("the core's memory was used up, and this connection held most of it"),
            Self::Aborted => f.write_str("cut by us"),
            Self::Drained { clean: true } => f.write_str("drained"),
            Self::Drained { clean: false } => f.write_str("drained, and the peer did not answer"),
            Self::Stopped => f.write_str("stopped"),
            Self::Panicked => f.write_str("the application panicked"),
        }
    }
}
