//! Owns how long open connections of a core may last and be silent, and since when each is. What comes of it is in `aging`.

use std::time::Duration;

use crate::config::Config;
use crate::ring::Time;

/// The limits of a core, and what is known of its connections for them.
pub(crate) struct Ages {
    pub(super) lifetime: Option<Duration>,
    pub(super) silence: Option<Duration>,
    /// When each connection last brought a message, or was not read; as long as was needed so far.
    heard: Vec<Time>,
    /// Messages of all that have been noted.
    noted: u64,
}

impl Ages {
    pub(crate) fn new(config: &Config) -> Self {
        Self { lifetime: config.pace.lifetime_max, silence: config.pace.data_timeout, heard: Vec::new(), noted: 0 }
    }

    /// Somebody looks when messages come.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.silence.is_some()
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
