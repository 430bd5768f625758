//! Connections that topics give so many bytes a second at most: who is one, and what such a peer may have got by when.

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{Conn, Delivery, Handler};

use super::Manners;
use super::oracle::Person;

/// Who has a rate, in a third of the rude runs; drawn apart from everything else.
pub struct Rated(Option<u64>);

impl Rated {
    pub fn new(seed: u64, manners: Manners) -> Self {
        let rated = Random::new(seed ^ 0x7261_7465_6421).chance(333) && manners == Manners::Rude;
        Self(rated.then_some(seed ^ 0x6c69_6d69_7421))
    }

    /// A connection has opened. Of what is compressed nobody here knows the bytes.
    pub fn open<H: Handler>(&self, conn: &mut Conn<'_, H>, peer: usize, now: Time, packs: bool, person: &mut Person) {
        let Some(seed) = self.0 else { return };
        let mut random = Random::new(seed ^ (peer as u64) << 40);
        if random.chance(600) {
            let rate = random.range(2_000, 60_000) as u32;
            conn.set_topics_bytes_per_second(rate);
            person.rate = (!packs).then_some((rate, now));
        }
    }
}

impl Person {
    /// It subscribes so, and that is not held up.
    pub fn unrated(&mut self, delivery: Delivery) -> Delivery {
        self.rate = None;
        delivery
    }

    /// A message of a topic has come. From the beginning no more have than the rate brings, a bucket of a tenth of a second and a message; what goes in front of a
    /// Close of ours is not held up.
    pub fn on_update(&mut self, line: String, now: Time) {
        self.update_bytes += line.len() as u64;
        if let Some((rate, since)) = self.rate.filter(|_| self.closing_at.is_none()) {
            let most = u128::from(rate) * (now.since(since).as_nanos() + 100_000_000) / 1_000_000_000;
            let before = self.update_bytes - line.len() as u64;
            assert!(
                u128::from(before) <= most + 1,
                "it was given {before} bytes of topics in {:?}, at {rate} a second",
                now.since(since)
            );
        }
        self.updates.push(line);
    }
}
