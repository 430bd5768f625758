//! **wsring** is a WebSocket engine for Linux: one pinned thread and one io_uring per core, nothing shared between cores,
//! your code called back through one [`Handler`].
//!
//! # An echo server
//! ```no_run
//! use wsring::{CoreCx, Cx, Handler, Message, Opening, Server, Verdict};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     type Conn = ();
//!     type Mail = ();
//!     fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> { Verdict::accept(()) }
//!     // No peer can fill our memory: one that does not read is not read from.
//!     fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) { let _ = cx.forward(message); }
//! }
//! fn main() -> Result<(), wsring::Error> { Server::bind("127.0.0.1:9001")?.run(|_| Echo).map(drop) }
//! ```
//!
//! # The loop
//! 1. One `io_uring_enter(2)` hands over all that the last pass left to do, and waits.
//! 2. Bytes that arrived lie in a buffer of the ring; an idle connection holds none.
//! 3. All complete frames in them are decoded in place and handed to [`Handler::on_message`].
//! 4. [`Conn::send`] encodes into the connection's output. Nothing is submitted inside a callback.
//! 5. At the end of the pass, [`Handler::on_batch_end`]; then one send for each connection that has output, or at the next tick ([`Flush`]).
//! 6. The buffers go back to the ring.
//!
//! Nothing a peer sends can panic the server, stall other connections, or grow memory beyond [`Config`]'s limits, and no
//! message is lost silently: [`Conn::send`] says what became of it, and [`Stats`] counts what was not delivered.
//!
//! # One handler a core
//! The factory that [`Server::run`] is given makes one handler for each core, on the core's thread, and the kernel chooses by SO_REUSEPORT
//! which core a peer comes to. So what a handler keeps is of its own core's connections. A world that all peers share runs on one core,
//! `.cores([0])`; or the cores tell each other what happens, by a [`Handle`]: they publish it, or mail it.
//!
//! # State
//! [`Handler::Conn`] is the state of a connection: [`Handler::on_upgrade`] makes it, [`Cx::data`] is it, [`Handler::on_close`] gives it
//! back. [`CoreCx::data_of`] reaches that of another connection by its id, [`CoreCx::for_each`] that of each in turn, and [`Cx::split`] lends state and
//! connection apart, to send what is made of the state. What is of all connections of a core lies in the handler itself.
//!
//! # Running
//! [`Server::run`] serves until SIGINT or SIGTERM. [`Server::start`] returns a [`Running`] while the cores serve, for programs that do something
//! else: [`Running::handle`] reaches the cores, [`Running::stop_on_signals`] and [`Handle::stop`] stop them, [`Running::join`] waits for
//! their end and returns their counters. A `Running` that is dropped stops nothing: the cores serve on, as threads do that nobody joins.
//!
//! [`Handle::drain`] empties the cores before they end: a [`Drain`] closes connections one after another, so that their clients do not all come back at once, while health
//! checks are told that the server is not up. [`Running::drain_on_signals`] does so at SIGTERM.
//!
//! # Sending
//! A callback's [`Cx`] is a [`Conn`], and [`CoreCx::conn`] finds any other by its id. A `Conn` sends in five ways, and each says by
//! a [`SendOutcome`] what became of the message:
//!
//! | call | the message | copied |
//! |---|---|---|
//! | [`send`](Conn::send) | is borrowed | once, into what is sent |
//! | [`forward`](Conn::forward) | is the one being handled | where it is short |
//! | [`send_owned`](Conn::send_owned) | is given away: a `String`, a `Vec<u8>`, [`Bytes`](bytes::Bytes) | below 64 KiB, and where it is masked or compressed |
//! | [`send_with`](Conn::send_with), [`send_text_with`](Conn::send_text_with) | is written where it is sent from | never |
//! | [`send_prepared`](Conn::send_prepared) | goes to many, and is compressed once | below 4 KiB, and where it is masked |
//!
//! `Queued` asks for nothing. `High` says that the message is queued and asks you to send no more to this connection until
//! [`Handler::on_writable`]. `Refused` says that it is not queued, because more than [`Config::output_max_bytes`] would be queued: keep it and
//! send it at `on_writable`, drop it, or close the connection. `Gone`: the connection is closing.
//!
//! # Topics
//! [`CoreCx::publish`] brings a message to all connections of a core that have subscribed to its topic ([`Conn::subscribe`]), and each
//! subscription says what happens while its socket does not keep up: [`Delivery`]. Things that connections want one by one, such as rooms, are a topic
//! each, without keys. Things that go to the same subscribers, of which each has a newest value, are one topic with a key for each, and
//! [`Retain::LastPerKey`] gives all of them to who comes late. `examples/market_feed.rs` has slow readers get the newest value of each
//! instrument, and nobody wait for them.
//!
//! # Other threads
//! A [`Handle`] reaches every core from any thread: [`mail`](Handle::mail) has [`Handler::on_mail`] called there, [`send`](Handle::send) and
//! [`close`](Handle::close) are for a connection by its id, [`publish`](Handle::publish) is for
//! the subscribers of all cores, [`stats`](Handle::stats) asks for counters. [`Running::handle`] is one, the factory of handlers is
//! given one ([`CoreInfo`]), and so is every callback ([`CoreCx::handle`]). `examples/control.rs` is a thread in control of running cores.
//!
//! # Answering later
//! Whoever must ask elsewhere who a client is, such as a session store, does not hold up its core: [`CoreCx::defer`] keeps the request,
//! any thread says by [`Handle::admit`] what it has found, and [`Handler::on_admit`] makes the connection of that, on the request's own core.
//! `examples/token_check.rs` looks tokens up on another thread.
//!
//! # Limits of single connections
//! [`Config`] has the limits and timeouts of all connections, [`Terms`] those of one where they differ: [`Verdict::terms`] gives them to whoever asks for a path or a subprotocol, [`Target::terms`] to
//! what is dialled. A [`Target`] has its own timeouts for the time before a connection is open, and with TLS its own certificate and whom it trusts.
//!
//! # Time
//! [`Config::tick`] has [`Handler::on_tick`] called at a fixed rate, for games and feeds, and with [`Flush::AtTick`] each connection gets one send
//! a tick. [`CoreCx::set_timer`] and [`CoreCx::set_interval`] set timers of the core, [`Conn::set_timer`] one of a connection, which ends
//! with that. [`CoreCx::now`] is the time of the pass. `examples/game_tick.rs` tells its players of the world 30 times a second, in one segment each.
//!
//! # Dialling out
//! A core is a client as well, in the same callbacks: [`CoreCx::connect`] takes a [`Target`], [`Handler::on_answer`] makes the
//! state of the connection that a server opened, [`Handler::on_dial_failed`] says why there is none, and a [`Reconnect`] policy
//! dials again. A [`Client`] runs cores without a listener. `examples/relay.rs` and `examples/gateway.rs` are
//! a client and a server on one core; `examples/exchange.rs` dials with a fresh token each time.
//!
//! # TLS
//! With the feature `tls`, `Config::tls` takes an `Arc<rustls::ServerConfig>` and every listener speaks `wss://`;
//! `Target::tls` takes an `Arc<rustls::ClientConfig>` for a server that does. No provider of
//! cryptography is chosen for you: depend on rustls (which wsring exports as well) with the provider you want. The command
//! `wsring` uses the crate ring.
//!
//! # Who it is, and proxies in front
//! [`Handler::on_accept`] meets who connects before anything of it is read; [`Opening`] and [`Conn`] tell the peer's address, the name and protocol of TLS, and
//! the subprotocol. A [`Listener`] has settings of its own for [`Server::listen`]: the PROXY protocol ([`ProxyProtocol`]), proxies whose
//! `Forwarded` or `X-Forwarded-For` is believed, TLS, a Unix-domain socket. Where a proxy is believed the peer is its client, and the proxy is told as
//! `via`. [`Config::crowd_max`] limits the connections from one network.
//!
//! # Kernels
//! Where io_uring is forbidden, as in Docker by default, or not there, cores run on epoll: see [`RingKind`] and [`Running::ring`].
//! Of io_uring Linux 6.1 is the oldest that is run; [the list](https://github.com/wsring/wsring/blob/main/docs/kernels.md). What a kernel lacks beyond that is done without, and
//! [`Running::features`] tells: see [`Feature`]. Before Linux 6.13 connections are ordinary descriptors, and the limit on those
//! (`ulimit -n`) bounds the connections of all cores together: see [`Config::connections_max`] and [`Running::connections_max`].
//!
//! # Machines that leave less
//! A start does without what it cannot have and says so: [`Running::given_up`]. CPU quotas bound the default number of cores ([`Server::cores`], [`Config::pinned`]),
//! little locked memory the queues of rings, few descriptors the connections. [The page on deploying](https://github.com/wsring/wsring/blob/main/docs/deploy.md)
//! says what helps.
//!
//! # Testing
//! With the feature `testing`, `wsring::testing` runs a core with your handler in virtual time, and a test plays its clients: they connect, send, read slowly, vanish, and the
//! test moves the clock.
//!
//! # The rooms
//! `wsring-proto` is the protocol, pure. `engine` is one thread's engine, without unsafe. `ring` is the seam to the kernel,
//! with io_uring on one side of it and a simulated kernel with faults on the other. [`Server`] owns the threads. `tls` is
//! bytes in and bytes out; it stands between `engine` and the sockets.
//!
//! # Features
//! None is on by default.
//! - `tls`: TLS in both roles, by rustls.
//! - `libdeflate`: libdeflate, in C, for compression at level 2 and above.
//! - `testing`: `wsring::testing`, for tests of your own handler. It belongs among the `dev-dependencies`.
//! - `unstable-ring`: `ring` and `engine`, for a ring that is built elsewhere, such as that of `wsring-tokio-uring`. Any version may
//!   change them: semantic versioning does not cover them.
//! - `sim`: `unstable-ring`, and the simulated kernel.
//! - `planted`: `sim`, and bugs on purpose for the tests that must catch them; never for a build that serves.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "wsring runs on Linux alone: it is built on io_uring. On another system, build it in a Linux container or VM."
);

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod affinity;
mod cgroups;
mod client;
mod config;
mod cores;
mod drain;
#[cfg(feature = "unstable-ring")]
#[doc(hidden)]
pub mod embed;
#[cfg(feature = "unstable-ring")]
#[doc(hidden)]
pub mod engine;
#[cfg(not(feature = "unstable-ring"))]
mod engine;
mod error;
mod flush;
mod gate;
mod given_up;
mod handle;
mod handler;
mod handover;
mod headers;
mod listen;
mod listen_fds;
mod listening;
mod peer;
mod placing;
mod pressure;
mod quota;
mod reconnect;
mod resolver;
#[cfg(feature = "unstable-ring")]
#[doc(hidden)]
pub mod ring;
#[cfg(not(feature = "unstable-ring"))]
mod ring;
mod rings;
mod running;
mod server;
#[cfg(feature = "tls")]
mod server_tls;
mod signals;
mod stats;
mod target;
mod terms;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
mod way;

