//! One connection's protocol state: what the peer may still say, and what of it is surfaced.
//!
//! Owns the decoder and the closing state (RFC 6455 §5.5.1, §7). Promises that events come in the order of the bytes
//! however those are cut, that a close frame is surfaced once and nothing after it, and a violation once and nothing
//! after it. Sends nothing, keeps no clock and knows no socket: answering pings, sending close frames and deadlines
//! are the engine's.

use alloc::vec::Vec;
use core::ops::Range;

use crate::close::{self, CloseCode, Violation};
use crate::decode::{Compression, Decoder, Found, Limits};
#[cfg(feature = "deflate")]
use crate::deflate::Agreed;
use crate::frame::{self, Role, Whole};
use crate::opcode::{Message, Opcode};
use crate::pool::Pool;
use crate::simd::{self, Assembly, MaskKey};

/// How far a connection has come (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // a closing handshake has no further steps
pub enum State {
    /// Everything is surfaced.
    Open,
    /// We sent a close frame; of the peer only its own still counts (RFC 6455 §5.5.1).
    CloseSent,
    /// The peer's close frame was surfaced and awaits our answer.
    CloseReceived,
    /// Both close frames went their way: close the TCP connection (RFC 6455 §7.1.1).
    Closed,
    /// The peer broke a rule, or received bytes were given up: send a close frame and close (RFC 6455 §7.1.7).
    Failed,
}

/// What the peer said. It borrows the input, or the session if the bytes came in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, unmasked; text is checked.
    Message {
        /// What it says.
        message: Message<'a>,
        /// The input holds no further whole message that could be delivered: a good moment to answer them all. (Text
        /// is not read ahead: where the next message turns out not to be UTF-8, none was last.)
        last: bool,
    },
    /// To be answered with a pong of the same payload, at most 125 bytes, as soon as practical (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// The answer to a ping, or a heartbeat nobody asked for (RFC 6455 §5.5.3). At most 125 bytes.
    Pong(&'a [u8]),
    /// The peer's close frame, once (RFC 6455 §5.5.1). Nothing comes after it.
    Close {
        /// `None` if the frame had no code (to be reported as 1005, RFC 6455 §7.1.5).
        code: Option<CloseCode>,
        /// At most 123 bytes, empty without a code.
        reason: &'a str,
    },
}

/// What a loop over one input keeps between its calls of [`Session::next_whole`]: a header that was read already.
#[derive(Debug)]
pub struct Ahead {
    /// Where the frame of `whole` begins; nowhere at first.
    at: usize,
    whole: Whole,
    payload_max: u64,
}

impl Ahead {
    /// For one input, under these limits.
    #[inline]
    pub fn new(limits: &Limits) -> Self {
        let whole = Whole { text: false, key: MaskKey::NONE, head_len: 0, payload_len: 0 };
        Ahead { at: usize::MAX, whole, payload_max: limits.whole_max() }
    }
}

/// The receive side of one connection, with its closing state. 72 bytes, 64 without the feature `deflate`; it owns memory
/// only in the middle of a message or control frame that was cut, and until the call after either was handed out; and,
/// where that was agreed on, a window for inflating.
///
/// The loop: call [`next`](Session::next) on each input until it says `None`.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
}

impl Session {
    /// A connection whose opening handshake is done, seen from `role`. Does not allocate.
    pub const fn new(role: Role) -> Self {
        Session { decoder: Decoder::new(role, Compression::No) }
    }

    /// The same with permessage-deflate as agreed (RFC 7692 §7): messages of the peer may be compressed, and come out of
    /// [`next`](Session::next) inflated. A peer that keeps its window costs an [`Inflater`](crate::deflate::Inflater) from
    /// its first such message to [`recycle`](Session::recycle); others share the one of the pool.
    #[cfg(feature = "deflate")]
    pub const fn with_deflate(role: Role, agreed: &Agreed) -> Self {
        let takeover = agreed.of_peer(role).takeover;
        let compression = if takeover { Compression::Takeover } else { Compression::Each };
        Session { decoder: Decoder::new(role, compression) }
    }

