//! Owns what other threads and cores have sent to a core and it has not read: letters, in a bounded queue without a lock.
//!
//! Promises that the letters of one sender stay in order, of whatever kind they are; that a sender is told when there is no room, or
//! nobody to read; and that each letter that was taken is read once or counted as unread. Refuses to know what letters say.
//!
//! The queue is made for the first letter: who sends none pays no memory.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use wsring_proto::close::CloseCode;

use super::id::{ConnId, DialId};
use super::names::TopicId;
use super::panics::let_go;
use super::pending::Pending;
use super::planted::planted;
use super::topics::Publish;
use crate::handler::{OwnedMessage, Response};
use crate::target::Target;

/// Letters of a mailbox, if nobody says how many.
pub(crate) const MAILBOX_MAX: u32 = 16_384;

/// Has a core look at what others have left for it.
#[derive(Clone)]
pub(crate) struct Bell(Arc<dyn Fn() + Send + Sync>);

impl Bell {
    pub(crate) fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ring))
    }

    /// What was written before is seen by the core that comes to look.
    pub(crate) fn ring(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

/// What is sent to a core.
pub(crate) enum Letter<M> {
    /// For `on_mail`.
    Mail(M),
    /// A message for a connection.
    Send(ConnId, OwnedMessage),
    /// A message for the subscribers of a topic.
    Publish(TopicId, Publish, OwnedMessage),
    /// What was found out about a request that waits, for `on_admit`.
    Admit(Pending, M),
    /// The answer to a request that waits.
    Respond(Pending, Box<Response>),
    /// A connection is to be closed.
    Close(ConnId, CloseCode, Box<str>),
    /// What the next attempt of a dial connects to.
    Retarget(DialId, Box<Target>),
}

const _: () = assert!(size_of::<Letter<()>>() <= 72, "the first letter of a core takes memory for all");

/// Why a letter was not taken; with what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError<T> {
    /// The mailbox is full: the core takes less than it is sent. Counted ([`Stats::mail_refused`](crate::Stats::mail_refused)).
    #[error("the core's mailbox is full")]
    Full(T),
    /// The core has ended or failed, and reads nothing more.
    #[error("the core has ended")]
    Gone(T),
}

impl<T> MailError<T> {
    /// What was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(it) | Self::Gone(it) => it,
        }
    }

    /// The same error about something else.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> MailError<U> {
        match self {
            Self::Full(it) => MailError::Full(change(it)),
            Self::Gone(it) => MailError::Gone(change(it)),
        }
    }
}

/// The letters of one core.
pub(crate) struct Mailbox<M> {
    bell: Bell,
    queue: OnceLock<ArrayQueue<Letter<M>>>,
    /// Room for so many, of a queue that is yet to be made.
    room: AtomicU32,
    /// Nobody reads any more.
    closed: AtomicBool,
    refused: AtomicU64,
    unread: AtomicU64,
}

/// For senders.
impl<M> Mailbox<M> {
    /// With room for so many letters, at least one.
    pub(crate) fn new(bell: Bell, room: u32) -> Self {
        Self {
            bell,
            queue: OnceLock::new(),
            room: AtomicU32::new(room),
            closed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            unread: AtomicU64::new(0),
        }
    }

    /// Room for so many, unless there is a letter already.
    #[cfg(feature = "unstable-ring")]
    pub(crate) fn set_room(&self, letters: u32) {
        self.room.store(letters, Ordering::Relaxed);
    }

    /// Leaves a letter, and wakes the core if it sleeps.
    pub(crate) fn post(&self, letter: Letter<M>) -> Result<(), MailError<Letter<M>>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(MailError::Gone(letter));
        }
        let queue = self.queue.get_or_init(|| ArrayQueue::new(self.room.load(Ordering::Relaxed) as usize));
        queue.push(letter).map_err(|letter| {
            self.refused.fetch_add(planted!(MailUncounted, 0; 1), Ordering::Relaxed);
            MailError::Full(letter)
        })?;
        // With the fence of `close`: either that empties a queue with this letter, or this sees that it has been.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.discard();
        } else {
            self.bell.ring();
        }
        Ok(())
    }

    /// Letters that found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Letters that were taken and will not be read.
    pub(crate) fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    fn discard(&self) {
        while let Some(letter) = self.queue.get().and_then(ArrayQueue::pop) {
            self.unread.fetch_add(planted!(UnreadUncounted, 0; 1), Ordering::Relaxed);
            let_go(letter);
        }
    }
}

/// The core's own end of its mailbox: when this goes, nobody reads any more.
pub(crate) struct Reader<M>(Arc<Mailbox<M>>);

impl<M> Reader<M> {
    /// There must be one of a mailbox.
    pub(crate) fn new(mailbox: Arc<Mailbox<M>>) -> Self {
        Self(mailbox)
    }

    /// The next letter.
    pub(crate) fn take(&self) -> Option<Letter<M>> {
        self.0.queue.get()?.pop()
    }

