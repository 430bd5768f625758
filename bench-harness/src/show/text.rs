//! Words as a page can write them, in its text and in its pictures.
//!
//! Promises that nothing from outside becomes markup. Knows nothing of where on the page the words stand.

use crate::results::Figure;

/// Text from outside, for element content and for attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, not even by number.
            letter if letter.is_control() && !letter.is_whitespace() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

/// A figure's name as a page can write it.
pub fn figure_name(figure: Figure) -> String {
    match figure.name.strip_suffix(", us") {
        Some(name) => format!("{name}, \u{b5}s"),
        None => figure.name.into(),
    }
}
