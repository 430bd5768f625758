//! The seam on tokio-uring: [`TokioRing`] turns operations into what tasks do, and what they brought about into
//! completions.
//!
//! [`Ring::wait`] never blocks here: whoever drives the core awaits [`Shared::core`] first. Nothing is left behind: a ring
//! that is dropped with connections shuts them down, and their tasks end by themselves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_uring::net::TcpStream;

use crate::conn::Conn;
use crate::listening::Listening;
use crate::shared::{Event, Shared, errno_of};
use wsring::ring::{Done, Errno, Kind, Op, Ring, Socket, Time, Token, uring};

/// The place of a connection that receives nothing.
const NOWHERE: u32 = u32::MAX;

/// One thread's sockets in the runtime of that thread.
pub(crate) struct TokioRing {
    shared: Rc<Shared>,
    conns: Slab<Rc<Conn>>,
    sockets_max: usize,
    listeners: Vec<Option<Rc<Listening>>>,
    /// Socket numbers by the index of the connection, for receives: a cancel names a token only.
    receiving: Vec<u32>,
    connects: Vec<(Token, AbortHandle)>,
    /// Rung by other threads.
    notify: Arc<Notify>,
    waking: Option<AbortHandle>,
    now: Time,
}

impl TokioRing {
    pub(crate) fn new(
        shared: Rc<Shared>,
        listeners: Vec<Rc<Listening>>,
        sockets_max: usize,
        notify: Arc<Notify>,
    ) -> Self {
        Self {
            shared,
            conns: Slab::new(),
            sockets_max,
            listeners: listeners.into_iter().map(Some).collect(),
            receiving: Vec::new(),
            connects: Vec::new(),
            notify,
            waking: None,
            now: uring::monotonic(),
        }
    }

    fn insert(&mut self, stream: TcpStream) -> Socket {
        let entry = self.conns.vacant_entry();
        let number = entry.key() as u32;
        entry.insert(Conn::start(stream, number, Rc::clone(&self.shared)));
        self.count();
        Socket(number)
    }

    fn count(&self) {
        self.shared.has_room.set(self.conns.len() < self.sockets_max);
    }

    fn conn(&self, socket: Socket) -> &Rc<Conn> {
        &self.conns[socket.0 as usize]
    }

    fn receive(&mut self, token: Token, socket: Socket) {
        let index = token.index() as usize;
        if self.receiving.len() <= index {
            self.receiving.resize(index + 1, NOWHERE);
        }
        self.receiving[index] = socket.0;
        self.conn(socket).receive(token);
    }

    fn cancel(&mut self, target: Token) {
        match target.kind() {
            Kind::Recv => {
                let number = self.receiving.get(target.index() as usize).copied().unwrap_or(NOWHERE);
                if let Some(conn) = self.conns.get(number as usize) {
                    conn.cancel_receive(target);
                }
            }
            Kind::Accept => {
                if let Some(listener) = &self.listeners[target.index() as usize] {
                    listener.cancel();
                }
            }
            Kind::Connect => {
                // What has finished is in the queue already: then the cancel has lost the race.
                let running = |(token, task): &(Token, AbortHandle)| *token == target && !task.is_finished();
                if let Some(at) = self.connects.iter().position(running) {
                    self.connects.swap_remove(at).1.abort();
                    self.shared.done(target, Done::Connected { result: Err(Errno(libc::ECANCELED)) });
                }
            }
            Kind::Send | Kind::Cancel | Kind::Unacked | Kind::Close | Kind::Wake => {
                unreachable!("nobody cancels {target:?}")
            }
        }
    }
}

/// Connects with tokio's own socket, which a cancel can drop: the kernel holds nothing of ours meanwhile.
async fn connect(remote: SocketAddr, nodelay: bool, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(nodelay)?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(TcpStream::from_std(stream))
}

impl Ring for TokioRing {
    type Lease = Vec<u8>;

    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Accept { listener } => {
                self.listeners[listener as usize].as_ref().expect("accepting on a closed listener").accept(token);
            }
            Op::Connect { remote, nodelay, local } => {
                let shared = Rc::clone(&self.shared);
                let task = tokio_uring::spawn(async move {
                    let result =
                        connect(remote, nodelay, local.map(|local| *local)).await.map_err(|error| errno_of(&error));
                    shared.push(token, Event::Connected(result));
                });
                self.connects.push((token, task.abort_handle()));
            }
            Op::Recv { socket, .. } => self.receive(token, socket),
            Op::Send { socket, payload } => self.conn(socket).send(token, payload),
            Op::Cancel { target } => {
                self.cancel(target);
                self.shared.done(token, Done::Cancelled);
            }
            Op::CancelSocket { socket } => {
                self.conn(socket).cancel();
                self.shared.done(token, Done::Cancelled);
            }
            Op::Unacked { socket } => {
                let result = self.conn(socket).unacked();
                self.shared.done(token, Done::Unacked { result });
            }
            Op::Close { socket, reset } => {
                self.conns.remove(socket.0 as usize).close(Some(token), reset);
                self.count();
            }
            Op::Wake => {
                let (shared, notify) = (Rc::clone(&self.shared), Arc::clone(&self.notify));
                let task = tokio_uring::spawn(async move {
                    notify.notified().await;
                    shared.done(token, Done::Woken);
                });
                self.waking = Some(task.abort_handle());
            }
        }
    }

    /// Reads the clock: see the module.
    fn wait(&mut self, _until: Option<Time>) -> io::Result<()> {
        self.now = uring::monotonic();
        Ok(())
    }

    fn next(&mut self) -> Option<(Token, Done<Vec<u8>>)> {
        let (token, event) = self.shared.pop()?;
        let done = match event {
            Event::Done(done, None) => done,
            Event::Done(done, Some(number)) => {
                self.conns[number as usize].on_taken();
                done
            }
            Event::Accepted(stream, peer) => {
                let socket = self.insert(stream);
                if let Some(listener) = &self.listeners[token.index() as usize] {
                    listener.on_taken();
                }
                Done::Accepted { result: Ok(socket), peer, more: true }
            }
            Event::Connected(result) => {
                self.connects.retain(|(connect, _)| *connect != token);
                let result = match result {
                    Ok(_) if !self.shared.has_room.get() => Err(Errno(libc::ENFILE)),
                    result => result.map(|stream| self.insert(stream)),
                };
                Done::Connected { result }
            }
        };
        Some((token, done))
    }

    fn release(&mut self, lease: Vec<u8>) {
        self.shared.recycle(lease);
    }

    /// Asking takes them, so that the next time there are none.
    fn has_waiting(&mut self, listener: u32) -> bool {
        let room = self.sockets_max.saturating_sub(self.conns.len());
        self.listeners[listener as usize].as_ref().is_some_and(|listener| listener.take_waiting(room))
    }

    fn unlisten(&mut self, listener: u32) {
        self.listeners[listener as usize] = None;
    }

    fn now(&self) -> Time {
        self.now
    }

    /// Unknown: the runtime makes them, and for others too.
    fn enters(&self) -> u64 {
        0
    }
}

impl Drop for TokioRing {
    fn drop(&mut self) {
        self.conns.drain().for_each(|conn| conn.close(None, false));
        self.listeners.iter().flatten().for_each(|listener| listener.cancel());
        self.connects.iter().for_each(|(_, task)| task.abort());
        self.waking.iter().for_each(AbortHandle::abort);
    }
}
