//! Owns how much work a connection may still cause in a pass, its **share**, and how much the pass as a whole has done.
//!
//! Work is counted, not timed: in small messages, of which each takes some 65 ns. So no message looks at a clock, and the same bytes get
//! equally far on every machine. The plain path pays nothing for each message, because the core counts the messages that it hands out
//! anyway ([`Stats::messages`](crate::Stats)): a limit is a value of that counter, and whatever costs more than a message brings the
//! limit nearer. Refuses to know who waits, and what becomes of bytes that do.

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
    /// Whose share `share_until` is, if it was looked at.
    whose: u32,
    /// The connection that is worked on.
    now: u32,
    /// Bytes worked on between two looks at the limit.
    slice: usize,
    /// The same of what is inflated.
    inflate: usize,
    /// The share is used up when the core has handed out so many messages.
    share_until: u64,
    /// The same of the pass.
    pass_until: u64,
}

impl Work {
    /// A connection may cause work worth so many small messages in a pass.
    pub(crate) fn new(share: u32) -> Self {
        let share = u64::from(share.max(1));
        let inflate = (share * INFLATE).clamp(INFLATE_MIN, INFLATE_MAX) as usize;
        let mut work = Self {
            share,
            pass: share * SHARES_A_PASS,
            whose: NOBODY,
            now: NOBODY,
            slice: 0,
            inflate,
            share_until: 0,
            pass_until: 0,
        };
        work.begin_pass(0);
        work
    }

    /// A pass begins; `messages` have been handed out so far, here and below.
    pub(super) fn begin_pass(&mut self, messages: u64) {
        self.whose = NOBODY;
        self.slice = slice_of(self.share);
        self.pass_until = messages + self.pass;
    }

    /// Those that waited have their turn, whatever the pass has done so far: half a pass at least is theirs.
    pub(super) fn begin_waiting(&mut self, messages: u64) {
        self.pass_until = self.pass_until.max(messages + self.pass / 2);
        self.slice = slice_of(self.share);
    }

    /// Bytes of a connection are to be worked on: how many at first.
    #[inline(always)] // once a receive
    pub(super) fn begin(&mut self, index: u32, messages: u64) -> usize {
        self.now = index;
        if self.whose == index {
            return self.begin_again(messages);
        }
        self.share_until = messages + self.share;
        if messages >= self.pass_until {
            self.begin_little(messages);
        }
        self.slice
    }

    /// The pass is as long as it may be.
    #[cold]
    fn begin_little(&mut self, messages: u64) {
        let little = (self.share / LITTLE).max(1);
        self.share_until = messages + little;
        self.slice = slice_of(little);
    }

    /// More bytes of the connection that was worked on last: its share goes on.
    #[cold]
    fn begin_again(&mut self, messages: u64) -> usize {
        if self.is_spent(messages) { 0 } else { self.slice }
    }

    /// Bytes to be worked on next, if some of the share is left. From here on more bytes of the connection are no new share.
    pub(super) fn next_slice(&mut self, messages: u64) -> Option<usize> {
        self.whose = self.now;
        (!self.is_spent(messages)).then_some(self.slice)
    }

    /// Bytes of a message that are inflated between two looks at the limit.
    #[inline]
    pub(super) fn inflate_at_once(&self) -> usize {
        self.inflate
    }

    /// Something else than a message was done.
    pub(super) fn spend(&mut self, work: u64) {
        self.share_until = self.share_until.saturating_sub(work);
        self.pass_until = self.pass_until.saturating_sub(work);
    }

    /// The share is used up.
    #[inline]
    pub(super) fn is_spent(&self, messages: u64) -> bool {
        planted!(ShareIgnored, false; messages >= self.share_until)
    }

    /// The pass is as long as it may be.
    pub(super) fn is_over(&self, messages: u64) -> bool {
        messages >= self.pass_until
    }
}

/// What was walked over beside whole messages: the decoder's own work, and so many bytes in all.
pub(super) fn walked(work: u32, bytes: usize) -> u64 {
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
        assert_eq!((work.is_spent(1_099), work.is_spent(1_100)), (false, true));
        work.spend(60);
        assert_eq!((work.next_slice(1_039), work.next_slice(1_040)), (Some(400), None));
        // More of the same connection is no new share; that of another is.
        assert_eq!((work.begin(7, 1_039), work.begin(7, 1_040)), (400, 0));
        assert_eq!(work.begin(8, 1_040), 400);
        assert_eq!((work.is_spent(1_139), work.is_spent(1_140)), (false, true));
    }

    #[test]
    fn a_long_pass_leaves_little_to_those_who_come_late_and_half_of_itself_to_those_who_waited() {
        let mut work = Work::new(64);
        work.begin_pass(0);
        assert_eq!(work.begin(1, 639), 256);
        assert_eq!(work.begin(2, 640), 12, "little, and as few bytes");
        assert_eq!((work.is_spent(641), work.is_spent(642)), (false, true));
        work.begin_waiting(642);
        assert!(!work.is_over(642 + 319) && work.is_over(642 + 320));
        assert_eq!(work.begin(3, 650), 256, "who waited has a whole share");
        // What one connection spends counts for all.
        work.spend(400);
        assert!(work.is_spent(650) && work.is_over(650));
        work.begin_pass(650);
        assert!(!work.is_over(650 + 639) && work.is_over(650 + 640));
    }

    #[test]
    fn no_work_is_too_much_to_be_counted() {
        let mut work = Work::new(1);
        work.spend(u64::MAX);
        assert!(work.is_spent(0) && work.is_over(0));
        assert_eq!(walked(3, 1_023), 4);
        assert_eq!((packed(0, 1), packed(1_200, 1), packed(1_200, 9)), (40, 140, 640));
        assert_eq!((Work::new(1).inflate_at_once(), Work::new(1_000_000).inflate_at_once()), (1 << 10, 64 << 10));
    }
}
