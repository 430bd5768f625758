//! The engine inside a [tokio-uring](tokio_uring) runtime: [`Server`] runs a [`Handler`] on `tokio_uring::net` sockets.
//!
//! For programs that live in that runtime already. Protocol, callbacks, limits and deadlines are those of
//! [`wsring::Server`], for the core is the same; what differs is who speaks to the kernel. One server is one
//! thread's, as the runtime is: for more cores, run one in each thread, on listeners bound with SO_REUSEPORT.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use wsring_tokio_uring::Server;
//! use wsring::{CoreCx, Cx, Handler, Message, Opening, Verdict};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Conn = ();
//!     type Mail = ();
//!     fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
//!         Verdict::accept(())
//!     }
//!     fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
//!         let _ = cx.forward(message); // no peer can fill our memory: one that does not read is not read from
//!     }
//! }
//!
//! let server = Server::new().listen(TcpListener::bind("127.0.0.1:9001")?);
//! let stats = tokio_uring::start(server.run(Echo))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it costs
//! Against wsring's own ring; `wsring-bench compare --only wsring,tokio-uring` shows how much.
//! - Reads are single-shot: a submission each, where a multishot receive is submitted once per connection.
//! - A read needs its memory from the start, so a connection at rest holds a buffer of 4 KiB, and two tasks: 5.2 KB of
//!   resident memory where a ring of our own takes 0.16 KB. A busy one reads into 64 KiB.
//! - The runtime sleeps in epoll_wait(2) and learns there that its ring has completions: two system calls per pass instead
//!   of one, and the wake goes from task to task until it reaches the core.
//! - Sockets are ordinary descriptors and are written with IORING_OP_WRITE: no table of fixed files and no
//!   MSG_NOSIGNAL. (Rust ignores SIGPIPE unless told otherwise; a host program that does not
//!   is killed by a peer that resets its connection.)
//! - The runtime hands its submissions over when its thread goes to sleep. A task that never lets it sleep holds up
//!   everybody.
//!
//! The ring is the runtime's, so these settings of [`Config`] have no effect: `spin`, `recv_buffers`, `send_buffers`,
//! `queue_entries`, `features`; nor has `backlog`, for the listeners listen already. Make the runtime with
//! [`tokio_uring::builder`] and more entries than the default 256 when connections are many.
//! [`Stats::enters`](wsring::Stats::enters) stays 0.
//!
//! # Before you choose it
//! tokio-uring's last release is 0.5.0, of May 2024, on io-uring 0.6. Its issue 336 asks whether it is fit for production, and
//! the answers there are that it has no maintainer. It builds and runs with Rust 1.95. Nothing else of wsring depends on it.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod conn;
mod listening;
mod ring;
mod shared;

use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::Sleep;
use wsring::embed::{Engine, Remote, Settings};
use wsring::ring::{Time, uring};
use wsring::{
    CloseCode, Config, ConnId, CoreState, Drain, Error, Handler, MailError, OwnedMessage, Pending, Place, Publish,
    Response, Stats, TopicError, TopicId,
};

use crate::listening::Listening;
use crate::ring::TokioRing;
use crate::shared::Shared;

/// One thread's server, or client if it has no listener.
///
/// `M` is its handler's [`Mail`](Handler::Mail).
#[derive(Debug)]
pub struct Server<M = ()> {
    listeners: Vec<TcpListener>,
    config: Config,
    place: Option<Place>,
    handle: Handle<M>,
}

/// Reaches a server from any thread, before it runs and while it does. `M` is its handler's [`Mail`](Handler::Mail).
#[derive(Debug)]
pub struct Handle<M = ()> {
    remote: Remote<M>,
    notify: Arc<Notify>,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { remote: self.remote.clone(), notify: Arc::clone(&self.notify) }
    }
}

impl<M> Default for Handle<M> {
    fn default() -> Self {
        let notify = Arc::new(Notify::new());
        let rung = Arc::clone(&notify);
        Self { remote: Remote::new(move || rung.notify_one()), notify }
    }
}

impl<M> Default for Server<M> {
    fn default() -> Self {
        Self { listeners: Vec::new(), config: Config::default(), place: None, handle: Handle::default() }
    }
}

impl<M> Handle<M> {
    /// Begins a clean stop: every open peer is told 1001 and cut after the stop timeout, requests in progress and connections that
    /// wait are answered 503, and nobody more is accepted. Does not wait.
    pub fn stop(&self) {
        self.remote.stop();
    }

    /// Empties the server before it ends: see [`wsring::Handle::drain`]. Does not wait.
    pub fn drain(&self, drain: Drain) {
        self.remote.drain(drain);
    }

    /// Accepts nobody more, and serves on. Does not wait.
    pub fn stop_accepting(&self) {
        self.remote.stop_accepting();
    }

    /// Has `on_wake` called, soon. Calls that come before it runs may come as one.
    pub fn wake(&self) {
        self.remote.wake();
    }

    /// How far the life of the server has come; one that is dropped has [ended](CoreState::Ended).
    pub fn state(&self) -> CoreState {
        self.remote.state()
    }

    /// Has [`on_mail`](Handler::on_mail) called with this, soon: see [`wsring::Handle::mail`].
    ///
    /// # Errors
    /// [`MailError`], with the mail.
    pub fn mail(&self, mail: M) -> Result<(), MailError<M>> {
        self.remote.mail(mail)
    }

