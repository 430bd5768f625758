//! The seam between the engine and the kernel.
//!
//! [`Ring`] is all that `engine` knows of io_uring(7): operations go in with a [`Token`], completions come out with the
//! same token. [`uring`] is the kernel, [`epoll`] the kernel where that cannot be had, `sim` is a deterministic kernel with faults for tests. The seam
//! promises:
//!
//! - Nothing is submitted before [`Ring::wait`]; one `wait` is one `io_uring_enter(2)` (on io_uring) unless it finds what it waits for without one: by spinning,
//!   which it does only for a while after [`Ring::expect_more`], or because it was rung.
//! - What the kernel holds, nobody else can name: the memory of a send is moved into [`Op::Send`] and comes back with
//!   its completion; received bytes are lent by a [`Ring::Lease`] that is not `Clone` and must be given back by
//!   [`Ring::release`].
//! - Every operation completes. [`Op::Accept`] and [`Op::Recv`] complete many times; exactly one completion of each
//!   says that it has ended.
//!
//! The seam knows nothing of WebSocket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::DerefMut;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

mod deaf;
pub mod epoll;
mod errno;
#[cfg(any(test, feature = "sim", feature = "testing"))]
#[cfg_attr(not(any(test, feature = "sim")), allow(dead_code, unused_imports, reason = "`testing` needs no faults"))]
pub mod sim;
pub mod uring;

pub use errno::Errno;
pub use uring::send_blocks::{Block, SendBlocks};

/// Nanoseconds of the ring's monotonic clock: of CLOCK_MONOTONIC (clock_gettime(2)), so that it can be compared with what other cores and
/// other processes of the machine read; virtual in the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(u64);

impl Time {
    /// A point `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `after` later; saturates.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What an operation is for: the top 8 bits of a [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`Op::Accept`]; the index is the listener's.
    Accept = 1,
    /// [`Op::Recv`]; the index is the connection's.
    Recv = 2,
    /// [`Op::Send`]; the index is the connection's.
    Send = 3,
    /// [`Op::Cancel`] or [`Op::CancelSocket`].
    Cancel = 4,
    /// [`Op::Close`].
    Close = 5,
    /// [`Op::Wake`].
    Wake = 6,
    /// [`Op::Connect`]; the index is the dial's.
    Connect = 7,
    /// [`Op::Unacked`]; the index is the connection's.
    Unacked = 8,
}

impl Kind {
    fn from_bits(bits: u8) -> Kind {
        match bits {
            1 => Kind::Accept,
            2 => Kind::Recv,
            3 => Kind::Send,
            4 => Kind::Cancel,
            5 => Kind::Close,
            6 => Kind::Wake,
            7 => Kind::Connect,
            8 => Kind::Unacked,
            _ => panic!("a completion carries operation {bits}, which was never submitted"),
        }
    }
}

/// `user_data` of an SQE: operation 8 bits, generation 24, index 32.
///
/// The generation tells the present owner of an index from an earlier one: a completion with a stale generation is a
/// bug of ours, because a slot ends only after its last completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// Generations wrap at 24 bits.
    pub const GENERATION_MASK: u32 = 0x00ff_ffff;

    /// Packs a token; `generation` is taken modulo 2^24.
    pub const fn new(kind: Kind, generation: u32, index: u32) -> Self {
        Self((kind as u64) << 56 | ((generation & Self::GENERATION_MASK) as u64) << 32 | index as u64)
    }

    /// The operation.
    pub fn kind(self) -> Kind {
        Kind::from_bits((self.0 >> 56) as u8)
    }

    /// The generation, 24 bits.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Self::GENERATION_MASK
    }

    /// The index.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// The 64 bits that travel through the kernel.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// A token from the bits of a CQE.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// One connected socket, by the ring's name for it: a slot of the fixed-file table, or a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub u32);

/// Memory that holds bytes to send.
#[derive(Debug)]
pub enum Memory {
    /// A send block: small frames, coalesced.
    Block(Block),
    /// What is longer.
    Heap(Heap),
}

/// Memory for more than a block holds. Apart from [`Memory`], so that a block is told by one comparison.
#[derive(Debug)]
pub enum Heap {
    /// A pooled buffer: large messages, moved rather than copied.
    Pooled(Vec<u8>),
    /// The application's, which others may be reading too: boxed, so that no other memory is larger for it.
    Shared(Box<Bytes>),
    /// Messages that many are sent, some of them or all: a piece is a range of it, and is sent at once.
    Trail(Rc<Vec<u8>>),
}

