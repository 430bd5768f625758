use super::*;
use crate::config::Config;
use crate::cores::Place;
use crate::engine::deadlines::Tick;
use crate::engine::forms::SHARE_MIN;
use crate::engine::life::Event;
use crate::engine::pack::Framing;
use crate::ring::{Heap, Memory, SendBlocks, Socket};
use crate::terms::Terms;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wsring_proto::deflate::{Direction, Inflater, Settings};
use wsring_proto::{HEADROOM, Limits, Pool};

/// Open connections of these framings.
pub(in crate::engine) fn reach(framings: &[Framing]) -> Reach {
    let config = Config::default().deflate(Settings::shared()).output_high_bytes(1 << 20);
    let random = StdRng::seed_from_u64(1);
    let names = std::sync::Arc::new(crate::engine::Names::new(1));
    let mut out = Reach::new(Place::new(0), SendBlocks::new(64, 4096), framings.len(), &config, random, names);
    for (index, &framing) in framings.iter().enumerate() {
        out.peers.take(index as u32, Socket(index as u32), Tick::ZERO);
        out.peers.on(index as u32, Event::Opened { now: Tick::ZERO, framing });
    }
    out
}

fn packed(window_bits: u8) -> Framing {
    Framing::packed(&Settings::shared(), Direction { takeover: false, window_bits })
}

/// Sends it to all, and returns the one piece that each has, with where that lies.
fn publish(out: &mut Reach, receivers: usize, message: Message<'_>) -> Vec<(*const u8, Vec<u8>)> {
    let number = out.forms.next();
    let all = 0..receivers as u32;
    for index in all.clone() {
        assert!(out.send_prepared(index, number, message).is_queued());
    }
    let queued: Vec<u32> = all.clone().map(|index| out.link(index).output.queued).collect();
    all.map(|index| {
        let piece = out.pop(index).expect("it was queued");
        assert!(out.pop(index).is_none(), "one piece");
        assert_eq!(piece.len() as u32, queued[index as usize], "each counts all of it");
        let bytes = piece.bytes().to_vec();
        let at = piece.memory.bytes().as_ptr();
        out.peers.settling(index).output.queued = 0;
        out.stores.recycle(piece.memory);
        (at, bytes)
    })
    .collect()
}

#[test]
fn a_long_message_lies_in_memory_once_for_all_that_are_not_masked() {
    let mut out = reach(&[Framing::PLAIN, Framing::PLAIN.masked(), Framing::PLAIN, Framing::PLAIN.masked()]);
    let text = "z".repeat(SHARE_MIN);
    let pieces = publish(&mut out, 4, Message::Text(&text));
    assert_eq!(pieces[0].0, pieces[2].0, "shared");
    assert!(pieces[1].0 != pieces[0].0 && pieces[1].0 != pieces[3].0, "masked: each its own");
    let expected = [&[0x81, 126, 0x10, 0][..], text.as_bytes()].concat();
    assert!(pieces[0].1 == expected && pieces[2].1 == expected);
    assert!(pieces[1].1[..2] == [0x81, 0x80 | 126] && pieces[1].1.len() == expected.len() + 4);
    // A byte less is copied into what is sent anyway.
    let pieces = publish(&mut out, 4, Message::Text(&text[1..]));
    assert_ne!(pieces[0].0, pieces[2].0);
    assert_eq!(pieces[0].1, pieces[2].1);
}

/// 40,000 of them, which compress.
fn letters() -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(2);
    let words = ["trade", "price", "quantity", "12", "7", "0.5", "symbol", ":", ","];
    let mut letters = Vec::new();
    while letters.len() < 40_000 {
        letters.extend_from_slice(words[rand::Rng::next_u32(&mut random) as usize % words.len()].as_bytes());
    }
    letters
}

