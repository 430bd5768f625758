//! A comparison for its readers: text in a terminal, Markdown, JSON lines, percentile files, one HTML page.
//!
//! Owns: how numbers, ratios and verdicts are written, the same way everywhere. Promises: what a reader sees of a figure
//! comes with its spread, and what is disturbed, missing or failed is named with its reason. Refuses to know: how anything
//! was measured, and where the text goes.
//!
//! `base` is everywhere the index of the contender that the others are compared with. A ratio is contender / base, so that
//! 2.00x the CPU of the base is written 2.00x; Markdown alone turns it round, and says so above its table. A verdict needs
//! three rounds.

mod grid;
mod html;
mod lines;
mod plots;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use html::html;
pub use lines::{hgrm, write};
pub use table::{markdown, summary, table};

use crate::results::{
    AGE_BEYOND, AGE_MAX, AGE_P50, ALONE_P50, ALONE_P99, ALONE_P999, LATE_P99, LOAD_LATE, NOISE, PIECES,
};
use crate::results::{ALL, Better, Cell, Contender, Figure, Run, Spread};
use crate::results::{CLIENT_BUSY, CLIENT_CPU, CPU, KERNEL, MAX, P50, P90, P99, P999, P9999, RATE, RSS, RSS_AT_REST};
use crate::results::{
    PUBLISHED, RSS_MORE, RSS_THEN, SKEW_P50, SKEW_P99, TICK_CPU, TICKS, TIMES_P50, TIMES_P99, TIMES_P999,
};
use crate::results::{RSS_BEFORE, SERVER_BUSY, STOLEN, SYSCALLS, TOLD_P99, TRAVELS, WAITED};

/// How a contender stands to the base in one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// In every round.
    Better,
    /// In every round.
    Worse,
    /// Some rounds say this, some that: within the noise.
    Even,
}

/// Fewer rounds than this can agree by chance.
const VERDICT_ROUNDS_MIN: usize = 3;

/// What a reader must know of two figures, at the foot of every report.
const CAVEATS: [&str; 9] = [
    "\"kernel, bytes/connection\" is the kernel memory of the whole machine and counts both ends of each connection, \
     the server's and the load's.",
    "In idle: cells \"RSS\" is the server's process after its warm-up, before any connection rests, and with all of them at \
     rest; RSS a connection is the difference, so it does not hold what a server has set aside from the start.",
    "\"client busy\" near 100 % means that the load limits the rate, not the server: then CPU per message is the figure \
     that tells them apart.",
    "Unless --check or --copy is given, the load lets the kernel discard the bodies of replies of 64 KiB and more, so that a \
     server does not pay for pages that the load's core has just read; in tls:, deflate:, fanout: and client: cells all are copied.",
    "In deflate: cells a server is free to compress well or fast: read messages/s together with \"payload bytes/reply\".",
    "In tls: cells all speak TLS 1.3 with AES-128-GCM; the load encrypts and decrypts on its own core, which is in none of \
     the server's figures but makes the load busier than without TLS.",
    "In client: cells a client is measured: \"server\" is its process, \"client\" the echo on the load's core that answers it.",
    "In feed: and noisy: cells \"alone\" is the same turn without slow readers, or without the noise, on a server of its own. A latency there \
     ends when the load looks: \"load late\" bounds its part of it.",
    "\"age beyond sockets\" is what of the greatest age of a slow reader's values the bytes in its two sockets do not account for, at \
     the rate at which it reads.",
];

/// What a ratio to the base says about the contender; nothing for a figure that is neither good nor bad, or from too few
/// rounds.
fn verdict(ratio: Spread, better: Better) -> Option<Verdict> {
    let more = match better {
        Better::Neither => return None,
        Better::Higher => Verdict::Better,
        Better::Lower => Verdict::Worse,
    };
    if ratio.count < VERDICT_ROUNDS_MIN {
        return None;
    }
    let less = if more == Verdict::Better { Verdict::Worse } else { Verdict::Better };
    Some(match ratio {
        Spread { min, .. } if min > 1.0 => more,
        Spread { max, .. } if max < 1.0 => less,
        _ => Verdict::Even,
    })
}

/// In words, for headings.
fn direction(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
        Better::Neither => "neither good nor bad",
    }
}

/// The figure that the main one of a cell is not told without, if somebody has it: who polls before it sleeps pays for its
/// latency with CPU, and who keeps little of its own may have left more to the kernel. With a word for it.
fn beside(cell: &Cell) -> Option<(Figure, &'static str)> {
    let (figure, word) = match cell.main {
        P50 | P90 | P99 | P999 | P9999 | MAX => (CPU, "CPU"),
        RSS => (KERNEL, "kernel"),
        _ => return None,
    };
    measured(cell).contains(&figure).then_some((figure, word))
}

/// What connections at rest cost, a contender's share and in all, where that was measured.
const MEMORY: [Figure; 4] = [RSS, KERNEL, RSS_BEFORE, RSS_AT_REST];

/// What is told in full of cells whose main figure says little alone: what applications do.
const APPLICATION: [Figure; 26] = [
    P50, P99, P999, ALONE_P50, ALONE_P99, ALONE_P999, TIMES_P50, TIMES_P99, TIMES_P999, TICK_CPU, TICKS, PIECES,
    TOLD_P99, LATE_P99, SKEW_P50, SKEW_P99, AGE_P50, AGE_MAX, AGE_BEYOND, RSS_THEN, RSS_MORE, PUBLISHED, NOISE, RATE,
    CPU, LOAD_LATE,
];

