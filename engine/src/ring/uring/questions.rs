//! Memory that the kernel writes an address to ([`Place`]), and questions for the address of a slot's peer (SO_PEERNAME by IORING_OP_URING_CMD, Linux 6.7).
//!
//! A question completes in the io_uring_enter(2) that submits it. Owns the memory that answers are written to, at an address of its own, and who is to be asked for when there is room
//! in it. Refuses to know accepts.

use std::collections::VecDeque;
use std::net::SocketAddr;

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};
use socket2::{SockAddr, SockAddrStorage};

use crate::ring::Token;

/// Questions that are with the kernel at once. More wait for answers.
const AT_ONCE: u32 = 64;

/// A length that no address has: the kernel has not written one.
pub(super) const VACANT: libc::socklen_t = size_of::<SockAddrStorage>() as libc::socklen_t;

/// Where the kernel writes an address.
pub(super) struct Place {
    pub(super) storage: SockAddrStorage,
    pub(super) len: libc::socklen_t,
}

/// Who is to be asked for.
#[derive(Clone, Copy)]
struct Whom {
    listener: u32,
    slot: u32,
    address_bytes: u32,
}

/// Of all listeners.
pub(super) struct Questions {
    /// Never moved: the kernel knows their addresses. Each with its slot while it is with the kernel.
    places: Box<[(Place, u32)]>,
    free: Vec<u32>,
    waiting: VecDeque<Whom>,
}

impl Default for Place {
    fn default() -> Self {
        Self { storage: SockAddrStorage::zeroed(), len: VACANT }
    }
}

impl Place {
    /// The address of so many bytes that the kernel has written; none of a peer that has none.
    pub(super) fn address(&mut self, len: u32) -> Option<SocketAddr> {
        let len = len.min(size_of::<SockAddrStorage>() as libc::socklen_t);
        // SAFETY: the storage began as zeros, and the kernel wrote a socket address of `len` bytes there (accept(2), getsockopt(2)) before the completion came that
        // this is read for; nothing writes to the place now.
        unsafe { SockAddr::new(std::mem::replace(&mut self.storage, SockAddrStorage::zeroed()), len) }.as_socket()
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            places: (0..AT_ONCE).map(|_| (Place::default(), 0)).collect(),
            free: (0..AT_ONCE).rev().collect(),
            waiting: VecDeque::new(),
        }
    }
}

impl Questions {
    /// Who has come to this listener is to be asked for. His address has so many bytes: the kernel refuses to tell more than there are.
    pub(super) fn add(&mut self, listener: u32, slot: u32, address_bytes: u32) {
        self.waiting.push_back(Whom { listener, slot, address_bytes });
    }

    /// The next question, if there is one and room for the answer. `name`: of a listener and the question's number.
    pub(super) fn next(&mut self, name: impl Fn(u32, u32) -> Token) -> Option<squeue::Entry> {
        if self.waiting.is_empty() {
            return None;
        }
        let number = self.free.pop()?;
        let Whom { listener, slot, address_bytes } = self.waiting.pop_front()?;
        let (place, asked) = &mut self.places[number as usize];
        *asked = slot;
        let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_PEERNAME as u32);
        let answer = (&raw mut place.storage).cast();
        let question = opcode::GetSockOpt::new(Fixed(slot), level, option, answer, address_bytes).build();
        Some(question.user_data(name(listener, number).to_bits()))
    }

    /// A question completed: of which slot, and where the answer is.
    pub(super) fn on_answer(&mut self, number: u32) -> (u32, &mut Place) {
        self.free.push(number);
        let (place, slot) = &mut self.places[number as usize];
        (*slot, place)
    }
}
