//! A made-up comparison, shown in every way there is.

mod memory;

use hdrhistogram::Histogram;

use super::*;
use crate::results::Turn;

const NAMES: [&str; 6] = ["wsring", "ring-echo", "uWebSockets", "tungstenite", "gorilla", "boost-beast"];
const BASE: usize = 0;
const MISSING: usize = 4;

/// Three cells, six contenders: one raw, one missing, one that fails in a cell, one with disturbed turns.
fn sample() -> Run {
    let contender = |(at, name): (usize, &&str)| Contender {
        name: name.to_string(),
        version: format!("{}.{}.0", at / 2, 3 * at),
        command: format!("{name} --listen 127.0.0.1:{{port}} --core {{core}}"),
        raw: at == 1,
        missing: (at == MISSING).then(|| "no `go` on this machine".into()),
    };
    let (unit, base_cpu) = ([0.52, 0.41, 0.66, 1.21, 0.0, 0.83], [1000.0, 260.0, 90_000.0]);
    let cells = [
        ("125x64x1", "125 bytes, 64 connections, 1 in flight"),
        ("125x64x16", "125 bytes, 64 connections, 16 in flight"),
    ];
    let idle = ("idle", "10,000 connections at rest");
    let mut chance = Chance(7);
    let cells = cells.into_iter().chain([idle]).enumerate().map(|(place, (id, title))| {
        let resting = id == "idle";
        let failed = |at| resting && at == 5;
        let turn = |at: usize, round: usize, chance: &mut Chance| match resting {
            true => rest(unit[at] * 9000.0 * chance.near(0.01), 5120.0),
            false => {
                let cpu = unit[at] * base_cpu[place] * chance.near(0.03);
                let mut turn = load(cpu, 1e9 / cpu.max(200.0) * chance.near(0.02), chance);
                turn.disturbed = (at == 3 && round % 3 == 1).then(|| "the hypervisor took 4.1 % of the cores".into());
                turn
            }
        };
        let turns = (0..NAMES.len()).map(|at| match failed(at) || at == MISSING {
            true => Vec::new(),
            false => (0..5).map(|round| turn(at, round, &mut chance)).collect(),
        });
        Cell {
            id: id.into(),
            title: title.into(),
            main: if resting { RSS } else { CPU },
            turns: turns.collect(),
            left_out: vec![None; NAMES.len()],
            failures: (0..NAMES.len()).map(|at| failed(at).then(|| "refused connection 4,093".into())).collect(),
        }
    });
    let machine = [("processor", "AMD EPYC 7B13, 2 cores"), ("kernel", "Linux 6.12.3"), ("mitigations", "on")];
    Run {
        began: "2026-01-31 12:00".into(),
        machine: machine.map(|(name, value)| (name.into(), value.into())).into(),
        warnings: vec!["load and server share one physical core".into(), "the governor is schedutil".into()],
        command: "wsring-bench compare --peers all --rounds 5".into(),
        rounds: 5,
        contenders: NAMES.iter().enumerate().map(contender).collect(),
        cells: cells.collect(),
    }
}

/// A turn under load.
fn load(cpu: f64, rate: f64, chance: &mut Chance) -> Turn {
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    for _ in 0..20_000 {
        let tail = chance.next().powf(-0.35);
        latencies.record((cpu * 64.0 * tail * chance.near(0.3)) as u64).unwrap();
    }
    let mut turn = Turn::default();
    turn.note(CPU, cpu);
    turn.note(RATE, rate);
    for (figure, quantile) in [(P50, 0.5), (P90, 0.9), (P99, 0.99), (P999, 0.999), (P9999, 0.9999), (MAX, 1.0)] {
        turn.note(figure, latencies.value_at_quantile(quantile) as f64 / 1e3);
    }
    turn.note(SYSCALLS, cpu / 7000.0);
    turn.note(CLIENT_CPU, 310.0 * chance.near(0.02));
    turn.note(CLIENT_BUSY, 99.0 * chance.near(0.01));
    turn.note(SERVER_BUSY, 97.0 * chance.near(0.02));
    turn.note(WAITED, 0.4 * chance.near(0.5));
    turn.note(STOLEN, 0.1 * chance.near(0.5));
    turn.latencies = Some(latencies);
    turn
}

/// Before any of the connections rests, in bytes.
const BEFORE: f64 = 3_141_632.0;

/// A turn at rest: bytes of each of 10,000 connections.
fn rest(bytes: f64, kernel: f64) -> Turn {
    let mut turn = Turn::default();
    turn.note(RSS, bytes);
    turn.note(KERNEL, kernel);
    turn.note(RSS_BEFORE, BEFORE);
    turn.note(RSS_AT_REST, BEFORE + 10_000.0 * bytes);
    turn
}

