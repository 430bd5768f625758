//! Whether cores are pinned: a setting of servers and clients.

use super::Config;

impl Config {
    /// Whether the thread of each core is pinned to its CPU (sched_setaffinity(2)). Default `None`: yes, unless nobody named the cores and the CPU
    /// quota of the process's control groups (cgroups(7)) is below its affinity mask. Processes of other groups have such quotas too, and
    /// all would be pinned to the first CPUs of the same mask, while others are idle. [`Running::is_pinned`](crate::Running::is_pinned) tells.
    /// Threads that are not pinned may use the whole mask of the thread that starts them. A tokio-uring runtime has its own threads.
    #[must_use]
    pub fn pinned(mut self, pinned: impl Into<Option<bool>>) -> Self {
        self.pinned = pinned.into();
        self
    }
}
