//! A thread in control of running cores: it has them tell everybody something, admit nobody, count, and stop.
//!
//! Run `cargo run --example control`, connect with `wsring connect ws://127.0.0.1:9001/` from other terminals, and type here
//! `say the market closes`, `admit nobody`, `stats` and `stop`. The cores share nothing with the thread but a [`Handle`], by which it mails
//! them, and each serves its own connections: what is for all of them goes to each core.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use wsring::http::StatusCode;
use wsring::{CoreCx, Cx, Delivery, Handle, Handler, Message, Opening, Server, TopicId, Verdict};

/// How long a core may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread mails to a core.
#[derive(Clone)]
enum Order {
    Say(String),
    Admit(bool),
}

struct Board {
    news: TopicId,
    admits: bool,
}

impl Handler for Board {
    type Conn = ();
    type Mail = Order;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        if self.admits { Verdict::accept(()) } else { Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE) }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.subscribe(self.news, Delivery::queue()); // its first, and nothing is retained: there is room
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, order: Order) {
        match order {
            Order::Say(text) => {
                cx.publish(self.news, text.as_str());
            }
            Order::Admit(admits) => self.admits = admits,
        }
    }
}

/// Carries out orders, a line each, until there are no more.
fn control(handle: &Handle<Order>, orders: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    for line in orders.lines() {
        let line = line?;
        let order = match line.split_once(' ').unwrap_or((&line, "")) {
            ("say", text) => Order::Say(text.to_owned()),
            ("admit", whom) => Order::Admit(whom != "nobody"),
            ("stats", _) => {
                for place in handle.places() {
                    let stats = handle.stats(place, PATIENCE).unwrap_or_default();
                    writeln!(answers, "core {place}: {} here, {} told", stats.open, stats.delivered)?;
                }
                continue;
            }
            ("stop", _) => {
                handle.stop();
                return Ok(());
            }
            _ => {
                writeln!(answers, "say TEXT, admit nobody, admit all, stats, stop")?;
                continue;
            }
        };
        for place in handle.places() {
            // In the order in which they were mailed; a core that takes less than it is mailed says so.
            if let Err(error) = handle.mail(place, order.clone()) {
                writeln!(answers, "core {place}: {error}")?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve("127.0.0.1:9001", [0], BufReader::new(io::stdin()), io::stdout())
}

/// Runs a core on each of these CPUs until it is told to stop, or Ctrl-C.
pub fn serve(
    addr: &str,
    cpus: impl IntoIterator<Item = usize>,
    orders: impl BufRead + Send + 'static,
    answers: impl Write + Send + 'static,
) -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::bind(addr)?.cores(cpus);
    println!("a board on ws://{}/", server.local_addrs()?[0]);
    let running =
        server.start(|core| Board { news: core.handle.topic("news").expect("it is the only topic"), admits: true })?;
    running.stop_on_signals()?;
    let handle = running.handle();
    std::thread::spawn(move || control(&handle, orders, answers));
    running.join()?;
    Ok(())
}
