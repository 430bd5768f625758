//! A server or client that runs: [`Running`].
//!
//! Owns the threads of its cores, and that which hands over to the next server. Promises that joining it ends when all of them have. Refuses to know how they
//! were started.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::config::Config;
use crate::cores::{CoreState, Cpu, Place};
use crate::drain::Drain;
use crate::engine::Leaving;
use crate::error::Error;
use crate::given_up::GivenUp;
use crate::handle::Handle;
use crate::handover::{Giver, Places, Successor, Taking};
use crate::ring::uring::Features;
use crate::rings::RingKind;
use crate::signals::Signals;
use crate::stats::Stats;

/// Tells the joiner that a thread has ended, also when it unwinds.
pub(crate) struct Ended {
    pub(crate) place: Place,
    pub(crate) sender: mpsc::Sender<Place>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.sender.send(self.place); // nobody waits any more: then nobody needs to know
    }
}

/// A running server or client. `M` is its handler's [`Mail`](crate::Handler::Mail).
pub struct Running<M = ()> {
    pub(crate) handle: Handle<M>,
    pub(crate) threads: Vec<JoinHandle<Result<Stats, Error>>>,
    pub(crate) ends: mpsc::Receiver<Place>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) cores: Vec<Cpu>,
    pub(crate) pinned: bool,
    pub(crate) ring: RingKind,
    pub(crate) features: Features,
    pub(crate) connections_max: u32,
    pub(crate) memory_max: usize,
    pub(crate) given_up: Vec<GivenUp>,
    pub(crate) handover: Option<Handed>,
}

/// What a server knows of those before and after it.
pub(crate) struct Handed {
    from: Option<u32>,
    unclaimed: Vec<String>,
    to: Successor,
    thread: Option<JoinHandle<()>>,
}

impl Handed {
    pub(crate) fn by(taking: &Taking) -> Self {
        Self { from: taking.pid(), unclaimed: Vec::new(), to: Successor::default(), thread: None }
    }
}

/// Whatever mail is.
impl<M> fmt::Debug for Running<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("addrs", &self.addrs)
            .field("cores", &self.cores)
            .field("ring", &self.ring)
            .field("features", &self.features)
            .field("connections_max", &self.connections_max)
            .field("memory_max", &self.memory_max)
            .field("given_up", &self.given_up)
            .finish_non_exhaustive()
    }
}

impl<M> Running<M> {
    /// Reaches the cores from any thread.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// How far the life of a core has come: see [`Handle::state`].
    ///
    /// # Panics
    /// If there is no such core.
    pub fn state(&self, place: Place) -> CoreState {
        self.handle.state(place)
    }

    /// The addresses it listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The paths of the Unix-domain sockets that it listens on.
    pub fn local_paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The CPUs it runs on, by place; of cores that are not pinned, those that they would be pinned to.
    pub fn cores(&self) -> &[Cpu] {
        &self.cores
    }

    /// Whether its threads are pinned: see [`Config::pinned`](crate::Config::pinned).
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// What it does without because the machine leaves it no more; the log has been told.
    pub fn given_up(&self) -> &[GivenUp] {
        &self.given_up
    }

    /// What its cores run on: as configured ([`Config::ring`](crate::Config::ring)), or what the kernel allows.
    pub fn ring(&self) -> RingKind {
        self.ring
    }

    /// The kernel features in use on every core; none on epoll.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Bytes that all peers of a core together may have it keep: as configured ([`Config::memory_max_bytes`](crate::Config::memory_max_bytes)), or its share of what
    /// the process may use.
    pub fn memory_max(&self) -> usize {
        self.memory_max
    }

    /// The number of the process that it has taken over from ([`Server::take_over`](crate::Server::take_over)), if there was one.
    pub fn predecessor(&self) -> Option<u32> {
        self.handover.as_ref()?.from
    }

    /// Places where that process listened and this one does not, or listens by another socket that it was given. That process's sockets there were closed.
    pub fn unclaimed(&self) -> &[String] {
        self.handover.as_ref().map_or(&[], |handover| &handover.unclaimed)
    }

    /// Tells which process has taken over from it, once one has. It has then begun to stop, or will when requests in progress are answered.
    pub fn successor(&self) -> Successor {
        self.handover.as_ref().map_or_else(Successor::default, |handover| handover.to.clone())
    }

    /// Everything that was handed over is this server's, which hands over to the next.
    pub(crate) fn begin_handing(
        &mut self,
        taking: Taking,
        places: Places,
        ending: UnixStream,
        config: &Config,
    ) -> Result<(), Error>
    where
        M: Send + 'static,
    {
        let Some(handover) = &mut self.handover else { return Ok(()) };
        // Before the process that goes is told: from there on nothing may fail, such as a thread more.
        let (give, given) = mpsc::sync_channel::<Giver<M>>(1);
        let give_over = move || given.iter().for_each(|giver| giver.run(&ending));
        let thread = std::thread::Builder::new().name("wsring-handover".to_owned());
        handover.thread = Some(thread.spawn(give_over).map_err(Error::Start)?);
        if taking.pid().is_some() {
            self.await_cores(&taking)?;
        }
        let took = taking.end().inspect_err(|_| self.leave())?;
        places.set_up(config);
        let Some(handover) = &mut self.handover else { return Ok(()) };
        handover.unclaimed = took.unclaimed().to_vec();
        handover
            .unclaimed
            .iter()
            .for_each(|place| tracing::warn!(place, "the socket that the process before had here is closed"));
        if !took.is_shared() {
            places.own(&self.handle);
        }
        let giver = took.giver(places, self.handle.clone(), handover.to.clone());
        assert!(give.send(giver).is_ok(), "it waits for that");
        Ok(())
    }

