//! The process's memory, as the system bounds it and as the C library keeps it.
//!
//! Asks, and gives back; sets nothing that others would notice later.

/// The limits on the address space and on private memory of this process (RLIMIT_AS, RLIMIT_DATA, getrlimit(2)).
pub(crate) fn limits() -> impl Iterator<Item = u64> {
    [libc::RLIMIT_AS, libc::RLIMIT_DATA].into_iter().filter_map(|resource| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid rlimit for the kernel to write, and lives through the call.
        let asked = unsafe { libc::getrlimit(resource, &raw mut limit) };
        (asked == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
    })
}

/// Has glibc give freed memory back to the system (malloc_trim(3)), on a thread of its own: of much memory that takes tens of
/// milliseconds, with one arena locked at a time. One thread at a time; one is enough for all cores. Other C libraries give back by
/// themselves what is large. False if that is being done already: what was freed since it began may not be among it.
pub(crate) fn give_back() -> bool {
    #[cfg(target_env = "gnu")]
    {
        use std::sync::atomic::{AtomicBool, Ordering};

        static BUSY: AtomicBool = AtomicBool::new(false);
        if BUSY.swap(true, Ordering::Relaxed) {
            return false;
        }
        let spawned = std::thread::Builder::new().name("wsring-trim".to_owned()).spawn(|| {
            // At the core's own priority: with less, others would run while it holds the allocator's lock, and the core waits for that.
            // SAFETY: it takes no pointer, is MT-safe, and touches no memory in use. Fails without it: tests/memory.rs of the command.
            unsafe { libc::malloc_trim(0) };
            BUSY.store(false, Ordering::Relaxed);
        });
        if spawned.is_err() {
            BUSY.store(false, Ordering::Relaxed); // the next time, then
        }
    }
    true
}
