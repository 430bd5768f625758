//! Subscriptions that follow: what holds of them at any time, and each thing that can happen to one.

use std::collections::HashMap;

use wsring_proto::opcode::Opcode;

use super::outputs::{Got, Output, Outputs, parse};
use crate::engine::topics::pieces::{NONE, PIECE, Through};
use crate::engine::topics::*;
use crate::ring::Time;

/// Those that follow a topic, with their stamps, the youngest first.
fn followers(topics: &Topics, topic: u32) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    let mut sub = topics.topics[topic as usize].as_ref().map_or(NONE, |table| table.follower);
    while sub != NONE {
        let owner = &topics.subs[sub as usize];
        assert!(owner.topic == topic && all.last().is_none_or(|&(_, stamp)| stamp > owner.stamp));
        assert_eq!(owner.younger, all.last().map_or(NONE, |&(sub, _)| sub));
        all.push((sub, owner.stamp));
        sub = owner.older;
    }
    all
}

/// What holds whenever nothing is being published.
pub(super) fn check(topics: &Topics) {
    let find =
        |topic: u32, key| topics.newest.find(topic, key, topics.topics[topic as usize].as_ref().unwrap().stretch);
    let mut following: HashMap<u32, u32> = HashMap::new();
    let mut charged: HashMap<u32, u32> = HashMap::new();
    for (index, piece) in &topics.pieces.0 {
        if !piece.retained && piece.state != pieces::State::Cooling {
            *charged.entry(piece.sub).or_default() += piece.cost();
        }
        if piece.behind != NONE {
            let first = &topics.pieces.0[piece.behind as usize];
            assert_eq!((first.sub, first.key, first.state), (piece.sub, piece.key, pieces::State::Queued), "{piece:?}");
            assert!(piece.until.is_none() && first.newer == index as u32 && piece.stretch != first.stretch);
        } else if piece.state != pieces::State::Queued {
            assert!(piece.until.is_some(), "nothing will let it go: {piece:?}");
        }
        assert!(piece.newer == NONE || topics.pieces.0[piece.newer as usize].behind == index as u32);
        if piece.follows != NONE {
            *following.entry(piece.follows).or_default() += 1;
            let newest = &topics.newest.slab[piece.follows as usize];
            assert!(piece.charge >= newest.least && newest.least as usize >= newest.bytes.len(), "{newest:?}");
            assert!(topics.subs[piece.sub as usize].stamp > 0 && piece.key == newest.key && piece.bytes.is_empty());
        }
    }
    for (sub, owner) in &topics.subs {
        assert_eq!(charged.get(&(sub as u32)).copied().unwrap_or_default(), owner.waiting_bytes);
        let table = topics.topics[owner.topic as usize].as_ref().unwrap();
        assert_eq!(owner.stamp > 0, topics.may_follow(sub as u32), "it follows when it is to");
        match owner.stamp {
            0 => assert_eq!(table.entries[owner.place as usize].sub, sub as u32),
            stamp => {
                assert!(followers(topics, owner.topic).contains(&(sub as u32, stamp)) && owner.place == NONE);
                assert!(table.youngest >= stamp);
            }
        }
    }
    let all = topics.topics.iter().flatten();
    let listed: usize = all.map(|table| table.entries.len()).sum();
    let following_all: usize = (0..topics.topics.len()).map(|topic| followers(topics, topic as u32).len()).sum();
    assert_eq!(listed + following_all, topics.subs.len());
    for (at, newest) in &topics.newest.slab {
        assert_eq!(following.get(&(at as u32)), Some(&newest.pieces), "{newest:?}");
        if find(newest.topic, newest.key) != at as u32 {
            continue; // of a stretch that is over
        }
        for (sub, stamp) in followers(topics, newest.topic) {
            let mut own = topics.pieces.0.iter().map(|(_, piece)| piece);
            let follows = own.any(|piece| piece.sub == sub && piece.follows == at as u32);
            let is_bare = newest.bare.contains(&(sub, stamp));
            let reached = [follows, is_bare, stamp > newest.seen].map(u32::from).iter().sum::<u32>();
            assert_eq!(reached, 1, "of {stamp}: it follows {follows}, is bare {is_bare}, or new: {newest:?}");
        }
    }
    assert_eq!(topics.held_bytes(), topics.found_bytes());
}

/// A topic 0 without numbers of its own for keys, 1 with, and connections that take nothing while they are slow.
pub(super) struct Stage {
    pub(super) topics: Topics,
    pub(super) out: Outputs,
}

