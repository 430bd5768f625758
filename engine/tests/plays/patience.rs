//! Peers that take what is sent to them slowly, and peers that do not take it: who is waited for, for how long, and what becomes of the
//! others.

use crate::stage::{Act, Do, ms, quiet, text};
use wsring::CloseCode;
use wsring::ring::sim::SimConfig;

use crate::deadlines::{assert_at, assert_cut, config, idle_config};
use crate::stage;

/// A peer that reads `most` bytes every `every` milliseconds from `from` on.
fn sips(peer: usize, from: u64, every: u64, most: usize) -> impl Iterator<Item = stage::Step> {
    (0..400).map(move |i| (from + i * every, peer, Do::Sip(most)))
}

/// On a message, sends so many times 10,000 bytes, and closes if told so.
fn sender(count: usize, closes: bool) -> Act {
    let mut act = Act::echo();
    act.on_message = Box::new(move |cx, _| {
        for i in 0..count {
            assert!(cx.send(&[i as u8; 10_000]).is_queued());
        }
        if closes {
            cx.close(CloseCode::NORMAL, "that is all");
        }
    });
    act
}

/// What a socket takes of it: all at once, of which the peer's half is acknowledged unread, or a part.
fn socket(capacity: usize) -> SimConfig {
    SimConfig { tx_capacity: (capacity, capacity), ..quiet() }
}

// 300,000 bytes at 20 bytes a millisecond: that is 15 s, with a closing timeout of 500 ms.
#[test]
fn a_closing_peer_that_takes_what_is_queued_is_waited_for() {
    for capacity in [20_000, 150_000, 1 << 20] {
        let config = || config().closing_timeout(ms(500));
        let start = [(0, 0, Do::Open), (10, 0, Do::Deaf), (20, 0, Do::Write(text("go")))];
        let steps = start.iter().cloned().chain(sips(0, 100, 50, 1_000)).collect();
        let play = stage::play(config(), socket(capacity), sender(30, true), steps, 30_000);
        assert_eq!((play.messages(0).len(), play.closes(0).len()), (30, 1), "{capacity}: {play:?}");
        assert!(!play.was_reset(0) && play.gone_at(0) >= Some(15_000), "{capacity}: {play:?}");
        if capacity == 1 << 20 {
            continue; // the peer's half of that has room for everything: it has taken all
        }
        // Not beyond the end of the whole.
        let steps = start.iter().cloned().chain(sips(0, 100, 50, 1_000)).collect();
        let play = stage::play(config().closing_max(ms(3_000)), socket(capacity), sender(30, true), steps, 30_000);
        assert_at("the cut", play.closed_at(0), 3_020);
        assert!(play.was_reset(0) && play.messages(0).len() < 30, "{capacity}: {play:?}");
        // Nor if it takes nothing any more.
        let steps = start.iter().cloned().chain(sips(0, 100, 50, 1_000).take(20)).chain([(9_000, 0, Do::Listen)]);
        let play = stage::play(config(), socket(capacity), sender(30, true), steps.collect(), 30_000);
        assert!(play.was_reset(0) && play.messages(0).len() < 30, "{capacity}: {play:?}");
    }
}

// The same while the server stops, which has an end of its own.
#[test]
fn a_stop_waits_for_those_who_take_what_is_queued() {
    let config = |stop_max| config().stop_timeout(ms(400)).stop_max(ms(stop_max));
    let start = [(0, 0, Do::Open), (10, 0, Do::Deaf), (20, 0, Do::Write(text("go"))), (1_000, 1, Do::Stop)];
    let steady = |n| start.iter().cloned().chain(sips(0, 100, 50, 1_000)).take(n).collect::<Vec<_>>();
    let play = stage::play(config(60_000), socket(20_000), sender(30, false), steady(404), 60_000);
    assert_eq!((play.messages(0).len(), play.closes(0)), (30, vec![(Some(1001), "server stopping".to_owned())]));
    assert!((15_000..16_500).contains(&play.ended), "{play:?}");
    let listens = [steady(404), vec![(4_080, 0, Do::Listen)]].concat();
    let play = stage::play(config(3_000), socket(20_000), sender(30, false), listens, 60_000);
    assert_at("the end", Some(play.ended), 4_000);
    assert!(play.was_reset(0), "{play:?}");
    let play = stage::play(config(60_000), socket(20_000), sender(30, false), steady(4), 60_000);
    assert_cut(&play, Some(play.ended), 1_000, 400);
    assert_eq!(play.reason(0), Some("Stopped"), "{play:?}");
}

// Its answer to a ping comes behind what it takes: it is alive while it takes that.
#[test]
fn a_pinged_peer_that_takes_what_stands_before_the_ping_is_alive() {
    let start = [(0, 0, Do::Open), (10, 0, Do::Deaf), (20, 0, Do::Write(text("go")))];
    let steps = start.iter().cloned().chain(sips(0, 100, 50, 1_000)).collect();
    let play = stage::play(idle_config(), socket(20_000), sender(10, false), steps, 4_800);
    assert_eq!((play.messages(0).len(), play.stats.timeouts), (10, 0), "{play:?}");
    // It takes nothing any more: it cannot be told, and is reset.
    let steps = start.iter().cloned().chain(sips(0, 100, 50, 1_000).take(40)).chain([(9_000, 0, Do::Listen)]);
    let play = stage::play(idle_config(), socket(20_000), sender(10, false), steps.collect(), 10_000);
    assert_eq!((play.reason(0), play.stats.timeouts, play.was_reset(0)), (Some("Timeout"), 1, true), "{play:?}");
}
