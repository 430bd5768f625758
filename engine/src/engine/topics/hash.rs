//! Hashes small numbers, which the application chose: keys of its updates, and places in tables.
//!
//! Promises that nobody who chooses keys from outside knows which of them collide: a core's seed is random. Refuses to know bytes of
//! any length: they are hashed where names are interned.

use std::hash::{BuildHasher, Hasher};

/// An odd number without a pattern: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes hashers of one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeded(pub(super) u64);

impl BuildHasher for Seeded {
    type Hasher = Numbers;

    #[inline]
    fn build_hasher(&self) -> Numbers {
        Numbers(self.0)
    }
}

/// Folds numbers into one, by the halves of a product that is twice as wide.
pub(super) struct Numbers(u64);

impl Hasher for Numbers {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FACTOR);
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_ne_bytes(number));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The low bits choose a bucket, the high seven tell its entries apart.
    #[test]
    fn numbers_in_a_row_are_spread() {
        let of = |pair: (u32, Option<u64>)| Seeded(7).hash_one(pair);
        for step in [1, 8, 1 << 20, 1 << 40] {
            let low: HashSet<u64> = (0..256).map(|key| of((3, Some(key * step))) & 0xff).collect();
            let high: HashSet<u64> = (0..256).map(|key| of((3, Some(key * step))) >> 57).collect();
            assert!(low.len() > 100 && high.len() > 60, "step {step}: {} and {}", low.len(), high.len());
        }
        assert_ne!(of((1, None)), of((1, Some(0))));
    }
}