    /// Each core has had a whole pass since it started, and so accepts, or has been told by then that its handler fails or stops it. It answers in the middle of a pass: when it answers
    /// again, that one is over.
    fn await_cores(&self, taking: &Taking) -> Result<(), Error> {
        for place in self.handle.places() {
            let answers = || self.handle.stats(place, taking.patience()).is_some();
            let answered = answers() && answers();
            match self.handle.state(place) {
                CoreState::Failed => return Err(Error::Panicked { place }),
                _ if !answered => {
                    return Err(taking.failed("a core does not accept in time: `on_start` takes too long"));
                }
                _ => {}
            }
        }
        let accepts = |place| matches!(self.handle.state(place), CoreState::Running | CoreState::Draining);
        match self.handle.places().any(accepts) {
            true => Ok(()),
            false => Err(taking.failed("this server has stopped already")),
        }
    }

    /// Nobody more is accepted, and whoever was is answered, before this server that could not take over stops.
    fn leave(&self) {
        self.handle.stop_accepting();
        self.handle.places().for_each(|place| self.handle.member(place).control.wait_until(Leaving::Left));
    }

    /// How many connections each core takes: as configured, or what the limit on descriptors allows.
    pub fn connections_max(&self) -> u32 {
        self.connections_max
    }

    /// Stops cleanly at SIGINT or SIGTERM from now on, for the rest of the process's life.
    ///
    /// # Errors
    /// [`Error::Start`] if the handlers cannot be installed.
    pub fn stop_on_signals(&self) -> Result<(), Error>
    where
        M: Send + 'static,
    {
        Signals::new().map(|signals| signals.stop(self.handle())).map_err(Error::Start)
    }

    /// Drains all cores: see [`Handle::drain`].
    pub fn drain(&self, drain: Drain) {
        self.handle.drain(drain);
    }

    /// As [`Self::stop_on_signals`], but the first SIGTERM drains; SIGINT, and any further signal, stops at once. A signal that comes before
    /// this is called ends the process: a program that may not end between [`Server::start`](crate::Server::start) and this catches them itself before, and says [`Handle::drain`].
    ///
    /// # Errors
    /// [`Error::Start`] if the handlers cannot be installed.
    pub fn drain_on_signals(&self, drain: Drain) -> Result<(), Error>
    where
        M: Send + 'static,
    {
        Signals::new().map(|signals| signals.drain(self.handle(), drain)).map_err(Error::Start)
    }

    /// Waits until all cores have ended and returns their counters, by place. A core that fails stops the others.
    ///
    /// # Errors
    /// [`Error::Ring`] or [`Error::Panicked`] of the first core that failed.
    pub fn join(self) -> Result<Vec<Stats>, Error> {
        let mut threads: Vec<_> = self.threads.into_iter().map(Some).collect();
        let mut stats = vec![Stats::default(); threads.len()];
        let mut failed = None;
        // A place whose thread could not be started has ended too, and is nobody's.
        for place in &self.ends {
            let Some(thread) = threads.get_mut(place.index()).and_then(Option::take) else { continue };
            match thread.join().unwrap_or(Err(Error::Panicked { place })) {
                Ok(counted) => stats[place.index()] = counted,
                Err(error) => {
                    self.handle.stop();
                    failed.get_or_insert(error);
                }
            }
            if threads.iter().all(Option::is_none) {
                break;
            }
        }
        // Its last files go with it.
        if let Some(thread) = self.handover.and_then(|handover| handover.thread) {
            let _ = thread.join(); // nothing of it is wanted
        }
        failed.map_or(Ok(stats), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Names;

    #[test]
    fn a_place_without_a_thread_is_not_waited_for() {
        let (sender, ends) = mpsc::channel();
        let ended = [1, 0].map(|place| Ended { place: Place::new(place), sender: sender.clone() });
        drop(sender);
        let [unstarted, started] = ended;
        drop(unstarted);
        let threads = vec![std::thread::spawn(move || {
            let _ended = started;
            Ok(Stats { messages: 7, ..Stats::default() })
        })];
        struct Mail; // has no `Debug`
        let handle = Handle::<Mail>::new(Place::new(0), [], Arc::new(Names::new(1)));
        let (cores, features) = (vec![Cpu::new(0), Cpu::new(1)], Features::all());
        let (addrs, paths, ring) = (vec![], vec![], RingKind::Uring);
        let running = Running {
            handle,
            threads,
            ends,
            addrs,
            paths,
            cores,
            pinned: true,
            ring,
            features,
            connections_max: 1,
            memory_max: 1,
            given_up: vec![],
            handover: None,
        };
        assert!(format!("{running:?}").starts_with("Running { addrs: [], cores: [Cpu(0), Cpu(1)], "), "{running:?}");
        let stats = running.join().expect("the one that started ends well");
        assert_eq!((stats.len(), stats[0].messages), (1, 7));
    }
}