/// What is told in full of a cell, where a ratio alone would not do.
fn told_in_full(cell: &Cell) -> Vec<Figure> {
    if cell.main == RSS {
        return MEMORY.to_vec();
    }
    let all = measured(cell);
    let is_application = all.iter().any(|figure| [LOAD_LATE, TICK_CPU].contains(figure));
    APPLICATION.into_iter().filter(|figure| is_application && all.contains(figure)).collect()
}

/// The figures that somebody has in this cell, the main one first.
fn measured(cell: &Cell) -> Vec<Figure> {
    let others = ALL.iter().copied().filter(|figure| *figure != cell.main);
    let all = std::iter::once(cell.main).chain(others);
    all.filter(|figure| (0..cell.turns.len()).any(|contender| cell.spread(contender, *figure).is_some())).collect()
}

/// A contender's name; a baseline is called one wherever it appears, and once.
fn label(contender: &Contender) -> String {
    let mut words = contender.name.split(|letter: char| !letter.is_alphanumeric());
    let said = words.any(|word| word.eq_ignore_ascii_case("raw"));
    if contender.raw && !said { format!("{} (raw)", contender.name) } else { contender.name.clone() }
}

/// Why a contender has no, or not all, turns in a cell.
fn reason(run: &Run, cell: &Cell, contender: usize) -> Option<String> {
    let missing = run.contenders[contender].missing.as_ref().map(|why| format!("missing: {why}"));
    let failed = || cell.failures.get(contender)?.as_ref().map(|why| format!("failed: {why}"));
    let left_out = || cell.left_out.get(contender)?.as_ref().map(|why| format!("left out: {why}"));
    missing.or_else(failed).or_else(left_out)
}

/// What a table shows in place of a figure that is not there.
fn absence(run: &Run, cell: &Cell, contender: usize) -> &'static str {
    match (&run.contenders[contender].missing, cell.failures.get(contender)) {
        (Some(_), _) => "missing",
        (None, Some(Some(_))) => "failed",
        _ => "-",
    }
}

/// How many turns there are, of how many if some are not there, and how many of them are marked.
fn turns(run: &Run, cell: &Cell, contender: usize) -> String {
    match (cell.disturbed(contender), cell.turns[contender].len(), run.rounds) {
        // Missing, failed at once, or not meant to take part.
        (_, 0, _) => "0".into(),
        (0, all, planned) if all < planned => format!("{all} of {planned}"),
        (some, all, planned) if all < planned => format!("{all} of {planned}, {some} disturbed"),
        (0, all, _) => all.to_string(),
        (some, all, _) => format!("{some} of {all} disturbed"),
    }
}

/// `3 of 5 turns`, for a contender that has some of the turns that were planned, but not all: it failed midway, or the run was
/// ended.
fn partial(run: &Run, cell: &Cell, contender: usize) -> Option<String> {
    let (all, planned) = (cell.turns[contender].len(), run.rounds);
    (0 < all && all < planned).then(|| format!("{all} of {planned} turns"))
}

/// Whether a contender's figures in a cell are to be read with care.
fn marked(run: &Run, cell: &Cell, contender: usize) -> bool {
    cell.disturbed(contender) > 0 || partial(run, cell, contender).is_some()
}

/// The rounds that figures of these cells come from: `5 rounds`, or after an early end `1 to 3 rounds (5 planned)`.
fn rounds(run: &Run, cells: &[Cell]) -> String {
    let counts = || cells.iter().flat_map(|cell| &cell.turns).map(Vec::len).filter(|count| *count > 0);
    let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let number = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let noun = if most == 1 { "round" } else { "rounds" };
    let planned = if least == run.rounds { String::new() } else { format!(" ({} planned)", run.rounds) };
    format!("{number} {noun}{planned}")
}

/// The marked turns with their reasons; rounds count from one.
fn disturbances(cell: &Cell, contender: usize) -> impl Iterator<Item = (usize, &str)> {
    let turns = cell.turns[contender].iter().enumerate();
    turns.filter_map(|(at, turn)| Some((at + 1, turn.disturbed.as_deref()?)))
}

/// `1234567.8` with no digits is `1,234,568`.
fn number(value: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", value.abs());
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// Three digits that count: `0.045`, `1.93`, `27.5`, `140`.
fn factor(ratio: f64) -> String {
    let digits = match ratio {
        0.0995.. => match ratio {
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        },
        _ => 3,
    };
    number(ratio, digits)
}

/// For the head of a column.
fn short(figure: Figure) -> &'static str {
    match figure {
        CPU => "CPU ns/msg",
        RATE => "msg/s",
        TRAVELS => "B/reply",
        P50 => "p50 us",
        P90 => "p90 us",
        P99 => "p99 us",
        P999 => "p99.9 us",
        P9999 => "p99.99 us",
        MAX => "max us",
        SYSCALLS => "syscalls/msg",
        RSS => "RSS B/conn",
        KERNEL => "kernel B/conn",
        RSS_BEFORE => "RSS before B",
        RSS_AT_REST => "RSS at rest B",
        CLIENT_CPU => "client ns/msg",
        CLIENT_BUSY => "client busy %",
        SERVER_BUSY => "server busy %",
        WAITED => "waited %",
        STOLEN => "stolen %",
        other => other.name,
    }
}
