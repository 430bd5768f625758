//! Bytes in, frames out: where each message and control frame lies.
//!
//! Owns the place in the stream (RFC 6455 §5) and the memory of what arrived in pieces. Promises to look at every byte
//! once, to keep what straddles two inputs in pooled memory that follows the bytes received, never the length
//! announced, and to hold none between messages. (A long message goes there too, though it is all here: `OWN_MIN`.)
//! Lends nothing itself: it finds numbers (`Found`), and the session borrows by them. Knows nothing of the user or of what
//! we send.
//!
//! ```text
//!            header ends in a later input            payload ends in a later input
//!  Rest ───────────────────────────────> Head ──> Payload ──────────────┐
//!   ^ ^                                   │ control, cut                │ last frame, some of it kept
//!   │ └── all of the message is here (1) ─┤                             v
//!   │                                     └──> Control            Delivered
//!   └── the next call gives the memory back ──────┴─────────────────────┘
//!  Between: like Rest, inside a fragmented message
//!  (1) from OWN_MIN on, and if it was compressed: Delivered
//! ```

#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::close::{self, CONTROL_PAYLOAD_MAX, Violation};
#[cfg(feature = "deflate")]
use crate::deflate::Inflater;
use crate::frame::{self, Expect, HEAD_MAX, Head, Parsed, Role};
use crate::opcode::Opcode;
use crate::pool::Pool;
use crate::session::State;
use crate::simd::{self, Assembly, HEADROOM, MaskKey};

/// What a peer may make us keep (RFC 6455 §10.4). A value equal to a limit passes, one more ends the connection with
/// 1009, at the first byte of the header that shows it. Control frames have their own limit, 125 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload bytes of one data frame. Of a compressed message an eighth and a kibibyte more: what does not compress
    /// becomes longer.
    pub frame_max: u64,
    /// Payload bytes of one message, over all its frames. Of a compressed one, what it inflates to; as it is sent it may
    /// have an eighth and a kibibyte more.
    pub message_max: u64,
    /// Frames of one message, empty ones included; 0 is taken as 1.
    pub fragments_max: u32,
    /// A compressed message may inflate to this many times its payload, and a mebibyte. It protects the processor:
    /// DEFLATE reaches 1032, so without it a peer buys a thousand bytes of our work with one of its own.
    pub inflate_ratio_max: u32,
}

impl Limits {
    const NONE: Limits =
        Limits { frame_max: u64::MAX, message_max: u64::MAX, fragments_max: u32::MAX, inflate_ratio_max: u32::MAX };

    /// Payload bytes of a message of one frame.
    #[inline]
    pub(crate) fn whole_max(&self) -> u64 {
        self.frame_max.min(self.message_max)
    }

    /// The same for what is compressed. DEFLATE's worst honest case is a block of fixed codes, nine bits a byte (RFC 1951
    /// §3.2.6), so whatever may be sent plain may be sent compressed.
    fn packed(&self) -> Limits {
        let longer = |len: u64| len.saturating_add(len / 8).saturating_add(1024);
        Limits { frame_max: longer(self.frame_max), message_max: longer(self.message_max), ..*self }
    }

    /// What a data frame may have after `sum` bytes of its message, and what more is called.
    #[inline(always)]
    fn room(&self, sum: u64) -> (u64, Violation) {
        let room = self.message_max.saturating_sub(sum);
        if room < self.frame_max { (room, Violation::MessageTooBig) } else { (self.frame_max, Violation::FrameTooBig) }
    }

    /// What the next header may be, after `fragments` frames with `sum` bytes of an open message.
    fn expect(&self, role: Role, fragments: u32, sum: u64) -> Expect {
        let (payload_max, too_big) = self.room(sum);
        Expect {
            role,
            in_message: fragments > 0,
            compression: false,
            fragment_allowed: fragments < self.fragments_max.max(1),
            payload_max,
            packed_max: payload_max,
            too_big,
        }
    }

    /// The same where messages may be compressed, and the open one is or is not.
    #[cold]
    #[inline(never)]
    fn expect_packed(&self, role: Role, fragments: u32, sum: u64, compressed: bool) -> Expect {
        let packed = self.packed();
        let limits = if compressed { &packed } else { self };
        Expect { compression: true, packed_max: packed.whole_max(), ..limits.expect(role, fragments, sum) }
    }

