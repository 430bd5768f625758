//! What is offered, answered and agreed on (RFC 7692 §5, §7.1): texts of `Sec-WebSocket-Extensions`, nothing else.
//!
//! Owns: the four parameters of permessage-deflate, in both roles. Promises: by the letter. Of a client's offers the first
//! that can be met is taken and the others are passed over, whatever is wrong with them; of a server's answer everything
//! has to be right. Refuses to know: headers, connections, and how to compress.

use core::fmt::{self, Write};

use super::settings::{Mode, Settings, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::frame::Role;
use crate::handshake::{Malformed, Offer, ParamValue};

/// The extension's name (RFC 7692 §7). Compared exactly, as everybody does.
const NAME: &str = "permessage-deflate";

/// Bytes that are enough for any [`Answer`].
pub const ANSWER_LEN_MAX: usize = 128;

/// The parameters by their names (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Bits,
}

/// `client_max_window_bits`, which an offer may have without a value (RFC 7692 §7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Bits {
    #[default]
    Absent,
    Bare,
    Value(u8),
}

impl Params {
    /// Reads them. `None` for what RFC 7692 §7.1 has declined, or failed in an answer: a name it does not define, a name
    /// twice, a value that is not allowed, or none where one must be.
    fn read(offer: &Offer<'_>) -> Option<Params> {
        let mut params = Params::default();
        for param in offer.params() {
            match (param.name, param.value) {
                ("server_no_context_takeover", None) if !params.server_no_context_takeover => {
                    params.server_no_context_takeover = true;
                }
                ("client_no_context_takeover", None) if !params.client_no_context_takeover => {
                    params.client_no_context_takeover = true;
                }
                ("server_max_window_bits", Some(value)) if params.server_max_window_bits.is_none() => {
                    params.server_max_window_bits = Some(window_bits(value)?);
                }
                ("client_max_window_bits", value) if params.client_max_window_bits == Bits::Absent => {
                    params.client_max_window_bits = match value {
                        None => Bits::Bare,
                        Some(value) => Bits::Value(window_bits(value)?),
                    };
                }
                _ => return None,
            }
        }
        Some(params)
    }
}

/// RFC 7692 §7.1.2: a decimal integer without leading zeroes, 8 to 15.
fn window_bits(value: ParamValue<'_>) -> Option<u8> {
    let mut bytes = value.bytes();
    match (bytes.next(), bytes.next(), bytes.next()) {
        (Some(digit @ b'8'..=b'9'), None, None) => Some(digit - b'0'),
        (Some(b'1'), Some(digit @ b'0'..=b'5'), None) => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// What both ends hold to, from the handshake to the end of the connection (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // the extension has these four parameters
pub struct Agreed {
    /// The server compresses each message by itself (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself (§7.1.1.2).
    pub client_no_context_takeover: bool,
    /// The server's window, 8-15: two to the power of this, in bytes (§7.1.2.1).
    pub server_window_bits: u8,
    /// The client's window, 8-15 (§7.1.2.2).
    pub client_window_bits: u8,
}

/// What was agreed for the messages of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // two parameters an end
pub struct Direction {
    /// A message may refer to earlier ones: the compressor keeps its window, and so must who inflates.
    pub takeover: bool,
    /// How far back a message may refer, as a power of two, 8-15.
    pub window_bits: u8,
}

impl Agreed {
    /// What holds for the messages that `role` sends.
    #[must_use]
    pub const fn of(&self, role: Role) -> Direction {
        match role {
            Role::Server => {
                Direction { takeover: !self.server_no_context_takeover, window_bits: self.server_window_bits }
            }
            Role::Client => {
                Direction { takeover: !self.client_no_context_takeover, window_bits: self.client_window_bits }
            }
        }
    }

    /// What holds for the messages that `role` receives.
    #[must_use]
    pub const fn of_peer(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.of(Role::Client),
            Role::Client => self.of(Role::Server),
        }
    }
}

/// A server's answer: its text is the value of a `Sec-WebSocket-Extensions` header (by [`Display`](fmt::Display), at most
/// [`ANSWER_LEN_MAX`] bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    agreed: Agreed,
    /// Parameters with a value that stand in the answer: those that were offered.
    says_server_bits: bool,
    says_client_bits: bool,
}

