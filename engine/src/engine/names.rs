//! What topics are called, in all cores of a process: a name is hashed here, once, and nowhere else.
//!
//! Promises that a name has one [`TopicId`] for as long as the cores run. Refuses to know who subscribes.

use std::collections::HashMap;
#[cfg(feature = "unstable-ring")]
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

type Ids = Mutex<HashMap<Box<str>, TopicId>>;

/// All names, and how many there may be by the settings of whoever asks.
#[derive(Debug)]
pub(crate) struct Names {
    max: AtomicU32,
    ids: Arc<Ids>,
}

impl Names {
    pub(crate) fn new(max: u32) -> Self {
        Self { max: AtomicU32::new(max), ids: Arc::default() }
    }

    /// Those that all engines of the process share which nobody has started together.
    #[cfg(feature = "unstable-ring")]
    pub(crate) fn of_process(max: u32) -> Self {
        static IDS: LazyLock<Arc<Ids>> = LazyLock::new(Arc::default);
        Self { max: AtomicU32::new(max), ids: Arc::clone(&IDS) }
    }

    /// So many from now on.
    #[cfg(feature = "unstable-ring")]
    pub(crate) fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = ids.get(name) {
            return Ok(id);
        }
        let (next, max) = (ids.len() as u32, self.max.load(Ordering::Relaxed));
        if next >= max {
            return Err(TopicError { max });
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
    #[cfg(feature = "unstable-ring")]
    #[test]
    fn engines_of_a_process_share_names_and_each_has_its_cap() {
        let (one, other) = (Names::of_process(TOPICS_MAX), Names::of_process(TOPICS_MAX));
        let id = one.topic("of all engines").unwrap();
        assert_eq!(other.topic("of all engines"), Ok(id));
        other.set_max(1);
        assert_eq!(other.topic("one more"), Err(TopicError { max: 1 }));
        assert_eq!(other.topic("of all engines"), Ok(id));
        assert!(one.topic("one more").is_ok());
    }
}