    fn wish_max(&self) -> usize {
        usize::try_from(self.message_max).unwrap_or(usize::MAX).saturating_add(HEADROOM)
    }
}

impl Default for Limits {
    /// 16 MiB a frame, 16 MiB a message, 262,144 fragments, inflating to 256 times.
    fn default() -> Self {
        Limits { frame_max: 16 << 20, message_max: 16 << 20, fragments_max: 262_144, inflate_ratio_max: 256 }
    }
}

/// What the decoder found, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole message at `from..to` of the input, still masked.
    Borrowed { text: bool, from: usize, to: usize, key: MaskKey },
    /// A whole compressed message at `from..to` of the input, still masked. Does not leave the decoder.
    Compressed { from: usize, to: usize, key: MaskKey },
    /// The same in `assembly`, unmasked.
    CompressedHeld,
    /// A whole message in [`Decoder::assembly`], unmasked, inflated and checked.
    Held { text: bool },
    /// A control frame whose payload is at `from..to` of the input, unmasked and, if a close, checked.
    Control { opcode: Opcode, from: usize, to: usize },
    /// The same in [`Decoder::held_control`].
    HeldControl { opcode: Opcode },
}

/// Where in the stream the next byte falls.
#[derive(Debug, Default)]
enum Place {
    /// Between messages. Nothing is held.
    #[default]
    Rest,
    /// Between two frames of a fragmented message.
    Between,
    /// In a header, of which the first `len` bytes are kept.
    Head { bytes: [u8; HEAD_MAX], len: u8 },
    /// In the payload of a data frame, of which `left` bytes are to come; `key` applies to the next of them.
    Payload { left: u64, key: MaskKey, fin: bool },
    /// In the payload of a control frame. The pooled bytes are the opcode, the length, the key (4), then the payload
    /// so far; once that is complete the frame has been handed out, and the next call gives the bytes back.
    Control(Vec<u8>),
    /// Between messages; `assembly` is the one handed out last. The next call gives it back.
    Delivered,
}

/// What the peer may say of compression (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// It was not negotiated.
    No,
    /// Messages may be compressed, each by itself.
    #[cfg(feature = "deflate")]
    Each,
    /// Messages may be compressed, and refer to earlier ones.
    #[cfg(feature = "deflate")]
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

/// A whole message from this length on that ends its input is unmasked into memory of its own, not where it lies: that costs
/// the same, and who sends it on need not copy it again. (With others behind it, theirs gather in one send.) What is not
/// masked stays where it is.
pub(crate) const OWN_MIN: usize = 64 << 10;

/// In front of the payload in [`Place::Control`].
const CONTROL_HEAD: usize = 6;

/// The receive side of one connection.
///
/// Invariants: `inflater` is `None` without context takeover. `assembly` is `None` at `Rest` and in every state but `Open`, `Delivered` aside; it is `Some` at
/// `Delivered` until taken. `fragments` is 0 exactly if no message is open, so in `Payload` and `Between` it is not.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The message that arrives in pieces, from its first byte that had to be kept.
    assembly: Option<Assembly>,
    place: Place,
    /// The peer's window, from its first compressed message on, if it takes that over.
    #[cfg(feature = "deflate")]
    inflater: Option<Box<Inflater>>,
    /// Frames of the open message so far.
    fragments: u32,
    /// The open message's.
    kind: Kind,
    compression: Compression,
    pub(crate) role: Role,
    /// The session's; the decoder reads it, and sets it when the peer fails or closes.
    pub(crate) state: State,
}

impl Decoder {
    pub(crate) const fn new(role: Role, compression: Compression) -> Self {
        Decoder {
            assembly: None,
            place: Place::Rest,
            #[cfg(feature = "deflate")]
            inflater: None,
            fragments: 0,
            kind: Kind::Binary,
            compression,
            role,
            state: State::Open,
        }
    }