impl Answer {
    /// What it means for both ends.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// Its text, in `buf`.
    #[must_use]
    pub fn text<'a>(&self, buf: &'a mut [u8; ANSWER_LEN_MAX]) -> &'a str {
        struct Cursor<'a>(&'a mut [u8], usize);
        impl fmt::Write for Cursor<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let room = self.0.get_mut(self.1..self.1 + text.len()).ok_or(fmt::Error)?;
                room.copy_from_slice(text.as_bytes());
                self.1 += text.len();
                Ok(())
            }
        }
        let mut cursor = Cursor(buf, 0);
        write!(cursor, "{self}").expect("the longest answer fits");
        let len = cursor.1;
        core::str::from_utf8(&buf[..len]).expect("ASCII was written")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.agreed.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.agreed.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.says_server_bits {
            write!(f, "; server_max_window_bits={}", self.agreed.server_window_bits)?;
        }
        if self.says_client_bits {
            write!(f, "; client_max_window_bits={}", self.agreed.client_window_bits)?;
        }
        Ok(())
    }
}

/// The server's choice among a client's offers, such as [`Request::extensions`](crate::handshake::Request::extensions): the
/// first of permessage-deflate that can be met (RFC 7692 §5.1), or `None` to open the connection without.
///
/// Declined are offers with a parameter that is unknown, repeated, or has a value that is not allowed (§7.1), and those
/// that ask us for a window of 2^8 bytes (§7.1.2.1 allows it; see [`WINDOW_BITS_MIN`]).
///
/// Nothing is answered that was not offered, but that the client is to keep no window where [`Mode::Shared`] has none left:
/// `windows` is how many the core's connections keep now, and [`Settings::peer_windows_max`] is the bound.
///
/// # Errors
/// [`Malformed`] if the header breaks the grammar: answer 400.
pub fn choose<'a>(
    offers: impl Iterator<Item = Result<Offer<'a>, Malformed>>,
    settings: &Settings,
    windows: u32,
) -> Result<Option<Answer>, Malformed> {
    let mut chosen = None;
    // To the end, so that a malformed header is found wherever it is malformed.
    for offer in offers {
        let offer = offer?;
        if chosen.is_none() && settings.mode != Mode::Off && offer.name() == NAME {
            chosen = Params::read(&offer).and_then(|params| meet(params, settings, windows));
        }
    }
    Ok(chosen)
}

fn meet(offered: Params, settings: &Settings, windows: u32) -> Option<Answer> {
    let no_window_left = settings.mode == Mode::Shared && windows >= settings.peer_windows_max;
    let server_window_bits = settings.window_bits.min(offered.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX));
    if server_window_bits < WINDOW_BITS_MIN {
        return None;
    }
    // §7.1.2.2: answered only if offered, and never above what was offered. A smaller window would save us nothing.
    let (client_window_bits, says_client_bits) = match offered.client_max_window_bits {
        Bits::Value(bits) => (bits, true),
        Bits::Bare | Bits::Absent => (WINDOW_BITS_MAX, false),
    };
    let agreed = Agreed {
        // §7.1.1: what was offered must be answered, and both may be answered though not offered. But there are clients that
        // fail the connection then (Netty), or keep their window all the same (Tornado, Mojolicious). Of our own messages
        // nothing needs to be said: a window that is kept for them and not referred to does no harm.
        server_no_context_takeover: offered.server_no_context_takeover,
        client_no_context_takeover: no_window_left || offered.client_no_context_takeover,
        server_window_bits,
        client_window_bits,
    };
    Some(Answer { agreed, says_server_bits: offered.server_max_window_bits.is_some(), says_client_bits })
}

