//! The pictures of the page, as SVG inside HTML.
//!
//! Owns: axes, bars, lines, and which ink a contender has in the whole report. Promises: no label lies on another, none is
//! cut at the edge, bars begin at zero. Refuses to know: colours (the page's style sheet has them, for light, dark and
//! print) and everything around a picture.
//!
//! Laid out by hand, and not by plotters, after a trial of it: its SVG states a colour in every element and has no classes,
//! so that a page could not follow the reader's light or dark scheme with one picture; it places everything on whole pixels;
//! and bars with whiskers, names and ratios would be drawn element by element there too.

use super::text::{escaped, figure_name};
use super::{Verdict, direction, factor, label, marked, number, reason, verdict};
use crate::results::{Cell, Figure, Run};

/// Width of every picture in its own units; the page scales it.
const WIDTH: f64 = 480.0;

/// Ink classes by contender: `k0` is the base, `k1`... the others in their order, `raw r0`... the baselines.
pub fn inks(run: &Run, base: usize) -> Vec<Ink> {
    let (mut peers, mut raws) = (1, 0);
    let ink = |(at, contender): (usize, &crate::results::Contender)| {
        let next = |count: &mut usize| {
            *count += 1;
            *count - 1
        };
        match contender.raw {
            true => Ink { raw: true, number: next(&mut raws) },
            false if at == base => Ink { raw: false, number: 0 },
            false => Ink { raw: false, number: next(&mut peers) },
        }
    };
    run.contenders.iter().enumerate().map(ink).collect()
}

/// How a contender is drawn, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    raw: bool,
    number: usize,
}

/// Colours that the style sheet has for peers, and for baselines.
const COLOURS: (usize, usize) = (8, 2);

impl Ink {
    /// For `class="..."`.
    pub fn class(self) -> String {
        match self.raw {
            true => format!("raw r{}", self.number % COLOURS.1),
            false => format!("k{}", self.number % COLOURS.0),
        }
    }

    /// A point of a line at (x, y): its shape tells lines apart where colours do not.
    fn mark(self, x: f64, y: f64) -> String {
        let path = match self.number % 4 {
            0 => "m-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
            1 => "m-3.5,-3.5h7v7h-7z",
            2 => "m0,-4.5l4.5,8h-9z",
            _ => "m0,-5l5,5l-5,5l-5,-5z",
        };
        format!("<path class=\"mark\" d=\"M{x:.1},{y:.1}{path}\"/>")
    }
}

/// Room for the names beside the bars.
const NAMES: f64 = 132.0;
/// Room for the numbers behind the bars.
const LABELS: f64 = 132.0;
/// Height of a bar with its surroundings.
const ROW: f64 = 26.0;

/// A bar for each contender that could have the figure: the median, whiskers from the least to the most, the number and the
/// ratio to the base behind it. None if nobody has the figure.
pub fn bars(run: &Run, cell: &Cell, base: usize, figure: Figure, inks: &[Ink]) -> Option<String> {
    let rows: Vec<usize> = (0..run.contenders.len()).filter(|at| run.contenders[*at].missing.is_none()).collect();
    let most = rows.iter().filter_map(|at| cell.spread(*at, figure)).map(|spread| spread.max).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let height = ROW * rows.len() as f64 + 26.0;
    // A difference of two readings can be below zero; the picture ends there, the number is written as it is.
    let x = |value: f64| NAMES + value.max(0.0) / most * (WIDTH - NAMES - LABELS);
    let title = format!("{}, {}", figure_name(figure), direction(figure.better));
    let mut out = open(height, &format!("{}: {title}", cell.title));
    let foot = height - 20.0;
    for tick in ticks(most) {
        let (x, text) = (x(tick), brief(tick, most));
        out += &format!("<path class=\"grid\" d=\"M{x:.1},0V{foot:.1}\"/>");
        out +=
            &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", foot + 15.0);
    }
    for (row, at) in rows.into_iter().enumerate() {
        let (contender, middle) = (&run.contenders[at], ROW * row as f64 + ROW / 2.0);
        let baseline = middle + 4.5;
        out += &format!("<g class=\"{}\">", inks[at].class());
        out += &format!("<title>{}</title>", escaped(&label(contender)));
        let mark = if marked(run, cell, at) { "\u{2020}" } else { "" };
        out += &format!(
            "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{}{mark}</text>",
            NAMES - 8.0,
            escaped(&clipped(&label(contender), 18))
        );
        let Some(spread) = cell.spread(at, figure) else {
            let why = reason(run, cell, at).unwrap_or("not measured".into());
            let why = escaped(&clipped(&why, 44));
            out += &format!("<text class=\"absent\" x=\"{:.1}\" y=\"{baseline:.1}\">{why}</text></g>", NAMES + 4.0);
            continue;
        };
        let (least, median, end) = (x(spread.min), x(spread.median), x(spread.max));
        let top = middle - 8.0;
        out += &format!(
            "<rect class=\"bar\" x=\"{NAMES}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"16\"/>",
            (median - NAMES).max(0.5)
        );
        let (high, low) = (middle - 4.0, middle + 4.0);
        out += &format!(
            "<path class=\"whisker\" d=\"M{least:.1},{high:.1}V{low:.1}M{end:.1},{high:.1}V{low:.1}\
             M{least:.1},{middle:.1}H{end:.1}\"/>"
        );
        let ratio = match cell.ratio(at, base, figure) {
            _ if at == base => "<tspan class=\"ratio\">base</tspan>".into(),
            Some(ratio) => {
                // A limit is neither better nor worse than what it limits.
                let verdict = verdict(ratio, figure.better).filter(|_| !contender.raw);
                let class = verdict.map_or("", Verdict::class);
                format!("<tspan class=\"ratio {class}\">{}\u{d7}</tspan>", factor(ratio.median))
            }
            None => String::new(),
        };
        let value = number(spread.median, figure.digits);
        out += &format!("<text x=\"{:.1}\" y=\"{baseline:.1}\">{value} {ratio}</text></g>", end + 7.0);
    }
    Some(out + "</svg>")
}

