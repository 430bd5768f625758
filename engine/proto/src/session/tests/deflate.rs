//! A session with permessage-deflate (RFC 7692 §6, §7.2): what RSV1 means, in any pieces, within any limits.

use super::*;
use crate::deflate::{Agreed, Deflater, Scratch, Settings, Shared};
use flate2::{Compress, Compression, FlushCompress};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

fn agreed(takeover: bool) -> Agreed {
    Agreed {
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        server_window_bits: 15,
        client_window_bits: 15,
    }
}

fn peer(role: Role, takeover: bool, limits: Limits) -> Peer {
    Peer {
        session: Session::with_deflate(role, &agreed(takeover)),
        limits,
        pool: Pool::new(64 << 20),
        short: takeover,
        step: 0,
    }
}

/// What a client compresses with: another implementation.
fn deflate(stream: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1000);
    stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("room");
    out.truncate(out.strip_suffix(&[0, 0, 0xFF, 0xFF]).map_or(0, <[u8]>::len));
    out
}

fn fresh() -> Compress {
    Compress::new(Compression::new(9), false)
}

/// A compressed message in frames of these payload lengths and one with the rest.
fn frames(role: Role, opcode: Opcode, payload: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut out, mut from, mut first) = (Vec::new(), 0, true);
    let ends = cuts.iter().map(|&cut| (cut, false)).chain([(payload.len(), true)]);
    for (to, fin) in ends {
        let opcode = if first { opcode } else { Opcode::Continuation };
        let mask = (role == Role::Server).then_some(MaskKey::from_bytes(KEY).advance(from));
        let at = out.len();
        encode::append_frame(&mut out, fin, opcode, &payload[from..to], mask);
        if first {
            encode::mark_compressed(&mut out[at..], opcode);
        }
        (from, first) = (to, false);
    }
    out
}

fn one(payload: &[u8]) -> Vec<u8> {
    frames(Role::Server, Opcode::Binary, payload, &[])
}

