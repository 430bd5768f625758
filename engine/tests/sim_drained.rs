//! Cores that are drained, in virtual time, against rude kernels: see `tests/drained` and oracle 35 in `docs/simulation.md`.
//!
//! `SEEDS=20000 cargo test -p wsring --features sim --test sim_drained` runs that many; `SEED=17` runs one and tells its story.

mod drained;

use std::panic::catch_unwind;

use drained::run;
use wsring::Stats;
use wsring_testkit::effort;

fn half(from: u64, seeds: u64) -> Stats {
    let mut total = Stats::default();
    for seed in (from..seeds).step_by(2) {
        let outcome = catch_unwind(|| run(seed, false)).unwrap_or_else(|panic| {
            let command = "cargo test -p wsring --features sim --test sim_drained seeds -- --nocapture";
            eprintln!("seed {seed} failed; its story: SEED={seed} {command}");
            std::panic::resume_unwind(panic)
        });
        total += outcome.stats;
    }
    total
}

#[test]
fn seeds() {
    if let Some(seed) = effort::number("SEED") {
        return println!("{}", run(seed, true).stats);
    }
    let seeds = effort::seeds();
    let mut total = Stats::default();
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1, seeds));
        total = half(0, seeds);
        total += odd.join().expect("a seed failed: see above");
    });
    println!("{seeds} seeds: {total}");
    if seeds < 1000 {
        return; // too few to reach everything
    }
    // Whatever is never reached is not tested.
    let reached = [
        ("drains", total.drains),
        ("drain_open", total.drain_open),
        ("drain_closed", total.drain_closed),
        ("drain_unanswered", total.drain_unanswered),
        ("drain_left", total.drain_left),
        ("drain_stopped", total.drain_stopped),
        ("drain_refused", total.drain_refused),
        ("messages", total.messages),
        ("resets", total.resets),
    ];
    for (what, count) in reached {
        assert!(count * 20 >= seeds, "{seeds} seeds reached {what} {count} times");
    }
}

/// The seed decides everything.
#[test]
fn same_seed_same_trace() {
    for seed in 0..20 {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!((first.trace, first.stats), (second.trace, second.stats), "seed {seed}");
    }
}
