//! Why a server or client could not start, or ended: [`Error`]. Refuses to know how it came to that.

use std::{fmt, io};

use crate::config::InvalidConfig;
use crate::cores::{Cpu, InvalidCpu, Place};
use crate::ring::uring::SetupError;

/// Why a server could not start, or ended. `Debug` says the same as `Display`, because that is what a `main` that returns it prints, and
/// what is to be done about it must be seen there.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address could not be bound.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: String,
        /// bind(2)'s or listen(2)'s error.
        source: io::Error,
    },
    /// The sockets of the server before this one could not be taken over, or the path at which that is done not be had.
    #[error("cannot take over at {path}: {source}")]
    Handover {
        /// The path of the [`Handover`](crate::Handover).
        path: String,
        /// What the system says, or the process there.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("configuration: {0}")]
    Config(#[from] InvalidConfig),
    /// A core's thread could not be pinned.
    #[error("cannot pin a thread to CPU {cpu}: it is offline or outside of this process's affinity mask (taskset -p)")]
    Pin {
        /// The CPU.
        cpu: Cpu,
    },
    /// No cores, or more than 256.
    #[error("a server runs on 1 to 256 cores, not {0}")]
    Cores(usize),
    /// A number in the list of cores is not one of a CPU.
    #[error("list of cores: {0}")]
    Cpu(#[from] InvalidCpu),
    /// The kernel refused.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The ring of a core broke while running.
    #[error("core {place}: its ring failed: {source}")]
    Ring {
        /// The core's place in the list of cores.
        place: Place,
        /// The error of io_uring_enter(2), or of epoll_wait(2).
        source: io::Error,
    },
    /// The operating system refused something else that a start needs: a thread, a signal handler, random numbers.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// A handler panicked, and that ended its core ([`Config::on_panic`](crate::Config::on_panic)); the other cores were stopped.
    #[error("the handler on core {place} panicked")]
    Panicked {
        /// The core's place in the list of cores.
        place: Place,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_says_what_to_do() {
        let forbidden = Error::from(SetupError::Forbidden { sysctl: "0".to_owned() });
        let main: Box<dyn std::error::Error> = forbidden.into();
        assert!(format!("{main:?}").contains("allow io_uring_setup"), "{main:?}");
    }
}