    /// Sends a message to a connection: see [`wsring::Handle::send`]. Its id must be of this server.
    ///
    /// # Errors
    /// [`MailError`], with the message.
    pub fn send(&self, to: ConnId, message: impl Into<OwnedMessage>) -> Result<(), MailError<OwnedMessage>> {
        self.remote.send(to, message)
    }

    /// Says what was found about a request that waits: see [`wsring::Handle::admit`]. It must wait at this server.
    ///
    /// # Errors
    /// [`MailError`], with what was found.
    pub fn admit(&self, pending: Pending, found: M) -> Result<(), MailError<M>> {
        self.remote.admit(pending, found)
    }

    /// Answers a request that waits: see [`wsring::Handle::respond`]. It must wait at this server.
    ///
    /// # Errors
    /// [`MailError`], with the response.
    #[allow(clippy::result_large_err, reason = "a response that could not be left is given back as it is")]
    pub fn respond(&self, pending: Pending, response: Response) -> Result<(), MailError<Response>> {
        self.remote.respond(pending, response)
    }

    /// The topic of this name: the same for all servers of the process. See [`wsring::Handle::topic`].
    ///
    /// # Errors
    /// If there are [`Config::topics_max`] already, those of other servers included.
    pub fn topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.remote.topic(name)
    }

    /// Publishes a message to the subscribers of this server: see [`wsring::Handle::publish_on`]. Who runs several servers, one a thread, publishes by the handle of
    /// each; clones of an [`OwnedMessage`] share its memory.
    ///
    /// # Errors
    /// [`MailError`], with the message.
    pub fn publish(
        &self,
        topic: TopicId,
        how: Publish,
        message: impl Into<OwnedMessage>,
    ) -> Result<(), MailError<OwnedMessage>> {
        self.remote.publish(topic, how, message)
    }

    /// Closes a connection: see [`wsring::Handle::close`]. Its id must be of this server.
    ///
    /// # Errors
    /// [`MailError`].
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), MailError<()>> {
        self.remote.close(id, code, reason)
    }

    /// The counters, from the next pass or from the end, waiting at most for so long: see [`wsring::Handle::stats`]. It blocks its thread, so not on
    /// that of the server.
    pub fn stats(&self, patience: Duration) -> Option<Stats> {
        self.remote.stats(patience)
    }
}

impl<M: Send + 'static> Server<M> {
    /// Without a listener, with default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts from this socket, which listens already. When the server ends it is shut down (shutdown(2)), so a clone of
    /// it does not listen any more either.
    #[must_use]
    pub fn listen(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Replaces the settings. Those of the ring have no effect: see the [module](self).
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.handle.remote.configure(&config);
        self.config = config;
        self
    }

    /// What [`ConnId::place`](wsring::ConnId::place) says of its connections, so that the ids of several servers differ.
    /// Default 0.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Reaches this server from any thread.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Runs until stopped, by a [`Handle`] or from a callback. Dropping the future instead cuts every connection at once,
    /// without `on_close`.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Setup`] if the limit on descriptors has no room for the connections asked for;
    /// [`Error::Start`] if a listener cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio-uring runtime; and with what the handler panicked with, if that ends the core
    /// ([`Config::on_panic`]), when its peers have been told 1011.
    pub async fn run<H: Handler<Mail = M>>(self, handler: H) -> Result<Stats, Error> {
        let Self { listeners, config, place, handle: Handle { remote, notify } } = self;
        let place = place.unwrap_or(Place::new(0));
        let settings = Settings::new(config)?;
        let shared = Rc::new(Shared::new());
        let listen = |listener| Listening::new(listener, settings.nodelay(), Rc::clone(&shared));
        let listeners: Vec<_> = listeners.into_iter().map(listen).collect::<io::Result<_>>().map_err(Error::Start)?;
        let count = listeners.len() as u32;
        let ring = TokioRing::new(Rc::clone(&shared), listeners, settings.sockets_max(), notify);
        let mut engine = Engine::new(place, &settings, ring, handler, count, &remote)?;
        let mut clock = Clock { shared, origin: (uring::monotonic(), Instant::now()), sleep: None };
        engine.run(async |until| clock.wait(until).await).await
    }
}

/// Waits for completions, or for a point in time.
struct Clock {
    shared: Rc<Shared>,
    /// The same moment by the ring's clock and by that of timers; no later by the former, so that none comes early.
    origin: (Time, Instant),
    /// Set to the earliest time that was asked for and has not come: deadlines mostly move back, and coming too early
    /// costs less than setting it every pass.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    async fn wait(&mut self, until: Option<Time>) {
        if !self.shared.is_empty() {
            return;
        }
        let (time, instant) = self.origin;
        let until = until.map(|until| instant + until.since(time));
        if until.is_some_and(|until| until <= Instant::now()) {
            return tokio::task::yield_now().await; // there is work left; others have their turn first
        }
        if let Some(until) = until.map(tokio::time::Instant::from_std) {
            match &mut self.sleep {
                Some(sleep) if !sleep.is_elapsed() && sleep.deadline() <= until => {}
                Some(sleep) => sleep.as_mut().reset(until),
                none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        poll_fn(|cx| {
            if !self.shared.is_empty() {
                return Poll::Ready(());
            }
            self.shared.core.on_ring(cx.waker());
            match &mut self.sleep {
                Some(sleep) if until.is_some() => sleep.as_mut().poll(cx),
                _ => Poll::Pending,
            }
        })
        .await;
    }
}
