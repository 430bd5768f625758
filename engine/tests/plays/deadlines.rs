//! Exact behaviour in virtual time: every deadline and every limit of the configuration, by its effect on one or two peers.
//!
//! The kernel is simulated and quiet, so that a deadline may be looked at by the millisecond. Deadlines are kept in ticks of
//! 16 ms and are never early: each may be late by [`LATE`].

use std::time::Duration;

use crate::stage;
use crate::stage::{Act, Do, Play, close_of, frame, ms, open, play, quiet, text};
use wsring::ring::Time;
use wsring::ring::sim::SimConfig;
use wsring::{CloseCode, Config, Conn, ConnId, CoreCx, HeadLimits, Limits, SendBuffers, SendOutcome};
use wsring_proto::Opcode;

/// Two ticks, and what the simulated kernel takes.
const LATE: u64 = 36;

pub(crate) fn config() -> Config {
    Config::default().connections_max(8).send_buffers(SendBuffers { count: 16, bytes: 4096 })
}

/// A connection that is open.
fn conn<'c>(cx: &'c mut CoreCx<'_, Act>, id: ConnId) -> Conn<'c, Act> {
    cx.conn(id).expect("it is open")
}

pub(crate) fn assert_at(what: &str, at: Option<u64>, due: u64) {
    let at = at.unwrap_or_else(|| panic!("{what} never came, due at {due} ms"));
    assert!((due..=due + LATE).contains(&at), "{what} came at {at} ms, due at {due} ms");
}

// RFC 6455 leaves it to the server how long it waits for a handshake.
#[test]
fn a_handshake_has_until_its_deadline() {
    for timeout in [100, 3_000] {
        let config = config().handshake_timeout(ms(timeout));
        let half = open()[..40].to_vec();
        let mut dripped = vec![(10, 0, Do::Connect), (20, 0, Do::Write(half))];
        dripped.push((timeout, 0, Do::Write(b"X-More: 1\r\n".to_vec()))); // a byte more does not help
        let play = play(config.clone(), quiet(), Act::echo(), dripped, 10_000);
        // It is told (RFC 9110 §15.5.9), and has the linger time to read that; who has said nothing is not.
        let end = play.gone_at(0).expect("it is cut");
        assert!((10 + timeout + 200..=10 + timeout + 200 + 2 * LATE).contains(&end), "{play:?}");
        assert_eq!((play.status(0), play.stats.timeouts, play.stats.declined, play.stats.opened), (Some(408), 1, 1, 0));
        let silent = stage::play(config.clone(), quiet(), Act::echo(), vec![(10, 0, Do::Connect)], 10_000);
        assert_at("the cut", silent.gone_at(0), 10 + timeout);
        assert_eq!((silent.status(0), silent.stats.timeouts, silent.stats.declined), (None, 1, 0));
        // One that is complete in time stays.
        let in_time = vec![(10, 0, Do::Connect), (timeout - 1, 0, Do::Write(open()))];
        let play = stage::play(config, quiet(), Act::echo(), in_time, 10_000);
        assert!(play.status(0) == Some(101) && play.gone_at(0) >= Some(10_000), "{play:?}");
    }
}

#[test]
fn bytes_that_come_after_the_handshake_deadline_open_nothing() {
    // The rest of the head is in the receive that is being cancelled: its bytes come, and mean nothing any more.
    let mut sim = quiet();
    (sim.delay_ns_max, sim.faults.cancel_loses) = (3_000_000, 1000);
    for rest_at in 110..150 {
        let config = config().handshake_timeout(ms(100));
        let rest = vec![(0, 0, Do::Connect), (rest_at, 0, Do::Write(open()))];
        let play = play(config, SimConfig { seed: rest_at, ..sim.clone() }, Act::echo(), rest, 2_000);
        assert!(play.gone_at(0).is_some(), "{play:?}");
        assert_eq!(play.stats.opened, u64::from(play.status(0).is_some()), "opened and answered, or neither");
    }
}

pub(crate) fn idle_config() -> Config {
    config().idle_timeout(ms(1_000)).pong_timeout(ms(300))
}