    /// There are letters left when a pass has taken its share: the core comes back for them at once.
    pub(super) fn go_on(&self) {
        if self.0.queue.get().is_some_and(|queue| !queue.is_empty()) {
            planted!(WakeLost, return);
            self.0.bell.ring();
        }
    }

    /// Letters that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.0.refused()
    }

    /// Letters that were not read.
    pub(super) fn unread(&self) -> u64 {
        self.0.unread()
    }

    /// Nobody reads any more. What is there is counted and let go.
    pub(super) fn close(&self) {
        let before = self.unread();
        self.0.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst); // with that of `post`
        self.0.discard();
        let unread = self.unread() - before;
        if unread > 0 {
            tracing::warn!(unread, "a core has ended and not read all letters");
        }
    }
}

impl<M> Drop for Reader<M> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A mailbox, and how often its bell was rung.
    fn mailbox<M: Send + 'static>(room: u32) -> (Arc<Mailbox<M>>, Arc<AtomicUsize>) {
        let rung = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&rung);
        let bell = Bell::new(move || _ = counts.fetch_add(1, Ordering::Relaxed));
        (Arc::new(Mailbox::new(bell, room)), rung)
    }

    fn mail<M>(letter: Option<Letter<M>>) -> Option<M> {
        letter.map(|letter| match letter {
            Letter::Mail(mail) => mail,
            _ => panic!("it is mail"),
        })
    }

    #[test]
    fn a_full_mailbox_says_so_and_gives_the_letter_back() {
        let (mailbox, rung) = mailbox(2);
        let reader = Reader::new(Arc::clone(&mailbox));
        assert!(reader.take().is_none());
        for round in 0..3 {
            assert!(mailbox.post(Letter::Mail("first")).is_ok() && mailbox.post(Letter::Mail("second")).is_ok());
            let full = mailbox.post(Letter::Mail("third")).expect_err("there is room for two");
            assert!(matches!(full, MailError::Full(Letter::Mail("third"))));
            assert_eq!((mailbox.refused(), mailbox.unread()), (round + 1, 0));
            assert_eq!([reader.take(), reader.take(), reader.take()].map(mail), [Some("first"), Some("second"), None]);
        }
        assert_eq!(rung.load(Ordering::Relaxed), 6, "of those that were taken");
    }

    #[test]
    fn what_nobody_reads_is_counted_and_let_go() {
        let (mailbox, rung) = mailbox(8);
        let letter = Arc::new(());
        let reader = Reader::new(Arc::clone(&mailbox));
        for _ in 0..3 {
            assert!(mailbox.post(Letter::Mail(Arc::clone(&letter))).is_ok());
        }
        drop(reader.take());
        reader.go_on();
        assert_eq!(rung.load(Ordering::Relaxed), 4, "two are left");
        drop(reader);
        assert_eq!((mailbox.unread(), Arc::strong_count(&letter)), (2, 1));
        assert!(matches!(mailbox.post(Letter::Mail(Arc::clone(&letter))), Err(MailError::Gone(_))));
        assert_eq!((mailbox.unread(), mailbox.refused(), rung.load(Ordering::Relaxed)), (2, 0, 4));
    }

    /// Senders meet the end of a core at any moment: what each was told was taken is read or counted, and nothing is left.
    #[test]
    fn a_letter_is_read_or_counted_whenever_its_core_ends() {
        for round in 0..40_u64 {
            let (mailbox, _) = mailbox(1 << 10);
            let reader = Reader::new(Arc::clone(&mailbox));
            let letter = Arc::new(());
            let send = || {
                (0..)
                    .map(|_| mailbox.post(Letter::Mail(Arc::clone(&letter))))
                    .take_while(|posted| !matches!(posted, Err(MailError::Gone(_))))
                    .filter(Result::is_ok)
                    .count() as u64
            };
            let (taken, read) = std::thread::scope(|scope| {
                let senders = [scope.spawn(send), scope.spawn(send)];
                let wanted = round * 15;
                let read = std::iter::from_fn(|| Some(reader.take().map_or(0, |_| 1)))
                    .scan(0, |sum, one| {
                        *sum += one;
                        Some(*sum)
                    })
                    .find(|read| *read >= wanted)
                    .expect("they send without end");
                drop(reader);
                (senders.into_iter().map(|sender| sender.join().expect("no panic")).sum::<u64>(), read)
            });
            assert_eq!(read + mailbox.unread(), taken);
            assert_eq!(Arc::strong_count(&letter), 1, "what is unread is let go");
        }
    }

    /// Letters whose end panics are let go all the same.
    #[test]
    fn a_letter_may_panic_as_it_goes() {
        struct Spiteful;
        impl Drop for Spiteful {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new(()));
            }
        }
        let (mailbox, _) = mailbox(4);
        let reader = Reader::new(Arc::clone(&mailbox));
        for _ in 0..2 {
            assert!(mailbox.post(Letter::Mail(Spiteful)).is_ok());
        }
        drop(reader);
        assert_eq!(mailbox.unread(), 2);
    }
}
