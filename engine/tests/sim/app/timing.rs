//! What the application does with timers: it sets and cancels them from any callback, of the core and of any connection, and knows which
//! are set. What comes is compared with that (oracle 26).

use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{Config, ConnId, Fired, Flush, Tick, TimerId};

use super::super::Manners;
use super::{App, Core};

/// How late a timer may be on a kernel that stands still for no longer than `pause`: passes that take their time, and for those of connections
/// what is to be read first.
const LATE: Duration = Duration::from_millis(20);
const LATE_OF_CONN: Duration = Duration::from_millis(500);
/// So often one that repeats is told, before it is cancelled.
const REPEATS_MAX: u32 = 20;

/// One that comes more often keeps a kernel that stands still between passes busy with nothing else.
const PERIOD_MIN: Duration = Duration::from_micros(100);

/// A timer that is set.
#[derive(Clone, Copy, Debug)]
struct Set {
    id: TimerId,
    key: u64,
    due: Time,
    period: Option<Duration>,
    owner: Option<ConnId>,
    /// Numbers all settings, those of repeats too.
    order: u64,
    told: u32,
}

/// The application's timers, with a stream of its own.
pub struct Timing {
    random: Random,
    /// Timers still to be set.
    left: u32,
    /// As many may be set at once.
    most: u32,
    pause: Duration,
    set: Vec<Set>,
    /// All ids that ever were, most of them stale.
    known: Vec<TimerId>,
    order: u64,
}

impl Timing {
    /// In half of the seeds, and if nobody does anything wrong in all.
    pub fn new(seed: u64, manners: Manners, pause: Duration) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x7469_6d65_7273);
        let quiet = manners == Manners::Quiet;
        let most = timers_max(seed);
        let left = random.range(1, 60) as u32;
        let timing = Self { random: random.fork(), left, most, pause, set: Vec::new(), known: Vec::new(), order: 0 };
        (quiet || random.chance(500)).then_some(timing)
    }
}

/// The ticks of a core, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    period: Duration,
    flush: Flush,
    start: Time,
    /// The number of the next.
    next: u64,
}

impl Beat {
    /// In three seeds of ten, drawn apart from everything else; in half of those all output waits for it.
    fn new(seed: u64, start: Time) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x7469_636b_7469);
        let period = Duration::from_micros(random.range(4_000, 40_000));
        let flush = random.pick(&[Flush::EndOfPass, Flush::AtTick]);
        random.chance(300).then_some(Self { period, flush, start, next: 1 })
    }

    pub fn configure(seed: u64, start: Time, config: Config) -> (Option<Self>, Config) {
        match Self::new(seed, start) {
            Some(beat) => (Some(beat), config.tick(beat.period).flush(beat.flush)),
            None => (None, config),
        }
    }

    fn due(&self, number: u64) -> Time {
        self.start.plus(self.period * number as u32)
    }
}

/// How many timers may be set at once, drawn apart from everything else.
pub fn timers_max(seed: u64) -> u32 {
    let mut random = Random::new(seed ^ 0x6d6f_7374_746d);
    random.pick(&[1, 3, 10, 1_000])
}

impl App {
    /// Sets and cancels, now and then; `own`: the connection that the callback is about.
    pub(super) fn act_on_timers(&mut self, cx: &mut Core<'_>, own: Option<ConnId>) {
        assert_eq!(cx.now(), self.world.trace.now(), "the time of the pass");
        loop {
            let Some(timing) = self.timing.as_mut() else { return };
            if !timing.random.chance(200) {
                return;
            }
            match timing.random.below(10) {
                0..4 => self.set_timer(cx, None),
                4..7 => {
                    let others = self.known.len() as u64;
                    let other = (others > 0).then(|| self.known[timing.random.below(others) as usize]);
                    let own = own.filter(|_| timing.random.chance(500));
                    if let Some(owner) = own.or(other) {
                        self.set_timer(cx, Some(owner));
                    }
                }
                _ if timing.known.is_empty() => {}
                _ => {
                    // Often the last one, which is likely to be set.
                    let last = timing.known[timing.known.len() - 1];
                    let any = timing.random.pick(&timing.known);
                    let id = if timing.random.chance(500) { last } else { any };
                    self.cancel_timer(cx, id);
                }
            }
        }
    }

