//! Tests of your own [`Handler`](crate::Handler), without sockets, threads or sleeping: a [`Bench`] runs one core with it in virtual time, and the test plays
//! its clients.
//!
//! Under the feature `testing`, which belongs among the `dev-dependencies`:
//!
//! ```toml
//! [dev-dependencies]
//! wsring = { version = "0.2", features = ["testing"] }
//! ```
//!
//! # A test
//! A room, where lines go to everybody and who says nothing for a minute has to leave:
//!
//! ```
//! use std::time::Duration;
//! use wsring::testing::{Bench, Ending};
//! use wsring::{CloseCode, Config, CoreCx, Cx, Delivery, Fired, Handler, Message, Opening, TimerId, TopicId, Verdict};
//!
//! struct Room(TopicId);
//!
//! impl Handler for Room {
//!     type Conn = Option<TimerId>;
//!     type Mail = ();
//!     fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Self::Conn> {
//!         match opening.request.path() {
//!             "/room" => Verdict::accept(None),
//!             _ => Verdict::reject_status(wsring::http::StatusCode::NOT_FOUND),
//!         }
//!     }
//!     fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
//!         let _ = cx.subscribe(self.0, Delivery::drop_oldest(100));
//!         *cx.data() = cx.set_timer(Duration::from_secs(60), 0).ok();
//!     }
//!     fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
//!         if let Some(timer) = cx.data().take() {
//!             cx.cancel(timer);
//!         }
//!         *cx.data() = cx.set_timer(Duration::from_secs(60), 0).ok();
//!         cx.publish(self.0, message);
//!     }
//!     fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, _: Fired) {
//!         cx.close(CloseCode::POLICY, "say something");
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // #[test]
//! let mut bench = Bench::new(Config::default(), |core| Room(core.handle.topic("room").expect("it is the only one")))?;
//! let ann = bench.connect("/room")?;
//! let ben = bench.connect("/room")?;
//! assert_eq!(bench.connect("/cellar").expect_err("there is none").status().expect("an answer"), 404);
//!
//! bench.send(ann, "hello");
//! assert_eq!(bench.take_texts(ben), ["hello"]);
//!
//! bench.advance(Duration::from_secs(59));
//! bench.send(ben, "still here");
//! bench.advance(Duration::from_secs(2));
//! assert_eq!(bench.take_texts(ann), ["hello", "still here"]);
//! let told = Ending::Closed { code: Some(CloseCode::POLICY), reason: "say something".to_owned() };
//! assert_eq!((bench.ending(ann), bench.ending(ben)), (Some(told), None));
//! assert_eq!(bench.stats().open, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What runs
//! The engine is the one that serves, with the settings that you give it: handshakes, frames, limits, output and its marks, deliveries of topics,
//! timers, ticks, deadlines, panics. Only the kernel is another: a connection is two queues of [`SOCKET_BYTES`] in memory. The clients
//! speak the protocol by `wsring-proto`, masks and compression among it.
//!
//! # Time
//! The clock stands until [`Bench::advance`] moves it, and what the core and its clients do takes none. So a timer that is set for 30 s comes after exactly 30 s, a
//! minute with a tick of 5 ms is 12,000 calls of [`on_tick`](crate::Handler::on_tick) in some milliseconds, and no test waits. A callback that asks the machine's clock asks
//! another one than [`CoreCx::now`](crate::CoreCx::now).
//!
//! # Slow clients
//! A client reads all that comes until [`Bench::stop_reading`] or [`Bench::read_slowly`]. What the core sends it beyond [`SOCKET_BYTES`] waits in its
//! output: then [`SendOutcome::High`](crate::SendOutcome::High) is told, and deliveries of topics conflate, drop or close.
//!
//! # Panics
//! A callback that panics does what it does on a running core ([`Config::on_panic`](crate::Config::on_panic)): by default its connection is closed with 1011 and counted
//! ([`Stats::panics`](crate::Stats::panics)), so an assertion in a handler fails no test by itself. With [`OnPanic::Stop`](crate::OnPanic::Stop) it does. A panic that ends the core goes on in
//! the test, from the verb that ran the bench, when all clients have been told.
//!
//! # Order, and seeds
//! [`Bench::new`] has everything arrive whole, in the order of the test. [`Bench::seeded`] cuts what clients and core send into pieces anywhere and lets
//! messages of several clients overtake each other; a seed repeats its story exactly.
//!
//! # What it does not show
//! - Several cores: there is one, at place 0. Mail to it by its handle works, and what is published reaches its subscribers.
//! - Outgoing connections: nobody listens anywhere, so each attempt of a dial fails, and names are not found.
//! - TLS: it is left out, and [`Opening::tls`](crate::Opening) has nothing.
//! - The network's own time and manners: round trips, windows that grow, buffers of some megabytes.
//! - How fast anything is.
#![forbid(unsafe_code)]

mod bench;
mod client;
mod handshake;

pub use bench::{Bench, Peer, SOCKET_BYTES};
pub use client::Ending;
pub use handshake::{Handshake, Refused};
