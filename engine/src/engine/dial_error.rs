//! Why an attempt to connect failed, as the application is told, and whether the next one may do better.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use wsring_proto::tunnel::TunnelError;

use crate::headers::header_map;

/// What a server answered instead of opening the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Declined {
    /// The status, 200 to 999: a redirect is reported, not followed (RFC 6455 §4.1 leaves that to the client).
    pub status: StatusCode,
    /// The headers, in the order sent for each name. (A name of more than 65,535 bytes, which this type cannot hold, is left out.) None if
    /// the head was malformed or beyond [`Target::answer_limits`](crate::Target::answer_limits).
    pub headers: HeaderMap,
    /// The first bytes of the body, at most [`Declined::BODY_MAX`]; chunks are put together.
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

    /// How long the server wants not to be asked again: its Retry-After (RFC 9110 §10.2.3), in seconds, or as a date by the server's own
    /// clock, from its Date. `None`: it does not say, or not in a way that can be read.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = |name: HeaderName| self.headers.get(name)?.to_str().ok().map(str::trim);
        let said = text(header::RETRY_AFTER)?;
        if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Duration::from_secs(said.parse().unwrap_or(u64::MAX)));
        }
        let [at, now] = [said, text(header::DATE)?].map(httpdate::parse_http_date);
        Some(at.ok()?.duration_since(now.ok()?).unwrap_or_default())
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
    /// No address could be connected to; this is that of the last one that failed, ETIMEDOUT where its time was over.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// connect(2)'s error.
        source: io::Error,
    },
    /// The proxy does not connect to the server.
    #[error("no way through the proxy: {0}")]
    Proxy(#[from] wsring_proto::tunnel::TunnelError),
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
    /// `on_redial` said that the target was not known yet, and it was not given within the
    /// [`connect_timeout`](crate::Target::connect_timeout) either.
    #[error("nobody said in time what to connect to")]
    NoTarget,
    /// The application's `on_redial`, `on_reconnect`, `on_resolved` or `on_answer` panicked.
    #[error("the application panicked")]
    Panicked,
    /// `on_resolved` left none of its addresses, or none is of the family of [`Target::local_address`](crate::Target::local_address).
    #[error("none of the addresses may be connected to")]
    NoAddress,
    /// The core is at its connection cap (`Config::connections_max`), or its ring has no place for one more socket, and no other address of the attempt is
    /// under way for which a place may come free. (Where the process has no descriptor left it is `Connect` with EMFILE.)
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
    /// Whether another address might have done better, where one connected: the server there is broken, or is none.
    pub(crate) fn is_of_address(&self) -> bool {
        match self {
            Self::Declined(declined) => declined.status.is_server_error(),
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
            Self::HandshakeTimeout | Self::Eof | Self::Reset(_) | Self::Answer(_) | Self::Compression(_) => true,
            // Of the proxy's: another one may have a way. What it forbids, or has no address for, is the same everywhere (RFC 1928 §6).
            Self::Proxy(TunnelError::Status(500..) | TunnelError::Malformed | TunnelError::Socks(1 | 3..=6)) => true,
            _ => false,
        }
    }

    /// Whether the same attempt could succeed later: see [`Reconnect`](crate::Reconnect). `heeds`: what a server says of when to come back counts.
    pub(crate) fn may_pass(&self, heeds: bool) -> bool {
        match self {
            Self::Declined(declined) => match declined.status.as_u16() {
                // RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: come back later.
                408 | 425 | 429 => true,
                // RFC 9110 §10.2.3: whoever says when to come back may be asked again then. (Behind a redirect that is somewhere else.)
                400..500 => heeds && declined.retry_after().is_some(),
                status => !(300..400).contains(&status),
            },
            // RFC 9110 §15.5.8: who does not know us will not the next time either.
            Self::Proxy(TunnelError::Credentials | TunnelError::Status(401 | 403 | 407)) => false,
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
            | Self::NoTarget
            | Self::Proxy(_)
            | Self::NoAddress
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
            .filter(|&status| declined(status).may_pass(true))
            .collect();
        assert_eq!(asked_again, [200, 408, 425, 429, 500, 503]);
    }

    /// What is wrong with a proxy, or with its way, puts its address behind others; what it says of us or the target does not.
    #[test]
    fn a_proxy_that_fails_is_no_better_than_a_server() {
        let failed = |why| DialError::Proxy(why).is_of_address();
        assert!([500, 502, 599].map(TunnelError::Status).into_iter().all(failed) && failed(TunnelError::Malformed));
        assert!([302, 403, 407, 429].map(TunnelError::Status).into_iter().all(|why| !failed(why)));
        assert!(!failed(TunnelError::Credentials));
        let codes: Vec<u8> = (0..=9).filter(|code| failed(TunnelError::Socks(*code))).collect();
        assert_eq!(codes, [1, 3, 4, 5, 6]);
    }

    fn declined(status: u16, headers: &[(&str, &str)]) -> Declined {
        Declined::new(status, headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn who_says_when_to_come_back_is_asked_again() {
        for (status, again) in [(302, false), (403, true), (418, true), (429, true), (503, true)] {
            let error = DialError::Declined(Box::new(declined(status, &[("Retry-After", "7")])));
            assert_eq!(error.may_pass(true), again, "{status}");
            assert_eq!(error.may_pass(false), again && matches!(status, 429 | 503), "{status}, whatever it says");
        }
        assert!(!DialError::Declined(Box::new(declined(418, &[("Retry-After", "soon")]))).may_pass(true));
    }

    /// RFC 9110 §10.2.3 and §5.6.7: seconds, or a date in three forms.
    #[test]
    fn retry_after_in_every_form() {
        const NOW: (&str, &str) = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let after = |said: &str| declined(503, &[NOW, ("Retry-After", said)]).retry_after();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(after("120"), seconds(120));
        assert_eq!(after("0"), seconds(0));
        assert_eq!(after("99999999999999999999"), seconds(u64::MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:51:07 GMT"), seconds(90));
        assert_eq!(after("Sunday, 06-Nov-94 08:51:07 GMT"), seconds(90));
        assert_eq!(after("Sun Nov  6 08:51:07 1994"), seconds(90));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0), "it is over");
        for wrong in ["", "-1", "1.5", "1 s", "tomorrow", "Sun, 99 Nov 1994 08:51:07 GMT", "\u{e9}"] {
            assert_eq!(after(wrong), None, "{wrong:?}");
        }
        let date = ("Retry-After", "Sun, 06 Nov 1994 08:51:07 GMT");
        assert_eq!(declined(503, &[date]).retry_after(), None, "whose clock?");
        assert_eq!(declined(503, &[date, ("Date", "now")]).retry_after(), None);
        assert_eq!(declined(503, &[NOW]).retry_after(), None);
        assert_eq!(declined(503, &[("Retry-After", "1"), ("Retry-After", "9")]).retry_after(), seconds(1));
    }
}
