//! Cores that are drained, in virtual time, against rude kernels: see `tests/drained` and oracle 35 in `docs/simulation.md`.
//!
//! `SEEDS=20000 cargo test -p wsring --features sim --test sim_drained` runs that many; `SEED=17` runs one and tells its story.

mod drained;

use drained::run;
use wsring_testkit::sim::World;

const WORLD: World = World { test: "sim_drained", run };

#[test]
fn seeds() {
    WORLD.run_seeds(|total| {
        [
            ("drains", total.drains),
            ("drain_open", total.drain_open),
            ("drain_closed", total.drain_closed),
            ("drain_unanswered", total.drain_unanswered),
            ("drain_left", total.drain_left),
            ("drain_stopped", total.drain_stopped),
            ("drain_refused", total.drain_refused),
            ("messages", total.messages),
            ("resets", total.resets),
        ]
    });
}

#[test]
fn same_seed_same_trace() {
    WORLD.is_its_seeds();
}
