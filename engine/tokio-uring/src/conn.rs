//! One connected socket: a task that reads and a task that writes, from when it is connected until it is closed.
//!
//! tokio-uring takes the memory of an operation by value and gives it back with the result, so what the kernel holds nobody
//! else can name. Dropping one of its futures neither cancels the operation nor frees the descriptor. So no future is ever
//! dropped here: what has to end is ended by shutdown(2), and a receive that is cancelled because its peer is paused stays
//! with the kernel. What it brings waits in its task until bytes are wanted again, which is one buffer.
//!
//! Invariants: at most one read and one write with the kernel; at most one buffer delivered and not yet taken by the core,
//! and one behind it, however seldom the core is polled.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::rc::Rc;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use crate::shared::{Bell, Event, Shared, errno_of};
use wsring::bytes::Bytes;
use wsring::ring::uring;
use wsring::ring::{Done, Errno, Heap, Memory, Payload, RecvEnd, Token};

/// Bytes of the buffer that a quiet connection reads into, and of a busy one's.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 64 << 10;

/// A connected socket.
pub(crate) struct Conn {
    stream: TcpStream,
    shared: Rc<Shared>,
    number: u32,
    /// The receive that wants bytes.
    wanted: Cell<Option<Token>>,
    /// Bytes were delivered that the core has not taken yet.
    untaken: Cell<bool>,
    /// The kernel has a read.
    reading: Cell<bool>,
    /// Everything on this socket was cancelled.
    cancelled: Cell<bool>,
    reader: Bell,
    /// To be written.
    outgoing: Cell<Option<(Token, Payload)>>,
    writer: Bell,
    /// Its tasks are to end.
    closed: Cell<bool>,
    /// Completes when the last of them has ended.
    closing: Cell<Option<Token>>,
}

impl Conn {
    /// Takes a socket over and starts its tasks.
    pub(crate) fn start(stream: TcpStream, number: u32, shared: Rc<Shared>) -> Rc<Self> {
        let conn = Rc::new(Self {
            stream,
            shared,
            number,
            wanted: Cell::new(None),
            untaken: Cell::new(false),
            reading: Cell::new(false),
            cancelled: Cell::new(false),
            reader: Bell::default(),
            outgoing: Cell::new(None),
            writer: Bell::default(),
            closed: Cell::new(false),
            closing: Cell::new(None),
        });
        tokio_uring::spawn(read_on(Rc::clone(&conn)));
        tokio_uring::spawn(write_on(Rc::clone(&conn)));
        conn
    }

    /// Bytes are wanted from here on.
    pub(crate) fn receive(&self, token: Token) {
        assert!(self.wanted.replace(Some(token)).is_none(), "two receives on one socket");
        self.reader.ring();
    }

    /// No more bytes are wanted for this receive, if it has not ended already.
    pub(crate) fn cancel_receive(&self, token: Token) {
        if self.wanted.get() == Some(token) {
            self.wanted.set(None);
            self.shared.done(token, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) });
        }
    }

    /// The core has taken the last bytes.
    pub(crate) fn on_taken(&self) {
        self.untaken.set(false);
        self.reader.ring();
    }

    /// Bytes to write.
    pub(crate) fn send(&self, token: Token, payload: Payload) {
        assert!(self.outgoing.replace(Some((token, payload))).is_none(), "two sends on one socket");
        self.writer.ring();
    }

    /// Ends what the kernel has of this socket.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
        self.shut_down();
    }

    /// How many bytes the peer has not acknowledged (SIOCOUTQ, tcp(7)).
    pub(crate) fn unacked(&self) -> Result<u32, Errno> {
        uring::unacked(&self.stream)
    }

    /// Ends the tasks; the socket is closed with the second, and `token` completes. `reset`: what the peer has not acknowledged is
    /// dropped.
    pub(crate) fn close(&self, token: Option<Token>, reset: bool) {
        if reset {
            uring::reset_on_close(&self.stream);
        }
        self.closed.set(true);
        self.closing.set(token);
        // A cancelled receive may have left its read with the kernel. If there is none, close(2) is all it takes: what was
        // written still goes out, and bytes that nobody reads make it a reset, as on a ring of our own.
        if self.reading.get() || token.is_none() {
            self.shut_down();
        }
        self.reader.ring();
        self.writer.ring();
    }

    fn shut_down(&self) {
        // It fails only when the peer has reset the connection, and then the operations have ended too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// What a read has brought goes to the core.
    fn deliver(&self, result: io::Result<usize>, bytes: Vec<u8>) {
        let token = self.wanted.get().expect("bytes are delivered while they are wanted");
        let (lease, end) = match result {
            Ok(0) => (None, Some(RecvEnd::Eof)),
            Ok(_) => (Some(bytes), None),
            Err(error) => match errno_of(&error) {
                Errno(libc::EINTR | libc::EAGAIN) => (None, Some(RecvEnd::Rearm)),
                errno => (None, Some(RecvEnd::Failed(errno))),
            },
        };
        let end = if self.cancelled.get() { Some(RecvEnd::Cancelled) } else { end };
        if end.is_some() {
            self.wanted.set(None);
        }
        self.untaken.set(lease.is_some());
        self.shared.push(token, Event::Done(Done::Received { lease, end }, Some(self.number)));
    }
}

