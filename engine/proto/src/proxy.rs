//! The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): whom a proxy accepted, in a header in front of all
//! that it passes on.
//!
//! Owns the layout of both headers and which are refused. Promises: no allocation and no panic; time linear in the bytes, of
//! which no more than [`LEN_MAX`] are looked at; a byte that no header has at its place is refused as soon as it is there, so
//! that whoever speaks TLS or HTTP to a listener that requires a header is told at once; what was refused stays refused.
//! Refuses to know who may send a header: a listener requires one from everybody or takes it from nobody (§2: a receiver must
//! not guess), and whoever reaches one that requires it is believed.
//!
//! ```text
//! 1   PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n          a line of at most 107 bytes
//! 2   signature(12) version(4) command(4) family(4) transport(4) length(16) | addresses, ports | type(8) length(16) value ...
//! ```

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header: the fixed part of version 2, and 4,096 bytes of addresses and of values that a proxy adds. The
/// specification has every header fit in 536 bytes (§2), but its length field could say 65,535.
pub const LEN_MAX: usize = FIXED_LEN + 4096;

/// The longest line of version 1, with its end (§2.1).
pub const LINE_MAX: usize = 107;

/// What version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2: the signature, version and command, family and transport, and the length of what follows.
const FIXED_LEN: usize = 16;
/// Two addresses of 108 bytes (§2.2).
const UNIX_LEN: usize = 216;

/// Values of version 2 that are told (§2.2.1, §2.2.2); all others are skipped.
const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;

/// How far a header could be read.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // callers must handle both
pub enum Parsed<'a> {
    /// The bytes end inside the header. Nothing in them is wrong so far, and there are fewer than [`LEN_MAX`].
    Partial,
    /// All of it.
    Whole(Header<'a>),
}

/// A header, read and found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header<'a> {
    /// Bytes of the header, 15 to [`LEN_MAX`]. What the client sent begins behind them.
    pub len: usize,
    /// 1 or 2.
    pub version: u8,
    /// The client's end of the connection that the proxy accepted, an IPv4-mapped IPv6 address as IPv4. None if the proxy speaks
    /// for itself ([`is_local`](Self::is_local)) or does not tell a TCP address (UNKNOWN, UNSPEC, unix sockets, datagrams): then
    /// the peer is whom the socket says.
    pub source: Option<SocketAddr>,
    /// The proxy speaks for itself (LOCAL, §2.2: a health check, say), so that what follows is its own word. Version 1 cannot say so: its UNKNOWN
    /// may be a health check, or a client of which nothing is told.
    pub is_local: bool,
    /// The proxy's end of that connection; there if `source` is.
    pub destination: Option<SocketAddr>,
    /// The host name that the client asked for, of TLS the server name (PP2_TYPE_AUTHORITY). Version 2 alone has it.
    pub authority: Option<&'a str>,
    /// The protocol that was agreed on by ALPN (PP2_TYPE_ALPN). Version 2 alone has it.
    pub alpn: Option<&'a [u8]>,
}

/// Why bytes are not the beginning of a PROXY header. Whoever sent them is at fault: close the connection (§2.1, §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyError {
    /// Neither version's first bytes: the peer speaks another protocol, TLS or HTTP say, or is no proxy.
    NotProxy,
    /// A line of version 1 for another protocol than TCP4, TCP6 or UNKNOWN.
    Protocol,
    /// A line of version 1 with what is no address of its protocol.
    Address,
    /// A line of version 1 with what is no port: 0 to 65535, without a zero in front.
    Port,
    /// A line of version 1 in which CR is not followed by LF.
    LineEnd,
    /// A line of version 1 that has no end within [`LINE_MAX`] bytes.
    LineTooLong,
    /// Version 2's signature with another version than 2.
    Version,
    /// A command of version 2 other than LOCAL and PROXY.
    Command,
    /// An address family or transport of version 2 that is not assigned.
    Family,
    /// A header of version 2 of more than [`LEN_MAX`] bytes.
    TooLong,
    /// A header of version 2 that is too short for the addresses of its family.
    Addresses,
    /// A value of version 2 that ends behind the header.
    Value,
    /// A PP2_TYPE_AUTHORITY that is not UTF-8.
    Authority,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyError::NotProxy => "the peer's first bytes are no PROXY header",
            ProxyError::Protocol => "the PROXY line is for another protocol than TCP4, TCP6 or UNKNOWN",
            ProxyError::Address => "the PROXY line has a malformed address",
            ProxyError::Port => "the PROXY line has a malformed port",
            ProxyError::LineEnd => "the PROXY line does not end with CR LF",
            ProxyError::LineTooLong => "the PROXY line is longer than 107 bytes",
            ProxyError::Version => "the PROXY header has a version other than 1 and 2",
            ProxyError::Command => "the PROXY header has an unknown command",
            ProxyError::Family => "the PROXY header has an unknown address family or transport",
            ProxyError::TooLong => "the PROXY header is longer than 4,112 bytes",
            ProxyError::Addresses => "the PROXY header is too short for its addresses",
            ProxyError::Value => "the PROXY header has a value that ends behind it",
            ProxyError::Authority => "the PROXY header has an authority that is not UTF-8",
        })
    }
}

