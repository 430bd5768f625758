//! Thousands of seeded runs of the whole engine against a simulated kernel and simulated peers: see `docs/simulation.md`.
//!
//! `SEEDS=20000 cargo test -p wsring --features sim --test simulation` runs that many, from `FIRST` on; `SEED=17` runs one and tells its story.

mod sim;

use sim::{Manners, Runs, Total, run};
use wsring_testkit::{effort, seeds};

const RUNS: Runs = Runs { test: "sim --test simulation", run };

#[test]
fn seeds() {
    if RUNS.is_one_told() {
        return;
    }
    let count = effort::seeds();
    let start = std::time::Instant::now();
    let Total { stats, overflows } = RUNS.all(count, Manners::Rude);
    println!("{count} seeds in {:?}: {stats} overflows={overflows}", start.elapsed());
    if count < 1000 {
        return; // too few to reach everything
    }
    let reached = [
        ("messages", stats.messages),
        ("refused", stats.refused),
        ("gone", stats.gone),
        ("full", stats.full),
        ("displaced", stats.displaced),
        ("turned_away", stats.turned_away),
        ("declined", stats.declined),
        ("violations", stats.violations),
        ("timeouts", stats.timeouts),
        ("resets", stats.resets),
        ("starved", stats.starved),
        ("accept_errors", stats.accept_errors),
        ("overflows", overflows),
        ("compressed", stats.compressed),
        ("connected", stats.connected),
        ("dials_failed", stats.dials_failed),
        ("panics", stats.panics),
        ("timers", stats.timers),
        ("ticks", stats.ticks),
        ("memory_refused", stats.memory_refused),
        ("memory_closed", stats.memory_closed),
        ("drains", stats.drains),
    ];
    seeds::assert_reached(count, 40, &reached);
}

/// Prints `manners seed trace` for each seed below `SEEDS`, and a tenth as many quiet ones: what `scripts/traces` compares
/// before and after a change that must not change what the engine does.
#[test]
#[ignore = "a list for scripts/traces, not a test"]
fn traces() {
    let seeds = effort::seeds();
    let half = |odd: u64| -> Vec<(u64, String)> {
        let rude = (odd..seeds).step_by(2).map(|seed| (Manners::Rude, seed));
        let quiet = (odd..seeds / 10).step_by(2).map(|seed| (Manners::Quiet, seed));
        rude.chain(quiet)
            .map(|(manners, seed)| (seed, format!("{manners:?} {seed} {:016x}", run(seed, manners, false).trace)))
            .collect()
    };
    let mut lines = std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut lines = half(0);
        lines.extend(odd.join().expect("a seed failed"));
        lines
    });
    lines.sort();
    lines.iter().for_each(|(_, line)| println!("{line}"));
}

/// Nobody does anything wrong, so everything must arrive: messages, pongs and Closes, both ways.
#[test]
fn quiet_kernel_is_complete() {
    let total = RUNS.all(300, Manners::Quiet).stats;
    assert!(total.messages > 300 * 5, "{total}: the quiet runs test nothing");
}

#[test]
fn same_seed_same_trace() {
    let run = |seed| run(seed, Manners::Rude, false);
    seeds::assert_same_again((0..40).chain([1_000_003, u64::MAX]), run, |outcome| outcome.trace);
}
