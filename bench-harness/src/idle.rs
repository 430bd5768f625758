//! What a connection at rest costs the server in memory.
//!
//! Owns: the connections while they rest. Promises: each has carried a message before it rests, and memory that the server
//! takes once, whatever comes, is not counted. Refuses to know: whose the kernel's memory is; sockets are in no process's
//! figures, so the whole machine's is read.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::dial::{CONNECTIONS_MAX, Target};
use crate::frames::{Frames, Payload, Replies};
use crate::proc::{self, Memory};
use crate::results::{self, Figure};
use crate::stream::Stream;

/// The server is quiet when it used less CPU time than this in [`QUIET_LOOK`].
const QUIET_CPU: Duration = Duration::from_millis(2);
const QUIET_LOOK: Duration = Duration::from_millis(400);
const QUIET_WAIT: Duration = Duration::from_secs(15);

/// What to open and whom to look at.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Its process.
    pub pid: u32,
    /// Connections that rest while memory is read.
    pub connections: usize,
    /// Connections opened, used and closed before the first reading.
    pub warm: usize,
    /// Payload bytes of the one message each connection carries.
    pub size: usize,
}

/// Memory of the server before and after, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// After the warm-up, before the connections.
    pub before: Memory,
    /// With all connections at rest.
    pub after: Memory,
    /// Kernel memory of the whole machine at both times: sockets, both ends of them, and whatever else moved meanwhile.
    pub kernel_before: u64,
    /// As above.
    pub kernel_after: u64,
    /// False if the server still used CPU time when memory was read, 15 s after the last message.
    pub quiet: bool,
}

impl Outcome {
    /// For a report: what each of so many `connections` has taken, and the absolute figures that it is the difference of.
    pub fn figures(&self, connections: usize) -> [(Figure, f64); 4] {
        let each = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
        [
            (results::RSS, each(self.before.rss, self.after.rss)),
            (results::KERNEL, each(self.kernel_before, self.kernel_after)),
            (results::RSS_BEFORE, self.before.rss as f64),
            (results::RSS_AT_REST, self.after.rss as f64),
        ]
    }
}

/// Opens the connections of `plan` one by one and reads the server's memory around them. A connection that fails, or whose
/// echo is not exact, ends the run with an error.
pub fn run(plan: &Plan, random: &mut dyn Read) -> io::Result<Outcome> {
    if plan.connections == 0 || plan.connections.max(plan.warm) > CONNECTIONS_MAX {
        let why = format!("1 to {CONNECTIONS_MAX} connections, not {}", plan.connections);
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    let frames = Frames::new(Payload::Binary, plan.size, 1, plan.target.echo(), random)?;
    drop(open(plan, plan.warm, &frames)?);
    let rested = wait_quiet(plan.pid)?;
    let (before, kernel_before) = (proc::memory(plan.pid)?, proc::slab()?);
    let resting = open(plan, plan.connections, &frames)?;
    let quiet = wait_quiet(plan.pid)?;
    let (after, kernel_after) = (proc::memory(plan.pid)?, proc::slab()?);
    // Memory was read while all of them stood: a server that had dropped some must not look thrifty.
    for (nth, stream) in resting.iter().enumerate() {
        stream.tcp.set_nonblocking(true)?;
        // They end by a reset: ten thousand ports in TIME_WAIT would weigh on the kernel's memory in the next turn.
        SockRef::from(&stream.tcp).set_linger(Some(Duration::ZERO))?;
        let stands = matches!(stream.tcp.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        if !stands {
            let why = format!("connection {nth} was closed, or spoken to, while at rest");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
    }
    Ok(Outcome { before, after, kernel_before, kernel_after, quiet: rested && quiet })
}

fn open(plan: &Plan, count: usize, frames: &Frames) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    let mut reply = vec![0; frames.reply_len()];
    for nth in 0..count {
        let mut echo_once = || {
            let mut stream = plan.target.dial(nth)?;
            stream.write_all(frames.bytes(0, frames.frame_len()))?;
            stream.read_exact(&mut reply)?;
            let fed = Replies::default().feed(frames, &reply, 1, true);
            fed.map_err(io::Error::from)?;
            Ok::<_, io::Error>(stream)
        };
        let opened = echo_once().map_err(|error| io::Error::new(error.kind(), format!("connection {nth}: {error}")))?;
        streams.push(opened);
    }
    Ok(streams)
}

fn wait_quiet(pid: u32) -> io::Result<bool> {
    let deadline = Instant::now() + QUIET_WAIT;
    let mut used = proc::process_cpu(pid)?;
    while Instant::now() < deadline {
        thread::sleep(QUIET_LOOK);
        let now = proc::process_cpu(pid)?;
        if now - used < QUIET_CPU {
            return Ok(true);
        }
        used = now;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoll_echo::EpollEcho;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn each_figure_is_of_its_own_memory() {
        let memory = |rss| Memory { rss, vm_rss: 1, pss: 2, anonymous: 3 };
        let outcome = Outcome {
            before: memory(1_000_000),
            after: memory(1_001_740),
            kernel_before: 900_000,
            kernel_after: 946_900,
            quiet: true,
        };
        assert_eq!(
            outcome.figures(10),
            [
                (results::RSS, 174.0),
                (results::KERNEL, 4690.0),
                (results::RSS_BEFORE, 1_000_000.0),
                (results::RSS_AT_REST, 1_001_740.0)
            ]
        );
        // A server that gave memory back: less than nothing, and no wrap-around.
        let thrifty = Outcome { after: memory(999_000), ..outcome };
        assert_eq!(thrifty.figures(100)[0], (results::RSS, -10.0));
    }

    #[test]
    fn idle_connections_are_opened_and_counted() {
        let mut echo = EpollEcho::bind("127.0.0.1:0".parse().expect("address"), 4096).expect("bind");
        let target = Target::raw(&echo.local_addr().expect("address").to_string(), false).expect("target");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let server = thread::spawn(move || echo.run(&seen));
        let plan = Plan { target, pid: std::process::id(), connections: 200, warm: 20, size: 125 };
        let outcome = run(&plan, &mut io::repeat(9)).expect("run");
        assert!(
            outcome.before.rss > 0 && outcome.after.rss > 0 && outcome.kernel_before > 0 && outcome.kernel_after > 0
        );
        let none = Plan { connections: 0, ..plan };
        assert!(run(&none, &mut io::repeat(9)).is_err());
        stop.store(true, Ordering::Relaxed);
        server.join().expect("server").expect("echo");
    }
}
