//! Two of the examples, tested as their users would test handlers of their own.

use std::time::Duration;

use wsring::testing::Bench;

#[allow(dead_code, reason = "`main` and `serve` are for who runs it")]
#[path = "../../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "`main` and `serve` are for who runs it")]
#[path = "../../examples/game_tick.rs"]
mod game_tick;

/// A member who stops reading misses what is too old, is told how much, and holds up nobody.
#[test]
fn a_slow_member_of_a_chat_misses_the_oldest_lines() {
    let mut bench = Bench::new(chat::config(), |_| chat::Chat::default()).expect("a configuration");
    let ann = bench.connect("/tea?ann").expect("a room");
    let ben = bench.connect("/tea?ben").expect("the same");
    assert_eq!(bench.take_texts(ann), ["* ann joins, 1 here", "* ben joins, 2 here"]);
    bench.stop_reading(ben);
    for number in 0..1_000 {
        bench.send(ann, &format!("{number:0>500}"));
        bench.run();
    }
    assert_eq!(bench.take_texts(ann).len(), 1_000);
    bench.read_on(ben);
    let lines = bench.take_texts(ben);
    let missed = 1_000 + 1 - (lines.len() - 1);
    assert_eq!(lines.last(), Some(&format!("* you missed {missed} lines")));
    bench.hang_up(ben);
    assert_eq!(bench.take_texts(ann), ["* ben leaves, 1 here"]);
}

/// Thirty ticks a second and no more, whatever players do; a player who comes back has the newest.
#[test]
fn a_game_tells_its_players_thirty_times_a_second() {
    let mut bench = Bench::new(game_tick::config(), |core| game_tick::Game::new(&core)).expect("a configuration");
    let ann = bench.connect("/").expect("a place");
    for _ in 0..5 {
        bench.send(ann, "1");
    }
    assert!(bench.take_texts(ann).is_empty(), "an input is not answered before the tick");
    bench.advance(Duration::from_secs(1));
    let ticks = bench.take_texts(ann);
    assert_eq!((ticks.len(), ticks[29].as_str()), (30, r#"{"tick":30,"late_us":0,"places":[5]}"#));
    bench.stop_reading(ann);
    for _ in 0..20 {
        bench.send(ann, "0"); // it is alive
        bench.advance(Duration::from_secs(30));
    }
    bench.read_on(ann);
    bench.advance(Duration::from_millis(34));
    let last = bench.take_texts(ann).pop().expect("it is read again");
    assert!(last.starts_with(r#"{"tick":18031,"#), "{last}");
}
