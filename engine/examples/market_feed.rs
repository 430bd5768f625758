//! A market feed: 10,000 instruments, desks that each want some of them, and slow desks that hurt nobody.
//!
//! Run `cargo run --release --example market_feed` and say `K17 K18` in `wsring connect ws://127.0.0.1:9001/`. Each instrument is a topic that
//! retains its last price, so a desk sees the present state first, then updates with their numbers: `prev` is the last that this desk
//! got, and a gap shows there. A desk that reads slowly gets the newest price of each instrument, never a backlog, and is told
//! what it missed.

use std::time::Duration;

use wsring::{
    Config, CoreCx, Cx, Delivery, Error, Handler, Lagged, Message, Opening, Retain, Server, Tick, Topic, TopicId,
    Update, Verdict,
};

const INSTRUMENTS: usize = 10_000;

struct Feed {
    prices: Vec<(TopicId, f64)>,
    next: usize,
}

/// One update as a desk gets it.
fn write(update: &Update<'_>, into: &mut Vec<u8>) {
    let (seq, prev, merged) = (update.seq, update.prev, update.merged);
    into.extend_from_slice(format!(r#"{{"seq":{seq},"prev":{prev},"merged":{merged},"#).as_bytes());
    into.extend_from_slice(update.payload);
    into.push(b'}');
}

impl Handler for Feed {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        for instrument in 0..INSTRUMENTS {
            let topic = cx.topic(&format!("K{instrument}")).expect("there is room for so many");
            cx.configure_topic(topic, Topic::default().retain(Retain::Last).write(write));
            self.prices.push((topic, 100.0));
        }
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    /// The instruments that a desk wants.
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        for name in message.as_text().unwrap_or_default().split_whitespace() {
            // Names that nobody publishes would be topics for ever.
            let known = name.strip_prefix('K').and_then(|number| self.prices.get(number.parse::<usize>().ok()?));
            match known.map(|(topic, _)| cx.subscribe(*topic, Delivery::conflate())) {
                Some(Ok(_)) => {}
                Some(Err(error)) => drop(cx.send(error.to_string().as_str())),
                None => drop(cx.send(format!("there is no {name}").as_str())),
            }
        }
    }

    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let _ = cx.send(format!(r#"{{"missed":{}}}"#, lagged.conflated + lagged.dropped).as_str()); // nothing waits: there is room
    }

    /// The market moves.
    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, _: Tick) {
        for _ in 0..250 {
            self.next = (self.next + 7_919) % INSTRUMENTS;
            let (topic, price) = &mut self.prices[self.next];
            *price += 0.01;
            cx.publish(*topic, format!(r#""key":"K{}","value":{price:.2}"#, self.next).as_str());
        }
    }
}

fn main() -> Result<(), Error> {
    serve("127.0.0.1:9001", 0)
}

/// Serves on one core until Ctrl-C.
pub fn serve(addr: &str, cpu: usize) -> Result<(), Error> {
    // What lies in a socket grows old there.
    let config = Config::default().tick(Duration::from_millis(5)).socket_unsent_bytes(16 << 10);
    let server = Server::bind(addr)?.cores([cpu]).config(config);
    println!("a market feed on ws://{}/", server.local_addrs()?[0]);
    server.run(|_| Feed { prices: Vec::with_capacity(INSTRUMENTS), next: 0 }).map(drop)
}
