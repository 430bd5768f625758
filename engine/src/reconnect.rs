//! When a lost or failed connection is dialled again: [`Reconnect`].

use std::time::Duration;

/// Exponential backoff with jitter. The first new attempt comes within [`wait_first`](Self::wait_first), each further one within
/// [`factor`](Self::factor) times as long, never longer than [`wait_max`](Self::wait_max). When in that time is left to chance, so
/// that clients that lost one server together do not come back together (RFC 6455 §7.2.3).
///
/// A server that declines and says when to come back (Retry-After, RFC 9110 §10.2.3) is not dialled before that: the wait begins when its
/// time is over. [`CoreCx::set_wait`](crate::CoreCx::set_wait) sets the next wait by hand.
///
/// Dialled again is whatever was not closed here: a connection that the peer closed, that broke or that was
/// [aborted](crate::Conn::abort), a failed attempt. Not dialled again is one that the application closed or abandoned, and one whose server
/// said with its status that asking again is of no use: 3xx, and 4xx other than 408, 425 and 429, unless such a 4xx says when to come back
/// (RFC 9110 §15.4, §15.5) and that is heeded ([`retry_after_max`](Self::retry_after_max)). Nor one whose proxy refuses whoever dials (401, 403, 407, or its credentials), that needs TLS and has none, or whose addresses
/// [`Handler::on_resolved`](crate::Handler::on_resolved) has all taken away.
///
/// ```
/// use std::time::Duration;
/// use wsring::{Reconnect, Target};
///
/// let policy = Reconnect::default().wait_max(Duration::from_secs(5)).attempts_max(20);
/// let target = Target::new("ws://127.0.0.1:9001/")?.reconnect(policy);
/// # Ok::<(), wsring::TargetError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reconnect {
    first: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    attempts_max: Option<u32>,
    retry_after_max: Duration,
    pub(crate) healthy_after: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 1.0,
            attempts_max: None,
            retry_after_max: Duration::from_secs(7 * 86_400),
            healthy_after: Duration::from_secs(10),
        }
    }
}

impl Reconnect {
    /// The longest wait before the first new attempt. Default 1 s: half of that on average.
    #[must_use]
    pub const fn wait_first(mut self, wait: Duration) -> Self {
        self.first = wait;
        self
    }

    /// The longest wait. Default 30 s.
    #[must_use]
    pub const fn wait_max(mut self, wait: Duration) -> Self {
        self.max = wait;
        self
    }

    /// How much longer each wait may be than the one before; less than 1 is taken for 1. Default 2.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The largest part of a wait that is taken off at random. It is 0 to 1, and what lies beyond is taken for the nearer of the two.
    /// Default 1: waits are spread over the whole time. Clients of one server that take less come back in a crowd.
    #[must_use]
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// New attempts in a row, behind the first one or a lost connection; when the last of them fails too, the dial is given up. `None`: no
    /// end. 0: no new attempt, but a connection that is lost is told as [`DialError::Exhausted`](crate::DialError::Exhausted) too. Default `None`.
    #[must_use]
    pub fn attempts_max(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.attempts_max = attempts.into();
        self
    }

    /// The longest time that a server may ask for by Retry-After; a longer one is taken for this. [`Duration::ZERO`]: what it asks for is
    /// passed over, so that a 4xx with it is one like any other: 403 is not asked again then, 503 is, after the wait of this policy. Default 7 days.
    #[must_use]
    pub const fn retry_after_max(mut self, time: Duration) -> Self {
        self.retry_after_max = time;
        self
    }

    /// A connection that was open for so long begins the count of attempts anew. Default 10 s.
    #[must_use]
    pub const fn healthy_after(mut self, open: Duration) -> Self {
        self.healthy_after = open;
        self
    }

    /// No attempt follows another, whatever becomes of it.
    pub(crate) fn is_never(&self) -> bool {
        self.attempts_max == Some(0)
    }

    /// Whether `failed` attempts in a row are more than may be.
    pub(crate) fn is_exhausted(&self, failed: u32) -> bool {
        self.attempts_max.is_some_and(|most| failed > most)
    }

    /// Whether it is of any matter when a server wants to be asked again.
    pub(crate) fn heeds_retry_after(&self) -> bool {
        !self.retry_after_max.is_zero()
    }

