//! The session against RFC 6455 §5-§8, example by example; `properties.rs` has the general claims.

use super::input::Event;
use super::pace::Pace;
use super::*;
use crate::close::Violation;
use crate::encode;
use crate::limits::Limits;
use crate::opcode::Opcode;
use crate::simd::HEADROOM;
use alloc::string::{String, ToString};
use alloc::vec;

#[cfg(feature = "deflate")]
mod deflate;
mod memory;
mod properties;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event that outlives its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Discarded,
    Close(Option<u16>, String),
}

fn owned(event: Event<'_>) -> (Owned, Option<bool>) {
    match event {
        Event::Message { message: Message::Text(text), last, .. } => (Owned::Text(text.to_string()), Some(last)),
        Event::Message { message: Message::Binary(bytes), last, .. } => (Owned::Binary(bytes.to_vec()), Some(last)),
        Event::Ping(payload) => (Owned::Ping(payload.to_vec()), None),
        Event::Pong(payload) => (Owned::Pong(payload.to_vec()), None),
        Event::Discarded => (Owned::Discarded, None),
        Event::Close { code, reason } => (Owned::Close(code.map(u16::from), reason.to_string()), None),
    }
}

/// A session with its pool and limits.
struct Peer {
    session: Session,
    limits: Limits,
    pool: Pool,
    /// Asks by the short way first, as the engine does.
    short: bool,
    /// Stops after so many bytes, and goes on; 0 never.
    step: usize,
}

impl Peer {
    fn new(role: Role) -> Peer {
        Peer::limited(role, Limits::default())
    }

    fn limited(role: Role, limits: Limits) -> Peer {
        Peer { session: Session::new(role), limits, pool: Pool::new(64 << 20), short: false, step: 0 }
    }

    /// The same by the short way.
    fn short(self) -> Peer {
        Peer { short: true, ..self }
    }

    /// The same in steps of so many bytes.
    fn stepping(self, step: usize) -> Peer {
        Peer { step, ..self }
    }

