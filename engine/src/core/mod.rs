//! One thread's engine, without unsafe: what is received, what is sent, and when a connection ends.
//!
//! - `turn`: the loop, and the only place that submits a connection's operations.
//! - `rx`: bytes become messages. `upgrade`: a request head becomes a connection.
//! - `reach`: what callbacks may touch. `output`: messages become bytes, in memory of `stores`; `promise`: or are moved. `pack`: fewer bytes. `secure`: TLS, between all those and the socket.
//! - `calls`: the only caller of the application. `conns`: the two tables of connections. `deadlines`: their place in time.
//! - `listener` and `dial`: where they come from. `dials`: the table of those that we make.
//!
//! Topics (`topics.rs`), timers of the application (`timers.rs`) and mail between cores will stand here, beside `tx`,
//! `deadlines` and `Control`.
#![forbid(unsafe_code)]

mod calls;
mod conns;
mod deadlines;
mod dial;
mod dials;
mod flight;
mod id;
mod input;
mod life;
mod listener;
mod output;
mod pack;
mod peers;
pub(crate) mod planted;
mod promise;
mod reach;
mod rx;
#[cfg(feature = "tls")]
mod secure;
mod shortage;
mod stores;
#[cfg(any(test, feature = "sim"))]
pub mod testing;
mod turn;
mod upgrade;

pub use dials::{Declined, DialError, DialId, Dialled};
pub use id::ConnId;
pub use reach::Pressure;

pub(crate) use reach::{How, Reach};
pub(crate) use turn::{Control, Core, Resolve, Seat};
