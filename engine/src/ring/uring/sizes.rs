//! How much memory and how many queue entries a ring has: [`RecvBuffers`], [`SendBuffers`], [`QueueEntries`].
//!
//! Owns the words and their defaults. Refuses to know which values make sense: a server checks its settings, and a ring that is made
//! from others panics or fails.

/// What a core receives into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvBuffers {
    /// By what the kernel has: 2 buffers of 256 KiB where one buffer takes several receives
    /// ([`Feature::IncrementalBuffers`](super::Feature::IncrementalBuffers)), else 1024 of 4 KiB.
    #[default]
    Auto,
    /// As many and as large as this.
    Fixed {
        /// How many: a power of two, at most 32,768.
        count: u16,
        /// Bytes of each, at least 1.
        bytes: u32,
    },
}

/// The blocks that small replies are encoded into: memory that a core allocates once and sends from. What finds no free block, or
/// fits in none, is encoded into a pooled buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // so many, so large
pub struct SendBuffers {
    /// How many; with 0 everything is encoded into pooled buffers.
    pub count: u32,
    /// Bytes of each, at least 512. All together have at most 1 GiB.
    pub bytes: u32,
}

impl Default for SendBuffers {
    /// 1024 of 4 KiB.
    fn default() -> Self {
        Self { count: 1024, bytes: 4096 }
    }
}

/// The two queues of a ring. The kernel rounds each up to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // a ring has these two
pub struct QueueEntries {
    /// Operations that are handed over at once, at least 1; a full queue costs one more syscall.
    pub submission: u32,
    /// Completions that wait to be seen, at least 1. Fewer than the completions of a pass lose nothing, but end multishots.
    pub completion: u32,
}

impl QueueEntries {
    /// The smaller of each.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { submission: self.submission.min(other.submission), completion: self.completion.min(other.completion) }
    }
}

impl Default for QueueEntries {
    /// 1024 and 8192.
    fn default() -> Self {
        Self { submission: 1024, completion: 8192 }
    }
}
