//! Processes as the kernel accounts for them, and the server processes that a comparison starts.
//!
//! Owns: the child. Promises: CPU time in nanoseconds over all threads, memory as the kernel counts it, a server that is
//! ended by its own id whatever happens. Refuses to know: what the server speaks.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

const LISTEN_WAIT: Duration = Duration::from_secs(10);
const STOP_WAIT: Duration = Duration::from_secs(10);
/// The largest process id that 64-bit Linux gives (proc(5), pid_max).
const PID_MAX: u32 = 1 << 22;
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Lets this thread run on `core` alone.
pub fn pin_thread(core: usize) -> io::Result<()> {
    if pinned(core) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidInput, format!("core {core} cannot be used: see `taskset -p $$` and `nproc`")))
}

fn pinned(core: usize) -> bool {
    // A mask has room for 1024 cores, and setting a bit beyond it would panic.
    core < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(CoreId { id: core })
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours that the call fills.
    if unsafe { libc::clock_gettime(clock, &mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Nanoseconds of CLOCK_MONOTONIC, which is the same for all processes of a machine.
pub fn monotonic_nanos() -> u64 {
    let time = read_clock(libc::CLOCK_MONOTONIC).expect("every Linux has this clock");
    time.as_nanos() as u64
}

/// CPU time of the calling thread, user and system, in nanoseconds (clock_gettime(2)).
pub fn thread_cpu() -> io::Result<Duration> {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of process `pid` since it began: every thread, io_uring workers and ended ones too, in nanoseconds
/// (clock_getcpuclockid(3)). Soft interrupts that run on the process's back are in it, unless the kernel was built with
/// CONFIG_IRQ_TIME_ACCOUNTING.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    // The C library packs the id into 29 bits of a clock's name, where 0 and ids too large come to mean ourselves.
    if pid == 0 || pid > PID_MAX {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is ours and the call fills it; a wrong pid is an error value.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    read_clock(clock)
}

/// How long the calling thread was ready to run but did not (proc(5), schedstat).
pub fn own_run_queue_wait() -> io::Result<Duration> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    Ok(Duration::from_nanos(nanos))
}

/// How long the threads of `pid` were ready to run but did not: the second field of each schedstat (proc(5)).
pub fn run_queue_wait(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look: then it waits for nothing.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        nanos += line.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Time the hypervisor has taken from `core`, in clock ticks of 10 ms (proc(5), /proc/stat).
pub fn steal_ticks(core: usize) -> io::Result<u64> {
    let name = format!("cpu{core}");
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name));
    let steal = line.and_then(|line| line.split_whitespace().nth(8)).and_then(|field| field.parse().ok());
    steal.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("/proc/stat says nothing of {name}")))
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `VmRSS` of status: per-CPU counters that the kernel folds late, so it may be off by some hundred KiB.
    pub vm_rss: u64,
    /// `Rss` of smaps_rollup: counted page by page, exact.
    pub rss: u64,
    /// `Pss`: shared pages divided by their users.
    pub pss: u64,
    /// `Anonymous`: heap, stacks, private maps.
    pub anonymous: u64,
}

/// Memory of process `pid` now.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let bytes = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("process {pid}: no {name}")))
    };
    Ok(Memory {
        vm_rss: bytes(&status, "VmRSS")?,
        rss: bytes(&rollup, "Rss")?,
        pss: bytes(&rollup, "Pss")?,
        anonymous: bytes(&rollup, "Anonymous")?,
    })
}

/// Kernel memory in slabs, of the whole machine, in bytes (proc(5), meminfo).
pub fn slab() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Slab:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::new(ErrorKind::NotFound, "/proc/meminfo: no Slab"))
}

/// Raises the limit on open descriptors (RLIMIT_NOFILE) as far as it may be without privilege; says what it is now.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours; the first call fills it, the second reads it.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) < 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) < 0
        }
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

/// A port of 127.0.0.1 that nobody listens on at this moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server that this process has started. Dropped, it is killed, with whatever it has started in its group.
pub struct Server {
    child: Child,
    /// It has been waited for: its id is no longer its own.
    reaped: bool,
    /// What it printed: a file that has no name any more, so that nothing is left behind.
    output: File,
}

impl Server {
    /// Starts `command` as [`Server::spawn`] does and waits, up to 10 s, until it listens on `port`.
    pub fn start(command: &[String], core: usize, port: u16) -> io::Result<Server> {
        let mut server = Server::spawn(command, core)?;
        server.wait_listening(SocketAddr::from(([127, 0, 0, 1], port)))?;
        Ok(server)
    }

