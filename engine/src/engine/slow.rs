//! Owns what is known of peers that may be slow to take what is sent to them: how much the kernel held for each at the last look, and
//! since when it holds as much. What a socket has taken is no sign of life: it takes megabytes that nobody reads, and of a peer that
//! reads slowly it takes nothing for a long time, and then much at once.
//!
//! Promises that a peer which took a byte between two looks is told from one which took none, and to know when the kernel had what a peer
//! is to answer. Refuses to know the kernel, and what
//! comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deadlines::Tick;

/// How long a connection that is closing has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While its peer takes nothing.
    pub(crate) still: Duration,
    /// Altogether.
    pub(crate) whole: Duration,
}

impl Patience {
    /// The whole is at least as long as its part.
    pub(crate) fn new(still: Duration, whole: Duration) -> Self {
        Self { still, whole: whole.max(still) }
    }

    /// When both are over, if the peer takes nothing from now on.
    pub(crate) fn clocks(self, now: Tick) -> (Tick, Tick) {
        (now.after(self.still), now.after(self.whole))
    }
}

/// What the kernel held for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Bytes that the peer had not acknowledged, and what has been sent since.
    pub(crate) unacked: u32,
    pub(crate) since: Tick,
    /// Bytes that were queued at the first look and that the kernel does not have yet. What the peer is to answer is among them.
    ahead: u32,
    /// When the kernel had all of those, or the last so far.
    pub(crate) out_at: Tick,
}

/// The peers that have been looked at, few at any time.
#[derive(Default)]
pub(crate) struct Slow(BTreeMap<u32, Seen>);

impl Slow {
    /// A look: the kernel holds so many bytes, and so many are queued for it or with a send. Returns what was seen at the last one;
    /// `since` moves if the peer took any of that.
    pub(crate) fn look(&mut self, index: u32, unacked: u32, queued: u32, now: Tick) -> Option<Seen> {
        let last = self.0.get(&index).copied();
        if last.is_none_or(|last| unacked < last.unacked) {
            let first = Seen { unacked, since: now, ahead: queued, out_at: now };
            self.0.insert(index, last.map_or(first, |last| Seen { unacked, since: now, ..last }));
        }
        last
    }

    /// The socket has taken so many bytes more. A peer that had nothing to take has its time for them from here on.
    pub(crate) fn on_sent(&mut self, index: u32, bytes: u32, now: Tick) {
        if let Some(seen) = self.0.get_mut(&index) {
            if seen.unacked == 0 {
                seen.since = now;
            }
            seen.unacked = seen.unacked.saturating_add(bytes);
            if seen.ahead > 0 {
                (seen.ahead, seen.out_at) = (seen.ahead.saturating_sub(bytes), now);
            }
        }
    }

    pub(crate) fn forget(&mut self, index: u32) {
        self.0.remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_a_byte_is_told_from_who_took_none() {
        let at = |secs| Tick::ZERO.after(Duration::from_secs(secs));
        let seen = |unacked, secs| Some((unacked, at(secs)));
        let mut slow = Slow::default();
        let look =
            |slow: &mut Slow, unacked, secs| slow.look(7, unacked, 0, at(secs)).map(|seen| (seen.unacked, seen.since));
        assert_eq!(look(&mut slow, 1_000, 1), None);
        assert_eq!(look(&mut slow, 1_000, 2), seen(1_000, 1));
        // 300 bytes more, of which none was taken; then 299 of all.
        slow.on_sent(7, 300, at(2));
        assert_eq!(look(&mut slow, 1_300, 3), seen(1_300, 1));
        assert_eq!(look(&mut slow, 1_001, 4), seen(1_300, 1));
        assert_eq!(look(&mut slow, 1_001, 5), seen(1_001, 4));
        // As much as before is in the socket, and a byte of it is new: one was taken.
        slow.on_sent(7, 1, at(5));
        assert_eq!(look(&mut slow, 1_001, 6), seen(1_002, 4));
        assert_eq!(look(&mut slow, 1_001, 7), seen(1_001, 6));
        slow.on_sent(8, 5, at(7));
        slow.forget(7);
        assert_eq!((look(&mut slow, 5, 8), slow.look(8, 5, 0, at(8))), (None, None));
    }

    /// A Close was once sent to a peer that had taken everything for long, and cut before it had arrived.
    #[test]
    fn who_had_nothing_to_take_did_not_stand_still() {
        let at = |secs| Tick::ZERO.after(Duration::from_secs(secs));
        let mut slow = Slow::default();
        slow.look(7, 0, 0, at(1));
        slow.on_sent(7, 23, at(9));
        assert_eq!(slow.look(7, 23, 0, at(10)).map(|seen| (seen.unacked, seen.since)), Some((23, at(9))));
    }

    /// What is queued later is not what the peer has to answer: it may be queued without end.
    #[test]
    fn what_is_to_be_answered_is_out_once() {
        let at = |secs| Tick::ZERO.after(Duration::from_secs(secs));
        let mut slow = Slow::default();
        let out_at = |slow: &mut Slow, secs| slow.look(7, 0, 100, at(secs)).map(|seen| seen.out_at);
        assert_eq!((out_at(&mut slow, 1), out_at(&mut slow, 2)), (None, Some(at(1))), "it is not known better");
        slow.on_sent(7, 60, at(3));
        assert_eq!(out_at(&mut slow, 4), Some(at(3)));
        slow.on_sent(7, 50, at(5));
        slow.on_sent(7, 50, at(6));
        assert_eq!(out_at(&mut slow, 7), Some(at(5)));
    }

    #[test]
    fn the_whole_is_no_shorter_than_its_part() {
        let secs = Duration::from_secs;
        let (due, until) = Patience::new(secs(5), secs(2)).clocks(Tick::ZERO);
        assert_eq!((due, until), (Tick::ZERO.after(secs(5)), Tick::ZERO.after(secs(5))));
    }
}
