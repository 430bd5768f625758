//! The way in for the simulation: an engine on a simulated ring, and (under the feature `planted`) the planted bugs.
//! Another ring may stand in its place: `benches/instructions` counts what the engine does on one of memory.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::core::{Core, Seat};
pub use super::holding::Holding;
use super::id::ConnId;
use super::inbox;
use super::mailbox::{Bell, MAILBOX_MAX};
use super::names::{Names, TOPICS_MAX};
#[cfg(any(test, feature = "planted"))]
pub use super::planted::{Bug, plant};
use crate::config::Config;
use crate::cores::Place;
use crate::drain::Drain;
use crate::gate::{Gate, ProxyProtocol};
use crate::handle::{Handle, Member};
use crate::handler::Handler;
use crate::ring::sim::SimRing;
use crate::ring::{Ring, SendBlocks};
use crate::stats::Stats;

/// There is one core.
const PLACE: Place = Place::new(0);

/// What another thread would hold of the core: see [`Handle`].
#[derive(Debug)]
pub struct Remote<M = ()>(Handle<M>);

impl<M> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Of a ring that must be woken as well by whoever asks for something.
impl<M> Default for Remote<M> {
    fn default() -> Self {
        Self::new(|| (), MAILBOX_MAX)
    }
}

impl<M> Remote<M> {
    /// Of a core whose ring is woken by `bell`, and with room for so many letters.
    pub fn new(bell: impl Fn() + Send + Sync + 'static, mailbox_max: u32) -> Self {
        let names = Arc::new(Names::new(TOPICS_MAX));
        Self(Handle::new(PLACE, [Member::new(Bell::new(bell), mailbox_max)], names))
    }

    /// The handle of this one core.
    pub fn handle(&self) -> Handle<M> {
        self.0.clone()
    }

    /// Asks for a clean stop.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Asks that it be drained.
    pub fn drain(&self, drain: Drain) {
        self.0.drain(drain);
    }

    /// Asks that nobody more be accepted.
    pub fn stop_accepting(&self) {
        self.0.stop_accepting();
    }

    /// Asks for `on_wake`.
    pub fn wake(&self) {
        self.0.wake(PLACE);
    }

    /// A name was looked up: see [`Engine::resolver`].
    ///
    /// # Panics
    /// If another thread panicked in here.
    pub fn resolved(&self, lookup: Lookup, found: io::Result<Vec<SocketAddr>>) {
        self.0.member(PLACE).control.resolved((lookup.0, found));
    }
}

/// The index of a connection's slot, as in the tokens of its operations.
pub fn index_of(id: ConnId) -> u32 {
    id.index()
}

/// A lookup of a name that an engine asked for.
#[derive(Clone, Copy, Debug)]
pub struct Lookup(inbox::Lookup);

/// One core's engine on a ring that is not the kernel's.
pub struct Engine<H: Handler, R: Ring = SimRing> {
    core: Core<R, H>,
}

impl<H: Handler, R: Ring> Engine<H, R> {
    /// An engine with send blocks as configured.
    ///
    /// # Panics
    /// If the configuration makes no sense.
    pub fn new(config: Config, ring: R, handler: H, listeners: u32, remote: &Remote<H::Mail>) -> Self {
        config.check().expect("a valid configuration");
        let blocks = SendBlocks::new(config.send_buffers.count as usize, config.send_buffers.bytes as usize);
        let member = remote.0.member(PLACE);
        let seat = Seat {
            place: PLACE,
            control: Arc::clone(&member.control),
            mailbox: member.reader(),
            handle: Box::new(remote.handle()),
            random: StdRng::seed_from_u64(0),
            resolve: None,
            trim: None,
            names: Arc::clone(remote.0.names()),
        };
        let mut core = Core::new(seat, ring, blocks, handler, Arc::new(config), &Gate::plain(listeners));
        core.calls.meant = Some(|_| false);
        Self { core }
    }

    /// Has these listeners require a PROXY header, by their numbers; before anything else.
    #[must_use]
    pub fn proxied(mut self, listeners: impl IntoIterator<Item = u32>) -> Self {
        for listener in listeners {
            self.core.gates[listener as usize].proxy = ProxyProtocol::Required;
        }
        self
    }

