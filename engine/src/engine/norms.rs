//! Owns what holds for each open connection of a core: its limits and times ([`Norm`]). One for all that were given no terms of their own, and one for all with equal
//! [`Terms`], as long as any of them is open.
//!
//! Promises that connections without terms of their own cost nothing for those of others, that no more norms are kept than connections are open, and that
//! what is kept is charged to the memory of peers. Refuses to know what comes of a limit: each station asks for its own.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use wsring_proto::Limits;
use wsring_proto::deflate::Settings;
use wsring_proto::encode;
use wsring_proto::{close::CONTROL_PAYLOAD_MAX, frame::Role};

use super::deadlines::{Span, Tick};
use super::planted::planted;
use super::slow::Patience;
use crate::config::{Config, SEND_TIMEOUT};
use crate::pressure::Pressure;
use crate::terms::{Terms, Values};

/// The longest frame of the short way through `send`.
const SMALL_FRAME_MAX: u32 = encode::frame_len(CONTROL_PAYLOAD_MAX, false) as u32;

/// What the memory of a norm is counted as: its own, that of its terms, and its place in two tables.
const NORM_BYTES: usize = size_of::<Set>() + size_of::<Values>() + size_of::<Limits>() + 64;

/// Output marks in bytes: see `Config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) high: u32,
    pub(super) low: u32,
    pub(super) max: u32,
    /// Below this a small frame more stays below `high`.
    pub(super) small: u32,
}

impl Marks {
    /// `low` is not above `high`, nor that above `max`.
    fn new(low: u32, high: u32, max: u32) -> Self {
        Self { high, low, max, small: high.saturating_sub(SMALL_FRAME_MAX) }
    }
}

/// What holds for a connection.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) limits: Rc<Limits>,
    pub(super) marks: Marks,
    pressure_accepted: Pressure,
    pressure_dialled: Pressure,
    pub(super) deflate: Settings,
    pub(super) idle: Option<Duration>,
    pub(super) pong: Duration,
    /// How long it may take nothing of what is queued.
    pub(super) take: Duration,
    /// When it is looked at that begins to be timed by what it takes.
    pub(super) look_after: Duration,
    /// A round of a message that has begun to come.
    pub(super) round: Option<Span>,
    /// How long it may bring no message.
    pub(super) silence: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    /// How long it has when it is closing.
    pub(super) patience: Patience,
    pub(super) subscriptions_max: u32,
    pub(super) topics_bytes_per_second: Option<u32>,
    /// What is sent to it has another way than the shortest, because its marks or its compression are others than those of its core.
    pub(super) sends_apart: bool,
}

impl Norm {
    /// Of a core's settings.
    fn of(config: &Config) -> Self {
        let (idle, take) = (config.idle_timeout, config.time_to_take());
        Self {
            limits: Rc::new(config.limits),
            marks: Marks::new(config.output_low_bytes, config.output_high_bytes, config.output_max_bytes),
            pressure_accepted: config.pressure_accepted,
            pressure_dialled: config.pressure_dialled,
            deflate: config.deflate,
            idle,
            pong: config.pong_timeout,
            take,
            look_after: idle.map_or(take, |idle| idle.min(take)),
            round: config.message_timeout.map(Span::of),
            silence: config.pace.data_timeout,
            lifetime: config.pace.lifetime_max,
            patience: Patience::new(config.closing_timeout, config.closing_max),
            subscriptions_max: config.topics.subscriptions_max,
            topics_bytes_per_second: config.topics.bytes_per_second,
            sends_apart: false,
        }
    }

