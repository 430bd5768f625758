//! One server: under one load, or looked at while connections rest.
//!
//! Owns: the two command lines, and the JSON line that each prints. Promises: nothing but loopback is reached unless asked.
//! Refuses to know: who started the server.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::args::seconds;
use crate::dial::Target;
use crate::frames::Payload;
use crate::load::{Bodies, Shape};
use crate::net::Patience;
use crate::report::Line;
use crate::{deflate, idle, load, proc, show, tls};

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// A WebSocket server: ws://HOST:PORT/PATH, or wss:// with --tls-ca.
    #[arg(long)]
    url: Option<String>,
    /// A raw byte echo: HOST:PORT.
    #[arg(long)]
    raw: Option<String>,
}

#[derive(Args)]
pub struct TlsArgs {
    /// Speak TLS: trust the certificate in this file, in PEM, or what it signs. For wss:// and --raw.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

/// What the load does with replies. It compares every head and length.
#[derive(Args)]
pub struct BodyArgs {
    /// Compare every byte that comes back too; in client: cells it comes back to the client, which is not asked to look.
    #[arg(long)]
    check: bool,
    /// Copy every reply into the load's memory, as a client does that reads it. Without, the kernel discards bodies of 64 KiB and
    /// more, so that the server does not pay for pages that the load's core has cached; but not over TLS, compressed, in a fan-out,
    /// or where a client is measured: there all are copied anyway.
    #[arg(long, conflicts_with = "check")]
    copy: bool,
}

impl BodyArgs {
    /// What becomes of the replies' bodies.
    pub fn bodies(&self) -> Bodies {
        match (self.check, self.copy) {
            (true, _) => Bodies::Compared,
            (false, true) => Bodies::Copied,
            (false, false) => Bodies::Discarded,
        }
    }
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
pub struct LoadArgs {
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
    #[command(flatten)]
    bodies: BodyArgs,
    /// Write all latencies to this file, as HdrHistogram's tools read them.
    #[arg(long)]
    hgrm: Option<PathBuf>,
    /// Load addresses other than loopback.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Content {
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
pub struct IdleArgs {
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

pub fn load_one(args: &LoadArgs) -> io::Result<()> {
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
        bodies: args.bodies.bodies(),
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
        .flag("checked", plan.bodies == Bodies::Compared)
        .flag("discarded", plan.discards())
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

pub fn idle_one(args: &IdleArgs) -> io::Result<()> {
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
