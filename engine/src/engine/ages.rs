//! Owns since when each open connection of a core is silent, as far as there is a limit on that. What comes of it is in `aging`, and how long each may be silent in `norms`.

use crate::ring::Time;

/// What is known of a core's connections for the limits on how long they may be silent.
#[derive(Default)]
pub(crate) struct Ages {
    /// Open connections with such a limit.
    timed: u32,
    /// When each connection last brought a message, or was not read; as long as was needed so far.
    heard: Vec<Time>,
    /// Messages of all that have been noted.
    noted: u64,
}

impl Ages {
    /// Somebody looks when messages come.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.timed > 0
    }

    /// A connection that has a limit opens; so many messages have come so far, of all connections.
    pub(super) fn begin(&mut self, index: u32, now: Time, messages: u64) {
        if self.timed == 0 {
            self.noted = messages; // nobody has looked until now
        }
        self.timed += 1;
        self.note(index, now);
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.timed -= 1;
    }

    /// A connection has brought a message, or is not read.
    pub(super) fn note(&mut self, index: u32, now: Time) {
        let index = index as usize;
        if self.heard.len() <= index {
            self.heard.resize(index + 1, now);
        }
        self.heard[index] = now;
    }

    /// Since when it is silent.
    pub(super) fn silent_since(&self, index: u32) -> Time {
        self.heard[index as usize]
    }

    /// So many messages have come, of all connections: whether some were not noted yet.
    pub(super) fn has_news(&mut self, messages: u64) -> bool {
        std::mem::replace(&mut self.noted, messages) != messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection was once taken to have brought what another had while nobody looked.
    #[test]
    fn what_came_while_nobody_looked_is_no_news() {
        let mut ages = Ages::default();
        assert!(!ages.is_timed());
        ages.begin(3, Time::from_nanos(5), 1_000);
        assert!(ages.is_timed() && !ages.has_news(1_000) && ages.has_news(1_001));
        ages.begin(4, Time::from_nanos(6), 1_002);
        assert!(ages.has_news(1_002), "a message of the first");
        ages.end();
        assert!(ages.is_timed());
        ages.end();
        assert!(!ages.is_timed());
        ages.begin(3, Time::from_nanos(9), 2_000);
        assert_eq!((ages.has_news(2_000), ages.silent_since(3)), (false, Time::from_nanos(9)));
    }
}
