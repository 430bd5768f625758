//! A ring of either kind.
//!
//! Where debug assertions are on it is a [`Ring`] itself, so that a handler's engine is compiled once and asks at each call which ring it is on;
//! otherwise the engine is compiled for each of the two, and never asks. Promises that both do the same. Owns nothing but the choice.

use std::net::TcpListener;
use std::sync::Arc;

use crate::ring::SendBlocks;
use crate::ring::epoll::Epoll;
use crate::ring::uring::{Features, Fewer, RingConfig, SetupError, Uring, Waker};
use crate::rings::RingKind;

/// A core's ring.
#[allow(clippy::large_enum_variant, reason = "there is one a core, and it is moved but twice")]
pub(crate) enum AnyRing {
    Uring(Uring),
    Epoll(Epoll),
}

impl AnyRing {
    /// On the thread that it is for.
    pub(crate) fn new(
        kind: RingKind,
        config: &RingConfig,
        listeners: Vec<Arc<TcpListener>>,
        waker: Waker,
    ) -> Result<(Self, SendBlocks), SetupError> {
        Ok(match kind {
            RingKind::Uring => {
                let (ring, blocks) = Uring::new(config, listeners, waker)?;
                (Self::Uring(ring), blocks)
            }
            RingKind::Epoll => {
                let (ring, blocks) = Epoll::new(config, listeners, waker)?;
                (Self::Epoll(ring), blocks)
            }
        })
    }

    /// By listener: other rings have it too.
    pub(crate) fn share(&mut self, shared: Vec<bool>) {
        match self {
            Self::Uring(ring) => ring.share(shared),
            Self::Epoll(_) => {} // all are woken, and each takes what there is
        }
    }

    /// The kernel features in use.
    pub(crate) fn features(&self) -> Features {
        match self {
            Self::Uring(ring) => ring.features(),
            Self::Epoll(_) => Features::none(),
        }
    }

    /// What the limit on locked memory left less of than was configured.
    pub(crate) fn fewer(&self) -> Fewer {
        match self {
            Self::Uring(ring) => ring.fewer(),
            Self::Epoll(_) => Fewer::default(),
        }
    }
}

#[cfg(debug_assertions)]
mod dispatch {
    use std::io;
    use std::ops::{Deref, DerefMut};

    use super::AnyRing;
    use crate::ring::epoll::Epoll;
    use crate::ring::uring::Uring;
    use crate::ring::{Done, Op, Ring, Time, Token};

    /// Received bytes of either ring.
    pub(crate) enum AnyLease {
        Uring(<Uring as Ring>::Lease),
        Epoll(<Epoll as Ring>::Lease),
    }

    impl Deref for AnyLease {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            match self {
                Self::Uring(lease) => lease,
                Self::Epoll(lease) => lease,
            }
        }
    }

    impl DerefMut for AnyLease {
        fn deref_mut(&mut self) -> &mut [u8] {
            match self {
                Self::Uring(lease) => lease,
                Self::Epoll(lease) => lease,
            }
        }
    }

    /// A completion with the lease as one of either ring.
    fn either<L>(done: Done<L>, wrap: impl FnOnce(L) -> AnyLease) -> Done<AnyLease> {
        match done {
            Done::Received { lease, end } => Done::Received { lease: lease.map(wrap), end },
            Done::Accepted { result, peer, more } => Done::Accepted { result, peer, more },
            Done::Connected { result } => Done::Connected { result },
            Done::Sent { payload, result } => Done::Sent { payload, result },
            Done::Cancelled => Done::Cancelled,
            Done::Unacked { result } => Done::Unacked { result },
            Done::Closed => Done::Closed,
            Done::Woken => Done::Woken,
        }
    }

    /// The same call of whichever ring it is.
    macro_rules! of_either {
        ($any:expr, $ring:ident => $call:expr) => {
            match $any {
                AnyRing::Uring($ring) => $call,
                AnyRing::Epoll($ring) => $call,
            }
        };
    }

    impl Ring for AnyRing {
        type Lease = AnyLease;

        fn submit(&mut self, token: Token, op: Op) {
            of_either!(self, ring => ring.submit(token, op));
        }

        fn wait(&mut self, until: Option<Time>) -> io::Result<()> {
            of_either!(self, ring => ring.wait(until))
        }

        fn room_for(&self, bytes: u32) -> usize {
            of_either!(self, ring => ring.room_for(bytes))
        }

        fn expect_more(&mut self) {
            of_either!(self, ring => ring.expect_more());
        }

        fn next(&mut self) -> Option<(Token, Done<AnyLease>)> {
            match self {
                Self::Uring(ring) => ring.next().map(|(token, done)| (token, either(done, AnyLease::Uring))),
                Self::Epoll(ring) => ring.next().map(|(token, done)| (token, either(done, AnyLease::Epoll))),
            }
        }

        fn release(&mut self, lease: AnyLease) {
            match (self, lease) {
                (Self::Uring(ring), AnyLease::Uring(lease)) => ring.release(lease),
                (Self::Epoll(ring), AnyLease::Epoll(lease)) => ring.release(lease),
                _ => unreachable!("a lease goes back to the ring that it came from"),
            }
        }

        fn has_waiting(&mut self, listener: u32) -> bool {
            of_either!(self, ring => ring.has_waiting(listener))
        }

        fn deafen(&mut self, listener: u32) -> bool {
            of_either!(self, ring => ring.deafen(listener))
        }

        fn unlisten(&mut self, listener: u32) {
            of_either!(self, ring => ring.unlisten(listener));
        }

        fn has_more(&mut self) -> bool {
            of_either!(self, ring => ring.has_more())
        }

        fn now(&self) -> Time {
            of_either!(self, ring => ring.now())
        }

        fn enters(&self) -> u64 {
            of_either!(self, ring => ring.enters())
        }
    }
}
