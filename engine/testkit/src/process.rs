//! A process, and `wsring serve` as one: started with options, looked at through /proc, stopped by signal, always ended.
//!
//! Owns the process; dropping it kills it. Promises that no wait for it outlasts [`WAIT`]. It refuses to know what the process serves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::WAIT;
use crate::procfs::{Task, cores_allowed, rings, sockets_by_state};

/// A started process whose output is being read.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status; None if a signal ended it.
    pub code: Option<i32>,
    /// What it still wrote to standard output.
    pub lines: Vec<String>,
    /// All it wrote to standard error.
    pub errors: String,
}

impl Ended {
    /// The counters of the stop line.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let line = self.lines.iter().find_map(|line| line.strip_prefix("wsring: stopped | "));
        let line = line.unwrap_or_else(|| panic!("no stop line: {self:?}"));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("no counter: {line}"));
            (name.to_owned(), value.parse().unwrap())
        };
        line.split(' ').map(pair).collect()
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        Self::start_reading(command, usize::MAX)
    }

    /// Closes its standard output after so many lines, as head(1) does.
    pub fn start_reading(command: &mut Command, lines_max: usize) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().take(lines_max).map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Process { child, lines, errors: Some(errors) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output; None if it ended.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(WAIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in {WAIT:?}"),
        }
    }

    /// Whether it has ended: it is a zombie then, which nobody has waited for (proc_pid_stat(5)).
    pub fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
    }

    /// Sends a signal: `INT`, `TERM`, ...
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), and waits until all of it stands still (proc_pid_stat(5)).
    #[track_caller]
    pub fn freeze(&self) {
        self.signal("STOP");
        let stands = |task: std::path::PathBuf| {
            let stat = std::fs::read_to_string(task.join("stat")).expect("it stands still, or goes on");
            stat.rsplit_once(") ").expect("a name").1.starts_with('T')
        };
        let (tasks, since) = (format!("/proc/{}/task", self.id()), Instant::now());
        while !std::fs::read_dir(&tasks).expect("it runs").flatten().all(|task| stands(task.path())) {
            assert!(since.elapsed() < WAIT, "it goes on in spite of SIGSTOP");
            std::thread::sleep(Duration::from_millis(1));
        }
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

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() < WAIT => std::thread::sleep(Duration::from_millis(5)),
                None => panic!("still running after {WAIT:?}"),
            }
        };
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            lines.push(line);
        }
        Ended { code: status.code(), lines, errors: self.errors.take().unwrap().join().unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already in a test that passes
        let _ = self.child.wait();
    }
}

/// `wsring serve`, started and listening.
pub struct Serve {
    process: Process,
    /// The line it printed when it was ready.
    pub start_line: String,
    addrs: Vec<SocketAddr>,
}

impl Serve {
    /// Starts the command with `serve` and these arguments; on one free port unless they say otherwise.
    pub fn start_by(mut command: Command, args: &[&str]) -> Serve {
        command.arg("serve").args(args);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let process = Process::start(&mut command);
        let Some(start_line) = process.line() else { panic!("not started: {:?}", process.end()) };
        let listening = start_line.strip_prefix("wsring: listening on ").and_then(|rest| rest.split(" | ").next());
        let addr =
            |url: &str| url.strip_prefix("ws://").or(url.strip_prefix("wss://"))?.strip_suffix('/')?.parse().ok();
        let urls = |places: &'_ str| -> Option<Vec<SocketAddr>> {
            places.split(' ').filter(|place| !place.starts_with("unix:")).map(addr).collect()
        };
        let addrs = listening.and_then(urls);
        let addrs = addrs.unwrap_or_else(|| panic!("not a start line: {start_line}"));
        Serve { process, start_line, addrs }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// A part of the start line: `cores`, `features`.
    pub fn told(&self, part: &str) -> &str {
        let parts = self.start_line.split(" | ").filter_map(|text| text.split_once(' '));
        { parts }.find(|(name, _)| *name == part).unwrap_or_else(|| panic!("no {part}: {}", self.start_line)).1
    }

    /// Stops it as an operator would, and checks that it ended well.
    pub fn stop(self) -> BTreeMap<String, u64> {
        self.signal("TERM");
        self.ended_well()
    }

    /// The same of one that has had something to tell its operator: also what that was.
    pub fn stop_and_tell(self) -> (BTreeMap<String, u64>, String) {
        self.signal("TERM");
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        (ended.stats(), ended.errors)
    }

    /// The process alone, to wait for its end.
    pub fn into_process(self) -> Process {
        self.process
    }

    /// Waits for its end, which must be a good one.
    pub fn ended_well(self) -> BTreeMap<String, u64> {
        let ended = self.process.end();
        assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
        ended.stats()
    }

    /// Connections of its address that have a socket at this end, by state: see [`sockets_by_state`].
    pub fn sockets(&self) -> BTreeMap<&'static str, usize> {
        sockets_by_state(self.addr())
    }

    /// The threads that run a ring, in the order of their places.
    pub fn rings(&self) -> Vec<Task> {
        let mut rings: Vec<Task> = self.threads().into_iter().filter(|thread| thread.place.is_some()).collect();
        rings.sort_by_key(|thread| thread.place);
        rings
    }

    /// All threads of the process, as /proc tells (proc_pid_status(5)).
    pub fn threads(&self) -> Vec<Task> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        tasks.map(|task| Task::read(&task.unwrap().path())).collect()
    }
}

impl Deref for Serve {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// The first core that this process may use, as an option's value.
pub fn first_core() -> String {
    cores_allowed()[0].to_string()
}

/// Two cores, or None with a printed reason.
pub fn two_cores() -> Option<[usize; 2]> {
    match cores_allowed()[..] {
        [one, two, ..] => Some([one, two]),
        _ => {
            println!("skipped: this machine allows one core only");
            None
        }
    }
}
