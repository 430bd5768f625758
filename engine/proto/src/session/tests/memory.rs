//! The memory of a session: what is taken, moved out and given back.

use super::*;

// RFC 6455 §10.4: a peer that announces much and sends little costs little.
#[test]
fn memory_follows_the_bytes_received() {
    let frame = masked(true, Opcode::Binary, &vec![7; 16 << 20]);
    let mut peer = Peer::new(Role::Server);
    assert_eq!(peer.feed(&frame[..14]), Ok(vec![]));
    assert!(!peer.session.holds_buffer(), "a header alone needs no memory");
    assert_eq!(peer.feed(&frame[14..15]), Ok(vec![]));
    assert!(peer.session.holds_buffer());
    peer.session.recycle(&mut peer.pool);
    assert!(peer.pool.kept_bytes() <= 4096, "{} kept", peer.pool.kept_bytes());

    for received in [5_000, 100_000, 1_000_000] {
        let mut peer = Peer::new(Role::Server);
        for piece in frame[..received].chunks(1_000) {
            assert_eq!(peer.feed(piece), Ok(vec![]));
        }
        peer.session.recycle(&mut peer.pool);
        let kept = peer.pool.kept_bytes();
        assert!(kept <= 2 * received + 4096, "{kept} kept for {received} received");
        assert_eq!(peer.session.state(), State::Failed, "the place in the stream is lost");
    }
}

// A message in pieces is moved out with room for a header in front, and sent on without a copy.
#[test]
fn an_assembled_message_is_moved_out() {
    let payload = vec![b'm'; 1000];
    let frame = masked(true, Opcode::Text, &payload);
    let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
    let mut session = Session::new(Role::Server);
    let (mut first, mut second) = (frame[..500].to_vec(), frame[500..].to_vec());
    assert_eq!(session.input(&mut first, &limits).next(&mut pool), Ok(None));
    assert!(session.holds_buffer() && !session.message_is_assembled());
    let mut input = session.input(&mut second, &limits);
    let event = input.next(&mut pool).expect("valid");
    assert!(matches!(event, Some(Event::Message { message: Message::Text(_), last: true, is_own: true })));
    assert!(session.message_is_assembled());
    let mut bytes = session.take_message().expect("assembled");
    assert_eq!(&bytes[HEADROOM..], &payload[..]);
    let start = encode::write_head(&mut bytes, HEADROOM, true, Opcode::Text, payload.len(), None);
    assert_eq!(&bytes[start..], &plain(true, Opcode::Text, &payload)[..]);
    assert!(session.take_message().is_none() && !session.message_is_assembled());
    assert!(!session.holds_buffer());
    assert_eq!(session.input(&mut [], &limits).next(&mut pool), Ok(None));

    // Not taken: the next call gives it back.
    assert_eq!(session.input(&mut frame[..500].to_vec(), &limits).next(&mut pool), Ok(None));
    let mut second = frame[500..].to_vec();
    assert!(session.input(&mut second, &limits).next(&mut pool).is_ok_and(|event| event.is_some()));
    assert!(session.holds_buffer() && pool.kept_bytes() == 0);
    assert_eq!(session.input(&mut [], &limits).next(&mut pool), Ok(None));
    assert!(!session.holds_buffer() && pool.kept_bytes() > 0);

    // In one piece it is borrowed, and there is nothing to take.
    let mut whole = frame.clone();
    assert!(session.input(&mut whole, &limits).next(&mut pool).is_ok_and(|event| event.is_some()));
    assert!(!session.message_is_assembled() && session.take_message().is_none());
}

