//! Exact behaviour in virtual time of a connection that has terms of its own, beside one that has none: each setting, tighter and wider than
//! the configuration, at the limit and one step past it.
//!
//! The kernel is simulated and quiet. The first peer has terms, the second has none; what one does the other does too.

use std::cell::RefCell;
use std::rc::Rc;

use crate::stage::{self, Act, Do, Play, Step, frame, ms, piece, quiet, text};
use wsring::ring::sim::SimConfig;
use wsring::{CloseCode, Config, InvalidConfig, Limits, Pressure, SendBuffers, SendOutcome, Terms};
use wsring_proto::Opcode;

/// Ticks, and what the simulated kernel takes.
const LATE: u64 = 70;
/// From the end of a round of a message that brought too little to the look that decides.
const MOMENT: u64 = 200;

const OWN: usize = 0;
const OTHER: usize = 1;

/// Nobody has a time.
fn config() -> Config {
    let send_buffers = SendBuffers { count: 16, bytes: 4096 };
    Config::default().connections_max(8).send_buffers(send_buffers).idle_timeout(None).message_timeout(None)
}

fn valid(terms: Result<Terms, InvalidConfig>) -> Terms {
    terms.expect("valid terms")
}

/// Both open, and do this.
fn beside(config: Config, sim: SimConfig, mut act: Act, terms: Terms, steps: &[(u64, Do)], length: u64) -> Play {
    act.terms = vec![("/own", terms)];
    let opening = [(0, OWN, Do::OpenAt("/own")), (1, OTHER, Do::OpenAt("/"))];
    let both = steps.iter().flat_map(|(at, what)| [OWN, OTHER].map(|peer| (*at, peer, what.clone())));
    stage::play(config, sim, act, opening.into_iter().chain(both).collect(), length)
}

fn echoes(config: Config, terms: Terms, steps: &[(u64, Do)], length: u64) -> Play {
    beside(config, quiet(), Act::echo(), terms, steps, length)
}

/// It was told this at about that millisecond.
#[track_caller]
fn assert_told(play: &Play, peer: usize, at: u64, code: u16, why: &str) {
    let saw = play.saw_at(peer, Opcode::Close).unwrap_or_else(|| panic!("no Close, due at {at} ms: {play:?}"));
    assert!((at..=at + LATE).contains(&saw), "the Close came at {saw} ms, due at {at} ms: {play:?}");
    assert_eq!(play.closes(peer), [(Some(code), why.to_owned())]);
}

/// It was open until the server stopped.
#[track_caller]
fn assert_stays(play: &Play, peer: usize) {
    assert_eq!(play.closes(peer), [(Some(1001), "server stopping".to_owned())], "{play:?}");
}

fn bytes(len: usize) -> Vec<u8> {
    frame(Opcode::Binary, &vec![7; len])
}

fn fragments(sizes: &[usize]) -> Vec<u8> {
    let last = sizes.len() - 1;
    let opcode = |i| if i == 0 { Opcode::Binary } else { Opcode::Continuation };
    let frames = sizes.iter().enumerate().map(|(i, size)| piece(i == last, opcode(i), &vec![1; *size]));
    frames.collect::<Vec<_>>().concat()
}

/// What fits is echoed to both; what is over a limit ends the connection with it (RFC 6455 §7.4.1), and not the other.
#[test]
fn sizes() {
    type Set = fn(Terms) -> Terms;
    let table: [(Set, Vec<u8>, Vec<u8>); 5] = [
        (|terms| terms.message_max_bytes(1_000), bytes(1_000), bytes(1_001)),
        (|terms| terms.message_max_bytes(1_000), fragments(&[600, 400]), fragments(&[600, 401])),
        (|terms| terms.frame_max_bytes(1_000), bytes(1_000), bytes(1_001)),
        (|terms| terms.frame_max_bytes(1_000), fragments(&[1_000, 1_000]), fragments(&[1_000, 1_001])),
        (|terms| terms.fragments_max(3), fragments(&[30, 0, 30]), fragments(&[30, 0, 0, 30])),
    ];
    let narrow = config().limits(Limits::default().frame_max_bytes(50).message_max_bytes(50).fragments_max(2));
    let wide = Terms::default().frame_max_bytes(1 << 20).message_max_bytes(1 << 20).fragments_max(100);
    for (row, (set, fits, over)) in table.into_iter().enumerate() {
        let codes = |play: &Play| {
            [OWN, OTHER].map(|peer| play.closes(peer).first().and_then(|(code, _)| *code).expect("a code"))
        };
        let counts = |play: &Play| [OWN, OTHER].map(|peer| play.messages(peer).len());
        let steps = [(100, Do::Write(fits)), (200, Do::Write(over))];
        let play = echoes(config(), set(Terms::default()), &steps, 1_000);
        assert_eq!((counts(&play), codes(&play)), ([1, 2], [1009, 1001]), "{row}: {play:?}");
        // Wider than what all others have.
        let play = echoes(narrow.clone(), set(wide.clone()), &steps, 1_000);
        assert_eq!((counts(&play), codes(&play)), ([1, 0], [1009, 1009]), "{row}: {play:?}");
    }
}

