//! On which CPUs cores run: those that were named, or as many as the process's affinity mask and its CPU quota leave, where the fewest cores of
//! this process are pinned.
//!
//! Owns the count of cores that are pinned to each CPU by this process, whichever server or client they are of. Refuses to know threads.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::affinity;
use crate::cores::{Cpu, InvalidCpu, Place};
use crate::given_up::GivenUp;
use crate::quota::{CpuQuota, quota};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// These CPUs.
    Named(Result<Vec<Cpu>, InvalidCpu>),
    /// As many as there are, and at most so many.
    AtMost(usize),
}

/// Where cores run.
pub(crate) struct Places {
    /// By place. Of cores that are not pinned, which CPU each would be on.
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) pinned: bool,
    /// One for each core, if they are pinned: it is counted until this is dropped.
    pub(crate) tenures: Vec<Option<Tenure>>,
    pub(crate) given_up: Option<GivenUp>,
}

/// How many cores of this process are pinned to each CPU.
static PINNED: Mutex<BTreeMap<Cpu, usize>> = Mutex::new(BTreeMap::new());

fn pinned_now() -> MutexGuard<'static, BTreeMap<Cpu, usize>> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner) // counts are right at any moment
}

/// That a core is pinned to this CPU.
#[derive(Debug)]
pub(crate) struct Tenure(Cpu);

impl Drop for Tenure {
    fn drop(&mut self) {
        if let Some(count) = pinned_now().get_mut(&self.0) {
            *count -= 1;
        }
    }
}

/// Finds places for cores. `pinned`: as it was configured.
///
/// # Errors
/// If a number that was named is none of a CPU.
pub(crate) fn place(wanted: Wanted, pinned: Option<bool>) -> Result<Places, InvalidCpu> {
    let mut counts = pinned_now();
    let (cpus, pinned, given_up) = match wanted {
        Wanted::Named(cpus) => (cpus?, pinned.unwrap_or(true), None),
        Wanted::AtMost(most) => {
            let quota = quota(|path| std::fs::read_to_string(path).ok());
            choose(&affinity::allowed(), quota, most, pinned, &counts)
        }
    };
    let tenures = cpus.iter().map(|&cpu| {
        pinned.then(|| {
            *counts.entry(cpu).or_default() += 1;
            Tenure(cpu)
        })
    });
    let tenures = tenures.collect();
    Ok(Places { cpus, pinned, tenures, given_up })
}

/// At most so many CPUs of the mask, whether threads are pinned to them, and what a quota has taken.
fn choose(
    mask: &[Cpu],
    quota: Option<CpuQuota>,
    most: usize,
    pinned: Option<bool>,
    counts: &BTreeMap<Cpu, usize>,
) -> (Vec<Cpu>, bool, Option<GivenUp>) {
    // Where others have quotas too, each process would be pinned to the first CPUs of the same mask.
    let scarce = quota.filter(|quota| quota.cores() < mask.len());
    let pinned = pinned.unwrap_or(scarce.is_none());
    let count = mask.len().min(most).min(Place::COUNT_MAX);
    let cores = scarce.map_or(count, |quota| quota.cores().min(count));
    let given_up = scarce.filter(|_| cores < count || !pinned);
    let given_up = given_up.map(|quota| GivenUp::Cores { cores, allowed: count, quota, pinned });
    let mut cpus = mask.to_vec();
    cpus.sort_by_key(|cpu| (counts.get(cpu).copied().unwrap_or(0), *cpu));
    cpus.truncate(cores);
    cpus.sort();
    (cpus, pinned, given_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(cpus: &[Cpu]) -> Vec<u16> {
        cpus.iter().map(|cpu| cpu.number()).collect()
    }

    fn cpus(numbers: &[u16]) -> Vec<Cpu> {
        numbers.iter().map(|&number| Cpu::new(number)).collect()
    }

    /// Half a CPU, one and a half, four.
    fn quotas() -> [CpuQuota; 3] {
        [500, 1500, 4000].map(CpuQuota::of_millicpus)
    }

    #[test]
    fn the_mask_is_used_in_its_order_unless_there_is_a_quota_below_it() {
        let mask = cpus(&[2, 3, 8]);
        let [half, more, four] = quotas();
        let choose = |quota, most, pinned| {
            let (cpus, pinned, given_up) = choose(&mask, quota, most, pinned, &BTreeMap::new());
            (numbers(&cpus), pinned, given_up.map(|given_up| given_up.to_string()))
        };
        assert_eq!(choose(None, 256, None), (vec![2, 3, 8], true, None));
        assert_eq!(choose(None, 256, Some(false)), (vec![2, 3, 8], false, None));
        assert_eq!(choose(Some(four), 256, None), (vec![2, 3, 8], true, None), "more than there are");
        assert_eq!(choose(None, 2, None), (vec![2, 3], true, None), "as many as were wanted: nothing was given up");
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(
            choose(Some(more), 256, None),
            (vec![2, 3], false, told("1 of 3 cores and pinning (its control group leaves it 1.5 CPUs)"))
        );
        assert_eq!(
            choose(Some(half), 256, Some(true)),
            (vec![2], true, told("2 of 3 cores (its control group leaves it 0.5 CPUs)"))
        );
        assert_eq!(choose(Some(half), 1, Some(true)), (vec![2], true, None));
        let only_pinning = told("pinning (its control group leaves it 0.5 CPUs)");
        assert_eq!(choose(Some(half), 1, None), (vec![2], false, only_pinning), "one core was wanted");
    }

    #[test]
    fn the_cpus_with_the_fewest_cores_come_first() {
        let mask = cpus(&[0, 1, 5]);
        let counts = BTreeMap::from([(Cpu::new(0), 2), (Cpu::new(1), 1), (Cpu::new(7), 9)]);
        let chosen = |most| numbers(&choose(&mask, None, most, None, &counts).0);
        assert_eq!((chosen(1), chosen(2), chosen(3)), (vec![5], vec![1, 5], vec![0, 1, 5]));
    }

    /// The count is the process's own, and other tests have cores too: on a CPU that no machine has there are only these.
    #[test]
    fn a_core_counts_until_it_has_ended() {
        let cpu = Cpu::new(60_000);
        let count = || pinned_now().get(&cpu).copied().unwrap_or(0);
        let named = || Wanted::Named(Ok(vec![cpu, cpu]));
        let two = place(named(), None).expect("it is a CPU's number");
        assert_eq!((two.tenures.len(), count()), (2, 2));
        let free = place(named(), Some(false)).expect("it is a CPU's number");
        assert!(!free.pinned && free.tenures.iter().all(Option::is_none));
        assert_eq!(count(), 2, "those that are not pinned burden no CPU");
        drop(two);
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_number_that_is_none_of_a_cpu_is_refused() {
        assert!(place(Wanted::Named(crate::cores::cpus_of([-1])), None).is_err());
    }
}
