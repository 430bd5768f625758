//! A client and a server on one core: what an exchange says goes to every desk, what a desk says goes to the exchange.
//!
//! Run `wsring serve` as the exchange (it echoes), then `cargo run --example relay`, and talk to it from two terminals:
//!
//! ```sh
//! wsring connect ws://127.0.0.1:9002/
//! ```
//!
//! The link to the exchange is dialled again whenever it is lost, and the desks are told. Nothing here is locked: both sides are
//! connections of the same core and call the same handler.

use std::collections::BTreeSet;
use std::time::Duration;

use wsring::{
    Answered, CloseCode, CloseReason, ConnId, CoreCx, Cx, DialError, Dialled, Handler, Message, Opening, Reconnect,
    Server, Target, Verdict,
};

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Exchange,
    Desk,
}

struct Relay {
    target: Target,
    exchange: Option<ConnId>,
    desks: BTreeSet<ConnId>,
}

impl Relay {
    fn tell_desks<'m>(&mut self, cx: &mut CoreCx<'_, Self>, message: impl Into<Message<'m>>) {
        let message = message.into();
        // A desk that does not keep up is asked to come back, rather than left to miss a message without knowing.
        self.desks.retain(|&desk| {
            let Some(mut desk) = cx.conn(desk) else { return false };
            let kept_up = desk.send(message).is_queued();
            if !kept_up {
                desk.close(CloseCode::TRY_AGAIN, "too slow");
            }
            kept_up
        });
    }
}

impl Handler for Relay {
    type Conn = Side;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(self.target.clone());
    }

    /// A desk asks to come in.
    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<Side> {
        Verdict::accept(Side::Desk)
    }

    /// The exchange let us in.
    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<Side> {
        Some(Side::Exchange)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let id = cx.id();
        match *cx.data() {
            Side::Exchange => {
                self.exchange = Some(id);
                self.tell_desks(cx, "* the exchange is here");
            }
            Side::Desk => {
                self.desks.insert(id);
                let here = if self.exchange.is_some() { "here" } else { "away" };
                let _ = cx.send(&format!("* the exchange is {here}")); // the first message of a desk: there is room
            }
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match *cx.data() {
            Side::Exchange => self.tell_desks(cx, message),
            Side::Desk => {
                let exchange = self.exchange.and_then(|exchange| cx.conn(exchange));
                let sent = exchange.is_some_and(|mut exchange| exchange.forward(message).is_queued());
                // Nothing is lost silently: whoever asked is told.
                if !sent {
                    let _ = cx.send("* not sent: the exchange is away");
                }
            }
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, side: Side, _: &CloseReason<'_>) {
        match side {
            Side::Desk => {
                self.desks.remove(&id);
            }
            Side::Exchange => {
                self.exchange = None;
                self.tell_desks(cx, "* the exchange is away");
            }
        }
    }

    fn on_dial_failed(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, retry: Option<Duration>) {
        eprintln!("the exchange: {why}; again in {retry:?}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments.next().unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    let exchange = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:9001/".to_owned());
    serve(&addr, &exchange, 0)
}

/// Runs on one core until Ctrl-C.
pub fn serve(addr: &str, exchange: &str, cpu: usize) -> Result<(), Box<dyn std::error::Error>> {
    let target = Target::new(exchange)?.heartbeat(Duration::from_secs(20), Message::Text("ping"));
    let target = target.reconnect(Reconnect::default());
    let server = Server::bind(addr)?.cores([cpu]);
    println!("desks on ws://{}/", server.local_addrs()?[0]);
    server.run(move |_| Relay { target: target.clone(), exchange: None, desks: BTreeSet::new() })?;
    Ok(())
}
