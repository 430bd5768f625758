//! `--demo chat`: what is said in a room is heard there and nowhere else.

use serde_json::{Value, json};
use wsring_testkit::{BINARY, Client, TEXT};

use crate::process::{Serve, first_core, narrow, start};

fn chat() -> Serve {
    start(&["--cores", &first_core(), "--demo", "chat"])
}

#[track_caller]
fn line(member: &mut Client) -> Value {
    let frame = member.frame_past_pings();
    assert_eq!(frame.opcode, TEXT, "{frame:?}");
    serde_json::from_slice(&frame.payload).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&frame.payload)))
}

#[test]
fn a_room_hears_what_is_said_in_it() {
    let serve = chat();
    let open = |path: &str| Client::open(serve.addr(), path);
    let mut ann = open("/chat/lounge?name=ann");
    assert_eq!(line(&mut ann), json!({"joined": "ann", "here": 1}));
    let mut eve = open("/chat/kitchen?name=eve");
    assert_eq!(line(&mut eve), json!({"joined": "eve", "here": 1}));
    let mut bob = open("/chat/lounge");
    assert_eq!([line(&mut ann), line(&mut bob)], [(); 2].map(|()| json!({"joined": "somebody", "here": 2})));
    let said = "hello \"you\"\n\u{1f600}";
    ann.send(TEXT, said.as_bytes());
    assert_eq!([line(&mut ann), line(&mut bob)], [(); 2].map(|()| json!({"from": "ann", "text": said})));
    bob.close();
    assert_eq!(line(&mut ann), json!({"left": "somebody", "here": 1}));
    // What she hears next is her own.
    eve.send(TEXT, b"nobody?");
    assert_eq!(line(&mut eve), json!({"from": "eve", "text": "nobody?"}));
    ann.close();
    let mut bob = open("/chat/lounge?name=bob");
    assert_eq!(line(&mut bob), json!({"joined": "bob", "here": 1}));
    serve.stop();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let serve = chat();
    for (path, status) in [
        ("/", 404),
        ("/chat/", 404),
        ("/chat/a/b", 404),
        ("/chat/a%20b", 404),
        ("/chat/a?name=", 400),
        ("/chat/a?b", 400),
    ] {
        assert_eq!(Client::try_open(serve.addr(), path, &[]).expect_err(path).status, status, "{path}");
    }
    let mut ann = Client::open(serve.addr(), "/chat/lounge?name=ann");
    line(&mut ann);
    ann.send(BINARY, b"hello");
    assert_eq!(line(&mut ann), json!({"error": "a line is text"}));
    ann.send(TEXT, &[b'x'; (16 << 10) + 1]);
    assert_eq!(line(&mut ann), json!({"error": "a line is at most 16384 bytes"}));
    ann.send(TEXT, &[b'x'; 16 << 10]);
    assert_eq!(line(&mut ann)["from"], "ann");
    serve.stop();
}

/// As many rooms as there may be are opened, and one more is not; those that are known go on.
#[test]
fn there_are_only_so_many_rooms() {
    let serve = chat();
    for room in 0..1_000 {
        let mut ann = Client::open(serve.addr(), &format!("/chat/{room}?name=ann"));
        assert_eq!(line(&mut ann), json!({"joined": "ann", "here": 1}));
    }
    assert_eq!(Client::try_open(serve.addr(), "/chat/lounge", &[]).expect_err("a room too many").status, 503);
    Client::open(serve.addr(), "/chat/17");
    serve.stop();
}

/// A member who stands still misses the oldest lines that wait and is told how many; nobody waits for it.
#[test]
fn a_slow_member_is_told_what_it_missed() {
    const LINES: u64 = 1_000;
    let serve = chat();
    let mut ann = Client::open(serve.addr(), "/chat/lounge?name=ann");
    let mut slow = Client::upgraded(narrow(serve.addr(), "/chat/lounge?name=slow"));
    assert_eq!(line(&mut slow), json!({"joined": "slow", "here": 2}));
    (0..2).for_each(|_| drop(line(&mut ann)));
    let padding = "x".repeat(4_000);
    for number in 0..LINES {
        ann.send(TEXT, format!("{number} {padding}").as_bytes());
        assert!(line(&mut ann)["text"].as_str().unwrap().starts_with(&format!("{number} x")));
    }
    let (mut heard, mut at, mut gap) = (0, 0, 0);
    let missed = loop {
        let line = line(&mut slow);
        if let Some(missed) = line["missed"].as_u64() {
            break missed;
        }
        let number: u64 = line["text"].as_str().and_then(|text| text.split(' ').next()?.parse().ok()).unwrap();
        assert!(number >= at, "{number} behind {at}");
        gap += number - at;
        (heard, at) = (heard + 1, number + 1);
    };
    assert_eq!((at, heard + missed, gap), (LINES, LINES, missed));
    assert!(missed > 0);
    ann.send(TEXT, b"are you back?");
    assert_eq!(line(&mut slow)["text"], "are you back?");
    serve.stop();
}
