//! Prices that move at a rate. Promises the same prices in the same order in every run, and that a process that stood still does not
//! catch up on all it slept through. Refuses to know who wants them.

use wsring::Time;

const NANOS: u128 = 1_000_000_000;
/// Price of each key at first, in hundredths.
const FIRST: u32 = 10_000;

/// All keys, each of which moves in turn.
pub(crate) struct Market {
    /// Price of each key, in hundredths.
    cents: Vec<u32>,
    next: u32,
    random: u64,
    /// Updates a second.
    rate: u32,
    /// Since when updates are counted, and how many were due by the last look.
    since: Option<Time>,
    done: u64,
}

impl Market {
    pub(crate) fn new(keys: u32, rate: u32) -> Self {
        Self { cents: vec![FIRST; keys as usize], next: 0, random: 1, rate, since: None, done: 0 }
    }

    pub(crate) fn keys(&self) -> usize {
        self.cents.len()
    }

    /// The key whose turn it is, and its new price.
    pub(crate) fn step(&mut self) -> (u32, u32) {
        let key = self.next;
        self.next = if key as usize + 1 == self.cents.len() { 0 } else { key + 1 };
        // Xorshift: a walk that is never the same twice in a row, and cheap.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let price = &mut self.cents[key as usize];
        *price = (*price + (self.random % 21) as u32).saturating_sub(10).max(1);
        (key, *price)
    }

    /// How many updates have become due since this was last asked: those of a quarter of a second at most.
    pub(crate) fn due(&mut self, now: Time) -> u64 {
        let since = *self.since.get_or_insert(now);
        let all = now.since(since).as_nanos() * u128::from(self.rate) / NANOS;
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        let due = all.saturating_sub(self.done).min(u64::from(self.rate / 4).max(1));
        self.done = all;
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn updates_come_at_the_rate_however_often_one_asks() {
        for (rate, step_us) in [(50_000, 1), (50_000, 7_777), (3, 100_000), (1, 999_999), (0, 1_000)] {
            let mut market = Market::new(10, rate);
            let (mut now, mut all) = (Time::from_nanos(5), market.due(Time::from_nanos(5)));
            for _ in 0..10_000_000 / step_us {
                now = now.plus(Duration::from_micros(step_us));
                all += market.due(now);
            }
            let expected = u64::from(rate) * (10_000_000 / step_us * step_us) / 1_000_000;
            assert_eq!(all, expected, "{rate} a second, asked each {step_us} us");
        }
    }

    /// At the limit all come; what was slept through beyond it never does.
    #[test]
    fn a_market_that_stood_still_goes_on_from_now() {
        let mut market = Market::new(10, 1000);
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        assert_eq!([0, 250, 501, 10_501, 10_502].map(|ms| market.due(at(ms))), [0, 250, 250, 250, 1]);
    }

    #[test]
    fn each_key_moves_in_turn_and_costs_something() {
        let mut market = Market::new(3, 1);
        let keys: Vec<u32> = (0..7).map(|_| market.step().0).collect();
        assert_eq!(keys, [0, 1, 2, 0, 1, 2, 0]);
        let mut steps = std::iter::repeat_with(|| market.step().1).take(1_000_000);
        assert!(steps.all(|cents| cents > 0));
    }
}