    /// Nothing is pending and messages are surfaced: the next byte starts a frame that stands alone.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.place, Place::Rest) && self.state == State::Open
    }

    pub(crate) fn is_delivered(&self) -> bool {
        matches!(self.place, Place::Delivered) && self.assembly.is_some()
    }

    /// The bytes so far end inside a frame. (A control frame that was handed out is still held.)
    pub(crate) fn is_in_frame(&self) -> bool {
        match &self.place {
            Place::Head { .. } | Place::Payload { .. } => true,
            Place::Control(bytes) => control_left(bytes) > 0,
            Place::Rest | Place::Between | Place::Delivered => false,
        }
    }

    /// Whether pooled memory is in use.
    pub(crate) fn holds_buffer(&self) -> bool {
        self.assembly.is_some() || matches!(self.place, Place::Control(_))
    }

    /// The message of [`Found::Held`].
    pub(crate) fn assembly(&self) -> &Assembly {
        self.assembly.as_ref().expect("a held message was found in this call")
    }

    /// The message handed out last, if it was held and not taken yet.
    pub(crate) fn take_delivered(&mut self) -> Option<Assembly> {
        match self.place {
            Place::Delivered => {
                self.place = Place::Rest;
                self.assembly.take()
            }
            _ => None,
        }
    }

    /// The payload of [`Found::HeldControl`].
    pub(crate) fn held_control(&self) -> &[u8] {
        match &self.place {
            Place::Control(bytes) => &bytes[CONTROL_HEAD..],
            place => panic!("a held control frame was found in this call, but we are at {place:?}"),
        }
    }

    /// Gives all memory back. What was half-received is lost: the place in the stream is gone with it, so a session
    /// that could still receive is failed.
    pub(crate) fn recycle(&mut self, pool: &mut Pool) {
        let mut lost = self.fragments > 0;
        if let Some(assembly) = self.assembly.take() {
            pool.put(assembly.into_bytes());
        }
        match core::mem::take(&mut self.place) {
            Place::Rest | Place::Delivered | Place::Between => {}
            Place::Control(bytes) => {
                lost |= control_left(&bytes) > 0;
                pool.put(bytes);
            }
            Place::Head { .. } | Place::Payload { .. } => lost = true,
        }
        self.fragments = 0;
        #[cfg(feature = "deflate")]
        {
            lost |= self.inflater.take().is_some();
        }
        if lost && matches!(self.state, State::Open | State::CloseSent) {
            self.state = State::Failed;
        }
    }

    /// The peer failed the connection: nothing more is looked at.
    #[cold]
    pub(crate) fn fail(&mut self, pool: &mut Pool) {
        self.recycle(pool);
        self.state = State::Failed;
    }

    /// Walks `input` from `*at` to the end of the next thing to surface. `None`: the input is used up.
    #[inline(never)]
    pub(crate) fn find(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<Found>, Violation> {
        let found = match self.state {
            State::Open | State::CloseSent => match self.walk(input, at, limits, pool) {
                Ok(Some(Found::Compressed { from, to, key })) => {
                    let payload = &mut input[from..to];
                    simd::mask(payload, key);
                    self.inflate(payload, limits, pool)
                }
                Ok(Some(Found::CompressedHeld)) => self.inflate_held(limits, pool),
                found => found,
            },
            // RFC 6455 §1.4, §5.5.1: what follows a close frame is ignored; §7.1.7: so is what follows a fault.
            State::CloseReceived | State::Closed | State::Failed => {
                self.recycle(pool);
                Ok(None)
            }
        };
        if !matches!(found, Ok(Some(_))) {
            *at = input.len();
        }
        if found.is_err() {
            self.fail(pool);
        }
        found
    }

    /// Whether a further whole message lies in `rest`, the bytes behind one. Exact in all that headers show: control
    /// frames and fragments are skipped, a close frame or a fault ends what can be delivered. (The text of a message
    /// is not read ahead: one that turns out not to be UTF-8 was counted.)
    ///
    /// It looks as far as the end of the next message, which is where the next call of this begins, so an input is
    /// looked at once in total, whatever is in it.
    #[inline]
    pub(crate) fn more_behind(&self, rest: &[u8], limits: &Limits) -> bool {
        !rest.is_empty()
            && (frame::whole(rest, self.role, limits.whole_max()).is_some() || self.scan_behind(rest, limits))
    }

    #[inline(never)]
    pub(crate) fn scan_behind(&self, mut rest: &[u8], limits: &Limits) -> bool {
        let mut sum = 0;
        let mut fragments = 0;
        let mut compressed = false;
        loop {
            let expect = match self.compression {
                Compression::No => limits.expect(self.role, fragments, sum),
                _ => limits.expect_packed(self.role, fragments, sum, compressed),
            };
            let Ok(Parsed::Head(head)) = frame::parse(rest, &expect) else {
                return false;
            };
            let behind = &rest[head.head_len..];
            if head.payload_len > behind.len() as u64 || head.opcode == Opcode::Close {
                return false;
            }
            if !head.opcode.is_control() {
                if head.fin {
                    return true;
                }
                compressed |= head.compressed;
                sum += head.payload_len;
                fragments += 1;
            }
            rest = &behind[head.payload_len as usize..];
        }
    }

    fn walk(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<Found>, Violation> {
        self.give_back(pool);
        loop {
            let step = match self.place {
                Place::Rest | Place::Between => self.walk_head(input, at, limits, pool)?,
                Place::Head { .. } => self.walk_kept_head(input, at, limits, pool)?,
                Place::Payload { left, key, fin } => self.walk_payload(input, at, limits, pool, (left, key, fin))?,
                Place::Control(_) => self.walk_control(input, at, pool)?,
                Place::Delivered => unreachable!("given back above"),
            };
            match step {
                Step::On => {}
                Step::Found(found) => return Ok(Some(found)),
                Step::UsedUp => return Ok(None),
            }
        }
    }

    /// What the last call handed out, and what nobody wants since we sent a close frame.
    pub(crate) fn give_back(&mut self, pool: &mut Pool) {
        let spent = match &self.place {
            Place::Delivered => true,
            Place::Control(bytes) => control_left(bytes) == 0,
            Place::Rest | Place::Between | Place::Head { .. } | Place::Payload { .. } => false,
        };
        if spent {
            let between = self.between();
            if let Place::Control(bytes) = core::mem::replace(&mut self.place, between) {
                pool.put(bytes);
            }
        }
        // A message handed out is not open any more, so it leaves here too.
        if self.fragments == 0 || self.state == State::CloseSent {
            self.drop_assembly(pool);
        }
    }

    fn drop_assembly(&mut self, pool: &mut Pool) {
        if let Some(assembly) = self.assembly.take() {
            pool.put(assembly.into_bytes());
        }
    }

    /// A place between two frames.
    fn between(&self) -> Place {
        if self.fragments > 0 { Place::Between } else { Place::Rest }
    }

    fn expect(&self, limits: &Limits) -> Expect {
        // After our close frame nothing of a message is kept any more, so only the rules of the format hold.
        let (limits, fragments, sum) = match self.state {
            State::CloseSent => (&Limits::NONE, self.fragments.min(1), 0),
            _ => (limits, self.fragments, self.assembly.as_ref().map_or(0, Assembly::len) as u64),
        };
        match self.compression {
            Compression::No => limits.expect(self.role, fragments, sum),
            _ => limits.expect_packed(self.role, fragments, sum, fragments > 0 && self.kind.is_compressed()),
        }
    }

    fn walk_head(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Step, Violation> {
        let rest = &input[*at..];
        if rest.is_empty() {
            return Ok(Step::UsedUp);
        }
        match frame::parse(rest, &self.expect(limits))? {
            Parsed::Head(head) => {
                *at += head.head_len;
                self.enter(&head, input, at, pool)
            }
            Parsed::Incomplete { .. } => {
                // Shorter than its header, so at most 13 bytes.
                let mut bytes = [0; HEAD_MAX];
                bytes[..rest.len()].copy_from_slice(rest);
                self.place = Place::Head { bytes, len: rest.len() as u8 };
                Ok(Step::UsedUp)
            }
        }
    }

    /// Takes no byte beyond the header: what follows is looked at in the input.
    fn walk_kept_head(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Step, Violation> {
        let expect = self.expect(limits);
        let Place::Head { bytes, len } = &mut self.place else { unreachable!("the caller matched") };
        loop {
            match frame::parse(&bytes[..usize::from(*len)], &expect)? {
                Parsed::Head(head) => {
                    self.place = self.between();
                    return self.enter(&head, input, at, pool);
                }
                Parsed::Incomplete { needed } => {
                    let rest = &input[*at..];
                    if rest.is_empty() {
                        return Ok(Step::UsedUp);
                    }
                    let from = usize::from(*len);
                    let here = rest.len().min(needed - from);
                    bytes[from..from + here].copy_from_slice(&rest[..here]);
                    *len += here as u8;
                    *at += here;
                }
            }
        }
    }

    /// `*at` is behind the header.
    fn enter(&mut self, head: &Head, input: &mut [u8], at: &mut usize, pool: &mut Pool) -> Result<Step, Violation> {
        let (opcode, key) = (head.opcode, head.key);
        if !opcode.is_control() {
            if opcode != Opcode::Continuation {
                self.kind = Kind::new(opcode == Opcode::Text, head.compressed);
            }
            self.fragments = self.fragments.saturating_add(1);
            self.place = Place::Payload { left: head.payload_len, key, fin: head.fin };
            return Ok(Step::On);
        }
        let rest = &mut input[*at..];
        let len = head.payload_len as usize; // at most 125: RFC 6455 §5.5, checked in `parse`
        if let Some(payload) = rest.get_mut(..len) {
            simd::mask(payload, key);
            let surfaced = self.on_control(opcode, payload, pool)?;
            let from = *at;
            *at += len;
            return Ok(match surfaced {
                true => Step::Found(Found::Control { opcode, from, to: *at }),
                false => Step::On,
            });
        }
        let room = CONTROL_HEAD + CONTROL_PAYLOAD_MAX;
        let mut bytes = pool.take(room, room);
        bytes.extend_from_slice(&[opcode.bits(), len as u8]);
        bytes.extend_from_slice(&key.to_bytes());
        bytes.extend_from_slice(rest);
        *at = input.len();
        self.place = Place::Control(bytes);
        Ok(Step::UsedUp)
    }

    fn walk_control(&mut self, input: &mut [u8], at: &mut usize, pool: &mut Pool) -> Result<Step, Violation> {
        let Place::Control(mut bytes) = core::mem::take(&mut self.place) else { unreachable!("the caller matched") };
        let left = control_left(&bytes);
        let here = left.min(input.len() - *at);
        bytes.extend_from_slice(&input[*at..*at + here]);
        *at += here;
        if here < left {
            self.place = Place::Control(bytes);
            return Ok(Step::UsedUp);
        }
        let (opcode, key) = control_head(&bytes);
        simd::mask(&mut bytes[CONTROL_HEAD..], key);
        let surfaced = self.on_control(opcode, &bytes[CONTROL_HEAD..], pool);
        self.place = Place::Control(bytes);
        match surfaced? {
            true => Ok(Step::Found(Found::HeldControl { opcode })),
            false => {
                self.give_back(pool);
                Ok(Step::On)
            }
        }
    }

    /// A control frame is complete: checks it, and says whether it is surfaced.
    fn on_control(&mut self, opcode: Opcode, payload: &[u8], pool: &mut Pool) -> Result<bool, Violation> {
        if opcode != Opcode::Close {
            return Ok(self.state == State::Open);
        }
        close::read_payload(payload)?;
        self.state = match self.state {
            State::CloseSent => State::Closed,
            _ => State::CloseReceived,
        };
        self.drop_assembly(pool); // a message that will not end any more
        self.fragments = 0;
        Ok(true)
    }

    fn walk_payload(
        &mut self,
        input: &[u8],
        at: &mut usize,
        limits: &Limits,
        pool: &mut Pool,
        (left, key, fin): (u64, MaskKey, bool),
    ) -> Result<Step, Violation> {
        let from = *at;
        let rest_len = input.len() - from;
        let here = usize::try_from(left).map_or(rest_len, |left| left.min(rest_len));
        *at += here;
        let left = left - here as u64;

        if self.state == State::Open {
            let is_own = here >= OWN_MIN && *at == input.len() && !key.is_none() && !self.kind.is_compressed();
            if fin && left == 0 && self.assembly.is_none() && !is_own {
                // All of the message is here, or was empty so far: no need to keep it.
                self.end_message();
                if self.kind.is_compressed() {
                    return Ok(Step::Found(Found::Compressed { from, to: *at, key }));
                }
                let text = self.kind.is_text();
                return Ok(Step::Found(Found::Borrowed { text, from, to: *at, key }));
            }
            let piece = &input[from..*at];
            if !piece.is_empty() {
                let assembly = self.assembly.get_or_insert_with(|| {
                    // Only what is here is asked for. What is announced is a wish, and limited: see `Expect`.
                    let announced = usize::try_from(left).unwrap_or(usize::MAX);
                    let least = HEADROOM + here;
                    let wish = least.saturating_add(announced).min(limits.wish_max());
                    Assembly::new(pool.take(least, wish.max(least)))
                });
                // A buffer that has to grow moves into a kept one if there is one: no allocation in a steady state.
                if let Some((least, wish)) = assembly.growth(here, left)
                    && let Some(larger) = pool.take_kept(least, wish)
                {
                    pool.put(assembly.move_to(larger));
                }
                // RFC 6455 §8.1: text fails at its first impossible byte.
                let text = self.kind == Kind::Text;
                assembly.append(piece, key, text, left).map_err(|_| Violation::InvalidUtf8)?;
            }
        }
        if left > 0 {
            self.place = Place::Payload { left, key: key.advance(here), fin };
            return Ok(Step::UsedUp);
        }
        if !fin {
            self.place = Place::Between;
            return Ok(Step::On);
        }
        self.end_message();
        if self.state != State::Open {
            return Ok(Step::On);
        }
        if self.kind.is_compressed() {
            return Ok(Step::Found(Found::CompressedHeld));
        }
        // RFC 6455 §5.6: a message, not each of its fragments, is whole UTF-8.
        if self.kind.is_text() && self.assembly().text().is_none() {
            return Err(Violation::InvalidUtf8);
        }
        self.place = Place::Delivered;
        Ok(Step::Found(Found::Held { text: self.kind.is_text() }))
    }

    #[inline(never)]
    fn inflate_held(&mut self, limits: &Limits, pool: &mut Pool) -> Result<Option<Found>, Violation> {
        let gathered = self.assembly.take().expect("some of it was kept, or it would be borrowed");
        let found = self.inflate(gathered.payload(), limits, pool);
        pool.put(gathered.into_bytes());
        found
    }

    /// All of a compressed message is here, unmasked: makes it the one held (RFC 7692 §6.2).
    #[cfg(feature = "deflate")]
    #[inline(never)]
    fn inflate(&mut self, payload: &[u8], limits: &Limits, pool: &mut Pool) -> Result<Option<Found>, Violation> {
        let bytes = if self.compression == Compression::Takeover {
            self.inflater.get_or_insert_default().message(payload, limits, pool)?
        } else {
            let mut inflater = pool.take_inflater();
            inflater.reset();
            let made = inflater.message(payload, limits, pool);
            pool.put_inflater(inflater);
            made?
        };
        // RFC 6455 §8.1, RFC 7692 §6.2: text is what comes out.
        let text = self.kind.is_text();
        let assembly = match Assembly::whole(bytes, text) {
            Ok(assembly) => assembly,
            Err(bytes) => {
                pool.put(bytes);
                return Err(Violation::InvalidUtf8);
            }
        };
        self.assembly = Some(assembly);
        self.place = Place::Delivered;
        Ok(Some(Found::Held { text }))
    }

    #[cfg(not(feature = "deflate"))]
    fn inflate(&mut self, _: &[u8], _: &Limits, _: &mut Pool) -> Result<Option<Found>, Violation> {
        unreachable!("no header may say that a message is compressed")
    }

    fn end_message(&mut self) {
        self.fragments = 0;
        self.place = Place::Rest;
    }
}

/// What a part of the walk came to.
#[must_use]
enum Step {
    /// Look again, from the new place.
    On,
    /// Something to surface.
    Found(Found),
    /// The input ends here.
    UsedUp,
}

/// Payload bytes that [`Place::Control`] still waits for.
fn control_left(bytes: &[u8]) -> usize {
    CONTROL_HEAD + usize::from(bytes[1]) - bytes.len()
}

fn control_head(bytes: &[u8]) -> (Opcode, MaskKey) {
    let opcode = Opcode::from_bits(bytes[0]).expect("written from an Opcode");
    (opcode, MaskKey::from_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]))
}
