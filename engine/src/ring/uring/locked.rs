//! Locked memory: newer kernels count a ring's queues as that, against a limit that all processes of a user share (RLIMIT_MEMLOCK,
//! getrlimit(2)); and of a ring that has ended they give it back a moment later.
//!
//! Owns how small a ring may become before that is an error. Promises that what was configured is tried first, and that nothing is made smaller
//! unless the kernel refuses it. Refuses to know what else a ring has.

use std::time::Duration;

use io_uring::IoUring;

use super::limits::{limit, page_bytes};
use super::sizes::QueueEntries;

/// No ring is made smaller than this: each of its two parts is a page then.
const LEAST: QueueEntries = QueueEntries { submission: 64, completion: 128 };
/// As many receive buffers have their list in a page.
const BUFFERS_LEAST: u16 = 256;
/// Halvings that make 32,768 buffers that few.
const HALVINGS_MAX: u32 = 7;

/// How long to wait between two tries, and how often: what a ring held that has just ended comes back after some 30 ms on an idle machine.
const PAUSE: Duration = Duration::from_millis(2);
const TRIES: u32 = 100;
/// The same where it is known that there should be enough, and before giving up.
const TRIES_MANY: u32 = 500;

/// Why there is no ring.
pub(super) trait Refusal {
    /// Whether a smaller ring, or the same a moment later, might not be refused.
    fn is_for_want_of_memory(&self) -> bool;
}

/// What a ring has less of than was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fewer {
    /// The entries of its queues.
    pub(crate) queues: Option<QueueEntries>,
    /// Receive buffers: how many were wanted, and how many there are.
    pub(crate) buffers: Option<(u16, u16)>,
}

/// How large a ring is tried to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) queues: QueueEntries,
    halvings: u32,
}

impl Size {
    fn of(queues: QueueEntries) -> Self {
        Self { queues, halvings: 0 }
    }

    /// What it is less than was configured; `buffers`: how many receive buffers were wanted.
    pub(super) fn fewer(self, queues: QueueEntries, buffers: u16) -> Fewer {
        let made = self.buffers(buffers);
        Fewer {
            queues: Some(self.queues).filter(|made| *made != queues),
            buffers: (made != buffers).then_some((buffers, made)),
        }
    }

    /// As many receive buffers instead of `count`, which is a power of two.
    pub(super) fn buffers(self, count: u16) -> u16 {
        (count >> self.halvings).max(count.min(BUFFERS_LEAST))
    }

    /// The next smaller size, if there is one.
    fn smaller(self) -> Option<Self> {
        let half = |entries: u32, least: u32| (entries / 2).max(least).min(entries);
        let queues = QueueEntries {
            submission: half(self.queues.submission, LEAST.submission),
            completion: half(self.queues.completion, LEAST.completion),
        };
        let smaller = Self { queues, halvings: (self.halvings + 1).min(HALVINGS_MAX) };
        (smaller != self).then_some(smaller)
    }

    /// What the kernel counts for it, with the least list of receive buffers: the entries of either queue, 64 and 16 bytes, an index of 4 bytes
    /// for each of the first, and some words, in whole pages.
    fn bytes(self, page: u64) -> u64 {
        let entries = |wanted: u32| u64::from(wanted.max(1)).next_power_of_two();
        let (submission, completion) = (entries(self.queues.submission), entries(self.queues.completion));
        let parts = [submission * 64, 512 + completion.max(submission) * 16 + submission * 4, 1];
        parts.iter().map(|part| part.next_multiple_of(page)).sum()
    }
}

/// What the smallest ring takes.
pub(super) fn least_bytes() -> u64 {
    Size::of(LEAST).bytes(page_bytes())
}

fn locked_max() -> u64 {
    limit(libc::RLIMIT_MEMLOCK).rlim_cur
}

/// Queues for each of so many rings, which fit into the limit together if the kernel counts them.
pub(crate) fn fitting(wanted: QueueEntries, rings: usize) -> QueueEntries {
    let (size, limit, page) = (Size::of(wanted), locked_max(), page_bytes());
    fit(size, rings as u64, limit, page, || is_counted(wanted, limit / size.bytes(page) + 1))
}