    /// Walks `input` from `*at` to the next event, unmasking in place; `*at` is then behind it. `None`: the input is
    /// used up (`*at == input.len()`), and what it began is kept in memory from `pool`. The bytes before `*at` may be
    /// overwritten then; those of an event are valid as long as it is borrowed.
    ///
    /// Once the peer's close frame was surfaced, or a violation returned, all input is used up and ignored (RFC 6455
    /// §1.4, §7.1.7). After [`on_close_sent`](Session::on_close_sent), only a close frame is surfaced.
    ///
    /// Takes from `pool` only for a frame that the input cuts, a fragmented message, or a masked one of 64 KiB and more that
    /// ends the input: at first what the bytes at hand need, later in step with the bytes received, so never by the length
    /// announced. What was taken goes back at the next call after it was handed out, or by [`give_back`](Session::give_back).
    ///
    /// # Errors
    /// What the peer did wrong, once. It shows at the first byte that proves it, whatever the pieces the bytes come
    /// in; `*at` is then the end of the input.
    ///
    /// # Panics
    /// If `*at` is beyond the input.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<Event<'a>>, Violation> {
        match self.find_whole(input, at, &mut Ahead::new(limits), limits) {
            Some((place, whole, last)) => {
                let message = self.unmask(input, at, place, whole.text, whole.key, pool)?;
                Ok(Some(Event::Message { message, last }))
            }
            None => self.next_other(input, at, limits, pool),
        }
    }

    /// The short way of [`next`](Session::next), for a loop that takes many messages from one input: the next event, if
    /// nothing is pending and it is a message of one frame that lies whole in the input; and whether it is the last
    /// ([`Event::Message`]). `None` says nothing and moves nothing: ask [`next_other`](Session::next_other), and go on here.
    ///
    /// `ahead` is made for the input and used for no other; each header is read once then, where `next` reads it twice.
    ///
    /// # Errors
    /// As [`next`](Session::next): a text that is not UTF-8.
    ///
    /// # Panics
    /// If `*at` is beyond the input. With an `ahead` of another input it may panic, or take other bytes for a message.
    #[inline(always)] // one loop calls it, and a message that stays in registers is half its cost
    pub fn next_whole<'a>(
        &mut self,
        input: &'a mut [u8],
        at: &mut usize,
        ahead: &mut Ahead,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<(Message<'a>, bool)>, Violation> {
        match self.find_whole(input, at, ahead, limits) {
            Some((place, whole, last)) => {
                let message = self.unmask(input, at, place, whole.text, whole.key, pool)?;
                Ok(Some((message, last)))
            }
            None => Ok(None),
        }
    }

    /// Finds the message at `*at`, by numbers, and moves on; and reads the header behind it.
    #[inline(always)]
    fn find_whole(
        &self,
        input: &[u8],
        at: &mut usize,
        ahead: &mut Ahead,
        limits: &Limits,
    ) -> Option<(Range<usize>, Whole, bool)> {
        if !self.decoder.is_at_rest() {
            return None;
        }
        let whole = if ahead.at == *at {
            ahead.whole
        } else if *at == input.len() {
            return None;
        } else {
            frame::whole(&input[*at..], self.decoder.role, ahead.payload_max)?
        };
        let from = *at + whole.head_len;
        let to = from + whole.payload_len;
        let behind = &input[to..];
        *at = to;
        let last = behind.is_empty()
            || match frame::whole(behind, self.decoder.role, ahead.payload_max) {
                Some(next) => {
                    (ahead.at, ahead.whole) = (to, next);
                    false
                }
                None => !self.decoder.scan_behind(behind, limits),
            };
        Some((from..to, whole, last))
    }

    /// The message that was found, unmasked and checked.
    #[inline(always)]
    fn unmask<'a>(
        &mut self,
        input: &'a mut [u8],
        at: &mut usize,
        place: Range<usize>,
        text: bool,
        key: MaskKey,
        pool: &mut Pool,
    ) -> Result<Message<'a>, Violation> {
        let end = input.len();
        let payload = &mut input[place];
        if !text {
            simd::mask(payload, key);
            return Ok(Message::Binary(payload));
        }
        match simd::unmask_text(payload, key) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => {
                *at = end;
                self.decoder.fail(pool);
                Err(Violation::InvalidUtf8)
            }
        }
    }

    /// The rest of [`next`](Session::next), for where [`next_whole`](Session::next_whole) said `None`: the next event, whatever
    /// it is. A message that `next_whole` would find it finds too, and reads its header as often as `next`.
    ///
    /// # Errors
    /// As [`next`](Session::next).
    ///
    /// # Panics
    /// As [`next`](Session::next).
    #[inline]
    pub fn next_other<'a>(
        &'a mut self,
        input: &'a mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<Event<'a>>, Violation> {
        if *at == input.len() && self.decoder.is_at_rest() {
            return Ok(None);
        }
        self.next_found(input, at, limits, pool)
    }

    /// First numbers, then a borrow by them.
    #[inline(never)]
    fn next_found<'a>(
        &'a mut self,
        input: &'a mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<Event<'a>>, Violation> {
        let Some(found) = self.decoder.find(input, at, limits, pool)? else {
            return Ok(None);
        };
        Ok(Some(match found {
            Found::Borrowed { text, from, to, key } => {
                let last = !self.decoder.more_behind(&input[to..], limits);
                Event::Message { message: self.unmask(input, at, from..to, text, key, pool)?, last }
            }
            Found::Held { text } => {
                let last = !self.decoder.more_behind(&input[*at..], limits);
                let assembly = self.decoder.assembly();
                let message = if text {
                    Message::Text(assembly.text().expect("checked when it was found"))
                } else {
                    Message::Binary(assembly.payload())
                };
                Event::Message { message, last }
            }
            Found::Compressed { .. } | Found::CompressedHeld => unreachable!("inflated in the decoder"),
            Found::Control { opcode, from, to } => control(opcode, &input[from..to]),
            Found::HeldControl { opcode } => control(opcode, self.decoder.held_control()),
        }))
    }

    /// Whether the message of the last event lies in memory of its own and is still here, so that
    /// [`take_message`](Session::take_message) would move it out.
    pub fn message_is_assembled(&self) -> bool {
        self.decoder.is_delivered()
    }

    /// Moves the message of the last event out, if it lies in memory of its own: it arrived in pieces, or was inflated, or is
    /// one of 64 KiB and more that was masked and ended its input. [`HEADROOM`](crate::HEADROOM) bytes of any content, then
    /// the payload, so that a header can be written in front and the whole sent without a copy. `None` if the message was
    /// borrowed from the input, or is taken already. The memory is the caller's to give back ([`Pool::put`]).
    pub fn take_message(&mut self) -> Option<Vec<u8>> {
        self.decoder.take_delivered().map(Assembly::into_bytes)
    }

    /// Gives back the memory of what was handed out last, as the next call would: for who does not call again soon. What is
    /// still arriving stays, but for a message that nobody wants since [`on_close_sent`](Session::on_close_sent).
    pub fn give_back(&mut self, pool: &mut Pool) {
        self.decoder.give_back(pool);
    }

    /// Gives every buffer back, for a connection that ends. A message that was still arriving is lost, and with it the
    /// place in the stream; so is the window of a peer that refers to it: the session is [`State::Failed`] then, unless it was closed.
    pub fn recycle(&mut self, pool: &mut Pool) {
        self.decoder.recycle(pool);
    }

    /// Whether memory of the pool is in use. Never between messages, once [`next`](Session::next) said `None`.
    pub fn holds_buffer(&self) -> bool {
        self.decoder.holds_buffer()
    }

    /// Whether the bytes so far end inside a frame, its header included.
    pub fn is_in_frame(&self) -> bool {
        self.decoder.is_in_frame()
    }

    /// We sent a close frame (RFC 6455 §5.5.1). From now on messages, pings and pongs are walked over and nothing of
    /// them is kept; only the peer's close frame is still surfaced. Limits on messages do not apply to what is not
    /// kept; the other rules do. A message handed out before stays valid until the next call.
    pub fn on_close_sent(&mut self) {
        let state = &mut self.decoder.state;
        *state = match *state {
            State::Open => State::CloseSent,
            State::CloseReceived => State::Closed,
            done @ (State::CloseSent | State::Closed | State::Failed) => done,
        };
    }

    /// How far the connection has come.
    pub fn state(&self) -> State {
        self.decoder.state
    }

    /// Whether the peer's close frame was surfaced.
    pub fn is_closed_by_peer(&self) -> bool {
        matches!(self.state(), State::CloseReceived | State::Closed)
    }

    /// Our end of the connection.
    pub fn role(&self) -> Role {
        self.decoder.role
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Event<'_> {
    match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => {
            let (code, reason) = close::read_payload(payload).expect("checked when it was found");
            Event::Close { code, reason }
        }
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            unreachable!("{opcode:?} was found as a control frame")
        }
    }
}

#[cfg(test)]
mod tests;
