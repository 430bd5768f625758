//! Connections that open, upgrade and close, again and again.
//!
//! Owns: nothing that outlives a batch. Promises: the handshake's answer is checked, the server has seen a Close and has ended
//! the connection before it counts. Refuses to know: messages.

use std::io;
use std::time::{Duration, Instant};

use super::course::on_conn;
use super::plan::{Edge, OnEdge, Outcome, Plan, histogram};
use crate::dial::{self, CONNECTIONS_MAX};
use crate::frames::Echo;
use crate::proc;
use crate::stream::Stream;

pub(super) fn run(plan: &Plan, on_edge: OnEdge<'_>) -> io::Result<Outcome> {
    let mut made = 0;
    let mut latencies = histogram();
    let batches = |for_at_least: Duration, made: &mut usize, latencies: &mut hdrhistogram::Histogram<u64>| {
        let begun = Instant::now();
        loop {
            let first = *made % (CONNECTIONS_MAX - plan.connections);
            batch(plan, first, latencies)?;
            *made += plan.connections;
            if begun.elapsed() >= for_at_least {
                return Ok::<_, io::Error>(begun.elapsed().as_secs_f64());
            }
        }
    };
    batches(plan.warmup, &mut made, &mut latencies)?;
    latencies.reset();
    let made_before = made;
    on_edge(Edge::Begin)?;
    let cpu_before = proc::thread_cpu()?;
    let seconds = batches(plan.measured, &mut made, &mut latencies)?;
    let client_cpu = proc::thread_cpu()? - cpu_before;
    on_edge(Edge::End)?;
    let messages = (made - made_before) as u64;
    let client_idle = Duration::ZERO;
    let messages_in_all = made as u64;
    Ok(Outcome { messages, reply_bytes: 0, seconds, latencies, client_cpu, client_idle, messages_in_all })
}

/// `plan.connections` at once, step by step: the server always has several at the same step. A latency is the time from
/// connect(2) to the checked 101.
fn batch(plan: &Plan, first: usize, latencies: &mut hdrhistogram::Histogram<u64>) -> io::Result<()> {
    let mut streams: Vec<(Stream, Instant)> = Vec::with_capacity(plan.connections);
    for nth in first..first + plan.connections {
        let began = Instant::now();
        let stream = plan.target.connect(nth).and_then(|mut stream| {
            plan.target.ask(&mut stream)?;
            Ok(stream)
        });
        streams.push((stream.map_err(|error| on_conn(nth, error))?, began));
    }
    for (nth, (stream, began)) in streams.iter_mut().enumerate() {
        plan.target.hear(stream).map_err(|error| on_conn(first + nth, error))?;
        latencies.saturating_record(began.elapsed().as_nanos() as u64);
    }
    let streams = streams.into_iter().map(|(stream, _)| stream).collect();
    let left = dial::say_goodbye(streams, Echo::WebSocket);
    if left > 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{left} connections were not closed by the server"),
        ));
    }
    Ok(())
}
