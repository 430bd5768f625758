//! What a test's client asks for, and why it is not let in.

use std::fmt;

use wsring_proto::deflate::{ClientOffer, Settings};
use wsring_proto::handshake::{self, UpgradeRequest};

use crate::handler::Response;

/// A client's opening handshake (RFC 6455 §4.1), for [`Bench::connect`](super::Bench::connect). A path does for most: `bench.connect("/chat")`.
///
/// ```
/// use wsring::testing::Handshake;
///
/// let asked = Handshake::to("/feed?from=7").header("Cookie", "session=ann").subprotocol("prices.v2");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Handshake {
    target: String,
    host: String,
    origin: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    pub(super) subprotocols: Vec<String>,
    pub(super) offer: Option<ClientOffer>,
}

impl Handshake {
    /// To this path, and query: `/chat?room=7`. The Host is `localhost`.
    pub fn to(target: impl Into<String>) -> Self {
        let (host, subprotocols) = ("localhost".to_owned(), Vec::new());
        Self { target: target.into(), host, origin: None, headers: Vec::new(), subprotocols, offer: None }
    }

    /// With this Host, and a port if it is not the scheme's: `chat.example:8443`.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// From a page of this origin, as browsers say it: `https://chat.example`. See [`Policy`](crate::Policy).
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// With one header more, such as `Cookie` or `Authorization`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Offers one subprotocol more, the most wanted first.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Offers permessage-deflate (RFC 7692). Where the core takes it ([`Config::deflate`](crate::Config::deflate)), what it sends to this
    /// client may be compressed; what the client sends is not.
    pub fn deflate(mut self) -> Self {
        self.offer = ClientOffer::new(&Settings::dedicated());
        self
    }

    /// Writes the request.
    ///
    /// # Panics
    /// If a part of it cannot stand in a request.
    #[track_caller]
    pub(super) fn write(&self, into: &mut Vec<u8>, key: &[u8; 24]) {
        let extensions = self.offer.map(|offer| offer.to_string());
        let request = UpgradeRequest {
            authority: &self.host,
            target: &self.target,
            key,
            origin: self.origin.as_deref(),
            subprotocols: &self.subprotocols,
            extensions: extensions.as_deref(),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        if let Err(error) = handshake::write_request(into, &request, headers) {
            panic!("{self:?} is no request: {error}");
        }
    }
}

impl From<&str> for Handshake {
    fn from(target: &str) -> Self {
        Self::to(target)
    }
}

impl From<String> for Handshake {
    fn from(target: String) -> Self {
        Self::to(target)
    }
}

/// Why a client got no WebSocket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The core answered something else than 101: what the handler's [`Verdict`](crate::Verdict) says, or a refusal of the core's own, such as
    /// 403 for an [origin](crate::Policy) that may not connect and 503 above [`Config::connections_max`](crate::Config::connections_max).
    Answered(Box<Response>),
    /// There is no answer: nobody listens any more, or the connection was cut.
    Closed,
    /// There is no answer yet, because it is deferred ([`CoreCx::defer`](crate::CoreCx::defer)): ask by [`Bench::ask`](super::Bench::ask), and go on.
    Deferred,
}

impl Refused {
    /// The status of the answer, if there is one.
    pub fn status(&self) -> Option<http::StatusCode> {
        match self {
            Self::Answered(response) => Some(response.status()),
            Self::Closed | Self::Deferred => None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(response) => {
                let body = String::from_utf8_lossy(response.body());
                write!(f, "refused with {}: {:?}", response.status(), body.trim_end())
            }
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::Deferred => f.write_str("there is no answer yet: it is deferred"),
        }
    }
}

impl std::error::Error for Refused {}
