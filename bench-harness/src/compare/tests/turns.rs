//! Turns: their order, their end, and servers that fail in every way a server has.

use super::stage::*;
use super::*;
use crate::results::{CPU, KERNEL, P50, RATE, RSS, RSS_AT_REST, RSS_BEFORE};
use crate::show;
use std::fs;
use std::thread;

#[test]
fn everybody_is_first_in_some_round() {
    let stage = Stage::new("order");
    let all = ["a", "b", "c"].map(|name| stage.contender(name, "", GOOD));
    let run = run_all(&plan("125x2x1", 3, all.into()));
    assert_eq!(stage.order(), "a b c b c a c a b");
    let cell = &run.cells[0];
    assert_eq!((counts(cell), &cell.failures), (vec![3; 3], &vec![None; 3]));
    for turn in cell.turns.iter().flatten() {
        for figure in [CPU, RATE, P50] {
            assert!(turn.figure(figure).is_some_and(|value| value > 0.0), "{}", figure.name);
        }
    }
}

#[test]
fn who_fails_is_named_with_the_reason_and_the_others_go_on() {
    let stage = Stage::new("failures");
    let mut absent = stage.contender("absent", "", GOOD);
    absent.commands[0].1 = vec!["/nonexistent/server".into(), "{port}".into()];
    let all = vec![
        stage.contender("good", "", GOOD),
        absent,
        stage.contender("leaves", "echo no ring here; exit 7;", GOOD),
        stage.contender("mortal", "", MORTAL),
        stage.contender("other", "", GOOD),
    ];
    let plan = plan("125x1x1", 2, all);
    let run = run_all(&plan);
    let cell = &run.cells[0];
    assert_eq!(counts(cell), [2, 0, 0, 0, 2]);
    assert_eq!(stage.order(), "good leaves mortal other other good", "once failed, not asked again");
    let table = show::table(&run, cell, 0);
    for (at, words) in [
        (1, &["round 1: /nonexistent/server on core", "No such file"][..]),
        (2, &["round 1: the server does not listen", "exit status: 7", "no ring here"]),
        (3, &["round 1: connection 0: ", "it said: out of luck"]),
    ] {
        let failure = cell.failures[at].as_deref().expect("it has failed");
        for word in words {
            assert!(failure.contains(word), "{word:?} in {failure}");
        }
        let name = &plan.contenders[at].name;
        assert!(table.contains(&format!("{name} failed: {failure}")), "{name} in\n{table}");
    }
    assert_eq!((&cell.failures[0], &cell.failures[4]), (&None, &None));
}

#[test]
fn what_was_measured_before_a_failure_counts() {
    let stage = Stage::new("half");
    let all = vec![
        stage.contender("base", "", GOOD),
        stage.contender("half", "if [ -e once ]; then echo not twice; exit 1; fi; touch once;", GOOD),
    ];
    let run = run_all(&plan("125x1x1", 3, all));
    assert_eq!(stage.order(), "base half half base base");
    let cell = &run.cells[0];
    assert_eq!(counts(cell), [3, 1]);
    let failure = cell.failures[1].as_deref().expect("it has failed");
    assert!(failure.starts_with("round 2: ") && failure.contains("not twice"), "{failure}");
    // Of the one round that both have; the base's median is of all three of its own.
    let of = |at: usize, round: usize| cell.turns[at][round].figure(CPU).expect("CPU time");
    let spread = cell.spread(1, CPU).expect("a turn");
    assert_eq!((spread.median, spread.count), (of(1, 0), 1));
    let ratio = cell.ratio(1, 0, CPU).expect("a round of both");
    assert_eq!((ratio.median, ratio.count), (of(1, 0) / of(0, 0), 1));
    assert_eq!(cell.ratio(0, 1, CPU).map(|ratio| (ratio.median, ratio.count)), Some((of(0, 0) / of(1, 0), 1)));
    let mut bases = [of(0, 0), of(0, 1), of(0, 2)];
    bases.sort_by(f64::total_cmp);
    assert_eq!(cell.spread(0, CPU).map(|spread| (spread.median, spread.count)), Some((bases[1], 3)));
    let mut lines = Vec::new();
    show::write(&run, 0, &mut lines).expect("lines");
    for text in [
        show::table(&run, cell, 0),
        show::markdown(&run, 0),
        show::html(&run, 0),
        String::from_utf8(lines).expect("text"),
    ] {
        assert!(text.contains("round 2: ") && text.contains("not twice"), "{text}");
    }
    assert!(show::table(&run, cell, 0).contains("half: 1 of 3 turns"));
}

