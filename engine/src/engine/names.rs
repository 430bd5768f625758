//! What topics are called, in all cores of a process: a name is hashed here, once, and nowhere else.
//!
//! Promises that a name has one [`TopicId`] for as long as the cores run. Refuses to know who subscribes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Topics that there may be, if nobody says how many.
pub(crate) const TOPICS_MAX: u32 = 100_000;

/// Names a topic, on all cores that a [`Handle`](crate::Handle) reaches: an index, so that publishing hashes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(u32);

impl TopicId {
    pub(crate) fn index(self) -> u32 {
        self.0
    }
}

/// There are as many topics as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {max} topics already: Config::topics_max")]
#[non_exhaustive]
pub struct TopicError {
    /// The cap.
    pub max: u32,
}

/// All names.
#[derive(Debug)]
pub(crate) struct Names {
    max: u32,
    ids: Mutex<HashMap<Box<str>, TopicId>>,
}

impl Names {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, ids: Mutex::default() }
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = ids.get(name) {
            return Ok(id);
        }
        let next = ids.len() as u32;
        if next >= self.max {
            return Err(TopicError { max: self.max });
        }
        let id = TopicId(next);
        ids.insert(name.into(), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id_and_there_is_room_for_so_many() {
        let names = Names::new(2);
        let (first, second) = (names.topic("a").unwrap(), names.topic("b").unwrap());
        assert_ne!(first, second);
        assert_eq!((names.topic("a"), names.topic("b")), (Ok(first), Ok(second)));
        assert_eq!(names.topic("c"), Err(TopicError { max: 2 }));
        assert_eq!(names.topic("a"), Ok(first), "a full list knows what is in it");
    }
}