const ALL: u32 = 6;

impl Stage {
    pub(super) fn new() -> Self {
        let mut topics = Topics::new(7);
        for (topic, retain) in [(0, Retain::Last), (1, Retain::LastPerKey { max: 10 })] {
            drop(topics.configure(topic, Self::how(topic, retain)));
        }
        let mut out = Outputs::default();
        out.all.resize_with(ALL as usize, || Output { open: true, sending: true, ..Output::default() });
        Self { topics, out }
    }

    /// A topic that has numbers, and merges.
    pub(super) fn how(topic: u32, retain: Retain) -> Topic {
        let write = move |update: &Update<'_>, into: &mut Vec<u8>| {
            let Update { key, seq, prev, merged, removes, .. } = *update;
            let key = key.map_or_else(|| "-".to_owned(), |key| key.to_string());
            let payload = std::str::from_utf8(update.payload).expect("text");
            into.extend_from_slice(format!("{topic}|{key}|{seq}|{prev}|{merged}|{removes}|0|{payload}").as_bytes());
        };
        let merge = |old: &[u8], new: &[u8], into: &mut Vec<u8>| into.extend_from_slice(&[old, b"+", new].concat());
        Topic::default().retain(retain).write(write).merge(merge)
    }

    /// A topic is set up otherwise.
    pub(super) fn configure(&mut self, topic: u32, retain: Retain) {
        drop(self.topics.configure(topic, Self::how(topic, retain)));
        check(&self.topics);
    }

    /// Connections that take nothing have subscribed.
    pub(super) fn with(topic: u32, deliveries: &[Delivery]) -> Self {
        let mut stage = Self::new();
        for (conn, delivery) in (0..).zip(deliveries) {
            stage.topics.subscribe(conn, topic, *delivery, &mut stage.out).expect("it may");
        }
        stage
    }

    pub(super) fn publish(&mut self, topic: u32, key: u64, payload: &str) -> Published {
        self.publish_as(topic, Publish::keyed(key), payload)
    }

    /// With the same key.
    pub(super) fn publish_each(&mut self, topic: u32, payloads: &[&str]) {
        for payload in payloads {
            self.publish(topic, 1, payload);
        }
    }

    pub(super) fn publish_as(&mut self, topic: u32, how: Publish, payload: &str) -> Published {
        let Publish { key, fixed, removes } = how;
        let (opcode, bytes, now) = (Opcode::Text, payload.as_bytes(), self.topics.now);
        let published = self.topics.publish(topic, Told { key, opcode, bytes, now, removes, fixed }, &mut self.out);
        check(&self.topics);
        published
    }

    /// What a connection gets that takes one chunk, or all.
    pub(super) fn take(&mut self, conn: u32) -> Vec<Got> {
        let output = &mut self.out.all[conn as usize];
        (output.sending, output.queued) = (false, 0);
        self.topics.drain(conn, &mut self.out);
        check(&self.topics);
        self.out.all[conn as usize].sending = true;
        self.got(conn)
    }

    /// What a connection has got meanwhile.
    pub(super) fn got(&mut self, conn: u32) -> Vec<Got> {
        self.out.all[conn as usize].log.drain(..).map(|line| parse(&line)).collect()
    }

    /// It takes all that it is given from now on.
    pub(super) fn hurry(&mut self, conn: u32) {
        (self.out.all[conn as usize].sending, self.out.all[conn as usize].queued) = (false, 0);
    }

    /// So many milliseconds after the beginning, and all that is due has come.
    pub(super) fn at(&mut self, ms: u64) {
        self.topics.set_now(Time::from_nanos(ms * 1_000_000), ms);
        self.topics.expire(&mut self.out);
        check(&self.topics);
    }

    pub(super) fn counts(&self, conn: u32, topic: u32) -> [u64; 4] {
        let Counts { sent, waiting, conflated, dropped, .. } = self.topics.counts(conn, topic).expect("it subscribes");
        [sent, waiting, conflated, dropped]
    }

    pub(super) fn followers(&self, topic: u32) -> usize {
        followers(&self.topics, topic).len()
    }
}

pub(super) fn told(published: Published) -> [u32; 5] {
    let Published { sent, waiting, conflated, dropped, refused } = published;
    [sent, waiting, conflated, dropped, refused]
}

pub(super) fn payloads(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.payload.as_str()).collect()
}

