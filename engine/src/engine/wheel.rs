//! Owns the order of timers: a hierarchical timing wheel, by the nanosecond.
//!
//! ```text
//! level 0   64 slots of 1 ns      the slot of a timer: its level is the highest digit (of 6 bits) in which its time
//! level 1   64 slots of 64 ns     differs from `elapsed`, its slot that digit. When the earliest slot of a higher level
//! ...       ...                   comes up, `elapsed` becomes its beginning, and what lies in it moves down, in order.
//! level 10  16 slots of 36 years
//! ```
//! So all timers of one time lie in one slot, in the order in which they were set. Promises that [`Wheel::pop`] gives them back by
//! time and then in that order, none before its time; that setting and removing one costs a few stores, and one that fires at most
//! [`LEVELS`] moves beside. Refuses to know the clock, and what a timer is: who is in the list of which slot stands in [`Node`]s that the
//! caller keeps, so that a timer may lie in one of several wheels.

use super::planted::planted;

/// Bits of a digit.
const BITS: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << BITS;
/// Digits of 64 bits.
const LEVELS: usize = 11;
/// The end of a list.
pub(crate) const NONE: u32 = u32::MAX;
/// In no list.
const OUT: u16 = u16::MAX;

/// A timer's place in a wheel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    due: u64,
    next: u32,
    prev: u32,
    slot: u16,
}

impl Node {
    /// In no wheel.
    pub(crate) const fn out() -> Self {
        Self { due: 0, next: NONE, prev: NONE, slot: OUT }
    }

    /// When it was to come.
    pub(crate) fn due(&self) -> u64 {
        self.due
    }
}

/// The timers of a slot, in the order in which they were set.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    /// None of them comes before that. Exact, unless the first has been removed.
    floor: u64,
}

const EMPTY: List = List { head: NONE, tail: NONE, floor: u64::MAX };

/// The wheel; no memory before its first timer.
#[derive(Default)]
pub(crate) struct Wheel {
    lists: Box<[List]>,
    /// One bit a slot that is not empty, by level.
    occupied: [u64; LEVELS],
    /// One bit a level that is not empty.
    levels: u16,
    /// No timer comes before that: never later than what [`Self::pop`] was told.
    elapsed: u64,
}

impl Wheel {
    /// Sets a timer that lies in no wheel. Its time must be later than what [`Self::pop`] was told.
    pub(crate) fn insert(&mut self, nodes: &mut [Node], index: u32, due: u64) {
        if self.lists.is_empty() {
            self.lists = vec![EMPTY; LEVELS * SLOTS].into();
        }
        debug_assert!(due >= self.elapsed, "a timer in the past: {due}, and it is {}", self.elapsed);
        let due = due.max(self.elapsed);
        let level = ((self.elapsed ^ due | (SLOTS as u64 - 1)).ilog2() / BITS) as usize;
        let digit = (due >> (level as u32 * BITS)) as usize % SLOTS;
        let slot = level * SLOTS + digit;
        let list = &mut self.lists[slot];
        nodes[index as usize] = Node { due, next: NONE, prev: list.tail, slot: slot as u16 };
        match list.tail {
            NONE => list.head = index,
            tail => nodes[tail as usize].next = index,
        }
        list.tail = index;
        list.floor = list.floor.min(due);
        self.occupied[level] |= 1 << digit;
        self.levels |= 1 << level;
    }

    /// Takes out a timer that lies in this wheel.
    pub(crate) fn remove(&mut self, nodes: &mut [Node], index: u32) {
        let Node { next, prev, slot, .. } = std::mem::replace(&mut nodes[index as usize], Node::out());
        let list = &mut self.lists[usize::from(slot)];
        match prev {
            NONE => list.head = next,
            prev => nodes[prev as usize].next = next,
        }
        match next {
            NONE => list.tail = prev,
            next => nodes[next as usize].prev = prev,
        }
        if list.head == NONE {
            self.empty(usize::from(slot));
        }
    }

    /// No timer comes before that; `u64::MAX`: there is none, or only one that never comes.
    pub(crate) fn next_due(&self) -> u64 {
        self.first().map_or(u64::MAX, |slot| self.lists[slot].floor)
    }

    /// Takes out the timer that comes first, if it has come by `now`, which does not go back.
    pub(crate) fn pop(&mut self, nodes: &mut [Node], now: u64) -> Option<u32> {
        loop {
            let slot = self.first()?;
            let List { head, floor, .. } = self.lists[slot];
            if floor > now {
                return None;
            }
            let due = nodes[head as usize].due;
            let level = (slot / SLOTS) as u32;
            self.elapsed = due >> (level * BITS) << (level * BITS);
            if level == 0 {
                let first = planted!(TimersBackwards, self.lists[slot].tail; head);
                self.remove(nodes, first);
                nodes[first as usize].due = due;
                return Some(first);
            }
            self.empty(slot);
            let mut index = head;
            while index != NONE {
                let Node { due, next, .. } = nodes[index as usize];
                self.insert(nodes, index, due);
                index = next;
            }
        }
    }

