//! `--demo feed`: what each delivery gives to a client that stops reading and reads on, counted by the client itself.
//!
//! A client stands still until another one has seen the market go on by so many updates: nothing here waits for a time.

use std::collections::BTreeMap;

use serde::Deserialize;
use wsring_testkit::{BINARY, Client, TEXT, monotonic};

use crate::process::{Serve, first_core, narrow, run, start, two_cores};

/// How far the market goes while a client stands still: far more than sockets and outputs take of it.
const FAR: u64 = 20_000;
/// What waits of a key, at most, where the delivery bounds it.
const WAITING_MAX: u64 = 64;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    key: String,
    seq: u64,
    prev: u64,
    value: f64,
    merged: u64,
    t: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stats {
    published: u64,
    sent: u64,
    waiting: u64,
    conflated: u64,
    dropped: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Update(Update),
    Stats(Stats),
    Error { error: String },
}

/// A client that checks whatever it is told.
struct Desk {
    client: Client,
    /// Nanoseconds of CLOCK_MONOTONIC.
    opened: u64,
    /// Number of the last update of each key, and of the first.
    seqs: BTreeMap<String, (u64, u64)>,
    /// Updates so far, retained values apart, and how many they stand for.
    updates: u64,
    merged: u64,
    /// Numbers that were left out.
    missing: u64,
}

impl Desk {
    fn open(serve: &Serve) -> Self {
        let opened = monotonic().as_nanos();
        Self::of(opened, Client::open(serve.addr(), "/feed"))
    }

    /// With a receive buffer so small that it is soon full.
    fn open_narrow(serve: &Serve) -> Self {
        let opened = monotonic().as_nanos();
        Self::of(opened, Client::upgraded(narrow(serve.addr(), "/feed")))
    }

    fn of(opened: u64, client: Client) -> Self {
        Self { client, opened, seqs: BTreeMap::new(), updates: 0, merged: 0, missing: 0 }
    }

    fn ask(&mut self, text: &str) {
        self.client.send(TEXT, text.as_bytes());
    }

    fn subscribe(&mut self, keys: &str, delivery: &str, at_most_ms: u64) {
        self.ask(&format!(r#"{{"op":"subscribe","keys":{keys},"delivery":"{delivery}","at_most_ms":{at_most_ms}}}"#));
    }

    #[track_caller]
    fn told(&mut self) -> Told {
        let frame = self.client.frame_past_pings();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        self.read(&frame.payload)
    }

    /// Takes a message in, and checks it against all that came before.
    #[track_caller]
    fn read(&mut self, payload: &[u8]) -> Told {
        let told = serde_json::from_slice(payload).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(payload)));
        match &told {
            Told::Update(update) => self.check(update),
            Told::Stats(stats) => {
                let Stats { published, sent, waiting, conflated, dropped } = *stats;
                assert_eq!(published, sent + waiting + conflated + dropped, "{stats:?}");
                assert_eq!(sent, self.updates, "updates that came in front of {stats:?}");
                assert!(self.missing <= conflated + dropped, "{} are missing: {stats:?}", self.missing);
            }
            Told::Error { .. } => {}
        }
        told
    }

    #[track_caller]
    fn check(&mut self, update: &Update) {
        let Update { key, seq, prev, merged, value, t } = update;
        let times = self.opened..=monotonic().as_nanos();
        assert!(times.contains(t) || *merged == 0 && (1..=*times.end()).contains(t), "{update:?} in {times:?}");
        assert!(*value > 0.0, "{update:?}");
        let (first, last) = self.seqs.entry(key.clone()).or_insert((*seq, 0));
        if *merged == 0 {
            assert_eq!(*prev, 0, "retained: {update:?}");
            // Given to a new subscription: numbers of an earlier one say nothing of it.
            (*first, *last) = (*seq, *seq);
            return;
        }
        assert!(*seq > *last, "an older value after {last}: {update:?}");
        assert_eq!(prev, last, "{update:?}");
        assert!(seq - prev >= *merged, "{update:?}");
        self.updates += 1;
        self.merged += merged;
        self.missing += seq - prev - 1;
        *last = *seq;
    }

