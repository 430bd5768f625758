//! What the tests of wsring share, and nobody else needs.

#![forbid(unsafe_code)]

mod patient;

pub use patient::{Patient, patiently};
