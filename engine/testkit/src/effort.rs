//! How much of a long test is done: one place for what the environment says.

/// The number that this variable of the environment holds.
///
/// # Panics
/// If it holds something else.
pub fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// `whole`, or `quick` where `QUICK` is set in the environment: `scripts/test quick` sets it.
pub fn whole_or_quick<T>(whole: T, quick: T) -> T {
    if std::env::var_os("QUICK").is_some() { quick } else { whole }
}

/// Seeds of a simulation: `SEEDS` in the environment, or 2,000.
pub fn seeds() -> u64 {
    number("SEEDS").unwrap_or(2000)
}