    #[track_caller]
    fn update(&mut self) -> Update {
        match self.told() {
            Told::Update(update) => update,
            other => panic!("no update: {other:?}"),
        }
    }

    #[track_caller]
    fn error(&mut self) -> String {
        loop {
            match self.told() {
                Told::Error { error } => return error,
                Told::Update(_) => {}
                other => panic!("no error: {other:?}"),
            }
        }
    }

    /// Asks, and reads all that comes before the answer.
    #[track_caller]
    fn stats(&mut self) -> Stats {
        self.ask(r#"{"op":"stats"}"#);
        self.answer()
    }

    /// Asks, and reads nothing before the server has heard it: it has answered another desk that asked later.
    #[track_caller]
    fn stats_before(&mut self, watch: &mut Desk) -> Stats {
        self.ask(r#"{"op":"stats"}"#);
        watch.stats();
        self.answer()
    }

    #[track_caller]
    fn answer(&mut self) -> Stats {
        loop {
            match self.told() {
                Told::Stats(stats) => return stats,
                Told::Update(_) => {}
                other => panic!("no stats: {other:?}"),
            }
        }
    }

    fn last(&self, key: &str) -> u64 {
        self.seqs.get(key).map_or(0, |(_, last)| *last)
    }

    /// Reads until the market has gone on by so much since what another desk has, for each of these keys.
    #[track_caller]
    fn watch(&mut self, keys: &[&str], from: &Desk, by: u64) {
        while keys.iter().any(|key| self.last(key) < from.last(key) + by) {
            self.update();
        }
    }
}

fn feed(keys: &str, rate: &str) -> Serve {
    start(&["--cores", &first_core(), "--demo", "feed", "--keys", keys, "--rate", rate])
}

/// A market of one key, a desk that has subscribed so and stood still while it went far, and the counts that the desk asked for then: those that
/// it has read up to, and then goes on.
fn stood_still(delivery: &str) -> (Serve, Desk, Stats) {
    let serve = feed("1", "50000");
    let mut watch = Desk::open(&serve);
    watch.subscribe(r#""all""#, "conflate", 0);
    let mut desk = Desk::open_narrow(&serve);
    desk.subscribe(r#"["K0"]"#, delivery, 0);
    assert_eq!(desk.update().merged, 0, "what is retained comes first");
    watch.watch(&["K0"], &desk, FAR);
    let stats = desk.stats_before(&mut watch);
    assert!(stats.published > FAR / 2, "{stats:?}");
    (serve, desk, stats)
}

/// Nothing moves: what is retained is all there is.
#[test]
fn a_late_subscriber_is_given_the_present_values_first() {
    let serve = feed("5", "0");
    let mut desk = Desk::open(&serve);
    desk.subscribe(r#"["K3","K1"]"#, "queue", 0);
    desk.subscribe(r#"["K1"]"#, "conflate", 7); // once more, to change it
    desk.subscribe(r#""all""#, "queue", 0);
    let values: Vec<Update> = (0..5).map(|_| desk.update()).collect();
    let keys: Vec<&str> = values.iter().map(|update| &*update.key).collect();
    assert_eq!(keys, ["K3", "K1", "K0", "K2", "K4"]);
    assert!(values.iter().all(|update| (update.seq, update.prev, update.merged) == (1, 0, 0)), "{values:?}");
    assert_eq!(desk.stats(), Stats::default(), "what was retained is not counted");
    desk.ask(r#"{"op":"unsubscribe","keys":["K1"]}"#);
    desk.subscribe(r#"["K0","K1"]"#, "merge", 0);
    assert_eq!(desk.update().key, "K1", "only what is new is given what is retained");
    assert_eq!(desk.stats(), Stats::default());
    desk.client.close();
    serve.stop();
}

#[test]
fn what_makes_no_sense_is_answered_in_json_of_a_bounded_length() {
    let serve = feed("5", "0");
    let mut desk = Desk::open(&serve);
    for (request, part) in [
        ("hello", "expected value"),
        (r#"{"op":"buy"}"#, "unknown variant `buy`"),
        (r#"{"op":"subscribe","delivery":"queue"}"#, "missing field `keys`"),
        (r#"{"op":"subscribe","keys":["K0","K5"],"delivery":"queue"}"#, "no such key: K5; there are K0 to K4"),
        (r#"{"op":"subscribe","keys":"all","delivery":"best"}"#, "unknown variant `best`"),
        (r#"{"op":"subscribe","keys":"all","delivery":"queue","at_most_ms":1e99}"#, "floating point"),
    ] {
        desk.ask(request);
        let error = desk.error();
        assert!(error.contains(part), "{request}: {error}");
    }
    desk.client.send(BINARY, br#"{"op":"stats"}"#);
    assert_eq!(desk.error(), "a request is text");
    desk.ask(&format!(r#"{{"{}":1}}"#, "x".repeat(100_000)));
    assert_eq!(desk.error().len(), 200);
    assert_eq!(desk.stats(), Stats::default(), "and none of it has subscribed to anything");
    // A MiB is the longest that it takes.
    let padded = |len: usize| format!("{}{}", r#"{"op":"stats"}"#, " ".repeat(len - 14));
    desk.ask(&padded(1 << 20));
    assert!(matches!(desk.told(), Told::Stats(_)));
    desk.ask(&padded((1 << 20) + 1));
    assert_eq!(desk.client.expect_close().0, 1009);
    assert_eq!(Client::try_open(serve.addr(), "/", &[]).expect_err("another path").status, 404);
    serve.stop();
}

#[test]
fn queue_gives_each_update() {
    let (serve, desk, stats) = stood_still("queue");
    assert_eq!((stats.waiting, stats.conflated, stats.dropped), (0, 0, 0));
    assert!(stats.sent >= FAR, "{stats:?}");
    assert_eq!((desk.missing, desk.merged), (0, stats.sent));
    drop(desk);
    serve.stop();
}

/// One message of the key waits, and stands for all that a desk has not got.
#[test]
fn conflate_and_merge_give_the_newest() {
    for delivery in ["conflate", "merge"] {
        let (serve, mut desk, stats) = stood_still(delivery);
        assert_eq!((stats.waiting, stats.dropped), (1, 0), "{delivery}: {stats:?}");
        assert!(stats.conflated > FAR / 2, "{delivery}: {stats:?}");
        let newest = desk.seqs["K0"].0 + stats.published;
        let next = desk.update();
        assert!(next.seq >= newest, "{delivery}: {newest} was the newest, and it got {next:?}");
        assert_eq!(next.merged, next.seq - next.prev, "{delivery}: {next:?}");
        assert_eq!(desk.merged, next.seq - desk.seqs["K0"].0, "{delivery}: each update is in one that came");
        drop(desk);
        serve.stop();
    }
}

/// Of many keys each waits once, and the first that comes of each is the newest.
#[test]
fn each_key_is_conflated_for_itself() {
    const KEYS: [&str; 4] = ["K0", "K1", "K2", "K3"];
    let serve = feed("4", "50000");
    let (mut watch, mut desk) = (Desk::open(&serve), Desk::open_narrow(&serve));
    watch.subscribe(r#""all""#, "conflate", 0);
    desk.subscribe(r#""all""#, "conflate", 0);
    (0..4).for_each(|_| drop(desk.update()));
    watch.watch(&KEYS, &desk, FAR / 4);
    let newest: Vec<u64> = KEYS.iter().map(|key| watch.last(key)).collect();
    let stats = desk.stats_before(&mut watch);
    assert_eq!((stats.waiting, stats.dropped), (4, 0), "{stats:?}");
    let before: Vec<u64> = KEYS.iter().map(|key| desk.last(key)).collect();
    let mut seen = 0;
    while (0..4).any(|at| desk.last(KEYS[at]) == before[at]) {
        let update = desk.update();
        let at = KEYS.iter().position(|key| *key == update.key).unwrap();
        assert!(update.seq >= newest[at], "older than {}: {update:?}", newest[at]);
        seen += 1;
    }
    assert!(seen >= 4);
    // Nothing more comes, and what came and what is counted are the same number for number.
    desk.ask(r#"{"op":"unsubscribe","keys":"all"}"#);
    let stats = desk.stats();
    let given: u64 = desk.seqs.values().map(|(first, last)| last - first).sum();
    assert_eq!((stats.waiting, desk.merged), (0, given), "{stats:?}");
    assert!(stats.published >= given && stats.dropped <= 4, "{given}: {stats:?}");
    drop(desk);
    serve.stop();
}

#[test]
fn drop_oldest_keeps_the_newest_and_tells_the_gap() {
    let (serve, mut desk, stats) = stood_still("drop_oldest");
    assert_eq!((stats.waiting, stats.conflated), (WAITING_MAX, 0), "{stats:?}");
    let at = desk.last("K0");
    let next = desk.update();
    assert!(next.seq - at > FAR / 2 && next.merged == 1, "the oldest that waited: {at}, then {next:?}");
    assert!(desk.missing >= stats.dropped, "{} are missing, and {stats:?}", desk.missing);
    drop(desk);
    serve.stop();
}

#[test]
fn drop_newest_keeps_the_oldest_and_tells_the_gap() {
    let (serve, mut desk, stats) = stood_still("drop_newest");
    assert_eq!((stats.waiting, stats.conflated), (WAITING_MAX, 0), "{stats:?}");
    let at = desk.last("K0");
    for number in 1..=WAITING_MAX {
        assert_eq!(desk.update().seq, at + number, "what waited");
    }
    let next = desk.update();
    assert!(next.seq - next.prev > FAR / 2 && next.merged == 1, "{next:?}");
    drop(desk);
    serve.stop();
}

/// It has got all up to there, without a gap.
#[test]
fn close_ends_a_desk_that_does_not_keep_up() {
    let serve = feed("1", "50000");
    let (mut watch, mut desk) = (Desk::open(&serve), Desk::open_narrow(&serve));
    watch.subscribe(r#""all""#, "conflate", 0);
    desk.subscribe(r#""all""#, "close", 0);
    desk.update();
    watch.watch(&["K0"], &desk, FAR);
    let close = loop {
        let frame = desk.client.frame_past_pings();
        if frame.opcode != TEXT {
            break frame;
        }
        desk.read(&frame.payload);
        assert!(desk.updates < FAR / 2, "it goes on");
    };
    assert_eq!(close.close_code(), 1008, "{close:?}");
    assert_eq!(&close.payload[2..], b"too slow");
    assert_eq!(desk.missing, 0);
    serve.stop();
}

/// No second one within an hour, until that is changed; then the newest.
#[test]
fn at_most_so_often_and_changed_on_the_fly() {
    let serve = feed("1", "50000");
    let (mut watch, mut desk) = (Desk::open(&serve), Desk::open(&serve));
    watch.subscribe(r#""all""#, "conflate", 0);
    for delivery in ["queue", "conflate", "merge", "drop_oldest", "drop_newest", "close"] {
        desk.subscribe(r#""all""#, delivery, 3_600_000);
        assert_eq!(desk.update().merged, 0, "{delivery}: what is retained comes first");
        let (updates, had) = (desk.updates, desk.stats());
        watch.watch(&["K0"], &desk, FAR / 10);
        let stats = desk.stats();
        assert_eq!((desk.updates, stats.waiting, stats.dropped), (updates, 1, had.dropped), "{delivery}: {stats:?}");
        let newest = watch.last("K0");
        // The same again, without a rate.
        desk.subscribe(r#""all""#, delivery, 0);
        let next = desk.update();
        assert!(next.seq >= newest && next.merged == next.seq - next.prev, "{delivery}: {newest}, {next:?}");
        let Update { seq, merged, .. } = desk.update();
        assert!(merged >= 1 && seq > next.seq);
        desk.ask(r#"{"op":"unsubscribe","keys":"all"}"#);
        desk.stats();
    }
    drop(desk);
    serve.stop();
}

#[test]
fn a_delivery_is_changed_by_subscribing_again() {
    let (serve, mut desk, stats) = stood_still("queue");
    assert_eq!(stats.conflated, 0);
    let mut watch = Desk::open(&serve);
    watch.subscribe(r#""all""#, "conflate", 0);
    desk.subscribe(r#""all""#, "conflate", 0);
    desk.stats(); // it has changed
    watch.watch(&["K0"], &desk, FAR);
    let stats = desk.stats_before(&mut watch);
    assert!(stats.waiting == 1 && stats.conflated > FAR / 2, "{stats:?}");
    drop(desk);
    serve.stop();
}

/// Nothing of it comes any more, and its counts stay.
#[test]
fn who_has_unsubscribed_is_told_nothing() {
    let serve = feed("2", "50000");
    let (mut watch, mut desk) = (Desk::open(&serve), Desk::open(&serve));
    watch.subscribe(r#""all""#, "conflate", 0);
    desk.subscribe(r#""all""#, "queue", 0);
    while desk.updates < 10 {
        desk.update();
    }
    desk.ask(r#"{"op":"unsubscribe","keys":["K0"]}"#);
    let before = desk.stats();
    let at = desk.last("K0");
    watch.watch(&["K0", "K1"], &desk, 1000);
    let stats = desk.stats();
    assert_eq!(desk.last("K0"), at);
    assert!(stats.published > before.published, "the other goes on");
    desk.ask(r#"{"op":"unsubscribe","keys":["K1","K0"]}"#); // the second for nothing
    let before = desk.stats();
    watch.watch(&["K0", "K1"], &desk, 1000);
    assert_eq!(desk.stats(), before);
    drop(desk);
    serve.stop();
}

/// One market, whose numbers, values and times are the same wherever a desk is connected.
#[test]
fn desks_on_two_cores_are_told_the_same() {
    let Some([one, two]) = two_cores() else { return };
    let cores = format!("{one},{two}");
    let serve =
        start(&["--cores", &cores, "--demo", "feed", "--keys", "3", "--rate", "3000", "--max-connections", "1"]);
    let opened = monotonic().as_nanos();
    // One place a core: where the first one is full, the kernel is asked again.
    let mut desks: Vec<Desk> = Vec::new();
    while desks.len() < 2 {
        desks.extend(Client::try_open(serve.addr(), "/feed", &[]).ok().map(|client| Desk::of(opened, client)));
    }
    desks.iter_mut().for_each(|desk| desk.subscribe(r#""all""#, "queue", 0));
    let mut told: Vec<BTreeMap<(String, u64), (u64, u64)>> = Vec::new();
    let until = 500 + desks.iter_mut().map(|desk| desk.update().seq).max().unwrap();
    for desk in &mut desks {
        let mut updates = BTreeMap::new();
        while desk.last("K2") < until {
            let update = desk.update();
            if update.merged > 0 {
                updates.insert((update.key, update.seq), ((update.value * 100.0) as u64, update.t));
            }
        }
        let stats = desk.stats();
        assert_eq!((desk.missing, stats.sent), (0, stats.published), "{stats:?}");
        told.push(updates);
    }
    let both = told[0].iter().filter(|(name, _)| told[1].contains_key(name));
    assert!(both.clone().count() > 1_000);
    both.for_each(|(name, update)| assert_eq!(update, &told[1][name], "{name:?}"));
    drop(desks);
    serve.stop();
}

#[test]
fn options_of_a_demo_need_it() {
    for (args, part) in [
        (&["serve", "--keys", "3"][..], "--demo"),
        (&["serve", "--rate", "3"], "--demo"),
        (&["serve", "--demo", "feed", "--keys", "0"], "1..=100000"),
        (&["serve", "--demo", "feed", "--keys", "100001"], "1..=100000"),
        (&["serve", "--demo", "feed", "--rate", "10000001"], "10000000"),
        (&["serve", "--demo", "quotes"], "feed"),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.errors.contains(part), "{args:?}: {}", ended.errors);
    }
}
