//! Owns the threads of a server: one per core, pinned as a rule, with its own listener, ring and handler. Those of a
//! [`Client`](crate::Client) are the same without a listener.
//!
//! Cores share nothing but the [`Handle`], through which other threads stop them or wake them. It is made before the threads are, so
//! that every handler can have it. What runs then is [`Running`]'s.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use socket2::SockRef;

use crate::affinity;
use crate::config::Config;
use crate::cores::{CoreState, Cpu, InvalidCpu, Place, cpus_of};
use crate::engine::{Bell, Control, Core, Names, Resolve, Seat};
use crate::error::Error;
use crate::gate::Gate;
use crate::given_up::GivenUp;
use crate::handle::{CoreInfo, Handle, Member};
use crate::handler::Handler;
use crate::handover::{Handover, Places as HandedPlaces, Taking};
use crate::listen::{Bound, Listener, addrs_of, listen, name_of};
use crate::listening::{Listening, Post};
use crate::placing::{Places, Wanted, place};
use crate::resolver;
use crate::ring::uring::{Feature, Features, QueueEntries, Waker, fitting, heap, raise_nofile};
use crate::ring::{Ring, SendBlocks};
use crate::rings::{AnyRing, RingKind, choose};
use crate::running::{Ended, Handed, Running};
use crate::signals::Signals;
use crate::stats::Stats;

/// A server that has its addresses and is not running yet.
#[derive(Debug)]
pub struct Server {
    /// One socket for each address and path; the other cores' are bound beside it when it starts.
    bound: Vec<Bound>,
    cores: Wanted,
    config: Config,
    taking: Option<Taking>,
}

impl Server {
    /// Binds every address that `addr` resolves to. Port 0 takes a free one: see [`Self::local_addrs`]. The process's soft limit on
    /// descriptors is raised to its hard limit first (RLIMIT_NOFILE, getrlimit(2)).
    ///
    /// Sockets are bound with SO_REUSEPORT (unless [exclusive](Listener::exclusive)), so a second server of the same user can bind the same port and share its
    /// new connections: so two versions can run beside each other. Without a gap a new one takes over by [`Self::take_over`].
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn bind(addr: impl ToSocketAddrs) -> Result<Self, Error> {
        Self::listen(Listener::tcp(addr))
    }

