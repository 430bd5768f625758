//! What a server can do wrong in its replies, in words for whoever runs the load.
//!
//! Owns the words. Knows neither what finds a fault nor what becomes of the run.

use std::fmt;
use std::io;

/// What a server did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The reply's header is not the one header it may have: opcode, reserved bits, mask bit or length differ.
    Head {
        /// The header expected.
        expected: Vec<u8>,
        /// As much of it as came, the last byte wrong.
        found: Vec<u8>,
    },
    /// A byte of the reply's body differs (only looked for with `--check`).
    Byte {
        /// Offset in the body.
        at: usize,
    },
    /// Bytes came while no message was in flight.
    Unasked,
    /// A reply to a compressed message that it may not be; what is wrong with it.
    Deflate(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Head { expected, found } => {
                let hint = match found.first().map(|byte| byte & 0x0F) {
                    Some(0x8) => " (a Close frame)",
                    Some(0x9) => " (a Ping; the load client answers none)",
                    _ => "",
                };
                write!(f, "wrong reply header: expected {expected:02x?}, found {found:02x?}{hint}")
            }
            Fault::Byte { at } => write!(f, "wrong byte in a reply, {at} bytes into its body"),
            Fault::Unasked => write!(f, "the server sent bytes that no message asked for"),
            Fault::Deflate(why) => write!(f, "wrong compressed reply: {why}"),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, fault.to_string())
    }
}
