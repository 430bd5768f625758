//! `wsring-bench`: a load client, three baselines, and comparisons of servers that alternate.
//!
//! ```text
//! wsring-bench epoll-echo --listen 127.0.0.1:9000        a baseline
//! wsring-bench ring-echo --listen 127.0.0.1:9000         the other raw one; with --tls-cert and --tls-key over TLS
//! wsring-bench tokio-uring --listen 127.0.0.1:9000       wsring's core in another runtime
//! wsring-bench load --url ws://127.0.0.1:9001/ ...       one server under load; --deflate compresses, --tls-ca is for wss://
//! wsring-bench idle --url ws://127.0.0.1:9001/ --pid N   memory of connections at rest
//! wsring-bench ring-client --core 0 --url ws://...       wsring's client, which keeps messages in flight: for client: cells
//! wsring-bench compare --quick                           wsring, its peers and the baselines, turn by turn
//! ```
//!
//! Owns: the command line. Promises: nothing leaves loopback unless asked, and every run ends. Refuses to know: the rest.

#[cfg(not(target_os = "linux"))]
compile_error!("wsring-bench runs on Linux only: it measures io_uring and epoll servers through /proc");

mod cells;
mod certificate;
mod client_echo;
mod compare;
mod contenders;
mod deflate;
mod dial;
#[cfg(test)]
mod echo_tests;
mod epoll_echo;
mod frames;
mod idle;
mod load;
mod machine;
mod net;
mod poller;
mod proc;
mod report;
mod results;
mod ring_buffers;
mod ring_client;
mod ring_echo;
mod show;
mod stream;
mod tls;
mod tokio_echo;
// The messages that the benches of the engine's compression have, too: figures can be laid side by side.
#[path = "../../engine/proto/benches/trade.rs"]
mod trade;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use cells::Cell;
use contenders::Contender;
use dial::Target;
use frames::Payload;
use load::Shape;
use net::Patience;
use report::Line;

/// Measures WebSocket servers side by side, and against baselines.
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
    /// Echo messages with wsring's core on the sockets of a tokio-uring runtime: what a ring of its own earns.
    TokioUring(TokioArgs),
    /// Keep messages in flight with wsring's client until a signal, or until the server closes: what client: cells measure.
    #[command(hide = true)]
    RingClient(ClientArgs),
    /// Load one server and print one JSON line.
    Load(LoadArgs),
    /// Read a server's memory around connections that rest, and print one JSON line.
    Idle(IdleArgs),
    /// Load servers in turns and compare them.
    Compare(Box<CompareArgs>),
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
    /// Speak TLS with the certificate in this file, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen on addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct TokioArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Listen on addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
struct ClientArgs {
    /// A server on loopback that echoes: ws://HOST:PORT/PATH.
    #[arg(long)]
    url: String,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages in flight on each.
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Payload bytes of a message.
    #[arg(long, default_value_t = 125)]
    size: usize,
    /// Core to run on.
    #[arg(long)]
    core: usize,
    /// Microseconds to poll for traffic before sleeping, as of `wsring serve`.
    #[arg(long, default_value_t = 50)]
    spin_us: u32,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// A WebSocket server: ws://HOST:PORT/PATH, or wss:// with --tls-ca.
    #[arg(long)]
    url: Option<String>,
    /// A raw byte echo: HOST:PORT.
    #[arg(long)]
    raw: Option<String>,
}

