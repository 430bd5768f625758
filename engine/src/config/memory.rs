//! How much memory the process may use: what a default budget is a share of.
//!
//! Owns the reading of what bounds it: the machine, its control groups of either version (cgroups(7)), and its own limits
//! (getrlimit(2)). Asks nobody: files are read by whoever asks. What cannot be read bounds nothing.

use crate::cgroups::{Group, groups};

/// Of what the process may use, the part that its peers may have it keep by default: one of so many.
const SHARE: u64 = 2;
/// What the program and a core's own buffers take, so that a small box has room for them.
const PROGRAM: u64 = 16 << 20;
/// The least default of a core.
const LEAST: u64 = 1 << 20;

/// The default budget of each of so many cores, where `read` gives the text of a file and `limits` are those of the process.
pub(super) fn share(cores: usize, read: impl Fn(&str) -> Option<String>, limits: impl Iterator<Item = u64>) -> usize {
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let groups = read("/proc/self/cgroup").map(|text| groups(&text, "memory")).unwrap_or_default();
    let of_group = |group: &Group| read(&group.file("memory.limit_in_bytes", "memory.max"))?.trim().parse().ok();
    let grouped = groups.iter().filter_map(of_group);
    let usable = machine.into_iter().chain(grouped).chain(limits).min().unwrap_or(u64::MAX);
    usize::try_from((usable.saturating_sub(PROGRAM) / SHARE / cores as u64).max(LEAST)).unwrap_or(usize::MAX)
}

/// Bytes of the machine's memory, of /proc/meminfo (proc_meminfo(5)).
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(files: &[(&str, &str)], limits: &[u64], cores: usize) -> u64 {
        let read = |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, text)| (*text).to_owned());
        share(cores, read, limits.iter().copied()) as u64
    }

    /// Files with their text, limits of the process, and what it may use.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u64], u64);

    #[test]
    fn the_least_of_all_bounds_is_shared() {
        let machine = ("/proc/meminfo", "MemFree:  1 kB\nMemTotal:       24683648 kB\nSwapTotal: 0 kB\n");
        let second = ("/proc/self/cgroup", "0::/a/b\n");
        let first = ("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n");
        let table: [Case<'_>; 9] = [
            (&[machine], &[], 24_683_648 * 1024),
            (&[machine, second], &[], 24_683_648 * 1024),
            (&[machine, second, ("/sys/fs/cgroup/a/b/memory.max", "max\n")], &[], 24_683_648 * 1024),
            (&[machine, second, ("/sys/fs/cgroup/a/b/memory.max", "67108864\n")], &[], 64 * MIB),
            (&[machine, second, ("/sys/fs/cgroup/a/memory.max", "67108864\n")], &[], 64 * MIB),
            (&[machine, second, ("/sys/fs/cgroup/memory.max", "67108864\n")], &[], 64 * MIB),
            (&[machine, second, ("/sys/fs/cgroup/unified/a/b/memory.max", "67108864\n")], &[], 64 * MIB),
            (&[machine, first, ("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "268435456\n")], &[], 256 * MIB),
            (&[machine, first], &[u64::MAX, 128 * MIB], 128 * MIB),
        ];
        for (files, limits, usable) in table {
            assert_eq!(of(files, limits, 1), (usable - PROGRAM) / 2, "{files:?}");
            assert_eq!(of(files, limits, 4), (usable - PROGRAM) / 8);
        }
        assert_eq!(of(&[machine, second, ("/sys/fs/cgroup/memory.max", "4096")], &[], 2), LEAST);
        assert_eq!(of(&[], &[], 1), (u64::MAX - PROGRAM) / 2, "nothing is known");
    }
}
