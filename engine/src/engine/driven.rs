//! The way in for `wsring::testing`: one core's engine on a simulated ring, taken from pass to pass.
//!
//! Promises what a core of a server promises, panics of the application among it. Refuses to know peers, and when time passes: that is told.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::core::{Core, Seat};
use super::id::ConnId;
use super::inbox::Tenure;
use crate::config::Config;
use crate::cores::Place;
use crate::gate::Gate;
use crate::handle::Handle;
use crate::handler::Handler;
use crate::ring::sim::{Net, PipeId, SimRing};
use crate::ring::{SendBlocks, Time};
use crate::stats::Stats;

/// A core that somebody drives.
pub(crate) struct Driven<H: Handler> {
    core: Core<SimRing, H>,
    /// Until its end.
    tenure: Option<Tenure>,
}

impl<H: Handler> Driven<H> {
    /// The core at the first place of `handle`, with one listener. The configuration has been checked; what else is open is drawn from `seed`.
    /// `on_start` is called.
    pub(crate) fn start(config: Config, ring: SimRing, handle: Handle<H::Mail>, handler: H, seed: u64) -> Self {
        let place = Place::new(0);
        let blocks = SendBlocks::new(config.send_buffers.count as usize, config.send_buffers.bytes as usize);
        let member = handle.member(place).clone();
        let seat = Seat {
            place,
            control: Arc::clone(&member.control),
            mailbox: member.reader(),
            names: Arc::clone(handle.names()),
            handle: Box::new(handle),
            random: StdRng::seed_from_u64(seed),
            resolve: None,
            trim: None,
        };
        let tenure = Some(member.control.begin());
        let mut core = Core::new(seat, ring, blocks, handler, Arc::new(config), &Gate::plain(1));
        core.start();
        Self { core, tenure }
    }

    /// One pass, which comes back at `halt` if nothing happens before.
    pub(crate) fn turn(&mut self, halt: Time) {
        self.core.ring.halt_at(halt);
        self.core.turn().expect("the simulated ring does not break");
    }

    /// Virtual time.
    pub(crate) fn now(&self) -> Time {
        self.core.ring.time()
    }

    /// Nothing more happens at this moment.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.core.ring.is_at_rest() && self.core.until().is_none_or(|until| until > self.now())
    }

    /// A panic of the application ends the core.
    pub(crate) fn has_failed(&self) -> bool {
        self.core.calls.has_failed()
    }

    /// It was stopped, and has come to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.core.is_finished()
    }

    /// What is behind the loop. A panic that has ended the core goes on from here.
    pub(crate) fn finish(&mut self) -> Stats {
        let tenure = self.tenure.take(); // goes last, and knows of that panic
        let stats = self.core.finish();
        drop(tenure);
        stats
    }

    /// The network, for peers.
    pub(crate) fn net(&mut self) -> &mut Net {
        self.core.ring.net()
    }

    /// The counters.
    pub(crate) fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// The application.
    pub(crate) fn handler(&self) -> &H {
        self.core.calls.handler()
    }

    /// The id of a connection that is open for the application.
    pub(crate) fn id_of(&mut self, pipe: PipeId) -> Option<ConnId> {
        let index = self.net().index_of(pipe)?;
        let peers = &self.core.out.peers;
        let id = peers.id_of(index);
        peers.find_open(id).map(|_| id)
    }

    /// What the application keeps of that connection.
    pub(crate) fn state_of(&mut self, pipe: PipeId) -> Option<&H::Conn> {
        let index = self.id_of(pipe)?.index();
        self.core.calls.state(index)
    }
}