impl core::error::Error for ProxyError {}

/// Reads the header at the start of `bytes`, which are all that have come so far: nothing is kept between calls. What
/// stands behind a header is not looked at.
///
/// Strict where the specification is, with these choices where it leaves some:
/// * Of LOCAL (§2.2) the family is not judged and the block is skipped, whatever is in it.
/// * A block whose family or transport is UNSPEC is skipped; of a unix socket or a datagram the values are read, the addresses not.
/// * An IPv6 address of version 1 may end in an IPv4 address (`::ffff:192.0.2.1`): inet_ntop(3) writes it so.
/// * Of a value that is there twice the first counts.
/// * PP2_TYPE_CRC32C is not verified (§2.2.3 has only receivers that support it do so); TCP and the trust in the proxy stand for it.
///
/// # Errors
/// What makes the bytes none of a header, whatever follows them.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, ProxyError> {
    let header = match bytes.first() {
        None => Err(Stop::Partial),
        Some(b'P') => line(bytes),
        Some(b'\r') => binary(bytes),
        Some(_) => Err(Stop::Wrong(ProxyError::NotProxy)),
    };
    match header {
        Ok(header) => Ok(Parsed::Whole(header)),
        Err(Stop::Partial) => Ok(Parsed::Partial),
        Err(Stop::Wrong(error)) => Err(error),
    }
}

/// Why there is no header yet, or never.
enum Stop {
    Partial,
    Wrong(ProxyError),
}

impl From<ProxyError> for Stop {
    fn from(error: ProxyError) -> Stop {
        Stop::Wrong(error)
    }
}

/// Version 1 (§2.1).
fn line(bytes: &[u8]) -> Result<Header<'_>, Stop> {
    let seen = &bytes[..bytes.len().min(LINE_MAX)];
    let mut rest = seen;
    match ends_of_line(&mut rest) {
        Ok(ends) => Ok(Header { version: 1, ..Header::of(seen.len() - rest.len(), ends) }),
        Err(Stop::Partial) if seen.len() == LINE_MAX => Err(ProxyError::LineTooLong.into()),
        Err(stop) => Err(stop),
    }
}

/// Source and destination of a line, which is taken from `rest`.
fn ends_of_line(rest: &mut &[u8]) -> Result<Option<Ends>, Stop> {
    take(rest, b"PROXY ", ProxyError::NotProxy)?;
    if rest.first() == Some(&b'U') {
        take(rest, b"UNKNOWN", ProxyError::Protocol)?;
        if rest.first() != Some(&b' ') {
            take(rest, b"\r\n", ProxyError::Protocol)?;
            return Ok(None);
        }
        // Anything before the line's end is ignored.
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(Stop::Partial)?;
        *rest = &rest[end + 2..];
        return Ok(None);
    }
    take(rest, b"TCP", ProxyError::Protocol)?;
    let read_address = match rest.first() {
        None => return Err(Stop::Partial),
        Some(b'4') => address_v4,
        Some(b'6') => address_v6,
        Some(_) => return Err(ProxyError::Protocol.into()),
    };
    *rest = &rest[1..];
    take(rest, b" ", ProxyError::Protocol)?;
    let (source, destination) = (read_address(rest)?, read_address(rest)?);
    let (source_port, destination_port) = (port(rest, b' ')?, port(rest, b'\r')?);
    take(rest, b"\n", ProxyError::LineEnd)?;
    Ok(Some(Ends { source: end(source, source_port), destination: end(destination, destination_port) }))
}

/// Takes `expected` from the front.
fn take(rest: &mut &[u8], expected: &[u8], error: ProxyError) -> Result<(), Stop> {
    let common = rest.len().min(expected.len());
    if rest[..common] != expected[..common] {
        return Err(error.into());
    }
    *rest = rest.get(expected.len()..).ok_or(Stop::Partial)?;
    Ok(())
}

fn address_v4(rest: &mut &[u8]) -> Result<IpAddr, Stop> {
    let text = field(rest, b' ', 15, |b| b.is_ascii_digit() || b == b'.', ProxyError::Address)?;
    Ok(IpAddr::V4(text.parse::<Ipv4Addr>().map_err(|_| ProxyError::Address)?))
}

fn address_v6(rest: &mut &[u8]) -> Result<IpAddr, Stop> {
    let allowed = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    let text = field(rest, b' ', 45, allowed, ProxyError::Address)?;
    Ok(IpAddr::V6(text.parse::<Ipv6Addr>().map_err(|_| ProxyError::Address)?))
}

fn port(rest: &mut &[u8], closed_by: u8) -> Result<u16, Stop> {
    let text = field(rest, closed_by, 5, |b| b.is_ascii_digit(), ProxyError::Port)?;
    if text.len() > 1 && text.starts_with('0') {
        return Err(ProxyError::Port.into());
    }
    Ok(text.parse::<u16>().map_err(|_| ProxyError::Port)?)
}

