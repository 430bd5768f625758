//! Owns the connections that wait for receive buffers, and says how many of them are received from in a pass.
//!
//! A core's receive buffers are few, so that they stay warm; when more has come than they take, receives end with
//! ENOBUFS. Trying all of these again in each pass would end most of them the same way (60 to 98 % of all
//! completions, docs/decisions/0018). So they wait here, first come first served, and a pass tries as many as half of the buffers will take, by the
//! size that receives had last. While any wait, a receive is for one completion: it ends with the bytes it brings, and
//! its connection queues up again, instead of going on until it finds no buffer.
//!
//! Who has sent the first part of a frame goes to the front, once, then to the back: its rest is probably there, and the
//! part that has been received lies in memory meanwhile. Going to the front every time would keep the others waiting for a
//! peer whose receives all end inside a frame.

use std::collections::VecDeque;

use super::planted::planted;

/// Connections received from in a pass, at most: what one pass does has a bound.
const PASS_MAX: usize = 256;

/// What a connection waits for, so that no receive of it is with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Nothing,
    Buffers,
    /// It holds much of the core's memory, and is not read until there is more.
    Memory,
}

/// A connection's part in a shortage.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    wait: Wait,
    /// It went to the front, and goes to the back next time.
    jumped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// Index and generation.
    queue: VecDeque<(u32, u32)>,
    /// By connection, as long as the highest index of those that ever waited.
    turns: Vec<Turn>,
    /// Receives that brought bytes since `typical` was last worked out, and how many.
    receives: u32,
    bytes: u64,
    /// Bytes of a receive, of late.
    typical: u32,
}

impl Shortage {
    /// A receive brought so many bytes.
    #[inline]
    pub(crate) fn on_received(&mut self, bytes: usize) {
        self.receives += 1;
        self.bytes += bytes as u64;
    }

