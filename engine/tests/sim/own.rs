//! What verdicts and targets of a seed give to connections: terms of their own. Drawn apart from everything else.

use std::time::Duration;

use wsring::ring::sim::Random;
use wsring::{Deflate, Limits, Terms};

use super::oracle::{Ledger, Person};
use super::{CONTROL_MAX, Manners, Settings};

/// The terms of a connection, and what its peer and the oracles must know of them.
#[derive(Clone, Debug)]
pub struct Own {
    pub terms: Terms,
    pub limits: Limits,
    /// It never has more queued, but for control frames.
    pub output_max: usize,
    pub message_timeout: Option<Duration>,
    pub pong_timeout: Duration,
    pub closing_timeout: Duration,
}

/// Who has such terms: in a third of the rude seeds three of four of those who connect, and in half of these all who are dialled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners(Option<(u64, bool)>);

/// So many connections there are of which each has terms that differ from those of the others, or none; the next has the same as the first.
const KINDS: u64 = 4;

impl Owners {
    /// `packs`: messages may be compressed.
    pub fn new(seed: u64, manners: Manners, packs: bool) -> Self {
        let some = Random::new(seed ^ 0x0074_6572_6d73).chance(333) && manners == Manners::Rude;
        Self(some.then_some((seed ^ 0x7465_726d_7321, packs)))
    }

    /// To the client of this number.
    pub fn to_client(self, number: usize) -> Option<Own> {
        self.of_kind(number as u64 % KINDS)
    }

    /// To all that are dialled.
    pub fn to_dialled(self) -> Option<Own> {
        let (seed, _) = self.0?;
        Random::new(seed ^ 0x6469_616c).chance(500).then(|| self.of_kind(KINDS))?
    }

    /// How much may be queued for a connection that has terms of its own.
    pub fn queued_max(self, dialled: bool, number: usize) -> Option<usize> {
        let own = if dialled { self.to_dialled() } else { self.to_client(number) };
        own.map(|own| own.output_max + CONTROL_MAX)
    }

    fn of_kind(self, kind: u64) -> Option<Own> {
        let (seed, packs) = self.0.filter(|_| kind > 0)?;
        let mut random = Random::new(seed ^ kind << 40);
        let limits = if random.chance(600) {
            let limit = random.range(100, 60_000);
            let limits = Limits::default().frame_max_bytes(limit).message_max_bytes(limit * 2);
            limits.fragments_max(random.range(1, 12) as u32)
        } else {
            Limits::default()
        };
        let output_max = random.range(2_000, 400_000) as u32;
        let output_high = random.range(500, output_max.into()) as u32;
        let output_low = random.range(0, output_high.into()) as u32;
        let mut millis = |least, most| Duration::from_millis(random.range(least, most));
        let (pong_timeout, closing_timeout) = (millis(20, 500), millis(20, 1_000));
        let round = millis(300, 2_000);
        let message_timeout = random.chance(700).then_some(round);
        let deflate = random.pick(&[Deflate::shared(), Deflate::dedicated()]);
        let deflate = deflate.level(random.pick(&[1, 2, 6])).window_bits(random.range(9, 15) as u8);
        let deflate = deflate.threshold_bytes(random.pick(&[0, 64, 512]));
        let terms = Terms::default()
            .message_max_bytes(limits.message_max_bytes)
            .frame_max_bytes(limits.frame_max_bytes)
            .fragments_max(limits.fragments_max)
            .output_max_bytes(output_max)
            .and_then(|terms| terms.output_high_bytes(output_high)?.output_low_bytes(output_low))
            .and_then(|terms| terms.pong_timeout(pong_timeout)?.closing_timeout(closing_timeout))
            .and_then(|terms| terms.message_timeout(message_timeout));
        let terms = if packs && random.chance(500) { terms.and_then(|terms| terms.deflate(deflate)) } else { terms };
        let terms = terms.expect("valid terms");
        Some(Own { terms, limits, output_max: output_max as usize, message_timeout, pong_timeout, closing_timeout })
    }
}

/// What holds for a person.
impl Ledger {
    /// A message that has begun must go on in each such time.
    pub fn round_of(&self, person: &Person) -> Option<Duration> {
        person.own.as_ref().map_or(self.round, |own| own.message_timeout)
    }

    pub fn pong_of(&self, person: &Person) -> Duration {
        person.own.as_ref().map_or(self.pong, |own| own.pong_timeout)
    }

    pub fn closing_of(&self, person: &Person) -> Duration {
        person.own.as_ref().map_or(self.closing, |own| own.closing_timeout)
    }

    /// However much it takes.
    pub fn closing_max_of(&self, person: &Person) -> Duration {
        self.closing_max.max(self.closing_of(person))
    }

    /// The shortest time after which it is cut if it takes nothing.
    pub fn still_min_of(&self, person: &Person) -> Duration {
        let own = person.own.as_ref().map(|own| own.pong_timeout.min(own.closing_timeout));
        own.map_or(self.still_min, |own| own.min(self.still_min))
    }
}

impl Settings {
    /// As they are for a connection with these terms.
    pub fn with(&self, own: Option<&Own>) -> Settings {
        let mut settings = self.clone();
        if let Some(own) = own {
            (settings.limits, settings.message_timeout) = (own.limits, own.message_timeout);
        }
        settings
    }
}
