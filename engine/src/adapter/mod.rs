//! The engine in runtimes of other people: the same protocol core and the same [`Handler`](crate::Handler), on their
//! sockets instead of a ring of our own.
#![forbid(unsafe_code)]

pub mod tokio_uring;
