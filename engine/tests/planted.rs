//! Bugs on purpose: each must make some seed fail, and without any the same seeds must pass. A simulation that catches nothing
//! proves nothing. The list is in `engine/planted.rs`, what catches each in `docs/simulation.md`.

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use sim::{Manners, run};
use wsring::engine::testing::{Bug, plant};

/// Every bug must die within so many seeds.
const SEEDS: u64 = 400;

/// The first seed that fails with this bug, and what it said.
fn first_failure(bug: Option<Bug>) -> Option<(u64, String)> {
    plant(bug);
    let failed = (0..SEEDS).find_map(|seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| run(seed, Manners::Rude, false))).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some((seed, text.unwrap_or_default()))
    });
    plant(None);
    failed
}

#[test]
fn every_planted_bug_is_caught() {
    // Failures are expected here: their panics would only fill the screen. The hook is the process's, so one test owns it.
    std::panic::set_hook(Box::new(|_| {}));
    let honest = first_failure(None);
    let bugs = Mutex::new(Bug::ALL.to_vec());
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(bug) = bugs.lock().expect("no thread panics").pop() else {
                        return;
                    };
                    let failure = first_failure(Some(bug));
                    found.lock().expect("no thread panics").push((bug, failure));
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    assert!(honest.is_none(), "nothing is planted, and a seed fails: {honest:?}");
    let mut found = found.into_inner().expect("no thread panics");
    found.sort_by_key(|(bug, _)| Bug::ALL.iter().position(|known| known == bug));
    let mut survivors = Vec::new();
    for (bug, failure) in found {
        match failure {
            Some((seed, text)) => {
                let line: String = text.lines().next().unwrap_or_default().chars().take(110).collect();
                println!("{:<18} after {:>3} seeds: {line}", format!("{bug:?}"), seed + 1);
            }
            None => survivors.push(bug),
        }
    }
    assert!(survivors.is_empty(), "{SEEDS} seeds did not notice {survivors:?}");
}
