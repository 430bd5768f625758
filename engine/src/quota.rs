//! How much CPU time the control groups leave to this process (cgroups(7)): [`CpuQuota`], which bounds a default number of cores.
//!
//! Asks nobody: files are read by whoever asks. What cannot be read bounds nothing.

use std::fmt;

use crate::cgroups::{Group, groups};

/// CPU time that a process may use in any stretch of time, as so many CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuQuota(u64);

impl CpuQuota {
    /// In thousandths of a CPU, rounded up: 500 is half of one.
    #[must_use]
    pub const fn millicpus(self) -> u64 {
        self.0
    }

    /// The most cores that could be busy all the time, and one more for what is left over.
    pub(crate) fn cores(self) -> usize {
        usize::try_from(self.0.div_ceil(1000)).unwrap_or(usize::MAX).max(1)
    }

    #[cfg(test)]
    pub(crate) fn of_millicpus(millicpus: u64) -> Self {
        Self(millicpus)
    }

    /// `quota` microseconds in each `period`; `None` if that is no bound.
    fn of(quota: &str, period: &str) -> Option<Self> {
        // `max` and -1 are no numbers of this kind, and bound nothing.
        let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
        Some(Self(quota.checked_mul(1000)?.checked_add(period.checked_sub(1)?)? / period))
    }
}

/// As a number of CPUs: `0.5`.
impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match format!("{rest:03}").trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            rest => write!(f, "{whole}.{rest}"),
        }
    }
}

/// The least quota of all groups that this process is in, where `read` gives the text of a file.
pub(crate) fn quota(read: impl Fn(&str) -> Option<String>) -> Option<CpuQuota> {
    let groups = groups(&read("/proc/self/cgroup")?, "cpu");
    groups.iter().filter_map(|group| of_group(group, &read)).min()
}

fn of_group(group: &Group, read: &impl Fn(&str) -> Option<String>) -> Option<CpuQuota> {
    let text = read(&group.file("cpu.cfs_quota_us", "cpu.max"))?;
    match text.trim().split_once(' ') {
        Some((quota, period)) => CpuQuota::of(quota, period),
        None => CpuQuota::of(&text, &read(&group.file("cpu.cfs_period_us", "cpu.max"))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<(u64, usize)> {
        let read = |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, text)| (*text).to_owned());
        quota(read).map(|quota| (quota.millicpus(), quota.cores()))
    }

    /// Files with their text, thousandths and cores.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<(u64, usize)>);

    #[test]
    fn the_least_quota_of_all_groups_is_what_there_is() {
        let second = ("/proc/self/cgroup", "0::/a/b\n");
        let first = ("/proc/self/cgroup", "4:cpu,cpuacct:/box\n0::/\n");
        let period = ("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
        let max = |text| ("/sys/fs/cgroup/a/b/cpu.max", text);
        let table: [Case<'_>; 14] = [
            (&[], None),
            (&[second], None),
            (&[second, max("max 100000\n")], None),
            (&[second, max("50000 100000\n")], Some((500, 1))),
            (&[second, max("100000 100000\n")], Some((1000, 1))),
            (&[second, max("100001 100000\n")], Some((1001, 2))),
            (&[second, max("1000 1000000\n")], Some((1, 1))),
            (&[second, max("300000 100000"), ("/sys/fs/cgroup/a/cpu.max", "150000 100000")], Some((1500, 2))),
            (&[second, ("/sys/fs/cgroup/cpu.max", "250000 100000")], Some((2500, 3))),
            (&[second, max("1 0\n")], None),
            (&[first, period, ("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n")], None),
            (&[first, period, ("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n")], Some((500, 1))),
            (&[first, ("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n")], None),
            (&[second, max("18446744073709551615 100000")], None),
        ];
        for (files, expected) in table {
            assert_eq!(of(files), expected, "{files:?}");
        }
    }

    #[test]
    fn it_reads_as_a_number_of_cpus() {
        let told = [1, 500, 1000, 1001, 1250, 16_000].map(|millicpus| CpuQuota(millicpus).to_string());
        assert_eq!(told, ["0.001", "0.5", "1", "1.001", "1.25", "16"]);
    }
}
