//! The frame header (RFC 6455 §5.2): read and checked, or written.
//!
//! Owns the layout of a header and every rule that a header alone can break. Promises to report a fault at the first
//! byte that shows it, so that the same bytes fail the same way however they are cut. Knows nothing of payloads or of
//! where the bytes are kept; what came before is told to it by [`Expect`].
//!
//! ```text
//! byte 0   FIN RSV1 RSV2 RSV3 opcode(4)     RSV1 marks a compressed message (RFC 7692 §6)
//! byte 1   MASK length(7)                   126: two more bytes of length, 127: eight more
//! then     [length] [masking key, 4 bytes]
//! ```

use crate::close::{CONTROL_PAYLOAD_MAX, Violation};
use crate::opcode::Opcode;
use crate::simd::MaskKey;

/// The longest header: two bytes, eight of length, four of masking key (RFC 6455 §5.2).
pub const HEAD_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The first frame of a compressed message (RFC 7692 §6).
pub(crate) const RSV1: u8 = 0x40;
const MASK: u8 = 0x80;
const LEN: u8 = 0x7F;
/// In the seven bits of length: two bytes of length follow.
const LEN_16: u8 = 126;
/// In the seven bits of length: eight bytes of length follow.
const LEN_64: u8 = 127;

/// Which end of the connection we are. It decides who masks: what a server receives is masked, what a client receives
/// is not (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(clippy::exhaustive_enums)] // a connection has two ends
pub enum Role {
    /// We dialled: frames from the peer must not be masked.
    Client = 0,
    /// We accepted: frames from the peer must be masked.
    Server = MASK, // the discriminant is the mask bit we expect
}

impl Role {
    #[inline]
    const fn mask_bit(self) -> u8 {
        self as u8
    }

    /// Bytes of masking key in a frame we receive: 4 or 0.
    #[inline]
    const fn key_len(self) -> usize {
        (self as u8 >> 5) as usize
    }
}

/// A header, read and found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Last frame of its message (RFC 6455 §5.4); always true for control frames.
    pub fin: bool,
    /// What the payload is.
    pub opcode: Opcode,
    /// The message that begins here is compressed (RFC 7692 §6): its opcode is text or binary.
    pub compressed: bool,
    /// Bytes of payload that follow the header.
    pub payload_len: u64,
    /// The key that unmasks the payload; [`MaskKey::NONE`] if the frame is not masked.
    pub key: MaskKey,
    /// Bytes of this header, 2-14.
    pub head_len: usize,
}

/// What a header may be at this place of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Our end, which decides whether a mask is required or forbidden (RFC 6455 §5.1).
    pub role: Role,
    /// A fragmented message is open: data frames must continue it (RFC 6455 §5.4).
    pub in_message: bool,
    /// permessage-deflate was negotiated: the first frame of a message may say that it is compressed (RFC 7692 §6).
    pub compression: bool,
    /// Whether the message, open or new, may have one more frame.
    pub fragment_allowed: bool,
    /// The most payload bytes a data frame may announce.
    pub payload_max: u64,
    /// The same for the first frame of a compressed message, which may be longer than it was.
    pub packed_max: u64,
    /// What a data frame above `payload_max` is called.
    pub too_big: Violation,
}

