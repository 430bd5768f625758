//! Exact behaviour in virtual time of messages that begin to come and are not whole: by when they must have come further.
//!
//! The kernel is simulated and quiet; deadlines are kept in ticks of 16 ms and are never early.

use crate::stage;
use crate::stage::{Act, Do, Play, Step, frame, ms, piece, quiet, text};
use wsring::{CloseCode, Config};
use wsring_proto::Opcode;

/// Two ticks for each of two looks, and what the simulated kernel takes.
const LATE: u64 = 70;
/// From the end of a round that brought too little to the look that decides.
const MOMENT: u64 = 200;
/// What must come of a message in each round, but for the rest of it.
const LEAST: usize = 16 << 10;

/// Rounds of a second, and nobody is pinged.
fn config() -> Config {
    Config::default().connections_max(8).message_timeout(ms(1_000)).idle_timeout(None)
}

/// It was told why, a moment behind that millisecond.
fn assert_stalled(play: &Play, at: u64) {
    let at = at + MOMENT;
    let saw = play.saw_at(0, Opcode::Close).unwrap_or_else(|| panic!("no Close, due at {at} ms: {play:?}"));
    assert!((at..=at + LATE).contains(&saw), "the Close came at {saw} ms, due at {at} ms");
    assert_eq!(play.closes(0), [(Some(CloseCode::POLICY.as_u16()), "message timeout".to_owned())]);
    assert_eq!((play.reason(0), play.stats.timeouts), (Some("Stalled"), 1));
}

fn play(steps: Vec<Step>) -> Play {
    let steps = [vec![(0, 0, Do::Open)], steps].concat();
    stage::play(config(), quiet(), Act::echo(), steps, 20_000)
}

// A pong a minute held 16 MiB for ever.
#[test]
fn pongs_do_not_keep_half_a_message() {
    let mut steps = vec![(100, 0, Do::Write(piece(false, Opcode::Text, b"half")))];
    steps.extend((2..50).map(|i| (i * 100, 0, Do::Write(frame(Opcode::Pong, b"alive")))));
    assert_stalled(&play(steps), 1_100);
}

// Nor does a byte of it now and then, of its header or of its payload.
#[test]
fn a_frame_that_drips_ends() {
    for from in [0, 1, 5, 20] {
        let whole = frame(Opcode::Binary, &[1; 1_000]);
        let mut steps: Vec<Step> = vec![(100, 0, Do::Write(whole[..from].to_vec()))];
        steps.extend((0..30).map(|i| (200 + 100 * i as u64, 0, Do::Write(vec![whole[from + i]]))));
        assert_stalled(&play(steps), if from == 0 { 1_200 } else { 1_100 });
    }
}

/// Each byte shows that the peer lives, and is an answer to a ping: the frame ends nevertheless.
#[test]
fn a_frame_that_drips_a_byte_for_each_ping_ends() {
    for from in [0, 7, 20] {
        let config = config().idle_timeout(ms(120)).pong_timeout(ms(160));
        let whole = frame(Opcode::Binary, &[1; 1_000]);
        let mut steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(whole[..from].to_vec()))];
        steps.extend((0..100).map(|i| (280 + 180 * i as u64, 0, Do::Write(vec![whole[from + i]]))));
        let play = stage::play(config, quiet(), Act::echo(), steps, 20_000);
        assert!(play.count(0, Opcode::Ping) >= 4, "it was to answer some: {play:?}");
        assert_stalled(&play, if from == 0 { 1_280 } else { 1_100 });
    }
}

/// A long message on a slow link has as long again for each 16 KiB that came in time; one byte less is too little.
#[test]
fn a_slow_message_comes_through() {
    for (missing, comes) in [(0, true), (1, false)] {
        let whole = frame(Opcode::Binary, &vec![1; 3 * LEAST + 200]);
        let (head, rest) = whole.split_at(100);
        let mut steps = vec![(100, 0, Do::Write(head.to_vec()))];
        // A round begins when the last one is looked at, up to two ticks late.
        let pieces = rest.chunks(LEAST - missing).enumerate();
        steps.extend(pieces.map(|(i, bytes)| (600 + 1_030 * i as u64, 0, Do::Write(bytes.to_vec()))));
        let play = play(steps);
        if comes {
            assert_eq!((play.messages(0).len(), play.stats.timeouts), (1, 0), "{play:?}");
        } else {
            assert_stalled(&play, 1_100);
        }
    }
}

