//! What a server or client does without because the machine leaves it no more: [`GivenUp`]. Owns how that is told, and refuses to know how it
//! was found out.

use std::fmt;

use crate::quota::CpuQuota;
use crate::ring::uring::QueueEntries;

/// What a start did without because the machine, or the box that it runs in, leaves it no more. [`Running::given_up`](crate::Running::given_up) tells all of
/// it, and so does the log, once each. Its text is made to stand behind "gave up".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GivenUp {
    /// io_uring: the cores run on epoll.
    IoUring,
    /// CPUs of the process's affinity mask, because its control groups leave it less time than those have; and pinning, so that processes in
    /// other groups do not wait for the same CPUs while others are idle.
    Cores {
        /// How many cores it runs on.
        cores: usize,
        /// How many there would be without: the CPUs of the mask, or fewer if so few were wanted.
        allowed: usize,
        /// The time that is left to it.
        quota: CpuQuota,
        /// Whether its threads are pinned all the same, because that was asked for ([`Config::pinned`](crate::Config::pinned)).
        pinned: bool,
    },
    /// Entries of the rings' queues, which the kernel counts as locked memory.
    Queues {
        /// As configured.
        wanted: QueueEntries,
        /// The least that a core has.
        made: QueueEntries,
    },
    /// Receive buffers, whose list the kernel counts as well.
    RecvBuffers {
        /// As configured, or by default.
        wanted: u16,
        /// The least that a core has.
        made: u16,
    },
    /// Connections: nobody set a cap, and the limit on descriptors leaves room for fewer than a thousand a core.
    Connections {
        /// How many a core takes.
        connections: u32,
        /// The limit (RLIMIT_NOFILE).
        limit: u64,
    },
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUring => f.write_str("io_uring (runs on epoll)"),
            Self::Cores { cores, allowed, quota, pinned } => {
                let left = allowed - cores;
                match (left, pinned) {
                    (0, _) => f.write_str("pinning")?,
                    (_, true) => write!(f, "{left} of {allowed} cores")?,
                    (_, false) => write!(f, "{left} of {allowed} cores and pinning")?,
                }
                write!(f, " (its control group leaves it {quota} CPUs)")
            }
            Self::Queues { wanted, made } => write!(
                f,
                "queue entries ({} and {} instead of {} and {}: ulimit -l)",
                made.submission, made.completion, wanted.submission, wanted.completion
            ),
            Self::RecvBuffers { wanted, made } => {
                write!(f, "receive buffers ({made} instead of {wanted}: ulimit -l)")
            }
            Self::Connections { connections, limit } => {
                write!(f, "connections ({connections} a core, because the limit on descriptors is {limit}: ulimit -n)")
            }
        }
    }
}

impl GivenUp {
    /// Tells the log. Of epoll it has been told already, with the reason. A quota is what somebody wanted, and no fault.
    pub(crate) fn tell(&self) {
        match self {
            Self::IoUring => {}
            Self::Cores { .. } => tracing::info!("gave up {self}"),
            Self::Queues { .. } | Self::RecvBuffers { .. } | Self::Connections { .. } => {
                tracing::warn!("gave up {self}")
            }
        }
    }
}