/// A form of one level is not taken for that of another: those apart have their own.
#[test]
fn each_level_has_forms_of_its_own() {
    let framings = [packed(15), packed(15).apart(), packed(15), packed(15).apart()];
    let mut out = reach(&framings);
    let config = Config::default().deflate(Settings::shared());
    let terms = Terms::default().deflate(Settings::shared().level(9)).expect("there is such a level");
    for index in [1, 3] {
        out.norms.begin(index, &terms, &config);
    }
    let pieces = publish(&mut out, 4, Message::Binary(&letters()));
    assert_eq!(out.forms.len(), 2);
    assert!(pieces[0].0 == pieces[2].0 && pieces[1].0 == pieces[3].0, "shared by level");
    let lens = [0, 1].map(|index: usize| pieces[index].1.len());
    assert!(lens[1] < lens[0], "{lens:?}");
}

/// However windows come mixed, each form is made once; what does not shrink is shared as it is.
#[test]
fn compressed_forms_are_made_once_and_shared() {
    let framings = [packed(15), packed(9), Framing::PLAIN, packed(9), packed(15), Framing::PLAIN];
    let mut out = reach(&framings);
    let letters = letters();
    for _ in 0..2 {
        let pieces = publish(&mut out, 6, Message::Binary(&letters));
        assert_eq!(out.forms.len(), 3);
        for (one, other) in [(0, 4), (1, 3), (2, 5)] {
            assert_eq!(pieces[one].0, pieces[other].0);
            assert!(pieces[one].1 == pieces[other].1);
        }
        for (at, piece) in pieces {
            let _ = at;
            let compressed = piece[0] & 0x40 != 0;
            assert!(compressed == (piece.len() < 39_000), "marked and shorter, or neither");
            let payload = &piece[4..];
            if compressed {
                let made = Inflater::new().message(payload, &Limits::default(), &mut Pool::new(0)).expect("sound");
                assert!(made[HEADROOM..] == letters);
            } else {
                assert!(payload == letters);
            }
        }
    }
    assert_eq!((out.stats.sent, out.stats.compressed), (12, 8));
    let mut noise = vec![0; 10_000];
    rand::Rng::fill_bytes(&mut StdRng::seed_from_u64(3), &mut noise);
    let pieces = publish(&mut out, 6, Message::Binary(&noise));
    assert!(pieces.iter().all(|piece| piece.0 == pieces[0].0 && piece.1[0] == 0x82));
    // Short once compressed: copied.
    let pieces = publish(&mut out, 2, Message::Binary(&[7; 100_000]));
    assert!(pieces[0].0 != pieces[1].0 && pieces[0].1.len() < SHARE_MIN && pieces[0].1[0] == 0xc2);
    assert_eq!(out.stats.compressed, 10);
}

/// Behind output of the same pass it is copied while that saves a send; behind what waits it is not.
#[test]
fn what_is_sent_along_is_copied() {
    let mut out = reach(&[Framing::PLAIN]);
    let kinds = |out: &mut Reach| {
        let mut kinds = Vec::new();
        while let Some(piece) = out.pop(0) {
            kinds.push(matches!(piece.memory, Memory::Heap(Heap::Shared(_))));
            out.peers.settling(0).output.queued -= piece.len() as u32;
            out.stores.recycle(piece.memory);
        }
        kinds
    };
    for (sending, len, expected) in [
        (false, SHARE_BEHIND_MIN - 100, &[false][..]),
        (false, SHARE_BEHIND_MIN, &[false, true]),
        (true, SHARE_MIN, &[false, true]),
    ] {
        let (first, long) = (out.forms.next(), out.forms.next());
        assert!(out.send_prepared(0, first, Message::Text("first")).is_queued());
        out.peers.settling(0).output.is_sending = sending;
        assert!(out.send_prepared(0, long, Message::Binary(&vec![7; len])).is_queued());
        out.peers.settling(0).output.is_sending = false;
        assert_eq!(kinds(&mut out), expected, "{len}");
    }
}