    /// The wait after `failed` attempts in a row, at least 1; `random` is at least 0 and below 1; `asked`: the server's Retry-After. `None`:
    /// no more.
    pub(crate) fn wait(&self, failed: u32, random: f64, asked: Option<Duration>) -> Option<Duration> {
        if self.is_exhausted(failed) {
            return None;
        }
        let longest = self.max.as_secs_f64();
        let steps = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        // Infinite for many attempts; the lesser of the two is finite.
        let whole = (self.first.as_secs_f64() * self.factor.max(1.0).powi(steps)).min(longest);
        let wait = whole * (1.0 - self.jitter.clamp(0.0, 1.0) * random);
        // No `Duration` are NaN, of a jitter that is none, and what `Duration::MAX` is rounded up to.
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(self.max);
        Some(asked.unwrap_or_default().min(self.retry_after_max).saturating_add(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = Reconnect::default().wait_first(Duration::from_millis(10)).wait_max(Duration::from_millis(75));
        let waits: Vec<u128> = (1..6).map(|failed| policy.wait(failed, 0.0, None).unwrap().as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 75, 75]);
        assert_eq!(policy.wait(u32::MAX, 0.0, None), Some(policy.max));
    }

    #[test]
    fn jitter_takes_off_up_to_its_part() {
        let policy = Reconnect::default().jitter(0.25);
        assert_eq!(policy.wait(1, 0.0, None), Some(policy.first));
        let shortest = policy.wait(1, 0.999_999, None).unwrap();
        assert!(shortest >= policy.first.mul_f64(0.75) && shortest < policy.first.mul_f64(0.76), "{shortest:?}");
        assert_eq!(policy.jitter(0.0).wait(1, 0.999, None), Some(policy.first));
    }

    /// Of 200 that lost one server together no tenth of the time sees many more than its part.
    #[test]
    fn waits_are_spread_over_the_whole_time() {
        let mut tenths = [0; 10];
        for at in 0..200 {
            let wait = Reconnect::default().wait(1, f64::from(at) / 200.0, None).expect("there is no end");
            tenths[(wait.as_secs_f64() * 9.999) as usize] += 1;
        }
        assert!(tenths.iter().all(|&count| (19..=21).contains(&count)), "{tenths:?}");
    }

    /// Never before the server's time is over, and spread behind it.
    #[test]
    fn what_a_server_asks_for_comes_first() {
        let policy = Reconnect::default().retry_after_max(Duration::from_secs(90));
        let asked = |seconds, random| policy.wait(1, random, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(60, 0.0), Some(Duration::from_secs(61)));
        let soonest = asked(60, 0.999_999).expect("there is no end");
        assert!(soonest >= Duration::from_secs(60) && soonest < Duration::from_millis(60_001), "{soonest:?}");
        assert_eq!(asked(90, 0.0), asked(91, 0.0), "its longest time");
        assert_ne!(asked(89, 0.0), asked(90, 0.0));
        assert_eq!(asked(u64::MAX, 0.0), Some(Duration::from_secs(91)));
        let deaf = policy.retry_after_max(Duration::ZERO);
        assert_eq!(deaf.wait(1, 0.0, Some(Duration::from_secs(60))), Some(deaf.first));
        let patient = policy.retry_after_max(Duration::MAX);
        assert_eq!(patient.wait(1, 0.0, Some(Duration::MAX)), Some(Duration::MAX));
        assert_eq!(policy.attempts_max(0).wait(1, 0.0, Some(Duration::ZERO)), None);
    }

    #[test]
    fn attempts_end_at_their_number() {
        let policy = Reconnect::default().attempts_max(3);
        assert!(policy.wait(3, 0.0, None).is_some());
        assert_eq!(policy.wait(4, 0.0, None), None);
    }

    #[test]
    fn strange_numbers_are_harmless() {
        let policy = Reconnect::default().factor(0.0).jitter(7.0).wait_first(Duration::ZERO);
        assert_eq!(policy.wait(9, 0.5, None), Some(Duration::ZERO));
        let policy = Reconnect::default().factor(f64::NAN).jitter(-1.0);
        assert_eq!(policy.wait(9, 0.5, None), Some(policy.first));
        let policy = Reconnect::default().jitter(f64::NAN);
        assert_eq!(policy.wait(1, 0.5, None), Some(policy.max));
        let policy = Reconnect::default().wait_first(Duration::MAX).wait_max(Duration::MAX);
        assert_eq!(policy.wait(2, 0.0, None), Some(Duration::MAX));
        assert_eq!(Reconnect::default().factor(f64::INFINITY).wait(2, 0.0, None), Some(Duration::from_secs(30)));
    }
}
