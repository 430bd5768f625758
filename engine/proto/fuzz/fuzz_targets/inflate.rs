//! Inflating (RFC 7692 §6.2): never a byte beyond the limit, the same whatever the pieces, and what another inflater makes of the same
//! bytes.
//!
//! Exception: a final block ends the other's stream, and for us begins another (RFC 7692 §7.2.3.4), so only what comes before is compared.
#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use wsring_proto::deflate::{Agreed, Inflater};
use wsring_proto::{Event, HEADROOM, Limits, MaskKey, Opcode, Pool, Role, Session, Violation, encode};

const KEY: MaskKey = MaskKey::from_bytes([0x5a, 0, 0xff, 1]);

/// What the other makes of a message: its bytes up to `most`, and whether it is content with them.
fn other(payload: &[u8], most: usize) -> (Vec<u8>, bool) {
    let mut stream = Decompress::new(false);
    let input = [payload, b"\x00\x00\xff\xff"].concat();
    let mut out = Vec::with_capacity(most + 1);
    loop {
        let at = stream.total_in() as usize;
        let before = out.len();
        match stream.decompress_vec(&input[at..], &mut out, FlushDecompress::Sync) {
            Err(_) => return (out, false),
            Ok(Status::StreamEnd) => return (out, true),
            Ok(_) if out.len() == before || out.len() > most => {
                return (out, stream.total_in() as usize == input.len());
            }
            Ok(_) => {}
        }
    }
}

/// The message of a stream of frames, fed in pieces of `piece` bytes.
fn fed(frames: &[u8], piece: usize, limits: &Limits) -> Result<Option<Vec<u8>>, Violation> {
    let agreed = Agreed {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_window_bits: 15,
        client_window_bits: 15,
    };
    let (mut session, mut pool, mut message) = (Session::with_deflate(Role::Server, &agreed), Pool::new(1 << 20), None);
    for chunk in frames.chunks(piece) {
        let mut bytes = chunk.to_vec();
        let mut input = session.input(&mut bytes, limits);
        while let Some(event) = input.next(&mut pool)? {
            let Event::Message { message: came, .. } = event else { panic!("{event:?} of a binary message") };
            assert!(message.replace(came.as_bytes().to_vec()).is_none(), "one message is two");
        }
    }
    Ok(message)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[low, high, piece, fragment], payload)) = data.split_first_chunk() else { return };
    let message_max_bytes = u64::from(u16::from_le_bytes([low, high]));
    let limits = Limits::default().message_max_bytes(message_max_bytes);
    let mut pool = Pool::new(1 << 20);
    let made = Inflater::new().message(payload, &limits, &mut pool).map(|bytes| bytes[HEADROOM..].to_vec());
    if let Ok(made) = &made {
        assert!(made.len() as u64 <= message_max_bytes, "{} bytes, the limit is {message_max_bytes}", made.len());
        if !payload.is_empty() {
            let (theirs, content) = other(payload, made.len());
            assert!(content, "a message for us, and for the other none");
            assert!(made.starts_with(&theirs), "the other reads something else");
        }
        let more = Inflater::new().message(payload, &limits.message_max_bytes(message_max_bytes + 1), &mut pool);
        assert_eq!(
            more.map(|bytes| bytes[HEADROOM..].to_vec()).as_ref(),
            Ok(made),
            "a larger limit changes a message that fits"
        );
    }

    // The same as frames: whole, and in two fragments and small pieces.
    let mut whole = Vec::new();
    encode::append_frame(&mut whole, true, Opcode::Binary, payload, Some(KEY));
    encode::mark_compressed(&mut whole, Opcode::Binary);
    let (first, second) = payload.split_at(usize::from(fragment).min(payload.len()));
    let mut parts = Vec::new();
    encode::append_frame(&mut parts, false, Opcode::Binary, first, Some(KEY));
    encode::mark_compressed(&mut parts, Opcode::Binary);
    encode::append_frame(&mut parts, true, Opcode::Continuation, second, Some(KEY));
    if payload.len() as u64 <= message_max_bytes {
        assert_eq!(fed(&whole, usize::MAX, &limits), made.clone().map(Some));
        assert_eq!(fed(&parts, usize::from(piece).max(1), &limits), made.map(Some));
    }
});
