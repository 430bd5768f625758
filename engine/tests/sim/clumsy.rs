//! How the application panics, in any callback, and what must come of it: written down before it does.

use wsring::ring::sim::Random;

use super::{Manners, World};

/// How an application panics, with a stream of its own.
pub struct Clumsy {
    pub random: Random,
    /// Chances in 1000, in each callback of a connection, a request or a dial.
    pub often: u32,
    /// The same in callbacks of the core.
    pub fatal: u32,
    /// Each ends the core ([`OnPanic::Stop`](wsring::OnPanic::Stop)).
    pub stops: bool,
}

impl Clumsy {
    /// In a fifth of the seeds, drawn apart from everything else.
    pub fn drawn(seed: u64, manners: Manners) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x636c_756d_7379);
        (manners == Manners::Rude && random.chance(200)).then(|| Self {
            often: random.pick(&[3, 30, 200]),
            fatal: random.pick(&[0, 0, 3, 30]),
            stops: random.chance(150),
            random,
        })
    }
}

/// What a panic says that is meant: any other is a failure of the run.
pub struct Meant;

/// What a callback that panics is about.
pub enum About {
    /// The connection of this peer.
    Conn(usize),
    /// The request of this peer.
    Request(usize),
    /// An attempt of this dial.
    Attempt(u64),
    /// An end that it is told of, or a request of nobody in particular.
    Nothing,
    Core,
}

impl Clumsy {
    /// In a callback: now and then a panic.
    pub fn stumble(&mut self, world: &World, about: About) {
        let often = if matches!(about, About::Core) { self.fatal } else { self.often };
        if !self.random.chance(often) {
            return;
        }
        world.trace.note(&[50], || "         app panics".to_owned());
        {
            let now = world.trace.now();
            let mut ledger = world.ledger.borrow_mut();
            ledger.panics += 1;
            if self.stops || matches!(about, About::Core) {
                ledger.failed_at.get_or_insert(now);
                ledger.stopped_at.get_or_insert(now);
            }
            match about {
                About::Conn(peer) => ledger.people[peer].panicked = true,
                About::Request(peer) => ledger.people[peer].statuses = vec![500],
                About::Attempt(tag) => ledger.dials[tag as usize].on_panicked(),
                About::Nothing | About::Core => {}
            }
        }
        std::panic::resume_unwind(Box::new(Meant)); // without the hook, which would print it
    }
}
