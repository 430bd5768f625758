//! Exact behaviour in virtual time of a core that is drained: who is told what, and when; and when it ends.
//!
//! The kernel is simulated and quiet, but where it stands still.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::SimConfig;
use wsring::{CloseCode, Config, Drain, DrainReport};
use wsring_proto::Opcode;

use crate::stage::{Act, Do, Play, Step, close_of, ms, open, play, quiet, text};

/// What the simulated kernel takes.
const LATE: u64 = 70;

fn config() -> Config {
    Config::default().connections_max(6_000).idle_timeout(None).message_timeout(None)
}

/// Room for thousands.
fn large() -> SimConfig {
    let mut sim = quiet();
    (sim.sockets_max, sim.backlog, sim.waits_max) = (6_000, 6_000, 10_000_000);
    sim
}

/// So many peers that connect one after another, in the first second, and answer Closes.
fn peers(count: usize) -> Vec<Step> {
    let at = |number: usize| (number * 1_000 / count) as u64;
    (0..count).flat_map(|number| [(at(number), number, Do::Open), (at(number), number, Do::Polite)]).collect()
}

/// Not a peer's number.
const THREAD: usize = 9_999;

fn drained(count: usize, at: u64, drain: Drain, more: Vec<Step>) -> Play {
    let steps = [peers(count), vec![(at, THREAD, Do::Drain(drain))], more].concat();
    play(config(), large(), Act::echo(), steps, 60_000)
}

fn report(play: &Play) -> DrainReport {
    let report = play.stats.drain_report().expect("it was drained");
    let DrainReport { open, closed, unanswered, left, stopped, .. } = report;
    assert_eq!(open, closed + unanswered + left + stopped, "{report}");
    report
}

/// When each of them was told.
fn told(play: &Play, count: usize) -> Vec<u64> {
    (0..count)
        .map(|number| play.saw_at(number, Opcode::Close).unwrap_or_else(|| panic!("{number} was not told")))
        .collect()
}

/// How many fall into each part of a time.
fn parts<const N: usize>(times: &[u64], begin: u64, length: u64) -> [usize; N] {
    let mut parts = [0; N];
    times.iter().for_each(|at| parts[((at - begin) * N as u64 / length).min(N as u64 - 1) as usize] += 1);
    parts
}

/// The promise, measured at the client: of 5,000 a tenth in each tenth of the window, a hundredth in each hundredth.
#[test]
fn five_thousand_are_told_evenly() {
    let play = drained(5_000, 2_000, Drain::over(ms(10_000)), vec![]);
    let told = told(&play, 5_000);
    let (tenths, hundredths) = (parts::<10>(&told, 2_000, 10_000), parts::<100>(&told, 2_000, 10_000));
    println!("told in each tenth: {tenths:?}");
    assert!(tenths.iter().all(|some| some.abs_diff(500) <= 5), "{tenths:?}");
    assert!(hundredths.iter().all(|some| some.abs_diff(50) <= 5), "{hundredths:?}");
    assert!(told.iter().all(|at| (2_000..=12_000 + LATE).contains(at)));
    // Nor in the order in which they came.
    let early = told[..2_500].iter().filter(|at| **at < 7_000).count();
    assert!(early.abs_diff(1_250) < 150, "{early} of those that came first went first");
    assert_eq!((report(&play).open, report(&play).closed), (5_000, 5_000));
    assert!((12_000 - 10..12_500).contains(&play.ended), "the last has gone: {}", play.ended);
    assert_eq!(play.closes(17), [(Some(1001), "server draining".to_owned())]);
    assert_eq!((play.reason(17), play.stats.timeouts), (Some("Drained { clean: true }"), 0));
}

