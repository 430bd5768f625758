//! The fan-out's baseline: what comes from anybody goes to everybody, on epoll, one thread, parsing nothing.
//!
//! Owns: its listener and connections. Promises: one read for each that has sent, one write for each receiver and pass, and memory bounded by
//! one log: while somebody has not taken what is in it, nothing more is received. Refuses to know: frames. Whose message goes first is whose
//! bytes come first, so only one connection may send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fanout_log::Log;
use crate::poller::Poller;
use crate::ring_fanout::{LOG_LEN, listen};

const LISTENER: u64 = u64::MAX;
/// How long a stop may go unnoticed.
const WAIT_MS: u16 = 250;

struct Conn {
    stream: TcpStream,
    /// Where it stands in the log.
    at: u64,
    /// Its socket is full, until an edge tells otherwise.
    full: bool,
    /// There may be something to read.
    readable: bool,
}

/// The fan-out.
pub struct EpollFanout {
    listener: TcpListener,
    poller: Poller,
    conns: Vec<Option<Conn>>,
    log: Log,
    buffer: Vec<u8>,
    syscalls: u64,
}

impl EpollFanout {
    /// Listens on `addr`. Fails as socket(2), bind(2) and listen(2) do.
    pub fn bind(addr: SocketAddr) -> io::Result<EpollFanout> {
        let listener = listen(addr)?;
        listener.set_nonblocking(true)?;
        let poller = Poller::new(512)?;
        poller.add_listener(&listener, LISTENER)?;
        let (log, buffer) = (Log::new(LOG_LEN), vec![0; LOG_LEN]);
        Ok(EpollFanout { listener, poller, conns: Vec::new(), log, buffer, syscalls: 0 })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// System calls made so far: epoll_wait, accept, read and write.
    pub fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Gives everything to everybody until `stop` is set. A failing connection ends alone.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut has_more = false;
        while !stop.load(Ordering::Relaxed) {
            let ready = self.poller.wait(if has_more { 0 } else { WAIT_MS })?;
            self.syscalls += 1;
            for event in 0..ready {
                let event = self.poller.ready(event);
                if event.token == LISTENER {
                    self.accept()?;
                } else if let Some(Some(conn)) = self.conns.get_mut(event.token as usize) {
                    conn.readable = true;
                    conn.full &= !event.writable;
                }
            }
            let read = self.read();
            let written = self.write();
            // Who has more to send is not told of again; who waits for room in the log is served when a socket takes some.
            has_more = read || written && self.conns.iter().flatten().any(|conn| conn.readable);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            self.syscalls += 1;
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => return Err(error),
                // accept(2): errors of a connection that ended while it waited.
                Err(_) => continue,
            };
            stream.set_nonblocking(true)?;
            let slot = self.conns.iter().position(Option::is_none).unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            self.poller.add(&stream, slot as u64)?;
            self.conns[slot] = Some(Conn { stream, at: self.log.end(), full: false, readable: false });
        }
    }

    /// True if somebody has sent more than was read.
    fn read(&mut self) -> bool {
        let mut has_more = false;
        let Some(slowest) = self.conns.iter().flatten().map(|conn| conn.at).min() else { return false };
        for slot in 0..self.conns.len() {
            let Some(conn) = self.conns[slot].as_mut().filter(|conn| conn.readable) else { continue };
            let room = LOG_LEN - (self.log.end() - slowest) as usize;
            if room == 0 {
                return false;
            }
            self.syscalls += 1;
            match conn.stream.read(&mut self.buffer[..room]) {
                Ok(0) => self.conns[slot] = None,
                Ok(got) => {
                    // A short read is the last: an edge tells of more (epoll(7)).
                    conn.readable = got == room;
                    has_more |= conn.readable;
                    let taken = self.log.append(&self.buffer[..got], slowest);
                    assert_eq!(taken, got, "no more is read than there is room for");
                }
                Err(error) if would_wait(&error) => conn.readable = false,
                Err(_) => self.conns[slot] = None,
            }
        }
        has_more
    }

    /// True if anybody has taken anything.
    fn write(&mut self) -> bool {
        let mut any = false;
        for slot in 0..self.conns.len() {
            while let Some(conn) = self.conns[slot].as_mut()
                && !conn.full
                && conn.at < self.log.end()
            {
                self.syscalls += 1;
                match conn.stream.write(self.log.from(conn.at)) {
                    Ok(written) => {
                        any |= written > 0;
                        conn.at += written as u64;
                    }
                    Err(error) if would_wait(&error) => conn.full = true,
                    Err(_) => self.conns[slot] = None,
                }
            }
        }
        any
    }
}

/// As for the echo: a signal looks like a full socket, and no handler here interrupts a non-blocking call.
fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
