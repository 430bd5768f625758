//! Forwarded (RFC 7239) and X-Forwarded-For: the client's address, as far as proxies that are trusted tell it.
//!
//! Owns how nodes are written and which of them is the client. Promises: no allocation and no panic; time linear in the values, of
//! which no more than [`NODES_MAX`] nodes are looked at; what a client writes changes nothing of what a proxy has written behind
//! it. Refuses to know which proxies are trusted, and which of the two fields they write.
//!
//! ```text
//! client ── proxy A ── proxy B ── us, whose peer is B
//!           X-Forwarded-For: whatever the client sent, client     appended by A
//!           X-Forwarded-For: whatever the client sent, client, A  appended by B
//! ```
//! Each node was written by the one to its right, and the last by the peer. So the walk begins at the right and goes on as long
//! as the node that wrote the next one is trusted.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Nodes that are looked at; of those further to the left nothing is believed.
pub const NODES_MAX: usize = 32;

/// The header field in which the trusted proxies tell whom they accepted.
///
/// One of the two, and whoever runs the proxies says which: a proxy that writes one of them passes the other on untouched, as the
/// client sent it. To take whichever is there would let every client behind a proxy that writes X-Forwarded-For choose its address with a
/// Forwarded of its own, and the other way around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// Forwarded (RFC 7239), of which the parameter `for` is read.
    Forwarded,
    /// X-Forwarded-For, which no standard describes: addresses, separated by commas.
    XForwardedFor,
}

impl Field {
    /// The field's name, to be compared in any case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Field::Forwarded => "Forwarded",
            Field::XForwardedFor => "X-Forwarded-For",
        }
    }

    /// The node of one element.
    fn node(self, element: &[u8]) -> Option<(IpAddr, Option<u16>)> {
        match self {
            Field::Forwarded => node(for_of(element)?),
            Field::XForwardedFor => node(element),
        }
    }

    /// Whether a comma between quotation marks parts nothing.
    const fn has_quotes(self) -> bool {
        matches!(self, Field::Forwarded)
    }
}

/// The client's address, and its port if a proxy tells it. `values` are those of `field` in the order sent, one for each line
/// ([`Request::header_values`](crate::handshake::Request::header_values)); `peer` is the address of the socket's other end, or what a
/// [PROXY header](crate::proxy) says it is.
///
/// The last node was written by the peer, the one before it by the last, and so on: as long as who wrote it is trusted, the next to
/// the left is taken. The walk stops behind the first node that is not trusted, which is the client; where there is none
/// further; in front of a node that has no address (`unknown`, `_hidden`, or malformed), because nobody knows who wrote what stands
/// to its left; and after [`NODES_MAX`]. None if the walk does not begin: `peer` is the client.
///
/// IPv4-mapped addresses are IPv4, also for `is_trusted`. Nodes may be written as RFC 7239 §6 has them and as they are seen:
/// an IPv6 address without brackets, or a port without quotation marks. A value with a backslash in it counts as malformed.
pub fn client<'a>(
    field: Field,
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> Option<(IpAddr, Option<u16>)> {
    let (mut client, mut writer, mut nodes) = (None, peer.to_canonical(), 0);
    for mut rest in values.rev() {
        while let Some(element) = take_last(&mut rest, b',', field.has_quotes()) {
            if nodes == NODES_MAX || !is_trusted(writer) {
                return client;
            }
            let Some(node) = field.node(element) else { return client };
            (client, writer) = (Some(node), node.0);
            nodes += 1;
        }
    }
    client
}

/// Takes the last part of a list that is not empty, without the whitespace around it (RFC 7230 §7), from the end.
fn take_last<'a>(rest: &mut &'a [u8], separator: u8, quotes: bool) -> Option<&'a [u8]> {
    while !rest.is_empty() {
        let (left, part) = match last_separator(rest, separator, quotes) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (&rest[..0], *rest),
        };
        *rest = left;
        let part = part.trim_ascii();
        if !part.is_empty() {
            return Some(part);
        }
    }
    None
}

/// Where the last separator stands that is not within a quoted string.
///
/// Read from the end, because that is what trusted proxies have written: a quotation mark that a client leaves open cannot swallow it.
/// Of what is well formed both directions say the same:
///
/// ```text
/// outside: a quotation mark closes a string
/// inside:  a quotation mark opens it, unless an odd number of backslashes stands in front of it
/// ```
fn last_separator(bytes: &[u8], separator: u8, quotes: bool) -> Option<usize> {
    let mut inside = false;
    for (at, &byte) in bytes.iter().enumerate().rev() {
        if byte == separator && !inside {
            return Some(at);
        }
        if byte == b'"' && quotes {
            // Each backslash is counted once: the count ends at the next quotation mark.
            let escapes = bytes[..at].iter().rev().take_while(|b| **b == b'\\').count();
            inside = !inside || escapes % 2 == 1;
        }
    }
    None
}

/// The value of `for` in an element of Forwarded (RFC 7239 §4): there once, in a name of any case.
fn for_of(element: &[u8]) -> Option<&[u8]> {
    let (mut found, mut rest) = (None, element);
    while let Some(pair) = take_last(&mut rest, b';', true) {
        let equals = pair.iter().position(|b| *b == b'=')?;
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for") && found.replace(&pair[equals + 1..]).is_some() {
            return None;
        }
    }
    let value = found?.trim_ascii();
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\""),
        None => Some(value),
    }
}

/// A node that has an address (RFC 7239 §6), and its port; a port may be hidden.
fn node(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = core::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_canonical(), None));
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (address, behind) = inside.split_once(']')?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
            (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (address, port) = text.split_once(':')?;
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), Some(port))
        }
    };
    Some((address.to_canonical(), port.map_or(Some(None), port_of)?))
}

/// 1 to 5 digits, or a name that hides the port (§6.2, §6.3), which is Some(None).
fn port_of(text: &str) -> Option<Option<u16>> {
    if let Some(hidden) = text.strip_prefix('_') {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        return (!hidden.is_empty() && hidden.bytes().all(allowed)).then_some(None);
    }
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests;
