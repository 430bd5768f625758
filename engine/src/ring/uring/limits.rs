//! The limits of this process, as the kernel tells them (getrlimit(2)). Sets none.

/// A limit: what holds, and how far it may be raised.
pub(super) fn limit(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one rlimit through the pointer, which is valid for it; on failure zeros stay.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit
}

pub(super) fn limit_text(resource: libc::__rlimit_resource_t) -> String {
    match limit(resource).rlim_cur {
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        value => value.to_string(),
    }
}

/// Bytes of a page, in which memory is counted.
pub(super) fn page_bytes() -> u64 {
    // SAFETY: sysconf(3) takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}
