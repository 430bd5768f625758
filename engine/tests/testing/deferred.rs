//! Answers that come later, by the moment: how many may wait and for how long, who gives way, and what a handler may do wrong.

use std::time::Duration;

use wsring::http::{Request, StatusCode};
use wsring::testing::{Bench, Handshake, Peer, Refused};
use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Pending, PendingFull, Response, Verdict};

/// What the other thread has found out.
#[derive(Clone, Copy, Debug)]
enum Found {
    User(&'static str),
    Nobody,
    /// There is another question.
    Unsure,
    Panic,
}

#[derive(Default)]
struct Door {
    waiting: Vec<Pending>,
    refused: Vec<PendingFull>,
}

impl Door {
    fn defer(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Option<Pending> {
        cx.defer(opening).map_err(|full| self.refused.push(full)).ok().inspect(|pending| self.waiting.push(*pending))
    }
}

impl Handler for Door {
    type Conn = &'static str;
    type Mail = Found;

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<&'static str> {
        match (opening.request.path(), self.waiting.first()) {
            ("/stale", Some(first)) => return Verdict::defer(*first),
            ("/now", _) => return Verdict::accept("now"),
            _ => {}
        }
        match self.defer(cx, opening) {
            Some(_) if opening.request.path() == "/no" => Verdict::reject_status(StatusCode::FORBIDDEN),
            Some(pending) => {
                Verdict::defer(pending).subprotocol("none").header("x-a".parse().unwrap(), "b".parse().unwrap())
            }
            None => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        self.defer(cx, opening).expect("there is room").into()
    }

