//! A network: the addresses that begin with the same bits ([`Prefix`]).
//!
//! Owns how one is written and what counts as IPv4. Promises that IPv4-mapped IPv6 addresses (`::ffff:192.0.2.1`) are IPv4, in networks and
//! in what is looked for in them. The arithmetic is the crate ipnet's. Refuses to know what a network is for.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use ipnet::IpNet;

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or a single address, which may be written without its length. No bit behind the
/// length is set.
///
/// ```
/// use wsring_proto::prefix::Prefix;
///
/// let proxies: Prefix = "10.0.0.0/8".parse()?;
/// assert!(proxies.contains("10.1.2.3".parse()?) && proxies.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!proxies.contains("11.0.0.0".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The network of `address` with `v4_len` bits if it is IPv4 (0 to 32), else with `v6_len` bits (0 to 128).
    ///
    /// # Panics
    /// If the length that counts is beyond its range.
    #[must_use]
    pub fn of(address: IpAddr, v4_len: u8, v6_len: u8) -> Prefix {
        let address = address.to_canonical();
        let len = if address.is_ipv4() { v4_len } else { v6_len };
        Prefix(IpNet::new_assert(address, len).trunc())
    }

    /// Whether `address` lies in the network. No IPv6 network, not even `::/0`, contains an IPv4 address, however it is written.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The lowest address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// How many bits are the same in all its addresses: 0 to 32 of IPv4, 0 to 128 of IPv6.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // the length of a prefix
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }
}

/// A single address.
impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Prefix {
        Prefix(IpNet::from(address.to_canonical()))
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `ADDRESS` or `ADDRESS/LENGTH`; neither whitespace nor a zero in front of a number is allowed.
    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        // Not ipnet's own: it reads 010.0.0.0, which others take for octal, as 10.0.0.0.
        let written: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let Some(len) = len else { return Ok(Prefix::from(written)) };
        let mut len = len_of(len).ok_or(PrefixError::Length)?;
        let address = written.to_canonical();
        if address.is_ipv4() && written.is_ipv6() {
            // ::ffff:10.0.0.0/104 is 10.0.0.0/8; with fewer than 96 bits some of those that make it mapped stand behind the length.
            len = len.checked_sub(96).ok_or(PrefixError::HostBits)?;
        }
        let net = IpNet::new(address, len).map_err(|_| PrefixError::Length)?;
        if net.trunc() == net { Ok(Prefix(net)) } else { Err(PrefixError::HostBits) }
    }
}

/// 0 to 255, as a number is written.
fn len_of(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no [`Prefix`]. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrefixError {
    /// What stands in front of the slash is no IP address.
    Address,
    /// What stands behind the slash is no number of bits that the address has.
    Length,
    /// The address has bits behind the length: `10.0.0.1/8` is either `10.0.0.0/8` or `10.0.0.1`, and these differ by 16 million.
    HostBits,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::Address => "the network does not begin with an IP address",
            PrefixError::Length => "the network's length is not a number of bits: 0 to 32, of IPv6 0 to 128",
            PrefixError::HostBits => {
                "the network's address has bits behind its length: clear them, or leave the length out for a single address"
            }
        })
    }
}

impl core::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:DB8:0:0::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(text.parse::<Prefix>().map(|net| net.to_string()), Ok(written.to_string()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        use PrefixError::*;
        for (text, error) in [
            ("", Address),
            ("/8", Address),
            ("10.0.0/8", Address),
            ("010.0.0.0/8", Address),
            (" 10.0.0.0/8", Address),
            ("[::1]/128", Address),
            ("localhost", Address),
            ("10.0.0.0/", Length),
            ("10.0.0.0/33", Length),
            ("10.0.0.0/08", Length),
            ("10.0.0.0/+8", Length),
            ("10.0.0.0/8 ", Length),
            ("10.0.0.0/8/8", Length),
            ("10.0.0.0/255.0.0.0", Length),
            ("2001:db8::/129", Length),
            ("::ffff:10.0.0.0/129", Length),
            ("2001:db8::/256", Length),
            ("10.0.0.1/8", HostBits),
            ("0.0.0.1/0", HostBits),
            ("2001:db8::1/64", HostBits),
            ("::ffff:10.0.0.1/104", HostBits),
            ("::ffff:0:0/95", HostBits),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(error), "{text}");
        }
    }

    // An address that is written as IPv6 and is IPv4 counts as IPv4, on both sides.
    #[test]
    fn families_are_kept_apart() {
        let all = |text: &str| text.parse::<Prefix>().expect("a network");
        assert!(all("0.0.0.0/0").contains(ip("::ffff:1.2.3.4")));
        assert!(!all("0.0.0.0/0").contains(ip("::1")));
        assert!(all("::/0").contains(ip("::1")));
        assert!(!all("::/0").contains(ip("1.2.3.4")) && !all("::/0").contains(ip("::ffff:1.2.3.4")));
        assert!(all("::ffff:10.0.0.0/104").contains(ip("10.1.2.3")));
    }

    #[test]
    fn the_network_of_an_address() {
        assert_eq!(Prefix::of(ip("192.0.2.7"), 24, 64).to_string(), "192.0.2.0/24");
        assert_eq!(Prefix::of(ip("::ffff:192.0.2.7"), 24, 64).to_string(), "192.0.2.0/24");
        assert_eq!(Prefix::of(ip("2001:db8::7"), 24, 64).to_string(), "2001:db8::/64");
    }

    #[test]
    #[should_panic]
    fn a_length_beyond_its_range_is_our_fault() {
        let _ = Prefix::of(ip("192.0.2.7"), 33, 64);
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        let v6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
        prop_oneof![any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))), v6]
    }

    /// The first `len` bits.
    fn bits(address: IpAddr, len: u8) -> u128 {
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        bits.checked_shr(width - u32::from(len)).unwrap_or(0)
    }

    proptest! {
        // What is written is read, and a network has exactly the addresses that share its first bits.
        #[test]
        fn networks_contain_what_begins_like_them(one in address(), other in address(), len in 0u8..=128, shared in 0u32..=128) {
            let (one, other) = (one.to_canonical(), other.to_canonical());
            let len = if one.is_ipv4() { len.min(32) } else { len };
            let net = Prefix::of(one, len.min(32), len);
            prop_assert_eq!(net.to_string().parse(), Ok(net));
            prop_assert_eq!(net.len(), len);
            prop_assert!(net.contains(one) && net.contains(net.address()));
            let same_family = one.is_ipv4() == other.is_ipv4();
            prop_assert_eq!(net.contains(other), same_family && bits(one, len) == bits(other, len));
            // One that differs in a single bit, which two random addresses do not.
            if let IpAddr::V6(address) = one {
                let near = IpAddr::from(Ipv6Addr::from(address.to_bits() ^ 1u128.checked_shl(shared).unwrap_or(0)));
                prop_assert_eq!(net.contains(near), near.to_canonical().is_ipv6() && bits(near, len) == bits(one, len));
            }
        }

        #[test]
        fn any_text_is_borne(text in "\\PC{0,30}|[0-9a-f:./]{0,30}") {
            if let Ok(net) = text.parse::<Prefix>() {
                prop_assert_eq!(format!("{net}").parse(), Ok(net));
            }
        }
    }
}
