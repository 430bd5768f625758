//! Requests that are answered later, in virtual time, against rude kernels: see `tests/deferred` and oracle 33 in `docs/simulation.md`.
//!
//! `SEEDS=20000 cargo test -p wsring --features sim --test sim_deferred` runs that many; `SEED=17` runs one and tells its story.

mod deferred;

use deferred::run;
use wsring_testkit::sim::World;

const WORLD: World = World { test: "sim_deferred", run };

#[test]
fn seeds() {
    WORLD.run_seeds(|total| {
        [
            ("deferred", total.deferred),
            ("deferred_answered", total.deferred_answered),
            ("deferred_expired", total.deferred_expired),
            ("deferred_gone", total.deferred_gone),
            ("deferred_refused", total.deferred_refused),
            ("answers_late", total.answers_late),
            ("mail_refused", total.mail_refused),
            ("opened", total.opened),
            ("messages", total.messages),
        ]
    });
}

#[test]
fn same_seed_same_trace() {
    WORLD.is_its_seeds();
}
