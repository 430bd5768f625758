//! What topics need of the connections of a core: [`Outlet`]. How a message is encoded, and who a connection is, is known behind it.

use wsring_proto::opcode::Opcode;

/// Whether a connection takes a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Its socket keeps up, and nothing waits.
    Free,
    /// What it is sent waits behind a send, or something else does.
    Busy,
    /// It is not open.
    Gone,
}

/// The outputs of a core's connections.
pub(crate) trait Outlet {
    fn room(&self, conn: u32) -> Room;

    /// What has been drained goes on: less than so many bytes are queued, and no send is with the kernel.
    fn drains(&self, conn: u32, most: u32) -> bool;

    /// A send is with the kernel.
    fn is_sending(&self, conn: u32) -> bool;

    /// Bytes in the output.
    fn queued(&self, conn: u32) -> u32;

    /// How many more the output may have, and what waits beside it.
    fn spare(&self, conn: u32) -> u32;

    /// How many subscriptions the connection may have.
    fn subscriptions_max(&self, conn: u32) -> u32;

    /// A number for a message that goes to many, which follows now; to about so many.
    fn begin(&mut self, opcode: Opcode, bytes: &[u8], crowd: usize) -> u64;

    /// Queues that message, if the connection is [`Room::Free`]; the short way. Whether it did.
    fn push(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], number: u64) -> bool;

    /// Queues a message, unless the output is at its cap; of a number, if others get the same.
    fn send(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], number: Option<u64>) -> bool;

    /// From now on a connection does not keep up when so many bytes are queued for it, at least 1 KiB.
    fn set_flow(&mut self, conn: u32, bytes: u32);

    /// From now on messages wait for this connection, or none do. It is to be drained when its output is empty.
    fn set_waits(&mut self, conn: u32, waits: bool);
}
