//! One connection's receive side: all that is kept of it between two inputs.
//!
//! Owns the place in the stream (RFC 6455 §5), the memory of what arrived in pieces, and the closing state (§5.5.1, §7).
//! Promises to hold no memory between messages, and to say so when giving it back loses bytes. Sends nothing, keeps no
//! clock and knows no socket: answering pings, sending close frames and deadlines are the engine's.
//!
//! | part | what it owns |
//! |---|---|
//! | [`input`] | the way in: bytes become [`Event`](input::Event)s, borrowed where they lie |
//! | `walk` | the moves from one place in the stream to the next |
//! | `behind` | whether a further message lies behind one |
//! | `control` | a control frame that its input cut |
//! | `inflation` | compressed messages, inflated; `kept` is what that keeps between two inputs |
//! | [`pace`] | how much is done in a call |

mod behind;
mod control;
mod inflation;
pub mod input;
#[cfg(feature = "deflate")]
mod kept;
pub mod pace;
mod walk;

#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::closing::{Move, State};
#[cfg(feature = "deflate")]
use crate::deflate::Agreed;
use crate::frame::{Expect, HEAD_MAX, Role};
use crate::limits::Limits;
use crate::opcode::Message;
use crate::pool::Pool;
use crate::simd::{Assembly, HEADROOM, MaskKey};
use control::CutControl;

/// Where in the stream the next byte falls.
#[derive(Debug, Default)]
enum Place {
    /// Between messages. Nothing is held.
    #[default]
    Rest,
    /// Between two frames of a fragmented message.
    Between,
    /// In a header.
    Head(CutHead),
    /// In the payload of a data frame, of which `left` bytes are to come; `key` applies to the next of them.
    Payload { left: u64, key: MaskKey, fin: bool },
    /// In the payload of a control frame; or behind it, once the frame was handed out. The next call gives it back.
    Control(CutControl),
    /// Between messages; `assembly` is the one handed out last. The next call gives it back.
    Delivered,
    /// Behind a compressed message, which is inflated in steps: the next call goes on.
    #[cfg_attr(not(feature = "deflate"), allow(dead_code, reason = "nothing is inflated"))]
    Inflating,
}

/// The first bytes of a header that its input cut.
#[derive(Clone, Copy, Debug)]
struct CutHead {
    bytes: [u8; HEAD_MAX],
    len: u8,
}

/// What the peer may say of compression (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "deflate"), allow(dead_code))] // only `No` is made then
enum Compression {
    /// It was not negotiated.
    No,
    /// Messages may be compressed, each by itself.
    Each,
    /// Messages may be compressed, and refer to earlier ones.
    Takeover,
}

/// What the open message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Binary,
    Text,
    CompressedBinary,
    CompressedText,
}

impl Kind {
    fn new(text: bool, compressed: bool) -> Kind {
        match (compressed, text) {
            (false, false) => Kind::Binary,
            (false, true) => Kind::Text,
            (true, false) => Kind::CompressedBinary,
            (true, true) => Kind::CompressedText,
        }
    }

    fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::CompressedText)
    }

    fn is_compressed(self) -> bool {
        matches!(self, Kind::CompressedBinary | Kind::CompressedText)
    }
}

/// The receive side of one connection, with its closing state. 72 bytes, 64 without the feature `deflate`; it owns memory
/// only in the middle of a message or control frame that was cut, and until the call after either was handed out; and,
/// where that was agreed on, a window for inflating.
///
/// The loop: [`input`](Session::input) for each piece of the stream, and [`Input::next`](input::Input::next) on it until
/// that says `None`.
#[derive(Debug)]
pub struct Session {
    /// The message that arrives in pieces, from its first byte that had to be kept; at `Delivered` the one handed out.
    assembly: Option<Assembly>,
    place: Place,
    /// From the peer's first compressed message on: its window, if it takes that over.
    #[cfg(feature = "deflate")]
    inflation: Option<Box<kept::Inflation>>,
    /// Frames of the open message so far; 0 if none is open.
    fragments: u32,
    /// The open message's; without meaning if none is open.
    kind: Kind,
    compression: Compression,
    role: Role,
    state: State,
}

impl Session {
    /// A connection whose opening handshake is done, seen from `role`. Does not allocate.
    pub const fn new(role: Role) -> Self {
        Session::with_compression(role, Compression::No)
    }

    /// The same with permessage-deflate as agreed (RFC 7692 §7): messages of the peer may be compressed, and come out
    /// inflated. A peer that keeps its window costs an [`Inflater`](crate::deflate::Inflater) from its first such message to
    /// [`recycle`](Session::recycle); others share the one of the pool.
    #[cfg(feature = "deflate")]
    pub const fn with_deflate(role: Role, agreed: &Agreed) -> Self {
        let takeover = agreed.of_peer(role).takeover;
        Session::with_compression(role, if takeover { Compression::Takeover } else { Compression::Each })
    }

