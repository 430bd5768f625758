//! The smallest server: whatever arrives goes back.
//!
//! Run `cargo run --example echo`, open a browser's console (F12) on any page and type
//!
//! ```js
//! ws = new WebSocket("ws://127.0.0.1:9001"); ws.onmessage = m => console.log(m.data); ws.onopen = () => ws.send("hello")
//! ```
//!
//! Another address can be given as the only argument. Ctrl-C stops it: every peer is told goodbye (close code 1001).

use wsring::{CoreCx, Cx, Handler, Message, Opening, Server, Verdict};

/// There is one `Echo` on each core, and it is called for that core's connections alone: no locks.
struct Echo;

impl Handler for Echo {
    /// What we want to remember of each connection: nothing.
    type Conn = ();
    type Mail = ();

    /// Somebody asks to open a connection; `Opening::request` has the path and the headers. All may come in.
    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    /// A whole message, text or binary. `cx` is the connection it came from.
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        // `forward` never blocks and tells what became of the message. An echo need not look: a peer that does not read
        // what we send is not read from either, so its output stays bounded.
        let _ = cx.forward(message);
    }
}

fn main() -> Result<(), wsring::Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    serve(&addr)
}

/// Runs until Ctrl-C.
pub fn serve(addr: &str) -> Result<(), wsring::Error> {
    let server = Server::bind(addr)?;
    println!("echo on ws://{}/", server.local_addrs()?[0]);
    server.run(|_| Echo).map(drop)
}
