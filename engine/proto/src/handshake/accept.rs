//! The server's judgement of a handshake (RFC 6455 §4.2).
//!
//! Owns: the order of the checks and the choice of a subprotocol.
//! Promises: a request that passes is a handshake by the letter of RFC 6455 §4.2.1, from an origin the policy allows.
//! Refuses to know: paths, users, and what the handler thinks of the request after this.

use alloc::string::String;
use alloc::vec::Vec;

use super::accept_key::{accept_key, parse_key};
use super::extensions::Cursor;
use super::values::Single;
use super::{Malformed, Origins, Refusal, Request, ascii, origin};

/// The most subprotocols one handshake may offer; finding duplicates takes the square of it.
pub const SUBPROTOCOLS_MAX: usize = 32;

/// Whom to accept, and as what.
///
/// ```
/// use wsring_proto::handshake::{Origins, Policy};
///
/// let policy = Policy::default().origins(Origins::Same).subprotocols(["chat.v2", "chat.v1"]);
/// assert_eq!(policy.subprotocols[0], "chat.v2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Which pages may connect. Default: any.
    pub origins: Origins,
    /// Whether a client that sends no Origin may connect under [`Origins::Same`] and [`Origins::List`]. Default true: only
    /// browsers send one always (RFC 6455 §4.1), and only they carry a user's cookies to a page that is not his.
    pub allow_absent_origin: bool,
    /// Whether the origin `null` may connect under [`Origins::Same`] and [`Origins::List`]. Default false: any page can be
    /// `null` by showing itself in a sandboxed frame (RFC 6454 §7.3 on what privacy-sensitive contexts send).
    pub allow_null_origin: bool,
    /// The subprotocols spoken, most wanted first. Names are compared exactly. Default: none.
    pub subprotocols: Vec<String>,
}

impl Policy {
    /// Sets [`origins`](Self#structfield.origins).
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Sets [`allow_absent_origin`](Self#structfield.allow_absent_origin).
    #[must_use]
    pub fn allow_absent_origin(mut self, allowed: bool) -> Self {
        self.allow_absent_origin = allowed;
        self
    }

    /// Sets [`allow_null_origin`](Self#structfield.allow_null_origin).
    #[must_use]
    pub fn allow_null_origin(mut self, allowed: bool) -> Self {
        self.allow_null_origin = allowed;
        self
    }

    /// Sets [`subprotocols`](Self#structfield.subprotocols), in place of those set before.
    #[must_use]
    pub fn subprotocols(mut self, names: impl IntoIterator<Item: Into<String>>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy { origins: Origins::Any, allow_absent_origin: true, allow_null_origin: false, subprotocols: Vec::new() }
    }
}

/// A handshake that passed: what [`write_switching`](super::write_switching) needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accept<'a> {
    /// The value of Sec-WebSocket-Accept.
    pub key: [u8; 28],
    /// The first of the policy's subprotocols that the client offered. None if it offered none, or none of them: the
    /// connection opens without one and the client decides whether that will do (RFC 6455 §4.2.2, item 5).
    pub subprotocol: Option<&'a str>,
}

