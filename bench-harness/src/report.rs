//! One-line answers of the single runs, and what servers print of themselves.
//!
//! Owns: JSON lines written by hand. Promises: a number that JSON cannot say is null. Refuses to know: where figures come from.

use std::fmt::Write as _;

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

    /// The line, without its end.
    pub fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0 + "}"
    }
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
        let line = Line::new().count("n", 3).number("x", 0.5).number("none", f64::NAN);
        assert_eq!(line.flag("ok", true).finish(), r#"{"n":3,"x":0.5000,"none":null,"ok":true}"#);
        assert_eq!(Line::new().finish(), "{}");
    }

    #[test]
    fn counts_are_found_in_output() {
        let output = "listening\ncore 0: enters=10, messages=400\nall: enters=12 messages=480\n";
        assert_eq!(printed_count(output, "enters"), Some(12));
        assert_eq!(printed_count(output, "messages"), Some(480));
        assert_eq!(printed_count(output, "essages"), None);
    }
}
