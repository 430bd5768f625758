//! The clock: what comes when.

use std::time::Duration;

use wsring::testing::Ending;
use wsring::{CloseCode, Config, Time};

use crate::probe::Probe;

const MS: u64 = 1_000_000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_clock_stands_until_it_is_moved() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.send(ann, "x");
    bench.run();
    assert_eq!((bench.take_texts(ann).len(), bench.now()), (1, Time::default()));
    bench.advance(Duration::from_nanos(7));
    bench.advance(ms(3));
    assert_eq!(bench.now(), Time::from_nanos(3 * MS + 7));
}

/// One a nanosecond before it is due, and one that is.
#[test]
fn timers_come_at_their_nanosecond() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.advance(ms(5));
    bench.send(ann, &format!("timer {}", 20 * MS));
    bench.send(ann, &format!("core {}", 20 * MS + 1));
    bench.advance(Duration::from_nanos(20 * MS - 1));
    assert!(bench.handler().times.is_empty());
    bench.advance(Duration::from_nanos(1));
    assert_eq!(bench.handler().times, [25 * MS]);
    bench.advance(ms(100));
    assert_eq!(bench.handler().times, [25 * MS, 25 * MS + 1]);
    assert_eq!(bench.take_timed(ann), [(Time::from_nanos(25 * MS), "beat".into())]);
}

#[test]
fn what_repeats_comes_each_time() {
    let (mut bench, ann) = Probe::with_peer(Config::default().idle_timeout(None));
    bench.send(ann, &format!("every {}", 7 * MS));
    bench.advance(ms(10_000));
    let expected: Vec<u64> = (1..=10_000 / 7).map(|number| number * 7 * MS).collect();
    assert_eq!(bench.handler().times, expected);
    assert_eq!(bench.take_texts(ann).len(), expected.len());
}

#[test]
fn ticks_come_at_their_times_for_an_hour() {
    let mut bench = Probe::bench(Config::default().tick(ms(50)));
    bench.advance(Duration::from_secs(3600));
    let expected: Vec<u64> = (1..=72_000).map(|number| number * 50 * MS).collect();
    assert_eq!((bench.handler().times == expected, bench.stats().ticks), (true, 72_000));
}

/// A client that answers is pinged each time that it has been silent for so long, and stays; deadlines are up to 32 ms late.
#[test]
fn a_silent_client_is_pinged_and_one_that_does_not_answer_is_told() {
    let config = Config::default().idle_timeout(ms(1_000)).pong_timeout(ms(500)).closing_timeout(ms(100));
    let (mut bench, ann) = Probe::with_peer(config);
    let dumb = bench.connect("/").unwrap();
    bench.fall_silent(dumb);
    bench.advance(ms(999));
    assert_eq!((bench.pings(ann), bench.pings(dumb)), (0, 0));
    bench.advance(ms(33));
    assert_eq!((bench.pings(ann), bench.pings(dumb)), (1, 1));
    bench.advance(ms(467));
    assert_eq!(bench.ending(dumb), None);
    bench.advance(ms(65));
    assert!(matches!(bench.ending(dumb), Some(Ending::Closed { code: Some(CloseCode::GOING_AWAY), .. })));
    assert_eq!(bench.handler().log, ["0 messages, the peer is silent"]);
    bench.advance(Duration::from_secs(60));
    assert_eq!((bench.ending(ann), bench.stats().timeouts), (None, 1));
    assert!((57..=60).contains(&bench.pings(ann)), "{}", bench.pings(ann));
}

/// By the millisecond, one at a time, and not of pongs that nobody asked for; nor of pings that the engine sends by itself.
#[test]
fn round_trips_are_told() {
    let (mut bench, ann) = Probe::with_peer(Config::default().idle_timeout(ms(1_000)));
    bench.send(ann, "ping");
    bench.run();
    assert_eq!(bench.handler().log, ["pinged: true", "pong after 0 ms"]);
    bench.stop_reading(ann);
    bench.send(ann, "ping");
    bench.send(ann, "ping");
    bench.advance(ms(30));
    bench.send_raw(ann, b"\x8a\x80\0\0\0\0");
    bench.send_raw(ann, b"\x8a\x88\0\0\0\0\0\0\0\0\0\0\0\0");
    bench.run();
    assert_eq!(bench.handler().log[2..], ["pinged: true", "pinged: false"]);
    bench.read_on(ann);
    bench.run();
    assert_eq!(bench.handler().log[4..], ["pong after 30 ms"]);
    bench.send(ann, "ping");
    bench.advance(ms(5_000));
    assert_eq!(bench.handler().log[5..], ["pinged: true", "pong after 0 ms"]);
    assert!(bench.pings(ann) > 3, "the engine pings by itself");
}

/// Half of a message, and no more: 1008 when its time is over, which is looked at twice.
#[test]
fn a_message_that_is_not_finished_is_not_waited_for() {
    let (mut bench, ann) = Probe::with_peer(Config::default().message_timeout(ms(300)));
    bench.send_raw(ann, b"\x81\x85\0\0\0\0he");
    bench.advance(ms(299));
    assert_eq!(bench.ending(ann), None);
    bench.advance(ms(300));
    assert!(matches!(bench.ending(ann), Some(Ending::Closed { code: Some(CloseCode::POLICY), .. })));
    let (mut bench, ann) = Probe::with_peer(Config::default().message_timeout(ms(300)));
    bench.send_raw(ann, b"\x81\x85\0\0\0\0he");
    bench.advance(ms(299));
    bench.send_raw(ann, b"llo");
    bench.advance(ms(1_000));
    assert_eq!((bench.take_texts(ann), bench.ending(ann)), (vec!["hello".to_owned()], None));
}

/// Nothing of it is read by who has stopped reading: not even the end.
#[test]
fn who_takes_nothing_is_cut_in_the_end() {
    let config = Config::default().send_timeout(ms(1_000)).output_high_bytes(100_000).output_low_bytes(0);
    let (mut bench, ann) = Probe::with_peer(config);
    bench.stop_reading(ann);
    bench.send(ann, "flood 200");
    bench.advance(ms(3_000));
    assert_eq!((bench.ending(ann), bench.stats().timeouts), (None, 1));
    assert_eq!(bench.handler().log.last().expect("it is over"), "1 messages, the peer is silent");
    bench.read_on(ann);
    assert_eq!(bench.ending(ann), Some(Ending::Reset));
}
