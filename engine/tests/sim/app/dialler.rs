//! What the application does with dials, from any callback.

use wsring::{ConnId, DialId};

use super::super::dial::{self, Dial};
use super::{App, Core};

impl App {
    pub(super) fn connect(&mut self, cx: &mut Core<'_>) {
        let Some(dialler) = self.dialler.as_mut().filter(|dialler| dialler.left > 0) else { return };
        dialler.left -= 1;
        let mut ledger = self.world.ledger.borrow_mut();
        let tag = ledger.dials.len() as u64;
        let (target, mut plan) = dial::target(tag, &mut dialler.random, self.world.manners, dialler.handshake_timeout);
        plan.late += dialler.pause;
        self.world.trace.note(&[30, tag], || format!("         app dials {target:?}"));
        let id = cx.connect(target);
        assert!(ledger.dials.iter().all(|dial| dial.id != id), "{id:?} was the name of an earlier dial");
        ledger.dials.push(Dial::new(id, plan, self.world.trace.now()));
    }

    pub(super) fn abandon(&mut self, cx: &mut Core<'_>, tag: u64) {
        let mut ledger = self.world.ledger.borrow_mut();
        let dial = &mut ledger.dials[tag as usize];
        self.world.trace.note(&[31, tag], || format!("         app abandons {:?}", dial.id));
        cx.abandon(dial.id);
        dial.abandon();
    }

    /// Whatever a handler may do with dials, from any callback.
    pub(super) fn act_on_dials(&mut self, cx: &mut Core<'_>) {
        let wild = self.wild > 0;
        loop {
            let Some(dialler) = self.dialler.as_mut() else { return };
            if !dialler.random.chance(250) {
                return;
            }
            let what = dialler.random.below(if wild { 1000 } else { 1 });
            let tag = dialler.random.below(self.world.ledger.borrow().dials.len() as u64);
            match what {
                _ if self.world.ledger.borrow().dials.is_empty() => self.connect(cx),
                0..500 => self.connect(cx),
                500..650 => self.abandon(cx, tag),
                650..850 => self.abandon_trying(cx),
                850..990 => self.close_dialled(cx),
                990..992 => cx.stop_core(),
                _ => continue,
            }
            if (990..992).contains(&what) {
                self.world.trace.note(&[32], || "         app stops".to_owned());
                let now = self.world.trace.now();
                self.world.ledger.borrow_mut().stopped_at.get_or_insert(now);
            }
        }
    }

    /// Abandons all of which something is under way: its completion may come in this very pass.
    pub(super) fn abandon_trying(&mut self, cx: &mut Core<'_>) {
        let dials = self.world.ledger.borrow().dials.len() as u64;
        for tag in 0..dials {
            if self.dialled(tag, |dial, _, _| dial.is_trying()) {
                self.abandon(cx, tag);
            }
        }
    }

    /// Closes a connection that was dialled.
    pub(super) fn close_dialled(&mut self, cx: &mut Core<'_>) {
        let open = self.open.iter().filter(|(_, open)| open.dial.is_some()).map(|(id, _)| *id);
        let open: Vec<ConnId> = open.collect();
        if let Some(dialler) = self.dialler.as_mut().filter(|_| !open.is_empty()) {
            let id = dialler.random.pick(&open);
            self.close(cx, id);
        }
    }

    pub(super) fn dialled<R>(&mut self, tag: u64, tell: impl FnOnce(&mut Dial, wsring::ring::Time, bool) -> R) -> R {
        let mut ledger = self.world.ledger.borrow_mut();
        let stopping = ledger.stopped_at.is_some();
        tell(&mut ledger.dials[tag as usize], self.world.trace.now(), stopping)
    }

    pub(super) fn tag_of(&self, id: DialId) -> u64 {
        let tag = self.world.ledger.borrow().dials.iter().position(|dial| dial.id == id);
        tag.unwrap_or_else(|| panic!("{id:?} is no dial of ours")) as u64
    }
}
