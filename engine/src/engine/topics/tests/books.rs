//! Order books by deltas: a reader whose deltas are merged while it is slow has the same book in the end as one that was sent each.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wsring_proto::opcode::Opcode;

use super::retained::Told;
use super::{Delivery, Outlet, Room, Topic, Topics};
use crate::ring::Time;

/// Quantities by price; none of 0.
type Book = BTreeMap<u32, u32>;

/// Levels of a symbol change; or the second reader becomes slow, or is it no longer.
type Act = Option<(u64, Vec<(u32, u32)>)>;

/// `price=quantity price=quantity`: what changes; 0 takes a level away.
fn parse(delta: &[u8]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let text = std::str::from_utf8(delta).expect("it is text");
    text.split_whitespace().map(|level| {
        let (price, quantity) = level.split_once('=').expect("a level");
        (price.parse().expect("a price"), quantity.parse().expect("a quantity"))
    })
}

/// As an application does it: of each price the newer change. A level that is taken away stays in the delta, because whoever gets it may have it.
fn merge(old: &[u8], new: &[u8], into: &mut Vec<u8>) {
    let changes: BTreeMap<u32, u32> = parse(old).chain(parse(new)).collect();
    let levels: Vec<String> = changes.iter().map(|(price, quantity)| format!("{price}={quantity}")).collect();
    into.extend_from_slice(levels.join(" ").as_bytes());
}

fn apply(book: &mut Book, delta: &[u8]) {
    for (price, quantity) in parse(delta) {
        match quantity {
            0 => drop(book.remove(&price)),
            _ => drop(book.insert(price, quantity)),
        }
    }
}

/// The first connection reads; the second does while it is not slow.
#[derive(Default)]
struct Readers {
    slow: bool,
    waits: [bool; 2],
    /// Of each symbol.
    books: [BTreeMap<u64, Book>; 2],
    got: [u32; 2],
}

impl Outlet for Readers {
    fn room(&self, conn: u32) -> Room {
        if self.waits[conn as usize] || !self.drains(conn, 0) { Room::Busy } else { Room::Free }
    }

    fn drains(&self, conn: u32, _: u32) -> bool {
        conn == 0 || !self.slow
    }

    fn is_sending(&self, conn: u32) -> bool {
        !self.drains(conn, 0)
    }

    fn queued(&self, _: u32) -> u32 {
        0
    }

    fn spare(&self, _: u32) -> u32 {
        1 << 20
    }

    fn subscriptions_max(&self, _: u32) -> u32 {
        1
    }

    fn begin(&mut self, _: Opcode, _: &[u8], _: usize) -> u64 {
        1
    }

    fn push(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], number: u64) -> bool {
        self.room(conn) == Room::Free && self.send(conn, opcode, bytes, Some(number))
    }

    fn send(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], _: Option<u64>) -> bool {
        assert_eq!(opcode, Opcode::Text);
        let at = bytes.iter().position(|&byte| byte == b'|').expect("behind the symbol");
        let symbol = std::str::from_utf8(&bytes[..at]).expect("a number").parse().expect("a number");
        apply(self.books[conn as usize].entry(symbol).or_default(), &bytes[at + 1..]);
        self.got[conn as usize] += 1;
        true
    }

    fn set_flow(&mut self, _: u32, _: u32) {}

    fn set_waits(&mut self, conn: u32, waits: bool) {
        self.waits[conn as usize] = waits;
    }
}

fn run(acts: &[Act], merges: bool) -> Readers {
    let mut readers = Readers::default();
    let mut topics = Topics::new(7);
    let topic = Topic::default().write(|update, into| {
        into.extend_from_slice(format!("{}|", update.key.expect("each has a symbol")).as_bytes());
        into.extend_from_slice(update.payload);
    });
    drop(topics.configure(0, if merges { topic.merge(merge) } else { topic }));
    topics.subscribe(0, 0, Delivery::queue(), &mut readers).expect("it may");
    topics.subscribe(1, 0, Delivery::merge(), &mut readers).expect("it may");
    for act in acts {
        let Some((symbol, levels)) = act else {
            readers.slow = !readers.slow;
            topics.drain(1, &mut readers);
            continue;
        };
        let delta: Vec<String> = levels.iter().map(|(price, quantity)| format!("{price}={quantity}")).collect();
        let delta = delta.join(" ");
        let (key, bytes, now) = (Some(*symbol), delta.as_bytes(), Time::default());
        let told = Told { key, opcode: Opcode::Text, bytes, now, removes: false, fixed: false };
        topics.publish(0, told, &mut readers);
    }
    readers.slow = false;
    topics.drain(1, &mut readers);
    let counts = topics.counts(1, 0).expect("it subscribes");
    assert_eq!((counts.waiting, counts.dropped), (0, 0));
    assert_eq!((counts.published, counts.sent), (readers.got[0].into(), readers.got[1].into()));
    readers
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let delta = (0..3_u64, prop::collection::vec((1..6_u32, 0..4_u32), 1..4));
    prop::collection::vec(prop::option::weighted(0.85, delta), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_deltas_make_the_same_books(acts in acts()) {
        let readers = run(&acts, true);
        prop_assert_eq!(&readers.books[0], &readers.books[1]);
        prop_assert!(readers.got[1] <= readers.got[0]);
    }
}

/// What the property would miss if it could not fail: deltas that replace each other make another book.
#[test]
fn deltas_that_are_not_merged_do_not() {
    let acts = [None, Some((1, vec![(10, 5)])), Some((1, vec![(11, 6)])), None];
    let [replaced, merged] = [false, true].map(|merges| run(&acts, merges));
    assert_ne!(replaced.books[0], replaced.books[1]);
    assert_eq!((&merged.books[0], merged.got), (&merged.books[1], [2, 1]));
}
