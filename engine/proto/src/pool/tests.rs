//! Bounds, fit, and what a peer's wish cannot do.

use super::*;
use proptest::prelude::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[test]
fn allocates_the_class_of_least_and_not_the_wish() {
    let mut pool = Pool::new(64 * MIB);
    assert_eq!(pool.take(0, 0).capacity(), 4 * KIB);
    assert_eq!(pool.take(4 * KIB, 16 * MIB).capacity(), 4 * KIB);
    assert_eq!(pool.take(4 * KIB + 1, 0).capacity(), 8 * KIB);
    assert_eq!(pool.take(64 * MIB, 0).capacity(), 64 * MIB);
    assert_eq!(pool.take(64 * MIB + 1, usize::MAX).capacity(), 64 * MIB + 1);
}

#[test]
fn prefers_the_wish_then_the_smallest_that_fits() {
    let mut pool = Pool::new(64 * MIB);
    for kib in [8, 64, 128] {
        pool.put(Vec::with_capacity(kib * KIB));
    }
    assert_eq!(pool.take(4 * KIB, 50 * KIB).capacity(), 64 * KIB);
    assert_eq!(pool.take(4 * KIB, 1024 * KIB).capacity(), 8 * KIB, "no buffer fits the wish");
    assert_eq!(pool.take(4 * KIB, 1024 * KIB).capacity(), 128 * KIB);
    assert_eq!(pool.kept_bytes(), 0);
}

#[test]
fn a_buffer_a_little_above_its_class_is_found_again() {
    // A 1 MiB message with room for a header: such buffers come back, and must not be passed over.
    let mut pool = Pool::new(64 * MIB);
    pool.put(Vec::with_capacity(MIB));
    pool.put(Vec::with_capacity(MIB + 16));
    pool.put(Vec::with_capacity(MIB + 8));
    assert_eq!(pool.take(64 * KIB, MIB + 16).capacity(), MIB + 16);
}

#[test]
fn take_kept_never_allocates() {
    let mut pool = Pool::new(64 * MIB);
    assert!(pool.take_kept(0, 0).is_none());
    pool.put(Vec::with_capacity(64 * KIB));
    assert!(pool.take_kept(64 * KIB + 1, 0).is_none(), "too small");
    assert!(pool.take_kept(KIB, 0).is_none(), "too big for that");
    let kept = pool.take_kept(40 * KIB, MIB).expect("it fits the least");
    assert_eq!(kept.capacity(), 64 * KIB);
    assert!(pool.take_kept(40 * KIB, MIB).is_none(), "it is gone");
    assert_eq!(pool.kept_bytes(), 0);
}

/// Exactly as long as asked for, and zeros only where nobody has written before; `take` shows nobody's bytes.
#[test]
fn a_filled_buffer_is_not_filled_again() {
    let mut pool = Pool::new(64 * MIB);
    let mut bytes = pool.take_filled(5000);
    assert!(bytes == [0; 5000]);
    bytes.fill(7);
    pool.put(bytes);
    let bytes = pool.take_filled(6000);
    assert!(bytes.len() == 6000 && bytes[..5000] == [7; 5000] && bytes[5000..] == [0; 1000]);
    pool.put(bytes);
    assert!(pool.take(6000, 6000).is_empty());
    pool.put(vec![9; 8 * KIB]);
    assert_eq!(pool.take_filled(4 * KIB).len(), 4 * KIB);
    assert_eq!(pool.kept_bytes(), 0);
}

#[test]
fn a_small_need_leaves_the_big_buffer_alone() {
    let mut pool = Pool::new(64 * MIB);
    pool.put(Vec::with_capacity(20 * KIB));
    pool.put(Vec::with_capacity(20 * KIB + 1));
    assert_eq!(pool.take(4 * KIB, 10 * KIB).capacity(), 20 * KIB, "twice the wish: allowed");
    assert_eq!(pool.take(4 * KIB, 10 * KIB).capacity(), 4 * KIB, "a byte more: refused");
    assert_eq!(pool.kept_bytes(), 20 * KIB + 1);
}

/// A byte in 16 MiB, and what it is copied to; where it lies already if that is no more than twice its length.
#[test]
fn what_is_kept_long_can_be_made_to_fit() {
    let mut pool = Pool::new(64 * MIB);
    for (capacity, len, fits) in [
        (16 * MIB, 1, false),
        (8 * KIB, 0, true),
        (8 * KIB + 1, 0, false),
        (MIB, 512 * KIB, true),
        (MIB, 500_000, false),
    ] {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(len, 7);
        let at = bytes.as_ptr();
        let kept = pool.kept_bytes();
        let bytes = pool.fit(bytes);
        assert_eq!(bytes.as_ptr() == at, fits, "{len} bytes in {capacity}");
        assert!(bytes == vec![7; len] && bytes.capacity() <= 2 * len.max(4 * KIB));
        assert_eq!(pool.kept_bytes(), if fits { kept } else { kept + capacity });
    }
}

