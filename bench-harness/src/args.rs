//! Values of the command line that more than one command takes.
//!
//! Owns how they are read, and what is said of those that cannot be. Knows no command.

use std::time::Duration;

/// A time between nothing and an hour.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=3600.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err(format!("{text:?} is not a number of seconds from 0 to 3600")),
    }
}
