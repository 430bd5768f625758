//! Tables for terminals and for Markdown.
//!
//! Owns: what stands in which column. Promises: every figure that was measured is in the table of its cell, and beneath it
//! every reason why a turn is disturbed or not there. Refuses to know: widths.

use super::grid::{Grid, WIDTH_MAX};
use super::{absence, direction, disturbances, factor, label, measured, number, reason, short, turns};
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
        row.push(turns(cell, at));
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
        "{}: {}\n{}, {}; a ratio is contender / {}, the median over {} rounds\n\n{}",
        cell.id,
        cell.title,
        main.name,
        direction(main.better),
        run.contenders[base].name,
        run.rounds,
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

/// All cells: a row for each, a column for each contender, the median of the main figure and its ratio to `base`.
pub fn summary(run: &Run, base: usize) -> String {
    let mut grid = Grid::new("cell");
    grid.column("figure");
    run.contenders.iter().for_each(|contender| grid.column(&label(contender)));
    for cell in &run.cells {
        let mut row = vec![cell.id.clone(), short(cell.main).into()];
        row.extend((0..run.contenders.len()).map(|at| {
            let Some(spread) = cell.spread(at, cell.main) else { return absence(run, cell, at).into() };
            let mark = if cell.disturbed(at) > 0 { "*" } else { "" };
            let value = number(spread.median, cell.main.digits);
            match cell.ratio(at, base, cell.main).filter(|_| at != base) {
                Some(ratio) => format!("{value}{mark} {}", times(ratio.median)),
                None => format!("{value}{mark}"),
            }
        }));
        grid.push(row);
    }
    let mut out = format!("Medians, and ratios to {} (contender / {0})\n\n", run.contenders[base].name);
    out += &grid.text(WIDTH_MAX);
    if run.cells.iter().any(|cell| (0..run.contenders.len()).any(|at| cell.disturbed(at) > 0)) {
        out += "\n  * some turns were disturbed\n";
    }
    out
}

/// For a README: cells as rows, contenders as columns. Here alone a ratio is `base` / contender: the base is what the README
/// speaks of, and the reader asks what it needs of what another needs.
pub fn markdown(run: &Run, base: usize) -> String {
    let name = plain(&run.contenders[base].name);
    let others: Vec<usize> = (0..run.contenders.len()).filter(|at| *at != base).collect();
    let mut out = format!(
        "Medians of {} rounds ({}). Under each other server: {name} / that server, median and range of the rounds; \
         for a figure where lower is better, less than 1 means that {name} needs less.\n\n| load | {name} |",
        run.rounds,
        plain(&run.began)
    );
    for at in &others {
        out += &format!(" {} |", plain(&label(&run.contenders[*at])));
    }
    out += &format!("\n|---|---:|{}\n", "---:|".repeat(others.len()));
    for cell in &run.cells {
        let main = cell.main;
        let value = cell.spread(base, main).map(|spread| number(spread.median, main.digits));
        let value = value.unwrap_or_else(|| absence(run, cell, base).into());
        out += &format!("| {}: {}, {} | {value} |", plain(&cell.title), main.name, direction(main.better));
        for at in &others {
            let text = cell
                .ratio(base, *at, main)
                .map(|ratio| format!("**{}** ({}..{})", factor(ratio.median), factor(ratio.min), factor(ratio.max)));
            out += &format!(" {} |", text.unwrap_or_else(|| absence(run, cell, *at).into()));
        }
        out.push('\n');
    }
    for contender in &run.contenders {
        if let Some(why) = &contender.missing {
            out += &format!("\n- {} is missing: {}", plain(&contender.name), plain(why));
        }
    }
    for cell in &run.cells {
        for (at, contender) in run.contenders.iter().enumerate() {
            if let Some(Some(why)) = cell.failures.get(at) {
                out += &format!("\n- {} failed in {}: {}", plain(&contender.name), plain(&cell.id), plain(why));
            }
        }
    }
    out.trim_end().to_string() + "\n"
}

/// Beneath a table: who failed, who is missing, which turns are disturbed, and why.
fn notes(run: &Run, cell: &Cell) -> Vec<String> {
    let mut notes = Vec::new();
    for (at, contender) in run.contenders.iter().enumerate() {
        notes.extend(reason(run, cell, at).map(|why| format!("{} {why}", contender.name)));
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
