//! Owns how many connections there are from each network, if that is limited, and which connections are counted. Refuses to know what becomes of one
//! that finds no room.

use std::net::IpAddr;

use wsring_proto::crowds::Crowds;

use super::planted::planted;
use crate::config::crowding::Crowding;
use crate::peer::Peer;

/// The connections of a core by network.
#[derive(Debug)]
pub(crate) struct Crowd {
    max: u32,
    /// `None`: there is no limit, and nothing is counted.
    crowds: Option<Crowds>,
    /// By slot, where one has entered from.
    counted: Vec<Option<IpAddr>>,
}

impl Crowd {
    pub(super) fn new(limits: &Crowding) -> Self {
        let crowds = limits.max.map(|max| Crowds::new(max).lens(limits.v4_len, limits.v6_len));
        Self { max: limits.max.unwrap_or(u32::MAX), crowds, counted: Vec::new() }
    }

    /// Whether one more may come from where this peer does. Who has no address comes from nowhere, and always may.
    #[inline]
    pub(super) fn has_room_for(&self, peer: Peer) -> bool {
        let Some(crowds) = &self.crowds else { return true };
        planted!(CrowdIgnored, true; peer.ip().is_none_or(|ip| crowds.count(ip) < self.max))
    }

    /// The connection of a slot comes from there, and there is room.
    #[inline]
    pub(super) fn enter(&mut self, index: u32, peer: Peer) {
        if let (Some(crowds), Some(ip)) = (&mut self.crowds, peer.ip()) {
            let index = index as usize;
            if self.counted.len() <= index {
                self.counted.resize(index + 1, None);
            }
            assert!(self.counted[index].is_none(), "a connection is counted twice");
            assert!(crowds.enter(ip), "nobody has looked whether there is room");
            self.counted[index] = Some(ip);
        }
    }

    /// A slot is free.
    #[inline]
    pub(super) fn leave(&mut self, index: u32) {
        if let Some(crowds) = &mut self.crowds
            && let Some(ip) = self.counted.get_mut(index as usize).and_then(Option::take)
        {
            planted!(CrowdKept, return);
            crowds.leave(ip);
        }
    }

    /// Networks that are counted: none, if nobody is there.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn networks(&self) -> usize {
        self.crowds.as_ref().map_or(0, Crowds::networks)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<SocketAddr>().expect("an address").into()
    }

    #[test]
    fn a_network_is_full_until_one_leaves() {
        let mut crowd = Crowd::new(&Crowding { max: Some(2), ..Crowding::default() });
        for (index, from) in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[2001:db8::1]:1"].into_iter().enumerate() {
            assert!(crowd.has_room_for(peer(from)));
            crowd.enter(index as u32, peer(from));
        }
        assert!(!crowd.has_room_for(peer("192.0.2.1:3")) && crowd.has_room_for(peer("[2001:db8::2]:1")));
        crowd.enter(9, Peer::default());
        assert!(crowd.has_room_for(Peer::default()), "who has no address is not counted");
        [9, 8, 0, 0].into_iter().for_each(|index| crowd.leave(index));
        assert!(crowd.has_room_for(peer("192.0.2.1:3")));
        [1, 2, 3].into_iter().for_each(|index| crowd.leave(index));
        assert_eq!(crowd.networks(), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut crowd = Crowd::new(&Crowding::default());
        assert!(crowd.has_room_for(peer("192.0.2.1:1")));
        crowd.enter(7, peer("192.0.2.1:1"));
        crowd.leave(7);
        assert!(crowd.counted.is_empty());
    }
}