    /// Binds further addresses.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn and_bind(self, addr: impl ToSocketAddrs) -> Result<Self, Error> {
        self.and_listen(Listener::tcp(addr))
    }

    /// Binds a listener that has settings of its own; else as [`Self::bind`].
    ///
    /// # Errors
    /// [`Error::Bind`]; [`Error::Config`] if its configuration of TLS makes no sense.
    pub fn listen(listener: Listener) -> Result<Self, Error> {
        Self::nowhere(None).and_listen(listener)
    }

    /// Takes over from the server that is at this path, if one is, and hands over there to the next: see [`Handover`]. What it listens at is said by
    /// [`Self::and_listen`] from here on; of that it has the sockets of the other server, and binds what that did not have; what is not said here, the other one closes. Waits for the other server.
    ///
    /// # Errors
    /// [`Error::Handover`].
    pub fn take_over(handover: Handover) -> Result<Self, Error> {
        raise_nofile();
        Ok(Self::nowhere(Some(Taking::begin(handover)?)))
    }

    fn nowhere(taking: Option<Taking>) -> Self {
        Self { bound: Vec::new(), cores: Wanted::AtMost(usize::MAX), config: Config::default(), taking }
    }

    /// Binds a further listener.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn and_listen(mut self, listener: Listener) -> Result<Self, Error> {
        raise_nofile();
        let taking = &mut self.taking;
        self.bound.extend(listener.bind(&mut |key, given| taking.as_mut()?.take(key, given))?);
        Ok(self)
    }

    /// Runs on these CPUs (numbers as in taskset(1)), one thread each, in this order: `.cores([2, 3])`, or a list of [`Cpu`]s.
    /// Default: those of the process's affinity mask, as many as there are, or as the CPU quota of its control groups (cgroups(7)) could keep
    /// busy, rounded up. A number that no CPU can have is [`Error::Cpu`] at the start.
    #[must_use]
    pub fn cores<C>(mut self, cores: impl IntoIterator<Item = C>) -> Self
    where
        C: TryInto<Cpu, Error: Into<InvalidCpu>>,
    {
        self.cores = Wanted::Named(cpus_of(cores));
        self
    }

    /// Runs on as many CPUs as by default, but at most so many: those to which the fewest cores of this process are pinned. In place of
    /// [`Self::cores`].
    #[must_use]
    pub fn cores_max(mut self, cores: usize) -> Self {
        self.cores = Wanted::AtMost(cores);
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The bound addresses, with the ports the kernel chose.
    ///
    /// # Errors
    /// [`Error::Start`] with that of getsockname(2).
    pub fn local_addrs(&self) -> Result<Vec<SocketAddr>, Error> {
        addrs_of(&self.bound)
    }

    /// The paths of Unix-domain sockets.
    pub fn local_paths(&self) -> Vec<PathBuf> {
        self.bound.iter().filter_map(Bound::path).collect()
    }

    /// Runs until SIGINT or SIGTERM, then stops cleanly: peers are told 1001 and given the stop timeout.
    ///
    /// `factory` makes each core's handler, on that core's thread. Returns the counters of each core, by place.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Running::join`].
    pub fn run<H: Handler>(
        self,
        factory: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
    ) -> Result<Vec<Stats>, Error> {
        run_until_signal(|| self.start(factory))
    }

    /// Starts the threads and returns when all of them accept connections.
    ///
    /// # Errors
    /// Everything but [`Error::Ring`] and [`Error::Panicked`]; no thread is left behind.
    pub fn start<H: Handler>(
        self,
        factory: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
    ) -> Result<Running<H::Mail>, Error> {
        let places = place(self.cores, self.config.pinned)?;
        check(&self.config, &places.cpus)?;
        let listening = Listening::at(self.bound, places.cpus.len())?;
        start_cores(self.config, places, listening, self.taking, factory)
    }
}

/// Runs what `start` starts until SIGINT or SIGTERM, or until it ends by itself.
pub(crate) fn run_until_signal<M: Send + 'static>(
    start: impl FnOnce() -> Result<Running<M>, Error>,
) -> Result<Vec<Stats>, Error> {
    // Before the first connection: a peer that has been accepted is told 1001, however early the signal. And with its thread, which a server that has taken
    // over may not fail to get.
    let signals = Signals::new().map_err(Error::Start)?;
    let running = start()?;
    signals.stop(running.handle());
    running.join()
}

/// What must hold before anything is made.
pub(crate) fn check(config: &Config, cores: &[Cpu]) -> Result<(), Error> {
    config.check()?;
    if cores.is_empty() || cores.len() > Place::COUNT_MAX {
        return Err(Error::Cores(cores.len()));
    }
    Ok(())
}

