//! Tables for terminals and for Markdown.
//!
//! Owns: what stands in which column. Promises: every figure that was measured is in the table of its cell, and beneath it
//! every reason why a turn is disturbed or not there. Refuses to know: widths.

use super::grid::{Grid, WIDTH_MAX};
use super::{
    CAVEATS, absence, beside, direction, disturbances, factor, label, marked, measured, number, partial, reason,
};
use super::{rounds, short, told_in_full, turns};
use crate::results::{Better, Cell, Figure, Run, Spread};

/// One cell: a row for each contender, a column for each figure, and the ratios to `base`.
pub fn table(run: &Run, cell: &Cell, base: usize) -> String {
    let main = cell.main;
    let figures: Vec<Figure> = measured(cell).into_iter().filter(|figure| *figure != main).collect();
    let mut grid = Grid::new("contender");
    grid.column(short(main));
    for head in ["min..max", "ratio", "min..max", "turns"] {
        grid.column_beside(head);
    }
    for figure in &figures {
        grid.column(short(*figure));
        if figure.better != Better::Neither {
            grid.column_beside("ratio");
        }
    }
    for (at, contender) in run.contenders.iter().enumerate() {
        let mut row = vec![label(contender)];
        match cell.spread(at, main) {
            Some(spread) => row.extend([number(spread.median, main.digits), range(spread, main)]),
            None => row.extend([absence(run, cell, at).into(), String::new()]),
        }
        match cell.ratio(at, base, main) {
            _ if at == base => row.extend(["base".into(), String::new()]),
            Some(ratio) => row.extend([times(ratio.median), times_range(ratio)]),
            None => row.extend([String::new(), String::new()]),
        }
        row.push(turns(run, cell, at));
        for figure in &figures {
            row.push(cell.spread(at, *figure).map_or("-".into(), |spread| number(spread.median, figure.digits)));
            if figure.better != Better::Neither {
                let ratio = cell.ratio(at, base, *figure).filter(|_| at != base);
                row.push(ratio.map_or(String::new(), |ratio| times(ratio.median)));
            }
        }
        grid.push(row);
    }
    let mut out = format!(
        "{}: {}\n{}, {}; a ratio is contender / {}, the median over {}\n\n{}",
        cell.id,
        cell.title,
        main.name,
        direction(main.better),
        run.contenders[base].name,
        rounds(run, std::slice::from_ref(cell)),
        grid.text(WIDTH_MAX)
    );
    let notes = notes(run, cell);
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        out += &format!("  {note}\n");
    }
    out
}

/// All cells: a row for each, a column for each contender, the median of the main figure and its ratio to `base`, with its
/// spread where a terminal has room for it.
pub fn summary(run: &Run, base: usize) -> String {
    let wide = overview(run, base, true);
    let (grid, spread) = match wide.fits(WIDTH_MAX) {
        true => (wide, ", least..most of the rounds"),
        false => (overview(run, base, false), ""),
    };
    let name = &run.contenders[base].name;
    let mut out =
        format!("Medians of {}, and ratios to {name} (contender / {name}{spread})\n\n", rounds(run, &run.cells));
    out += &grid.text(WIDTH_MAX);
    if any_marked(run) {
        out += "\n  * some turns were disturbed, or there were fewer than planned\n";
    }
    out
}

fn overview(run: &Run, base: usize, with_spread: bool) -> Grid {
    let mut grid = Grid::new("cell");
    grid.column("figure");
    run.contenders.iter().for_each(|contender| grid.column(&label(contender)));
    for cell in &run.cells {
        let mut row = vec![cell.id.clone(), short(cell.main).into()];
        row.extend((0..run.contenders.len()).map(|at| {
            let Some(spread) = cell.spread(at, cell.main) else { return absence(run, cell, at).into() };
            let mark = if marked(run, cell, at) { "*" } else { "" };
            let value = number(spread.median, cell.main.digits);
            match cell.ratio(at, base, cell.main).filter(|_| at != base) {
                Some(ratio) if with_spread => format!("{value}{mark} {} {}", times(ratio.median), times_range(ratio)),
                Some(ratio) => format!("{value}{mark} {}", times(ratio.median)),
                None => format!("{value}{mark}"),
            }
        }));
        grid.push(row);
    }
    grid
}

fn any_marked(run: &Run) -> bool {
    run.cells.iter().any(|cell| (0..run.contenders.len()).any(|at| marked(run, cell, at)))
}

