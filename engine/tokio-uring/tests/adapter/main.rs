//! The tokio-uring adapter: the tests of `loopback` that know nothing of our own ring, on it, and what is its own alone.
//!
//! `loopback`'s modules find here another `serve`: see `server`.

mod server;

/// What `loopback`'s modules know as `common`: the same but for who serves.
mod common {
    pub use crate::server::{Running, finish, serve, serve_at, start_client};
    pub use wsring_testkit::*;
}

#[path = "../../../tests/loopback/callbacks.rs"]
mod callbacks;
#[allow(dead_code, reason = "proxies are tested in loopback alone")]
#[path = "../../../tests/loopback/caller.rs"]
mod caller;
#[path = "../../../tests/loopback/contexts.rs"]
mod contexts;
#[path = "../../../tests/loopback/deflate.rs"]
mod deflate;
#[path = "../../../tests/loopback/dialling.rs"]
mod dialling;
#[path = "../../../tests/loopback/ends.rs"]
mod ends;
#[path = "../../../tests/loopback/opening.rs"]
mod opening;
#[path = "../../../tests/loopback/peer.rs"]
mod peer;
#[path = "../../../tests/loopback/programme.rs"]
mod programme;
#[path = "../../../tests/loopback/redialling.rs"]
mod redialling;
mod running;
#[path = "../../../tests/loopback/sends.rs"]
mod sends;
#[path = "../../../tests/loopback/stops.rs"]
mod stops;
#[cfg(feature = "tls")]
#[path = "../../../tests/loopback/tls/mod.rs"]
mod tls;
