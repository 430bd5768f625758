//! One listener: a task that accepts, from when the core asks for it until the accept has failed or is cancelled.
//!
//! A cancelled accept ends by shutdown(2) of the listening socket, for the reason that `conn` gives; that resets who waits there, so
//! they are taken before. Promises that until accepting is to end at most one peer is accepted that the core has not taken yet.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use socket2::SockRef;
use tokio_uring::net::{TcpListener, TcpStream};

use crate::shared::{Bell, Event, Shared, errno_of};
use wsring::ring::{Done, Errno, Token};

/// A listening socket.
pub(crate) struct Listening {
    socket: TcpListener,
    /// The same socket: one can be shut down, the other accepts.
    also: std::net::TcpListener,
    shared: Rc<Shared>,
    /// The accept that is going on.
    accepting: Cell<Option<Token>>,
    /// A peer was accepted that the core has not taken yet.
    untaken: Cell<bool>,
    cancelled: Cell<bool>,
    bell: Bell,
}

impl Listening {
    /// Takes over a socket that listens.
    pub(crate) fn new(also: std::net::TcpListener, nodelay: bool, shared: Rc<Shared>) -> io::Result<Rc<Self>> {
        // Accepted sockets inherit it (tcp(7)).
        SockRef::from(&also).set_tcp_nodelay(nodelay)?;
        // A non-blocking socket answers EAGAIN at once, also to io_uring.
        also.set_nonblocking(false)?;
        let socket = TcpListener::from_std(also.try_clone()?);
        Ok(Rc::new(Self {
            socket,
            also,
            shared,
            accepting: Cell::new(None),
            untaken: Cell::new(false),
            cancelled: Cell::new(false),
            bell: Bell::default(),
        }))
    }

    /// Accepts from here on.
    pub(crate) fn accept(self: &Rc<Self>, token: Token) {
        assert!(self.accepting.replace(Some(token)).is_none(), "two accepts on one listener");
        tokio_uring::spawn(accept_on(Rc::clone(self), token));
    }

    /// The core has taken the last peer.
    pub(crate) fn on_taken(&self) {
        self.untaken.set(false);
        self.bell.ring();
    }

    /// Takes those who wait to be accepted, at most so many. Whether there was one, or may be: none is taken while nothing accepts.
    pub(crate) fn take_waiting(&self, most: usize) -> bool {
        let Some(token) = self.accepting.get() else { return false };
        let mut taken = 0;
        // Both descriptors are of one socket, and an accept that waits already goes on waiting.
        if self.also.set_nonblocking(true).is_err() {
            return false;
        }
        while taken < most
            && let Ok((stream, peer)) = self.also.accept()
        {
            let _ = stream.set_nonblocking(false); // as accept(2) makes it on Linux, whatever the listener is
            self.shared.push(token, Event::Accepted(TcpStream::from_std(stream), Some(peer)));
            taken += 1;
        }
        let _ = self.also.set_nonblocking(false);
        taken > 0
    }

    /// Ends the accept that is going on.
    pub(crate) fn cancel(&self) {
        if self.accepting.get().is_some() && !self.cancelled.replace(true) {
            let _ = SockRef::from(&self.also).shutdown(Shutdown::Both); // a socket that listens can be shut down
            self.bell.ring();
        }
    }

    fn end(&self, token: Token, errno: Errno) {
        let errno = if self.cancelled.get() { Errno(libc::ECANCELED) } else { errno };
        self.accepting.set(None);
        self.shared.done(token, Done::Accepted { result: Err(errno), peer: None, more: false });
    }
}

async fn accept_on(listener: Rc<Listening>, token: Token) {
    loop {
        if !listener.shared.has_room.get() {
            return listener.end(token, Errno(libc::ENFILE));
        }
        match listener.socket.accept().await {
            Ok((stream, peer)) => {
                listener.untaken.set(true);
                listener.shared.push(token, Event::Accepted(stream, Some(peer)));
            }
            Err(error) => return listener.end(token, errno_of(&error)),
        }
        listener.bell.until(|| (listener.cancelled.get() || !listener.untaken.get()).then_some(())).await;
        if listener.cancelled.get() {
            return listener.end(token, Errno(libc::ECANCELED));
        }
    }
}