fn fit(wanted: Size, rings: u64, limit: u64, page: u64, is_counted: impl FnOnce() -> bool) -> QueueEntries {
    let fits = |size: &Size| size.bytes(page).saturating_mul(rings) <= limit;
    if fits(&wanted) || !is_counted() {
        return wanted.queues;
    }
    let mut size = wanted;
    while let Some(smaller) = size.smaller().filter(|_| !fits(&size)) {
        size = smaller;
    }
    size.queues // the least, if not even that fits: it is tried
}

/// Whether so many rings, which are one more than the limit has room for, are refused. A version number would be the wrong question, and so
/// would be a capability: that of a namespace of users is not the one that counts.
fn is_counted(wanted: QueueEntries, rings: u64) -> bool {
    let mut made = Vec::new();
    for _ in 0..rings {
        let ring: std::io::Result<IoUring> = IoUring::builder()
            .setup_clamp()
            .setup_cqsize(wanted.completion.max(wanted.submission))
            .build(wanted.submission);
        match ring {
            Ok(ring) => made.push(ring),
            Err(error) => return error.raw_os_error() == Some(libc::ENOMEM),
        }
    }
    false
}

/// Makes a ring as large as is wanted, or as large as the limit allows, and tells how large that is.
pub(super) fn shrinking<T, E: Refusal>(
    wanted: QueueEntries,
    make: impl FnMut(Size) -> Result<T, E>,
) -> Result<(T, Size), E> {
    shrink(Size::of(wanted), locked_max(), page_bytes(), make, || std::thread::sleep(PAUSE))
}

fn shrink<T, E: Refusal>(
    wanted: Size,
    limit: u64,
    page: u64,
    mut make: impl FnMut(Size) -> Result<T, E>,
    mut pause: impl FnMut(),
) -> Result<(T, Size), E> {
    let mut size = wanted;
    loop {
        let smaller = size.smaller();
        let tries = match size.bytes(page) {
            too_many if too_many > limit => 1, // nothing that comes back would be enough
            _ if size == wanted || smaller.is_none() => TRIES_MANY,
            _ => TRIES,
        };
        match (tried(tries, &mut pause, || make(size)), smaller) {
            (Err(refusal), Some(smaller)) if refusal.is_for_want_of_memory() => size = smaller,
            (made, _) => return made.map(|made| (made, size)),
        }
    }
}

/// A ring that needs little, and is tried until others have given back what they held.
pub(super) fn patiently<T, E: Refusal>(make: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let tries = if least_bytes() > locked_max() { 1 } else { TRIES_MANY };
    tried(tries, &mut || std::thread::sleep(PAUSE), make)
}

fn tried<T, E: Refusal>(tries: u32, pause: &mut impl FnMut(), mut make: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..tries {
        match make() {
            Err(refusal) if refusal.is_for_want_of_memory() => pause(),
            made => return made,
        }
    }
    make()
}

#[cfg(test)]
mod tests {
    use std::iter::successors;

    use super::*;

    const PAGE: u64 = 4096;

    fn queues(submission: u32, completion: u32) -> QueueEntries {
        QueueEntries { submission, completion }
    }

    #[derive(Debug, PartialEq)]
    enum Refused {
        Memory,
        Forbidden,
    }

    impl Refusal for Refused {
        fn is_for_want_of_memory(&self) -> bool {
            *self == Refused::Memory
        }
    }

    fn sizes(wanted: QueueEntries) -> Vec<(u32, u32)> {
        let all = successors(Some(Size::of(wanted)), |size| size.smaller());
        all.map(|size| (size.queues.submission, size.queues.completion)).collect()
    }

    #[test]
    fn sizes_halve_down_to_the_least_and_none_grows() {
        let mut told = sizes(QueueEntries::default());
        told.dedup();
        let halved = [(1024, 8192), (512, 4096), (256, 2048), (128, 1024), (64, 512), (64, 256), (64, 128)];
        assert_eq!(told, halved);
        let mut few = sizes(queues(8, 100_000));
        assert!(few.iter().all(|(submission, _)| *submission == 8), "{few:?}");
        few.dedup();
        assert_eq!(few.last(), Some(&(8, 128)));
        assert!(sizes(queues(1, 1)).iter().all(|size| *size == (1, 1)));
    }

