//! The states of connections: whoever is open for the application is found with its own, by its id and by walking over all; nobody else is.

use wsring::{ConnId, Cx};

use super::{App, Core};

impl App {
    /// In any callback.
    pub(super) fn check_states(&self, cx: &mut Core<'_>) {
        let mut found = 0;
        cx.for_each(|cx| {
            let (id, peer) = (cx.id(), *cx.data());
            assert_eq!(
                self.peer_of(id),
                Some(peer),
                "{id} is visited, which is open or not, with a state or another's"
            );
            found += 1;
        });
        // Each id once: a slot has one connection.
        assert_eq!(
            (found, cx.open()),
            (self.open.len(), self.open.len()),
            "so many are visited, and are said to be open"
        );
        for &id in &self.known {
            assert_eq!(cx.data_of(id).copied(), self.peer_of(id), "the state of {id}, which is open or stale");
        }
    }

    /// With its own state in hand, a callback reaches all others, and not its own another way.
    pub(super) fn check_split(&self, cx: &mut Cx<'_, App>) {
        if self.world.ledger.borrow().failed_at.is_some() {
            return; // whose panic has ended the core is gone untold
        }
        let id = cx.id();
        let (own, mut others) = cx.split();
        assert_eq!(
            (Some(*own), others.data().copied(), others.id()),
            (self.peer_of(id), None, id),
            "the halves of {id}"
        );
        for &other in &self.known {
            let known = self.peer_of(other).filter(|_| other != id);
            assert_eq!(others.data_of(other).copied(), known, "the state of {other} beside that of {id}");
            assert_eq!(others.cx_of(other).map(|mut other| *other.data()), known, "{other} beside {id}");
        }
        let mut found = 0;
        others.for_each(|_| found += 1);
        assert_eq!(found + 1, self.open.len(), "so many are visited beside {id}");
    }

    fn peer_of(&self, id: ConnId) -> Option<usize> {
        self.open.get(&id).map(|open| open.peer)
    }
}
