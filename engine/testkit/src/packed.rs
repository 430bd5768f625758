//! A peer that compresses (RFC 7692), as a client or as a server, by another implementation of DEFLATE than the engine's.
//!
//! Its framing is its own. It takes everything that is allowed and nothing else: RSV1 only where it may stand, masks only
//! from clients, references only as far back as was agreed on.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{BINARY, CONTINUATION, Random, bounded, client_frame, read_head, read_some, tcp, upgrade_head};

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// One message or control frame that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub opcode: u8,
    /// RSV1 was set.
    pub compressed: bool,
    /// Payload bytes as they were sent.
    pub sent_len: usize,
    /// The payload, inflated.
    pub payload: Vec<u8>,
}

pub struct Packed {
    pub stream: TcpStream,
    /// The value of Sec-WebSocket-Extensions in the other end's head; empty if there was none.
    pub extensions: String,
    is_client: bool,
    random: Random,
    buffer: Vec<u8>,
    deflate: Compress,
    inflate: Decompress,
}

/// Words that compress, different for each seed.
pub fn words(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = ["trade", "price", "\"quantity\":", ",", "0.5", "12", "symbol", " "];
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        text.extend_from_slice(words[random.below(words.len())].as_bytes());
    }
    text.truncate(len);
    text
}

