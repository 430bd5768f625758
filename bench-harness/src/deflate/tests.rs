//! Compressed replies, good and wrong, whatever the cuts.

use super::*;
use crate::frames::{Frames, Replies};
use crate::trade;
use flate2::FlushCompress::{Finish, Sync};

fn random() -> std::fs::File {
    std::fs::File::open("/dev/urandom").expect("urandom")
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match payload.len() {
        len @ 0..=125 => vec![first, len as u8],
        len @ 126..=65_535 => vec![first, 126, (len >> 8) as u8, len as u8],
        len => [&[first, 127][..], &(len as u64).to_be_bytes()].concat(),
    };
    bytes.extend(payload);
    bytes
}

/// With a deflater that goes on from message to message.
fn go_on(deflater: &mut Compress, message: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    deflater.compress_vec(message, &mut out, flush).expect("room");
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    out
}

fn feed(frames: &Frames, stream: &[u8], count: u32, step: usize) -> Result<(u32, u64), Fault> {
    let mut replies = Replies::default();
    let mut finished = 0;
    for piece in stream.chunks(step) {
        finished += replies.feed(frames, piece, count - finished, true)?;
    }
    Ok((finished, replies.payload_bytes()))
}

#[test]
fn what_is_sent_inflates_to_the_messages() {
    for size in [1, 20, 125, 1024, 70_000] {
        let frames = Frames::deflated(size, 700, Context::None, &mut random()).expect("frames");
        for index in 0..frames.distinct() {
            let bytes = &frames.run()[frames.start(index)..frames.start(index) + frames.span(index, 1)];
            assert_eq!(bytes[0], 0xC1, "FIN, RSV1, text");
            assert_eq!(bytes[1] & 0x80, 0x80, "masked");
            let at = [2, 4, 10][usize::from(bytes[1] & 0x7F >= 126) + usize::from(bytes[1] & 0x7F == 127)];
            let mask = &bytes[at..at + 4];
            let payload: Vec<u8> =
                bytes[at + 4..].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(frame(0xC1, &payload).len() + 4, bytes.len(), "the shortest form of its length");
            let mut out = vec![0; size + 1];
            let len = inflate(&mut Decompress::new(false), &[&payload[..], &TAIL].concat(), &mut out).expect("deflate");
            assert_eq!(&out[..len], trade::json(index as u64, size).as_bytes());
        }
        // A batch that begins in the last frame runs on into the first, and round again.
        let last = frames.distinct() - 1;
        let batch = &frames.run()[frames.start(last)..][..frames.span(last, 2)];
        assert!(batch.ends_with(&frames.run()[..frames.span(0, 1)]));
        assert_eq!(frames.start(frames.distinct()) + frames.span(0, 700), frames.run().len());
    }
    assert!(Frames::deflated(0, 1, Context::None, &mut random()).is_err(), "nothing to compress");
    assert!(Frames::deflated(1024, usize::MAX / 4096, Context::None, &mut random()).is_err());
}

#[test]
fn replies_of_any_length_are_counted_whatever_the_cuts() {
    for size in [1, 100, 1024, 70_000] {
        let frames = Frames::deflated(size, 4, Context::None, &mut random()).expect("frames");
        let message = |index| frames.message(index);
        // Compressed; plain; in a final block as whole-buffer libraries end it; stored in many blocks.
        let whole = go_on(&mut Compress::new(Compression::best(), false), message(2), Finish);
        let stored = go_on(&mut Compress::new(Compression::none(), false), message(3), Sync);
        let payloads = [compress(message(0)), message(1).to_vec(), [&whole[..], &[0]].concat(), stored];
        let firsts = [0xC1, 0x81, 0xC1, 0xC1];
        let stream: Vec<u8> =
            firsts.iter().zip(&payloads).flat_map(|(first, payload)| frame(*first, payload)).collect();
        let bytes = payloads.iter().map(|payload| payload.len() as u64).sum();
        for step in [1, 2, 3, 7, 1000, stream.len()] {
            assert_eq!(feed(&frames, &stream, 4, step), Ok((4, bytes)), "size {size} step {step}");
            assert_eq!(feed(&frames, &stream, 3, step), Err(Fault::Unasked), "size {size} step {step}");
        }
    }
}

