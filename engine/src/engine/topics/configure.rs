//! How a topic is set up, also while it has subscribers.
//!
//! Promises that numbers which begin anew are not compared with those before: what waits has none any more, and what is lost of those is forgotten. Refuses to know
//! what a topic keeps.

use super::pieces::{NONE, Through};
use super::topic::Topic;
use super::whole::Topics;

impl Topics {
    /// A topic is treated so from now on. How it was before is the caller's to let go: closures of the application's are in it.
    pub(crate) fn configure(&mut self, topic: u32, how: Topic) -> Option<Topic> {
        let table = self.table(topic).as_mut()?;
        let begins_anew = table.retained.set(how.retain);
        let tells = how.tells();
        let before = std::mem::replace(&mut table.topic, how);
        if begins_anew || !tells {
            self.forget_numbers(topic, begins_anew);
        }
        Some(before)
    }

    /// Nobody is told what is missing of the numbers so far; and if those begin anew, each subscriber is as if it had begun now.
    fn forget_numbers(&mut self, topic: u32, begins_anew: bool) {
        let table = self.topics[topic as usize].as_ref().expect("it was made");
        let count = table.retained.count();
        let mut subs: Vec<u32> = table.entries.iter().map(|entry| entry.sub).collect();
        let mut follower = table.follower;
        while let Some(owner) = self.subs.get(follower as usize) {
            subs.push(follower);
            follower = owner.older;
        }
        for sub in subs {
            self.forget_all_lost(sub);
            let owner = &mut self.subs[sub as usize];
            if begins_anew {
                owner.last = count;
                for mut piece in [owner.own.first, owner.rest.first] {
                    while piece != NONE {
                        let at = self.pieces.at(piece);
                        (at.seq, at.prev) = (0, 0);
                        piece = self.pieces.next(piece, Through::Own);
                    }
                }
            }
            self.note_step(sub);
        }
        if begins_anew {
            for (_, newest) in self.newest.slab.iter_mut().filter(|(_, newest)| newest.topic == topic) {
                newest.seq = 0;
            }
        }
    }
}