    /// The same, where these do not say otherwise.
    fn with(&self, own: &Values, config: &Config) -> Self {
        let mut limits = *self.limits;
        limits.message_max_bytes = own.message_max_bytes.unwrap_or(limits.message_max_bytes);
        limits.frame_max_bytes = own.frame_max_bytes.unwrap_or(limits.frame_max_bytes);
        limits.fragments_max = own.fragments_max.unwrap_or(limits.fragments_max);
        limits.inflate_ratio_max = own.inflate_ratio_max.unwrap_or(limits.inflate_ratio_max);
        let marks = marks_with(self.marks, own);
        let deflate = own.deflate.unwrap_or(self.deflate);
        let idle = own.idle_timeout.unwrap_or(self.idle);
        let take = own.send_timeout.or(config.send_timeout).or(idle).unwrap_or(SEND_TIMEOUT);
        let patience = Patience::new(
            own.closing_timeout.unwrap_or(config.closing_timeout),
            own.closing_max.unwrap_or(config.closing_max),
        );
        Self {
            limits: Rc::new(limits),
            marks,
            pressure_accepted: own.pressure.unwrap_or(self.pressure_accepted),
            pressure_dialled: own.pressure.unwrap_or(self.pressure_dialled),
            deflate,
            idle,
            pong: own.pong_timeout.unwrap_or(self.pong),
            take,
            look_after: idle.map_or(take, |idle| idle.min(take)),
            round: own.message_timeout.map_or(self.round, |round| round.map(Span::of)),
            silence: own.data_timeout.unwrap_or(self.silence),
            lifetime: own.lifetime_max.unwrap_or(self.lifetime),
            patience,
            subscriptions_max: own.subscriptions_max.unwrap_or(self.subscriptions_max),
            topics_bytes_per_second: own.topics_bytes_per_second.unwrap_or(self.topics_bytes_per_second),
            sends_apart: marks != self.marks || deflate != self.deflate,
        }
    }

    /// What high output does to the input of a connection that came so.
    pub(super) fn pressure(&self, role: Role) -> Pressure {
        match role {
            Role::Server => self.pressure_accepted,
            Role::Client => self.pressure_dialled,
        }
    }
}

/// What is set holds exactly; what is not is as near to the core's as that allows.
fn marks_with(core: Marks, own: &Values) -> Marks {
    let (low, high, max) = (own.output_low_bytes, own.output_high_bytes, own.output_max_bytes);
    let most = max.unwrap_or(core.max.max(high.or(low).unwrap_or(0)));
    let high = high.unwrap_or(core.high.max(low.unwrap_or(0)).min(most));
    Marks::new(low.unwrap_or(core.low.min(high)), high, most)
}

/// The norm of all connections with equal terms.
struct Set {
    norm: Norm,
    terms: Terms,
    /// How many are open.
    users: u32,
}

/// The limits on messages of connections that have others than their core's. Apart from the norms, because the decoder borrows them while callbacks reach those.
#[derive(Default)]
pub(super) struct OwnLimits(Vec<Option<Rc<Limits>>>);

impl OwnLimits {
    /// Those of a connection, where the core's are these.
    #[inline]
    pub(super) fn of<'l>(&'l self, index: u32, common: &'l Limits) -> &'l Limits {
        match self.0.get(index as usize) {
            Some(Some(own)) => own,
            _ => common,
        }
    }

    /// A connection has opened, or its slot is free.
    #[inline]
    pub(super) fn set(&mut self, index: u32, own: Option<&Rc<Limits>>) {
        if self.0.len() > index as usize || own.is_some() {
            self.set_own(index as usize, own.cloned());
        }
    }

    #[cold]
    fn set_own(&mut self, index: usize, own: Option<Rc<Limits>>) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = own;
    }
}

/// The norms of a core.
pub(crate) struct Norms {
    common: Norm,
    sets: Slab<Set>,
    by_terms: HashMap<Terms, u32>,
    /// By connection, its set and one; 0 if it has the common norm. As long as was needed so far.
    by_conn: Vec<u32>,
    /// The core stops: nobody that is closing may stand still for longer.
    still_max: Duration,
}

