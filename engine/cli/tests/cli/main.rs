//! The `wsring` command as its users meet it: every option shows its effect as a fact, every refusal says what to do.
//!
//! Each test starts the command itself, on a free loopback port, and talks to it over sockets. Nothing waits without a
//! bound: sockets time out and processes are killed after [`wsring_testkit::WAIT`]. The examples are
//! started here too.

mod activation;
mod boxed;
mod boxes;
mod broadcast;
mod chat;
mod connect;
mod deflate;
mod drain;
mod examples;
mod feed;
mod game;
mod handover;
mod http;
mod limits;
mod losses;
mod machine;
mod options;
mod pause;
mod preload;
mod process;
mod refusals;
mod stop;
mod succession;
mod tls;
mod who;

use wsring_testkit::certificates;