#[test]
fn a_silent_peer_is_pinged_and_then_cut() {
    let play = play(idle_config(), quiet(), Act::echo(), vec![(0, 0, Do::Open)], 10_000);
    let pinged = play.saw_at(0, Opcode::Ping);
    assert_at("the ping", pinged, 1_000);
    // It is told why, and has the linger time to read that.
    assert_at("the cut", play.closed_at(0), pinged.unwrap() + 300);
    assert_eq!(play.closes(0), [(Some(1001), "no answer to a ping".to_owned())]);
    assert_at("the end", play.gone_at(0), play.closed_at(0).unwrap() + 200);
    assert!(!play.was_reset(0));
    assert_eq!((play.reason(0), play.stats.timeouts), (Some("Timeout"), 1));
}

/// A quiet kernel, and a process that stands still for five seconds from then on, in a pass whose work is not submitted yet.
fn still_from(at_ms: u64) -> SimConfig {
    let pause = (Time::default().plus(ms(at_ms)), ms(5_000));
    SimConfig { pause: Some(pause), pauses_unsubmitted: true, ..quiet() }
}

// Its ping, or our Close, went out when the process went on, long after the deadline of the answer: who answered in time was cut.
#[test]
fn an_answer_has_its_time_from_when_what_it_answers_went_out() {
    let pong = (6_200, 0, Do::Write(frame(Opcode::Pong, b"")));
    let play_of = |answers: bool| {
        let steps = [(0, 0, Do::Open), pong.clone()].into_iter().take(1 + usize::from(answers));
        play(idle_config(), still_from(1_000), Act::echo(), steps.collect(), 6_900)
    };
    let answered = play_of(true);
    assert!((6_000..6_100).contains(&answered.saw_at(0, Opcode::Ping).expect("a ping")), "{answered:?}");
    assert!(answered.stats.timeouts == 0 && answered.gone_at(0) >= Some(6_900), "{answered:?}");
    let silent = play_of(false);
    assert_at("the cut", silent.closed_at(0), silent.saw_at(0, Opcode::Ping).expect("a ping") + 300);

    let play_of = |answers: bool| {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, _| cx.close(CloseCode::NORMAL, "bye"));
        let close = (5_300, 0, Do::Write(close_of(1000)));
        let steps =
            [(0, 0, Do::Open), (20, 0, Do::Write(text("go"))), close].into_iter().take(2 + usize::from(answers));
        play(config().closing_timeout(ms(500)), still_from(20), act, steps.collect(), 9_000)
    };
    let answered = play_of(true);
    assert!((5_020..5_100).contains(&answered.saw_at(0, Opcode::Close).expect("a Close")), "{answered:?}");
    assert_eq!(answered.reason(0), Some("Local { clean: true }"), "{answered:?}");
    let silent = play_of(false);
    assert_at("the cut", silent.closed_at(0), silent.saw_at(0, Opcode::Close).expect("a Close") + 500);
}

/// Between once and twice as long as it may take nothing: it was looked at when the first half was over.
pub(crate) fn assert_cut(play: &Play, at: Option<u64>, since: u64, still: u64) {
    let at = at.unwrap_or_else(|| panic!("it was never cut: {play:?}"));
    assert!(
        (since + still..=since + 2 * still + 2 * LATE).contains(&at),
        "cut at {at}, {still} ms since {since}: {play:?}"
    );
}

#[test]
fn any_byte_answers_a_ping_and_silence_counts_from_it() {
    for answer in [frame(Opcode::Pong, b""), frame(Opcode::Binary, b"x"), frame(Opcode::Binary, b"x")[..1].to_vec()] {
        let steps = vec![(0, 0, Do::Open), (1_200, 0, Do::Write(answer))];
        let play = play(idle_config(), quiet(), Act::echo(), steps, 2_450);
        assert_eq!(play.count(0, Opcode::Ping), 2, "{play:?}");
        let second = play.last_at(0, Opcode::Ping);
        assert!(second >= Some(2_200) && play.gone_at(0) >= Some(2_450), "{play:?}");
    }
}

