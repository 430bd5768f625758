//! What a handler is told of a handshake: [`Opening`] of one that came in, [`Answered`] of one that we began.

use http::StatusCode;
use wsring_proto::handshake::{Answer, Request};

/// A request that came in: an opening handshake, or a plain HTTP request. Valid for the call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Opening<'a> {
    /// The request line and the headers, as sent.
    pub request: &'a Request<'a>,
    /// The first of the configured subprotocols ([`Policy`](crate::Policy)) that the client offered; the connection opens
    /// with it unless [`Verdict::subprotocol`](crate::Verdict::subprotocol) says otherwise. `None` if there is none, and for
    /// a plain request.
    pub subprotocol: Option<&'a str>,
    /// What TLS knows of the client, on a connection with TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsPeer<'a>>,
}

/// The answer of a server that opened a connection which we dialled. Valid for the call.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    pub(crate) answer: &'a Answer<'a>,
    /// The one of our subprotocols that the server chose.
    pub subprotocol: Option<&'a str>,
    /// What TLS knows of the server, on a connection with TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsPeer<'a>>,
}

impl<'a> Answered<'a> {
    /// The status: 101, Switching Protocols. A server that answers anything else has opened nothing, and that is told by
    /// [`Handler::on_dial_failed`](crate::Handler::on_dial_failed).
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.answer.status()).expect("a parsed answer has a status of 100 to 999")
    }

    /// The value of the first header of this name, in any case; `None` if there is none. The bytes are as sent, without the
    /// whitespace around them.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.answer.header(name)
    }

    /// All headers in the order sent, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone + 'a {
        self.answer.headers()
    }
}