    /// Draws masking keys, nonces and jitter from this seed instead of 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.core.out.random = StdRng::seed_from_u64(seed);
        self
    }

    /// Parts long sends at so many bytes, at least one, instead of at 64 KiB: what a simulation sends is smaller than that.
    #[must_use]
    pub fn part(mut self, bytes: u32) -> Self {
        self.core.part = bytes.max(1);
        self
    }

    /// Sends messages that the handler gives away, or has prepared, from where they lie from so many bytes on, instead of from
    /// 64 KiB and 4 KiB; and has one receiver be as many as 32.
    #[must_use]
    pub fn share_from(mut self, bytes: usize) -> Self {
        self.core.out.share_from = bytes.max(1);
        self.core.out.forms.share_from = bytes.max(1);
        self.core.out.forms.crowd_from = 1;
        self
    }

    /// Has a pass read at most so many letters, at least one, instead of 256.
    #[must_use]
    pub fn letters_max(mut self, letters: u32) -> Self {
        self.core.letters_max = letters.max(1);
        self
    }

    /// Lets the kernel keep at most so many bytes for a peer behind our end, instead of 64 KiB.
    #[must_use]
    pub fn kept(mut self, bytes: u32) -> Self {
        self.core.kept_max = bytes;
        self
    }

    /// Has a message that has begun come on by so many bytes in each round of `message_timeout`, instead of 16 KiB.
    #[must_use]
    pub fn least(mut self, bytes: u32) -> Self {
        self.core.out.peers.begun().set_least(bytes);
        self
    }

    /// Has the application's panics end what its callbacks are about, as a server does, if they are `meant`. Any other fails the test, and
    /// without this each does.
    #[must_use]
    pub fn panics(mut self, meant: fn(&Box<dyn Any + Send>) -> bool) -> Self {
        self.core.calls.meant = Some(meant);
        self
    }

    /// Has names looked up by `resolve`, given a host, its port and what [`Remote::resolved`] wants back. Without this, dials of
    /// names fail.
    #[must_use]
    pub fn resolver(mut self, resolve: impl Fn(String, u16, Lookup) + 'static) -> Self {
        self.core.resolve = Some(Box::new(move |host, port, dial, _| resolve(host, port, Lookup(dial))));
        self
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// If the ring breaks; the simulated one does not.
    pub fn run(&mut self) -> io::Result<Stats> {
        self.core.run()
    }

    /// The same, and `watch` is called after each pass.
    ///
    /// # Errors
    /// If the ring breaks.
    pub fn run_watched(&mut self, mut watch: impl FnMut(&mut Self)) -> io::Result<Stats> {
        self.core.start();
        while !self.core.is_finished() {
            self.core.turn()?;
            watch(self);
        }
        Ok(self.core.finish())
    }

    /// What each connection keeps of memory.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        let out = &self.core.out;
        self.core.conns.iter().map(|(index, conn)| Holding::of(out.link(index as u32), conn, &out.stores))
    }

    /// Bytes of memory that are in use by the engine's count, and by looking everywhere: the ring has so many of them.
    pub fn memory(&self, with_ring: usize) -> (usize, usize) {
        let out = &self.core.out;
        let held = self.holdings().map(|holding| holding.memory - holding.shared).sum::<usize>();
        let packers = out.packer.all_own_bytes();
        let waiting = out.topics.as_ref().map_or(0, |topics| topics.found_bytes());
        let told = out.addresses.held_bytes() + out.norms.held_bytes();
        (out.stores.pool.lent_bytes(), held + told + waiting + packers + out.stores.shared_bytes() + with_ring)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// The beginning of [`Self::run`], for a test that takes the turns one by one.
    pub fn start(&mut self) {
        self.core.start();
    }

    /// One pass of the loop.
    ///
    /// # Errors
    /// If the ring breaks.
    pub fn turn(&mut self) -> io::Result<()> {
        self.core.turn()
    }

    /// It was stopped, and has come to its end.
    pub fn is_finished(&self) -> bool {
        self.core.is_finished()
    }

    /// The end of [`Self::run`], for such a test.
    pub fn end(&mut self) -> Stats {
        self.core.finish()
    }

    /// The ring.
    pub fn ring(&mut self) -> &mut R {
        &mut self.core.ring
    }

    /// What the engine itself has left over after the end: nothing, if all is well. One sentence each.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let (conns, blocks) = (self.core.conns.len(), self.core.out.stores.blocks.in_use());
        let mut left = Vec::new();
        if conns > 0 {
            left.push(format!("{conns} connections outlived the engine"));
        }
        let networks = self.core.crowd.networks();
        if networks > 0 {
            left.push(format!("connections from {networks} networks are still counted"));
        }
        if !self.core.out.dials.is_empty() {
            left.push("a dial outlived the engine".to_owned());
        }
        let terms = self.core.out.norms.users();
        if terms > 0 {
            left.push(format!("the terms of {terms} connections outlived them"));
        }
        if blocks > 0 {
            left.push(format!("{blocks} send blocks were lost"));
        }
        left
    }

    /// Bytes of free buffers that the pool keeps.
    pub fn pool_bytes(&self) -> usize {
        self.core.out.stores.pool.kept_bytes()
    }
}
