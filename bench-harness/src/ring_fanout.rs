//! The fan-out's limit: what comes from anybody goes to everybody, on io_uring, one thread, parsing nothing.
//!
//! Owns: its listener, its ring, its buffers and the log. Promises: one io_uring_enter(2) a pass, at most one send in flight for each
//! receiver, of all that it has not been sent, out of the one copy that there is; memory bounded by the log: while somebody has not taken what is in
//! it, what comes stays in the receive buffers. Refuses to know: frames, and the engine. Whose message goes first is whose bytes come
//! first, so only one connection may send.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fanout_log::Log;
use crate::ring_buffers::{GROUP, Piece, Ring};

/// Bytes on their way to somebody.
pub const LOG_LEN: usize = 1 << 20;
const BUFFERS: (u16, u32) = (16, 64 << 10);
/// Slots of the fixed-file table.
const CONNS_MAX: u32 = 16_384;
/// How long a stop may go unnoticed.
const WAIT: Duration = Duration::from_millis(250);

/// Operations, in the upper half of `user_data`; the lower is the connection's slot.
const ACCEPT: u64 = 1;
const RECV: u64 = 2;
const SEND: u64 = 3;
const CLOSE: u64 = 4;

/// A socket that listens, whose connections send small messages at once.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

#[derive(Default)]
struct Conn {
    open: bool,
    receiving: bool,
    /// Where it stands in the log.
    at: u64,
    /// Bytes from there on that are with the kernel.
    sending: usize,
    /// Nothing goes to it any more; its slot closes when nothing is under way.
    ending: bool,
}

/// The fan-out.
pub struct RingFanout {
    // Nothing is in flight once it has dropped, so it goes before the log and the listener.
    ring: Ring,
    log: Log,
    listener: TcpListener,
    conns: Vec<Conn>,
    /// Slots below it have been used.
    used: usize,
    /// Received, and not all in the log: how much of the first is.
    waiting: VecDeque<Piece>,
    taken: usize,
    /// Receives without a buffer.
    starved: Vec<u32>,
}

impl RingFanout {
    /// Listens on `addr`. Fails as socket(2), bind(2), listen(2) and io_uring_setup(2) do.
    pub fn bind(addr: SocketAddr) -> io::Result<RingFanout> {
        let listener = listen(addr)?;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(8192)
            .build(4096)?;
        uring.submitter().register_files_sparse(CONNS_MAX)?;
        let ring = Ring::new(uring, BUFFERS.0, BUFFERS.1)?;
        let conns = (0..CONNS_MAX).map(|_| Conn::default()).collect();
        let (waiting, starved) = (VecDeque::new(), Vec::new());
        let mut fanout =
            RingFanout { ring, log: Log::new(LOG_LEN), listener, conns, used: 0, waiting, taken: 0, starved };
        fanout.accept();
        Ok(fanout)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// io_uring_enter(2) calls made so far.
    pub fn enters(&self) -> u64 {
        self.ring.enters()
    }

    /// Gives everything to everybody until `stop` is set. A failing connection ends alone.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.ring.buffers.publish();
            if self.waiting.is_empty() {
                for slot in std::mem::take(&mut self.starved) {
                    self.receive(slot);
                }
            }
            let want = u32::from(!self.ring.has_some());
            self.ring.enter(want, WAIT)?;
            self.ring.gather();
            while let Some(entry) = self.ring.next() {
                self.complete(&entry);
            }
            self.append();
            self.send_all();
        }
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, slot: u32) {
        let entry = entry.user_data(kind << 32 | u64::from(slot));
        // SAFETY: an entry names the listener, a fixed file, the ring's own buffers or bytes of the log, which goes behind the
        // ring, does not move, and is not written where somebody has still to be sent it.
        unsafe { self.ring.push(&entry) };
    }

    fn accept(&mut self) {
        let fd = Fd(self.listener.as_raw_fd());
        self.push(opcode::AcceptMulti::new(fd).allocate_file_index(true).build(), ACCEPT, 0);
    }

    fn receive(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.open && !conn.ending {
            conn.receiving = true;
            self.push(opcode::RecvMulti::new(Fixed(slot), GROUP).build(), RECV, slot);
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry) {
        let (kind, slot) = (entry.user_data() >> 32, entry.user_data() as u32);
        match kind {
            ACCEPT => {
                if !cqueue::more(entry.flags()) {
                    self.accept();
                }
                if let Ok(slot) = u32::try_from(entry.result()) {
                    self.conns[slot as usize] = Conn { open: true, at: self.log.end(), ..Conn::default() };
                    self.used = self.used.max(slot as usize + 1);
                    self.receive(slot);
                }
            }
            RECV => {
                let more = cqueue::more(entry.flags());
                self.conns[slot as usize].receiving = more;
                match entry.result() {
                    len @ 1.. => {
                        self.waiting.push_back(self.ring.buffers.take(entry.flags(), len as u32));
                        if !more {
                            self.receive(slot);
                        }
                    }
                    error if error == -libc::ENOBUFS => self.starved.push(slot),
                    _ => self.end(slot),
                }
            }
            SEND => {
                let conn = &mut self.conns[slot as usize];
                // MSG_WAITALL: a short count is a socket that has failed.
                let is_whole = usize::try_from(entry.result()) == Ok(conn.sending);
                conn.at += conn.sending as u64;
                conn.sending = 0;
                if !is_whole {
                    self.conns[slot as usize].ending = true;
                }
                self.settle(slot);
            }
            CLOSE => {}
            other => unreachable!("operation {other} was never submitted"),
        }
    }

    fn end(&mut self, slot: u32) {
        self.conns[slot as usize].ending = true;
        self.settle(slot);
    }

    /// Closes a connection that is to end, once nothing of it is under way. A receive ends with its peer, or with the close.
    fn settle(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.open && conn.ending && !conn.receiving && conn.sending == 0 {
            conn.open = false;
            self.push(opcode::Close::new(Fixed(slot)).build(), CLOSE, slot);
        }
    }

    /// Moves what was received into the log, as far as there is room.
    fn append(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let receivers = self.conns[..self.used].iter().filter(|conn| conn.open && !(conn.ending && conn.sending == 0));
        let slowest = receivers.map(|conn| conn.at).min().unwrap_or(self.log.end());
        while let Some(piece) = self.waiting.front().copied() {
            let bytes = &self.ring.buffers.bytes(piece)[self.taken..];
            let (len, taken) = (bytes.len(), self.log.append(bytes, slowest));
            if taken < len {
                self.taken += taken;
                return;
            }
            self.taken = 0;
            self.waiting.pop_front();
            self.ring.buffers.put(piece);
        }
    }

    fn send_all(&mut self) {
        let end = self.log.end();
        for slot in 0..self.used {
            let conn = &mut self.conns[slot];
            if conn.open && !conn.ending && conn.sending == 0 && conn.at < end {
                let bytes = self.log.from(conn.at);
                conn.sending = bytes.len();
                let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
                let send = opcode::Send::new(Fixed(slot as u32), bytes.as_ptr(), bytes.len() as u32).flags(flags);
                self.push(send.build(), SEND, slot as u32);
            }
        }
    }
}