#[test]
fn a_publish_does_not_come_to_those_that_follow_and_they_get_the_newest() {
    let mut stage = Stage::with(0, &[Delivery::conflate(); 2]);
    assert_eq!(told(stage.publish(0, 1, "0000")), [0, 2, 0, 0, 0]);
    assert_eq!(told(stage.publish(0, 1, "0001")), [0, 0, 2, 0, 0]);
    let places = |stage: &Stage| {
        let pieces = stage.topics.pieces.0.iter().map(|(_, piece)| (piece.merged, piece.seq, piece.charge));
        (pieces.collect::<Vec<_>>(), stage.topics.newest.slab[0].bytes.memory(), stage.topics.held_bytes())
    };
    let before = places(&stage);
    for number in 2..100 {
        assert_eq!(told(stage.publish(0, 1, &format!("{number:04}"))), [0, 0, 2, 0, 0]);
        assert_eq!(stage.counts(1, 0), [0, 1, number, 0]);
    }
    assert_eq!(places(&stage), before, "nothing was done for any of them, nor memory taken");
    assert_eq!((stage.followers(0), stage.topics.totals.conflated), (2, 198));
    assert_eq!(stage.topics.sum(0), (stage.topics.counts(0, 0).expect("it subscribes"), 1));
    let got = stage.take(0);
    assert_eq!((payloads(&got), got[0].seq, got[0].prev, got[0].merged), (vec!["0099"], 100, 0, 100));
    assert_eq!(stage.counts(0, 0), [1, 0, 99, 0]);
    assert_eq!(stage.topics.lagged_of(0), Some(Lagged { dropped: 0, conflated: 99 }));
    // The other goes on by itself, and the first begins anew.
    assert_eq!(told(stage.publish(0, 1, "0100")), [0, 1, 1, 0, 0]);
    assert_eq!((payloads(&stage.take(1)), payloads(&stage.take(0))), (vec!["0100"], vec!["0100"]));
    assert_eq!((stage.counts(0, 0), stage.counts(1, 0)), ([2, 0, 99, 0], [1, 0, 100, 0]));
    assert_eq!((stage.followers(0), stage.topics.held_bytes()), (0, 0));
}

