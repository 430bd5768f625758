//! wsring-proto and tungstenite read the same messages out of the same bytes, and refuse the same bytes.
//!
//! Where they may differ, and why:
//! - After a Close tungstenite only waits for the end of the connection: both are compared up to the first Close.
//! - wsring refuses at the first impossible byte (RFC 6455 §8.1), tungstenite at the end of the frame: it gets zeros to that end.
//! - tungstenite takes lengths in more bytes than they need (RFC 6455 §5.2) and close codes that may not be sent (§7.4.1).
#![no_main]

use std::io::{self, Cursor, Read, Write};

use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Role as Side, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message as Theirs};
use wsring_proto::{Event, Limits, Message, Pool, Role, Session, Violation};

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close,
}

/// How a reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Close,
    Refused(String),
    /// The bytes are used up.
    More,
}

const LIMIT: usize = 1 << 16;

fn ours(stream: &[u8], role: Role) -> (Vec<Said>, End, Option<Violation>) {
    let limits =
        Limits::default().frame_max_bytes(LIMIT as u64).message_max_bytes(LIMIT as u64).fragments_max(u32::MAX);
    let (mut session, mut pool, mut bytes) = (Session::new(role), Pool::new(0), stream.to_vec());
    let mut input = session.input(&mut bytes, &limits);
    let mut said = Vec::new();
    loop {
        said.push(match input.next(&mut pool) {
            Ok(None) => return (said, End::More, None),
            Err(violation) => return (said, End::Refused(violation.as_str().to_owned()), Some(violation)),
            Ok(Some(Event::Message { message: Message::Text(text), .. })) => Said::Text(text.to_owned()),
            Ok(Some(Event::Message { message: Message::Binary(bytes), .. })) => Said::Binary(bytes.to_vec()),
            Ok(Some(Event::Ping(payload))) => Said::Ping(payload.to_vec()),
            Ok(Some(Event::Pong(payload))) => Said::Pong(payload.to_vec()),
            Ok(Some(Event::Close { .. })) => {
                said.push(Said::Close);
                return (said, End::Close, None);
            }
            Ok(Some(event)) => panic!("an event that this target does not know: {event:?}"),
        });
    }
}

/// Bytes to read; what is written is of no interest.
struct Line<'a>(Cursor<&'a [u8]>);

impl Read for Line<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(stream: &[u8], role: Side) -> (Vec<Said>, End) {
    let config = WebSocketConfig::default().max_frame_size(Some(LIMIT)).max_message_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Line(Cursor::new(stream)), role, Some(config));
    let mut said = Vec::new();
    loop {
        said.push(match socket.read() {
            Ok(Theirs::Text(text)) => Said::Text(text.as_str().to_owned()),
            Ok(Theirs::Binary(bytes)) => Said::Binary(bytes.to_vec()),
            Ok(Theirs::Ping(payload)) => Said::Ping(payload.to_vec()),
            Ok(Theirs::Pong(payload)) => Said::Pong(payload.to_vec()),
            Ok(Theirs::Close(_)) => {
                said.push(Said::Close);
                return (said, End::Close);
            }
            Ok(Theirs::Frame(_)) => unreachable!("reading never gives raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (said, End::More),
            Err(error) => return (said, End::Refused(error.to_string())),
        });
    }
}

/// What RFC 6455 forbids and tungstenite lets pass.
fn is_stricter(violation: Option<Violation>) -> bool {
    // A control frame's length in 16 bits reads as one of more than 125 bytes.
    matches!(violation, Some(Violation::LengthNotMinimal | Violation::CloseCode | Violation::ControlTooLong))
}

fuzz_target!(|data: &[u8]| {
    let [how, stream @ ..] = data else { return };
    let (role, side) = if how & 1 == 0 { (Role::Server, Side::Server) } else { (Role::Client, Side::Client) };
    let (our_said, our_end, violation) = ours(stream, role);
    let (their_said, their_end) = theirs(stream, side);
    match (&our_end, &their_end) {
        (End::Refused(_), _) if is_stricter(violation) => {
            assert!(their_said.starts_with(&our_said), "{our_end:?}, {our_said:?}, {their_said:?}");
        }
        (End::Refused(_), End::Refused(_)) | (End::More, End::More) | (End::Close, End::Close) => {
            assert_eq!(our_said, their_said, "{our_end:?}, {their_end:?}");
        }
        // Refused at the first impossible byte, where they read on to the end of the frame: give them one.
        (End::Refused(_), End::More) => {
            let longer = [stream, &[0; LIMIT + 16]].concat();
            let (their_said, their_end) = theirs(&longer, side);
            assert!(matches!(their_end, End::Refused(_)), "{our_end:?}, {their_end:?}, {our_said:?}, {their_said:?}");
            assert!(their_said.starts_with(&our_said), "{our_end:?}, {our_said:?}, {their_said:?}");
        }
        _ => panic!("{our_end:?}, {their_end:?}, {our_said:?}, {their_said:?}"),
    }
});
