//! Owns the `wsring` command as a process of its own, and what `/proc` says of a process and its rings.
//!
//! Promises that the process ends with the test. It refuses to know what the process serves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::WAIT;

/// A running `wsring serve`.
pub struct Process {
    child: Child,
    /// Lines of its standard output.
    lines: Receiver<String>,
    pub start_line: String,
    pub addr: SocketAddr,
}

impl Process {
    /// Starts `program serve --listen 127.0.0.1:0` with these arguments and waits for its start line.
    #[track_caller]
    pub fn serve(program: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
        });
        let Ok(start_line) = lines.recv_timeout(WAIT) else {
            let _ = child.kill();
            panic!("no start line; {:?}", child.wait());
        };
        let addr = start_line.split("ws://").nth(1).and_then(|rest| rest.split('/').next());
        let addr = addr.and_then(|addr| addr.parse().ok());
        let Some(addr) = addr else {
            let _ = child.kill();
            panic!("no address in {start_line:?}; {:?}", child.wait());
        };
        Self { child, lines, start_line, addr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, waits for the end, and returns the exit code and the rest of the output.
    #[track_caller]
    pub fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        // A shell's own `kill`: sending a signal is unsafe code otherwise.
        let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.id())).status();
        assert!(kill.is_ok_and(|status| status.success()), "SIGTERM is sent");
        let deadline = Instant::now() + WAIT;
        let status = loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it does not end after SIGTERM"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        (status.code(), self.lines.iter().collect())
    }

    /// Bytes of memory in use (VmRSS, proc_pid_status(5)).
    pub fn rss(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that was ever in use (VmHWM).
    pub fn rss_peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line of that name");
        let kib: usize = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kib << 10
    }

    /// Processor time it has used: utime and stime, in ticks of 10 ms (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("it runs");
        // Behind the name, which ends in the last bracket, the first field is the third.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |at: usize| fields[at - 3].parse::<u64>().expect("a number");
        Duration::from_millis(10 * (ticks(14) + ticks(15)))
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count()
    }

    /// Sockets that it has open, its listeners among them: descriptors, and slots of its rings' tables. One that was reset is in no
    /// state any more and still open.
    pub fn sockets_open(&self) -> usize {
        let pid = self.id().to_string();
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        let is_socket = |to: std::path::PathBuf| to.to_string_lossy().starts_with("socket:");
        let descriptors = entries.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket)).count();
        descriptors + rings(&pid).iter().map(|ring| ring.sockets).sum::<usize>()
    }

    /// Connections of its address that have a socket at this end, by state: see [`sockets_by_state`].
    pub fn sockets(&self) -> BTreeMap<&'static str, usize> {
        sockets_by_state(self.addr)
    }
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
/// and without TIME_WAIT, which is what is left of a connection when its socket is gone.
pub fn sockets_by_state(addr: SocketAddr) -> BTreeMap<&'static str, usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
    let mut states = BTreeMap::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        let hex = |text: &str| u32::from_str_radix(text, 16).expect("hexadecimal");
        let (ip, port) = fields[1].rsplit_once(':').expect("address:port");
        // The four bytes as they lie in memory, printed as a number.
        let local = SocketAddr::from((hex(ip).to_ne_bytes(), hex(port) as u16));
        let state = TCP_STATES[hex(fields[3]) as usize - 1];
        if local == addr && !["LISTEN", "TIME_WAIT"].contains(&state) {
            *states.entry(state).or_default() += 1;
        }
    }
    states
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
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
    /// Bytes of each registered buffer.
    pub buffers: Vec<usize>,
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
        } else if table == "UserBufs" {
            let (_, len) = value.rsplit_once('/').expect("address/length");
            info.buffers.push(len.parse().expect("a number"));
        }
    }
    info
}
