//! One stream of DEFLATE on its way out (RFC 1951), with its window.
//!
//! Owns: zlib's state. Promises: to say what each step took and made. Refuses to know: where a message ends, how long it may
//! become, and where its bytes come from.

use core::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use crate::close::Violation;

/// The window we inflate with. A larger one than the peer's is always right, and zlib-rs has no smaller one.
const WINDOW_BITS: u8 = 15;

/// Inflates the messages of one peer that keeps its window, or of all that do not. About 47 KiB.
pub struct Inflater {
    stream: Inflate,
}

impl Inflater {
    /// What one takes, nearly: `tests/allocations` measures it.
    pub const BYTES: usize = 47 << 10;

    /// One with an empty window. Allocates all it will ever need.
    #[must_use]
    pub fn new() -> Inflater {
        Inflater { stream: Inflate::new(false, WINDOW_BITS) }
    }

    /// Forgets the window: the next message refers to none before it.
    pub fn reset(&mut self) {
        self.stream.reset(false);
    }

    /// Whether no byte has come since the stream began.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stream.total_in() == 0
    }

    /// What zlib did, with the bytes it took and made.
    pub(crate) fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        flush: InflateFlush,
    ) -> Result<(Status, usize, usize), Violation> {
        let (used, made) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, output, flush).map_err(|_| Violation::BrokenDeflate)?;
        // Both count from the last reset, and no slice is longer than a usize.
        Ok((status, (self.stream.total_in() - used) as usize, (self.stream.total_out() - made) as usize))
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}
