//! The counted time of a turn: what its server has used, and the figures that follow.
//!
//! Owns the meters. Promises that CPU time is the server's own over the counted time only, and that a turn which others disturbed is marked.
//! Refuses to know what the load does: that is a closure.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::load::{Edge, OnEdge, Outcome};
use crate::proc::{self, Server};
use crate::report;
use crate::results::{self, Turn};

/// A turn is disturbed when the server or the load stood ready but did not run, or the hypervisor took its core or the load's, for a
/// larger part of the counted time.
const DISTURBED_SHARE: f64 = 0.03;
/// Ticks of /proc/stat a second (USER_HZ, fixed at 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;

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

/// With what a server or a client said last, if all that is seen from here is that it has gone, or never came: it knows why.
pub fn with_words(error: io::Error, server: &Server) -> io::Error {
    match error.kind() {
        // What it sent was wrong, or we asked for what cannot be.
        ErrorKind::InvalidData | ErrorKind::InvalidInput => error,
        kind => io::Error::new(kind, format!("{error}; it said: {}", server.last_words())),
    }
}

/// What is measured in a turn, as far as its figures differ by that.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Replies are compressed.
    pub compressed: bool,
    /// The latencies are the server's.
    pub timed: bool,
    /// There is a reply to each message, so that a server which counts what it receives knows how many there were.
    pub answers: bool,
    /// There are messages.
    pub messages: bool,
}

impl Measured {
    /// Messages that a server sends of its own accord, or whose replies are timed otherwise.
    pub const TIMED: Measured = Measured { compressed: false, timed: true, answers: false, messages: true };
    /// The same where latencies say nothing of the server.
    pub const UNTIMED: Measured = Measured { timed: false, ..Measured::TIMED };
}

/// A turn whose counted time `run` tells.
pub fn counted_turn(
    plan: &Plan,
    server: Server,
    Measured { compressed, timed, answers, messages: has_messages }: Measured,
    run: impl FnOnce(OnEdge<'_>) -> io::Result<Outcome>,
) -> io::Result<Turn> {
    let mut edges = Vec::with_capacity(2);
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
        let all = received.filter(|_| answers);
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
        if timed {
            turn.note(figure, outcome.latencies.value_at_quantile(quantile) as f64 / 1e3);
        }
    }
    if has_messages {
        turn.note(results::SYSCALLS, syscalls);
    }
    turn.note(results::CLIENT_CPU, outcome.worked().as_nanos() as f64 / messages);
    turn.note(results::CLIENT_BUSY, outcome.busy() * 100.0);
    turn.note(results::SERVER_BUSY, server_cpu / window * 100.0);
    turn.note(results::WAITED, waited * 100.0);
    turn.note(results::STOLEN, stolen * 100.0);
    turn.latencies = timed.then_some(outcome.latencies);
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
