//! What a subscription has missed of each key, where its topic numbers keys: kept only while something is missing.
//!
//! Promises that the number before a message is 0 if none was given since its key's numbers began, however much was lost of those before: a removal ends
//! them, and what is known of them goes with it.

use std::collections::HashMap;

use super::lanes::Lost;
use super::whole::Topics;

impl Topics {
    pub(super) fn lost(&self, sub: u32, key: Option<u64>) -> Lost {
        let lost = self.subs[sub as usize].lost.as_ref();
        lost.and_then(|lost| lost.get(&key)).copied().unwrap_or_default()
    }

    /// A message of this number was lost, behind all that waits of its key.
    pub(super) fn lose_behind(&mut self, sub: u32, key: Option<u64>, seq: u64, removes: bool) {
        match seq {
            _ if removes => self.lose_removal(sub, key),
            0 => {}
            _ => self.lose_at(sub, key, |lost| lost.tail = lost.tail.or(Some(seq - 1))),
        }
    }

    /// One that waited was lost, behind all others of its key, and the next of that comes now.
    pub(super) fn lose_last(&mut self, sub: u32, key: Option<u64>, prev: u64, removes: bool) {
        if removes {
            self.lose_removal(sub, key);
        } else {
            // What was lost behind it is part of that.
            self.lose_at(sub, key, |lost| lost.tail = Some(prev));
        }
    }

    /// One that waited was lost, in front of all others of its key.
    pub(super) fn lose_first(&mut self, sub: u32, key: Option<u64>, prev: u64, removes: bool) {
        if removes {
            self.forget_head(sub, key);
        } else {
            self.lose_at(sub, key, |lost| lost.head = Some(lost.before(prev)));
        }
    }

    /// The numbers of a key are over, and what of them is known behind what waits.
    fn lose_removal(&mut self, sub: u32, key: Option<u64>) {
        self.forget_tail(sub, key);
        let owner = &mut self.subs[sub as usize];
        if owner.waiting > 0 {
            owner.lost_removal = true; // something of its key may be dropped yet
        } else {
            self.forget_head(sub, key);
        }
    }

    /// Nothing waits for a subscription: keys are forgotten whose numbers are over.
    pub(super) fn forget_removed(&mut self, sub: u32) {
        let owner = &mut self.subs[sub as usize];
        owner.lost_removal = false;
        if let Some(lost) = &mut owner.lost {
            let table = self.topics[owner.topic as usize].as_ref().expect("it has a subscriber");
            let before = lost.len();
            lost.retain(|key, _| table.retained.has(*key));
            let (conn, gone) = (owner.conn, before - lost.len());
            self.lane(conn).lost -= gone as u32;
            self.lost_keys -= gone;
        }
    }

    /// Something of a key was lost, if anybody can see that.
    fn lose_at(&mut self, sub: u32, key: Option<u64>, note: impl FnOnce(&mut Lost)) {
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

    /// Nothing is missing of a key: a message of it was given behind all that was lost.
    pub(super) fn forget_lost(&mut self, sub: u32, key: Option<u64>) {
        self.with_lost(sub, key, |lost| *lost = Lost::default());
    }

    /// Nothing is missing of any key: the subscription ends, or no numbers are compared with those so far.
    pub(super) fn forget_all_lost(&mut self, sub: u32) {
        let owner = &mut self.subs[sub as usize];
        owner.lost_removal = false;
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