#[test]
fn without_an_idle_timeout_nobody_is_pinged() {
    let config = idle_config().idle_timeout(None);
    let play = play(config, quiet(), Act::echo(), vec![(0, 0, Do::Open)], 3_600_000);
    assert_eq!((play.count(0, Opcode::Ping), play.stats.timeouts), (0, 0));
    assert!(play.gone_at(0) >= Some(3_600_000));
}

// The promise of `pause`: it is not timed out for silence meanwhile, also when a ping of ours is unanswered.
#[test]
fn a_paused_peer_is_not_timed_out_for_silence() {
    let mut act = Act::echo();
    act.on_wake = Box::new(|cx, now, ids| match now {
        0..1_500 => conn(cx, ids[0]).pause(),
        _ => conn(cx, ids[0]).resume(),
    });
    let pong = frame(Opcode::Pong, b"");
    let steps = vec![
        (0, 0, Do::Open),
        (1_100, 0, Do::Wake), // paused after the ping of 1000 ms
        (1_200, 0, Do::Write(pong.clone())),
        (9_000, 0, Do::Wake),
        (9_100, 0, Do::Write(frame(Opcode::Binary, b"still here"))),
    ];
    let play = play(idle_config(), quiet(), act, steps, 9_800);
    assert_eq!(play.messages(0), [b"still here".to_vec()], "{play:?}");
    assert_eq!(play.stats.timeouts, 0);
}

// ... but it must take what is queued for it, and has the idle timeout to do so, from when that is offered.
#[test]
fn a_paused_peer_has_the_idle_timeout_to_take_what_is_queued() {
    let act = || {
        let mut act = Act::echo();
        act.on_wake = Box::new(|cx, now, ids| match now {
            0..2_000 => conn(cx, ids[0]).pause(),
            _ => assert!(conn(cx, ids[0]).send(&[1_u8; 9_000]).is_queued()),
        });
        act
    };
    let sim = || SimConfig { tx_capacity: (2_000, 2_000), ..quiet() };
    // Silent since 0, paused at 100, offered something at 2900: it takes it 500 ms later and stays.
    let start = [(0, 0, Do::Open), (100, 0, Do::Wake), (200, 0, Do::Deaf), (2_900, 0, Do::Wake)];
    let takes = start.iter().cloned().chain([(3_400, 0, Do::Listen)]).collect();
    let play = stage::play(idle_config(), sim(), act(), takes, 5_000);
    assert_eq!((play.messages(0).len(), play.stats.timeouts), (1, 0), "{play:?}");
    let play = stage::play(idle_config(), sim(), act(), start.to_vec(), 9_000);
    assert_cut(&play, play.closed_at(0), 2_900, 1_000);
    assert_eq!(play.reason(0), Some("Timeout"));
}

// ... or from when it was held back in the middle of a send. Until then it was timed by what it says, and has said nothing
// since 0: that alone must not cut it at 1000, a moment after it was held back.
#[test]
fn a_peer_held_back_in_the_middle_of_a_send_has_the_idle_timeout_to_take_it() {
    let config = || idle_config().output_high_bytes(5_000).output_low_bytes(2_000);
    let sim = || SimConfig { tx_capacity: (2_000, 2_000), ..quiet() };
    for pauses in [true, false] {
        let act = || {
            let mut act = Act::echo();
            act.on_wake = Box::new(move |cx, now, ids| match now {
                0..940 => assert_eq!(conn(cx, ids[0]).send(&[1_u8; 3_000]), SendOutcome::Queued),
                _ if pauses => conn(cx, ids[0]).pause(),
                _ => assert_eq!(conn(cx, ids[0]).send(&[2_u8; 9_000]), SendOutcome::High),
            });
            act
        };
        let start = [(0, 0, Do::Open), (100, 0, Do::Deaf), (900, 0, Do::Wake), (950, 0, Do::Wake)];
        let takes = start.iter().cloned().chain([(1_800, 0, Do::Listen)]).collect();
        let play = stage::play(config(), sim(), act(), takes, 2_700);
        assert_eq!((play.messages(0).len(), play.stats.timeouts), (if pauses { 1 } else { 2 }, 0), "{play:?}");
        let play = stage::play(config(), sim(), act(), start.to_vec(), 9_000);
        assert_cut(&play, play.closed_at(0), 950, 1_000);
        assert_eq!(play.reason(0), Some("Timeout"));
    }
}

