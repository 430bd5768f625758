//! So many a second, one behind the other at equal distances: for attempts of dials.
//!
//! Refuses to know who passes, and what time it is.

use std::time::Duration;

use crate::ring::Time;

/// Lets one pass in each such time.
#[derive(Debug)]
pub(crate) struct Turnstile {
    /// `None`: as many as want to.
    every: Option<Duration>,
    next: Time,
}

impl Turnstile {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self { every: per_second.map(|count| Duration::from_secs(1) / count.max(1)), next: Time::default() }
    }

    /// When somebody who wants to pass now may; `None`: now.
    pub(crate) fn pass(&mut self, now: Time) -> Option<Time> {
        let every = self.every?;
        let at = self.next.max(now);
        self.next = at.plus(every);
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_in_each_time() {
        let at = |millis: u64| Time::default().plus(Duration::from_millis(millis));
        let mut turnstile = Turnstile::new(Some(10));
        assert_eq!(turnstile.pass(at(5)), None);
        assert_eq!([turnstile.pass(at(5)), turnstile.pass(at(6))], [Some(at(105)), Some(at(205))]);
        assert_eq!(turnstile.pass(at(305)), None, "its turn is there");
        assert_eq!(turnstile.pass(at(404)), Some(at(405)));
        assert_eq!(turnstile.pass(at(10_000)), None, "turns that nobody took are not kept");
        assert_eq!(turnstile.pass(at(10_000)), Some(at(10_100)));
        let mut open = Turnstile::new(None);
        assert!((0..100).all(|_| open.pass(at(1)).is_none()));
    }
}
