//! Where to connect to, and how: [`Target`].
//!
//! Everything that can be wrong with it is found while it is made, so that dialling fails only for what the network and the
//! server do.

use std::fmt;
use std::net::IpAddr;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use http::uri::Uri;
use http::{HeaderName, HeaderValue};
use wsring_proto::handshake::{HeadLimits, UpgradeRequest, client_key, write_request};
use wsring_proto::opcode::Message;

use crate::pressure::Pressure;
use crate::reconnect::Reconnect;
use crate::terms::Terms;
use crate::way::{Proxy, ProxyError, port_of};

/// A server to connect to ([`CoreCx::connect`](crate::CoreCx::connect)), with what is asked of it and what happens when
/// the connection is lost.
///
/// ```
/// use std::time::Duration;
/// use wsring::{Message, Reconnect, Target};
///
/// let target = Target::new("ws://feed.example.com/quotes?depth=5")?
///     .subprotocol("quotes.v2")?
///     .header("authorization", "Bearer let-me-in")?
///     .heartbeat(Duration::from_secs(20), Message::Text("ping"))
///     .reconnect(Reconnect::default());
/// assert_eq!((target.host(), target.port()), ("feed.example.com", 80));
/// # Ok::<(), wsring::TargetError>(())
/// ```
#[derive(Clone)]
pub struct Target {
    secure: bool,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// What Host says.
    authority: String,
    /// Whom the certificate must prove, if not the host.
    server_name: Option<String>,
    /// Path and query.
    path: String,
    origin: Option<String>,
    subprotocols: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) local: Option<IpAddr>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) connect_timeout: Duration,
    pub(crate) race_delay: Duration,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) answer_limits: HeadLimits,
    pub(crate) is_plain: bool,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) terms: Terms,
    pub(crate) tag: u64,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// Where it leads, and how often. What may be a token is nobody's to see: the query, the values of headers, subprotocols and what a heartbeat says.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let path = shown(&self.path);
        let headers: Vec<&HeaderName> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Target")
            .field("url", &format_args!("{scheme}://{host}:{}{path}", self.port))
            .field("tag", &self.tag)
            .field("headers", &headers)
            .field("proxy", &self.proxy)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

/// A URL or a part of one, without what may be secret in it.
fn shown(url: &str) -> String {
    let (front, query) = url.split_once('?').map_or((url, None), |(front, query)| (front, Some(query)));
    let at = front.find("://").map_or(0, |at| at + "://".len());
    let (scheme, place) = front.split_at(at);
    match query {
        // A password with a question mark in it, or a query with an address of mail.
        Some(query) if query.contains('@') && !place.contains('@') => format!("{scheme}..."),
        Some(_) => format!("{scheme}{}?...", unnamed(place)),
        None => format!("{scheme}{}", unnamed(place)),
    }
}

/// Without what stands in front of an `@`.
fn unnamed(place: &str) -> String {
    place.rsplit_once('@').map_or(place.to_owned(), |(_, behind)| format!("...@{behind}"))
}

/// Shorter, and heartbeats would be all that a core does.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// A message sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) every: Duration,
    text: bool,
    bytes: Vec<u8>,
}

impl Heartbeat {
    pub(crate) fn message(&self) -> Message<'_> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if self.text => Message::Text(text),
            _ => Message::Binary(&self.bytes),
        }
    }
}

/// Why a target cannot be dialled: the application's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a URL; this is what was given, without what may be secret in it: its query, and what stands in front of an `@`.
    #[error("{0:?} is no URL: ws://HOST[:PORT][/PATH][?QUERY] or wss://...")]
    Url(String),
    /// Another scheme than ws and wss.
    #[error("a WebSocket URL begins with ws:// or wss://, not {0}://")]
    Scheme(String),
    /// RFC 6455 §3: fragments have no meaning in a WebSocket URL.
    #[error("a WebSocket URL has no fragment: write # as %23 if it belongs to the path")]
    Fragment,
    /// A user or password in the URL, which RFC 6455 §3 has no place for.
    #[error("a WebSocket URL has no user: send an Authorization header instead")]
    User,
    /// A host that no certificate can be for.
    #[error("{0:?} is no host name that a certificate could prove")]
    Host(String),
    /// A part cannot stand in a request: a line break, a name that is no token, a header that is the engine's to write, a
    /// subprotocol twice.
    #[error("{0}")]
    Request(#[from] wsring_proto::handshake::RequestError),
    /// A header's name is no token (RFC 9110 §5.1).
    #[error("a header name is not a token")]
    HeaderName,
    /// CR, LF, NUL or another control character in a header's value (RFC 9110 §5.5).
    #[error("the value of header {0} holds a control character")]
    HeaderValue(HeaderName),
}

