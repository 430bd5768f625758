//! A server's stream of frames, taken apart into whole messages, for loads that look into them.
//!
//! Owns the bytes of a frame that has not come whole. Promises that nothing is copied but those, that a frame which no server may send
//! ends in an error, and that pings are handed out to be answered. Refuses to know what a message says.

use std::io::{self, ErrorKind};

/// The longest message taken.
const LEN_MAX: usize = 16 << 20;
/// What a frame of ours to the server is masked with: anything will do (RFC 6455 §5.3 protects proxies, and there are none).
const MASK: [u8; 4] = [0x5A, 0x17, 0xC3, 0x2E];

/// A message that has come whole.
pub enum Said<'a> {
    /// Text or binary.
    Message(&'a [u8]),
    /// To be answered with the same bytes (RFC 6455 §5.5.3).
    Ping(&'a [u8]),
}

/// One connection's stream.
#[derive(Debug, Default)]
pub struct Texts {
    /// The beginning of a frame.
    begun: Vec<u8>,
}

impl Texts {
    /// Takes what was received and hands out each message that is whole now.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Said<'_>) -> io::Result<()>) -> io::Result<()> {
        while !self.begun.is_empty() && !bytes.is_empty() {
            let want = extent(&self.begun)?.map_or(self.begun.len() + 1, |(head, len)| head + len);
            let step = bytes.len().min(want - self.begun.len());
            self.begun.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if let Some((head, len)) = extent(&self.begun)?
                && self.begun.len() == head + len
            {
                hand_out(self.begun[0], &self.begun[head..], &mut each)?;
                self.begun.clear();
            }
        }
        while let Some((head, len)) = extent(bytes)?
            && bytes.len() >= head + len
        {
            hand_out(bytes[0], &bytes[head..head + len], &mut each)?;
            bytes = &bytes[head + len..];
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes of a frame's head and of its payload, if that many of it are there that they are known.
fn extent(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let known = matches!(first, 0x81 | 0x82 | 0x88 | 0x89 | 0x8A);
    if !known || second & 0x80 != 0 {
        return Err(wrong(format!("a frame that begins with {first:02x} {second:02x}")));
    }
    let (head, len) = match second {
        126 if bytes.len() < 4 => return Ok(None),
        127 if bytes.len() < 10 => return Ok(None),
        126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 => (10, u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize),
        short => (2, usize::from(short)),
    };
    if len > LEN_MAX {
        return Err(wrong(format!("a message of {len} bytes; at most {LEN_MAX} are taken")));
    }
    Ok(Some((head, len)))
}

fn hand_out(first: u8, payload: &[u8], each: &mut impl FnMut(Said<'_>) -> io::Result<()>) -> io::Result<()> {
    match first {
        0x81 | 0x82 => each(Said::Message(payload)),
        0x89 => each(Said::Ping(payload)),
        0x8A => Ok(()),
        _ => {
            let code = payload.first_chunk().map_or("no code".to_owned(), |code| u16::from_be_bytes(*code).to_string());
            let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
            Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the server closed the connection: {code} {reason}")))
        }
    }
}

/// What a server said that it may not say.
pub fn wrong(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// A text message of a client, whole and masked.
pub fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(0x8A, payload)
}

/// A whole frame of a client, masked, that begins with `first`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(first, payload);
        let head = bytes.len() - payload.len() - 4;
        bytes.truncate(head);
        bytes[1] &= 0x7F;
        bytes.extend_from_slice(payload);
        bytes
    }

    fn all(stream: &[u8], step: usize) -> io::Result<Vec<(bool, Vec<u8>)>> {
        let (mut texts, mut found) = (Texts::default(), Vec::new());
        for bytes in stream.chunks(step) {
            texts.feed(bytes, |said| {
                found.push(match said {
                    Said::Message(bytes) => (false, bytes.to_vec()),
                    Said::Ping(bytes) => (true, bytes.to_vec()),
                });
                Ok(())
            })?;
        }
        assert!(texts.begun.is_empty(), "all came whole");
        Ok(found)
    }

    #[test]
    fn messages_are_the_same_however_they_come() {
        let payloads = [0, 1, 125, 126, 127, 65_535, 65_536].map(|len| vec![len as u8 ^ 3; len]);
        let mut stream = Vec::new();
        for payload in &payloads {
            stream.extend(server_frame(0x81, payload));
            stream.extend(server_frame(0x89, b"are you there"));
            stream.extend(server_frame(0x8A, b""));
        }
        for step in [1, 2, 3, 7, 130, 4096, stream.len()] {
            let found = all(&stream, step).expect("good frames");
            let texts: Vec<_> = found.iter().filter(|(ping, _)| !ping).map(|(_, bytes)| bytes).collect();
            assert!(texts.into_iter().eq(&payloads), "in steps of {step}");
            assert_eq!(found.iter().filter(|(ping, bytes)| *ping && bytes == b"are you there").count(), payloads.len());
        }
    }

    #[test]
    fn frames_of_no_server_are_refused() {
        for bad in [&[0x01, 0][..], &[0xC1, 0], &[0x81, 0x80], &[0x83, 0], &[0x81, 127, 0, 0, 0, 0, 1, 0, 0, 1]] {
            assert!(all(bad, bad.len()).is_err(), "{bad:02x?}");
        }
        let mut close = 1008_u16.to_be_bytes().to_vec();
        close.extend(b"too slow");
        let error = all(&server_frame(0x88, &close), 3).expect_err("a close");
        assert!(error.to_string().contains("1008 too slow"), "{error}");
    }

    #[test]
    fn what_is_sent_is_masked() {
        let bytes = text("hello");
        assert_eq!((bytes[0], bytes[1], bytes.len()), (0x81, 0x85, 11));
        let plain: Vec<u8> = bytes[6..].iter().zip(&bytes[2..6].repeat(2)).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(plain, b"hello");
    }
}