impl Memory {
    /// Others may be reading it.
    #[inline]
    pub fn is_shared(&self) -> bool {
        matches!(self, Memory::Heap(Heap::Shared(_) | Heap::Trail(_)))
    }

    /// Bytes that are its alone: none of a block, which belongs to its core for good, and none of what others have too.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Memory::Heap(Heap::Pooled(bytes)) => bytes.capacity(),
            Memory::Block(_) | Memory::Heap(Heap::Shared(_) | Heap::Trail(_)) => 0,
        }
    }

    /// All bytes of the memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Memory::Block(block) => block,
            Memory::Heap(Heap::Pooled(bytes)) => bytes,
            Memory::Heap(Heap::Shared(bytes)) => bytes,
            Memory::Heap(Heap::Trail(bytes)) => bytes,
        }
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// If the memory is shared.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Block(block) => block,
            Memory::Heap(Heap::Pooled(bytes)) => bytes,
            Memory::Heap(Heap::Shared(_) | Heap::Trail(_)) => {
                unreachable!("memory that others read is not ours to change")
            }
        }
    }
}

/// Bytes to send: the range `from..to` of some memory. Moves into the operation and comes back.
#[derive(Debug)]
pub struct Payload {
    /// The memory.
    pub memory: Memory,
    /// First byte to send.
    pub from: u32,
    /// One past the last byte to send.
    pub to: u32,
}

impl Payload {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[self.from as usize..self.to as usize]
    }

    /// How many bytes are to be sent.
    pub fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Bytes from the first to send to the end of what the memory holds: a block is full to `to`, as is a part of what many are sent, any other to its length. More than [`Self::len`] when only a part of a buffer is being sent.
    pub fn whole(&self) -> u32 {
        match &self.memory {
            Memory::Block(_) | Memory::Heap(Heap::Trail(_)) => self.to - self.from,
            Memory::Heap(Heap::Pooled(bytes)) => bytes.len() as u32 - self.from,
            Memory::Heap(Heap::Shared(bytes)) => bytes.len() as u32 - self.from,
        }
    }

    /// Nothing to send.
    #[cfg(any(test, feature = "tls", feature = "unstable-ring", feature = "testing"))]
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

/// An operation for the kernel.
#[derive(Debug)]
pub enum Op {
    /// Accepts connections of a listener until it ends. It may end with ECANCELED by itself, when there is room for few: submit it again.
    Accept {
        /// The listener's number, in the order given at setup.
        listener: u32,
    },
    /// Makes a socket and connects it. Cancelling it ends it with ECANCELED, unless it has
    /// connected already.
    Connect {
        /// To this address.
        remote: SocketAddr,
        /// Sends small messages at once (TCP_NODELAY, tcp(7)).
        nodelay: bool,
        /// From this address of the machine; `None`: the kernel chooses. (Boxed, because it is rare and operations are moved.)
        local: Option<Box<IpAddr>>,
    },
    /// Receives into buffers of the ring until it ends. At most one on a socket.
    Recv {
        /// From this socket.
        socket: Socket,
        /// It ends with the first bytes, rather than go on until it finds no buffer: for when there are few. (Others may end
        /// as early.)
        once: bool,
    },
    /// Sends as much of the payload as the socket takes: once it takes any, that is told. At most one on a socket: two would reorder.
    Send {
        /// To this socket.
        socket: Socket,
        /// These bytes.
        payload: Payload,
    },
    /// Cancels the operation of this token. Losing the race to its success is ordinary.
    Cancel {
        /// The operation to cancel.
        target: Token,
    },
    /// Cancels every operation on a socket.
    CancelSocket {
        /// The socket.
        socket: Socket,
    },
    /// Asks how many bytes that the socket took its peer has not acknowledged (SIOCOUTQ, tcp(7)). For when a deadline has come: it
    /// may cost a system call.
    Unacked {
        /// The socket.
        socket: Socket,
    },
    /// Closes a socket and frees its name. Only after its last operation has completed.
    Close {
        /// The socket.
        socket: Socket,
        /// Resets the connection (SO_LINGER of zero, socket(7)): the kernel drops what the peer has not acknowledged, instead of keeping
        /// it for as long as the peer lives.
        reset: bool,
    },
    /// Completes once when another thread rings the ring's [`Waker`](uring::Waker).
    Wake,
}