impl Target {
    /// A `ws` or `wss` URL (RFC 6455 §3): the port is 80 or 443 unless it names one, the path `/`. A host is a name, an
    /// IPv4 address or an IPv6 address in brackets; names other than ASCII are written in their `xn--` form.
    ///
    /// # Errors
    /// [`TargetError`] says what is wrong with it.
    pub fn new(url: &str) -> Result<Self, TargetError> {
        if url.contains('#') {
            return Err(TargetError::Fragment);
        }
        let wrong = || TargetError::Url(shown(url));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str().ok_or_else(wrong)? {
            scheme if scheme.eq_ignore_ascii_case("ws") => false,
            scheme if scheme.eq_ignore_ascii_case("wss") => true,
            other => return Err(TargetError::Scheme(other.to_owned())),
        };
        let parts = uri.authority().ok_or_else(wrong)?;
        if parts.as_str().contains('@') {
            return Err(TargetError::User);
        }
        let host = parts.host();
        let default = if secure { 443 } else { 80 };
        let said = &parts.as_str()[host.len()..];
        let port = if said.is_empty() { default } else { port_of(said).ok_or_else(wrong)? };
        let bare = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
        let bracketed = bare.len() < host.len();
        if bare.is_empty() || bracketed != bare.contains(':') || (bracketed && bare.parse::<IpAddr>().is_err()) {
            return Err(wrong());
        }
        let path = match uri.path_and_query().map_or("", |path| path.as_str()) {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        let target = Self {
            secure,
            host: bare.to_owned(),
            port,
            // RFC 6455 §4.1: the port is left out if it is the scheme's.
            authority: if port == default { host.to_owned() } else { format!("{host}:{port}") },
            path,
            server_name: None,
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            local: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            race_delay: Duration::from_millis(250),
            handshake_timeout: None,
            answer_limits: HeadLimits::of_answers(),
            is_plain: false,
            reconnect: None,
            heartbeat: None,
            pressure: None,
            terms: Terms::default(),
            tag: 0,
            #[cfg(feature = "tls")]
            tls: None,
        };
        target.checked()
    }

    /// Adds a subprotocol to those offered, most wanted first (RFC 6455 §4.1 item 10). The server may take none.
    ///
    /// # Errors
    /// A name that is no token, or that is offered already.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Result<Self, TargetError> {
        self.subprotocols.push(name.into());
        self.checked()
    }

    /// Adds a header to the request. Name and value may be text, bytes, or of these types already.
    ///
    /// # Errors
    /// A name that is no token or that the handshake writes itself (Host, Upgrade, Connection, Sec-WebSocket-*, lengths), a
    /// value with a line break, NUL or another control character.
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Result<Self, TargetError> {
        let name = name.try_into().map_err(|_| TargetError::HeaderName)?;
        let value = value.try_into().map_err(|_| TargetError::HeaderValue(name.clone()))?;
        self.headers.push((name, value));
        self.checked()
    }

    /// Says where the connection comes from, as browsers do (RFC 6455 §4.1 item 8). Default: nothing is said.
    ///
    /// # Errors
    /// A control character in it.
    pub fn origin(mut self, origin: impl Into<String>) -> Result<Self, TargetError> {
        self.origin = Some(origin.into());
        self.checked()
    }

    /// What the request says as Host, instead of the URL's host and port: for a server that is reached by another name or by its address.
    ///
    /// # Errors
    /// What is no host with an optional port.
    pub fn host_header(mut self, authority: impl Into<String>) -> Result<Self, TargetError> {
        self.authority = authority.into();
        self.checked()
    }

