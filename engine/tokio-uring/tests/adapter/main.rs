//! The tokio-uring adapter: the tests of `loopback` that know nothing of our own ring, on it, and what is its own alone.
//!
//! `loopback`'s modules find here another `serve`: see `server`.

#[path = "../common/mod.rs"]
mod plain;
mod server;

/// What `loopback`'s modules know as `common`: the same but for who serves.
mod common {
    pub use crate::plain::*;
    pub use crate::server::{Running, finish, serve, serve_at, start_client};
}

#[path = "../loopback/callbacks.rs"]
mod callbacks;
#[path = "../loopback/deflate.rs"]
mod deflate;
#[path = "../loopback/dialling.rs"]
mod dialling;
#[path = "../loopback/ends.rs"]
mod ends;
#[path = "../loopback/opening.rs"]
mod opening;
#[path = "../loopback/peer.rs"]
mod peer;
#[path = "../loopback/programme.rs"]
mod programme;
#[path = "../loopback/redialling.rs"]
mod redialling;
mod running;
#[cfg(feature = "tls")]
#[path = "../loopback/tls/mod.rs"]
mod tls;
