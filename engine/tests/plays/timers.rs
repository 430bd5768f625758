//! Exact behaviour in virtual time of the application's timers and ticks.
//!
//! The kernel is simulated and quiet.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::stage;
use crate::stage::{Act, Do, Step, ms, quiet, text};
use wsring::{Config, CoreCx, Flush, Time, TimersFull};
use wsring_proto::Opcode;

fn config() -> Config {
    Config::default().connections_max(8).idle_timeout(None)
}

/// What closures write down.
type Log<T> = Rc<RefCell<Vec<T>>>;

/// A hundred thousand on one core: set, a third of them cancelled, the others told once each, in order, none early, and sockets served
/// meanwhile.
#[test]
fn a_hundred_thousand_come_in_order() {
    const COUNT: u64 = 100_000;
    let after = |key: u64| Duration::from_micros(key * 7_919 % 500_009);
    let told: Log<u64> = Rc::default();
    let mut act = Act::echo();
    act.on_start = Box::new(move |cx| {
        let ids: Vec<_> = (0..COUNT).map(|key| cx.set_timer(after(key), key).expect("below the cap")).collect();
        ids.iter().step_by(3).for_each(|id| assert!(cx.cancel(*id)));
    });
    let log = Rc::clone(&told);
    let start = Rc::new(RefCell::new(None));
    act.on_timer = Box::new(move |cx, fired| {
        assert!(fired.due <= cx.now(), "early");
        let start = *start.borrow_mut().get_or_insert(fired.due.as_nanos() - after(fired.key).as_nanos() as u64);
        assert_eq!(fired.due.as_nanos(), start + after(fired.key).as_nanos() as u64);
        log.borrow_mut().push(fired.key);
    });
    let mut steps: Vec<Step> = vec![(0, 0, Do::Open)];
    steps.extend((1..50).map(|i| (i * 10, 0, Do::Write(text("meanwhile")))));
    let play = stage::play(config().timers_max(COUNT as u32), quiet(), act, steps, 1_000);
    let mut expected: Vec<u64> = (0..COUNT).filter(|key| key % 3 != 0).collect();
    expected.sort_by_key(|key| after(*key));
    assert_eq!(*told.borrow(), expected);
    assert_eq!((play.count(0, Opcode::Text), play.stats.timers), (49, expected.len() as u64));
}

/// The most that may be set at once, and one more.
#[test]
fn timers_have_a_cap() {
    let outcomes: Log<bool> = Rc::default();
    let mut act = Act::echo();
    let log = Rc::clone(&outcomes);
    act.on_message = Box::new(move |cx, _| {
        let of_core = CoreCx::set_timer(cx, ms(10), 0);
        let others = [cx.set_interval(ms(5_000), 1), cx.set_timer(ms(10), 2)];
        assert_eq!(others[1], Err(TimersFull));
        log.borrow_mut().extend([of_core.is_ok(), others[0].is_ok()]);
    });
    // Those of the connection end with it, so there is room when the next one comes.
    let steps = [(0, 0, Do::Open), (1, 0, Do::Write(text("set"))), (50, 0, Do::Fin), (100, 1, Do::Open)];
    let steps = [&steps[..], &[(101, 1, Do::Write(text("set")))]].concat();
    let play = stage::play(config().timers_max(2), quiet(), act, steps, 200);
    assert_eq!(*outcomes.borrow(), [true; 4]);
    assert_eq!(play.stats.timers, 2, "both of the core");
}

/// A process that stands still: what a peer said by then is handled before its timer, which it would have cancelled.
#[test]
fn a_peer_that_spoke_in_time_is_heard_first() {
    for (said, late) in [(90, false), (101, true)] {
        let told: Log<u64> = Rc::default();
        let mut act = Act::echo();
        let mut late_timer = None;
        act.on_message = Box::new(move |cx, _| match late_timer {
            None => late_timer = cx.set_timer(ms(99), 7).ok(),
            Some(timer) => assert_eq!(cx.cancel(timer), !late, "what was said at {said} ms"),
        });
        let log = Rc::clone(&told);
        act.on_conn_timer = Box::new(move |_, fired| log.borrow_mut().push(fired.key));
        let mut sim = quiet();
        sim.pause = Some((Time::from_nanos(80_000_000), ms(200)));
        let mut steps = vec![(0, 0, Do::Open), (1, 0, Do::Write(text("begin")))];
        // The process is awake once in between, and stands still from then on.
        steps.extend([(80, 1, Do::Open), (said, 0, Do::Write(text("alive")))]);
        if late {
            sim.pause = None;
        }
        let play = stage::play(config(), sim, act, steps, 500);
        assert_eq!(told.borrow().len(), usize::from(late), "what was said at {said} ms: {play:?}");
    }
}

