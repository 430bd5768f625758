//! Terms of single connections by the moment: what topics may give them, and those of a request that is answered later.

use std::time::Duration;

use wsring::testing::{Bench, Ending, Peer};
use wsring::{
    CloseCode, Config, CoreCx, Cx, Delivery, Handler, Message, Opening, Pending, SubscribeError, Terms, Time, TopicId,
    Verdict,
};

/// Gives terms to whoever asks for `/own`, or `/later` and is admitted. Clients name what they subscribe to.
struct Doors {
    terms: Terms,
    topic: TopicId,
    waiting: Option<Pending>,
}

impl Doors {
    fn bench(config: Config, terms: Terms) -> Bench<Self> {
        let made = Bench::new(config, |core| Self {
            terms,
            topic: core.handle.topic("news").expect("there is room"),
            waiting: None,
        });
        made.expect("a configuration that makes sense")
    }
}

impl Handler for Doors {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        match opening.request.path() {
            "/own" => Verdict::accept(()).terms(&self.terms),
            "/later" => {
                let pending = cx.defer(opening).expect("there is room");
                self.waiting = Some(pending);
                Verdict::defer(pending)
            }
            "/no" => Verdict::reject_status(wsring::http::StatusCode::FORBIDDEN).terms(&self.terms),
            _ => Verdict::accept(()),
        }
    }

    fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, (): ()) -> Verdict<()> {
        Verdict::accept(()).terms(&self.terms)
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let topic = match message.as_text().expect("text") {
            "news" => self.topic,
            other => cx.topic(other).expect("there is room"),
        };
        let told = match cx.subscribe(topic, Delivery::drop_oldest(2)) {
            Ok(_) => "subscribed".to_owned(),
            Err(error @ SubscribeError::TooMany) => error.to_string(),
            Err(error) => panic!("{error}"),
        };
        assert!(cx.send(told.as_str()).is_queued());
    }
}

const TOO_MANY: &str = "the connection has as many subscriptions as Config::subscriptions_max allows";

/// What each of so many subscriptions is answered.
fn subscribe(bench: &mut Bench<Doors>, peer: Peer, count: usize) -> Vec<String> {
    (0..count).for_each(|number| bench.send(peer, format!("topic {number}").as_str()));
    bench.take_texts(peer)
}

#[test]
fn how_many_subscriptions_it_may_have() {
    for (all, given) in [(10, 2), (2, 3)] {
        let terms = Terms::default().subscriptions_max(given).expect("at least one");
        let mut bench = Doors::bench(Config::default().subscriptions_max(all), terms);
        for (path, most) in [("/own", given), ("/", all), ("/own", given)] {
            let peer = bench.connect(path).expect("all are let in");
            let told = subscribe(&mut bench, peer, most as usize + 1);
            assert!(told[..most as usize].iter().all(|told| told == "subscribed"), "{path}: {told:?}");
            assert_eq!(told[most as usize], TOO_MANY, "{path}");
        }
    }
}

/// A message of 1,004 bytes each millisecond for ten seconds: when those came that a subscriber was given.
fn pour(bench: &mut Bench<Doors>, peer: Peer) -> Vec<Time> {
    bench.send(peer, "news");
    assert_eq!(bench.take_texts(peer), ["subscribed"]);
    let (handle, topic) = (bench.handle(), bench.handler().topic);
    for number in 0..10_000 {
        assert!(handle.publish(topic, format!("{number:0>1000}").as_str()).is_everywhere());
        bench.advance(Duration::from_millis(1));
    }
    bench.take_timed(peer).into_iter().map(|(at, _)| at).collect()
}

#[test]
fn how_much_topics_give_it() {
    let rated = |rate: Option<u32>| Terms::default().topics_bytes_per_second(rate).expect("more than nothing");
    for (all, given, path, most) in [
        (None, Some(1_004), "/own", 11),
        (None, Some(1_004), "/", 10_000),
        (Some(1_004), Some(10_040), "/own", 101),
        (Some(1_004), Some(10_040), "/", 11),
        (Some(1_004), None, "/own", 10_000),
    ] {
        let mut bench = Doors::bench(Config::default().topics_bytes_per_second(all), rated(given));
        let peer = bench.connect(path).expect("all are let in");
        let came = pour(&mut bench, peer).len();
        assert!((most - most / 10..=most).contains(&came), "{all:?} {given:?} {path}: {came} came, not {most}");
    }
}

/// Who waits for an answer is given terms with it; a deferral and a rejection have none.
#[test]
fn who_is_admitted_later_has_terms_as_well() {
    let mut bench = Doors::bench(Config::default(), Terms::default().message_max_bytes(10));
    let waiting = bench.ask("/later").expect("it waits");
    let pending = bench.handler().waiting.expect("it was deferred");
    bench.handle().admit(pending, ()).expect("there is room");
    bench.run();
    let other = bench.connect("/").expect("all are let in");
    assert!(bench.connect("/no").is_err());
    for (peer, fits) in [(waiting, false), (other, true)] {
        bench.send(peer, "0123456789");
        assert_eq!(bench.take_texts(peer), ["subscribed"]);
        bench.send(peer, "0123456789a");
        assert_eq!(bench.take_texts(peer).len(), usize::from(fits));
        let code = match bench.ending(peer) {
            Some(Ending::Closed { code, .. }) => code,
            _ => None,
        };
        assert_eq!(code, (!fits).then_some(CloseCode::TOO_BIG));
    }
}
