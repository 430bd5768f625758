//! Owns the deadlines of connections: a hashed timing wheel with links inside, so that setting, moving and removing one
//! costs a few stores and no memory, however many connections come and go.
//!
//! A connection has at most one entry. Time is counted in ticks of 16 ms and wraps after two years; a deadline that lies further
//! ahead than 198 days is cut to that. The wheel promises that an entry fires once, not before its tick, or at the wheel's horizon if
//! that comes first; the caller then looks at its clock again, and sets a new entry if it is too early. It refuses to know what a
//! deadline means.

use std::time::Duration;

use super::planted::planted;
use crate::ring::Time;

/// Milliseconds of a tick.
const TICK_MS: u64 = 16;
/// Slots of the wheel: a horizon of 32 s.
const SLOTS: usize = 2048;
const NONE: u32 = u32::MAX;
/// The longest way to a deadline, 198 days: two of them, one behind the other, are still to come (`Tick::is_due`).
const TICKS_MAX: u32 = u32::MAX / 4;

/// A point in time, in ticks since the clock's origin; wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Tick(u32);

impl Tick {
    /// The origin.
    pub(crate) const ZERO: Tick = Tick(0);

    /// The tick that `time` lies in.
    pub(crate) fn of(time: Time) -> Self {
        Self((time.as_nanos() / (TICK_MS * 1_000_000)) as u32)
    }

    /// The first tick that is at least `after` later: a deadline is never early.
    pub(crate) fn after(self, after: Duration) -> Self {
        // All of its nanoseconds: 304.9 ms are more than 19 ticks.
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let ticks = nanos.div_ceil(TICK_MS * 1_000_000) + 1;
        let ticks = planted!(DeadlineEarly, ticks / 2; ticks);
        Self(self.0.wrapping_add(u32::try_from(ticks).unwrap_or(TICKS_MAX).min(TICKS_MAX)))
    }

    /// This or `other`, whichever comes first.
    pub(crate) fn earlier(self, other: Tick) -> Tick {
        if self.is_due(other) { self } else { other }
    }

    /// This or `other`, whichever comes last.
    pub(crate) fn later(self, other: Tick) -> Tick {
        if self.is_due(other) { other } else { self }
    }

    /// As [`Self::after`].
    #[inline]
    pub(crate) fn plus(self, span: Span) -> Self {
        Self(self.0.wrapping_add(span.0))
    }

    /// What was so much earlier: the tick that this is [`Self::after`].
    pub(crate) fn minus(self, span: Span) -> Self {
        Self(self.0.wrapping_sub(span.0))
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether `self` has come by `now`.
    pub(crate) fn is_due(self, now: Tick) -> bool {
        planted!(TickUnwrapped, self.0 <= now.0; now.0.wrapping_sub(self.0) < u32::MAX / 2)
    }

    /// When the tick begins, or the present one if that is later. The counter wraps, so it is counted from `now`.
    pub(crate) fn begins(self, now: Time) -> Time {
        let ticks = now.as_nanos() / (TICK_MS * 1_000_000) + u64::from(Tick::of(now).until(self));
        Time::from_nanos(ticks * TICK_MS * 1_000_000)
    }

    /// Ticks from here to `later`, zero if that has passed.
    fn until(self, later: Tick) -> u32 {
        if later.is_due(self) { 0 } else { later.0.wrapping_sub(self.0) }
    }
}

/// A length of time, in ticks: what is added often is reckoned once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(u32);

impl Span {
    /// At least so long.
    pub(crate) fn of(after: Duration) -> Self {
        Self(Tick::ZERO.after(after).0)
    }
}

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    slot: u16,
}

const UNLINKED: Link = Link { next: NONE, prev: NONE, slot: u16::MAX };

/// The wheel. Indices are those of the connections.
pub(crate) struct Deadlines {
    heads: Box<[u32; SLOTS]>,
    /// One bit a slot that holds an entry.
    occupied: [u64; SLOTS / 64],
    links: Vec<Link>,
    /// All ticks up to this one have fired.
    now: Tick,
}