#[derive(Args)]
struct TlsArgs {
    /// Speak TLS: trust the certificate in this file, in PEM, or what it signs. For wss:// and --raw.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

impl TargetArgs {
    fn resolve(&self, tls: &TlsArgs, allow_remote: bool) -> io::Result<Target> {
        let to = self.url.as_ref().or(self.raw.as_ref());
        if let (Some(to), Some(authority)) = (to, &tls.tls_ca) {
            if to.starts_with("ws://") {
                return Err(io::Error::new(ErrorKind::InvalidInput, format!("{to}: --tls-ca is for wss://")));
            }
            return Target::over_tls(to, tls::client(authority)?, allow_remote);
        }
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
    #[command(flatten)]
    tls: TlsArgs,
    /// Connections; with --fanout subscribers, with --connect so many at a time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages in flight on each; with --fanout published and not yet with everybody.
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Messages a second over all connections instead: latency counts from the intended time of sending.
    #[arg(long, conflicts_with_all = ["depth", "fanout", "connect"])]
    rate: Option<u32>,
    /// One more connection publishes and all receive: the path should be /bcast.
    #[arg(long, conflicts_with = "connect")]
    fanout: bool,
    /// Connect, upgrade and close instead of sending messages.
    #[arg(long)]
    connect: bool,
    /// Payload bytes of a message.
    #[arg(long, default_value_t = 125)]
    size: usize,
    /// What payloads are made of.
    #[arg(long, value_enum, default_value_t = Content::Binary)]
    payload: Content,
    /// Messages of trades as JSON, compressed by permessage-deflate, which the server must accept; or another offer of it.
    #[arg(long, value_name = "OFFER", num_args = 0..=1, default_missing_value = deflate::OFFER,
          conflicts_with_all = ["payload", "raw", "fanout", "connect"])]
    deflate: Option<String>,
    /// Seconds that count.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Seconds under load before that.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// Core to run on; any if not given.
    #[arg(long)]
    core: Option<usize>,
    /// Sleep when there is nothing to do, as most clients do, rather than poll. At a fixed rate it always polls.
    #[arg(long)]
    sleep: bool,
    /// Compare every byte that comes back.
    #[arg(long)]
    check: bool,
    /// Write all latencies to this file, as HdrHistogram's tools read them.
    #[arg(long)]
    hgrm: Option<PathBuf>,
    /// Load addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Content {
    /// Random bytes.
    Binary,
    /// ASCII text.
    Ascii,
    /// Text of letters of two and three bytes.
    Utf8,
}

impl From<Content> for Payload {
    fn from(content: Content) -> Payload {
        match content {
            Content::Binary => Payload::Binary,
            Content::Ascii => Payload::Ascii,
            Content::Utf8 => Payload::MultiByte,
        }
    }
}

#[derive(Args)]
struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tls: TlsArgs,
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
    /// Four shapes of load in under three minutes. This is the default.
    #[arg(long, conflicts_with_all = ["full", "cells"])]
    quick: bool,
    /// All shapes of load in under 40 minutes.
    #[arg(long, conflicts_with = "cells")]
    full: bool,
    /// Shapes of load: SIZExCONNECTIONSxDEPTH, ascii:... or utf8:... for text, deflate:... for trades as JSON, compressed
    /// both ways, tls:... over TLS 1.3 (AES-128-GCM), rate:SIZExCONNECTIONS@RATE, fanout:SIZExSUBSCRIBERSxDEPTH,
    /// connect:AT_A_TIME, idle:CONNECTIONS, client:SIZExCONNECTIONSxDEPTH for what a client needs, in the server's place.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<Cell>,
    /// Rounds for each; in every round each server has its turn.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that count in each turn.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Seconds under load before that.
    #[arg(long, value_parser = seconds)]
    warmup: Option<Duration>,
    /// Only these, by name; if none is called so, all whose name begins so.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Another server: NAME=COMMAND, or NAME:raw=COMMAND for one that returns bytes as they come; {port} and {core} are filled
    /// in. NAME:deflate=COMMAND is the same server for deflate: cells, NAME:tls=COMMAND for tls: cells, with {cert} and {key};
    /// NAME:client=COMMAND is a client that dials {port}, for client: cells, with {connections}, {depth} and {size}.
    #[arg(long)]
    extra: Vec<Contender>,
    /// What deflate: cells offer.
    #[arg(long, value_name = "OFFER", default_value = deflate::OFFER, value_parser = offer)]
    deflate_offer: String,
    /// What `bench-harness/peers/build` wrote; where it usually lies unless given.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Whom the others are compared with, by name; the first if not given.
    #[arg(long)]
    base: Option<String>,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The load sleeps when it has nothing to do, rather than poll.
    #[arg(long)]
    sleep: bool,
    /// Compare every byte that comes back. In client: cells it comes back to the client, which is not asked to look.
    #[arg(long)]
    check: bool,
    /// Write JSON lines to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report with its plots to this file.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Write the summary as a Markdown table to this file.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write the latencies of each server in each cell to this folder, as HdrHistogram's tools read them.
    #[arg(long)]
    hgrm: Option<PathBuf>,
}

