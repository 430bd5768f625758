//! The simulation over TLS: the same rude kernel, the same peers and oracles, and rustls on both ends. What is between the
//! socket and the protocol must hold whatever a kernel does: short sends, cuts at every byte, pauses, resets.
//!
//! `SEEDS=500 cargo test -p wsring --features sim,tls --test sim_tls` runs that many; `SEED=17` runs one and tells its story.

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sim::Manners;
use sim::secured::run;
use wsring::Stats;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

fn run_all(seeds: u64, manners: Manners) -> (Stats, u64) {
    let (mut stats, mut zero_copies) = (Stats::default(), 0);
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, manners, false))) {
            Ok(outcome) => {
                stats += outcome.stats;
                zero_copies += outcome.counts.zero_copies;
            }
            Err(panic) => {
                let command = "cargo test -p wsring --features sim,tls --test sim_tls seeds -- --nocapture";
                eprintln!("{manners:?} seed {seed} failed; its story: SEED={seed} MANNERS={manners:?} {command}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    (stats, zero_copies)
}

#[test]
fn seeds() {
    if let Some(seed) = number("SEED") {
        let quiet = std::env::var("MANNERS").is_ok_and(|manners| manners == "Quiet");
        let outcome = run(seed, if quiet { Manners::Quiet } else { Manners::Rude }, true);
        println!("seed {seed}: {:#?}", outcome.stats);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(2000).min(2000);
    let (stats, zero_copies) = run_all(seeds, Manners::Rude);
    println!("{seeds} seeds: {stats} zero_copies={zero_copies}");
    if seeds < 500 {
        return; // too few to reach everything
    }
    let reached = [
        ("messages", stats.messages),
        ("compressed", stats.compressed),
        ("full", stats.full),
        ("violations", stats.violations),
        ("timeouts", stats.timeouts),
        ("resets", stats.resets),
        ("tls_failed", stats.tls_failed),
        ("zero_copies", zero_copies),
    ];
    for (what, count) in reached {
        assert!(count * 20 >= seeds, "{seeds} seeds reached {what} {count} times");
    }
}

/// Nobody does anything wrong, so everything must arrive, and every stream ends with a close_notify.
#[test]
fn a_quiet_kernel_is_complete() {
    let (stats, _) = run_all(200, Manners::Quiet);
    assert!(stats.messages > 200 * 5 && stats.tls_failed == 0, "{stats}: the quiet runs test nothing");
}
