use super::*;
use crate::engine::deadlines::Tick;
use crate::engine::life::Event;
use crate::engine::prepared::tests::reach as opened;
use crate::ring::{Heap, Memory, Payload, Socket};
use wsring_proto::opcode::Message;

/// As many as are many.
const CROWD: u32 = 32;

/// Open connections that have all subscribed to topic 0.
fn reach(count: u32) -> Reach {
    let mut out = opened(&vec![Framing::PLAIN; count as usize]);
    for index in 0..count {
        assert!(out.subscribe(index, 0, Delivery::queue()).is_ok());
    }
    out
}

fn publish(out: &mut Reach, bytes: &[u8]) {
    let published = out.publish(0, Publish::default(), Opcode::Binary, bytes);
    assert_eq!(published.sent, published.subscribers());
}

/// What goes out next on a connection, and all of it is counted.
fn pieces(out: &mut Reach, index: u32) -> Vec<Payload> {
    let pieces: Vec<Payload> = std::iter::from_fn(|| out.pop(index)).collect();
    let queued = std::mem::take(&mut out.peers.settling(index).output.queued);
    assert_eq!(pieces.iter().map(Payload::len).sum::<usize>(), queued as usize);
    pieces
}

fn bytes(pieces: &[Payload]) -> Vec<Vec<u8>> {
    pieces.iter().map(|piece| piece.bytes().to_vec()).collect()
}

/// The messages of a pass are one piece for each, of one memory for all; who has a message of its own between them is sent a copy in order, and who
/// has one before them too.
#[test]
fn messages_to_many_lie_in_one_memory() {
    let mut out = reach(CROWD);
    assert!(out.send(7, Message::Binary(b"before")).is_queued());
    let long = [7; 5_000];
    publish(&mut out, b"first");
    publish(&mut out, &long);
    assert!(out.send(9, Message::Binary(b"own")).is_queued());
    publish(&mut out, b"last");
    let framed = |head: &[u8], bytes: &[u8]| [head, bytes].concat();
    let (first, long) = (framed(&[0x82, 5], b"first"), framed(&[0x82, 126, 0x13, 0x88], &long));
    let last = framed(&[0x82, 4], b"last");
    let mut all: Vec<Vec<Payload>> = (0..CROWD).map(|index| pieces(&mut out, index)).collect();
    let at = all[0][0].memory.bytes().as_ptr();
    for (index, pieces) in all.iter().enumerate() {
        let own: (&[u8], &[u8]) = match index {
            7 => (&framed(&[0x82, 6], b"before"), &[]),
            9 => (&[], &framed(&[0x82, 3], b"own")),
            _ => (&[], &[]),
        };
        let expected = [own.0, &first, &long, own.1, &last].concat();
        assert_eq!(bytes(pieces).concat(), expected, "{index}");
        assert_eq!(pieces.len(), 1, "{index} needs one send");
        assert_eq!(pieces[0].memory.bytes().as_ptr() == at, own.0.is_empty() && own.1.is_empty(), "{index}");
    }
    // Only what was copied and one trail are in use, until all of it has gone.
    assert!(out.stores.pool.lent_bytes() < 5 * 8192, "{}", out.stores.pool.lent_bytes());
    all.drain(..).flatten().for_each(|piece| out.stores.recycle(piece.memory));
    assert_eq!((out.stores.shared_bytes(), out.stores.blocks.in_use()), (0, 0));
}

/// Few are sent copies: that costs less than to share.
#[test]
fn messages_to_few_are_copied() {
    let mut out = reach(CROWD - 1);
    publish(&mut out, b"first");
    publish(&mut out, b"last");
    for index in 0..CROWD - 1 {
        let pieces = pieces(&mut out, index);
        assert_eq!(bytes(&pieces), [b"\x82\x05first\x82\x04last"]);
        assert!(matches!(pieces[0].memory, Memory::Block(_)));
        pieces.into_iter().for_each(|piece| out.stores.recycle(piece.memory));
    }
}

/// Whoever is sent something already when a message comes shares no more of it than waits for the kernel: each has what it was given when others go on.
#[test]
fn who_goes_first_keeps_what_it_has() {
    let mut out = reach(CROWD);
    publish(&mut out, b"first");
    let early = pieces(&mut out, 3);
    publish(&mut out, b"second");
    let late = pieces(&mut out, 3);
    assert_eq!((bytes(&early), bytes(&late)), (vec![b"\x82\x05first".to_vec()], vec![b"\x82\x06second".to_vec()]));
    let others = pieces(&mut out, 4);
    assert_eq!(bytes(&others).concat(), b"\x82\x05first\x82\x06second");
    assert!(early.iter().all(|piece| matches!(piece.memory, Memory::Heap(Heap::Trail(_)))));
    early.into_iter().chain(late).chain(others).for_each(|piece| out.stores.recycle(piece.memory));
    for index in (0..CROWD).filter(|index| ![3, 4].contains(index)) {
        out.abandon(index);
    }
    assert_eq!(out.stores.shared_bytes(), 0);
}

/// Held back until a tick, short messages are one send, though they come in several passes; and whoever has a small part of a long trail does not keep that.
#[test]
fn little_is_copied_where_it_stays() {
    let mut out = reach(CROWD);
    publish(&mut out, b"first");
    out.keep_along(2);
    publish(&mut out, b"second");
    let held = pieces(&mut out, 2);
    assert_eq!(bytes(&held), [b"\x82\x05first\x82\x06second"]);
    for index in 0..CROWD {
        pieces(&mut out, index).into_iter().for_each(|piece| out.stores.recycle(piece.memory));
    }
    assert!(out.send(6, Message::Binary(b"own")).is_queued());
    publish(&mut out, &[7; 2_000]);
    let own = pieces(&mut out, 6);
    publish(&mut out, b"little");
    let (little, all) = (pieces(&mut out, 6), pieces(&mut out, 7));
    assert_eq!(bytes(&little), [b"\x82\x06little"]);
    assert!(matches!(little[0].memory, Memory::Block(_)) && matches!(all[0].memory, Memory::Heap(Heap::Trail(_))));
    held.into_iter().chain(own).chain(little).chain(all).for_each(|piece| out.stores.recycle(piece.memory));
}

/// A message that is too long for a trail is shared in another way, and one that must be masked is copied.
#[test]
fn what_cannot_be_along_goes_by_itself() {
    let mut out = reach(CROWD);
    let masked = Event::Opened { now: Tick::ZERO, framing: Framing::PLAIN.masked() };
    out.abandon(5);
    out.peers.take(CROWD, Socket(CROWD), Tick::ZERO);
    out.peers.on(CROWD, masked);
    assert!(out.subscribe(CROWD, 0, Delivery::queue()).is_ok());
    publish(&mut out, b"first");
    let pieces_of = pieces(&mut out, CROWD);
    assert_eq!((pieces_of.len(), pieces_of[0].len()), (1, 2 + 4 + 5));
    assert!(matches!(pieces_of[0].memory, Memory::Block(_)));
    publish(&mut out, &vec![7; TRAIL_MAX + 1]);
    for index in 0..CROWD {
        let pieces = pieces(&mut out, index);
        assert_eq!(pieces.iter().map(Payload::len).collect::<Vec<_>>(), [7, TRAIL_MAX + 1 + 10]);
        pieces.into_iter().for_each(|piece| out.stores.recycle(piece.memory));
    }
}
