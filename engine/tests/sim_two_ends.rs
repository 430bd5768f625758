//! Two engines that both have a backlog for each other, in any two settings: they move, or one of them ends it with an error, within
//! the memory that each was given.

mod two_ends;

use std::panic::catch_unwind;

use two_ends::{Outcome, run};
use wsring::Pressure;
use wsring_testkit::effort;

/// What many runs came to.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    /// By what the server and the client do: both pause, the client reads on, the server does, both do.
    by_pressure: [u64; 4],
    timed_out: u64,
    refused: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        let [server, client] = outcome.pressures.map(|pressure| usize::from(pressure == Pressure::ReadOn));
        self.by_pressure[2 * server + client] += 1;
        self.timed_out += u64::from(outcome.timed_out);
        self.refused += outcome.refused as u64;
    }
}

fn half(from: u64, seeds: u64) -> Total {
    let mut total = Total::default();
    for seed in (from..seeds).step_by(2) {
        let outcome = catch_unwind(|| run(seed, false)).unwrap_or_else(|panic| {
            let command = "cargo test -p wsring --features sim --test sim_two_ends -- --nocapture";
            eprintln!("seed {seed} failed; its story: SEED={seed} {command}");
            std::panic::resume_unwind(panic)
        });
        total.add(&outcome);
    }
    total
}

#[test]
fn two_ends_with_a_backlog_move_or_end() {
    if let Some(seed) = effort::number("SEED") {
        return println!("{:#?}", run(seed, true));
    }
    let seeds = effort::seeds() / 4;
    let totals = std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1, seeds));
        [half(0, seeds), odd.join().expect("a seed failed: see above")]
    });
    let sum = |of: fn(&Total) -> u64| totals.iter().map(of).sum::<u64>();
    let by_pressure = [0, 1, 2, 3].map(|which| totals.iter().map(|total| total.by_pressure[which]).sum::<u64>());
    let (timed_out, refused) = (sum(|total| total.timed_out), sum(|total| total.refused));
    println!("{seeds} seeds: {by_pressure:?} by settings, {timed_out} cut, {refused} echoes refused");
    if seeds < 400 {
        return; // too few to reach everything
    }
    // Whatever is never reached is not tested.
    assert!(by_pressure.iter().all(|count| count * 6 > seeds), "{by_pressure:?}");
    assert!(timed_out * 50 > seeds, "{timed_out} of {seeds} pairs stood still: their backlogs are too small");
    assert!(refused * 20 > seeds, "{refused} echoes were refused");
}
