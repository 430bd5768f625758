//! Thousands of seeded runs of the whole engine against a simulated kernel and simulated peers: see `docs/simulation.md`.
//!
//! `SEEDS=20000 cargo test -p wsring --features sim --test simulation` runs that many; `SEED=17` runs one and tells its story.

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use sim::{Manners, run, run_story};
use wsring::Stats;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What many runs did, together.
#[derive(Default)]
struct Total {
    stats: Stats,
    overflows: u64,
    zero_copies: u64,
}

/// Runs seeds on two threads; one that fails names itself and stops both.
fn run_all(seeds: u64, manners: Manners) -> Total {
    let failed = AtomicBool::new(false);
    let half = |odd: u64| {
        let mut total = Total::default();
        for seed in (odd..seeds).step_by(2).take_while(|_| !failed.load(Ordering::Relaxed)) {
            match catch_unwind(AssertUnwindSafe(|| run(seed, manners, false))) {
                Ok(outcome) => {
                    total.stats += outcome.stats;
                    total.overflows += outcome.counts.overflows;
                    total.zero_copies += outcome.counts.zero_copies;
                }
                Err(panic) => {
                    failed.store(true, Ordering::Relaxed);
                    let command = "cargo test -p wsring --features sim --test simulation seeds -- --nocapture";
                    eprintln!("{manners:?} seed {seed} failed; its story: SEED={seed} MANNERS={manners:?} {command}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        total
    };
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut total = half(0);
        let odd = odd.join().expect("a seed failed: see above");
        total.stats += odd.stats;
        total.overflows += odd.overflows;
        total.zero_copies += odd.zero_copies;
        total
    })
}

#[test]
fn seeds() {
    if let Some(seed) = number("SEED") {
        let quiet = std::env::var("MANNERS").is_ok_and(|manners| manners == "Quiet");
        let manners = if quiet { Manners::Quiet } else { Manners::Rude };
        let outcome = run(seed, manners, true);
        println!("seed {seed}: {:#?}", outcome.stats);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(2000);
    let start = std::time::Instant::now();
    let Total { stats, overflows, zero_copies } = run_all(seeds, Manners::Rude);
    println!("{seeds} seeds in {:?}: {stats} overflows={overflows} zero_copies={zero_copies}", start.elapsed());
    if seeds < 1000 {
        return; // too few to reach everything
    }
    // Whatever is never reached is not tested.
    let reached = [
        ("messages", stats.messages),
        ("refused", stats.refused),
        ("gone", stats.gone),
        ("full", stats.full),
        ("declined", stats.declined),
        ("violations", stats.violations),
        ("timeouts", stats.timeouts),
        ("resets", stats.resets),
        ("starved", stats.starved),
        ("accept_errors", stats.accept_errors),
        ("overflows", overflows),
        ("zero_copies", zero_copies),
        ("compressed", stats.compressed),
        ("connected", stats.connected),
        ("dials_failed", stats.dials_failed),
    ];
    for (what, count) in reached {
        assert!(count * 20 >= seeds, "{seeds} seeds reached {what} {count} times");
    }
}

// Seeds that once failed, with their stories.

/// The seed passes. Its kernel is not that of `SEED=n`; `ALOUD=1` has it told.
fn story(seed: u64) {
    run_story(seed, Manners::Rude, std::env::var("ALOUD").is_ok());
}

/// With the bug that its story is about the seed does not pass: otherwise it tells another story by now.
#[cfg(feature = "planted")]
fn is_about(seed: u64, bug: wsring::engine::testing::Bug) {
    wsring::engine::testing::plant(Some(bug));
    let died = catch_unwind(AssertUnwindSafe(|| run_story(seed, Manners::Rude, false))).is_err();
    wsring::engine::testing::plant(None);
    assert!(died, "seed {seed} does not notice {bug:?} any more");
}

/// A zero-copy send failed at once, and its notification was still to come (io_uring_prep_send_zc(3)).
/// The engine took the failure for the last word on that memory and closed the slot; the notification then found nobody.
/// A failed send without its memory is now owed, like one that went out.
#[test]
fn seed_22_a_failed_zero_copy_send_is_still_owed_its_memory() {
    story(22);
    #[cfg(feature = "planted")]
    is_about(22, wsring::engine::testing::Bug::ZeroCopyForgotten);
}

/// The handshake deadline came, and before the receive was cancelled it brought the rest of the head.
/// A head of which no byte had come was not ended by dying, so it was read, answered and opened: a dead connection lived again,
/// and could not be cancelled a second time. Dying now ends a head too.
#[test]
fn seed_95_a_head_that_comes_after_its_deadline_opens_nothing() {
    story(95);
    #[cfg(feature = "planted")]
    is_about(95, wsring::engine::testing::Bug::HeadAfterDeath);
}

/// The application abandoned its dials in a callback, and later in the same pass a server's answer came for one of them.
/// The connection opened, although nothing was to come of that dial any more: what is abandoned was looked at only at the end
/// of the pass. Now an answer asks first, and so do a name that was found and a wait that is over.
#[test]
fn seed_2117_an_answer_opens_nothing_for_an_abandoned_dial() {
    story(2117);
}

/// A dial failed because the core stopped, and the application dialled another in its place, as the loop ended.
/// That one was never begun and never failed: it outlived the engine. What is left when the loop has ended now fails there.
#[test]
fn seed_78_a_dial_made_while_the_core_stops_fails_too() {
    story(78);
    #[cfg(feature = "planted")]
    is_about(78, wsring::engine::testing::Bug::LateDialLost);
}

/// A handshake that was to have 304.98 ms was given up after 304.72.
/// A deadline was counted in whole milliseconds, so one of 304.98 was one of 304, which are 19 ticks and nothing over: up to a
/// millisecond too soon. Now the rest of a millisecond counts.
#[test]
fn seed_26995_a_deadline_has_all_of_its_microseconds() {
    story(26_995);
}

/// A server stopped reading in the middle of a request until the handshake had timed out, then answered at once.
/// It had been asked when it had read the request, so it looked as if it had answered in time. It is late who stops reading, too.
#[test]
fn seed_63506_a_server_that_stops_reading_is_late() {
    story(63_506);
}

/// The engine cancelled its accept because it was to stop, and in the same pass that accept ended by itself.
/// Nothing was left to wait for, so the cancel was never handed over. That harms nobody, and is none of what may not stay behind.
#[test]
fn seed_138420_a_cancel_is_overtaken_by_the_end_of_its_accept() {
    story(138_420);
}

/// Prints `manners seed trace` for each seed below `SEEDS`, and a tenth as many quiet ones: what `scripts/traces` compares
/// before and after a change that must not change what the engine does.
#[test]
#[ignore = "a list for scripts/traces, not a test"]
fn traces() {
    let seeds = number("SEEDS").unwrap_or(2000);
    let half = |odd: u64| -> Vec<(u64, String)> {
        let rude = (odd..seeds).step_by(2).map(|seed| (Manners::Rude, seed));
        let quiet = (odd..seeds / 10).step_by(2).map(|seed| (Manners::Quiet, seed));
        rude.chain(quiet)
            .map(|(manners, seed)| (seed, format!("{manners:?} {seed} {:016x}", run(seed, manners, false).trace)))
            .collect()
    };
    let mut lines = std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut lines = half(0);
        lines.extend(odd.join().expect("a seed failed"));
        lines
    });
    lines.sort();
    lines.iter().for_each(|(_, line)| println!("{line}"));
}

/// Nobody does anything wrong, so everything must arrive: messages, pongs and Closes, both ways.
#[test]
fn quiet_kernel_is_complete() {
    let total = run_all(300, Manners::Quiet).stats;
    assert!(total.messages > 300 * 5, "{total}: the quiet runs test nothing");
}

/// The seed decides everything: nothing of the machine, its clock or its memory leaks into a run.
#[test]
fn same_seed_same_trace() {
    for seed in (0..40).chain([1_000_003, u64::MAX]) {
        let (first, second) = (run(seed, Manners::Rude, false), run(seed, Manners::Rude, false));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(
            first.trace,
            run(seed ^ 1 << 20, Manners::Rude, false).trace,
            "the trace does not depend on the seed"
        );
    }
}
