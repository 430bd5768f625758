//! Many seeds of a simulation, on two threads.
//!
//! Owns what the environment says of them: `FIRST` is the first one. It refuses to know what a run is.

use std::fmt::Debug;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::effort;

/// Runs so many seeds, and adds up what they came to. One that fails names itself and stops both threads; `command` with `SEED` in front of it tells its story.
///
/// # Panics
/// With what went wrong.
pub fn run_all<T: AddAssign + Default + Send>(seeds: u64, command: &str, run: impl Fn(u64) -> T + Sync) -> T {
    let failed = AtomicBool::new(false);
    let first = effort::number("FIRST").unwrap_or(0);
    let half = |odd: u64| {
        let mut total = T::default();
        for seed in (first + odd..first + seeds).step_by(2).take_while(|_| !failed.load(Ordering::Relaxed)) {
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(one) => total += one,
                Err(panic) => {
                    failed.store(true, Ordering::Relaxed);
                    eprintln!("seed {seed} failed; its story: SEED={seed} {command} -- --nocapture");
                    resume_unwind(panic);
                }
            }
        }
        total
    };
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut total = half(0);
        total += odd.join().expect("a seed failed: see above");
        total
    })
}

/// Whatever is never reached is not tested: one seed in so many has reached each of these.
#[track_caller]
pub fn assert_reached(seeds: u64, one_in: u64, counts: &[(&str, u64)]) {
    for (what, count) in counts {
        assert!(count * one_in >= seeds, "{seeds} seeds reached {what} {count} times");
    }
}

/// The seed decides everything: nothing of the machine, its clock or its memory leaks into a run. `trace` is what another seed has another one of.
#[track_caller]
pub fn assert_same_again<O: Debug + PartialEq>(
    seeds: impl IntoIterator<Item = u64>,
    run: impl Fn(u64) -> O,
    trace: impl Fn(&O) -> u64,
) {
    for seed in seeds {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(trace(&first), trace(&run(seed ^ 1 << 20)), "the trace does not depend on the seed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_run_once() {
        assert_eq!(run_all(11, "", |seed| seed + 1), (1..=11).sum());
    }

    #[test]
    fn a_seed_that_fails_fails_the_test() {
        let one = |seed, failing| -> u64 {
            assert_ne!(seed, failing);
            1
        };
        let fails = |failing| catch_unwind(move || run_all(10, "", |seed| one(seed, failing)));
        assert_eq!(fails(10).expect("it is not among them"), 10);
        assert!(fails(3).is_err() && fails(8).is_err());
    }

    #[test]
    fn what_is_not_reached_is_told() {
        assert_reached(1_000, 20, &[("enough", 50)]);
        assert!(catch_unwind(|| assert_reached(1_000, 20, &[("enough", 50), ("too few", 49)])).is_err());
    }

    #[test]
    fn a_run_that_depends_on_something_else_is_told() {
        let calls = AtomicBool::new(false);
        let flips = || assert_same_again(0..1, |seed| (seed, calls.fetch_not(Ordering::Relaxed)), |run| run.0);
        assert!(catch_unwind(AssertUnwindSafe(flips)).is_err());
        assert!(catch_unwind(|| assert_same_again(0..1, |_| 7, |run| *run)).is_err());
        assert_same_again(0..3, |seed| seed, |run| *run);
    }
}
