//! What the application does with mail: it sends to its own core, and learns from the counters what became of messages that other
//! threads sent to its connections.

use wsring::Place;
use wsring::ring::sim::Random;

use super::super::mail::{CORE, Note, Post};
use super::super::oracle::Person;
use super::{App, Core};

impl App {
    /// It sends to its own core as well.
    pub fn and_mail(mut self, own: Option<Random>) -> Self {
        self.own_mail = own.map(|random| {
            let from = self.world.ledger.borrow_mut().post.add_sender();
            (random, from)
        });
        self
    }

    /// Now and then it sends to its own core, from any callback.
    pub(super) fn mail_itself(&mut self, cx: &mut Core<'_>) {
        let Some((random, from)) = &mut self.own_mail else { return };
        if random.chance(50) {
            let (from, now) = (*from, self.world.trace.now());
            assert_eq!(cx.handle().places().collect::<Vec<Place>>(), [CORE]);
            self.world.ledger.borrow_mut().post.mail(from, now, |note| cx.mail(CORE, note));
        }
    }

    pub(super) fn got_mail(&mut self, cx: &Core<'_>, note: &Note) {
        self.learn(cx);
        let now = self.world.trace.now();
        let mut ledger = self.world.ledger.borrow_mut();
        let pause = ledger.pause();
        let read = ledger.posts.read();
        ledger.post.on_mail(note, now, pause, read);
    }

    /// Before the application sends, publishes, or counts: what has become of what other threads sent and published, if their letters have been read.
    pub(super) fn learn(&self, cx: &Core<'_>) {
        let mut ledger = self.world.ledger.borrow_mut();
        ledger.posts.learn(cx.stats().published);
        let Some(&(peer, digest)) = ledger.post.sends.front() else { return };
        let stats = cx.stats();
        let queued: usize = ledger.people.iter().map(|Person { queued, .. }| queued.len()).sum();
        if stats.sent > queued as u64 {
            let person = &mut ledger.people[peer];
            person.queued.push(digest);
            person.held = true; // nobody was told whether its output is high
        } else if stats.refused > ledger.refused {
            ledger.refused += 1;
        } else if stats.gone > ledger.gone {
            ledger.gone += 1;
        } else if stats.mail_gone > ledger.post.gone {
            ledger.post.gone += 1;
        } else {
            return;
        }
        let Post { sends, sends_known, .. } = &mut ledger.post;
        sends.pop_front();
        *sends_known += 1;
    }
}
