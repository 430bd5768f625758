//! The bytes of every HTTP answer: the 101, a refusal, a plain response.
//!
//! Owns: status lines, framing headers, and the check of every name and value that comes from outside.
//! Promises: one complete response is appended, or nothing: an error leaves the output as it was. No text that passes can
//! begin another line. Every response but a 101 ends the connection.
//! Refuses to know: when to send, and what a body means.

use alloc::vec::Vec;
use core::fmt;

use super::is_token;

/// Why a request is refused, and all of the answer: a status, one line of text, and the header that some statuses call for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    reason: &'static str,
    note: &'static str,
    /// The request was a HEAD: its response has no body (RFC 7230 §3.3).
    head_only: bool,
}

impl Refusal {
    /// 431: the head is longer than the limit.
    pub const HEAD_TOO_LARGE: Refusal = Refusal::new(431, "request head too large");

    // RFC 6455 §4.4: the versions understood. RFC 9110 §15.5.22: a 426 names the protocol in Upgrade, and §7.8: who sends
    // Upgrade lists it in Connection.
    pub(super) const VERSION_WRONG: Refusal = Refusal {
        note: "Upgrade: websocket\r\nConnection: close, Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        ..Refusal::new(426, "unsupported WebSocket version")
    };
    pub(super) const VERSION_MISSING: Refusal = Refusal {
        note: "Connection: close\r\nSec-WebSocket-Version: 13\r\n",
        ..Refusal::new(400, "missing Sec-WebSocket-Version")
    };

    /// A refusal without a header of its own.
    ///
    /// # Panics
    /// If `status` is not an error's (400 to 599) or `reason` is not a line of printable ASCII.
    #[must_use]
    pub const fn new(status: u16, reason: &'static str) -> Refusal {
        assert!(400 <= status && status <= 599, "a refusal has an error status");
        let mut at = 0;
        while at < reason.len() {
            assert!(matches!(reason.as_bytes()[at], b' '..=b'~'), "a reason is one line of printable ASCII");
            at += 1;
        }
        Refusal { status, reason, note: "Connection: close\r\n", head_only: false }
    }

    /// 405 with the method that would do (RFC 7231 §6.5.5).
    pub(super) fn method_not_get(method: &str) -> Refusal {
        Refusal {
            note: "Connection: close\r\nAllow: GET\r\n",
            head_only: method == "HEAD",
            ..Refusal::new(405, "a WebSocket handshake is a GET")
        }
    }

    /// The same answer; to a request that is a HEAD, without its line of text (RFC 9110 §9.3.2).
    #[must_use]
    pub const fn to_head(self, is_head: bool) -> Refusal {
        Refusal { head_only: self.head_only || is_head, ..self }
    }

    /// The status code, 400 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What was wrong, in one line of ASCII.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, reason_phrase(self.status), self.reason)
    }
}

impl core::error::Error for Refusal {}

/// What a caller gave that cannot stand in a response. Our side's fault; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// A header name is not a token (RFC 7230 §3.2).
    HeaderName,
    /// A header value holds CR, LF, NUL or another control character (RFC 7230 §3.2.6).
    HeaderValue,
    /// A header that frames the message or belongs to the handshake: written here or not at all.
    HeaderReserved,
    /// The subprotocol is not a token (RFC 6455 §4.2.2).
    Subprotocol,
    /// The status is not a final one, 200 to 599.
    Status,
    /// The reason phrase holds a control character.
    ReasonPhrase,
    /// A body with a status that has none: 204, 205 or 304.
    Body,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseError::HeaderName => "a header name is not a token",
            ResponseError::HeaderValue => "a header value holds a control character",
            ResponseError::HeaderReserved => "a header is one that only the engine may write",
            ResponseError::Subprotocol => "the subprotocol is not a token",
            ResponseError::Status => "the status is not in 200 to 599",
            ResponseError::ReasonPhrase => "the reason phrase holds a control character",
            ResponseError::Body => "a response with status 204, 205 or 304 has no body",
        })
    }
}

impl core::error::Error for ResponseError {}

/// Appends the 101 response that opens the connection (RFC 6455 §4.2.2): `key` from [`accept_key`](super::accept_key), a
/// subprotocol among those the client offered, and headers of the handler's own (a cookie, say).
///
/// Allocates only to grow `out`.
///
/// # Errors
/// A subprotocol or header that cannot stand in a response, or a reserved one: Upgrade, Connection, Content-Length,
/// Transfer-Encoding and all Sec-WebSocket-*. `out` is left as it was.
pub fn write_switching<'h>(
    out: &mut Vec<u8>,
    key: &[u8; 28],
    subprotocol: Option<&str>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<(), ResponseError> {
    write_switching_with(out, key, subprotocol, None, headers)
}

