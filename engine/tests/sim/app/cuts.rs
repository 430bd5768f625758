//! Connections that the application cuts in any callback, and that their ends follow in the same pass (oracle 34).

use wsring::ConnId;
use wsring::ring::Time;
use wsring::ring::sim::Random;

use super::{App, Core};

/// Whom it cuts, drawn apart from everything else.
pub struct Cuts {
    pub random: Random,
    /// So many more.
    pub left: u32,
    /// Those that it has not been told the end of, and when it cut them.
    awaited: Vec<(ConnId, Time)>,
}

impl Cuts {
    pub fn new(random: Random, left: u32) -> Self {
        Self { random, left, awaited: Vec::new() }
    }
}

impl App {
    /// It cuts some of its connections.
    pub fn and_cuts(mut self, cuts: Option<Cuts>) -> Self {
        self.cuts = cuts;
        self
    }

    /// Now and then it cuts its own connection or any other, of which some are over.
    pub(super) fn cut_somebody(&mut self, cx: &mut Core<'_>, own: Option<ConnId>) {
        let Some(cuts) = self.cuts.as_mut().filter(|cuts| cuts.left > 0) else { return };
        if self.known.is_empty() || !cuts.random.chance(40) {
            return;
        }
        let id = match own.filter(|_| cuts.random.chance(500)) {
            Some(own) => own,
            None => cuts.random.pick(&self.known),
        };
        let twice = cuts.random.chance(200);
        cuts.left -= 1;
        self.before_closing(cx, id);
        let Some(mut conn) = self.conn(cx, id) else { return };
        (0..=u32::from(twice)).for_each(|_| conn.abort());
        let Some(open) = self.open.get_mut(&id) else { return };
        open.closing = true;
        let peer = open.peer;
        let is_first = !std::mem::replace(&mut self.world.ledger.borrow_mut().people[peer].is_aborted, true);
        let now = self.world.trace.now();
        self.world.trace.note(&[33, peer as u64], || format!("         app cuts {id}"));
        if let Some(cuts) = self.cuts.as_mut().filter(|_| is_first) {
            cuts.awaited.push((id, now));
        }
    }

    /// A callback: whoever was cut in an earlier pass has ended.
    pub(super) fn check_cuts(&self, now: Time) {
        let awaited = self.cuts.iter().flat_map(|cuts| &cuts.awaited);
        awaited.for_each(|(id, at)| assert_eq!(*at, now, "it was aborted, and {id} is open in a later pass"));
    }

    pub(super) fn on_cut_closed(&mut self, id: ConnId) {
        if let Some(cuts) = &mut self.cuts {
            cuts.awaited.retain(|(cut, _)| *cut != id);
        }
    }
}
