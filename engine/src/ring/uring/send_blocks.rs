//! Owns the region that replies are encoded into, cut into blocks.
//!
//! One mapping, freed when neither the list nor a block is left; each [`Block`] is the only handle on its slice. The free
//! list is last-in first-out, so that a few warm blocks serve all traffic. It refuses to know what is written into
//! a block.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

const PAGE: usize = 4096;

/// Page-aligned zeroed memory, freed with its last handle.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    layout: Layout,
    /// Bytes of each piece it is cut into; kept here so that a [`Block`] is two words.
    piece: usize,
}

impl Region {
    pub(super) fn new(count: usize, piece: usize) -> Self {
        let layout = Self::layout(count, piece);
        // SAFETY: the layout has a size of at least one byte.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Self { base, layout, piece }
    }

    /// Room for all pieces, to the byte: a product that wrapped would make pieces beyond the region.
    fn layout(count: usize, piece: usize) -> Layout {
        let len = count.checked_mul(piece).and_then(|len| Layout::from_size_align(len.max(1), PAGE).ok());
        len.unwrap_or_else(|| panic!("{count} x {piece} bytes are more than an address space has"))
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once; every pointer into it lives beside an `Rc` of it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// One send block: a fixed-size slice of the region, owned.
pub struct Block {
    at: NonNull<u8>,
    region: Rc<Region>,
}

impl Block {
    /// Whether the block lies in `region`.
    fn is_of(&self, region: &Rc<Region>) -> bool {
        Rc::ptr_eq(&self.region, region)
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `at..at + piece` lies inside `region`, which this block keeps alive, is initialised (zeroed), and no
        // other block covers it: `SendBlocks::new` cuts the region into disjoint slices, one `Block` each, not Clone.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.region.piece) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` is the only path to these bytes. The kernel reads them only while the
        // block is moved into an operation, where nobody can borrow it.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.region.piece) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({:p}+{})", self.at, self.region.piece)
    }
}

/// The free send blocks of one core.
#[derive(Debug)]
pub struct SendBlocks {
    free: Vec<Block>,
    total: usize,
    region: Rc<Region>,
}

impl SendBlocks {
    /// Allocates `count` blocks of `size` bytes each (at least 512).
    ///
    /// # Panics
    ///
    /// If all blocks together pass `isize::MAX` bytes.
    pub fn new(count: usize, size: usize) -> Self {
        let size = size.max(512);
        let region = Rc::new(Region::new(count, size));
        let free = (0..count)
            .rev()
            .map(|i| Block {
                // SAFETY: `i * size` is below `count * size`, which is the length of the region and did not wrap:
                // `Region::layout` asked. Fails without it: a_region_holds_all_its_pieces.
                at: unsafe { region.base().add(i * size) },
                region: Rc::clone(&region),
            })
            .collect();
        Self { free, total: count, region }
    }

    /// A free block, the most recently used one; `None` when all are in use.
    pub fn take(&mut self) -> Option<Block> {
        self.free.pop()
    }

    /// Gives a block back.
    pub fn put(&mut self, block: Block) {
        debug_assert!(block.is_of(&self.region), "a block of another region");
        self.free.push(block);
        assert!(self.free.len() <= self.total, "a block was given back twice");
    }

    /// Bytes in a block.
    pub fn size(&self) -> usize {
        self.region.piece
    }

    /// Blocks taken and not given back.
    #[cfg(any(test, feature = "unstable-ring"))]
    pub fn in_use(&self) -> usize {
        self.total - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_disjoint_and_come_back() {
        let mut blocks = SendBlocks::new(3, 512);
        let mut held: Vec<Block> = std::iter::from_fn(|| blocks.take()).collect();
        assert_eq!((held.len(), blocks.in_use()), (3, 3));
        for (i, block) in held.iter_mut().enumerate() {
            block.fill(i as u8 + 1);
        }
        for (i, block) in held.iter().enumerate() {
            assert!(block.iter().all(|&b| b == i as u8 + 1), "block {i} was written through another");
        }
        for block in held {
            blocks.put(block);
        }
        assert_eq!(blocks.in_use(), 0);
    }

    /// 2^20 blocks of 2^45 bytes wrapped to a region of one byte.
    #[test]
    fn a_region_holds_all_its_pieces() {
        let most = isize::MAX as usize - (PAGE - 1); // a Layout's bound
        assert_eq!(Region::layout(1, most).size(), most);
        assert_eq!(Region::layout(0, 512).size(), 1);
        for (count, piece) in [(1, most + 1), (most + 1, 1), (1 << 20, 1 << 45), (usize::MAX, 2)] {
            let region = std::panic::catch_unwind(|| Region::layout(count, piece));
            assert!(region.is_err(), "{count} x {piece} bytes in a region of {} bytes", region.unwrap().size());
        }
    }

    #[test]
    #[should_panic(expected = "1048576 x 35184372088832 bytes")]
    fn more_blocks_than_memory_are_refused() {
        drop(SendBlocks::new(1 << 20, 1 << 45));
    }

    #[test]
    fn a_block_outlives_its_list() {
        let mut blocks = SendBlocks::new(1, 512);
        let mut block = blocks.take().unwrap();
        drop(blocks);
        block[511] = 7;
        assert_eq!(block[511], 7);
    }
}