#[test]
fn silence_and_answers_to_pings() {
    let own = || valid(Terms::default().idle_timeout(ms(500)).and_then(|terms| terms.pong_timeout(ms(200))));
    let play = echoes(config(), own(), &[], 5_000);
    assert_told(&play, OWN, 700, 1001, "no answer to a ping");
    assert!(play.saw_at(OWN, Opcode::Ping).is_some_and(|at| (500..=500 + LATE).contains(&at)), "{play:?}");
    assert_eq!((play.reason(OWN), play.count(OTHER, Opcode::Ping)), (Some("Timeout"), 0));
    assert_stays(&play, OTHER);
    // Both are pinged, each in its time; who speaks just before that is not.
    let all = config().idle_timeout(ms(1_000)).pong_timeout(ms(1_000));
    let play = echoes(all.clone(), own(), &[(490, Do::Write(text("here")))], 5_000);
    assert_told(&play, OWN, 490 + 700, 1001, "no answer to a ping");
    assert_told(&play, OTHER, 490 + 2_000, 1001, "no answer to a ping");
    // Nobody is pinged where that is what was given.
    let play = echoes(all, valid(Terms::default().idle_timeout(None)), &[], 5_000);
    assert_eq!(play.count(OWN, Opcode::Ping), 0);
    assert_stays(&play, OWN);
    assert_told(&play, OTHER, 2_000, 1001, "no answer to a ping");
}

#[test]
fn messages_that_begin_and_do_not_end() {
    let half = [(100, Do::Write(piece(false, Opcode::Text, b"half")))];
    let whole = [half.clone(), [(1_000, Do::Write(piece(true, Opcode::Continuation, b"whole")))]].concat();
    let own = || valid(Terms::default().message_timeout(ms(1_000)));
    let play = echoes(config(), own(), &half, 5_000);
    assert_told(&play, OWN, 1_100 + MOMENT, 1008, "message timeout");
    assert_eq!(play.reason(OWN), Some("Stalled"));
    assert_stays(&play, OTHER);
    let play = echoes(config(), own(), &whole, 5_000);
    assert_eq!([OWN, OTHER].map(|peer| play.messages(peer).len()), [1, 1], "{play:?}");
    // Each by its own time.
    let all = config().message_timeout(ms(3_000));
    let play = echoes(all.clone(), own(), &half, 5_000);
    assert_told(&play, OWN, 1_100 + MOMENT, 1008, "message timeout");
    assert_told(&play, OTHER, 3_100 + MOMENT, 1008, "message timeout");
    let play = echoes(all, valid(Terms::default().message_timeout(None)), &half, 5_000);
    assert_stays(&play, OWN);
    assert_told(&play, OTHER, 3_100 + MOMENT, 1008, "message timeout");
}

#[test]
fn who_brings_no_message() {
    let own = || valid(Terms::default().data_timeout(ms(1_000)));
    // A ping is no message.
    let steps = [(900, Do::Write(text("here"))), (1_500, Do::Write(frame(Opcode::Ping, b"")))];
    let play = echoes(config(), own(), &steps, 5_000);
    assert_told(&play, OWN, 1_900, 1001, "no message came");
    assert_eq!((play.reason(OWN), play.stats.timeouts), (Some("NoData"), 1));
    assert_stays(&play, OTHER);
    let all = config().data_timeout(ms(2_000));
    let play = echoes(all.clone(), own(), &steps, 5_000);
    assert_told(&play, OWN, 1_900, 1001, "no message came");
    assert_told(&play, OTHER, 2_900, 1001, "no message came");
    let play = echoes(all, valid(Terms::default().data_timeout(None)), &steps, 5_000);
    assert_stays(&play, OWN);
    assert_told(&play, OTHER, 2_900, 1001, "no message came");
}

