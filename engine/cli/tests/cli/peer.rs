//! The other end of a connection: a WebSocket and HTTP client made for these tests, on std alone.
//!
//! Owns the client's half of RFC 6455, written apart from the server's. Promises that no read or write outlasts
//! [`WAIT`]; anything unexpected is a panic that says what came instead. Sends what it is told, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wsring_testkit::{WAIT, patiently};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status code of a Close frame.
    pub fn close_code(&self) -> u16 {
        assert!(self.opcode == CLOSE && self.payload.len() >= 2, "not a Close with a code: {self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// What an HTTP request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} is repeated: {:?}", self.headers);
        first
    }
}

pub fn dial(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, WAIT).unwrap_or_else(|error| panic!("{addr}: {error}"));
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_write_timeout(Some(WAIT)).unwrap();
    stream
}

/// An opening handshake with the key of RFC 6455 §1.3; `headers` are whole lines.
pub fn handshake(path: &str, headers: &[&str]) -> String {
    let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
}

/// Sends a request and reads its answer to the end of the connection.
pub fn ask(addr: SocketAddr, request: &str) -> Answer {
    let mut stream = dial(addr);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = read_head(&mut stream);
    stream.read_to_end(&mut answer.body).unwrap();
    answer
}

fn read_head(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let count =
            patiently(|| stream.read(&mut byte)).unwrap_or_else(|error| panic!("{error} after {:?}", text(&head)));
        assert!(count == 1 && head.len() < 16 << 10, "no answer, only {:?}", text(&head));
        head.push(byte[0]);
    }
    let head = text(&head);
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: Vec::new() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An open WebSocket connection.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// The answer to the handshake.
    pub answer: Answer,
    key: u32,
}

impl Peer {
    /// Opens a connection; any answer but 101 is a failed test.
    pub fn open(addr: SocketAddr, path: &str) -> Peer {
        Self::try_open(addr, path, &[]).unwrap_or_else(|answer| panic!("not opened: {answer:?}"))
    }

    /// Opens a connection with further header lines, or says what the answer was.
    pub fn try_open(addr: SocketAddr, path: &str, headers: &[&str]) -> Result<Peer, Answer> {
        let mut stream = dial(addr);
        stream.write_all(handshake(path, headers).as_bytes()).unwrap();
        let mut answer = read_head(&mut stream);
        if answer.status != 101 {
            stream.read_to_end(&mut answer.body).unwrap();
            return Err(answer);
        }
        // RFC 6455 §1.3 gives this accept value for the key of `handshake`.
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Ok(Peer { stream, answer, key: 0x9e37_79b9 })
    }

    /// A second name of the same connection, for another thread: one sends, the other receives.
    pub fn twin(&self) -> Peer {
        let answer = Answer { status: 101, headers: Vec::new(), body: Vec::new() };
        Peer { stream: self.stream.try_clone().unwrap(), answer, key: !self.key }
    }

    /// Sends a whole message in one frame.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_frame(true, opcode, payload);
    }

    /// Sends one frame, masked with a key that changes from frame to frame (RFC 6455 §5.3).
    pub fn send_frame(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        let mut bytes = self.head(fin, opcode, payload.len());
        let key: [u8; 4] = bytes[bytes.len() - 4..].try_into().unwrap();
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.stream.write_all(&bytes).unwrap();
    }

    /// Sends the head of a frame and nothing of its payload.
    pub fn send_head(&mut self, fin: bool, opcode: u8, len: usize) {
        let head = self.head(fin, opcode, len);
        self.stream.write_all(&head).unwrap();
    }

    fn head(&mut self, fin: bool, opcode: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![u8::from(fin) << 7 | opcode];
        match len {
            0..=125 => bytes.push(0x80 | len as u8),
            126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        self.key = self.key.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        bytes.extend(self.key.to_be_bytes());
        bytes
    }

    /// The next frame, which must come.
    pub fn next(&mut self) -> Frame {
        self.next_or_end().expect("the server ended the connection")
    }

    /// The next frame, or None where the server ended the connection, by a reset too.
    pub fn next_or_end(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        if !self.fill(&mut head) {
            return None;
        }
        let [first, second] = head;
        assert!(first & 0x70 == 0, "reserved bits: {first:#x}");
        assert!(first & 0x80 != 0, "the server does not fragment");
        assert!(second & 0x80 == 0, "RFC 6455 §5.1: a server does not mask");
        let len = match second {
            126 => {
                let mut len = [0; 2];
                assert!(self.fill(&mut len));
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                assert!(self.fill(&mut len));
                u64::from_be_bytes(len) as usize
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        assert!(self.fill(&mut payload), "the connection ended inside a frame of {len} bytes");
        Some(Frame { opcode: first & 0x0f, payload })
    }

    /// False if the connection ended before the first byte.
    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        match self.stream.read_exact(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("nothing came in {WAIT:?}: {error}"),
        }
    }

    /// Sends a message and checks that it comes back as it was.
    pub fn echo(&mut self, opcode: u8, payload: &[u8]) {
        self.send(opcode, payload);
        let frame = self.next();
        assert_eq!(frame.opcode, opcode);
        assert!(frame.payload == payload, "{} bytes came back other than sent", payload.len());
    }

    /// Whether something comes within `time`. What comes is not lost.
    pub fn hears_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = patiently(|| self.stream.peek(&mut [0]));
        self.stream.set_read_timeout(Some(WAIT)).unwrap();
        match heard {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Closes as RFC 6455 §7.1.2 says, and checks the answer: the same code, then the end.
    pub fn close(mut self) {
        self.send(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(self.next().close_code(), 1000);
        assert_eq!(self.next_or_end(), None);
    }
}