#[test]
fn returned_buffers_are_empty_and_the_tiny_are_freed() {
    let mut pool = Pool::new(64 * MIB);
    let mut bytes = pool.take(4 * KIB, 0);
    bytes.extend_from_slice(b"left over");
    let at = bytes.as_ptr();
    pool.put(bytes);
    let again = pool.take(1, 0);
    assert!(again.is_empty() && again.as_ptr() == at);
    pool.put(Vec::new());
    pool.put(Vec::with_capacity(4 * KIB - 1));
    assert_eq!(pool.kept_bytes(), 0);
}

#[test]
fn the_bound_is_reached_exactly_and_not_passed() {
    let mut pool = Pool::new(12 * KIB);
    for _ in 0..3 {
        pool.put(Vec::with_capacity(4 * KIB));
    }
    assert_eq!(pool.kept_bytes(), 12 * KIB);
    pool.put(Vec::with_capacity(4 * KIB));
    assert_eq!(pool.kept_bytes(), 12 * KIB, "one more is freed");

    let mut pool = Pool::new(12 * KIB);
    pool.put(Vec::with_capacity(12 * KIB));
    assert_eq!(pool.kept_bytes(), 12 * KIB);
    let mut pool = Pool::new(12 * KIB);
    pool.put(Vec::with_capacity(12 * KIB + 1));
    assert_eq!(pool.kept_bytes(), 0);

    let mut none = Pool::new(0);
    none.put(Vec::with_capacity(4 * KIB));
    assert_eq!(none.kept_bytes(), 0);
}

#[test]
fn the_class_idle_longest_makes_room() {
    // One big message must not fill the pool for good, while small ones allocate for ever after.
    let mut pool = Pool::new(MIB);
    pool.put(Vec::with_capacity(512 * KIB));
    pool.put(Vec::with_capacity(256 * KIB));
    pool.put(Vec::with_capacity(256 * KIB));
    pool.put(Vec::with_capacity(4 * KIB));
    assert_eq!(pool.kept_bytes(), 516 * KIB, "the 512 KiB went");
    pool.put(Vec::with_capacity(768 * KIB));
    assert_eq!(pool.kept_bytes(), 1024 * KIB - 256 * KIB + 4 * KIB, "both 256 KiB went");
    pool.put(Vec::with_capacity(768 * KIB));
    assert_eq!(pool.kept_bytes(), 772 * KIB, "would not fit beside its own class: nothing else goes");
}

/// The sum of what came from here changes where memory is allocated or freed, and nowhere else.
#[test]
fn what_is_held_is_added_up_where_it_is_allocated() {
    let mut pool = Pool::new(64 * KIB);
    let sums = |pool: &Pool| (pool.held_bytes(), pool.lent_bytes());
    let (one, two) = (pool.take(8 * KIB, 0), pool.take(MIB, 0));
    assert_eq!(sums(&pool), (MIB + 8 * KIB, MIB + 8 * KIB));
    pool.put(one);
    assert_eq!(sums(&pool), (MIB + 8 * KIB, MIB), "kept");
    pool.put(two);
    assert_eq!(sums(&pool), (8 * KIB, 0), "it was too long to be kept");
    let mut bytes = pool.take(8 * KIB, 0);
    assert_eq!(sums(&pool), (8 * KIB, 8 * KIB));
    pool.append(&[7; 8 * KIB], &mut bytes);
    pool.append(&[8; 1], &mut bytes);
    assert!(bytes.len() == 8 * KIB + 1 && bytes.capacity() == 16 * KIB && bytes[8 * KIB] == 8);
    assert_eq!(sums(&pool), (24 * KIB, 16 * KIB));
    let bytes = pool.fit(bytes);
    pool.note_change(bytes.capacity(), 0);
    drop(bytes);
    pool.charge(1000);
    assert_eq!(sums(&pool), (8 * KIB + 1000, 1000));
    pool.discharge(1000);
    pool.put(Vec::with_capacity(64 * KIB));
    assert_eq!(pool.kept_bytes(), 64 * KIB, "the 8 KiB made room");
    assert_eq!(sums(&pool), (0, 0), "and nobody knows where those 64 KiB came from");
}