/// As [`write_switching`], with the answer to the extensions that the client offered (RFC 6455 §9.1), which is text that the
/// caller made.
///
/// # Errors
/// As there; [`ResponseError::HeaderValue`] also if `extensions` holds a control character.
pub fn write_switching_with<'h>(
    out: &mut Vec<u8>,
    key: &[u8; 28],
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<(), ResponseError> {
    whole(out, |out| {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
        if let Some(name) = subprotocol {
            if !is_token(name.as_bytes()) {
                return Err(ResponseError::Subprotocol);
            }
            push_all(out, [b"Sec-WebSocket-Protocol: ", name.as_bytes(), b"\r\n"]);
        }
        if let Some(value) = extensions {
            if !is_text(value.as_bytes()) {
                return Err(ResponseError::HeaderValue);
            }
            push_all(out, [b"Sec-WebSocket-Extensions: ", value.as_bytes(), b"\r\n"]);
        }
        push_headers(out, headers)?;
        out.extend_from_slice(b"\r\n");
        Ok(())
    })
}

/// Appends a whole plain response that ends the connection: Content-Length and `Connection: close` are added here.
///
/// `head_only` is for the answer to a HEAD: it says the length of `body` and leaves the body out (RFC 7230 §3.3.2). A 204 or
/// 304 has no body and says no length. [`reason_phrase`] has the usual phrases. Allocates only to grow `out`.
///
/// # Errors
/// What cannot stand in a response (see [`ResponseError`]), and the headers reserved as in [`write_switching`]. `out` is left
/// as it was.
pub fn write_response<'h>(
    out: &mut Vec<u8>,
    status: u16,
    reason: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
    head_only: bool,
) -> Result<(), ResponseError> {
    if !(200..=599).contains(&status) {
        return Err(ResponseError::Status);
    }
    if !is_text(reason.as_bytes()) {
        return Err(ResponseError::ReasonPhrase);
    }
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return Err(ResponseError::Body);
    }
    whole(out, |out| {
        push_status_line(out, status, reason);
        push_headers(out, headers)?;
        // RFC 7230 §3.3.2: no Content-Length in a 204; in a 304 it would be that of the response not sent.
        if !matches!(status, 204 | 304) {
            push_content_length(out, body.len());
        }
        push_all(out, [b"Connection: close\r\n\r\n", if head_only { b"" } else { body }]);
        Ok(())
    })
}

/// Appends the response that refuses a request and ends the connection: the reason is its body, as text.
pub fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    push_status_line(out, refusal.status, reason_phrase(refusal.status));
    push_all(out, [refusal.note.as_bytes(), b"Content-Type: text/plain\r\n"]);
    push_content_length(out, refusal.reason.len() + 1);
    out.extend_from_slice(b"\r\n");
    if !refusal.head_only {
        push_all(out, [refusal.reason.as_bytes(), b"\n"]);
    }
}

/// The usual phrase for a status (RFC 9110 §15, RFC 6585); empty for one not used here, which HTTP allows.
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// Runs `write`, and takes back what it appended if it fails.
pub(super) fn whole<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let before = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn push_headers<'h>(
    out: &mut Vec<u8>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
) -> Result<(), ResponseError> {
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return Err(ResponseError::HeaderName);
        }
        if is_reserved(name) {
            return Err(ResponseError::HeaderReserved);
        }
        if !is_text(value) {
            return Err(ResponseError::HeaderValue);
        }
        push_all(out, [name.as_bytes(), b": ", value, b"\r\n"]);
    }
    Ok(())
}

/// Headers that frame a message or belong to the handshake.
pub(super) fn is_reserved(name: &str) -> bool {
    ["connection", "content-length", "transfer-encoding", "upgrade"].iter().any(|own| name.eq_ignore_ascii_case(own))
        || name.as_bytes().get(..14).is_some_and(|start| start.eq_ignore_ascii_case(b"sec-websocket-"))
}

/// HTAB, space, visible ASCII or obs-text (RFC 7230 §3.2.6): nothing that ends a line or a string.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

fn push_status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, usize::from(status));
    push_all(out, [b" ", reason.as_bytes(), b"\r\n"]);
}

fn push_content_length(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, len);
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [0; 20]; // of u64::MAX
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(super) fn push_all<const N: usize>(out: &mut Vec<u8>, parts: [&[u8]; N]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
