//! Owns the connections that have a place under the cap and have not asked for anything yet, in the order in which they came, so that when all
//! places are taken one of them can give way to a newcomer.
//!
//! Who connects and says nothing costs itself nothing; if it kept its place, as many such sockets as there are places would shut everybody else
//! out for the whole handshake timeout, and again. So the one that has been silent for longest goes first; and of those that have begun, a
//! request that drips, or half a TLS handshake, the one that began first goes once it has had [`BEGUN_MIN`]. Whoever waits for us does not give way.
//! Promises that an entry is looked at a bounded number of times, and that no more of them are kept than twice those that are awaited. Refuses to
//! know connections: it is told how each stands.

use std::collections::VecDeque;
use std::time::Duration;

use super::planted::planted;
use crate::ring::Time;

/// What a newcomer has at least to send its first byte, while others wait for a place: a round trip nearby. Under a flood of silent sockets a longer
/// time would be theirs.
const SILENT_MIN: Duration = Duration::from_millis(5);
/// What a request that has begun has at least to become whole, while others wait for a place.
const BEGUN_MIN: Duration = Duration::from_secs(1);
/// So many of those that have begun are looked at for one newcomer, in turn.
const LOOK_MAX: usize = 16;
/// So many that waited for receive buffers are remembered.
const STARVED_MAX: usize = 64;
/// Entries kept before it is looked whose connections are gone.
const SWEEP_MIN: usize = 64;

/// How a connection stands that was awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has opened, was refused, or has ended.
    Gone,
    /// Not one byte of it has come.
    Silent,
    /// Something of its request, or of its TLS handshake, has come, and the rest is up to the peer.
    Begun,
    /// What it sent waits for us.
    Ours,
}

/// A connection that is awaited: its index and generation, and when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) since: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Those that were silent when last looked at, and those that had begun; each in the order of `since` at first.
    silent: VecDeque<Head>,
    begun: VecDeque<Head>,
    /// With so many entries it is looked whose connections are gone.
    sweep_at: usize,
    /// Those that waited for receive buffers, by index and generation, and when: what they may have sent is heard later than that.
    starved: VecDeque<(u32, u32, Time)>,
    /// All places were taken when the pass began, so that what this pass has heard is known.
    was_full: bool,
    /// All has been read that had come when the pass began.
    all_heard: bool,
}

impl Heads {
    /// One that is awaited waits for receive buffers.
    pub(super) fn starve(&mut self, index: u32, generation: u32, now: Time) {
        if self.starved.len() == STARVED_MAX {
            self.starved.pop_front();
        }
        self.starved.push_back((index, generation, now));
    }

    /// What a connection may have sent is heard by then.
    fn is_heard(&self, head: &Head, heard: Time) -> bool {
        let is_its =
            |(index, generation, _): &&(u32, u32, Time)| (*index, *generation) == (head.index, head.generation);
        let since = self.starved.iter().rev().find(is_its).map_or(head.since, |(.., at)| head.since.max(*at));
        since.plus(SILENT_MIN) < heard
    }

    /// A pass begins; `full`: all places are taken.
    #[inline]
    pub(super) fn begin_pass(&mut self, full: bool) {
        (self.was_full, self.all_heard) = (full, false);
    }

    /// All that the pass brought has been worked on. `more`: that is not all that there is.
    #[inline]
    pub(super) fn end_reading(&mut self, more: bool) {
        self.all_heard = !more;
    }

    /// Up to when all has been read: `until`, or now.
    pub(super) fn heard(&self, until: Time, now: Time) -> Time {
        if self.all_heard { now } else { until }
    }