/// Why a receive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvEnd {
    /// No fault of anybody: submit it again.
    Rearm,
    /// The ring had no free buffer (ENOBUFS): submit it again when some have come back.
    NoBuffers,
    /// The peer will send no more.
    Eof,
    /// Cancelled by us.
    Cancelled,
    /// The socket failed.
    Failed(Errno),
}

/// A completion.
#[derive(Debug)]
#[must_use]
pub enum Done<L> {
    /// Of [`Op::Accept`].
    Accepted {
        /// The new socket, or why there is none: accept(2)'s errors, and ENFILE where the ring has no room for one more.
        result: Result<Socket, Errno>,
        /// The peer's address; none if it has none (unix(7)), or was gone before it could be asked for.
        peer: Option<SocketAddr>,
        /// The accept goes on by itself.
        more: bool,
    },
    /// Of [`Op::Connect`].
    Connected {
        /// The connected socket, or why there is none: connect(2)'s and socket(2)'s errors, ENFILE where there is no room for it.
        result: Result<Socket, Errno>,
    },
    /// Of [`Op::Recv`]: bytes, an end, or both.
    Received {
        /// Bytes, in order.
        lease: Option<L>,
        /// The receive has ended.
        end: Option<RecvEnd>,
    },
    /// Of [`Op::Send`].
    Sent {
        /// The memory: the kernel no longer reads it.
        payload: Payload,
        /// Bytes taken by the socket, at least one of those that were asked.
        result: Result<usize, Errno>,
    },
    /// Of [`Op::Cancel`] and [`Op::CancelSocket`]; whether anything was found does not matter.
    Cancelled,
    /// Of [`Op::Unacked`].
    Unacked {
        /// So many bytes, or why the kernel does not say.
        result: Result<u32, Errno>,
    },
    /// Of [`Op::Close`].
    Closed,
    /// Of [`Op::Wake`].
    Woken,
}

/// The kernel, as one thread's engine sees it.
pub trait Ring {
    /// Received bytes, lent until [`Ring::release`]. Frames are unmasked in place, hence mutable.
    type Lease: DerefMut<Target = [u8]>;

    /// Queues an operation; the next [`Ring::wait`] hands it to the kernel. Never blocks (a full submission queue is
    /// flushed by a syscall).
    fn submit(&mut self, token: Token, op: Op);

    /// Hands all queued operations to the kernel and waits until at least one completion is there or `until` has come.
    /// A time in the past polls.
    ///
    /// # Errors
    /// Only when the ring itself is broken.
    fn wait(&mut self, until: Option<Time>) -> io::Result<()>;

    /// How many receives of `bytes` bytes each half of the receive buffers will take: so many can start in a pass beside
    /// those that are with the kernel. For rings whose receives end with [`RecvEnd::NoBuffers`]; the others are not asked.
    fn room_for(&self, bytes: u32) -> usize {
        let _ = bytes;
        usize::MAX
    }

    /// Says that messages came since the last [`Ring::wait`]: a ring that polls before it sleeps does so for its whole
    /// spin time from then on. Nothing to the others.
    fn expect_more(&mut self) {}

    /// The next completion that the last [`Ring::wait`] gathered.
    fn next(&mut self) -> Option<(Token, Done<Self::Lease>)>;

    /// Gives received bytes back to the kernel.
    fn release(&mut self, lease: Self::Lease);

    /// Whether connections wait to be accepted in a listener's queue: what closing it would reset. Asked when accepting is to end.
    /// Rings that cannot say have none.
    fn has_waiting(&mut self, listener: u32) -> bool {
        let _ = listener;
        false
    }

    /// Lets no connection more begin at a listener whose queue is to become empty: its peers try again, and find whoever listens then.
    /// Those that have begun go on. False where that cannot be.
    fn deafen(&mut self, listener: u32) -> bool {
        let _ = listener;
        false
    }

    /// Stops listening: closes the listener's socket, and resets what waits there. Its accept must have ended.
    fn unlisten(&mut self, listener: u32);

    /// Whether something had come by the last [`Ring::wait`] that it did not gather: a call of io_uring_enter(2) takes up no more than
    /// some twenty operations that became ready, and then says that there are more. Asked when a deadline is due, before any
    /// [`Ring::next`]. Rings that always gather everything have nothing more.
    fn has_more(&mut self) -> bool {
        false
    }

    /// The clock as read by the last [`Ring::wait`]: one read a pass, not one a message.
    fn now(&self) -> Time;

    /// How many syscalls the ring has made.
    fn enters(&self) -> u64;
}
