//! The baseline: a raw TCP byte echo on epoll, one thread, parsing nothing.
//!
//! Owns: its listener and connections. Promises: the fewest system calls epoll allows, which is one read and one write per
//! ready connection, and memory bounded by one read buffer of unsent bytes per connection. Refuses to know: frames.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use crate::poller::{Poller, Ready};

const LISTENER: u64 = u64::MAX;
const ACCEPTS_PER_TURN: usize = 64;
/// Full buffers read from one connection before the others get their turn.
const READS_PER_TURN: usize = 16;
/// How long a stop may go unnoticed.
const WAIT_MS: u16 = 250;

/// A connection and what it still has to be sent.
struct Conn {
    stream: TcpStream,
    /// Bytes read but not yet written: `rest[rest_at..]`. Nothing is read while there are any.
    rest: Vec<u8>,
    rest_at: usize,
    /// The peer has ended its side: no edge will announce the end of the stream, so read until it.
    hangup: bool,
}

/// What a connection needs next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
enum Pumped {
    /// An edge will tell.
    Waiting,
    /// There is more to read already.
    More,
    /// Ended or failed.
    Gone,
}

/// The echo server.
pub struct EpollEcho {
    listener: TcpListener,
    poller: Poller,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Connections that used up their turn.
    unfinished: Vec<u64>,
    buffer: Vec<u8>,
    syscalls: u64,
}

impl EpollEcho {
    /// Listens on `addr`; reads `buffer_len` bytes at a time. Fails as socket(2), bind(2) and listen(2) do.
    pub fn bind(addr: SocketAddr, buffer_len: usize) -> io::Result<EpollEcho> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it: no system call per connection.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&addr.into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let poller = Poller::new(512)?;
        poller.add_listener(&listener, LISTENER)?;
        let buffer = vec![0; buffer_len.max(1)];
        Ok(EpollEcho { listener, poller, conns: vec![], free: vec![], unfinished: vec![], buffer, syscalls: 0 })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// System calls made so far: epoll_wait, accept, read and write.
    pub fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Echoes until `stop` is set. A failing connection ends alone; running out of descriptors (EMFILE) ends the run.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut turns: Vec<u64> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let timeout_ms = if self.unfinished.is_empty() { WAIT_MS } else { 0 };
            std::mem::swap(&mut turns, &mut self.unfinished);
            let ready = self.poller.wait(timeout_ms)?;
            self.syscalls += 1;
            for event in 0..ready {
                let event = self.poller.ready(event);
                if event.token == LISTENER {
                    self.accept()?;
                } else {
                    self.turn(event);
                }
            }
            for token in turns.drain(..) {
                self.turn(Ready { token, writable: true, hangup: false });
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            self.syscalls += 1;
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    return Err(error);
                }
                // accept(2): errors of a connection that ended while it waited.
                Err(_) => continue,
            };
            stream.set_nonblocking(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            self.poller.add(&stream, slot as u64)?;
            self.conns[slot] = Some(Conn { stream, rest: Vec::new(), rest_at: 0, hangup: false });
        }
        Ok(())
    }

    fn turn(&mut self, event: Ready) {
        let slot = event.token as usize;
        // A connection that ended in this very pass may still be named by `turns`: quietly gone. If its slot has been
        // given away since, the newcomer gets one read that finds nothing.
        let Some(conn) = self.conns.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        conn.hangup |= event.hangup;
        match conn.pump(&mut self.buffer, &mut self.syscalls, event.writable) {
            Pumped::Waiting => {}
            Pumped::More => self.unfinished.push(event.token),
            Pumped::Gone => {
                self.conns[slot] = None;
                self.free.push(slot);
            }
        }
    }
}

impl Conn {
    fn pump(&mut self, buffer: &mut [u8], syscalls: &mut u64, writable: bool) -> Pumped {
        if self.rest_at < self.rest.len() {
            if !writable && !self.hangup {
                return Pumped::Waiting;
            }
            *syscalls += 1;
            match self.stream.write(&self.rest[self.rest_at..]) {
                Ok(count) => self.rest_at += count,
                Err(error) if would_wait(&error) => return Pumped::Waiting,
                Err(_) => return Pumped::Gone,
            }
            if self.rest_at < self.rest.len() {
                return Pumped::Waiting;
            }
            self.rest = Vec::new();
            self.rest_at = 0;
        }
        for _ in 0..READS_PER_TURN {
            *syscalls += 1;
            let count = match self.stream.read(buffer) {
                Ok(0) => return Pumped::Gone,
                Ok(count) => count,
                Err(error) if would_wait(&error) => return Pumped::Waiting,
                Err(_) => return Pumped::Gone,
            };
            *syscalls += 1;
            let written = match self.stream.write(&buffer[..count]) {
                Ok(written) => written,
                Err(error) if would_wait(&error) => 0,
                Err(_) => return Pumped::Gone,
            };
            if written < count {
                // The peer reads slowly: hold this one buffer, read no more until it is gone.
                self.rest.extend_from_slice(&buffer[written..count]);
                return Pumped::Waiting;
            }
            // epoll(7): a short read means the socket was drained, and the next byte makes a new edge.
            if count < buffer.len() && !self.hangup {
                return Pumped::Waiting;
            }
        }
        Pumped::More
    }
}

/// A signal without SA_RESTART looks like a full socket, but no edge follows it; no handler here interrupts a
/// non-blocking read or write (signal(7)), so both are one case.
fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
