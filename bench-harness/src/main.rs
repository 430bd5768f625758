//! `wsring-bench`: a load client, an epoll baseline, and comparisons of servers that alternate.
//!
//! ```text
//! wsring-bench epoll-echo --listen 127.0.0.1:9000        the baseline
//! wsring-bench load --url ws://127.0.0.1:9001/ ...       one server under load
//! wsring-bench idle --url ws://127.0.0.1:9001/ --pid N   memory of connections at rest
//! wsring-bench compare                                   the baseline against wsring, turn by turn
//! ```
//!
//! Owns: the command line. Promises: nothing leaves loopback unless asked, and every run ends. Refuses to know: the rest.

#[cfg(not(target_os = "linux"))]
compile_error!("wsring-bench runs on Linux only: it measures io_uring and epoll servers through /proc");

mod compare;
mod dial;
#[cfg(test)]
mod echo_tests;
mod epoll_echo;
mod frames;
mod idle;
mod load;
mod poller;
mod proc;
mod report;
mod ring_echo;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use compare::{Cell, Contender};
use dial::Target;
use report::Line;

/// Measures WebSocket servers against an epoll baseline that parses nothing.
#[derive(Parser)]
#[command(name = "wsring-bench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Echo raw bytes on epoll, one thread: the baseline.
    EpollEcho(EchoArgs),
    /// Echo raw bytes on io_uring, one thread: the limit.
    RingEcho(RingArgs),
    /// Load one server in a closed loop and print one JSON line.
    Load(LoadArgs),
    /// Read a server's memory around connections that rest, and print one JSON line.
    Idle(IdleArgs),
    /// Load two servers in turns and compare them.
    Compare(CompareArgs),
}

#[derive(Args)]
struct EchoArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Bytes of the read buffer.
    #[arg(long, default_value_t = 64 << 10)]
    buffer: usize,
    /// Listen on addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct RingArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Receive buffers: a power of two up to 32768.
    #[arg(long, default_value_t = 16)]
    buffers: u16,
    /// Bytes of each.
    #[arg(long, default_value_t = 64 << 10)]
    size: u32,
    /// Listen on addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// A WebSocket server: ws://HOST:PORT/PATH.
    #[arg(long)]
    url: Option<String>,
    /// A raw byte echo: HOST:PORT.
    #[arg(long)]
    raw: Option<String>,
}

impl TargetArgs {
    fn resolve(&self, allow_remote: bool) -> io::Result<Target> {
        match (&self.url, &self.raw) {
            (Some(url), _) => Target::web(url, allow_remote),
            (None, Some(host)) => Target::raw(host, allow_remote),
            (None, None) => Err(io::Error::new(ErrorKind::InvalidInput, "--url or --raw")),
        }
    }
}

