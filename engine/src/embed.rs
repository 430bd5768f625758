//! The way in for a ring that is built elsewhere, such as that of `wsring-tokio-uring`: an engine on it, awaited in a runtime, and what
//! other threads hold of the engine.
//!
//! Under the feature `unstable-ring`. Promises what a core of [`Server`](crate::Server) promises. Refuses to know how the ring waits.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use wsring_proto::close::CloseCode;

use crate::config::Config;
use crate::cores::{CoreState, Place};
use crate::drain::Drain;
use crate::engine::{
    Bell, ConnId, Control, Core, MAILBOX_MAX, MailError, Names, Pending, Publish, Seat, TOPICS_MAX, TopicError, TopicId,
};
use crate::error::Error;
use crate::gate::Gate;
use crate::given_up::GivenUp;
use crate::handle::{Handle, Member};
use crate::handler::{Handler, OwnedMessage, Response};
use crate::ring::uring::{Features, heap};
use crate::ring::{Ring, SendBlocks, Time};
use crate::server::resolve_for;
use crate::stats::Stats;

/// What other threads hold of an engine: see [`Handle`](crate::Handle). All remotes of a process call topics the same.
pub struct Remote<M = ()>(Member<M>, Arc<Names>);

impl<M> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), Arc::clone(&self.1))
    }
}

impl<M> fmt::Debug for Remote<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<M> Remote<M> {
    /// Of an engine that is yet to be made, and looks when `bell` has woken its ring.
    pub fn new(bell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Member::new(Bell::new(bell), MAILBOX_MAX), Arc::new(Names::of_process(TOPICS_MAX)))
    }

    /// Has the mailbox hold as many letters as these settings say, unless there is one already; and as many topics have names.
    pub fn configure(&self, config: &Config) {
        self.1.set_max(config.topics.topics_max);
        self.0.set_mailbox_max(config.mailbox_max.max(1));
    }

    /// Asks for a clean stop.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Drains it: see [`Handle::drain`](crate::Handle::drain).
    pub fn drain(&self, drain: Drain) {
        self.0.drain(drain);
    }

    /// Asks that nobody more be accepted.
    pub fn stop_accepting(&self) {
        self.0.stop_accepting();
    }

    /// How far the life of the core has come.
    #[must_use]
    pub fn state(&self) -> CoreState {
        self.0.control.state()
    }

    /// Asks for `on_wake`.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Sends mail: see [`Handle::mail`](crate::Handle::mail).
    ///
    /// # Errors
    /// [`MailError`], with the mail.
    pub fn mail(&self, mail: M) -> Result<(), MailError<M>> {
        self.0.mail(mail)
    }

    /// Sends to a connection: see [`Handle::send`](crate::Handle::send).
    ///
    /// # Errors
    /// [`MailError`], with the message.
    pub fn send(&self, to: ConnId, message: impl Into<OwnedMessage>) -> Result<(), MailError<OwnedMessage>> {
        self.0.send(to, message.into())
    }

    /// Says what was found about a request that waits: see [`Handle::admit`](crate::Handle::admit).
    ///
    /// # Errors
    /// [`MailError`], with what was found.
    pub fn admit(&self, pending: Pending, found: M) -> Result<(), MailError<M>> {
        self.0.admit(pending, found)
    }

    /// Answers a request that waits: see [`Handle::respond`](crate::Handle::respond).
    ///
    /// # Errors
    /// [`MailError`], with the response.
    #[allow(clippy::result_large_err, reason = "a response that could not be left is given back as it is")]
    pub fn respond(&self, pending: Pending, response: Response) -> Result<(), MailError<Response>> {
        self.0.respond(pending, response)
    }

    /// The topic of this name, in all engines of the process: see [`Handle::topic`](crate::Handle::topic).
    ///
    /// # Errors
    /// If there are as many already as the settings allow this engine to know.
    pub fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.1.topic(name)
    }

    /// Publishes to the subscribers of this engine: see [`Handle::publish_on`](crate::Handle::publish_on).
    ///
    /// # Errors
    /// [`MailError`], with the message.
    pub fn publish(
        &self,
        topic: TopicId,
        how: Publish,
        message: impl Into<OwnedMessage>,
    ) -> Result<(), MailError<OwnedMessage>> {
        self.0.publish(topic, how, message.into())
    }

    /// Closes a connection: see [`Handle::close`](crate::Handle::close).
    ///
    /// # Errors
    /// [`MailError`].
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), MailError<()>> {
        self.0.close(id, code, reason)
    }

    /// The counters: see [`Handle::stats`](crate::Handle::stats).
    #[must_use]
    pub fn stats(&self, patience: Duration) -> Option<Stats> {
        self.0.stats(patience)
    }
}

/// The settings of one core, checked, on a ring whose sockets are ordinary descriptors.
#[derive(Clone, Debug)]
pub struct Settings(Arc<Config>);

impl Settings {
    /// Checks the settings and raises the limit on descriptors.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Setup`] if the limit on descriptors has no room for the connections asked for.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let (config, few) = config.resolved(1, Features::none())?;
        few.iter().for_each(GivenUp::tell);
        Ok(Self(Arc::new(config)))
    }

    /// Sockets that the engine has at once, at most.
    #[must_use]
    pub fn sockets_max(&self) -> usize {
        self.0.sockets_max()
    }

    /// See `Config::nodelay`.
    #[must_use]
    pub fn nodelay(&self) -> bool {
        self.0.nodelay
    }
}

/// One core's engine on another ring. It has no send blocks: what is sent lies in pooled memory of its own.
pub struct Engine<R: Ring, H: Handler> {
    core: Core<R, H>,
    place: Place,
    control: Arc<Control>,
}

impl<R: Ring, H: Handler> Engine<R, H> {
    /// An engine at this place, with so many listeners of the ring. Names are looked up on other threads. A remote is one engine's.
    ///
    /// # Errors
    /// [`Error::Start`] if the operating system has no random numbers.
    pub fn new(
        place: Place,
        settings: &Settings,
        ring: R,
        handler: H,
        listeners: u32,
        remote: &Remote<H::Mail>,
    ) -> Result<Self, Error> {
        let random = StdRng::try_from_rng(&mut SysRng).map_err(|error| Error::Start(io::Error::other(error)))?;
        let member = remote.0.clone();
        let (control, mailbox) = (Arc::clone(&member.control), member.reader());
        remote.1.set_max(settings.0.topics.topics_max);
        let names = Arc::clone(&remote.1);
        let handle = Box::new(Handle::new(place, [member.clone()], Arc::clone(&names)));
        let resolve = Some(resolve_for(Arc::clone(&control), move || member.ring()));
        let trim: Option<Box<dyn Fn() -> bool>> = Some(Box::new(heap::give_back));
        let seat = Seat { place, control: Arc::clone(&control), mailbox, handle, random, resolve, trim, names };
        let core =
            Core::new(seat, ring, SendBlocks::new(0, 0), handler, Arc::clone(&settings.0), &Gate::plain(listeners));
        Ok(Self { core, place, control })
    }

    /// Runs until stopped. `wait` comes back when the ring has completions or the time has come; without a time there is none to
    /// come.
    ///
    /// # Errors
    /// [`Error::Ring`] if the ring breaks.
    pub async fn run(&mut self, wait: impl AsyncFnMut(Option<Time>)) -> Result<Stats, Error> {
        let _tenure = self.control.begin();
        let ended = self.core.run_async(wait).await;
        ended.map_err(|source| {
            self.control.tell(CoreState::Failed);
            Error::Ring { place: self.place, source }
        })
    }
}