    /// Everything one input gives, with the `last` of each message.
    fn feed_marked(&mut self, bytes: &[u8]) -> (Vec<(Owned, Option<bool>)>, Option<Violation>) {
        let mut input = bytes.to_vec();
        let mut events = Vec::new();
        let Peer { session, limits, pool, short, step } = self;
        let mut piece = session.input(&mut input, limits);
        let mut stop = bytes.len();
        if *step > 0 {
            stop = *step - 1;
            piece.stop_at(stop);
        }
        let mut pace = if *step > 0 { Pace::inflating(*step) } else { Pace::FREE };
        loop {
            let whole = if *short { piece.next_whole(pool) } else { Ok(None) };
            let next = match whole {
                Ok(Some((message, last))) => Ok(Some(owned(Event::Message { message, last, is_own: false }))),
                Ok(None) => piece.next_at(&mut pace, pool).map(|event| event.map(owned)),
                Err(violation) => Err(violation),
            };
            match next {
                Ok(Some(event)) => events.push(event),
                Ok(None) if piece.at() < bytes.len() || piece.is_inflating() => {
                    assert!(*step > 0 && (piece.at() >= stop || piece.is_inflating()), "{} before {stop}", piece.at());
                    stop = piece.at() + *step;
                    piece.stop_at(stop);
                }
                Ok(None) => return (events, None),
                Err(violation) => {
                    assert_eq!(piece.at(), bytes.len());
                    assert_eq!(piece.next_whole(pool), Ok(None));
                    assert_eq!(piece.next(pool), Ok(None));
                    assert!(!session.holds_buffer());
                    assert_eq!(session.state(), State::Failed);
                    // Not even what was seen is looked at again.
                    let mut again = session.input(&mut input, limits);
                    assert_eq!(again.next(pool), Ok(None));
                    assert_eq!(again.at(), bytes.len());
                    return (events, Some(violation));
                }
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Owned>, Violation> {
        match self.feed_marked(bytes) {
            (_, Some(violation)) => Err(violation),
            (events, None) => Ok(events.into_iter().map(|(event, _)| event).collect()),
        }
    }

    /// Feeds one byte at a time: the fault and the number of bytes it took.
    fn fault(&mut self, bytes: &[u8]) -> Option<(Violation, usize)> {
        (1..=bytes.len()).find_map(|len| self.feed(&bytes[len - 1..len]).err().map(|fault| (fault, len)))
    }
}

/// A frame as a client sends it to a server.
fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::append_frame(&mut out, fin, opcode, payload, Some(MaskKey::from_bytes(KEY)));
    out
}

/// A frame as a server sends it to a client.
fn plain(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::append_frame(&mut out, fin, opcode, payload, None);
    out
}

fn text(text: &str) -> Owned {
    Owned::Text(text.to_string())
}

// RFC 6455 §5.7.
#[test]
fn the_examples_of_the_rfc() {
    let mut client = Peer::new(Role::Client);
    assert_eq!(client.feed(b"\x81\x05Hello"), Ok(vec![text("Hello")]));
    assert_eq!(client.feed(b"\x01\x03Hel\x80\x02lo"), Ok(vec![text("Hello")]));
    assert_eq!(client.feed(b"\x89\x05Hello"), Ok(vec![Owned::Ping(b"Hello".to_vec())]));
    for len in [256usize, 65_536] {
        let head: &[u8] = if len == 256 { b"\x82\x7E\x01\x00" } else { b"\x82\x7F\0\0\0\0\0\x01\0\0" };
        let bytes = [head, &vec![0x5A; len]].concat();
        assert_eq!(client.feed(&bytes), Ok(vec![Owned::Binary(vec![0x5A; len])]));
    }
    let mut server = Peer::new(Role::Server);
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(server.feed(hello), Ok(vec![text("Hello")]));
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(server.feed(pong), Ok(vec![Owned::Pong(b"Hello".to_vec())]));
}

// RFC 6455 §5.1, §5.2, §5.4, §5.5: the fault shows at its byte, and ends the connection once.
#[test]
fn each_violation_ends_the_connection_once() {
    use Violation::*;
    let start = masked(false, Opcode::Text, b"a");
    let cases: [(&[u8], &[u8], Violation, usize); 15] = [
        (b"", b"\xC1", ReservedBits, 1),
        (b"", b"\xA1", ReservedBits, 1),
        (b"", b"\x91", ReservedBits, 1),
        (b"", b"\x83", ReservedOpcode, 1),
        (b"", b"\x8B", ReservedOpcode, 1),
        (b"", b"\x09", ControlFragmented, 1),
        (b"", b"\x89\xFE", ControlTooLong, 2),
        (b"", b"\x81\x05", Unmasked, 2),
        (b"", b"\x81\xFE\x00\x7D", LengthNotMinimal, 4),
        (b"", b"\x82\xFF\x80", LengthOver63Bits, 3),
        (b"", b"\x80", ContinuationWithoutStart, 1),
        (&start, b"\x81", MessageInterrupted, 1),
        (&start, b"\x02", MessageInterrupted, 1),
        (b"", b"\x88\x81", CloseTruncated, 2),
        (b"", b"\x88\x82\0\0\0\0\x03\xED", CloseCode, 8),
    ];
    for (before, bytes, violation, shown_at) in cases {
        let mut peer = Peer::new(Role::Server);
        assert_eq!(peer.feed(before), Ok(vec![]));
        assert_eq!(peer.fault(bytes), Some((violation, shown_at)), "{bytes:x?}");
        assert_eq!(peer.feed(&masked(true, Opcode::Ping, b"")), Ok(vec![]), "after a fault");
        let mut whole = Peer::new(Role::Server);
        assert_eq!(whole.feed(before), Ok(vec![]));
        assert_eq!(whole.feed(bytes), Err(violation));
    }
    let masked = masked(true, Opcode::Text, b"a");
    assert_eq!(Peer::new(Role::Client).fault(&masked), Some((Masked, 2)));
}

// RFC 6455 §10.4: a limit hit exactly passes; one more fails before any of its payload is here.
#[test]
fn limits_exact_and_one_past() {
    let limits = Limits::default().frame_max_bytes(200).message_max_bytes(300).fragments_max(3);
    let peer = || Peer::limited(Role::Server, limits);
    let piece = |fin, opcode, len| masked(fin, opcode, &vec![b'x'; len]);
    let head = |fin, opcode, len: usize| {
        let frame = piece(fin, opcode, len);
        frame[..frame.len() - len - 4].to_vec() // neither key nor payload
    };
    let start = |len| piece(false, Opcode::Binary, len);
    let end = |len| piece(true, Opcode::Continuation, len);
    let whole = |len| Ok(vec![Owned::Binary(vec![b'x'; len])]);

    assert_eq!(peer().feed(&piece(true, Opcode::Binary, 200)), whole(200));
    assert_eq!(peer().feed(&piece(true, Opcode::Binary, 201)), Err(Violation::FrameTooBig));
    assert_eq!(peer().feed(&head(true, Opcode::Binary, 201)), Err(Violation::FrameTooBig));

    assert_eq!(peer().feed(&[start(150), end(150)].concat()), whole(300));
    let over = [start(150), head(true, Opcode::Continuation, 151)].concat();
    assert_eq!(peer().feed(&over), Err(Violation::MessageTooBig));
    let narrow = limits.message_max_bytes(100);
    let mut peer_narrow = Peer::limited(Role::Server, narrow);
    assert_eq!(peer_narrow.feed(&piece(true, Opcode::Binary, 100)), whole(100));
    assert_eq!(peer_narrow.feed(&piece(true, Opcode::Binary, 101)), Err(Violation::MessageTooBig));

    // Empty fragments count, control frames do not.
    let empty = piece(false, Opcode::Continuation, 0);
    let ping = piece(true, Opcode::Ping, 0);
    let three = [start(0), ping.clone(), empty.clone(), ping.clone(), end(0)].concat();
    let pings = [Owned::Ping(vec![]), Owned::Ping(vec![]), Owned::Binary(vec![])];
    assert_eq!(peer().feed(&three), Ok(pings.to_vec()));
    let four = [&start(0)[..], &empty, &empty, &[0x80]].concat();
    assert_eq!(peer().feed(&four), Err(Violation::TooManyFragments));
    for fragments_max in [0, 1] {
        let mut one = Peer::limited(Role::Server, limits.fragments_max(fragments_max));
        assert_eq!(one.feed(&piece(true, Opcode::Binary, 1)), whole(1));
        assert_eq!(one.feed(&start(1)), Ok(vec![]));
        assert_eq!(one.feed(&[0x80]), Err(Violation::TooManyFragments));
    }
}

// RFC 6455 §8.1: text fails at its first impossible byte, in a cut frame and across fragments.
#[test]
fn text_fails_at_its_first_impossible_byte() {
    // A surrogate, an overlong form, above U+10FFFF, never valid, a lone continuation, a cut sequence.
    let bad: [(&[u8], usize); 7] = [
        (b"ok\xED\xA0\x80", 4),
        (b"ok\xE0\x80\x80", 4),
        (b"ok\xF4\x90\x80\x80", 4),
        (b"ok\xF5", 3),
        (b"ok\xC0\x80", 3),
        (b"\xCE\xBA\x80", 3),
        (b"\xE2\x82 ", 3),
    ];
    for (payload, impossible) in bad {
        let padded = [payload, b"........................"].concat();
        let mut peer = Peer::new(Role::Server);
        let fault = peer.fault(&masked(true, Opcode::Text, &padded));
        assert_eq!(fault, Some((Violation::InvalidUtf8, 6 + impossible)), "{payload:x?}");
        let mut whole = Peer::new(Role::Server);
        assert_eq!(whole.feed(&masked(true, Opcode::Text, &padded)), Err(Violation::InvalidUtf8));

        // Cut into fragments at every byte, a ping between: the ping behind the fault is never seen.
        for cut in 0..impossible {
            let first = masked(false, Opcode::Text, &padded[..cut]);
            let ping = masked(true, Opcode::Ping, b"p");
            let second = masked(false, Opcode::Continuation, &padded[cut..impossible]);
            let mut peer = Peer::new(Role::Server);
            let (events, fault) = peer.feed_marked(&[&first[..], &ping, &second, &ping].concat());
            assert_eq!(fault, Some(Violation::InvalidUtf8));
            assert_eq!(events, [(Owned::Ping(b"p".to_vec()), None)]);
            let mut peer = Peer::new(Role::Server);
            let fault = peer.fault(&[&first[..], &second].concat());
            assert_eq!(fault, Some((Violation::InvalidUtf8, first.len() + second.len())));
        }
    }
    // RFC 6455 §5.6: a fragment may end inside a character, a message may not.
    let open = masked(false, Opcode::Text, b"\xE2\x82");
    let done = masked(true, Opcode::Continuation, b"\xAC");
    let cut = masked(true, Opcode::Continuation, b"");
    assert_eq!(Peer::new(Role::Server).feed(&[&open[..], &done].concat()), Ok(vec![text("€")]));
    assert_eq!(Peer::new(Role::Server).feed(&[&open[..], &cut].concat()), Err(Violation::InvalidUtf8));
    let whole = masked(true, Opcode::Text, b"\xE2\x82");
    assert_eq!(Peer::new(Role::Server).feed(&whole), Err(Violation::InvalidUtf8));
    assert_eq!(Peer::new(Role::Server).fault(&whole), Some((Violation::InvalidUtf8, whole.len())));
}

// RFC 6455 §5.5.1, §7.4: what a close frame may say, whole and cut.
#[test]
fn close_frames() {
    let close = |payload: &[u8]| masked(true, Opcode::Close, payload);
    let cases: [(&[u8], Result<Owned, Violation>); 7] = [
        (b"", Ok(Owned::Close(None, String::new()))),
        (b"\x03\xE8", Ok(Owned::Close(Some(1000), String::new()))),
        (b"\x13\x87bye", Ok(Owned::Close(Some(4999), "bye".to_string()))),
        (b"\x03", Err(Violation::CloseTruncated)),
        (b"\x03\xEE", Err(Violation::CloseCode)),
        (b"\x13\x88", Err(Violation::CloseCode)),
        (b"\x03\xE8\xFF", Err(Violation::InvalidUtf8)),
    ];
    for (payload, expected) in cases {
        let bytes = close(payload);
        for cut in 0..bytes.len() {
            let mut peer = Peer::new(Role::Server);
            let got = peer.feed(&bytes[..cut]).and_then(|_| peer.feed(&bytes[cut..]));
            assert_eq!(got, expected.clone().map(|event| vec![event]), "cut at {cut}");
            assert!(!peer.session.holds_buffer());
        }
    }
}

// RFC 6455 §1.4, §5.5.1: nothing after a close frame is looked at, not even garbage.
#[test]
fn data_after_close_is_ignored() {
    let close = masked(true, Opcode::Close, b"\x03\xE9");
    let mut bytes = masked(false, Opcode::Text, b"never ends");
    bytes.extend_from_slice(&close);
    bytes.extend_from_slice(&masked(true, Opcode::Text, b"late"));
    bytes.extend_from_slice(&close);
    bytes.extend_from_slice(&[0xFF; 40]);
    let mut peer = Peer::new(Role::Server);
    assert_eq!(peer.feed(&bytes), Ok(vec![Owned::Close(Some(1001), String::new())]));
    assert!(peer.session.is_closed_by_peer() && !peer.session.holds_buffer());
    assert_eq!(peer.session.state(), State::CloseReceived);
    assert_eq!(peer.feed(&bytes), Ok(vec![]));
    peer.session.on_close_sent();
    assert_eq!(peer.session.state(), State::Closed);
    assert_eq!(peer.feed(&bytes), Ok(vec![]));
}

// RFC 6455 §5.5.1: after our close frame only the peer's counts; what it still sends is walked over and not kept, and its messages are
// counted.
#[test]
fn after_our_close_only_theirs_is_surfaced() {
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend_from_slice(&masked(true, Opcode::Binary, &[1; 300]));
        bytes.extend_from_slice(&masked(true, Opcode::Ping, b"ping"));
        bytes.extend_from_slice(&masked(false, Opcode::Text, b"\xFF")); // not read, so not judged
        bytes.extend_from_slice(&masked(true, Opcode::Pong, b"pong"));
        bytes.extend_from_slice(&masked(true, Opcode::Continuation, b""));
    }
    let open = bytes.len();
    bytes.extend_from_slice(&masked(true, Opcode::Close, b"\x03\xE8bye"));
    let closed = [vec![Owned::Discarded; 6], vec![Owned::Close(Some(1000), "bye".to_string())]].concat();
    for cut in 0..=bytes.len() {
        let limits = Limits::default().frame_max_bytes(10).message_max_bytes(10).fragments_max(1);
        let mut peer = Peer::limited(Role::Server, limits);
        peer.session.on_close_sent();
        let mut events = peer.feed(&bytes[..cut]).expect("valid");
        events.extend(peer.feed(&bytes[cut..]).expect("valid"));
        assert_eq!(events, closed, "cut at {cut} of {open}");
        assert_eq!(peer.session.state(), State::Closed);
        assert!(!peer.session.holds_buffer());
    }
    // The rules of the format still hold.
    let mut peer = Peer::new(Role::Server);
    peer.session.on_close_sent();
    assert_eq!(peer.feed(&[0x83]), Err(Violation::ReservedOpcode));
    let mut peer = Peer::new(Role::Server);
    peer.session.on_close_sent();
    assert_eq!(peer.feed(&[0x80]), Err(Violation::ContinuationWithoutStart));
}

// The header behind a message is read before our close frame, and must not count after it.
#[test]
fn our_close_between_two_messages_of_an_input() {
    let message = masked(true, Opcode::Binary, b"m");
    let close = masked(true, Opcode::Close, b"");
    for short in [false, true] {
        let (limits, mut pool) = (Limits::default(), Pool::new(0));
        let mut session = Session::new(Role::Server);
        let mut bytes = [&message[..], &message, &close].concat();
        let mut input = session.input(&mut bytes, &limits);
        let event = match short {
            true => input
                .next_whole(&mut pool)
                .map(|found| found.map(|(message, last)| Event::Message { message, last, is_own: false })),
            false => input.next(&mut pool),
        };
        assert_eq!(event, Ok(Some(Event::Message { message: Message::Binary(b"m"), last: false, is_own: false })));
        assert_eq!(input.at(), message.len());
        input.on_close_sent();
        if short {
            assert_eq!(input.next_whole(&mut pool), Ok(None));
        }
        assert_eq!(input.next(&mut pool), Ok(Some(Event::Discarded)));
        assert_eq!(input.next(&mut pool), Ok(Some(Event::Close { code: None, reason: "" })));
        assert_eq!(input.next(&mut pool), Ok(None));
        assert_eq!(input.at(), 2 * message.len() + close.len());
        assert_eq!(session.state(), State::Closed);
    }
}

// Whatever was read ahead, either way goes on where the other stopped.
#[test]
fn the_two_ways_take_turns_in_any_order() {
    let lens = [3, 200, 0, 70, 1];
    let bytes: Vec<u8> = lens.iter().flat_map(|&len| masked(true, Opcode::Text, &vec![b'm'; len])).collect();
    for ways in 0..1 << lens.len() {
        let (limits, mut pool) = (Limits::default(), Pool::new(0));
        let mut session = Session::new(Role::Server);
        let mut bytes = bytes.clone();
        let mut input = session.input(&mut bytes, &limits);
        for (number, &len) in lens.iter().enumerate() {
            let event = match ways >> number & 1 {
                0 => input
                    .next_whole(&mut pool)
                    .map(|found| found.map(|(message, last)| Event::Message { message, last, is_own: false })),
                _ => input.next(&mut pool),
            };
            let (message, last) = (text(&"m".repeat(len)), number + 1 == lens.len());
            assert_eq!(
                event.map(|event| event.map(owned)),
                Ok(Some((message, Some(last)))),
                "{ways:b}, message {number}"
            );
        }
        assert_eq!(input.next(&mut pool), Ok(None));
    }
}

// A caller that stops behind any event gives the bytes from there on as the next input, and misses nothing.
#[test]
fn an_input_left_early_goes_on_where_it_was() {
    let mut bytes = Vec::new();
    for _ in 0..2 {
        bytes.extend_from_slice(&masked(true, Opcode::Text, b"whole"));
        bytes.extend_from_slice(&masked(false, Opcode::Text, b"in "));
        bytes.extend_from_slice(&masked(true, Opcode::Ping, b"ping"));
        bytes.extend_from_slice(&masked(true, Opcode::Continuation, b"two"));
        bytes.extend_from_slice(&masked(true, Opcode::Text, b"whole"));
    }
    let (events, fault) = Peer::new(Role::Server).feed_marked(&bytes);
    assert_eq!((events.len(), fault), (8, None));
    for stop in 0..=events.len() {
        let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
        let mut session = Session::new(Role::Server);
        let (mut first, mut got) = (bytes.clone(), Vec::new());
        let mut input = session.input(&mut first, &limits);
        for _ in 0..stop {
            got.extend(input.next(&mut pool).expect("valid").map(owned));
        }
        let at = input.at();
        assert_eq!(first[at..], bytes[at..], "what was not walked over is as it came");
        let mut input = session.input(&mut first[at..], &limits);
        while let Some(event) = input.next(&mut pool).expect("valid") {
            got.push(owned(event));
        }
        assert_eq!(got, events, "stopped behind {stop}");
    }
}

#[test]
fn our_close_in_the_middle_of_a_message_drops_it() {
    let frame = masked(false, Opcode::Text, b"half a message");
    for cut in 0..=frame.len() {
        let mut peer = Peer::new(Role::Server);
        assert_eq!(peer.feed(&frame[..cut]), Ok(vec![]));
        peer.session.on_close_sent();
        assert_eq!(peer.feed(&frame[cut..]), Ok(vec![]));
        assert!(!peer.session.holds_buffer());
        assert_eq!(peer.feed(&masked(true, Opcode::Continuation, b"rest")), Ok(vec![Owned::Discarded]));
        let close = masked(true, Opcode::Close, b"");
        assert_eq!(peer.feed(&close), Ok(vec![Owned::Close(None, String::new())]));
    }
}

// What `last` says of the bytes behind a message.
#[test]
fn last_looks_behind_control_frames_and_fragments() {
    let message = masked(true, Opcode::Binary, b"m");
    let ping = masked(true, Opcode::Ping, b"p");
    let close = masked(true, Opcode::Close, b"");
    let start = masked(false, Opcode::Binary, b"s");
    let end = masked(true, Opcode::Continuation, b"e");
    let cut = &message[..message.len() - 1];
    let reserved = [0x83u8];
    let cases: [(&[&[u8]], bool); 11] = [
        (&[], true),
        (&[&message], false),
        (&[cut], true),
        (&[&ping], true),
        (&[&ping, &ping, &message], false),
        (&[&ping, &close, &message], true),
        (&[&start, &ping], true),
        (&[&start, &ping, &start], true), // a fault: MessageInterrupted
        (&[&start, &ping, &end], false),
        (&[&reserved, &message], true),
        (&[&end, &message], true), // a fault: ContinuationWithoutStart
    ];
    for (behind, last) in cases {
        let bytes = [&message[..], &behind.concat()].concat();
        let (events, _) = Peer::new(Role::Server).feed_marked(&bytes);
        assert_eq!(events[0], (Owned::Binary(b"m".to_vec()), Some(last)), "{bytes:x?}");
        // The same behind a fragmented message.
        let bytes = [&start[..], &end, &behind.concat()].concat();
        let (events, _) = Peer::new(Role::Server).feed_marked(&bytes);
        assert_eq!(events[0], (Owned::Binary(b"se".to_vec()), Some(last)), "{bytes:x?}");
    }
    // Nobody has us look ahead for ever: behind so many headers a message is not seen coming, and comes all the same.
    for (pings, last) in [(254, false), (255, false), (256, true)] {
        let bytes = [&message[..], &ping.repeat(pings), &message].concat();
        let (events, _) = Peer::new(Role::Server).feed_marked(&bytes);
        assert_eq!((events.len(), events[0].1, events[pings + 1].1), (pings + 2, Some(last), Some(true)), "{pings}");
    }
    // A message that is over a limit is not delivered.
    let limits = Limits::default().message_max_bytes(1);
    let bytes = [&message[..], &start, &end].concat();
    let (events, fault) = Peer::limited(Role::Server, limits).feed_marked(&bytes);
    assert_eq!(events, [(Owned::Binary(b"m".to_vec()), Some(true))]);
    assert_eq!(fault, Some(Violation::MessageTooBig));
}

/// A message that goes on has so many bytes; neither headers nor control frames nor empty fragments are any.
#[test]
fn what_has_begun_has_as_many_bytes_as_are_kept() {
    let mut peer = Peer::new(Role::Server);
    assert_eq!(peer.session.begun(), None);
    let parts = [
        (masked(false, Opcode::Text, b"half"), 0, Some(4)),
        (masked(true, Opcode::Ping, b"ping"), 4, Some(4)),
        (masked(false, Opcode::Continuation, b""), 4, Some(4)),
        (masked(true, Opcode::Continuation, b" and half"), 4, None),
        (masked(true, Opcode::Ping, b"ping"), 0, None),
        (masked(true, Opcode::Binary, b"whole"), 0, None),
    ];
    for (bytes, before, after) in parts {
        let is_control = bytes[0] & 0x8 != 0;
        for (at, byte) in bytes.iter().enumerate() {
            peer.feed(&[*byte]).expect("nothing is wrong");
            let payload = if is_control { 0 } else { (at + 1).saturating_sub(6) };
            let expected = if at + 1 == bytes.len() { after } else { Some(before + payload) };
            assert_eq!(peer.session.begun(), expected, "behind byte {at} of {bytes:?}");
        }
    }
}

// No frame is begun behind the place where the caller wants to stop; one that was begun goes on; and the frames on the way are counted.
#[test]
fn an_input_stops_before_the_next_frame() {
    let message = masked(true, Opcode::Binary, b"m");
    let (start, end) = (masked(false, Opcode::Binary, b"s"), masked(true, Opcode::Continuation, b"e"));
    let len = message.len();
    let mut bytes = [&message[..], &message, &start, &end, &message].concat();
    let (mut session, limits, mut pool) = (Session::new(Role::Server), Limits::default(), Pool::new(0));
    let mut input = session.input(&mut bytes, &limits);
    let mut pace = Pace::FREE;
    input.stop_at(0);
    assert_eq!(input.next_whole(&mut pool), Ok(None));
    assert_eq!(input.next_at(&mut pace, &mut pool), Ok(None));
    assert_eq!(input.at(), 0);
    // The first byte of the second message is before the place, so it comes; the fragments are behind.
    input.stop_at(len + 1);
    for _ in 0..2 {
        assert_eq!(input.next_whole(&mut pool), Ok(Some((Message::Binary(b"m"), false))));
    }
    assert_eq!(input.next_whole(&mut pool), Ok(None));
    assert_eq!(input.next_at(&mut pace, &mut pool), Ok(None));
    assert_eq!((input.at(), pace.take_work()), (2 * len, 0), "both were events");
    // The second fragment is not begun either, though its message is.
    input.stop_at(2 * len + 1);
    assert_eq!(input.next_at(&mut pace, &mut pool), Ok(None));
    assert_eq!((input.at(), pace.take_work()), (3 * len, 0), "a message begins");
    input.stop_at(usize::MAX);
    let Ok(Some(Event::Message { message, last: false, .. })) = input.next_at(&mut pace, &mut pool) else {
        panic!("no message")
    };
    assert_eq!(message, Message::Binary(b"se"));
    assert!(matches!(input.next_at(&mut pace, &mut pool), Ok(Some(Event::Message { last: true, .. }))));
    assert_eq!(input.next_at(&mut pace, &mut pool), Ok(None));
    assert_eq!((input.at(), pace.take_work()), (5 * len, 1), "the second fragment");
}

#[test]
fn a_session_is_one_cache_line_and_a_word() {
    let word = if cfg!(feature = "deflate") { size_of::<usize>() } else { 0 };
    assert!(size_of::<Session>() <= 64 + word, "{} bytes", size_of::<Session>());
}
