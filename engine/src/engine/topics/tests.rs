//! Random sequences of everything, against what each subscriber must see.

mod acts;
mod follow;
mod outputs;
mod single;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use wsring_proto::close::CloseCode;
use wsring_proto::opcode::Opcode;

use self::acts::{Act, act, delivery};
use self::outputs::{Output, Outputs, parse, parse_idx};
use self::views::{Facts, Key, Known, Place, View, drop_places};
use super::delivery::Policy;
use super::*;
use crate::engine::planted::{Bug, plant};
use crate::ring::Time;

const CONNS: u32 = 4;
const TOPICS: u32 = 4;
const OUTPUT_MAX: u32 = 6_000;
const SUBSCRIPTIONS_MAX: u32 = 3;

struct Bench {
    topics: Topics,
    out: Outputs,
    views: BTreeMap<(u32, u32), View>,
    lanes: Vec<Vec<Place>>,
    /// Of each connection: what was dropped and conflated in its lane, as told and as known; unless that is not known.
    lagged: Vec<(Lagged, Lagged, bool)>,
    /// Of each connection: a subscription that has ended may have queued what is still in its output.
    left: Vec<bool>,
    facts: Vec<Facts>,
    known: Vec<Known>,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let mut topics = Topics::new(0x1234_5678_9abc);
        let mut facts: Vec<Facts> = (0..TOPICS).map(|_| Facts::default()).collect();
        let retains = [Retain::No, Retain::Last, Retain::LastPerKey { max: 4 }, Retain::LastPerKey { max: 100 }];
        for (topic, retain) in (0..).zip(retains) {
            topics.configure(topic, how(topic, retain));
            facts[topic as usize] = Facts { retain, mixed: topic < 2, ..Facts::default() };
        }
        let mut out = Outputs::default();
        out.all.resize_with(CONNS as usize, || Output { open: true, ..Output::default() });
        let known = vec![Known { topic: 0, key: None, fixed: false, removes: false, seq: 0 }];
        let lanes = vec![Vec::new(); CONNS as usize];
        let lagged = vec![(Lagged::default(), Lagged::default(), true); CONNS as usize];
        let left = vec![false; CONNS as usize];
        Self { topics, out, views: BTreeMap::new(), lanes, lagged, left, facts, known, now: Time::default() }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Subscribe { conn, topic, how, every } => self.subscribe(conn, topic, delivery(how, every)),
            Act::Unsubscribe { conn, topic } => {
                let counts = self.topics.unsubscribe(conn, topic, &mut self.out);
                assert_eq!(counts.is_some(), self.views.contains_key(&(conn, topic)));
                if let Some(counts) = counts {
                    let view = self.views.remove(&(conn, topic)).expect("it is there");
                    self.left[conn as usize] |= !view.delivery.has_lane() || view.changed;
                    self.lanes[conn as usize].retain(|place| place.topic != topic);
                    assert_eq!(counts.waiting, 0);
                    self.lagged[conn as usize].2 = false;
                }
            }
            Act::Configure { topic, retain } => self.configure(topic, retain),
            Act::Publish { topic, key, kind, len } => self.publish(topic, key, kind, len),
            Act::PublishAll { topic, len } => (0..18).for_each(|key| self.publish(topic, key % 6, 5, len)),
            Act::SlowAll { topic } => (0..CONNS).for_each(|conn| {
                self.subscribe(conn, topic, Delivery::conflate());
                self.out.all[conn as usize].slow = true;
            }),
            Act::Slow { conn, slow } => self.out.all[conn as usize].slow = slow,
            Act::Complete { conn } => {
                let output = &mut self.out.all[conn as usize];
                if output.sending {
                    (output.sending, output.queued) = (false, 0);
                }
                self.settle(conn);
            }
            Act::Pass => self.pass(),
            Act::End { conn } => self.end(conn),
            Act::Later { ms } => {
                self.now = self.now.plus(Duration::from_millis(ms.into()));
                self.topics.set_now(self.now, self.now.as_nanos());
                self.topics.expire(&mut self.out);
                self.pass();
            }
        }
        self.check();
    }

    fn pass(&mut self) {
        (0..CONNS).for_each(|conn| self.settle(conn));
        for conn in self.topics.take_lagged() {
            let Some(lagged) = self.topics.lagged_of(conn) else { continue };
            assert!(self.topics.waits_since(conn).is_none(), "told before all had gone");
            let told = &mut self.lagged[conn as usize].0;
            (told.dropped, told.conflated) = (told.dropped + lagged.dropped, told.conflated + lagged.conflated);
        }
    }

    fn settle(&mut self, conn: u32) {
        loop {
            if self.out.all[conn as usize].waits && !self.out.all[conn as usize].sending {
                self.topics.drain(conn, &mut self.out);
            }
            self.receive(conn);
            let output = &mut self.out.all[conn as usize];
            assert!(!output.waits || output.queued > 0, "something waits, and nothing will bring it on its way");
            output.sending |= output.queued > 0;
            if output.slow || !output.sending {
                return;
            }
            (output.sending, output.queued) = (false, 0);
        }
    }

    fn end(&mut self, conn: u32) {
        self.out.all[conn as usize].open = false;
        self.topics.end(conn, &mut self.out);
        self.receive(conn);
        self.views.retain(|(owner, _), _| *owner != conn);
        self.lanes[conn as usize].clear();
        self.lagged[conn as usize] = (Lagged::default(), Lagged::default(), true);
        assert!(self.topics.sum(conn) == (Counts::default(), 0) && self.topics.waits_since(conn).is_none());
        self.out.all[conn as usize] = Output { open: true, ..Output::default() };
    }

    /// What is retained stays where it may.
    fn configure(&mut self, topic: u32, retain: Retain) {
        drop(self.topics.configure(topic, how(topic, retain)));
        let facts = &mut self.facts[topic as usize];
        if facts.set(retain) {
            let count = facts.count;
            self.known.iter_mut().filter(|known| known.topic == topic).for_each(|known| known.seq = 0);
            self.views.iter_mut().filter(|((_, of), _)| *of == topic).for_each(|(_, view)| view.begin_anew(count));
        }
    }

    fn subscribe(&mut self, conn: u32, topic: u32, delivery: Delivery) {
        let facts = &self.facts[topic as usize];
        let seq_of = |key: Key| if facts.is_per_key() { facts.last[&key] } else { facts.count };
        let values: BTreeMap<Key, (u64, String)> =
            facts.value.iter().map(|(key, value)| (*key, (seq_of(*key), value.clone()))).collect();
        let (count, last) = (facts.count, facts.last.clone());
        let mine = self.views.keys().filter(|(owner, _)| *owner == conn).count();
        let subscribed = self.topics.subscribe(conn, topic, delivery, &mut self.out);
        if let Some(view) = self.views.get_mut(&(conn, topic)) {
            assert_eq!(subscribed, Ok(Subscribed { is_new: false, retained: 0 }));
            view.changed |= view.delivery != delivery;
            view.stretch +=
                u32::from(view.delivery != delivery && !(view.delivery.conflates() && delivery.conflates()));
            view.change(delivery, self.now, self.known.len() as u64);
            let counts = self.topics.counts(conn, topic).expect("it subscribes");
            let dropped = counts.dropped - view.before.dropped;
            view.before = counts;
            drop_places(&mut self.lanes[conn as usize], topic, dropped);
            self.lagged[conn as usize].2 = false;
            return self.receive(conn);
        }
        match subscribed {
            Err(SubscribeError::TooMany) => return assert_eq!(mine, 3),
            Err(SubscribeError::NoRoom) => return assert!(!values.is_empty()),
            _ => {}
        }
        assert!(mine < 3);
        assert_eq!(subscribed, Ok(Subscribed { is_new: true, retained: values.len() as u32 }));
        // Told, or waiting: as many as are not told have a place.
        let has_values = !values.is_empty();
        let keys: Vec<Key> = values.keys().copied().collect();
        let view = View {
            delivery,
            published: count,
            begun: self.known.len() as u64,
            counted: 0,
            merged: 0,
            retained: values,
            last,
            highest: if has_values { 0 } else { count },
            newest: BTreeMap::new(),
            fixed: 0,
            any: 0,
            stretch: 0,
            before: Counts::default(),
            changed: false,
            sent: BTreeMap::new(),
            free: BTreeMap::new(),
            rated_from: 0,
        };
        self.views.insert((conn, topic), view);
        let before = self.lanes[conn as usize].len();
        self.receive_with(conn, true);
        assert!(before == 0 || self.lanes[conn as usize].len() == before);
        let left: Vec<Key> =
            keys.into_iter().filter(|key| self.views[&(conn, topic)].retained.contains_key(key)).collect();
        for key in left {
            self.lanes[conn as usize].push(Place {
                topic,
                key,
                since: self.now,
                retained: true,
                was_retained: true,
                fixed: false,
                stretch: 0,
            });
        }
    }

    fn publish(&mut self, topic: u32, key: u8, kind: u8, len: u8) {
        let key = (key > 0).then_some(u64::from(key));
        let (removes, fixed) = (kind == 0 && key.is_some(), kind == 1);
        let idx = self.known.len() as u64;
        let payload = format!("{idx}{}", ".".repeat(len.into()));
        let facts = &mut self.facts[topic as usize];
        let (seq, per_key) = (facts.publish(key, removes, fixed, &payload), facts.is_per_key());
        self.known.push(Known { topic, key, fixed, removes, seq });
        let told = Told { key, opcode: Opcode::Text, bytes: payload.as_bytes(), now: self.now, removes, fixed };
        let published = self.topics.publish(topic, told, &mut self.out);
        let subscribers = self.views.keys().filter(|(_, of)| *of == topic).count();
        assert_eq!(published.subscribers() as usize, subscribers);
        let mut fates = Published::default();
        for conn in 0..CONNS {
            if let Some(view) = self.views.get_mut(&(conn, topic)) {
                let (was, is) = (view.before, self.topics.counts(conn, topic).expect("it subscribes"));
                view.before = is;
                let dropped = is.dropped - was.dropped;
                // The oldest made room for it, or there was none even without them.
                let waits = self.topics.pieces.0.iter().any(|(_, piece)| {
                    let owner = &self.topics.subs[piece.sub as usize];
                    (owner.conn, owner.topic, piece.key) == (conn, topic, key) && *piece.bytes == *payload.as_bytes()
                });
                let lost_it = !waits || view.delivery.policy != Policy::DropOldest;
                let has_place = is.sent == was.sent && is.conflated == was.conflated && (dropped == 0 || !lost_it);
                view.stretch += u32::from(fixed);
                let told = &mut self.lagged[conn as usize].1;
                if view.delivery.has_lane() {
                    told.dropped += dropped;
                }
                told.conflated += is.conflated - was.conflated;
                self.lagged[conn as usize].2 &= view.delivery.interval.is_none();
                fates.sent += (is.sent - was.sent) as u32;
                fates.conflated += (is.conflated - was.conflated) as u32;
                if dropped > 0 {
                    fates.dropped += 1;
                } else {
                    fates.waiting += is.waiting.saturating_sub(was.waiting) as u32;
                }
                assert!(is.conflated == was.conflated || !fixed, "what may not be conflated was");
                let lane = &mut self.lanes[conn as usize];
                let mut has_place = has_place;
                if view.delivery.policy == Policy::Conflate {
                    // A newer one that did not fit in its place: without it there may be room.
                    let is_its = |place: &Place| {
                        let Place { topic: of, key: its, retained, fixed, stretch, .. } = *place;
                        (of, its, stretch) == (topic, key, view.stretch) && !retained && !fixed
                    };
                    if let Some(at) = lane.iter().rposition(is_its).filter(|_| dropped > 0 && !fixed) {
                        lane.remove(at);
                        has_place = is.waiting == was.waiting;
                    }
                } else {
                    drop_places(lane, topic, dropped - u64::from(dropped > 0 && lost_it));
                }
                let of_key = lane.iter_mut().rev().find(|place| place.topic == topic && place.key == key);
                match of_key {
                    // What was retained and waited was conflated with it.
                    Some(place)
                        if has_place
                            && place.retained
                            && view.delivery.conflates()
                            && place.stretch == view.stretch
                            && view.retained.contains_key(&key) =>
                    {
                        place.retained = false;
                        let (seq, _) = view.retained.remove(&key).expect("it is one");
                        if per_key {
                            view.last.insert(key, 0);
                        } else if seq > 0 {
                            view.highest = 0;
                        }
                    }
                    _ if has_place => lane.push(Place {
                        topic,
                        key,
                        since: self.now,
                        retained: false,
                        was_retained: false,
                        fixed,
                        stretch: view.stretch,
                    }),
                    _ => {}
                }
            }
        }
        let Published { sent, waiting, conflated, dropped, refused } = published;
        let told = (sent, waiting, conflated, dropped + refused);
        assert_eq!(told, (fates.sent, fates.waiting, fates.conflated, fates.dropped));
        (0..CONNS).for_each(|conn| self.receive(conn));
        for (conn, code) in std::mem::take(&mut self.topics.ends.slow) {
            assert_eq!(code, CloseCode::GOING_AWAY);
            self.end(conn);
        }
    }

    fn receive(&mut self, conn: u32) {
        self.receive_with(conn, false);
    }

    /// Checks what a connection was sent.
    fn receive_with(&mut self, conn: u32, fresh: bool) {
        while let Some(line) = self.out.all[conn as usize].log.pop_front() {
            let got = parse(&line);
            let view = self.views.get_mut(&(conn, got.topic)).expect("a message of a topic that it has subscribed to");
            let rated = view.delivery.interval.is_some() || view.changed;
            let place =
                self.lanes[conn as usize].iter().position(|place| place.topic == got.topic && place.key == got.key);
            let timed = self
                .views
                .iter()
                .any(|((owner, _), view)| *owner == conn && (view.delivery.interval.is_some() || view.changed));
            let view = self.views.get_mut(&(conn, got.topic)).expect("it was there");
            let facts = &self.facts[got.topic as usize];
            if let Some(at) = place {
                let ahead = &self.lanes[conn as usize][..at];
                let in_order = ahead.iter().all(|place| place.was_retained && place.topic == got.topic);
                assert!(timed || in_order, "{got:?} overtakes {ahead:?}");
                self.lanes[conn as usize].remove(at);
            }
            if got.merged == 0 {
                let (seq, value) = view.retained.remove(&got.key).expect("it is retained");
                assert_eq!((seq, value.as_str(), got.prev), (got.seq, got.payload.as_str(), 0), "{got:?}");
                assert!(!got.removes);
                view.last.insert(got.key, got.seq);
                view.highest = view.highest.max(got.seq);
                let newest = (parse_idx(&got.payload).1, self.now);
                view.newest.insert(got.key, newest);
                view.send(got.key, newest.0, self.now);
                continue;
            }
            assert!(!fresh, "a fresh subscriber is given what is retained first");
            assert!(rated || !view.retained.contains_key(&got.key), "a value that was retained goes first: {got:?}");
            let (first, idx) = parse_idx(&got.payload);
            let known = &self.known[idx as usize];
            let published = (known.topic, known.key, known.removes, known.seq);
            assert_eq!(published, (got.topic, got.key, got.removes, got.seq));
            let (before, _) = view.newest.get(&got.key).copied().unwrap_or_default();
            assert!(first > before || facts.mixed && first > 0 && idx > before, "{got:?} behind {before}");
            assert!(idx > view.fixed, "{got:?} behind {}, which may not be conflated", view.fixed);
            if known.fixed {
                assert!(idx > view.any && first == idx, "{got:?} overtook {}", view.any);
                view.fixed = idx;
            }
            if !known.fixed {
                // What was held when one came that may not be conflated goes in front of that.
                let behind = &self.known[idx as usize + 1..];
                if let Some((sent, free)) = view.free.get(&got.key)
                    && !behind.iter().any(|known| known.topic == got.topic && known.fixed)
                {
                    assert!(self.now >= *free, "{got:?} {:?} after the one before", self.now.since(*sent));
                }
                view.send(got.key, idx, self.now);
            }
            // What it says of the one before.
            if got.seq == 0 {
                assert_eq!(got.prev, 0, "there is nothing to compare: {got:?}");
            } else if !facts.is_per_key() {
                assert_eq!(got.prev, view.highest, "{got:?}");
            } else {
                // A key that was removed since begins anew.
                let since = &self.known[view.begun.max(before + 1) as usize..idx as usize];
                let anew =
                    since.iter().any(|known| (known.topic, known.key, known.removes) == (got.topic, got.key, true));
                let last = view.last.get(&got.key).copied().filter(|_| !anew).unwrap_or(0);
                assert_eq!(got.prev, last, "{got:?}");
            }
            view.any = view.any.max(idx);
            view.newest.insert(got.key, (idx, self.now));
            view.highest = view.highest.max(got.seq);
            view.last.insert(got.key, if got.removes { 0 } else { got.seq });
            view.counted += 1;
            view.merged += u64::from(got.merged);
        }
    }

    fn check(&mut self) {
        follow::check(&self.topics);
        self.check_times();
        let mut sums = vec![Counts::default(); CONNS as usize];
        for (&(conn, topic), view) in &mut self.views {
            let counts = self.topics.counts(conn, topic).expect("it subscribes");
            view.before = counts;
            let Counts { published, sent, waiting, conflated, dropped } = counts;
            assert_eq!(published, self.facts[topic as usize].count - view.published);
            assert_eq!(published, sent + waiting + conflated + dropped);
            assert_eq!(sent, view.counted, "{counts}");
            assert!(dropped > 0 || waiting > 0 || conflated == view.merged - view.counted, "{counts}: {view:?}");
            assert!(view.changed || waiting <= view.delivery.messages_max.into());
            sums[conn as usize] += counts;
        }
        for conn in 0..CONNS {
            let (sum, _) = self.topics.sum(conn);
            let known = sums[conn as usize];
            assert!(sum.waiting == known.waiting && sum.sent >= known.sent && sum.published >= known.published);
            let timed = self
                .views
                .iter()
                .any(|((owner, _), view)| *owner == conn && (view.delivery.interval.is_some() || view.changed));
            let since = self.topics.waits_since(conn);
            if !timed {
                assert_eq!(
                    since,
                    self.lanes[conn as usize].first().map(|place| place.since),
                    "{:?}",
                    self.lanes[conn as usize]
                );
            }
            let lane = self.topics.lane_at(conn).map_or(0, |lane| lane.bytes);
            // What is queued has the whole of the output, whatever waits beside it.
            self.left[conn as usize] &= self.out.all[conn as usize].queued > 0;
            let queues = self.left[conn as usize]
                || self
                    .views
                    .iter()
                    .any(|((owner, _), view)| *owner == conn && (!view.delivery.has_lane() || view.changed));
            let most = if queues { 2 * OUTPUT_MAX } else { OUTPUT_MAX + 2_000 };
            assert!(lane + self.out.all[conn as usize].queued <= most);
        }
    }

    /// Nothing is held for longer than an interval, and two ticks, after its key was sent.
    fn check_times(&self) {
        for (_, piece) in &self.topics.pieces.0 {
            let owner = &self.topics.subs[piece.sub as usize];
            let view = &self.views[&(owner.conn, owner.topic)];
            if let Some((until, interval)) = piece.until.zip(view.delivery.interval) {
                let most = interval + Duration::from_millis(32);
                let latest = view.sent.get(&piece.key).map_or(self.now, |sent| sent.plus(most).max(self.now));
                assert!(until.begins(self.now) <= latest, "sent {:?}, {piece:?} at {:?}", view.sent, self.now);
            }
        }
    }

    /// All that waits goes.
    fn finish(&mut self) {
        for _ in 0..4 {
            (0..CONNS).for_each(|conn| self.out.all[conn as usize].slow = false);
            self.act(Act::Later { ms: 250 });
            (0..CONNS).for_each(|conn| self.act(Act::Complete { conn }));
            self.act(Act::Pass);
        }
        for (&(conn, topic), view) in &self.views {
            let counts = self.topics.counts(conn, topic).expect("it subscribes");
            assert_eq!(counts.waiting, 0, "all has gone");
            assert!(view.retained.is_empty(), "all that was retained was given");
            // The newest of each key, if none was dropped.
            let newest = |key: Key| {
                let is_its = |known: &Known| known.topic == topic && known.key == key;
                self.known.iter().rposition(is_its).unwrap_or(0) as u64
            };
            for (key, (idx, _)) in &view.newest {
                assert!(
                    counts.dropped > 0 || newest(*key) == *idx || newest(*key) < view.begun,
                    "{key:?}: {idx} is not the newest"
                );
            }
        }
        for (told, known, sure) in &self.lagged {
            assert!(!sure || told == known, "{told:?} was told, and not {known:?}");
        }
        (0..CONNS).for_each(|conn| self.end(conn));
        assert!(self.topics.subs.is_empty() && self.topics.pieces.0.is_empty() && self.topics.index.is_empty());
        assert!(self.topics.lanes.is_empty() && self.topics.pairs.is_empty());
    }
}