/// The same numbers in every test: a linear congruence.
struct Chance(u64);

impl Chance {
    /// More than 0, at most 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) + 1) as f64 / (1_u64 << 24) as f64
    }

    /// One, give or take.
    fn near(&mut self, spread: f64) -> f64 {
        1.0 + spread * (2.0 * self.next() - 1.0)
    }
}

/// Every tag is closed, in the order in which they were opened; returns how often each was.
fn tags(page: &str) -> std::collections::BTreeMap<String, usize> {
    let (mut open, mut seen) = (Vec::new(), std::collections::BTreeMap::new());
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "a bare > in {text:?}");
        let name = tag.split(|letter: char| letter.is_whitespace() || letter == '/').find(|word| !word.is_empty());
        let name = name.expect("a tag has a name").to_string();
        if tag.starts_with('!') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before {text:?}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag:?}");
        *seen.entry(name.clone()).or_insert(0) += 1;
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    seen
}

/// The page with the style sheet's text taken out, whose comments and selectors are no tags.
fn body(run: &Run) -> String {
    html(run, BASE).replace(include_str!("report.css"), "")
}

#[test]
fn the_page_is_whole() {
    let run = sample();
    let page = body(&run);
    let seen = tags(&page);
    // Two pictures of bars and one of latencies for a cell under load; four of bars for one at rest.
    assert_eq!(seen["svg"], 3 + 3 + 4);
    for contender in &run.contenders {
        assert!(page.contains(&contender.name) && page.contains(&contender.version), "{}", contender.name);
    }
    for cell in &run.cells {
        assert!(page.contains(&cell.title) && page.contains(&format!("id=\"cell-{}\"", cell.id)), "{}", cell.id);
    }
    for text in ["no `go` on this machine", "refused connection 4,093", "2 of 5 disturbed", "took 4.1 %", "schedutil"] {
        assert!(page.contains(text), "{text}");
    }
    for outside in ["http:", "https:", "<script", "<img", "<link", "url(", "@import"] {
        assert!(!html(&run, BASE).contains(outside), "{outside}");
    }
}

#[test]
fn nothing_from_outside_is_markup() {
    let mut run = sample();
    let bad = "<script>alert(\"1\")</script>'&|\n";
    for contender in &mut run.contenders {
        contender.name = bad.into();
        contender.version = bad.into();
        contender.command = bad.into();
        contender.missing = contender.missing.as_ref().map(|_| bad.into());
    }
    for cell in &mut run.cells {
        (cell.id, cell.title) = (bad.into(), bad.into());
        cell.failures = cell.failures.iter().map(|failure| failure.as_ref().map(|_| bad.into())).collect();
        cell.left_out = cell.failures.iter().map(|failure| failure.is_none().then(|| bad.into())).collect();
        for turn in cell.turns.iter_mut().flatten() {
            turn.disturbed = Some(bad.into());
        }
    }
    (run.began, run.command) = (bad.into(), bad.into());
    run.warnings = vec![bad.into()];
    run.machine = vec![(bad.into(), bad.into())];
    let page = body(&run);
    assert!(!tags(&page).contains_key("script"));
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;|"));
    let markdown = markdown(&run, BASE);
    assert!(!markdown.contains("<script>"));
    let rows: Vec<_> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    let (all, memory) = rows.split_at(2 + 3);
    assert_eq!(memory.len(), 2 + NAMES.len());
    for (row, columns) in all.iter().map(|row| (row, 1 + NAMES.len())).chain(memory.iter().map(|row| (row, 5))) {
        assert_eq!(row.matches('|').count() - row.matches("\\|").count(), columns + 1, "{row}");
    }
}

#[test]
fn a_run_that_ended_at_once_is_shown_too() {
    let mut run = sample();
    run.cells.truncate(1);
    for turns in &mut run.cells[0].turns {
        turns.clear();
    }
    assert_eq!(tags(&body(&run)).get("svg"), None);
    assert!(table(&run, &run.cells[0], BASE).contains("missing"));
    run.cells.clear();
    (run.machine, run.warnings) = (Vec::new(), Vec::new());
    tags(&body(&run));
    assert!(summary(&run, BASE).contains("wsring") && markdown(&run, BASE).contains("wsring"));
}