    #[test]
    fn receive_buffers_halve_as_often() {
        let size = |halvings| Size { queues: LEAST, halvings };
        assert_eq!([0, 1, 2, 3].map(|halvings| size(halvings).buffers(1024)), [1024, 512, 256, 256]);
        assert_eq!((size(HALVINGS_MAX).buffers(1 << 15), size(HALVINGS_MAX).buffers(2)), (256, 2));
        // And that is told.
        assert_eq!(size(0).fewer(LEAST, 1024), Fewer::default());
        assert_eq!(size(1).fewer(LEAST, 1024), Fewer { queues: None, buffers: Some((1024, 512)) });
        assert_eq!(size(1).fewer(queues(128, 256), 2), Fewer { queues: Some(LEAST), buffers: None });
    }

    /// Linux 6.18 counts 200 KiB for the queues of the defaults; the list of receive buffers is a page more.
    #[test]
    fn a_ring_takes_what_the_kernel_counts() {
        let bytes = |queues| Size::of(queues).bytes(PAGE) / PAGE;
        assert_eq!(bytes(QueueEntries::default()), 51);
        assert_eq!((bytes(queues(64, 512)), bytes(LEAST), bytes(queues(1, 1))), (5, 3, 3));
    }

    #[test]
    fn rings_share_the_limit_where_they_are_counted() {
        let fit = |rings, limit, is_counted| fit(Size::of(QueueEntries::default()), rings, limit, PAGE, || is_counted);
        assert_eq!(fit(2, 102 * PAGE, true), queues(1024, 8192), "exactly enough");
        assert_eq!(fit(2, 102 * PAGE - 1, true), queues(512, 4096));
        assert_eq!(fit(2, 102 * PAGE - 1, false), queues(1024, 8192), "nobody counts");
        assert_eq!(fit(1, 64 << 10, true), queues(256, 2048));
        assert_eq!(fit(3, 64 << 10, true), queues(64, 512));
        assert_eq!(fit(5, 64 << 10, true), LEAST);
        assert_eq!(fit(9, 64 << 10, true), LEAST, "too little for all");
        assert_eq!(fit(256, u64::MAX, true), queues(1024, 8192));
    }

    #[test]
    fn it_waits_for_what_should_fit_and_shrinks_else() {
        let run = |limit: u64, has: u64, refusals: u32| {
            let (mut tries, mut pauses) = (0, 0);
            let make = |size: Size| {
                tries += 1;
                if size.bytes(PAGE) > has || tries <= refusals { Err(Refused::Memory) } else { Ok(()) }
            };
            let made = shrink(Size::of(QueueEntries::default()), limit, PAGE, make, || pauses += 1);
            (made.map(|((), size)| size.queues).ok(), pauses)
        };
        assert_eq!(run(u64::MAX, u64::MAX, 0), (Some(QueueEntries::default()), 0));
        assert_eq!(run(u64::MAX, u64::MAX, 15), (Some(QueueEntries::default()), 15), "it was given back");
        assert_eq!(run(64 << 10, 64 << 10, 0), (Some(queues(256, 2048)), 0), "what is above the limit is tried once");
        let (made, pauses) = run(64 << 10, 5 * PAGE, 0);
        assert_eq!((made, pauses), (Some(queues(64, 512)), 2 * (TRIES - 1)), "others have the rest");
        assert_eq!(run(0, 0, 0), (None, 0), "nothing will ever fit");
        assert!(run(64 << 10, 0, 0).0.is_none());
    }

    #[test]
    fn another_error_ends_it_at_once() {
        let mut tries = 0;
        let make = |_| {
            tries += 1;
            Err::<(), _>(Refused::Forbidden)
        };
        let ended = shrink(Size::of(QueueEntries::default()), u64::MAX, PAGE, make, || unreachable!("no pause"));
        assert_eq!(ended.map(|_| ()), Err(Refused::Forbidden));
        assert_eq!(tries, 1);
    }
}
