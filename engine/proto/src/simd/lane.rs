//! One algorithm, written once for any width of register.
//!
//! Owns: [`Lane`], a register's worth of bytes, and the walk over a payload in lanes. Promises: reads and writes stay
//! within the `len` bytes given, whatever their alignment. Refuses to know: which instruction set is present.
//!
//! The trick is to finish with a lane that ends exactly at the end and may overlap the one before it, so that no length
//! needs a loop over single bytes. In place, an overlapping lane must be loaded before a neighbour stores over it:
//!
//! ```text
//! load everything that another lane's store will touch; XOR it in registers; store: overlaps write equal bytes twice
//! ```

use super::key::MaskKey;

/// The longest payload of the inline path, in bytes.
pub(super) const SHORT_MAX: usize = 64;

/// A register of `LEN` bytes. Loads and stores need no alignment.
///
/// # Safety
/// `LEN` is the number of bytes that `load` reads and `store` writes, and a multiple of 4.
pub(super) unsafe trait Lane: Copy {
    /// Bytes in a lane.
    const LEN: usize;
    /// The key repeated over the lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this lane; so for every function here.
    unsafe fn splat(key: MaskKey) -> Self;
    /// # Safety
    /// `LEN` bytes are readable at `from`.
    unsafe fn load(from: *const u8) -> Self;
    /// # Safety
    /// `LEN` bytes are writable at `to`.
    unsafe fn store(self, to: *mut u8);
    /// # Safety
    /// See [`Lane::splat`].
    unsafe fn xor(self, other: Self) -> Self;
    /// # Safety
    /// See [`Lane::splat`].
    unsafe fn or(self, other: Self) -> Self;
    /// Whether any byte is above 0x7F.
    ///
    /// # Safety
    /// See [`Lane::splat`].
    unsafe fn has_high_bit(self) -> bool;
}

macro_rules! integer_lane {
    ($int:ty) => {
        // SAFETY: an integer's size is what an unaligned read or write of it touches; 4, 8 and 16 are multiples of 4.
        unsafe impl Lane for $int {
            const LEN: usize = size_of::<$int>();
            #[inline(always)]
            unsafe fn splat(key: MaskKey) -> Self {
                // 0x..00000001_00000001: one copy of the key in every 32 bits, on either byte order.
                (<$int>::MAX / u32::MAX as $int) * key.0 as $int
            }
            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: readable for LEN bytes by the caller's promise.
                unsafe { from.cast::<$int>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                // SAFETY: writable for LEN bytes by the caller's promise.
                unsafe { to.cast::<$int>().write_unaligned(self) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            unsafe fn has_high_bit(self) -> bool {
                self & (<$int>::MAX / 0xFF * 0x80) != 0
            }
        }
    };
}
integer_lane!(u32);
integer_lane!(u64);
integer_lane!(u128);

/// Up to [`SHORT_MAX`] bytes without a loop; `L` is a lane of 16 bytes. The result is [`super::xor`]'s.
///
/// # Safety
/// As [`super::xor`]; the CPU has `L`; `len <= SHORT_MAX`.
#[inline(always)]
pub(super) unsafe fn short<L: Lane, const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    const { assert!(L::LEN == 16) };
    debug_assert!(len <= SHORT_MAX);
    // SAFETY: the caller's promise is passed on; each function gets a length in its range.
    unsafe {
        match len {
            0 => false,
            1..=3 => crumbs::<TEXT>(from, to, len, key),
            4..=7 => few::<u32, 2, TEXT>(from, to, len, key),
            8..=15 => few::<u64, 2, TEXT>(from, to, len, key),
            16..=32 => few::<L, 2, TEXT>(from, to, len, key),
            _ => few::<L, 4, TEXT>(from, to, len, key),
        }
    }
}

/// 1 to 3 bytes: the first, the middle and the last, which may be one and the same.
///
/// # Safety
/// As [`super::xor`]; `1 <= len <= 3`.
#[inline(always)]
unsafe fn crumbs<const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    let (middle, last) = (len / 2, len - 1);
    // SAFETY: 0, len / 2 and len - 1 are below len, which is at least 1.
    unsafe {
        let a = from.read() ^ key.to_bytes()[0];
        let b = from.add(middle).read() ^ key.advance(middle).to_bytes()[0];
        let c = from.add(last).read() ^ key.advance(last).to_bytes()[0];
        to.write(a);
        to.add(middle).write(b);
        to.add(last).write(c);
        TEXT && (a | b | c) >= 0x80
    }
}

