//! Turns of what applications do: a feed with slow readers, a game's tick, a noisy neighbour.
//!
//! Owns which servers such a turn takes and what is noted of it. Promises that with and without what disturbs are measured in one turn, each
//! on a fresh server, in an order that changes from round to round; and that a load which was late itself marks its turn. Refuses to know
//! how a run goes: see `load`.

use std::fs::File;
use std::io;

use hdrhistogram::Histogram;

use super::counted::{Measured, counted_turn};
use super::plan::{self, Plan};
use crate::cells::Cell;
use crate::contenders::{Contender, Place};
use crate::dial::Target;
use crate::load::feed::{self, Readers};
use crate::load::noisy::{self, Noise};
use crate::load::tick;
use crate::proc::{self, Server};
use crate::results::{self, Figure, Turn};

/// A load that works for more of its time than this cannot know what it has kept waiting.
const BUSY_MAX: f64 = 0.95;
/// A load is late when its lateness at the 99th percentile is a larger part of the latency there.
const LATE_SHARE: f64 = 0.5;

const TAIL: [(f64, Figure, Figure, Figure); 3] = [
    (0.5, results::P50, results::ALONE_P50, results::TIMES_P50),
    (0.99, results::P99, results::ALONE_P99, results::TIMES_P99),
    (0.999, results::P999, results::ALONE_P999, results::TIMES_P999),
];

/// A fresh server for a cell, and where it is.
fn start(plan: &Plan, cell: &Cell, contender: &Contender) -> io::Result<(Server, Target)> {
    let port = proc::free_port()?;
    let place = Place { port, core: plan.server_core, certificate: None, flight: None, program: cell.program() };
    let way = plan::way(contender, cell).expect("who takes part has a way");
    let command = contender.command_at(way, place).expect("who takes part has a command");
    let server = Server::start(&command, plan.server_core, port)?;
    let address = format!("127.0.0.1:{port}");
    let target = match contender.raw {
        true => Target::raw(&address, false)?,
        false => Target::web(&format!("ws://{address}{}", cell.path()), false)?,
    };
    Ok((server, target))
}

/// The turn of `disturbed` and the one without, in an order that changes; what the second shows is noted in the first.
fn both(round: usize, mut one: impl FnMut(bool) -> io::Result<Turn>) -> io::Result<Turn> {
    let disturbed_first = !round.is_multiple_of(2);
    let first = one(disturbed_first)?;
    let second = one(!disturbed_first)?;
    let (mut turn, alone) = if disturbed_first { (first, second) } else { (second, first) };
    compared(&mut turn, &alone);
    Ok(turn)
}

/// Notes in a turn what the same without what disturbs has shown.
fn compared(turn: &mut Turn, alone: &Turn) {
    for (_, figure, without, times) in TAIL {
        if let (Some(with), Some(value)) = (turn.figure(figure), alone.figure(figure)) {
            turn.note(without, value);
            turn.note(times, with / value);
        }
    }
    if let (Some(with), Some(value)) = (turn.figure(results::RSS_THEN), alone.figure(results::RSS_THEN)) {
        turn.note(results::RSS_MORE, with - value);
    }
    if turn.disturbed.is_none() {
        turn.disturbed = alone.disturbed.as_ref().map(|why| format!("alone: {why}"));
    }
}

/// Notes how late the load was, and marks a turn of one that cannot tell a server's lateness from its own.
fn note_late(turn: &mut Turn, late: &Histogram<u64>) {
    let late = late.value_at_quantile(0.99) as f64 / 1e3;
    turn.note(results::LOAD_LATE, late);
    let busy = turn.figure(results::CLIENT_BUSY).unwrap_or(0.0) / 100.0;
    let latency = turn.figure(results::P99).unwrap_or(f64::INFINITY);
    if turn.disturbed.is_none() {
        turn.disturbed = match () {
            () if busy > BUSY_MAX => {
                Some(format!("the load could not keep up: busy for {:.0} % of the time", busy * 100.0))
            }
            () if late > LATE_SHARE * latency => {
                Some(format!("the load itself was late: {late:.0} us of {latency:.0} at the 99th percentile"))
            }
            () => None,
        };
    }
}

pub(super) fn feed_turn(plan: &Plan, cell: &Cell, contender: &Contender, round: usize) -> io::Result<Turn> {
    let &Cell::Feed { fast, slow, rate, keys } = cell else { unreachable!("it is a feed") };
    let one = |with_slow: bool| {
        let (server, target) = start(plan, cell, contender)?;
        let slow = if with_slow { slow } else { Readers { count: 0, keys: 0 } };
        let (warmup, measured, pid) = (plan.warmup, plan.measured, Some(server.pid()));
        let load = feed::Plan { target, pid, fast, slow, keys, rate, warmup, measured };
        let mut shown = None;
        let mut turn = counted_turn(plan, server, Measured::TIMED, |on_edge| {
            let (outcome, told) = feed::run(&load, on_edge)?;
            shown = Some(told);
            Ok(outcome)
        })?;
        note_feed(&mut turn, &shown.expect("a run that ends well shows something"));
        Ok(turn)
    };
    match slow.count {
        0 => one(false),
        _ => both(round, one),
    }
}