    fn set_timer(&mut self, cx: &mut Core<'_>, owner: Option<ConnId>) {
        let now = self.world.trace.now();
        let Some(timing) = self.timing.as_mut().filter(|timing| timing.left > 0) else { return };
        timing.left -= 1;
        let random = &mut timing.random;
        // Some have one time: that of a border, or nothing.
        let unit = random.pick(&[1, 1_000, 100_000, 1_000_000]);
        let any = random.range(0, 300);
        let after = Duration::from_nanos(random.pick(&[0, 1, 5, 5, any]) * unit);
        let (repeats, key) = (random.chance(300), random.below(1 << 40));
        let after = if repeats { after.max(PERIOD_MIN) } else { after };
        let set = match owner {
            None if repeats => cx.set_interval(after, key),
            None => cx.set_timer(after, key),
            Some(owner) => match cx.conn(owner) {
                None => return,
                Some(mut conn) if repeats => conn.set_interval(after, key),
                Some(mut conn) => conn.set_timer(after, key),
            },
        };
        let timing = self.timing.as_mut().expect("it has timers");
        assert_eq!(set.is_err(), timing.set.len() >= timing.most as usize, "the cap of timers is another");
        let Ok(id) = set else { return };
        self.world.trace.note(&[60, key], || format!("         app sets timer {id} of {owner:?} {after:?}, {repeats}"));
        let after = after.max(Duration::from_nanos(1));
        assert!(!timing.known.contains(&id), "{id} was the name of an earlier timer");
        timing.known.push(id);
        timing.order += 1;
        let (due, period) = (now.plus(after), repeats.then_some(after));
        timing.set.push(Set { id, key, due, period, owner, order: timing.order, told: 0 });
    }

    fn cancel_timer(&mut self, cx: &mut Core<'_>, id: TimerId) {
        let Some(timing) = self.timing.as_mut() else { return };
        let place = timing.set.iter().position(|set| set.id == id);
        self.world.trace.note(&[61], || format!("         app cancels timer {id}"));
        assert_eq!(cx.cancel(id), place.is_some(), "timer {id} is set, or is not");
        if let Some(place) = place {
            timing.set.swap_remove(place);
        }
    }

    /// A timer has come, in a callback of this connection or of the core.
    pub(super) fn on_fired(&mut self, cx: &mut Core<'_>, owner: Option<ConnId>, fired: Fired) {
        let now = self.world.trace.now();
        let timing = self.timing.as_mut().expect("nobody else sets timers");
        let Some(place) = timing.set.iter().position(|set| set.id == fired.id) else {
            panic!("a timer that is not set came: {fired:?}");
        };
        let set = timing.set[place];
        assert_eq!(set.owner, owner, "a timer of another came: {fired:?}");
        assert!(set.due <= now, "a timer came early: {fired:?}, due at {:?}", set.due);
        assert_eq!((fired.key, fired.due), (set.key, set.due), "a timer came that was set otherwise");
        let of_kind = timing.set.iter().filter(|other| other.owner.is_some() == owner.is_some());
        let first = of_kind.min_by_key(|other| (other.due, other.order)).expect("there is one");
        assert_eq!(first.id, fired.id, "timers came out of order");
        match set.period {
            None => drop(timing.set.swap_remove(place)),
            Some(period) => {
                let missed = (now.since(set.due).as_nanos() / period.as_nanos()) as u64;
                // Those of a connection are measured by when it was heard.
                let exact = owner.is_some() || fired.missed == missed;
                assert!(exact && fired.missed <= missed, "a timer miscounts: {fired:?}, and it missed {missed}");
                timing.order += 1;
                let steps = (fired.missed + 1) as u32;
                let next = Set { due: set.due.plus(period * steps), order: timing.order, told: set.told + 1, ..set };
                timing.set[place] = next;
                if next.told >= REPEATS_MAX {
                    self.cancel_timer(cx, fired.id);
                }
            }
        }
        self.check_timers(false);
    }

    /// A tick has come.
    pub(super) fn on_beat(&mut self, tick: Tick) {
        let now = self.world.trace.now();
        let beat = self.beat.as_mut().expect("it has a tick");
        let (due, late) = (beat.due(beat.next), now.since(beat.due(beat.next)));
        assert!(due <= now, "a tick came early: {tick:?}");
        assert_eq!((tick.number, tick.due, tick.late), (beat.next, due, late), "a tick is another");
        let missed = (late.as_nanos() / beat.period.as_nanos()) as u64;
        assert_eq!(tick.missed, missed, "a tick miscounts those that are missed");
        beat.next += 1 + missed;
    }

    /// The connection is over, and its timers with it.
    pub(super) fn on_owner_closed(&mut self, owner: ConnId) {
        if let Some(timing) = &mut self.timing {
            timing.set.retain(|set| set.owner != Some(owner));
        }
    }

    /// None was lost. `all`: behind all timers of this pass.
    pub(super) fn check_timers(&self, all: bool) {
        let now = self.world.trace.now();
        if let Some(beat) = self.beat.filter(|_| all) {
            assert!(beat.due(beat.next) > now, "a tick was lost: {beat:?}, and it is {now:?}");
        }
        let Some(timing) = &self.timing else { return };
        for set in &timing.set {
            let late = if set.owner.is_some() { LATE_OF_CONN } else { LATE } + timing.pause;
            assert!(now.since(set.due) <= late, "a timer was lost: {set:?}, and it is {now:?}");
            assert!(!all || set.owner.is_some() || set.due > now, "a timer was lost: {set:?} in its pass");
        }
    }
}
