//! Whom the application takes when they connect, and that each is told by the address from which it came (oracle 31), or for whom its proxy says that
//! it comes (oracle 32).

use wsring::Peer;
use wsring::ring::sim::Net;

use super::super::draws;
use super::App;

/// The address of a client by its number.
fn address(number: usize) -> Peer {
    Net::address_of_key(number as u64 + 1).into()
}

impl App {
    /// `seed`: some are turned away.
    pub fn and_strangers(mut self, seed: Option<u64>) -> Self {
        self.turns_away = seed;
        self
    }

    /// Somebody has connected, and has said nothing but, perhaps, for whom it comes.
    pub(super) fn takes(&self, peer: &Peer) -> bool {
        let people = &mut self.world.ledger.borrow_mut().people;
        // The servers that it dialled connect to nobody.
        let is_client = |number: usize, addr| match &people[number] {
            person if person.serves => false,
            person if peer.is_proxy() || person.said.is_none() => address(number).addr() == addr,
            person => person.said.as_ref().is_some_and(|said| said.client == addr),
        };
        let number = (0..people.len()).find(|number| is_client(*number, peer.addr()));
        let number = number.unwrap_or_else(|| panic!("the wrong peer: nobody has the address {peer}"));
        let person = &mut people[number];
        let is_heard = person.said.is_some() && !peer.is_proxy();
        if is_heard {
            assert!(person.met && !person.turned_away && !person.heard, "the wrong client: {peer} came twice");
            person.heard = true;
        } else {
            assert_eq!(peer.is_proxy(), person.said.is_some(), "the wrong peer: {peer} is no proxy");
            assert!(!person.met, "the wrong peer: {peer} came twice");
            person.met = true;
        }
        let draw = |seed: u64| draws::is_turned_away(seed ^ u64::from(is_heard), number);
        person.turned_away = self.turns_away.is_some_and(draw);
        !person.turned_away
    }

    /// A client asks, or is open; `via`: through a proxy.
    pub(super) fn is_from(&self, number: usize, peer: Peer, via: Option<Peer>) {
        let person = &self.world.ledger.borrow().people[number];
        if person.serves {
            return assert!(peer.addr().is_some(), "the wrong peer: a server without an address");
        }
        assert!(person.met && !person.turned_away, "it was turned away, and asks");
        let client = person.said.as_ref().and_then(|said| said.client);
        let (expected, proxy) = match client {
            Some(client) => (client.into(), Some(address(number))),
            None => (address(number), None),
        };
        if client.is_some() {
            assert_eq!((peer, via, person.heard), (expected, proxy, true), "the wrong client");
        }
        assert_eq!((peer, via), (expected, proxy), "the wrong peer");
    }
}
