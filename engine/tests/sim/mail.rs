//! Other threads: each sends mail to the core, messages for connections, and messages for topics, at random times and in bursts; and what is known of all that.
//!
//! Of a message for a connection nobody is told what became of it, so there is mail behind each: when that comes, at the latest, the
//! counters tell (`app/mail.rs`). What was published they tell in the same way, and `board` knows the rest.

use std::collections::VecDeque;
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Net, Random};
use wsring::{ConnId, Handle, MailError, Place, Stats};

use super::oracle::{Digest, Ledger};
use super::{Manners, World};

/// The one core.
pub const CORE: Place = Place::new(0);

/// From its post to its arrival mail takes less than that, whatever kernel and scheduler do, unless the process stands still.
const ON_THE_WAY_MAX: Duration = Duration::from_secs(1);

/// A letter for `on_mail`.
#[derive(Debug)]
pub struct Note {
    from: usize,
    /// Counts what of this sender was taken.
    number: u64,
    at: Time,
    /// So much was published before it, by any thread.
    behind: u64,
}

/// What senders and the application know of letters.
#[derive(Default)]
pub struct Post {
    /// What was taken of each sender, and what has come.
    taken: Vec<u64>,
    come: Vec<u64>,
    refused: u64,
    /// Messages for connections that were taken, of which nobody knows yet what became: whose, and what.
    pub sends: VecDeque<(usize, Digest)>,
    /// Of those it is known.
    pub sends_known: u64,
    /// Of those, messages for connections that were over.
    pub gone: u64,
    sends_taken: u64,
    /// What threads have published was taken so often.
    published: u64,
    /// Connections that were open once, and whose.
    pub known: Vec<(ConnId, usize)>,
}

impl Post {
    pub fn add_sender(&mut self) -> usize {
        self.taken.push(0);
        self.come.push(0);
        self.taken.len() - 1
    }

    /// Sends mail; whether it was taken.
    pub fn mail(&mut self, from: usize, at: Time, mail: impl FnOnce(Note) -> Result<(), MailError<Note>>) -> bool {
        let number = self.taken[from];
        match mail(Note { from, number, at, behind: self.published }) {
            Ok(()) => self.taken[from] += 1,
            Err(MailError::Full(note)) => {
                assert_eq!((note.from, note.number), (from, number), "the mail of another comes back");
                self.refused += 1;
            }
            Err(_) => {} // the core has ended, or its handler has failed
        }
        self.taken[from] > number
    }

    /// Mail has come, in a process that stood still for so long; and the core has read so much that was published.
    pub fn on_mail(&mut self, note: &Note, now: Time, pause: Duration, read: u64) {
        let Note { from, number, at, behind } = *note;
        assert_eq!(
            read, behind,
            "mail {number} of sender {from} comes, and what was published has come out of order, or one is lost"
        );
        assert_eq!(number, self.come[from], "mail {number} of sender {from} has come out of order, or one is lost");
        self.come[from] += 1;
        let took = now.since(at);
        assert!(took <= ON_THE_WAY_MAX + pause, "mail {number} of sender {from} was on the way for {took:?}");
    }

    /// Mail that has come.
    pub fn mails(&self) -> u64 {
        self.come.iter().sum()
    }

    /// Every letter that was taken was read or counted.
    pub fn judge(&self, stats: &Stats, read: u64) {
        let taken = self.taken.iter().sum::<u64>() + self.sends_taken + self.published - read;
        // Behind the last callback a message may have found its connection over.
        let late = stats.mail_gone - self.gone;
        assert!(late <= self.sends.len() as u64, "the engine miscounts messages that find nobody: {late} too many");
        let same = [
            ("mails", stats.mails, self.mails()),
            ("mail_refused", stats.mail_refused, self.refused),
            ("mail_unread", stats.mail_unread, taken - self.mails() - self.sends_known - late),
        ];
        for (what, engine, known) in same {
            assert_eq!(engine, known, "the engine miscounts {what}");
        }
    }
}

/// The other threads.
pub struct Mailers {
    random: Random,
    senders: Vec<usize>,
    /// Bursts to come.
    left: u32,
    /// They send to connections as well.
    sends: bool,
    /// They publish as well.
    publishes: bool,
    /// The longest time between two bursts.
    gap_us_max: u64,
}

/// What of a run mail decides: drawn apart from everything else, and nothing in two of three seeds.
pub struct Plan {
    pub mailbox_max: u32,
    pub letters_max: u32,
    pub mailers: Mailers,
    /// The application sends to its own core.
    pub own: Random,
}

impl Plan {
    pub fn new(seed: u64, manners: Manners, dials: bool, has_topics: bool) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x006d_6169_6c73);
        if !random.chance(333) {
            return None;
        }
        let quiet = manners == Manners::Quiet;
        let mailbox_max = if quiet { 1_000 } else { random.pick(&[1, 4, 30, 1_000]) };
        let letters_max = random.pick(&[1, 2, 8, 256]);
        let senders = (0..random.range(1, 3) as usize).collect();
        let left = random.range(1, 20) as u32;
        let gap_us_max = random.pick(&[100, 10_000, 300_000]);
        // Heartbeats are counted as messages are, so with dials nobody knows whose a message was.
        let sends = !dials && random.chance(600);
        let own = random.fork();
        let publishes = has_topics && random.chance(700);
        let mailers = Mailers { random, senders, left, sends, publishes, gap_us_max };
        Some(Self { mailbox_max, letters_max, mailers, own })
    }
}

impl Mailers {
    /// Whether they publish.
    pub fn publish(&self) -> bool {
        self.publishes
    }

    /// Somebody sends a burst, and when the next one comes `key` is called. `None` as long as nobody has begun.
    pub fn on_event(&mut self, net: &mut Net, handle: &Handle<Note>, world: &World, key: u64) {
        let mut ledger = world.ledger.borrow_mut();
        if self.left == 0 || ledger.stopped_at.is_some() {
            return;
        }
        self.left -= 1;
        let Ledger { post, posts, .. } = &mut *ledger;
        let from = self.random.pick(&self.senders);
        while post.taken.len() <= from {
            post.add_sender();
        }
        let most = self.random.pick(&[1, 5, 30]);
        for _ in 0..self.random.range(1, most) {
            if self.sends && self.random.chance(300) {
                self.send(handle, post);
            }
            while self.publishes && self.random.chance(400) {
                let posted = posts.post(&mut self.random, handle);
                post.published += u64::from(posted.taken);
                post.refused += u64::from(posted.full);
            }
            // Behind each message there is mail, or no other message before the next pass.
            if !post.mail(from, net.now(), |note| handle.mail(CORE, note)) {
                break;
            }
        }
        let after = Duration::from_micros(self.random.below(self.gap_us_max));
        net.call_after(after, key);
    }

    fn send(&mut self, handle: &Handle<Note>, post: &mut Post) {
        // Of two messages without a callback between them nobody would know which was taken.
        if post.known.is_empty() || !post.sends.is_empty() {
            return;
        }
        let (id, peer) = self.random.pick(&post.known);
        let text = format!("letter {} {}", post.sends_taken, "-".repeat(self.random.below(3_000) as usize));
        let digest = Digest::of(true, text.as_bytes());
        match handle.send(id, text) {
            Ok(()) => {
                post.sends_taken += 1;
                post.sends.push_back((peer, digest));
            }
            Err(MailError::Full(_)) => post.refused += 1,
            Err(_) => {}
        }
    }
}
