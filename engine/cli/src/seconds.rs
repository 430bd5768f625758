//! Numbers of seconds on the command line.

/// A number of seconds from 0 to a year.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(secs) if (0.0..=31_536_000.0).contains(&secs) => Ok(secs),
        _ => Err("a number of seconds from 0 to 31536000".to_owned()),
    }
}

/// As [`seconds`]; a connection that has no time at all would never open.
pub(crate) fn seconds_above_zero(text: &str) -> Result<f64, String> {
    seconds(text).ok().filter(|&secs| secs > 0.0).ok_or_else(|| "a number of seconds above 0, to 31536000".to_owned())
}