    /// Nobody waits.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty()
    }

    /// Has a connection wait. `in_frame`: what it has sent so far ends inside a frame.
    pub(crate) fn wait(&mut self, index: u32, generation: u32, in_frame: bool) {
        if self.turns.len() <= index as usize {
            self.turns.resize(index as usize + 1, Turn::default());
        }
        let turn = &mut self.turns[index as usize];
        if turn.wait == Wait::Memory {
            return; // when that is over it is received from, and may come back
        }
        turn.wait = Wait::Buffers;
        turn.jumped = in_frame && !turn.jumped;
        if turn.jumped {
            self.queue.push_front((index, generation));
        } else {
            self.queue.push_back((index, generation));
        }
    }

    /// Whether a connection waits.
    #[inline]
    pub(crate) fn waits(&self, index: u32) -> bool {
        self.turns.get(index as usize).is_some_and(|turn| turn.wait != Wait::Nothing)
    }

    /// Whether a connection waits for buffers.
    pub(crate) fn waits_for_buffers(&self, index: u32) -> bool {
        self.turns.get(index as usize).is_some_and(|turn| turn.wait == Wait::Buffers)
    }

    /// Whether a connection waits for memory.
    pub(crate) fn waits_for_memory(&self, index: u32) -> bool {
        self.turns.get(index as usize).is_some_and(|turn| turn.wait == Wait::Memory)
    }

    /// Has a connection wait for memory; its place in the queue, if it has one, is stale from here on. False if it does already.
    pub(crate) fn hold(&mut self, index: u32) -> bool {
        if self.turns.len() <= index as usize {
            self.turns.resize(index as usize + 1, Turn::default());
        }
        std::mem::replace(&mut self.turns[index as usize].wait, Wait::Memory) != Wait::Memory
    }

    /// There is memory for it: whether it waited for that.
    pub(crate) fn release(&mut self, index: u32) -> bool {
        let waited = self.waits_for_memory(index);
        if waited {
            self.turns[index as usize].wait = Wait::Nothing;
        }
        waited
    }

    /// A connection has waited long enough.
    pub(crate) fn serve(&mut self, index: u32) {
        self.turns[index as usize].wait = Wait::Nothing;
    }

    /// The connection is over. Its place in the queue is stale from here on.
    pub(crate) fn forget(&mut self, index: u32) {
        if let Some(turn) = self.turns.get_mut(index as usize) {
            *turn = Turn::default();
        }
    }

    /// How many to take from here in this pass: `room_for` says how many receives of so many bytes the buffers have room for.
    pub(crate) fn pass(&mut self, room_for: impl FnOnce(u32) -> usize) -> usize {
        if self.receives > 0 {
            self.typical = u32::try_from(self.bytes / u64::from(self.receives)).unwrap_or(u32::MAX);
            (self.receives, self.bytes) = (0, 0);
        }
        planted!(ShortageStill, return 0);
        if self.queue.is_empty() { 0 } else { room_for(self.typical).clamp(1, PASS_MAX).min(self.queue.len()) }
    }

    /// Who is next. It may be gone: compare the generation.
    pub(crate) fn next(&mut self) -> Option<(u32, u32)> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who waits for memory is not received from though its turn for buffers comes, and is when there is memory.
    #[test]
    fn who_waits_for_memory_waits_for_nothing_else() {
        let mut shortage = Shortage::default();
        shortage.wait(3, 1, false);
        assert!(shortage.hold(3) && !shortage.hold(3), "once");
        assert!(shortage.waits(3) && shortage.waits_for_memory(3) && !shortage.waits_for_buffers(3));
        shortage.wait(3, 1, true);
        assert!(!shortage.waits_for_buffers(3), "its receive was cancelled");
        assert!(shortage.release(3) && !shortage.release(3) && !shortage.waits(3));
        shortage.hold(3);
        shortage.forget(3);
        assert!(!shortage.waits(3) && !shortage.waits(9));
    }

    #[test]
    fn first_come_first_served() {
        let mut shortage = Shortage::default();
        assert!(shortage.is_over());
        for index in [2, 0, 1] {
            assert!(!shortage.waits(index));
            shortage.wait(index, 0, false);
            assert!(shortage.waits(index));
        }
        let order: Vec<u32> = std::iter::from_fn(|| shortage.next()).map(|(index, _)| index).collect();
        assert_eq!(order, [2, 0, 1]);
        assert!(shortage.is_over());
    }

    // The rest of a frame comes before others, but a peer that is always inside a frame does not: each of the others has its
    // turn between two of its own out of turn.
    #[test]
    fn a_frame_under_way_goes_first_once() {
        let mut shortage = Shortage::default();
        for index in 0..4 {
            shortage.wait(index, 0, false);
        }
        let mut order = Vec::new();
        for _ in 0..12 {
            let (index, _) = shortage.next().expect("all wait");
            order.push(index);
            shortage.wait(index, 0, index == 0);
        }
        assert_eq!(order, [0, 0, 1, 2, 3, 0, 0, 1, 2, 3, 0, 0]);
    }

    #[test]
    fn a_pass_takes_what_the_buffers_have_room_for() {
        let mut shortage = Shortage::default();
        let room_for = |bytes: u32| 100_000 / bytes.max(1) as usize;
        assert_eq!(shortage.pass(room_for), 0, "nobody waits");
        for index in 0..1000 {
            shortage.wait(index, 0, false);
        }
        shortage.on_received(10_000);
        shortage.on_received(30_000);
        assert_eq!(shortage.pass(room_for), 5);
        assert_eq!(shortage.pass(room_for), 5, "as large as the last ones if there were none since");
        shortage.on_received(1 << 20);
        assert_eq!(shortage.pass(room_for), 1, "or nobody would ever be received from");
        shortage.on_received(1);
        assert_eq!(shortage.pass(room_for), PASS_MAX);
        for _ in 0..998 {
            shortage.next().expect("they wait");
        }
        assert_eq!(shortage.pass(room_for), 2, "no more than wait");
    }
}