/// The process stands still for 3 s in the middle: what was due meanwhile does not come at once.
#[test]
fn a_core_that_stood_still_does_not_make_up_for_it_at_once() {
    let mut sim = large();
    sim.pause = Some((Time::from_nanos(5_000_000_000), ms(3_000)));
    let steps = [peers(1_000), vec![(2_000, THREAD, Do::Drain(Drain::over(ms(10_000))))]].concat();
    let play = play(config(), sim, Act::echo(), steps, 60_000);
    let told = told(&play, 1_000);
    let tenths = parts::<10>(&told, 2_000, 10_000);
    println!("told in each tenth: {tenths:?}");
    assert!(tenths[..3].iter().all(|some| some.abs_diff(100) <= 4), "{tenths:?}");
    // 700 in four tenths, and a fiftieth of all at once.
    assert!(tenths[6..].iter().all(|some| (150..=205).contains(some)), "{tenths:?}");
    assert_eq!(report(&play).closed, 1_000);
}

/// Whoever asks for a WebSocket is told when to ask again, and the handler is not asked; a plain request is answered, and a check by OPTIONS hears that
/// the server is not up. Who is connected is served on.
#[test]
fn who_comes_meanwhile_is_answered() {
    let options = b"OPTIONS / HTTP/1.0\r\n\r\n".to_vec();
    let plain = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let half = open()[..30].to_vec();
    let more = vec![
        (1_900, 10, Do::Connect),
        (1_900, 10, Do::Write(half)),
        (1_900, 11, Do::Connect),
        (1_900, 11, Do::Write(options.clone())),
        (2_100, 10, Do::Write(open()[30..].to_vec())),
        (2_100, 12, Do::Open),
        (2_100, 13, Do::Connect),
        (2_100, 13, Do::Write(options)),
        (2_100, 14, Do::Connect),
        (2_100, 14, Do::Write(plain)),
        (2_050, 0, Do::Write(text("served"))),
    ];
    let drain = Drain::over(ms(2_000)).at_least(ms(2_000)).retry_after(ms(2_500));
    let play = drained(1, 2_000, drain, more);
    assert_eq!([10, 11, 12, 13, 14].map(|peer| play.status(peer)), [503, 200, 503, 503, 404].map(Some), "{play:?}");
    for peer in [10, 12] {
        let text = play.text(peer);
        assert!(text.contains("\r\nretry-after: 3\r\n") || text.contains("\r\nRetry-After: 3\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nthe server is draining\n"), "{text}");
    }
    assert_eq!(play.messages(0), [b"served"]);
    assert_eq!((report(&play).refused, report(&play).open, play.stats.opened), (2, 1, 1));
}

#[test]
fn it_ends_when_the_last_has_gone_but_not_before_its_least_time() {
    let ended = |drain: Drain, count: usize| drained(count, 2_000, drain, vec![]).ended;
    let none = ended(Drain::over(ms(10_000)), 0);
    assert!((2_000..2_000 + 500).contains(&none), "{none}: nobody was there");
    let some = ended(Drain::over(ms(1_000)).at_least(ms(4_000)), 5);
    assert!((6_000..6_500).contains(&some), "{some}");
    let cut = ended(Drain::over(ms(1_000)).at_least(ms(9_000)).deadline(ms(3_000)), 5);
    assert!((5_000..5_500).contains(&cut), "{cut}: the deadline comes before");
    let at_once = drained(50, 2_000, Drain::over(Duration::ZERO), vec![]);
    assert!(told(&at_once, 50).iter().all(|at| *at <= 2_000 + LATE) && at_once.ended < 2_500, "{at_once:?}");
}

