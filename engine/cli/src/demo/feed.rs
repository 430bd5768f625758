//! `--demo feed`: prices of many keys on `/feed`, as each client wants them.
//!
//! Each key is a topic that retains its last value, so what a slow client gets is decided by its subscription, and all numbers in an
//! update are the topic's own. The market is on the first core, which mails what has moved in a tick to the others; none of them loses any, so
//! the numbers of all cores are the same. Promises that a client is told its counts in order with its updates. Refuses to know how prices
//! come about (`market`) and what a client may ask for (`request`).

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use wsring::http::StatusCode;
use wsring::{
    Config, CoreCx, CoreInfo, Cx, Handler, MailError, Message, Opening, Place, Response, Retain, Tick, Topic, TopicId,
    Update, Verdict,
};

use self::market::Market;
use self::request::Request;
use super::fault;
use crate::pages;

mod market;
mod request;

/// How often the market moves: with each tick, every subscriber is sent what has changed in one send.
const TICK: Duration = Duration::from_millis(5);
/// What a socket takes beyond what it has sent: little, because it grows old there.
const UNSENT_BYTES: u32 = 16 << 10;

/// The settings that a feed of so many keys needs.
pub(crate) fn config(config: Config, keys: u32) -> Config {
    // One subscription more than there are keys cannot be asked for.
    config.tick(TICK).topics_max(keys).subscriptions_max(keys).socket_unsent_bytes(UNSENT_BYTES)
}

/// Prices that have moved together, as a core is mailed them.
pub(crate) struct Moves {
    /// Nanoseconds of CLOCK_MONOTONIC.
    t: u64,
    /// Each key's new price, in hundredths.
    prices: Vec<(u32, u32)>,
}

/// One core's handler.
pub(crate) struct Feed {
    market: Market,
    place: Place,
    /// By key.
    topics: Vec<TopicId>,
    /// What other cores have not taken yet: until they have, the market stands still.
    waiting: Vec<(Place, Arc<Moves>)>,
    /// What is published, in memory that is used again.
    text: String,
}

impl Feed {
    pub(crate) fn new(core: &CoreInfo<Arc<Moves>>, keys: u32, rate: u32) -> Self {
        let (market, place) = (Market::new(keys, rate), core.place);
        Self { market, place, topics: Vec::new(), waiting: Vec::new(), text: String::new() }
    }

    fn publish(&mut self, cx: &mut CoreCx<'_, Self>, moves: &Moves) {
        for &(key, cents) in &moves.prices {
            self.text.clear();
            let _ = write!(self.text, "{}.{:02} {}", cents / 100, cents % 100, moves.t); // to a string
            cx.publish(self.topics[key as usize], self.text.as_str());
        }
    }

    /// Mails what waits; true if nothing does any more.
    fn hand_on(&mut self, cx: &mut CoreCx<'_, Self>) -> bool {
        self.waiting.retain(|(place, moves)| matches!(cx.mail(*place, Arc::clone(moves)), Err(MailError::Full(_))));
        self.waiting.is_empty()
    }

    fn answer(&mut self, cx: &mut Cx<'_, Self>, request: Request) {
        match request {
            Request::Subscribe(keys, delivery) => {
                for key in keys.of(self.topics.len()) {
                    if let Err(error) = cx.subscribe(self.topics[key], delivery) {
                        return fault::tell(cx, &format!("K{key}: {error}"));
                    }
                }
            }
            Request::Unsubscribe(keys) => {
                for key in keys.of(self.topics.len()) {
                    cx.unsubscribe(self.topics[key]);
                }
            }
            Request::Stats => {
                let counts = cx.counts_of_all();
                let text = format!(
                    r#"{{"published":{},"sent":{},"waiting":{},"conflated":{},"dropped":{}}}"#,
                    counts.published, counts.sent, counts.waiting, counts.conflated, counts.dropped
                );
                let _ = cx.send(text.as_str()); // a client that does not read is not read from: there is room
            }
        }
    }
}

/// Writes an update of this key as a client gets it; what is published is its value, a blank, and its time.
fn writes(key: usize) -> impl Fn(&Update<'_>, &mut Vec<u8>) {
    move |update, into| {
        let blank = update.payload.iter().position(|&byte| byte == b' ').unwrap_or(update.payload.len());
        let (value, t) = update.payload.split_at(blank);
        let _ = write!(into, r#"{{"key":"K{key}","seq":{},"prev":{},"value":"#, update.seq, update.prev); // to memory
        into.extend_from_slice(value);
        let _ = write!(into, r#","merged":{},"t":"#, update.merged); // likewise
        into.extend_from_slice(t.trim_ascii_start());
        into.push(b'}');
    }
}

impl Handler for Feed {
    type Conn = ();
    type Mail = Arc<Moves>;

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        for key in 0..self.market.keys() {
            let topic = cx.topic(&format!("K{key}")).expect("Config::topics_max is the number of keys");
            cx.configure_topic(topic, Topic::default().retain(Retain::Last).write(writes(key)));
            self.topics.push(topic);
        }
        // Every key has a value before the first client comes, the same on each core.
        let prices = (0..self.topics.len()).map(|_| self.market.step()).collect();
        self.publish(cx, &Moves { t: cx.now().as_nanos(), prices });
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        match opening.request.path() {
            "/feed" => Verdict::accept(()),
            _ => Verdict::reject_status(StatusCode::NOT_FOUND),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        pages::answer(opening, cx.is_draining(), "a feed of prices: connect to /feed with ws://\n")
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let Message::Text(text) = message else { return fault::tell(cx, "a request is text") };
        match request::parse(text, self.topics.len()) {
            Ok(request) => self.answer(cx, request),
            Err(error) => fault::tell(cx, &error),
        }
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, _: Tick) {
        if self.place.index() > 0 {
            return;
        }
        let due = self.market.due(cx.now());
        if !self.hand_on(cx) || due == 0 {
            return;
        }
        let prices = (0..due).map(|_| self.market.step()).collect();
        let moves = Arc::new(Moves { t: cx.now().as_nanos(), prices });
        self.publish(cx, &moves);
        self.waiting.extend(cx.handle().places().skip(1).map(|place| (place, Arc::clone(&moves))));
        self.hand_on(cx);
    }

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, moves: Arc<Moves>) {
        self.publish(cx, &moves);
    }
}
