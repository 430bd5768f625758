//! The way into a session: one piece of the stream, and what the peer said in it.
//!
//! Owns the position in that piece and the header read ahead of it; while it lives, nobody else can change the piece or the
//! session. Promises that events come in the order of the bytes however those are cut, that a close frame is surfaced
//! once and nothing after it, and a violation once and nothing after it. Answers nothing: that is the caller's.

use alloc::vec::Vec;
use core::ops::Range;

use super::pace::Pace;
use super::walk::{self, Found, Span};
use super::{Session, behind};
use crate::close::{self, CloseCode, Violation};
use crate::frame::{self, Whole};
use crate::limits::Limits;
use crate::opcode::{Message, Opcode};
use crate::pool::Pool;
use crate::simd::{self, MaskKey};

/// What the peer said. It borrows the input, or the session if the bytes came in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A whole message, unmasked; text is checked.
    Message {
        /// What it says.
        message: Message<'a>,
        /// The input holds no further whole message that could be delivered: a good moment to answer them all. (Text
        /// is not read ahead: where the next message turns out not to be UTF-8, none was last.)
        last: bool,
        /// It lies in a buffer of the session, because it came in pieces, compressed or long: [`Input::take_message`] gives that.
        is_own: bool,
    },
    /// To be answered with a pong of the same payload, at most 125 bytes, as soon as practical (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// The answer to a ping, or a heartbeat nobody asked for (RFC 6455 §5.5.3). At most 125 bytes.
    Pong(&'a [u8]),
    /// A message that ended behind our close frame ([`Session::on_close_sent`]): nothing of it was kept, and nothing of it but the
    /// format was judged.
    Discarded,
    /// The peer's close frame, once (RFC 6455 §5.5.1). Nothing comes after it.
    Close {
        /// `None` if the frame had no code (to be reported as 1005, RFC 6455 §7.1.5).
        code: Option<CloseCode>,
        /// At most 123 bytes, empty without a code.
        reason: &'a str,
    },
}

/// What is known of the bytes at [`Input::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// Nothing.
    Unread,
    /// The session is at rest, and [`Input::whole`] lies there.
    Whole,
    /// It is not at rest, or no message of one frame lies whole there.
    Other,
}

/// One piece of the stream, on its way into a session: see [`Session::input`].
#[derive(Debug)]
pub struct Input<'a> {
    session: &'a mut Session,
    bytes: &'a mut [u8],
    limits: &'a Limits,
    /// Invariant: within `bytes`. What lies before was walked over, and its messages are unmasked.
    at: usize,
    /// Invariant: within `bytes`. A frame that begins here or behind is not begun: see [`Input::stop_at`].
    stop: usize,
    ahead: Ahead,
    /// The header at `at`, with [`Ahead::Whole`]. (Inside of that it would not stay in registers.)
    whole: Whole,
    /// [`Limits::whole_max`].
    whole_max: u64,
}

impl Session {
    /// The next `bytes` of the stream. They are unmasked in place.
    ///
    /// Call [`Input::next`] until it says `None`: the bytes are used up then, and what they began is kept. To stop before,
    /// note [`Input::at`]: the bytes from there on, unchanged, are the next input.
    #[inline]
    pub fn input<'a>(&'a mut self, bytes: &'a mut [u8], limits: &'a Limits) -> Input<'a> {
        let whole = Whole { text: false, key: MaskKey::NONE, head_len: 0, payload_len: 0 };
        let (stop, whole_max) = (bytes.len(), limits.whole_max());
        Input { session: self, bytes, limits, at: 0, stop, ahead: Ahead::Unread, whole, whole_max }
    }
}

