//! Single things that random sequences come to too seldom, or cannot see.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::follow::{Stage, payloads, told};
use super::outputs::Got;
use crate::engine::topics::pieces::PIECE;
use crate::engine::topics::*;
use crate::ring::Time;

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

/// Otherwise a key that was sent a moment ago would have all topics looked at in each pass.
#[test]
fn a_key_that_was_sent_is_due_when_its_interval_is_over() {
    let mut stage = Stage::with(0, &[Delivery::conflate().at_most(Duration::from_millis(100))]);
    assert_eq!(stage.topics.next_due(at(0)), None);
    stage.hurry(0);
    stage.publish(0, 1, "a");
    assert_eq!(stage.topics.next_due(at(0)), Some(at(128)));
    assert!(!stage.topics.is_due(at(127)) && stage.topics.is_due(at(128)));
    stage.at(128);
    assert_eq!(stage.topics.next_due(at(128)), None);
    assert!(!stage.topics.is_due(at(1_000)));
}

#[test]
fn a_connection_that_misses_much_is_told_once() {
    let mut stage = Stage::with(0, &[Delivery::drop_newest(0)]);
    for round in 0..2 {
        for _ in 0..100 {
            stage.publish(0, 1, "a");
        }
        // Its lane is looked at for other reasons, too.
        stage.take(0);
        assert_eq!(stage.topics.take_lagged(), [0], "{round}");
        assert_eq!(stage.topics.lagged_of(0), Some(Lagged { dropped: 100, conflated: 0 }));
        assert_eq!((stage.topics.take_lagged().len(), stage.topics.lagged_of(0)), (0, None));
    }
}

/// One that has room for four bytes and no more: those that follow beside it are not looked at for its sake, however values alternate.
#[test]
fn one_that_is_at_its_cap_has_nobody_else_looked_at() {
    let mut deliveries = [Delivery::conflate(); 5];
    deliveries[2] = Delivery::conflate().bytes_max(PIECE + 4);
    let mut stage = Stage::with(0, &deliveries);
    for value in ["1234", "1234", "12345"] {
        stage.publish(0, 1, value);
    }
    assert_eq!(stage.topics.looked_at, 5, "it is longer than all before");
    for _ in 0..50 {
        assert_eq!(told(stage.publish(0, 1, "1234")), [0, 1, 4, 0, 0]);
        assert_eq!(told(stage.publish(0, 1, "12")), [0, 0, 5, 0, 0]);
        assert_eq!(told(stage.publish(0, 1, "12345")), [0, 0, 4, 0, 1]);
    }
    assert_eq!((stage.topics.looked_at, stage.followers(0)), (5, 4));
    assert_eq!((stage.counts(2, 0), stage.counts(0, 0)), ([0, 0, 51, 102], [0, 1, 152, 0]));
}

/// Those in step, and between them others that were told another number last.
#[test]
fn what_is_written_for_those_in_step_is_written_once() {
    let mut stage = Stage::new();
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    let write = move |update: &Update<'_>, into: &mut Vec<u8>| {
        count.set(count.get() + 1);
        let (key, payload) = (update.key.expect("it has one"), std::str::from_utf8(update.payload).expect("text"));
        let line = format!("2|{key}|{}|{}|{}|false|0|{payload}", update.seq, update.prev, update.merged);
        into.extend_from_slice(line.as_bytes());
    };
    drop(stage.topics.configure(2, Topic::default().write(write)));
    for conn in 0..6 {
        stage.hurry(conn);
        let rated = Delivery::conflate().at_most(Duration::from_secs(3_600));
        let delivery = if conn % 2 == 0 { Delivery::conflate() } else { rated };
        stage.topics.subscribe(conn, 2, delivery, &mut stage.out).expect("it may");
    }
    for (key, sent, times) in [(1, 6, 1), (1, 3, 1), (2, 6, 2)] {
        written.set(0);
        assert_eq!((stage.publish(2, key, "a").sent, written.get()), (sent, times));
    }
    for conn in 0..6 {
        let prevs: Vec<u64> = stage.got(conn).iter().map(|got| got.prev).collect();
        assert_eq!(prevs, if conn % 2 == 0 { vec![0, 1, 2] } else { vec![0, 1] });
    }
}

const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(100);

/// What the first connection, which takes all that it is given, has got by then.
fn by(stage: &mut Stage, ms: u64) -> Vec<String> {
    stage.at(ms);
    let got = stage.take(0);
    stage.hurry(0);
    payloads(&got).into_iter().map(str::to_owned).collect()
}

