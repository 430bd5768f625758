//! What lies behind a message in the same input.
//!
//! Owns nothing and changes nothing. Promises to be exact in all that the next [`FRAMES_MAX`] headers show: control frames and fragments
//! are passed over, a close frame or a fault ends what can be delivered. Does not look at payloads: a text that is not UTF-8
//! counts as a message.

use super::Session;
use crate::frame::{self, Parsed};
use crate::limits::Limits;
use crate::opcode::Opcode;

/// Headers that are looked at. A message that is in more frames, with those between them, is not seen coming: the one before it is called
/// the last a little early, rather than that a peer has us look far ahead.
const FRAMES_MAX: usize = 256;

/// Whether a further whole message lies in `rest`, the bytes behind one.
#[inline]
pub(super) fn has_message(session: &Session, rest: &[u8], limits: &Limits) -> bool {
    !rest.is_empty() && (frame::whole(rest, session.role, limits.whole_max()).is_some() || scan(session, rest, limits))
}

/// The same, out of line.
#[inline(never)]
pub(super) fn brings_message(session: &Session, rest: &[u8], limits: &Limits) -> bool {
    has_message(session, rest, limits)
}

/// The same, header by header.
///
/// It looks as far as the end of the next message, which is where the next call of this begins, so an input is looked at
/// once in total, whatever is in it.
#[inline(never)]
fn scan(session: &Session, mut rest: &[u8], limits: &Limits) -> bool {
    let mut sum = 0;
    let mut fragments = 0;
    let mut compressed = false;
    for _ in 0..FRAMES_MAX {
        let Ok(Parsed::Head(head)) = frame::parse(rest, &session.expect(limits, fragments, sum, compressed)) else {
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
    false
}