/// How far a header could be read.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // callers must handle both
pub enum Parsed {
    /// All of it.
    Head(Head),
    /// The bytes end inside the header. Nothing in them is wrong so far.
    Incomplete {
        /// Bytes from the start of the header that must be there before reading again can find more: above the number
        /// given, and never beyond the header's end.
        needed: usize,
    },
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// The rule that the header breaks, as soon as the bytes show it. Of two faults the one that shows earlier is
/// reported, so more bytes never change the answer.
pub fn parse(bytes: &[u8], expect: &Expect) -> Result<Parsed, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(Parsed::Incomplete { needed: 2 });
    };
    // RFC 6455 §5.2: reserved bits are zero unless an extension was negotiated that gives them a meaning.
    let compressed = first & RESERVED != 0;
    if compressed && !is_compression(first, expect) {
        return Err(Violation::ReservedBits);
    }
    let fin = first & FIN != 0;
    let opcode = Opcode::from_bits(first).ok_or(Violation::ReservedOpcode)?;
    if opcode.is_control() {
        // RFC 6455 §5.5: control frames are never fragmented.
        if !fin {
            return Err(Violation::ControlFragmented);
        }
    } else {
        // RFC 6455 §5.4: the fragments of one message are not interleaved with another.
        match (opcode == Opcode::Continuation, expect.in_message) {
            (true, false) => return Err(Violation::ContinuationWithoutStart),
            (false, true) => return Err(Violation::MessageInterrupted),
            (true, true) | (false, false) => {}
        }
        if !expect.fragment_allowed {
            return Err(Violation::TooManyFragments);
        }
    }

    let Some(&second) = bytes.get(1) else {
        return Ok(Parsed::Incomplete { needed: 2 });
    };
    // RFC 6455 §5.1: a client masks every frame, a server none.
    if second & MASK != expect.role.mask_bit() {
        return Err(match expect.role {
            Role::Server => Violation::Unmasked,
            Role::Client => Violation::Masked,
        });
    }
    let short = second & LEN;
    if opcode.is_control() {
        // RFC 6455 §5.5: at most 125 bytes; §5.5.1: a close payload is empty or starts with two bytes of code.
        if usize::from(short) > CONTROL_PAYLOAD_MAX {
            return Err(Violation::ControlTooLong);
        }
        if opcode == Opcode::Close && short == 1 {
            return Err(Violation::CloseTruncated);
        }
    }
    let (payload_len, len_end) = match short {
        LEN_16 => (extended_len(&bytes[2..], 2, u64::from(LEN_16))?, 4),
        LEN_64 => (extended_len(&bytes[2..], 8, u64::from(u16::MAX) + 1)?, 10),
        _ => (u64::from(short), 2),
    };
    if !opcode.is_control() && payload_len > expect.payload_max && !(compressed && payload_len <= expect.packed_max) {
        return Err(expect.too_big);
    }

    let head_len = len_end + expect.role.key_len();
    if bytes.len() < head_len {
        return Ok(Parsed::Incomplete { needed: head_len });
    }
    let key = match bytes[len_end..head_len].first_chunk() {
        Some(key) => MaskKey::from_bytes(*key),
        None => MaskKey::NONE,
    };
    Ok(Parsed::Head(Head { fin, opcode, compressed, payload_len, key, head_len }))
}

/// RFC 7692 §6.1: RSV1, alone, on the first frame of a message, never on a fragment or a control frame.
#[cold]
fn is_compression(first: u8, expect: &Expect) -> bool {
    let begins = matches!(Opcode::from_bits(first), Some(Opcode::Text | Opcode::Binary));
    expect.compression && first & RESERVED == RSV1 && begins
}

/// The least value that a length of `width` bytes can still have, of which `bytes` holds the first ones.
fn extended_len(bytes: &[u8], width: usize, shortest: u64) -> Result<u64, Violation> {
    let mut least = 0;
    let mut most = 0;
    for at in 0..width {
        let (low, high) = bytes.get(at).map_or((0, 0xFF), |&byte| (byte, byte));
        least = least << 8 | u64::from(low);
        most = most << 8 | u64::from(high);
    }
    // RFC 6455 §5.2: the highest bit of a 64-bit length is zero.
    if least >> 63 != 0 {
        return Err(Violation::LengthOver63Bits);
    }
    // RFC 6455 §5.2: the shortest form that holds the length is the only one.
    if most < shortest {
        return Err(Violation::LengthNotMinimal);
    }
    Ok(least)
}

/// A data frame that is a whole message and lies whole in the bytes: the case everything is tuned for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) text: bool,
    pub(crate) key: MaskKey,
    pub(crate) head_len: usize,
    pub(crate) payload_len: usize,
}

