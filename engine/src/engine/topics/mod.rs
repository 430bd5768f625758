//! Who has subscribed to what on one core, and the messages that wait for subscribers whose sockets do not keep up.
//!
//! ```text
//! topic ── its subscribers, in a dense list          `topic`, `retained`
//!   │     └ and those that follow: a publish does not come to them  `follow`, `newest`
//!   └ subscription ── its pieces, oldest first       `lanes`, `pieces`
//! connection ── its subscriptions
//!   └ lane ── all its pieces, first in first out
//! ```
//! `whole` is all of it. `configure` says how a topic is treated, `subscribe` changes who is served and how, `publish` brings a message to all subscribers, `drain` what waits to one connection; `moves` and
//! `gaps` keep what waits and what is missing. Promises that of each message it is known what became
//! of it, that no older value of a key follows a newer one, and that a connection without a subscription costs nothing. Nothing here
//! calls back but the closures of a topic, which reach nothing. Refuses to know frames, outputs and who a connection is: `outlet` is
//! what it asks for.

mod configure;
mod delivery;
mod drain;
mod follow;
mod gaps;
mod hash;
mod how;
mod lanes;
mod moves;
mod newest;
mod outlet;
mod payload;
mod pieces;
mod publish;
mod retained;
mod stride;
mod subscribe;
mod topic;
mod whole;

pub use self::delivery::{Counts, Delivery, Lagged, Published, SubscribeError, Subscribed};
pub use self::how::Publish;
pub(crate) use self::outlet::{Outlet, Room};
pub use self::retained::Retain;
pub(crate) use self::retained::Told;
pub use self::topic::{Topic, Update};
pub(crate) use self::whole::Topics;

#[cfg(test)]
#[path = "tests/books.rs"]
mod books;
#[cfg(test)]
mod tests;
