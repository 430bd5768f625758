//! Chat rooms: each line goes to everybody in the room, and a slow reader neither stalls the room nor fills our memory.
//!
//! Run `cargo run --example chat`, open two browser consoles and type in both
//!
//! ```js
//! ws = new WebSocket("ws://127.0.0.1:9001/lounge?ann"); ws.onmessage = m => console.log(m.data)
//! ws.send("hello")
//! ```
//!
//! The path is the room, and what stands behind the `?` is the name. A room is a topic, and who is in it has subscribed. The rooms live on
//! one core, so that one handler knows how many are in each. Rooms over several cores are the same topics, in which lines are published by
//! `cx.handle()`; `examples/control.rs` publishes so.

use std::collections::HashMap;

use wsring::http::StatusCode;
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Delivery, Handler, Lagged, Message, Opening, Server, TopicId,
    Verdict,
};

/// Lines that wait for a member who reads more slowly than the room talks; older ones are dropped.
const LINES_MAX: u32 = 100;

/// How many are in each room.
#[derive(Default)]
pub struct Chat {
    here: HashMap<TopicId, u32>,
}

/// What is known of one of them.
pub struct Member {
    name: String,
    room: TopicId,
}

impl Handler for Chat {
    type Conn = Member;
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Member> {
        let name = opening.request.query().filter(|name| !name.is_empty()).unwrap_or("somebody").to_owned();
        // A topic is for ever: `Config::topics_max` bounds how many rooms peers can think of.
        match cx.topic(opening.request.path()) {
            Ok(room) => Verdict::accept(Member { name, room }),
            Err(_) => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let (Member { name, room }, mut conn) = cx.split();
        let here = self.here.entry(*room).or_default();
        *here += 1;
        if let Err(error) = conn.subscribe(*room, Delivery::drop_oldest(LINES_MAX)) {
            conn.close(CloseCode::TRY_AGAIN, &error.to_string());
        }
        conn.publish(*room, format!("* {name} joins, {here} here").as_str());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if let Message::Text(text) = message {
            let (Member { name, room }, mut conn) = cx.split();
            conn.publish(*room, format!("{name}: {text}").as_str());
        }
    }

    /// A member that was behind has got all that waited for it.
    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let _ = cx.send(format!("* you missed {} lines", lagged.dropped).as_str()); // nothing waits: there is room
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, member: Member, _: &CloseReason<'_>) {
        let Member { name, room } = member;
        let here = self.here.entry(room).or_default();
        *here -= 1;
        cx.publish(room, format!("* {name} leaves, {here} here").as_str());
    }
}

fn main() -> Result<(), wsring::Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    serve(&addr, 0)
}

/// As it runs, and as `tests/testing/examples.rs` tests it without a socket.
pub fn config() -> Config {
    Config::default().topics_max(1_000)
}

/// Runs on one core until Ctrl-C.
pub fn serve(addr: &str, cpu: usize) -> Result<(), wsring::Error> {
    let server = Server::bind(addr)?.cores([cpu]).config(config());
    println!("chat on ws://{}/lounge?name", server.local_addrs()?[0]);
    server.run(|_| Chat::default()).map(drop)
}
