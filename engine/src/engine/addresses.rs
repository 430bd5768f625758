//! Owns who is at the other end of each connection of a core, by slot: the address, 18 bytes each, without the scope and the flow of an IPv6
//! address; and for those of whom there is more to tell, that ([`More`]). Refuses to know connections.

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

/// A text of a PROXY header that is told is not longer: a name has at most 253 bytes (RFC 1035 §2.3.4), a protocol of ALPN 255 (RFC 7301 §3.1).
const TEXT_MAX: usize = 255;

/// What is known of a connection beside the address of its peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct More {
    /// Who is at the other end of its socket, if that is a proxy and the peer is its client.
    pub(crate) via: Option<Peer>,
    /// It came through a proxy that did not tell for whom: nothing that it says in its request is a proxy's word.
    pub(crate) is_unnamed: bool,
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) alpn: Option<Box<[u8]>>,
    pub(crate) subprotocol: Option<Box<str>>,
}

impl More {
    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        let texts = [&self.server_name, &self.subprotocol].into_iter().flatten().map(|text| text.len());
        size_of::<Self>() + texts.sum::<usize>() + self.alpn.as_ref().map_or(0, |alpn| alpn.len())
    }

    /// What a proxy tells of TLS between its client and itself.
    pub(super) fn set_tls_of_proxy(&mut self, server_name: Option<&str>, alpn: Option<&[u8]>) {
        self.server_name = server_name.filter(|name| (1..=TEXT_MAX).contains(&name.len())).map(Into::into);
        self.alpn = alpn.filter(|alpn| (1..=TEXT_MAX).contains(&alpn.len())).map(Into::into);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Addresses {
    entries: Vec<Entry>,
    /// As long as the highest slot of those of whom there is more.
    more: Vec<Option<Box<More>>>,
}

impl Entry {
    fn of(peer: Peer) -> Self {
        peer.addr().map_or(NOBODY, |addr| {
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            Self { ip: ip.octets(), port: addr.port().to_be_bytes() }
        })
    }
}

impl Addresses {
    /// A slot has another peer.
    pub(super) fn set(&mut self, index: u32, peer: Peer) {
        let index = index as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, NOBODY);
        }
        planted!(
            AddressOfEarlier,
            if self.entries[index] != NOBODY {
                return;
            }
        );
        self.entries[index] = Entry::of(peer);
    }

    /// A slot's peer is a proxy's client, as has turned out. Returns the proxy.
    pub(super) fn set_client(&mut self, index: u32, client: Peer) -> Peer {
        let proxy = self.get(index);
        self.entries[index as usize] = planted!(ProxyUnheard, Entry::of(proxy); Entry::of(client));
        proxy
    }

    /// Who has a slot.
    pub(crate) fn get(&self, index: u32) -> Peer {
        match self.entries.get(index as usize) {
            None | Some(&NOBODY) => Peer::default(),
            Some(Entry { ip, port }) => SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(*port)).into(),
        }
    }

    /// What else is known of whoever has a slot.
    pub(crate) fn more(&self, index: u32) -> Option<&More> {
        self.more.get(index as usize)?.as_deref()
    }

    /// The same, to be added to.
    pub(super) fn more_mut(&mut self, index: u32) -> &mut Option<Box<More>> {
        let index = index as usize;
        if self.more.len() <= index {
            self.more.resize_with(index + 1, || None);
        }
        &mut self.more[index]
    }

    /// Takes it out, while a callback is told of it.
    #[inline]
    pub(super) fn lift(&mut self, index: u32) -> Option<Box<More>> {
        self.more.get_mut(index as usize)?.take()
    }

    /// Puts it back.
    #[inline]
    pub(super) fn lay(&mut self, index: u32, more: Option<Box<More>>) {
        if more.is_some() {
            *self.more_mut(index) = more;
        }
    }

    /// Bytes of memory of all that is known beside addresses.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn held_bytes(&self) -> usize {
        self.more.iter().flatten().map(|more| more.held_bytes()).sum()
    }
}

const _: () = assert!(size_of::<Entry>() == 18, "an idle connection pays for every byte");

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<SocketAddr>().expect("an address").into()
    }

    #[test]
    fn addresses_come_back_as_they_were() {
        let mut addresses = Addresses::default();
        let texts = ["192.0.2.1:1", "[2001:db8::1]:65535", "[::1]:80", "127.0.0.1:443"];
        for (index, text) in texts.into_iter().enumerate() {
            addresses.set(index as u32, peer(text));
        }
        addresses.set(9, Peer::default());
        for (index, text) in texts.into_iter().enumerate() {
            assert_eq!(addresses.get(index as u32).to_string(), text);
        }
        assert_eq!([7, 9, 10].map(|index| addresses.get(index).addr()), [None; 3]);
        // Of a listener on [::].
        addresses.set(0, peer("[::ffff:192.0.2.9]:5"));
        assert_eq!(addresses.get(0).to_string(), "192.0.2.9:5");
        assert_eq!(addresses.set_client(0, peer("203.0.113.1:0")), peer("192.0.2.9:5"));
        assert_eq!(addresses.get(0).to_string(), "203.0.113.1");
    }

    #[test]
    fn there_is_more_of_those_alone_of_whom_it_was_told() {
        let mut addresses = Addresses::default();
        assert!(addresses.more(3).is_none() && addresses.lift(3).is_none());
        addresses.lay(3, None);
        assert!(addresses.more.is_empty(), "a connection of which nothing is told costs nothing");
        let more = addresses.more_mut(3).get_or_insert_default();
        more.via = Some(Peer::default());
        more.set_tls_of_proxy(Some("a.example"), Some(b"http/1.1"));
        assert_eq!(addresses.held_bytes(), size_of::<More>() + 17);
        let lifted = addresses.lift(3);
        assert!(addresses.more(3).is_none() && lifted.is_some());
        addresses.lay(3, lifted);
        assert_eq!(addresses.more(3).and_then(|more| more.server_name.as_deref()), Some("a.example"));
        assert_eq!(addresses.more(2), None);
    }

    #[test]
    fn a_proxy_cannot_tell_at_any_length() {
        let mut more = More::default();
        for (len, told) in [(0, false), (1, true), (TEXT_MAX, true), (TEXT_MAX + 1, false)] {
            let text = "x".repeat(len);
            more.set_tls_of_proxy(Some(&text), Some(text.as_bytes()));
            assert_eq!((more.server_name.is_some(), more.alpn.is_some()), (told, told), "{len}");
        }
    }
}