fn note_feed(turn: &mut Turn, shown: &feed::Shown) {
    turn.note(results::PUBLISHED, shown.published_per_second);
    turn.note(results::RSS_THEN, shown.rss.map_or(f64::NAN, |bytes| bytes as f64));
    let counts = shown.counts;
    turn.note(results::CONFLATED, counts.conflated as f64 / counts.published as f64 * 100.0);
    if let Some(ages) = &shown.ages {
        turn.note(results::AGE_P50, ages.ages.value_at_quantile(0.5) as f64 / 1e6);
        turn.note(results::AGE_MAX, ages.ages.max() as f64 / 1e6);
        turn.note(results::AGE_BEYOND, ages.beyond.map_or(f64::NAN, |nanos| nanos as f64 / 1e6));
    }
    note_late(turn, &shown.late);
}

pub(super) fn tick_turn(plan: &Plan, cell: &Cell, contender: &Contender) -> io::Result<Turn> {
    let &Cell::Tick { players, hz } = cell else { unreachable!("it is a game") };
    let (server, target) = start(plan, cell, contender)?;
    let load = tick::Plan { target, players, hz, warmup: plan.warmup, measured: plan.measured };
    let mut shown = None;
    let mut turn = counted_turn(plan, server, Measured::UNTIMED, |on_edge| {
        let (outcome, told) = tick::run(&load, on_edge)?;
        let skews = outcome.latencies.clone();
        shown = Some((told, outcome.messages, skews));
        Ok(outcome)
    })?;
    let (shown, messages, skews) = shown.expect("a run that ends well shows something");
    if let Some(each) = turn.figure(results::CPU) {
        turn.note(results::TICK_CPU, each * messages as f64 / shown.ticks as f64 / 1e3);
    }
    turn.note(results::TICKS, shown.each);
    turn.note(results::PIECES, shown.pieces);
    for (quantile, told, late, skew) in [
        (0.5, results::TOLD_P50, results::LATE_P50, results::SKEW_P50),
        (0.99, results::TOLD_P99, results::LATE_P99, results::SKEW_P99),
    ] {
        turn.note(told, shown.told_us.value_at_quantile(quantile) as f64);
        turn.note(late, shown.late.value_at_quantile(quantile) as f64 / 1e3);
        turn.note(skew, skews.value_at_quantile(quantile) as f64 / 1e3);
    }
    Ok(turn)
}

pub(super) fn noisy_turn(plan: &Plan, cell: &Cell, contender: &Contender, round: usize) -> io::Result<Turn> {
    let &Cell::Noisy(noise) = cell else { unreachable!("somebody is noisy") };
    both(round, |is_noisy| {
        let (server, target) = start(plan, cell, contender)?;
        let (warmup, measured, offer) = (plan.warmup, plan.measured, plan.offer.clone());
        let noise: Option<Noise> = is_noisy.then_some(noise);
        let load = noisy::Plan { target, noise, offer, warmup, measured };
        let mut random = File::open("/dev/urandom")?;
        let mut shown = None;
        let mut turn = counted_turn(plan, server, Measured::TIMED, |on_edge| {
            let (outcome, told) = noisy::run(&load, &mut random, on_edge)?;
            shown = Some(told);
            Ok(outcome)
        })?;
        let shown = shown.expect("a run that ends well shows something");
        if is_noisy {
            turn.note(results::NOISE, shown.noise_per_second);
        }
        note_late(&mut turn, &shown.late);
        Ok(turn)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histogram;

    fn turn(p50: f64, p99: f64) -> Turn {
        let mut turn = Turn::default();
        turn.note(results::P50, p50);
        turn.note(results::P99, p99);
        turn.note(results::RSS_THEN, p99 * 1e3);
        turn
    }

    #[test]
    fn what_disturbs_is_held_against_the_same_without() {
        for round in 0..4 {
            let mut order = Vec::new();
            let turn = both(round, |disturbed| {
                order.push(disturbed);
                Ok(if disturbed { turn(12.0, 50.0) } else { turn(10.0, 20.0) })
            });
            let turn = turn.expect("both");
            assert_eq!(order, [[false, true], [true, false]][round % 2], "who is first changes");
            let figures =
                [results::P50, results::ALONE_P50, results::TIMES_P50, results::ALONE_P99, results::TIMES_P99];
            assert_eq!(figures.map(|figure| turn.figure(figure)), [12.0, 10.0, 1.2, 20.0, 2.5].map(Some));
            assert_eq!((turn.figure(results::RSS_MORE), turn.figure(results::TIMES_P999)), (Some(30_000.0), None));
        }
        let mut alone = turn(1.0, 1.0);
        alone.disturbed = Some("why".to_owned());
        let mut with = turn(1.0, 1.0);
        compared(&mut with, &alone);
        assert_eq!(with.disturbed.as_deref(), Some("alone: why"));
    }

    /// A load that is late must never look like a server that is.
    #[test]
    fn a_late_load_marks_its_turn() {
        let mut late = histogram();
        late.record_n(40_000, 1000).expect("in range");
        let mut slow = turn(50.0, 100.0);
        note_late(&mut slow, &late);
        assert_eq!(slow.disturbed, None);
        assert!(slow.figure(results::LOAD_LATE).is_some_and(|us| (39.0..41.0).contains(&us)));
        let mut quick = turn(50.0, 70.0);
        note_late(&mut quick, &late);
        assert!(quick.disturbed.is_some_and(|why| why.contains("the load itself was late")));
        let mut busy = turn(50.0, 100.0);
        busy.note(results::CLIENT_BUSY, 96.0);
        note_late(&mut busy, &late);
        assert!(busy.disturbed.is_some_and(|why| why.contains("could not keep up")));
    }
}
