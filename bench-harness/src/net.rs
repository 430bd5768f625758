//! The load client's sockets: one ring, multishot receives (or, to discard, one-shot), sends from memory that was laid out before
//! the clock starts.
//!
//! Owns: the connections' descriptors and the ring. Promises: one io_uring_enter(2) a pass for everything; at most one send in
//! flight per connection, of bytes that are never copied (over TLS, of what they encrypt to); long replies can be received
//! without their bodies (`heads`); the time in which it found nothing to do is known, so that a load
//! that polls can still say how busy it was. Refuses to know: frames. It is independent of the engine under test.

mod event;
mod heads;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::Fixed;
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::ring_buffers::{GROUP, Piece, Ring};
use crate::stream::Stream;

use event::{RECV, SEND};
use heads::Heads;

pub use event::Event;

/// Receive buffers and bytes of each: about a second-level cache.
const BUFFERS: (u16, u32) = (16, 64 << 10);
/// Receives without a buffer that are armed again in one pass.
const REARM_MAX: usize = 16;
/// Looks at the completion queue between two looks at the clock while polling.
const LOOKS: u32 = 16;

/// How to wait for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Poll: the server never pays for waking this thread, and a send leaves on time.
    Poll,
    /// Sleep, as most clients do.
    Sleep,
}

/// What becomes of the bytes that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All are received into buffers.
    All,
    /// Every reply is a head of so many bytes, 1 to 14, and a body of so many, one at least, which the kernel discards. Not over TLS.
    Heads(usize, usize),
}

/// The sockets.
pub struct Net<'a> {
    // Nothing is in flight once it has dropped, so it goes before the sockets, and its lifetime keeps `run` longer still.
    ring: Ring,
    streams: Vec<Stream>,
    /// Replies whose bodies are discarded; without, all that comes is kept.
    heads: Option<Heads>,
    /// Bytes that the send of each connection with TLS is for, and bytes of it that the socket has not taken.
    sealing: Vec<(usize, usize)>,
    /// What the last receive of a connection with TLS decrypted to.
    plain: Vec<u8>,
    over_tls: bool,
    /// Connections whose TLS can send no more.
    broken: Vec<(usize, io::Error)>,
    /// All that is ever sent.
    run: &'a [u8],
    starved: VecDeque<u32>,
    patience: Patience,
    idle: Duration,
}

