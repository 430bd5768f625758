//! Servers under the same loads, turn by turn.
//!
//! Owns: the order of turns and what is measured in each. Promises: contenders alternate (A B C, B C A, ...), each turn has a
//! fresh server, CPU time is the server's own over the counted time only, a turn that others disturbed is marked and never
//! dropped, and a contender that fails is named and keeps the others from nothing. Refuses to know: how servers work; it
//! takes their word for nothing but the count of their system calls.

pub mod command;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cells::{self, Cell};
use crate::certificate::Certificate;
use crate::client_echo::{self, ClientEcho, Flight};
use crate::contenders::{Contender, Place, Way};
use crate::dial::Target;
use crate::load::{self, Bodies, Edge, OnEdge, Outcome, Shape};
use crate::net::Patience;
use crate::proc::{self, Server};
use crate::results::{self, Run, Turn};
use crate::{idle, machine, report};

/// A turn is disturbed when the server or the load stood ready but did not run, or the hypervisor took its core or the load's, for a
/// larger part of the counted time.
const DISTURBED_SHARE: f64 = 0.03;
/// Ticks of /proc/stat a second (USER_HZ, fixed at 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;
/// What a turn takes beside its warm-up and its counted time.
const TURN_OVERHEAD: Duration = Duration::from_millis(150);

/// A comparison.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shapes of load, in order.
    pub cells: Vec<Cell>,
    /// Rounds per cell.
    pub rounds: usize,
    /// Counted time of each turn.
    pub measured: Duration,
    /// Time under load before it.
    pub warmup: Duration,
    /// The servers, in the order of turns.
    pub contenders: Vec<Contender>,
    /// Core of the servers.
    pub server_core: usize,
    /// Core of the load.
    pub load_core: usize,
    /// What is offered where messages are compressed.
    pub offer: String,
    /// What becomes of the replies' bodies.
    pub bodies: Bodies,
    /// How the load waits, except at a fixed rate, where it always polls.
    pub patience: Patience,
    /// The command line, for the report.
    pub command: String,
}

impl Plan {
    /// How long it will take, roughly.
    pub fn expected(&self) -> Duration {
        let turn = self.warmup + self.measured + TURN_OVERHEAD;
        self.cells.iter().map(|cell| turn * (self.turns(cell) * self.rounds) as u32).sum()
    }

    /// Drops who was listed for one kind of cell and finds none of it.
    pub fn drop_variants(&mut self) {
        let cells = &self.cells;
        let stays = |one: &Contender| !one.is_variant() || cells.iter().any(|cell| takes_part(one, cell));
        self.contenders.retain(stays);
    }

    fn turns(&self, cell: &Cell) -> usize {
        self.contenders.iter().filter(|contender| takes_part(contender, cell)).count()
    }
}

fn takes_part(contender: &Contender, cell: &Cell) -> bool {
    let suits = !contender.raw || cell.suits_raw();
    contender.missing.is_none() && suits && contender.command(cell.way()).is_some()
}

/// Why a contender that could be asked has no turns in a cell; one that was never meant for it needs no reason.
fn left_out(contender: &Contender, cell: &Cell) -> Option<String> {
    let meant = contender.missing.is_none() && !contender.raw && !contender.is_variant();
    let lacks = match cell.way() {
        Way::Plain => return None,
        Way::Deflate => "it has no command for compressed messages (permessage-deflate)",
        Way::Tls => "it has no command for TLS",
        Way::Client => "it has no command for a client",
    };
    (meant && !takes_part(contender, cell)).then(|| lacks.to_owned())
}

/// What a server and its core have used so far.
struct Meter {
    at: Instant,
    cpu: Duration,
    wait: Duration,
    load_wait: Duration,
    steal_ticks: u64,
}

impl Meter {
    fn read(pid: u32, plan: &Plan) -> io::Result<Meter> {
        // Both ends of the counted time take this same way, so what it costs cancels.
        let wait = proc::run_queue_wait(pid)?;
        let load_wait = proc::own_run_queue_wait()?;
        let steal_ticks = proc::steal_ticks(plan.server_core)? + proc::steal_ticks(plan.load_core)?;
        Ok(Meter { at: Instant::now(), cpu: proc::process_cpu(pid)?, wait, load_wait, steal_ticks })
    }
}