/// A client's offer: by [`Display`](fmt::Display) the value of a `Sec-WebSocket-Extensions` header (RFC 7692 §7.1).
///
/// One, because some servers take a second for a fault. With [`Mode::Shared`] it is without context takeover, which costs no
/// memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOffer {
    mode: Mode,
    window_bits: u8,
}

impl ClientOffer {
    /// What `settings` ask for; `None` if they ask for nothing.
    #[must_use]
    pub fn new(settings: &Settings) -> Option<ClientOffer> {
        match settings.mode {
            Mode::Off => None,
            mode => Some(ClientOffer { mode, window_bits: settings.window_bits }),
        }
    }

    /// Judges the server's answer: the extensions of its response. `None`: it took none, so nothing is compressed.
    ///
    /// A window of 2^8 bytes for us is accepted, because we need not compress at all; see [`WINDOW_BITS_MIN`].
    ///
    /// # Errors
    /// What is wrong with it: fail the connection (RFC 6455 §4.1, RFC 7692 §7.1).
    pub fn judge<'a>(
        &self,
        answer: impl Iterator<Item = Result<Offer<'a>, Malformed>>,
    ) -> Result<Option<Agreed>, CompressionError> {
        let mut agreed = None;
        for extension in answer {
            let extension = extension.map_err(|Malformed| CompressionError::Malformed)?;
            if extension.name() != NAME {
                return Err(CompressionError::NotOffered);
            }
            if agreed.is_some() {
                return Err(CompressionError::Repeated);
            }
            let params = Params::read(&extension).ok_or(CompressionError::Parameter)?;
            let client_window_bits = match params.client_max_window_bits {
                // §7.1.2.2: in an answer it has a value, not above the one offered.
                Bits::Bare => return Err(CompressionError::Parameter),
                Bits::Value(bits) if bits > self.window_bits => return Err(CompressionError::Parameter),
                Bits::Value(bits) => bits,
                Bits::Absent => self.window_bits,
            };
            agreed = Some(Agreed {
                server_no_context_takeover: params.server_no_context_takeover,
                // §7.1.1.2: a client may do without, whatever was answered.
                client_no_context_takeover: params.client_no_context_takeover || self.mode == Mode::Shared,
                // §7.1.2.1: a server may say it unasked.
                server_window_bits: params.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
                client_window_bits,
            });
        }
        Ok(agreed)
    }
}

impl fmt::Display for ClientOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a value it tells that we can be asked for less than 15 (§7.1.2.2).
        let client_bits = |f: &mut fmt::Formatter<'_>| match self.window_bits {
            WINDOW_BITS_MAX => f.write_str("; client_max_window_bits"),
            bits => write!(f, "; client_max_window_bits={bits}"),
        };
        f.write_str(NAME)?;
        if self.mode == Mode::Shared {
            f.write_str("; server_no_context_takeover; client_no_context_takeover")?;
        }
        client_bits(f)
    }
}

/// What is wrong with a server's answer to our offer. It fails the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressionError {
    /// The header breaks the grammar (RFC 6455 §9.1).
    Malformed,
    /// An extension that was not offered (RFC 6455 §4.1).
    NotOffered,
    /// permessage-deflate twice: two extensions cannot both own RSV1 (RFC 7692 §5).
    Repeated,
    /// A parameter that is unknown, repeated, without a value it needs, with one it may not have, or above what was
    /// offered (RFC 7692 §7.1).
    Parameter,
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompressionError::Malformed => "the server's Sec-WebSocket-Extensions is malformed",
            CompressionError::NotOffered => "the server took an extension that was not offered",
            CompressionError::Repeated => "the server took permessage-deflate twice",
            CompressionError::Parameter => "the server's permessage-deflate has a parameter that is not acceptable",
        })
    }
}

impl core::error::Error for CompressionError {}

#[cfg(test)]
mod tests;
