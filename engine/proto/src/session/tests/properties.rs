//! Claims about every stream: the same bytes give the same events and the same fault however they are cut.

use super::*;
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

/// One frame of a script.
#[derive(Clone, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec_of(any::<u8>(), 0..40),
        4 => vec_of(any::<u8>(), 120..132),
        1 => vec_of(any::<u8>(), 65_530..65_540),
        1 => vec_of(any::<u8>(), 4_000..9_000),
    ]
}

fn control() -> impl Strategy<Value = (Frame, Owned)> {
    (any::<bool>(), vec_of(any::<u8>(), 0..=125)).prop_map(|(ping, payload)| {
        let opcode = if ping { Opcode::Ping } else { Opcode::Pong };
        let event = if ping { Owned::Ping(payload.clone()) } else { Owned::Pong(payload.clone()) };
        (Frame { fin: true, opcode, payload }, event)
    })
}

/// A message cut into frames at any bytes, with control frames between, and the events of it all.
fn message() -> impl Strategy<Value = Vec<(Frame, Option<Owned>)>> {
    let content = prop_oneof![
        payload().prop_map(|bytes| (Owned::Binary(bytes.clone()), Opcode::Binary, bytes)),
        "\\PC{0,60}".prop_map(|text| (Owned::Text(text.clone()), Opcode::Text, text.into_bytes())),
    ];
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => vec_of((any::<u32>(), vec_of(control(), 0..2)), 0..5)];
    (content, cuts).prop_map(|((event, opcode, bytes), mut cuts)| {
        let place = |cut: &u32| *cut as usize % (bytes.len() + 1);
        cuts.sort_by_key(|(cut, _)| place(cut));
        let mut frames = Vec::new();
        let (mut from, mut opcode) = (0, opcode);
        for (cut, controls) in &cuts {
            let to = place(cut);
            frames.push((Frame { fin: false, opcode, payload: bytes[from..to].to_vec() }, None));
            frames.extend(controls.iter().cloned().map(|(frame, event)| (frame, Some(event))));
            (from, opcode) = (to, Opcode::Continuation);
        }
        let payload = bytes[from..].to_vec();
        frames.push((Frame { fin: true, opcode, payload }, Some(event)));
        frames
    })
}

fn script() -> impl Strategy<Value = Vec<(Frame, Option<Owned>)>> {
    let alone = control().prop_map(|(frame, event)| vec![(frame, Some(event))]);
    vec_of(prop_oneof![3 => message(), 1 => alone], 0..8).prop_map(|parts| parts.concat())
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

/// Where to cut: ascending, few or many.
fn cut_at(len: usize, cuts: &[u32]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut as usize % (len + 1)).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts
}

/// A network that loves the first bytes of a frame: cuts crowd where headers are.
fn cuts() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![vec_of(any::<u32>(), 0..6), vec_of(0u32..200, 0..40)]
}

fn bytes_of(role: Role, frames: &[(Frame, Option<Owned>)], key: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (frame, _)) in frames.iter().enumerate() {
        let key = MaskKey::from_bytes(key).advance(number);
        let mask = (role == Role::Server).then_some(key);
        encode::append_frame(&mut bytes, frame.fin, frame.opcode, &frame.payload, mask);
    }
    bytes
}

