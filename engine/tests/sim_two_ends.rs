//! Two engines that both have a backlog for each other, in any two settings: they move, or one of them ends it with an error, within
//! the memory that each was given.

mod two_ends;

use std::ops::AddAssign;

use two_ends::{Outcome, run};
use wsring::Pressure;
use wsring_testkit::{effort, seeds};

/// What many runs came to.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    /// By what the server and the client do: both pause, the client reads on, the server does, both do.
    by_pressure: [u64; 4],
    timed_out: u64,
    refused: u64,
}

impl From<Outcome> for Total {
    fn from(outcome: Outcome) -> Self {
        let [server, client] = outcome.pressures.map(|pressure| usize::from(pressure == Pressure::ReadOn));
        let mut by_pressure = [0; 4];
        by_pressure[2 * server + client] = 1;
        Self { by_pressure, timed_out: outcome.timed_out.into(), refused: outcome.refused as u64 }
    }
}

impl AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.by_pressure.iter_mut().zip(other.by_pressure).for_each(|(count, more)| *count += more);
        self.timed_out += other.timed_out;
        self.refused += other.refused;
    }
}

#[test]
fn two_ends_with_a_backlog_move_or_end() {
    if let Some(seed) = effort::number("SEED") {
        return println!("{:#?}", run(seed, true));
    }
    let count = effort::seeds() / 4;
    let command = "cargo test -p wsring --features sim --test sim_two_ends";
    let Total { by_pressure, timed_out, refused } =
        seeds::run_all(count, command, |seed| Total::from(run(seed, false)));
    println!("{count} seeds: {by_pressure:?} by settings, {timed_out} cut, {refused} echoes refused");
    if count < 400 {
        return; // too few to reach everything
    }
    // Whatever is never reached is not tested.
    assert!(by_pressure.iter().all(|pairs| pairs * 6 > count), "{by_pressure:?}");
    assert!(timed_out * 50 > count, "{timed_out} of {count} pairs stood still: their backlogs are too small");
    assert!(refused * 20 > count, "{refused} echoes were refused");
}