/// Takes a field of at most `len_max` allowed bytes, and the one that closes it, from the front.
fn field<'a>(
    rest: &mut &'a [u8],
    closed_by: u8,
    len_max: usize,
    allowed: impl Fn(u8) -> bool,
    error: ProxyError,
) -> Result<&'a str, Stop> {
    let len = rest.iter().position(|b| !allowed(*b)).unwrap_or(rest.len());
    if len > len_max || rest.get(len).is_some_and(|b| *b != closed_by) {
        return Err(error.into());
    }
    let after = rest.get(len + 1..).ok_or(Stop::Partial)?;
    let text = core::str::from_utf8(&rest[..len]).map_err(|_| error)?;
    *rest = after;
    Ok(text)
}

/// Version 2 (§2.2).
fn binary(bytes: &[u8]) -> Result<Header<'_>, Stop> {
    let mut rest = bytes;
    take(&mut rest, SIGNATURE, ProxyError::NotProxy)?;
    let byte = |at: usize| bytes.get(at).copied().ok_or(Stop::Partial);
    let version = byte(12)?;
    if version >> 4 != 2 {
        return Err(ProxyError::Version.into());
    }
    let local = match version & 0x0F {
        0 => true,
        1 => false,
        _ => return Err(ProxyError::Command.into()),
    };
    let family = byte(13)?;
    let block_is = if local { Block::Skipped } else { Block::of(family)? };
    let len = FIXED_LEN + usize::from(u16::from_be_bytes([byte(14)?, byte(15)?]));
    if len > LEN_MAX {
        return Err(ProxyError::TooLong.into());
    }
    if len < FIXED_LEN + block_is.addresses_len() {
        return Err(ProxyError::Addresses.into());
    }
    let block = bytes.get(FIXED_LEN..len).ok_or(Stop::Partial)?;
    let (addresses, values) = block.split_at(block_is.addresses_len());
    let ends = match block_is {
        Block::Tcp4 => ends::<4>(addresses),
        Block::Tcp6 => ends::<16>(addresses),
        Block::Other { .. } => None,
        Block::Skipped => return Ok(Header { is_local: local, ..Header::of(len, None) }),
    };
    let mut header = Header::of(len, ends);
    read_values(values, &mut header)?;
    Ok(header)
}

/// What stands behind the fixed part of version 2.
#[derive(Clone, Copy)]
enum Block {
    /// Whatever it is.
    Skipped,
    Tcp4,
    Tcp6,
    /// Addresses that are not told, and values.
    Other {
        addresses_len: usize,
    },
}

impl Block {
    /// By family and transport (§2.2).
    fn of(family: u8) -> Result<Block, ProxyError> {
        match (family >> 4, family & 0x0F) {
            (4.., _) | (_, 3..) => Err(ProxyError::Family),
            (0, _) | (_, 0) => Ok(Block::Skipped),
            (1, 1) => Ok(Block::Tcp4),
            (2, 1) => Ok(Block::Tcp6),
            (1, _) => Ok(Block::Other { addresses_len: Block::Tcp4.addresses_len() }),
            (2, _) => Ok(Block::Other { addresses_len: Block::Tcp6.addresses_len() }),
            (3, _) => Ok(Block::Other { addresses_len: UNIX_LEN }),
        }
    }

    const fn addresses_len(self) -> usize {
        match self {
            Block::Skipped => 0,
            Block::Tcp4 => 2 * (4 + 2),
            Block::Tcp6 => 2 * (16 + 2),
            Block::Other { addresses_len } => addresses_len,
        }
    }
}

/// Notes the values that are told (§2.2: type, length, value).
fn read_values<'a>(mut rest: &'a [u8], header: &mut Header<'a>) -> Result<(), ProxyError> {
    while let Some((&kind, behind)) = rest.split_first() {
        let (len, behind) = behind.split_first_chunk::<2>().ok_or(ProxyError::Value)?;
        let (value, behind) =
            behind.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(ProxyError::Value)?;
        match kind {
            TYPE_ALPN if header.alpn.is_none() => header.alpn = Some(value),
            TYPE_AUTHORITY if header.authority.is_none() => {
                header.authority = Some(core::str::from_utf8(value).map_err(|_| ProxyError::Authority)?);
            }
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

/// Both ends of the connection that the proxy accepted.
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
}

/// Addresses of N bytes, then ports, in network byte order.
fn ends<const N: usize>(block: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Ends {
        source: end(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        destination: end(IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    })
}

fn end(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

impl Header<'_> {
    fn of(len: usize, ends: Option<Ends>) -> Self {
        let (source, destination) = ends.map(|ends| (ends.source, ends.destination)).unzip();
        Header { len, version: 2, source, is_local: false, destination, authority: None, alpn: None }
    }
}

#[cfg(test)]
mod tests;
