//! `wsring-bench`: a load client, baselines, and comparisons of servers that alternate.
//!
//! ```text
//! wsring-bench epoll-echo --listen 127.0.0.1:9000        a baseline
//! wsring-bench ring-echo --listen 127.0.0.1:9000         the other raw one; with --tls-cert and --tls-key over TLS
//! wsring-bench epoll-fanout --listen 127.0.0.1:9000      as a raw fan-out; ring-fanout is the other
//! wsring-bench tokio-uring --listen 127.0.0.1:9000       wsring's core in another runtime
//! wsring-bench load --url ws://127.0.0.1:9001/ ...       one server under load; --deflate compresses, --tls-ca is for wss://
//! wsring-bench idle --url ws://127.0.0.1:9001/ --pid N   memory of connections at rest
//! wsring-bench ring-client --core 0 --url ws://...       wsring's client, which keeps messages in flight: for client: cells
//! wsring-bench mail                                   how long mail takes from a thread to a core of wsring
//! wsring-bench compare --quick                           wsring, its peers and the baselines, turn by turn
//! ```
//!
//! Owns: the command line. Promises: nothing leaves loopback unless asked, and every run ends. Refuses to know: the rest.

#[cfg(not(target_os = "linux"))]
compile_error!("wsring-bench runs on Linux only: it measures io_uring and epoll servers through /proc");

mod args;
mod baselines;
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
mod epoll_fanout;
mod fanout_log;
mod fault;
mod frames;
mod idle;
mod load;
mod machine;
mod mail;
mod net;
mod poller;
mod proc;
mod report;
mod results;
mod ring_buffers;
mod ring_client;
mod ring_echo;
mod ring_fanout;
mod show;
mod signals;
mod single;
mod sockets;
mod stream;
mod tls;
mod tokio_echo;
// The messages that the benches of the engine's compression have, too: figures can be laid side by side.
#[path = "../../engine/proto/benches/trade.rs"]
mod trade;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use baselines::{ClientArgs, EchoArgs, ListenArgs, RingArgs};
use compare::command::CompareArgs;
use single::{IdleArgs, LoadArgs};

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
    /// Send what anybody sends to everybody, as raw bytes on epoll, one thread: the fan-out's baseline.
    EpollFanout(ListenArgs),
    /// The same on io_uring: the fan-out's limit.
    RingFanout(ListenArgs),
    /// Echo messages with wsring's core on the sockets of a tokio-uring runtime: what a ring of its own earns.
    TokioUring(ListenArgs),
    /// Keep messages in flight with wsring's client until a signal, or until the server closes: what client: cells measure.
    #[command(hide = true)]
    RingClient(ClientArgs),
    /// Load one server and print one JSON line.
    Load(LoadArgs),
    /// Read a server's memory around connections that rest, and print one JSON line.
    Idle(IdleArgs),
    /// Send mail to a core of wsring from another thread, and print how long it takes.
    Mail(mail::MailArgs),
    /// Load servers in turns and compare them.
    Compare(Box<CompareArgs>),
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

/// What was asked for, to its end.
fn perform(task: Task) -> io::Result<()> {
    match task {
        Task::EpollEcho(args) => baselines::echo(&args),
        Task::RingEcho(args) => baselines::ring_echo(&args),
        Task::EpollFanout(args) => baselines::epoll_fanout(&args),
        Task::RingFanout(args) => baselines::ring_fanout(&args),
        Task::TokioUring(args) => baselines::tokio_echo(&args),
        Task::RingClient(args) => baselines::ring_client(&args),
        Task::Load(args) => single::load_one(&args),
        Task::Idle(args) => single::idle_one(&args),
        Task::Mail(args) => mail::measure(&args),
        Task::Compare(args) => compare::command::compare_all(*args),
    }
}
