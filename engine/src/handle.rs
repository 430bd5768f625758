//! Reaches running cores from other threads: [`Handle`]; and what a core's handler is told when it is made: [`CoreInfo`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::cores::{CoreState, Cpu, Place};
use crate::engine::{Control, Names, TopicError, TopicId};
use crate::ring::uring::{SetupError, Waker};

/// What other threads hold of one core. It is made before the core's thread is: what it is told before the core runs waits.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) control: Arc<Control>,
    pub(crate) waker: Waker,
}

/// Reaches the cores of a server or client from any thread. Cheap to clone.
///
/// It exists before the first core runs ([`CoreInfo::handle`]), and what it asks of a core that does not run yet is done once that
/// does. After the end it does nothing. `M` is [`Handler::Mail`](crate::Handler::Mail), which is reserved: no mail is delivered
/// yet.
pub struct Handle<M = ()> {
    members: Arc<[Member]>,
    names: Arc<Names>,
    mail: PhantomData<fn(M)>,
}

impl<M> Handle<M> {
    /// Of so many cores that do not run yet.
    pub(crate) fn new(cores: usize, topics_max: u32) -> Result<Self, SetupError> {
        let member = |_| Ok(Member { control: Arc::default(), waker: Waker::new()? });
        let members: Vec<_> = Place::first(cores).map(member).collect::<Result<_, SetupError>>()?;
        Ok(Self { members: members.into(), names: Arc::new(Names::new(topics_max)), mail: PhantomData })
    }

    pub(crate) fn member(&self, place: Place) -> &Member {
        &self.members[place.index()]
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The topic of this name: the same on all cores. It takes a lock and hashes the name: ask once, and keep what is answered.
    ///
    /// # Errors
    /// If there are [`Config::topics_max`](crate::Config::topics_max) already.
    pub fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.names.topic(name)
    }

    /// How many cores there are, 1 to 256.
    pub fn cores(&self) -> usize {
        self.members.len()
    }

    /// The place of every core, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<M> {
        Place::first(self.members.len())
    }

    /// Accepts nobody more on any core, and serves on: those who wait in the listeners' queues are accepted and served, then the listeners are
    /// closed. The first half of a drain, before a [`stop`](Self::stop): a server that shares the port by SO_REUSEPORT gets all that is new. Cannot be
    /// taken back. Does not wait.
    pub fn stop_accepting(&self) {
        for member in self.members.iter() {
            member.control.stop_accepting();
            member.waker.wake();
        }
    }

    /// Begins a clean stop of all cores. Every open peer is told 1001, and cut after the stop timeout. Requests in progress and
    /// connections that wait in the listeners' queues are answered 503; a listener at which nobody waits is closed. Does not wait.
    ///
    /// Before it is closed, a listener waits for [`Config::linger`](crate::Config::linger) for those whose TCP handshake is under way. Who
    /// would begin one in that time begins a second later, with whoever listens then. A handshake that takes longer is reset by the
    /// kernel, unless another server shares the port and `net.ipv4.tcp_migrate_req` is 1 (Linux 5.14, ip-sysctl).
    pub fn stop(&self) {
        for member in self.members.iter() {
            member.control.stop();
            member.waker.wake();
        }
    }

    /// How far the life of a core has come. Never blocks; what it says may be over when it returns, but [`CoreState::Ended`] and
    /// [`CoreState::Failed`] are for ever. The others serve on beside a core that has failed, until
    /// [`Running::join`](crate::Running::join) stops them.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn state(&self, place: Place) -> CoreState {
        self.member(place).control.state()
    }

    /// Has [`on_wake`](crate::Handler::on_wake) called on a core, soon. Calls that come before it runs may come as one. Does not
    /// wait.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn wake(&self, place: Place) {
        let member = self.member(place);
        // Only the first since the last `on_wake` costs a syscall.
        if member.control.wake() {
            member.waker.wake();
        }
    }
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { members: Arc::clone(&self.members), names: Arc::clone(&self.names), mail: PhantomData }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("cores", &self.cores()).finish_non_exhaustive()
    }
}

/// What the factory of handlers is told of the core that it makes one for.
#[non_exhaustive]
pub struct CoreInfo<M = ()> {
    /// The core's place in the list of cores.
    pub place: Place,
    /// The CPU that the core's thread is pinned to.
    pub cpu: Cpu,
    /// How many cores there are.
    pub cores: usize,
    /// Reaches every core, those too that do not run yet.
    pub handle: Handle<M>,
}

impl<M> Clone for CoreInfo<M> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), ..*self }
    }
}

impl<M> fmt::Debug for CoreInfo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreInfo")
            .field("place", &self.place)
            .field("cpu", &self.cpu)
            .field("cores", &self.cores)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever mail is: a handle goes to any thread.
    #[test]
    fn a_handle_of_any_mail_is_for_any_thread() {
        fn needs<T: Clone + Send + Sync + fmt::Debug>(_: &T) {}
        let handle = Handle::<std::cell::Cell<u8>>::new(2, 1).expect("two descriptors");
        needs(&handle);
        let places: Vec<_> = handle.places().map(Place::index).collect();
        assert_eq!((handle.cores(), places), (2, vec![0, 1]));
        needs(&CoreInfo { place: Place::new(1), cpu: Cpu::new(0), cores: 2, handle });
    }
}
