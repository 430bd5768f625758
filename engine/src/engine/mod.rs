//! One thread's engine, without unsafe: what is received, what is sent, and when a connection ends.
//!
//! Parts, which know neither the ring nor the handler:
//! - `id`: names. `addresses`: who is at the other end, and what else is known of it. `life`: the stages of a connection, with their clocks. `input`: whether its messages are taken. `flight`: what
//!   the kernel has of it. `output`: what is to be sent, in memory of `stores`; `promise`: the message that may be moved there;
//!   `pongs`: those that wait behind high output.
//! - `pack`: compressors. `forms`: what a message is that goes to many. `holding`: what one connection keeps of memory.
//! - `deadlines`: when connections are due. `begun`: by when messages that have begun must have come further. `timers`: when dials are. `alarms`: the application's timers, in the order of `wheel`, and `ticks`; `ages`: how long connections last; `held`: output that waits for those. `heard`: up to when peers have been
//!   heard, by which both are measured. `budget`: what may be kept in memory. `shortage`: connections that wait for
//!   receive buffers. `work`: how much a connection may have done in a pass. `handshakes`: of TLS, those that wait for their turn. `heads`: who has not asked yet.
//!   `answering`: a server's answer. `pending`: requests whose answer is deferred. `dial_error`: why there is none. `sealed`: TLS of one connection.
//! - `slow`: peers that are slow to take what is sent. `crowd`: how many connections there are from each network.
//! - `topics`: who has subscribed to what, and what waits for those who do not keep up; `names`: what topics are called; `rates`: how fast they give. `norms`: what holds for each connection.
//! - `inbox`: what other threads leave; `mailbox`: what they send; `board`: what they ask for. `panics`: whose a panic is. `tokens`: of operations that
//!   belong to no connection.
//!
//! Tables: `accepts`, of the listeners; `conns`, the two halves of a connection; `peers`, the half that callbacks may reach; `dials`, what is to be connected.
//!
//! Around the application: `reach` is all that a callback may touch, `backlog` what its output does, `draft` a message that it
//! writes in place, `prepared` one that it sends to many, `spread` one that it publishes, `paced` what connections with a rate get of those, `states` what it keeps of connections, `calls` the only caller.
//!
//! Stations, each entered by one kind of event: `listener`, `proxied`, `upgrade`, `deferred` and `dialling` (how connections come), `receive`, `secure` and
//! `frames` (what arrives), `sent`, `expire`, `fire`, `aging`, `patience`, `relief`, `letters` (what other threads
//! want), `ending`, `stop`. `settle` is the only submitter of a connection's operations, `turn` is the loop, and `core` is all of it together.
//! `driven` is a core whose passes a test makes, one by one.
#![forbid(unsafe_code)]

mod accepts;
mod addresses;
mod ages;
mod aging;
mod alarms;
mod answering;
mod backlog;
mod begun;
mod board;
mod budget;
mod calls;
mod connecting;
mod conns;
mod core;
mod crowd;
mod deadlines;
mod deferred;
mod departures;
mod dial_error;
mod dialling;
mod dials;
mod draft;
mod draining;
#[cfg(feature = "testing")]
mod driven;
mod emptying;
mod ending;
mod expire;
mod fire;
mod flight;
mod forms;
mod frames;
#[cfg(feature = "tls")]
mod handshakes;
mod heads;
mod heard;
mod held;
pub(crate) mod holding;
mod id;
mod inbox;
mod input;
mod letters;
mod life;
mod listener;
mod mailbox;
mod names;
mod norms;
mod output;
mod paced;
mod pack;
pub(crate) mod panics;
mod patience;
mod peers;
mod pending;
mod pings;
pub(crate) mod planted;
mod pongs;
mod prepared;
mod promise;
mod proxied;
mod race;
mod rates;
mod reach;
mod receive;
mod relief;
#[cfg(feature = "tls")]
mod sealed;
#[cfg(feature = "tls")]
mod secure;
mod sent;
mod settle;
mod shortage;
mod slow;
mod spread;
mod states;
mod stop;
mod stores;
#[cfg(any(test, feature = "sim"))]
pub mod testing;
mod ticks;
mod timers;
mod tokens;
mod topics;
mod trails;
mod turn;
mod turnstile;
mod upgrade;
mod wheel;
mod work;

pub use self::alarms::{Fired, TimerId, TimersFull};
pub use self::dial_error::{Declined, DialError};
pub use self::dials::Dialled;
pub use self::id::{ConnId, DialId};
pub use self::names::{TopicError, TopicId};
pub use self::pending::{Pending, PendingFull};
pub use self::reach::SendOutcome;
pub use self::ticks::Tick;
pub use self::topics::{
    Counts, Delivery, Lagged, Publish, Published, Retain, SubscribeError, Subscribed, Topic, Update,
};

pub(crate) use self::addresses::More;
pub(crate) use self::alarms::TIMERS_MAX;
pub(crate) use self::core::{Core, Seat};
#[cfg(feature = "testing")]
pub(crate) use self::driven::Driven;
pub(crate) use self::inbox::{Control, Leaving, Resolve};
pub use self::mailbox::MailError;
pub(crate) use self::mailbox::{Bell, Letter, MAILBOX_MAX, Mailbox, Reader};
pub(crate) use self::names::{Names, TOPICS_MAX};
#[cfg(test)]
pub(crate) use self::pending::Deferrals;
pub(crate) use self::reach::{How, Reach};
pub(crate) use self::states::Lent;