/// Starts a thread for each of the cores, with the sockets at its place in the list, and returns when all of them run.
pub(crate) fn start_cores<H: Handler>(
    mut config: Config,
    places: Places,
    listening: Listening,
    taking: Option<Taking>,
    factory: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
) -> Result<Running<H::Mail>, Error> {
    raise_nofile(); // also for a client, which has bound nothing
    let Places { cpus: cores, pinned, tenures, given_up: fewer_cores } = places;
    let handed = HandedPlaces::of(&listening);
    // What the process before has set of sockets stays until it has been taken over from.
    let keeps = taking.as_ref().is_some_and(|taking| taking.pid().is_some());
    let Listening { posts, gates, shared, addrs, paths, files, .. } = listening;
    let (kind, features) = choose(config.ring, config.features)?;
    let no_uring = (kind == RingKind::Epoll && config.ring.is_none()).then_some(GivenUp::IoUring);
    let wanted = config.queue_entries;
    if kind == RingKind::Uring {
        config.queue_entries = fitting(wanted, cores.len());
    }
    let mut entries = config.queue_entries;
    let (config, few) = config.resolved(cores.len(), features)?;
    let (connections_max, memory_max) = (config.connections_cap(), config.memory_budget());
    let (config, factory) = (Arc::new(config), Arc::new(factory));
    let wakers: Vec<Waker> = cores.iter().map(|_| Waker::new()).collect::<Result<_, _>>()?;
    let member = |waker: &Waker| {
        let waker = waker.clone();
        Member::new(Bell::new(move || waker.wake()), config.mailbox_max)
    };
    let names = Arc::new(Names::new(config.topics.topics_max));
    let handle = Handle::new(Place::new(0), wakers.iter().map(member), names);
    if taking.is_some() || shared.contains(&true) {
        // What was handed over is still the other process's as well: a start that fails must not touch it.
        handed.share(&handle, |_| taking.is_some());
    }
    let (alive, ending) = UnixStream::pair().map_err(Error::Start)?;
    let alive = Arc::new(alive);
    let (ready, readies) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let mut threads = Vec::with_capacity(cores.len());
    let mut failed = None;
    for ((((place, &cpu), tenure), posts), waker) in handle.places().zip(&cores).zip(tenures).zip(posts).zip(wakers) {
        let info = CoreInfo { place, cpu, cores: cores.len(), handle: handle.clone() };
        let (config, factory) = (Arc::clone(&config), Arc::clone(&factory));
        let gates: Vec<Gate> = posts.iter().map(|post| gates[post.gate].clone()).collect();
        let (files, alive) = (files.clone(), Arc::clone(&alive));
        let (ready, ended) = (ready.clone(), Ended { place, sender: ended.clone() });
        let thread = std::thread::Builder::new().name(format!("wsring-{place}")).spawn(move || {
            let member = info.handle.member(place).clone();
            let (control, mailbox) = (Arc::clone(&member.control), member.reader());
            let _tenure = control.begin();
            let _files = (files, alive); // removed when no core listens at them any more
            // It counts on its CPU until this thread ends.
            let made = set_up(tenure.as_ref().map(|_| cpu), (posts, keeps), &config, (kind, waker));
            let (ring, blocks, random) = match made {
                Ok(made) => made,
                Err(error) => {
                    control.tell(CoreState::Failed);
                    // The starter waits for this; if it is gone, so is the reason to tell.
                    let _ = ready.send((place, Err(error)));
                    return Ok(Stats::default());
                }
            };
            let has = (ring.features(), ring.fewer());
            let handle = Box::new(info.handle.clone());
            let names = Arc::clone(info.handle.names());
            let handler = factory(info);
            let resolve = Some(resolve_for(Arc::clone(&control), move || member.ring()));
            let trim: Option<Box<dyn Fn() -> bool>> = Some(Box::new(heap::give_back));
            let seat = Seat { place, control: Arc::clone(&control), mailbox, handle, random, resolve, trim, names };
            let start = (seat, blocks, handler, config, gates);
            let tell = move || {
                let _ = ready.send((place, Ok(has)));
                drop(ready); // the starter reads until all senders are gone, also one lost in a panic
                ended
            };
            #[cfg(debug_assertions)]
            let ran = run_on(ring, start, tell);
            #[cfg(not(debug_assertions))]
            let ran = match ring {
                AnyRing::Uring(ring) => run_on(ring, start, tell),
                AnyRing::Epoll(ring) => run_on(ring, start, tell),
            };
            ran.map_err(|source| {
                control.tell(CoreState::Failed);
                Error::Ring { place, source }
            })
        });
        match thread {
            Ok(thread) => threads.push(thread),
            // Those that have started are stopped below, like after any other failure.
            Err(error) => {
                failed = Some(Error::Start(error));
                break;
            }
        }
    }
    drop((ready, ended, alive, files));
    let mut missing: BTreeSet<Place> = handle.places().collect();
    let (mut features, mut buffers) = (Features::all(), None);
    for (place, made) in readies {
        match made {
            Ok((has, fewer)) => {
                entries = fewer.queues.into_iter().fold(entries, QueueEntries::min);
                buffers = buffers.into_iter().chain(fewer.buffers).min_by_key(|(_, made)| *made);
                // Those that every core has: each asked the kernel for itself.
                features = Feature::ALL.into_iter().filter(|&f| !has.has(f)).fold(features, Features::without);
                missing.remove(&place);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let fewer_entries = (entries != wanted).then_some(GivenUp::Queues { wanted, made: entries });
    let fewer_buffers = buffers.map(|(wanted, made)| GivenUp::RecvBuffers { wanted, made });
    let given_up = [no_uring, fewer_cores, fewer_entries, fewer_buffers, few].into_iter().flatten().collect();
    let ring = kind;
    let mut running = Running {
        handle,
        threads,
        ends,
        addrs,
        paths,
        cores,
        pinned,
        ring,
        features,
        connections_max,
        memory_max,
        given_up,
        handover: taking.as_ref().map(Handed::by),
    };
    if let Some(taking) = taking.filter(|_| failed.is_none() && missing.is_empty()) {
        failed = running.begin_handing(taking, handed, ending, &config).err();
    }
    match (failed, missing.first().copied()) {
        (None, None) => {
            running.given_up.iter().for_each(GivenUp::tell);
            Ok(running)
        }
        (failed, missing) => {
            running.handle.stop();
            // A core that reported nothing died in its factory, or later: joining it says so.
            let joined = running.join();
            let failed = failed.filter(|error| !matches!(error, Error::Panicked { .. }));
            Err(failed.or(joined.err()).unwrap_or(Error::Panicked { place: missing.unwrap_or(Place::new(0)) }))
        }
    }
}

/// What an engine is made of, beside its ring.
type Start<H> = (Seat<<H as Handler>::Mail>, SendBlocks, H, Arc<Config>, Vec<Gate>);

/// An engine on this ring, from its start, of which `tell` tells, to its end.
fn run_on<R: Ring, H: Handler>(ring: R, start: Start<H>, tell: impl FnOnce() -> Ended) -> io::Result<Stats> {
    let (seat, blocks, handler, config, gates) = start;
    let mut engine = Core::new(seat, ring, blocks, handler, config, &gates);
    // Goes before the engine does, whose ring waits for its last completions: the others need not.
    let _ended = tell();
    engine.run()
}

/// On the core's own thread: pin it, if it is to be, make its ring, listen. `keeps`: sockets that others have opened stay as they are.
fn set_up(
    cpu: Option<Cpu>,
    (posts, keeps): (Vec<Post>, bool),
    config: &Config,
    (kind, waker): (RingKind, Waker),
) -> Result<(AnyRing, SendBlocks, StdRng), Error> {
    if let Some(cpu) = cpu.filter(|&cpu| !affinity::pin(cpu)) {
        return Err(Error::Pin { cpu });
    }
    for Post { listener, .. } in posts.iter().filter(|post| !(keeps && post.is_taken)) {
        let socket = SockRef::from(listener);
        listen(&socket, config).map_err(|source| Error::Bind { addr: name_of(&socket), source })?;
    }
    let (listeners, others) = posts.into_iter().map(|post| (post.listener, post.has_others)).unzip();
    let random = StdRng::try_from_rng(&mut SysRng).map_err(|error| Error::Start(io::Error::other(error)))?;
    let (mut ring, blocks) = AnyRing::new(kind, &config.ring_config(), listeners, waker)?;
    ring.share(others);
    Ok((ring, blocks, random))
}

/// Names are looked up on other threads; their answers wake the core.
pub(crate) fn resolve_for(control: Arc<Control>, wake: impl Fn() + Clone + Send + 'static) -> Resolve {
    Box::new(move |host, port, dial, wanted| {
        let (control, wake) = (Arc::clone(&control), wake.clone());
        resolver::look_up(host, port, wanted, move |found| {
            control.resolved((dial, found));
            wake();
        });
    })
}
