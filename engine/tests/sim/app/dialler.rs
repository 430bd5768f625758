//! What the application does with dials: it makes them, gives them up, closes what they opened, and stops the core.

use std::net::SocketAddr;
use std::time::Duration;

use wsring::ring::sim::Random;
use wsring::{ConnId, DialId, Dialled, Redial, Target};

use super::super::dial::{self, Dial};
use super::super::own::Owners;
use super::{App, Core};

/// What it needs for dialling, with a stream of its own: who does not dial draws what he always drew.
pub struct Dialler {
    pub random: Random,
    /// Dials still to be made.
    pub left: u32,
    pub handshake_timeout: Duration,
    /// Connects may have to wait for a place.
    pub tight: bool,
    /// How long the process stands still.
    pub pause: Duration,
}

impl App {
    /// It gives some of its connections terms of their own.
    pub fn and_terms(mut self, owners: Owners) -> Self {
        self.owners = owners;
        self
    }

    pub(super) fn connect(&mut self, cx: &mut Core<'_>) {
        let Some(dialler) = self.dialler.as_mut().filter(|dialler| dialler.left > 0) else { return };
        dialler.left -= 1;
        let mut ledger = self.world.ledger.borrow_mut();
        let tag = ledger.dials.len() as u64;
        let (target, mut plan) =
            dial::target(tag, &mut dialler.random, self.world.manners, dialler.handshake_timeout, dialler.tight);
        plan.late += dialler.pause;
        let said = self.pressures.opening();
        self.said[1].insert(tag, said);
        let target = self.finished(target, tag);
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
            let asking = self.world.ledger.borrow().dials.iter().position(Dial::is_asking).map(|asking| asking as u64);
            match (what, asking) {
                _ if self.world.ledger.borrow().dials.is_empty() => self.connect(cx),
                // Who waits to be told a target is told soon.
                (200..620, Some(asking)) => self.retarget(cx, asking),
                (0..400, _) => self.connect(cx),
                (400..500, _) => self.set_wait(cx, tag),
                (500..620, _) => self.retarget(cx, tag),
                (620..700, _) => self.abandon(cx, tag),
                (700..850, _) => self.abandon_trying(cx),
                (850..990, _) => self.close_dialled(cx),
                (990..992, _) => cx.stop_core(),
                _ => continue,
            }
            if (990..992).contains(&what) {
                self.world.trace.note(&[32], || "         app stops".to_owned());
                let now = self.world.trace.now();
                self.world.ledger.borrow_mut().stopped_at.get_or_insert(now);
            }
        }
    }

    /// Another target for a dial, and its number.
    fn another(&self, tag: u64) -> (Target, u32) {
        let (target, version) = self.world.ledger.borrow_mut().dials[tag as usize].another();
        (self.finished(target, tag), version)
    }

    /// The same with what is said to all targets of a dial.
    fn finished(&self, target: Target, tag: u64) -> Target {
        let target = self.owners.to_dialled().into_iter().fold(target, |target, own| target.terms(&own.terms));
        self.said[1][&tag].into_iter().fold(target, Target::pressure)
    }

    /// What a new attempt is to dial.
    pub(super) fn redial(&mut self, tag: u64) -> Redial {
        let what = self.dialler.as_mut().expect("it dials").random.below(10);
        let another = (what < 3).then(|| self.another(tag));
        let version = another.as_ref().map(|(_, version)| *version);
        let said = (what < 8).then_some(version);
        self.world.trace.note(&[34, tag, what], || format!("         app says {said:?} to a new attempt"));
        self.dialled(tag, |dial, now, _| dial.on_redialled(said, now));
        match another {
            Some((target, _)) => target.into(),
            None if what < 8 => Redial::Same,
            None => Redial::Later,
        }
    }

    /// Now and then it allows none of the addresses.
    pub(super) fn allow(&mut self, dialled: &Dialled, addrs: &mut Vec<SocketAddr>) {
        let none = self.wild > 0 && self.dialler.as_mut().expect("it dials").random.chance(20);
        self.dialled(dialled.tag, |dial, _, _| dial.on_resolved(dialled, addrs, none));
        if none {
            addrs.clear();
        }
    }

    /// Whoever asked may be told twice: the second time counts.
    fn retarget(&mut self, cx: &mut Core<'_>, tag: u64) {
        let asked = self.world.ledger.borrow().dials[tag as usize].is_asking();
        let times = if asked && self.dialler.as_mut().expect("it dials").random.chance(500) { 2 } else { 1 };
        for time in 0..times {
            let (target, version) = self.another(tag);
            let id = self.world.ledger.borrow().dials[tag as usize].id;
            self.world.trace.note(&[35, tag, version.into()], || format!("         app gives {id:?} target {version}"));
            let taken = cx.retarget(id, target);
            self.dialled(tag, |dial, now, stopping| dial.retarget(version, taken, time > 0, now, stopping));
        }
    }

    /// Sets the next wait of a dial whose connection ends now.
    pub(super) fn set_wait_at_end(&mut self, cx: &mut Core<'_>, tag: u64) {
        if self.wild > 0 && self.dialler.as_mut().is_some_and(|dialler| dialler.random.chance(200)) {
            self.set_wait(cx, tag);
        }
    }

    fn set_wait(&mut self, cx: &mut Core<'_>, tag: u64) {
        let micros = self.dialler.as_mut().expect("it dials").random.pick(&[0, 1_000, 50_000, 300_000]);
        let (id, wait) = (self.world.ledger.borrow().dials[tag as usize].id, Duration::from_micros(micros));
        self.world.trace.note(&[36, tag, micros], || format!("         app has {id:?} wait {wait:?}"));
        let taken = cx.set_wait(id, wait);
        self.dialled(tag, |dial, now, stopping| dial.set_wait(wait, taken, now, stopping));
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
