//! A stream that holds back what is written until something has to be read.
//!
//! fastwebsockets writes each frame to its stream at once and says that the stream may be a buffered one. This one
//! needs no word from the library: it reads when it has no whole frame left, and that is when every reply to what it
//! read before has been written.
//!
//! Owns the unsent bytes. Promises that none is left when a read waits, and that a long write is not copied. Knows
//! nothing of frames.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes held back at most; a write that does not fit goes out with them.
const HELD_MAX: usize = 64 << 10;

/// See above.
#[derive(Debug)]
pub struct Outbox {
    stream: TcpStream,
    /// Bytes that came in behind the HTTP request.
    early: Bytes,
    held: BytesMut,
}

impl Outbox {
    /// Around a stream whose first bytes have been read.
    pub fn new(stream: TcpStream, early: Bytes) -> Self {
        Self { stream, early, held: BytesMut::new() }
    }

    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            self.held.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Outbox {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.early.has_remaining() {
            let taken = self.early.remaining().min(buf.remaining());
            buf.put_slice(&self.early.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Outbox {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.held.len() + bytes.len() > HELD_MAX {
            ready!(self.poll_empty(cx))?;
            if bytes.len() > HELD_MAX {
                return Pin::new(&mut self.stream).poll_write(cx, bytes);
            }
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.held.len() + len > HELD_MAX {
            ready!(self.poll_empty(cx))?;
            if len > HELD_MAX {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            }
        }
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_empty(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