/// A topic that has numbers, and merges texts.
fn how(topic: u32, retain: Retain) -> Topic {
    let write = move |update: &Update<'_>, into: &mut Vec<u8>| {
        let Update { key, seq, prev, merged, removes, published_at, .. } = *update;
        let key = key.map_or_else(|| "-".to_owned(), |key| key.to_string());
        let payload = std::str::from_utf8(update.payload).expect("text");
        let line = format!("{topic}|{key}|{seq}|{prev}|{merged}|{removes}|{published_at}|{payload}");
        into.extend_from_slice(line.as_bytes());
    };
    let merge = |old: &[u8], new: &[u8], into: &mut Vec<u8>| {
        let strip = |bytes: &[u8]| std::str::from_utf8(bytes).expect("text").trim_end_matches('.').to_owned();
        into.extend_from_slice(format!("{}+{}", strip(old), strip(new)).as_bytes());
    };
    Topic::default().retain(retain).write(write).merge(merge)
}

fn run(acts: Vec<Act>) {
    let mut bench = Bench::new();
    acts.into_iter().for_each(|act| bench.act(act));
    bench.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_subscriber_sees_what_it_must(acts in proptest::collection::vec(act(), 1..120)) {
        run(acts);
    }
}

/// Bugs on purpose: the model notices each.
#[test]
fn every_planted_bug_is_noticed() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    // Those of topics stand beside each other.
    let at = |bug| Bug::ALL.iter().position(|of| *of == bug).expect("it is one");
    let bugs = &Bug::ALL[at(Bug::SubscriberSkipped)..=at(Bug::TradeFollowed)];
    assert_eq!(bugs.len(), 19);
    let sequences = proptest::collection::vec(act(), 1..120);
    let mut survivors = Vec::new();
    for &bug in bugs {
        let mut runner = TestRunner::deterministic();
        plant(Some(bug));
        let caught = (0..1_500).any(|_| {
            let acts = sequences.new_tree(&mut runner).expect("a sequence").current();
            std::panic::catch_unwind(|| run(acts)).is_err()
        });
        plant(None);
        if !caught {
            survivors.push(bug);
        }
    }
    assert!(survivors.is_empty(), "nothing notices {survivors:?}");
}

/// Four keys go, then four messages are held and the oldest is dropped, then its key comes again.
#[test]
fn a_key_whose_held_message_was_dropped_has_to_wait_on() {
    let mut acts = vec![Act::Subscribe { conn: 0, topic: 0, how: 1, every: 1 }, Act::Later { ms: 1 }];
    acts.extend([1, 2, 3, 4, 1, 2, 3, 4, 1].map(|key| Act::Publish { topic: 0, key, kind: 5, len: 0 }));
    run(acts);
}