    /// The name that the server's certificate must prove, and that is asked for (SNI) unless it is an address, instead of the URL's host. A
    /// `ws` target ignores it.
    ///
    /// # Errors
    /// [`TargetError::Host`]: no certificate can prove it.
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Self, TargetError> {
        self.server_name = Some(name.into());
        self.checked()
    }

    /// Offers no compression, whatever [`Config::deflate`](crate::Config::deflate) and [`Terms::deflate`] say. Default: what they say is offered.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// Which address of this machine to connect from; addresses of the other family are passed over then. Default: the kernel chooses by its
    /// routes. One that the machine does not have fails the attempt ([`DialError::Connect`](crate::DialError::Connect) with EADDRNOTAVAIL).
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local = Some(address);
        self
    }

    /// Connects through a proxy. Default: none, whatever the environment says.
    ///
    /// # Errors
    /// [`ProxyError::Ask`]: it cannot be asked for this host.
    pub fn proxy(mut self, proxy: Proxy) -> Result<Self, ProxyError> {
        proxy.ask(&self.host, self.port, &mut Vec::new())?;
        self.proxy = Some(proxy);
        Ok(self)
    }

    /// Connects through the proxy that the environment names, if it names one, as curl reads it: `http_proxy` for `ws` (in small letters alone,
    /// because a web server sets `HTTP_PROXY` by a header of a request), `https_proxy` or `HTTPS_PROXY` for `wss`, else `all_proxy` or
    /// `ALL_PROXY`; none for a host that `no_proxy` or `NO_PROXY` lists: names with all below them, addresses and networks, `*` for all. What
    /// begins with no scheme is an HTTP proxy.
    ///
    /// # Errors
    /// [`ProxyError`] of the variable that counts.
    pub fn proxy_from_env(self) -> Result<Self, ProxyError> {
        match Proxy::from_vars(self.secure, &self.host, self.port, |name| std::env::var(name).ok())? {
            Some(proxy) => self.proxy(proxy),
            None => Ok(self),
        }
    }

    /// Where its connections go: to the proxy, or to the server itself.
    pub(crate) fn first(&self) -> (&str, u16) {
        self.proxy.as_ref().map_or((&self.host, self.port), Proxy::place)
    }

    /// How long looking up the name may take, and then connecting to each of its addresses; with a proxy, those of the proxy. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an address is tried before the next one begins beside it, if the name has several; the first that connects is taken, and the
    /// others are given up (RFC 8305 §5). [`Duration::ZERO`] begins with all at once. As long as the
    /// [`connect_timeout`](Self::connect_timeout) it tries one behind the other. Default 250 ms.
    #[must_use]
    pub fn race_delay(mut self, delay: Duration) -> Self {
        self.race_delay = delay;
        self
    }

    /// From the TCP connection to the server's answer, TLS included, and with a proxy what that takes to connect to the server. Default: `Config::handshake_timeout`.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = Some(timeout);
        self
    }

    /// Limits on the head of the server's answer. A refusal beyond them is told by its status alone, an answer that would open the
    /// connection fails it. Default 64 KiB and 256 headers ([`HeadLimits::of_answers`]).
    #[must_use]
    pub fn answer_limits(mut self, limits: HeadLimits) -> Self {
        self.answer_limits = limits;
        self
    }

    /// Dials again when the connection fails or is lost. Default: never.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Sends this message whenever so much time has passed since the connection opened or the last such message: what
    /// exchanges call a ping of the application; `every` is a millisecond at least. It counts as a message and may be refused
    /// like one. (Pings of the protocol are `Config::idle_timeout`'s.)
    #[must_use]
    pub fn heartbeat(mut self, every: Duration, message: Message<'_>) -> Self {
        let every = every.max(HEARTBEAT_MIN);
        let text = matches!(message, Message::Text(_));
        self.heartbeat = Some(Heartbeat { every, text, bytes: message.as_bytes().to_vec() });
        self
    }

    /// Whether messages of its connections are taken while their output is above the high-water mark. Default:
    /// [`Terms::pressure`], and without that [`Config::pressure_dialled`](crate::Config::pressure_dialled).
    #[must_use]
    pub fn pressure(mut self, pressure: Pressure) -> Self {
        self.pressure = Some(pressure);
        self
    }

    /// The limits and timeouts of its connections once they are open, and the compression that is offered to the server, where they differ from those of the
    /// [`Config`](crate::Config). For the time before there are [`connect_timeout`](Self::connect_timeout), [`handshake_timeout`](Self::handshake_timeout) and
    /// [`answer_limits`](Self::answer_limits).
    #[must_use]
    pub fn terms(mut self, terms: &Terms) -> Self {
        self.terms = terms.clone();
        self
    }

    /// Speaks TLS by this configuration of rustls, which decides whom to trust, which certificate is shown to a server that asks for one
    /// (`with_client_auth_cert`), and by which provider of cryptography; each target may have another. A `wss` target needs one; a `ws` target ignores it. The server's certificate must prove the URL's host, which is also
    /// what is asked for by name (SNI) unless it is an address. Early data must be off.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// A number of the application's own, given back in every callback about this dial. Default 0.
    #[must_use]
    pub fn tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    /// Whether the scheme is `wss`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is dialled again: see [`Self::reconnect`].
    pub fn is_redialled(&self) -> bool {
        self.reconnect.is_some()
    }

    /// Whether it can speak TLS.
    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Whom the server's certificate must prove.
    #[cfg(feature = "tls")]
    pub(crate) fn proven_name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }

    /// The address that its connections go to, if it is known.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.first().0.parse().ok()
    }

    pub(crate) fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// Appends the request head.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        key: &[u8; 24],
        extensions: Option<&str>,
    ) -> Result<(), wsring_proto::handshake::RequestError> {
        let request = UpgradeRequest {
            authority: &self.authority,
            target: &self.path,
            key,
            origin: self.origin.as_deref(),
            subprotocols: &self.subprotocols,
            extensions,
        };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        write_request(out, &request, headers)
    }

    /// What cannot be written is refused before it is dialled.
    fn checked(self) -> Result<Self, TargetError> {
        #[cfg(feature = "tls")]
        if self.secure && rustls::pki_types::ServerName::try_from(self.proven_name()).is_err() {
            return Err(TargetError::Host(self.proven_name().to_owned()));
        }
        self.write(&mut Vec::new(), &client_key([0; 16]), None)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (bool, String, u16, String, String) {
        let Target { secure, host, port, authority, path, .. } = Target::new(url).expect(url);
        (secure, host, port, authority, path)
    }

    #[track_caller]
    fn is(url: &str, expected: (bool, &str, u16, &str, &str)) {
        let (secure, host, port, authority, path) = parts(url);
        assert_eq!((secure, &*host, port, &*authority, &*path), expected, "{url}");
    }

    #[test]
    fn urls_of_every_form() {
        is("ws://example.com", (false, "example.com", 80, "example.com", "/"));
        is("WS://Example.com:80/", (false, "Example.com", 80, "Example.com", "/"));
        is("wss://example.com/a/b?c=d&e", (true, "example.com", 443, "example.com", "/a/b?c=d&e"));
        is("wss://example.com:80?x", (true, "example.com", 80, "example.com:80", "/?x"));
        is("ws://127.0.0.1:9001/", (false, "127.0.0.1", 9001, "127.0.0.1:9001", "/"));
        is("ws://[::1]:9001/chat", (false, "::1", 9001, "[::1]:9001", "/chat"));
        is("wss://[2001:db8::1]", (true, "2001:db8::1", 443, "[2001:db8::1]", "/"));
        is("ws://xn--bcher-kva.example/%23", (false, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/%23"));
    }

    /// What gives access to a server is in no log that somebody writes an error or a target to.
    #[test]
    fn tokens_are_not_shown() {
        for (url, text) in [
            ("ws://host:0/a?token=secret", "ws://host:0/a?..."),
            ("ws://me:secret@a host/?token=secret", "ws://...@a host/?..."),
            ("ws://me:sec?secret@host:0/a", "ws://..."),
            ("ws://host:0/?mail=secret@secret", "ws://..."),
            ("ws://me:sec/secret@host:0/", "ws://...@host:0/"),
            ("a host?token=secret", "a host?..."),
            ("host?token=secret&next=ws://there", "host?..."),
            ("secret@host", "...@host"),
        ] {
            let error = Target::new(url).expect_err(url);
            assert_eq!(error, TargetError::Url(text.to_owned()), "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let target = Target::new("wss://[::1]/stream?token=secret").and_then(|target| {
            let heartbeat = Message::Text("secret");
            target
                .header("authorization", "Bearer secret")?
                .subprotocol("secret")
                .map(|target| target.heartbeat(HEARTBEAT_MIN, heartbeat))
        });
        let target = target
            .expect("a target")
            .proxy(Proxy::new("http://me:secret@proxy:8").expect("a proxy"))
            .expect("it can be asked");
        for told in [format!("{target:?}"), format!("{:?}", crate::Redial::from(target.clone()))] {
            assert!(told.contains("wss://[::1]:443/stream?...") && told.contains("authorization"), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn what_is_no_websocket_url() {
        let error = |url| Target::new(url).expect_err(url);
        for url in [
            "",
            "/path",
            "example.com",
            "ws:",
            "ws://",
            "ws:///path",
            "ws://host:",
            "ws://host:0",
            "ws://host:99999",
            "ws://host:8x",
            "ws://host:+80",
            "ws://[::1]:+80",
            "ws://[::1",
            "ws://[zz]/",
            "ws://a b/",
            "ws://host/a b",
            "ws://h/\r\nX: y",
            "ws://[127.0.0.1]/",
        ] {
            assert!(matches!(error(url), TargetError::Url(_)), "{url}: {:?}", error(url));
        }
        assert_eq!(error("http://host/"), TargetError::Scheme("http".to_owned()));
        assert_eq!(error("ws://host/#top"), TargetError::Fragment);
        assert_eq!(error("ws://me:secret@host/"), TargetError::User);
    }

    #[test]
    fn host_and_server_name_may_be_others() {
        let target = Target::new("wss://192.0.2.7:8443/").and_then(|target| target.host_header("feed.example.com"));
        let target = target.and_then(|target| target.server_name("feed.example.com")).expect("both are names");
        assert_eq!((target.host(), target.port(), &*target.authority), ("192.0.2.7", 8443, "feed.example.com"));
        let mut head = Vec::new();
        target.write(&mut head, &client_key([0; 16]), None).expect("checked");
        assert!(String::from_utf8(head).expect("text").contains("\r\nHost: feed.example.com\r\n"));
        #[cfg(feature = "tls")]
        {
            assert_eq!(target.proven_name(), "feed.example.com");
            assert_eq!(target.clone().server_name("a b").err(), Some(TargetError::Host("a b".to_owned())));
        }
        for wrong in ["", "a b", "host:port", "x\r\nX: y", "me@host", "host/"] {
            assert!(matches!(target.clone().host_header(wrong), Err(TargetError::Request(_))), "{wrong:?}");
        }
    }

    #[test]
    fn what_could_smuggle_a_header_is_refused() {
        let target = || Target::new("ws://host/").expect("a URL");
        for value in ["a\rb", "a\nX: y", "a\0b", "a\x7fb"] {
            assert!(matches!(target().header("x-a", value), Err(TargetError::HeaderValue(_))), "{value:?}");
            assert!(matches!(target().origin(value), Err(TargetError::Request(_))), "{value:?}");
            assert!(matches!(target().subprotocol(value), Err(TargetError::Request(_))), "{value:?}");
        }
        let bytes = target().header(&b"x-a"[..], &b"\xff"[..]).and_then(|target| target.header("x-b".to_owned(), 7));
        assert!(bytes.is_ok(), "bytes, owned text and numbers are values");
        assert!(matches!(target().header("a b", "c"), Err(TargetError::HeaderName)));
        for name in ["Host", "upgrade", "Connection", "Sec-WebSocket-Key", "sec-websocket-extensions", "content-length"]
        {
            assert!(matches!(target().header(name, "c"), Err(TargetError::Request(_))), "{name}");
        }
        let offered = target().subprotocol("a").expect("a token");
        assert!(matches!(offered.subprotocol("a"), Err(TargetError::Request(_))), "twice");
    }
}