// A peer that is not read cannot answer a ping: when it is read again, its answer may lie in the socket.
#[test]
fn a_ping_before_a_peer_was_held_back_is_no_charge_against_it_later() {
    // The deadline that was set when the ping's had passed falls into this time.
    for resumed in 2_090..2_130 {
        let mut act = Act::echo();
        act.on_wake = Box::new(|cx, now, ids| match now {
            0..1_098 => assert!(conn(cx, ids[0]).send(&[1_u8; 3_000]).is_queued()),
            1_098..2_000 => conn(cx, ids[0]).pause(),
            _ => conn(cx, ids[0]).resume(),
        });
        let sim = SimConfig { tx_capacity: (2_000, 2_000), delay_ns_max: 3_000_000, seed: resumed, ..quiet() };
        let steps = vec![
            (0, 0, Do::Open), // pinged at 1000, and its answer is due at 1300
            (1_090, 0, Do::Deaf),
            (1_092, 0, Do::Wake),
            (1_100, 0, Do::Wake),
            (1_150, 0, Do::Write(frame(Opcode::Pong, b""))),
            (1_500, 0, Do::Listen),
            (resumed, 0, Do::Wake),
        ];
        let play = play(idle_config(), sim, act, steps, resumed + 300);
        assert_eq!((play.messages(0).len(), play.stats.timeouts), (1, 0), "{resumed}: {play:?}");
    }
}

// RFC 6455 §7.1.2, §7.1.4: after our Close the peer's is awaited, for so long.
#[test]
fn a_close_is_awaited_until_its_deadline() {
    let act = || {
        let mut act = Act::echo();
        act.on_wake = Box::new(|cx, _, ids| conn(cx, ids[0]).close(CloseCode::NORMAL, "enough"));
        act
    };
    let config = || config().closing_timeout(ms(700));
    let mute = vec![(0, 0, Do::Open), (100, 0, Do::Wake)];
    let play = stage::play(config(), quiet(), act(), mute, 5_000);
    assert_eq!(play.closes(0), [(Some(1000), "enough".to_owned())]);
    assert_at("the cut", play.gone_at(0), 800);
    assert_eq!((play.reason(0), play.stats.timeouts), (Some("Local { clean: false }"), 1));

    let steps = vec![(0, 0, Do::Open), (100, 0, Do::Wake), (750, 0, Do::Write(close_of(1000)))];
    let play = stage::play(config(), quiet(), act(), steps, 5_000);
    assert!(play.gone_at(0) < Some(760), "{play:?}");
    assert_eq!((play.reason(0), play.stats.timeouts), (Some("Local { clean: true }"), 0));
}

// A half-closed peer still gets what was queued, if it takes it in time.
#[test]
fn queued_output_has_the_closing_timeout_to_leave() {
    let sim = || SimConfig { tx_capacity: (2_000, 2_000), ..quiet() };
    let config = || config().closing_timeout(ms(700));
    let steps = |listen: u64| {
        vec![
            (0, 0, Do::Open),
            (10, 0, Do::Deaf),
            (20, 0, Do::Write(frame(Opcode::Binary, &[3; 9_000]))),
            (100, 0, Do::Fin),
            (listen, 0, Do::Listen),
        ]
    };
    let play = stage::play(config(), sim(), Act::echo(), steps(700), 5_000);
    assert_eq!((play.messages(0), play.reason(0)), (vec![vec![3; 9_000]], Some("Eof")), "{play:?}");
    let play = stage::play(config(), sim(), Act::echo(), steps(2_000), 5_000);
    assert!(play.messages(0).is_empty() && play.was_reset(0), "{play:?}");
}