#[test]
fn growth_is_news_and_before_it_is_tight_what_nobody_uses_goes() {
    let mut pool = Pool::new(MIB);
    pool.watch(64 * KIB, 128 * KIB);
    let first = pool.take(64 * KIB, 0);
    assert!(!pool.has_news(), "exactly so much");
    let second = pool.take(4 * KIB, 0);
    assert!(pool.has_news());
    pool.clear_news();
    pool.put(first);
    pool.put(second);
    let first = pool.take(64 * KIB, 0);
    assert!(!pool.has_news(), "it was there");
    let third = pool.take(32 * KIB, 0);
    assert_eq!((pool.kept_bytes(), pool.held_bytes()), (4 * KIB, 100 * KIB));
    let fourth = pool.take(32 * KIB, 0);
    assert_eq!((pool.kept_bytes(), pool.held_bytes()), (0, 128 * KIB), "4 KiB were freed for it");
    assert!(pool.has_news());
    drop((first, third, fourth));
}

/// Of ten buffers two were needed: the others go, long ones first, until no more is kept than may be.
#[test]
fn what_was_idle_is_freed() {
    let mut pool = Pool::new(64 * MIB);
    let many: Vec<_> = (0..10).map(|_| pool.take(64 * KIB, 0)).collect();
    let long = pool.take(MIB, 0);
    many.into_iter().for_each(|bytes| pool.put(bytes));
    pool.put(long);
    pool.tidy(0);
    assert_eq!(pool.kept_bytes(), MIB + 640 * KIB, "all were in use since the beginning");
    let two = [pool.take(64 * KIB, 0), pool.take(64 * KIB, 0)];
    two.into_iter().for_each(|bytes| pool.put(bytes));
    pool.tidy(500 * KIB);
    assert_eq!(pool.kept_bytes(), 448 * KIB, "the long one, and three");
    let two = [pool.take(64 * KIB, 0), pool.take(64 * KIB, 0)];
    two.into_iter().for_each(|bytes| pool.put(bytes));
    pool.tidy(0);
    assert_eq!((pool.kept_bytes(), pool.held_bytes()), (128 * KIB, 128 * KIB), "two were needed");
    pool.clear();
    assert_eq!((pool.kept_bytes(), pool.held_bytes()), (0, 0));
}

#[test]
fn a_steady_state_allocates_nothing() {
    let mut pool = Pool::new(16 * MIB);
    let first: Vec<_> = [4 * KIB, 60 * KIB, MIB + 16].map(|n| pool.take(n, n)).into();
    let mut homes: Vec<_> = first.iter().map(|bytes| bytes.as_ptr()).collect();
    homes.sort();
    first.into_iter().for_each(|bytes| pool.put(bytes));
    for _ in 0..100 {
        let again: Vec<_> = [4 * KIB, 60 * KIB, MIB + 16].map(|n| pool.take(n, n)).into();
        let mut here: Vec<_> = again.iter().map(|bytes| bytes.as_ptr()).collect();
        here.sort();
        assert_eq!(here, homes);
        again.into_iter().for_each(|bytes| pool.put(bytes));
    }
}

proptest! {
    #[test]
    fn never_beyond_the_bound_and_always_large_enough(
        bound in 0..256 * KIB,
        calls in prop::collection::vec((any::<bool>(), 0..96 * KIB, 0..96 * KIB), 1..200),
    ) {
        let mut pool = Pool::new(bound);
        let mut out: Vec<Vec<u8>> = Vec::new();
        for (take, least, wish) in calls {
            if take || out.is_empty() {
                let kept = pool.kept_bytes();
                let bytes = pool.take(least, wish);
                prop_assert!(bytes.is_empty() && bytes.capacity() >= least);
                let from_kept = kept - pool.kept_bytes();
                let allocated = least.max(4 * KIB).next_power_of_two();
                prop_assert!(from_kept == bytes.capacity() || from_kept == 0 && bytes.capacity() == allocated);
                prop_assert!(bytes.capacity() <= 2 * wish.max(least).max(4 * KIB), "at most twice the wish");
                out.push(bytes);
            } else {
                let mut bytes = out.swap_remove(least % out.len());
                bytes.resize(wish, 7); // messages grow what they take
                pool.put(bytes);
            }
            let sum: usize = pool.classes.iter().flat_map(|class| &class.free).map(Vec::capacity).sum();
            prop_assert_eq!(sum, pool.kept_bytes());
            prop_assert!(sum <= bound);
        }
    }
}
