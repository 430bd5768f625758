//! A parsed request head, borrowing its bytes.
//!
//! Owns: what every HTTP/1.1 server must refuse whatever the request asks for (RFC 7230), and one pass over the headers that
//! notes the few a handshake is judged by.
//! Promises: no allocation, no panic on peer bytes.
//! Refuses to know: whether a handshake is acceptable (`accept`), and what a path means.

use super::fields::{Fields, HeaderTable, Lines, split_lines};
use super::head::HeadLimits;
use super::values::{EXTENSIONS, SUBPROTOCOLS, Single, Values, is, lists};
use super::{Offers, Refusal, ascii, list_elements, origin, token_str};

/// A request head that passed the rules of HTTP itself: its grammar, its target, its Host.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version_minor: u8,
    /// Where the path begins in the target; what stands before is `http://authority`.
    path_at: usize,
    /// The host and port asked for: of the target if it has them, else of Host.
    authority: Option<&'a [u8]>,
    fields: Fields<'a>,
    pub(super) known: Known<'a>,
}

impl core::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut request = f.debug_struct("Request");
        request.field("method", &self.method()).field("target", &self.target());
        request.field("headers", &self.fields).finish_non_exhaustive()
    }
}

/// What one pass over the headers notes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    host: Single<'a>,
    pub(super) origin: Single<'a>,
    pub(super) key: Single<'a>,
    pub(super) version: Single<'a>,
    /// An Upgrade list names websocket.
    pub(super) upgrade: bool,
    /// A Connection list names upgrade.
    pub(super) connection: bool,
    /// A Transfer-Encoding is there, or a Content-Length other than `0`.
    pub(super) body: bool,
    pub(super) subprotocols: Single<'a>,
    pub(super) extensions: Single<'a>,
}

impl<'a> Known<'a> {
    /// Length first: most headers of a browser end here with one comparison.
    #[inline]
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            4 if is(name, b"Host") => self.host.note(value),
            6 if is(name, b"Origin") => self.origin.note(value),
            7 if is(name, b"Upgrade") => self.upgrade |= lists(value, b"websocket"),
            10 if is(name, b"Connection") => self.connection |= lists(value, b"Upgrade"),
            14 if is(name, b"Content-Length") => self.body |= value != b"0",
            17 if is(name, b"Transfer-Encoding") => self.body = true,
            15.. if is(&name[..14], b"Sec-WebSocket-") => match name.len() {
                17 if is(name, b"Sec-WebSocket-Key") => self.key.note(value),
                21 if is(name, b"Sec-WebSocket-Version") => self.version.note(value),
                22 if is(name, SUBPROTOCOLS) => self.subprotocols.note(value),
                24 if is(name, EXTENSIONS) => self.extensions.note(value),
                _ => {}
            },
            _ => {}
        }
    }
}

impl<'a> Request<'a> {
    /// Parses `head`, the bytes that [`HeadScan`](super::HeadScan) called complete, into `table`. Allocates nothing.
    ///
    /// # Errors
    /// The refusal to send, for a handshake and for plain HTTP alike:
    /// * 431: more bytes or headers than `limits` allow (the exact number passes).
    /// * 400: what is not HTTP/1.1 or HTTP/1.0 by RFC 7230 §3, folded header lines (§3.2.4) and space before a colon included;
    ///   any other version of HTTP; a target that is none of §5.3's forms, is not ASCII, or has a fragment; a Host that is
    ///   repeated, malformed, or missing from an HTTP/1.1 request (§5.4).
    pub fn parse(head: &'a [u8], limits: &HeadLimits, table: &'a mut HeaderTable<'a>) -> Result<Request<'a>, Refusal> {
        if head.len() > limits.bytes_max {
            return Err(Refusal::HEAD_TOO_LARGE);
        }
        let Lines { method, target, version_minor, fields } = split_lines(head, limits.headers_max, table)?;
        let mut known = Known::default();
        for (name, value) in fields {
            known.note(name.as_bytes(), value);
        }

        const BAD_TARGET: Refusal = Refusal::new(400, "malformed request target");
        let (target_authority, path_at) = split_target(method, target).ok_or(BAD_TARGET)?;
        let host = match known.host {
            Single::Once(value) => {
                origin::parse_authority(value).ok_or(Refusal::new(400, "malformed Host header"))?;
                Some(value)
            }
            Single::Absent if version_minor == 0 => None,
            Single::Absent => return Err(Refusal::new(400, "missing Host header")),
            Single::Repeated => return Err(Refusal::new(400, "repeated Host header")),
        };
        // RFC 7230 §5.4: the host of an absolute target replaces that of Host.
        let authority = target_authority.or(host);
        Ok(Request { method, target, version_minor, path_at, authority, fields, known })
    }

    /// The method as sent; methods are case-sensitive (RFC 7230 §3.1.1).
    #[must_use]
    pub fn method(&self) -> &'a str {
        ascii(self.method)
    }