// RFC 6455 §7.1.1: what the peer still sends must not destroy our last bytes by a reset.
#[test]
fn a_failed_peer_is_read_for_the_linger_time() {
    let bad = [frame(Opcode::Binary, b"fine"), b"\x83\x80aaaa".to_vec()].concat();
    let steps = vec![
        (0, 0, Do::Open),
        (100, 0, Do::Deaf),
        (100, 0, Do::Write(bad)),
        (150, 0, Do::Write(vec![0xff; 3_000])),
        (250, 0, Do::Write(vec![0xff; 3_000])),
        (290, 0, Do::Listen),
    ];
    let linger = |linger| config().linger(ms(linger));
    let play = stage::play(linger(200), quiet(), Act::echo(), steps.clone(), 5_000);
    assert_eq!(play.closes(0), [(Some(1002), "reserved opcode".to_owned())], "{play:?}");
    assert_at("the end", play.gone_at(0), 300);
    assert!(!play.was_reset(0) && play.stats.violations == 1);
    // A peer that ends its side is not waited for.
    let mut fin = steps[..3].to_vec();
    fin.extend([(140, 0, Do::Fin), (141, 0, Do::Listen)]);
    let play = stage::play(linger(200), quiet(), Act::echo(), fin, 5_000);
    assert!(play.gone_at(0) < Some(150), "{play:?}");
}

// RFC 6455 §7.4.1: 1001 when a server goes down.
#[test]
fn a_stop_waits_for_answers_and_not_for_ever() {
    let config = || config().stop_timeout(ms(400));
    let steps = |answer: u64| {
        vec![
            (0, 0, Do::Open),
            (0, 1, Do::Open),
            (50, 2, Do::Connect), // in the middle of its handshake
            (1_000, 0, Do::Stop),
            (answer, 0, Do::Write(close_of(1001))),
            (answer, 1, Do::Write(close_of(1001))),
        ]
    };
    let play = stage::play(config(), quiet(), Act::echo(), steps(1_200), 60_000);
    assert_eq!(play.closes(0), [(Some(1001), "server stopping".to_owned())]);
    assert_eq!(play.reason(1), Some("Stopped"));
    // A handshake is not waited for: it is answered at once, and what follows of it is discarded for a while.
    assert_eq!(play.status(2), Some(503));
    assert_at("the end of the linger", play.gone_at(2), 1_200);
    assert_at("a stop ends when everybody has answered", Some(play.ended), 1_200);
    let play = stage::play(config(), quiet(), Act::echo(), steps(30_000), 60_000);
    assert_at("the end", Some(play.ended), 1_400);
    assert_eq!((play.reason(0), play.reason(1)), (Some("Stopped"), Some("Stopped")));
}

// A stop for ever once ended at once: its deadline lay as far ahead as there are ticks, and the second that the kernel has
// after it lay beyond them, in the past.
#[test]
fn a_stop_for_ever_waits_for_answers() {
    let config = config().stop_timeout(Duration::MAX);
    let steps = vec![(0, 0, Do::Open), (1_000, 0, Do::Stop), (3_000, 0, Do::Write(close_of(1001)))];
    let play = stage::play(config, quiet(), Act::echo(), steps, 60_000);
    assert_eq!(play.closes(0), [(Some(1001), "server stopping".to_owned())]);
    assert!((3_000..3_010).contains(&play.ended), "a stop ends when everybody has answered: {}", play.ended);
}

// What a slow kernel still owes after the stop timeout is waited for, not polled for.
#[test]
fn a_stop_past_its_deadline_sleeps() {
    let sim = SimConfig { delay_ns_max: 400_000_000, ..quiet() };
    let config = config().stop_timeout(ms(100));
    let play = play(config, sim, Act::echo(), vec![(0, 0, Do::Open), (0, 1, Do::Open)], 3_000);
    assert!(play.ended > 3_100 + 2 * LATE, "the kernel was not slow: {} ms", play.ended);
    assert!(play.stats.enters < 60, "{} syscalls to wait for a handful of completions", play.stats.enters);
}

#[test]
fn one_connection_over_the_cap_is_told_503() {
    let config = config().connections_max(2);
    let echo = |peer| (300, peer, Do::Write(frame(Opcode::Text, b"here")));
    let mut steps = vec![(0, 0, Do::Open), (0, 1, Do::Open), (100, 2, Do::Open), echo(0), echo(1)];
    let play = stage::play(config.clone(), quiet(), Act::echo(), steps.clone(), 2_000);
    assert_eq!([0, 1, 2].map(|peer| play.status(peer)), [Some(101), Some(101), Some(503)]);
    assert_eq!((play.stats.full, play.messages(0).len(), play.messages(1).len()), (1, 1, 1));
    // Room again once one has left.
    steps.extend([(400, 0, Do::Reset), (500, 3, Do::Open)]);
    let play = stage::play(config, quiet(), Act::echo(), steps, 2_000);
    assert_eq!(play.status(3), Some(101));
}

