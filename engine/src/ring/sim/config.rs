//! Owns what a simulated kernel has and how rude it is.

use std::net::IpAddr;
use std::time::Duration;

use super::held::Held;
use crate::engine::planted::planted;
use crate::ring::Time;

/// What the engine's work takes, unless somebody says otherwise.
const WORK_NS: (u64, u64) = (100, 3_000);
/// Waits of a run, unless somebody says otherwise.
const WAITS_MAX: u64 = 300_000;

/// What the simulated kernel has, and its manners.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides everything that the fields below leave open.
    pub seed: u64,
    /// What the clock says at the start.
    pub start: Time,
    /// Slots of the fixed-file table, or as many descriptors.
    pub sockets_max: u32,
    /// Sockets may live in the fixed-file table ([`Feature::DirectDescriptors`](crate::Feature::DirectDescriptors)): they do where
    /// the kernel closes them there, which is asked by the same experiment as on the real one.
    pub direct_descriptors: bool,
    /// A kernel before Linux 6.13: a file that was closed in the table is kept until all operations on fixed files that began
    /// earlier have completed.
    pub keeps_closed_files: bool,
    /// Connections that wait to be accepted.
    pub backlog: usize,
    /// The longest time from the first segment of a connection to its place among those, in nanoseconds.
    pub handshake_ns_max: u64,
    /// Listeners.
    pub listeners: u32,
    /// Receive buffers: how many, and bytes of each.
    pub buffers: (usize, usize),
    /// One buffer serves several receives (IOU_PBUF_RING_INC).
    pub incremental: bool,
    /// A receive completes many times.
    pub multishot_recv: bool,
    /// An accept completes many times.
    pub multishot_accept: bool,
    /// Entries of the completion queue; what does not fit waits, and ends the multishot that posted it.
    pub cq_entries: usize,
    /// Completions that one wait hands over. The real kernel runs some twenty pieces of task work in one io_uring_enter(2).
    pub batch_max: usize,
    /// The process stands still once: from this time on, and for so long. Everybody else goes on.
    pub pause: Option<(Time, Duration)>,
    /// It does so with the work of a pass done and not submitted, a send among it, instead of with its completions not looked at.
    pub pauses_unsubmitted: bool,
    /// Bytes a socket holds towards the server, least and most.
    pub rx_capacity: (usize, usize),
    /// Bytes a socket holds towards the peer, least and most.
    pub tx_capacity: (usize, usize),
    /// The longest time from a byte that is sent to its acknowledgement, in microseconds.
    pub trip_us_max: u64,
    /// Who is called when the engine has connected to somebody; `None`: nobody listens anywhere.
    pub dialled_key: Option<u64>,
    /// Addresses to which a connect does not complete until it is cancelled, as behind a firewall that drops what comes.
    pub deaf: Vec<IpAddr>,
    /// Addresses where nobody listens.
    pub unheard: Vec<IpAddr>,
    /// Longest ordinary delay of a completion, in nanoseconds.
    pub delay_ns_max: u64,
    /// What the engine's own work of a pass takes, least and most, in nanoseconds.
    pub work_ns: (u64, u64),
    /// What falls on one moment comes in the order in which it began, instead of any.
    pub in_order: bool,
    /// Waits of a run: more is a loop that gets nowhere.
    pub waits_max: u64,
    /// How rude.
    pub faults: Faults,
}

/// Chances in 1000 that the kernel does what it may, each time that it may.
#[derive(Clone, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a test names each fault it wants")]
pub struct Faults {
    /// A multishot ends although nothing is wrong.
    pub more_cleared: u32,
    /// A receive finds no buffer although there are some.
    pub no_buffers: u32,
    /// A receive brings fewer bytes than are there.
    pub short_recv: u32,
    /// A buffer is done with before it is full.
    pub buffer_ends: u32,
    /// A send ends with a short count although nothing failed.
    pub short_send: u32,
    /// A socket fails: ECONNRESET, EPIPE, ETIMEDOUT and the like.
    pub reset: u32,
    /// A waiting connection is gone when it is accepted (ECONNABORTED).
    pub accept_aborted: u32,
    /// An accept fails for want of descriptors or memory.
    pub accept_failed: u32,
    /// A connect is refused, or finds no way.
    pub connect_refused: u32,
    /// A connect does not complete until it is cancelled.
    pub connect_hangs: u32,
    /// A wake that nobody asked for.
    pub spurious_wake: u32,
    /// A wait comes back with nothing, early (EINTR).
    pub empty_wait: u32,
    /// A completion takes a hundred times as long.
    pub slow: u32,
    /// A cancelled operation still succeeds, if it can.
    pub cancel_loses: u32,
    /// The engine's thread was not scheduled for a while between two waits.
    pub late: u32,
}