// From 64 KiB on a masked message that ends its input can be moved out too; what has a byte less, others behind it, or no mask,
// is borrowed.
#[test]
fn a_long_whole_message_is_moved_out() {
    const LONG: usize = 64 << 10;
    let letters = |len| "я".repeat(len / 2).into_bytes();
    let is_own = |role, input: &[u8], expected: &[u8], text| {
        let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
        let mut session = Session::new(role);
        let mut input = input.to_vec();
        let event = session.input(&mut input, &limits).next(&mut pool).map(|event| event.map(owned));
        let message = match event {
            Ok(Some((Owned::Text(message), Some(_)))) if text => message.into_bytes(),
            Ok(Some((Owned::Binary(message), Some(_)))) if !text => message,
            other => panic!("{other:?}"),
        };
        assert!(message == expected);
        let is_own = session.message_is_assembled();
        assert_eq!(is_own, session.holds_buffer());
        let taken = session.take_message();
        assert!(is_own == taken.is_some() && taken.is_none_or(|bytes| bytes[HEADROOM..] == *expected));
        is_own
    };
    for (payload, opcode) in [
        (vec![0xFF; LONG], Opcode::Binary),
        (vec![b'm'; LONG], Opcode::Text),
        (letters(LONG), Opcode::Text),
        (vec![b'm'; LONG + 77], Opcode::Text),
    ] {
        let text = opcode == Opcode::Text;
        let frame = masked(true, opcode, &payload);
        assert!(is_own(Role::Server, &frame, &payload, text));
        assert!(!is_own(Role::Server, &[&frame[..], &frame[..1]].concat(), &payload, text), "others are behind it");
        assert!(!is_own(Role::Client, &plain(true, opcode, &payload), &payload, text), "no mask");
        let shorter = masked(true, opcode, &payload[..LONG - 2]);
        assert!(!is_own(Role::Server, &shorter, &payload[..LONG - 2], text));
    }

    // RFC 6455 §8.1: what is not text fails, and its memory comes back.
    let mut broken = letters(LONG);
    broken.pop();
    broken.push(b'm');
    let mut peer = Peer::new(Role::Server);
    assert_eq!(peer.feed(&masked(true, Opcode::Text, &broken)), Err(Violation::InvalidUtf8));
    assert!(!peer.session.holds_buffer() && peer.pool.kept_bytes() > LONG);
}

// Who does not call again soon gives back what was handed out, and nothing of what is still arriving.
#[test]
fn a_message_handed_out_is_given_back_before_the_next_call() {
    let frame = masked(true, Opcode::Text, &[b'm'; 1000]);
    let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
    let mut session = Session::new(Role::Server);
    assert_eq!(session.input(&mut frame[..500].to_vec(), &limits).next(&mut pool), Ok(None));
    session.give_back(&mut pool);
    assert!(session.holds_buffer() && pool.kept_bytes() == 0);
    let event = session.input(&mut frame[500..].to_vec(), &limits).next(&mut pool).map(|event| event.map(owned));
    assert_eq!(event, Ok(Some((text(&"m".repeat(1000)), Some(true)))));
    assert!(session.holds_buffer());
    session.give_back(&mut pool);
    assert!(!session.holds_buffer() && pool.kept_bytes() > 0 && session.state() == State::Open);
    let event = session.input(&mut frame.clone(), &limits).next(&mut pool).map(|event| event.map(owned));
    assert_eq!(event, Ok(Some((text(&"m".repeat(1000)), Some(true)))));
}

// Only what must be kept is: a payload that starts with its input is borrowed, though its header came before.
#[test]
fn a_payload_behind_a_cut_header_is_borrowed() {
    let frame = masked(true, Opcode::Text, b"all of it");
    for cut in 1..=6 {
        let (limits, mut pool) = (Limits::default(), Pool::new(1 << 20));
        let mut session = Session::new(Role::Server);
        assert_eq!(session.input(&mut frame[..cut].to_vec(), &limits).next(&mut pool), Ok(None));
        assert!(!session.holds_buffer());
        let mut rest = frame[cut..].to_vec();
        let event = session.input(&mut rest, &limits).next(&mut pool).map(|event| event.map(owned));
        assert_eq!(event, Ok(Some((text("all of it"), Some(true)))));
        assert!(!session.message_is_assembled() && !session.holds_buffer());
    }
}

#[test]
fn recycling_in_a_frame_fails_the_session_and_at_rest_does_not() {
    let frame = masked(true, Opcode::Ping, b"ping");
    for cut in 0..=frame.len() {
        let mut peer = Peer::new(Role::Server);
        assert_eq!(peer.feed(&frame[..cut]).map(|events| events.len()), Ok(cut / frame.len()));
        peer.session.recycle(&mut peer.pool);
        assert!(!peer.session.holds_buffer());
        let lost = cut != 0 && cut != frame.len();
        assert_eq!(peer.session.state(), if lost { State::Failed } else { State::Open });
    }
    let mut peer = Peer::new(Role::Server);
    assert_eq!(peer.feed(&masked(false, Opcode::Text, b"")), Ok(vec![]));
    peer.session.recycle(&mut peer.pool);
    assert_eq!(peer.session.state(), State::Failed, "a message was open");
}
