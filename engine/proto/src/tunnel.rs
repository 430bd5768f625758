//! The way through a proxy, as its client: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS version 5 (RFC 1928, with the names and passwords of
//! RFC 1929).
//!
//! Owns: what is said to the proxy, and how far its answers have come. Promises: no byte behind the proxy's last answer is taken; an answer to what was
//! not asked yet is none; what is kept of its answers is bounded; no panic on its bytes, and no text of a caller's can begin another line.
//! Refuses to know: sockets, time, where a proxy is, and what goes through it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::handshake::{HeadEnd, HeadLimits, HeadScan, status_of};

/// Interim answers (RFC 9110 §15.2) that may come before the one that counts.
const INTERIMS_MAX: u8 = 8;
/// The longest head of an answer to CONNECT.
const HEAD_MAX: usize = 64 << 10;

/// Why there is no way through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelError {
    /// It answered CONNECT with this status, which is none of 200 to 299.
    Status(u16),
    /// What it said is neither HTTP nor SOCKS, or an answer to what it had not been asked.
    Malformed,
    /// It wants a name and password, and has none or takes none of ours (RFC 1928 §3, RFC 1929 §2).
    Credentials,
    /// It does not connect, for this reason (RFC 1928 §6): 1 a failure, 2 its rules, 3 no network, 4 no host, 5 refused, 6 too far, 7 no such
    /// command, 8 no such address.
    Socks(u8),
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TunnelError::Status(status) => return write!(f, "the proxy answered {status}"),
            TunnelError::Malformed => "what the proxy said is neither HTTP nor SOCKS, or answers what nobody asked",
            TunnelError::Credentials => "the proxy does not take our name and password",
            TunnelError::Socks(1) => "the proxy failed",
            TunnelError::Socks(2) => "the rules of the proxy forbid it",
            TunnelError::Socks(3) => "the proxy finds no way to the network",
            TunnelError::Socks(4) => "the proxy finds no way to the host",
            TunnelError::Socks(5) => "the host refused the proxy's connection",
            TunnelError::Socks(6) => "the host is too far from the proxy",
            TunnelError::Socks(8) => "the proxy does not take this kind of address",
            TunnelError::Socks(code) => return write!(f, "the proxy does not connect: {code}"),
        })
    }
}

impl core::error::Error for TunnelError {}

/// Whom a proxy takes. `Debug` keeps the password to itself.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// A name without a colon for HTTP; 1 to 255 bytes for SOCKS.
    pub user: &'a str,
    /// Any text; at most 255 bytes for SOCKS.
    pub password: &'a str,
}

/// What cannot be said to a proxy: our side's fault. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The host is no host, or longer than 255 bytes for SOCKS.
    Host,
    /// A name or password that the proxy's protocol has no place for.
    Credentials,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AskError::Host => "a proxy cannot be asked for this host",
            AskError::Credentials => "a proxy cannot be told this name and password",
        })
    }
}

impl core::error::Error for AskError {}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How far the way has come.
enum Stage {
    /// The answer to CONNECT is awaited; so many interim ones have come.
    Http(HeadScan, u8),
    /// The way to log in, which it chooses; what is said then, if it wants a name, and what is asked for at last.
    Method { login: Option<Vec<u8>>, request: Vec<u8> },
    /// Whether it takes our name.
    Login { request: Vec<u8> },
    /// Whether it has connected.
    Reply,
}

