//! What the application does in a core that is drained: whatever it may, to any connection, and to that whose turn has come.

use super::super::clumsy::About;
use super::super::drains::Plan;
use super::{App, Core};
use wsring::Cx;

impl App {
    /// The core is drained at some time.
    pub fn and_drain(mut self, drain: Option<Plan>) -> Self {
        self.drain = drain;
        self
    }

    pub(super) fn begin_drain(&mut self, cx: &mut Core<'_>) {
        self.note("on_drain", &[20]);
        let plan = self.drain.take().expect("of a drain: nobody asked for it, or it has begun before");
        let now = self.world.trace.now();
        self.world.ledger.borrow_mut().drained = Some(plan.begun(now, self.open.len()));
        self.act(cx, None, None);
        self.stumble(About::Core);
    }

    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_, App>) {
        let (id, peer) = (cx.id(), *cx.data());
        self.note("on_goodbye", &[21, peer as u64]);
        assert!(!self.open[&id].closing, "of a drain: the turn of a connection that is closing");
        {
            let now = self.world.trace.now();
            let person = &mut self.world.ledger.borrow_mut().people[peer];
            assert!(person.told_at.is_none(), "of a drain: a second turn");
            (person.told_at, person.closing_at) = (Some(now), Some(now));
        }
        self.act(cx, Some(id), None);
        if !self.open[&id].closing {
            self.before_closing(cx, id);
        }
        self.stumble(About::Conn(peer));
        // Behind this its Close is queued.
        self.open.get_mut(&id).expect("it is open").closing = true;
    }
}
