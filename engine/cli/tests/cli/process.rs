//! A `wsring serve` process: started with options, looked at through /proc, stopped by signal, always ended.
//!
//! Owns the process; dropping it kills it. Promises that no wait for it outlasts [`PATIENCE`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const BIN: &str = env!("CARGO_BIN_EXE_wsring");

/// Starting and stopping take no longer, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

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
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in {PATIENCE:?}"),
        }
    }

    /// Sends a signal: `INT`, `TERM`, ...
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
                None => panic!("still running after {PATIENCE:?}"),
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

/// Runs `wsring` with these arguments to its end.
pub fn run(args: &[&str]) -> Ended {
    Process::start(Command::new(BIN).args(args)).end()
}

/// `wsring serve`, started and listening.
pub struct Serve {
    process: Process,
    /// The line it printed when it was ready.
    pub start_line: String,
    addrs: Vec<SocketAddr>,
}

impl Serve {
    /// On one free port and on the first core allowed, unless the arguments say otherwise.
    pub fn start(args: &[&str]) -> Serve {
        Self::start_by(Command::new(BIN), args)
    }

    /// Through another command, which is given `serve` and its arguments.
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
        let addrs: Option<Vec<SocketAddr>> = listening.and_then(|urls| urls.split(' ').map(addr).collect());
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

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Stops it as an operator would, and checks that it ended well.
    pub fn stop(self) -> BTreeMap<String, u64> {
        self.signal("TERM");
        self.ended_well()
    }

    /// Waits for its end, which must be a good one.
    pub fn ended_well(self) -> BTreeMap<String, u64> {
        let ended = self.process.end();
        assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
        ended.stats()
    }

    /// The threads that run a ring, in the order of their places.
    pub fn rings(&self) -> Vec<Thread> {
        let mut rings: Vec<Thread> = self.threads().into_iter().filter(|thread| thread.place.is_some()).collect();
        rings.sort_by_key(|thread| thread.place);
        rings
    }

    /// All threads of the process, as /proc tells (proc_pid_status(5)).
    pub fn threads(&self) -> Vec<Thread> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        tasks.map(|task| Thread::read(&task.unwrap().path())).collect()
    }
}

/// What /proc says of a thread.
#[derive(Debug)]
pub struct Thread {
    /// Its place among the rings, if it runs one.
    pub place: Option<usize>,
    /// The cores it may run on.
    pub cores: Vec<usize>,
    /// How often it gave up its core to wait.
    pub waits: u64,
    /// Time on a core, in nanoseconds.
    pub cpu_ns: u64,
}

impl Thread {
    fn read(task: &std::path::Path) -> Thread {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let schedstat = std::fs::read_to_string(task.join("schedstat")).unwrap();
        let name = status_field(&status, "Name");
        Thread {
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

/// A port that nobody else gets while the socket is held; `wsring serve` shares it by SO_REUSEPORT (socket(7)).
pub fn held_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
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