// RFC 7692 §7.2.3.1-5, as a client's frames and as a server's.
#[test]
fn the_examples_of_rfc_7692() {
    let hello = Ok(vec![text("Hello")]);
    let mut client = peer(Role::Client, true, Limits::default());
    assert_eq!(client.feed(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), hello);
    assert_eq!(client.feed(b"\xc1\x05\xf2\x00\x11\x00\x00"), hello);
    assert_eq!(client.feed(b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"), hello);
    assert_eq!(client.feed(b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), hello);
    assert_eq!(client.feed(b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), hello);
    assert_eq!(client.feed(b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), hello);
    assert_eq!(client.feed(b"\x81\x05Hello"), hello); // any message may be plain (§6)
    let mut server = peer(Role::Server, false, Limits::default());
    for cuts in [&[][..], &[1], &[0, 3, 3, 7]] {
        let payload = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(server.feed(&frames(Role::Server, Opcode::Text, payload, cuts)), hello);
    }
    // Without context takeover a reference to the message before is none.
    assert_eq!(server.feed(&one(b"\xf2\x00\x11\x00\x00")), Err(Violation::BrokenDeflate));
}

// RFC 7692 §6.1: RSV1 on the first frame alone; §5: without the extension nowhere (see `the_examples_of_the_rfc`'s twin).
#[test]
fn rsv1_anywhere_else_is_1002() {
    let start = {
        let mut frame = masked(false, Opcode::Text, b"\xf2\x48");
        encode::mark_compressed(&mut frame, Opcode::Text);
        frame
    };
    let with_rsv1 = |mut frame: Vec<u8>| {
        frame[0] |= 0x40;
        frame
    };
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        let control = with_rsv1(masked(true, opcode, b""));
        for before in [&b""[..], &start] {
            let mut server = peer(Role::Server, false, Limits::default());
            assert_eq!(server.feed(before), Ok(vec![]));
            assert_eq!(server.fault(&control), Some((Violation::ReservedBits, 1)));
        }
    }
    let more = with_rsv1(masked(true, Opcode::Continuation, b"\xcd\xc9\xc9\x07\x00"));
    let mut server = peer(Role::Server, false, Limits::default());
    assert_eq!(server.feed(&start), Ok(vec![]));
    assert_eq!(server.fault(&more), Some((Violation::ReservedBits, 1)));
    // A plain message may not become a compressed one.
    let mut server = peer(Role::Server, false, Limits::default());
    assert_eq!(server.feed(&masked(false, Opcode::Text, b"a")), Ok(vec![]));
    assert_eq!(server.fault(&more), Some((Violation::ReservedBits, 1)));
    assert_eq!(Peer::new(Role::Server).fault(&start), Some((Violation::ReservedBits, 1)));
}

// RFC 6455 §8.1, RFC 7692 §6.2: it is what comes out that must be text, however it was cut on the way.
#[test]
fn text_is_checked_when_it_is_inflated() {
    for (bytes, valid) in [("дорого €".as_bytes(), true), (b"caf\xc3", false), (b"\xff", false), (b"", true)] {
        let payload = deflate(&mut fresh(), bytes);
        for cuts in [&[][..], &[1], &[payload.len()]] {
            let mut server = peer(Role::Server, false, Limits::default());
            let got = server.feed(&frames(Role::Server, Opcode::Text, &payload, cuts));
            match valid {
                true => assert_eq!(got, Ok(vec![text(core::str::from_utf8(bytes).expect("valid"))])),
                false => assert_eq!(got, Err(Violation::InvalidUtf8)),
            }
            let mut server = peer(Role::Server, false, Limits::default());
            let got = server.feed(&frames(Role::Server, Opcode::Binary, &payload, cuts));
            assert_eq!(got, Ok(vec![Owned::Binary(bytes.to_vec())]));
        }
    }
}

// RFC 6455 §10.4, RFC 7692 §8: 1000:1 in one frame and in fragments, with a window kept and without: the limit passes, one
// byte less of it is 1009. What is announced is never allocated, and what is held never exceeds the limit.
#[test]
fn bombs_stop_at_the_limit() {
    let content = vec![0u8; 4 << 20];
    let payload = deflate(&mut fresh(), &content);
    assert!(payload.len() * 900 < content.len());
    let limits = |message_max_bytes| Limits::default().message_max_bytes(message_max_bytes).inflate_ratio_max(u32::MAX);
    let middle = payload.len() / 2;
    for takeover in [false, true] {
        for cuts in [&[][..], &[1], &[middle, middle, middle + 5]] {
            let bytes = frames(Role::Server, Opcode::Binary, &payload, cuts);
            let mut at = peer(Role::Server, takeover, limits(content.len() as u64));
            assert!(at.feed(&bytes) == Ok(vec![Owned::Binary(content.clone())]));
            let mut over = peer(Role::Server, takeover, limits(content.len() as u64 - 1));
            assert_eq!(over.feed(&bytes), Err(Violation::MessageTooBig));
            assert_eq!(Violation::MessageTooBig.close_code().as_u16(), 1009);
            assert!(over.pool.kept_bytes() <= content.len() + (64 << 10), "{}", over.pool.kept_bytes());
            let mut guarded = peer(Role::Server, takeover, Limits::default());
            assert_eq!(guarded.feed(&bytes), Err(Violation::InflatedTooMuch));
            assert!(guarded.pool.kept_bytes() <= (4 << 20) + (64 << 10));
        }
    }
    // A bomb with a window behind it: each message small, the second a repetition of the first.
    let (mut stream, part) = (fresh(), vec![7u8; 1 << 20]);
    let mut server = peer(Role::Server, true, limits(1 << 20));
    for _ in 0..3 {
        let payload = deflate(&mut stream, &part);
        assert!(server.feed(&one(&payload)) == Ok(vec![Owned::Binary(part.clone())]));
    }
    let payload = deflate(&mut stream, &[&part[..], b"x"].concat());
    assert_eq!(server.feed(&one(&payload)), Err(Violation::MessageTooBig));
    // What does not compress is longer as it is sent, and may be: whole, or in frames.
    let mut random = 1u64;
    let mut byte = || {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (random >> 56) as u8
    };
    let noise: Vec<u8> = (0..1000).map(|_| byte()).collect();
    let payload = deflate(&mut fresh(), &noise);
    assert!(payload.len() > 1000);
    for cuts in [&[][..], &[1], &[400, 999]] {
        let both = limits(1000).frame_max_bytes(1000);
        let bytes = frames(Role::Server, Opcode::Binary, &payload, cuts);
        assert_eq!(peer(Role::Server, false, both).feed(&bytes), Ok(vec![Owned::Binary(noise.clone())]), "{cuts:?}");
        let less = limits(999).frame_max_bytes(1000);
        assert_eq!(peer(Role::Server, false, less).feed(&bytes), Err(Violation::MessageTooBig), "{cuts:?}");
    }
    // But bounded all the same: no header may announce more than this.
    for (len, fits) in [(1000 + 125 + 1024, true), (1000 + 125 + 1025, false)] {
        let mut server = peer(Role::Server, false, limits(1000));
        let header = &frames(Role::Server, Opcode::Binary, &vec![0; len], &[])[..8];
        assert_eq!(server.feed(header).is_ok(), fits, "{len} bytes announced");
    }
    let mut server = peer(Role::Server, false, Limits::default().fragments_max(2));
    let bytes = frames(Role::Server, Opcode::Binary, &payload, &[1, 2]);
    assert_eq!(server.feed(&bytes), Err(Violation::TooManyFragments));
}

// RFC 6455 §5.5.1: after our Close messages are walked over; a broken one is nobody's business then.
#[test]
fn nothing_is_inflated_after_our_close() {
    let mut server = peer(Role::Server, true, Limits::default());
    server.session.on_close_sent();
    let bytes = [one(b"\xff\xff"), frames(Role::Server, Opcode::Text, b"\x06\x06\x06", &[1, 2])].concat();
    assert_eq!(server.feed(&bytes), Ok(vec![Owned::Discarded; 2]));
    assert_eq!(server.feed(&masked(true, Opcode::Close, b"\x03\xe8")), Ok(vec![Owned::Close(Some(1000), "".into())]));
    assert!(!server.session.holds_buffer());
}

// `last` sees compressed messages behind, whole or in fragments.
#[test]
fn compressed_messages_count_as_messages_behind() {
    let payload = deflate(&mut fresh(), b"some words some words");
    let whole = one(&payload);
    let cut = frames(Role::Server, Opcode::Binary, &payload, &[3]);
    let plain = masked(true, Opcode::Binary, b"plain");
    let bytes = [&whole[..], &cut, &plain, &whole, &whole[..whole.len() - 1]].concat();
    let (events, fault) = peer(Role::Server, false, Limits::default()).feed_marked(&bytes);
    let marks: Vec<_> = events.iter().map(|(_, last)| *last).collect();
    assert_eq!((marks, fault), (vec![Some(false), Some(false), Some(false), Some(true)], None));
}

// A message that was inflated can be moved out and on, as one that came in pieces.
#[test]
fn an_inflated_message_can_be_taken() {
    let mut server = peer(Role::Server, false, Limits::default());
    let mut input = one(&deflate(&mut fresh(), b"moved, not copied"));
    let mut input = server.session.input(&mut input, &server.limits);
    let event = input.next(&mut server.pool);
    assert!(matches!(event, Ok(Some(Event::Message { .. }))));
    assert!(server.session.message_is_assembled());
    let bytes = server.session.take_message().expect("it lies in a buffer of its own");
    assert_eq!(&bytes[HEADROOM..], b"moved, not copied");
    assert_eq!(server.session.input(&mut [], &server.limits).next(&mut server.pool), Ok(None));
    assert!(!server.session.holds_buffer());
}

// Without takeover the memory of a connection at rest is nothing, and the core's inflater serves all.
#[test]
fn sessions_share_the_inflater() {
    let mut one_of_many = peer(Role::Server, false, Limits::default());
    for _ in 0..3 {
        let mut session = Session::with_deflate(Role::Server, &agreed(false));
        core::mem::swap(&mut session, &mut one_of_many.session);
        let bytes = one(&deflate(&mut fresh(), b"words words words"));
        assert_eq!(one_of_many.feed(&bytes), Ok(vec![Owned::Binary(b"words words words".to_vec())]));
        assert!(!one_of_many.session.holds_buffer());
    }
    // A window that is given back is given up: what follows cannot be read any more.
    let mut keeps = peer(Role::Server, true, Limits::default());
    assert!(keeps.feed(&one(&deflate(&mut fresh(), b"words"))).is_ok());
    keeps.session.recycle(&mut keeps.pool);
    assert_eq!(keeps.session.state(), State::Failed);
}

// RFC 7692 §8: what a peer may have beyond its ratio is used up by message after message, and comes back with those that stay below it. A
// thousand bytes that become a mebibyte could be repeated for ever.
#[test]
fn a_peer_beyond_its_ratio_uses_its_credit_up() {
    let mebibyte = 1 << 20;
    let bomb = one(&deflate(&mut fresh(), &vec![0; mebibyte]));
    let noise: Vec<u8> = (0..5_000u32).flat_map(|at| at.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    let noise = one(&deflate(&mut fresh(), &noise));
    for takeover in [false, true] {
        let mut server = peer(Role::Server, takeover, Limits::default());
        // 256 times the payload is earned, so each bomb takes some three quarters of it.
        assert!(server.feed(&bomb).is_ok());
        assert_eq!(server.feed(&bomb), Err(Violation::InflatedTooMuch));
        assert_eq!(server.session.state(), State::Failed);

        let mut server = peer(Role::Server, takeover, Limits::default());
        for _ in 0..5 {
            assert!(server.feed(&bomb).is_ok(), "what was used up has come back");
            assert!(server.feed(&noise).is_ok());
        }
        // Within its ratio a peer may go on for ever.
        let mut server = peer(Role::Server, takeover, Limits::default().inflate_ratio_max(1_100));
        assert!((0..20).all(|_| server.feed(&bomb).is_ok()));
    }
}

// In steps: each call makes no more than was asked for, the input may be used up meanwhile, and nothing behind is looked at before.
#[test]
fn a_long_message_is_inflated_in_steps() {
    let content: Vec<u8> = (0..300_000u32).flat_map(|at| (at / 3).to_le_bytes()).collect();
    let payload = deflate(&mut fresh(), &content);
    let limits = Limits::default();
    for takeover in [false, true] {
        for cuts in [&[][..], &[100]] {
            let bytes =
                [frames(Role::Server, Opcode::Binary, &payload, cuts), masked(true, Opcode::Ping, b"behind")].concat();
            let ping = bytes.len() - 12;
            let (mut session, mut pool) = (Session::with_deflate(Role::Server, &agreed(takeover)), Pool::new(64 << 20));
            let (mut steps, mut at) = (0, 0);
            loop {
                let mut rest = bytes[at..].to_vec();
                let mut input = session.input(&mut rest, &limits);
                let mut pace = Pace::inflating(10_000);
                match input.next_at(&mut pace, &mut pool).expect("a good message") {
                    None => {}
                    Some(Event::Message { message, last, is_own }) => {
                        assert!(message == Message::Binary(&content) && last && is_own);
                        break;
                    }
                    Some(event) => panic!("{event:?}"),
                }
                steps += 1;
                at += input.at();
                assert_eq!(at, ping, "the payload was taken in, and nothing behind it");
                assert!((150..=157 + 18).contains(&pace.take_work()), "10,000 bytes, 64 for each unit");
                assert!(session.holds_buffer() && session.is_inflating() && !session.is_in_frame());
            }
            assert_eq!(steps, content.len() / 10_000);
            let mut rest = bytes[ping..].to_vec();
            assert_eq!(session.input(&mut rest, &limits).next(&mut pool), Ok(Some(Event::Ping(b"behind"))));
            assert_eq!(session.input(&mut [], &limits).next(&mut pool), Ok(None));
            assert!(!session.holds_buffer());
        }
    }
}

// A message that is being inflated is given back when nobody wants it any more, and with it the core's inflater.
#[test]
fn what_is_being_inflated_is_given_back() {
    let payload = deflate(&mut fresh(), &vec![7; 200_000]);
    for (takeover, closes) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut session, limits, mut pool) =
            (Session::with_deflate(Role::Server, &agreed(takeover)), Limits::default(), Pool::new(64 << 20));
        let mut bytes = one(&payload);
        let mut input = session.input(&mut bytes, &limits);
        assert_eq!(input.next_at(&mut Pace::inflating(1_000), &mut pool), Ok(None));
        assert!(session.is_inflating() && pool.kept_bytes() == 0);
        if closes {
            session.on_close_sent();
            assert_eq!(session.input(&mut [], &limits).next(&mut pool), Ok(None));
            assert_eq!(session.state(), State::CloseSent);
        } else {
            session.recycle(&mut pool);
            assert_eq!(session.state(), State::Failed, "a message was lost");
        }
        assert!(!session.is_inflating() && !session.holds_buffer() && pool.kept_bytes() > 0);
    }
}