#[test]
fn a_full_table_of_files_costs_the_newcomer_alone() {
    for direct_descriptors in [true, false] {
        let sim = SimConfig { sockets_max: 2, direct_descriptors, ..quiet() };
        let mut steps = vec![(0, 0, Do::Open), (0, 1, Do::Open), (100, 2, Do::Open)];
        steps.extend([(250, 0, Do::Write(frame(Opcode::Text, b"here"))), (300, 1, Do::Reset), (450, 3, Do::Open)]);
        let play = stage::play(config(), sim, Act::echo(), steps, 2_000);
        assert_eq!((play.status(2), play.status(3)), (None, Some(101)));
        assert!(play.gone_at(2) < Some(110) && play.messages(0).len() == 1);
        assert!(play.stats.accept_errors >= 1);
    }
}

// An errno that nobody listed was once tried again at once, for ever, and neither counted nor told.
#[test]
fn an_accept_that_always_fails_is_tried_now_and_then() {
    let mut sim = quiet();
    sim.faults.accept_failed = 1000;
    // Who waits is waited for by a stop, but not for longer than it may take.
    let play = play(config().stop_timeout(ms(100)), sim, Act::echo(), vec![(0, 0, Do::Open)], 2_000);
    assert_eq!((play.status(0), play.stats.accepted), (None, 0));
    assert_at("the end", Some(play.ended), 2_100);
    assert!((10..=24).contains(&play.stats.accept_errors), "{} tries in 2 s", play.stats.accept_errors);
    assert!(play.stats.passes < 80, "{} passes for that", play.stats.passes);
}

// Linux before 6.13 keeps a closed direct descriptor while an older operation goes on, as the receive of a connection at rest does.
#[test]
fn a_connection_that_ends_is_closed_beside_one_that_rests() {
    for keeps_closed_files in [false, true] {
        let sim = SimConfig { keeps_closed_files, ..quiet() };
        let mut steps = vec![(0, 0, Do::Open), (100, 1, Do::Open), (200, 1, Do::Write(close_of(1000)))];
        steps.extend([(300, 2, Do::Open), (400, 2, Do::Fin)]);
        let play = stage::play(config(), sim, Act::echo(), steps, 2_000);
        assert_at("the end of the first", play.gone_at(1), 200);
        assert_at("the end of the second", play.gone_at(2), 400);
        assert!(play.gone_at(0) >= Some(2_000), "the first one rests until the stop");
    }
}

#[test]
fn output_over_the_high_water_mark_stops_the_input_until_the_low_one() {
    let config = config().output_high_bytes(8_000).output_low_bytes(3_000);
    let sim = SimConfig { tx_capacity: (1_000, 1_000), buffers: (16, 2_000), ..quiet() };
    let message = frame(Opcode::Binary, &[1; 1_000]);
    let mut steps = vec![(0, 0, Do::Open), (10, 0, Do::Deaf)];
    steps.extend((0..60).map(|i| (20 + i, 0, Do::Write(message.clone()))));
    let before = play(config.clone(), sim.clone(), Act::echo(), steps.clone(), 500);
    // A thousand bytes are with the socket; the eighth message is the one that goes over 8000.
    assert!((8..=9).contains(&before.handled_by(0, 500)), "{} messages", before.handled_by(0, 500));
    assert!(before.writable.is_empty());
    steps.push((500, 0, Do::Listen));
    let after = play(config, sim, Act::echo(), steps, 2_000);
    assert_eq!(after.messages(0).len(), 60, "nothing is lost");
    assert!(!after.writable.is_empty() && after.writable.iter().all(|queued| *queued <= 3_000), "{:?}", after.writable);
}

