//! The API an application implements and calls: [`Handler`], [`Cx`], [`Conn`], [`CoreCx`].
//!
//! One handler lives on each core's thread and is called for that core's connections alone, so it needs no lock and
//! need not be `Send`. What a callback asks for (send, close, pause) is noted and done at the end of the pass; a call
//! never calls back, so any callback may close, send to or pause any connection, its own included, at any point.

mod callbacks;
mod conn;
mod cx;
mod data;
mod deferring;
mod opening;
mod owned;
mod reason;
mod redial;
mod timing;
mod topics;
mod verdict;

pub use wsring_proto::close::Violation;
pub use wsring_proto::handshake::Request;
pub use wsring_proto::opcode::Message;

pub use self::callbacks::{Conn, CoreCx, Cx, Handler};
pub use self::cx::Prepared;
pub use self::opening::{Answered, Opening};
pub use self::owned::OwnedMessage;
pub use self::reason::CloseReason;
pub use self::redial::Redial;
pub(crate) use self::verdict::{Acceptance, VerdictKind};
pub use self::verdict::{Response, Verdict};
