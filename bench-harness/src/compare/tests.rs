//! Who takes part in what.

use super::*;

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
    let variant = contender(&["variant:deflate=./a {port}"]);
    let cell = |name: &str| name.parse::<Cell>().expect(name);
    for (name, takes_parts, reasons) in [
        ("125x64x1", [true, true, true, false], [false; 4]),
        ("deflate:1024x64x16", [false, true, false, true], [true, false, false, false]),
        ("tls:125x64x1", [false, false, true, false], [true, true, false, false]),
        ("fanout:125x64x1", [true, true, false, false], [false; 4]),
    ] {
        let all = [&plain, &both, &raw, &variant];
        assert_eq!(all.map(|one| takes_part(one, &cell(name))), takes_parts, "{name}");
        assert_eq!(all.map(|one| left_out(one, &cell(name)).is_some()), reasons, "{name}");
    }
}
