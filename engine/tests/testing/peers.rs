//! What clients do, and what they get.

use wsring::http::{Request, StatusCode};
use wsring::testing::{Bench, Ending, Handshake, Refused, SOCKET_BYTES};
use wsring::{CloseCode, Config, CoreState, Deflate, OnPanic, OriginList, Origins, OwnedMessage, Place, Policy};

use crate::probe::{LONG, Probe};

fn closed(code: CloseCode, reason: &str) -> Option<Ending> {
    Some(Ending::Closed { code: Some(code), reason: reason.to_owned() })
}

#[test]
fn a_handshake_is_answered_by_the_handler() {
    let mut bench = Probe::bench(Config::default().connections_max(2));
    let refused = bench.connect("/private").expect_err("it has no key");
    assert_eq!(refused.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(refused.to_string(), r#"refused with 401 Unauthorized: "Unauthorized""#);
    let ann = bench.connect(Handshake::to("/private").header("Cookie", "key=1")).expect("it has the key");
    assert_eq!(
        (bench.answer(ann).status(), &bench.answer(ann).headers()["x-room"]),
        (StatusCode::SWITCHING_PROTOCOLS, &"blue".parse().unwrap())
    );
    assert_eq!(
        bench.connect("/panic").expect_err("its callback panics").status(),
        Some(StatusCode::INTERNAL_SERVER_ERROR)
    );
    bench.connect("/").expect("there is room for two");
    assert_eq!(bench.connect("/").expect_err("not for three").status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    let stats = bench.stats();
    assert_eq!((stats.opened, stats.open, stats.declined, stats.full, stats.panics), (2, 2, 2, 1, 1));
}

#[test]
fn origins_hosts_and_subprotocols_are_judged() {
    let origins = Origins::List(OriginList::new(["https://a.example"]).expect("an origin"));
    let policy = Policy::default().origins(origins).subprotocols(["v2", "v1"]);
    let mut bench = Probe::bench(Config::default().policy(policy));
    let asked = Handshake::to("/").subprotocol("v1").subprotocol("v2");
    let ann = bench.connect(asked.clone().origin("https://a.example")).expect("it may");
    assert_eq!(bench.answer(ann).headers()["sec-websocket-protocol"], "v2");
    assert_eq!(
        bench.connect(asked.origin("https://b.example")).expect_err("it may not").status(),
        Some(StatusCode::FORBIDDEN)
    );
    let mut bench = Probe::bench(Config::default().policy(Policy::default().origins(Origins::Same)));
    assert!(bench.connect(Handshake::to("/").host("c.example").origin("http://c.example")).is_ok());
    assert!(bench.connect(Handshake::to("/").host("d.example").origin("http://c.example")).is_err());
}

#[test]
fn a_plain_request_is_answered() {
    let mut bench = Probe::bench(Config::default());
    let get = bench.request(&Request::get("/healthz").body(()).unwrap()).expect("an answer");
    assert_eq!((get.status(), get.body().as_slice()), (StatusCode::NOT_FOUND, &b"this is a WebSocket endpoint\n"[..]));
    let head = bench.request(&Request::head("/").header("Host", "x").body(()).unwrap()).expect("an answer");
    assert_eq!((head.status(), head.body().len()), (StatusCode::NOT_FOUND, 0));
    assert_eq!((bench.stats().accepted, bench.stats().closed, bench.stats().open), (2, 2, 0));
}

#[test]
fn messages_go_both_ways_in_order() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    let ben = bench.connect("/").unwrap();
    let long = vec![9; 300_000];
    bench.send(ann, "one");
    bench.send(ben, "other");
    bench.send(ann, &long);
    bench.send(ann, "");
    let got = bench.take(ann);
    assert_eq!(got, [OwnedMessage::from("one"), long.into(), "".into()]);
    assert_eq!((bench.take_texts(ben), bench.take(ann).len()), (vec!["other".to_owned()], 0));
    assert_eq!((bench.data(ann).copied(), bench.data(ben).copied(), bench.stats().messages), (Some(3), Some(1), 4));
}

#[test]
fn a_client_may_be_sent_to_compressed() {
    let mut bench = Probe::bench(Config::default().deflate(Deflate::shared()));
    let packed = bench.connect(Handshake::to("/").deflate()).unwrap();
    let plain = bench.connect("/").unwrap();
    let line = "over and over ".repeat(100);
    for peer in [packed, plain] {
        bench.send(peer, &line);
        assert_eq!(bench.take_texts(peer).concat(), line);
        assert_eq!(bench.stats().compressed, 1, "for the one that offered it, and for no other");
    }
}

#[test]
fn pings_are_answered_and_faults_are_told() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.ping(ann, b"there?");
    bench.ping(ann, b"");
    assert_eq!(bench.take_pongs(ann), [b"there?".to_vec(), Vec::new()]);
    assert!(bench.take_pongs(ann).is_empty());
    bench.send_raw(ann, b"\x81\x02hi"); // without a mask, RFC 6455 §5.1
    assert_eq!(
        bench.ending(ann).expect("it is told"),
        closed(CloseCode::PROTOCOL, "unmasked frame from a client").unwrap()
    );
    assert_eq!((bench.id(ann), bench.data(ann).copied(), bench.stats().violations), (None, None, 1));
}

#[test]
fn a_client_leaves_in_each_way() {
    let mut bench = Probe::bench(Config::default());
    let [ann, ben, cid, dan] = [(); 4].map(|()| bench.connect("/").unwrap());
    bench.send(ben, "last words");
    bench.close(ann, CloseCode::NORMAL, "bye");
    assert_eq!(bench.ending(ann), closed(CloseCode::NORMAL, ""));
    bench.run();
    bench.hang_up(ben);
    bench.run();
    bench.reset(cid);
    bench.run();
    bench.close(dan, None, "");
    let told =
        ["0 messages, closed by the peer: 1000 \"bye\"", "1 messages, the peer ended the connection without a close"];
    let log = bench.handler().log.clone();
    assert_eq!(log[..2], told);
    assert!(log[2].starts_with("0 messages, the connection broke"), "{}", log[2]);
    assert_eq!(log[3], "0 messages, closed by the peer without a code");
    assert_eq!([ben, cid].map(|peer| bench.ending(peer)), [Some(Ending::Left), Some(Ending::Left)]);
    assert_eq!(bench.ending(dan), Some(Ending::Closed { code: None, reason: String::new() }));
    assert_eq!((bench.stats().open, bench.stats().resets), (0, 1));
}

/// What a socket takes, the mark above which the output is high, and what is refused: by the message.
#[test]
fn who_does_not_read_makes_output_high() {
    let config = Config::default().output_high_bytes(20_000).output_low_bytes(5_000);
    let (mut bench, ann) = Probe::with_peer(config);
    bench.stop_reading(ann);
    let frame = LONG + 4;
    let fits = SOCKET_BYTES / frame;
    for _ in 0..fits {
        bench.send(ann, "flood 1");
        bench.run();
    }
    bench.send(ann, "flood 100");
    assert_eq!(bench.handler().log, ["High"]);
    assert!(bench.take(ann).is_empty(), "it does not read");
    bench.read_on(ann);
    let got = bench.take(ann).len();
    let high = got - fits;
    assert!(high * frame > 20_000 && (high - 2) * frame < 20_000, "{high} messages made it high");
    assert_eq!(bench.handler().log, ["High", "writable"]);
}

/// It takes the time that its rate says, to a piece.
#[test]
fn who_reads_slowly_gets_it_in_time() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.read_slowly(ann, 10_000);
    bench.send(ann, "flood 50");
    let start = bench.now();
    bench.advance(std::time::Duration::from_secs(3));
    let some = bench.take_timed(ann);
    assert!((29..=31).contains(&some.len()), "{} messages of 1,004 bytes in 3 s at 10,000 a second", some.len());
    for (number, (at, _)) in some.iter().enumerate() {
        let least = (number as u64 + 1) * 1_004 * 100_000 - 10_000_000; // a piece is read at once
        assert!(at.since(start).as_nanos() as u64 >= least, "message {number} after {:?}", at.since(start));
    }
    bench.read_on(ann);
    assert_eq!(some.len() + bench.take(ann).len(), 50);
}

