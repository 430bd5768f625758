use super::*;
use crate::ring::SendBlocks;

fn stores() -> Stores {
    Stores::new(SendBlocks::new(1, 512), 1 << 20)
}

fn heap(bytes: &[u8]) -> Payload {
    Payload { memory: Memory::Heap(Heap::Pooled(bytes.to_vec())), from: 0, to: bytes.len() as u32 }
}

/// All pieces, in the order in which they go.
fn drain(output: &mut Output, stores: &mut Stores) -> Vec<Vec<u8>> {
    let next = || {
        let payload = output.pop(stores)?;
        let bytes = payload.bytes().to_vec();
        stores.recycle(payload.memory);
        Some(bytes)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn small_frames_share_a_piece_and_all_are_counted() {
    let (mut output, mut stores) = (Output::new(), stores());
    for _ in 0..3 {
        output.frame(&mut stores, Opcode::Binary, b"four", None);
    }
    assert_eq!(output.queued, 3 * 6);
    // The block is full: what was in it moves to a larger piece with the next.
    output.frame(&mut stores, Opcode::Binary, &[7; 600], None);
    assert_eq!(output.queued, 3 * 6 + 4 + 600);
    let pieces = drain(&mut output, &mut stores);
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].len() as u32, output.queued);
    assert_eq!(stores.blocks.in_use(), 0);
}

/// A long buffer is the kernel's until its last byte has gone.
#[test]
fn what_the_kernel_has_is_counted_whole() {
    let mut stores = stores();
    let heap = |len| Memory::Heap(Heap::Pooled(Vec::with_capacity(len)));
    for (len, left, bytes) in [(131_072, 7, 131_072), (100_000, 7, 65_536), (100_000, 90_000, 90_000), (1, 1, 1)] {
        assert_eq!(Lent::of(&heap(len)).bytes(left, 50), bytes);
    }
    let block = Memory::Block(stores.blocks.take().expect("there are blocks"));
    assert_eq!((Lent::of(&block), Lent::BLOCK.bytes(7, 50)), (Lent::BLOCK, 7));
    stores.recycle(block);
    let shared = Lent::of(&Memory::Heap(Heap::Shared(Box::new(Bytes::from(vec![7; 300])))));
    assert_eq!((shared.bytes(300, 50), shared.bytes(20, 50)), (50, 50), "all of it is kept for the last bytes");
}

#[test]
fn what_is_shared_has_its_header_in_front_and_nothing_behind_it() {
    let (mut output, mut stores) = (Output::new(), stores());
    output.frame(&mut stores, Opcode::Binary, b"four", None);
    output.share(&mut stores, Opcode::Binary, Bytes::from(vec![7; 300]));
    output.frame(&mut stores, Opcode::Binary, b"last", None);
    assert_eq!(output.queued, 6 + 4 + 300 + 6);
    let pieces = drain(&mut output, &mut stores);
    let expected = [&b"\x82\x04four\x82\x7e\x01\x2c"[..], &[7; 300], b"\x82\x04last"];
    assert_eq!(pieces, expected);
}

/// At the beginning, in a block, in a block that is too small, behind a piece that does not grow.
#[test]
fn what_is_reserved_and_not_needed_leaves_nothing() {
    for need in [10, 600, 300_000] {
        let (mut output, mut stores) = (Output::new(), stores());
        let at = output.reserve(&mut stores, need);
        output.unreserve(&mut stores, at);
        assert!(output.is_empty() && stores.blocks.in_use() == 0);
        output.frame(&mut stores, Opcode::Binary, b"four", None);
        let at = output.reserve(&mut stores, need);
        output.unreserve(&mut stores, at);
        output.share(&mut stores, Opcode::Binary, Bytes::from(vec![7; 300]));
        let at = output.reserve(&mut stores, need);
        output.unreserve(&mut stores, at);
        assert_eq!(output.queued, 6 + 4 + 300);
        let pieces = drain(&mut output, &mut stores);
        assert_eq!(pieces, [&b"\x82\x04four\x82\x7e\x01\x2c"[..], &[7; 300]]);
    }
}

/// To the last byte of a block; one more, or behind what is no block, it is for others to find room.
#[test]
fn a_frame_is_copied_into_a_block_or_not_at_all() {
    let (mut output, mut stores) = (Output::new(), stores());
    assert!(output.copy(&mut stores, &[1; 500]) && output.copy(&mut stores, &[2; 12]));
    assert!(!output.copy(&mut stores, &[3]));
    assert_eq!(output.queued, 512);
    assert_eq!(drain(&mut output, &mut stores), [[&[1; 500][..], &[2; 12]].concat()]);
    let (mut output, mut stores) = (Output::new(), Stores::new(SendBlocks::new(0, 512), 1 << 20));
    assert!(!output.copy(&mut stores, b"four") && output.is_empty() && output.queued == 0);
}

/// The rest of a short send goes before everything, a promised piece where it was promised.
#[test]
fn pieces_keep_their_order() {
    let (mut output, mut stores) = (Output::new(), stores());
    output.add(&mut stores, heap(b"first"));
    output.add(&mut stores, heap(b"second"));
    output.promise(&mut stores, 5);
    output.add(&mut stores, heap(b"last"));
    output.keep_promise(heap(b"third"));
    let mut first = output.pop(&mut stores).expect("there");
    first.from = 2;
    output.unpop(&mut stores, first);
    assert_eq!(output.queued, 20);
    assert_eq!(drain(&mut output, &mut stores), [&b"rst"[..], b"second", b"third", b"last"]);
    assert!(output.is_empty());
}

#[test]
fn what_is_abandoned_is_counted_no_more() {
    let (mut output, mut stores) = (Output::new(), stores());
    output.frame(&mut stores, Opcode::Text, b"a", None);
    output.add(&mut stores, heap(&[0; 1000]));
    output.abandon(&mut stores);
    assert_eq!((output.queued, output.is_empty(), stores.blocks.in_use()), (0, true, 0));
}
