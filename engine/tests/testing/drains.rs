//! A drain on a bench, for tests of handlers that say goodbye; and what becomes of requests that wait.

use std::time::Duration;

use wsring::http::Request;
use wsring::testing::{Bench, Ending, Refused};
use wsring::{
    CloseCode, Config, CoreCx, CoreState, Cx, Drain, Handler, Message, Opening, Pending, Place, Response, Verdict,
};

/// Defers, and says goodbye.
#[derive(Default)]
struct Door {
    waiting: Vec<Pending>,
    drains: Vec<Drain>,
}

impl Handler for Door {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        if opening.request.path() == "/now" {
            return Verdict::accept(());
        }
        let pending = cx.defer(opening).expect("there is room");
        self.waiting.push(pending);
        Verdict::defer(pending)
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let pending = cx.defer(opening).expect("there is room");
        self.waiting.push(pending);
        Response::from(pending)
    }

    fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, (): ()) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_drain(&mut self, _: &mut CoreCx<'_, Self>, drain: &Drain) {
        self.drains.push(drain.clone());
    }

    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.send("goodbye");
    }
}

#[test]
fn a_handler_says_goodbye_to_each_in_its_turn() {
    let mut bench = Bench::new(Config::default(), |_| Door::default()).expect("a configuration");
    let peers: Vec<_> = (0..10).map(|_| bench.connect("/now").expect("it is taken")).collect();
    let drain = Drain::over(Duration::from_secs(10)).code(CloseCode::SERVICE_RESTART);
    bench.handle().drain(drain.clone());
    bench.advance(Duration::from_secs(5));
    assert_eq!(
        (bench.handle().state(Place::new(0)), bench.handler().drains.clone()),
        (CoreState::Draining, vec![drain])
    );
    let open = bench.stats().open;
    assert!((4..=6).contains(&open), "half of them have gone, and {open} are left");
    bench.advance(Duration::from_secs(6));
    assert_eq!(bench.handle().state(Place::new(0)), CoreState::Ended);
    for peer in peers {
        assert_eq!(bench.take_texts(peer), ["goodbye"]);
        let told = Ending::Closed { code: Some(CloseCode::SERVICE_RESTART), reason: "server draining".to_owned() };
        assert_eq!(bench.ending(peer), Some(told));
    }
    let report = bench.stats().drain_report().expect("it was drained");
    assert_eq!((report.open, report.closed), (10, 10));
}

/// Who asked for a WebSocket and waits is told so at once; a plain request is answered when its answer comes. What is found about the former is too late.
#[test]
fn requests_that_wait_for_an_answer() {
    let mut bench = Bench::new(Config::default(), |_| Door::default()).expect("a configuration");
    let asks = bench.ask("/").expect("somebody listens");
    let plain = bench.ask_plain(&Request::get("/health").body(()).expect("a request")).expect("somebody listens");
    bench.run();
    let [first, second] = bench.handler().waiting[..] else { panic!("both wait") };
    bench.handle().drain(
        Drain::over(Duration::from_secs(10)).at_least(Duration::from_secs(10)).retry_after(Duration::from_secs(7)),
    );
    let Some(Err(Refused::Answered(answer))) = bench.outcome(asks) else { panic!("it is answered") };
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert!(bench.outcome(plain).is_none(), "it waits");
    bench.handle().admit(first, ()).expect("there is room");
    bench.handle().respond(second, Response::new(b"well\n".to_vec())).expect("there is room");
    let Some(Err(Refused::Answered(answer))) = bench.outcome(plain) else { panic!("it is answered") };
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"well\n"[..]));
    let stats = bench.stats();
    assert_eq!((stats.deferred_expired, stats.deferred_answered, stats.answers_late), (1, 1, 1), "{stats}");
    assert_eq!((stats.drain_refused, stats.opened), (1, 0));
}
