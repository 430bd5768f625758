//! One thread's engine as a whole: what it owns, and how it begins. What it does is in the stations: `turn` is the loop, and each
//! of the others is entered by one kind of event.

use std::any::Any;
use std::sync::Arc;

use rand::rngs::StdRng;
use slab::Slab;

use super::accepts::Listeners;
use super::ages::Ages;
use super::budget::Budget;
use super::calls::Calls;
use super::conns::{Conn, IDLE_STASHES_MAX, Stash};
use super::crowd::Crowd;
use super::deadlines::Tick;
use super::draining::Draining;
use super::heads::Heads;
use super::heard::Heard;
use super::inbox::{Control, Resolve};
use super::mailbox::Reader;
use super::names::Names;
use super::norms::OwnLimits;
use super::reach::Reach;
use super::shortage::Shortage;
use crate::config::Config;
use crate::cores::Place;
use crate::gate::Gate;
use crate::handler::Handler;
use crate::peer::Peer;
use crate::ring::{Ring, SendBlocks, Socket};
use crate::stats::Stats;

/// Bytes of a part of a long send, unless a test sets others: what the loopback interface carries in one segment. So the copy
/// of a long message does not hold up everybody else of a pass, and a segment is on its way while the next is copied.
pub(super) const PART: u32 = 65_483;

/// What the kernel may keep for a peer behind our end, unless a test sets another: as much as may be on its way.
const KEPT_MAX: u32 = 64 << 10;

/// Letters that a pass reads, unless a test sets another number: tens of microseconds of callbacks.
const LETTERS_MAX: u32 = 256;

/// A core's place in the process, and what it has of the world beside its ring.
pub(crate) struct Seat<M> {
    pub(crate) place: Place,
    pub(crate) control: Arc<Control>,
    pub(crate) mailbox: Reader<M>,
    /// A `Handle<M>`, by which callbacks reach other cores.
    pub(crate) handle: Box<dyn Any>,
    /// A CSPRNG (RFC 6455 §10.3).
    pub(crate) random: StdRng,
    /// `None`: names are not looked up, and dials of them fail.
    pub(crate) resolve: Option<Resolve>,
    /// Has the allocator give memory back that was freed, elsewhere. `None`: it does so by itself.
    pub(crate) trim: Option<Trim>,
    /// Of topics, which all cores know them by.
    pub(crate) names: Arc<Names>,
}

/// Asks the allocator to give memory back to the system, without waiting for it. False if it cannot begin now.
pub(crate) type Trim = Box<dyn Fn() -> bool>;

/// One thread's engine.
pub(crate) struct Core<R: Ring, H: Handler> {
    pub(super) ring: R,
    pub(super) calls: Calls<H>,
    pub(super) conns: Slab<Conn>,
    pub(super) out: Reach,
    pub(super) config: Arc<Config>,
    pub(super) listeners: Listeners,
    /// What is set for each of them.
    pub(super) gates: Box<[Gate]>,
    /// Connections by network, as far as there is a limit.
    pub(super) crowd: Crowd,
    pub(super) control: Arc<Control>,
    pub(super) mailbox: Reader<H::Mail>,
    /// Letters that a pass reads.
    pub(super) letters_max: u32,
    /// Who waits for receive buffers.
    pub(super) shortage: Shortage,
    pub(super) due: Vec<u32>,
    /// Of connections that have none: the next takes one without an allocation.
    #[allow(clippy::vec_box, reason = "a connection at rest pays one word, so a stash is boxed")]
    pub(super) idle_stashes: Vec<Box<Stash>>,
    /// What may be kept in memory for all peers.
    pub(super) budget: Budget,
    pub(super) trim: Option<Trim>,
    /// What deadlines are measured by.
    pub(super) heard: Heard,
    /// Limits on messages, where they are not the configuration's.
    pub(super) limits: OwnLimits,
    /// How long connections are silent.
    pub(super) ages: Ages,
    /// Connections under the cap; those being told 503 are not.
    pub(super) admitted: u32,
    /// The cap.
    pub(super) connections_max: u32,
    /// Who came in this pass when all places were taken, and by which listener: they are looked at when all that it brought has been heard.
    pub(super) arrivals: Vec<(u32, Socket, Peer)>,
    /// Those of them that have not asked for anything yet.
    pub(super) heads: Heads,
    /// Open connections whose peer may refer to its earlier messages (RFC 7692 §7.1.1): each may have an inflater of its own.
    pub(super) windows: u32,
    /// Set when it is drained.
    pub(super) draining: Option<Box<Draining>>,
    /// Set when stopping: the time by which all is over.
    pub(super) stopping: Option<Tick>,
    /// Bytes of a part of a long send.
    pub(super) part: u32,
    /// Bytes that the kernel may keep for a peer behind our end.
    pub(super) kept_max: u32,
    /// Questions for what a peer has not acknowledged that are with the kernel.
    pub(super) questions: u32,
    /// Connects that are with the kernel.
    pub(super) connects: u32,
    pub(super) resolve: Option<Resolve>,
    /// What one receive decrypts to; empty between receives.
    #[cfg(feature = "tls")]
    pub(super) plain: Vec<u8>,
    /// Whose TLS handshake waits for its turn.
    #[cfg(feature = "tls")]
    pub(super) handshakes: super::handshakes::Handshakes,
}

impl<R: Ring, H: Handler> Core<R, H> {
    pub(crate) fn new(
        seat: Seat<H::Mail>,
        ring: R,
        blocks: SendBlocks,
        handler: H,
        config: Arc<Config>,
        gates: &[Gate],
    ) -> Self {
        let Seat { place, control, mailbox, handle, random, resolve, trim, names } = seat;
        let (slots, connections_max) = (config.sockets_max(), config.connections_cap());
        let budget = Budget::new(config.memory_max_bytes);
        let mut out = Reach::new(place, blocks, slots, &config, random, names);
        out.handle = handle;
        out.stores.pool.watch(budget.floor(), budget.high());
        Self {
            ring,
            calls: Calls::new(handler, config.on_panic, slots),
            conns: Slab::with_capacity(slots),
            out,
            listeners: Listeners::new(gates.len() as u32),
            gates: gates.iter().map(|gate| gate.resolved(&config)).collect(),
            crowd: Crowd::new(&config.crowd),
            config,
            control,
            mailbox,
            letters_max: LETTERS_MAX,
            shortage: Shortage::default(),
            due: Vec::new(),
            idle_stashes: Vec::with_capacity(IDLE_STASHES_MAX),
            budget,
            trim,
            heard: Heard::default(),
            limits: OwnLimits::default(),
            ages: Ages::default(),
            admitted: 0,
            connections_max,
            arrivals: Vec::new(),
            heads: Heads::default(),
            windows: 0,
            draining: None,
            stopping: None,
            part: PART,
            kept_max: KEPT_MAX,
            questions: 0,
            connects: 0,
            resolve,
            #[cfg(feature = "tls")]
            plain: Vec::new(),
            #[cfg(feature = "tls")]
            handshakes: Default::default(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { enters: self.ring.enters(), ..self.out.stats() }
    }
}
