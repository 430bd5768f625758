//! Owns how much work a connection may still cause in a pass, its **share**, and how much the pass as a whole has done.
//!
//! Work is counted, not timed: in small messages, of which each takes some 65 ns. So no message looks at a clock, and the same bytes get
//! equally far on every machine. The plain path pays nothing for each message, because the core counts the messages that it hands out
//! anyway ([`Stats::messages`](crate::Stats)): a limit is a value of that counter, and whatever costs more than a message brings the
//! limit nearer. Refuses to know who waits, and what becomes of bytes that do.

use wsring_proto::session::pace::Pace;

use super::planted::planted;

/// The answer to a ping.
pub(super) const PONG: u64 = 2;
/// What compressing a message is beside its length.
const PACK: u64 = 40;
/// Bytes inflated at once, for each small message of a share: 64 of them are as much work as one.
const INFLATE: u64 = 64;
const INFLATE_MIN: u64 = 1 << 10;
const INFLATE_MAX: u64 = 64 << 10;
/// Bytes of a long message, unmasked, checked and copied.
const BYTES: usize = 512;

/// Shares that a pass has room for, before those with more to do wait for the next: some 1.3 ms.
const SHARES_A_PASS: u64 = 10;
/// Of a share, what a connection whose bytes come after that still has at once: a peer that says little does not wait behind those that
/// say much.
const LITTLE: u64 = 32;
/// Bytes that are worked on between two looks at the limit, for each small message of a share. A client's frame has at least six bytes and a
/// server's two, so a client's share is never passed by more than itself.
const SLICE: u64 = 4;
const SLICE_MIN: u64 = 12;

/// No connection.
const NOBODY: u32 = u32::MAX;

/// What is left of a pass and of a share in it.
#[derive(Debug)]
pub(crate) struct Work {
    share: u64,
    /// Of `pass_until` when a pass begins.
    pass: u64,
    /// Bytes that are worked on between two looks at a share. A receive that brings no more is short.
    slice: usize,
    /// How many bytes are inflated between two looks, and what the decoder has done beside messages.
    pub(super) pace: Pace,
    /// Until the core has handed out so many messages a short receive is worked on without a look at anything. Nothing once somebody's share
    /// had to be counted, until the next pass.
    calm_until: u64,
    /// The pass is as long as it may be when the core has handed out so many messages.
    pass_until: u64,
    /// Whose share is counted.
    whose: u32,
    /// It is used up when the core has handed out so many messages.
    share_until: u64,
    /// Bytes worked on between two looks at it.
    look: usize,
    /// Its bytes have been counted up to here.
    counted: usize,
    /// What was done for the message that is being handled, and is nobody's yet.
    owed: u64,
}

impl Work {
    /// A connection may cause work worth so many small messages in a pass.
    pub(crate) fn new(share: u32) -> Self {
        let share = u64::from(share.max(1));
        let mut work = Self {
            share,
            pass: share * SHARES_A_PASS,
            slice: slice_of(share),
            pace: Pace::inflating(inflate_of(share)),
            calm_until: 0,
            pass_until: 0,
            whose: NOBODY,
            share_until: 0,
            look: 0,
            counted: 0,
            owed: 0,
        };
        work.begin_pass(0);
        work
    }

    /// A pass begins; `messages` have been handed out so far, here and below.
    pub(super) fn begin_pass(&mut self, messages: u64) {
        self.whose = NOBODY;
        self.pass_until = messages + self.pass;
        self.calm_until = self.pass_until;
    }

    /// Those that waited have their turn, whatever the pass has done so far: half a pass at least is theirs.
    pub(super) fn begin_waiting(&mut self, messages: u64) {
        self.pass_until = self.pass_until.max(messages + self.pass / 2);
    }

    /// A receive of so many bytes is short, and nothing is to be looked at before it has been worked on.
    #[inline(always)] // once a receive
    pub(super) fn is_calm(&self, len: usize, messages: u64) -> bool {
        messages < self.calm_until && len <= self.slice
    }

    /// Bytes of a connection are to be worked on, from the first: where to look at its share.
    pub(super) fn begin(&mut self, index: u32, messages: u64) -> usize {
        // What is left of one that stopped otherwise is the pass's.
        self.pass_until = self.pass_until.saturating_sub(u64::from(self.pace.take_work()));
        if self.whose != index {
            self.count(index, messages);
        } else if self.is_spent(messages) {
            return 0;
        }
        self.counted = 0;
        self.look
    }

    /// The connection's share is counted from here on. At the end of a pass that is as long as it may be, it is little.
    fn count(&mut self, index: u32, messages: u64) {
        let share = if messages < self.pass_until { self.share } else { (self.share / LITTLE).max(1) };
        (self.whose, self.calm_until) = (index, 0);
        (self.share_until, self.look, self.counted) = (messages + share, slice_of(share), 0);
    }

    /// The decoder has walked over the bytes up to `at`: where to look again, if some of the share is left.
    pub(super) fn go_on(&mut self, index: u32, messages: u64, at: usize) -> Option<usize> {
        if self.whose != index {
            self.count(index, messages);
        }
        let bytes = at.saturating_sub(self.counted);
        self.counted = at;
        self.share_until = self.share_until.saturating_sub(std::mem::take(&mut self.owed));
        let work = self.pace.take_work();
        self.spend(walked(work, bytes));
        (!self.is_spent(messages)).then_some(at + self.look)
    }

    /// Something else than a message was done for a connection. True if its share is used up.
    pub(super) fn spends(&mut self, index: u32, messages: u64, work: u64) -> bool {
        if self.whose != index {
            self.count(index, messages);
        }
        self.spend(work);
        self.is_spent(messages)
    }

