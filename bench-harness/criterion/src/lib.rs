//! What the benches share: the bytes that arrive, and a wire of memory that every side reads and writes.
//!
//! A wire is always ready: reading takes as much as fits, as a socket with bytes waiting gives it, and writing keeps all.
//! So a future that awaits it is done at its first poll, and [`at_once`] is the whole runtime. Each side pays one copy
//! from the wire and one to it per call, in place of the kernel's.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsring_proto::{MaskKey, Opcode, encode};

/// A message of a bench.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub len: usize,
    pub opcode: Opcode,
}

/// The frames of wsring-proto's own benches.
pub const KINDS: [Kind; 5] = [
    Kind { name: "text 6+20", len: 20, opcode: Opcode::Text },
    Kind { name: "text 6+125", len: 125, opcode: Opcode::Text },
    Kind { name: "text 8+1024", len: 1024, opcode: Opcode::Text },
    Kind { name: "binary 6+20", len: 20, opcode: Opcode::Binary },
    Kind { name: "binary 6+125", len: 125, opcode: Opcode::Binary },
];

/// As many masked frames of a kind, and their echoes.
pub fn frames(kind: Kind, count: usize) -> (Vec<u8>, Vec<u8>) {
    let payload: Vec<u8> = (0..kind.len).map(|at| b' ' + (at % 95) as u8).collect();
    let (mut input, mut reply) = (Vec::new(), Vec::new());
    for number in 0..count as u32 {
        let key = number.wrapping_mul(0x9E37_79B9) | 1;
        encode::append_frame(&mut input, true, kind.opcode, &payload, Some(MaskKey::from_bytes(key.to_le_bytes())));
        encode::append_frame(&mut reply, true, kind.opcode, &payload, None);
    }
    (input, reply)
}

/// What a desktop browser sends to a page's own server: 15 headers, 624 bytes.
pub const BROWSER: &[u8] = include_bytes!("../../../engine/proto/benches/browser.http");

/// What a program sends: the least a handshake can be.
pub const PROGRAM: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// RFC 6455 §1.3: the answer to its sample key.
pub const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[derive(Default)]
struct Ends {
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

/// One end of a connection; a clone is the same end.
#[derive(Clone, Default)]
pub struct Wire(Rc<RefCell<Ends>>);

impl Wire {
    /// A wire on which `input` has arrived.
    pub fn new(input: &[u8]) -> Wire {
        let output = Vec::with_capacity(1 << 20);
        Wire(Rc::new(RefCell::new(Ends { input: input.to_vec(), at: 0, output })))
    }

    /// The input has arrived again, and nothing was sent.
    pub fn rewind(&self) {
        let mut ends = self.0.borrow_mut();
        ends.at = 0;
        ends.output.clear();
    }

    /// What was sent.
    pub fn sent(&self) -> Vec<u8> {
        self.0.borrow().output.clone()
    }

    /// How many bytes were sent.
    pub fn sent_len(&self) -> usize {
        self.0.borrow().output.len()
    }

    fn arrive(&self, room: usize, give: impl FnOnce(&[u8])) -> usize {
        let ends = &mut *self.0.borrow_mut();
        let rest = &ends.input[ends.at..];
        let len = rest.len().min(room);
        give(&rest[..len]);
        ends.at += len;
        len
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.arrive(buffer.len(), |bytes| buffer[..bytes.len()].copy_from_slice(bytes)) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let output = &mut self.0.borrow_mut().output;
        let before = output.len();
        slices.iter().for_each(|slice| output.extend_from_slice(slice));
        Ok(output.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.arrive(buffer.remaining(), |bytes| buffer.put_slice(bytes)) {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The result of a future that never has to wait.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the wire was not ready: more was asked for than had arrived"),
    }
}