/// The latency plot: left, right and top edge of its field, and where the field ends below. Half a label fits on the right.
const FIELD: (f64, f64, f64, f64) = (60.0, WIDTH - 32.0, 10.0, 300.0);
/// Half of them are faster: where the lines begin, as log10(1 / (1 - quantile)).
const NINES_MIN: f64 = std::f64::consts::LOG10_2;
/// 99.9999 %.
const NINES_MAX: f64 = 6.0;
/// Marks of the x axis.
const QUANTILES: [(f64, &str); 7] = [
    (NINES_MIN, "50 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
    (6.0, "99.9999 %"),
];

/// Latency by percentile over all turns, a line for each contender; none if nobody has latencies.
pub fn latency(run: &Run, cell: &Cell, base: usize, inks: &[Ink]) -> Option<String> {
    let mut lines: Vec<(usize, Vec<(f64, f64)>)> = (0..run.contenders.len())
        .filter_map(|at| Some((at, points(&cell.latencies(at)?))))
        .filter(|(_, points)| points.len() > 1)
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let nines = all().map(|point| point.0).reduce(f64::max)?.max(1.0);
    let (low, high) = (all().map(|point| point.1).reduce(f64::min)?, all().map(|point| point.1).reduce(f64::max)?);
    let (low, high) = (down(low), up(high.max(low * 1.1)));
    let (left, right, top, foot) = FIELD;
    let x = |nines_here: f64| left + (nines_here - NINES_MIN) / (nines - NINES_MIN) * (right - left);
    let y = |us: f64| foot - (us / low).log10() / (high / low).log10() * (foot - top);

    let legend_rows = lines.len().div_ceil(2) as f64;
    let mut out = open(foot + 36.0 + 20.0 * legend_rows, &format!("{}: latency by percentile", cell.title));
    let many = (high / low).log10() > 4.05;
    let mut line_us = low;
    while line_us <= high * 1.001 {
        let (y, whole) = (y(line_us), decade(line_us).1 == 1.0);
        out += &format!("<path class=\"grid{}\" d=\"M{left},{y:.1}H{right}\"/>", if whole { " whole" } else { "" });
        if whole || !many {
            let digits = (-decade(line_us).0.log10()).round().max(0.0) as usize;
            let text = number(line_us, digits);
            out += &format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 6.0,
                y + 4.0
            );
        }
        line_us = up(line_us * 1.5);
    }
    for (at, text) in QUANTILES.into_iter().filter(|(at, _)| *at <= nines) {
        let (x, below) = (x(at), foot + 16.0);
        out += &format!("<path class=\"grid\" d=\"M{x:.1},{top}V{foot}\"/>");
        out += &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>");
    }
    // The base last, on top of the others.
    lines.sort_by_key(|(at, _)| (*at == base, *at));
    for (at, points) in &lines {
        let name = escaped(&label(&run.contenders[*at]));
        out += &format!("<g class=\"{}\"><title>{name}</title><path class=\"line\" d=\"", inks[*at].class());
        for (place, (nines, us)) in points.iter().enumerate() {
            out += &format!("{}{:.1},{:.1}", if place == 0 { "M" } else { "L" }, x(*nines), y(*us));
        }
        out += "\"/>";
        for (mark, _) in QUANTILES {
            if let Some((nines, us)) = points.iter().find(|(nines, _)| (nines - mark).abs() < 1e-9) {
                out += &inks[*at].mark(x(*nines), y(*us));
            }
        }
        out += "</g>";
    }
    lines.sort_by_key(|(at, _)| *at);
    for (place, (at, _)) in lines.iter().enumerate() {
        let contender = &run.contenders[*at];
        let (x, y) = (left + 210.0 * (place % 2) as f64, foot + 40.0 + 20.0 * (place / 2) as f64);
        out += &format!("<g class=\"{}\"><path class=\"line\" d=\"M{x},{y}h28\"/>", inks[*at].class());
        out += &inks[*at].mark(x + 14.0, y);
        let mark = if marked(run, cell, *at) { "\u{2020}" } else { "" };
        let name = escaped(&clipped(&label(contender), 22));
        out += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{name}{mark}</text></g>", x + 36.0, y + 4.5);
    }
    Some(out + "</svg>")
}

