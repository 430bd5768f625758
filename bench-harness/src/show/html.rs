//! The comparison as one HTML page that needs nothing else: no script, no font, no picture from anywhere.
//!
//! Owns: what is on the page and in which order. Promises: every word from outside is escaped; every tag is closed, as XML
//! wants it; what the terminal's tables name, the page names too. Refuses to know: how a picture is drawn.

use super::plots::{self, Ink};
use super::text::{escaped, figure_name};
use super::{CAVEATS, VERDICT_ROUNDS_MIN, Verdict, absence, beside, direction, disturbances, factor, label, marked};
use super::{measured, number, partial, reason, rounds, turns, verdict};
use crate::results::{Better, CPU, Cell, Figure, KERNEL, RATE, RSS, RSS_AT_REST, RSS_BEFORE, Run, Spread};

impl Verdict {
    /// A class of the style sheet, and a word for print.
    pub(super) fn class(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Even => "even",
        }
    }
}

/// The whole page.
pub fn html(run: &Run, base: usize) -> String {
    let inks = plots::inks(run, base);
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    let title = format!("{} and its peers", escaped(&run.contenders[base].name));
    out += &format!("<title>{title}, {}</title>\n<style>\n", escaped(&run.began));
    out += include_str!("report.css");
    out += "</style>\n</head>\n<body>\n";
    out += &headline(run, &title);
    out += &matrix(run, base, &inks);
    for cell in &run.cells {
        out += &section(run, cell, base, &inks);
    }
    out += &contenders(run, &inks);
    out += &caveats();
    out += &machine(run);
    out += &repeat(run, base);
    out + "</body>\n</html>\n"
}

fn headline(run: &Run, title: &str) -> String {
    let mut out = format!("<h1>{title}</h1>\n<p class=\"soft\">Measured {} UTC", escaped(&run.began));
    for (_, value) in run.machine.iter().take(2) {
        out += &format!(", {}", escaped(value));
    }
    out += &format!("; {} rounds planned for each cell, the contenders in turns. ", run.rounds);
    out += "<a href=\"#machine\">The machine</a> and <a href=\"#repeat\">how to repeat it</a> stand at the end.</p>\n";
    if !run.warnings.is_empty() {
        out += "<ul class=\"warnings\">\n";
        for warning in &run.warnings {
            out += &format!("<li>{}</li>\n", escaped(warning));
        }
        out += "</ul>\n";
    }
    out
}

