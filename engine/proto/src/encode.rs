//! Messages out: frames written into memory the caller owns.
//!
//! Owns nothing. Promises that a frame is written whole or not at all, and that no byte beyond it is touched. Makes no
//! masking keys: a client passes one from a CSPRNG with every frame (RFC 6455 §5.3, §10.3), a server passes `None`
//! (§5.1). Fragments are frames with `fin` false, followed by [`Opcode::Continuation`] frames (§5.4).

use alloc::vec::Vec;

use crate::close::{self, CONTROL_PAYLOAD_MAX, CloseCode};
use crate::frame;
use crate::opcode::Opcode;
use crate::simd::{self, MaskKey};

pub use crate::frame::{HEAD_MAX, head_len};

/// Bytes of a whole frame with `payload_len` bytes of payload.
///
/// # Panics
/// If the sum overflows, which takes a payload no slice can have.
#[inline]
pub const fn frame_len(payload_len: usize, masked: bool) -> usize {
    head_len(payload_len, masked) + payload_len
}

/// Writes a header right in front of the payload that starts at `buf[payload_at]`, and returns the index where the
/// frame starts. The payload is not touched: with a key, the caller masks it too ([`simd::mask`]), before or after.
///
/// # Panics
/// If fewer than [`head_len`] bytes lie in front of the payload ([`HEAD_MAX`] are always enough), or the payload does
/// not lie in `buf`.
#[inline]
pub fn write_head(
    buf: &mut [u8],
    payload_at: usize,
    fin: bool,
    opcode: Opcode,
    payload_len: usize,
    mask: Option<MaskKey>,
) -> usize {
    let head_len = head_len(payload_len, mask.is_some());
    assert!(
        payload_at >= head_len && payload_at <= buf.len() && payload_len <= buf.len() - payload_at,
        "no room for a header of {head_len} before {payload_len} bytes at {payload_at} of {}",
        buf.len()
    );
    let start = payload_at - head_len;
    frame::write(&mut buf[start..payload_at], fin, opcode, payload_len, mask);
    start
}

/// Writes a header alone to the start of `head`, for a payload that lies elsewhere, and returns its length. With a key, the
/// caller masks the payload ([`simd::mask`]).
#[inline]
pub fn head(head: &mut [u8; HEAD_MAX], fin: bool, opcode: Opcode, payload_len: usize, mask: Option<MaskKey>) -> usize {
    frame::write(head, fin, opcode, payload_len, mask)
}

/// Writes one frame to the start of `out`: header, then the payload, masked with the key if there is one. Returns its
/// length, or `None` if `out` is shorter; then nothing is written. Does not allocate.
#[inline(always)] // beside the other places that encode, the compiler would call it where a reply is written
pub fn frame(out: &mut [u8], fin: bool, opcode: Opcode, payload: &[u8], mask: Option<MaskKey>) -> Option<usize> {
    if payload.len() <= CONTROL_PAYLOAD_MAX && mask.is_none() {
        // The frame a server sends most: two bytes of header, stored as one.
        let out = out.get_mut(..2 + payload.len())?;
        let (head, body) = out.split_first_chunk_mut()?;
        *head = frame::short_head(fin, opcode, payload.len() as u8);
        copy(payload, body);
        return Some(2 + payload.len());
    }
    let len = frame_len(payload.len(), mask.is_some());
    let out = out.get_mut(..len)?;
    let head_len = frame::write(out, fin, opcode, payload.len(), mask);
    match mask {
        None => simd::copy(payload, &mut out[head_len..]),
        Some(key) => simd::mask_copy(payload, &mut out[head_len..], key),
    }
    Some(len)
}

/// As [`frame()`], for a whole message whose payload is compressed: with RSV1 (RFC 7692 §6.1). `opcode` is text or binary.
#[inline]
pub fn compressed_frame(out: &mut [u8], opcode: Opcode, payload: &[u8], mask: Option<MaskKey>) -> Option<usize> {
    let len = frame(out, true, opcode, payload, mask)?;
    mark_compressed(out, opcode);
    Some(len)
}

/// Says of the frame at the start of `bytes` that its message is compressed (RFC 7692 §6.1): it is the first of a text or
/// binary message. The mask does not cover the header, so it does not matter which comes first.
#[inline]
pub fn mark_compressed(bytes: &mut [u8], opcode: Opcode) {
    debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary), "RFC 7692 §6.1: RSV1 on {opcode:?}");
    bytes[0] |= frame::RSV1;
}

/// Copies, without a call for the shortest: two arrays, one from each end, meet or overlap in the middle, so one of
/// three sizes serves every length. (Above 64 bytes `memcpy` was faster: 4.9 against 7.5 ns at 125.)
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        8..=15 => copy_ends::<8>(from, to),
        16..=31 => copy_ends::<16>(from, to),
        32..=63 => copy_ends::<32>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies `N` to `2 * N` bytes.
#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    debug_assert!(from.len() == to.len() && (N..=2 * N).contains(&from.len()));
    let (Some(head), Some(tail)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *head;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *tail;
    }
}

/// Appends one frame to `out`, growing it as needed. Otherwise like [`frame()`].
pub fn append_frame(out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8], mask: Option<MaskKey>) {
    let mut head = [0; HEAD_MAX];
    let head_len = frame::write(&mut head, fin, opcode, payload.len(), mask);
    out.reserve(head_len + payload.len());
    out.extend_from_slice(&head[..head_len]);
    simd::mask_append(payload, out, mask.unwrap_or(MaskKey::NONE));
}

/// Writes a close frame to the start of `out` (RFC 6455 §5.5.1); the payload is that of
/// [`close::write_payload`]: without a code it is empty, and a long reason is cut at a character. Returns the frame's
/// length, at most 131, or `None` if `out` is shorter.
pub fn close_frame(out: &mut [u8], code: Option<CloseCode>, reason: &str, mask: Option<MaskKey>) -> Option<usize> {
    let mut payload = [0; CONTROL_PAYLOAD_MAX];
    let payload = close::write_payload(&mut payload, code, reason);
    frame(out, true, Opcode::Close, payload, mask)
}

#[cfg(test)]
mod tests;
