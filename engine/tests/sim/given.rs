//! Memory that the application gives away: it counts how much of that is not let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that is given away, and how much of it there is.
pub struct Given(Vec<u8>, Arc<AtomicUsize>);

impl Given {
    pub fn new(bytes: &[u8], count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(bytes.to_vec(), Arc::clone(count))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
