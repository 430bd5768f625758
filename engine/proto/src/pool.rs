//! Free buffers of one core, kept for the next message that needs one.
//!
//! Owns: `Vec`s that nobody uses by size class, and the bound on what they hold together; one inflater without a stream; and the
//! sum of all memory that came from here, whoever has it. Promises: in a steady state no message
//! allocates, and nothing is added up, because that sum changes only where memory is allocated or freed; what is kept never exceeds the bound; a class that nobody has used for long makes room for one in use; a
//! small need never takes away a big buffer, so that nothing lies in more than twice the memory it was wished for. Refuses to know: what the buffers are for, and who else has some.
//!
//! Class n holds buffers of a capacity in `4 KiB << n .. 4 KiB << (n + 1)`; the last class has no upper end.

#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(feature = "deflate")]
use crate::inflater::Inflater;
use crate::simd;

/// The smallest capacity worth keeping, in bytes.
const CLASS_MIN: usize = 4096;

/// 4 KiB, 8 KiB, ... 64 MiB.
const CLASSES: usize = 15;

/// A kept buffer serves a wish of half its capacity, and none that is smaller: what is kept long must not take many times its
/// length. Whatever is allocated for a wish is found for it again.
const WISHES_MAX: usize = 2;

/// Buffers of a class that are looked at for one that is just large enough: a class is not sorted.
const LOOK_MAX: usize = 8;

/// The buffers of one size class.
#[derive(Debug, Default)]
struct Class {
    free: Vec<Vec<u8>>,
    /// Invariant: the sum of the capacities in `free`.
    bytes: usize,
    /// When a buffer last came from here or went here, in calls of the pool.
    used_at: u64,
    /// The least that was free since the last [`Pool::tidy`]: so many buffers nobody has needed.
    idle: usize,
}

/// Free buffers of one core.
#[derive(Debug)]
pub struct Pool {
    classes: [Class; CLASSES],
    /// Invariant: the sum of the capacities of all free buffers, at most `kept_bytes_max`.
    kept_bytes: usize,
    kept_bytes_max: usize,
    calls: u64,
    /// Bytes of all memory that was allocated here and not freed, kept or lent; and of what else was charged.
    held_bytes: usize,
    /// A growth of `held_bytes` beyond this is news, and beyond that nothing is kept that could be freed.
    watch_bytes: usize,
    tight_bytes: usize,
    has_news: bool,
    /// For whoever inflates next: see [`Pool::take_inflater`].
    #[cfg(feature = "deflate")]
    inflater: Option<Box<Inflater>>,
}

impl Pool {
    /// An empty pool that keeps buffers of at most `kept_bytes_max` bytes of capacity together. Allocates nothing.
    pub fn new(kept_bytes_max: usize) -> Self {
        Pool {
            classes: Default::default(),
            kept_bytes: 0,
            kept_bytes_max,
            calls: 0,
            held_bytes: 0,
            watch_bytes: usize::MAX,
            tight_bytes: usize::MAX,
            has_news: false,
            #[cfg(feature = "deflate")]
            inflater: None,
        }
    }

