//! The machine that a run took place on, and what about it spoils a measurement.
//!
//! Owns: what /proc and /sys say. Promises: no host name, no path. Refuses to know: what is measured.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The machine, as (name, value).
pub fn describe() -> Vec<(String, String)> {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let field =
        |name: &str| cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ")).map(|(_, value)| value);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let flag = |name: &str| field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == name));
    let memory = read("/proc/meminfo").and_then(|text| {
        let kib: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)))
    });
    let model =
        ["cpu family", "model", "stepping"].map(|name| field(&format!("{name}\t")).unwrap_or("?").to_owned()).join("/");
    let virtualisation = if flag("hypervisor") { "yes" } else { "none seen" };
    let vector = ["avx2", "avx512bw", "sha_ni"].into_iter().filter(|name| flag(name)).collect::<Vec<_>>().join(" ");
    let facts = [
        ("processor", Some(format!("{} ({model})", field("model name").unwrap_or("unknown")))),
        ("kernel", read("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}"))),
        ("cores", Some(cores.to_string())),
        ("second-level cache", read("/sys/devices/system/cpu/cpu0/cache/index2/size")),
        ("instructions", Some(vector)),
        ("memory", memory),
        ("virtual machine", Some(virtualisation.to_owned())),
        ("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("clock source", read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("TCP congestion control", read("/proc/sys/net/ipv4/tcp_congestion_control")),
        ("huge pages", read("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("mitigations", Some(mitigations())),
    ];
    let known = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.filter(|(_, value)| !value.is_empty()).collect()
}

/// In one line: `Intel(R) Xeon(R) Processor x 2, Linux 6.18`.
pub fn in_short() -> String {
    let facts = describe();
    let fact = |name: &str| facts.iter().find(|(known, _)| known == name).map_or("?", |(_, value)| value.as_str());
    format!("{} x {}, {}", fact("processor"), fact("cores"), fact("kernel"))
}

/// What the kernel does about the processor's faults: each that costs something, or is left open.
fn mitigations() -> String {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return String::new() };
    let mut found: Vec<String> = folder
        .flatten()
        .filter_map(|entry| {
            let state = fs::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            (!state.starts_with("Not affected")).then(|| format!("{name}: {}", state.trim()))
        })
        .collect();
    found.sort();
    found.join("; ")
}

/// Whether a list of cores, as in `0-3,8`, holds `core`.
fn holds(list: &str, core: usize) -> bool {
    list.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if (from..=to).contains(&core))
    })
}

/// What a reader should know before believing a figure.
pub fn warnings(server_core: usize, load_core: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if server_core == load_core {
        warnings.push(format!("server and load share core {server_core}"));
    }
    if let Some(governor) = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        && governor != "performance"
    {
        warnings.push(format!("the frequency governor is {governor}, not performance"));
    }
    let siblings = format!("/sys/devices/system/cpu/cpu{server_core}/topology/thread_siblings_list");
    if let Some(siblings) = read(&siblings)
        && server_core != load_core
        && holds(&siblings, load_core)
    {
        warnings.push(format!("cores {server_core} and {load_core} are threads of one core"));
    }
    let load = read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    if let Some(load) = load
        && load > 0.7
    {
        warnings.push(format!("the machine was busy when the run began: load average {load}"));
    }
    warnings
}

/// Now in UTC: `2026-01-31 12:00`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date_of(seconds / 86_400);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60)
}

/// The date so many days after 1 January 1970 (Gregorian).
fn date_of(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
        assert_eq!(date_of(20_453), (2025, 12, 31));
        assert_eq!(date_of(20_454), (2026, 1, 1));
        assert_eq!(now().len(), "2026-01-31 12:00".len());
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert!(holds("0-3,8", 2) && holds("0-3,8", 8) && holds("1", 1));
        assert!(!holds("0-3,8", 4) && !holds("0-3,8", 9) && !holds("", 0));
    }

    #[test]
    fn the_machine_is_named() {
        let facts = describe();
        for name in ["processor", "cores", "kernel"] {
            assert!(facts.iter().any(|(known, value)| known == name && !value.is_empty()), "{name}");
        }
        assert!(in_short().contains("Linux"));
        assert!(warnings(0, 0).iter().any(|warning| warning.contains("share core 0")));
    }
}