    /// Starts `command` (program and arguments) pinned to `core`, for one that does not listen. It is killed when the calling
    /// thread ends, too.
    pub fn spawn(command: &[String], core: usize) -> io::Result<Server> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let serial = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsring-bench-{}-{serial}.log", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let log = options.read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "an empty server command"))?;
        let mut start = Command::new(program);
        start.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let prepare = move || {
            // SAFETY: prctl reads its two numbers. Should we die, however suddenly, no server of ours lives on.
            if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
                return Err(io::Error::last_os_error());
            }
            pinned(core).then_some(()).ok_or(io::Error::from_raw_os_error(libc::EINVAL))
        };
        // A group of its own: a Ctrl-C of the terminal is for us to act on, and whatever a wrapper starts ends with it.
        start.process_group(0);
        // SAFETY: between fork and exec `prepare` makes two system calls, prctl and sched_setaffinity, from values on its
        // stack: no allocation, no lock.
        unsafe { start.pre_exec(prepare) };
        let child = start
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program} on core {core}: {error}")))?;
        Ok(Server { child, reaped: false, output: log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_listening(&mut self, addr: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + LISTEN_WAIT;
        loop {
            let listens = TcpStream::connect_timeout(&addr, Duration::from_millis(100)).is_ok();
            let ended = self.has_ended()?;
            // Somebody else may have taken the port while our server failed to.
            if listens && !ended {
                return Ok(());
            }
            if ended || Instant::now() > deadline {
                let state = if ended { self.reap()?.to_string() } else { "it runs".to_owned() };
                let why = format!("the server does not listen on {addr} ({state}); it said: {}", self.said());
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with SIGTERM, after 10 s with SIGKILL; gives back the first 64 KiB of what it printed, both streams. What it
    /// has started and left behind is killed.
    pub fn stop(mut self) -> io::Result<String> {
        self.signal_group(libc::SIGTERM);
        let deadline = Instant::now() + STOP_WAIT;
        while !self.has_ended()? {
            if Instant::now() > deadline {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server did not end within 10 s of SIGTERM"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.reap()?;
        Ok(self.said())
    }

    /// Whether it has ended. It is not waited for, so that its id still names its group, which may live on without it.
    fn has_ended(&self) -> io::Result<bool> {
        assert!(!self.reaped, "asked for after its end was taken notice of: {}", self.child.id());
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: an information of zeros is valid, and the call fills it (waitid(2)); if nothing has ended, its pid stays 0.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            if libc::waitid(libc::P_PID, self.child.id(), &mut info, options) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(info.si_pid() != 0)
        }
    }

    /// Kills what still runs of its group, itself included, and takes notice of its end.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal_group(libc::SIGKILL);
        self.reaped = true;
        self.child.wait()
    }

    /// To the server and whatever it has started.
    fn signal_group(&self, signal: libc::c_int) {
        assert!(!self.reaped, "{} may be somebody else's id by now", self.child.id());
        // SAFETY: takes no pointer. `child` has not been waited for, so its pid is still its own, and its group's.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), signal) };
    }

    /// The last line that it has printed so far, or nothing.
    pub fn last_words(&self) -> String {
        let said = self.said();
        said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned()
    }

    fn said(&self) -> String {
        let mut text = vec![0; OUTPUT_BYTES_MAX];
        // At an offset of its own: the handles share their position with the server's streams.
        let count = self.output.read_at(&mut text, 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..count]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn the_process_clock_counts_every_thread() {
        let pid = std::process::id();
        let before = process_cpu(pid).expect("clock");
        let busy = thread::spawn(|| {
            let begun = thread_cpu().expect("clock");
            while thread_cpu().expect("clock") - begun < Duration::from_millis(30) {
                black_box(());
            }
        });
        busy.join().expect("busy");
        assert!(process_cpu(pid).expect("clock") - before >= Duration::from_millis(30));
        // i32::MAX once read our own clock: see `process_cpu`.
        for nobody in [0, PID_MAX, PID_MAX + 1, i32::MAX as u32, u32::MAX] {
            assert!(process_cpu(nobody).is_err(), "no process {nobody}");
        }
    }

    #[test]
    fn memory_sees_what_is_touched() {
        // Other tests of this process give and take memory meanwhile: one try of twenty without them will do.
        let pid = std::process::id();
        let seen = (0..20).any(|_| {
            let before = memory(pid).expect("memory");
            let touched = black_box(vec![1u8; 64 << 20]);
            let after = memory(pid).expect("memory");
            drop(touched);
            let grown = [after.rss as f64 - before.rss as f64, after.anonymous as f64 - before.anonymous as f64];
            grown.iter().all(|bytes| (60e6..80e6).contains(bytes))
        });
        assert!(seen, "64 MiB came and went unseen");
    }

    #[test]
    fn a_server_is_pinned_and_ended() {
        let core = core_affinity::get_core_ids().expect("cores")[0].id;
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let script = "echo enters=7; grep Cpus_allowed_list /proc/self/status; exec sleep 60";
        let command: Vec<String> = ["sh", "-c", script].map(String::from).into();
        let server = Server::start(&command, core, port).expect("start");
        let pid = server.pid();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !server.said().contains("Cpus_allowed_list") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let said = server.stop().expect("stop");
        assert!(said.contains("enters=7"), "{said}");
        assert!(said.contains(&format!("Cpus_allowed_list:\t{core}\n")), "{said}");
        assert!(process_cpu(pid).is_err(), "{pid} still runs");
    }

    #[test]
    fn a_server_that_dies_is_reported_with_its_words() {
        let port = free_port().expect("port");
        let command: Vec<String> = ["sh", "-c", "echo no ring here; exit 3"].map(String::from).into();
        let core = core_affinity::get_core_ids().expect("cores")[0].id;
        let error = Server::start(&command, core, port).map(|_| ()).expect_err("it died");
        assert!(error.to_string().contains("no ring here"), "{error}");
    }
}
