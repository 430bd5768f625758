//! The same bytes, cut anywhere, are the same events and the same violation at the end, in both roles and under any limits.
//!
//! The first four bytes choose role, limits, and how the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsring_proto::{Event, Limits, Message, Pool, Role, Session, State};

/// What a session said, in a form that outlives it.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Discarded,
    Close(Option<u16>, String),
    Violation(u16, String),
}

struct Reader {
    session: Session,
    limits: Limits,
    pool: Pool,
    said: Vec<Said>,
    /// Asks by the short way first, as the engine does.
    short: bool,
    /// Our Close has been sent.
    closed: bool,
}

impl Reader {
    fn new(role: Role, limits: Limits, short: bool, closed: bool) -> Self {
        let mut session = Session::new(role);
        if closed {
            session.on_close_sent();
        }
        Self { session, limits, pool: Pool::new(1 << 16), said: Vec::new(), short, closed }
    }

    /// False once nothing more can come.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        // In place: the decoder unmasks where the bytes lie. Cut off exactly, so that one byte too far is found.
        let mut bytes = bytes.to_vec().into_boxed_slice();
        let Self { session, limits, pool, .. } = self;
        let mut input = session.input(&mut bytes, limits);
        loop {
            let whole = match self.short {
                true => input.next_whole(pool),
                false => Ok(None),
            };
            let event = match whole {
                Ok(Some((message, last))) => Ok(Some(Event::Message { message, last, is_own: false })),
                Ok(None) => input.next(pool),
                Err(violation) => Err(violation),
            };
            let event = match event {
                Ok(None) => return true,
                Ok(Some(event)) => event,
                Err(violation) => {
                    let text = violation.as_str().to_owned();
                    self.said.push(Said::Violation(violation.close_code().as_u16(), text));
                    return false;
                }
            };
            let said = match event {
                Event::Message { message, .. } => {
                    let bytes = message.as_bytes();
                    assert!(bytes.len() as u64 <= limits.message_max_bytes, "a message over the limit");
                    Said::Message(matches!(message, Message::Text(_)), bytes.to_vec())
                }
                Event::Ping(payload) => Said::Ping(payload.to_vec()),
                Event::Pong(payload) => Said::Pong(payload.to_vec()),
                Event::Discarded => Said::Discarded,
                Event::Close { code, reason } => Said::Close(code.map(|code| code.as_u16()), reason.to_owned()),
                event => panic!("an event that this target does not know: {event:?}"),
            };
            // RFC 6455 §5.5.1: behind our Close only the peer's counts, and nothing follows that.
            let counts = matches!(said, Said::Discarded | Said::Close(..));
            assert!(counts == self.closed || matches!(said, Said::Close(..)), "{said:?}, closed: {}", self.closed);
            assert!(!matches!(self.said.last(), Some(Said::Close(..))), "{said:?} behind a Close");
            self.said.push(said);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [how, limit, first, second, stream @ ..] = data else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let small = u64::from(*limit) * 4;
    let limits = match how >> 1 & 3 {
        0 => Limits::default(),
        1 => Limits::default().frame_max_bytes(small),
        2 => Limits::default().message_max_bytes(small),
        _ => Limits::default().frame_max_bytes(small).message_max_bytes(small * 2).fragments_max(u32::from(limit & 7)),
    };
    let closed = how & 32 != 0;
    let mut whole = Reader::new(role, limits, how & 16 == 0, closed);
    whole.feed(stream);
    // One byte at a time, or pieces of two lengths by turns.
    let lens = if how & 8 == 0 { [1, 1] } else { [usize::from(*first) + 1, usize::from(*second) + 1] };
    let mut cut = Reader::new(role, limits, how & 16 != 0, closed);
    let mut rest = stream;
    for len in lens.into_iter().cycle() {
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        if !cut.feed(piece) || rest.is_empty() {
            break;
        }
    }
    assert_eq!(whole.said, cut.said, "{role:?} {limits:?}, cut at {lens:?}");
    assert_eq!(whole.session.state(), cut.session.state());
    let failed = matches!(whole.said.last(), Some(Said::Violation(..)));
    assert_eq!(failed, whole.session.state() == State::Failed);
    // Memory is what has come, not what was announced: RFC 6455 §10.4.
    whole.session.recycle(&mut whole.pool);
    assert!(!whole.session.holds_buffer(), "a buffer is still held");
});
