//! Payloads of messages that wait: memory that those who wait for the same message share, and that is counted while any of them does.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

/// From this length on memory is not used again for less than half of it.
const SMALL: usize = 256;

/// The payloads of a core that wait.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// Bytes of all.
    held: Rc<Cell<usize>>,
}

/// A payload, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Option<Rc<Counted>>);

/// One of them.
#[derive(Debug)]
struct Counted {
    /// Its capacity is what counts.
    bytes: Vec<u8>,
    held: Rc<Cell<usize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes.capacity());
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |counted| &counted.bytes)
    }
}

impl Shared {
    /// Where its memory is, and how much.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn memory(&self) -> Option<(usize, usize)> {
        self.0.as_ref().map(|counted| (counted.bytes.as_ptr() as usize, counted.bytes.capacity()))
    }
}

/// Whether memory of this capacity is much too large for so many bytes, and not used again for them.
pub(super) fn is_wide(capacity: usize, len: usize) -> bool {
    capacity > SMALL.max(2 * len)
}

impl Payloads {
    /// Has as much memory as it needs, and no more.
    pub(super) fn keep(&self, bytes: impl Into<Vec<u8>>) -> Shared {
        let mut bytes = bytes.into();
        bytes.shrink_to_fit();
        self.held.set(self.held.get() + bytes.capacity());
        Shared(Some(Rc::new(Counted { bytes, held: Rc::clone(&self.held) })))
    }

    /// The same in memory that is there, if nobody else has it and it is not much too large.
    pub(super) fn renew(&self, shared: &mut Shared, bytes: &[u8]) {
        if let Some(counted) = shared.0.as_mut().and_then(Rc::get_mut)
            && bytes.len() <= counted.bytes.capacity()
            && !is_wide(counted.bytes.capacity(), bytes.len())
        {
            counted.bytes.clear();
            counted.bytes.extend_from_slice(bytes);
        } else {
            *shared = self.keep(bytes);
        }
    }

    /// Bytes of all that wait.
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_counts_once_and_as_long_as_anybody_has_it() {
        let payloads = Payloads::default();
        let (one, other) = (payloads.keep([1; 100]), payloads.keep(Vec::with_capacity(1000)));
        assert_eq!((payloads.held(), other.len()), (100, 0));
        let same = one.clone();
        drop(one);
        assert_eq!((payloads.held(), &same[..]), (100, &[1; 100][..]));
        drop(same);
        assert_eq!(payloads.held(), 0);
    }

    #[test]
    fn memory_is_used_again_unless_somebody_else_has_it_or_it_is_much_too_large() {
        let payloads = Payloads::default();
        let mut one = payloads.keep([1; 600]);
        let at = one.memory();
        payloads.renew(&mut one, &[2; 300]);
        assert_eq!((one.memory(), payloads.held(), &one[..]), (at, 600, &[2; 300][..]));
        payloads.renew(&mut one, &[3; 299]);
        assert_eq!((payloads.held(), &one[..]), (299, &[3; 299][..]), "less than half");
        payloads.renew(&mut one, &[4; 300]);
        assert_eq!((payloads.held(), one.len()), (300, 300), "one more than there is room for");
        let same = one.clone();
        payloads.renew(&mut one, &[5; 300]);
        assert_eq!((payloads.held(), &same[..], &one[..]), (600, &[4; 300][..], &[5; 300][..]));
    }
}