/// A message with how it is sent: compressed by somebody else, or plain; and where it is cut into frames.
fn script() -> impl Strategy<Value = Vec<(Vec<u8>, bool, Vec<u32>)>> {
    let content = prop_oneof![
        4 => "[a-f]{0,200}".prop_map(String::into_bytes),
        2 => vec_of(any::<u8>(), 0..200),
        1 => (any::<u8>(), 0usize..9_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    vec_of((content, prop::bool::weighted(0.8), vec_of(any::<u32>(), 0..4)), 1..6)
}

fn stream_of(role: Role, script: &[(Vec<u8>, bool, Vec<u32>)], takeover: bool) -> (Vec<u8>, Vec<Owned>) {
    let (mut stream, mut bytes, mut sent) = (fresh(), Vec::new(), Vec::new());
    for (content, compressed, cuts) in script {
        let payload = if *compressed { deflate(&mut stream, content) } else { content.clone() };
        if !takeover {
            stream.reset();
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut as usize % (payload.len() + 1)).collect();
        cuts.sort_unstable();
        let mut message = frames(role, Opcode::Binary, &payload, &cuts);
        if !compressed {
            message[0] &= !0x40;
        }
        bytes.extend(message);
        sent.push(Owned::Binary(content.clone()));
    }
    (bytes, sent)
}

fn run(peer: &mut Peer, bytes: &[u8], cuts: &[usize]) -> (Vec<Owned>, Option<Violation>) {
    let (mut all, mut fault) = (Vec::new(), None);
    for piece in cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]) {
        let (events, violation) = peer.feed_marked(piece);
        all.extend(events.into_iter().map(|(event, _)| event));
        fault = fault.or(violation);
    }
    (all, fault)
}

