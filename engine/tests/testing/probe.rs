//! The handler under test: clients tell it what to do, and it writes down what it was told.

use std::time::Duration;

use wsring::http::{HeaderName, HeaderValue, StatusCode};
use wsring::testing::{Bench, Peer};
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, CoreInfo, Cx, Delivery, DialError, Dialled, Fired, Handler, Lagged,
    Message, Opening, Place, SendOutcome, Target, Tick, TopicId, Verdict,
};

/// What one of its messages has, but for a few.
pub const LONG: usize = 1_000;

pub struct Probe {
    pub topic: TopicId,
    /// What it was told, in order.
    pub log: Vec<String>,
    /// When timers and ticks came, in nanoseconds.
    pub times: Vec<u64>,
    pub mail: Vec<u32>,
}

impl Probe {
    pub fn new(core: &CoreInfo<u32>) -> Self {
        assert_eq!((core.place, core.cores), (Place::new(0), 1));
        let topic = core.handle.topic("news").expect("there is room for one");
        Self { topic, log: Vec::new(), times: Vec::new(), mail: Vec::new() }
    }

    pub fn bench(config: Config) -> Bench<Probe> {
        Bench::new(config, |core| Self::new(&core)).expect("a configuration that makes sense")
    }

    /// With one client on it.
    pub fn with_peer(config: Config) -> (Bench<Probe>, Peer) {
        let mut bench = Self::bench(config);
        let peer = bench.connect("/").expect("it lets everybody in");
        (bench, peer)
    }
}

impl Handler for Probe {
    /// How many messages a connection has sent.
    type Conn = u32;
    type Mail = u32;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<u32> {
        match opening.request.path() {
            "/private" if opening.request.header("cookie") != Some(b"key=1".as_slice()) => {
                Verdict::reject_status(StatusCode::UNAUTHORIZED)
            }
            "/panic" => panic!("asked for"),
            _ => Verdict::accept(0).header(HeaderName::from_static("x-room"), HeaderValue::from_static("blue")),
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        *cx.data() += 1;
        let Message::Text(text) = message else {
            assert!(cx.forward(message).is_queued());
            return;
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse::<u64>().expect("a number");
        match verb {
            "flood" => {
                for _ in 0..number() {
                    match cx.send_with(LONG, |bytes| bytes.fill(7)) {
                        SendOutcome::Queued => {}
                        outcome => return self.log.push(format!("{outcome:?}")),
                    }
                }
            }
            "ping" => self.log.push(format!("pinged: {}", cx.ping())),
            "close" => cx.close(CloseCode::POLICY, rest),
            "panic" => panic!("asked for"),
            "timer" => drop(cx.set_timer(Duration::from_nanos(number()), 1)),
            "every" => drop(cx.set_interval(Duration::from_nanos(number()), 2)),
            "core" => drop(CoreCx::set_timer(cx, Duration::from_nanos(number()), 3)),
            "mail" => cx.mail(Place::new(0), number() as u32).expect("there is room"),
            "conflate" => drop(cx.subscribe(self.topic, Delivery::conflate()).expect("there is room")),
            "all" => drop(cx.subscribe(self.topic, Delivery::queue()).expect("there is room")),
            "rate" => cx.set_topics_bytes_per_second(number() as u32),
            "unrated" => cx.set_topics_bytes_per_second(None),
            "newest" => drop(cx.subscribe(self.topic, Delivery::drop_oldest(2)).expect("there is room")),
            "strict" => {
                let strict = Delivery::close(CloseCode::TRY_AGAIN, 2);
                let _ = cx.subscribe(self.topic, strict).expect("there is room");
            }
            "dial" => drop(cx.connect(Target::new(rest).expect("a URL"))),
            _ => drop(cx.send(message)),
        }
    }

    fn on_writable(&mut self, _: &mut Cx<'_, Self>) {
        self.log.push("writable".to_owned());
    }

    fn on_pong(&mut self, _: &mut Cx<'_, Self>, round_trip: Duration) {
        self.log.push(format!("pong after {:.0} ms", round_trip.as_secs_f64() * 1000.0));
    }

    fn on_lagged(&mut self, _: &mut Cx<'_, Self>, lagged: Lagged) {
        self.log.push(format!("{} conflated, {} dropped", lagged.conflated, lagged.dropped));
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, _: Fired) {
        self.times.push(cx.now().as_nanos());
    }

    fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, _: Fired) {
        self.times.push(cx.now().as_nanos());
        let _ = cx.send("beat");
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        assert!(tick.late.is_zero() && tick.missed == 0, "{tick:?}");
        self.times.push(cx.now().as_nanos());
    }

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, mail: u32) {
        self.mail.push(mail);
        match mail {
            0 => cx.mail(Place::new(0), 0).expect("there is room"), // for ever
            1 => panic!("asked for"),
            _ => {}
        }
    }

    fn on_dial_failed(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, _: Option<Duration>) {
        self.log.push(match why {
            DialError::Connect { .. } => "no way".to_owned(),
            DialError::Lookup { .. } => "no name".to_owned(),
            other => format!("{other:?}"),
        });
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, messages: u32, why: &CloseReason<'_>) {
        self.log.push(format!("{messages} messages, {why}"));
    }
}