/// All events of the pieces, and the fault. Checks `last` in each piece against what came out of it: a message is last
/// exactly if no message follows in its piece.
fn run(peer: &mut Peer, bytes: &[u8], cuts: &[usize]) -> (Vec<Owned>, Option<Violation>) {
    let (mut all, mut fault) = (Vec::new(), None);
    for piece in cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]) {
        let (events, violation) = peer.feed_marked(piece);
        assert!(fault.is_none() || (events.is_empty() && violation.is_none()), "after a fault");
        let marks: Vec<bool> = events.iter().filter_map(|(_, last)| *last).collect();
        for (number, &last) in marks.iter().enumerate() {
            let is_last = number + 1 == marks.len();
            // Text is not read ahead.
            let unread = violation == Some(Violation::InvalidUtf8) && is_last;
            assert!(last == is_last || unread, "message {number} of {} said {last}", marks.len());
        }
        all.extend(events.into_iter().map(|(event, _)| event));
        fault = fault.or(violation);
    }
    (all, fault)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    // RFC 6455 §5.4: what was encoded comes back, in any pieces, for both roles; and nothing is held at the end.
    #[test]
    fn any_cut_gives_what_was_sent(role in role(), script in script(), key: [u8; 4], cuts in cuts(), step in 1usize..300) {
        let bytes = bytes_of(role, &script, key);
        let sent: Vec<Owned> = script.iter().filter_map(|(_, event)| event.clone()).collect();
        for cuts in [vec![0, bytes.len()], cut_at(bytes.len(), &cuts)] {
            let mut peer = Peer::new(role);
            prop_assert_eq!(run(&mut peer, &bytes, &cuts), (sent.clone(), None));
            prop_assert_eq!(run(&mut Peer::new(role).short(), &bytes, &cuts), (sent.clone(), None));
            prop_assert_eq!(run(&mut Peer::new(role).stepping(step), &bytes, &cuts), (sent.clone(), None));
            prop_assert_eq!(run(&mut Peer::new(role).short().stepping(step), &bytes, &cuts), (sent.clone(), None));
            prop_assert!(!peer.session.holds_buffer());
            prop_assert_eq!(peer.session.state(), State::Open);
        }
    }

    // One byte at a time is the hardest cut of all.
    #[test]
    fn byte_by_byte_gives_what_was_sent(role in role(), script in script(), key: [u8; 4]) {
        let bytes = bytes_of(role, &script, key);
        prop_assume!(bytes.len() < 20_000);
        let sent: Vec<Owned> = script.iter().filter_map(|(_, event)| event.clone()).collect();
        let cuts: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(run(&mut Peer::new(role), &bytes, &cuts), (sent, None));
    }

    // A stream with a byte flipped anywhere gives the same events and the same fault however it is cut, within small
    // limits too; a close frame may stand anywhere.
    #[test]
    fn faults_do_not_depend_on_the_cut(
        role in role(), script in script(), key: [u8; 4], cuts in cuts(),
        close_at: prop::sample::Index, flips in vec_of((any::<u32>(), any::<u8>()), 0..3),
        frame_max_bytes in 0u64..300, message_max_bytes in 0u64..300, fragments_max in 0u32..5, strict: bool, step in 1usize..300,
        close in prop::sample::select(vec![&b""[..], b"\x03\xE8", b"\x03", b"\x00\x01", b"\x03\xE8\xC0"]),
    ) {
        let mut script = script;
        let frame = Frame { fin: true, opcode: Opcode::Close, payload: close.to_vec() };
        script.insert(close_at.index(script.len() + 1), (frame, None));
        let mut bytes = bytes_of(role, &script, key);
        for (place, bits) in flips {
            // Half of them in the first bytes, where headers are likely.
            let len = if bits & 1 == 0 { bytes.len() } else { bytes.len().min(40) };
            bytes[place as usize % len] ^= bits;
        }
        let narrow = Limits::default().frame_max_bytes(frame_max_bytes).message_max_bytes(message_max_bytes).fragments_max(fragments_max);
        let limits = if strict { narrow } else { Limits::default() };
        let whole = run(&mut Peer::limited(role, limits), &bytes, &[0, bytes.len()]);
        let cut = run(&mut Peer::limited(role, limits), &bytes, &cut_at(bytes.len(), &cuts));
        prop_assert_eq!(&whole, &cut);
        let short = run(&mut Peer::limited(role, limits).short(), &bytes, &[0, bytes.len()]);
        prop_assert_eq!(&whole, &short);
        let short = run(&mut Peer::limited(role, limits).short(), &bytes, &cut_at(bytes.len(), &cuts));
        prop_assert_eq!(&whole, &short);
        let steps = run(&mut Peer::limited(role, limits).short().stepping(step), &bytes, &cut_at(bytes.len(), &cuts));
        prop_assert_eq!(&whole, &steps);
        if bytes.len() < 5_000 {
            let each: Vec<usize> = (0..=bytes.len()).collect();
            prop_assert_eq!(&whole, &run(&mut Peer::limited(role, limits), &bytes, &each));
        }
        for event in &whole.0 {
            if let Owned::Binary(bytes) = event {
                prop_assert!(bytes.len() as u64 <= limits.message_max_bytes);
            }
        }
    }

    // RFC 6455 §10.4: bytes of any kind neither panic nor take memory beyond what was received and the limits allow.
    #[test]
    fn random_bytes_are_bounded(
        role in role(), close_sent: bool, bytes in vec_of(prop_oneof![any::<u8>(), 0x7Eu8..0x90, 0u8..3], 0..600), cuts in cuts(),
        message_max_bytes in 0u64..3_000,
    ) {
        let limits = Limits::default().frame_max_bytes(u64::MAX).message_max_bytes(message_max_bytes).fragments_max(8);
        let mut peer = Peer::limited(role, limits);
        if close_sent {
            peer.session.on_close_sent();
        }
        let (events, _) = run(&mut peer, &bytes, &cut_at(bytes.len(), &cuts));
        let surfaced = events.iter().filter(|event| !matches!(event, Owned::Discarded)).count();
        prop_assert!(!close_sent || surfaced <= 1);
        prop_assert!(events.len() <= bytes.len() / 2);
        peer.session.recycle(&mut peer.pool);
        // One assembly and one control frame, 4 KiB each.
        prop_assert!(peer.pool.kept_bytes() <= 8_192, "{} kept", peer.pool.kept_bytes());
    }
}
