//! `wsring::testing` by its own means: each verb of a bench, by what it does to a handler; and examples, tested with it.
//!
//! No test here opens a socket, starts a thread (but to send mail from one) or waits.

mod deferred;
mod drains;
mod examples;
mod misuse;
mod peers;
mod probe;
mod terms;
mod time;
mod topics;