impl Norms {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            common: Norm::of(config),
            sets: Slab::new(),
            by_terms: HashMap::new(),
            by_conn: Vec::new(),
            still_max: Duration::MAX,
        }
    }

    /// What holds for a connection.
    #[inline]
    pub(super) fn of(&self, index: u32) -> &Norm {
        self.own(index).unwrap_or(&self.common)
    }

    /// The same, if it has terms of its own.
    #[inline]
    pub(super) fn own(&self, index: u32) -> Option<&Norm> {
        let index = planted!(TermsOfAnother, index ^ 1; index);
        match self.by_conn.get(index as usize) {
            None | Some(0) => None,
            Some(&set) => Some(self.of_set(set)),
        }
    }

    #[cold]
    fn of_set(&self, set: u32) -> &Norm {
        &self.sets[set as usize - 1].norm
    }

    /// What holds for all that were given no terms of their own.
    pub(super) fn common(&self) -> &Norm {
        &self.common
    }

    /// A connection opens on these terms. How many bytes of memory that takes.
    #[inline]
    pub(super) fn begin(&mut self, index: u32, terms: &Terms, config: &Config) -> usize {
        match terms.set() {
            None => 0,
            Some(values) => self.begin_own(index, terms, values, config),
        }
    }

    #[cold]
    fn begin_own(&mut self, index: u32, terms: &Terms, values: &Values, config: &Config) -> usize {
        if self.by_conn.len() <= index as usize {
            self.by_conn.resize(index as usize + 1, 0);
        }
        debug_assert!(planted!(TermsKept, true; self.by_conn[index as usize] == 0), "the terms of an earlier owner");
        let known = self.by_terms.get(terms).copied();
        let set = known.unwrap_or_else(|| {
            let mut norm = self.common.with(values, config);
            norm.patience.still = norm.patience.still.min(self.still_max);
            self.sets.insert(Set { norm, terms: terms.clone(), users: 0 }) as u32
        });
        self.sets[set as usize].users += 1;
        self.by_conn[index as usize] = set + 1;
        if known.is_some() {
            return 0;
        }
        self.by_terms.insert(terms.clone(), set);
        NORM_BYTES
    }

    /// A connection is over. How many bytes of memory that gives back.
    #[inline]
    pub(super) fn forget(&mut self, index: u32) -> usize {
        match self.by_conn.get_mut(index as usize) {
            None | Some(0) => 0,
            Some(place) => {
                let set = planted!(TermsKept, *place; std::mem::take(place)) - 1;
                self.leave(set)
            }
        }
    }

    #[cold]
    fn leave(&mut self, set: u32) -> usize {
        let users = &mut self.sets[set as usize].users;
        *users -= 1;
        if *users > 0 {
            return 0;
        }
        let Set { terms, .. } = self.sets.remove(set as usize);
        self.by_terms.remove(&terms);
        NORM_BYTES
    }

    /// The core stops: from here on nobody that is closing may stand still for longer than this.
    pub(super) fn hurry(&mut self, still_max: Duration) {
        self.still_max = still_max;
        let all = self.sets.iter_mut().map(|(_, set)| &mut set.norm).chain([&mut self.common]);
        all.for_each(|norm| norm.patience.still = norm.patience.still.min(still_max));
    }

    /// When both clocks of a connection that is closing are over, if its peer takes nothing from now on.
    pub(super) fn clocks(&self, index: u32, now: Tick) -> (Tick, Tick) {
        self.of(index).patience.clocks(now)
    }

    /// Bytes of memory of all that is kept for connections with terms of their own.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn held_bytes(&self) -> usize {
        self.sets.len() * NORM_BYTES
    }

    /// How many connections have terms of their own.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn users(&self) -> usize {
        self.sets.iter().map(|(_, set)| set.users as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(message_max: u64) -> Terms {
        Terms::default().message_max_bytes(message_max)
    }

    fn norm(terms: Result<Terms, crate::InvalidConfig>) -> Norm {
        let config = Config::default();
        let mut norms = Norms::new(&config);
        norms.begin(0, &terms.expect("valid terms"), &config);
        norms.of(0).clone()
    }

    #[test]
    fn equal_terms_are_kept_once_and_as_long_as_one_has_them() {
        let config = Config::default();
        let mut norms = Norms::new(&config);
        let limit = |norms: &Norms, index| norms.of(index).limits.message_max_bytes;
        let common = limit(&norms, 0);
        assert_eq!(norms.begin(0, &Terms::default(), &config), 0);
        assert!(norms.by_conn.is_empty(), "who has none costs nothing");
        assert_eq!(norms.begin(3, &terms(10), &config), NORM_BYTES);
        assert_eq!(norms.begin(5, &terms(10), &config), 0, "the same");
        assert_eq!(norms.begin(4, &terms(20), &config), NORM_BYTES);
        assert_eq!([0, 3, 4, 5, 9].map(|index| limit(&norms, index)), [common, 10, 20, 10, common]);
        assert_eq!((norms.held_bytes(), norms.users()), (2 * NORM_BYTES, 3));
        assert_eq!([3, 3, 9].map(|index| norms.forget(index)), [0, 0, 0], "another has them, or nobody");
        assert_eq!((norms.forget(5), norms.forget(4)), (NORM_BYTES, NORM_BYTES));
        assert_eq!((limit(&norms, 4), norms.held_bytes(), norms.users()), (common, 0, 0));
        assert_eq!(norms.begin(4, &terms(10), &config), NORM_BYTES, "made anew");
    }

    /// What is set holds; what is not comes as near to the core's (256 KiB, 1 MiB, 20 MiB) as that allows.
    #[test]
    fn marks_are_in_order_whichever_are_set() {
        let marks = |low: Option<u32>, high: Option<u32>, max: Option<u32>| {
            let terms = Terms::default();
            let terms = low.map_or(Ok(terms.clone()), |low| terms.output_low_bytes(low));
            let terms = terms.and_then(|terms| high.map_or(Ok(terms.clone()), |high| terms.output_high_bytes(high)));
            let norm = norm(terms.and_then(|terms| max.map_or(Ok(terms.clone()), |max| terms.output_max_bytes(max))));
            (norm.marks.low, norm.marks.high, norm.marks.max)
        };
        const KIB: u32 = 1 << 10;
        const MIB: u32 = 1 << 20;
        let core = (256 * KIB, MIB, 20 * MIB);
        assert_eq!(marks(None, None, None), core);
        assert_eq!(marks(None, None, Some(10)), (10, 10, 10));
        assert_eq!(marks(None, Some(10), None), (10, 10, 20 * MIB));
        assert_eq!(marks(None, Some(30 * MIB), None), (256 * KIB, 30 * MIB, 30 * MIB));
        assert_eq!(marks(Some(2 * MIB), None, None), (2 * MIB, 2 * MIB, 20 * MIB));
        assert_eq!(marks(Some(30 * MIB), None, None), (30 * MIB, 30 * MIB, 30 * MIB));
        assert_eq!(marks(Some(10), Some(20), Some(30)), (10, 20, 30));
        for set in [None, Some(0), Some(1), Some(MIB), Some(1 << 30)] {
            for (low, high, max) in [(set, None, None), (None, set, None), (None, None, set)] {
                let (low, high, max) = marks(low, high, max);
                assert!(low <= high && high <= max && max <= 1 << 30, "{low} {high} {max}");
            }
        }
    }

    #[test]
    fn times_that_follow_from_others_do_so_for_each() {
        let secs = Duration::from_secs;
        let core = Norms::new(&Config::default()).common;
        assert_eq!((core.idle, core.take, core.look_after), (Some(secs(60)), secs(60), secs(60)));
        let own = norm(Terms::default().idle_timeout(secs(5)));
        assert_eq!((own.take, own.look_after), (secs(5), secs(5)), "the send timeout is the idle timeout");
        let own = norm(Terms::default().idle_timeout(None));
        assert_eq!((own.take, own.look_after), (SEND_TIMEOUT, SEND_TIMEOUT));
        let own = norm(Terms::default().send_timeout(secs(3)));
        assert_eq!((own.idle, own.take, own.look_after), (Some(secs(60)), secs(3), secs(3)));
        let own = norm(Terms::default().closing_timeout(secs(700)));
        assert_eq!((own.patience.still, own.patience.whole), (secs(700), secs(700)));
        assert!(!own.sends_apart);
        assert!(norm(Terms::default().output_high_bytes(5)).sends_apart);
    }

    #[test]
    fn a_stop_hurries_all() {
        let (config, second) = (Config::default(), Duration::from_secs(1));
        let mut norms = Norms::new(&config);
        norms.begin(1, &terms(10), &config);
        norms.hurry(second);
        norms.begin(2, &terms(20), &config);
        assert_eq!([0, 1, 2].map(|index| norms.of(index).patience.still), [second; 3]);
    }
}
