//! How many connections there are from each network: [`Crowds`], for a limit that one client with many addresses cannot go around.
//!
//! Owns the counts. Promises that no network has more than the maximum, that nothing is kept of a network without a connection, and that
//! addresses chosen by peers make nothing slow: the table is a tree, which has no worst case to be found and needs no secret to hide
//! one. Refuses to know what a connection is, and what becomes of one that may not enter.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use crate::prefix::Prefix;

/// Connections counted by the network that their peers are in. An IPv4 address is a network of its own, and so are the 2^64 addresses
/// of IPv6 that one customer has at least; [`lens`](Self::lens) sets that.
#[derive(Clone, Debug)]
pub struct Crowds {
    max: u32,
    v4_len: u8,
    v6_len: u8,
    /// No count is 0 or above `max`.
    counts: BTreeMap<Prefix, u32>,
}

impl Crowds {
    /// At most `max` connections from each network; with 0 none may enter.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        Self { max, v4_len: 32, v6_len: 64, counts: BTreeMap::new() }
    }

    /// How many bits make a network: of IPv4 (32 by default), of IPv6 (64 by default). To be set before anyone enters.
    ///
    /// # Panics
    /// If a length is above 32 or 128, or somebody has entered.
    #[must_use]
    pub fn lens(self, v4_len: u8, v6_len: u8) -> Self {
        assert!(v4_len <= 32 && v6_len <= 128, "networks of {v4_len} and {v6_len} bits");
        assert!(self.counts.is_empty(), "{} networks are counted by other lengths", self.counts.len());
        Self { v4_len, v6_len, ..self }
    }

    /// Counts a connection from `address`; false, and nothing is counted, if its network has the maximum.
    #[must_use]
    pub fn enter(&mut self, address: IpAddr) -> bool {
        if self.max == 0 {
            return false;
        }
        let count = self.counts.entry(Prefix::of(address, self.v4_len, self.v6_len)).or_insert(0);
        let enters = *count < self.max;
        *count += u32::from(enters);
        enters
    }

    /// Takes out a connection that has entered from `address`.
    ///
    /// # Panics
    /// If none is counted in its network.
    pub fn leave(&mut self, address: IpAddr) {
        let network = Prefix::of(address, self.v4_len, self.v6_len);
        let count = self.counts.get_mut(&network).unwrap_or_else(|| panic!("nobody has entered from {network}"));
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&network);
        }
    }

    /// How many have entered from the network of `address` and not left.
    #[must_use]
    pub fn count(&self, address: IpAddr) -> u32 {
        self.counts.get(&Prefix::of(address, self.v4_len, self.v6_len)).copied().unwrap_or(0)
    }

    /// How many networks are counted: never more than connections.
    #[must_use]
    pub fn networks(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_has_its_maximum() {
        let mut crowds = Crowds::new(2);
        for (same, other) in [
            (["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"),
            (["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1:2:3"], "2001:db8:0:1::1"),
        ] {
            let [a, b, c] = same.map(ip);
            assert!(crowds.enter(a) && crowds.enter(b));
            assert!(!crowds.enter(c) && !crowds.enter(a), "one more than the maximum enters");
            assert!(crowds.enter(ip(other)), "another network is full too");
            assert_eq!((crowds.count(c), crowds.count(ip(other))), (2, 1));
            crowds.leave(b);
            assert!(crowds.enter(c), "who left is still counted");
            assert!(!crowds.enter(b));
        }
    }

    #[test]
    fn lengths_make_the_networks() {
        let mut crowds = Crowds::new(1).lens(24, 48);
        assert!(crowds.enter(ip("192.0.2.1")) && !crowds.enter(ip("192.0.2.255")) && crowds.enter(ip("192.0.3.1")));
        assert!(crowds.enter(ip("2001:db8::")) && !crowds.enter(ip("2001:db8:0:ffff::")));
        assert!(crowds.enter(ip("2001:db8:1::")));
        let mut all = Crowds::new(1).lens(0, 0);
        assert!(all.enter(ip("1.2.3.4")) && !all.enter(ip("5.6.7.8")) && all.enter(ip("::")) && !all.enter(ip("ff::")));
        let mut each = Crowds::new(1).lens(32, 128);
        assert!(each.enter(ip("::1")) && each.enter(ip("::2")) && !each.enter(ip("::2")));
    }

    #[test]
    fn nothing_is_kept_of_who_left_or_was_refused() {
        let mut crowds = Crowds::new(1);
        assert!(!Crowds::new(0).enter(ip("::1")));
        for _ in 0..3 {
            assert!(crowds.enter(ip("::1")) && !crowds.enter(ip("::1")));
            crowds.leave(ip("::1"));
            assert_eq!(crowds.networks(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "nobody has entered from 192.0.2.1/32")]
    fn who_has_not_entered_cannot_leave() {
        let mut crowds = Crowds::new(1);
        assert!(crowds.enter(ip("192.0.2.2")));
        crowds.leave(ip("192.0.2.1"));
    }

    #[test]
    #[should_panic(expected = "networks of 33 and 64 bits")]
    fn lengths_have_a_range() {
        let _ = Crowds::new(1).lens(33, 64);
    }

    proptest! {
        // As a list of all connections, looked through each time.
        #[test]
        fn crowds_are_what_a_list_says(
            max in 0u32..4, v4_len in 0u8..=32, v6_len in 0u8..=128,
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0u32..8, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut crowds = Crowds::new(max).lens(v4_len, v6_len);
            let mut inside: Vec<IpAddr> = Vec::new();
            for (enters, v4, bits, which) in steps {
                if enters || inside.is_empty() {
                    // Spread over the whole width, so that every length parts some of them.
                    let address: IpAddr = if v4 {
                        Ipv4Addr::from(bits.wrapping_mul(0x2108_4211)).into()
                    } else {
                        Ipv6Addr::from(u128::from(bits).wrapping_mul(0x2108_4211_0842_1084_2108_4210_8421_0845)).into()
                    };
                    let network = Prefix::of(address, v4_len, v6_len);
                    let there = inside.iter().filter(|other| network.contains(**other)).count();
                    prop_assert_eq!(crowds.count(address) as usize, there);
                    let entered = crowds.enter(address);
                    prop_assert_eq!(entered, there < max as usize);
                    if entered {
                        inside.push(address);
                    }
                } else {
                    crowds.leave(inside.swap_remove(which.index(inside.len())));
                }
                prop_assert!(crowds.networks() <= inside.len());
            }
            for address in inside.drain(..) {
                crowds.leave(address);
            }
            prop_assert_eq!(crowds.networks(), 0);
        }
    }
}
