//! Why an attempt to connect failed, as the application is told, and whether the next one may do better.

use std::io;
use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};

use crate::headers::header_map;

/// What a server answered instead of opening the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Declined {
    /// The status, 200 to 999: a redirect is reported, not followed (RFC 6455 §4.1 leaves that to the client).
    pub status: StatusCode,
    /// The headers, in the order sent for each name. (A name of more than 65,535 bytes, which this type cannot hold, is left out.)
    pub headers: HeaderMap,
    /// The first bytes of the body, at most [`Declined::BODY_MAX`], as they came (chunks are not put together).
    pub body: Vec<u8>,
}

impl Declined {
    /// Bytes of a body that are kept.
    pub const BODY_MAX: usize = 4096;

    /// A head that passed the parser. Allocates.
    pub(crate) fn new<'h>(status: u16, headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let status = StatusCode::from_u16(status).expect("the parser passes 100 to 999 alone");
        Self { status, headers: header_map(headers), body: Vec::new() }
    }
}

/// Why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address, or the lookup failed (getaddrinfo(3)).
    #[error("cannot look up {host}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No address could be connected to; this is the last one's error, ETIMEDOUT where its time was over.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// connect(2)'s error.
        source: io::Error,
    },
    /// The server took the connection and did not answer the handshake in time.
    #[error("the server did not answer the handshake in time")]
    HandshakeTimeout,
    /// The server ended the connection instead of answering.
    #[error("the server closed the connection during the handshake")]
    Eof,
    /// The connection broke during the handshake.
    #[error("the connection broke during the handshake: {0}")]
    Reset(#[source] io::Error),
    /// The server answered with another status than 101.
    #[error("the server answered with status {}", .0.status.as_u16())]
    Declined(Box<Declined>),
    /// The server's answer opens no connection (RFC 6455 §4.1).
    #[error("wrong answer to the handshake: {0}")]
    Answer(#[from] wsring_proto::handshake::AnswerError),
    /// TLS failed: the server's certificate does not prove its name, it speaks no TLS, or it refused us.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A `wss` target without a configuration of TLS ([`Target::tls`](crate::Target)), or in a build without the feature
    /// `tls`.
    #[error("a wss:// target needs a configuration of TLS")]
    TlsMissing,
    /// The server's answer to our offer of compression fails the connection (RFC 7692 §7.1).
    #[error("wrong answer to the handshake: {0}")]
    Compression(#[from] wsring_proto::deflate::CompressionError),
    /// The application's `on_answer` did not want the connection.
    #[error("the application declined the connection (`on_answer` returned `None`)")]
    Unwanted,
    /// The application's `on_reconnect` or `on_answer` panicked.
    #[error("the application panicked")]
    Panicked,
    /// The core is at its connection cap (`Config::connections_max`).
    #[error("this core is at its connection cap")]
    Full,
    /// The connection was lost before it was healthy, once more than the policy allows.
    #[error("the connection was lost again, and its attempts are used up")]
    Exhausted,
    /// The application abandoned the dial.
    #[error("abandoned")]
    Abandoned,
    /// The core is stopping.
    #[error("stopping")]
    Stopped,
}

impl DialError {
    /// Whether the same attempt could succeed later: see [`Reconnect`](crate::Reconnect).
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Declined(declined) => match declined.status.as_u16() {
                // RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: come back later.
                408 | 425 | 429 => true,
                status => !(300..500).contains(&status),
            },
            Self::Unwanted | Self::Abandoned | Self::Stopped | Self::Exhausted | Self::TlsMissing => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => true, // certificates are renewed, and connections cut
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::HandshakeTimeout
            | Self::Eof
            | Self::Reset(_)
            | Self::Answer(_)
            | Self::Compression(_)
            | Self::Panicked
            | Self::Full => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_says_no_is_not_asked_again() {
        let declined = |status| DialError::Declined(Box::new(Declined::new(status, std::iter::empty())));
        let asked_again: Vec<u16> = [200, 301, 400, 401, 403, 404, 408, 425, 429, 500, 503]
            .into_iter()
            .filter(|&status| declined(status).may_pass())
            .collect();
        assert_eq!(asked_again, [200, 408, 425, 429, 500, 503]);
    }
}
