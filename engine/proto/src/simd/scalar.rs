//! The scalar twin: masking as RFC 6455 §5.3 writes it, one byte at a time.
//!
//! Owns: the definition that every kernel is tested, fuzzed and measured against. Promises: to be obvious. Refuses to
//! know: speed.

use super::key::MaskKey;

/// XORs byte i with byte i modulo 4 of the key, in place; says whether a result has its high bit set.
pub fn mask(bytes: &mut [u8], key: MaskKey) -> bool {
    let mut high = false;
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key.to_bytes()[i % 4];
        high |= *byte >= 0x80;
    }
    high
}
