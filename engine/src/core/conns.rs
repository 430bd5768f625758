//! Owns what one core knows of its connections, in two tables of the same index.
//!
//! [`Conn`] is the receive side with the user's state; [`Link`] is the send side with the socket's operations. They are
//! apart so that a handler can hold a borrowed message of one connection and send to any, without unsafe or RefCell.
//!
//! A slot's life: `Head` -> `Open` -> `Closing` -> `Finishing` -> `Lingering` -> `Dying` -> free, where any stage may be
//! skipped forwards. It ends when its last operation has completed; then its generation steps, and ids and tokens of the
//! earlier owner are stale.

use std::collections::VecDeque;
use std::fmt;

use wsring_proto::{Session, handshake::HeadScan};

use super::deadlines::Tick;
use super::dial::Answering;
use super::pack::Packing;
use super::planted::planted;
use crate::ring::{Block, Memory, Payload, Socket, Token};

/// Names a connection of one core: index, generation and core. A stale id is a quiet "gone", never somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    pub(crate) fn new(core: u8, generation: u32, index: u32) -> Self {
        Self(u64::from(core) << 56 | u64::from(generation & Token::GENERATION_MASK) << 32 | u64::from(index))
    }

    /// The number of the core that owns the connection: its place in the list given to
    /// [`Server::cores`](crate::Server::cores).
    pub fn core(self) -> usize {
        (self.0 >> 56) as usize
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Token::GENERATION_MASK
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }
}

/// `core/index.generation`
impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.core(), self.index(), self.generation())
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The slot has no connection.
    Free,
    /// Its request head is awaited; of one that we dialled, the server's answer.
    Head,
    /// Messages flow.
    Open,
    /// Our Close is queued or sent; the peer's is awaited.
    Closing,
    /// Nothing more is taken from the peer; what is queued still goes out.
    Finishing,
    /// All is out; what the peer still sends is discarded so that our last bytes survive (RFC 6455 §7.1.1).
    Lingering,
    /// Operations are being cancelled; then the socket is closed.
    Dying,
}

/// Bits of [`Link::flags`].
pub(crate) mod flag {
    /// A receive is with the kernel.
    pub(crate) const RECV: u16 = 1;
    /// That receive is being cancelled.
    pub(crate) const RECV_CANCEL: u16 = 1 << 1;
    /// A send is with the kernel.
    pub(crate) const SEND: u16 = 1 << 2;
    /// Everything on the socket has been cancelled.
    pub(crate) const CANCEL_ALL: u16 = 1 << 3;
    /// The close is with the kernel.
    pub(crate) const CLOSE: u16 = 1 << 4;
    /// In the list of connections to settle at the end of the pass.
    pub(crate) const DIRTY: u16 = 1 << 5;
    /// The handler paused it.
    pub(crate) const PAUSED: u16 = 1 << 6;
    /// Its output went over the high-water mark and has not fallen below the low one.
    pub(crate) const PRESSED: u16 = 1 << 7;
    /// It waits for receive buffers, so no receive is with the kernel: see `shortage`.
    pub(crate) const STARVED: u16 = 1 << 8;
    /// The peer has sent its last byte.
    pub(crate) const EOF: u16 = 1 << 9;
    /// Its last bytes may still be on the way: linger before closing.
    pub(crate) const LINGER: u16 = 1 << 10;
    /// A ping of ours is unanswered.
    pub(crate) const PINGED: u16 = 1 << 11;
    /// Counts against the connection cap.
    pub(crate) const ADMITTED: u16 = 1 << 13;
    /// In the list of connections whose stash is to be worked on.
    pub(crate) const REPLAY_LISTED: u16 = 1 << 12;
    /// We dialled it: what we send is masked (RFC 6455 §5.3), and the peer closes the TCP connection (§7.1.1).
    pub(crate) const CLIENT: u16 = 1 << 14;
    /// It went to the front of those who wait for buffers, and goes to the back next time: see `shortage`.
    pub(crate) const JUMPED: u16 = 1 << 15;
}

/// One piece of a connection's output, in order.
#[derive(Debug)]
pub(crate) enum Segment {
    /// Bytes ready to go.
    Ready(Payload),
    /// The place of the message now being handled: its own buffer moves in when the handler returns.
    Promised,
}

/// The send side of a connection, its operations, and its place in time. Lives as long as the table; the generation
/// survives its owners.
pub(crate) struct Link {
    pub(crate) generation: u32,
    pub(crate) socket: Socket,
    pub(crate) stage: Stage,
    /// Whether and how what is sent is compressed.
    pub(crate) packing: Packing,
    pub(crate) flags: u16,
    /// Cancels and zero-copy returns not yet completed.
    pub(crate) owed: u16,
    /// Bytes queued or with the kernel.
    pub(crate) queued: u32,
    /// Bytes of the send that is with the kernel.
    pub(crate) sending: u32,
    /// The piece being filled or next to go; `rest` follows it.
    pub(crate) first: Option<Segment>,
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    pub(crate) rest: Option<Box<VecDeque<Segment>>>,
    /// When a byte last came in; for a paused peer, when one last went out.
    pub(crate) active: Tick,
    /// When this stage must end; for a pinged peer, when its answer is due.
    pub(crate) deadline: Tick,
}