/// Two do not answer, and one takes nothing: told in their turn, and cut by the stop that comes at the deadline.
#[test]
fn who_does_not_go_is_cut_at_the_deadline() {
    let steps = vec![
        (0, 0, Do::Open),
        (1, 1, Do::Open),
        (2, 2, Do::Open),
        (500, 2, Do::Deaf),
        (3, 3, Do::Open),
        (3, 3, Do::Polite),
        (
            1_000,
            THREAD,
            Do::Drain(Drain::over(ms(1_000)).deadline(ms(3_000)).code(CloseCode::SERVICE_RESTART).reason("later")),
        ),
    ];
    let config = config().closing_timeout(ms(20_000)).stop_timeout(ms(1_000)).stop_max(ms(2_000));
    let play = play(config, large(), Act::echo(), steps, 60_000);
    assert!((5_000..=6_000 + 500).contains(&play.ended), "{}", play.ended);
    for peer in [0, 1, 3] {
        assert_eq!(play.closes(peer), [(Some(1012), "later".to_owned())], "{peer}");
    }
    let reasons = [0, 1, 2, 3].map(|peer| play.reason(peer).expect("it was open"));
    assert_eq!(reasons.map(|reason| reason.ends_with("true }")), [false, false, false, true], "{reasons:?}");
    let DrainReport { closed, unanswered, stopped, .. } = report(&play);
    assert_eq!((closed, unanswered, stopped), (1, 3, 0));
}

/// The process stands still for all of the window and beyond: whoever has not had its turn is told by the stop what the others would have been.
#[test]
fn whose_turn_never_came_is_told_at_the_deadline() {
    let mut sim = large();
    sim.pause = Some((Time::from_nanos(2_100_000_000), ms(6_000)));
    let drain = Drain::over(ms(4_000)).deadline(ms(5_000)).code(CloseCode::SERVICE_RESTART);
    let steps = [peers(600), vec![(2_000, THREAD, Do::Drain(drain))]].concat();
    let play = play(config(), sim, Act::echo(), steps, 60_000);
    told(&play, 600);
    assert!((0..600).all(|peer| play.closes(peer) == [(Some(1012), "server draining".to_owned())]));
    let DrainReport { closed, stopped, .. } = report(&play);
    assert!(
        closed > 500 && stopped > 50 && closed + stopped == 600,
        "512 have their turn in a pass: {closed}, {stopped}"
    );
}

#[test]
fn asked_for_again_it_gets_shorter_and_never_longer() {
    let again = |at, drain: Drain| vec![(at, THREAD, Do::Drain(drain))];
    let longer =
        drained(100, 2_000, Drain::over(ms(4_000)), again(3_000, Drain::over(ms(30_000)).code(CloseCode::POLICY)));
    let tenths = parts::<10>(&told(&longer, 100), 2_000, 4_000);
    assert!(tenths.iter().all(|some| some.abs_diff(10) <= 1) && longer.ended < 6_500, "{tenths:?} {}", longer.ended);
    assert!((0..100).all(|peer| longer.closes(peer)[0].0 == Some(1001)));
    let shorter = drained(100, 2_000, Drain::over(ms(20_000)), again(4_000, Drain::over(ms(1_000))));
    let told = told(&shorter, 100);
    assert!(told.iter().filter(|at| **at < 4_000).count().abs_diff(10) <= 1);
    let rest: Vec<u64> = told.into_iter().filter(|at| *at >= 4_000).collect();
    let tenths = parts::<10>(&rest, 4_000, 1_000);
    assert!(tenths.iter().all(|some| some.abs_diff(9) <= 2) && shorter.ended < 5_500, "{tenths:?} {}", shorter.ended);
}

/// A stop is a stop: all that are left are told 1001 at once. And what comes behind a stop is no drain any more.
#[test]
fn a_stop_ends_a_drain_at_once() {
    let drain = || Drain::over(ms(10_000)).code(CloseCode::SERVICE_RESTART);
    let play = drained(100, 2_000, drain(), vec![(4_500, THREAD, Do::Stop), (4_500, THREAD, Do::Drain(drain()))]);
    let codes = |code| (0..100).filter(|peer| play.closes(*peer)[0].0 == Some(code)).count();
    assert!(codes(1012).abs_diff(25) <= 1 && codes(1001) == 100 - codes(1012));
    assert!(told(&play, 100).iter().all(|at| *at <= 4_500 + LATE) && play.ended < 5_000, "{}", play.ended);
    assert_eq!((report(&play).closed, report(&play).stopped), (codes(1012) as u64, codes(1001) as u64));
    let steps = [peers(5), vec![(2_000, THREAD, Do::Stop), (2_001, THREAD, Do::Drain(drain()))]].concat();
    let stopped = crate::stage::play(config(), large(), Act::echo(), steps, 60_000);
    assert_eq!(stopped.stats.drain_report(), None);
}