fn cut_at(len: usize, cuts: &[u32]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut as usize % (len + 1)).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    // Any messages, any frames, any pieces of the stream, both roles, with takeover and without: what was sent comes out.
    #[test]
    fn any_cut_gives_what_was_compressed(
        server: bool, takeover: bool, script in script(), cuts in vec_of(any::<u32>(), 0..8), step in 1usize..500,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let (bytes, sent) = stream_of(role, &script, takeover);
        let each: Vec<usize> = (0..=bytes.len()).collect();
        for cuts in [vec![0, bytes.len()], cut_at(bytes.len(), &cuts), each] {
            let mut peer = peer(role, takeover, Limits::default());
            prop_assert_eq!(run(&mut peer, &bytes, &cuts), (sent.clone(), None));
            prop_assert!(!peer.session.holds_buffer());
            let mut stepping = self::peer(role, takeover, Limits::default()).stepping(step);
            prop_assert_eq!(run(&mut stepping, &bytes, &cuts), (sent.clone(), None));
            prop_assert!(!stepping.session.holds_buffer());
        }
    }

    // Bytes flipped anywhere, small limits: the same events and the same fault, however the stream is cut.
    #[test]
    fn faults_do_not_depend_on_the_cut_of_compressed_messages(
        takeover: bool, script in script(), cuts in vec_of(any::<u32>(), 0..8),
        flips in vec_of((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        message_max_bytes in 0u64..10_000, strict: bool, step in 1usize..500,
    ) {
        let (mut bytes, _) = stream_of(Role::Server, &script, takeover);
        for (place, bits) in flips {
            let at = place.index(bytes.len());
            bytes[at] ^= bits;
        }
        let limits = if strict { Limits::default().message_max_bytes(message_max_bytes) } else { Limits::default() };
        let whole = run(&mut peer(Role::Server, takeover, limits), &bytes, &[0, bytes.len()]);
        let pieces = run(&mut peer(Role::Server, takeover, limits), &bytes, &cut_at(bytes.len(), &cuts));
        prop_assert_eq!(&whole, &pieces);
        let steps = run(&mut peer(Role::Server, takeover, limits).stepping(step), &bytes, &cut_at(bytes.len(), &cuts));
        prop_assert_eq!(&whole, &steps);
        for event in &whole.0 {
            if let Owned::Binary(bytes) = event {
                prop_assert!(bytes.len() as u64 <= limits.message_max_bytes);
            }
        }
    }

    // Our own compressors to our own session.
    #[test]
    fn our_messages_are_read_by_us(
        takeover: bool, level in 1u8..10, window_bits in 9u8..16,
        messages in vec_of("[a-d]{20,400}", 1..6),
    ) {
        let settings = Settings::dedicated().level(level).window_bits(window_bits);
        let (mut scratch, mut pool) = (Scratch::new(), Pool::new(1 << 20));
        let mut dedicated = Deflater::new(&settings, agreed(takeover).of(Role::Server)).expect("a window");
        let mut shared = Shared::new(&settings);
        let mut client = peer(Role::Client, takeover, Limits::default());
        for message in &messages {
            let own = dedicated.message(message.as_bytes(), &mut scratch, &mut pool).map(<[u8]>::to_vec);
            let each = shared.message(message.as_bytes(), window_bits, &mut scratch, &mut pool).map(<[u8]>::to_vec);
            for payload in own.into_iter().chain(each.filter(|_| !takeover)) {
                let mut out = vec![0; 1000];
                let len = encode::compressed_frame(&mut out, Opcode::Text, &payload, None).expect("room");
                prop_assert_eq!(client.feed(&out[..len]), Ok(vec![text(message)]));
            }
        }
    }
}