    /// The slot whose timers come before all others: of the lowest level, the lowest.
    fn first(&self) -> Option<usize> {
        let level = self.levels.trailing_zeros() as usize;
        let occupied = self.occupied.get(level)?;
        Some(level * SLOTS + occupied.trailing_zeros() as usize)
    }

    fn empty(&mut self, slot: usize) {
        let level = slot / SLOTS;
        self.lists[slot] = EMPTY;
        self.occupied[level] &= !(1 << (slot % SLOTS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        /// So long from now.
        Set(u64),
        /// One of those that are set.
        Cancel(usize),
        /// So long on, and at most so many of what has come.
        Pop(u64, usize),
        /// Exactly to the next one.
        Next,
    }

    fn after() -> impl Strategy<Value = u64> {
        // Around all borders of levels, and times that several have.
        (0..60_u32, 1..4_u64, any::<bool>()).prop_map(|(bits, by, exact)| (1_u64 << bits) + u64::from(!exact) * by)
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => after().prop_map(Act::Set),
            2 => any::<usize>().prop_map(Act::Cancel),
            2 => (after(), 0..9_usize).prop_map(|(after, most)| Act::Pop(after, most)),
            2 => Just(Act::Next),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// A sorted list is what a wheel must do, by time and then by the order of setting.
        #[test]
        fn it_does_what_a_sorted_list_does(start in 0..1_u64 << 62, acts in prop::collection::vec(act(), 1..200)) {
            let (mut wheel, mut nodes) = (Wheel::default(), Vec::new());
            let (mut list, mut now, mut order) = (BTreeMap::new(), start, 0_u64);
            for act in acts {
                match act {
                    Act::Set(after) => {
                        let (index, due) = (nodes.len() as u32, now + after);
                        nodes.push(Node::out());
                        wheel.insert(&mut nodes, index, due);
                        list.insert((due, order), index);
                        order += 1;
                    }
                    Act::Cancel(which) if !list.is_empty() => {
                        let (&key, &index) = list.iter().nth(which % list.len()).expect("there is one");
                        list.remove(&key);
                        wheel.remove(&mut nodes, index);
                    }
                    Act::Cancel(_) => {}
                    Act::Pop(after, most) => {
                        now += after.min(u64::MAX / 4 - now % (u64::MAX / 4));
                        for _ in 0..most {
                            let first = list.first_key_value().filter(|((due, _), _)| *due <= now);
                            let first = first.map(|((due, _), index)| (*index, *due));
                            let popped = wheel.pop(&mut nodes, now);
                            prop_assert_eq!(popped.map(|index| (index, nodes[index as usize].due())), first);
                            let Some(_) = first else { break };
                            list.pop_first();
                        }
                    }
                    Act::Next => {
                        let first = list.first_key_value().map(|((due, _), index)| (*due, *index));
                        let due = wheel.next_due();
                        prop_assert!(first.is_none_or(|(first, _)| due <= first), "it would sleep over one");
                        prop_assert!(first.is_some() || due == u64::MAX, "it would wake for nobody");
                        if first.is_some_and(|(first, _)| first <= now) || due == u64::MAX {
                            continue;
                        }
                        now = due.max(now);
                        let popped = wheel.pop(&mut nodes, now);
                        prop_assert_eq!(popped, first.filter(|(due, _)| *due <= now).map(|(_, index)| index));
                        if popped.is_some() {
                            list.pop_first();
                        }
                    }
                }
            }
            while let Some((_, index)) = list.pop_first() {
                prop_assert_eq!(wheel.pop(&mut nodes, u64::MAX), Some(index));
            }
            prop_assert_eq!((wheel.pop(&mut nodes, u64::MAX), wheel.next_due()), (None, u64::MAX));
        }
    }

    /// As long as none is removed, whoever sleeps until the next one's time wakes for it alone.
    #[test]
    fn the_next_time_is_exact() {
        let (mut wheel, mut nodes) = (Wheel::default(), vec![Node::out(); 1_000]);
        let mut dues: Vec<u64> = (1..=1_000).map(|i: u64| (i * 2_654_435_761) % 1_000_003 * i).collect();
        (0..1_000).for_each(|index| wheel.insert(&mut nodes, index as u32, dues[index]));
        dues.sort_unstable();
        for due in dues {
            assert_eq!(wheel.next_due(), due);
            assert_eq!(wheel.pop(&mut nodes, due - 1), None);
            assert!(wheel.pop(&mut nodes, due).is_some());
        }
    }

    /// One that was removed wakes its sleeper at most once, however many others lie in its slot.
    #[test]
    fn what_is_removed_wakes_once() {
        let (mut wheel, mut nodes) = (Wheel::default(), vec![Node::out(); 3]);
        for (index, due) in [(0, 1 << 30), (1, (1 << 30) + 5), (2, (1 << 30) + 900)] {
            wheel.insert(&mut nodes, index, due);
        }
        wheel.remove(&mut nodes, 0);
        assert_eq!(wheel.next_due(), 1 << 30);
        assert_eq!(wheel.pop(&mut nodes, 1 << 30), None);
        assert_eq!(wheel.next_due(), (1 << 30) + 5);
    }
}