#[test]
fn a_callback_that_panics_ends_its_connection_alone() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    let ben = bench.connect("/").unwrap();
    bench.send(ann, "panic");
    bench.send(ben, "alive");
    assert_eq!(
        bench.ending(ann).map(|ending| matches!(ending, Ending::Closed { code: Some(CloseCode::INTERNAL), .. })),
        Some(true)
    );
    assert_eq!((bench.take_texts(ben), bench.stats().panics), (vec!["alive".to_owned()], 1));
    assert_eq!(bench.handler().log, ["1 messages, the application panicked"]);
}

/// By the setting, or because it was about the core: the panic goes on in the test, and everybody has been told.
#[test]
fn a_panic_that_ends_the_core_goes_on_in_the_test() {
    for (config, by_mail) in [(Config::default().on_panic(OnPanic::Stop), false), (Config::default(), true)] {
        let (mut bench, ann) = Probe::with_peer(config);
        let ben = bench.connect("/").unwrap();
        if by_mail {
            bench.handle().mail(Place::new(0), 1).unwrap();
        } else {
            bench.send(ann, "panic");
        }
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.run()));
        assert_eq!(caught.expect_err("it goes on").downcast_ref(), Some(&"asked for"));
        assert_eq!(bench.ending(ben), closed(CloseCode::INTERNAL, "server failed"));
        assert_eq!(bench.handle().state(Place::new(0)), CoreState::Failed);
        assert!(matches!(bench.connect("/"), Err(Refused::Closed)));
        assert_eq!((bench.stats().panics, bench.id(ben)), (1, None));
    }
}

