//! Mail, publishing, and subscribers that do not keep up.

use std::time::Duration;

use wsring::testing::{Bench, Ending, Peer, SOCKET_BYTES};
use wsring::{CloseCode, Config, MailError, Place, Publish, Time};

use crate::probe::Probe;

const HERE: Place = Place::new(0);

#[test]
fn mail_comes_from_threads_and_from_callbacks() {
    let (mut bench, ann) = Probe::with_peer(Config::default().mailbox_max(2));
    let handle = bench.handle();
    let sent = std::thread::spawn(move || [2, 3, 4].map(|mail| handle.mail(HERE, mail))).join().expect("no panic");
    assert_eq!(sent, [Ok(()), Ok(()), Err(MailError::Full(4))]);
    bench.run();
    bench.send(ann, "mail 7");
    assert_eq!(bench.handler().mail, [2, 3, 7]);
    assert_eq!((bench.stats().mails, bench.stats().mail_refused), (3, 1));
}

#[test]
fn a_handle_sends_to_a_connection_and_closes_it() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    let ben = bench.connect("/").unwrap();
    let (handle, id) = (bench.handle(), bench.id(ann).expect("it is open"));
    assert_ne!(Some(id), bench.id(ben));
    handle.send(id, "to ann").unwrap();
    handle.close(id, CloseCode::NORMAL, "enough").unwrap();
    assert_eq!(bench.take_texts(ann), ["to ann"]);
    assert_eq!(bench.ending(ann), Some(Ending::Closed { code: Some(CloseCode::NORMAL), reason: "enough".to_owned() }));
    handle.send(id, "too late").unwrap();
    assert_eq!((bench.stats().mail_gone, bench.take(ben).len(), bench.ending(ben)), (1, 0, None));
    handle.stop();
    bench.advance(Duration::from_secs(10));
    assert!(bench.ending(ben).is_some());
    assert_eq!(handle.mail(HERE, 2), Err(MailError::Gone(2)));
}

/// Publishes this much by a handle, in messages of 1,000 bytes, each with its number in front.
fn publish(bench: &mut Bench<Probe>, count: usize) {
    let handle = bench.handle();
    let topic = handle.topic("news").expect("it is known");
    for number in 0..count {
        assert!(handle.publish_as(topic, Publish::keyed(1), format!("{number:0>1000}")).is_everywhere());
    }
}

fn numbers(bench: &mut Bench<Probe>, peer: Peer) -> Vec<usize> {
    bench.take_texts(peer).iter().map(|text| text.parse().expect("a number")).collect()
}

/// A subscriber that reads gets all; one that does not has what the socket took, and then the newest.
#[test]
fn who_does_not_keep_up_has_the_newest() {
    let (mut bench, slow) = Probe::with_peer(Config::default());
    let quick = bench.connect("/").unwrap();
    bench.send(slow, "conflate");
    bench.send(quick, "conflate");
    bench.run();
    bench.stop_reading(slow);
    for _ in 0..6 {
        publish(&mut bench, 50);
        bench.run();
    }
    assert_eq!(numbers(&mut bench, quick).len(), 300);
    bench.read_on(slow);
    let got = numbers(&mut bench, slow);
    let conflated = 300 - got.len();
    assert!(got.len() > SOCKET_BYTES / 1_004 && conflated > 0, "{} of 300", got.len());
    assert_eq!((got.last(), bench.stats().conflated), (Some(&49), conflated as u64));
    assert_eq!(bench.handler().log, [format!("{conflated} conflated, 0 dropped")]);
}

#[test]
fn what_does_not_fit_is_dropped() {
    let (mut bench, slow) = Probe::with_peer(Config::default());
    bench.send(slow, "newest");
    bench.run();
    bench.stop_reading(slow);
    for _ in 0..3 {
        publish(&mut bench, 100);
        bench.run();
    }
    bench.read_on(slow);
    let got = numbers(&mut bench, slow);
    assert_eq!((got[got.len() - 2..] == [98, 99], bench.stats().dropped), (true, 300 - got.len() as u64));
}

/// By its delivery: who falls behind by more than two is told so.
#[test]
fn who_must_keep_up_is_closed() {
    let (mut bench, slow) = Probe::with_peer(Config::default());
    let quick = bench.connect("/").unwrap();
    for peer in [slow, quick] {
        bench.send(peer, "strict");
    }
    bench.run();
    bench.stop_reading(slow);
    for _ in 0..300 {
        publish(&mut bench, 1);
        bench.run();
    }
    assert_eq!(numbers(&mut bench, quick).len(), 300);
    bench.read_on(slow);
    let got = numbers(&mut bench, slow).len();
    assert!((SOCKET_BYTES / 1_004..100).contains(&got), "{got} of 300");
    assert!(matches!(bench.ending(slow), Some(Ending::Closed { code: Some(CloseCode::TRY_AGAIN), .. })));
    assert_eq!(bench.stats().open, 1);
    assert!(bench.handler().log[0].starts_with("1 messages, closed by us"), "{:?}", bench.handler().log);
}

