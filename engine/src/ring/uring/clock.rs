//! The clock of the machine. Promises that its times can be compared with those of other cores and of other processes.

use super::Time;

/// What CLOCK_MONOTONIC says now (clock_gettime(2)).
#[must_use]
pub fn monotonic() -> Time {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes into `time`, which is ours for as long as it takes, and keeps nothing. Fails without it: every test of a
    // timer.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(outcome, 0, "clock_gettime(2) knows CLOCK_MONOTONIC");
    Time::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Read between two of std's, which are of the same clock: they differ by no more than those do.
    #[test]
    fn it_goes_as_the_clock_of_std_does() {
        let (before, first) = (Instant::now(), monotonic());
        let (middle, second, after) = (before.elapsed(), monotonic(), Instant::now());
        assert!(first > Time::default() && second.since(first) <= after - before, "{first:?} {second:?}");
        assert!(monotonic().since(first) >= middle.saturating_sub(second.since(first)));
    }
}
