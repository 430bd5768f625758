//! Owns how many bytes a second topics may give to each connection that has such a rate: a token bucket for each, by the index of its slot.
//!
//! A bucket holds what its rate brings in a tenth of a second. A message goes while there is anything in it and takes all that it needs, so a long one leaves a
//! debt, and what follows waits until that is paid: in any stretch of time no more goes than the rate brings, the bucket's size and one message, however often the
//! rate is changed meanwhile. Promises that connections without a rate cost nothing. Refuses to know what a message is, and how time is noticed.

use std::time::Duration;

use super::alarms::TimerId;
use super::planted::planted;
use crate::ring::Time;

/// For so long a bucket is filled: what is more flows over.
const DEPTH: Duration = Duration::from_millis(100);
const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    /// When there is something in it, or since when its content has come.
    free_at: Time,
    /// What wakes those who wait for that.
    timer: Option<TimerId>,
}

/// The buckets of a core.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// As many as were needed so far.
    buckets: Vec<Option<Bucket>>,
}

impl Rates {
    /// Whether a connection has a rate.
    #[inline]
    pub(super) fn is_on(&self, index: u32) -> bool {
        self.buckets.get(index as usize).is_some_and(Option::is_some)
    }

    /// It has this rate from now on, of at least a byte a second, or none. The bytes of a debt are still owed, and what is in the bucket is poured out; the rate that
    /// it has already changes nothing. Returns the timer that is not needed any more.
    pub(super) fn set(&mut self, index: u32, rate: Option<u32>, now: Time) -> Option<TimerId> {
        let index = index as usize;
        if self.buckets.len() <= index {
            rate?;
            self.buckets.resize_with(index + 1, || None);
        }
        let place = &mut self.buckets[index];
        let Some(rate) = rate else { return place.take().and_then(|before| before.timer) };
        let bytes_per_second = u64::from(rate.max(1));
        let mut free_at = now;
        if let Some(before) = place {
            if before.bytes_per_second == bytes_per_second {
                return None;
            }
            let owed = before.free_at.since(now).as_nanos() * u128::from(before.bytes_per_second);
            let nanos = owed.div_ceil(bytes_per_second.into());
            free_at = now.plus(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        }
        place.replace(Bucket { bytes_per_second, free_at, timer: None }).and_then(|before| before.timer)
    }

    fn at(&mut self, index: u32) -> &mut Bucket {
        self.buckets[index as usize].as_mut().expect("it has a rate")
    }

    /// Whether a message may go.
    pub(super) fn has_any(&self, index: u32, now: Time) -> bool {
        let bucket = self.buckets.get(index as usize).and_then(Option::as_ref);
        planted!(ByteRateIgnored, true; bucket.is_none_or(|bucket| bucket.free_at <= now))
    }

    /// So many bytes went.
    pub(super) fn take(&mut self, index: u32, bytes: u32, now: Time) {
        let full_since = Time::from_nanos(now.as_nanos().saturating_sub(DEPTH.as_nanos() as u64));
        let bucket = self.at(index);
        // At most 1 GiB, which is fewer nanoseconds than there are, even at a byte a second.
        let nanos = u64::from(bytes) * SECOND / bucket.bytes_per_second;
        bucket.free_at = bucket.free_at.max(full_since).plus(Duration::from_nanos(nanos));
    }

    /// How long somebody has to wait for whom no timer is set.
    pub(super) fn untimed_wait(&mut self, index: u32, now: Time) -> Option<Duration> {
        let bucket = self.at(index);
        (bucket.free_at > now && bucket.timer.is_none()).then(|| bucket.free_at.since(now))
    }

    /// A timer was set.
    pub(super) fn set_timer(&mut self, index: u32, timer: TimerId) {
        self.at(index).timer = Some(timer);
    }

    /// It has come.
    pub(super) fn on_timer(&mut self, index: u32) {
        if let Some(bucket) = self.buckets.get_mut(index as usize).and_then(Option::as_mut) {
            bucket.timer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cores::Place;
    use crate::engine::alarms::{Age, Alarms};

    const LEAST: Time = Time::from_nanos(5 * SECOND);

    #[test]
    fn who_has_no_rate_has_all() {
        let mut rates = Rates::default();
        assert!(!rates.is_on(3) && rates.has_any(3, LEAST) && rates.set(3, None, LEAST).is_none());
        assert!(rates.buckets.is_empty(), "nothing is kept of it");
        rates.set(3, Some(0), LEAST);
        assert!(rates.is_on(3) && !rates.is_on(2), "none a second is one");
        rates.take(3, 1, LEAST);
        assert_eq!(rates.untimed_wait(3, LEAST), Some(Duration::from_secs(1)));
        rates.set(3, None, LEAST);
        assert!(!rates.is_on(3) && rates.has_any(3, LEAST));
    }

    #[test]
    fn the_same_rate_again_changes_nothing_and_another_has_the_same_bytes_owed() {
        let mut rates = Rates::default();
        rates.set(0, Some(1_000), LEAST);
        rates.take(0, 1_000, LEAST);
        let timer = Alarms::new(Place::new(0), 1, None).set_age(LEAST, Duration::from_secs(1), Age::Rate, 0);
        rates.set_timer(0, timer);
        assert_eq!((rates.set(0, Some(1_000), LEAST), rates.has_any(0, LEAST)), (None, false));
        let half = LEAST.plus(Duration::from_millis(500));
        assert_eq!(rates.untimed_wait(0, half), None, "its timer is set");
        assert_eq!(rates.set(0, Some(100_000), half), Some(timer), "for another time");
        assert_eq!(rates.untimed_wait(0, half), Some(Duration::from_millis(5)), "500 bytes are owed");
        assert_eq!(rates.set(0, Some(10), half), None);
        assert_eq!(rates.untimed_wait(0, half), Some(Duration::from_secs(50)));
        // Nor does what had come of the old rate go on top of the new one.
        let later = half.plus(Duration::from_secs(100));
        rates.set(0, Some(1_000), later);
        rates.take(0, 1, later);
        assert_eq!(rates.untimed_wait(0, later), Some(Duration::from_millis(1)));
        // From the slowest to the fastest there is, with the longest message.
        rates.set(0, Some(u32::MAX), later);
        rates.take(0, 1 << 30, later);
        rates.set(0, Some(1), later);
        assert!(rates.untimed_wait(0, later).is_some_and(|wait| wait >= Duration::from_secs(1 << 29)));
        rates.set(0, Some(u32::MAX), later);
        assert!(rates.untimed_wait(0, later).is_some_and(|wait| wait <= Duration::from_millis(252)));
    }

    proptest! {
        /// Whatever is sent as soon as it may go: between any two moments no more than the rate brings, the bucket and one message.
        #[test]
        fn no_more_goes_than_the_rate_brings(rate in 1_u32..1_000_000, steps in prop::collection::vec((0_u64..200_000_000, 1_u32..100_000), 1..60)) {
            let mut rates = Rates::default();
            let mut now = LEAST;
            rates.set(0, Some(rate), now);
            let mut sent: Vec<(Time, u64)> = Vec::new();
            for (pause, bytes) in steps {
                now = now.plus(Duration::from_nanos(pause));
                if let Some(wait) = rates.untimed_wait(0, now) {
                    prop_assert!(!rates.has_any(0, now));
                    now = now.plus(wait);
                }
                prop_assert!(rates.has_any(0, now));
                rates.take(0, bytes, now);
                sent.push((now, bytes.into()));
            }
            for (first, &(since, _)) in sent.iter().enumerate() {
                let mut all = 0;
                for &(at, bytes) in &sent[first..] {
                    let brought = u128::from(rate) * (at.since(since) + DEPTH).as_nanos() / u128::from(SECOND);
                    // A message goes while anything is left of that, and each may be a nanosecond's bytes too soon.
                    prop_assert!(u128::from(all) <= brought + sent.len() as u128, "{all} bytes went, and {brought} were brought");
                    all += bytes;
                }
            }
        }

        /// The same while the rate is changed before each message: all of them together bring what may go.
        #[test]
        fn nor_more_than_rates_bring_that_change(steps in prop::collection::vec((1_u32..1_000_000, 0_u64..200_000_000, 1_u32..100_000), 1..60)) {
            let mut rates = Rates::default();
            let (mut now, mut brought, mut gone) = (LEAST, 0_u128, 0_u128);
            for (rate, pause, bytes) in steps {
                rates.set(0, Some(rate), now);
                let wait = rates.untimed_wait(0, now).unwrap_or_default();
                let then = now.plus(wait.max(Duration::from_nanos(pause)));
                brought += u128::from(rate) * then.since(now).as_nanos();
                now = then;
                prop_assert!(rates.has_any(0, now));
                // Each may be a nanosecond's bytes too soon.
                let most = brought / u128::from(SECOND) + 1;
                prop_assert!(gone <= most, "{gone} bytes went, and {most} were brought");
                rates.take(0, bytes, now);
                gone += u128::from(bytes);
            }
        }
    }
}