/// The last task of a connection that is closing has ended: the stream is closed right behind this.
impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(token) = self.closing.take() {
            self.shared.done(token, Done::Closed);
        }
    }
}

async fn read_on(conn: Rc<Conn>) {
    let mut size = READ_MIN;
    loop {
        conn.reader.until(|| (conn.closed.get() || conn.wanted.get().is_some()).then_some(())).await;
        if conn.closed.get() {
            return;
        }
        let buffer = conn.shared.buffer(size);
        conn.reading.set(true);
        let (result, bytes) = conn.stream.read(buffer).await;
        conn.reading.set(false);
        match &result {
            Ok(len) if *len == bytes.capacity() => size = READ_MAX,
            Ok(len) if *len < READ_MIN => size = READ_MIN,
            _ => {}
        }
        let deliverable = || conn.wanted.get().is_some() && !conn.untaken.get();
        conn.reader.until(|| (conn.closed.get() || deliverable()).then_some(())).await;
        if conn.closed.get() {
            return conn.shared.recycle(bytes);
        }
        conn.deliver(result, bytes);
    }
}

async fn write_on(conn: Rc<Conn>) {
    let next = || match conn.outgoing.take() {
        Some(outgoing) => Some(Some(outgoing)),
        None => conn.closed.get().then_some(None),
    };
    while let Some((token, payload)) = conn.writer.until(next).await {
        let (payload, result) = write(&conn.stream, payload).await;
        conn.shared.done(token, Done::Sent { payload, result });
    }
}

/// Writes what the socket takes of it.
async fn write(stream: &TcpStream, payload: Payload) -> (Payload, Result<usize, Errno>) {
    let Payload { memory, from, to } = payload;
    let mut memory = memory;
    loop {
        let written;
        (written, memory) = write_some(stream, memory, from as usize..to as usize).await;
        let result = match written {
            Ok(0) => Err(Errno(libc::EPIPE)),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(errno_of(&error)),
        };
        return (Payload { memory, from, to }, result);
    }
}

/// Writes what the socket takes of this range.
async fn write_some(stream: &TcpStream, memory: Memory, range: Range<usize>) -> (io::Result<usize>, Memory) {
    match memory {
        Memory::Heap(Heap::Pooled(bytes)) => {
            let (result, slice) = stream.write(bytes.slice(range)).submit().await;
            (result, Memory::Heap(Heap::Pooled(slice.into_inner())))
        }
        Memory::Heap(Heap::Shared(bytes)) => {
            let (result, _) = stream.write(Bytes::slice(&bytes, range)).submit().await;
            (result, Memory::Heap(Heap::Shared(bytes)))
        }
        // It is the core's; this runtime wants memory of its own.
        Memory::Heap(Heap::Trail(bytes)) => {
            let (result, _) = stream.write(bytes[range].to_vec()).submit().await;
            (result, Memory::Heap(Heap::Trail(bytes)))
        }
        Memory::Block(_) => unreachable!("this ring has no send blocks"),
    }
}
