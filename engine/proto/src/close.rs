//! Why a connection ends: close codes, the payload of a close frame, and the peer's faults.
//!
//! Owns the code numbers (RFC 6455 §7.4) and the table from fault to code. Promises that a [`CloseCode`] may stand in a
//! close frame, whoever made it, and that a payload written here has no byte that was not meant. Knows nothing of
//! headers, connections or deadlines.

use core::fmt;
use core::num::NonZeroU16;

/// The most payload bytes of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// The most bytes of a close reason: [`CONTROL_PAYLOAD_MAX`] less the two of the code (RFC 6455 §5.5.1).
pub const REASON_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// A close code that may be sent: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 §7.4; 1012-1014 from the IANA registry
/// of §11.7). 1004-1006 and 1015 only ever stand for something local, so no value of this type has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(NonZeroU16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: CloseCode = CloseCode::known(1000);
    /// 1001: the server goes down, or the page was left.
    pub const GOING_AWAY: CloseCode = CloseCode::known(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: CloseCode = CloseCode::known(1002);
    /// 1003: a kind of data that is not accepted here.
    pub const UNSUPPORTED: CloseCode = CloseCode::known(1003);
    /// 1007: the payload does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode::known(1007);
    /// 1008: against the policy of this endpoint.
    pub const POLICY: CloseCode = CloseCode::known(1008);
    /// 1009: a message too big to process.
    pub const TOO_BIG: CloseCode = CloseCode::known(1009);
    /// 1010: the client needed an extension that the server did not take.
    pub const MANDATORY_EXTENSION: CloseCode = CloseCode::known(1010);
    /// 1011: the server met something unexpected.
    pub const INTERNAL: CloseCode = CloseCode::known(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: CloseCode = CloseCode::known(1012);
    /// 1013: overloaded, try again later.
    pub const TRY_AGAIN: CloseCode = CloseCode::known(1013);
    /// 1014: a gateway got an invalid answer from behind.
    pub const BAD_GATEWAY: CloseCode = CloseCode::known(1014);

    /// The code, if it may stand in a close frame.
    pub const fn new(code: u16) -> Option<CloseCode> {
        match NonZeroU16::new(code) {
            Some(number) if CloseCode::is_valid_on_wire(code) => Some(CloseCode(number)),
            _ => None,
        }
    }

    /// Whether an endpoint may put `code` into a close frame (RFC 6455 §7.4.1, §7.4.2).
    pub const fn is_valid_on_wire(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The number on the wire.
    pub const fn as_u16(self) -> u16 {
        self.0.get()
    }

    const fn known(code: u16) -> CloseCode {
        CloseCode::new(code).expect("a code of RFC 6455 §7.4.1")
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.as_u16()
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    fn try_from(code: u16) -> Result<Self, InvalidCloseCode> {
        CloseCode::new(code).ok_or(InvalidCloseCode(code))
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number that may not stand in a close frame (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCloseCode(
    /// The number refused.
    pub u16,
);

impl fmt::Display for InvalidCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no close code to send: use 1000-1003, 1007-1014 or 3000-4999", self.0)
    }
}

impl core::error::Error for InvalidCloseCode {}

/// Writes the payload of a close frame into `out` and returns the part written (RFC 6455 §5.5.1): nothing without a
/// code, else the code in network order and the reason. A reason above [`REASON_MAX`] bytes is cut at the last
/// character that fits. Without a code the reason is left out: the format has no place for it.
pub fn write_payload<'a>(out: &'a mut [u8; CONTROL_PAYLOAD_MAX], code: Option<CloseCode>, reason: &str) -> &'a [u8] {
    let Some(code) = code else { return &[] };
    let reason = &reason.as_bytes()[..char_boundary_within(reason, REASON_MAX)];
    let len = 2 + reason.len();
    out[..2].copy_from_slice(&code.as_u16().to_be_bytes());
    out[2..len].copy_from_slice(reason);
    &out[..len]
}

/// The last character boundary of `text` at or before `len_max`. (`str::floor_char_boundary` is newer than the oldest
/// compiler we support.)
fn char_boundary_within(text: &str, len_max: usize) -> usize {
    let mut len = text.len().min(len_max);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    len
}

/// Reads the unmasked payload of a close frame (RFC 6455 §5.5.1): the code, if there is one, and the reason.
///
/// # Errors
/// [`Violation::CloseTruncated`] for one byte, [`Violation::CloseCode`] for a code that may not be sent,
/// [`Violation::InvalidUtf8`] for a reason that is not UTF-8, in this order.
pub fn read_payload(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(Violation::CloseTruncated),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let code = CloseCode::new(code).ok_or(Violation::CloseCode)?;
            let reason = core::str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
            Ok((Some(code), reason))
        }
    }
}

