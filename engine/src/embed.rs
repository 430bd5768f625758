//! The way in for a ring that is built elsewhere, such as that of `wsring-tokio-uring`: an engine on it, awaited in a runtime, and what
//! other threads hold of the engine.
//!
//! Under the feature `unstable-ring`. Promises what a core of [`Server`](crate::Server) promises. Refuses to know how the ring waits.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use crate::config::Config;
use crate::cores::{CoreState, Place};
use crate::engine::{Control, Core, Names, Seat};
use crate::handler::Handler;
use crate::ring::uring::{Features, heap};
use crate::ring::{Ring, SendBlocks, Time};
use crate::server::{Error, resolve_for};
use crate::stats::Stats;

/// What other threads hold of an engine. Each call is followed by a wake of the ring.
#[derive(Clone, Debug, Default)]
pub struct Remote(Arc<Control>);

impl Remote {
    /// Asks for a clean stop.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Asks that nobody more be accepted.
    pub fn stop_accepting(&self) {
        self.0.stop_accepting();
    }

    /// How far the life of the core has come.
    #[must_use]
    pub fn state(&self) -> CoreState {
        self.0.state()
    }

    /// Asks for `on_wake`. False if somebody has asked already, and woken the ring.
    #[must_use]
    pub fn wake(&self) -> bool {
        self.0.wake()
    }
}

/// The settings of one core, checked, on a ring whose sockets are ordinary descriptors.
#[derive(Clone, Debug)]
pub struct Settings(Arc<Config>);

impl Settings {
    /// Checks the settings and raises the limit on descriptors.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Setup`] if the limit on descriptors has no room for the connections asked for.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let config = config.resolved(1, Features::none())?;
        Ok(Self(Arc::new(config)))
    }

    /// Sockets that the engine has at once, at most.
    #[must_use]
    pub fn sockets_max(&self) -> usize {
        self.0.sockets_max()
    }

    /// See `Config::nodelay`.
    #[must_use]
    pub fn nodelay(&self) -> bool {
        self.0.nodelay
    }
}

/// One core's engine on another ring. It has no send blocks: what is sent lies in pooled memory of its own.
pub struct Engine<R: Ring, H: Handler> {
    core: Core<R, H>,
    place: Place,
    control: Arc<Control>,
}

impl<R: Ring, H: Handler> Engine<R, H> {
    /// An engine at this place, with so many listeners of the ring. Names are looked up on other threads, which then call `wake`.
    ///
    /// # Errors
    /// [`Error::Start`] if the operating system has no random numbers.
    pub fn new(
        place: Place,
        settings: &Settings,
        ring: R,
        handler: H,
        listeners: u32,
        remote: &Remote,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let random = StdRng::try_from_rng(&mut SysRng).map_err(|error| Error::Start(io::Error::other(error)))?;
        let control = Arc::clone(&remote.0);
        let resolve = Some(resolve_for(Arc::clone(&control), wake));
        let names = Arc::new(Names::new(settings.0.topics.topics_max));
        let seat = Seat {
            place,
            control: Arc::clone(&control),
            random,
            resolve,
            trim: Some(Box::new(heap::give_back)),
            names,
        };
        let core = Core::new(seat, ring, SendBlocks::new(0, 0), handler, Arc::clone(&settings.0), listeners);
        Ok(Self { core, place, control })
    }

    /// Runs until stopped. `wait` comes back when the ring has completions or the time has come; without a time there is none to
    /// come.
    ///
    /// # Errors
    /// [`Error::Ring`] if the ring breaks.
    pub async fn run(&mut self, wait: impl AsyncFnMut(Option<Time>)) -> Result<Stats, Error> {
        let _tenure = self.control.begin();
        let ended = self.core.run_async(wait).await;
        ended.map_err(|source| {
            self.control.tell(CoreState::Failed);
            Error::Ring { place: self.place, source }
        })
    }
}
