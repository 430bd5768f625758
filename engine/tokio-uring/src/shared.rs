//! What the tasks of one server share: the queue of completions, free read buffers, and bells to wake each other with.
//!
//! One thread's, so nothing here is locked. Promises that a completion wakes the task that drives the core. Refuses to know what is
//! read and written.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use tokio_uring::net::TcpStream;
use wsring_proto::pool::Pool;

use wsring::ring::{Done, Errno, Token};

/// Bytes of free read buffers that are kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// What a task has brought about.
pub(crate) enum Event {
    /// A completion as it is; bytes are of the socket of this number.
    Done(Done<Vec<u8>>, Option<u32>),
    /// A peer has connected.
    Accepted(TcpStream, Option<std::net::SocketAddr>),
    /// A connect is over.
    Connected(Result<TcpStream, Errno>),
}

/// Wakes the one task that waits for what others of its thread bring about.
#[derive(Default)]
pub(crate) struct Bell(Cell<Option<Waker>>);

impl Bell {
    /// Has whoever waits look again.
    pub(crate) fn ring(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    pub(crate) fn on_ring(&self, waker: &Waker) {
        self.0.set(Some(waker.clone()));
    }

    /// Waits until `look` finds something; whoever brings it about rings.
    pub(crate) async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        poll_fn(|cx| {
            let found = look();
            if found.is_none() {
                self.on_ring(cx.waker());
            }
            found.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// What the tasks of one server share.
pub(crate) struct Shared {
    events: RefCell<VecDeque<(Token, Event)>>,
    /// Rings for the task that drives the core.
    pub(crate) core: Bell,
    buffers: RefCell<Pool>,
    /// Another connection fits into the table.
    pub(crate) has_room: Cell<bool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            events: RefCell::default(),
            core: Bell::default(),
            buffers: RefCell::new(Pool::new(KEPT_BYTES_MAX)),
            has_room: Cell::new(true),
        }
    }

    pub(crate) fn push(&self, token: Token, event: Event) {
        self.events.borrow_mut().push_back((token, event));
        self.core.ring();
    }

    pub(crate) fn done(&self, token: Token, done: Done<Vec<u8>>) {
        self.push(token, Event::Done(done, None));
    }

    pub(crate) fn pop(&self) -> Option<(Token, Event)> {
        self.events.borrow_mut().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.borrow().is_empty()
    }

    /// An empty buffer of at least `size` bytes.
    pub(crate) fn buffer(&self, size: usize) -> Vec<u8> {
        self.buffers.borrow_mut().take(size, size)
    }

    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        self.buffers.borrow_mut().put(buffer);
    }
}

/// The number of an error; EIO for one that has none.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