#[test]
fn how_long_it_lasts() {
    let lasted = |play: &Play, peer| play.saw_at(peer, Opcode::Close).expect("it was told");
    let own = || valid(Terms::default().lifetime_max(ms(1_000)));
    let play = echoes(config(), own(), &[], 5_000);
    assert!((900..=1_000 + LATE).contains(&lasted(&play, OWN)), "{play:?}");
    assert_eq!(play.closes(OWN), [(Some(1001), "connection lifetime".to_owned())]);
    assert_stays(&play, OTHER);
    let play = echoes(config().lifetime_max(ms(3_000)), own(), &[], 5_000);
    assert!((900..=1_000 + LATE).contains(&lasted(&play, OWN)), "{play:?}");
    assert!((2_700..=3_000 + LATE).contains(&lasted(&play, OTHER)), "{play:?}");
    let play = echoes(config().lifetime_max(ms(3_000)), valid(Terms::default().lifetime_max(None)), &[], 5_000);
    assert_stays(&play, OWN);
    assert!((2_700..=3_000 + LATE).contains(&lasted(&play, OTHER)), "{play:?}");
}

/// What is told of 5 messages of 1,004 bytes each, with their headers, to either; and when its output has drained.
fn outcomes(config: Config, terms: Terms) -> ([Vec<SendOutcome>; 2], usize, Play) {
    let (mut act, told) = (Act::echo(), Rc::new(RefCell::new([Vec::new(), Vec::new()])));
    let tell = Rc::clone(&told);
    act.on_message = Box::new(move |cx, _| {
        let outcomes = (0..5).map(|_| cx.send(&[2_u8; 1_000])).collect();
        tell.borrow_mut()[*cx.data()] = outcomes;
    });
    let play = beside(config, quiet(), act, terms, &[(100, Do::Write(text("go")))], 500);
    let writable = play.writable.len();
    (told.take(), writable, play)
}

#[test]
fn marks_and_the_cap_of_the_output() {
    use SendOutcome::{High, Queued, Refused};
    let own = |high: u32, max: u32| {
        let terms = Terms::default().output_max_bytes(max).and_then(|terms| terms.output_high_bytes(high));
        valid(terms.and_then(|terms| terms.output_low_bytes(high / 2)))
    };
    for (high, max, expected) in [
        (2 * 1_004, 4 * 1_004, [Queued, Queued, High, High, Refused]),
        (2 * 1_004 - 1, 4 * 1_004 - 1, [Queued, High, High, Refused, Refused]),
        (5 * 1_004, 5 * 1_004, [Queued; 5]),
        (0, 1_004, [High, Refused, Refused, Refused, Refused]),
    ] {
        let (told, writable, play) = outcomes(config(), own(high, max));
        let is_high = expected.contains(&High);
        assert_eq!(told, [expected.to_vec(), vec![Queued; 5]], "{high} {max}");
        assert_eq!(writable, usize::from(is_high), "it is told when that is over: {play:?}");
        let refused = expected.iter().filter(|outcome| **outcome == Refused).count();
        assert_eq!([OWN, OTHER].map(|peer| play.messages(peer).len()), [5 - refused, 5]);
        assert_eq!(play.stats.refused, refused as u64);
        // Wider than what all others have.
        let narrow = config().output_high_bytes(1_004).output_low_bytes(0).output_max_bytes(2 * 1_004);
        let (told, ..) = outcomes(narrow, own(high, max));
        assert_eq!(told, [expected.to_vec(), vec![Queued, High, Refused, Refused, Refused]], "{high} {max}");
    }
}

