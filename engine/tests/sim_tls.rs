//! The simulation over TLS: the same rude kernel, the same peers and oracles, and rustls on both ends. What is between the
//! socket and the protocol must hold whatever a kernel does: short sends, cuts at every byte, pauses, resets.
//!
//! `SEEDS=500 cargo test -p wsring --features sim,tls --test sim_tls` runs that many; `SEED=17` runs one and tells its story.

mod sim;

use sim::secured::run;
use sim::{Manners, Runs};
use wsring_testkit::{effort, seeds};

const RUNS: Runs = Runs { test: "sim,tls --test sim_tls", run };

#[test]
fn seeds() {
    if RUNS.is_one_told() {
        return;
    }
    let count = effort::seeds().min(2000);
    let stats = RUNS.all(count, Manners::Rude).stats;
    println!("{count} seeds: {stats}");
    if count < 500 {
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
    seeds::assert_reached(count, 20, &reached);
}

/// Nobody does anything wrong, so everything must arrive, and every stream ends with a close_notify.
#[test]
fn a_quiet_kernel_is_complete() {
    let stats = RUNS.all(200, Manners::Quiet).stats;
    assert!(stats.messages > 200 * 5 && stats.tls_failed == 0, "{stats}: the quiet runs test nothing");
}
