//! A comparison as it is asked for: who takes part, in which cells, and where the results go.
//!
//! Owns: the command line of `compare`. Promises: a place that cannot be written to, and a name that nobody has, are known
//! before anything runs. Refuses to know: how turns go, and what a report looks like.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::args::seconds;
use crate::cells::{self, Cell};
use crate::contenders::{self, Contender};
use crate::net::Patience;
use crate::signals::{STOP, stop_on_signals};
use crate::single::BodyArgs;
use crate::{compare, deflate, machine, proc, results, show};

#[derive(Args)]
pub struct CompareArgs {
    /// Four shapes of load in under three minutes. This is the default.
    #[arg(long, conflicts_with_all = ["full", "applications", "cells"])]
    quick: bool,
    /// All shapes of load in under 40 minutes.
    #[arg(long, conflicts_with = "cells")]
    full: bool,
    /// What applications do: a feed with slow readers, a fan-out, a game's tick, a noisy neighbour. Half an hour; --seconds 60 --rounds 5
    /// is for the ages of what slow readers read, and takes hours.
    #[arg(long, conflicts_with_all = ["full", "cells"])]
    applications: bool,
    /// Shapes of load: SIZExCONNECTIONSxDEPTH, ascii:... or utf8:... for text, deflate:... for trades as JSON, compressed
    /// both ways, tls:... over TLS 1.3 (AES-128-GCM), rate:SIZExCONNECTIONS@RATE, fanout:SIZExSUBSCRIBERSxDEPTH,
    /// connect:AT_A_TIME, idle:CONNECTIONS, client:SIZExCONNECTIONSxDEPTH for what a client needs, in the server's place;
    /// feed:READERSxKEYS[+SLOWxKEYS]@RATE/ALL_KEYS for a feed of values, with and without slow readers, tick:PLAYERSxHZ for a game,
    /// noisy:tiny|ping|long|packed for one quiet peer beside such a neighbour and without it.
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
    /// NAME:client=COMMAND is a client that dials {port}, for client: cells, with {connections}, {depth} and {size}; NAME:feed=COMMAND with
    /// {keys} and {rate} and NAME:game=COMMAND with {hz} speak the protocols of `wsring serve --demo`; NAME:raw:fanout=COMMAND sends
    /// what comes from anybody to everybody.
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
    #[command(flatten)]
    bodies: BodyArgs,
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

/// An offer of permessage-deflate.
fn offer(text: &str) -> Result<String, String> {
    deflate::context(text).map(|_| text.to_owned())
}

pub fn compare_all(args: CompareArgs) -> io::Result<()> {
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

/// Everybody who could take part, then those who were asked for.
fn choose(args: &CompareArgs) -> io::Result<Vec<Contender>> {
    let mut contenders = contenders::own()?;
    let list = args.peers.clone().unwrap_or_else(|| PathBuf::from(PEERS));
    if args.peers.is_some() || list.exists() {
        // `peers/target/peers.json`: servers are named from `peers`.
        let folder = list.parent().and_then(|target| target.parent()).unwrap_or(Path::new("."));
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

/// Where `bench-harness/peers/build` leaves its list, seen from the top of the checkout.
const PEERS: &str = "bench-harness/peers/target/peers.json";

fn plan(args: &CompareArgs) -> io::Result<compare::Plan> {
    let contenders = choose(args)?;
    let set = match (args.full, args.applications) {
        (true, _) => cells::FULL,
        (_, true) => cells::APPLICATIONS,
        _ => cells::QUICK,
    };
    let cells: Vec<Cell> = match &args.cells[..] {
        [] => set.split(',').map(|cell| cell.parse().map_err(invalid)).collect::<io::Result<_>>()?,
        cells => cells.to_vec(),
    };
    let limit = proc::raise_descriptor_limit()?;
    if let Some(cell) = cells.iter().find(|cell| cell.connections() as u64 + 64 > limit) {
        return Err(invalid(format!("{cell} needs more descriptors than {limit} (`ulimit -n -H`)")));
    }
    let quick = !args.full && !args.applications && args.cells.is_empty();
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
        bodies: args.bodies.bodies(),
        patience: if args.sleep { Patience::Sleep } else { Patience::Poll },
        command: command_line(),
    };
    plan.drop_variants();
    Ok(plan)
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

fn invalid(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests;
