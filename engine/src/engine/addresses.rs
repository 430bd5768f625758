//! Owns the addresses of all peers of a core, by slot: 18 bytes each, without the scope and the flow of an IPv6 address. Refuses to know connections.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::planted::planted;
use crate::peer::Peer;

/// Address and port; an IPv4 address is mapped (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    ip: [u8; 16],
    port: [u8; 2],
}

/// No peer has the unspecified address.
const NOBODY: Entry = Entry { ip: [0; 16], port: [0; 2] };

#[derive(Debug, Default)]
pub(crate) struct Addresses(Vec<Entry>);

impl Addresses {
    /// A slot has another peer.
    pub(super) fn set(&mut self, index: u32, peer: Peer) {
        let index = index as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, NOBODY);
        }
        planted!(
            AddressOfEarlier,
            if self.0[index] != NOBODY {
                return;
            }
        );
        self.0[index] = peer.addr().map_or(NOBODY, |addr| {
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            Entry { ip: ip.octets(), port: addr.port().to_be_bytes() }
        });
    }

    /// Who has a slot.
    pub(crate) fn get(&self, index: u32) -> Peer {
        match self.0.get(index as usize) {
            None | Some(&NOBODY) => Peer::default(),
            Some(Entry { ip, port }) => SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(*port)).into(),
        }
    }
}

const _: () = assert!(size_of::<Entry>() == 18, "an idle connection pays for every byte");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        let mut addresses = Addresses::default();
        let texts = ["192.0.2.1:1", "[2001:db8::1]:65535", "[::1]:80", "127.0.0.1:443"];
        for (index, text) in texts.into_iter().enumerate() {
            let addr: SocketAddr = text.parse().expect("an address");
            addresses.set(index as u32, addr.into());
        }
        addresses.set(9, Peer::default());
        for (index, text) in texts.into_iter().enumerate() {
            assert_eq!(addresses.get(index as u32).to_string(), text);
        }
        assert_eq!([7, 9, 10].map(|index| addresses.get(index).addr()), [None; 3]);
        // Of a listener on [::].
        addresses.set(0, "[::ffff:192.0.2.9]:5".parse::<SocketAddr>().expect("an address").into());
        assert_eq!(addresses.get(0).to_string(), "192.0.2.9:5");
    }
}
