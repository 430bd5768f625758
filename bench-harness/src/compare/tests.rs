//! Who takes part in what, and how a comparison goes when servers do not do as they should.

mod stage;
mod turns;

use super::*;
use crate::load::Bodies;
use std::time::{Duration, Instant};

fn contender(words: &[&str]) -> Contender {
    let mut all = words.iter().map(|word| word.parse::<Contender>().expect("a contender"));
    let mut first = all.next().expect("one at least");
    all.for_each(|other| assert!(first.merge(&other)));
    first
}

#[test]
fn who_cannot_is_left_out_with_a_reason() {
    let plain = contender(&["plain=./a {port}"]);
    let both = contender(&["both=./a {port}", "both:deflate=./a {port}"]);
    let raw = contender(&["raw:raw=./a {port}", "raw:raw:tls=./a {port}"]);
    let all_to_all = contender(&["all:raw:fanout=./a {port}"]);
    let variant = contender(&["variant:deflate=./a {port}"]);
    let cell = |name: &str| name.parse::<Cell>().expect(name);
    for (name, takes_parts, reasons) in [
        ("125x64x1", [true, true, true, false, false], [false; 5]),
        ("deflate:1024x64x16", [false, true, false, true, false], [true, false, false, false, false]),
        ("tls:125x64x1", [false, false, true, false, false], [true, true, false, false, false]),
        ("client:125x64x1", [false; 5], [true, true, false, false, false]),
        ("fanout:125x64x1", [true, true, false, false, true], [false; 5]),
        ("feed:1x1@1/1", [false; 5], [true, true, false, false, false]),
        ("tick:1x1", [false; 5], [true, true, false, false, false]),
        ("noisy:ping", [true, true, true, false, false], [false; 5]),
        ("noisy:packed", [false, true, false, true, false], [true, false, false, false, false]),
    ] {
        let all = [&plain, &both, &raw, &variant, &all_to_all];
        assert_eq!(all.map(|one| takes_part(one, &cell(name))), takes_parts, "{name}");
        assert_eq!(all.map(|one| left_out(one, &cell(name)).is_some()), reasons, "{name}");
    }
}

/// The reason is the client's own, although all that is seen from here is that it does not come.
#[test]
fn a_client_that_gives_up_fails_its_turn_with_its_words() {
    let core = core_affinity::get_core_ids().expect("cores")[0].id;
    let plan = Plan {
        cells: vec!["client:125x2x1".parse().expect("a cell")],
        rounds: 2,
        measured: Duration::from_millis(10),
        warmup: Duration::ZERO,
        contenders: vec![contender(&["mute:client=echo no way to {port} for {connections}x{depth} of {size}"])],
        server_core: core,
        load_core: core,
        offer: String::new(),
        bodies: Bodies::Discarded,
        patience: Patience::Sleep,
        command: String::new(),
    };
    let run = run(&plan, &AtomicBool::new(false), &mut |_, _| {}).expect("a machine that can be read");
    let failure = run.cells[0].failures[0].as_deref().expect("it has failed");
    assert!(failure.starts_with("round 1: the client opened 0 of 2 connections"), "{failure}");
    assert!(failure.contains("it said: no way to ") && failure.ends_with("for 2x1 of 125"), "{failure}");
    assert!(run.cells[0].turns[0].is_empty());
}
