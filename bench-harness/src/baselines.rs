//! What this program serves or does itself until a signal: the raw echoes and fan-outs, wsring's core in another runtime,
//! wsring's client.
//!
//! Owns: their command lines. Promises: they listen on loopback unless asked, and say in the end how often they entered the
//! kernel, where that is known. Refuses to know: who loads them.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::dial::{self, Target};
use crate::signals::{STOP, stop_on_signals};
use crate::{client_echo, epoll_echo, epoll_fanout, proc, ring_client, ring_echo, ring_fanout, tls, tokio_echo};

#[derive(Args)]
pub struct EchoArgs {
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
pub struct RingArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Receive buffers: a power of two up to 32768 [default: 2 of 256 KiB; 1024 of 4 KiB before Linux 6.12]
    #[arg(long, requires = "size")]
    buffers: Option<u16>,
    /// Bytes of each
    #[arg(long, requires = "buffers")]
    size: Option<u32>,
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
pub struct ListenArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
    /// Listen on addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
pub struct ClientArgs {
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
    /// Microseconds to poll rather than sleep after a message, as of `wsring serve`.
    #[arg(long, default_value_t = 50)]
    spin_us: u32,
}

pub fn echo(args: &EchoArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let mut echo = epoll_echo::EpollEcho::bind(dial::resolve(&args.listen, args.allow_remote)?, args.buffer)?;
    eprintln!("epoll-echo: listening on {}", echo.local_addr()?);
    let ended = echo.run(&STOP);
    // Here an "enter" is any system call of the loop: epoll_wait, accept, read, write.
    eprintln!("epoll-echo: enters={}", echo.syscalls());
    ended
}

pub fn ring_echo(args: &RingArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let address = dial::resolve(&args.listen, args.allow_remote)?;
    let files = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    let tls = files.map(|(certificate, key)| tls::server(certificate, key)).transpose()?;
    let mut echo = ring_echo::RingEcho::bind(address, args.buffers.zip(args.size), tls)?;
    eprintln!("ring-echo: listening on {}", echo.local_addr()?);
    let ended = echo.run(&STOP);
    eprintln!("ring-echo: enters={}", echo.enters());
    ended
}

pub fn epoll_fanout(args: &ListenArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let mut fanout = epoll_fanout::EpollFanout::bind(dial::resolve(&args.listen, args.allow_remote)?)?;
    eprintln!("epoll-fanout: listening on {}", fanout.local_addr()?);
    let ended = fanout.run(&STOP);
    eprintln!("epoll-fanout: enters={}", fanout.syscalls());
    ended
}

pub fn ring_fanout(args: &ListenArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let mut fanout = ring_fanout::RingFanout::bind(dial::resolve(&args.listen, args.allow_remote)?)?;
    eprintln!("ring-fanout: listening on {}", fanout.local_addr()?);
    let ended = fanout.run(&STOP);
    eprintln!("ring-fanout: enters={}", fanout.enters());
    ended
}

pub fn tokio_echo(args: &ListenArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    let echo = tokio_echo::TokioEcho::bind(dial::resolve(&args.listen, args.allow_remote)?)?;
    eprintln!("tokio-uring: listening on {}", echo.local_addr()?);
    let stats = echo.run(&STOP)?;
    // How often the runtime enters the kernel is not known here.
    eprintln!("tokio-uring: messages={}", stats.messages);
    Ok(())
}

pub fn ring_client(args: &ClientArgs) -> io::Result<()> {
    stop_on_signals();
    proc::raise_descriptor_limit()?;
    // Of another address this is an error.
    let _loopback = Target::web(&args.url, false)?;
    let flight = client_echo::Flight { connections: args.connections, depth: args.depth, size: args.size };
    let stats = ring_client::run(&args.url, flight, args.core, args.spin_us, &STOP)?;
    eprintln!("ring-client: enters={} messages={}", stats.enters, stats.messages);
    Ok(())
}
