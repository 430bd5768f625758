//! What a callback can do with every connection of its core: [`CoreCx`].
//!
//! What is asked for (send, close, pause) is noted and done at the end of the pass; a call never calls back.

use std::marker::PhantomData;

use wsring_proto::close::CloseCode;
use wsring_proto::opcode::Message;

use crate::engine::{ConnId, DialId, How, Pressure, Reach};
use crate::target::Target;

/// A message that goes to many connections of a core: see [`CoreCx::prepare`].
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'m> {
    message: Message<'m>,
    /// Names it among the core's.
    number: u64,
    /// Neither Send nor Sync: other cores number theirs too.
    thread: PhantomData<*mut ()>,
}

/// What a callback without a connection of its own can do: reach every connection of this core.
///
/// It belongs to the core's thread and cannot leave it:
///
/// ```compile_fail
/// fn escape<H: wsring::Handler>(cx: &mut wsring::CoreCx<'_, H>) {
///     fn needs_send<T: Send>(_: T) {}
///     needs_send(cx);
/// }
/// ```
pub struct CoreCx<'a, H> {
    pub(super) out: &'a mut Reach,
    /// Neither Send nor Sync: another thread must go through a `Handle`.
    thread: PhantomData<*mut ()>,
    handler: PhantomData<fn(H)>,
}

impl<'a, H> CoreCx<'a, H> {
    pub(crate) fn new(out: &'a mut Reach) -> Self {
        Self { out, thread: PhantomData, handler: PhantomData }
    }

    /// Queues a message for any connection of this core. Never blocks; allocates only when no pooled buffer fits.
    pub fn send_to<'m>(&mut self, id: ConnId, message: impl Into<Message<'m>>) -> Pressure {
        match self.out.peers.find(id) {
            Some(index) => self.out.send(index, message.into()),
            None => {
                self.out.stats.gone += 1;
                Pressure::Gone
            }
        }
    }

    /// As [`send_to`](Self::send_to), and never compressed: for what is random, compressed already, or must not share a
    /// compressor with what an attacker can choose.
    pub fn send_plain_to<'m>(&mut self, id: ConnId, message: impl Into<Message<'m>>) -> Pressure {
        self.send_how(id, message.into(), How::Plain)
    }

    /// Takes up a message that goes to many connections: whatever their number, it is compressed once (for each window
    /// agreed on with them). Connections with a compressor of their own ([`Deflate::dedicated`](crate::Deflate::dedicated))
    /// cannot share that, so for them it is one more message. Costs nothing where nothing is compressed.
    pub fn prepare<'m>(&mut self, message: impl Into<Message<'m>>) -> Prepared<'m> {
        Prepared { message: message.into(), number: self.out.packer.prepare(), thread: PhantomData }
    }

    /// Queues a prepared message for any connection of this core; else as [`send_to`](Self::send_to). Send one prepared
    /// message to all its receivers before the next: the core remembers the last one's compressed form.
    pub fn send_prepared(&mut self, id: ConnId, prepared: &Prepared<'_>) -> Pressure {
        self.send_how(id, prepared.message, How::Prepared(prepared.number))
    }

    fn send_how(&mut self, id: ConnId, message: Message<'_>, how: How) -> Pressure {
        match self.out.peers.find(id) {
            Some(index) => self.out.send_how(index, message, how),
            None => {
                self.out.stats.gone += 1;
                Pressure::Gone
            }
        }
    }

    /// Starts the closing handshake of any connection of this core: what is queued goes out, then a Close with `code`
    /// and `reason` (cut to 123 bytes at a character). No effect if it is closing already.
    pub fn close_conn(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        if let Some(index) = self.out.peers.find(id) {
            self.out.close(index, Some(code), reason);
        }
    }

    /// Takes no more messages from the connection until [`Self::resume_conn`]; the peer feels TCP's back-pressure.
    /// Its pings are not answered and it is not timed out for silence meanwhile.
    pub fn pause_conn(&mut self, id: ConnId) {
        if let Some(index) = self.out.peers.find(id) {
            self.out.pause(index);
        }
    }

    /// Takes messages again, from the next pass on; none is lost or reordered.
    pub fn resume_conn(&mut self, id: ConnId) {
        if let Some(index) = self.out.peers.find(id) {
            self.out.resume(index);
        }
    }

    /// Bytes queued for the connection and not yet taken by its socket; 0 if it is gone.
    pub fn queued_of(&mut self, id: ConnId) -> usize {
        self.out.peers.find(id).map_or(0, |index| self.out.link(index).output.queued as usize)
    }

    /// Connects to a server from this core. Never blocks: names are looked up elsewhere. What comes of it is told by
    /// [`Handler::on_answer`] and [`Handler::on_open`], or [`Handler::on_dial_failed`], in a later pass. Connections that
    /// were dialled count against `Config::connections_max`.
    ///
    /// What is dialled while the core stops fails with [`DialError::Stopped`] at the end; what is dialled in those last
    /// callbacks is forgotten.
    pub fn connect(&mut self, target: Target) -> DialId {
        self.out.dials.add(target)
    }

    /// Makes no further attempt for this dial. One that is under way is given up, with `on_dial_failed`; an open connection
    /// is not touched. No effect on a dial that is over.
    pub fn abandon(&mut self, dial: DialId) {
        self.out.dials.abandon(dial);
    }

    /// Begins a clean stop of this core, as [`Handle::stop`](crate::Handle::stop) does of all.
    pub fn stop(&mut self) {
        self.out.stop = true;
    }

    /// The counters of this core, as of the last pass.
    pub fn stats(&self) -> crate::Stats {
        self.out.stats
    }
}