pub use bytes;
pub use client::Client;
pub use config::{Config, Deflate, InvalidConfig, OnPanic};
pub use cores::{CoreState, Cpu, InvalidCpu, Place};
pub use drain::{Drain, DrainReport};
pub use engine::{
    ConnId, Counts, Declined, Delivery, DialError, DialId, Dialled, Fired, Lagged, MailError, Pending, PendingFull,
    Publish, Published, Retain, SendOutcome, SubscribeError, Subscribed, Tick, TimerId, TimersFull, Topic, TopicError,
    TopicId, Update,
};
pub use error::Error;
pub use flush::Flush;
pub use gate::ProxyProtocol;
pub use given_up::GivenUp;
pub use handle::{CoreInfo, Handle, Posted};
pub use handler::{
    Answered, CloseReason, Conn, CoreCx, Cx, Handler, Message, Opening, OwnedMessage, Prepared, Redial, Request,
    Response, Verdict, Violation,
};
pub use handover::{Handover, Successor};
pub use http;
pub use listen::Listener;
pub use listen_fds::ListenFds;
pub use peer::Peer;
pub use pressure::Pressure;
pub use quota::CpuQuota;
pub use reconnect::Reconnect;
pub use ring::uring::heap::map_long_buffers;
pub use ring::uring::{Feature, Features, QueueEntries, RecvBuffers, SendBuffers, SetupError, UnknownFeature};
pub use ring::{Errno, Time};
pub use rings::{RingKind, UnknownRing};
pub use running::Running;
#[cfg(feature = "tls")]
pub use rustls;
pub use server::Server;
#[cfg(feature = "tls")]
pub use server_tls::{ServerTls, UnusableTls};
pub use stats::Stats;
pub use target::{Target, TargetError};
pub use terms::Terms;
#[cfg(feature = "tls")]
pub use tls::{TlsError, TlsPeer};
pub use way::{Proxy, ProxyError};
pub use wsring_proto::Limits;
pub use wsring_proto::close::{CloseCode, InvalidCloseCode};
pub use wsring_proto::deflate::{CompressionError, InvalidSettings as InvalidDeflate, Mode as DeflateMode};
pub use wsring_proto::forwarded::Field as ForwardedField;
pub use wsring_proto::handshake::{AnswerError, HeadLimits, OriginError, OriginList, Origins, Policy, RequestError};
pub use wsring_proto::prefix::{Prefix, PrefixError};
pub use wsring_proto::tunnel::{AskError, TunnelError};