impl Input<'_> {
    /// Bytes walked over so far. An event ends there, and so does a message that was found with it.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Begins no frame at `stop` or behind: [`next`](Input::next) says `None` there, before the input is used up. What has begun goes
    /// on, however long it is. So a caller does not do more work at once than it means to; it may move the place on, and ask again.
    #[inline]
    pub fn stop_at(&mut self, stop: usize) {
        self.stop = stop.min(self.bytes.len());
        self.ahead = Ahead::Unread;
    }

    /// As [`Session::is_inflating`].
    #[inline]
    pub fn is_inflating(&self) -> bool {
        self.session.is_inflating()
    }

    /// The next event. `None`: the input is used up, and what it began is kept in memory from `pool`; or the place is reached where the
    /// caller wants to [stop](Input::stop_at).
    ///
    /// Once the peer's close frame was surfaced, or a violation returned, all input is used up and ignored (RFC 6455
    /// §1.4, §7.1.7). After [`Session::on_close_sent`], only a close frame is surfaced, and that messages were discarded.
    ///
    /// Takes from `pool` only for a frame that the input cuts, a fragmented message, or a masked one of 64 KiB and more that
    /// ends the input: at first what the bytes at hand need, later in step with the bytes received, so never by the length
    /// announced. What was taken goes back at the next call after it was handed out, or by [`give_back`](Input::give_back).
    ///
    /// # Errors
    /// What the peer did wrong, once. It shows at the first byte that proves it, whatever the pieces the bytes come
    /// in; the input is used up then.
    #[inline]
    pub fn next(&mut self, pool: &mut Pool) -> Result<Option<Event<'_>>, Violation> {
        self.next_at(&mut Pace { ..Pace::FREE }, pool)
    }

    /// As [`next`](Input::next), and says `None` as well when it has inflated as much at once as it may:
    /// [`is_inflating`](Input::is_inflating) tells. What was done is added to `pace`.
    ///
    /// # Errors
    /// As [`next`](Input::next).
    #[inline]
    pub fn next_at(&mut self, pace: &mut Pace, pool: &mut Pool) -> Result<Option<Event<'_>>, Violation> {
        if self.at >= self.stop && self.session.is_at_rest() {
            return Ok(None);
        }
        let is_looked_at = matches!(self.ahead, Ahead::Other);
        self.ahead = Ahead::Unread;
        // By parts, and the position as a copy: so that an `Input` whose methods are inlined lives in registers.
        let mut span = Span { at: self.at, stop: self.stop };
        let event = next_event(self.session, self.bytes, &mut span, pace, self.limits, pool, is_looked_at);
        self.at = span.at;
        event
    }

    /// The short way of [`next`](Input::next), for a loop that takes many messages: the next event, if nothing is pending and
    /// it is a message of one frame that lies whole in the input; and whether it is the last ([`Event::Message`]). `None`
    /// says nothing and moves nothing: ask `next`.
    ///
    /// # Errors
    /// As [`next`](Input::next): a text that is not UTF-8.
    #[inline(always)] // one loop calls it, and a message that stays in registers is half its cost
    pub fn next_whole(&mut self, pool: &mut Pool) -> Result<Option<(Message<'_>, bool)>, Violation> {
        if self.ahead != Ahead::Whole && !self.read_ahead() {
            return Ok(None);
        }
        let whole = self.whole;
        let (place, last) = self.pass_whole();
        let end = self.bytes.len();
        match unmask(&mut self.bytes[place], whole.text, whole.key) {
            Ok(message) => Ok(Some((message, last))),
            Err(violation) => {
                self.at = end;
                self.ahead = Ahead::Other;
                self.session.fail(pool);
                Err(violation)
            }
        }
    }

    /// Whether the session is between messages, and reads: nothing is begun.
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.session.is_at_rest()
    }

    /// Whether a message has begun, of which frames are to come.
    #[inline]
    pub fn is_in_message(&self) -> bool {
        self.session.fragments > 0
    }

    /// As [`Session::on_close_sent`].
    pub fn on_close_sent(&mut self) {
        self.session.on_close_sent();
        self.ahead = Ahead::Unread;
    }

    /// As [`Session::take_message`].
    pub fn take_message(&mut self) -> Option<Vec<u8>> {
        self.session.take_message()
    }

    /// As [`Session::give_back`].
    pub fn give_back(&mut self, pool: &mut Pool) {
        self.session.give_back(pool);
    }

    /// Whether a message of one frame lies whole at `at`; then its header is in `whole`.
    #[inline(always)]
    fn read_ahead(&mut self) -> bool {
        if self.ahead == Ahead::Other {
            return false;
        }
        let rest = &self.bytes[self.at..];
        if self.at < self.stop
            && self.session.is_at_rest()
            && let Some(whole) = frame::whole(rest, self.session.role, self.whole_max)
        {
            (self.ahead, self.whole) = (Ahead::Whole, whole);
            return true;
        }
        self.ahead = Ahead::Other;
        false
    }

    /// Moves on behind the message that lies at `at`, and reads the header there: where the payload is, and whether it was
    /// the last ([`Event::Message`]).
    #[inline(always)]
    fn pass_whole(&mut self) -> (Range<usize>, bool) {
        let from = self.at + self.whole.head_len;
        let to = from + self.whole.payload_len;
        let behind = &self.bytes[to..];
        self.at = to;
        if to < self.stop
            && let Some(next) = frame::whole(behind, self.session.role, self.whole_max)
        {
            (self.ahead, self.whole) = (Ahead::Whole, next);
            return (from..to, false);
        }
        self.ahead = Ahead::Other;
        (from..to, behind.is_empty() || !behind::brings_message(self.session, behind, self.limits))
    }
}

/// First numbers, then a borrow by them.
#[inline(never)]
fn next_event<'i>(
    session: &'i mut Session,
    bytes: &'i mut [u8],
    span: &mut Span,
    pace: &mut Pace,
    limits: &Limits,
    pool: &mut Pool,
    is_looked_at: bool,
) -> Result<Option<Event<'i>>, Violation> {
    let end = bytes.len();
    let mut input = Input { at: span.at, stop: span.stop, ..session.input(bytes, limits) };
    let is_whole = !is_looked_at && input.read_ahead();
    let (found, last) = match is_whole {
        true => {
            let Whole { text, key, .. } = input.whole;
            let (place, last) = input.pass_whole();
            span.at = input.at;
            (Found::Borrowed { text, place, key }, last)
        }
        false => match walk::find(session, bytes, span, pace, limits, pool)? {
            Some(found @ (Found::Borrowed { .. } | Found::Held { .. })) => {
                let last = !behind::has_message(session, &bytes[span.at..], limits);
                (found, last)
            }
            Some(found) => (found, false),
            None => return Ok(None),
        },
    };
    Ok(Some(match found {
        Found::Borrowed { text, place, key } => match unmask(&mut bytes[place], text, key) {
            Ok(message) => Event::Message { message, last, is_own: false },
            Err(violation) => {
                span.at = end;
                session.fail(pool);
                return Err(violation);
            }
        },
        Found::Held { text } => Event::Message { message: session.held_message(text), last, is_own: true },
        Found::Discarded => Event::Discarded,
        Found::Control { opcode, place } => control(opcode, &bytes[place]),
        Found::HeldControl => {
            let cut = session.held_control();
            control(cut.opcode(), cut.payload())
        }
    }))
}

/// The payload of a whole message, unmasked in place and checked.
#[inline(always)]
fn unmask(payload: &mut [u8], text: bool, key: MaskKey) -> Result<Message<'_>, Violation> {
    if text {
        simd::unmask_text(payload, key).map(Message::Text).map_err(|_| Violation::InvalidUtf8)
    } else {
        simd::mask(payload, key);
        Ok(Message::Binary(payload))
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
