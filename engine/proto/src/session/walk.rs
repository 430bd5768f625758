//! From one place in the stream to the next: where each message and control frame lies.
//!
//! Owns one call's position in its input. Promises to look at every byte once, to keep what straddles two inputs in pooled
//! memory that follows the bytes received, never the length announced, and to report a violation at the first byte that
//! shows it. (A long message is kept too, though all of it is here: `OWN_MIN`.) Lends nothing: it finds numbers
//! ([`Found`]), and its caller borrows by them.
//!
//! ```text
//!            header ends in a later input            payload ends in a later input
//!  Rest ───────────────────────────────> Head ──> Payload ──────────────┐
//!   ^ ^                                   │ control, cut                │ last frame, some of it kept (2)
//!   │ └── all of the message is here (1) ─┤                             v
//!   │                                     └──> Control            Delivered
//!   └── the next call gives the memory back ──────┴─────────────────────┘
//!  Between: like Rest, inside a fragmented message
//!  (1) from OWN_MIN on, and if it was compressed: Delivered
//!  (2) and if it was compressed: Inflating, until it is whole
//! ```

use core::ops::Range;

use super::control::CutControl;
use super::pace::Pace;
use super::{CutHead, Kind, Place, Session};
use crate::close::{self, Violation};
use crate::closing::State;
use crate::frame::{self, Expect, HEAD_MAX, Head, Parsed};
use crate::limits::Limits;
use crate::opcode::Opcode;
use crate::pool::Pool;
use crate::simd::{self, Assembly, HEADROOM, MaskKey};

/// A whole message from this length on that ends its input is unmasked into memory of its own, not where it lies: that costs
/// the same, and sending it on takes no copy then. (With others behind it, theirs gather in one send.) What is not masked
/// stays where it is.
const OWN_MIN: usize = 64 << 10;

/// What is to be surfaced, as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole message at this place of the input, still masked.
    Borrowed { text: bool, place: Range<usize>, key: MaskKey },
    /// A whole message in the session's assembly: unmasked, inflated and checked.
    Held { text: bool },
    /// A message has ended of which nothing was kept.
    Discarded,
    /// A control frame whose payload is at this place of the input: unmasked and, if a close, checked.
    Control { opcode: Opcode, place: Range<usize> },
    /// The same in [`Place::Control`].
    HeldControl,
}

/// What of an input is to be walked over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where the walk is.
    pub(super) at: usize,
    /// No frame is begun here or behind.
    pub(super) stop: usize,
}

/// Walks `input` from `span.at` to the end of the next thing to surface. `None`: the input is used up and `span.at` its end, as after a
/// fault; or a frame would begin at `span.stop` or behind, and `span.at` is its first byte.
#[inline(always)] // it has one caller
pub(super) fn find(
    session: &mut Session,
    input: &mut [u8],
    span: &mut Span,
    pace: &mut Pace,
    limits: &Limits,
    pool: &mut Pool,
) -> Result<Option<Found>, Violation> {
    let end = input.len();
    let found = if session.state.reads() {
        let Span { at, stop } = *span;
        let mut walk = Walk { session: &mut *session, input, at, stop, pace, limits, pool: &mut *pool };
        let found = walk.run();
        span.at = walk.at;
        found
    } else {
        session.recycle(pool);
        span.at = end;
        Ok(None)
    };
    if found.is_err() {
        span.at = end;
        session.fail(pool);
    }
    session.debug_assert_sound();
    found
}