    const fn with_compression(role: Role, compression: Compression) -> Self {
        Session {
            assembly: None,
            place: Place::Rest,
            #[cfg(feature = "deflate")]
            inflation: None,
            fragments: 0,
            kind: Kind::Binary,
            compression,
            role,
            state: State::Open,
        }
    }

    /// Whether the peer may refer to its earlier messages, so that its window is kept.
    pub fn keeps_window(&self) -> bool {
        self.compression == Compression::Takeover
    }

    /// Our end of the connection.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How far the connection has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the peer's close frame was surfaced.
    pub fn is_closed_by_peer(&self) -> bool {
        matches!(self.state, State::CloseReceived | State::Closed)
    }

    /// We sent a close frame (RFC 6455 §5.5.1). From now on messages, pings and pongs are walked over and nothing of
    /// them is kept; only the peer's close frame is still surfaced, and that a message ended
    /// ([`Event::Discarded`](input::Event::Discarded)). Limits on messages do not apply to what is not
    /// kept; the other rules do. A message handed out before stays valid until the next call.
    pub fn on_close_sent(&mut self) {
        self.state = self.state.after(Move::CloseSent);
    }

    /// Whether the bytes so far end inside a frame, its header included. (A control frame that was handed out is still
    /// held.)
    pub fn is_in_frame(&self) -> bool {
        match &self.place {
            Place::Head(_) | Place::Payload { .. } => true,
            Place::Control(cut) => cut.left() > 0,
            Place::Rest | Place::Between | Place::Delivered | Place::Inflating => false,
        }
    }

    /// Whether the bytes so far end within a frame or a message, so that more must come: then, how many bytes of that message
    /// are kept. (Of a frame that is cut in its header, and of a control frame, none are counted.)
    pub fn begun(&self) -> Option<usize> {
        let kept = self.assembly.as_ref().map_or(0, Assembly::len);
        match &self.place {
            Place::Rest | Place::Delivered | Place::Inflating => None,
            Place::Control(cut) if cut.left() == 0 && self.fragments == 0 => None,
            Place::Between | Place::Head(_) | Place::Payload { .. } | Place::Control(_) => Some(kept),
        }
    }

    /// Whether a compressed message has come that is inflated in steps, and is not whole yet: [`Input::next`](input::Input::next) goes on
    /// with it, also where the input is used up.
    #[inline]
    pub fn is_inflating(&self) -> bool {
        matches!(self.place, Place::Inflating)
    }

    /// Whether memory of the pool is in use. Never between messages, once [`Input::next`](input::Input::next) said `None`.
    pub fn holds_buffer(&self) -> bool {
        self.assembly.is_some() || matches!(self.place, Place::Control(_) | Place::Inflating)
    }

    /// Whether it has an inflater of its own, of [`Inflater::BYTES`](crate::deflate::Inflater::BYTES).
    #[cfg(feature = "deflate")]
    pub fn has_window(&self) -> bool {
        self.inflation.as_ref().is_some_and(|inflation| inflation.window.is_some() || inflation.under_way.is_some())
    }

    /// Bytes of the pool's memory in use, and how many of them have a meaning. Of a message in pieces there is memory for at most
    /// twice what has come, or (where the pool had such a buffer) what was announced.
    pub fn held_bytes(&self) -> (usize, usize) {
        let message =
            self.assembly.as_ref().map_or((0, 0), |assembly| (assembly.capacity(), HEADROOM + assembly.len()));
        let inflating = self.under_way_bytes();
        let (memory, counted) = (message.0 + inflating.0, message.1 + inflating.1);
        match &self.place {
            Place::Control(cut) => (memory + cut.capacity(), counted + cut.len()),
            _ => (memory, counted),
        }
    }

    /// Whether the message of the last event lies in memory of its own and is still here, so that
    /// [`take_message`](Session::take_message) would move it out.
    pub fn message_is_assembled(&self) -> bool {
        matches!(self.place, Place::Delivered)
    }

    /// Moves the message of the last event out, if it lies in memory of its own: it arrived in pieces, or was inflated, or is
    /// one of 64 KiB and more that was masked and ended its input. [`HEADROOM`] bytes of any content, then
    /// the payload, so that a header can be written in front and the whole sent without a copy. `None` if the message was
    /// borrowed from the input, or is taken already. The memory is the caller's to give back ([`Pool::put`]).
    pub fn take_message(&mut self) -> Option<Vec<u8>> {
        match self.place {
            Place::Delivered => {
                self.place = Place::Rest;
                self.assembly.take().map(Assembly::into_bytes)
            }
            _ => None,
        }
    }

