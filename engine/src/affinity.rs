//! Which CPUs this process may use, and pinning a thread to one.

use crate::cores::Cpu;

/// The CPUs of the process's affinity mask (sched_getaffinity(2)), in order.
pub(crate) fn allowed() -> Vec<Cpu> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().flat_map(|core| core.id.try_into()).collect()
}

/// Bits of the kernel interface's CPU_SETSIZE; the crate panics beyond it.
const CPUS_MAX: usize = 1024;

/// Pins the calling thread to a CPU; false if there is no such CPU or the kernel refuses.
pub(crate) fn pin(cpu: Cpu) -> bool {
    let id = usize::from(cpu.number());
    id < CPUS_MAX && core_affinity::set_for_current(core_affinity::CoreId { id })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mask_is_not_empty_and_a_cpu_out_of_range_is_refused() {
        assert!(!super::allowed().is_empty());
        assert!([1000, 1024, u16::MAX].into_iter().all(|number| !super::pin(super::Cpu::new(number))));
    }
}
