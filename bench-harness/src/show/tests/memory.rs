//! Cells at rest: what stands of memory in each form.

use super::*;

/// A share that looks small says nothing alone: the kernel's stands beside it, and what the server has in all.
#[test]
fn memory_is_told_in_bytes_for_everybody_and_in_every_form() {
    let mut run = sample();
    run.cells.drain(..2);
    for (at, turns) in run.cells[0].turns.iter_mut().enumerate() {
        // 161, 1161, 2161, ... bytes; the kernel's 4001, 4002, ...
        let turn = rest(161.0 + 1000.0 * at as f64, 4001.0 + at as f64);
        turns.iter_mut().for_each(|old| *old = turn.clone());
    }
    let [text, markdown, page] = [table(&run, &run.cells[0], BASE), markdown(&run, BASE), body(&run)];
    let columns = ["RSS B/conn", "kernel B/conn", "RSS before B", "RSS at rest B"];
    let heads: Vec<_> = columns.iter().map(|column| text.find(column).expect(column)).collect();
    assert!(heads.is_sorted(), "{text}");
    assert!(markdown.contains(
        "| RSS, bytes/connection | kernel, bytes/connection | RSS before, bytes | RSS with all at rest, bytes |\n"
    ));
    let boxes = |row: &str| row.split(['|', ' ']).filter(|text| !text.is_empty()).map(String::from).collect::<Vec<_>>();
    for (at, values) in [
        (0, ["161", "4,001", "3,141,632", "4,751,632"]),
        (2, ["2,161", "4,003", "3,141,632", "24,751,632"]),
        (3, ["3,161", "4,004", "3,141,632", "34,751,632"]),
    ] {
        let row = boxes(text.lines().find(|line| line.starts_with(NAMES[at])).unwrap());
        let places = values.map(|value| row.iter().position(|text| text == value));
        assert!(places.is_sorted() && places[0].is_some(), "{values:?} in {row:?}");
        let line = format!("| {} | {} |\n", NAMES[at], values.join(" | "));
        assert!(markdown.contains(&line), "{line} in {markdown}");
        // In the matrix, in a picture and in the table of every figure; what is in all, in the last two.
        let times = values.map(|value| page.split(['>', ' ', '<']).filter(|text| *text == value).count());
        assert!(times[0] >= 3 && times[1] >= 3 && times[3] >= 2, "{values:?}: {times:?}");
        assert!(page.contains(&format!("<small>kernel {}</small>", values[1])), "{}", values[1]);
    }
    assert!(markdown.contains("; kernel, bytes/connection, lower is better |"), "{markdown}");
    assert_eq!(markdown.matches("; kernel **").count(), 3, "beside each ratio that there is: {markdown}");
    for name in [MISSING, 5] {
        let word = if name == MISSING { "missing" } else { "failed" };
        let line = format!("| {} | {} |\n", NAMES[name], [word; 4].join(" | "));
        assert!(markdown.contains(&line), "{line} in {markdown}");
    }

    let mut lines = Vec::new();
    write(&run, BASE, &mut lines).unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |record: &str| lines.iter().find(|line| line["record"] == record && line["contender"] == NAMES[2]).unwrap();
    for (key, value) in [
        ("rss_bytes_per_connection", 2161.0),
        ("kernel_bytes_per_connection", 4003.0),
        ("rss_before_bytes", 3_141_632.0),
        ("rss_at_rest_bytes", 24_751_632.0),
    ] {
        assert_eq!((&of("turn")[key], &of("cell")["figures"][key]["median"]), (&value.into(), &value.into()), "{key}");
    }
}
