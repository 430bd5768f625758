//! What `wsring serve` does with messages: echo, and broadcast on `/bcast`, on the public API alone.
//!
//! Promises that a member of `/bcast` gets every message of the room from its joining to its end, those of one sender in
//! their order: one that falls behind by more than its output may hold is closed (1008), never skipped; a sender that
//! outruns another core waits for it. Refuses to know how cores are found and run: see `serve`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use wsring::{
    CloseCode, CloseReason, ConnId, CoreCx, CoreInfo, Cx, Delivery, Handle, Handler, Message, Opening, Place, Response,
    TopicId, Verdict,
};

use crate::pages;

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
    waiting: BTreeSet<Place>,
}

/// What the cores share, for `/bcast` alone.
pub(crate) struct Room {
    /// One for each core that there may be: their number is known when the first of them begins.
    inboxes: Vec<Mutex<Inbox>>,
    inbox_high: usize,
}

impl Room {
    /// `inbox_high` is [`INBOX_HIGH`] but in tests.
    pub(crate) fn new(inbox_high: usize) -> Self {
        Self { inboxes: (0..Place::COUNT_MAX).map(|_| Mutex::default()).collect(), inbox_high }
    }

    fn inbox(&self, core: Place) -> MutexGuard<'_, Inbox> {
        self.inboxes[core.index()].lock().expect("no thread panics with an inbox")
    }

    /// Leaves a copy for every core but `from`; false if one of them has not looked for long.
    fn post(&self, handle: &Handle, from: Place, message: Message<'_>) -> bool {
        if handle.cores() < 2 {
            return true;
        }
        let post = Arc::new(Post { text: matches!(message, Message::Text(_)), bytes: message.as_bytes().to_vec() });
        let mut keeps_up = true;
        for core in handle.places().filter(|&core| core != from) {
            let mut inbox = self.inbox(core);
            inbox.load += post.bytes.len() + POST_COST;
            inbox.posts.push(Arc::clone(&post));
            if inbox.load > self.inbox_high {
                inbox.waiting.insert(from);
                keeps_up = false;
            }
            drop(inbox);
            handle.wake(core);
        }
        keeps_up
    }

    /// Whether `core` has senders that wait for another.
    fn holds_back(&self, handle: &Handle, core: Place) -> bool {
        handle.places().any(|other| self.inbox(other).waiting.contains(&core))
    }
}

/// One core's handler.
pub(crate) struct Echo {
    place: Place,
    handle: Handle,
    room: Arc<Room>,
    /// What `/bcast` is; there once the core has started.
    topic: Option<TopicId>,
    /// This core's connections there.
    members: BTreeSet<ConnId>,
    /// Those of them that wait for other cores.
    paused: Vec<ConnId>,
}

/// What a connection's messages are for.
pub(crate) enum Purpose {
    Echo,
    Broadcast,
    /// Is told this first, and then as [`Purpose::Echo`].
    Who(String),
}

impl Echo {
    pub(crate) fn new(core: CoreInfo, room: Arc<Room>) -> Self {
        Self { place: core.place, handle: core.handle, room, topic: None, members: BTreeSet::new(), paused: Vec::new() }
    }

    fn broadcast(&mut self, cx: &mut CoreCx<'_, Self>, message: Message<'_>) {
        let Some(topic) = self.topic else { return };
        if cx.publish(topic, message).refused == 0 {
            return;
        }
        // Rare, and to be found by looking at all: who has missed one.
        self.members.retain(|&member| {
            let Some(mut conn) = cx.conn(member) else { return false };
            let has_missed = conn.counts(topic).is_some_and(|counts| counts.dropped > 0);
            if has_missed {
                // RFC 6455 §7.4.1: no code says "too slow"; 1008 is the one for what no other code says.
                conn.close(CloseCode::POLICY, "too slow for this room");
            }
            !has_missed
        });
    }
}

impl Echo {
    /// Apart from `on_message`, so that an echo is inlined there.
    #[inline(never)]
    fn tell_room(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.broadcast(cx, message);
        if !self.room.post(&self.handle, self.place, message) {
            cx.pause();
            self.paused.push(cx.id());
        }
    }
}

impl Handler for Echo {
    type Conn = Purpose;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.topic = cx.topic("/bcast").ok();
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Purpose> {
        match opening.request.path() {
            "/bcast" => Verdict::accept(Purpose::Broadcast),
            "/whoami" => Verdict::accept(Purpose::Who(pages::whoami(opening))),
            _ => Verdict::accept(Purpose::Echo),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        pages::answer(opening, cx.is_draining(), "a WebSocket echo server: connect with ws://\n")
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        if let (Purpose::Who(text), mut conn) = cx.split() {
            let _ = conn.send(text.as_str()); // nothing waits: there is room
            return;
        }
        if let (Purpose::Broadcast, Some(topic)) = (cx.data(), self.topic)
            && cx.subscribe(topic, Delivery::queue()).is_ok()
        {
            self.members.insert(cx.id());
        }
    }

    #[inline(always)] // fifteen instructions a message fewer
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match cx.data() {
            Purpose::Echo | Purpose::Who(_) => {
                // Never refused: a peer that does not read is not read from.
                let _ = cx.forward(message);
            }
            Purpose::Broadcast => self.tell_room(cx, message),
        }
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let Inbox { posts, waiting, .. } = std::mem::take(&mut *self.room.inbox(self.place));
        waiting.into_iter().for_each(|core| self.handle.wake(core));
        for post in posts {
            let message = match std::str::from_utf8(&post.bytes) {
                Ok(text) if post.text => Message::Text(text),
                _ => Message::Binary(&post.bytes),
            };
            self.broadcast(cx, message);
        }
        if !self.paused.is_empty() && !self.room.holds_back(&self.handle, self.place) {
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