impl Deadlines {
    /// Room for `capacity` connections is reserved, not touched.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            heads: Box::new([NONE; SLOTS]),
            occupied: [0; SLOTS / 64],
            links: Vec::with_capacity(capacity),
            now: Tick::default(),
        }
    }

    /// Time begins here: a clock may have run before.
    pub(crate) fn begin(&mut self, now: Tick) {
        self.now = now;
    }

    /// Sets or moves the entry of `index`. One in the past fires at the next tick; one beyond the horizon at it.
    pub(crate) fn set(&mut self, index: u32, at: Tick) {
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, UNLINKED);
        }
        self.remove(index);
        let ahead = self.now.until(at).clamp(1, SLOTS as u32 - 1);
        let slot = self.now.0.wrapping_add(ahead) as usize % SLOTS;
        let head = planted!(SlotOverwritten, NONE; self.heads[slot]);
        self.links[index as usize] = Link { next: head, prev: NONE, slot: slot as u16 };
        if head != NONE {
            self.links[head as usize].prev = index;
        }
        self.heads[slot] = index;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// The same, unless it has an entry that fires before.
    pub(crate) fn set_earlier(&mut self, index: u32, at: Tick) {
        if let Some(&Link { slot, .. }) = self.links.get(index as usize)
            && slot != u16::MAX
        {
            let start = self.now.0.wrapping_add(1) as usize % SLOTS;
            let ahead = ((usize::from(slot) + SLOTS - start) % SLOTS) as u32 + 1;
            if ahead <= self.now.until(at) {
                return;
            }
        }
        self.set(index, at);
    }

    /// Removes the entry of `index`, if it has one.
    pub(crate) fn remove(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let Link { next, prev, slot } = std::mem::replace(link, UNLINKED);
        if slot == u16::MAX {
            return;
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        if prev != NONE {
            self.links[prev as usize].next = next;
        } else {
            self.heads[slot as usize] = next;
            if next == NONE {
                self.occupied[slot as usize / 64] &= !(1 << (slot % 64));
            }
        }
    }

    /// Moves all entries due by `now` to `due`, at most `most` of them; the rest stay due for the next call.
    pub(crate) fn advance(&mut self, now: Tick, due: &mut Vec<u32>, most: usize) {
        let mut left = most;
        while self.now != now && self.now.is_due(now) {
            let next = self.now.0.wrapping_add(self.skip(self.now.until(now)));
            let slot = next as usize % SLOTS;
            while self.heads[slot] != NONE {
                if left == 0 {
                    return;
                }
                left -= 1;
                let index = self.heads[slot];
                self.remove(index);
                due.push(index);
            }
            self.now = Tick(next);
        }
    }

    /// Ticks to the next occupied slot, at least 1 and at most `most`.
    fn skip(&self, most: u32) -> u32 {
        self.ahead().unwrap_or(u32::MAX).min(most).max(1)
    }

    /// Ticks to the next occupied slot, from 1 to the horizon.
    fn ahead(&self) -> Option<u32> {
        let start = self.now.0.wrapping_add(1) as usize % SLOTS;
        let (word, bit) = (start / 64, start % 64);
        let mut bits = self.occupied[word] & (u64::MAX << bit);
        for step in 0..=self.occupied.len() {
            let at = (word + step) % self.occupied.len();
            if step > 0 {
                bits = self.occupied[at];
            }
            if bits != 0 {
                let slot = at * 64 + bits.trailing_zeros() as usize;
                return Some(((slot + SLOTS - start) % SLOTS) as u32 + 1);
            }
        }
        None
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn next_due(&self, now: Time) -> Option<Time> {
        let ahead = self.ahead()?;
        let tick = Tick(self.now.0.wrapping_add(ahead));
        Some(tick.begins(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Deadlines, now: u32) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(Tick(now), &mut due, usize::MAX);
        due.sort_unstable();
        due
    }

    #[test]
    fn entries_fire_once_and_not_early() {
        let mut wheel = Deadlines::new(4);
        wheel.set(0, Tick(5));
        wheel.set(1, Tick(5));
        wheel.set(2, Tick(6));
        wheel.set(3, Tick(7));
        wheel.remove(3);
        wheel.set(1, Tick(9));
        assert_eq!(fired(&mut wheel, 4), []);
        assert_eq!(fired(&mut wheel, 5), [0]);
        assert_eq!(fired(&mut wheel, 8), [2]);
        assert_eq!(fired(&mut wheel, 100), [1]);
        assert_eq!(wheel.next_due(Time::default()), None);
    }

    #[test]
    fn the_past_fires_at_the_next_tick_and_the_far_future_at_the_horizon() {
        let mut wheel = Deadlines::new(2);
        assert_eq!(fired(&mut wheel, 50), []);
        wheel.set(0, Tick(10));
        wheel.set(1, Tick(1_000_000));
        assert_eq!(fired(&mut wheel, 51), [0]);
        assert_eq!(fired(&mut wheel, 50 + SLOTS as u32 - 2), []);
        assert_eq!(fired(&mut wheel, 50 + SLOTS as u32), [1]);
    }

    #[test]
    fn the_earlier_of_two_deadlines_stays() {
        let mut wheel = Deadlines::new(3);
        assert_eq!(fired(&mut wheel, 2_000), []);
        wheel.set(0, Tick(2_010));
        wheel.set_earlier(0, Tick(2_020));
        wheel.set(1, Tick(2_020));
        wheel.set_earlier(1, Tick(2_010));
        wheel.set_earlier(2, Tick(2_010));
        wheel.set_earlier(2, Tick(2_000));
        assert_eq!(fired(&mut wheel, 2_001), [2]);
        assert_eq!(fired(&mut wheel, 2_010), [0, 1]);
        // One at the horizon, and one beyond it.
        wheel.set(0, Tick(1_000_000));
        wheel.set_earlier(0, Tick(2_000_000));
        wheel.set_earlier(0, Tick(2_010 + SLOTS as u32 - 2));
        assert_eq!(fired(&mut wheel, 2_010 + SLOTS as u32 - 2), [0]);
    }

    #[test]
    fn a_bounded_advance_keeps_the_rest() {
        let mut wheel = Deadlines::new(10);
        (0..10).for_each(|i| wheel.set(i, Tick(3)));
        let mut due = Vec::new();
        wheel.advance(Tick(3), &mut due, 4);
        assert_eq!(due.len(), 4);
        assert!(wheel.next_due(Time::from_nanos(3 * TICK_MS * 1_000_000)).is_some());
        wheel.advance(Tick(3), &mut due, 100);
        assert_eq!(due.len(), 10);
    }

    /// Against a list: random sets, removes and steps, over the wrap of the tick counter.
    #[test]
    fn agrees_with_a_list() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % u64::from(below)) as u32
        };
        let mut wheel = Deadlines::new(64);
        wheel.now = Tick(u32::MAX - 3000);
        let mut now = wheel.now;
        let mut list: Vec<Option<Tick>> = vec![None; 64];
        for _ in 0..20_000 {
            let index = random(64);
            match random(4) {
                0 => {
                    wheel.remove(index);
                    list[index as usize] = None;
                }
                1 | 2 => {
                    let at = Tick(now.0.wrapping_add(1 + random(SLOTS as u32 - 1)));
                    wheel.set(index, at);
                    list[index as usize] = Some(at);
                }
                _ => {
                    now = Tick(now.0.wrapping_add(random(40)));
                    let expected: Vec<u32> =
                        (0..64).filter(|&i| list[i as usize].is_some_and(|at| at.is_due(now))).collect();
                    let mut due = Vec::new();
                    wheel.advance(now, &mut due, usize::MAX);
                    due.sort_unstable();
                    assert_eq!(due, expected);
                    due.iter().for_each(|&i| list[i as usize] = None);
                }
            }
        }
    }

    /// Nor is it more than two ticks late, wherever in a tick it begins and however long it is.
    #[test]
    fn a_deadline_is_never_early() {
        let tick = TICK_MS * 1_000_000;
        // The counter of ticks wraps between the two, or it does not.
        let froms =
            [0, 1, 11_277_323, tick - 1].into_iter().flat_map(|from| [from, from + (u64::from(u32::MAX) - 10) * tick]);
        for from in froms {
            for after in [0, 1, 100_000_000, 304_000_000, 304_000_001, 304_999_999, tick - 1, tick, tick + 1] {
                let (start, after) = (Time::from_nanos(5 * tick + from), Duration::from_nanos(after));
                let due = Tick::of(start).after(after).begins(start);
                assert!(due >= start.plus(after), "{after:?} from {start:?}: {due:?}");
                assert!(
                    due <= start.plus(after).plus(Duration::from_nanos(2 * tick)),
                    "{after:?} from {start:?}: {due:?}"
                );
            }
        }
        for after in [Duration::ZERO, Duration::from_millis(100), Duration::MAX] {
            let tick = Tick(7).after(after);
            assert_eq!((tick.minus(Span::of(after)), Tick(7).plus(Span::of(after))), (Tick(7), tick));
        }
        let forever = Tick::ZERO.after(Duration::MAX);
        assert_eq!(forever, Tick(TICKS_MAX));
        assert!(!forever.after(Duration::from_secs(3600)).is_due(Tick::ZERO), "and an hour");
    }
}
