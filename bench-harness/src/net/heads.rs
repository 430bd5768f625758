//! Receives that keep the head of every reply and let the kernel discard its body: MSG_TRUNC on a TCP socket (tcp(7)).
//!
//! A load that copies long replies out of its sockets only to drop them has its core's cache take over the pages they lie in, and
//! the server's next send, which the kernel puts into the same pages, pays for getting them back. A network card does no such thing.
//!
//! Owns: where each connection stands in its reply, and the memory heads are received into. Promises: a receive ends with the
//! head or the body it is for, so no byte of a head is ever discarded. Refuses to know: what a head should be.

use std::ops::Range;

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::event::{Event, RECV_BODY, RECV_HEAD};

/// Bytes of the longest head of a reply: a masked frame's (RFC 6455 §5.2).
const HEAD_MAX: usize = 14;
/// The most bytes that one receive discards.
const DISCARD_MAX: usize = 1 << 20;

pub(super) struct Heads {
    head_len: usize,
    reply_len: usize,
    /// The head that each connection receives.
    heads: Vec<[u8; HEAD_MAX]>,
    /// Bytes of each connection's reply that have come; always below `reply_len`.
    got: Vec<usize>,
    /// What the kernel is told to discard into. It writes nothing there, but could.
    pub(super) nowhere: Vec<u8>,
}

impl Heads {
    /// For replies of `head` and `body` bytes on so many connections.
    pub fn new(conns: usize, head: usize, body: usize) -> Heads {
        assert!((1..=HEAD_MAX).contains(&head) && body > 0, "a head of {head} bytes, a body of {body}");
        let (heads, got) = (vec![[0; HEAD_MAX]; conns], vec![0; conns]);
        Heads { head_len: head, reply_len: head + body, heads, got, nowhere: vec![0; body.min(DISCARD_MAX)] }
    }

    /// What a connection receives next, and what that is. It may bring less than asked for.
    pub fn receive(&mut self, conn: u32) -> (u64, squeue::Entry) {
        let got = self.got[conn as usize];
        if got < self.head_len {
            let into = &mut self.heads[conn as usize][got..self.head_len];
            return (RECV_HEAD, opcode::Recv::new(Fixed(conn), into.as_mut_ptr(), into.len() as u32).build());
        }
        let len = (self.reply_len - got).min(self.nowhere.len());
        let receive = opcode::Recv::new(Fixed(conn), self.nowhere.as_mut_ptr(), len as u32).flags(libc::MSG_TRUNC);
        (RECV_BODY, receive.build())
    }

    /// A receive has brought `len` bytes; the socket has `more`, as far as the kernel says (IORING_CQE_F_SOCK_NONEMPTY).
    pub fn received(&mut self, conn: usize, of: u64, len: usize, more: bool) -> Event {
        let got = self.got[conn];
        self.got[conn] = (got + len) % self.reply_len;
        match of {
            RECV_HEAD => {
                assert!(got + len <= self.head_len, "a receive ends with the head");
                Event::Head(conn, got..got + len)
            }
            _ => {
                assert!(got + len <= self.reply_len, "a receive ends with the reply");
                Event::Discarded(conn, len, more)
            }
        }
    }

    /// Bytes of a connection's head. Valid until its next head is received.
    pub fn bytes(&self, conn: usize, bytes: Range<usize>) -> &[u8] {
        &self.heads[conn][bytes]
    }
}