/// `N` lanes (2, 4 or 8), half of them from the start, half up to the end.
///
/// # Safety
/// As [`super::xor`]; the CPU has `L`; `N / 2 * LEN <= len <= N * LEN`.
#[inline(always)]
unsafe fn few<L: Lane, const N: usize, const TEXT: bool>(
    from: *const u8,
    to: *mut u8,
    len: usize,
    key: MaskKey,
) -> bool {
    debug_assert!(len >= N / 2 * L::LEN && len <= N * L::LEN);
    // SAFETY: offsets run over 0..N/2 lanes from the start and from len - N/2 lanes, and len holds N/2 lanes. All loads
    // come before the first store, so in place no lane reads what another wrote (fails without: tests, every length).
    unsafe {
        let front = L::splat(key);
        let back = L::splat(key.advance(len)); // lanes are multiples of 4, so the phase at len - k * LEN is that of len
        let tail = len - N / 2 * L::LEN;
        let mut lanes = [front; N];
        for i in 0..N / 2 {
            lanes[i] = L::load(from.add(i * L::LEN)).xor(front);
            lanes[N / 2 + i] = L::load(from.add(tail + i * L::LEN)).xor(back);
        }
        let mut all = lanes[0];
        for i in 0..N / 2 {
            lanes[i].store(to.add(i * L::LEN));
            lanes[N / 2 + i].store(to.add(tail + i * L::LEN));
            if TEXT {
                all = all.or(lanes[i]).or(lanes[N / 2 + i]);
            }
        }
        TEXT && all.has_high_bit()
    }
}

/// More than [`SHORT_MAX`] bytes. The result is [`super::xor`]'s.
///
/// ```text
/// head = first lane, tail = last four lanes, both loaded and XORed now
/// from the first place where `to` is aligned: four lanes at a time, while they end before the end
/// store head and tail
/// ```
/// In place, the loop reads only what it has not yet written, and head and tail hold the right bytes for the places that
/// the loop did write.
///
/// # Safety
/// As [`super::xor`]; the CPU has `L`; `len > SHORT_MAX`; `LEN <= 32`.
#[inline(always)]
pub(super) unsafe fn long<L: Lane, const TEXT: bool>(from: *const u8, to: *mut u8, len: usize, key: MaskKey) -> bool {
    const { assert!(L::LEN * 2 <= SHORT_MAX) };
    debug_assert!(len > SHORT_MAX);
    let stride = 4 * L::LEN;
    // SAFETY: the caller's promise, and `few`'s ranges: len > 64 >= 2 lanes. Beyond 8 lanes: `head` and `tail` lie within
    // len; `at` starts at 1..=LEN and a step at `at` ends below len, because at < end = len - stride.
    unsafe {
        if len <= stride {
            return few::<L, 4, TEXT>(from, to, len, key);
        }
        if len <= 2 * stride {
            return few::<L, 8, TEXT>(from, to, len, key);
        }
        let end = len - stride;
        let front = L::splat(key);
        let back = L::splat(key.advance(len));
        let head = L::load(from).xor(front);
        let tail = four(from.add(end), back);
        let mut all = head;

        let mut at = L::LEN - to.addr() % L::LEN;
        let middle = L::splat(key.advance(at));
        while at < end {
            let lanes = four(from.add(at), middle);
            put_four(lanes, to.add(at));
            if TEXT {
                all = all.or(any_of_four(lanes));
            }
            at += stride;
        }
        head.store(to);
        put_four(tail, to.add(end));
        TEXT && all.or(any_of_four(tail)).has_high_bit()
    }
}

/// Four lanes from `from`, XORed with `key`.
///
/// # Safety
/// Four lanes are readable; the CPU has `L`.
#[inline(always)]
unsafe fn four<L: Lane>(from: *const u8, key: L) -> [L; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            L::load(from).xor(key),
            L::load(from.add(L::LEN)).xor(key),
            L::load(from.add(2 * L::LEN)).xor(key),
            L::load(from.add(3 * L::LEN)).xor(key),
        ]
    }
}

/// Stores four lanes at `to`.
///
/// # Safety
/// Four lanes are writable; the CPU has `L`.
#[inline(always)]
unsafe fn put_four<L: Lane>(lanes: [L; 4], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        lanes[0].store(to);
        lanes[1].store(to.add(L::LEN));
        lanes[2].store(to.add(2 * L::LEN));
        lanes[3].store(to.add(3 * L::LEN));
    }
}

/// # Safety
/// The CPU has `L`.
#[inline(always)]
unsafe fn any_of_four<L: Lane>(lanes: [L; 4]) -> L {
    // SAFETY: the caller's promise.
    unsafe { lanes[0].or(lanes[1]).or(lanes[2].or(lanes[3])) }
}
