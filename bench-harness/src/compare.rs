//! Servers under the same loads, turn by turn.
//!
//! Owns: the order of turns and what is measured in each. Promises: contenders alternate (A B C, B C A, ...), each turn has a
//! fresh server, CPU time is the server's own over the counted time only, a turn that others disturbed is marked and never
//! dropped, and a contender that fails is named and keeps the others from nothing. Refuses to know: how servers work; it
//! takes their word for nothing but the count of their system calls.

mod applications;
pub mod command;
mod counted;
mod plan;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cells::{self, Cell};
use crate::certificate::Certificate;
use crate::client_echo::{self, ClientEcho, Flight};
use crate::contenders::{Contender, Place, Program, Way};
use crate::dial::Target;
use crate::load::{self, Shape};
use crate::net::Patience;
use crate::proc::{self, Server};
use crate::results::{self, Run, Turn};
use crate::{idle, machine};

use counted::{Measured, counted_turn, with_words};
use plan::{takes_part, way};

pub use plan::Plan;

/// Why a contender that could be asked has no turns in a cell; one that was never meant for it needs no reason.
fn left_out(contender: &Contender, cell: &Cell) -> Option<String> {
    let meant = contender.missing.is_none() && !contender.raw && !contender.is_variant();
    let lacks = match cell.way() {
        Way::Plain | Way::FanOut => return None,
        Way::Deflate => "it has no command for compressed messages (permessage-deflate)",
        Way::Tls => "it has no command for TLS",
        Way::Client => "it has no command for a client",
        Way::Feed => "it has no feed",
        Way::Game => "it has no game",
    };
    (meant && !takes_part(contender, cell)).then(|| lacks.to_owned())
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
                match turn(plan, cell, contender, round, certificate.as_ref()) {
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

fn turn(
    plan: &Plan,
    cell: &Cell,
    contender: &Contender,
    round: usize,
    certificate: Option<&Certificate>,
) -> io::Result<Turn> {
    match *cell {
        Cell::Client(flight) => return client_turn(plan, flight, contender),
        Cell::Feed { .. } => return applications::feed_turn(plan, cell, contender, round),
        Cell::Tick { .. } => return applications::tick_turn(plan, cell, contender),
        Cell::Noisy(_) => return applications::noisy_turn(plan, cell, contender, round),
        Cell::Idle { .. } | Cell::Load { .. } => {}
    }
    let port = proc::free_port()?;
    let files = certificate.map(Certificate::files);
    let place = Place { port, core: plan.server_core, certificate: files, flight: None, program: Program::default() };
    let way = way(contender, cell).expect("who takes part has a way");
    let command = contender.command_at(way, place).expect("who takes part has a command");
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
        _ => unreachable!("it has had its turn"),
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
    let measured = Measured {
        compressed: load.target.context().is_some(),
        answers: matches!(load.shape, Shape::Closed { .. } | Shape::Open { .. }),
        messages: load.shape != Shape::Connect,
        ..Measured::TIMED
    };
    counted_turn(plan, server, measured, |on_edge| load::run(load, &mut random, on_edge))
}

/// The client takes the server's core and place, and what is noted of servers is noted of it.
fn client_turn(plan: &Plan, flight: Flight, contender: &Contender) -> io::Result<Turn> {
    let echo = ClientEcho::bind()?;
    let (port, core) = (echo.port()?, plan.server_core);
    let place = Place { port, core, certificate: None, flight: Some(flight), program: Program::default() };
    let command = contender.command_at(Way::Client, place).expect("who takes part has a command");
    let client = Server::spawn(&command, plan.server_core)?;
    let Plan { warmup, measured, patience, .. } = *plan;
    let echoed = client_echo::Plan { flight, warmup, measured, patience };
    counted_turn(plan, client, Measured { answers: true, ..Measured::UNTIMED }, |on_edge| echo.run(&echoed, on_edge))
}

#[cfg(test)]
mod tests;
