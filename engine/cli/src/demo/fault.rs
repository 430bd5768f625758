//! How a client of a demo is told that what it sent makes no sense: `{"error":"..."}`, of a bounded length whatever it sent.

use wsring::{Conn, Handler};

/// Characters of an error that are told.
const CHARS_MAX: usize = 200;

/// Tells the client of this connection.
pub(crate) fn tell<H: Handler>(conn: &mut Conn<'_, H>, error: &str) {
    let _ = conn.send(message(error).as_str()); // a client that does not read is not read from: there is room
}

fn message(error: &str) -> String {
    let end = error.char_indices().nth(CHARS_MAX).map_or(error.len(), |(end, _)| end);
    serde_json::json!({ "error": error[..end] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_json_and_bounded() {
        assert_eq!(message("no such key: \"K\n\""), r#"{"error":"no such key: \"K\n\""}"#);
        let [at, past] = [200, 201].map(|len| message(&"é".repeat(len)));
        assert_eq!(at, past);
        assert_eq!(at, format!(r#"{{"error":"{}"}}"#, "é".repeat(200)));
    }
}
