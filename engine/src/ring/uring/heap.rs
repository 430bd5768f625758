//! The process's memory, as the system bounds it and as the C library keeps it.
//!
//! Asks, and gives back; sets nothing that others would notice later, unless the application says so ([`map_long_buffers`]).

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

/// Has glibc take each block of memory of `from_bytes` or more from the system by itself, and give it back as soon as it is freed
/// (`M_MMAP_THRESHOLD`, mallopt(3)), and keep up to twice that of what is shorter. Otherwise it takes blocks from its heaps that are as long as the longest that was ever freed, up to
/// 32 MiB, and may keep twice that, so that after some long messages a core may have much more memory than
/// [`memory_max_bytes`](crate::Config::memory_max_bytes) until the heaps are trimmed. For a program that runs in little more memory than
/// that; the command `wsring` does it, from 1 MiB.
///
/// It holds for all of the process and for good, what is not wsring's included; each such block costs two system calls, and its pages are
/// zeroed by the system each time. Best called before anything else. `from_bytes`: up to 32 MiB. False if that is refused, or the C
/// library is another than glibc (those that we know give back what is long anyway).
pub fn map_long_buffers(from_bytes: usize) -> bool {
    #[cfg(target_env = "gnu")]
    {
        // glibc before 2.35 takes no more, and what is beyond is meant for nothing.
        let Some(from) = libc::c_int::try_from(from_bytes).ok().filter(|&from| from <= 32 << 20) else { return false };
        // Setting one threshold stops glibc from adapting the other, which is 128 KiB at first: then shorter buffers would be taken from
        // the system and given back again and again.
        // SAFETY: it takes no pointer, is MT-safe, and changes where memory will come from, not what is in use.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, from) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * from) == 1
        }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = from_bytes;
        false
    }
}
