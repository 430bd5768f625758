//! Who may come in is looked up elsewhere, which takes a while, and the cores go on meanwhile.
//!
//! Run `cargo run --example token_check` and try
//!
//! ```sh
//! websocat 'ws://127.0.0.1:9001/?token=ann'
//! websocat 'ws://127.0.0.1:9001/?token=nobody'
//! ```
//!
//! A core gives each token to a thread and keeps the request. The thread says what it has found by a [`Handle`], and the core on which the
//! request waits makes the connection of that. Here the thread only waits; yours asks a session store, and has many questions under way at a time.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use wsring::http::StatusCode;
use wsring::{CoreCx, Cx, Handle, Handler, MailError, Message, Opening, Pending, Server, Verdict};

/// What a look-up takes.
const LOOKUP: Duration = Duration::from_millis(200);
/// Questions that may be under way, of all cores.
const CHECKS_MAX: usize = 10_000;

/// A token to be looked up, and the request that waits for it.
pub struct Check {
    pending: Pending,
    token: String,
    due: Instant,
}

/// Whose token it is; `None`: nobody's.
pub type Found = Option<String>;

/// The handler of a core.
pub struct Door(SyncSender<Check>);

impl Door {
    /// Has tokens looked up by whoever receives these.
    pub fn new(checks: &SyncSender<Check>) -> Self {
        Self(checks.clone())
    }
}

impl Handler for Door {
    /// The user's name.
    type Conn = String;
    type Mail = Found;

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
        let query = opening.request.query().unwrap_or_default();
        let Some(token) = query.split('&').find_map(|part| part.strip_prefix("token=")) else {
            return Verdict::reject_status(StatusCode::UNAUTHORIZED);
        };
        // Both bounds say the same to a client: try again later.
        let Ok(pending) = cx.defer(opening) else {
            return Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE);
        };
        match self.0.try_send(Check { pending, token: token.to_owned(), due: Instant::now() + LOOKUP }) {
            Ok(()) => Verdict::defer(pending),
            Err(_) => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// The request is there again, for whatever else depends on it, such as a choice of subprotocols.
    fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, user: Found) -> Verdict<String> {
        user.map_or(Verdict::reject_status(StatusCode::UNAUTHORIZED), Verdict::accept)
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if let Message::Text(text) = message {
            let answer = format!("{}: {text}", cx.data());
            let _ = cx.send(&answer); // one answer to one question: bounded as an echo is
        }
    }
}

/// Looks tokens up until the cores have ended. All take the same time, so the first that was asked for is found first.
pub fn check(handle: &Handle<Found>, checks: Receiver<Check>) {
    for Check { pending, token, due } in checks {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut found = (!token.starts_with("nobody")).then_some(token);
        loop {
            match handle.admit(pending, found) {
                Ok(()) => break,
                // The core has more letters than it reads: it has read some in a moment.
                Err(MailError::Full(again)) => found = again,
                Err(_) => return,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Between the cores and the thread.
pub fn channel() -> (SyncSender<Check>, Receiver<Check>) {
    sync_channel(CHECKS_MAX)
}

fn main() -> Result<(), wsring::Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    serve(&addr)
}

/// Runs until Ctrl-C.
pub fn serve(addr: &str) -> Result<(), wsring::Error> {
    let (asked, checks) = channel();
    let server = Server::bind(addr)?;
    println!("a door on ws://{}/?token=NAME", server.local_addrs()?[0]);
    let running = server.start(move |_| Door::new(&asked))?;
    let handle = running.handle();
    let checker = std::thread::spawn(move || check(&handle, checks));
    running.stop_on_signals()?;
    running.join()?;
    checker.join().expect("it does not panic");
    Ok(())
}