/// Small messages go a shorter way, which knows the marks as well.
#[test]
fn marks_hold_for_small_messages() {
    let (mut act, told) = (Act::echo(), Rc::new(RefCell::new([Vec::new(), Vec::new()])));
    let tell = Rc::clone(&told);
    act.on_message = Box::new(move |cx, _| {
        let outcomes: Vec<SendOutcome> = (0..200).map(|_| cx.send(&[2_u8; 8])).collect();
        tell.borrow_mut()[*cx.data()] = outcomes;
    });
    let terms = Terms::default().output_max_bytes(1_000).and_then(|terms| terms.output_high_bytes(500));
    let play = beside(config(), quiet(), act, valid(terms), &[(100, Do::Write(text("go")))], 500);
    let [own, other] = told.take();
    let count = |outcome| own.iter().filter(|told| **told == outcome).count();
    let counts = [SendOutcome::Queued, SendOutcome::High, SendOutcome::Refused].map(count);
    assert_eq!(counts, [50, 50, 100], "a hundred of ten bytes fill a thousand");
    assert_eq!(other, vec![SendOutcome::Queued; 200]);
    assert_eq!([OWN, OTHER].map(|peer| play.messages(peer).len()), [100, 200]);
}

/// A socket that holds a thousand bytes.
fn narrow() -> SimConfig {
    SimConfig { tx_capacity: (1_000, 1_000), buffers: (16, 2_000), ..quiet() }
}

/// Reads nothing from 10 ms on, and sends so many messages of 1000 bytes from 20 ms on, one a millisecond.
fn deaf_talker(messages: u64) -> Vec<(u64, Do)> {
    let message = frame(Opcode::Binary, &[1; 1_000]);
    let talk = (0..messages).map(|i| (20 + i, Do::Write(message.clone())));
    [(10, Do::Deaf)].into_iter().chain(talk).collect()
}

#[test]
fn what_high_output_does_to_the_input() {
    let config = || config().output_high_bytes(4_000).output_low_bytes(1_000).send_timeout(ms(60_000));
    for (own, other) in [(Pressure::ReadOn, Pressure::PauseReading), (Pressure::PauseReading, Pressure::ReadOn)] {
        let handled = |pressure, play: &Play, peer| match pressure {
            Pressure::ReadOn => assert_eq!(play.handled_by(peer, 400), 30, "{play:?}"),
            _ => assert!((4..10).contains(&play.handled_by(peer, 400)), "{play:?}"),
        };
        let mut steps = deaf_talker(30);
        steps.push((400, Do::Listen));
        let terms = Terms::default().pressure(own);
        let play = beside(config().pressure_accepted(other), narrow(), Act::echo(), terms, &steps, 3_000);
        handled(own, &play, OWN);
        handled(other, &play, OTHER);
        assert_eq!([OWN, OTHER].map(|peer| play.messages(peer).len()), [30, 30], "nothing is lost");
    }
}

/// It is looked at when its time is over, so it has up to twice that.
#[test]
fn who_takes_nothing() {
    let config = || config().output_high_bytes(4_000).output_low_bytes(1_000);
    let cut = |play: &Play, peer, time: u64| {
        let at = play.closed_at(peer).expect("it is cut");
        assert!((20 + time..=40 + 2 * time + LATE).contains(&at), "cut at {at} ms, with {time} ms: {play:?}");
        assert_eq!(play.reason(peer), Some("Timeout"), "{play:?}");
    };
    let own = valid(Terms::default().send_timeout(ms(500)));
    let play = beside(config().send_timeout(ms(3_000)), narrow(), Act::echo(), own.clone(), &deaf_talker(20), 20_000);
    cut(&play, OWN, 500);
    cut(&play, OTHER, 3_000);
    let wide = valid(Terms::default().send_timeout(ms(3_000)));
    let play = beside(config().send_timeout(ms(500)), narrow(), Act::echo(), wide, &deaf_talker(20), 20_000);
    cut(&play, OWN, 3_000);
    cut(&play, OTHER, 500);
    // Without one it is the idle timeout, of either.
    let idle = valid(Terms::default().idle_timeout(ms(500)));
    let play = beside(config().idle_timeout(ms(3_000)), narrow(), Act::echo(), idle, &deaf_talker(20), 20_000);
    cut(&play, OWN, 500);
    cut(&play, OTHER, 3_000);
    // Who takes it in time is not cut.
    let mut steps = deaf_talker(20);
    steps.push((450, Do::Listen));
    let play = beside(config(), narrow(), Act::echo(), own, &steps, 5_000);
    assert_stays(&play, OWN);
    assert_eq!(play.messages(OWN).len(), 20);
}

