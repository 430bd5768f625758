//! The simulation over TLS: the same rude kernel, the same peers and oracles, and rustls on both ends. What is between the
//! socket and the protocol must hold whatever a kernel does: short sends, cuts at every byte, pauses, resets.
//!
//! `SEEDS=500 cargo test -p wsring --features sim,tls --test sim_tls` runs that many; `SEED=17` runs one and tells its story.

mod sim;

use sim::secured::run;
use sim::{Manners, Total};
use wsring_testkit::effort;

fn run_all(seeds: u64, manners: Manners) -> Total {
    sim::run_all(seeds, manners, "sim,tls --test sim_tls", run)
}

#[test]
fn seeds() {
    if let Some(seed) = effort::number("SEED") {
        let quiet = std::env::var("MANNERS").is_ok_and(|manners| manners == "Quiet");
        let outcome = run(seed, if quiet { Manners::Quiet } else { Manners::Rude }, true);
        println!("seed {seed}: {:#?}", outcome.stats);
        return;
    }
    let seeds = effort::seeds().min(2000);
    let Total { stats, .. } = run_all(seeds, Manners::Rude);
    println!("{seeds} seeds: {stats}");
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
    ];
    for (what, count) in reached {
        assert!(count * 20 >= seeds, "{seeds} seeds reached {what} {count} times");
    }
}

/// Nobody does anything wrong, so everything must arrive, and every stream ends with a close_notify.
#[test]
fn a_quiet_kernel_is_complete() {
    let Total { stats, .. } = run_all(200, Manners::Quiet);
    assert!(stats.messages > 200 * 5 && stats.tls_failed == 0, "{stats}: the quiet runs test nothing");
}
