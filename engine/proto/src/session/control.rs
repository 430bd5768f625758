//! A control frame that its input cut (RFC 6455 §5.5).
//!
//! Owns its bytes, in memory of the pool, until they are given back. Promises to take no byte beyond the frame's payload.
//! Knows neither what is allowed in the payload nor whether anybody wants it.

use alloc::vec::Vec;

use crate::close::CONTROL_PAYLOAD_MAX;
use crate::frame::Head;
use crate::opcode::Opcode;
use crate::pool::Pool;
use crate::simd::{self, MaskKey};

/// In front of the payload: one byte of opcode, one of length, four of masking key.
const HEAD: usize = 6;

/// The head, then the payload as far as it has come.
#[derive(Debug)]
pub(super) struct CutControl(Vec<u8>);

impl CutControl {
    /// Takes all of `rest`, which the payload is longer than.
    pub(super) fn begin(head: &Head, rest: &[u8], pool: &mut Pool) -> CutControl {
        let room = HEAD + CONTROL_PAYLOAD_MAX;
        let mut bytes = pool.take(room, room);
        bytes.extend_from_slice(&[head.opcode.bits(), head.payload_len as u8]); // at most 125: checked in `frame::parse`
        bytes.extend_from_slice(&head.key.to_bytes());
        bytes.extend_from_slice(rest);
        CutControl(bytes)
    }

    /// Takes what is here of the rest, and returns its length.
    pub(super) fn take_in(&mut self, rest: &[u8]) -> usize {
        let here = self.left().min(rest.len());
        self.0.extend_from_slice(&rest[..here]);
        here
    }

    /// Payload bytes that are still to come.
    pub(super) fn left(&self) -> usize {
        HEAD + usize::from(self.0[1]) - self.0.len()
    }

    /// Once it is complete, and only once.
    pub(super) fn unmask(&mut self) {
        let (head, payload) = self.0.split_at_mut(HEAD);
        simd::mask(payload, MaskKey::from_bytes([head[2], head[3], head[4], head[5]]));
    }

    pub(super) fn opcode(&self) -> Opcode {
        Opcode::from_bits(self.0[0]).expect("written from an Opcode")
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.0[HEAD..]
    }

    /// Bytes of its memory.
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The memory, to be given back.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