/// For a README: cells as rows, contenders as columns, and beneath them what a reader must know who sees nothing else. Here
/// alone a ratio is `base` / contender: the base is what the README speaks of, and the reader asks what it needs of what
/// another needs.
pub fn markdown(run: &Run, base: usize) -> String {
    let name = plain(&run.contenders[base].name);
    let others: Vec<usize> = (0..run.contenders.len()).filter(|at| *at != base).collect();
    let mut out = format!(
        "Medians of {}. Under each other server: {name} / that server, median and range of the rounds. For a figure where \
         lower is better, below 1 is good for {name}; where higher is better, above 1 is good for {name}.\n\n| load | {name} |",
        rounds(run, &run.cells)
    );
    for at in &others {
        out += &format!(" {} |", plain(&label(&run.contenders[*at])));
    }
    out += &format!("\n|---|---:|{}\n", "---:|".repeat(others.len()));
    for cell in &run.cells {
        let main = cell.main;
        let beside = beside(cell);
        let and =
            beside.map_or(String::new(), |(figure, _)| format!("; {}, {}", figure.name, direction(figure.better)));
        out += &format!("| {}: {}, {}{and} |", plain(&cell.title), main.name, direction(main.better));
        for at in std::iter::once(&base).chain(&others) {
            let figure = |figure: Figure| match *at == base {
                true => cell.spread(base, figure).map(|spread| number(spread.median, figure.digits)),
                false => cell.ratio(base, *at, figure).map(|ratio| {
                    format!("**{}** ({}..{})", factor(ratio.median), factor(ratio.min), factor(ratio.max))
                }),
            };
            let mut text = figure(main).unwrap_or_else(|| match cell.spread(*at, main) {
                // Measured, but of no use for a ratio.
                Some(_) => "-".into(),
                None => absence(run, cell, *at).into(),
            });
            if let Some((word, value)) = beside.and_then(|(second, word)| Some((word, figure(second)?))) {
                text += &format!("; {word} {value}");
            }
            if marked(run, cell, *at) {
                text += " \u{2020}";
            }
            if let Some(turns) = partial(run, cell, *at) {
                text += &format!(" {turns}");
            }
            out += &format!(" {text} |");
        }
        out.push('\n');
    }
    out.push('\n');
    out += &in_full(run);
    for note in foot(run) {
        out += &format!("- {note}\n");
    }
    out
}

/// Cells at rest once more, in bytes and with a row for each contender: ratios alone do not say whether what one connection
/// needs matters beside what the server needs without any. And what applications do, where no figure says it alone.
fn in_full(run: &Run) -> String {
    let mut out = String::new();
    for cell in &run.cells {
        let figures = told_in_full(cell);
        if figures.is_empty() {
            continue;
        }
        out += &format!("| {}, medians |", plain(&cell.title));
        figures.iter().for_each(|figure| out += &format!(" {} |", figure.name));
        out += &format!("\n|---|{}\n", "---:|".repeat(figures.len()));
        for (at, contender) in run.contenders.iter().enumerate() {
            let mark = if marked(run, cell, at) { " \u{2020}" } else { "" };
            out += &format!("| {}{mark} |", plain(&label(contender)));
            for figure in &figures {
                let value = cell.spread(at, *figure).map(|spread| number(spread.median, figure.digits));
                out += &format!(" {} |", value.unwrap_or_else(|| absence(run, cell, at).into()));
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// Beneath the table of a README, in Markdown: where, when and how it was measured, and what spoils it.
fn foot(run: &Run) -> Vec<String> {
    let fact = |name: &str| run.machine.iter().find(|(known, _)| known == name).map(|(_, value)| plain(value));
    let cores = fact("cores").map(|cores| if cores == "1" { "1 core".into() } else { format!("{cores} cores") });
    let facts: Vec<String> = [fact("processor"), cores, fact("kernel")].into_iter().flatten().collect();
    let machine = if facts.is_empty() { "machine not recorded".into() } else { facts.join(", ") };
    let mut notes = vec![format!("{machine}; {} UTC; {}.", plain(&run.began), rounds(run, &run.cells))];
    notes.push(format!("Measured with <code>{}</code>", plain(&run.command)));
    notes.extend(run.warnings.iter().map(|warning| format!("Warning: {}", plain(warning))));
    if any_marked(run) {
        notes.push("\u{2020} Some turns were disturbed, or there were fewer than planned.".into());
    }
    for contender in &run.contenders {
        notes.extend(
            contender.missing.as_ref().map(|why| format!("{} is missing: {}", plain(&contender.name), plain(why))),
        );
    }
    for cell in &run.cells {
        for (at, contender) in run.contenders.iter().enumerate() {
            if let Some(Some(why)) = cell.failures.get(at) {
                notes.push(format!("{} failed in {}: {}", plain(&contender.name), plain(&cell.id), plain(why)));
            }
        }
    }
    notes.extend(CAVEATS.map(plain));
    notes
}

/// Beneath a table: who failed, who is missing, which turns are disturbed, and why.
fn notes(run: &Run, cell: &Cell) -> Vec<String> {
    let mut notes = Vec::new();
    for (at, contender) in run.contenders.iter().enumerate() {
        notes.extend(reason(run, cell, at).map(|why| format!("{} {why}", contender.name)));
        notes.extend(partial(run, cell, at).map(|turns| format!("{}: {turns}", contender.name)));
        for (round, why) in disturbances(cell, at) {
            notes.push(format!("{} round {round} disturbed: {why}", contender.name));
        }
    }
    notes
}

fn range(spread: Spread, figure: Figure) -> String {
    format!("{}..{}", number(spread.min, figure.digits), number(spread.max, figure.digits))
}

fn times(ratio: f64) -> String {
    format!("{}x", factor(ratio))
}

fn times_range(ratio: Spread) -> String {
    format!("{}..{}", factor(ratio.min), factor(ratio.max))
}

/// Text from outside as one line of Markdown that is only text.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out
}
