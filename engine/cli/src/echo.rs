//! What `wsring serve` does with messages: echo, and broadcast on `/bcast`, on the public API alone.
//!
//! Promises that a member of `/bcast` gets every message of the room from its joining to its end, those of one sender in
//! their order: one that falls behind by more than its output may hold is closed (1008), never skipped; a sender that
//! outruns another core waits for it. Refuses to know how cores are found and run: see `serve`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use wsring::http::{HeaderValue, StatusCode, header};
use wsring::{
    CloseCode, CloseReason, ConnId, CoreCx, Cx, Handle, Handler, Message, Opening, Response, SendOutcome, Verdict,
};

/// Bytes in a core's inbox above which the senders of other cores wait until it has looked.
pub(crate) const INBOX_HIGH: usize = 8 << 20;
/// What a post costs beside its bytes, so that empty messages count too.
const POST_COST: usize = 64;

/// A broadcast message on its way to other cores.
struct Post {
    text: bool,
    bytes: Vec<u8>,
}

/// What other cores left for one core.
#[derive(Default)]
struct Inbox {
    posts: Vec<Arc<Post>>,
    /// Sum of the posts' bytes and costs.
    load: usize,
    /// Cores with senders that wait for this inbox to be emptied.
    waiting: BTreeSet<usize>,
}

/// What the cores share, for `/bcast` alone.
#[derive(Default)]
pub(crate) struct Shared {
    room: OnceLock<Room>,
}

struct Room {
    handle: Handle,
    /// One for each core.
    inboxes: Vec<Mutex<Inbox>>,
    inbox_high: usize,
}

impl Shared {
    /// From here on there are other cores to broadcast to; `/bcast` opens.
    ///
    /// `inbox_high` is [`INBOX_HIGH`] but in tests.
    pub(crate) fn begin(&self, handle: Handle, inbox_high: usize) {
        self.room.get_or_init(|| Room::new(handle, inbox_high));
    }
}

impl Room {
    fn new(handle: Handle, inbox_high: usize) -> Self {
        let inboxes = (0..handle.cores()).map(|_| Mutex::default()).collect();
        Self { handle, inboxes, inbox_high }
    }

    fn inbox(&self, core: usize) -> MutexGuard<'_, Inbox> {
        self.inboxes[core].lock().expect("no thread panics with an inbox")
    }

    /// Leaves a copy for every core but `from`; false if one of them has not looked for long.
    fn post(&self, from: usize, message: Message<'_>) -> bool {
        if self.inboxes.len() < 2 {
            return true;
        }
        let post = Arc::new(Post { text: matches!(message, Message::Text(_)), bytes: message.as_bytes().to_vec() });
        let mut keeps_up = true;
        for core in (0..self.inboxes.len()).filter(|&core| core != from) {
            let mut inbox = self.inbox(core);
            inbox.load += post.bytes.len() + POST_COST;
            inbox.posts.push(Arc::clone(&post));
            if inbox.load > self.inbox_high {
                inbox.waiting.insert(from);
                keeps_up = false;
            }
            drop(inbox);
            self.handle.wake(core);
        }
        keeps_up
    }

    /// Whether `core` has senders that wait for another.
    fn holds_back(&self, core: usize) -> bool {
        (0..self.inboxes.len()).any(|other| self.inbox(other).waiting.contains(&core))
    }
}

/// One core's handler.
pub(crate) struct Echo {
    core: usize,
    shared: Arc<Shared>,
    /// This core's connections on `/bcast`.
    members: BTreeSet<ConnId>,
    /// Those of them that wait for other cores.
    paused: Vec<ConnId>,
}

/// What a connection's messages are for.
pub(crate) enum Purpose {
    Echo,
    Broadcast,
}

impl Echo {
    pub(crate) fn new(core: usize, shared: Arc<Shared>) -> Self {
        Self { core, shared, members: BTreeSet::new(), paused: Vec::new() }
    }

    fn broadcast(&mut self, cx: &mut CoreCx<'_, Self>, message: Message<'_>) {
        let prepared = cx.prepare(message);
        self.members.retain(|&member| {
            let Some(mut conn) = cx.conn(member) else { return false };
            match conn.send_prepared(&prepared) {
                SendOutcome::Queued | SendOutcome::High => true,
                // RFC 6455 §7.4.1: no code says "too slow"; 1008 is the one for what no other code says.
                SendOutcome::Refused => {
                    conn.close(CloseCode::POLICY, "too slow for this room");
                    false
                }
                _ => false,
            }
        });
    }
}

impl Handler for Echo {
    type Conn = Purpose;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Purpose> {
        match opening.request.path() {
            // A few microseconds at the start: the other cores cannot be reached yet.
            "/bcast" if self.shared.room.get().is_none() => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
            "/bcast" => Verdict::accept(Purpose::Broadcast),
            _ => Verdict::accept(Purpose::Echo),
        }
    }

    fn on_request(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let (status, body) = match (opening.request.path(), opening.request.method()) {
            ("/healthz", "GET" | "HEAD") => (StatusCode::OK, "ok\n"),
            ("/healthz", _) => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n"),
            _ => (StatusCode::NOT_FOUND, "a WebSocket echo server: connect with ws://\n"),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(cx.data(), Purpose::Broadcast) {
            self.members.insert(cx.id());
        }
    }

    #[inline]
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match cx.data() {
            Purpose::Echo => {
                // Never refused: a peer that does not read is not read from.
                let _ = cx.send(message);
            }
            Purpose::Broadcast => {
                self.broadcast(cx, message);
                let room = self.shared.room.get().expect("nobody joins before it is there");
                if !room.post(self.core, message) {
                    cx.pause();
                    self.paused.push(cx.id());
                }
            }
        }
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let shared = Arc::clone(&self.shared);
        let Some(room) = shared.room.get() else { return };
        let Inbox { posts, waiting, .. } = std::mem::take(&mut *room.inbox(self.core));
        waiting.into_iter().for_each(|core| room.handle.wake(core));
        for post in posts {
            let message = match std::str::from_utf8(&post.bytes) {
                Ok(text) if post.text => Message::Text(text),
                _ => Message::Binary(&post.bytes),
            };
            self.broadcast(cx, message);
        }
        if !self.paused.is_empty() && !room.holds_back(self.core) {
            for sender in self.paused.drain(..) {
                if let Some(mut conn) = cx.conn(sender) {
                    conn.resume();
                }
            }
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, id: ConnId, _: Purpose, _: &CloseReason<'_>) {
        self.members.remove(&id);
    }
}

#[cfg(test)]
mod tests;
