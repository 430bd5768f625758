//! A chat room: each line goes to everybody, and a slow reader neither stalls the room nor fills our memory.
//!
//! Run `cargo run --example chat`, open two browser consoles and type in both
//!
//! ```js
//! ws = new WebSocket("ws://127.0.0.1:9001/?ann"); ws.onmessage = m => console.log(m.data)
//! ws.send("hello")
//! ```
//!
//! What stands behind the `?` is the name. The room lives on one core, so that one handler knows all its members. (A room
//! over several cores posts copies to the others: `engine/cli/src/echo.rs` shows it.)

use std::collections::BTreeMap;

use wsring::{CloseReason, ConnId, CoreCx, Cx, Handler, Message, Opening, SendOutcome, Server, Verdict};

/// Who is here, by connection.
#[derive(Default)]
struct Chat {
    members: BTreeMap<ConnId, Member>,
}

#[derive(Default)]
struct Member {
    /// Reads slower than the room talks: gets nothing more until its output has drained.
    behind: bool,
    /// Lines not sent to it meanwhile.
    missed: u64,
}

impl Chat {
    /// One line to everybody, the speaker included.
    fn say(&mut self, cx: &mut CoreCx<'_, Self>, line: &str) {
        for (&id, member) in &mut self.members {
            if member.behind {
                member.missed += 1;
                continue;
            }
            match cx.conn(id).map(|mut conn| conn.send(line)) {
                Some(SendOutcome::Queued) => {}
                // This line is queued, but much waits before it: stop here, `on_writable` tells when to go on.
                Some(SendOutcome::High) => member.behind = true,
                // Not queued: so much waits that the hard limit is reached, or the connection is closing.
                _ => member.missed += 1,
            }
        }
    }
}

impl Handler for Chat {
    /// The member's name.
    type Conn = String;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
        let name = opening.request.query().filter(|name| !name.is_empty()).unwrap_or("somebody");
        Verdict::accept(name.to_owned())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.members.insert(cx.id(), Member::default());
        let line = format!("* {} joins, {} here", cx.data(), self.members.len());
        self.say(cx, &line);
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if let Message::Text(text) = message {
            let line = format!("{}: {text}", cx.data());
            self.say(cx, &line);
        }
    }

    /// A member that was behind has read most of what waited for it.
    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(member) = self.members.get_mut(&cx.id()) else { return };
        member.behind = false;
        let missed = std::mem::take(&mut member.missed);
        if missed > 0 {
            let _ = cx.send(&format!("* you missed {missed} lines")); // its output has just drained: there is room
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, name: String, _: &CloseReason<'_>) {
        self.members.remove(&id);
        let line = format!("* {name} leaves, {} here", self.members.len());
        self.say(cx, &line);
    }
}

fn main() -> Result<(), wsring::Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    serve(&addr, 0)
}

/// Runs on one core until Ctrl-C.
pub fn serve(addr: &str, cpu: usize) -> Result<(), wsring::Error> {
    let server = Server::bind(addr)?.cores([cpu]);
    println!("chat on ws://{}/?name", server.local_addrs()?[0]);
    server.run(|_| Chat::default()).map(drop)
}
