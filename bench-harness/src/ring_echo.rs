//! The limit: a raw TCP byte echo on io_uring, one thread, parsing and copying nothing; or the same over TLS, by rustls.
//!
//! Owns: its listener, its ring and the buffers. Promises: one io_uring_enter(2) a pass, one receive and at most
//! one send in flight per connection, bytes sent from the buffer they arrived in. Refuses to know: frames, and the engine:
//! it uses the kernel's interface alone, so that what the engine costs shows against it.
//!
//! Receives are multishot. When more has come than the buffers take, those that found none wait their turn, a pass tries as
//! many as half of the buffers will take, and a receive is for one completion: trying all again each pass would end most
//! of them in vain, and then it is that which is measured.
//!
//! A connection that reads slowly holds the buffers its bytes lie in; from half of them on it is not received from. So a
//! burst from one, or two together, can hold all of them, and the others wait until one of those reads or goes.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};

use crate::ring_buffers::{GROUP, Piece, Ring};
use crate::tls::Sealed;

/// Receive buffers and their bytes, few, so that they stay in the cache; and where each receive takes a whole one (before
/// Linux 6.12).
const SHAPE: (u16, u32) = (2, 256 << 10);
const SHAPE_WHOLE: (u16, u32) = (1024, 4 << 10);
/// Slots of the fixed-file table.
const CONNS_MAX: u32 = 16_384;
/// Connections received from in a pass while some wait for buffers, at most.
const PASS_MAX: usize = 256;
/// How long a stop may go unnoticed.
const WAIT: Duration = Duration::from_millis(250);

/// Operations, in the upper half of `user_data`; the lower is the connection's slot.
const ACCEPT: u64 = 1;
const RECV: u64 = 2;
const SEND: u64 = 3;
const CANCEL: u64 = 4;
const CLOSE: u64 = 5;

#[derive(Default)]
struct Conn {
    open: bool,
    receiving: bool,
    /// TLS, if it speaks that: then its bytes wait there, and no piece does.
    sealed: Option<Box<Sealed>>,
    /// With the kernel; the rest of it goes next if the send was short.
    sending: Option<Piece>,
    /// Received while another piece was with the kernel.
    waiting: VecDeque<Piece>,
    /// Bytes received and not yet sent back.
    behind: usize,
    /// Too far behind: its receive is ended until it has caught up.
    paused: bool,
    /// Nothing more is received; the slot closes when everything is out.
    ending: bool,
    /// A send went wrong: what waits is given up.
    failed: bool,
    cancelled: bool,
}

/// The echo server.
pub struct RingEcho {
    // Nothing is in flight once it has dropped, so it goes before the listener.
    ring: Ring,
    listener: TcpListener,
    conns: Vec<Conn>,
    /// Who waits for buffers, first come first served.
    starved: VecDeque<u32>,
    /// Receives that brought bytes since the last pass with somebody waiting, and how many.
    receives: usize,
    bytes: usize,
    tls: Option<Arc<ServerConfig>>,
    /// What one receive decrypts to.
    plain: Vec<u8>,
}

fn ring_of((count, size): (u16, u32)) -> io::Result<Ring> {
    let uring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(8192)
        .build(1024)?;
    uring.submitter().register_files_sparse(CONNS_MAX)?;
    Ring::new(uring, count, size)
}

impl Conn {
    fn is_sending(&self) -> bool {
        self.sending.is_some() || self.sealed.as_ref().is_some_and(|sealed| sealed.is_sending())
    }

    fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.sealed.as_ref().is_some_and(|sealed| sealed.behind() > 0)
    }

    fn behind(&self) -> usize {
        self.sealed.as_ref().map_or(self.behind, |sealed| sealed.behind())
    }
}

impl RingEcho {
    /// Listens on `addr`, with so many receive buffers of so many bytes, or the best shape for this kernel, for TLS if `tls`
    /// says how. Fails as socket(2), bind(2), listen(2) and io_uring_setup(2) do.
    pub fn bind(addr: SocketAddr, shape: Option<(u16, u32)>, tls: Option<Arc<ServerConfig>>) -> io::Result<RingEcho> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(4096)?;
        let mut ring = ring_of(shape.unwrap_or(SHAPE))?;
        if shape.is_none() && !ring.buffers.is_incremental() {
            ring = ring_of(SHAPE_WHOLE)?;
        }
        let mut echo = RingEcho {
            ring,
            listener: TcpListener::from(socket),
            conns: (0..CONNS_MAX).map(|_| Conn::default()).collect(),
            starved: VecDeque::new(),
            receives: 0,
            bytes: 0,
            tls,
            plain: Vec::new(),
        };
        echo.accept();
        Ok(echo)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// io_uring_enter(2) calls made so far.
    pub fn enters(&self) -> u64 {
        self.ring.enters()
    }