/// They come to a connection that is paused, and not to one that has ended.
#[test]
fn timers_of_a_connection_live_as_long_as_it_does() {
    let told: Log<(u64, u64)> = Rc::default();
    let mut act = Act::echo();
    act.on_message = Box::new(|cx, _| {
        cx.set_interval(ms(10), 1).expect("below the cap");
        cx.pause();
    });
    let log = Rc::clone(&told);
    act.on_conn_timer = Box::new(move |cx, fired| {
        assert_eq!(fired.missed, 0);
        log.borrow_mut().push((*cx.data() as u64, fired.key));
        if log.borrow().len() == 5 {
            cx.resume(); // so that its end is seen
        }
    });
    let steps = vec![(0, 0, Do::Open), (1, 0, Do::Write(text("pause"))), (5, 0, Do::Fin)];
    let play = stage::play(config(), quiet(), act, steps, 1_000);
    assert_eq!(*told.borrow(), [(0, 1); 5]);
    assert_eq!((play.reason(0), play.stats.timers), (Some("Eof"), 5));
}

/// Ten thousand ticks at 30 Hz: each is told or missed, at the nanosecond at which it was due.
#[test]
fn ticks_do_not_drift() {
    const PERIOD: Duration = Duration::from_nanos(33_333_333);
    let told: Log<wsring::Tick> = Rc::default();
    let mut act = Act::echo();
    let log = Rc::clone(&told);
    act.on_tick = Box::new(move |cx, tick, _| {
        assert_eq!(tick.late, cx.now().since(tick.due));
        log.borrow_mut().push(tick);
    });
    let mut sim = quiet();
    sim.pause = Some((Time::from_nanos(100_000_000_000), ms(500)));
    let play = stage::play(config().tick(PERIOD), sim, act, Vec::new(), 333_350);
    let told = told.borrow();
    let start = told[0].due.as_nanos() - PERIOD.as_nanos() as u64;
    let mut number = 1;
    for tick in &*told {
        assert_eq!((tick.number, tick.due.as_nanos()), (number, start + number * PERIOD.as_nanos() as u64));
        assert_eq!(tick.missed, (tick.late.as_nanos() / PERIOD.as_nanos()) as u64);
        number += 1 + tick.missed;
    }
    assert!(number > 10_000, "and some while it stops");
    let (count, late) = (told.len() as u64, told.iter().map(|tick| tick.late.as_micros() as u64).sum());
    assert_eq!(
        [play.stats.ticks, play.stats.ticks_missed, play.stats.ticks_late_us],
        [count, number - 1 - count, late]
    );
    assert!(count < number - 1, "the process stood still for a while");
}

/// Messages of twenty players, whenever they are answered and whatever else is sent at the tick: one send a player a tick.
#[test]
fn each_player_gets_one_send_a_tick() {
    const PLAYERS: usize = 20;
    let mut act = Act::echo();
    act.on_tick = Box::new(|cx, tick, ids| {
        for id in ids.iter().filter(|_| tick.number <= 25) {
            assert!(cx.conn(*id).expect("open").send(format!("tick {}", tick.number).as_str()).is_queued());
        }
    });
    let mut steps: Vec<Step> = (0..PLAYERS).map(|player| (0, player, Do::Open)).collect();
    for (player, at) in (0..PLAYERS).flat_map(|player| (10..200).step_by(3).map(move |at| (player, at))) {
        steps.push((at, player, Do::Write(text("input"))));
    }
    let config = || config().connections_max(64).tick(ms(10));
    let play = stage::play(config().flush(Flush::AtTick), quiet(), act, steps.clone(), 255);
    for player in 0..PLAYERS {
        let expected: Vec<u64> = (1..=25).map(|tick| tick * 10).collect();
        let sends: Vec<u64> = play.sends(player).iter().filter(|at| **at < 255).copied().collect();
        assert_eq!(sends, expected, "player {player}");
        assert_eq!(play.count(player, Opcode::Text), 25 + 64, "player {player}");
    }
    // As messages come, without that.
    let play = stage::play(config(), quiet(), Act::echo(), steps, 255);
    assert!(play.sends(0).len() > 60, "{play:?}");
}

/// A pong, a Close, and more than the high-water mark do not wait, and what is queued in front of them goes along.
#[test]
fn what_is_no_message_does_not_wait() {
    let config = || config().tick(ms(100)).flush(Flush::AtTick);
    let steps = |last: Do| vec![(0, 0, Do::Open), (10, 0, Do::Write(text("waits"))), (30, 0, last)];
    let at = |play: &stage::Play| play.saw_at(0, Opcode::Text).expect("the echo") / 10 * 10;
    let ping = Do::Write(stage::frame(Opcode::Ping, b"?"));
    assert_eq!(at(&stage::play(config(), quiet(), Act::echo(), steps(ping), 300)), 30);
    assert_eq!(at(&stage::play(config(), quiet(), Act::echo(), steps(Do::Write(stage::close_of(1000))), 300)), 30);
    assert_eq!(at(&stage::play(config(), quiet(), Act::echo(), steps(Do::Fin), 300)), 30);
    assert_eq!(at(&stage::play(config(), quiet(), Act::echo(), steps(Do::Stop), 300)), 30);
    let much = Do::Write(stage::frame(Opcode::Binary, &[7; 600]));
    let small = || config().output_high_bytes(600).output_low_bytes(100);
    assert_eq!(at(&stage::play(small(), quiet(), Act::echo(), steps(much.clone()), 300)), 30);
    assert_eq!(at(&stage::play(config(), quiet(), Act::echo(), steps(much), 300)), 100, "below the mark it waits");
}
