//! What a frame carries: its opcode, and the message a user sees.
//!
//! Owns the opcode numbers and the borrowed [`Message`]. Promises that a `Message::Text` is UTF-8 by its type. Knows
//! nothing of headers, masks or fragments.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The kind of a frame (RFC 6455 §5.2, §11.8). The numbers are those on the wire.
///
/// Opcodes 3-7 and 11-15 are reserved, so no value stands for them: they are the peer's fault
/// ([`Violation::ReservedOpcode`](crate::Violation::ReservedOpcode)). No later version may add one without an
/// extension, hence the enum is exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(clippy::exhaustive_enums)] // see above
pub enum Opcode {
    /// A further fragment of the message that is open (RFC 6455 §5.4).
    Continuation = 0x0,
    /// A text message or its first fragment (RFC 6455 §5.6).
    Text = 0x1,
    /// A binary message or its first fragment (RFC 6455 §5.6).
    Binary = 0x2,
    /// The closing handshake (RFC 6455 §5.5.1).
    Close = 0x8,
    /// Asks for a pong with the same payload (RFC 6455 §5.5.2).
    Ping = 0x9,
    /// Answers a ping, or a heartbeat nobody asked for (RFC 6455 §5.5.3).
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of the low four bits of a frame's first byte, or `None` for a reserved one (RFC 6455 §5.2). The
    /// high four bits of `byte` are not looked at.
    #[inline]
    pub const fn from_bits(byte: u8) -> Option<Opcode> {
        match byte & 0x0F {
            0x0 => Some(Opcode::Continuation),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xA => Some(Opcode::Pong),
            _ => None,
        }
    }

    /// The number on the wire, 0-15.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Close, ping and pong: at most 125 bytes, never fragmented, allowed between fragments (RFC 6455 §5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// One message, borrowed. Copying it copies a pointer and a length.
///
/// RFC 6455 §5.6 knows exactly these two, so the enum is exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // see above
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload's bytes, whichever kind it is.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text of a text message.
    #[inline]
    pub const fn as_text(self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The opcode this message is sent under: [`Opcode::Text`] or [`Opcode::Binary`].
    #[inline]
    pub const fn opcode(self) -> Opcode {
        match self {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        }
    }

    /// Payload bytes.
    #[inline]
    pub const fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload has no bytes; such a message is valid and delivered (RFC 6455 §5.2).
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl<'a> From<&'a str> for Message<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a &str> for Message<'a> {
    #[inline]
    fn from(text: &'a &str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a Cow<'_, str>> for Message<'a> {
    #[inline]
    fn from(text: &'a Cow<'_, str>) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a Cow<'_, [u8]>> for Message<'a> {
    #[inline]
    fn from(bytes: &'a Cow<'_, [u8]>) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    #[inline]
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        Message::Binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6455 §5.2: 3-7 and B-F are reserved; bit 3 tells control frames.
    #[test]
    fn every_number_is_known_or_reserved() {
        let known = [0x0, 0x1, 0x2, 0x8, 0x9, 0xA];
        for bits in 0..16u8 {
            match Opcode::from_bits(bits) {
                Some(opcode) => {
                    assert!(known.contains(&bits));
                    assert_eq!(opcode.bits(), bits);
                    assert_eq!(opcode.is_control(), bits >= 8);
                    assert_eq!(Opcode::from_bits(bits | 0xF0), Some(opcode));
                }
                None => assert!(!known.contains(&bits)),
            }
        }
    }

    #[test]
    fn messages_from_what_users_hold() {
        let text = String::from("héllo");
        let bytes = Vec::from([1u8, 2, 3]);
        assert_eq!(Message::from("héllo"), Message::from(&text));
        assert_eq!(Message::from(&bytes), Message::from(&[1u8, 2, 3]));
        assert_eq!(Message::from(&bytes[..]), Message::from(&bytes));
        assert_eq!(Message::from(&text).opcode(), Opcode::Text);
        assert_eq!(Message::from(&bytes).opcode(), Opcode::Binary);
        assert_eq!(Message::from(&text).len(), 6);
        assert_eq!(Message::from(&"héllo"), Message::from(&Cow::Borrowed("héllo")));
        assert_eq!(Message::from(&Cow::Owned::<[u8]>(bytes.clone())), Message::from(&bytes));
        assert_eq!((Message::from(&text).as_text(), Message::from(&bytes).as_text()), (Some("héllo"), None));
        assert!(Message::from("").is_empty() && !Message::from(&bytes).is_empty());
    }
}
