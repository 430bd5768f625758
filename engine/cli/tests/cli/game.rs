//! `--demo game`: everybody is told of everybody once a tick.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use wsring_testkit::{BINARY, CLOSE, Client, TEXT};

use crate::process::{Serve, first_core, narrow, run, start};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tick {
    tick: u64,
    #[allow(dead_code, reason = "however late it is on this machine")]
    late_us: u64,
    players: BTreeMap<String, Option<State>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct State {
    inputs: u64,
    last: Value,
}

fn game(hz: &str) -> Serve {
    start(&["--cores", &first_core(), "--demo", "game", "--hz", hz])
}

#[track_caller]
fn tick(player: &mut Client) -> Tick {
    let frame = player.frame_past_pings();
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
    serde_json::from_slice(&frame.payload).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&frame.payload)))
}

/// The first tick of which this is true; those on the way follow each other.
#[track_caller]
fn tick_where(player: &mut Client, is_it: impl Fn(&Tick) -> bool) -> Tick {
    let mut last = tick(player);
    while !is_it(&last) {
        let next = tick(player);
        assert!(next.tick > last.tick, "{next:?} behind {last:?}");
        last = next;
    }
    last
}

#[track_caller]
fn error(player: &mut Client) -> String {
    loop {
        let told: Value = serde_json::from_slice(&player.frame_past_pings().payload).unwrap();
        if let Some(error) = told["error"].as_str() {
            return error.to_owned();
        }
    }
}

/// Ticks come until the Close is answered.
#[track_caller]
fn leave(mut player: Client) {
    player.send(CLOSE, &1000_u16.to_be_bytes());
    while player.frame_past_pings().opcode != CLOSE {}
}

#[test]
fn everybody_is_told_of_everybody() {
    let serve = game("100");
    let (mut ann, mut bob) =
        (Client::open(serve.addr(), "/game?name=ann"), Client::open(serve.addr(), "/game?name=bob"));
    let both = tick_where(&mut ann, |tick| tick.players.len() == 2);
    assert_eq!(both.players["bob"], Some(State { inputs: 0, last: Value::Null }));
    // What comes between two ticks is in the next one, all of it counted.
    (0..100).for_each(|dx| bob.send(TEXT, json!({ "input": { "dx": dx } }).to_string().as_bytes()));
    let inputs = |tick: &Tick| tick.players.get("bob").and_then(|bob| bob.as_ref()).map_or(0, |bob| bob.inputs);
    for player in [&mut ann, &mut bob] {
        let last = tick_where(player, |tick| inputs(tick) == 100);
        assert_eq!(last.players["bob"], Some(State { inputs: 100, last: json!({ "dx": 99 }) }));
        assert!(last.players.contains_key("ann"));
    }
    leave(bob);
    tick_where(&mut ann, |tick| tick.players.get("bob") == Some(&None));
    assert_eq!(tick(&mut ann).players.len(), 1);
    // The name is free again.
    let mut bob = Client::open(serve.addr(), "/game?name=bob");
    tick_where(&mut bob, |tick| tick.players.len() == 2);
    let mut twin = Client::open(serve.addr(), "/game?name=bob");
    let close = loop {
        let frame = twin.frame_past_pings();
        if frame.opcode != TEXT {
            break frame;
        }
    };
    assert_eq!((close.close_code(), &close.payload[2..]), (1008, &b"the name is taken"[..]));
    tick_where(&mut ann, |tick| tick.players.len() == 2);
    serve.stop();
}

#[test]
fn what_makes_no_sense_is_answered_in_json() {
    let serve = game("100");
    for (path, status) in [("/game", 400), ("/game?name=", 400), ("/game?name=a%20b", 400), ("/?name=ann", 404)] {
        assert_eq!(Client::try_open(serve.addr(), path, &[]).expect_err(path).status, status, "{path}");
    }
    let mut ann = Client::open(serve.addr(), "/game?name=ann");
    for (input, part) in [
        ("up", "expected value"),
        ("{}", "missing field `input`"),
        (r#"{"input":1,"at":2}"#, "unknown field `at`"),
        (r#"{"input":"#, "EOF"),
    ] {
        ann.send(TEXT, input.as_bytes());
        let error = error(&mut ann);
        assert!(error.contains(part), "{input}: {error}");
    }
    ann.send(BINARY, br#"{"input":1}"#);
    assert_eq!(error(&mut ann), "an input is text");
    let input = |len: usize| format!(r#"{{"input":"{}"}}"#, "x".repeat(len - 2));
    ann.send(TEXT, input(129).as_bytes());
    assert_eq!(error(&mut ann), "an input is at most 128 bytes");
    ann.send(TEXT, input(128).as_bytes());
    let told = tick_where(&mut ann, |tick| tick.players["ann"].as_ref().is_some_and(|ann| ann.inputs > 0));
    assert_eq!(told.players["ann"], Some(State { inputs: 1, last: "x".repeat(126).into() }));
    serve.stop();
}

/// Who stands still is told of the newest tick, not of all that it missed; the others notice nothing.
#[test]
fn who_does_not_keep_up_gets_the_newest_tick() {
    let serve = game("1000");
    let (mut ann, mut slow) =
        (Client::open(serve.addr(), "/game?name=ann"), Client::upgraded(narrow(serve.addr(), "/game?name=slow")));
    let input = format!(r#"{{"input":"{}"}}"#, "x".repeat(120));
    [&mut ann, &mut slow].into_iter().for_each(|player| player.send(TEXT, input.as_bytes()));
    let first = tick(&mut slow).tick;
    let newest = tick_where(&mut ann, |tick| tick.tick > first + 2_000).tick;
    let mut last = first;
    let mut read = 0;
    while last < newest {
        let next = tick(&mut slow).tick;
        assert!(next > last, "{next} behind {last}");
        (last, read) = (next, read + 1);
    }
    assert!(read < 1_900, "it was told of {read} old ticks");
    serve.stop();
}

#[test]
fn options_of_the_game_need_it() {
    for (args, part) in [
        (&["serve", "--hz", "30"][..], "--demo"),
        (&["serve", "--demo", "feed", "--hz", "30"], "--hz is an option of --demo game"),
        (&["serve", "--demo", "game", "--keys", "30"], "--keys is an option of --demo feed"),
        (&["serve", "--demo", "game", "--hz", "0"], "1..=1000"),
        (&["serve", "--demo", "game", "--hz", "1001"], "1..=1000"),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.errors.contains(part), "{args:?}: {}", ended.errors);
    }
}