#[test]
fn a_publish_comes_to_one_whose_piece_of_the_key_has_gone_and_to_one_that_is_new() {
    let mut stage = Stage::with(1, &[Delivery::conflate(); 3]);
    let long = "x".repeat(200);
    for key in 1..=4 {
        stage.publish(1, key, &long);
    }
    // Two pieces fill an output.
    assert_eq!(stage.take(0).iter().map(|got| got.key).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(told(stage.publish(1, 1, "new")), [0, 1, 2, 0, 0]);
    assert_eq!(told(stage.publish(1, 3, "new")), [0, 0, 3, 0, 0]);
    stage.topics.subscribe(3, 1, Delivery::conflate(), &mut stage.out).expect("it may");
    assert_eq!(stage.followers(1), 4, "what was retained waits for it");
    assert_eq!(
        told(stage.publish(1, 2, "newer")),
        [0, 2, 2, 0, 0],
        "to the first, and it counts where it was retained"
    );
    assert_eq!(told(stage.publish(1, 2, "newest")), [0, 0, 4, 0, 0]);
    let got = stage.take(0);
    let of = |key| got.iter().find(|got| got.key == Some(key)).map(|got| (got.payload.as_str(), got.prev, got.merged));
    assert_eq!((of(3), of(1)), (Some(("new", 0, 2)), Some(("new", 1, 1))));
    let got = [stage.take(3), stage.take(3)].concat();
    let second = got.iter().find(|got| got.key == Some(2)).expect("it came");
    assert_eq!((second.payload.as_str(), second.merged, second.seq), ("newest", 2, 3));
    assert_eq!(stage.counts(3, 1), [1, 0, 1, 0]);
}

#[test]
fn a_message_that_may_not_be_conflated_goes_between_what_was_older_and_what_is_newer() {
    let mut stage = Stage::with(0, &[Delivery::conflate(); 2]);
    for (how, payload) in [
        (Publish::keyed(1), "a"),
        (Publish::keyed(1), "b"),
        (Publish::default().must_not_conflate(), "trade"),
        (Publish::keyed(1), "c"),
        (Publish::keyed(1), "d"),
    ] {
        assert_eq!(stage.publish_as(0, how, payload).subscribers(), 2);
    }
    for conn in 0..2 {
        assert_eq!(payloads(&stage.take(conn)), ["b", "trade", "d"]);
        assert_eq!(stage.counts(conn, 0), [3, 0, 2, 0]);
    }
}

#[test]
fn a_delivery_that_is_changed_has_what_waits_as_it_was_last() {
    for (delivery, expected, counts) in [
        (Delivery::queue(), vec!["b", "d"], [2, 1, 1, 0]),
        (Delivery::merge(), vec!["b+c+d"], [1, 0, 3, 0]),
        (Delivery::drop_newest(1), vec!["b"], [1, 0, 1, 2]),
        (Delivery::conflate().bytes_max(500), vec!["d"], [1, 0, 3, 0]),
    ] {
        let mut stage = Stage::with(0, &[Delivery::conflate(); 2]);
        stage.publish_each(0, &["a", "b"]);
        stage.topics.subscribe(0, 0, delivery, &mut stage.out).expect("it has subscribed");
        check(&stage.topics);
        stage.publish_each(0, &["c", "d"]);
        if delivery == Delivery::queue() {
            // Those that came since wait in the output, behind what waits in the lane.
            assert_eq!(stage.counts(0, 0)[2], 1);
            let got = stage.take(0);
            assert_eq!(payloads(&got), ["b", "c", "d"]);
        } else {
            assert_eq!(payloads(&stage.take(0)), expected, "{delivery:?}");
            assert_eq!(stage.counts(0, 0), counts, "{delivery:?}");
        }
        assert_eq!((payloads(&stage.take(1)), stage.counts(1, 0)), (vec!["d"], [1, 0, 3, 0]));
        // And back.
        stage.topics.subscribe(0, 0, Delivery::conflate(), &mut stage.out).expect("it has subscribed");
        stage.publish_each(0, &["e", "f"]);
        assert_eq!((payloads(&stage.take(0)), stage.followers(0)), (vec!["f"], 1));
    }
}

#[test]
fn one_that_follows_may_end_and_the_others_go_on() {
    let mut stage = Stage::with(0, &[Delivery::conflate(); 3]);
    stage.publish_each(0, &["a", "b", "c"]);
    let counts = stage.topics.unsubscribe(0, 0, &mut stage.out).expect("it had subscribed");
    assert_eq!((counts.published, counts.conflated, counts.dropped), (3, 2, 1));
    check(&stage.topics);
    stage.topics.end(1, &mut stage.out);
    check(&stage.topics);
    assert_eq!(told(stage.publish(0, 1, "d")), [0, 0, 1, 0, 0]);
    // One that takes the place of another is not taken for it.
    stage.topics.subscribe(0, 0, Delivery::conflate(), &mut stage.out).expect("it may");
    assert_eq!(told(stage.publish(0, 1, "e")), [0, 1, 1, 0, 0]);
    assert_eq!((payloads(&stage.take(0)), payloads(&stage.take(2))), (vec!["e"], vec!["e"]));
    assert_eq!((stage.counts(0, 0), stage.counts(2, 0)), ([1, 0, 0, 0], [1, 0, 4, 0]));
    assert_eq!(stage.topics.held_bytes(), 0);
}

#[test]
fn a_longer_message_has_room_or_takes_the_older_one_along() {
    let at_most = |len: u32| Delivery::conflate().bytes_max(PIECE + len);
    let mut stage = Stage::with(0, &[at_most(10), at_most(9), Delivery::conflate()]);
    stage.publish(0, 1, "12345678");
    assert_eq!(told(stage.publish(0, 1, "123")), [0, 0, 3, 0, 0]);
    assert_eq!(told(stage.publish(0, 1, "123456789")), [0, 0, 3, 0, 0], "it is at the cap of one");
    assert_eq!(told(stage.publish(0, 1, "1234567890")), [0, 0, 2, 0, 1], "and past it");
    assert_eq!((stage.counts(1, 0), stage.followers(0)), ([0, 0, 2, 2], 2));
    assert_eq!(told(stage.publish(0, 1, "12345")), [0, 1, 2, 0, 0], "a shorter one fits");
    for (conn, merged) in [(0, 5), (1, 1), (2, 5)] {
        let got = stage.take(conn);
        assert_eq!((payloads(&got), got[0].merged), (vec!["12345"], merged));
    }
    assert_eq!(stage.topics.held_bytes(), 0);
}

/// Otherwise each message that is longer than the last of a newcomer would come to all of them.
#[test]
fn a_newcomer_counts_as_much_as_those_that_it_follows_with_if_that_fits() {
    let mut stage = Stage::with(0, &[Delivery::conflate(); 2]);
    stage.publish_each(0, &["x".repeat(100).as_str(); 2]);
    stage.topics.subscribe(2, 0, Delivery::queue(), &mut stage.out).expect("it may");
    stage.take(2);
    stage.topics.subscribe(2, 0, Delivery::conflate().bytes_max(2 * PIECE + 120), &mut stage.out).expect("it may");
    stage.publish(0, 1, "x");
    stage.publish(0, 2, "x");
    let charges = |stage: &Stage| stage.topics.pieces.0.iter().map(|(_, piece)| piece.charge).collect::<Vec<_>>();
    assert_eq!(charges(&stage), [100, 100, 100, 1, 1, 1]);
    assert_eq!(told(stage.publish(0, 2, &"x".repeat(20))), [0, 0, 3, 0, 0]);
    assert_eq!(told(stage.publish(0, 2, &"x".repeat(21))), [0, 0, 2, 0, 1], "the first counts as much as it did");
    assert_eq!(charges(&stage).iter().filter(|charge| **charge == 100).count(), 3);
}

#[test]
fn a_key_that_is_taken_away_is_the_newest_too() {
    let mut stage = Stage::with(1, &[Delivery::conflate(); 2]);
    stage.publish_each(1, &["a", "b"]);
    stage.publish_as(1, Publish::keyed(1).removes(), "gone");
    let got = stage.take(0);
    assert_eq!((payloads(&got), got[0].removes, got[0].seq, got[0].merged), (vec!["gone"], true, 3, 3));
    stage.publish(1, 1, "c");
    let got = stage.take(1);
    assert_eq!((payloads(&got), got[0].removes, got[0].seq, got[0].merged), (vec!["c"], false, 1, 4));
    let got = stage.take(0);
    assert_eq!((payloads(&got), got[0].seq, got[0].prev), (vec!["c"], 1, 0));
}

#[test]
fn those_that_merge_and_those_that_follow_stand_beside_each_other() {
    let deliveries = [Delivery::conflate(), Delivery::merge(), Delivery::drop_oldest(2), Delivery::conflate()];
    let mut stage = Stage::with(0, &deliveries);
    assert_eq!(told(stage.publish(0, 1, "a")), [0, 4, 0, 0, 0]);
    assert_eq!(told(stage.publish(0, 1, "b")), [0, 1, 3, 0, 0]);
    assert_eq!(told(stage.publish(0, 1, "c")), [0, 0, 3, 1, 0]);
    let all = [vec!["c"], vec!["a+b+c"], vec!["b", "c"], vec!["c"]];
    for (conn, expected) in (0..).zip(all) {
        assert_eq!(payloads(&stage.take(conn)), expected);
    }
    assert_eq!(stage.topics.held_bytes(), 0);
}

#[test]
fn what_is_closed_by_the_application_goes_as_it_is_newest() {
    let mut stage = Stage::with(0, &[Delivery::conflate(); 2]);
    stage.publish_each(0, &["a", "b", "c"]);
    stage.topics.flush(0, &mut stage.out);
    check(&stage.topics);
    assert_eq!(stage.out.all[0].log.len(), 1);
    assert_eq!(parse(&stage.out.all[0].log[0]).payload, "c");
    let piece = stage.topics.subs[1].own.first;
    assert_eq!(stage.topics.pieces.next(piece, Through::Own), NONE);
}

/// What is dropped for a longer message may have others behind it that were lost before: all of them are missing then.
#[test]
fn a_gap_in_front_of_a_gap_is_one() {
    let mut stage = Stage::with(1, &[Delivery::merge()]);
    stage.publish(1, 1, "first");
    assert_eq!(stage.take(0).len(), 1);
    stage.publish(1, 1, &"x".repeat(3_000));
    assert_eq!(stage.publish(1, 1, &"y".repeat(3_500)).refused, 1, "merged they are too long");
    stage.topics.subscribe(0, 1, Delivery::conflate(), &mut stage.out).expect("it may");
    assert_eq!(stage.publish(1, 1, &"z".repeat(7_000)).refused, 1);
    stage.publish(1, 1, "last");
    let got = stage.take(0);
    assert_eq!(got.iter().map(|got| (got.seq, got.prev, got.payload.as_str())).collect::<Vec<_>>(), [(5, 1, "last")]);
}