/// Runs `plan` until its end or until `stop` is set; `on_cell` sees each cell when it is done. Pins this thread to the load's
/// core. Fails only when the machine cannot be read; what a server does wrong stands in the result.
pub fn run(plan: &Plan, stop: &AtomicBool, on_cell: &mut dyn FnMut(&Run, &results::Cell)) -> io::Result<Run> {
    proc::pin_thread(plan.load_core)?;
    let mut run = Run {
        began: machine::now(),
        machine: machine::describe(),
        warnings: machine::warnings(plan.server_core, plan.load_core),
        command: plan.command.clone(),
        rounds: plan.rounds,
        contenders: plan.contenders.iter().map(Contender::describe).collect(),
        cells: Vec::new(),
    };
    let over_tls = plan.cells.iter().any(|cell| cell.way() == Way::Tls);
    let certificate = over_tls.then(Certificate::make).transpose()?;
    let turns: usize = plan.cells.iter().map(|cell| plan.turns(cell) * plan.rounds).sum();
    let bar = ProgressBar::new(turns as u64);
    let style = "{bar:30} {pos}/{len} turns, {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(style).map_err(io::Error::other)?);
    let (mut marked, mut done) = (0, 0);
    for cell in &plan.cells {
        let count = plan.contenders.len();
        let mut result = results::Cell {
            id: cell.to_string(),
            title: cell.title(),
            main: cell.main(),
            turns: vec![Vec::new(); count],
            failures: vec![None; count],
            left_out: plan.contenders.iter().map(|contender| left_out(contender, cell)).collect(),
        };
        'rounds: for round in 0..plan.rounds {
            for step in 0..count {
                // Everybody is first in some round, and follows nobody always.
                let at = (round + step) % count;
                let contender = &plan.contenders[at];
                if stop.load(Ordering::Relaxed) {
                    break 'rounds;
                }
                if !takes_part(contender, cell) || result.failures[at].is_some() {
                    continue;
                }
                bar.set_message(format!("{cell}, round {}, {}", round + 1, contender.name));
                match turn(plan, cell, contender, certificate.as_ref()) {
                    Ok(turn) => {
                        done += 1;
                        marked += usize::from(turn.disturbed.is_some());
                        result.turns[at].push(turn);
                    }
                    // A turn that was ended with the run is nobody's failure.
                    Err(_) if stop.load(Ordering::Relaxed) => break 'rounds,
                    Err(error) => result.failures[at] = Some(format!("round {}: {error}", round + 1)),
                }
                bar.inc(1);
            }
        }
        let any = result.turns.iter().any(|turns| !turns.is_empty()) || result.failures.iter().any(Option::is_some);
        if any {
            bar.suspend(|| on_cell(&run, &result));
            run.cells.push(result);
        }
    }
    bar.finish_and_clear();
    if stop.load(Ordering::Relaxed) {
        run.warnings.push("the run was ended before its time; what it had measured is here".to_owned());
    }
    if marked * 5 > done {
        run.warnings.push(format!("a noisy machine: {marked} of {done} turns were disturbed"));
    }
    Ok(run)
}

fn turn(plan: &Plan, cell: &Cell, contender: &Contender, certificate: Option<&Certificate>) -> io::Result<Turn> {
    if let Cell::Client(flight) = *cell {
        return client_turn(plan, flight, contender);
    }
    let port = proc::free_port()?;
    let place = Place { port, core: plan.server_core, certificate: certificate.map(Certificate::files), flight: None };
    let command = contender.command_at(cell.way(), place).expect("who takes part has a command");
    let server = Server::start(&command, plan.server_core, port)?;
    let address = format!("127.0.0.1:{port}");
    let target = match (cell.way(), contender.raw, certificate) {
        (Way::Tls, true, Some(trusted)) => Target::over_tls(&address, trusted.client.clone(), false)?,
        (Way::Tls, false, Some(trusted)) => {
            Target::over_tls(&format!("wss://{address}{}", cell.path()), trusted.client.clone(), false)?
        }
        (_, true, _) => Target::raw(&address, false)?,
        (_, false, _) => Target::web(&format!("ws://{address}{}", cell.path()), false)?,
    };
    let target = if cell.way() == Way::Deflate { target.offering(&plan.offer)? } else { target };
    match *cell {
        Cell::Client(_) => unreachable!("it has had its turn"),
        Cell::Idle { connections } => idle_turn(server, target, connections),
        Cell::Load { shape, payload, size, connections, .. } => {
            let at_a_rate = matches!(shape, Shape::Open { .. });
            let patience = if at_a_rate { Patience::Poll } else { plan.patience };
            let load = load::Plan {
                target,
                shape,
                connections,
                payload,
                size,
                warmup: plan.warmup,
                measured: plan.measured,
                bodies: plan.bodies,
                patience,
            };
            load_turn(plan, server, &load)
        }
    }
}

fn idle_turn(server: Server, target: Target, connections: usize) -> io::Result<Turn> {
    let plan = idle::Plan { target, pid: server.pid(), connections, warm: 100, size: cells::IDLE_SIZE };
    let outcome = idle::run(&plan, &mut File::open("/dev/urandom")?);
    let outcome = outcome.map_err(|error| with_words(error, &server))?;
    server.stop()?;
    let mut turn = Turn::default();
    for (figure, value) in outcome.figures(connections) {
        turn.note(figure, value);
    }
    if !outcome.quiet {
        turn.disturbed = Some("the server did not come to rest".to_owned());
    }
    Ok(turn)
}