impl Link {
    pub(crate) const fn free() -> Self {
        Self {
            generation: 0,
            socket: Socket(u32::MAX),
            stage: Stage::Free,
            packing: Packing::NONE,
            flags: 0,
            owed: 0,
            queued: 0,
            sending: 0,
            first: None,
            rest: None,
            active: Tick::ZERO,
            deadline: Tick::ZERO,
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    pub(crate) fn raise(&mut self, flags: u16) {
        self.flags |= flags;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    /// The kernel still has an operation of this connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.has(flag::RECV | flag::SEND) || self.owed > 0
    }

    /// The decoder may go on: nobody paused, nothing ended. While closing all but the peer's Close is discarded, so
    /// neither a pause nor pressure holds it up.
    #[inline]
    pub(crate) fn takes_messages(&self) -> bool {
        match self.stage {
            Stage::Open => {
                planted!(PauseIgnored, return !self.has(flag::PRESSED));
                planted!(PressureIgnored, return !self.has(flag::PAUSED));
                !self.has(flag::PAUSED | flag::PRESSED)
            }
            stage => stage == Stage::Closing,
        }
    }

    /// A receive should be with the kernel.
    pub(crate) fn wants_bytes(&self) -> bool {
        match self.stage {
            Stage::Head => true,
            Stage::Open | Stage::Closing => self.takes_messages(),
            Stage::Finishing | Stage::Lingering => self.has(flag::LINGER),
            Stage::Free | Stage::Dying => false,
        }
    }

    /// The last piece of output, where small frames are added.
    pub(crate) fn tail(&mut self) -> Option<&mut Segment> {
        match &mut self.rest {
            Some(rest) if !rest.is_empty() => rest.back_mut(),
            _ => self.first.as_mut(),
        }
    }

    /// The one block that this pass fills, if whatever is sent now only has to be added to it: the connection is open, a
    /// server's, without compression, and marked for the end of the pass.
    #[inline]
    pub(crate) fn block_of_pass(&mut self) -> Option<(&mut Block, &mut u32)> {
        let is_plain = self.flags & (flag::DIRTY | flag::CLIENT) == flag::DIRTY && self.packing.is_none();
        match &mut self.first {
            Some(Segment::Ready(Payload { memory: Memory::Block(block), to, .. }))
                if is_plain && self.stage == Stage::Open && self.rest.is_none() =>
            {
                Some((block, to))
            }
            _ => None,
        }
    }

    /// Adds a piece of output at the end.
    pub(crate) fn push(&mut self, segment: Segment) {
        match (&self.first, &mut self.rest) {
            (None, _) => self.first = Some(segment),
            (Some(_), Some(rest)) => rest.push_back(segment),
            (Some(_), None) => self.rest.get_or_insert_default().push_back(segment),
        }
    }

    /// Takes the piece that goes next. The queue stays, also when it is empty: `Outbox::pop` takes it back.
    pub(crate) fn pop(&mut self) -> Option<Payload> {
        let Some(Segment::Ready(_)) = self.first else { return None };
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        match std::mem::replace(&mut self.first, next) {
            Some(Segment::Ready(payload)) => Some(payload),
            _ => unreachable!("matched above"),
        }
    }

    /// Puts the rest of a short send back in front.
    pub(crate) fn unpop(&mut self, payload: Payload) {
        if let Some(first) = self.first.replace(Segment::Ready(payload)) {
            self.rest.get_or_insert_default().push_front(first);
        }
    }
}

/// The receive side of a connection and the user's state.
pub(crate) struct Conn<C> {
    pub(crate) phase: Phase<C>,
    /// Bytes received and not yet worked on, because the handler paused or the output is full.
    pub(crate) stash: Option<Box<Stash>>,
    /// What stands between the connection and its socket.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Box<super::secure::Secure>>,
}

/// Received bytes that wait.
pub(crate) struct Stash {
    pub(crate) bytes: Vec<u8>,
    /// Worked on up to here.
    pub(crate) at: usize,
}

/// What arriving bytes are.
pub(crate) enum Phase<C> {
    /// Part of a request head; the buffer exists once a head has come in pieces.
    #[allow(clippy::box_collection, reason = "a connection at rest pays one word")]
    Head(HeadScan, Option<Box<Vec<u8>>>),
    /// Part of the server's answer to a request of ours.
    Answer(Box<Answering>),
    /// Frames.
    Open { session: Session, data: C },
    /// Nobody's: they are discarded.
    Ended,
}

const _: () = assert!(size_of::<Link>() <= 80, "an idle connection pays for every byte of a Link");
const _: () = assert!(size_of::<Memory>() == 24, "one word of a Vec tells it from a block");
