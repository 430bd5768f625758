//! A thread in control of running cores: it has them tell everybody something, admit nobody, count, and stop.
//!
//! Run `cargo run --example control`, connect with `wsring connect ws://127.0.0.1:9001/` from other terminals, and type here
//! `say the market closes`, `admit nobody`, `stats` and `stop`. The cores share nothing with the thread but a [`Handle`], by which it
//! publishes to the connections of all of them, and mails each.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use wsring::http::StatusCode;
use wsring::{CoreCx, Cx, Delivery, Handle, Handler, Message, Opening, Server, TopicId, Verdict};

/// How long a core may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread mails to a core: whether it admits more.
struct Admits(bool);

struct Board {
    news: TopicId,
    admits: bool,
}

impl Handler for Board {
    type Conn = ();
    type Mail = Admits;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        if self.admits { Verdict::accept(()) } else { Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE) }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.subscribe(self.news, Delivery::queue()); // its first, and nothing is retained: there is room
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut CoreCx<'_, Self>, Admits(admits): Admits) {
        self.admits = admits;
    }
}

/// Carries out orders, a line each, until there are no more.
fn control(handle: &Handle<Admits>, news: TopicId, orders: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    for line in orders.lines() {
        let line = line?;
        // A core does what it is sent in the order in which it was sent; one that takes less than it is sent says so.
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("say", text) => {
                for place in handle.publish(news, text).full_places() {
                    writeln!(answers, "core {place} goes without")?;
                }
            }
            ("admit", whom) => {
                for place in handle.places() {
                    if let Err(error) = handle.mail(place, Admits(whom != "nobody")) {
                        writeln!(answers, "core {place}: {error}")?;
                    }
                }
            }
            ("stats", _) => {
                for place in handle.places() {
                    let stats = handle.stats(place, PATIENCE).unwrap_or_default();
                    writeln!(answers, "core {place}: {} here, {} told", stats.open, stats.delivered)?;
                }
            }
            ("stop", _) => {
                handle.stop();
                return Ok(());
            }
            _ => writeln!(answers, "say TEXT, admit nobody, admit all, stats, stop")?,
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
    let news = handle.topic("news")?;
    std::thread::spawn(move || control(&handle, news, orders, answers));
    running.join()?;
    Ok(())
}