fn change(stage: &mut Stage, delivery: Delivery) {
    assert!(!stage.topics.subscribe(0, 0, delivery, &mut stage.out).expect("it has").is_new);
}

/// Otherwise what the old one holds is withheld for its hour.
#[test]
fn another_interval_counts_from_when_a_key_was_sent() {
    let [long, short] = [LONG, SHORT].map(|interval| Delivery::conflate().at_most(interval));
    let mut stage = Stage::with(0, &[long]);
    stage.hurry(0);
    for (key, payload) in [(1, "a"), (2, "b"), (1, "c")] {
        stage.publish(0, key, payload);
    }
    assert_eq!(by(&mut stage, 50), ["a", "b"]);
    change(&mut stage, short);
    stage.publish(0, 2, "d");
    assert!(by(&mut stage, 127).is_empty());
    let mut both = by(&mut stage, 128);
    both.sort();
    assert_eq!(both, ["c", "d"]);
    // Time that is over is over at once, whether something is held or not.
    change(&mut stage, long);
    stage.publish(0, 1, "e");
    assert!(by(&mut stage, 500).is_empty());
    change(&mut stage, short);
    assert_eq!(by(&mut stage, 500), ["e"]);
    assert_eq!(stage.topics.pieces.0.len(), 1, "one key that was sent a moment ago");
    // And a longer one holds what the shorter one held.
    stage.publish(0, 1, "f");
    change(&mut stage, long);
    assert!(by(&mut stage, 10_000).is_empty());
    change(&mut stage, Delivery::conflate());
    assert_eq!(by(&mut stage, 10_000), ["f"]);
}

/// One that was held goes in front of a trade; what is newer than that has to wait on.
#[test]
fn a_key_goes_once_an_interval_on_both_sides_of_what_may_not_be_conflated() {
    let trade = Publish::default().must_not_conflate();
    let mut stage = Stage::with(0, &[Delivery::conflate().at_most(SHORT)]);
    stage.hurry(0);
    stage.publish_each(0, &["a", "b"]);
    stage.publish_as(0, trade, "trade");
    stage.publish(0, 1, "c");
    assert_eq!(by(&mut stage, 0), ["a", "b", "trade"]);
    stage.publish(0, 1, "d");
    assert_eq!((by(&mut stage, 127), by(&mut stage, 128)), (vec![], vec!["d".to_owned()]));
    // The same where the first of them waits for its socket, which takes a while.
    stage.out.all[0].sending = true;
    stage.at(1_000);
    stage.publish(0, 1, "e");
    stage.publish_as(0, trade, "trade");
    stage.publish(0, 1, "f");
    stage.at(9_000);
    assert_eq!(stage.topics.next_due(at(9_000)), None, "nobody knows when the first goes");
    assert_eq!(by(&mut stage, 10_000), ["e", "trade"]);
    assert_eq!((by(&mut stage, 10_127), by(&mut stage, 10_128)), (vec![], vec!["f".to_owned()]));
}

/// What it was held behind is gone, and the key was sent a moment ago all the same.
#[test]
fn what_is_held_behind_one_that_is_dropped_waits_for_its_time() {
    let mut stage = Stage::with(0, &[Delivery::drop_oldest(2).at_most(SHORT)]);
    stage.hurry(0);
    stage.publish_each(0, &["a", "b"]);
    stage.publish_as(0, Publish::default().must_not_conflate(), "trade");
    stage.publish(0, 1, "c");
    assert_eq!(by(&mut stage, 0), ["a", "trade"]);
    assert_eq!((by(&mut stage, 127), by(&mut stage, 128)), (vec![], vec!["c".to_owned()]));
    // One of a key that was at rest leaves nothing to wait for.
    stage.out.all[0].sending = true;
    stage.at(1_000);
    stage.publish(0, 2, "d");
    stage.publish_as(0, Publish::default().must_not_conflate(), "trade");
    stage.publish(0, 2, "e");
    assert_eq!(by(&mut stage, 1_000), ["trade", "e"]);
}