impl<'a> Net<'a> {
    /// Takes over `streams` and receives from all of them; sends come out of `run`. Fails as io_uring_setup(2) does.
    pub fn new(streams: Vec<Stream>, run: &'a [u8], patience: Patience, keep: Keep) -> io::Result<Net<'a>> {
        let entries = (streams.len() * 2).next_power_of_two().clamp(256, 32_768) as u32;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(entries * 2)
            .build(entries)?;
        let descriptors: Vec<_> = streams.iter().map(|stream| stream.tcp.as_raw_fd()).collect();
        uring.submitter().register_files(&descriptors)?;
        let ring = Ring::new(uring, BUFFERS.0, BUFFERS.1)?;
        let sealing = vec![(0, 0); streams.len()];
        let (starved, plain, idle) = (VecDeque::new(), Vec::new(), Duration::ZERO);
        let (over_tls, broken) = (streams.iter().any(|stream| stream.sealed.is_some()), Vec::new());
        let heads = match keep {
            Keep::All => None,
            Keep::Heads(head, body) => Some(Heads::new(streams.len(), head, body)),
        };
        assert!(heads.is_none() || !over_tls, "a sealed reply has to be opened");
        let mut net = Net { ring, streams, heads, sealing, plain, over_tls, broken, run, starved, patience, idle };
        for conn in 0..net.streams.len() {
            net.receive(conn as u32);
        }
        Ok(net)
    }

    /// Time spent with nothing to do while polling.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Queues `run[at..at + len]` for a connection that has no send in flight; it leaves with the next pass.
    pub fn send(&mut self, conn: usize, at: usize, len: usize) {
        let mut bytes = &self.run[at..at + len];
        if let Some(sealed) = &mut self.streams[conn].sealed {
            if let Err(error) = sealed.write(bytes) {
                return self.broken.push((conn, io::Error::other(error)));
            }
            bytes = sealed.send().expect("a record is never empty");
            self.sealing[conn] = (len, bytes.len());
        }
        let send = opcode::Send::new(Fixed(conn as u32), bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL);
        let entry = send.build().user_data(SEND << 32 | conn as u64);
        self.push(&entry);
    }

    /// The socket of a connection with TLS has taken so many bytes: when it has all, the bytes they stand for are sent.
    fn sent_sealed(&mut self, conn: usize, sent: usize) -> Option<Event> {
        let (plain, left) = &mut self.sealing[conn];
        *left -= sent;
        let (plain, left) = (*plain, *left);
        let sealed = self.streams[conn].sealed.as_mut().expect("asked by who has it");
        if left == 0 {
            sealed.sent();
            return Some(Event::Sent(conn, plain));
        }
        let bytes = sealed.rest(left);
        let send = opcode::Send::new(Fixed(conn as u32), bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL);
        let entry = send.build().user_data(SEND << 32 | conn as u64);
        self.push(&entry);
        None
    }

    fn receive(&mut self, conn: u32) {
        let (of, entry) = match &mut self.heads {
            None => (RECV, opcode::RecvMulti::new(Fixed(conn), GROUP).build()),
            Some(heads) => heads.receive(conn),
        };
        self.push(&entry.user_data(of << 32 | u64::from(conn)));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: a send reads `run`, which is borrowed for longer than the ring lives, or what a connection's TLS has set aside
        // to be sent, which is not touched before that has completed, and goes behind the ring; a receive names the ring's
        // own buffers, or those of `heads`, which do not move and go behind the ring.
        unsafe { self.ring.push(entry) };
    }

    /// Hands over all that was queued and waits for events, at most `timeout`; zero looks once.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.ring.buffers.publish();
        for _ in 0..self.starved.len().min(REARM_MAX) {
            let conn = self.starved.pop_front().expect("counted");
            self.receive(conn);
        }
        // Receives that are left over are armed by the next pass: nothing would announce their bytes, so this one does not
        // wait. Nor does it if a full queue has brought events already.
        let at_once = !self.starved.is_empty() || self.ring.has_some();
        let timeout = if at_once { Duration::ZERO } else { timeout };
        if self.patience == Patience::Sleep && !timeout.is_zero() {
            self.ring.enter(1, timeout)?;
        } else {
            if self.ring.has_queued() || self.ring.kernel_has_some() {
                self.ring.enter(0, timeout)?;
            }
            self.poll(timeout)?;
        }
        self.ring.gather();
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        if timeout.is_zero() || self.ring.has_some() {
            return Ok(());
        }
        let began = Instant::now();
        let mut looks = 0_u32;
        loop {
            if self.ring.kernel_has_some() {
                self.idle += began.elapsed();
                return self.ring.enter(0, timeout);
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS) && began.elapsed() >= timeout {
                self.idle += began.elapsed();
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }

    /// The next event that the last wait gathered.
    pub fn next(&mut self) -> Option<Event> {
        if let Some((conn, error)) = self.broken.pop() {
            return Some(Event::Ended(conn, error));
        }
        loop {
            let entry = self.ring.next()?;
            let conn = entry.user_data() as u32;
            let (result, flags) = (entry.result(), entry.flags());
            if entry.user_data() >> 32 == SEND {
                if self.over_tls && result >= 0 {
                    match self.sent_sealed(conn as usize, result as usize) {
                        Some(event) => return Some(event),
                        None => continue,
                    }
                }
                return Some(match usize::try_from(result) {
                    Ok(sent) => Event::Sent(conn as usize, sent),
                    Err(_) => Event::Ended(conn as usize, io::Error::from_raw_os_error(-result)),
                });
            }
            let ended = !cqueue::more(flags);
            if let (Some(heads), 1..) = (&mut self.heads, result) {
                let event = heads.received(
                    conn as usize,
                    entry.user_data() >> 32,
                    result as usize,
                    cqueue::sock_nonempty(flags),
                );
                self.receive(conn);
                return Some(event);
            }
            if result > 0 {
                let piece = self.ring.buffers.take(flags, result as u32);
                if ended {
                    self.receive(conn);
                }
                if let Some(sealed) = &mut self.streams[conn as usize].sealed {
                    self.plain.clear();
                    let fed = sealed.feed(self.ring.buffers.bytes_mut(piece), &mut self.plain);
                    if fed.is_err() || self.plain.is_empty() {
                        self.ring.buffers.put(piece);
                        match fed {
                            Err(error) => return Some(Event::Ended(conn as usize, io::Error::other(error))),
                            Ok(()) => continue,
                        }
                    }
                }
                return Some(Event::Received(conn as usize, piece));
            }
            match -result {
                libc::ENOBUFS => self.starved.push_back(conn),
                0 => {
                    let why = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
                    return Some(Event::Ended(conn as usize, why));
                }
                errno => return Some(Event::Ended(conn as usize, io::Error::from_raw_os_error(errno))),
            }
        }
    }

    /// The bytes of a piece that was received; over TLS of the last piece alone, until the next event.
    pub fn bytes(&mut self, piece: Piece) -> &[u8] {
        if self.over_tls { &self.plain } else { self.ring.buffers.bytes(piece) }
    }

    /// The bytes of a connection's head that an event has named.
    pub fn head(&self, conn: usize, bytes: Range<usize>) -> &[u8] {
        self.heads.as_ref().map_or(&[], |heads| heads.bytes(conn, bytes))
    }

    /// Gives a piece back.
    pub fn release(&mut self, piece: Piece) {
        self.ring.buffers.put(piece);
    }

    /// Ends the ring and gives the sockets back.
    pub fn into_streams(self) -> Vec<Stream> {
        self.streams
    }
}

#[cfg(test)]
mod tests;