#[test]
fn a_window_is_kept_only_if_the_offer_lets_it() {
    for (context, good) in [(Context::TakenOver, true), (Context::None, false)] {
        let frames = Frames::deflated(1024, 3, context, &mut random()).expect("frames");
        let mut deflater = Compress::new(Compression::default(), false);
        let stream: Vec<u8> =
            (0..3).flat_map(|index| frame(0xC1, &go_on(&mut deflater, frames.message(index), Sync))).collect();
        assert_eq!(feed(&frames, &stream, 3, stream.len()).is_ok(), good, "{context:?}");
    }
}

#[test]
fn a_wrong_reply_is_named() {
    let frames = Frames::deflated(1024, 2, Context::None, &mut random()).expect("frames");
    let good = compress(frames.message(0));
    let fault = |stream: Vec<u8>, check| {
        Replies::default().feed(&frames, &stream, 1, check).map(|_| ()).expect_err("a wrong reply").to_string()
    };
    // What shows in the header is always looked at.
    for check in [true, false] {
        for first in [0xC2, 0x41, 0xA1, 0xD1, 0x88] {
            let said = fault(frame(first, &good), check);
            assert!(said.contains("wrong reply header"), "{first:x}: {said}");
        }
        let mut masked = frame(0xC1, &good);
        masked[1] |= 0x80;
        assert!(fault(masked, check).contains("wrong reply header"));
        assert!(fault(vec![0xC1, 126, 0, 125], check).contains("125 bytes announced"), "not the shortest form");
        assert!(fault(vec![0xC1, 127, 0, 0, 0, 0, 0, 0, 4, 0], check).contains("1024 bytes announced"));
        assert!(fault(vec![0xC1, 127, 0, 0, 0, 0, 0, 1, 0, 0], check).contains("65536 bytes announced"), "too long");
        assert!(fault(frame(0x81, &frames.message(0)[1..]), check).contains("1023 bytes announced"), "plain and short");
        assert!(fault(frame(0x81, &[b'['; 1025]), check).contains("1025 bytes announced"), "plain and long");
    }
    // What it inflates to only with --check.
    let other = compress(frames.message(1));
    let longer = compress(trade::json(0, 1025).as_bytes());
    let shorter = compress(&frames.message(0)[..1023]);
    let cut = &good[..good.len() - 3];
    let mut plain = frames.message(0).to_vec();
    plain[77] ^= 1;
    for (stream, words) in [
        (frame(0xC1, &other), "wrong byte in a reply"),
        (frame(0xC1, &longer), "1024 bytes into its body"),
        (frame(0xC1, &shorter), "1023 bytes into its body"),
        (frame(0xC1, cut), "wrong"),
        (frame(0xC1, &[0xFF; 40]), "it does not inflate"),
        (frame(0x81, &plain), "77 bytes into its body"),
    ] {
        let said = fault(stream.clone(), true);
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(Replies::default().feed(&frames, &stream, 1, false), Ok(1), "{words}: not looked for");
    }
}

#[test]
fn offers_and_answers_are_held_to_the_rules() {
    assert_eq!(context(OFFER), Ok(Context::None));
    assert_eq!(context("permessage-deflate; server_max_window_bits=10"), Ok(Context::TakenOver));
    for bad in ["", "x-webkit-deflate-frame", "permessage-deflate; client_max_window_bits", "permessage-deflate, a"] {
        assert!(context(bad).is_err(), "{bad}");
    }
    assert!(context("permessage-deflate\r\nx: y").is_err());
    let bare = "permessage-deflate";
    for (offer, answer) in [
        (OFFER, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (OFFER, "permessage-deflate;server_no_context_takeover ; server_max_window_bits = 12"),
        (bare, "permessage-deflate"),
    ] {
        assert_eq!(check_answer(offer, Some(answer)), Ok(()), "{answer}");
    }
    assert!(check_answer(OFFER, None).expect_err("silence").contains("did not accept permessage-deflate"));
    for answer in [
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=12",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
        "x-webkit-deflate-frame",
    ] {
        assert!(check_answer(OFFER, Some(answer)).is_err(), "{answer}");
    }
}