    /// All places were taken when the pass began.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// By then all have been read since buffers were last short.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn are_heard(&self, heard: Time) -> bool {
        self.starved.back().is_none_or(|(.., at)| at.plus(SILENT_MIN) < heard)
    }

    /// A newcomer has taken a place.
    pub(super) fn add(&mut self, head: Head, stands: impl Fn(&Head) -> Standing) {
        if self.silent.len() + self.begun.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.silent.retain(|head| stands(head) != Standing::Gone);
            self.begun.retain(|head| stands(head) != Standing::Gone);
            self.sweep_at = 2 * (self.silent.len() + self.begun.len());
        }
        self.silent.push_back(head);
    }

    /// Who gives way, if anybody does, and how it stands; `heard`: all that had been sent by then has been read.
    pub(super) fn give_way(&mut self, heard: Time, stands: impl Fn(&Head) -> Standing) -> Option<(Head, Standing)> {
        planted!(SilentStay, return None);
        if !self.was_full {
            return None;
        }
        while let Some(head) = self.silent.front().copied() {
            let standing = stands(&head);
            if standing == Standing::Silent && head.since.plus(SILENT_MIN) >= heard {
                break; // and all behind it came later
            }
            self.silent.pop_front();
            match standing {
                Standing::Gone => {}
                Standing::Silent if self.is_heard(&head, heard) => return Some((head, standing)),
                Standing::Silent | Standing::Begun | Standing::Ours => self.begun.push_back(head),
            }
        }
        for _ in 0..LOOK_MAX.min(self.begun.len()) {
            let head = self.begun.pop_front().expect("counted");
            let standing = stands(&head);
            let least = if standing == Standing::Silent { SILENT_MIN } else { BEGUN_MIN };
            match standing {
                Standing::Gone => {}
                Standing::Silent | Standing::Begun if head.since.plus(least) < heard && self.is_heard(&head, heard) => {
                    return Some((head, standing));
                }
                // Its time will come; others are looked at first.
                _ => self.begun.push_back(head),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(index: u32) -> Head {
        Head { index, generation: 7, since: at(u64::from(index)) }
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn heads(count: u32) -> Heads {
        let mut heads = Heads { was_full: true, ..Heads::default() };
        (0..count).for_each(|index| heads.add(head(index), |_| Standing::Silent));
        heads
    }

    #[test]
    fn the_longest_silent_goes_first_and_nobody_unheard() {
        let mut heads = heads(4);
        let stands = |head: &Head| if head.index == 0 { Standing::Gone } else { Standing::Silent };
        assert_eq!(heads.give_way(at(6), stands), None, "what it may have sent has not been read");
        assert_eq!(heads.give_way(at(7), stands), Some((head(1), Standing::Silent)));
        assert_eq!(heads.give_way(at(9), stands), Some((head(2), Standing::Silent)));
        assert_eq!(heads.give_way(at(9), stands), Some((head(3), Standing::Silent)));
        assert_eq!(heads.give_way(at(9), stands), None);
    }

    #[test]
    fn who_waited_for_buffers_is_not_silent() {
        let mut heads = heads(2);
        heads.starve(0, 7, at(20));
        assert_eq!(heads.give_way(at(25), |_| Standing::Silent), Some((head(1), Standing::Silent)), "its are not");
        assert_eq!(heads.give_way(at(25), |_| Standing::Silent), None);
        assert_eq!(heads.give_way(at(26), |_| Standing::Silent), Some((head(0), Standing::Silent)));
    }

    #[test]
    fn nobody_gives_way_in_the_pass_that_takes_the_last_place() {
        let mut heads = heads(1);
        heads.begin_pass(false);
        assert_eq!(heads.give_way(at(9), |_| Standing::Silent), None);
        heads.begin_pass(true);
        assert_eq!(heads.give_way(at(9), |_| Standing::Silent), Some((head(0), Standing::Silent)));
    }

    #[test]
    fn those_that_have_begun_go_behind_the_silent_and_in_time() {
        let mut heads = heads(4);
        let stands = |head: &Head| match head.index {
            0 => Standing::Ours,
            3 => Standing::Silent,
            _ => Standing::Begun,
        };
        assert_eq!(heads.give_way(at(900), stands), Some((head(3), Standing::Silent)));
        assert_eq!(heads.give_way(at(1001), stands), None);
        assert_eq!(heads.give_way(at(1002), stands), Some((head(1), Standing::Begun)));
        assert_eq!(heads.give_way(at(1002), stands), None);
        assert_eq!(heads.give_way(at(1003), stands), Some((head(2), Standing::Begun)));
        assert_eq!(heads.give_way(at(9999), stands), None, "the first waits for us");
        assert_eq!(heads.give_way(at(9999), |_| Standing::Begun), Some((head(0), Standing::Begun)));
    }

    #[test]
    fn many_that_wait_for_us_hide_nobody() {
        let mut heads = heads(40);
        let stands = |head: &Head| if head.index < 35 { Standing::Ours } else { Standing::Begun };
        let found = (0..4).find_map(|_| heads.give_way(at(5_000), stands));
        assert_eq!(found, Some((head(35), Standing::Begun)));
    }

    #[test]
    fn no_more_entries_are_kept_than_twice_those_awaited() {
        let mut heads = Heads::default();
        // Of all that come the last ten are awaited.
        for index in 0..100_000_u32 {
            heads.add(head(index), |head| if head.index + 10 > index { Standing::Silent } else { Standing::Gone });
            assert!(heads.silent.len() <= SWEEP_MIN + 1);
        }
    }
}