/// It went to the lane for the sake of a trade and was dropped there, while an older one of its key still waited.
#[test]
fn what_was_held_behind_another_and_was_dropped_leaves_that_in_front() {
    let trade = Publish::default().must_not_conflate();
    let mut stage = Stage::with(0, &[]);
    stage.publish(0, 1, "a");
    let delivery = Delivery::drop_oldest(2).at_most(SHORT);
    assert_eq!(stage.topics.subscribe(0, 0, delivery, &mut stage.out).expect("it may").retained, 1);
    stage.publish_as(0, trade, "first");
    stage.publish(0, 1, "b");
    stage.publish_as(0, trade, "second");
    stage.publish(0, 2, "c");
    stage.publish(0, 1, "d");
    assert_eq!(by(&mut stage, 0), ["a", "c"]);
    assert_eq!((by(&mut stage, 127), by(&mut stage, 128)), (vec![], vec!["d".to_owned()]));
}

/// The numbers, and what a connection got with them.
fn numbers(got: &[Got]) -> Vec<(u64, u64, &str)> {
    got.iter().map(|got| (got.seq, got.prev, got.payload.as_str())).collect()
}

/// Otherwise a client that has the 1 of the old numbers takes the 2 of the new ones for what comes next.
#[test]
fn what_was_lost_of_a_key_that_was_removed_shows_when_its_numbers_begin_anew() {
    let remove = Publish::keyed(1).removes();
    for hurries in [false, true] {
        let mut stage = Stage::with(1, &[Delivery::drop_newest(1)]);
        stage.publish_each(1, &["a", "b"]);
        stage.publish_as(1, remove, "gone");
        stage.publish(1, 1, "c");
        assert_eq!(numbers(&stage.take(0)), [(1, 0, "a")]);
        if hurries {
            stage.hurry(0);
            stage.publish(1, 1, "d");
            assert_eq!(numbers(&stage.got(0)), [(2, 0, "d")]);
        } else {
            stage.publish(1, 1, "d");
            assert_eq!(numbers(&stage.take(0)), [(2, 0, "d")]);
        }
    }
    // The oldest are dropped, on both sides of a removal.
    let mut stage = Stage::with(1, &[Delivery::drop_oldest(2)]);
    stage.hurry(0);
    stage.publish(1, 1, "a");
    stage.out.all[0].sending = true;
    stage.publish_each(1, &["b", "c"]);
    stage.publish_as(1, remove, "gone");
    stage.publish_each(1, &["d", "e", "f"]);
    assert_eq!(numbers(&[stage.got(0), stage.take(0)].concat()), [(1, 0, "a"), (2, 0, "e"), (3, 2, "f")]);
}

/// What is newest stands for what was before a removal, and behind it.
#[test]
fn what_is_conflated_over_a_removal_begins_anew() {
    for delivery in [Delivery::conflate(), Delivery::merge(), Delivery::conflate().at_most(LONG)] {
        let mut stage = Stage::with(1, &[delivery; 2]);
        stage.hurry(0);
        stage.publish(1, 1, "a");
        stage.out.all[0].sending = true;
        stage.publish_each(1, &["b", "c"]);
        stage.publish_as(1, Publish::keyed(1).removes(), "gone");
        stage.publish_each(1, &["d", "e"]);
        stage.topics.flush(0, &mut stage.out);
        let newest = if delivery == Delivery::merge() { "d+e" } else { "e" };
        let got = stage.got(0);
        assert_eq!((numbers(&got), got[1].merged), (vec![(1, 0, "a"), (2, 0, newest)], 5), "{delivery:?}");
        // One whose messages are changed to wait as they are, and what it was last.
        stage.topics.subscribe(1, 1, Delivery::drop_oldest(9), &mut stage.out).expect("it has");
        assert_eq!(numbers(&stage.take(1)), [(2, 0, newest)]);
    }
}

/// Keys are the ids of orders, which come and go: nothing is kept of those that have gone.
#[test]
fn what_was_lost_of_keys_that_are_gone_is_forgotten() {
    for (delivery, most) in [
        (Delivery::drop_oldest(64), 1),
        (Delivery::drop_newest(64), 0),
        (Delivery::drop_newest(0), 0),
        (Delivery::conflate().bytes_max(64 * PIECE), 0),
        (Delivery::merge().bytes_max(64 * PIECE), 0),
    ] {
        let mut stage = Stage::with(1, &[delivery]);
        for order in 0..1_000 {
            stage.publish(1, order, "");
            stage.publish_as(1, Publish::keyed(order).removes(), "");
            assert!(stage.topics.lost_keys <= most + 1, "{delivery:?}: {} keys", stage.topics.lost_keys);
        }
        assert!(stage.topics.lost_keys <= most, "{delivery:?}: {} keys", stage.topics.lost_keys);
        while !stage.take(0).is_empty() {}
        let table = stage.topics.topics[1].as_ref().expect("it is configured");
        assert!(stage.topics.lost_keys == 0 && table.entries[0].in_step, "{delivery:?}");
    }
}

