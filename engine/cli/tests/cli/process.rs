//! The command under test.

use std::process::Command;

pub use wsring_testkit::process::*;
pub use wsring_testkit::procfs::cores_allowed;

pub const BIN: &str = env!("CARGO_BIN_EXE_wsring");

/// Runs `wsring` with these arguments to its end.
pub fn run(args: &[&str]) -> Ended {
    Process::start(Command::new(BIN).args(args)).end()
}

/// `wsring serve` with these arguments, listening.
pub fn start(args: &[&str]) -> Serve {
    Serve::start_by(Command::new(BIN), args)
}
