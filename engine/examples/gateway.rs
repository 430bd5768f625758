//! A gateway: one link to a feed, dialled again whenever it is lost, and many desks behind it.
//!
//! Run `wsring serve --demo feed --keys 10 --rate 20` as the feed, then `cargo run --example gateway`, and look from any number of terminals:
//!
//! ```sh
//! wsring connect ws://127.0.0.1:9002/
//! ```
//!
//! The feed is asked for everything once, and each update goes to all desks as it came. What a desk gets first is the last of each key, also
//! while the feed is away; it is told that. A desk that reads slowly gets the newest of each key. Both sides are connections of one core
//! and call one handler.

use std::time::Duration;

use wsring::{
    Answered, CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Delivery, DialError, Dialled, Handler, Message,
    Opening, Publish, Reconnect, Retain, Server, Target, Topic, TopicId, Verdict,
};

/// Keys that are retained.
const KEYS_MAX: u32 = 100_000;
const ALL: &str = r#"{"op":"subscribe","keys":"all","delivery":"conflate"}"#;

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Feed,
    Desk,
}

struct Gateway {
    feed: Target,
    is_here: bool,
    prices: TopicId,
}

impl Gateway {
    /// To all desks, in its place among the updates.
    fn tell_state(&mut self, cx: &mut CoreCx<'_, Self>, is_here: bool) {
        self.is_here = is_here;
        cx.publish_as(self.prices, Publish::default().must_not_conflate(), state(is_here));
    }
}

fn state(is_here: bool) -> &'static str {
    if is_here { r#"{"feed":"here"}"# } else { r#"{"feed":"away"}"# }
}

/// `K17` of `{"key":"K17",...}` is 17.
fn key_of(update: &str) -> Option<u64> {
    update.strip_prefix(r#"{"key":"K"#)?.split('"').next()?.parse().ok()
}

impl Handler for Gateway {
    type Conn = Side;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.configure_topic(self.prices, Topic::default().retain(Retain::LastPerKey { max: KEYS_MAX }));
        cx.connect(self.feed.clone());
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<Side> {
        Verdict::accept(Side::Desk)
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<Side> {
        Some(Side::Feed)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        match *cx.data() {
            Side::Feed => {
                let _ = cx.send(ALL); // the first message: there is room
                self.tell_state(cx, true);
            }
            Side::Desk => {
                let _ = cx.send(state(self.is_here)); // likewise
                if let Err(error) = cx.subscribe(self.prices, Delivery::conflate()) {
                    cx.close(CloseCode::TRY_AGAIN, &error.to_string());
                }
            }
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if *cx.data() == Side::Feed
            && let Some(key) = message.as_text().and_then(key_of)
        {
            cx.publish_keyed(self.prices, key, message);
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, side: Side, _: &CloseReason<'_>) {
        if side == Side::Feed {
            self.tell_state(cx, false);
        }
    }

    fn on_dial_failed(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, retry: Option<Duration>) {
        eprintln!("the feed: {why}; again in {retry:?}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments.next().unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    let feed = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:9001/feed".to_owned());
    serve(&addr, &feed, 0)
}

/// Runs on one core until Ctrl-C.
pub fn serve(addr: &str, feed: &str, cpu: usize) -> Result<(), Box<dyn std::error::Error>> {
    let feed = Target::new(feed)?.reconnect(Reconnect::default());
    // What lies in a socket grows old there.
    let server = Server::bind(addr)?.cores([cpu]).config(Config::default().socket_unsent_bytes(16 << 10));
    println!("desks on ws://{}/", server.local_addrs()?[0]);
    server.run(move |core| Gateway {
        feed: feed.clone(),
        is_here: false,
        prices: core.handle.topic("prices").expect("it is the only topic"),
    })?;
    Ok(())
}
