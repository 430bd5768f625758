//! The load client: one thread, one ring, every connection under one shape of load.
//!
//! Owns: which shape of load does what is asked for (`plan`), over the same course (`course`). `echo` keeps messages in flight or sends them at a fixed
//! rate, `fanout` publishes to everybody, `connect` opens and closes. Promises: exact counts (at the end every message sent has
//! been answered once), bounded waits, a fault of the server ends the run with an error that names the connection. Refuses to
//! know: which server it loads.

mod connect;
mod course;
mod echo;
mod fanout;
pub mod feed;
pub mod noisy;
mod plan;
pub mod texts;
pub mod tick;

use std::io::{self, ErrorKind, Read};

use crate::dial::CONNECTIONS_MAX;

pub use course::STALL;
pub use plan::{Bodies, Edge, OnEdge, Outcome, Plan, Shape, histogram};

/// The most messages a second that are asked for.
const RATE_MAX: u32 = 10_000_000;

/// Runs `plan`; payloads and masks come from `random`, and `on_edge` is called at both ends of the counted time. Any fault
/// of the server (a wrong header or length; a wrong byte when checking; a closed connection; 10 s of silence) ends the run
/// with an error that names the connection.
pub fn run(plan: &Plan, random: &mut dyn Read, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    let possible = match plan.shape {
        Shape::Closed { depth } | Shape::FanOut { depth } => depth > 0,
        Shape::Open { rate } => (1..=RATE_MAX).contains(&rate),
        Shape::Connect => true,
    };
    if plan.connections == 0 || plan.connections >= CONNECTIONS_MAX || !possible {
        let why = format!(
            "1 to {} connections with at least one message in flight, or 1 to {RATE_MAX} messages/s",
            CONNECTIONS_MAX - 1
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    match plan.shape {
        Shape::Closed { .. } | Shape::Open { .. } => echo::run(plan, random, on_edge),
        Shape::FanOut { depth } => fanout::run(plan, depth, random, on_edge),
        Shape::Connect => connect::run(plan, on_edge),
    }
}

#[cfg(test)]
mod tests;