/// Closes on a message, behind so many times 10,000 bytes.
fn closer(count: usize) -> Act {
    let mut act = Act::echo();
    act.on_message = Box::new(move |cx, _| {
        for i in 0..count {
            assert!(cx.send(&[i as u8; 10_000]).is_queued());
        }
        cx.close(CloseCode::NORMAL, "that is all");
    });
    act
}

#[test]
fn who_does_not_answer_a_close() {
    let at = |play: &Play, peer, due: u64| {
        let at = play.closed_at(peer).expect("it ends");
        assert!((100 + due..=100 + due + LATE).contains(&at), "it ended at {at} ms: {play:?}");
        assert_eq!(play.reason(peer), Some("Local { clean: false }"));
    };
    let go = [(100, Do::Write(text("go")))];
    for (all, given) in [(3_000, 500), (500, 3_000)] {
        let terms = valid(Terms::default().closing_timeout(ms(given)));
        let play = beside(config().closing_timeout(ms(all)), quiet(), closer(0), terms, &go, 10_000);
        at(&play, OWN, given);
        at(&play, OTHER, all);
    }
    // A stop hurries both.
    let terms = valid(Terms::default().closing_timeout(ms(8_000)));
    let config = config().closing_timeout(ms(8_000)).stop_timeout(ms(300));
    let play = beside(config, quiet(), closer(0), terms, &go, 1_000);
    assert!([OWN, OTHER].into_iter().all(|peer| play.closed_at(peer).is_some_and(|at| at <= 1_300 + LATE)), "{play:?}");
    assert!(play.ended <= 2_000, "{play:?}");
}

/// 300,000 bytes at 20 bytes a millisecond: that is 15 s.
#[test]
fn how_long_a_close_takes_altogether() {
    let socket = SimConfig { tx_capacity: (20_000, 20_000), ..quiet() };
    let sips = (0..400).map(|i| (200 + i * 50, Do::Sip(1_000)));
    let steps: Vec<(u64, Do)> = [(10, Do::Deaf), (100, Do::Write(text("go")))].into_iter().chain(sips).collect();
    let config = || config().closing_timeout(ms(500));
    let cut_at = |play: &Play, peer, due: u64| {
        let at = play.closed_at(peer).expect("it is cut");
        assert!((100 + due..=100 + due + LATE).contains(&at), "it was cut at {at} ms: {play:?}");
        assert!(play.was_reset(peer) && play.messages(peer).len() < 30);
    };
    let terms = valid(Terms::default().closing_max(ms(3_000)));
    let play = beside(config(), socket.clone(), closer(30), terms, &steps, 30_000);
    cut_at(&play, OWN, 3_000);
    assert_eq!((play.messages(OTHER).len(), play.was_reset(OTHER)), (30, false), "{play:?}");
    let terms = valid(Terms::default().closing_max(ms(60_000)));
    let play = beside(config().closing_max(ms(3_000)), socket, closer(30), terms, &steps, 30_000);
    assert_eq!((play.messages(OWN).len(), play.was_reset(OWN)), (30, false), "{play:?}");
    cut_at(&play, OTHER, 3_000);
}

/// One has terms and ends; the next has its slot, and none.
#[test]
fn the_next_in_a_slot_has_the_limits_of_all() {
    let mut act = Act::echo();
    act.terms = vec![("/own", valid(Terms::default().message_max_bytes(10).idle_timeout(ms(500))))];
    let steps: Vec<Step> = vec![
        (0, 0, Do::OpenAt("/own")),
        (100, 0, Do::Write(bytes(11))),
        (1_000, 1, Do::OpenAt("/")),
        (1_100, 1, Do::Write(bytes(1_000))),
        (2_900, 1, Do::Write(stage::close_of(1000))),
        (3_500, 2, Do::OpenAt("/own")),
        (3_600, 2, Do::Write(bytes(11))),
    ];
    let play = stage::play(config().connections_max(1), quiet(), act, steps, 5_000);
    let codes = [0, 1, 2].map(|peer| play.closes(peer)[0].0);
    assert_eq!(codes, [Some(1009), Some(1000), Some(1009)], "{play:?}");
    assert_eq!((play.messages(1).len(), play.count(1, Opcode::Ping)), (1, 0), "{play:?}");
}
