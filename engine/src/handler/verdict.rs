//! What a handler answers to a request: [`Verdict`] to an opening handshake, [`Response`] to anything else.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::engine::Pending;
use crate::pressure::Pressure;
use crate::terms::Terms;

/// An HTTP response: of a plain request, or instead of an upgrade. `Content-Length` and `Connection: close` are added.
pub type Response = http::Response<Vec<u8>>;

/// The answer to an opening handshake.
#[derive(Debug)]
#[must_use]
pub struct Verdict<C>(pub(crate) VerdictKind<C>);

#[derive(Debug)]
pub(crate) enum VerdictKind<C> {
    Accept(Acceptance<C>),
    Reject(Response),
    Defer(Pending),
}

#[derive(Debug)]
pub(crate) struct Acceptance<C> {
    pub(crate) conn: C,
    /// `None`: as negotiated from the configured list.
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: HeaderMap,
    /// `None`: as configured.
    pub(crate) pressure: Option<Pressure>,
    pub(crate) terms: Terms,
}

impl<C> Verdict<C> {
    /// Open the connection with this state. Does not allocate.
    pub fn accept(conn: C) -> Self {
        let (headers, terms) = (HeaderMap::new(), Terms::default());
        Self(VerdictKind::Accept(Acceptance { conn, subprotocol: None, headers, pressure: None, terms }))
    }

    /// Answer this instead, for example a redirect or 401.
    pub fn reject(response: Response) -> Self {
        Self(VerdictKind::Reject(response))
    }

    /// Answer with this status and its reason phrase as a one-line body.
    pub fn reject_status(status: StatusCode) -> Self {
        let mut response = Response::new(format!("{}\n", status.canonical_reason().unwrap_or("rejected")).into_bytes());
        *response.status_mut() = status;
        Self::reject(response)
    }

    /// Answer later, from any thread: see [`CoreCx::defer`](crate::CoreCx::defer). Does not allocate. Any other name than that call has just given is a
    /// fault of the handler: its client gets 500, and the log a line.
    pub fn defer(pending: Pending) -> Self {
        Self(VerdictKind::Defer(pending))
    }

    /// Choose this subprotocol instead of the negotiated one. It must be one that the client offered
    /// ([`Request::subprotocols`](crate::Request::subprotocols)); otherwise the client gets 500, because a client must fail such a connection
    /// (RFC 6455 §4.1). No effect on a rejection, nor where the answer is deferred.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        if let VerdictKind::Accept(acceptance) = &mut self.0 {
            acceptance.subprotocol = Some(name.into());
        }
        self
    }

    /// Whether messages of this connection are taken while its output is above the high-water mark, instead of what
    /// [`Config::pressure_accepted`](crate::Config::pressure_accepted) says. No effect on a rejection, nor where the answer is deferred.
    pub fn pressure(mut self, pressure: Pressure) -> Self {
        if let VerdictKind::Accept(acceptance) = &mut self.0 {
            acceptance.pressure = Some(pressure);
        }
        self
    }

    /// The limits and timeouts of this connection, where they differ from those of the [`Config`](crate::Config). Does not allocate. No effect on a
    /// rejection, nor where the answer is deferred: the verdict of [`on_admit`](crate::Handler::on_admit) gives them then.
    pub fn terms(mut self, terms: &Terms) -> Self {
        if let VerdictKind::Accept(acceptance) = &mut self.0 {
            acceptance.terms = terms.clone();
        }
        self
    }

    /// Add a header to the response, for example `Set-Cookie`. Headers of the handshake itself (`Sec-WebSocket-*`,
    /// `Upgrade`, `Connection`, lengths) are refused with 500 and a log line. No effect where the answer is deferred.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        match &mut self.0 {
            VerdictKind::Accept(acceptance) => _ = acceptance.headers.append(name, value),
            VerdictKind::Reject(response) => _ = response.headers_mut().append(name, value),
            VerdictKind::Defer(_) => {}
        }
        self
    }
}
