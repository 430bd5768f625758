//! The client's half of the opening handshake (RFC 6455 §4.1): the request.
//!
//! Owns: the bytes of the request, and the check of every part that a caller gives.
//! Promises: one complete request is appended, or nothing. No part that passes can begin another line or another request.
//! Refuses to know: where the nonce's randomness comes from, what a URL is, and the answer (`answer`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::Fields;
use super::response::{is_reserved, is_text, push_all, whole};
use super::values::{EXTENSIONS, SUBPROTOCOLS, Single, Values};
use super::{Offers, is_token, origin};

/// The value of `Sec-WebSocket-Key` for a nonce, which is to be 16 random bytes, new for each connection (RFC 6455 §4.1,
/// item 7 of the request).
#[must_use]
pub fn client_key(nonce: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    let written = STANDARD.encode_slice(nonce, &mut key);
    assert_eq!(written, Ok(24), "16 bytes are 24 characters of base64");
    key
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// The Host: host, and port unless it is the scheme's default (RFC 6455 §4.1, item 4), which is the caller's to know. An
    /// IPv6 address stands in brackets.
    pub authority: &'a str,
    /// Path and query in visible ASCII, escaped where need be: begins with `/`, has no fragment (RFC 6455 §3).
    pub target: &'a str,
    /// From [`client_key`].
    pub key: &'a [u8; 24],
    /// Where the request comes from (RFC 6454 §7). Browsers always say it; other clients need not (RFC 6455 §4.1, item 8).
    pub origin: Option<&'a str>,
    /// The subprotocols wanted, most wanted first.
    pub subprotocols: &'a [String],
    /// The value of Sec-WebSocket-Extensions, as the one who will judge the answer to it wrote it.
    pub extensions: Option<&'a str>,
}

/// What a caller gave that cannot stand in a request. Our side's fault; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The authority is no host with an optional port (RFC 7230 §5.4).
    Authority,
    /// The target does not begin with `/`, holds something else than visible ASCII, or has a fragment.
    Target,
    /// The key is not the base64 of 16 bytes: [`client_key`] made another.
    Key,
    /// The origin is empty or holds something else than visible ASCII.
    Origin,
    /// A subprotocol is not a token (RFC 6455 §4.1, item 10).
    Subprotocol,
    /// A subprotocol is given twice (same item).
    SubprotocolRepeated,
    /// The extensions break the grammar of RFC 6455 §9.1.
    Extensions,
    /// A header name is not a token (RFC 7230 §3.2).
    HeaderName,
    /// A header value holds CR, LF, NUL or another control character (RFC 7230 §3.2.6).
    HeaderValue,
    /// A header that frames the message or belongs to the handshake: written here or not at all.
    HeaderReserved,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Authority => "the authority is not a host with an optional port",
            RequestError::Target => "the target is not a path and query in visible ASCII",
            RequestError::Key => "the key is not the base64 of 16 bytes",
            RequestError::Origin => "the origin is not visible ASCII",
            RequestError::Subprotocol => "a subprotocol is not a token",
            RequestError::SubprotocolRepeated => "a subprotocol is given twice",
            RequestError::Extensions => "the extensions are malformed",
            RequestError::HeaderName => "a header name is not a token",
            RequestError::HeaderValue => "a header value holds a control character",
            RequestError::HeaderReserved => "a header is one that only the engine may write",
        })
    }
}

impl core::error::Error for RequestError {}

/// Appends the request that opens a connection (RFC 6455 §4.1), with headers of the caller's own (a cookie, a token) last.
///
/// Allocates only to grow `out`.
///
/// # Errors
/// A part that cannot stand in a request (see [`RequestError`]), or a reserved header: Host, Upgrade, Connection,
/// Content-Length, Transfer-Encoding, all Sec-WebSocket-*, and Origin if the request has one. `out` is left as it was.
pub fn write_request<'h>(
    out: &mut Vec<u8>,
    request: &UpgradeRequest<'_>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<(), RequestError> {
    check(request)?;
    whole(out, |out| {
        push_all(out, [b"GET ", request.target.as_bytes(), b" HTTP/1.1\r\n"]);
        push_all(out, [b"Host: ", request.authority.as_bytes(), b"\r\n"]);
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
        push_all(out, [b"Sec-WebSocket-Key: ", request.key, b"\r\nSec-WebSocket-Version: 13\r\n"]);
        if let Some(origin) = request.origin {
            push_all(out, [b"Origin: ", origin.as_bytes(), b"\r\n"]);
        }
        if let [first, rest @ ..] = request.subprotocols {
            push_all(out, [SUBPROTOCOLS, b": ", first.as_bytes()]);
            for name in rest {
                push_all(out, [b", ", name.as_bytes()]);
            }
            out.extend_from_slice(b"\r\n");
        }
        if let Some(extensions) = request.extensions {
            push_all(out, [EXTENSIONS, b": ", extensions.as_bytes(), b"\r\n"]);
        }
        for (name, value) in headers {
            check_header(name, value, request.origin.is_some())?;
            push_all(out, [name.as_bytes(), b": ", value, b"\r\n"]);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    })
}

fn check(request: &UpgradeRequest<'_>) -> Result<(), RequestError> {
    let is_visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if origin::parse_authority(request.authority.as_bytes()).is_none() {
        return Err(RequestError::Authority);
    }
    if !request.target.starts_with('/') || !is_visible(request.target) || request.target.contains('#') {
        return Err(RequestError::Target);
    }
    if super::accept_key::parse_key(request.key).is_none() {
        return Err(RequestError::Key);
    }
    if request.origin.is_some_and(|origin| origin.is_empty() || !is_visible(origin)) {
        return Err(RequestError::Origin);
    }
    // Each against those before it: the caller's own few names, not a peer's.
    for (at, name) in request.subprotocols.iter().enumerate() {
        if !is_token(name.as_bytes()) {
            return Err(RequestError::Subprotocol);
        }
        if request.subprotocols[..at].contains(name) {
            return Err(RequestError::SubprotocolRepeated);
        }
    }
    if let Some(extensions) = request.extensions {
        let value = Values::new(Single::Once(extensions.as_bytes()), Fields::NONE, EXTENSIONS);
        // The grammar leaves no place for a line end: tokens, quoted tokens, and spaces or tabs between them.
        if Offers::new(value).any(|offer| offer.is_err()) {
            return Err(RequestError::Extensions);
        }
    }
    Ok(())
}

fn check_header(name: &str, value: &[u8], has_origin: bool) -> Result<(), RequestError> {
    if !is_token(name.as_bytes()) {
        return Err(RequestError::HeaderName);
    }
    if is_reserved(name) || name.eq_ignore_ascii_case("host") || (has_origin && name.eq_ignore_ascii_case("origin")) {
        return Err(RequestError::HeaderReserved);
    }
    if is_text(value) { Ok(()) } else { Err(RequestError::HeaderValue) }
}
