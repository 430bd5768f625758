//! One connection, by its id or as a callback's own, and the one set of verbs that both have: [`Conn`].

use std::fmt;

use wsring_proto::close::CloseCode;
use wsring_proto::opcode::{Message, Opcode};

use super::callbacks::{Conn, CoreCx, Handler};
use super::cx::Prepared;
use super::owned::OwnedMessage;
use crate::engine::panics::{Mark, ours};
use crate::engine::{ConnId, DialId, How, More, SendOutcome};
use crate::peer::Peer;
use crate::pressure::Pressure;

impl<H: Handler> CoreCx<'_, H> {
    /// A connection of this core by its id. `None`: it is over (its `on_close` has been called, or is being called), it is
    /// another core's, or its id is an earlier connection's.
    #[inline]
    pub fn conn(&mut self, id: ConnId) -> Option<Conn<'_, H>> {
        let index = self.found(id)?;
        Some(Conn::new(self.reborrow(), index))
    }

    /// The slot of a connection that is the application's.
    #[inline]
    pub(super) fn found(&self, id: ConnId) -> Option<u32> {
        self.out.peers.find_open(id)
    }
}

impl<H: Handler> Conn<'_, H> {
    /// Names this connection, now and in later callbacks of this core.
    pub fn id(&self) -> ConnId {
        self.core.out.peers.id_of(self.index)
    }

    /// The dial that made this connection; `None` if the peer connected to us.
    pub fn dial(&self) -> Option<DialId> {
        self.core.out.dials.of_conn(self.index)
    }

    /// Who is at the other end: the client, where a proxy tells of it that the listener believes ([`Listener`](crate::Listener)).
    pub fn peer(&self) -> Peer {
        self.core.out.addresses.get(self.index)
    }

    /// The proxy through which it came, which is at the other end of the socket; `None` if that is the peer itself.
    pub fn via(&self) -> Option<Peer> {
        self.more()?.via
    }

    /// The name that the client asked for in TLS, as [`Opening::tls_server_name`](crate::Opening::tls_server_name) says it. `None` of a connection that was
    /// dialled.
    pub fn tls_server_name(&self) -> Option<&str> {
        self.more()?.server_name.as_deref()
    }

    /// The protocol that was agreed on by ALPN (RFC 7301), as [`Opening::alpn`](crate::Opening::alpn) says it.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.more()?.alpn.as_deref()
    }

    /// The subprotocol that was agreed on (RFC 6455 §1.9).
    pub fn subprotocol(&self) -> Option<&str> {
        self.more()?.subprotocol.as_deref()
    }

    fn more(&self) -> Option<&More> {
        self.core.out.addresses.more(self.index)
    }

    /// Queues a copy of a message. It leaves with all others of the pass, or of the tick ([`Config::flush`](crate::Config::flush)), in one send.
    /// Never blocks; allocates only when no pooled buffer fits.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        let message = message.into();
        let ours = Mark::ours();
        let outcome = self.core.out.send(self.index, message);
        ours.end();
        outcome
    }

    /// Sends the message being handled on, unchanged: to its own connection (an echo) or to any other. Else as
    /// [`send`](Self::send), but a long one need not be copied: where it has a buffer of its own, as messages of 64 KiB and
    /// more and those in pieces do, that buffer is what is sent. Only one connection can be given it; to a second one it is
    /// copied, as is any message that is not the one being handled.
    #[inline(always)]
    pub fn forward(&mut self, message: Message<'_>) -> SendOutcome {
        let ours = Mark::ours();
        let outcome = self.core.out.forward(self.index, message);
        ours.end();
        outcome
    }

    /// As [`send`](Self::send), and never compressed: for what is random, compressed already, or must not share a
    /// compressor with what an attacker can choose.
    pub fn send_plain<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        let message = message.into();
        ours(|| self.core.out.send_how(self.index, message.opcode(), message.as_bytes(), How::Plain))
    }

    /// Queues a prepared message; else as [`send`](Self::send). From 4 KiB on, compressed or not, it lies in memory once for all
    /// connections of the core that sent it and do not mask (those that a peer made). Each counts all of it as
    /// [`queued`](Self::queued). Send one prepared message to all its receivers before the next: the core remembers the last one's forms.
    pub fn send_prepared(&mut self, prepared: &Prepared<'_>) -> SendOutcome {
        ours(|| self.core.out.send_prepared(self.index, prepared.number, prepared.message))
    }

    /// Queues a message that is given away. A long one (64 KiB and more) is sent from where it lies, without a copy, and costs
    /// no memory but its own however many connections it is sent to: clone the message, or its [`Bytes`](bytes::Bytes). Its
    /// memory is let go when the last of them has sent it or failed: all of it, also where the `Bytes` are a slice of something larger. Copied, as [`send`](Self::send) does, is a shorter one,
    /// and one that has to be masked (on a connection that was dialled) or compressed.
    pub fn send_owned(&mut self, message: impl Into<OwnedMessage>) -> SendOutcome {
        let OwnedMessage { opcode, bytes } = message.into();
        ours(|| self.core.out.send_owned(self.index, opcode, bytes))
    }

    /// Queues a binary message of exactly `len` bytes, which `write` writes straight to where they are sent from: nothing is
    /// copied. They are zeros before: what `write` leaves alone is sent as zeros. It is not called if the message is refused or the connection is closing; if it
    /// panics, nothing is queued. Else as [`send`](Self::send).
    pub fn send_with(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> SendOutcome {
        match ours(|| self.core.out.draft(self.index, len)) {
            Ok(mut draft) => {
                write(ours(|| draft.bytes()));
                ours(|| draft.send(Opcode::Binary))
            }
            Err(outcome) => outcome,
        }
    }

    /// As [`send_with`](Self::send_with), for a text message.
    ///
    /// # Errors
    /// If what was written is no UTF-8 (RFC 6455 §5.6): then nothing is queued.
    pub fn send_text_with(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<SendOutcome, std::str::Utf8Error> {
        match ours(|| self.core.out.draft(self.index, len)) {
            Ok(mut draft) => {
                write(ours(|| draft.bytes()));
                std::str::from_utf8(ours(|| draft.bytes()))?;
                Ok(ours(|| draft.send(Opcode::Text)))
            }
            Err(outcome) => Ok(outcome),
        }
    }

    /// Starts the closing handshake: what is queued goes out, and what waits of topics as far as
    /// [`output_max_bytes`](crate::Config::output_max_bytes) has room, then a Close with `code` and `reason` (cut to 123 bytes at a
    /// character). Its subscriptions end. No effect if it is closing already.
    ///
    /// What the peer sends from here on is not handed out: whole messages are counted ([`Stats::discarded`](crate::Stats::discarded)).
    /// The connection is over, and `on_close` called, when the peer has answered. A peer that takes nothing, or has taken all and does not answer, is reset after
    /// [`closing_timeout`](crate::Config::closing_timeout), 5 s by default; one that goes on taking what is queued for it, however slowly, after
    /// [`closing_max`](crate::Config::closing_max), 10 minutes.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        ours(|| self.core.out.flush_and_close(self.index, code, reason));
    }

    /// Ends the connection at once, by a reset: nothing that is queued goes out, no Close is said and none awaited, and the kernel keeps
    /// nothing for the peer. `on_close` follows in this pass, with [`CloseReason::Aborted`](crate::CloseReason::Aborted); until then sends are answered
    /// `Gone` and no message comes. Also ends a connection that is closing, whose peer is not worth the wait. Counted:
    /// [`Stats::aborted`](crate::Stats::aborted).
    ///
    /// For peers that are of no use any more: one whose data is stale, or who broke the rules of the application. A connection that was
    /// dialled is dialled again, as one that was lost is: [abandon](CoreCx::abandon) its dial if it is not to be.
    pub fn abort(&mut self) {
        ours(|| self.core.out.abort(self.index));
    }

    /// Pings the peer (RFC 6455 §5.5.2), behind what is queued; [`on_pong`](Handler::on_pong) tells how long its answer took. One at a time: false if an
    /// earlier one is unanswered, or the connection is closing. Whether a peer is alive at all is
    /// [`Config::idle_timeout`](crate::Config::idle_timeout)'s to find out.
    pub fn ping(&mut self) -> bool {
        ours(|| self.core.out.ping_for_app(self.index))
    }

    /// Takes no more messages from the connection until [`resume`](Self::resume); the peer feels TCP's back-pressure.
    /// Its pings are not answered and it is not timed out for silence meanwhile, but it must take what is queued for it within the
    /// [`send_timeout`](crate::Config::send_timeout).
    pub fn pause(&mut self) {
        ours(|| self.core.out.pause(self.index));
    }

    /// Takes messages again, from the next pass on; none is lost or reordered.
    pub fn resume(&mut self) {
        ours(|| self.core.out.resume(self.index));
    }

    /// Says whether messages of this connection are taken while its output is above the high-water mark; at once, if it is.
    /// With [`Pressure::ReadOn`] those that waited are handled from the next pass on, as after [`resume`](Self::resume); a pause stays
    /// a pause.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        self.core.out.set_pressure(self.index, pressure);
    }

    /// Bytes queued for the connection and not yet taken by its socket.
    pub fn queued(&self) -> usize {
        self.core.out.link(self.index).output.queued as usize
    }
}

impl<H: Handler> fmt::Debug for Conn<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id()).field("queued", &self.queued()).finish_non_exhaustive()
    }
}
