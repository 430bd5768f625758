//! What high output does to a connection, by the millisecond: to its input, to its clock, to its pongs.

use std::cell::Cell;
use std::rc::Rc;

use crate::stage::{Act, Do, Play, Step, close_of, frame, ms, piece, play, quiet};
use wsring::ring::sim::SimConfig;
use wsring::{CloseCode, Config, Pressure, SendBuffers, SendOutcome};
use wsring_proto::Opcode;

/// Two ticks, and what the simulated kernel takes.
const LATE: u64 = 36;

fn config() -> Config {
    let send_buffers = SendBuffers { count: 16, bytes: 4096 };
    let config = Config::default().connections_max(8).send_buffers(send_buffers).idle_timeout(None);
    config.output_high_bytes(8_000).output_low_bytes(3_000).output_max_bytes(20_000)
}

/// A socket that holds a thousand bytes.
fn narrow() -> SimConfig {
    SimConfig { tx_capacity: (1_000, 1_000), buffers: (16, 2_000), ..quiet() }
}

/// A peer that reads nothing from 10 ms on, and sends so many messages of 1000 bytes from 20 ms on, one a millisecond.
fn deaf_talker(messages: u64) -> Vec<Step> {
    let message = frame(Opcode::Binary, &[1; 1_000]);
    let talk = (0..messages).map(|i| (20 + i, 0, Do::Write(message.clone())));
    [(0, 0, Do::Open), (10, 0, Do::Deaf)].into_iter().chain(talk).collect()
}

/// Echoes what is taken, and counts what is refused.
fn echo() -> (Act, Rc<Cell<usize>>) {
    let (mut act, refused) = (Act::echo(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&refused);
    act.on_message = Box::new(move |cx, message| {
        if cx.forward(message) == SendOutcome::Refused {
            count.set(count.get() + 1);
        }
    });
    (act, refused)
}

#[test]
fn a_connection_that_is_read_on_is_refused_what_is_over_the_cap() {
    let (act, refused) = echo();
    let config = config().pressure_accepted(Pressure::ReadOn);
    let mut steps = deaf_talker(60);
    steps.push((500, 0, Do::Listen));
    let play = play(config, narrow(), act, steps, 2_000);
    assert_eq!(play.handled_by(0, 200), 60, "all are taken, although nothing goes out: {play:?}");
    // 19 or 20 echoes fill the cap, beside what the socket took.
    assert!((38..=41).contains(&refused.get()), "{} refused", refused.get());
    assert_eq!((play.messages(0).len(), play.stats.refused as usize), (60 - refused.get(), refused.get()));
    assert_eq!(play.writable.len(), 1, "it was told High, and is told when that is over");
}

// It was read on, and is not any more; or the reverse. A pause stays a pause.
#[test]
fn pressure_may_change_while_the_output_is_high() {
    let run = |first: Pressure, pauses: bool| {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, message| {
            let _ = cx.forward(message);
        });
        act.on_wake = Box::new(move |cx, now, ids| {
            let mut conn = cx.conn(ids[0]).expect("it is open");
            match now {
                0..50 if pauses => conn.pause(),
                0..50 => {}
                _ => conn.set_pressure(match first {
                    Pressure::PauseReading => Pressure::ReadOn,
                    _ => Pressure::PauseReading,
                }),
            }
        });
        let mut steps = deaf_talker(30);
        steps.extend([(45, 0, Do::Wake), (100, 0, Do::Wake)]);
        let late = (0..10).map(|i| (200 + i, 0, Do::Write(frame(Opcode::Binary, &[2; 100]))));
        steps.extend(late);
        let play = play(config().pressure_accepted(first), narrow(), act, steps, 500);
        (play.handled_by(0, 90), play.handled_by(0, 190), play.handled_by(0, 400))
    };
    let (early, then, late) = run(Pressure::PauseReading, false);
    assert!((8..=9).contains(&early) && (then, late) == (30, 40), "{early} {then} {late}");
    assert_eq!(run(Pressure::ReadOn, false), (30, 30, 30));
    let (early, then, late) = run(Pressure::PauseReading, true);
    assert!((8..=9).contains(&early) && (then, late) == (early, early), "{early} {then} {late}");
}

/// Half a message of a peer that is not read is not late, and once it is read again it has one round more; one of a peer that is read on
/// is, however high its output.
#[test]
fn half_a_message_is_late_only_if_it_is_read() {
    for (pressure, from, to) in [(Pressure::ReadOn, 715, 790), (Pressure::PauseReading, 3_500, 4_400)] {
        let config = config().pressure_accepted(pressure).message_timeout(ms(500));
        let mut steps =
            vec![(0, 0, Do::Open), (10, 0, Do::Deaf), (15, 0, Do::Write(piece(false, Opcode::Text, b"half")))];
        steps.extend((0..80).map(|i| (20 + i, 0, Do::Write(frame(Opcode::Ping, &[1; 125])))));
        steps.push((3_000, 0, Do::Listen));
        let play = play(config, narrow(), Act::echo(), steps, 6_000);
        assert_eq!(play.reason(0), Some("Stalled"), "{pressure:?}: {play:?}");
        let at = play.closed_at(0).expect("it was closed");
        assert!((from..=to).contains(&at), "{pressure:?}: closed at {at} ms");
    }
}

fn cut_at(play: &Play) -> Option<u64> {
    play.closed_at(0).filter(|_| play.reason(0) == Some("Timeout"))
}

/// Whether a peer takes anything is looked at when the timeout is over, and again after as long.
fn assert_cut(what: &str, play: &Play, offered: u64, timeout: u64) {
    let due = offered + timeout;
    let at = cut_at(play).unwrap_or_else(|| panic!("{what} was not cut: {play:?}"));
    assert!((due..=due + timeout + 2 * LATE).contains(&at), "{what} was cut at {at} ms, due at {due} ms");
}

