//! How many connections the limit on descriptors leaves room for.
//!
//! Owns what a core needs beside its connections. Asks nobody: limit and what is open are told.

use crate::ring::uring::SetupError;

/// The most connections of a core that nobody set a cap for.
pub(super) const CONNECTIONS_DEFAULT: u32 = 100_000;
/// Sockets above the connection cap, for connections that are told 503: as many as the cap, but at least and at most so many.
const SOCKETS_SPARE: std::ops::RangeInclusive<u32> = 16..=64;
/// Descriptors of a core beside its sockets: its ring, its waker, and a few for lookups of names.
const CORE_DESCRIPTORS: u64 = 8;
/// Descriptors that a default cap leaves to the rest of the process.
const PROCESS_DESCRIPTORS: u64 = 64;

/// Sockets of a core that takes so many connections.
pub(super) fn sockets(connections: u32) -> u32 {
    connections + connections.clamp(*SOCKETS_SPARE.start(), *SOCKETS_SPARE.end())
}

/// The most connections of a core that has so many sockets; 0 if there are too few.
fn connections(sockets: u64) -> u32 {
    let (least, most) = (u64::from(*SOCKETS_SPARE.start()), u64::from(*SOCKETS_SPARE.end()));
    let spare = sockets.div_ceil(2).clamp(least, most);
    u32::try_from(sockets.saturating_sub(spare)).unwrap_or(u32::MAX)
}

/// What the limit on descriptors leaves to the connections of a server that is about to start.
pub(super) struct Room {
    /// RLIMIT_NOFILE.
    pub(super) limit: u64,
    pub(super) cores: u64,
    /// Descriptors that the process has open already.
    pub(super) open: u64,
}

impl Room {
    /// The most connections a core, beside `others` descriptors.
    fn fits(&self, others: u64) -> u32 {
        let a_core = self.limit.saturating_sub(self.open + others) / self.cores;
        connections(a_core.saturating_sub(CORE_DESCRIPTORS))
    }

    /// `wanted` connections a core, if there are descriptors for all of them.
    pub(super) fn check(&self, wanted: u32) -> Result<u32, SetupError> {
        let needed = self.open + self.cores * (u64::from(sockets(wanted)) + CORE_DESCRIPTORS);
        if needed <= self.limit {
            return Ok(wanted);
        }
        Err(SetupError::TooFewDescriptors {
            wanted: needed,
            connections: wanted,
            cores: self.cores,
            limit: self.limit,
            fits: self.fits(0),
        })
    }

    /// As many a core as there is room for.
    pub(super) fn most(&self, direct: bool) -> Result<u32, SetupError> {
        let most = if direct { connections(self.limit) } else { self.fits(PROCESS_DESCRIPTORS) };
        match most.min(CONNECTIONS_DEFAULT) {
            0 => self.check(1),
            most => Ok(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: u64, cores: u64) -> Room {
        Room { limit, cores, open: 10 }
    }

    #[test]
    fn sockets_and_connections_agree() {
        for cap in (1..300).chain([1_000, 100_000]) {
            let all = sockets(cap);
            assert!((cap + 16..=cap + 64).contains(&all));
            assert_eq!(connections(all.into()), cap, "{all} sockets");
            assert!(connections(u64::from(all) - 1) < cap);
        }
        assert_eq!((connections(0), connections(16), connections(17)), (0, 0, 1));
    }

    #[test]
    fn direct_descriptors_are_held_against_the_limit_core_by_core() {
        for (limit, most) in [(20_000, 19_936), (1 << 20, 100_000), (100, 50), (64, 32), (17, 1)] {
            assert_eq!(room(limit, 8).most(true).expect("the kernel checks"), most, "{limit}");
        }
    }

    #[test]
    fn ordinary_descriptors_are_shared_by_all_cores() {
        for (limit, cores, most) in
            [(20_000, 1, 19_854), (20_000, 2, 9_891), (1 << 20, 4, 100_000), (1024, 4, 165), (1024, 8, 55)]
        {
            assert_eq!(room(limit, cores).most(false).expect("there is room"), most, "{limit} for {cores}");
        }
        // 1 + 16 + 8 descriptors a core are the least, beside the 10 that are open. What is kept for others comes after that.
        assert_eq!(room(10 + 25, 1).most(false).expect("room for one"), 1);
        let told = room(10 + 24, 1).most(false).expect_err("no room for one").to_string();
        assert!(
            told.starts_with("35 descriptors are needed for 1 connections on each of 1 cores, and the limit is 34"),
            "{told}"
        );
    }

    #[test]
    fn a_cap_that_was_asked_for_is_kept_or_refused() {
        let exact = 10 + 2 * (1000 + 64 + 8);
        assert_eq!(room(exact, 2).check(1000).expect("exactly enough"), 1000);
        let told = room(exact - 1, 2).check(1000).expect_err("one short").to_string();
        assert!(told.starts_with("2154 descriptors are needed for 1000 connections on each of 2 cores"), "{told}");
        assert!(told.contains("ulimit -n") && told.contains("connection cap to 999 or below"), "{told}");
        assert_eq!(room(exact - 1, 2).check(999).expect("what was said"), 999);
    }
}
