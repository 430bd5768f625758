//! Payloads of messages that wait: memory that those who wait for the same message share, and that is counted while any of them does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The payloads of a core that wait.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// Bytes of all. Of one thread alone; `Bytes` asks for more of what it owns.
    held: Arc<AtomicUsize>,
}

/// One of them.
struct Counted {
    bytes: Box<[u8]>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Payloads {
    /// Has exactly as much memory as it needs.
    pub(super) fn keep(&self, bytes: impl Into<Box<[u8]>>) -> Bytes {
        let bytes = bytes.into();
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { bytes, held: Arc::clone(&self.held) })
    }

    /// Bytes of all that wait.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_counts_once_and_as_long_as_anybody_has_it() {
        let payloads = Payloads::default();
        let (one, other) = (payloads.keep(&[1; 100][..]), payloads.keep(Vec::with_capacity(1000)));
        assert_eq!((payloads.held(), other.len()), (100, 0));
        let part = one.slice(90..);
        drop(one);
        assert_eq!((payloads.held(), &part[..]), (100, &[1; 10][..]));
        drop(part);
        assert_eq!(payloads.held(), 0);
    }
}