/// A latency curve as (nines, microseconds), to where one sample alone is left.
fn points(histogram: &hdrhistogram::Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_NINE: usize = 30;
    let end = (histogram.len() as f64).log10().min(NINES_MAX);
    let steps = (1..=NINES_MAX as usize * STEPS_PER_NINE).map(|step| step as f64 / STEPS_PER_NINE as f64);
    let mut at: Vec<f64> = steps.filter(|nines| (NINES_MIN + 0.01..end).contains(nines)).collect();
    at.insert(0, NINES_MIN);
    if end > NINES_MIN {
        at.push(end);
    }
    let us = |nines: f64| histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e3;
    // Under a nanosecond there is no place on a logarithmic axis.
    at.into_iter().map(|nines| (nines, us(nines).max(1e-3))).collect()
}

fn open(height: f64, title: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">", escaped(title))
}

/// Round numbers from zero to `most`: three to six of them.
fn ticks(most: f64) -> impl Iterator<Item = f64> {
    let step = up(most / 5.0);
    (0..=5).map(move |count| f64::from(count) * step).filter(move |tick| *tick <= most * 1.001)
}

/// The decade of a number, and where in it the number stands: `20` is `(10, 2)`.
fn decade(value: f64) -> (f64, f64) {
    let decade = 10_f64.powf((value.log10() + 1e-9).floor());
    (decade, (value / decade * 1e6).round() / 1e6)
}

/// The next 1, 2 or 5 of a decade that is not less.
fn up(value: f64) -> f64 {
    let (decade, mantissa) = decade(value);
    decade * [1.0, 2.0, 5.0].into_iter().find(|round| mantissa <= *round).unwrap_or(10.0)
}

/// The next 1, 2 or 5 of a decade that is not more.
fn down(value: f64) -> f64 {
    let (decade, mantissa) = decade(value);
    decade * [5.0, 2.0, 1.0].into_iter().find(|round| mantissa >= *round).unwrap_or(1.0)
}

/// For the marks of an axis that ends at `most`, all in one unit: `250k`, `1.5M`.
fn brief(value: f64, most: f64) -> String {
    let (scale, unit) = match most {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = (value / scale * 1e4).round() / 1e4;
    format!("{scaled}{}", if value > 0.0 { unit } else { "" })
}

/// At most so many letters; the whole text stands in the title of the element and in the tables.
fn clipped(text: &str, letters_max: usize) -> String {
    match text.char_indices().nth(letters_max) {
        None => text.into(),
        Some(_) => text.chars().take(letters_max - 1).chain(['\u{2026}']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        assert_eq!([3.0, 10.0, 0.07, 51.0, 1000.0].map(up), [5.0, 10.0, 0.1, 100.0, 1000.0]);
        assert_eq!([3.0, 10.0, 0.07, 49.0, 1000.0].map(down), [2.0, 10.0, 0.05, 20.0, 1000.0]);
        assert_eq!(ticks(1000.0).collect::<Vec<_>>(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        assert_eq!(ticks(999.0).count(), 5);
        assert_eq!([0.2, 9000.0, 15e3, 2.5e6].map(|tick| brief(tick, tick)), ["0.2", "9000", "15k", "2.5M"]);
        assert_eq!([0.0, 5000.0].map(|tick| brief(tick, 1e4)), ["0", "5k"]);
    }

    #[test]
    fn clipped_by_letters() {
        assert_eq!([clipped("\u{e4}bc", 3), clipped("\u{e4}bcd", 3)], ["\u{e4}bc", "\u{e4}b\u{2026}"]);
    }

    #[test]
    fn one_latency_is_no_line() {
        let mut histogram = hdrhistogram::Histogram::new(3).unwrap();
        histogram.record(1000).unwrap();
        assert_eq!(points(&histogram).len(), 1);
        histogram.record(0).unwrap();
        histogram.record(9000).unwrap();
        assert_eq!(points(&histogram).len(), 2 + 5, "median to a third");
    }
}
