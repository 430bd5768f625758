//! A feed of a few lines, which conflates for those who do not read, and lies where told.

use super::{accept, frame, read_message};
use crate::dial::Target;
use crate::load::feed::{Plan, Readers, Shown, run};
use crate::load::{Edge, Outcome};
use crate::proc;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

const KEYS: u32 = 10;
/// Updates of all keys in each millisecond.
const BURST: u32 = 20;

/// What the server does wrong, from the 100th update that it sends on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// An update comes once more behind its successor.
    Older,
    /// An update claims that another came before it.
    Chain,
    /// An update is not sent, but counted so.
    Skipped,
    /// One update more is conflated than is counted.
    Uncounted,
    /// All counts are one too high, so that they add up.
    Overcounted,
    /// Nothing of K3 is sent to a reader that has fallen behind.
    Stale,
    /// `t` is of another clock, which is ahead.
    Clock,
    /// `t` is the time since the server began.
    Own,
    /// A sentence that is none.
    Word,
}

#[derive(Default)]
struct State {
    /// By key: number, how many it stands for, when.
    waiting: BTreeMap<u32, (u64, u64, u64)>,
    last: BTreeMap<u32, u64>,
    /// Retained values that are still to be sent: key, number.
    retained: Vec<(u32, u64)>,
    published: u64,
    sent: u64,
    conflated: u64,
    asked: u32,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

/// Numbers of the keys, and who reads.
#[derive(Default)]
struct Market {
    numbers: Vec<u64>,
    readers: Vec<Weak<Mutex<State>>>,
}

fn serve(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    // Little lies in the sockets, so that slow readers fall behind at once.
    SockRef::from(&listener).set_send_buffer_size(4 << 10).expect("a small buffer");
    let addr = listener.local_addr().expect("address");
    let market = Arc::new(Mutex::new(Market { numbers: vec![1; KEYS as usize], readers: Vec::new() }));
    let publisher = Arc::downgrade(&market);
    thread::spawn(move || {
        let mut next = 0;
        while let Some(market) = publisher.upgrade() {
            let mut market = market.lock().expect("nobody panics with it");
            for _ in 0..BURST {
                next = (next + 3) % KEYS;
                market.numbers[next as usize] += 1;
                let (number, now) = (market.numbers[next as usize], proc::monotonic_nanos());
                for state in market.readers.iter().filter_map(Weak::upgrade) {
                    let mut state = lock(&state);
                    if state.last.contains_key(&next) {
                        state.published += 1;
                        let before = state.waiting.get(&next).map_or(0, |(_, merged, _)| *merged);
                        state.conflated += u64::from(before > 0);
                        state.waiting.insert(next, (number, before + 1, now));
                    }
                }
            }
            drop(market);
            thread::sleep(Duration::from_millis(1));
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let market = Arc::clone(&market);
            // A connection's errors are the client's business in these tests.
            thread::spawn(move || talk(stream, lie, &market));
        }
    });
    addr
}

fn talk(mut stream: TcpStream, lie: Lie, market: &Mutex<Market>) -> io::Result<()> {
    accept(&mut stream)?;
    let state = Shared::default();
    let (mut twin, written) = (stream.try_clone()?, Arc::downgrade(&state));
    thread::spawn(move || send(&mut twin, lie, &written));
    while let Some((_, payload)) = read_message(&mut stream)? {
        let text = String::from_utf8_lossy(&payload).into_owned();
        if text.contains("stats") {
            lock(&state).asked += 1;
            continue;
        }
        let keys = text.split('"').filter_map(|word| word.strip_prefix('K')?.parse::<u32>().ok());
        let mut market = market.lock().expect("nobody panics with it");
        let mut state_now = lock(&state);
        for key in keys {
            let number = market.numbers[key as usize];
            state_now.last.insert(key, number);
            state_now.retained.push((key, number));
        }
        drop(state_now);
        market.readers.push(Arc::downgrade(&state));
    }
    Ok(())
}

fn send(stream: &mut TcpStream, lie: Lie, state: &Weak<Mutex<State>>) -> io::Result<()> {
    let line = |key: u32, number: u64, prev: u64, merged: u64, at: u64| {
        format!(r#"{{"key":"K{key}","seq":{number},"prev":{prev},"value":1.25,"merged":{merged},"t":{at}}}"#)
    };
    let mut nth = 0_u64;
    let mut repeated: Option<String> = None;
    while let Some(state) = state.upgrade() {
        let mut lines: Vec<String> = Vec::new();
        {
            let mut state = lock(&state);
            lines.extend(
                std::mem::take(&mut state.retained).into_iter().map(|(key, number)| line(key, number, 0, 0, 1)),
            );
            // A slow one: somebody else gets it.
            let is_behind = state.conflated > 0 && state.last.len() == KEYS as usize;
            for (key, (number, merged, mut at)) in std::mem::take(&mut state.waiting) {
                if lie == Lie::Stale && key == 3 && is_behind {
                    state.waiting.insert(key, (number, merged, at));
                    continue;
                }
                nth += 1;
                state.sent += 1;
                let mut prev = state.last.insert(key, number).unwrap_or(0);
                let is_time = nth == 100;
                match lie {
                    Lie::Skipped if is_time => continue,
                    Lie::Chain if is_time => prev -= 1,
                    Lie::Clock if is_time => {
                        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                        at = since.as_nanos() as u64;
                    }
                    Lie::Own if is_time => at = 5_000_000,
                    Lie::Word if is_time => lines.push(r#"{"error":"no such key"}"#.to_owned()),
                    _ => {}
                }
                let text = line(key, number, prev, merged, at);
                if lie == Lie::Older && is_time {
                    repeated = Some(text.clone());
                }
                lines.push(text);
            }
            if nth > 100 {
                lines.extend(repeated.take());
            }
            for _ in 0..std::mem::take(&mut state.asked) {
                let waiting = state.waiting.len() as u64;
                let (mut published, mut sent, mut conflated) = (state.published, state.sent, state.conflated);
                match lie {
                    Lie::Uncounted => conflated = conflated.wrapping_sub(1),
                    Lie::Overcounted => (published, sent) = (published + 1, sent + 1),
                    _ => {}
                }
                (published, sent, conflated) = (published, sent, conflated.min(1 << 40));
                let mut text = String::new();
                let _ = write!(text, r#"{{"published":{published},"sent":{sent},"waiting":{waiting},"#);
                let _ = write!(text, r#""conflated":{conflated},"dropped":0}}"#);
                lines.push(text);
            }
        }
        drop(state);
        let bytes: Vec<u8> = lines.iter().flat_map(|line| frame(0x81, line.as_bytes())).collect();
        stream.write_all(&bytes)?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn load(lie: Lie, slow: u32) -> io::Result<(Outcome, Shown)> {
    let plan = Plan {
        target: Target::web(&format!("ws://{}/feed", serve(lie)), false).expect("target"),
        pid: Some(std::process::id()),
        fast: Readers { count: 3, keys: 4 },
        slow: Readers { count: slow, keys: KEYS },
        keys: KEYS,
        rate: BURST * 1000,
        warmup: Duration::from_millis(20),
        measured: Duration::from_millis(600),
    };
    let mut edges = Vec::new();
    let shown = run(&plan, &mut |edge| {
        edges.push(edge);
        Ok(())
    });
    assert!(shown.is_err() || edges == [Edge::Begin, Edge::End]);
    shown
}

#[test]
fn a_good_feed_is_measured() {
    let (outcome, shown) = load(Lie::None, 0).expect("a good feed");
    assert!(outcome.messages > 0 && outcome.messages >= outcome.latencies.len() && !outcome.latencies.is_empty());
    assert!(outcome.latencies.max() < 5_000_000_000 && outcome.reply_bytes > 60 * outcome.messages);
    assert!(shown.published_per_second > 0.0 && shown.rss.is_some_and(|bytes| bytes > 0));
    assert_eq!(shown.late.len(), outcome.latencies.len(), "each delivery has its lateness");
    assert!(shown.ages.is_none() && shown.counts.published >= shown.counts.sent && shown.counts.sent > 0);
}

/// The slow ones fall behind by what the sockets hold, and what they read is older; they have the newest when they read on.
#[test]
fn slow_readers_fall_behind_and_come_back() {
    let (_, shown) = load(Lie::None, 2).expect("a good feed");
    let ages = shown.ages.expect("somebody is slow");
    assert!(!ages.ages.is_empty() && ages.ages.max() > 50_000_000, "{}", ages.ages.max());
    assert!(shown.counts.conflated > 0, "{:?}", shown.counts);
}

#[test]
fn whatever_is_not_as_it_must_be_is_named() {
    for (lie, slow, words) in [
        (Lie::Older, 0, "an older value after a newer"),
        (Lie::Chain, 0, "prev is"),
        (Lie::Skipped, 0, "prev is"),
        (Lie::Uncounted, 2, "add up"),
        (Lie::Overcounted, 0, "sent by the server's count"),
        (Lie::Clock, 0, "CLOCK_MONOTONIC"),
        (Lie::Own, 0, "CLOCK_MONOTONIC"),
        (Lie::Word, 0, "no such key"),
        (Lie::Stale, 2, "K3 is at"),
    ] {
        let Err(error) = load(lie, slow) else { panic!("{lie:?} was believed") };
        let error = error.to_string();
        assert!(error.contains(words) && error.starts_with("connection "), "{lie:?}: {error}");
    }
}

#[test]
fn a_plan_without_readers_or_keys_is_refused() {
    let target = Target::web("ws://127.0.0.1:1/feed", false).expect("target");
    let none = Readers { count: 0, keys: 0 };
    let one = Readers { count: 1, keys: 2 };
    let zero = Duration::ZERO;
    let plan = Plan { target, pid: None, fast: one, slow: none, keys: 2, rate: 1, warmup: zero, measured: zero };
    for plan in [
        Plan { fast: none, ..plan.clone() },
        Plan { keys: 1, ..plan.clone() },
        Plan { slow: Readers { count: 1, keys: 3 }, ..plan },
    ] {
        let error = run(&plan, &mut |_| Ok(())).map(|_| ()).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