    fn on_admit(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>, found: Found) -> Verdict<&'static str> {
        match found {
            Found::User(name) if opening.request.subprotocols().any(|offered| offered == "v2") => {
                Verdict::accept(name).subprotocol("v2").header("x-user".parse().unwrap(), name.parse().unwrap())
            }
            Found::User(name) => Verdict::accept(name),
            Found::Nobody => Verdict::reject_status(StatusCode::UNAUTHORIZED),
            Found::Unsure => Verdict::defer(self.defer(cx, opening).expect("there is room")),
            Found::Panic => panic!("as it was told to"),
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

fn bench(config: Config) -> Bench<Door> {
    Bench::new(config, |_| Door::default()).expect("a configuration")
}

/// The one that was deferred last.
fn last(bench: &mut Bench<Door>) -> Pending {
    *bench.handler().waiting.last().expect("one was deferred")
}

fn admit(bench: &mut Bench<Door>, found: Found) {
    let pending = last(bench);
    bench.handle().admit(pending, found).expect("there is room");
}

#[track_caller]
fn status(bench: &mut Bench<Door>, peer: Peer) -> Option<u16> {
    match bench.outcome(peer)? {
        Ok(()) => Some(101),
        Err(Refused::Answered(response)) => Some(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// The request is there again: its headers, its subprotocols, who asks. The clock may move meanwhile.
#[test]
fn a_deferred_handshake_opens_when_it_is_admitted() {
    let mut bench = bench(Config::default());
    let ann = bench.ask(Handshake::to("/").subprotocol("v1").subprotocol("v2")).expect("somebody listens");
    bench.advance(Duration::from_secs(9));
    assert_eq!((status(&mut bench, ann), bench.stats().pending, bench.stats().open), (None, 1, 0));
    admit(&mut bench, Found::User("ann"));
    assert_eq!(status(&mut bench, ann), Some(101));
    let headers = bench.answer(ann).headers().clone();
    assert_eq!(
        (&headers["sec-websocket-protocol"], &headers["x-user"], headers.get("x-a")),
        (&"v2".parse().unwrap(), &"ann".parse().unwrap(), None)
    );
    bench.send(ann, "hello");
    assert_eq!((bench.take_texts(ann), bench.data(ann)), (vec!["hello".to_owned()], Some(&"ann")));
    let stats = bench.stats();
    assert_eq!((stats.deferred, stats.deferred_answered, stats.pending, stats.opened), (1, 1, 0, 1));
    bench.advance(Duration::from_secs(30));
    assert_eq!((bench.stats().open, bench.stats().timeouts), (1, 0), "the deadline of the handshake is over");
    assert!(matches!(bench.connect("/"), Err(Refused::Deferred)));
}

#[test]
fn a_deferred_handshake_may_be_refused_or_asked_about_again() {
    let mut bench = bench(Config::default());
    let ann = bench.ask("/").expect("somebody listens");
    admit_when_asked(&mut bench, Found::Nobody);
    assert_eq!(status(&mut bench, ann), Some(401));
    let ben = bench.ask("/").expect("somebody listens");
    admit_when_asked(&mut bench, Found::Unsure);
    let first = bench.handler().waiting[1];
    assert_eq!((status(&mut bench, ben), bench.stats().deferred, bench.stats().pending), (None, 3, 1));
    bench.handle().admit(first, Found::User("another")).expect("there is room");
    assert_eq!((status(&mut bench, ben), bench.stats().answers_late), (None, 1), "that name is stale");
    admit(&mut bench, Found::User("ben"));
    assert_eq!((status(&mut bench, ben), bench.data(ben)), (Some(101), Some(&"ben")));
    admit(&mut bench, Found::Nobody);
    assert_eq!((bench.stats().answers_late, bench.stats().open), (2, 1), "the first answer counts");
    let eve = bench.ask("/").expect("somebody listens");
    bench.run();
    let pending = last(&mut bench);
    let mut response = Response::new(b"go away\n".to_vec());
    *response.status_mut() = StatusCode::FORBIDDEN;
    bench.handle().respond(pending, response).expect("there is room");
    assert_eq!((status(&mut bench, eve), bench.stats().declined), (Some(403), 2));
}

fn admit_when_asked(bench: &mut Bench<Door>, found: Found) {
    bench.run();
    admit(bench, found);
}

/// As many wait as may, and one more is told; when one is answered there is room.
#[test]
fn no_more_wait_than_pending_max() {
    for most in [0, 1, 3] {
        let mut bench = bench(Config::default().pending_max(most));
        let waiting: Vec<Peer> = (0..most).map(|_| bench.ask("/").expect("somebody listens")).collect();
        bench.run();
        assert_eq!((bench.stats().pending, bench.stats().deferred_refused), (most.into(), 0));
        let one_more = bench.ask("/").expect("somebody listens");
        assert_eq!(status(&mut bench, one_more), Some(503));
        assert_eq!((bench.stats().deferred_refused, bench.handler().refused.len()), (1, 1));
        let Some(&last) = waiting.last() else { continue };
        admit(&mut bench, Found::User("ann"));
        assert_eq!(status(&mut bench, last), Some(101));
        let after = bench.ask("/").expect("somebody listens");
        assert_eq!((status(&mut bench, after), bench.stats().pending), (None, most.into()));
    }
    let by_default = Config::default();
    let mut bench = bench(by_default.connections_max(2_000));
    (0..1_025).for_each(|_| _ = bench.ask("/").expect("somebody listens"));
    assert_eq!((bench.stats().pending, bench.stats().deferred_refused), (1_024, 1));
}

/// The time of a request that waits is what the handshake has; an answer behind that is counted, and no more.
#[test]
fn who_gets_no_answer_is_told_so_by_the_deadline() {
    for timeout in [1_000, 4_000] {
        let mut bench = bench(Config::default().handshake_timeout(Duration::from_millis(timeout)));
        let ann = bench.ask("/").expect("somebody listens");
        let plain = bench.ask_plain(&Request::get("/").body(()).unwrap()).expect("somebody listens");
        bench.advance(Duration::from_millis(timeout - 1));
        assert_eq!((status(&mut bench, ann), status(&mut bench, plain)), (None, None));
        bench.advance(Duration::from_millis(50));
        assert_eq!((status(&mut bench, ann), status(&mut bench, plain)), (Some(503), Some(503)));
        let stats = bench.stats();
        assert_eq!((stats.deferred_expired, stats.timeouts, stats.declined, stats.pending), (2, 2, 2, 0));
        admit(&mut bench, Found::User("ann"));
        assert_eq!((bench.stats().answers_late, bench.stats().opened), (1, 0));
    }
}

/// Whoever waits has asked, and gives way to nobody; whoever has not, does.
#[test]
fn who_waits_keeps_its_place() {
    let mut bench = bench(Config::default().connections_max(1));
    let ann = bench.ask("/").expect("somebody listens");
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.connect("/now").expect_err("there is no room").status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    admit(&mut bench, Found::User("ann"));
    assert_eq!((status(&mut bench, ann), bench.stats().full, bench.stats().displaced), (Some(101), 1, 0));
}

#[test]
fn who_goes_is_forgotten_and_its_slot_is_another_s() {
    let mut bench = bench(Config::default().connections_max(1));
    for at_once in [false, true] {
        let ann = bench.ask("/").expect("somebody listens");
        bench.run();
        let of_ann = last(&mut bench);
        if at_once {
            bench.reset(ann)
        } else {
            bench.hang_up(ann)
        }
        bench.run();
        assert_eq!(bench.stats().pending, 0);
        let ben = bench.ask("/").expect("somebody listens");
        bench.run();
        bench.handle().admit(of_ann, Found::User("ann")).expect("there is room");
        assert_eq!(status(&mut bench, ben), None, "that was for another");
        admit(&mut bench, Found::Nobody);
        assert_eq!(status(&mut bench, ben), Some(401));
        bench.advance(Duration::from_secs(1));
    }
    let stats = bench.stats();
    assert_eq!((stats.deferred_gone, stats.deferred_answered, stats.answers_late, stats.memory_bytes), (2, 2, 2, 0));
}

/// What comes behind a request is handled behind its opening, in order; so is an end.
#[test]
fn what_is_said_meanwhile_is_heard_later() {
    let mut bench = bench(Config::default());
    let ann = bench.ask("/").expect("somebody listens");
    bench.run();
    for number in 0..100 {
        bench.send(ann, &format!("{number:0>2000}"));
        bench.run();
    }
    assert!(bench.stats().memory_bytes < 200_000, "no more is kept than of whoever is not read");
    admit(&mut bench, Found::User("ann"));
    let texts = bench.take_texts(ann);
    assert_eq!((texts.len(), texts.last().map(|text| text.trim_start_matches('0'))), (100, Some("99")));
    let ben = bench.ask("/").expect("somebody listens");
    bench.run();
    bench.send(ben, "last words");
    bench.close(ben, None, "");
    bench.run();
    admit(&mut bench, Found::User("ben"));
    assert_eq!(bench.take_texts(ben), ["last words"]);
    assert_eq!((bench.stats().open, bench.stats().messages), (1, 101));
}

/// A rejection drops what was said behind the request.
#[test]
fn a_refusal_forgets_what_was_said_meanwhile() {
    let mut bench = bench(Config::default());
    let ann = bench.ask("/").expect("somebody listens");
    bench.run();
    bench.send(ann, "hello");
    bench.run();
    admit(&mut bench, Found::Nobody);
    assert_eq!(status(&mut bench, ann), Some(401));
    bench.advance(Duration::from_secs(1));
    assert_eq!((bench.stats().memory_bytes, bench.stats().closed, bench.stats().messages), (0, 1, 0));
}

#[test]
fn a_stop_answers_whoever_waits() {
    let mut bench = bench(Config::default());
    let ann = bench.ask("/").expect("somebody listens");
    let plain = bench.ask_plain(&Request::get("/").body(()).unwrap()).expect("somebody listens");
    bench.run();
    let stats = bench.stop();
    assert_eq!((status(&mut bench, ann), status(&mut bench, plain)), (Some(503), Some(503)));
    assert_eq!((stats.deferred_expired, stats.pending, stats.closed, stats.memory_bytes), (2, 0, 2, 0));
}

/// A handler's mistakes end in 500, and one that changes its mind is believed.
#[test]
fn mistakes_are_answered() {
    let mut bench = bench(Config::default());
    assert_eq!(bench.connect("/no").expect_err("it has changed its mind").status(), Some(StatusCode::FORBIDDEN));
    admit(&mut bench, Found::User("ann"));
    assert_eq!((bench.stats().answers_late, bench.stats().deferred), (1, 0));
    assert_eq!(bench.connect("/stale").expect_err("a stale name").status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    let plain = bench.ask_plain(&Request::get("/").body(()).unwrap()).expect("somebody listens");
    admit_when_asked(&mut bench, Found::User("ann"));
    assert_eq!(status(&mut bench, plain), Some(500), "it asks for no WebSocket");
    let ann = bench.ask("/").expect("somebody listens");
    admit_when_asked(&mut bench, Found::Panic);
    assert_eq!((status(&mut bench, ann), bench.stats().panics, bench.stats().pending), (Some(500), 1, 0));
}