#[test]
fn output_over_the_cap_is_refused() {
    // Four frames of 1000 bytes fill the cap exactly (RFC 6455 §5.2: a header of four bytes); the fifth is one too many.
    for (cap, fit) in [(4 * 1_004, 4), (4 * 1_004 - 1, 3)] {
        let config = config().output_high_bytes(2_000).output_low_bytes(1_000).output_max_bytes(cap);
        let mut act = Act::echo();
        act.on_message = Box::new(move |cx, _| {
            let answers: Vec<SendOutcome> = (0..5).map(|_| cx.send(&[2_u8; 1_000])).collect();
            let (low, high) = (SendOutcome::Queued, SendOutcome::High);
            let mut expected = vec![low, high, high, high, high];
            expected.truncate(fit);
            expected.resize(5, SendOutcome::Refused);
            assert_eq!(answers, expected);
        });
        let steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(frame(Opcode::Text, b"go")))];
        let play = play(config, quiet(), act, steps, 500);
        assert_eq!((play.messages(0).len(), play.stats.refused as usize), (fit, 5 - fit));
    }
}

// RFC 6455 §10.4, §7.4.1: a limit hit exactly passes, one more is 1009.
#[test]
fn limits_on_frames_messages_and_fragments() {
    let fragments = |sizes: &[usize]| {
        let last = sizes.len() - 1;
        let opcode = |i| {
            if i == 0 { Opcode::Binary } else { Opcode::Continuation }
        };
        let frames = sizes.iter().enumerate().map(|(i, size)| stage::piece(i == last, opcode(i), &vec![1; *size]));
        frames.collect::<Vec<_>>().concat()
    };
    let limits = Limits::default().frame_max_bytes(1_000).message_max_bytes(2_500).fragments_max(4);
    let config = config().limits(limits);
    let fits: [&[usize]; 3] = [&[1_000], &[1_000, 1_000, 500], &[1, 0, 0, 1]];
    let over: [&[usize]; 3] = [&[1_001], &[1_000, 1_000, 501], &[1, 0, 0, 0, 1]];
    for (sizes, fit) in fits.map(|sizes| (sizes, true)).into_iter().chain(over.map(|sizes| (sizes, false))) {
        let steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(fragments(sizes)))];
        let play = play(config.clone(), quiet(), Act::echo(), steps, 1_000);
        let (messages, closes) = (play.messages(0).len(), play.closes(0));
        match fit {
            true => assert_eq!((messages, play.stats.violations), (1, 0), "{sizes:?}"),
            false => assert_eq!((messages, closes[0].0), (0, Some(1009)), "{sizes:?}"),
        }
    }
}

// RFC 6585 §5: 431 for a head that is too large.
#[test]
fn a_request_head_of_the_limit_passes_and_one_byte_more_does_not() {
    let len = open().len();
    for (bytes_max, status) in [(len, 101), (len - 1, 431)] {
        let config = config().head_limits(HeadLimits::default().bytes_max(bytes_max));
        let play = play(config, quiet(), Act::echo(), vec![(0, 0, Do::Open)], 1_000);
        assert_eq!(play.status(0), Some(status));
    }
}

// Who is paused in the handling of a message that came in pieces holds no memory of it: the next to send one gets that.
#[test]
fn a_paused_peer_does_not_hold_the_message_it_was_paused_for() {
    let kept = |peers: usize| {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, message| {
            assert_eq!(message.as_bytes().len(), 40_000);
            cx.pause();
        });
        let open = (0..peers).map(|peer| (0, peer, Do::Open));
        let write = (0..peers).map(|peer| {
            let at = 100 + 10 * peer as u64;
            (at, peer, Do::Write(frame(Opcode::Binary, &[7; 40_000])))
        });
        let play = play(config(), quiet(), act, open.chain(write).collect(), 1_000);
        assert_eq!(play.stats.messages, peers as u64);
        play.pool_bytes
    };
    assert!(kept(1) > 40_000, "it came in pieces");
    assert!(kept(8) < 2 * kept(1));
}