/// All cells at a glance.
fn matrix(run: &Run, base: usize, inks: &[Ink]) -> String {
    let name = escaped(&run.contenders[base].name);
    let mut out = format!(
        "<p>Each box: the median of the rounds, and beneath it the ratio to {name}, round by round. \
         <b>Better</b> (blue) and <b>worse</b> (orange) mean better or worse than {name} in every round; <b>even</b>, that the \
         rounds disagree; nothing is said of fewer than {VERDICT_ROUNDS_MIN} rounds. Dashed names are raw echoes without \
         WebSocket: a limit, not a peer. \u{2020} marks disturbed turns, or fewer turns than planned.</p>\n"
    );
    out += "<div class=\"wide\"><table class=\"matrix\">\n";
    out += &head(run, inks, "load");
    for (place, cell) in run.cells.iter().enumerate() {
        let anchor = anchor(cell);
        out += &format!("<tr><th scope=\"row\"><a href=\"#{anchor}\">{}</a>", escaped(&cell.title));
        let repeated = place > 0 && run.cells[place - 1].main == cell.main;
        let direction = if repeated { String::new() } else { format!(", {}", direction(cell.main.better)) };
        out += &format!("<small>{}{direction}</small>", figure_name(cell.main));
        if let Some((figure, _)) = beside(cell) {
            out += &format!("<small>and {}</small>", figure_name(figure));
        }
        out += "</th>";
        for at in 0..run.contenders.len() {
            out += &matrix_box(run, cell, at, base);
        }
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

fn matrix_box(run: &Run, cell: &Cell, at: usize, base: usize) -> String {
    let Some(spread) = cell.spread(at, cell.main) else {
        let why = reason(run, cell, at).unwrap_or_default();
        return format!("<td class=\"absent\" title=\"{}\">{}</td>", escaped(&why), absence(run, cell, at));
    };
    let mark = if marked(run, cell, at) { "\u{2020}" } else { "" };
    let value = number(spread.median, cell.main.digits) + mark;
    let second = beside(cell).and_then(|(figure, word)| Some((figure, word, cell.spread(at, figure)?)));
    let mut foot = second.map_or(String::new(), |(figure, word, spread)| {
        format!("<small>{word} {}</small>", number(spread.median, figure.digits))
    });
    foot += &partial(run, cell, at).map_or(String::new(), |turns| format!("<small>{turns}</small>"));
    let Some(ratio) = cell.ratio(at, base, cell.main).filter(|_| at != base) else {
        let small = if at == base { "<small>base</small>" } else { "" };
        return format!("<td>{value}{small}{foot}</td>");
    };
    // A limit is neither better nor worse than what it limits.
    let Some(verdict) = verdict(ratio, cell.main.better).filter(|_| !run.contenders[at].raw) else {
        return format!("<td>{value}<small>{}\u{d7}</small>{foot}</td>", factor(ratio.median));
    };
    // The ground darkens with the distance, whichever way: a tenth, a half, more.
    let strength = match ratio.median.ln().abs() {
        ..0.0953 => "s1",
        ..0.4055 => "s2",
        _ => "s3",
    };
    let (class, times) = (verdict.class(), factor(ratio.median));
    format!("<td class=\"{class} {strength}\">{value}<small>{times}\u{d7} {class}</small>{foot}</td>")
}

/// A table's head with a column for each contender.
fn head(run: &Run, inks: &[Ink], first: &str) -> String {
    let mut out = format!("<thead><tr><th scope=\"col\">{first}</th>");
    for (contender, ink) in run.contenders.iter().zip(inks) {
        let (class, name) = (ink.class(), escaped(&contender.name));
        let raw = if label(contender) != contender.name { "<small>raw</small>" } else { "" };
        out += &format!("<th scope=\"col\" class=\"{class}\"><span class=\"dot {class}\"></span>{name}{raw}</th>");
    }
    out + "</tr></thead>\n<tbody>\n"
}

/// One cell: pictures, then every number.
fn section(run: &Run, cell: &Cell, base: usize, inks: &[Ink]) -> String {
    let mut out =
        format!("<h2 id=\"{}\">{} <code>{}</code></h2>\n", anchor(cell), escaped(&cell.title), escaped(&cell.id));
    let bars = |figures: &[Figure]| -> String {
        let shown = figures.iter().filter_map(|figure| {
            let picture = plots::bars(run, cell, base, *figure, inks)?;
            let (name, direction) = (figure_name(*figure), direction(figure.better));
            Some(format!("<figure><figcaption>{name} <span>{direction}</span></figcaption>{picture}</figure>\n"))
        });
        format!("<div>\n{}</div>\n", shown.collect::<String>())
    };
    out += "<div class=\"plots\">\n";
    if cell.main == RSS {
        // The kernel's memory beside the server's, and beneath them what a connection's share is part of.
        out += &(bars(&[RSS, RSS_BEFORE]) + &bars(&[KERNEL, RSS_AT_REST]));
    } else {
        let others = [CPU, RATE].into_iter().filter(|figure| *figure != cell.main);
        out += &bars(&std::iter::once(cell.main).chain(others).collect::<Vec<_>>());
    }
    if let Some(picture) = plots::latency(run, cell, base, inks) {
        out +=
            "<figure><figcaption>latency by percentile, \u{b5}s <span>all turns together, both axes logarithmic</span>";
        out += &format!("</figcaption>{picture}</figure>\n");
    }
    out += "</div>\n<details open=\"open\"><summary>Every figure and its spread</summary>\n";
    out += "<div class=\"wide\"><table class=\"details\">\n";
    out += &head(run, inks, "median, least \u{2013} most, ratio");
    out += "<tr><th scope=\"row\">turns</th>";
    for at in 0..run.contenders.len() {
        out += &match cell.turns[at].len() {
            0 => format!("<td class=\"absent\">{}</td>", absence(run, cell, at)),
            _ => format!("<td>{}</td>", turns(run, cell, at).replacen(" disturbed", " disturbed\u{2020}", 1)),
        };
    }
    out += "</tr>\n";
    for figure in measured(cell) {
        out += &format!("<tr><th scope=\"row\">{}</th>", figure_name(figure));
        for at in 0..run.contenders.len() {
            out += &match cell.spread(at, figure) {
                Some(spread) => details_box(spread, cell.ratio(at, base, figure).filter(|_| at != base), figure),
                None => "<td class=\"absent\">-</td>".into(),
            };
        }
        out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
    out + &notes(run, cell) + "</details>\n"
}

fn details_box(spread: Spread, ratio: Option<Spread>, figure: Figure) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(|value| number(value, figure.digits));
    let ratio = ratio.map_or(String::new(), |ratio| {
        let [median, min, max] = [ratio.median, ratio.min, ratio.max].map(factor);
        format!("<small><b>{median}\u{d7}</b> ({min} \u{2013} {max})</small>")
    });
    // A figure that says nothing of the server needs no second line.
    match figure.better {
        Better::Neither => format!("<td>{median} <small>{min} \u{2013} {max}</small></td>"),
        _ => format!("<td>{median}<small>{min} \u{2013} {max}</small>{ratio}</td>"),
    }
}

/// Who is missing or failed, and which turns are to be read with care.
fn notes(run: &Run, cell: &Cell) -> String {
    let mut out = String::new();
    for (at, contender) in run.contenders.iter().enumerate() {
        let name = escaped(&contender.name);
        if let Some(why) = reason(run, cell, at) {
            out += &format!("<li>{name} {}</li>\n", escaped(&why));
        }
        if let Some(turns) = partial(run, cell, at) {
            out += &format!("<li>\u{2020} {name}: {turns}</li>\n");
        }
        for (round, why) in disturbances(cell, at) {
            out += &format!("<li>\u{2020} {name}, round {round}: {}</li>\n", escaped(why));
        }
    }
    if out.is_empty() { out } else { format!("<ul class=\"notes\">\n{out}</ul>\n") }
}

fn contenders(run: &Run, inks: &[Ink]) -> String {
    let mut out =
        String::from("<h2 id=\"contenders\">The contenders</h2>\n<div class=\"wide\"><table class=\"text\">\n");
    out += "<thead><tr><th>name</th><th>version</th><th>command</th></tr></thead>\n<tbody>\n";
    for (contender, ink) in run.contenders.iter().zip(inks) {
        let (class, name) = (ink.class(), escaped(&label(contender)));
        out += &format!("<tr><th scope=\"row\" class=\"{class}\"><span class=\"dot {class}\"></span>{name}</th>");
        out += &format!("<td class=\"short\">{}</td>", escaped(&contender.version));
        out += &match &contender.missing {
            Some(why) => format!("<td class=\"absent\">missing: {}</td></tr>\n", escaped(why)),
            None => format!("<td><code>{}</code></td></tr>\n", escaped(&contender.command)),
        };
    }
    out + "</tbody></table></div>\n"
}

fn caveats() -> String {
    let items: String = CAVEATS.iter().map(|caveat| format!("<li>{}</li>\n", escaped(caveat))).collect();
    format!("<h2 id=\"caveats\">How to read the figures</h2>\n<ul>\n{items}</ul>\n")
}

fn machine(run: &Run) -> String {
    let mut out =
        String::from("<h2 id=\"machine\">The machine</h2>\n<div class=\"wide\"><table class=\"text\">\n<tbody>\n");
    for (name, value) in &run.machine {
        out += &format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value));
    }
    if run.machine.is_empty() {
        out += "<tr><td>not recorded</td></tr>\n";
    }
    out + "</tbody></table></div>\n"
}

fn repeat(run: &Run, base: usize) -> String {
    let name = escaped(&run.contenders[base].name);
    let mut out =
        String::from("<h2 id=\"repeat\">How to repeat it</h2>\n<p>The whole comparison is one command:</p>\n");
    out += &format!("<pre>{}</pre>\n", escaped(&run.command));
    out += "<p>A round gives each contender one turn: its server is started with the command above, warmed up, measured and \
            stopped.";
    out += &format!(
        " A ratio is taken between turns of the same round, so what drifts slowly falls out of it; what is written is the \
         median of {}, with the least and the most. Figures of {name} itself are the base.</p>\n",
        rounds(run, &run.cells)
    );
    out +=
        "<p>Single servers can be started by their own command, with a port of your choice in place of {port}.</p>\n";
    out
}

/// Where links of the matrix lead.
fn anchor(cell: &Cell) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    format!("cell-{}", cell.id.chars().map(plain).collect::<String>())
}