/// By itself, or by the application: then it is not told by the drain. What becomes of each is counted.
#[test]
fn who_goes_before_its_turn_is_counted() {
    let more = vec![
        (2_010, 0, Do::Write(close_of(1000))),
        (2_010, 1, Do::Fin),
        (2_010, 2, Do::Reset),
        (2_010, 3, Do::Write(text("close me"))),
    ];
    let steps = [peers(4), vec![(2_000, THREAD, Do::Drain(Drain::over(ms(1_000_000))))], more].concat();
    let mut act = Act::echo();
    act.on_message = Box::new(|cx, _| cx.close(CloseCode::NORMAL, "as you like"));
    let play = play(config(), large(), act, steps, 60_000);
    // The window is long: each of the four has gone before.
    assert_eq!((report(&play).open, report(&play).left, report(&play).closed), (4, 4, 0), "{play:?}");
    assert!(play.ended < 2_500, "the last has gone: {}", play.ended);
}

/// What is said there goes first; who closes there has the last word; and the core as a whole is told once.
#[test]
fn an_application_says_goodbye_in_its_own_words() {
    let begun = Rc::new(Cell::new(0));
    let mut act = Act::echo();
    let counts = Rc::clone(&begun);
    act.on_drain = Box::new(move |cx, drain| {
        assert!(cx.is_draining() && *drain == Drain::over(ms(1_000)));
        counts.set(counts.get() + 1);
    });
    act.on_goodbye = Box::new(|cx| match *cx.data() {
        0 => assert!(cx.send("see you").is_queued()),
        1 => cx.close(CloseCode::new(4000).expect("a code"), "to the other side"),
        2 => cx.abort(),
        _ => {}
    });
    let again = vec![(2_100, THREAD, Do::Drain(Drain::over(ms(500))))];
    let steps = [peers(4), vec![(2_000, THREAD, Do::Drain(Drain::over(ms(1_000))))], again].concat();
    let play = play(config(), large(), act, steps, 60_000);
    assert_eq!(begun.get(), 1);
    assert_eq!((play.messages(0), play.closes(0)[0].0), (vec![b"see you".to_vec()], Some(1001)));
    assert_eq!(play.closes(1), [(Some(4000), "to the other side".to_owned())]);
    assert!(play.closes(2).is_empty() && play.was_reset(2));
    assert_eq!(play.closes(3)[0].0, Some(1001));
    assert_eq!((report(&play).closed, report(&play).unanswered), (3, 1));
}

/// From a callback, at the very start too; and what is asked for then is known from the next callback on.
#[test]
fn a_core_drains_itself() {
    let mut act = Act::echo();
    act.on_start = Box::new(|cx| {
        cx.drain_core(Drain::over(ms(1_000)).at_least(ms(1_000)));
        assert!(!cx.is_draining());
    });
    let play = play(config(), large(), act, vec![(100, 0, Do::Open)], 60_000);
    assert_eq!((play.status(0), report(&play).open, report(&play).refused), (Some(503), 0, 1));
    assert!((1_000..1_500).contains(&play.ended), "{}", play.ended);
}

/// Somebody else has the port: nobody is accepted, and whoever is there has its turn all the same.
#[test]
fn a_drain_goes_on_where_nobody_is_accepted() {
    let steps =
        [peers(100), vec![(2_000, THREAD, Do::StopAccepting), (2_000, THREAD, Do::Drain(Drain::over(ms(4_000))))]];
    let play = play(config(), large(), Act::echo(), steps.concat(), 60_000);
    let tenths = parts::<10>(&told(&play, 100), 2_000, 4_000);
    assert!(tenths.iter().all(|some| some.abs_diff(10) <= 1), "{tenths:?}");
    assert_eq!((report(&play).closed, play.ended < 6_500), (100, true));
}
