//! What a test does wrong, and what it is told.

use wsring::testing::Handshake;
use wsring::{CloseCode, Config, Place};

use crate::probe::Probe;

#[test]
fn a_setting_that_makes_no_sense_is_named() {
    let config = Config::default().output_low_bytes(u32::MAX);
    let error =
        wsring::testing::Bench::<Probe>::new(config, |core| Probe::new(&core)).expect_err("it is above the high one");
    assert_eq!(error.setting(), "output_low_bytes");
}

#[test]
#[should_panic(expected = "Peer(0) is a client of another bench")]
fn clients_of_other_benches_are_strangers() {
    let (mut bench, _ann) = Probe::with_peer(Config::default());
    let (_other, stranger) = Probe::with_peer(Config::default());
    bench.send(stranger, "hello");
}

#[test]
#[should_panic(expected = "Peer(0) cannot say anything: it has sent a Close")]
fn nothing_is_said_behind_a_close() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.close(ann, CloseCode::NORMAL, "");
    bench.send(ann, "and another thing");
}

#[test]
#[should_panic(
    expected = "Peer(0) cannot say anything: its connection has ended: Closed { code: Some(CloseCode(1008)), reason: \"enough\" }"
)]
fn who_was_told_to_go_says_nothing() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.send(ann, "close enough");
    bench.run();
    bench.send(ann, "but");
}

#[test]
#[should_panic(expected = "the core does not come to rest: 100000 passes at one moment, 0ns after its start")]
fn a_handler_that_never_rests_is_found() {
    let mut bench = Probe::bench(Config::default());
    bench.handle().mail(Place::new(0), 0).unwrap();
    bench.run();
}

#[test]
#[should_panic(expected = "got a binary message")]
fn texts_are_text() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.send(ann, &[1, 2]);
    bench.take_texts(ann);
}

#[test]
#[should_panic(expected = "is no request: the target is not a path and query in visible ASCII")]
fn a_path_begins_with_a_slash() {
    let _ = Probe::bench(Config::default()).connect(Handshake::to("room"));
}

#[test]
#[should_panic(expected = "a ping has at most 125 bytes, not 126")]
fn a_ping_is_short() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.ping(ann, &[0; 125]);
    bench.ping(ann, &[0; 126]);
}

#[test]
#[should_panic(expected = "who reads no byte a second has stopped reading")]
fn nothing_a_second_is_not_slow() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.read_slowly(ann, 1);
    bench.read_slowly(ann, 0);
}
