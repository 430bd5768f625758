//! The two keys of a handshake: the client's nonce checked, the server's answer computed.
//!
//! Promises: constant work, no allocation. Refuses to know: where a key came from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::block_api::compress;

/// The value of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: base64 of SHA-1 of the key and the GUID (RFC 6455 §4.2.2).
///
/// The key is hashed as the text it is; whether it is valid base64 is for [`accept`](super::accept) to judge.
#[must_use]
pub fn accept_key(key: &[u8; 24]) -> [u8; 28] {
    // The message is always 24 + 36 bytes, so its padding (FIPS 180-4 §5.1.1) is constant and both blocks are laid out here:
    // message, one bit, zeros, and the length in bits as the last 8 bytes. A buffering hasher takes twice as long.
    const PADDED: [[u8; 64]; 2] = {
        let mut blocks = [[0; 64]; 2];
        let (_, behind_key) = blocks[0].split_at_mut(24);
        // RFC 6455 §1.3: what the server appends to the key to prove that it speaks WebSocket.
        behind_key.split_at_mut(36).0.copy_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        blocks[0][60] = 0x80;
        blocks[1].split_at_mut(56).1.copy_from_slice(&u64::to_be_bytes(60 * 8));
        blocks
    };
    let mut blocks = PADDED;
    blocks[0][..24].copy_from_slice(key);
    // FIPS 180-4 §5.3.1: the initial hash value.
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    compress(&mut state, &blocks);

    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    assert_eq!(written, Ok(28), "20 bytes are 28 characters of base64");
    accept
}

/// `value` as a key, if it is the base64 of exactly 16 bytes (RFC 6455 §4.2.1).
///
/// Only the canonical text passes: padding present and its unused bits zero (RFC 4648 §3.5 lets a decoder insist). A client
/// that encodes 16 bytes with any real encoder writes this form; another spelling of the same bytes is no such encoding.
pub(super) fn parse_key(value: &[u8]) -> Option<&[u8; 24]> {
    let key: &[u8; 24] = value.try_into().ok()?;
    let [characters @ .., last, b'=', b'='] = key else {
        return None;
    };
    let is_base64 = characters.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    // The last character has two bits of the nonce and four unused: 0, 16, 32 or 48.
    (is_base64 && matches!(last, b'A' | b'Q' | b'g' | b'w')).then_some(key)
}