    pub(super) fn is_get(&self) -> bool {
        self.method == b"GET"
    }

    /// The request target as sent: ASCII, without spaces or a fragment.
    #[must_use]
    pub fn target(&self) -> &'a str {
        ascii(self.target)
    }

    /// The target's path, escapes left alone: what stands before `?`, without the `http://authority` of an absolute target.
    /// `*` for `OPTIONS *`, empty for `CONNECT`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let path = &self.target()[self.path_at..];
        match path.find('?') {
            Some(0) => "/", // http://authority?query, RFC 7230 §2.7.3
            Some(end) => &path[..end],
            None if path.is_empty() && self.method != b"CONNECT" => "/",
            None => path,
        }
    }

    /// What stands behind the target's first `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.target()[self.path_at..].split_once('?').map(|(_, query)| query)
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub fn version_minor(&self) -> u8 {
        self.version_minor
    }

    /// The host asked for, with the port if one was written: of an absolute target, else of Host. Always there in HTTP/1.1.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.authority.map(ascii)
    }

    pub(super) fn authority(&self) -> Option<&'a [u8]> {
        self.authority
    }

    /// The value of the first header called `name` in any case, without the whitespace around it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        { self.fields }.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// As [`header`](Self::header), if the value is UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|value| core::str::from_utf8(value).ok())
    }

    /// All headers in the order sent, names as sent.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a [u8])> + Clone + 'a {
        self.fields
    }

    /// The values of all headers called `name` in any case, in the order sent, without the whitespace around them.
    pub fn header_values<'n>(&self, name: &'n str) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone + use<'a, 'n> {
        self.fields.filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether the client asks for a WebSocket: an Upgrade list names `websocket`. Then [`accept`](super::accept) judges;
    /// otherwise this is plain HTTP, whatever Sec-WebSocket-* headers it has. A proxy that asks somebody whether a user may
    /// connect sends the user's headers along, but for Upgrade and Connection, which are for one hop (RFC 7230 §6.1, §6.7).
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.known.upgrade
    }

    /// Whether what follows the head may be a body: there is a Transfer-Encoding, or a Content-Length that is not exactly
    /// `0` (RFC 7230 §3.3).
    #[must_use]
    pub fn declares_body(&self) -> bool {
        self.known.body
    }

    /// All subprotocols offered, in the client's order, over repeated headers. What is no token is left out; a handshake that
    /// passed [`accept`](super::accept) has none such, nor duplicates.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.subprotocol_values().flat_map(list_elements).filter_map(token_str)
    }

    pub(super) fn subprotocol_values(&self) -> Values<'a> {
        Values::new(self.known.subprotocols, self.fields, SUBPROTOCOLS)
    }

    /// All extensions offered, in the client's order, over repeated headers. A header that lists nothing offers nothing.
    #[must_use]
    pub fn extensions(&self) -> Offers<'a> {
        Offers::or_none(Values::new(self.known.extensions, self.fields, EXTENSIONS))
    }
}

/// The authority inside an absolute target, and where the path begins; None if the target has none of the forms of
/// RFC 7230 §5.3.
fn split_target<'a>(method: &[u8], target: &'a [u8]) -> Option<(Option<&'a [u8]>, usize)> {
    // RFC 6455 §3: a fragment has no meaning here and must not be sent.
    // Every byte, without a branch: a target is short, and this is vector instructions.
    if target.iter().fold(false, |seen, &b| seen | (b == b'#')) {
        return None;
    }
    match (method, target) {
        (_, [b'/', ..]) | (b"OPTIONS", b"*") => return Some((None, 0)),
        (b"CONNECT", authority) => {
            origin::parse_authority(authority)?;
            return Some((Some(authority), target.len()));
        }
        _ => {}
    }
    // RFC 7230 §5.3.2: a server must accept the absolute form; RFC 6455 §4.1 allows it in a handshake.
    let (scheme, rest) = target.split_at(target.iter().position(|&b| b == b':')?);
    let rest = rest.strip_prefix(b"://")?;
    if ![&b"http"[..], b"https", b"ws", b"wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let authority = &rest[..rest.iter().position(|&b| matches!(b, b'/' | b'?')).unwrap_or(rest.len())];
    origin::parse_authority(authority)?;
    Some((Some(authority), scheme.len() + 3 + authority.len()))
}
