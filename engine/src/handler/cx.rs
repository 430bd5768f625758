//! What a callback can do with every connection of its core: [`CoreCx`].
//!
//! What is asked for (send, close, pause) is noted and done at the end of the pass; a call never calls back.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use wsring_proto::opcode::Message;

use super::callbacks::{CoreCx, Handler};
use crate::drain::Drain;
use crate::engine::panics::ours;
use crate::engine::{ConnId, DialId};
use crate::target::Target;

/// A message that goes to many connections of a core: see [`CoreCx::prepare`].
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'m> {
    pub(super) message: Message<'m>,
    /// Names it among the core's.
    pub(super) number: u64,
    /// Neither Send nor Sync: other cores number theirs too.
    thread: PhantomData<*mut ()>,
}

impl<H: Handler> CoreCx<'_, H> {
    /// A `Handle` of the handler's mail.
    pub(crate) fn any_handle(&self) -> &dyn Any {
        &*self.out.handle
    }

    /// Takes up a message that goes to many connections: whatever their number, it is compressed once (for each window
    /// agreed on with them), and a long one takes its memory once: see [`Conn::send_prepared`](crate::Conn::send_prepared).
    /// Connections with a compressor of their own ([`Deflate::dedicated`](crate::Deflate::dedicated)) cannot share what is
    /// compressed, so for them it is one more message. This call costs nothing; the first connection that the message is sent to
    /// pays for its form.
    pub fn prepare<'m>(&mut self, message: impl Into<Message<'m>>) -> Prepared<'m> {
        Prepared { message: message.into(), number: self.out.forms.next(), thread: PhantomData }
    }

    /// Bytes of a connection's output that its socket has not taken, without the Close that ends it. Told in its `on_close` and for a little longer, when
    /// [`Self::conn`] does not find it any more; 0 once its slot is free.
    pub fn unsent(&self, id: ConnId) -> usize {
        self.out.peers.find(id).map_or(0, |index| {
            let link = self.out.link(index);
            // The Close is the last to go: whatever else is left is in front of it.
            link.output.queued.saturating_sub(link.life.own().into()) as usize
        })
    }

    /// Connects to a server from this core. Never blocks: names are looked up elsewhere. What comes of it is told by
    /// [`on_answer`](crate::Handler::on_answer) and [`on_open`](crate::Handler::on_open), or
    /// [`on_dial_failed`](crate::Handler::on_dial_failed), in a later pass. Connections that
    /// were dialled count against `Config::connections_max`.
    ///
    /// What is dialled while the core stops fails with [`DialError::Stopped`](crate::DialError::Stopped) at the end; what is dialled in those last
    /// callbacks is forgotten.
    pub fn connect(&mut self, target: Target) -> DialId {
        ours(|| self.out.dials.add(target))
    }

    /// What the next attempt of a dial connects to, or the one that [waits for it](crate::Redial::Later); the attempt under way, which
    /// [`connect`](Self::connect) begins, and an open connection are not touched. The dial keeps the tag and the [`Reconnect`](crate::Reconnect) that it began with. Of two that are given before the attempt goes on the
    /// last counts. False if no attempt follows: the dial is over, abandoned, not dialled again, or its core stops; in `on_close` of its last connection too.
    pub fn retarget(&mut self, dial: DialId, target: Target) -> bool {
        ours(|| self.out.dials.retarget(dial, target))
    }

    /// How long a dial waits before its next attempt, instead of what its [`Reconnect`](crate::Reconnect) and its server say: from now on, if it
    /// waits; else once the attempt or the connection that it has is over. It counts once, and [`Duration::ZERO`] is the next pass. In
    /// `on_dial_failed` and `on_close` it sets the wait that begins there; keep the [`DialId`] of `on_answer` in the connection's state for the latter. What the attempts may be is left to the policy. False if no attempt
    /// follows: the dial is over, abandoned, not dialled again, or its core stops; in `on_close` of its last connection too.
    pub fn set_wait(&mut self, dial: DialId, wait: Duration) -> bool {
        let now = self.out.clock;
        ours(|| self.out.dials.set_wait(dial, wait, now))
    }

    /// Makes no further attempt for this dial. One that is under way is given up, with `on_dial_failed`; an open connection
    /// is not touched. No effect on a dial that is over.
    pub fn abandon(&mut self, dial: DialId) {
        ours(|| self.out.dials.abandon(dial));
    }

    /// Accepts nobody more on this core, and serves on: as [`Handle::stop_accepting`](crate::Handle::stop_accepting) does of all.
    pub fn stop_accepting(&mut self) {
        self.out.stop_accepting = true;
    }

    /// Begins a clean stop of this core, as [`Handle::stop`](crate::Handle::stop) does of all.
    pub fn stop_core(&mut self) {
        self.out.stop = true;
    }

    /// Has this core drained, as [`Handle::drain`](crate::Handle::drain) does of all.
    pub fn drain_core(&mut self, drain: Drain) {
        self.out.drains.push(drain);
    }

    /// This core is [drained](crate::Drain), or was and stops: no more WebSockets open, and health checks are to find that it is not up.
    pub fn is_draining(&self) -> bool {
        self.out.draining
    }

    /// The counters of this core, as they are in this moment: what this very pass has brought and sent is in them. Only `enters`
    /// lags where a pass overflows the submission queue, and counts such a call from the next pass on.
    pub fn stats(&self) -> crate::Stats {
        self.out.stats()
    }
}

impl<H: Handler> fmt::Debug for CoreCx<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreCx").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
