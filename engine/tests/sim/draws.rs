//! What else a seed decides, each thing drawn apart from everything else: so that seeds in which it plays no part tell the stories they always told.

use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;

use super::app::{Cuts, Dialler};
use super::{Manners, Settings};

/// What all peers may have the engine keep: in a quarter of the seeds little, drawn apart from everything else.
pub fn memory_max(seed: u64) -> Option<usize> {
    let mut random = Random::new(seed ^ 0x6d65_6d6f_7279);
    let most = random.pick(&[100_000, 300_000, 1_000_000]);
    random.chance(250).then(|| random.range(65_536, most) as usize)
}

/// When the clock begins: in one of eight seeds a few seconds before the engine's count of ticks, 16 ms each in 32 bits,
/// begins anew. Drawn apart from everything else.
pub fn start(seed: u64) -> Time {
    const WRAP: u64 = (1 << 32) * 16_000_000;
    let mut random = Random::new(seed ^ 0x0077_7261_7002);
    Time::from_nanos(if random.chance(125) { WRAP - random.below(3_000_000_000) } else { 0 })
}

/// When nobody more is accepted, while the core serves on: in a tenth of the seeds, drawn apart from everything else.
pub fn shut_after(seed: u64, manners: Manners) -> Option<Duration> {
    let mut random = Random::new(seed ^ 0x7368_7574_2121);
    (manners == Manners::Rude && random.chance(100))
        .then(|| Duration::from_micros(random.pick(&[1, 10, 100]) * random.below(2_000)))
}

/// Where long sends are parted, drawn apart from everything else. A send block may be larger than a part.
pub fn part(seed: u64, manners: Manners) -> Option<u32> {
    let mut random = Random::new(seed ^ 0x7069_6563_6573);
    (manners == Manners::Rude && random.chance(500)).then(|| random.range(16, 4_000) as u32)
}

/// From which length on a message that is given away is sent from where it lies, drawn apart from everything else.
pub fn share_from(seed: u64, manners: Manners) -> Option<usize> {
    let mut random = Random::new(seed ^ 0x7368_6172_6564);
    (manners == Manners::Rude && random.chance(800)).then(|| random.range(1, 2_000) as usize)
}

/// Places in a seed in which many come that say little or nothing and have most of them: in one of eight, drawn apart from everything else.
pub fn places(seed: u64, manners: Manners) -> Option<u32> {
    let mut random = Random::new(seed ^ 0x706c_6163_6573);
    (manners == Manners::Rude && random.chance(125)).then(|| random.range(2, 6) as u32)
}

/// Of such a seed, what a peer is: one that says so many bytes of its request, and comes first; or one that comes later.
pub fn idles(seed: u64, number: usize) -> Option<usize> {
    let mut random = Random::new(seed ^ 0x6964_6c65_7273 ^ (number as u64) << 48);
    let said = if random.chance(800) { 0 } else { random.range(1, 14) as usize };
    random.chance(500).then_some(said)
}

/// Whether some who connect are turned away: in one seed of eight, drawn apart from everything else.
pub fn turns_away(seed: u64, manners: Manners) -> Option<u64> {
    let mut random = Random::new(seed ^ 0x0061_7761_7921);
    (manners == Manners::Rude && random.chance(125)).then_some(seed)
}

/// Of such a seed, who is.
pub fn is_turned_away(seed: u64, number: usize) -> bool {
    Random::new(seed ^ 0x7475_726e_6564 ^ (number as u64) << 48).chance(250)
}

/// How many may come from one network, and how many bits make one: in one seed of ten, drawn apart from everything else.
pub fn crowd(seed: u64) -> (Option<u32>, u8) {
    let mut random = Random::new(seed ^ 0x0063_726f_7764);
    let (max, bits) = (random.range(1, 4) as u32, random.pick(&[8, 30, 31]));
    (random.chance(100).then_some(max), bits)
}

/// What a seed dials, drawn apart from everything else: seeds that dial nothing tell the stories they always told.
pub fn dialler(seed: u64, manners: Manners, settings: &Settings) -> Option<Dialler> {
    let mut random = Random::new(seed ^ 0x6469_616c_7301);
    let dials = manners == Manners::Quiet || random.chance(330);
    let left = random.range(1, if manners == Manners::Quiet { 3 } else { 10 }) as u32;
    let (handshake_timeout, pause) = (settings.handshake_timeout, settings.pause);
    // Whoever is there, and four addresses of each dial, need more sockets than the kernel may have, or the cap allows.
    let tight = manners == Manners::Rude || settings.connections_max < 50;
    dials.then_some(Dialler { random, left, handshake_timeout, tight, pause })
}

/// How many connections the application cuts: in a quarter of the seeds, drawn apart from everything else.
pub fn cuts(seed: u64, manners: Manners) -> Option<Cuts> {
    let mut random = Random::new(seed ^ 0x0061_626f_7274);
    let some = manners == Manners::Rude && random.chance(250);
    let left = random.range(1, 6) as u32;
    some.then_some(Cuts::new(random, left))
}

/// What the application does where no connection is open yet: in half of the seeds, drawn apart from everything else.
pub fn early_acts(seed: u64) -> Option<Random> {
    let mut random = Random::new(seed ^ 0x0065_6172_6c79_012c);
    random.chance(500).then_some(random)
}

/// Messages of which compressing leaves little: in half of the seeds that compress, drawn apart from everything else.
pub fn bulk(seed: u64, packs: bool) -> Option<Random> {
    let mut random = Random::new(seed ^ 0x0062_756c_6b03);
    (packs && random.chance(500)).then_some(random)
}