fn load_turn(plan: &Plan, server: Server, load: &load::Plan) -> io::Result<Turn> {
    let mut random = File::open("/dev/urandom")?;
    counted_turn(plan, server, Some(load), |on_edge| load::run(load, &mut random, on_edge))
}

/// The client takes the server's core and place, and what is noted of servers is noted of it.
fn client_turn(plan: &Plan, flight: Flight, contender: &Contender) -> io::Result<Turn> {
    let echo = ClientEcho::bind()?;
    let place = Place { port: echo.port()?, core: plan.server_core, certificate: None, flight: Some(flight) };
    let command = contender.command_at(Way::Client, place).expect("who takes part has a command");
    let client = Server::spawn(&command, plan.server_core)?;
    let Plan { warmup, measured, patience, .. } = *plan;
    let echoed = client_echo::Plan { flight, warmup, measured, patience };
    counted_turn(plan, client, None, |on_edge| echo.run(&echoed, on_edge))
}

/// With what a server or a client said last, if all that is seen from here is that it has gone, or never came: it knows why.
fn with_words(error: io::Error, server: &Server) -> io::Error {
    match error.kind() {
        // What it sent was wrong, or we asked for what cannot be.
        ErrorKind::InvalidData | ErrorKind::InvalidInput => error,
        kind => io::Error::new(kind, format!("{error}; it said: {}", server.last_words())),
    }
}

/// A turn whose counted time `run` tells; `load` is what it does to a server, if it is one that is measured.
fn counted_turn(
    plan: &Plan,
    server: Server,
    load: Option<&load::Plan>,
    run: impl FnOnce(OnEdge<'_>) -> io::Result<Outcome>,
) -> io::Result<Turn> {
    let mut edges = Vec::with_capacity(2);
    let compressed = load.is_some_and(|load| load.target.context().is_some());
    let shape = load.map(|load| load.shape);
    let outcome = run(&mut |_: Edge| {
        edges.push(Meter::read(server.pid(), plan)?);
        Ok(())
    });
    let outcome = outcome.map_err(|error| with_words(error, &server))?;
    let output = server.stop()?;
    let [begin, end] = &edges[..] else { unreachable!("a run has two edges, not {}", edges.len()) };
    if outcome.messages == 0 {
        return Err(io::Error::new(ErrorKind::TimedOut, "no message ended in the counted time: give it more seconds"));
    }
    let messages = outcome.messages as f64;
    let window = (end.at - begin.at).as_secs_f64();
    let server_cpu = (end.cpu - begin.cpu).as_secs_f64();
    let waited = end.wait.saturating_sub(begin.wait).as_secs_f64() / window;
    let load_waited = end.load_wait.saturating_sub(begin.load_wait).as_secs_f64() / window;
    let stolen = end.steal_ticks.saturating_sub(begin.steal_ticks) as f64 / TICKS_PER_SECOND / window;
    // The server's own count covers its whole life; a server that does not count messages is given ours.
    let syscalls = report::printed_count(&output, "enters").map_or(f64::NAN, |enters| {
        let received = report::printed_count(&output, "messages").filter(|&count| count > 0);
        let all = received.filter(|_| !matches!(shape, Some(Shape::FanOut { .. })));
        enters as f64 / all.unwrap_or(outcome.messages_in_all) as f64
    });

    let mut turn = Turn::default();
    turn.note(results::CPU, server_cpu * 1e9 / messages);
    turn.note(results::RATE, outcome.rate());
    if compressed {
        turn.note(results::TRAVELS, outcome.reply_len());
    }
    for (figure, quantile) in [
        (results::P50, 0.5),
        (results::P90, 0.9),
        (results::P99, 0.99),
        (results::P999, 0.999),
        (results::P9999, 0.9999),
        (results::MAX, 1.0),
    ] {
        if load.is_some() {
            turn.note(figure, outcome.latencies.value_at_quantile(quantile) as f64 / 1e3);
        }
    }
    if shape != Some(Shape::Connect) {
        turn.note(results::SYSCALLS, syscalls);
    }
    turn.note(results::CLIENT_CPU, outcome.worked().as_nanos() as f64 / messages);
    turn.note(results::CLIENT_BUSY, outcome.busy() * 100.0);
    turn.note(results::SERVER_BUSY, server_cpu / window * 100.0);
    turn.note(results::WAITED, waited * 100.0);
    turn.note(results::STOLEN, stolen * 100.0);
    turn.latencies = load.is_some().then_some(outcome.latencies);
    turn.disturbed = match () {
        () if waited > DISTURBED_SHARE => {
            Some(format!("the server waited for its core {:.1} % of the time", waited * 100.0))
        }
        () if load_waited > DISTURBED_SHARE => {
            Some(format!("the load waited for its core {:.1} % of the time", load_waited * 100.0))
        }
        () if stolen > DISTURBED_SHARE => Some(format!("the hypervisor took {:.1} % of the time", stolen * 100.0)),
        () => None,
    };
    Ok(turn)
}

#[cfg(test)]
mod tests;