/// The message at the start of `bytes`, if it is one frame of at most 65,535 bytes, valid where no message is open,
/// and all here. `None` says nothing about why: ask [`parse`].
///
/// Two bytes decide almost everything, without a branch per field:
///
/// ```text
/// first - 0x81     0 text, 1 binary, anything else is not for us (no FIN, a reserved bit, another opcode)
/// second ^ mask    the length, or 128 and more if the mask bit is the wrong one
/// ```
///
/// Eight bytes hold all of a header with a mask and 16 bits of length, and are read at once.
#[inline(always)] // its caller is one hot loop, and the fields are to stay in registers
pub(crate) fn whole(bytes: &[u8], role: Role, payload_max: u64) -> Option<Whole> {
    let word = match bytes.first_chunk() {
        Some(&chunk) => u64::from_le_bytes(chunk),
        None => word_of_few(bytes)?,
    };
    let kind = (word as u8).wrapping_sub(FIN | Opcode::Text.bits());
    let short = (word >> 8) as u8 ^ role.mask_bit();
    if kind > 1 || short > LEN_16 {
        return None;
    }
    let (len_end, payload_len, key) = if short < LEN_16 {
        (2, usize::from(short), word >> 16)
    } else {
        let len = ((word >> 16) as u16).swap_bytes();
        if len < u16::from(LEN_16) {
            return None;
        }
        (4, usize::from(len), word >> 32)
    };
    let head_len = len_end + role.key_len();
    if head_len + payload_len > bytes.len() || payload_len as u64 > payload_max {
        return None;
    }
    let key = match role {
        Role::Server => MaskKey::from_bytes((key as u32).to_le_bytes()),
        Role::Client => MaskKey::NONE,
    };
    Some(Whole { text: kind == 0, key, head_len, payload_len })
}

/// Two to seven bytes, and zeros behind them, of which no header takes its key: it would not be all here.
#[cold]
fn word_of_few(bytes: &[u8]) -> Option<u64> {
    let mut chunk = [0; 8];
    chunk.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (bytes.len() >= 2).then_some(u64::from_le_bytes(chunk))
}

/// Bytes of the header in front of `payload_len` bytes, 2-14 (RFC 6455 §5.2).
#[inline]
pub const fn head_len(payload_len: usize, masked: bool) -> usize {
    let key_len = if masked { 4 } else { 0 };
    if payload_len < LEN_16 as usize {
        2 + key_len
    } else if payload_len <= u16::MAX as usize {
        4 + key_len
    } else {
        10 + key_len
    }
}

/// The header of an unmasked frame with at most 125 bytes of payload.
#[inline]
pub(crate) const fn short_head(fin: bool, opcode: Opcode, payload_len: u8) -> [u8; 2] {
    debug_assert!(payload_len < LEN_16 && (fin || !opcode.is_control()));
    [if fin { FIN } else { 0 } | opcode.bits(), payload_len]
}

/// Writes a header to the start of `out` and returns its length. Control frames above 125 bytes or without FIN are
/// the caller's bug.
#[inline]
pub(crate) fn write(out: &mut [u8], fin: bool, opcode: Opcode, payload_len: usize, mask: Option<MaskKey>) -> usize {
    debug_assert!(
        !opcode.is_control() || (fin && payload_len <= CONTROL_PAYLOAD_MAX),
        "RFC 6455 §5.5: a control frame of {payload_len} bytes, fin {fin}"
    );
    let mask_bit = if mask.is_some() { MASK } else { 0 };
    let fin_bit = if fin { FIN } else { 0 };
    let head = &mut out[..head_len(payload_len, mask.is_some())];
    head[0] = fin_bit | opcode.bits();
    let len_end = if payload_len < LEN_16 as usize {
        head[1] = mask_bit | payload_len as u8;
        2
    } else if payload_len <= u16::MAX as usize {
        head[1] = mask_bit | LEN_16;
        head[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
        4
    } else {
        head[1] = mask_bit | LEN_64;
        head[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    };
    if let Some(key) = mask {
        head[len_end..].copy_from_slice(&key.to_bytes());
    }
    head.len()
}

#[cfg(test)]
mod tests;