impl SimConfig {
    /// A kernel that has everything, and keeps all promises at once.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            start: Time::default(),
            sockets_max: 64,
            direct_descriptors: true,
            keeps_closed_files: false,
            backlog: 64,
            handshake_ns_max: 0,
            listeners: 1,
            buffers: (16, 16 << 10),
            incremental: true,
            multishot_recv: true,
            multishot_accept: true,
            cq_entries: 256,
            batch_max: usize::MAX,
            pause: None,
            pauses_unsubmitted: false,
            rx_capacity: (64 << 10, 64 << 10),
            tx_capacity: (64 << 10, 64 << 10),
            trip_us_max: 100,
            dialled_key: None,
            deaf: Vec::new(),
            unheard: Vec::new(),
            delay_ns_max: 20_000,
            work_ns: WORK_NS,
            in_order: false,
            waits_max: WAITS_MAX,
            faults: Faults::default(),
        }
    }

    /// A kernel with manners and means of its seed's own, from quiet to very rude.
    pub fn random(seed: u64) -> Self {
        let mut random = super::Random::new(seed ^ 0x6b65_726e_656c);
        let mut rude = |most: u64| {
            let harmless = random.chance(500);
            if harmless { 0 } else { random.range(1, most) as u32 }
        };
        // Drawn apart, so that seeds that connect to nobody have the manners they always had.
        let mut connects = super::Random::new(seed ^ 0x636f_6e6e_6563);
        let faults = Faults {
            more_cleared: rude(400),
            no_buffers: rude(200),
            short_recv: rude(500),
            buffer_ends: rude(300),
            short_send: rude(300),
            reset: rude(40),
            accept_aborted: rude(150),
            accept_failed: rude(150),
            connect_refused: connects.pick(&[0, 0, 100, 500]),
            connect_hangs: connects.pick(&[0, 0, 100, 500]),
            spurious_wake: rude(50),
            empty_wait: rude(100),
            slow: rude(100),
            cancel_loses: rude(900),
            late: rude(300),
        };
        let small = random.chance(500);
        let mut sim = Self {
            seed,
            start: Time::default(),
            sockets_max: if random.chance(200) { random.range(1, 6) } else { random.range(6, 40) } as u32,
            direct_descriptors: true,
            keeps_closed_files: false,
            backlog: random.range(1, 16) as usize,
            // Drawn apart, too.
            handshake_ns_max: super::Random::new(seed ^ 0x0073_6861_6b65).pick(&[0, 0, 1_000_000, 100_000_000]),
            listeners: random.range(1, 2) as u32,
            buffers: (
                1 << random.range(0, 5),
                if small { random.range(8, 700) } else { random.range(701, 40_000) } as usize,
            ),
            incremental: random.chance(500),
            multishot_recv: random.chance(750),
            multishot_accept: random.chance(750),
            cq_entries: 1 << random.range(1, 7),
            batch_max: usize::MAX,
            pause: None,
            pauses_unsubmitted: false,
            rx_capacity: (random.range(50, 2000) as usize, random.range(2001, 200_000) as usize),
            tx_capacity: (random.range(50, 2000) as usize, random.range(2001, 100_000) as usize),
            trip_us_max: super::Random::new(seed ^ 0x0074_7269_7073).pick(&[50, 1_000, 20_000]),
            dialled_key: None,
            deaf: Vec::new(),
            unheard: Vec::new(),
            delay_ns_max: random.range(0, 200_000),
            work_ns: WORK_NS,
            in_order: false,
            waits_max: WAITS_MAX,
            faults,
        };
        // Some have room for long messages that come whole, in one receive. Drawn apart, too.
        let mut roomy = super::Random::new(seed ^ 0x726f_6f6d_7921);
        if roomy.chance(100) {
            sim.buffers = (1 << roomy.range(1, 3), roomy.range(100_000, 300_000) as usize);
            sim.rx_capacity = (roomy.range(70_000, 150_000) as usize, 300_000);
            sim.tx_capacity = sim.rx_capacity;
        }
        // Three in ten are of before Linux 6.13, and some do without the table although they need not. Drawn apart, too.
        let mut old = super::Random::new(seed ^ 0x6465_7363_7269);
        sim.keeps_closed_files = old.chance(300);
        sim.direct_descriptors = old.chance(900);
        // Half of them hand over few completions at once, and two thirds stand still once. Drawn apart, too.
        let mut still = super::Random::new(seed ^ 0x7374_696c_6c21);
        sim.batch_max = still.pick(&[4, 20, usize::MAX, usize::MAX]);
        let unsubmitted = !still.chance(333);
        if !unsubmitted || still.chance(500) {
            // In the middle of handshakes, or while peers are silent and are pinged.
            let at = Duration::from_micros(if still.chance(500) {
                still.range(200, 5_000)
            } else {
                still.range(5_000, 2_000_000)
            });
            sim.pause = Some((Time::default().plus(at), Duration::from_millis(still.range(20, 1_000))));
            sim.pauses_unsubmitted = unsubmitted;
        }
        sim
    }

    /// Whether sockets live in the fixed-file table.
    pub(super) fn is_direct(&self) -> bool {
        self.direct_descriptors && planted!(ProbeBelieves, true; self.closes_beside_operations())
    }

    /// The experiment of `uring/probe.rs`: a file is closed while an operation on another one goes on.
    fn closes_beside_operations(&self) -> bool {
        let Some(mut held) = self.keeps_closed_files.then(Held::new) else { return true };
        let _rests = held.begin();
        held.close(1) == [1]
    }
}
