//! Whom the application takes when they connect, and that each is told by the address from which it came (oracle 31).

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

    /// Somebody has connected, and has said nothing.
    pub(super) fn takes(&self, peer: &Peer) -> bool {
        let mut people = self.world.ledger.borrow().people.len();
        // The servers that it dialled come behind the clients, and connect to nobody.
        let number = loop {
            people = people.checked_sub(1).expect("the wrong peer: nobody has this address");
            if address(people) == *peer {
                break people;
            }
        };
        let person = &mut self.world.ledger.borrow_mut().people[number];
        assert!(!person.serves && !person.met, "the wrong peer: {peer} came twice");
        person.met = true;
        person.turned_away = self.turns_away.is_some_and(|seed| draws::is_turned_away(seed, number));
        !person.turned_away
    }

    /// A client asks, or is open.
    pub(super) fn is_from(&self, number: usize, peer: Peer) {
        let person = &self.world.ledger.borrow().people[number];
        if person.serves {
            return assert!(peer.addr().is_some(), "the wrong peer: a server without an address");
        }
        assert_eq!(peer, address(number), "the wrong peer");
        assert!(person.met && !person.turned_away, "it was turned away, and asks");
    }
}