#[test]
fn a_stop_tells_everybody() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    let [silent, still] = [(); 2].map(|()| bench.connect("/").unwrap());
    bench.fall_silent(silent);
    bench.stop_reading(still);
    assert_eq!(bench.handle().state(Place::new(0)), CoreState::Running);
    let stats = bench.stop();
    assert_eq!((stats.opened, stats.open, stats.closed), (3, 0, 3));
    assert_eq!(
        [ann, silent].map(|peer| bench.ending(peer)),
        [(); 2].map(|()| closed(CloseCode::GOING_AWAY, "server stopping"))
    );
    assert_eq!((bench.ending(still), bench.handle().state(Place::new(0))), (None, CoreState::Ended));
    bench.read_on(still);
    bench.advance(std::time::Duration::from_secs(1));
    assert!(bench.ending(still).is_some());
    assert_eq!(bench.handler().log, ["0 messages, stopped"; 3]);
    assert!(bench.request(&Request::get("/").body(()).unwrap()).is_none());
}

/// Another order and other pieces, and the same messages; and the same story again.
#[test]
fn a_seed_repeats_its_story() {
    let story = |seed| {
        let mut bench = seeded(seed);
        let peers = [(); 5].map(|()| bench.connect("/").unwrap());
        for (number, peer) in peers.into_iter().enumerate() {
            bench.send(peer, &format!("mail {}", number + 2));
            bench.send(peer, "flood 20");
        }
        bench.reset(peers[4]);
        let got = peers.map(|peer| bench.take(peer).len());
        assert_eq!(got[..4], [20; 4]);
        (bench.stats(), bench.handler().mail.clone())
    };
    let stories: Vec<_> = (0..20).map(story).collect();
    assert_eq!(stories, (0..20).map(story).collect::<Vec<_>>());
    assert!(stories.iter().any(|(stats, _)| *stats != stories[0].0), "no two seeds differ");
}

fn seeded(seed: u64) -> Bench<Probe> {
    Bench::seeded(seed, Config::default(), |core| Probe::new(&core)).expect("a configuration that makes sense")
}

/// Without a seed who speaks first is heard first; with some, who speaks last.
#[test]
fn a_seed_has_messages_of_one_moment_in_any_order() {
    let order = |mut bench: Bench<Probe>| {
        let peers: Vec<_> = (2..10).map(|number| (number, bench.connect("/").unwrap())).collect();
        for (number, peer) in peers {
            bench.send(peer, &format!("mail {number}"));
        }
        bench.handler().mail.clone()
    };
    let in_order: Vec<u32> = (2..10).collect();
    assert_eq!(order(Probe::bench(Config::default())), in_order);
    let orders: Vec<_> = (0..60).map(|seed| order(seeded(seed))).collect();
    assert!(orders.iter().any(|order| order[0] == 9), "none has the last one first");
    let sorted = |mut order: Vec<u32>| {
        order.sort_unstable();
        order
    };
    assert!(orders.into_iter().all(|order| sorted(order) == in_order));
}

/// One message: whole in one pass, or in many.
#[test]
fn a_seed_cuts_what_is_sent() {
    let passes = |mut bench: Bench<Probe>| {
        let ann = bench.connect("/").unwrap();
        let before = bench.stats().passes;
        bench.send(ann, &[5; 50_000]);
        assert_eq!(bench.take(ann), [OwnedMessage::from(vec![5; 50_000])]);
        bench.stats().passes - before
    };
    let whole = passes(Probe::bench(Config::default()));
    assert!((0..10).any(|seed| passes(seeded(seed)) > whole + 2), "{whole} passes for a whole one");
}
