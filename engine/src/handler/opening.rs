//! What a handler is told of a handshake: [`Opening`] of one that came in, [`Answered`] of one that we began.

use http::Version;
use wsring_proto::handshake::{Answer, Request};

use crate::engine::More;
use crate::headers::header_map;
use crate::peer::Peer;

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
    /// Who asks: the client, where a proxy tells of it that the listener believes ([`Listener`](crate::Listener)).
    pub peer: Peer,
    /// The proxy through which it asks, which is at the other end of the socket. `None` if that is the client itself.
    pub via: Option<Peer>,
    pub(crate) more: Option<&'a More>,
    /// What TLS knows of the client, on a connection with TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsPeer<'a>>,
    /// Of the connection on which it came.
    pub(crate) index: u32,
}

impl<'a> Opening<'a> {
    /// The name that the client asked for in TLS (SNI, RFC 6066 §3): of a connection without TLS, what its proxy tells in a PROXY header of version 2
    /// (PP2_TYPE_AUTHORITY). A name of more than 255 bytes is not told.
    pub fn tls_server_name(&self) -> Option<&'a str> {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            return tls.0.server_name();
        }
        self.more?.server_name.as_deref()
    }

    /// The protocol that was agreed on by ALPN (RFC 7301), here or, as above, with the proxy.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            return tls.0.alpn();
        }
        self.more?.alpn.as_deref()
    }

    /// A copy of the request in the types of `http`, for what routes and authenticates by those. Allocates; a handshake is judged
    /// without it.
    ///
    /// ```
    /// use wsring::{Opening, http};
    ///
    /// fn room(opening: &Opening<'_>) -> Result<String, http::Error> {
    ///     let request: http::Request<()> = opening.to_http()?;
    ///     Ok(request.uri().path().trim_start_matches("/rooms/").to_owned())
    /// }
    /// ```
    ///
    /// # Errors
    /// A target that is no `http::Uri`: one of more than 65,534 bytes, or with a character that RFC 3986 has escaped, such as `<`.
    pub fn to_http(&self) -> Result<http::Request<()>, http::Error> {
        let request = self.request;
        let version = if request.version_minor() == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut copy =
            http::Request::builder().method(request.method()).uri(request.target()).version(version).body(())?;
        *copy.headers_mut() = header_map(request.headers());
        Ok(copy)
    }
}

/// The answer of a server that opened a connection which we dialled: its status is 101, Switching Protocols. A server that
/// answers anything else has opened nothing, and that is told by [`Handler::on_dial_failed`](crate::Handler::on_dial_failed).
/// Valid for the call.
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

#[cfg(test)]
mod tests {
    use wsring_proto::handshake::{HeadLimits, HeaderTable};

    use super::*;

    fn to_http(line: &str) -> Result<http::Request<()>, http::Error> {
        let head = format!("{line}\r\nHost: a\r\nCookie: x=1\r\ncookie: y=2\r\n\r\n");
        let (limits, mut table) = (HeadLimits::default(), HeaderTable::new());
        let request = Request::parse(head.as_bytes(), &limits, &mut table).expect("a request");
        let opening = Opening {
            request: &request,
            subprotocol: None,
            peer: Peer::default(),
            via: None,
            more: None,
            #[cfg(feature = "tls")]
            tls: None,
            index: 0,
        };
        opening.to_http()
    }

    #[test]
    fn a_request_goes_over_to_http_whole() {
        let request = to_http("GET /chat?room=7 HTTP/1.1").expect("a URI");
        assert_eq!((request.method(), request.version()), (&http::Method::GET, Version::HTTP_11));
        assert_eq!((request.uri().path(), request.uri().query()), ("/chat", Some("room=7")));
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().map(http::HeaderValue::as_bytes).collect();
        assert_eq!((request.headers().len(), cookies), (3, vec![&b"x=1"[..], b"y=2"]));
        let old = to_http("PURGE http://b:80/x HTTP/1.0").expect("a URI");
        assert_eq!((old.method().as_str(), old.version(), old.uri().host()), ("PURGE", Version::HTTP_10, Some("b")));
        assert!(to_http("OPTIONS * HTTP/1.1").is_ok());
        assert!(to_http("GET /<b> HTTP/1.1").is_err(), "as documented");
    }
}
