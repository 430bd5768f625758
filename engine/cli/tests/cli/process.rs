//! The command under test.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use socket2::{Domain, Socket, Type};
use wsring_testkit::{bounded, upgrade_head};

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

/// A connection that has asked for an upgrade, with a receive buffer so small that it is soon full.
pub fn narrow(addr: SocketAddr, path: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    bounded(&stream);
    stream.write_all(upgrade_head(path).as_bytes()).unwrap();
    stream
}