/// Each message has a clock of its own, and so has a control frame that was cut.
#[test]
fn what_is_whole_in_time_is_not_late() {
    let cut = |bytes: Vec<u8>| {
        let rest = bytes[4..].to_vec();
        [bytes[..4].to_vec(), rest]
    };
    let mut steps = Vec::new();
    for i in 0..10_u64 {
        let [half, rest] = cut(if i % 2 == 0 { text("in time") } else { frame(Opcode::Ping, b"in time") });
        steps.extend([(100 + 950 * i, 0, Do::Write(half)), (1_000 + 950 * i, 0, Do::Write(rest))]);
    }
    let play = play(steps);
    assert_eq!((play.messages(0).len(), play.count(0, Opcode::Pong), play.stats.timeouts), (5, 5, 0), "{play:?}");
}

/// While the handler does not want to read, nothing is late; from then on it has a round at least.
#[test]
fn a_pause_of_ours_is_not_the_peers() {
    let act = |resumes: u64| {
        let mut act = Act::echo();
        act.on_wake = Box::new(move |cx, now, ids| {
            if let Some(mut conn) = ids.first().and_then(|id| cx.conn(*id)) {
                if now < resumes { conn.pause() } else { conn.resume() }
            }
        });
        act
    };
    let (half, rest) = (piece(false, Opcode::Text, b"half"), piece(true, Opcode::Continuation, b" and half"));
    for resumes in [1_050, 3_000] {
        let steps = |rest_at| {
            let mut steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(half.clone())), (300, 9, Do::Wake)];
            steps.extend([(resumes, 9, Do::Wake), (rest_at, 0, Do::Write(rest.clone()))]);
            steps
        };
        // A round after the pause it is whole.
        let play = stage::play(config(), quiet(), act(resumes), steps(resumes + 900), 20_000);
        assert_eq!((play.messages(0), play.stats.timeouts), (vec![b"half and half".to_vec()], 0), "{play:?}");
        // It never is: closed within two rounds.
        let play = stage::play(config(), quiet(), act(resumes), steps(19_000), 20_000);
        assert_eq!((play.reason(0), play.stats.timeouts), (Some("Stalled"), 1), "{play:?}");
        let at = play.closed_at(0).expect("closed");
        assert!((resumes + 1_000 - LATE..=resumes + 2_000 + MOMENT + 2 * LATE).contains(&at), "closed at {at} ms");
    }
}

/// Pings go on meanwhile, by the same entry of the wheel: neither clock stops the other.
#[test]
fn a_silent_peer_with_half_a_message_is_pinged_and_closed() {
    for (idle, message) in [(300, 1_000), (1_000, 3_000), (3_000, 1_000)] {
        let config = config().idle_timeout(ms(idle)).pong_timeout(ms(10_000)).message_timeout(ms(message));
        let steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(piece(false, Opcode::Text, b"half")))];
        let play = stage::play(config, quiet(), Act::echo(), steps, 20_000);
        assert_eq!(play.count(0, Opcode::Ping), usize::from(idle < message), "{play:?}");
        assert_stalled(&play, 100 + message);
    }
}

#[test]
fn who_does_not_want_it_waits_for_ever() {
    let steps = vec![
        (0, 0, Do::Open),
        (100, 0, Do::Write(piece(false, Opcode::Text, b"half"))),
        (90_000, 0, Do::Write(piece(true, Opcode::Continuation, b""))),
    ];
    for (config, comes) in [(config().message_timeout(None), true), (config().message_timeout(ms(89_000)), false)] {
        let play = stage::play(config, quiet(), Act::echo(), steps.clone(), 100_000);
        assert_eq!(play.messages(0).len(), usize::from(comes), "{play:?}");
    }
}