    fn spend(&mut self, work: u64) {
        self.share_until = self.share_until.saturating_sub(work);
        self.pass_until = self.pass_until.saturating_sub(work);
    }

    /// Something was done for a message that is being handled: [`Self::go_on`] says whose it was.
    pub(super) fn owe(&mut self, work: u64) {
        self.owed = self.owed.saturating_add(work);
        self.pass_until = self.pass_until.saturating_sub(work);
    }

    /// It was of no connection whose bytes are worked on.
    #[inline]
    pub(super) fn forgive(&mut self) {
        self.owed = 0;
    }

    /// The decoder has done something beside messages.
    #[inline]
    pub(super) fn is_to_be_counted(&self) -> bool {
        self.pace.is_used()
    }

    /// The share that is counted is used up.
    fn is_spent(&self, messages: u64) -> bool {
        planted!(ShareIgnored, false; messages >= self.share_until)
    }

    /// The pass is as long as it may be.
    pub(super) fn is_over(&self, messages: u64) -> bool {
        messages >= self.pass_until
    }
}

/// What was walked over beside whole messages: the decoder's own work, and so many bytes in all.
fn walked(work: u32, bytes: usize) -> u64 {
    u64::from(work) + (bytes / BYTES) as u64
}

/// A message of so many bytes was compressed, at this level.
pub(super) fn packed(bytes: usize, level: u8) -> u64 {
    let bytes_a_message = match level {
        ..=1 => 12,
        2..=5 => 8,
        6..=7 => 4,
        _ => 2,
    };
    PACK + (bytes / bytes_a_message) as u64
}

fn inflate_of(share: u64) -> usize {
    (share * INFLATE).clamp(INFLATE_MIN, INFLATE_MAX) as usize
}

fn slice_of(share: u64) -> usize {
    (share * SLICE).max(SLICE_MIN) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_by_messages_and_by_what_costs_more() {
        let mut work = Work::new(100);
        work.begin_pass(1_000);
        assert_eq!(work.begin(7, 1_000), 400);
        assert!(!work.spends(7, 1_000, 59));
        assert_eq!(work.go_on(7, 1_010, 512), Some(912), "a unit for the bytes");
        assert_eq!((work.go_on(7, 1_039, 513), work.go_on(7, 1_040, 514)), (Some(913), None));
        // More of the same connection is no new share; that of another is.
        assert_eq!((work.begin(7, 1_039), work.begin(7, 1_040)), (400, 0));
        assert_eq!(work.begin(8, 1_040), 400);
        assert_eq!((work.go_on(8, 1_139, 9), work.go_on(8, 1_140, 9)), (Some(409), None));
        assert_eq!((work.spends(9, 1_140, 99), work.spends(9, 1_140, 1)), (false, true));
    }

    #[test]
    fn a_short_receive_is_worked_on_without_a_look_until_somebody_does_more_or_the_pass_is_long() {
        let mut work = Work::new(100);
        work.begin_pass(1_000);
        assert!(work.is_calm(400, 1_999) && !work.is_calm(401, 1_000) && !work.is_calm(1, 2_000));
        // What it did beside messages counts from where that is seen.
        assert!(!work.spends(7, 1_050, 2));
        assert!(!work.is_calm(1, 1_050), "7 may have more");
        assert_eq!((work.go_on(7, 1_147, 9), work.go_on(7, 1_148, 9)), (Some(409), None));
        work.begin_pass(1_148);
        assert!(work.is_calm(1, 1_148));
    }

    #[test]
    fn what_is_done_for_a_message_is_counted_when_it_has_been_handled() {
        let mut work = Work::new(100);
        work.owe(60);
        assert_eq!(work.go_on(7, 0, 0), Some(400));
        work.owe(39);
        assert_eq!(work.go_on(7, 0, 0), Some(400));
        work.owe(500);
        work.forgive();
        assert_eq!(work.go_on(7, 0, 0), Some(400), "that was nobody's");
        work.owe(1);
        assert_eq!(work.go_on(7, 0, 0), None);
        assert!(work.is_over(400) && !work.is_over(399), "the pass was longer for each of them");
    }

    #[test]
    fn a_long_pass_leaves_little_to_those_who_come_late_and_half_of_itself_to_those_who_waited() {
        let mut work = Work::new(64);
        work.begin_pass(0);
        assert_eq!(work.begin(1, 639), 256);
        assert_eq!(work.begin(2, 640), 12, "little, and as few bytes");
        assert_eq!((work.go_on(2, 641, 12), work.go_on(2, 642, 12)), (Some(24), None));
        work.begin_waiting(642);
        assert!(!work.is_over(642 + 319) && work.is_over(642 + 320));
        assert_eq!(work.begin(3, 650), 256, "who waited has a whole share");
        // What one connection spends counts for all.
        assert!(work.spends(3, 650, 400) && work.is_over(650));
        work.begin_pass(650);
        assert!(!work.is_over(650 + 639) && work.is_over(650 + 640));
    }

    #[test]
    fn no_work_is_too_much_to_be_counted() {
        let mut work = Work::new(1);
        work.owe(u64::MAX);
        assert!(work.spends(0, 0, u64::MAX) && work.is_over(0));
        assert_eq!(walked(3, 1_023), 4);
        assert_eq!((packed(0, 1), packed(1_200, 1), packed(1_200, 9)), (40, 140, 640));
        assert_eq!((inflate_of(1), inflate_of(1_000_000)), (1 << 10, 64 << 10));
    }
}
