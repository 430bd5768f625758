//! What the tests of wsring share, and nobody else needs.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "of what is not published, names that say all need no sentence")]
#![allow(
    clippy::should_implement_trait,
    clippy::new_without_default,
    reason = "tests call these, no generic code does"
)]

/// The example of the repository's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub mod certificates;
mod client;
pub mod effort;
mod folder;
mod hearing;
mod http;
pub mod packed;
mod patient;
pub mod process;
pub mod procfs;
mod ring;
pub mod seeds;
pub mod sim;
mod stage;
mod teller;
pub mod visits;

pub use client::*;
pub use folder::Folder;
pub use http::{Answer, handshake, request_head, upgrade_head};
pub use patient::{Patient, patiently};
pub use ring::ring;
pub use stage::{Hello, Stage, unhurried};
pub use teller::Teller;
pub use wsring::ring::uring::monotonic;
