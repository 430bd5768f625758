//! A message that is given away: [`OwnedMessage`].

use std::str::Utf8Error;

use bytes::Bytes;
use wsring_proto::opcode::{Message, Opcode};

/// A message in memory of its own, for [`Conn::send_owned`](crate::Conn::send_owned). A clone shares that memory.
///
/// ```
/// use wsring::OwnedMessage;
///
/// let text = OwnedMessage::from("a String is text".to_owned()); // a &str is copied
/// let binary = OwnedMessage::from(vec![1, 2, 3]);
/// assert!(text.is_text() && !binary.is_text());
/// assert_eq!(text.as_message(), wsring::Message::Text("a String is text"));
/// assert_eq!(binary.as_message(), wsring::Message::Binary(&[1, 2, 3]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedMessage {
    pub(crate) opcode: Opcode,
    pub(crate) bytes: Bytes,
}

impl OwnedMessage {
    /// A text message of these bytes, which are not copied.
    ///
    /// # Errors
    /// If they are no UTF-8 (RFC 6455 §5.6).
    pub fn text(bytes: Bytes) -> Result<Self, Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self { opcode: Opcode::Text, bytes })
    }

    /// Whether it is text; else it is binary.
    pub fn is_text(&self) -> bool {
        self.opcode == Opcode::Text
    }

    /// The message, borrowed: for what takes one, such as [`Conn::send`](crate::Conn::send). Text is checked once more, which takes as
    /// long as reading it.
    pub fn as_message(&self) -> Message<'_> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if self.is_text() => Message::Text(text),
            _ => Message::Binary(&self.bytes),
        }
    }

    /// The payload's bytes, whichever kind it is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without copying them.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl From<String> for OwnedMessage {
    fn from(text: String) -> Self {
        Self { opcode: Opcode::Text, bytes: Bytes::from(text) }
    }
}

/// A copy of a text.
impl From<&str> for OwnedMessage {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Vec<u8>> for OwnedMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for OwnedMessage {
    fn from(bytes: Bytes) -> Self {
        Self { opcode: Opcode::Binary, bytes }
    }
}

/// A copy of a message that was borrowed.
impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        Self { opcode: message.opcode(), bytes: Bytes::copy_from_slice(message.as_bytes()) }
    }
}