/// Its removal is lost while it waits, and then it is dropped itself.
#[test]
fn a_key_that_is_gone_is_forgotten_when_a_subscriber_has_caught_up() {
    let mut stage = Stage::with(1, &[Delivery::drop_oldest(2)]);
    stage.publish(1, 1, "a");
    stage.publish(1, 2, "b");
    assert_eq!(stage.publish_as(1, Publish::keyed(1).removes(), &"x".repeat(7_000)).dropped, 1);
    stage.publish(1, 2, "c");
    stage.publish(1, 3, "d");
    assert_eq!(stage.topics.lost_keys, 2);
    assert_eq!(numbers(&stage.take(0)), [(2, 0, "c"), (1, 0, "d")]);
    assert_eq!(stage.topics.lost_keys, 0);
}

#[test]
fn what_a_topic_retains_stays_as_long_as_it_has_room() {
    let mut stage = Stage::with(1, &[Delivery::conflate()]);
    stage.hurry(0);
    stage.publish_each(1, &["a", "b"]);
    for max in [20, 1] {
        stage.configure(1, Retain::LastPerKey { max });
        stage.publish(1, 1, "c");
    }
    assert_eq!(numbers(&stage.got(0)), [(1, 0, "a"), (2, 1, "b"), (3, 2, "c"), (4, 3, "c")]);
    stage.configure(1, Retain::LastPerKey { max: 2 });
    stage.publish(1, 2, "d");
    stage.topics.subscribe(1, 1, Delivery::conflate(), &mut stage.out).expect("it may");
    assert_eq!(numbers(&stage.take(1)), [(4, 0, "c"), (1, 0, "d")]);
    // Two keys and room for one: none is kept, and both begin anew.
    stage.configure(1, Retain::LastPerKey { max: 1 });
    stage.publish(1, 1, "e");
    assert_eq!(numbers(&stage.got(0)), [(1, 0, "d"), (1, 0, "e")]);
    assert_eq!(stage.topics.subscribe(2, 1, Delivery::conflate(), &mut stage.out).expect("it may").retained, 1);
}

/// Otherwise numbers of one kind are compared with those of another, and show gaps where none are, or none where some are.
#[test]
fn a_subscriber_of_numbers_of_another_kind_is_as_one_that_has_just_begun() {
    let mut stage = Stage::with(1, &[Delivery::conflate(), Delivery::drop_newest(1), Delivery::conflate()]);
    stage.hurry(0);
    stage.publish_each(1, &["a", "b"]);
    assert_eq!(stage.topics.lost_keys, 1);
    stage.configure(1, Retain::Last);
    assert_eq!(stage.topics.lost_keys, 0);
    stage.publish(1, 1, "c");
    let got = [stage.take(1), stage.take(2)].concat();
    assert_eq!(numbers(&got), [(0, 0, "a"), (3, 2, "c")], "what had waited has no number");
    stage.publish(1, 1, "d");
    assert_eq!(numbers(&[stage.take(1), stage.take(2)].concat()), [(4, 2, "d"), (4, 3, "d")]);
    stage.publish(1, 1, "e");
    stage.configure(1, Retain::LastPerKey { max: 5 });
    stage.publish(1, 2, "f");
    let got = [stage.take(1), stage.take(2)].concat();
    assert_eq!(numbers(&got), [(0, 0, "e"), (0, 0, "e"), (1, 0, "f")], "and the second has lost one");
    stage.publish(1, 2, "g");
    assert_eq!(numbers(&[stage.take(1), stage.take(2)].concat()), [(2, 0, "g"), (2, 1, "g")]);
    let all = [(1, 0, "a"), (2, 1, "b"), (3, 2, "c"), (4, 3, "d"), (5, 4, "e"), (1, 0, "f"), (2, 1, "g")];
    assert_eq!(numbers(&stage.got(0)), all);
    // And one that is told no numbers has nothing to miss.
    stage.publish_each(1, &["h", "i"]);
    assert_eq!(stage.topics.lost_keys, 1);
    drop(stage.topics.configure(1, Topic::default().retain(Retain::LastPerKey { max: 5 })));
    assert_eq!(stage.topics.lost_keys, 0);
}
