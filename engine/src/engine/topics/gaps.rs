//! What a subscription has missed of each key, where its topic numbers keys: kept only while something is missing.

use std::collections::HashMap;

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
            let before = lost.len();
            note(lost.entry(key).or_default());
            let more = (lost.len() - before) as u32;
            let conn = owner.conn;
            self.lane(conn).lost += more;
            self.lost_keys += more as usize;
        }
    }

    /// What was lost of a key behind what waits goes along with the piece that follows.
    pub(super) fn forget_tail(&mut self, sub: u32, key: Option<u64>) -> Option<u64> {
        self.with_lost(sub, key, |lost| lost.tail.take()).flatten()
    }

    pub(super) fn forget_head(&mut self, sub: u32, key: Option<u64>) {
        self.with_lost(sub, key, |lost| lost.head = None);
    }

    /// Nothing is missing of a key: a message of it was given behind all that was lost, or its numbers begin anew.
    pub(super) fn forget_lost(&mut self, sub: u32, key: Option<u64>) {
        self.with_lost(sub, key, |lost| *lost = Lost::default());
    }

    /// Nothing is missing of any key: the subscription ends.
    pub(super) fn forget_all_lost(&mut self, sub: u32) {
        let owner = &mut self.subs[sub as usize];
        if let Some(lost) = owner.lost.take() {
            let conn = owner.conn;
            self.lane(conn).lost -= lost.len() as u32;
            self.lost_keys -= lost.len();
        }
    }

    /// Changes what is lost of a key, if something is; nothing is kept of a key of which nothing is.
    fn with_lost<T>(&mut self, sub: u32, key: Option<u64>, change: impl FnOnce(&mut Lost) -> T) -> Option<T> {
        let owner = &mut self.subs[sub as usize];
        let conn = owner.conn;
        let lost = owner.lost.as_mut()?;
        let at = lost.get_mut(&key)?;
        let changed = change(at);
        if at.head.is_none() && at.tail.is_none() {
            lost.remove(&key);
            self.lane(conn).lost -= 1;
            self.lost_keys -= 1;
        }
        Some(changed)
    }
}