/// A time between nothing and an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=3600.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err(format!("{text:?} is not a number of seconds from 0 to 3600")),
    }
}

/// An offer of permessage-deflate.
fn offer(text: &str) -> Result<String, String> {
    deflate::context(text).map(|_| text.to_owned())
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wsring-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> io::Result<()> {
    match task {
        Task::EpollEcho(args) => echo(&args),
        Task::RingEcho(args) => ring_echo(&args),
        Task::TokioUring(args) => tokio_echo(&args),
        Task::RingClient(args) => ring_client(&args),
        Task::Load(args) => load_one(&args),
        Task::Idle(args) => idle_one(&args),
        Task::Compare(args) => compare_all(*args),
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
        // SAFETY: an action of zeros is valid (sigaction(2)): an empty mask, no flags; the handler has the type it wants, and
        // only stores to an atomic (signal-safety(7)).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            // The first is a request; a second ends this process at once, and the kernel ends its servers.
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

fn ring_echo(args: &RingArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let address = dial::resolve(&args.listen, args.allow_remote)?;
    let files = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    let tls = files.map(|(certificate, key)| tls::server(certificate, key)).transpose()?;
    let mut echo = ring_echo::RingEcho::bind(address, args.buffers, args.size, tls)?;
    eprintln!("ring-echo: listening on {}", echo.local_addr()?);
    let ended = echo.run(&STOP);
    eprintln!("ring-echo: enters={}", echo.enters());
    ended
}

fn tokio_echo(args: &TokioArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let echo = tokio_echo::TokioEcho::bind(dial::resolve(&args.listen, args.allow_remote)?)?;
    eprintln!("tokio-uring: listening on {}", echo.local_addr()?);
    let stats = echo.run(&STOP)?;
    // How often the runtime enters the kernel is not known here.
    eprintln!("tokio-uring: messages={}", stats.messages);
    Ok(())
}

fn ring_client(args: &ClientArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    // Of another address this is an error.
    let _loopback = Target::web(&args.url, false)?;
    let flight = client_echo::Flight { connections: args.connections, depth: args.depth, size: args.size };
    let stats = ring_client::run(&args.url, flight, args.core, args.spin_us, &STOP)?;
    eprintln!("ring-client: enters={} messages={}", stats.enters, stats.messages);
    Ok(())
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
    let shape = match args.rate {
        Some(rate) => Shape::Open { rate },
        None if args.fanout => Shape::FanOut { depth: args.depth },
        None if args.connect => Shape::Connect,
        None => Shape::Closed { depth: args.depth },
    };
    let target = args.target.resolve(&args.tls, args.allow_remote)?;
    let target = args.deflate.iter().try_fold(target, |target, offer| target.offering(offer))?;
    let plan = load::Plan {
        target,
        shape,
        connections: args.connections,
        payload: args.payload.into(),
        size: args.size,
        warmup: args.warmup,
        measured: args.seconds,
        check: args.check,
        patience: if args.sleep && args.rate.is_none() { Patience::Sleep } else { Patience::Poll },
    };
    let outcome = load::run(&plan, &mut File::open("/dev/urandom")?, &mut |_| Ok(()))?;
    if let Some(path) = &args.hgrm {
        show::hgrm(&outcome.latencies, &mut File::create(path)?)?;
    }
    let us = |quantile| outcome.latencies.value_at_quantile(quantile) as f64 / 1e3;
    let line = Line::new()
        .count("size", args.size as u64)
        .count("connections", args.connections as u64)
        .flag("checked", args.check)
        .count("messages", outcome.messages)
        .number("seconds", outcome.seconds)
        .number("messages_per_s", outcome.rate())
        .number("payload_bytes_per_reply", outcome.reply_len())
        .number("latency_p50_us", us(0.5))
        .number("latency_p99_us", us(0.99))
        .number("latency_p999_us", us(0.999))
        .number("client_cpu_ns_per_message", outcome.client_cpu.as_nanos() as f64 / outcome.messages as f64)
        .number("client_busy_share", outcome.busy())
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
        target: args.target.resolve(&args.tls, args.allow_remote)?,
        pid: args.pid,
        connections: args.connections,
        warm: args.warm,
        size: args.size,
    };
    let idle::Outcome { before, after, kernel_before, kernel_after, quiet } =
        idle::run(&plan, &mut File::open("/dev/urandom")?)?;
    let mut line = Line::new().count("connections", args.connections as u64).flag("quiet", quiet);
    for (name, before, after) in [
        ("rss", before.rss, after.rss),
        ("pss", before.pss, after.pss),
        ("anonymous", before.anonymous, after.anonymous),
        ("vm_rss", before.vm_rss, after.vm_rss),
        ("kernel", kernel_before, kernel_after),
    ] {
        let each = (after as f64 - before as f64) / args.connections as f64;
        line = line.count(&format!("{name}_before"), before).count(&format!("{name}_after"), after);
        line = line.number(&format!("{name}_bytes_per_connection"), each);
    }
    writeln!(io::stdout(), "{}", line.finish())
}

fn compare_all(args: CompareArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let plan = plan(&args)?;
    let names: Vec<&str> = plan.contenders.iter().map(|contender| contender.name.as_str()).collect();
    let base = match &args.base {
        None => 0,
        Some(base) => names
            .iter()
            .position(|name| name == base)
            .ok_or_else(|| invalid(format!("--base {base}: nobody is called that")))?,
    };
    let mut outputs = Outputs::create(&args)?;
    let mut out = io::stdout();
    let minutes = plan.expected().as_secs_f64() / 60.0;
    writeln!(out, "{}\n{}; about {minutes:.0} min", machine::in_short(), names.join(", "))?;
    for contender in &plan.contenders {
        if let Some(why) = &contender.missing {
            writeln!(out, "left out: {}: {why}", contender.name)?;
        }
    }
    let run = compare::run(&plan, &STOP, &mut |run, cell| {
        // A table that cannot be shown does not end a run whose result is still to be written.
        let _ = writeln!(io::stdout(), "{}", show::table(run, cell, base));
    })?;
    // Files first: a reader of the terminal may have gone.
    outputs.write(&run, base)?;
    writeln!(out, "{}", show::summary(&run, base))?;
    for warning in &run.warnings {
        writeln!(out, "note: {warning}")?;
    }
    if let Some(path) = &args.html {
        writeln!(out, "report: {}", path.display())?;
    }
    Ok(())
}

/// Where results go. Made before the run, so that a place that cannot be written to is known at once.
struct Outputs {
    json: Option<File>,
    markdown: Option<File>,
    html: Option<File>,
    hgrm: Option<PathBuf>,
}

impl Outputs {
    fn create(args: &CompareArgs) -> io::Result<Outputs> {
        let file = |path: &Option<PathBuf>| {
            let create = |path: &PathBuf| {
                File::create(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            };
            path.as_ref().map(create).transpose()
        };
        if let Some(folder) = &args.hgrm {
            std::fs::create_dir_all(folder)?;
        }
        let (json, markdown, html) = (file(&args.json)?, file(&args.markdown)?, file(&args.html)?);
        Ok(Outputs { json, markdown, html, hgrm: args.hgrm.clone() })
    }

    fn write(&mut self, run: &results::Run, base: usize) -> io::Result<()> {
        if let Some(file) = &mut self.json {
            let mut lines = io::BufWriter::new(file);
            show::write(run, base, &mut lines)?;
            lines.flush()?;
        }
        if let Some(file) = &mut self.markdown {
            file.write_all(show::markdown(run, base).as_bytes())?;
        }
        if let Some(file) = &mut self.html {
            file.write_all(show::html(run, base).as_bytes())?;
        }
        let Some(folder) = &self.hgrm else { return Ok(()) };
        for cell in &run.cells {
            for (at, contender) in run.contenders.iter().enumerate() {
                if let Some(latencies) = cell.latencies(at) {
                    let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                    let name = format!("{}.{}.hgrm", plain(&cell.id), plain(&contender.name));
                    show::hgrm(&latencies, &mut File::create(folder.join(name))?)?;
                }
            }
        }
        Ok(())
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

/// The command line without the places of its results, which are this machine's business.
fn command_line() -> String {
    let mut line = "wsring-bench".to_owned();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        if ["--json", "--html", "--markdown", "--hgrm", "--peers"].contains(&name) {
            if !word.contains('=') {
                words.next();
            }
            continue;
        }
        let quoted = word.contains([' ', '"', '$', '\\']);
        line += &if quoted { format!(" '{word}'") } else { format!(" {word}") };
    }
    line
}

/// Where `bench-harness/peers/build` leaves its list, seen from the top of the checkout.
const PEERS: &str = "bench-harness/peers/target/peers.json";

/// Everybody who could take part, then those who were asked for.
fn choose(args: &CompareArgs) -> io::Result<Vec<Contender>> {
    let mut contenders = contenders::own()?;
    let list = args.peers.clone().unwrap_or_else(|| PathBuf::from(PEERS));
    if args.peers.is_some() || list.exists() {
        // `peers/target/peers.json`: servers are named from `peers`.
        let folder = list.parent().and_then(|target| target.parent()).unwrap_or(std::path::Path::new("."));
        contenders.extend(contenders::peers(&list, folder)?);
    } else {
        eprintln!("no peers take part: {PEERS} is not there; bench-harness/peers/build makes it");
    }
    for (at, extra) in args.extra.iter().enumerate() {
        // A name that comes again with another way is the same server, if it was named here.
        let named = args.extra[..at].iter().any(|other| other.name == extra.name);
        let same = contenders.iter_mut().find(|contender| named && contender.name == extra.name);
        if !same.is_some_and(|same| same.merge(extra)) {
            contenders.push(extra.clone());
        }
    }
    for (at, contender) in contenders.iter().enumerate() {
        if contenders[..at].iter().any(|other| other.name == contender.name) {
            return Err(invalid(format!("two servers are called {}", contender.name)));
        }
    }
    if args.only.is_empty() {
        return Ok(contenders);
    }
    let mut wanted = vec![false; contenders.len()];
    for name in &args.only {
        let exact = contenders.iter().any(|contender| contender.name == *name);
        let is_meant = |contender: &Contender| match exact {
            true => contender.name == *name,
            false => contender.name.starts_with(name.as_str()),
        };
        let before = wanted.iter().filter(|wanted| **wanted).count();
        contenders.iter().zip(&mut wanted).for_each(|(contender, wanted)| *wanted |= is_meant(contender));
        if wanted.iter().filter(|wanted| **wanted).count() == before && !contenders.iter().any(is_meant) {
            return Err(invalid(format!("--only {name}: nobody is called that")));
        }
    }
    let mut wanted = wanted.into_iter();
    contenders.retain(|_| wanted.next() == Some(true));
    Ok(contenders)
}

fn plan(args: &CompareArgs) -> io::Result<compare::Plan> {
    let contenders = choose(args)?;
    let set = if args.full { cells::FULL } else { cells::QUICK };
    let cells: Vec<Cell> = match &args.cells[..] {
        [] => set.split(',').map(|cell| cell.parse().map_err(invalid)).collect::<io::Result<_>>()?,
        cells => cells.to_vec(),
    };
    let limit = proc::raise_descriptor_limit()?;
    if let Some(cell) = cells.iter().find(|cell| cell.connections() as u64 + 64 > limit) {
        return Err(invalid(format!("{cell} needs more descriptors than {limit} (`ulimit -n -H`)")));
    }
    let quick = !args.full && args.cells.is_empty();
    let (rounds, measured, warmup) = if quick { (3, 700, 200) } else { (5, 1500, 300) };
    let mut plan = compare::Plan {
        cells,
        rounds: args.rounds.unwrap_or(rounds).max(1),
        measured: args.seconds.unwrap_or(Duration::from_millis(measured)),
        warmup: args.warmup.unwrap_or(Duration::from_millis(warmup)),
        contenders,
        server_core: args.server_core,
        load_core: args.load_core,
        offer: args.deflate_offer.clone(),
        check: args.check,
        patience: if args.sleep { Patience::Sleep } else { Patience::Poll },
        command: command_line(),
    };
    plan.drop_variants();
    Ok(plan)
}

#[cfg(test)]
mod tests;