/// A way through a proxy that is being asked for. `Debug` keeps what it will say to itself: a password may be in it.
pub struct Tunnel {
    stage: Stage,
    /// What came and is not worked on.
    kept: Vec<u8>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Asks an HTTP proxy for this host, which stands in brackets if it is an IPv6 address; appends the request.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn http(host: &str, port: u16, login: Option<Credentials<'_>>, out: &mut Vec<u8>) -> Result<Self, AskError> {
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AskError::Host);
        }
        let mut text = String::new();
        let _ =
            fmt::Write::write_fmt(&mut text, format_args!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
        if let Some(Credentials { user, password }) = login {
            // RFC 7617 §2: the first colon parts them, and neither has control characters.
            let is_plain = |text: &str| !text.chars().any(char::is_control);
            if user.contains(':') || !is_plain(user) || !is_plain(password) {
                return Err(AskError::Credentials);
            }
            let both = [user, ":", password].concat();
            text += "Proxy-Authorization: Basic ";
            STANDARD.encode_string(both, &mut text);
            text += "\r\n";
        }
        text += "\r\n";
        out.extend_from_slice(text.as_bytes());
        Ok(Self { stage: Stage::Http(HeadScan::default(), 0), kept: Vec::new() })
    }

    /// Asks a SOCKS proxy for this host, a name or an address without brackets; appends what is said first.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn socks(host: &str, port: u16, login: Option<Credentials<'_>>, out: &mut Vec<u8>) -> Result<Self, AskError> {
        let mut request = Vec::from([5, 1, 0]); // RFC 1928 §4: CONNECT
        match host.parse() {
            Ok(IpAddr::V4(ip)) => {
                request.push(1);
                request.extend_from_slice(&ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                request.push(4);
                request.extend_from_slice(&ip.octets());
            }
            Err(_) => {
                let len = u8::try_from(host.len()).ok().filter(|len| *len > 0).ok_or(AskError::Host)?;
                request.extend_from_slice(&[3, len]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        let login = match login {
            None => None,
            Some(Credentials { user, password }) => {
                let len = |text: &str, least: usize| {
                    u8::try_from(text.len()).ok().filter(|len| usize::from(*len) >= least).ok_or(AskError::Credentials)
                };
                let mut login = Vec::from([1, len(user, 1)?]); // RFC 1929 §2
                login.extend_from_slice(user.as_bytes());
                login.push(len(password, 0)?);
                login.extend_from_slice(password.as_bytes());
                Some(login)
            }
        };
        // RFC 1928 §3: no login, and by name and password if there is one.
        out.extend_from_slice(if login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] });
        Ok(Self { stage: Stage::Method { login, request }, kept: Vec::new() })
    }

    /// What the proxy says, in order; what is to be said to it is appended to `out`. `Some(n)`: the way is open, and of these bytes those from
    /// `n` on came through it. What is appended is to leave before more is fed: whoever answers it earlier has not read it, and is to be
    /// refused ([`TunnelError::Malformed`]), as is one that answers here in the same bytes.
    ///
    /// # Errors
    /// [`TunnelError`].
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, TunnelError> {
        self.kept.extend_from_slice(bytes);
        loop {
            let len = match &mut self.stage {
                Stage::Http(scan, interims) => {
                    let limits = HeadLimits::of_answers().bytes_max(HEAD_MAX);
                    let end = scan.feed(&self.kept, &limits);
                    if end == HeadEnd::Partial {
                        return Ok(None);
                    }
                    match (status_of(&self.kept), end) {
                        (Some(200..300), HeadEnd::Complete(len)) => return Ok(Some(self.rest(len, bytes.len()))),
                        (Some(100..200), HeadEnd::Complete(len)) if *interims < INTERIMS_MAX => {
                            *scan = HeadScan::default();
                            *interims += 1;
                            len
                        }
                        (Some(status @ 300..), _) => return Err(TunnelError::Status(status)),
                        _ => return Err(TunnelError::Malformed),
                    }
                }
                // RFC 1928 §3: the client asks behind the choice. What follows it here answers what has not been asked.
                Stage::Method { .. } | Stage::Login { .. } if self.kept.len() > 2 => return Err(self.unasked()),
                Stage::Method { login, request } => match (self.kept.as_slice(), login.take()) {
                    ([5, 0, ..], _) => {
                        out.append(request);
                        self.stage = Stage::Reply;
                        2
                    }
                    ([5, 2, ..], Some(mut login)) => {
                        out.append(&mut login);
                        self.stage = Stage::Login { request: core::mem::take(request) };
                        2
                    }
                    ([5, 2 | 0xff, ..], _) => return Err(TunnelError::Credentials),
                    ([] | [5], before) => {
                        *login = before;
                        return Ok(None);
                    }
                    _ => return Err(TunnelError::Malformed),
                },
                Stage::Login { request } => match self.kept.as_slice() {
                    [_, 0, ..] => {
                        out.append(request);
                        self.stage = Stage::Reply;
                        2
                    }
                    [_, _, ..] => return Err(TunnelError::Credentials),
                    _ => return Ok(None),
                },
                Stage::Reply => {
                    let len = match self.kept.as_slice() {
                        [5, 0, _, 1, ..] => 10,
                        [5, 0, _, 4, ..] => 22,
                        [5, 0, _, 3, len, ..] => 7 + usize::from(*len),
                        [] | [5] | [5, 0] | [5, 0, _] | [5, 0, _, 3] => return Ok(None),
                        [5, code, ..] if *code != 0 => return Err(TunnelError::Socks(*code)),
                        _ => return Err(TunnelError::Malformed),
                    };
                    if self.kept.len() < len {
                        return Ok(None);
                    }
                    return Ok(Some(self.rest(len, bytes.len())));
                }
            };
            self.kept.drain(..len);
        }
    }

    /// Why there is no way where more than the answer has come: what the answer says, if that alone is enough.
    fn unasked(&self) -> TunnelError {
        match (&self.stage, self.kept.as_slice()) {
            (Stage::Method { .. }, [5, 0xff, ..]) | (Stage::Login { .. }, [_, 1..=0xff, ..]) => {
                TunnelError::Credentials
            }
            _ => TunnelError::Malformed,
        }
    }

    /// Of the last `given` bytes, where those begin that are behind `len` of what is kept.
    fn rest(&self, len: usize, given: usize) -> usize {
        given - (self.kept.len() - len)
    }
}

#[cfg(test)]
mod tests;
