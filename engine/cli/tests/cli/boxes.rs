//! Boxes that a program is put into: calls forbidden, no rights, little CPU time and memory.
//!
//! Owns what it makes of the machine, and takes it down. Promises a printed reason where a box cannot be made. Refuses to know what the program does there.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wsring_testkit::{Folder, WAIT};

use crate::process::BIN;

const FORBID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/forbid.py");

/// What to call a program by so that the calls of io_uring fail with this error there.
pub fn forbidding(errno: i32) -> [String; 3] {
    ["python3".to_owned(), FORBID.to_owned(), errno.to_string()]
}

/// A program where the calls of io_uring fail with `errno`; None with a printed reason where that cannot be arranged.
pub fn where_forbidden(errno: i32, program: &str) -> Option<Command> {
    let command = |program: &str| {
        let [python, script, errno] = forbidding(errno);
        let mut command = Command::new(python);
        command.args([&*script, &*errno, program]);
        command
    };
    match command("/bin/true").output() {
        Err(_) => println!("skipped: no python3 here"),
        Ok(output) if output.status.code() == Some(77) => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(_) => return Some(command(program)),
    }
    None
}

/// A copy of the command that a user without rights can reach, in a folder that ends with it.
pub struct Copy(Folder);

impl Copy {
    pub fn new() -> Copy {
        let copy = Copy(Folder::new());
        std::fs::copy(BIN, copy.path()).unwrap();
        copy
    }

    pub fn path(&self) -> PathBuf {
        self.0.path("wsring")
    }
}

/// What to call a program by so that a user runs it who has no rights, and nothing else: what all processes of a user have locked is counted
/// together. None with a printed reason where nobody can become another.
pub fn stranger(copy: &Copy) -> Option<Vec<String>> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let user = 1_000_000 + std::process::id() % 100_000 * 100 + MADE.fetch_add(1, Ordering::Relaxed) % 100;
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    let becomes = ["setpriv", &user, &group, "--clear-groups", "--no-new-privs"].map(str::to_owned);
    let reaches = Command::new(&becomes[0]).args(&becomes[1..]).arg(copy.path()).arg("--version").output();
    if !reaches.is_ok_and(|output| output.status.success()) {
        println!("skipped: only root can become somebody else, with setpriv");
        return None;
    }
    Some(becomes.into())
}

/// A control group of half a CPU and 128 MiB, of either version (cgroups(7)).
pub struct HalfCpu {
    folders: Vec<PathBuf>,
}

impl HalfCpu {
    /// None with a printed reason where there can be none.
    pub fn new() -> Option<HalfCpu> {
        const MEMORY: &str = "134217728";
        let (root, name) = (PathBuf::from("/sys/fs/cgroup"), format!("wsring-box-{}", std::process::id()));
        let first = [
            ("cpu", &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")][..]),
            ("memory", &[("memory.limit_in_bytes", MEMORY)][..]),
        ];
        let second = [("", &[("cpu.max", "50000 100000"), ("memory.max", MEMORY)][..])];
        let groups = if root.join("cpu").is_dir() { &first[..] } else { &second[..] };
        let mut made = HalfCpu { folders: Vec::new() };
        for (controller, limits) in groups {
            let root = root.join(controller);
            if controller.is_empty() {
                // Where others have a say in it they may have done so already: whether it can be used shows below.
                let _ = std::fs::write(root.join("cgroup.subtree_control"), "+cpu +memory");
            }
            let folder = root.join(&name);
            let group = std::fs::create_dir(&folder).and_then(|()| {
                made.folders.push(folder.clone());
                limits.iter().try_for_each(|(file, limit)| std::fs::write(folder.join(file), limit))
            });
            if let Err(error) = group {
                println!("skipped: no control group in {}: {error}", root.display());
                return None;
            }
        }
        Some(made)
    }

    /// A shell that goes into it and lowers these limits for good, then becomes the program.
    pub fn of(&self, ulimits: &str, program: &[String]) -> Command {
        let enters: String =
            self.folders.iter().map(|folder| format!("echo $$ > {}/cgroup.procs && ", folder.display())).collect();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{enters}{ulimits} && exec \"$@\""), "sh"]).args(program);
        shell
    }
}

impl Drop for HalfCpu {
    fn drop(&mut self) {
        let since = Instant::now();
        for folder in &self.folders {
            // The process may have ended a moment ago.
            while folder.exists() && std::fs::remove_dir(folder).is_err() && since.elapsed() < WAIT {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