/// Judges a handshake by RFC 6455 §4.2.1 and by `policy`. Allocates nothing.
///
/// # Errors
/// The refusal to send, of the first check that fails, in this order:
/// * 405 (with Allow): a method other than GET.
/// * 400: HTTP/1.0; a Transfer-Encoding, or a Content-Length other than `0` (a body, or a smuggled request, would be read
///   as frames); no `websocket` in Upgrade; no `upgrade` in Connection.
/// * 426 (with Sec-WebSocket-Version: 13): a version that is not exactly `13`. 400 with the same header if there is none
///   (RFC 6455 §4.4 shows that pair), 400 if it is repeated.
/// * 400: not exactly one Sec-WebSocket-Key, or one that is not the canonical base64 of 16 bytes; a repeated Origin.
/// * 403: an origin that the policy does not allow.
/// * 400: subprotocols that are no tokens, are repeated (§4.1 item 10), or number more than [`SUBPROTOCOLS_MAX`]; malformed
///   extensions. A header of either that lists nothing is as none: clients send it, and RFC 7230 §7 has a recipient pass over
///   empty elements.
pub fn accept<'a>(request: &Request<'a>, policy: &Policy) -> Result<Accept<'a>, Refusal> {
    let known = &request.known;
    if !request.is_get() {
        return Err(Refusal::method_not_get(request.method()));
    }
    if request.version_minor() < 1 {
        return Err(Refusal::new(400, "a WebSocket handshake needs HTTP/1.1"));
    }
    if request.declares_body() {
        return Err(Refusal::new(400, "a WebSocket handshake has no body"));
    }
    if !known.upgrade {
        return Err(Refusal::new(400, "the Upgrade header does not list websocket"));
    }
    if !known.connection {
        return Err(Refusal::new(400, "the Connection header does not list upgrade"));
    }
    match known.version {
        Single::Once(b"13") => {}
        Single::Once(_) => return Err(Refusal::VERSION_WRONG),
        Single::Absent => return Err(Refusal::VERSION_MISSING),
        Single::Repeated => return Err(Refusal::new(400, "repeated Sec-WebSocket-Version")),
    }
    let key = match known.key {
        Single::Once(value) => parse_key(value).ok_or(Refusal::new(400, "malformed Sec-WebSocket-Key"))?,
        Single::Absent => return Err(Refusal::new(400, "missing Sec-WebSocket-Key")),
        Single::Repeated => return Err(Refusal::new(400, "repeated Sec-WebSocket-Key")),
    };
    check_origin(request, policy)?;
    let subprotocol = match known.subprotocols {
        Single::Absent => None,
        Single::Once(_) | Single::Repeated => choose_subprotocol(request, policy)?,
    };
    for offer in request.extensions() {
        // Which of them is taken is not decided here: see `deflate::choose`.
        offer.map_err(|Malformed| Refusal::new(400, "malformed Sec-WebSocket-Extensions"))?;
    }
    Ok(Accept { key: accept_key(key), subprotocol })
}

/// RFC 6455 §4.2.2, item 4.
fn check_origin(request: &Request<'_>, policy: &Policy) -> Result<(), Refusal> {
    let origin = match request.known.origin {
        Single::Repeated => return Err(Refusal::new(400, "repeated Origin header")),
        _ if policy.origins == Origins::Any => return Ok(()),
        Single::Once(value) => Some(value),
        Single::Absent => None,
    };
    let allowed = match (origin, &policy.origins) {
        (_, Origins::Any) => true,
        (None, _) => policy.allow_absent_origin,
        // RFC 6454 §7.1: in exactly this case.
        (Some(b"null"), _) => policy.allow_null_origin,
        (Some(origin), Origins::Same) => request.authority().is_some_and(|host| origin::is_same(origin, host)),
        (Some(origin), Origins::List(list)) => list.contains(origin),
    };
    if allowed { Ok(()) } else { Err(Refusal::new(403, "origin not allowed")) }
}

/// RFC 6455 §4.2.2, item 5: one of those offered, or none; here in the server's order of preference.
fn choose_subprotocol<'a>(request: &Request<'a>, policy: &Policy) -> Result<Option<&'a str>, Refusal> {
    // Hardly anybody needs the large table, which takes as long to clear as the rest takes.
    choose_among::<4>(request, policy)
        .or_else(|| choose_among_many(request, policy))
        .unwrap_or(Err(Refusal::new(400, "too many subprotocols")))
}

#[cold]
fn choose_among_many<'a>(request: &Request<'a>, policy: &Policy) -> Option<Result<Option<&'a str>, Refusal>> {
    choose_among::<SUBPROTOCOLS_MAX>(request, policy)
}

/// As `choose_subprotocol`, or None if more than `N` are offered.
#[inline(always)]
fn choose_among<'a, const N: usize>(
    request: &Request<'a>,
    policy: &Policy,
) -> Option<Result<Option<&'a str>, Refusal>> {
    const MALFORMED: Refusal = Refusal::new(400, "malformed Sec-WebSocket-Protocol");
    let mut offered: [&[u8]; N] = [&[]; N];
    let mut count = 0;
    for value in request.subprotocol_values() {
        let mut rest = Cursor(value);
        while rest.skip_to_element() {
            let Some(name) = rest.token().filter(|_| rest.at_element_end()) else {
                return Some(Err(MALFORMED));
            };
            if offered[..count].contains(&name) {
                return Some(Err(Refusal::new(400, "repeated subprotocol")));
            }
            *offered.get_mut(count)? = name;
            count += 1;
        }
    }
    let offers = |wanted: &String| offered[..count].iter().find(|&&name| name == wanted.as_bytes());
    Some(Ok(policy.subprotocols.iter().find_map(offers).map(|name| ascii(name))))
}
