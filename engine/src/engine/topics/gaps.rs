//! What a subscription has missed of each key, where its topic numbers keys: kept only while something is missing.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::lanes::Lost;
use super::whole::Topics;

impl Topics {
    pub(super) fn lost(&self, sub: u32, key: Option<u64>) -> Lost {
        let lost = self.subs[sub as usize].lost.as_ref();
        lost.and_then(|lost| lost.get(&key)).copied().unwrap_or_default()
    }

    /// Something of a key was lost, if anybody can see that.
    pub(super) fn lose_at(&mut self, sub: u32, key: Option<u64>, note: impl FnOnce(&mut Lost)) {
        let owner = &mut self.subs[sub as usize];
        let table = self.topics[owner.topic as usize].as_ref();
        if table.is_some_and(|table| table.retained.is_per_key() && table.topic.tells()) {
            let seeded = self.seeded;
            let lost = owner.lost.get_or_insert_with(|| Box::new(HashMap::with_hasher(seeded)));
            note(lost.entry(key).or_default());
        }
    }

    /// What was lost of a key behind what waits goes along with the piece that follows.
    pub(super) fn forget_tail(&mut self, sub: u32, key: Option<u64>) -> Option<u64> {
        let lost = self.subs[sub as usize].lost.as_mut()?;
        let tail = lost.get_mut(&key)?.tail.take();
        lost.tidy(&key);
        tail
    }

    pub(super) fn forget_head(&mut self, sub: u32, key: Option<u64>) {
        if let Some(lost) = &mut self.subs[sub as usize].lost
            && let Some(at) = lost.get_mut(&key)
        {
            at.head = None;
            lost.tidy(&key);
        }
    }
}

trait Empties {
    fn tidy(&mut self, key: &Option<u64>);
}

impl<S: BuildHasher> Empties for HashMap<Option<u64>, Lost, S> {
    /// Nothing is kept of a key of which nothing is lost.
    fn tidy(&mut self, key: &Option<u64>) {
        if self.get(key).is_some_and(|lost| lost.head.is_none() && lost.tail.is_none()) {
            self.remove(key);
        }
    }
}
