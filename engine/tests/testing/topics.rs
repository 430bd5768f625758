//! Mail, publishing, and subscribers that do not keep up.

use wsring::testing::{Bench, Ending, Peer, SOCKET_BYTES};
use wsring::{CloseCode, Config, MailError, Place, Publish};

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
    bench.advance(std::time::Duration::from_secs(10));
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
