//! What `/proc` says of processes, threads, sockets and rings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::WAIT;

/// What /proc says of a thread of `wsring serve`.
#[derive(Debug)]
pub struct Task {
    /// Its place among the rings, if it runs one.
    pub place: Option<usize>,
    /// The cores it may run on.
    pub cores: Vec<usize>,
    /// How often it gave up its core to wait.
    pub waits: u64,
    /// Time on a core, in nanoseconds.
    pub cpu_ns: u64,
}

impl Task {
    pub(crate) fn read(task: &std::path::Path) -> Task {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let schedstat = std::fs::read_to_string(task.join("schedstat")).unwrap();
        let name = status_field(&status, "Name");
        Task {
            place: name.strip_prefix("wsring-").and_then(|place| place.parse().ok()),
            cores: core_list(status_field(&status, "Cpus_allowed_list")),
            waits: status_field(&status, "voluntary_ctxt_switches").parse().unwrap(),
            cpu_ns: schedstat.split(' ').next().unwrap().parse().unwrap(),
        }
    }
}

fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// `0-2,5` as numbers.
fn core_list(text: &str) -> Vec<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    };
    text.split(',').flat_map(range).collect()
}

/// The cores that this process may use.
pub fn cores_allowed() -> Vec<usize> {
    core_list(status_field(&std::fs::read_to_string("/proc/self/status").unwrap(), "Cpus_allowed_list"))
}

/// The states of tcp(7), by their numbers in /proc/net/tcp (proc_net_tcp(5)); the first is 1.
const TCP_STATES: [&str; 12] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// The sockets of this local address, by state, whoever has them: the kernel is asked, not a table of the engine's. Without the listener,
/// and without TIME_WAIT, which is what is left of a connection when its socket is gone. A table that is read while others connect can have a line twice.
pub fn sockets_by_state(addr: SocketAddr) -> BTreeMap<&'static str, usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let mut sockets = BTreeMap::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        let hex = |text: &str| u32::from_str_radix(text, 16).expect("hexadecimal");
        let (ip, port) = fields[1].rsplit_once(':').expect("address:port");
        // The four bytes as they lie in memory, printed as a number.
        let local = SocketAddr::from((hex(ip).to_ne_bytes(), hex(port) as u16));
        let state = TCP_STATES[hex(fields[3]) as usize - 1];
        if local == addr && !["LISTEN", "TIME_WAIT"].contains(&state) {
            sockets.insert(fields[2], state); // by the peer's address
        }
    }
    let mut states = BTreeMap::new();
    sockets.into_values().for_each(|state| *states.entry(state).or_default() += 1);
    states
}

/// What `/proc/PID/fdinfo` says of one ring.
#[derive(Debug, Default)]
pub struct RingInfo {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub cq_tail: u32,
    /// Slots of the fixed-file table, and how many hold a socket.
    pub slots: usize,
    pub sockets: usize,
}

/// The rings of a process (`self` for this one).
pub fn rings(pid: &str) -> Vec<RingInfo> {
    let mut rings = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").flatten() {
        let is_ring = |to: std::path::PathBuf| to.to_string_lossy().contains("[io_uring]");
        if !std::fs::read_link(entry.path()).is_ok_and(is_ring) {
            continue;
        }
        let path = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
        // The kernel says nothing of the tables while the ring is busy.
        let deadline = Instant::now() + WAIT;
        while let Ok(text) = std::fs::read_to_string(&path) {
            if text.contains("UserBufs:") {
                rings.push(parse(&text));
                break;
            }
            assert!(Instant::now() < deadline, "the ring is always busy: {text}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    rings
}

/// The ring of this process with so many completion queue entries.
#[track_caller]
pub fn ring_with(cq_entries: u32) -> RingInfo {
    let found = rings("self").into_iter().find(|ring| ring.cq_entries == cq_entries);
    found.unwrap_or_else(|| panic!("no ring with {cq_entries} entries"))
}

fn parse(text: &str) -> RingInfo {
    let mut info = RingInfo::default();
    let mut table = "";
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let hex = || u32::from_str_radix(value.trim_start_matches("0x"), 16).expect("hexadecimal");
        match name {
            "SqMask" => info.sq_entries = hex() + 1,
            "CqMask" => info.cq_entries = hex() + 1,
            "CqTail" => info.cq_tail = value.parse().expect("a number"),
            "UserFiles" => info.slots = value.parse().expect("a number"),
            _ => {}
        }
        if !name.trim().chars().all(|c| c.is_ascii_digit()) {
            table = name;
        } else if table == "UserFiles" {
            info.sockets += 1;
        }
    }
    info
}