#[test]
fn a_wrong_echo_is_caught_where_bytes_are_compared() {
    for check in [true, false] {
        let stage = Stage::new(if check { "checked" } else { "unchecked" });
        let all = vec![stage.contender("liar", "", LIAR), stage.contender("good", "", GOOD)];
        let run =
            run_all(&Plan { bodies: if check { Bodies::Compared } else { Bodies::Copied }, ..plan("125x1x1", 2, all) });
        let cell = &run.cells[0];
        assert_eq!((counts(cell), &cell.failures[1]), (if check { vec![0, 2] } else { vec![2, 2] }, &None));
        match &cell.failures[0] {
            Some(failure) if check => {
                assert!(failure.starts_with("round 1: connection 0: ") && failure.contains("byte"), "{failure}");
                let table = show::table(&run, cell, 1);
                assert!(table.contains(&format!("liar failed: {failure}")), "{table}");
            }
            failure => assert_eq!((failure, check), (&None, false)),
        }
    }
}

/// Runs two cells until the fourth turn, which waits until it is known that the run is to end, then does `last`.
fn ended_in_the_fourth_turn(name: &str, last: &str) -> (Stage, Run, usize) {
    let stage = Stage::new(name);
    let first = format!("if [ $(wc -l < starts) -ge 4 ]; then while [ ! -e stopped ]; do sleep 0.01; done; {last} fi;");
    let all = ["a", "b", "c"].map(|name| stage.contender(name, &first, GOOD));
    let plan = plan("125x1x1,20x1x1", 3, all.into());
    let (stop, mut shown) = (AtomicBool::new(false), 0);
    let run = thread::scope(|threads| {
        threads.spawn(|| {
            // Also when the run has failed before: then nobody is left to wait for.
            let deadline = Instant::now() + Duration::from_secs(30);
            while stage.starts().len() < 4 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
            fs::write(stage.path("stopped"), "").expect("a file");
        });
        run(&plan, &stop, &mut |_, _| shown += 1).expect("a machine that can be read")
    });
    (stage, run, shown)
}

#[test]
fn a_run_that_is_ended_keeps_what_it_has() {
    let (stage, run, shown) = ended_in_the_fourth_turn("ended", "");
    assert_eq!((stage.order().as_str(), run.cells.len(), shown), ("a b c b", 1, 1));
    assert_eq!((counts(&run.cells[0]), &run.cells[0].failures), (vec![1, 2, 1], &vec![None; 3]));
    assert!(run.warnings.iter().any(|warning| warning.contains("ended before its time")), "{:?}", run.warnings);
    assert!(show::table(&run, &run.cells[0], 0).contains("1 of 3"));
}

#[test]
fn a_turn_that_is_ended_with_the_run_is_nobodys_failure() {
    let (stage, run, shown) = ended_in_the_fourth_turn("cut", "exit 1;");
    assert_eq!((stage.order().as_str(), run.cells.len(), shown), ("a b c b", 1, 1));
    assert_eq!((counts(&run.cells[0]), &run.cells[0].failures), (vec![1; 3], &vec![None; 3]));
}

#[test]
fn a_run_that_is_ended_before_it_begins_starts_nobody() {
    let stage = Stage::new("never");
    let plan = plan("125x1x1", 1, vec![stage.contender("a", "", GOOD)]);
    let run = run(&plan, &AtomicBool::new(true), &mut |_, _| panic!("no cell was run")).expect("a machine");
    assert_eq!((stage.order().as_str(), run.cells.len()), ("", 0));
}

/// Whatever way a turn ends, neither its server runs on nor what that has started.
#[test]
fn no_process_is_left_behind() {
    let stage = Stage::new("processes");
    let helper = "sleep 300 & echo helper $! >> starts;";
    let all = vec![
        stage.contender("good", helper, GOOD),
        stage.contender("liar", helper, LIAR),
        stage.contender("mortal", helper, MORTAL),
        stage.contender("leaves", &format!("{helper} exit 7;"), GOOD),
    ];
    let run = run_all(&Plan { bodies: Bodies::Compared, ..plan("125x1x1", 1, all) });
    assert_eq!(counts(&run.cells[0]), [1, 0, 0, 0]);
    assert_eq!(stage.order(), "good helper liar helper mortal helper leaves helper");
    // A helper gets its signal and is gone when it next runs: that is not awaited by the turn.
    let deadline = Instant::now() + Duration::from_secs(10);
    for (name, pid) in stage.starts() {
        while name == "helper" && runs(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!runs(pid), "{name}, process {pid}, runs on");
    }
}

#[test]
fn a_turn_at_rest_tells_memory_in_all_and_of_each() {
    let stage = Stage::new("rest");
    let run = run_all(&plan("idle:50", 1, vec![stage.contender("a", "", GOOD)]));
    let cell = &run.cells[0];
    assert_eq!(cell.failures[0], None);
    let [each, before, after] = [RSS, RSS_BEFORE, RSS_AT_REST].map(|figure| cell.turns[0][0].figure(figure));
    let [each, before, after] = [each, before, after].map(|value| value.expect("measured"));
    assert!(before > 0.0 && after > 0.0 && (after - before - 50.0 * each).abs() < 1.0, "{before} {after} {each}");
    assert!(cell.turns[0][0].figure(KERNEL).is_some());
    assert!(cell.turns[0][0].figure(CPU).is_none());
}