/// The value of a header, or nothing.
pub fn header(head: &str, name: &str) -> String {
    let is_it = |line: &&str| line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
    let line = head.lines().find(is_it);
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

impl Packed {
    /// A client that offers this.
    #[track_caller]
    pub fn connect(addr: SocketAddr, offer: &str) -> Self {
        Self::connect_to(addr, "/", offer)
    }

    /// The same on another path.
    #[track_caller]
    pub fn connect_to(addr: SocketAddr, path: &str, offer: &str) -> Self {
        let mut stream = tcp(addr);
        let head = upgrade_head(path);
        let head = format!("{}\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n", head.trim_end());
        stream.write_all(head.as_bytes()).expect("the request goes out");
        let (head, buffer) = read_head(&stream).expect("a response");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let extensions = header(&head, "Sec-WebSocket-Extensions");
        Self::new(stream, extensions, true, buffer)
    }

    /// A server that answers with this, or with no header if it is empty. `accept` makes the key's answer.
    #[track_caller]
    pub fn accept(mut stream: TcpStream, answer: &str, accept: impl FnOnce(&str) -> String) -> Self {
        bounded(&stream);
        let (head, buffer) = read_head(&stream).expect("a request");
        let accept = accept(&header(&head, "Sec-WebSocket-Key"));
        let line = if answer.is_empty() { String::new() } else { format!("Sec-WebSocket-Extensions: {answer}\r\n") };
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{line}\r\n"
        );
        stream.write_all(response.as_bytes()).expect("the response goes out");
        let extensions = header(&head, "Sec-WebSocket-Extensions");
        Self::new(stream, extensions, false, buffer)
    }

    fn new(stream: TcpStream, extensions: String, is_client: bool, buffer: Vec<u8>) -> Self {
        let seed = stream.local_addr().expect("an address").port();
        Self {
            stream,
            extensions,
            is_client,
            random: Random::new(seed.into()),
            buffer,
            deflate: Compress::new(Compression::best(), false),
            inflate: Decompress::new(false),
        }
    }

    /// Forgets what was sent, so that the next message refers to nothing (no context takeover).
    pub fn forget_sent(&mut self) {
        self.deflate.reset();
    }

    /// Forgets what came: a message that refers to an earlier one fails.
    pub fn forget_received(&mut self) {
        self.inflate.reset(false);
    }

    /// What `message` is compressed.
    pub fn pack(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 1000);
        self.deflate.compress_vec(message, &mut out, FlushCompress::Sync).expect("room");
        let len = out.strip_suffix(&TAIL).map_or(0, <[u8]>::len);
        out.truncate(len);
        out
    }

    /// Sends one frame with this first byte.
    #[track_caller]
    pub fn send_raw(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        if self.is_client {
            client_frame(&mut bytes, true, BINARY, payload, self.random.key());
            bytes[0] = first;
        } else {
            // The same without its mask: the key is nothing.
            client_frame(&mut bytes, true, BINARY, payload, [0; 4]);
            let head = bytes.len() - payload.len();
            bytes.drain(head - 4..head);
            (bytes[0], bytes[1]) = (first, bytes[1] & 0x7F);
        }
        self.stream.write_all(&bytes).expect("the frame goes out");
    }

    /// Sends a compressed message, whole.
    #[track_caller]
    pub fn send(&mut self, opcode: u8, message: &[u8]) {
        let payload = self.pack(message);
        self.send_raw(0xC0 | opcode, &payload);
    }

    /// Sends a compressed message in fragments, one of them empty.
    #[track_caller]
    pub fn send_fragments(&mut self, opcode: u8, message: &[u8]) {
        let payload = self.pack(message);
        let (first, rest) = payload.split_at(payload.len() / 3);
        self.send_raw(0x40 | opcode, first);
        self.send_raw(CONTINUATION, &[]);
        self.send_raw(0x80 | CONTINUATION, rest);
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 65_536];
        let count = read_some(&self.stream, &mut piece).expect("bytes or the end");
        self.buffer.extend_from_slice(&piece[..count]);
        count > 0
    }

    /// The next frame; the other end does not fragment. `None` at the end.
    #[track_caller]
    pub fn try_next(&mut self) -> Option<Got> {
        let frame = loop {
            if let Some(frame) = self.frame() {
                break frame;
            }
            if !self.more() {
                assert!(self.buffer.is_empty(), "the stream ended inside a frame");
                return None;
            }
        };
        let (first, payload) = frame;
        let (opcode, compressed) = (first & 0x0F, first & 0x40 != 0);
        assert!(first & 0x80 != 0 && first & 0x30 == 0, "first byte {first:x}");
        assert!(!compressed || matches!(opcode, 1 | 2), "RFC 7692 §6: RSV1 on opcode {opcode}");
        let sent_len = payload.len();
        let payload = if compressed { self.unpack(&payload) } else { payload };
        Some(Got { opcode, compressed, sent_len, payload })
    }

    #[track_caller]
    pub fn next(&mut self) -> Got {
        self.try_next().expect("a frame, not the end")
    }

    /// The next frame must be a message of this content; whether it came compressed.
    #[track_caller]
    pub fn expect(&mut self, opcode: u8, content: &[u8]) -> bool {
        let got = self.next();
        assert!(got.opcode == opcode && got.payload == content, "{} bytes, opcode {}", got.payload.len(), got.opcode);
        assert!(!got.compressed || got.sent_len < content.len(), "{} for {}", got.sent_len, content.len());
        got.compressed
    }

    /// The next frame must be a Close: its code.
    #[track_caller]
    pub fn expect_close(&mut self) -> u16 {
        let got = self.next();
        assert_eq!(got.opcode, 8, "{got:?}");
        u16::from_be_bytes([got.payload[0], got.payload[1]])
    }

    /// The first byte of a frame and its payload, unmasked.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.buffer.split_first_chunk::<2>()?;
        assert_eq!(second & 0x80 == 0, self.is_client, "RFC 6455 §5.1: clients mask, servers do not");
        let (len, mut head) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mut key = [0; 4];
        if !self.is_client {
            key = *self.buffer.get(head..)?.first_chunk()?;
            head += 4;
        }
        let mut payload = self.buffer.get(head..head + len)?.to_vec();
        payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
        self.buffer.drain(..head + len);
        Some((first, payload))
    }

    /// RFC 7692 §7.2.2: the tail put back; a final block begins a new stream.
    #[track_caller]
    fn unpack(&mut self, payload: &[u8]) -> Vec<u8> {
        let input = [payload, &TAIL].concat();
        let (mut at, mut out) = (0, Vec::with_capacity(20 << 20));
        while at < input.len() {
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(&input[at..], &mut out, FlushDecompress::Sync);
            at += (self.inflate.total_in() - before) as usize;
            match status.expect("a valid stream") {
                Status::StreamEnd => self.inflate.reset(false),
                Status::Ok => {}
                Status::BufError => break,
            }
        }
        assert_eq!(at, input.len(), "the message goes on");
        out
    }
}
