//! Reads what the engine sends, as a server or as a client, without the crate's own decoder: the second opinion of RFC 6455 §5.
//!
//! Slow and plain on purpose: it gathers all bytes and looks again at each call.

use super::board::MARK;
use super::oracle::Digest;
use super::packed::Inflate;

/// What the engine said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Message(Digest),
    /// A message of a topic.
    Update(String),
    Ping(Vec<u8>),
    Pong(Digest),
    Close(Option<u16>, String),
}

impl Said {
    pub fn text(text: &str) -> Self {
        if text.starts_with(MARK) {
            Said::Update(text.to_owned())
        } else {
            Said::Message(Digest::of(true, text.as_bytes()))
        }
    }
}

/// All bytes behind the head that are not yet understood.
#[derive(Default)]
pub struct Wire {
    bytes: Vec<u8>,
    at: usize,
    closed: bool,
    /// RFC 6455 §5.1: it is a client, and masks everything.
    masked: bool,
    key: Option<[u8; 4]>,
    /// Bytes behind the last ping.
    pub behind_ping: Option<usize>,
    /// It may compress messages (RFC 7692 §6).
    pub inflate: Option<Inflate>,
}

impl Wire {
    pub fn new(masked: bool) -> Self {
        Self { masked, ..Self::default() }
    }

    /// Takes bytes; appends what is complete to `said`.
    pub fn feed(&mut self, bytes: &[u8], said: &mut Vec<Said>) {
        self.bytes.extend_from_slice(bytes);
        self.behind_ping = self.behind_ping.map(|behind| behind + bytes.len());
        while let Some((first, payload)) = self.frame() {
            assert!(!self.closed, "it went on after its Close (RFC 6455 §5.5.1): {first:#x}");
            // The engine never fragments or leaves FIN out (RFC 6455 §5.2), and compresses if that was agreed on.
            let (first, payload) = match &mut self.inflate {
                Some(inflate) if matches!(first, 0xc1 | 0xc2) => (first & !0x40, inflate.message(&payload)),
                _ => (first, payload),
            };
            said.push(match first {
                0x81 => Said::text(std::str::from_utf8(&payload).expect("§5.6")),
                0x82 => Said::Message(Digest::of(false, &payload)),
                0x89 => {
                    self.behind_ping = Some(self.bytes.len() - self.at);
                    Said::Ping(payload)
                }
                0x8a => Said::Pong(Digest::of(false, &payload)),
                0x88 => {
                    self.closed = true;
                    assert_ne!(payload.len(), 1, "a Close with half a code (RFC 6455 §5.5.1)");
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    let reason = payload.get(2..).unwrap_or_default().to_vec();
                    Said::Close(code, String::from_utf8(reason).expect("RFC 6455 §5.5.1"))
                }
                _ => panic!("it sent a frame that starts with {first:#x}"),
            });
        }
        if self.at > 1 << 16 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }

    /// Nothing is begun and unfinished.
    pub fn is_between_frames(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let rest = &self.bytes[self.at..];
        let (first, second) = (*rest.first()?, *rest.get(1)?);
        assert_eq!(second & 0x80 != 0, self.masked, "a client masks, a server does not (RFC 6455 §5.1)");
        let (len, head) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*rest.get(2..)?.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.get(2..)?.first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let shortest = match len {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        };
        assert_eq!(head, shortest, "a length of {len} in more bytes than it needs (RFC 6455 §5.2)");
        let key: Option<[u8; 4]> = if self.masked { Some(*rest.get(head..)?.first_chunk()?) } else { None };
        let head = head + key.map_or(0, |key| key.len());
        let mut payload = rest.get(head..head + len)?.to_vec();
        if let Some(key) = key {
            // Twice in a row by chance: once in 2^32 (RFC 6455 §5.3, §10.3).
            assert_ne!(self.key.replace(key), Some(key), "two frames share a masking key");
            payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
        }
        self.at += head + len;
        assert!(first & 0x8 == 0 || len <= 125, "a control frame of {len} bytes (RFC 6455 §5.5)");
        Some((first, payload))
    }
}