    /// Echoes until `stop` is set. A failing connection ends alone.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.ring.buffers.publish();
            let want = u32::from(self.starved.is_empty() && !self.ring.has_some());
            self.ring.enter(want, WAIT)?;
            self.ring.gather();
            while let Some(entry) = self.ring.next() {
                self.complete(&entry);
            }
            self.serve_starved();
        }
        Ok(())
    }

    /// Receives from those who wait for buffers, as many as half of these will take by what a receive brought of late.
    fn serve_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let typical = self.bytes / self.receives.max(1);
        let room = self.ring.buffers.room_for(typical.max(1)) / 2;
        (self.receives, self.bytes) = (1, typical);
        for _ in 0..self.starved.len().min(room.clamp(1, PASS_MAX)) {
            let slot = self.starved.pop_front().expect("counted");
            self.receive(slot);
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, slot: u32) {
        let entry = entry.user_data(kind << 32 | u64::from(slot));
        // SAFETY: an entry names the listener, a fixed file, a piece of the ring's own buffers or the bytes that a connection's
        // TLS has set aside to be sent, and all of them go behind the ring; a piece is given back, and those bytes are
        // touched, only when their send has completed.
        unsafe { self.ring.push(&entry) };
    }

    fn accept(&mut self) {
        let fd = Fd(self.listener.as_raw_fd());
        self.push(opcode::AcceptMulti::new(fd).allocate_file_index(true).build(), ACCEPT, 0);
    }

    fn receive(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.open && !conn.ending && !conn.paused && !conn.receiving {
            conn.receiving = true;
            let entry = if self.starved.is_empty() {
                opcode::RecvMulti::new(Fixed(slot), GROUP).build()
            } else {
                let once = opcode::Recv::new(Fixed(slot), std::ptr::null_mut(), 0).buf_group(GROUP).build();
                once.flags(squeue::Flags::BUFFER_SELECT)
            };
            self.push(entry, RECV, slot);
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
                    let sealed = self.tls.as_ref().map(Sealed::server).transpose();
                    let sealed = sealed.expect("rustls takes the configuration").map(Box::new);
                    self.conns[slot as usize] = Conn { open: true, sealed, ..Conn::default() };
                    self.receive(slot);
                }
            }
            RECV => self.received(slot, entry.result(), entry.flags()),
            SEND => self.sent(slot, entry.result()),
            CANCEL => self.settle(slot),
            CLOSE => {}
            other => unreachable!("operation {other} was never submitted"),
        }
    }

    fn received(&mut self, slot: u32, result: i32, flags: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.receiving &= cqueue::more(flags);
        if result > 0 {
            let piece = self.ring.buffers.take(flags, result as u32);
            self.receives += 1;
            self.bytes += piece.len as usize;
            if conn.ending {
                self.ring.buffers.put(piece);
            } else {
                if let Some(sealed) = &mut conn.sealed {
                    let failed = sealed.echo(self.ring.buffers.bytes_mut(piece), &mut self.plain).is_err();
                    (conn.ending, conn.failed) = (failed, failed);
                    self.ring.buffers.put(piece);
                } else {
                    conn.behind += piece.len as usize;
                    conn.waiting.push_back(piece);
                }
                if conn.behind() > self.ring.buffers.len() / 2 && !conn.paused {
                    conn.paused = true;
                    if conn.receiving {
                        let receive = CancelBuilder::user_data(RECV << 32 | u64::from(slot));
                        self.push(opcode::AsyncCancel2::new(receive).build(), CANCEL, slot);
                    }
                }
                self.send(slot);
            }
            if self.starved.is_empty() {
                self.receive(slot);
            } else if !self.conns[slot as usize].receiving {
                self.starved.push_back(slot); // others were first
            }
        } else if result == -libc::ENOBUFS {
            self.starved.push_back(slot);
        } else if result != -libc::ECANCELED || conn.cancelled {
            conn.ending = true;
        }
        // The last send may have completed before the receive that was to pause ended.
        self.resume(slot);
        self.settle(slot);
    }

    /// Sends what waits, if nothing is with the kernel.
    fn send(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.is_sending() {
            return;
        }
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        if let Some(sealed) = &mut conn.sealed {
            let Some(bytes) = sealed.send() else { return };
            let entry = opcode::Send::new(Fixed(slot), bytes.as_ptr(), bytes.len() as u32).flags(flags);
            return self.push(entry.build(), SEND, slot);
        }
        let Some(piece) = conn.waiting.pop_front() else { return };
        conn.sending = Some(piece);
        let at = self.ring.buffers.at(piece);
        let entry = opcode::Send::new(Fixed(slot), at, piece.len).flags(flags);
        self.push(entry.build(), SEND, slot);
    }

    fn sent(&mut self, slot: u32, result: i32) {
        let conn = &mut self.conns[slot as usize];
        let sent = usize::try_from(result).unwrap_or(0);
        let asked = if let Some(sealed) = &mut conn.sealed {
            sealed.sent()
        } else {
            let piece = conn.sending.take().expect("it was sending");
            conn.behind -= piece.len as usize;
            self.ring.buffers.put(piece);
            piece.len as usize
        };
        // MSG_WAITALL: a short count is a socket that has failed.
        conn.ending |= sent < asked;
        conn.failed |= sent < asked;
        self.send(slot);
        self.resume(slot);
        self.settle(slot);
    }

    /// Receives again from a connection that has caught up and whose old receive has ended.
    fn resume(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.paused && !conn.receiving && !conn.is_sending() {
            conn.paused = false;
            self.receive(slot);
        }
    }

    /// Ends a connection that is to end: what waits still goes out unless a send failed, then the slot closes.
    fn settle(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.open || !conn.ending {
            return;
        }
        // A peer that has only ended its side still gets everything.
        if conn.failed {
            for piece in conn.waiting.drain(..) {
                conn.behind -= piece.len as usize;
                self.ring.buffers.put(piece);
            }
            if let Some(sealed) = &mut conn.sealed {
                sealed.give_up();
            }
        }
        let conn = &mut self.conns[slot as usize];
        if conn.receiving {
            if conn.failed && !conn.cancelled {
                conn.cancelled = true;
                let all = CancelBuilder::fd(Fixed(slot)).all();
                self.push(opcode::AsyncCancel2::new(all).build(), CANCEL, slot);
            }
        } else if !conn.is_sending() && !conn.has_waiting() {
            conn.open = false;
            conn.sealed = None;
            self.push(opcode::Close::new(Fixed(slot)).build(), CLOSE, slot);
        }
    }
}