#[test]
fn the_pool_keeps_no_more_than_its_limit() {
    let large = stage::piece(true, Opcode::Binary, &vec![1; 60_000]);
    let steps = vec![(0, 0, Do::Open), (100, 0, Do::Write(large))];
    let kept = |pool_max_bytes| {
        let play = play(config().pool_max_bytes(pool_max_bytes), quiet(), Act::echo(), steps.clone(), 1_000);
        assert_eq!(play.messages(0).len(), 1);
        play.pool_bytes
    };
    assert_eq!(kept(0), 0);
    assert!((4_096..=100_000).contains(&kept(100_000)));
    let kept = kept(1 << 20);
    assert!(kept >= 60_000, "the buffer of the large message is kept for the next: {kept}");
}

#[test]
fn nothing_arrives_out_of_nothing() {
    let play: Play = play(config(), quiet(), Act::echo(), vec![(0, 0, Do::Open), (10, 0, Do::Write(text("a")))], 100);
    assert_eq!(play.messages(0), [b"a".to_vec()]);
    assert_eq!(play.stats.messages, 1);
    assert!(Duration::from_millis(play.ended) >= ms(100));
}

/// A receive in vain in fewer than one pass of four. With receives that go on until they find no buffer it is one in each pass;
/// with as many tried as ever, two in three.
#[test]
fn a_shortage_of_receive_buffers_is_no_storm() {
    const PEERS: usize = 32;
    for (count, len) in [(20, 4_000), (4, 60_000), (300, 100)] {
        let message = frame(Opcode::Binary, &vec![7; len]);
        let open = (0..PEERS).map(|peer| (peer as u64, peer, Do::Open));
        let steps = open.chain((0..PEERS).map(|peer| (100, peer, Do::Write(message.repeat(count))))).collect();
        let sim = SimConfig { buffers: (2, 8 << 10), incremental: true, ..quiet() };
        let config = config().connections_max(PEERS as u32);
        let play = play(config, sim, Act::echo(), steps, 2_000);
        for peer in 0..PEERS {
            assert!(play.messages(peer) == vec![vec![7; len]; count], "{count} messages of {len} bytes to peer {peer}");
        }
        let stats = play.stats;
        assert!(stats.starved > 0, "{stats}");
        assert!(stats.starved < stats.passes / 4, "{count} messages of {len} bytes: {stats}");
    }
}

/// What was not sent is the application's: our own Close, which comes last, is none of it.
#[test]
fn what_was_not_sent_is_told_without_our_close() {
    let narrow = SimConfig { tx_capacity: (1_000, 1_000), ..quiet() };
    let message = text(&"x".repeat(5_000));
    let echoed = 5_000 + 4 - 1_000; // RFC 6455 §5.2: a header of 4 bytes, without a mask; the socket has taken what it can
    // The peer closes, with everything read or with the echo still under way.
    let steps = vec![(10, 0, Do::Open), (20, 0, Do::Write(message.clone())), (30, 0, Do::Write(close_of(1000)))];
    let whole = play(config(), narrow.clone(), Act::echo(), steps.clone(), 1_000);
    assert_eq!((whole.unsent(0), whole.count(0, Opcode::Close)), (Some(0), 1));
    let deaf = [vec![(15, 0, Do::Deaf)], steps].concat();
    assert_eq!(play(config(), narrow.clone(), Act::echo(), deaf, 1_000).unsent(0), Some(echoed));
    // We close, and the peer does not answer; or it takes nothing more.
    for (deaf, unsent) in [(false, 0), (true, echoed)] {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, message| {
            assert!(cx.send(message).is_queued());
            cx.close(CloseCode::NORMAL, "that is all");
        });
        let mut steps = vec![(10, 0, Do::Open), (20, 0, Do::Write(message.clone()))];
        steps.extend(deaf.then_some((15, 0, Do::Deaf)));
        let play = play(config().closing_timeout(ms(100)), narrow.clone(), act, steps, 1_000);
        assert_eq!((play.unsent(0), play.reason(0)), (Some(unsent), Some("Local { clean: false }")));
    }
    // It breaks the protocol.
    let steps = vec![(10, 0, Do::Open), (20, 0, Do::Write(vec![0xc2, 0x80, 0, 0, 0, 0]))];
    assert_eq!(play(config(), quiet(), Act::echo(), steps, 1_000).unsent(0), Some(0));
}
