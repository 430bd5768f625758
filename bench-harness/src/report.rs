//! Figures for people and for programs.
//!
//! Owns: medians, spreads, the table, JSON lines. Promises: every figure stands with its spread, every run with its machine.
//! Refuses to know: where figures come from.

use std::fmt::Write as _;
use std::fs;

/// One JSON object on one line.
#[derive(Default)]
pub struct Line(String);

impl Line {
    /// An empty object.
    pub fn new() -> Line {
        Line::default()
    }

    fn name(&mut self, name: &str) -> &mut String {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        let _ = write!(self.0, "\"{name}\":");
        &mut self.0
    }

    /// Adds a count.
    pub fn count(mut self, name: &str, value: u64) -> Line {
        let _ = write!(self.name(name), "{value}");
        self
    }

    /// Adds a number; what JSON cannot say (NaN, infinity) becomes null.
    pub fn number(mut self, name: &str, value: f64) -> Line {
        let out = self.name(name);
        let _ = if value.is_finite() { write!(out, "{value:.4}") } else { write!(out, "null") };
        self
    }

    /// Adds a truth.
    pub fn flag(mut self, name: &str, value: bool) -> Line {
        let _ = write!(self.name(name), "{value}");
        self
    }

    /// Adds text, escaped.
    pub fn text(mut self, name: &str, value: &str) -> Line {
        let out = self.name(name);
        out.push('"');
        for letter in value.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                control if control < ' ' => {
                    let _ = write!(out, "\\u{:04x}", control as u32);
                }
                plain => out.push(plain),
            }
        }
        out.push('"');
        self
    }

    /// The line, without its end.
    pub fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0 + "}"
    }
}

/// The middle of some samples, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `samples`; none if there are none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Spread { median, min, max })
    }

    fn show(this: Option<Spread>, digits: usize) -> String {
        this.map_or("-".to_owned(), |Spread { median, min, max }| {
            format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
        })
    }
}

/// One figure of both sides over the same rounds.
pub struct Row {
    /// What it is, unit last.
    pub name: &'static str,
    /// The same in JSON.
    pub key: &'static str,
    /// Whether the ratio of both sides says anything.
    pub compared: bool,
    /// The first side's samples, by round; NaN where a round has none.
    pub a: Vec<f64>,
    /// The second side's.
    pub b: Vec<f64>,
    /// Digits after the point.
    pub digits: usize,
}

impl Row {
    /// Both sides' medians and spreads; none where no round has a sample.
    pub fn spreads(&self) -> [Option<Spread>; 2] {
        [&self.a, &self.b].map(|side| Spread::of(side.iter().copied().filter(|sample| sample.is_finite())))
    }

    /// Median of b over median of a.
    pub fn ratio_of_medians(&self) -> Option<f64> {
        let [a, b] = self.spreads();
        Some(b?.median / a?.median).filter(|ratio| self.compared && ratio.is_finite())
    }

    /// The ratios b / a of each round, which cancels what drifts slowly.
    pub fn round_ratios(&self) -> Option<Spread> {
        let ratios = self.a.iter().zip(&self.b).map(|(a, b)| b / a);
        Spread::of(ratios.filter(|ratio| self.compared && ratio.is_finite()))
    }
}

/// The table of one cell: both sides' medians with their spreads, and both kinds of ratio.
pub fn table(title: &str, name_a: &str, name_b: &str, rows: &[Row]) -> String {
    let ratio = format!("{name_b}/{name_a}");
    let mut out = format!("{title}\n");
    let mut line = |cells: [&str; 5]| {
        let [name, a, b, medians, rounds] = cells;
        let _ = writeln!(out, "  {name:<22} {a:>32} {b:>32} {medians:>16} {rounds:>22}");
    };
    line(["median (min..max)", name_a, name_b, &ratio, "median of rounds"]);
    for row in rows {
        let [a, b] = row.spreads().map(|side| Spread::show(side, row.digits));
        let medians = row.ratio_of_medians().map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        line([row.name, &a, &b, &medians, &Spread::show(row.round_ratios(), 3)]);
    }
    out
}

/// Where this runs: processor, count of cores, kernel.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let release = read("/proc/sys/kernel/osrelease");
    format!("{} x {cores}, Linux {}", model.map_or("processor unknown", |(_, model)| model), release.trim())
}

/// The number after `name=` in what a server printed; the last one, if there are several.
pub fn printed_count(output: &str, name: &str) -> Option<u64> {
    let words = output.split(|c: char| c.is_whitespace() || c == ',');
    words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json() {
        let line = Line::new().text("name", "a \"b\"\\\n").count("n", 3).number("x", 0.5).number("none", f64::NAN);
        assert_eq!(
            line.flag("ok", true).finish(),
            r#"{"name":"a \"b\"\\\u000a","n":3,"x":0.5000,"none":null,"ok":true}"#
        );
        assert_eq!(Line::new().finish(), "{}");
    }

    #[test]
    fn medians_and_ratios() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
        let row = |a: &[f64], b: &[f64], compared| Row {
            name: "time, ns",
            key: "time_ns",
            compared,
            a: a.to_vec(),
            b: b.to_vec(),
            digits: 0,
        };
        let times = row(&[10.0, 20.0, 40.0], &[5.0, 20.0, 10.0], true);
        assert_eq!(times.ratio_of_medians(), Some(0.5));
        assert_eq!(times.round_ratios(), Some(Spread { median: 0.5, min: 0.25, max: 1.0 }));
        let none = row(&[f64::NAN], &[1.0], true);
        assert_eq!((none.ratio_of_medians(), none.round_ratios()), (None, None));
        let zero = row(&[0.0], &[1.0], true);
        assert_eq!((zero.ratio_of_medians(), zero.round_ratios()), (None, None));
        let apart = row(&[1.0], &[1.0], false);
        assert_eq!((apart.ratio_of_medians(), apart.round_ratios()), (None, None));
        assert!(table("cell", "a", "b", &[times, none]).contains("0.500"));
    }

    #[test]
    fn counts_are_found_in_output() {
        let output = "listening\ncore 0: enters=10, messages=400\nall: enters=12 messages=480\n";
        assert_eq!(printed_count(output, "enters"), Some(12));
        assert_eq!(printed_count(output, "messages"), Some(480));
        assert_eq!(printed_count(output, "essages"), None);
    }
}