#[test]
fn nobody_listens_anywhere() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.send(ann, "dial ws://127.0.0.1:9/");
    bench.send(ann, "dial ws://feed.example/");
    let mut log = bench.handler().log.clone();
    log.sort();
    assert_eq!(log, ["no name", "no way"]);
}

/// A message of 1,004 bytes each millisecond for so many of them.
fn pour(bench: &mut Bench<Probe>, millis: usize) {
    for _ in 0..millis {
        publish(bench, 1);
        bench.advance(Duration::from_millis(1));
    }
}

/// When messages of a subscriber came, each of 1,004 bytes: no more than a rate brings, a tenth of a second's bytes and one message, between any two.
fn check_rate(times: &[Time], bytes_per_second: u64) {
    for (first, since) in times.iter().enumerate() {
        for (count, at) in times[first..].iter().enumerate() {
            let brought = bytes_per_second * (at.since(*since).as_micros() as u64 + 100_000) / 1_000_000;
            assert!(count as u64 * 1_004 <= brought + 1, "{count} messages before one in {:?}", at.since(*since));
        }
    }
}

fn times(bench: &mut Bench<Probe>, peer: Peer) -> Vec<Time> {
    bench.take_timed(peer).into_iter().map(|(at, _)| at).collect()
}

/// Conflated, it gets as much as its rate brings, and the newest in the end; a neighbour gets all.
#[test]
fn a_rate_is_kept_and_the_newest_comes_last() {
    let (mut bench, slow) = Probe::with_peer(Config::default());
    let quick = bench.connect("/").unwrap();
    for (peer, said) in [(slow, "conflate"), (quick, "conflate"), (slow, "rate 20080")] {
        bench.send(peer, said);
    }
    pour(&mut bench, 5_000);
    let came = times(&mut bench, slow);
    check_rate(&came, 20_080);
    assert!((95..=103).contains(&came.len()), "{} messages in 5 s at 20 a second", came.len());
    assert_eq!(bench.take(quick).len(), 5_000);
    bench.advance(Duration::from_millis(49));
    let rest = bench.take_texts(slow);
    let handle = bench.handle();
    assert!(handle.publish_keyed(handle.topic("news").unwrap(), 1, "the newest").is_everywhere());
    bench.advance(Duration::from_millis(51));
    assert_eq!((rest.len() <= 1, bench.take_texts(slow)), (true, vec!["the newest".to_owned()]));
    let stats = bench.stats();
    assert_eq!(stats.delivered + stats.conflated, 2 * 5_001);
}

/// Changed while something waits: at once, in each direction; and none lets all go.
#[test]
fn a_rate_may_be_changed() {
    let (mut bench, ann) = Probe::with_peer(Config::default());
    bench.send(ann, "rate 10");
    bench.send(ann, "newest");
    pour(&mut bench, 1_000);
    assert_eq!(times(&mut bench, ann).len(), 1, "the next has to wait for 100 s");
    bench.send(ann, "rate 100400");
    pour(&mut bench, 1_000);
    let came = times(&mut bench, ann);
    check_rate(&came, 100_400);
    assert!((98..=112).contains(&came.len()), "{} messages in a second at 100", came.len());
    bench.send(ann, "rate 10");
    pour(&mut bench, 1_000);
    assert!(times(&mut bench, ann).len() <= 2);
    bench.send(ann, "unrated");
    assert_eq!(bench.take(ann).len(), 2, "what had waited");
    pour(&mut bench, 1_000);
    assert_eq!(bench.take(ann).len(), 1_000);
}

/// Of every connection, unless it is told another; not of what the application sends, and of what it queues.
#[test]
fn a_rate_is_of_what_topics_give() {
    let (mut bench, ann) = Probe::with_peer(Config::default().topics_bytes_per_second(1_004));
    let ben = bench.connect("/").unwrap();
    bench.send(ann, "newest");
    bench.send(ben, "all");
    pour(&mut bench, 10_000);
    let came = times(&mut bench, ann);
    check_rate(&came, 1_004);
    assert!((10..=11).contains(&came.len()), "{} messages in 10 s at 1 a second", came.len());
    assert_eq!(bench.take(ben).len(), 10_000, "it queues all");
    bench.send(ann, "flood 50");
    assert_eq!(bench.take(ann).len(), 50, "sent by the application");
    bench.send(ann, "close now");
    assert!((1..=2).contains(&bench.take(ann).len()), "what waits goes before a close");
    bench.send(ben, "newest");
    bench.hang_up(ben);
    bench.advance(Duration::from_secs(10));
    assert_eq!(bench.stats().open, 0);
    let cid = bench.connect("/").unwrap();
    bench.send(cid, "newest");
    pour(&mut bench, 5_000);
    let came = times(&mut bench, cid);
    check_rate(&came, 1_004);
    assert!((5..=6).contains(&came.len()), "{} messages of who has the place of another", came.len());
}