// Without an idle timeout too: two ends that wait for each other do not do so for ever.
#[test]
fn a_peer_that_takes_nothing_is_cut_whatever_it_says() {
    let timeout = |pressure| config().pressure_accepted(pressure).send_timeout(ms(1_000));
    for pressure in [Pressure::PauseReading, Pressure::ReadOn] {
        // Its socket is full when the second message has been echoed, and the output is high with the ninth.
        for talks in [false, true] {
            let mut steps = deaf_talker(12);
            let ping = || Do::Write(frame(Opcode::Ping, b"I am here"));
            steps.extend((1..40).filter(|_| talks).map(|i| (100 * i, 0, ping())));
            let play = play(timeout(pressure), narrow(), Act::echo(), steps, 9_000);
            assert_cut(&format!("{pressure:?}, {talks}"), &play, 28, 1_000);
            assert_eq!(play.stats.timeouts, 1);
        }
        // It takes it in time.
        let mut steps = deaf_talker(12);
        steps.push((900, 0, Do::Listen));
        let play = play(timeout(pressure), narrow(), Act::echo(), steps, 4_500);
        assert_eq!((cut_at(&play), play.messages(0).len()), (None, 12), "{pressure:?}");
    }
}

// Its default follows the idle timeout; and what is not high is not timed by it.
#[test]
fn the_send_timeout_is_the_idle_timeout_or_its_own() {
    let cases = [(Some(500), None, 500), (Some(3_000), Some(700), 700), (None, None, 60_000)];
    for (idle, send, timeout) in cases {
        let mut config = config().idle_timeout(idle.map(ms));
        if let Some(send) = send {
            config = config.send_timeout(ms(send));
        }
        let play = play(config, narrow(), Act::echo(), deaf_talker(12), 150_000);
        assert_cut(&format!("{idle:?} {send:?}"), &play, 28, timeout);
    }
    let config = config().send_timeout(ms(500));
    let play = play(config, narrow(), Act::echo(), deaf_talker(4), 9_000);
    assert_eq!(cut_at(&play), None, "four messages are less than the mark");
}

// RFC 6455 §5.5.3: "MAY elect to send a Pong frame for only the most recently processed Ping frame".
#[test]
fn of_pings_that_meet_high_output_the_last_is_answered() {
    let pings = |count: u64| {
        let write = move |ten: u64| {
            let some = 10 * ten..(10 * ten + 10).min(count);
            some.flat_map(|i| frame(Opcode::Ping, &i.to_be_bytes())).collect()
        };
        (0..count.div_ceil(10)).map(move |ten| (60 + ten, 0, Do::Write(write(ten))))
    };
    for (pressure, answered, passed_over) in [(Pressure::ReadOn, 2, 998), (Pressure::PauseReading, 1_000, 0)] {
        let most = Rc::new(Cell::new(0));
        let (mut act, count) = (Act::echo(), Rc::clone(&most));
        act.on_message = Box::new(|cx, message| {
            let _ = cx.forward(message);
        });
        act.on_wake = Box::new(move |cx, _, ids| count.set(cx.conn(ids[0]).expect("it is open").queued()));
        let mut steps = deaf_talker(12);
        steps.extend(pings(1_000));
        steps.extend([(300, 0, Do::Wake), (400, 0, Do::Listen)]);
        let play = play(config().pressure_accepted(pressure), narrow(), act, steps, 2_000);
        let pongs = play.payloads(0, Opcode::Pong);
        assert_eq!((pongs.len(), play.stats.pings_passed_over), (answered, passed_over), "{pressure:?}");
        assert_eq!((&pongs[0], &pongs[answered - 1]), (&vec![0; 8], &999_u64.to_be_bytes().to_vec()));
        assert!(pongs.is_sorted() && play.messages(0).len() == 12);
        assert!(most.get() < 13_000, "{} queued in the middle of it", most.get());
    }
    // It closes before its pong could go: the last one is answered in front of our Close.
    let mut steps = deaf_talker(12);
    steps.extend(pings(5));
    steps.extend([(100, 0, Do::Write(close_of(1000))), (200, 0, Do::Listen)]);
    let mut act = Act::echo();
    act.on_message = Box::new(|cx, message| {
        let _ = cx.forward(message);
    });
    let play = play(config().pressure_accepted(Pressure::ReadOn), narrow(), act, steps, 2_000);
    let pongs = play.payloads(0, Opcode::Pong);
    assert_eq!(pongs, [0_u64.to_be_bytes(), 4_u64.to_be_bytes()]);
    assert_eq!((play.closes(0).len(), play.stats.pings_passed_over), (1, 3));
}

// RFC 6455 §1.4: what comes behind our Close is not the application's. It is counted.
#[test]
fn what_comes_behind_our_close_is_counted() {
    let mut act = Act::echo();
    act.on_wake = Box::new(|cx, _, ids| cx.conn(ids[0]).expect("it is open").close(CloseCode::NORMAL, ""));
    let message = || Do::Write(frame(Opcode::Text, b"late"));
    let steps = vec![
        (0, 0, Do::Open),
        (10, 0, message()),
        (50, 0, Do::Wake),
        (60, 0, message()),
        (70, 0, Do::Write(frame(Opcode::Ping, b"no message"))),
        (80, 0, message()),
        (90, 0, Do::Write(close_of(1000))),
        (95, 0, message()),
    ];
    let play = play(config(), quiet(), act, steps, 1_000);
    assert_eq!((play.stats.messages, play.stats.discarded), (1, 2));
    assert_eq!(play.reason(0), Some("Local { clean: true }"));
}
