//! Which cores this process may use, and pinning a thread to one.

/// The cores of the process's affinity mask (sched_getaffinity(2)), in order.
pub(crate) fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Bits of the kernel interface's CPU_SETSIZE; the crate panics beyond it.
const CORES_MAX: usize = 1024;

/// Pins the calling thread to a core; false if there is no such core or the kernel refuses.
pub(crate) fn pin(core: usize) -> bool {
    core < CORES_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mask_is_not_empty_and_a_core_out_of_range_is_refused() {
        assert!(!super::allowed().is_empty());
        assert!(!super::pin(1000) && !super::pin(1024) && !super::pin(usize::MAX));
    }
}