    /// The core's inflater, whose window nobody needs any more; a new one the first time.
    #[cfg(feature = "deflate")]
    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        self.inflater.take().unwrap_or_default()
    }

    /// Keeps it for the next who inflates. It does not count among the kept bytes: there is one.
    #[cfg(feature = "deflate")]
    pub(crate) fn put_inflater(&mut self, inflater: Box<Inflater>) {
        self.inflater = Some(inflater);
    }

    /// An inflater for a peer whose window is kept, which counts here until [`Pool::put_window`].
    #[cfg(feature = "deflate")]
    pub(crate) fn take_window(&mut self) -> Box<Inflater> {
        self.charge(Inflater::BYTES);
        Box::default()
    }

    /// Frees it.
    #[cfg(feature = "deflate")]
    pub(crate) fn put_window(&mut self, _: Box<Inflater>) {
        self.discharge(Inflater::BYTES);
    }

    /// Counts memory that does not come from here, such as a compressor's.
    pub fn charge(&mut self, bytes: usize) {
        self.held_bytes += bytes;
        self.has_news |= self.held_bytes > self.watch_bytes;
    }

    /// Such memory was freed.
    pub fn discharge(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    /// A buffer that came from here with a capacity of `before` bytes has this one now: it was grown elsewhere, or dropped (0).
    pub fn note_change(&mut self, before: usize, now: usize) {
        self.charge(now);
        self.discharge(before);
    }

    /// Bytes of all memory that came from here or was charged, kept buffers included. (A buffer from elsewhere that is put here
    /// is not among them until it is freed, which takes its bytes off: whoever wants the sum to be right puts none.)
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The same without buffers that nobody uses.
    pub fn lent_bytes(&self) -> usize {
        self.held_bytes.saturating_sub(self.kept_bytes)
    }

    /// Has growth of [`Self::held_bytes`] beyond so many bytes be news; before it grows beyond `tight_bytes`, kept buffers are freed.
    pub fn watch(&mut self, bytes: usize, tight_bytes: usize) {
        (self.watch_bytes, self.tight_bytes) = (bytes, tight_bytes);
    }

    /// [`Self::held_bytes`] has grown, and is above what is watched for.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// The news is known.
    pub fn clear_news(&mut self) {
        self.has_news = false;
    }

    /// Frees kept buffers that nobody has needed since the last call, long ones first, as long as more than `floor` bytes are kept.
    pub fn tidy(&mut self, floor: usize) {
        for class in (0..CLASSES).rev() {
            // What is put comes last and is taken first: so the first are idle.
            let idle = &self.classes[class].free[..self.classes[class].idle];
            let (mut count, mut bytes) = (0, 0);
            while count < idle.len() && self.kept_bytes - bytes > floor {
                bytes += idle[count].capacity();
                count += 1;
            }
            self.classes[class].free.drain(..count);
            self.account_out(class, bytes);
            self.discharge(bytes);
            self.classes[class].idle = self.classes[class].free.len();
        }
    }

    /// Frees every kept buffer.
    pub fn clear(&mut self) {
        for class in 0..CLASSES {
            self.classes[class].idle = self.classes[class].free.len();
        }
        self.tidy(0);
    }

    /// An empty `Vec` with a capacity of at least `least` bytes; `wish` (if larger) is what its content may grow to.
    ///
    /// Prefers the smallest kept buffer that fits `wish`, then the smallest that fits `least`, and takes none of
    /// more than twice `wish` (or 8 KiB). Else allocates `least`, rounded up to a power of two of at least 4 KiB (beyond
    /// 64 MiB: exactly). `wish` therefore never costs memory that is not already there, and may come from a peer.
    pub fn take(&mut self, least: usize, wish: usize) -> Vec<u8> {
        self.take_kept(least, wish).unwrap_or_else(|| self.allocate(least))
    }

    /// A `Vec` of exactly `len` bytes with unspecified contents, for callers that write over every byte they use. A kept buffer is
    /// not filled with zeros again.
    pub fn take_filled(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.pick(len, len).unwrap_or_else(|| self.allocate(len));
        bytes.resize(len, 0);
        bytes
    }

    /// As [`Pool::take`], but `None` where that would allocate: for a caller that can grow a buffer of its own instead.
    pub fn take_kept(&mut self, least: usize, wish: usize) -> Option<Vec<u8>> {
        let mut bytes = self.pick(least, wish)?;
        bytes.clear();
        Some(bytes)
    }

    /// A kept buffer, with what its last user left in it.
    fn pick(&mut self, least: usize, wish: usize) -> Option<Vec<u8>> {
        let wish = wish.max(least);
        let most = wish.max(CLASS_MIN).saturating_mul(WISHES_MAX);
        let kept = self.find(wish, most).or_else(|| self.find(least, most));
        let (class, at) = kept?;
        let bytes = self.classes[class].free.swap_remove(at);
        self.classes[class].idle = self.classes[class].idle.min(self.classes[class].free.len());
        self.account_out(class, bytes.capacity());
        self.touch(class);
        debug_assert!(bytes.capacity() >= least);
        Some(bytes)
    }

    /// The same bytes in at most twice the memory that they need (or 8 KiB): copied if they lie in more. For what may be kept long.
    pub fn fit(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if bytes.capacity() <= WISHES_MAX * bytes.len().max(CLASS_MIN) {
            return bytes;
        }
        let mut fitting = self.take(bytes.len(), bytes.len());
        simd::copy_append(&bytes, &mut fitting);
        self.put(bytes);
        fitting
    }

    /// Makes room for `more` bytes behind those in `bytes`, which came from here: in a larger buffer if there is none.
    pub fn reserve(&mut self, bytes: &mut Vec<u8>, more: usize) {
        if bytes.capacity() - bytes.len() < more {
            let least = bytes.len() + more;
            let mut larger = self.take(least, least);
            simd::copy_append(bytes, &mut larger);
            self.put(core::mem::replace(bytes, larger));
        }
    }

    /// Copies `more` behind the bytes in `bytes`: see [`Pool::reserve`].
    pub fn append(&mut self, more: &[u8], bytes: &mut Vec<u8>) {
        self.reserve(bytes, more.len());
        simd::copy_append(more, bytes);
    }

    fn allocate(&mut self, least: usize) -> Vec<u8> {
        let bytes = Vec::with_capacity(rounded_up(least));
        // Where much is held, what nobody uses is freed first.
        if self.kept_bytes > 0 && self.held_bytes.saturating_add(bytes.capacity()) > self.tight_bytes {
            self.clear();
        }
        self.charge(bytes.capacity());
        self.touch(class_of(bytes.capacity()));
        bytes
    }

    /// Takes a buffer back. Frees it if it has less than 4 KiB or exceeds the bound together with its own
    /// class; frees buffers of other classes, the longest idle first, as far as it needs their room. Allocates only to lengthen the list of
    /// its class.
    pub fn put(&mut self, bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        let class = class_of(capacity);
        // Its own class is the one in use: never evicted, so what does not fit beside it will not fit at all.
        let room = self.kept_bytes_max - self.classes[class].bytes;
        if capacity < CLASS_MIN || capacity > room {
            return self.discharge(capacity);
        }
        self.touch(class);
        while self.kept_bytes_max - self.kept_bytes < capacity {
            self.evict_idle(class);
        }
        self.kept_bytes += capacity;
        self.classes[class].bytes += capacity;
        self.classes[class].free.push(bytes);
    }

    /// The capacity of all kept buffers together, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Class and position of a kept buffer of at least `size` bytes and at most `most`, from the smallest class that has one.
    fn find(&self, size: usize, most: usize) -> Option<(usize, usize)> {
        (class_of(size)..=class_of(most)).find_map(|class| {
            let free = &self.classes[class].free;
            let fits = |at: &usize| (size..=most).contains(&free[*at].capacity());
            (0..free.len()).rev().take(LOOK_MAX).find(fits).map(|at| (class, at))
        })
    }

    /// Frees one buffer of the class that has been idle longest, other than `newcomer`.
    fn evict_idle(&mut self, newcomer: usize) {
        let idle = (0..CLASSES)
            .filter(|class| *class != newcomer && !self.classes[*class].free.is_empty())
            .min_by_key(|class| self.classes[*class].used_at);
        let class = idle.expect("kept bytes beyond the newcomer's class are in other classes");
        let bytes = self.classes[class].free.pop().expect("filtered: not empty");
        self.classes[class].idle = self.classes[class].idle.min(self.classes[class].free.len());
        self.account_out(class, bytes.capacity());
        self.discharge(bytes.capacity());
    }

    fn account_out(&mut self, class: usize, capacity: usize) {
        self.classes[class].bytes -= capacity;
        self.kept_bytes -= capacity;
    }

    fn touch(&mut self, class: usize) {
        self.calls += 1;
        self.classes[class].used_at = self.calls;
    }
}

/// The class that a buffer of `capacity` bytes belongs to; below the smallest: that one.
fn class_of(capacity: usize) -> usize {
    ((capacity / CLASS_MIN).max(1).ilog2() as usize).min(CLASSES - 1)
}

/// What is allocated for `least` bytes.
fn rounded_up(least: usize) -> usize {
    if least > CLASS_MIN << (CLASSES - 1) {
        return least;
    }
    least.max(CLASS_MIN).next_power_of_two()
}

#[cfg(test)]
mod tests;