/// What the peer did wrong. It ends the connection: send a close frame with [`Violation::close_code`], then close
/// (RFC 6455 §7.1.7).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A reserved bit is set and no extension gave it a meaning (RFC 6455 §5.2).
    ReservedBits,
    /// An opcode of 3-7 or 11-15 (RFC 6455 §5.2).
    ReservedOpcode,
    /// A control frame without FIN (RFC 6455 §5.5).
    ControlFragmented,
    /// A control frame above 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A client sent a frame without a mask (RFC 6455 §5.1).
    Unmasked,
    /// A server sent a frame with a mask (RFC 6455 §5.1).
    Masked,
    /// A length in more bytes than it needs (RFC 6455 §5.2).
    LengthNotMinimal,
    /// A 64-bit length with its highest bit set (RFC 6455 §5.2).
    LengthOver63Bits,
    /// A continuation where no message is open (RFC 6455 §5.4).
    ContinuationWithoutStart,
    /// A new message before the fragmented one ended (RFC 6455 §5.4).
    MessageInterrupted,
    /// A close frame with half a code (RFC 6455 §5.5.1).
    CloseTruncated,
    /// A close frame with a code that may not be sent (RFC 6455 §7.4).
    CloseCode,
    /// Text, or a close reason, that is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A compressed message that is no DEFLATE stream as RFC 7692 §7.2.1 has it end.
    BrokenDeflate,
    /// A frame above [`Limits::frame_max_bytes`](crate::Limits::frame_max_bytes) (RFC 6455 §10.4).
    FrameTooBig,
    /// A message above [`Limits::message_max_bytes`](crate::Limits::message_max_bytes) (RFC 6455 §10.4).
    MessageTooBig,
    /// A message of more frames than [`Limits::fragments_max`](crate::Limits::fragments_max) (RFC 6455 §10.4).
    TooManyFragments,
    /// A compressed message that grew beyond
    /// [`Limits::inflate_ratio_max`](crate::Limits::inflate_ratio_max) (RFC 7692 §8).
    InflatedTooMuch,
}

