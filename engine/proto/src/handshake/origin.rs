//! Which pages may connect: the origin a browser sends, compared whole (RFC 6454), never by prefix or suffix.
//!
//! Owns: the configured origins and the parser for an origin and an authority.
//! Promises: scheme, host and port each compared exactly after the normalisation of RFC 6454 §4 (ASCII case, default port).
//! Refuses to know: what a client without an Origin may do (see `Policy`), and names (no DNS, no IDNA: origins carry punycode).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

/// Which origins may open a connection (RFC 6455 §10.2). A present, non-`null` origin that is not allowed is refused with 403.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// Every origin, `null`, absent and malformed ones included: the header's value is not looked at. The default, right for
    /// services whose clients prove who they are in the protocol; a service that trusts cookies must choose another.
    #[default]
    Any,
    /// The origin's host and port must be those the request was sent to (`Host`, or an absolute request target).
    ///
    /// Only `http` and `https` origins can pass. A `Host` without a port stands for the default port of the origin's own
    /// scheme: `Host: example.com` matches `https://example.com` and `http://example.com`, since a server behind a TLS proxy
    /// cannot see which was used, and `Host: example.com:443` matches `https://example.com` but not `http://example.com`.
    Same,
    /// Exactly these.
    List(OriginList),
}

/// A list of origins, parsed and normalised once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginList(Vec<Listed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    scheme: Vec<u8>,
    host: ListedHost,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListedHost {
    Name(Vec<u8>),
    V6(Ipv6Addr),
}

impl OriginList {
    /// Parses origins as browsers write them: `scheme://host` or `scheme://host:port`. Case does not matter, nor whether a
    /// scheme's default port (80 for http and ws, 443 for https and wss) is written. An empty list allows no origin.
    ///
    /// `file://` can be listed: some send it, instead of `null`, for pages of the device's own files (Android's WebView). It
    /// says nothing of whose file that is.
    ///
    /// # Errors
    /// The first text that is not an origin: with a path (a final `/` too), user info, a wildcard, or `null`, which is the
    /// policy's to allow.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let parse = |text: &str| {
            let origin = parse_origin(text.as_bytes())
                .filter(|_| !text.contains('*'))
                .ok_or_else(|| OriginError(text.into()))?;
            let host = match origin.host {
                Host::Name(name) => ListedHost::Name(name.to_ascii_lowercase()),
                Host::V6(address) => ListedHost::V6(address),
            };
            Ok(Listed { scheme: origin.scheme.to_ascii_lowercase(), host, port: origin.port })
        };
        origins.into_iter().map(|text| parse(text.as_ref())).collect::<Result<_, _>>().map(OriginList)
    }

    /// Whether `origin`, the value of an Origin header, is one of the list. Allocates nothing.
    #[must_use]
    pub fn contains(&self, origin: &[u8]) -> bool {
        let Some(origin) = parse_origin(origin) else {
            return false;
        };
        self.0.iter().any(|listed| {
            let host_equal = match (&listed.host, origin.host) {
                (ListedHost::Name(listed), Host::Name(name)) => listed.eq_ignore_ascii_case(name),
                (ListedHost::V6(listed), Host::V6(address)) => *listed == address,
                _ => false,
            };
            host_equal && listed.port == origin.port && listed.scheme.eq_ignore_ascii_case(origin.scheme)
        })
    }
}

/// A configured text that is not an origin of the form `scheme://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginError(String);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an origin: write scheme://host or scheme://host:port, without a path", self.0)
    }
}

impl core::error::Error for OriginError {}

/// Whether `origin` names the host and port of `authority` (see [`Origins::Same`]).
pub(super) fn is_same(origin: &[u8], authority: &[u8]) -> bool {
    let (Some(origin), Some((host, port))) = (parse_origin(origin), parse_authority(authority)) else {
        return false;
    };
    let default = match origin.scheme {
        scheme if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https") => default_port(scheme),
        _ => return false,
    };
    host == origin.host && port.or(default) == origin.port
}

/// An origin's three parts (RFC 6454 §4), the default port filled in.
struct Origin<'a> {
    scheme: &'a [u8],
    host: Host<'a>,
    port: Option<u16>,
}

/// The host of an authority. Names are equal whatever their ASCII case; addresses are equal as numbers.
#[derive(Clone, Copy)]
pub(super) enum Host<'a> {
    /// A registered name or an IPv4 address.
    Name(&'a [u8]),
    /// Written in brackets.
    V6(Ipv6Addr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(one), Host::Name(two)) => one.eq_ignore_ascii_case(two),
            (Host::V6(one), Host::V6(two)) => one == two,
            _ => false,
        }
    }
}

/// RFC 6454 §6.2: scheme "://" host [ ":" port ] and nothing else. Of `file` alone the host may be empty (RFC 8089 §2).
fn parse_origin(text: &[u8]) -> Option<Origin<'_>> {
    // RFC 3986 §3.1
    let len = text.iter().position(|&b| !b.is_ascii_alphanumeric() && !matches!(b, b'+' | b'-' | b'.'))?;
    let (scheme, rest) = text.split_at(len);
    scheme.first().filter(|first| first.is_ascii_alphabetic())?;
    let (host, port) = match rest.strip_prefix(b"://")? {
        b"" if scheme.eq_ignore_ascii_case(b"file") => (Host::Name(b""), None),
        authority => parse_authority(authority)?,
    };
    Some(Origin { scheme, host, port: port.or(default_port(scheme)) })
}

fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss") => Some(443),
        _ if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws") => Some(80),
        _ => None,
    }
}

/// RFC 7230 §5.4, RFC 3986 §3.2: host [ ":" [ port ] ]. User info, zones and an empty host are refused: none can be in an
/// `http` authority as a client may send it.
pub(super) fn parse_authority(text: &[u8]) -> Option<(Host<'_>, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix(b"[") {
        let (address, port) = rest.split_at(rest.iter().position(|&b| b == b']')?);
        let address = core::str::from_utf8(address).ok()?.parse().ok()?;
        (Host::V6(address), &port[1..])
    } else {
        let len = text.iter().position(|&b| !REG_NAME[usize::from(b)]).unwrap_or(text.len());
        let (name, port) = text.split_at_checked(len).filter(|_| len > 0)?;
        (Host::Name(name), port)
    };
    match port {
        // RFC 3986 §3.2.3: a colon without digits stands for the default.
        [] | [b':'] => Some((host, None)),
        [b':', digits @ ..] => {
            let number = digits.iter().try_fold(0_u16, |number, digit| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                number.checked_mul(10)?.checked_add(digit)
            })?;
            Some((host, Some(number)))
        }
        _ => None,
    }
}

/// RFC 3986 §3.2.2 reg-name: unreserved, sub-delims and the percent sign of an escape.
const REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            );
        byte += 1;
    }
    table
};