#[derive(Args)]
struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages in flight on each.
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Payload bytes of a message.
    #[arg(long, default_value_t = 125)]
    size: usize,
    /// Seconds that count.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Seconds under load before that.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// Core to run on; any if not given.
    #[arg(long)]
    core: Option<usize>,
    /// Compare every byte that comes back.
    #[arg(long)]
    check: bool,
    /// Load addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The server's process id.
    #[arg(long)]
    pid: u32,
    /// Connections that rest.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Connections opened, used and closed before.
    #[arg(long, default_value_t = 100)]
    warm: usize,
    /// Payload bytes of the one message each carries.
    #[arg(long, default_value_t = 125)]
    size: usize,
    /// Reach addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct CompareArgs {
    /// Shapes of load: SIZExCONNECTIONSxDEPTH.
    #[arg(long, value_delimiter = ',', default_value = "125x64x1,125x64x16,1048576x1x1")]
    cells: Vec<Cell>,
    /// Alternated rounds for each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that count in each turn.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Seconds under load before that.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// The first server, NAME=COMMAND or NAME:raw=COMMAND; SELF is this program, {dir} its folder, {port} and {core} are
    /// filled in.
    #[arg(long, default_value = "epoll=SELF epoll-echo --listen 127.0.0.1:{port}")]
    a: Contender,
    /// The second server, compared with the first.
    #[arg(long, default_value = "wsring={dir}/wsring serve --cores {core} --listen 127.0.0.1:{port}")]
    b: Contender,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Compare every byte that comes back.
    #[arg(long)]
    check: bool,
    /// Write a JSON line per turn and per cell to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A time between nothing and an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=3600.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err(format!("{text:?} is not a number of seconds from 0 to 3600")),
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::EpollEcho(args) => echo(&args),
        Task::RingEcho(args) => ring_echo(&args),
        Task::Load(args) => load_one(&args),
        Task::Idle(args) => idle_one(&args),
        Task::Compare(args) => compare_two(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsring-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Set by SIGINT and SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn stop_on_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = on_signal as extern "C" fn(libc::c_int);
        // SAFETY: the handler has the type that signal(2) wants, and only stores to an atomic (signal-safety(7)).
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

fn ring_echo(args: &RingArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let address = dial::resolve(&args.listen, args.allow_remote)?;
    let mut echo = ring_echo::RingEcho::bind(address, args.buffers, args.size)?;
    eprintln!("ring-echo: listening on {}", echo.local_addr()?);
    let ended = echo.run(&STOP);
    eprintln!("ring-echo: enters={}", echo.enters());
    ended
}

fn echo(args: &EchoArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let mut echo = epoll_echo::EpollEcho::bind(dial::resolve(&args.listen, args.allow_remote)?, args.buffer)?;
    eprintln!("epoll-echo: listening on {}", echo.local_addr()?);
    let ended = echo.run(&STOP);
    // Here an "enter" is any system call of the loop: epoll_wait, accept, read, write.
    eprintln!("epoll-echo: enters={}", echo.syscalls());
    ended
}

fn load_one(args: &LoadArgs) -> io::Result<()> {
    proc::raise_descriptor_limit()?;
    if let Some(core) = args.core {
        proc::pin_thread(core)?;
    }
    let plan = load::Plan {
        target: args.target.resolve(args.allow_remote)?,
        connections: args.connections,
        depth: args.depth,
        size: args.size,
        warmup: args.warmup,
        measured: args.seconds,
        check: args.check,
    };
    let outcome = load::run(&plan, &mut File::open("/dev/urandom")?, &mut |_| Ok(()))?;
    let us = |quantile| outcome.round_trips.value_at_quantile(quantile) as f64 / 1e3;
    let line = Line::new()
        .count("size", args.size as u64)
        .count("connections", args.connections as u64)
        .count("depth", u64::from(args.depth))
        .flag("checked", args.check)
        .count("messages", outcome.messages)
        .number("seconds", outcome.seconds)
        .number("messages_per_s", outcome.rate())
        .number("round_trip_p50_us", us(0.5))
        .number("round_trip_p99_us", us(0.99))
        .number("round_trip_p999_us", us(0.999))
        .number("client_cpu_ns_per_message", outcome.client_cpu.as_nanos() as f64 / outcome.messages as f64)
        .number("client_busy_share", outcome.client_cpu.as_secs_f64() / outcome.seconds)
        .count("messages_in_all", outcome.messages_in_all);
    writeln!(io::stdout(), "{}", line.finish())
}

fn idle_one(args: &IdleArgs) -> io::Result<()> {
    let limit = proc::raise_descriptor_limit()?;
    if args.connections as u64 + 16 > limit {
        let why = format!("{} connections need more descriptors than {limit} (`ulimit -n -H`)", args.connections);
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    let plan = idle::Plan {
        target: args.target.resolve(args.allow_remote)?,
        pid: args.pid,
        connections: args.connections,
        warm: args.warm,
        size: args.size,
    };
    let idle::Outcome { before, after, quiet } = idle::run(&plan, &mut File::open("/dev/urandom")?)?;
    let mut line = Line::new().count("connections", args.connections as u64).flag("quiet", quiet);
    for (name, before, after) in [
        ("rss", before.rss, after.rss),
        ("pss", before.pss, after.pss),
        ("anonymous", before.anonymous, after.anonymous),
        ("vm_rss", before.vm_rss, after.vm_rss),
    ] {
        let each = (after as f64 - before as f64) / args.connections as f64;
        line = line.count(&format!("{name}_before"), before).count(&format!("{name}_after"), after);
        line = line.number(&format!("{name}_bytes_per_connection"), each);
    }
    writeln!(io::stdout(), "{}", line.finish())
}

fn compare_two(args: CompareArgs) -> io::Result<()> {
    proc::raise_descriptor_limit()?;
    let plan = compare::Plan {
        cells: args.cells,
        rounds: args.rounds,
        measured: args.seconds,
        warmup: args.warmup,
        a: args.a,
        b: args.b,
        server_core: args.server_core,
        load_core: args.load_core,
        check: args.check,
        json: args.json,
    };
    compare::run(&plan, &mut io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["x", "compare", "--cells", "1x2x3,4x5x6"]).is_ok());
        assert!(Cli::try_parse_from(["x", "compare", "--cells", "1x2"]).is_err());
        assert!(Cli::try_parse_from(["x", "load", "--url", "ws://127.0.0.1:1/", "--raw", "127.0.0.1:1"]).is_err());
        assert!(Cli::try_parse_from(["x", "load"]).is_err());
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("3600").is_ok() && seconds("3600.1").is_err() && seconds("-1").is_err());
    }
}
