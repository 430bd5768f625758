//! Which ring the cores of a server or client run on: [`RingKind`], and how it is chosen; the rings themselves are in `any`.
//!
//! Promises that io_uring is used wherever the kernel lets it be, that a fall back to epoll is told once a start, and that what was asked for is
//! what is used, or an error. Refuses to know what an engine does with a ring.

mod any;

use std::fmt;
use std::str::FromStr;

pub(crate) use self::any::AnyRing;
use crate::ring::uring::{Features, SetupError, allowed, usable};

/// What a core does its sockets' work by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingKind {
    /// io_uring(7), from Linux 6.1 on: one system call for all that a pass of the loop does.
    Uring,
    /// epoll(7): where io_uring is forbidden, as the default seccomp profiles of Docker and containerd do, or not there, and on older kernels.
    /// A system call for each receive and each send. Sockets are ordinary descriptors, whose limit (`ulimit -n`) holds for all cores together.
    /// Every call for a socket is of the C library's function of that name, so that a preloaded network stack takes it.
    Epoll,
}

impl RingKind {
    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            RingKind::Uring => "uring",
            RingKind::Epoll => "epoll",
        }
    }
}

impl fmt::Display for RingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`RingKind`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such ring: {0} (there are: uring, epoll)")]
pub struct UnknownRing(String);

impl FromStr for RingKind {
    type Err = UnknownRing;

    fn from_str(name: &str) -> Result<Self, UnknownRing> {
        let kinds = [RingKind::Uring, RingKind::Epoll];
        kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownRing(name.to_owned()))
    }
}

/// Settles which ring it is to be, and which of the features it can use.
///
/// # Errors
/// io_uring was asked for and cannot be had; or it can and its use fails for want of something that can be granted.
pub(crate) fn choose(wanted: Option<RingKind>, features: Features) -> Result<(RingKind, Features), SetupError> {
    if wanted == Some(RingKind::Epoll) {
        return Ok((RingKind::Epoll, Features::none()));
    }
    let usable = allowed().and_then(|()| usable(features));
    fall_back(wanted, usable)
}

fn fall_back(
    wanted: Option<RingKind>,
    usable: Result<Features, SetupError>,
) -> Result<(RingKind, Features), SetupError> {
    match usable {
        Err(refusal) if wanted.is_none() && refusal.is_refusal() => {
            tracing::warn!(
                "running on epoll, which takes some more CPU for a message than io_uring and an ordinary descriptor for each connection: {refusal}"
            );
            Ok((RingKind::Epoll, Features::none()))
        }
        usable => Ok((RingKind::Uring, usable?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in [RingKind::Uring, RingKind::Epoll] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let told = "auto".parse::<RingKind>().expect_err("no kind").to_string();
        assert_eq!(told, "no such ring: auto (there are: uring, epoll)");
    }

    /// What can be granted is an error and not a reason to fall back: nobody would ever grant it.
    #[test]
    fn a_refusal_falls_back_unless_io_uring_was_asked_for() {
        let forbidden = || SetupError::Forbidden { sysctl: "2".to_owned() };
        let old = || SetupError::KernelTooOld { found: "5.15.0".to_owned() };
        let refusals = || [forbidden(), SetupError::Missing, old()];
        for refusal in refusals() {
            assert_eq!(fall_back(None, Err(refusal)).expect("there is epoll"), (RingKind::Epoll, Features::none()));
        }
        for refusal in refusals() {
            assert!(fall_back(Some(RingKind::Uring), Err(refusal)).is_err());
        }
        let memlock = SetupError::Memlock { what: "the ring", limit: "0".to_owned(), least: 1 };
        assert!(fall_back(None, Err(memlock)).is_err());
        assert_eq!(fall_back(None, Ok(Features::all())).expect("there is io_uring").0, RingKind::Uring);
        assert_eq!(choose(Some(RingKind::Epoll), Features::all()).expect("asks nobody").0, RingKind::Epoll);
    }
}