/// One call's walk.
struct Walk<'w> {
    session: &'w mut Session,
    input: &'w mut [u8],
    at: usize,
    stop: usize,
    pace: &'w mut Pace,
    limits: &'w Limits,
    pool: &'w mut Pool,
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
    /// No frame is begun here, or inflating the message before it takes more than a step.
    Stopped,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<Option<Found>, Violation> {
        self.session.give_back(self.pool);
        loop {
            let step = match &mut self.session.place {
                // `Delivered` is `Rest` by now: what was handed out is given back.
                Place::Rest | Place::Between | Place::Delivered => self.head()?,
                &mut Place::Head(cut) => self.cut_head(cut)?,
                &mut Place::Payload { left, key, fin } => self.payload(left, key, fin)?,
                Place::Inflating if self.session.state != State::Open => {
                    self.session.drop_under_way(self.pool);
                    self.session.place = Place::Rest;
                    Step::On
                }
                Place::Inflating => match self.session.inflate_on(self.pace, self.limits, self.pool)? {
                    true => self.deliver(),
                    false => Step::Stopped,
                },
                Place::Control(cut) => {
                    self.at += cut.take_in(&self.input[self.at..]);
                    if cut.left() > 0 {
                        return Ok(None); // all of the input was taken in
                    }
                    cut.unmask();
                    let opcode = cut.opcode();
                    check(opcode, cut.payload())?;
                    if self.surfaces(opcode) {
                        return Ok(Some(Found::HeldControl));
                    }
                    self.session.give_back(self.pool);
                    Step::On
                }
            };
            match step {
                Step::On => {}
                Step::Found(found) => return Ok(Some(found)),
                Step::UsedUp => {
                    self.at = self.input.len();
                    return Ok(None);
                }
                Step::Stopped => return Ok(None),
            }
        }
    }

    /// What the next header may be.
    fn expect(&self) -> Expect {
        let session = &*self.session;
        // After our close frame nothing of a message is kept any more, so only the rules of the format hold.
        let (limits, fragments, sum) = match session.state {
            State::CloseSent => (&Limits::NONE, session.fragments.min(1), 0),
            _ => (self.limits, session.fragments, session.assembly.as_ref().map_or(0, Assembly::len) as u64),
        };
        session.expect(limits, fragments, sum, session.kind.is_compressed())
    }

    fn head(&mut self) -> Result<Step, Violation> {
        if self.at >= self.stop {
            return Ok(Step::Stopped);
        }
        let rest = &self.input[self.at..];
        match frame::parse(rest, &self.expect())? {
            Parsed::Head(head) => {
                self.at += head.head_len;
                self.enter(&head)
            }
            Parsed::Incomplete { .. } => {
                // Shorter than its header, so at most 13 bytes.
                let mut bytes = [0; HEAD_MAX];
                bytes[..rest.len()].copy_from_slice(rest);
                self.session.place = Place::Head(CutHead { bytes, len: rest.len() as u8 });
                Ok(Step::UsedUp)
            }
        }
    }

    /// Takes no byte beyond the header: what follows is looked at in the input.
    fn cut_head(&mut self, mut cut: CutHead) -> Result<Step, Violation> {
        let expect = self.expect();
        loop {
            let from = usize::from(cut.len);
            match frame::parse(&cut.bytes[..from], &expect)? {
                Parsed::Head(head) => {
                    self.session.place = self.session.between();
                    return self.enter(&head);
                }
                Parsed::Incomplete { needed } => {
                    let rest = &self.input[self.at..];
                    if rest.is_empty() {
                        self.session.place = Place::Head(cut);
                        return Ok(Step::UsedUp);
                    }
                    let here = rest.len().min(needed - from);
                    cut.bytes[from..from + here].copy_from_slice(&rest[..here]);
                    cut.len += here as u8;
                    self.at += here;
                }
            }
        }
    }

    /// The header is read, and what follows is its payload.
    fn enter(&mut self, head: &Head) -> Result<Step, Violation> {
        let (opcode, key) = (head.opcode, head.key);
        if !opcode.is_control() {
            if opcode != Opcode::Continuation {
                self.session.kind = Kind::new(opcode == Opcode::Text, head.compressed);
            } else {
                self.pace.on_frame();
            }
            self.session.fragments = self.session.fragments.saturating_add(1);
            self.session.place = Place::Payload { left: head.payload_len, key, fin: head.fin };
            return Ok(Step::On);
        }
        self.pace.on_frame();
        let len = head.payload_len as usize; // at most 125: RFC 6455 §5.5, checked in `parse`
        let rest = &mut self.input[self.at..];
        let Some(payload) = rest.get_mut(..len) else {
            self.session.place = Place::Control(CutControl::begin(head, rest, self.pool));
            return Ok(Step::UsedUp);
        };
        simd::mask(payload, key);
        check(opcode, payload)?;
        let from = self.at;
        self.at += len;
        Ok(match self.surfaces(opcode) {
            true => Step::Found(Found::Control { opcode, place: from..self.at }),
            false => Step::On,
        })
    }

    /// A control frame is complete and valid: whether it is surfaced.
    fn surfaces(&mut self, opcode: Opcode) -> bool {
        if opcode != Opcode::Close {
            return self.session.state == State::Open;
        }
        self.session.on_close_received(self.pool);
        true
    }

    fn payload(&mut self, left: u64, key: MaskKey, fin: bool) -> Result<Step, Violation> {
        let from = self.at;
        let rest = self.input.len() - from;
        let here = usize::try_from(left).map_or(rest, |left| left.min(rest));
        self.at += here;
        let left = left - here as u64;
        // After our close frame payloads are passed over.
        if self.session.state == State::Open {
            // All of the message is here, or was empty so far: no need to keep it.
            if fin && left == 0 && self.session.assembly.is_none() && !self.is_worth_owning(here, key) {
                return self.borrow(from..self.at, key);
            }
            self.keep(from..self.at, key, left)?;
        }
        if left > 0 {
            self.session.place = Place::Payload { left, key: key.advance(here), fin };
            return Ok(Step::UsedUp);
        }
        if !fin {
            self.session.place = Place::Between;
            return Ok(Step::On);
        }
        self.end_message();
        match self.session.state {
            State::Open => self.end_kept(),
            _ => {
                self.pace.on_frame(); // nobody counts it as a message
                Ok(Step::Found(Found::Discarded))
            }
        }
    }

    /// See [`OWN_MIN`].
    fn is_worth_owning(&self, len: usize, key: MaskKey) -> bool {
        len >= OWN_MIN && self.at == self.input.len() && !key.is_none() && !self.session.kind.is_compressed()
    }

    /// The message lies whole at `place`: it is found there or, if compressed, inflated from there.
    fn borrow(&mut self, place: Range<usize>, key: MaskKey) -> Result<Step, Violation> {
        self.end_message();
        let kind = self.session.kind;
        if !kind.is_compressed() {
            return Ok(Step::Found(Found::Borrowed { text: kind.is_text(), place, key }));
        }
        let payload = &mut self.input[place];
        simd::mask(payload, key);
        match self.session.inflate(payload, self.pace, self.limits, self.pool)? {
            true => Ok(self.deliver()),
            false => Ok(Step::Stopped),
        }
    }

    /// Keeps the piece of the open message at `place`; `left` bytes of its frame are still to come.
    fn keep(&mut self, place: Range<usize>, key: MaskKey, left: u64) -> Result<(), Violation> {
        let (piece, pool) = (&self.input[place], &mut *self.pool);
        if piece.is_empty() {
            return Ok(());
        }
        let here = piece.len();
        let assembly = self.session.assembly.get_or_insert_with(|| {
            // Only what is here is asked for. What is announced is a wish, and limited: see `Expect`.
            let announced = usize::try_from(left).unwrap_or(usize::MAX);
            let least = HEADROOM + here;
            let wish = least.saturating_add(announced).min(self.limits.capacity_max());
            Assembly::new(pool.take(least, wish.max(least)))
        });
        // A buffer that has to grow moves into a kept one if there is one: no allocation in a steady state.
        if let Some((least, wish)) = assembly.growth(here, left)
            && let Some(larger) = pool.take_kept(least, wish)
        {
            pool.put(assembly.move_to(larger));
        }
        // RFC 6455 §8.1: text fails at its first impossible byte.
        let (text, before) = (self.session.kind == Kind::Text, assembly.capacity());
        let appended = assembly.append(piece, key, text, left);
        if assembly.capacity() != before {
            pool.note_change(before, assembly.capacity());
        }
        appended.map_err(|_| Violation::InvalidUtf8)
    }

    /// The kept message has ended: checks it, or inflates it.
    fn end_kept(&mut self) -> Result<Step, Violation> {
        let kind = self.session.kind;
        if kind.is_compressed() {
            if !self.session.inflate_held(self.pace, self.limits, self.pool)? {
                return Ok(Step::Stopped);
            }
        } else if kind.is_text() && self.session.assembly.as_ref().is_some_and(|assembly| assembly.text().is_none()) {
            // RFC 6455 §5.6: a message, not each of its fragments, is whole UTF-8.
            return Err(Violation::InvalidUtf8);
        }
        Ok(self.deliver())
    }

    /// The session holds a whole message.
    fn deliver(&mut self) -> Step {
        self.session.place = Place::Delivered;
        Step::Found(Found::Held { text: self.session.kind.is_text() })
    }

    fn end_message(&mut self) {
        self.session.fragments = 0;
        self.session.place = Place::Rest;
    }
}

/// Whether a complete control frame says what it may (RFC 6455 §5.5.1): pings and pongs say anything.
fn check(opcode: Opcode, payload: &[u8]) -> Result<(), Violation> {
    if opcode == Opcode::Close {
        close::read_payload(payload)?;
    }
    Ok(())
}