    /// Gives back the memory of what was handed out last, as the next call would: for callers that do not call again soon.
    /// What is still arriving stays, but for a message that nobody wants since [`on_close_sent`](Session::on_close_sent).
    pub fn give_back(&mut self, pool: &mut Pool) {
        let spent = match &self.place {
            Place::Delivered => true,
            Place::Control(cut) => cut.left() == 0,
            Place::Rest | Place::Between | Place::Head(_) | Place::Payload { .. } | Place::Inflating => false,
        };
        if spent {
            let between = self.between();
            if let Place::Control(cut) = core::mem::replace(&mut self.place, between) {
                pool.put(cut.into_bytes());
            }
        }
        // A message handed out is not open any more, so it leaves here too.
        if self.fragments == 0 || self.state == State::CloseSent {
            self.drop_assembly(pool);
        }
    }

    /// Gives every buffer back, for a connection that ends. A message that was still arriving is lost, and with it the
    /// place in the stream; so is the window of a peer that refers to it: the session is [`State::Failed`] then, unless it
    /// was closed.
    pub fn recycle(&mut self, pool: &mut Pool) {
        let place_lost = self.is_in_frame() || self.fragments > 0 || self.is_inflating();
        self.drop_assembly(pool);
        if let Place::Control(cut) = core::mem::take(&mut self.place) {
            pool.put(cut.into_bytes());
        }
        self.fragments = 0;
        let window_lost = self.drop_inflation(pool);
        if place_lost || window_lost {
            self.state = self.state.after(Move::GivenUp);
        }
    }

    /// The peer's close frame is complete and valid. A message that was open will not end any more.
    fn on_close_received(&mut self, pool: &mut Pool) {
        self.drop_assembly(pool);
        self.fragments = 0;
        if let Place::Between = self.place {
            self.place = Place::Rest;
        }
        self.state = self.state.after(Move::CloseReceived);
    }

    /// The peer broke a rule: nothing more is looked at.
    #[cold]
    fn fail(&mut self, pool: &mut Pool) {
        self.recycle(pool);
        self.state = self.state.after(Move::Violation);
    }

    /// Nothing is pending and messages are surfaced: the next byte starts a frame that stands alone.
    #[inline]
    fn is_at_rest(&self) -> bool {
        matches!(self.place, Place::Rest) && self.state == State::Open
    }

    /// The message that was found in this call, in memory of its own.
    fn held_message(&self, text: bool) -> Message<'_> {
        let assembly = self.assembly.as_ref().expect("a held message was found in this call");
        match text {
            true => Message::Text(assembly.text().expect("checked when it was found")),
            false => Message::Binary(assembly.payload()),
        }
    }

    /// The control frame that was found in this call, in memory of its own.
    fn held_control(&self) -> &CutControl {
        match &self.place {
            Place::Control(cut) => cut,
            place => panic!("a held control frame was found in this call, but we are at {place:?}"),
        }
    }

    /// What the next header may be, after `fragments` frames with `sum` bytes of a message that is `compressed` or not.
    fn expect(&self, limits: &Limits, fragments: u32, sum: u64, compressed: bool) -> Expect {
        match self.compression {
            Compression::No => limits.expect(self.role, fragments, sum),
            Compression::Each | Compression::Takeover => {
                limits.expect_packed(self.role, fragments, sum, compressed && fragments > 0)
            }
        }
    }

    /// A place between two frames.
    fn between(&self) -> Place {
        if self.fragments > 0 { Place::Between } else { Place::Rest }
    }

    fn drop_assembly(&mut self, pool: &mut Pool) {
        if let Some(assembly) = self.assembly.take() {
            pool.put(assembly.into_bytes());
        }
    }

    /// What holds after each call.
    fn debug_assert_sound(&self) {
        let is_open = self.fragments > 0;
        match self.place {
            Place::Between | Place::Payload { .. } => debug_assert!(is_open, "a message is open: {self:?}"),
            Place::Rest | Place::Delivered | Place::Inflating => {
                debug_assert!(!is_open, "no message is open: {self:?}")
            }
            Place::Head(_) | Place::Control(_) => {} // of or in an open message, or of none
        }
        let is_delivered = matches!(self.place, Place::Delivered);
        debug_assert!(self.assembly.is_some() || !is_delivered, "what was handed out is held: {self:?}");
        debug_assert!(
            self.assembly.is_none() || (self.state == State::Open && (is_open || is_delivered)),
            "only a message that is open or handed out is held: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests;
