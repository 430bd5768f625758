//! Peers that begin a message and do not end it.

use std::io::Write;
use std::time::{Duration, Instant};

use wsring::{Config, Feature, Features};

use crate::common::*;

const ROUND: Duration = Duration::from_millis(100);

/// Whatever it says meanwhile: a peer that drips a frame is told 1008, and so is one that holds half a message and answers pings.
/// A neighbour whose messages are whole is not.
#[test]
fn half_a_message_is_not_held_for_ever() {
    for features in [Features::all(), Features::all().without(Feature::MultishotRecv)] {
        let (running, addr) = serve(Config::default().message_timeout(ROUND).features(features), 1, |_| Echo);
        let mut neighbour = Client::connect(addr);
        let mut dripping = Client::connect(addr);
        let mut holding = Client::connect(addr);
        let began = Instant::now();
        let mut frame = Vec::new();
        client_frame(&mut frame, true, BINARY, &[7; 200_000], [1, 2, 3, 4]);
        let (first, rest) = frame.split_at(100_000);
        dripping.stream.write_all(first).expect("half of it goes out");
        holding.send_frame(false, TEXT, b"half");
        let mut rest = rest.iter();
        while !dripping.hears_within(Duration::from_millis(2)) {
            dripping.stream.write_all(&[*rest.next().expect("it is told before that")]).expect("a byte goes out");
            neighbour.echo(TEXT, b"whole");
        }
        assert!(began.elapsed() >= ROUND, "{features}: closed after {:?}", began.elapsed());
        assert_eq!(dripping.expect_close(), (1008, "message timeout".to_owned()), "{features}");
        while !holding.hears_within(Duration::from_millis(2)) {
            holding.send(PONG, b"alive");
            assert!(began.elapsed() < WAIT, "{features}: pongs kept half a message");
        }
        assert_eq!(holding.expect_close(), (1008, "message timeout".to_owned()), "{features}");
        neighbour.echo(TEXT, b"not disturbed");
        neighbour.close();
        drop((dripping, holding));
        let stats = finish(running);
        assert_eq!((stats.timeouts, stats.opened, stats.closed), (2, 3, 3), "{features}");
    }
}

/// It may be held, if that is what is wanted.
#[test]
fn half_a_message_is_held_where_no_time_is_set() {
    let (running, addr) = serve(Config::default().message_timeout(None), 1, |_| Echo);
    let mut client = Client::connect(addr);
    client.send_frame(false, TEXT, b"half");
    assert!(!client.hears_within(3 * ROUND), "it was told something");
    client.send_frame(true, 0, b" and half");
    client.expect(TEXT, b"half and half");
    client.close();
    assert_eq!(finish(running).timeouts, 0);
}