#[test]
fn tables_name_everything_and_keep_their_width() {
    let run = sample();
    let text = table(&run, &run.cells[0], BASE);
    for name in NAMES {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
    }
    for word in [
        "2 of 5 disturbed",
        "tungstenite round 2 disturbed: the hypervisor",
        "gorilla missing: no `go`",
        "base",
        "(raw)",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    for figure in measured(&run.cells[0]) {
        assert!(text.contains(short(figure)), "{}", figure.key);
    }
    let resting = table(&run, &run.cells[2], BASE);
    assert!(resting.contains("boost-beast failed: refused connection 4,093") && !resting.contains("p50"));
    let summary = summary(&run, BASE);
    for text in [&text, &resting, &summary] {
        assert!(text.lines().all(|line| line.chars().count() <= grid::WIDTH_MAX), "{text}");
    }
    for cell in &run.cells {
        assert!(summary.contains(&cell.id));
    }
}

#[test]
fn lines_are_json() {
    let run = sample();
    let mut bytes = Vec::new();
    write(&run, BASE, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |record: &'static str| lines.iter().filter(move |line| line["record"] == record);
    assert_eq!((of("run").count(), of("turn").count(), of("cell").count()), (1, (5 + 5 + 4) * 5, 3 * 6));
    assert_eq!(lines[0]["contenders"][MISSING]["missing"], "no `go` on this machine");
    assert_eq!(lines[0]["base"], "wsring");
    let turn = of("turn").find(|line| line["contender"] == "tungstenite" && line["round"] == 2).unwrap();
    assert_eq!(turn["disturbed"], "the hypervisor took 4.1 % of the cores");
    assert_eq!(turn[CPU.key], run.cells[0].turns[3][1].figure(CPU).unwrap());
    assert_eq!(turn.get(RSS.key), None);
    let cell = of("cell").find(|line| line["contender"] == "tungstenite").unwrap();
    let ratio = run.cells[0].ratio(3, BASE, CPU).unwrap();
    assert_eq!(cell["figures"][CPU.key]["ratio"]["median"], ratio.median);
    assert!(cell["figures"][CLIENT_BUSY.key]["ratio"].is_null());
    let failed = of("cell").filter(|line| line["failed"] == "refused connection 4,093").count();
    assert_eq!(failed, 1);
}

#[test]
fn numbers() {
    assert_eq!(
        [number(1_234_567.8, 0), number(-1234.5, 1), number(999.6, 0), number(0.04567, 4)],
        ["1,234,568", "-1,234.5", "1,000", "0.0457"]
    );
    let factors = [0.0449, 0.0994, 0.5, 1.926, 9.996, 27.5, 99.96, 1400.4].map(factor);
    assert_eq!(factors, ["0.045", "0.099", "0.50", "1.93", "10.0", "27.5", "100", "1,400"]);
}

#[test]
fn a_verdict_needs_every_round() {
    let ratio = |min, max| Spread { median: 1.5, min, max, count: VERDICT_ROUNDS_MIN };
    assert_eq!(verdict(ratio(1.1, 2.0), Better::Lower), Some(Verdict::Worse));
    assert_eq!(verdict(ratio(1.1, 2.0), Better::Higher), Some(Verdict::Better));
    assert_eq!(verdict(ratio(0.5, 0.9), Better::Lower), Some(Verdict::Better));
    assert_eq!(verdict(ratio(1.0, 2.0), Better::Lower), Some(Verdict::Even));
    assert_eq!(verdict(ratio(1.1, 2.0), Better::Neither), None);
    let few = Spread { count: VERDICT_ROUNDS_MIN - 1, ..ratio(1.1, 2.0) };
    assert_eq!([Better::Lower, Better::Higher].map(|better| verdict(few, better)), [None, None]);
}

#[test]
fn fewer_turns_than_planned_are_no_full_result() {
    let mut run = sample();
    run.cells.truncate(1);
    run.cells[0].turns[2].truncate(2);
    run.cells[0].failures[2] = Some("round 3: no answer".into());
    let page = body(&run);
    tags(&page);
    // uWebSockets: better in both rounds, which are too few; boost-beast has five.
    let boxes: Vec<_> = page.split("<td").filter(|text| text.contains("<small>2 of 5 turns</small>")).collect();
    assert_eq!(boxes.len(), 1);
    assert!(!boxes[0].contains("worse") && !boxes[0].contains("better") && boxes[0].contains('\u{2020}'), "{boxes:?}");
    assert!(
        page.contains("<li>\u{2020} uWebSockets: 2 of 5 turns</li>")
            && page.contains("median of 2 to 5 rounds (5 planned)")
    );
    let text = table(&run, &run.cells[0], BASE);
    assert!(text.contains("2 of 5 ") && text.contains("uWebSockets: 2 of 5 turns"), "{text}");
    assert!(text.contains("2 to 5 rounds (5 planned)"), "{text}");
    assert!(summary(&run, BASE).contains("fewer than planned"));
    let markdown = markdown(&run, BASE);
    assert!(markdown.contains("\u{2020} 2 of 5 turns |") && markdown.contains("round 3: no answer"), "{markdown}");

    for turns in &mut run.cells[0].turns {
        turns.truncate(1);
    }
    assert_eq!(rounds(&run, &run.cells), "1 round (5 planned)");
    assert!(!body(&run).contains(" worse</small>"), "one round is no verdict");
    assert_eq!(rounds(&run, &[]), "0 rounds (5 planned)");
    assert_eq!(rounds(&sample(), &sample().cells), "5 rounds");
}

#[test]
fn a_memory_below_zero_stays_inside_its_picture() {
    let mut run = sample();
    run.cells.drain(..2);
    for turn in &mut run.cells[0].turns[3] {
        *turn = rest(-4_000_000.0, 5120.0);
    }
    let page = body(&run);
    assert!(page.contains("-4,000,000") && !page.contains("NaN"));
    let picture = page.split("<svg").nth(1).and_then(|rest| rest.split("</svg>").next()).unwrap();
    let lefts = picture.split("d=\"M").skip(1).map(|path| path.split(',').next().unwrap().parse::<f64>().unwrap());
    assert!(lefts.into_iter().all(|left| left >= 132.0), "{picture}");
    assert!(run.cells[0].ratio(3, BASE, RSS).is_none());
    assert!(markdown(&run, BASE).contains("| -; kernel **1.00**"));
}

#[test]
fn raw_is_said_once() {
    let mut contender = sample().contenders.remove(1);
    assert_eq!(label(&contender), "ring-echo (raw)");
    contender.name = "epoll (raw)".into();
    assert_eq!(label(&contender), "epoll (raw)");
    contender.name = "drawn".into();
    assert_eq!(label(&contender), "drawn (raw)");
    contender.raw = false;
    assert_eq!(label(&contender), "drawn");
}

#[test]
fn markdown_keeps_its_caveats() {
    let mut run = sample();
    run.cells[0].main = P50;
    let text = markdown(&run, BASE);
    for word in [
        "AMD EPYC 7B13",
        "Linux 6.12.3",
        "2026-01-31 12:00 UTC; 5 rounds",
        "wsring-bench compare --peers all --rounds 5",
        "Warning: the governor is schedutil",
        "below 1 is good for wsring",
        "above 1 is good for wsring",
        "\u{2020} Some turns",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert_eq!(rows[0].matches("; CPU ").count(), 5, "beside each latency: {}", rows[0]);
    assert!(rows[0].contains('\u{2020}') && !rows[1].contains("; CPU "));
    for caveat in CAVEATS {
        assert!(text.contains(caveat) && body(&run).contains(&text::escaped(caveat)), "{caveat}");
    }
}

#[test]
fn the_summary_has_spreads_where_they_fit() {
    let mut run = sample();
    let text = summary(&run, BASE);
    let ratio = run.cells[0].ratio(2, BASE, CPU).unwrap();
    let range = format!("{}..{}", factor(ratio.min), factor(ratio.max));
    assert!(text.contains("least..most") && text.contains(&range), "{text}");
    run.contenders[1].name = "x".repeat(60);
    let narrow = summary(&run, BASE);
    assert!(!narrow.contains("least..most") && !narrow.contains(&range), "{narrow}");
    for text in [text, narrow] {
        assert!(text.lines().all(|line| line.chars().count() <= grid::WIDTH_MAX), "{text}");
    }
}

/// Every form comes out, and can be written; `WSRING_SAMPLE=DIR cargo test -p wsring-bench sample` leaves them in DIR, to be
/// looked at.
#[test]
fn sample_to_look_at() {
    let asked = std::env::var_os("WSRING_SAMPLE").map(std::path::PathBuf::from);
    let spare = std::env::temp_dir().join(format!("wsring-sample-{}", std::process::id()));
    let folder = asked.as_ref().unwrap_or(&spare);
    let run = sample();
    std::fs::create_dir_all(folder).unwrap();
    let mut text = summary(&run, BASE);
    for cell in &run.cells {
        text = text + "\n" + &table(&run, cell, BASE);
    }
    let (mut lines, mut percentiles) = (Vec::new(), Vec::new());
    write(&run, BASE, &mut lines).unwrap();
    hgrm(&run.cells[0].latencies(BASE).unwrap(), &mut percentiles).unwrap();
    let files = [
        ("report.html", html(&run, BASE).into_bytes()),
        ("report.txt", text.into_bytes()),
        ("report.md", markdown(&run, BASE).into_bytes()),
        ("report.jsonl", lines),
        ("wsring.hgrm", percentiles),
    ];
    for (name, bytes) in &files {
        assert!(!bytes.is_empty(), "{name} is empty");
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    for (name, bytes) in &files {
        assert_eq!(&std::fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }
    if asked.is_none() {
        std::fs::remove_dir_all(folder).unwrap();
    }
}
