//! The opening handshake (RFC 6455 §4) over HTTP/1.1 (RFC 7230), both ends of it.
//!
//! Owns: where a head ends ([`HeadScan`]). For a server: what a request says ([`Request`]), whether it is a handshake we take
//! ([`accept`]), and the bytes of every answer ([`write_switching`], [`write_response`], [`write_refusal`]). For a client: the
//! bytes of the request ([`write_request`]), what the answer says ([`Answer`]) and whether it opens the connection ([`verify`]).
//! Promises: linear work over a head however it drips in, no allocation on the way to a 101 except the output's own growth,
//! no panic on peer bytes, and no header that a peer or a caller could use to inject another.
//! Refuses to know: sockets, time, what a path means, and any extension (their offers are parsed; which is taken is told to
//! [`write_switching_with`]).
//!
//! In the order of one connection of a server:
//! 1. [`HeadScan::feed`] with all bytes so far, until it says `Complete(n)`; bytes behind `n` are frames already.
//! 2. [`Request::parse`] over those `n` bytes.
//! 3. [`Request::is_upgrade`] tells a handshake from plain HTTP; [`accept`] judges a handshake against a [`Policy`].
//! 4. [`write_switching`], or [`write_refusal`]; plain HTTP is answered with [`write_response`].
//!
//! ```
//! use wsring_proto::handshake::{self, HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request};
//!
//! let bytes = b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
//! let (limits, policy, mut out) = (HeadLimits::default(), Policy::default(), Vec::new());
//! let HeadEnd::Complete(len) = HeadScan::default().feed(bytes, &limits) else { panic!("incomplete") };
//! match Request::parse(&bytes[..len], &limits, &mut HeaderTable::new()).and_then(|request| handshake::accept(&request, &policy)) {
//!     Ok(accept) => handshake::write_switching(&mut out, &accept.key, accept.subprotocol, []).unwrap(),
//!     Err(refusal) => handshake::write_refusal(&mut out, &refusal),
//! }
//! assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
//! ```
//!
//! And of a client:
//! 1. [`write_request`] with a [`client_key`] of 16 random bytes.
//! 2. [`HeadScan::feed`], as above; [`unfold`] and [`Answer::parse`] over the head it found.
//! 3. [`verify`]: the connection is open, or [`AnswerError::Interim`] says to go on with the next head, or it has failed.
//!
//! ```
//! use wsring_proto::handshake::{self, Answer, Expected, HeadLimits, HeaderTable, UpgradeRequest};
//!
//! let key = handshake::client_key(*b"the sample nonce");
//! let request =
//!     UpgradeRequest { authority: "example.com", target: "/chat", key: &key, origin: None, subprotocols: &[], extensions: None };
//! let mut out = Vec::new();
//! handshake::write_request(&mut out, &request, [("Authorization", &b"Bearer 1234"[..])])?;
//! assert!(out.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
//!
//! let bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
//! let (limits, mut table) = (HeadLimits::default(), HeaderTable::new());
//! let answer = Answer::parse(bytes, &limits, &mut table)?;
//! let agreed = handshake::verify(&answer, &Expected { key: &key, subprotocols: &[], extensions_offered: false })?;
//! assert_eq!(agreed.subprotocol, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod accept_key;
mod answer;
mod answer_error;
mod chunked;
mod client;
mod extensions;
mod fields;
mod folds;
mod head;
mod origin;
mod request;
mod response;
mod values;

pub use accept::{Accept, Policy, SUBPROTOCOLS_MAX, accept};
pub use accept_key::accept_key;
pub use answer::{Agreement, Answer, BodyLen, Expected, status_of, verify};
pub use answer_error::AnswerError;
pub use chunked::{ChunkScan, Chunks};
pub use client::{RequestError, UpgradeRequest, client_key, write_request};
pub use extensions::{Malformed, OFFERS_MAX, Offer, Offers, PARAMS_MAX, Param, ParamValue, Params};
pub use fields::HeaderTable;
pub use folds::unfold;
pub use head::{HEADERS_MAX, HeadEnd, HeadLimits, HeadScan};
pub use origin::{OriginError, OriginList, Origins};
pub use request::Request;
pub use response::{
    Refusal, ResponseError, reason_phrase, write_refusal, write_response, write_switching, write_switching_with,
};

/// `tchar` of RFC 7230 §3.2.6, which is the `token` character of RFC 2616 §2.2 that RFC 6455 refers to.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// The lowest bit of each of eight bytes, and the top bit: for searching them as one little-endian word.
const ONES: u64 = u64::MAX / 255;
const TOPS: u64 = ONES * 0x80;

/// How many bytes from the start are `tchar`: eight letters, digits, hyphens, dots or underscores at a time, others by the
/// table.
///
/// In a byte without its top bit, `b + 0x80 - n` has the top bit exactly if `b >= n`, and never carries into the next byte.
#[inline]
fn token_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let w = u64::from_le_bytes(*word);
        let seven = w & !TOPS;
        let lower = seven | (ONES * 0x20);
        let letter = (lower + ONES * (0x80 - 0x61)) & !(lower + ONES * (0x80 - 0x7b));
        let other_than = |byte: u64| (seven ^ (ONES * byte)) + ONES * 0x7f;
        // From `-` over `.` to `9`, without `/`.
        let digit = (seven + ONES * (0x80 - 0x2d)) & !(seven + ONES * (0x80 - 0x3a)) & other_than(0x2f);
        let underscore = !other_than(0x5f);
        let stops = !((letter | digit | underscore) & !w) & TOPS;
        if stops == 0 {
            at += 8;
            continue;
        }
        at += (stops.trailing_zeros() / 8) as usize;
        if !TOKEN[usize::from(bytes[at])] {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().position(|&b| !TOKEN[usize::from(b)]).unwrap_or(bytes.len() - at)
}

/// Whether `bytes` is a `token`: one or more `tchar` (RFC 7230 §3.2.6).
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

/// `bytes` as text if it is a `token`, which is always ASCII.
fn token_str(bytes: &[u8]) -> Option<&str> {
    if is_token(bytes) { core::str::from_utf8(bytes).ok() } else { None }
}

/// What passed a grammar of ASCII, as text. Made when asked for: the path to a 101 needs no text.
fn ascii(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("the grammar passes ASCII alone")
}

/// Optional whitespace (RFC 7230 §3.2.3).
fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The elements of a comma-separated list without quoted strings, trimmed; empty ones are skipped (RFC 7230 §7).
fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(|element| element.trim_ascii()).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests;
