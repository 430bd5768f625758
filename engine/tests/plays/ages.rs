//! Exact behaviour in virtual time of how long connections may last, and may bring no message.
//!
//! The kernel is simulated and quiet.

use crate::stage;
use crate::stage::{Act, Do, Play, Step, frame, ms, piece, quiet, text};
use wsring::Config;
use wsring_proto::Opcode;

/// What the simulated kernel takes.
const LATE: u64 = 70;

/// Nobody is pinged. Times of the engine's are none of the application's timers, of which there are none.
fn config() -> Config {
    Config::default().connections_max(16).idle_timeout(None).message_timeout(None).timers_max(0)
}

fn silent(steps: Vec<Step>) -> Play {
    let steps = [vec![(0, 0, Do::Open)], steps].concat();
    stage::play(config().data_timeout(ms(1_000)), quiet(), Act::echo(), steps, 30_000)
}

/// It was told so at about that millisecond.
fn assert_silent(play: &Play, at: u64) {
    let saw = play.saw_at(0, Opcode::Close).unwrap_or_else(|| panic!("no Close, due at {at} ms: {play:?}"));
    assert!((at..=at + LATE).contains(&saw), "the Close came at {saw} ms, due at {at} ms");
    assert_eq!(play.closes(0), [(Some(1001), "no message came".to_owned())]);
    assert_eq!((play.reason(0), play.stats.timeouts), (Some("NoData"), 1));
}

#[test]
fn who_says_nothing_is_closed() {
    assert_silent(&silent(vec![]), 1_000);
}

// That is what the limit is for: pongs show that a peer lives, not that anybody is there.
#[test]
fn control_frames_and_parts_of_messages_are_no_messages() {
    let kinds = [frame(Opcode::Ping, b"alive"), frame(Opcode::Pong, b""), piece(false, Opcode::Continuation, b"more")];
    for (kind, bytes) in kinds.into_iter().enumerate() {
        let mut steps = vec![];
        if kind == 2 {
            steps.push((50, 0, Do::Write(piece(false, Opcode::Text, b"begun"))));
        }
        steps.extend((1..20).map(|i| (i * 100, 0, Do::Write(bytes.clone()))));
        assert_silent(&silent(steps), 1_000);
    }
}

#[test]
fn each_message_gives_it_the_whole_time_again() {
    let steps = (1..=10).map(|i| (i * 900, 0, Do::Write(text("here")))).collect();
    let play = silent(steps);
    assert_eq!(play.messages(0).len(), 10);
    assert_silent(&play, 10_000);
}

/// One that is not read when its time comes has it again, as often as that is so: here at 1, 2, 3, 4 and 5 s.
#[test]
fn a_pause_of_ours_is_not_the_peers_silence() {
    let mut act = Act::echo();
    act.on_wake = Box::new(|cx, now, ids| {
        if let Some(mut conn) = ids.first().and_then(|id| cx.conn(*id)) {
            if now < 5_000 { conn.pause() } else { conn.resume() }
        }
    });
    let steps = vec![(0, 0, Do::Open), (500, 9, Do::Wake), (5_500, 9, Do::Wake)];
    let play = stage::play(config().data_timeout(ms(1_000)), quiet(), act, steps, 30_000);
    let at = play.saw_at(0, Opcode::Close).expect("closed in the end");
    assert!((6_000..=6_500 + LATE).contains(&at), "closed at {at} ms, and read again from 5500 ms on");
}

/// Those that came at once do not end at once, and none lasts longer.
#[test]
fn connections_end_within_the_last_tenth_of_their_time() {
    let mut steps: Vec<Step> = (0..10).map(|peer| (0, peer, Do::Open)).collect();
    // What they say does not make them last.
    steps.extend((1..30).flat_map(|i| (0..10).map(move |peer| (i * 1_000, peer, Do::Write(text("here"))))));
    let play = stage::play(config().lifetime_max(ms(10_000)), quiet(), Act::echo(), steps, 30_000);
    let mut ends: Vec<u64> = (0..10).map(|peer| play.saw_at(peer, Opcode::Close).expect("none is for ever")).collect();
    ends.sort_unstable();
    println!("ends at {ends:?} ms");
    assert!(ends[0] >= 9_000 && ends[9] <= 10_000 + LATE && ends[9] - ends[0] > 200, "{ends:?}");
    for peer in 0..10 {
        assert_eq!(play.closes(peer), [(Some(1001), "connection lifetime".to_owned())]);
        assert_eq!(play.reason(peer), Some("Lifetime"));
    }
    assert_eq!(play.stats.timeouts, 0, "nobody was late");
}

#[test]
fn without_limits_they_last() {
    let play = stage::play(config(), quiet(), Act::echo(), vec![(0, 0, Do::Open)], 30_000);
    assert_eq!((play.reason(0), play.saw_at(0, Opcode::Close)), (Some("Stopped"), Some(30_000)), "{play:?}");
}