impl Violation {
    /// The code that tells the peer (RFC 6455 §7.4.1): 1007 for what a payload says, 1009 for sizes, 1002 for the rest.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Violation::InvalidUtf8 | Violation::BrokenDeflate => CloseCode::INVALID_PAYLOAD,
            Violation::FrameTooBig
            | Violation::MessageTooBig
            | Violation::TooManyFragments
            | Violation::InflatedTooMuch => CloseCode::TOO_BIG,
            Violation::ReservedBits
            | Violation::ReservedOpcode
            | Violation::ControlFragmented
            | Violation::ControlTooLong
            | Violation::Unmasked
            | Violation::Masked
            | Violation::LengthNotMinimal
            | Violation::LengthOver63Bits
            | Violation::ContinuationWithoutStart
            | Violation::MessageInterrupted
            | Violation::CloseTruncated
            | Violation::CloseCode => CloseCode::PROTOCOL,
        }
    }

    /// What the peer did, in a few ASCII words below [`REASON_MAX`] bytes: fit for a close reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Violation::ReservedBits => "reserved bit set",
            Violation::ReservedOpcode => "reserved opcode",
            Violation::ControlFragmented => "fragmented control frame",
            Violation::ControlTooLong => "control frame over 125 bytes",
            Violation::Unmasked => "unmasked frame from a client",
            Violation::Masked => "masked frame from a server",
            Violation::LengthNotMinimal => "payload length not in its shortest form",
            Violation::LengthOver63Bits => "payload length over 63 bits",
            Violation::ContinuationWithoutStart => "continuation without a message",
            Violation::MessageInterrupted => "new message inside a fragmented one",
            Violation::CloseTruncated => "close frame with half a code",
            Violation::CloseCode => "close code that may not be sent",
            Violation::InvalidUtf8 => "text is not UTF-8",
            Violation::BrokenDeflate => "broken compressed data",
            Violation::FrameTooBig => "frame over the limit",
            Violation::MessageTooBig => "message over the limit",
            Violation::TooManyFragments => "too many fragments",
            Violation::InflatedTooMuch => "compressed too well",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    // RFC 6455 §7.4.1, §7.4.2: every number, the borders among them.
    #[test]
    fn codes_that_may_be_sent() {
        for code in 0..=u16::MAX {
            let valid = (1000..=1003).contains(&code) || (1007..=1014).contains(&code) || (3000..=4999).contains(&code);
            assert_eq!(CloseCode::is_valid_on_wire(code), valid, "{code}");
            assert_eq!(CloseCode::new(code).map(u16::from), valid.then_some(code));
            assert_eq!(CloseCode::try_from(code).is_ok(), valid);
        }
        assert_eq!(CloseCode::try_from(1005), Err(InvalidCloseCode(1005)));
        assert_eq!(size_of::<Option<CloseCode>>(), 2);
    }

    // RFC 6455 §5.5.1: empty, half a code, code alone, code and reason.
    #[test]
    fn payloads_read() {
        assert_eq!(read_payload(b""), Ok((None, "")));
        assert_eq!(read_payload(&[3]), Err(Violation::CloseTruncated));
        assert_eq!(read_payload(&[3, 0xE8]), Ok((Some(CloseCode::NORMAL), "")));
        assert_eq!(read_payload(b"\x03\xE8bye \xE2\x82\xAC"), Ok((Some(CloseCode::NORMAL), "bye €")));
        assert_eq!(read_payload(&[3, 0xED]), Err(Violation::CloseCode)); // 1005
        assert_eq!(read_payload(b"\x03\xE8\xE2\x82"), Err(Violation::InvalidUtf8));
        // Two faults: the code comes first on the wire.
        assert_eq!(read_payload(b"\x00\x00\xFF"), Err(Violation::CloseCode));
    }

    // RFC 6455 §5.5: 125 bytes and no more; a character is never cut in two, and nothing of the buffer leaks.
    #[test]
    fn reasons_are_cut_at_a_character() {
        for pad in 0..4 {
            for fill in ["x", "é", "€", "𝄞"] {
                for chars in 0..130 {
                    let mut reason = String::from(&"abc"[..pad.min(3)]);
                    (0..chars).for_each(|_| reason.push_str(fill));
                    let mut out = [0xAA; CONTROL_PAYLOAD_MAX];
                    let written = write_payload(&mut out, Some(CloseCode::GOING_AWAY), &reason);
                    let (code, read) = read_payload(written).expect("valid by construction");
                    assert_eq!(code, Some(CloseCode::GOING_AWAY));
                    assert!(reason.starts_with(read));
                    if reason.len() <= REASON_MAX {
                        assert_eq!(read, reason);
                    } else {
                        assert!(read.len() + fill.len() > REASON_MAX, "cut too early");
                    }
                }
            }
        }
        let mut out = [0xAA; CONTROL_PAYLOAD_MAX];
        assert_eq!(write_payload(&mut out, None, "no place for this"), b"");
    }

    #[test]
    fn every_violation_has_its_code_and_a_reason_that_fits() {
        let text = [Violation::InvalidUtf8, Violation::BrokenDeflate];
        let size =
            [Violation::FrameTooBig, Violation::MessageTooBig, Violation::TooManyFragments, Violation::InflatedTooMuch];
        let protocol = [
            Violation::ReservedBits,
            Violation::ReservedOpcode,
            Violation::ControlFragmented,
            Violation::ControlTooLong,
            Violation::Unmasked,
            Violation::Masked,
            Violation::LengthNotMinimal,
            Violation::LengthOver63Bits,
            Violation::ContinuationWithoutStart,
            Violation::MessageInterrupted,
            Violation::CloseTruncated,
            Violation::CloseCode,
        ];
        assert!(text.iter().all(|fault| fault.close_code().as_u16() == 1007));
        assert!(size.iter().all(|fault| fault.close_code().as_u16() == 1009));
        assert!(protocol.iter().all(|fault| fault.close_code().as_u16() == 1002));
        for fault in text.iter().chain(&size).chain(&protocol) {
            assert!(!fault.as_str().is_empty() && fault.as_str().len() <= REASON_MAX);
        }
        assert_eq!(size_of::<Violation>(), 1);
    }
}
