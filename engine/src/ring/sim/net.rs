//! The simulated network: connections as two byte streams of bounded capacity, as the peers see them, and virtual time.
//!
//! Owns the streams, the listeners' backlogs, and the calendar of all that is to happen. The kernel's side of a socket,
//! operations and completions, is in `kernel`. It refuses to know what the bytes mean.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::acks::{Abort, Acks};
use super::kernel::Kernel;
use super::{Random, SimConfig, Time, Token, Trace};

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The receive with this serial number, on this slot, looks whether there is something.
    Recv(u32, u64),
    RecvCancel(u32, u64),
    Send(u32, u64),
    SendCancel(u32, u64),
    /// What has arrived at the peer of this connection is acknowledged.
    Ack(usize),
    /// This slot is asked what was not, by a token of these bits.
    Unacked(u32, u64),
    /// A connect, by the bits of its token.
    Connect(u64),
    ConnectCancel(u64),
    /// The handshake of this connection is over, and it waits to be accepted at this listener.
    Shaken(u32, usize),
    Accept(u32, u64),
    AcceptCancel(u32, u64),
    /// A completion of a cancel or a close, by the bits of its token.
    Cancelled(u64),
    Closed(u64),
    Wake,
    /// The world outside is called with this key.
    Outside(u64),
}

/// Everything outside of the kernel: peers, and who stops the server.
pub trait Outside {
    /// Something may have changed for `key`, or its time has come.
    fn on_event(&mut self, net: &mut Net, key: u64);
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) bytes: VecDeque<u8>,
    pub(super) capacity: usize,
    /// No byte follows.
    pub(super) ended: bool,
}

impl Stream {
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    pub(super) fn take(&mut self, count: usize, to: &mut Vec<u8>) {
        let (front, back) = self.bytes.as_slices();
        let of_front = count.min(front.len());
        to.extend_from_slice(&front[..of_front]);
        to.extend_from_slice(&back[..count - of_front]);
        self.bytes.drain(..count);
    }
}

/// A connection. Never removed: a run is short.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Whom to call when it changes.
    pub(super) key: u64,
    /// To the server.
    pub(super) rx: Stream,
    /// To the peer.
    pub(super) tx: Stream,
    /// How far the peer's end has come with what was sent.
    pub(super) acks: Acks,
    /// The server closes it with a reset.
    pub(super) aborted: bool,
    /// The server's socket fails with this error.
    pub(super) broken: Option<i32>,
    /// When it broke.
    broken_at: Time,
    /// A send of the server was told of it: the kernel tells an error once (SO_ERROR, socket(7)), and then there is the end.
    pub(super) told: bool,
    /// The server closed it when it had been broken for so long, with bytes of the peer unread.
    unheard_after: Option<Duration>,
    /// The peer's socket fails.
    pub(super) reset: bool,
    /// The server has closed it, or never accepted it.
    pub(super) closed: bool,
    /// The server has closed it, and the kernel has not.
    pub(super) closing_at: Option<Time>,
    /// The peer has closed its end: whatever comes is answered with a reset.
    pub(super) left: bool,
    /// Where the server has it.
    pub(super) slot: Option<u32>,
    /// The kernel, not the peer, broke it.
    pub(super) faulted: bool,
    /// When the server gave it up although bytes of it had been received, and were not looked at.
    pub(super) neglected_at: Option<Time>,
    /// When its listener was closed before it had been accepted, or it came to a closed one.
    pub(super) shut_out_at: Option<Time>,
    /// Bytes that the server's sends have brought, and how many they were when.
    pub(super) taken: usize,
    pub(super) taken_at: Vec<(Time, usize)>,
    /// Bytes that the peer has read.
    read: usize,
    /// The peer waits for room.
    pub(super) blocked: bool,
    /// When a byte or an end last moved.
    pub(super) active_at: Time,
    called: bool,
}

/// Names a connection to the world outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeId(pub(super) usize);

/// What became of a write by a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a peer handles each")]
pub enum Written {
    /// So many bytes were taken; the key is called when there is room for more.
    Bytes(usize),
    /// The connection is reset.
    Reset,
}

/// What a peer read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "a peer handles each")]
pub enum Read {
    /// So many bytes were appended.
    Bytes(usize),
    /// Nothing yet; the key is called when there is.
    Nothing,
    /// The server will send no more.
    Eof,
    /// The connection is reset.
    Reset,
}

/// The simulated network and its clock.
pub struct Net {
    pub(super) config: SimConfig,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) now: Time,
    pub(super) calendar: BinaryHeap<Reverse<(Time, u64, u64, Event)>>,
    scheduled: u64,
    pub(super) pipes: Vec<Pipe>,
    /// Connections that wait to be accepted; `None` once it is closed.
    pub(super) backlogs: Vec<Option<VecDeque<usize>>>,
    /// Connections whose handshake is under way.
    shaking: Vec<usize>,
    /// No connection more begins there.
    deaf: Vec<bool>,
    /// Connections that the engine made and nobody has looked at: where to, and the connection.
    pub(super) dialled: VecDeque<(SocketAddr, PipeId)>,
    pub(super) kernel: Kernel,
    /// Rung by whoever has nothing of the ring but this.
    pub(super) bell: Bell,
}

/// Wakes a simulated ring from wherever: as another thread does, or the engine itself.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<AtomicBool>);

impl Bell {
    /// Has the ring tell that it was woken, soon.
    pub fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn is_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Net {
    pub(super) fn new(config: SimConfig, trace: Trace) -> Self {
        Self {
            random: Random::new(config.seed),
            trace,
            now: config.start,
            calendar: BinaryHeap::new(),
            scheduled: 0,
            pipes: Vec::new(),
            backlogs: (0..config.listeners).map(|_| Some(VecDeque::new())).collect(),
            shaking: vec![0; config.listeners as usize],
            deaf: vec![false; config.listeners as usize],
            dialled: VecDeque::new(),
            kernel: Kernel::new(&config),
            config,
            bell: Bell::default(),
        }
    }

    /// The time, exactly.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Has the world outside called with `key` after a while.
    pub fn call_after(&mut self, after: Duration, key: u64) {
        self.schedule(self.now.plus(after), Event::Outside(key));
    }

    /// Rings the ring's waker, as another thread would.
    pub fn wake(&mut self) {
        self.bell.take();
        self.kernel.wakes = true;
        self.soon(Event::Wake);
    }

    /// The same, if the bell was rung.
    pub(super) fn hear_bell(&mut self) {
        if self.bell.take() {
            self.wake();
        }
    }

    /// Somebody is to be told of something that has happened.
    pub(super) fn has_news(&self) -> bool {
        self.kernel.has_more() || self.bell.is_rung()
    }

    /// Lets the time pass up to `at` where no engine runs any more. Nothing happens meanwhile.
    pub fn sleep_to(&mut self, at: Time) {
        self.now = self.now.max(at);
    }

    /// The index in the tokens of the engine's operations on this connection, while the engine has it.
    pub fn index_of(&self, pipe: PipeId) -> Option<u32> {
        let slot = self.pipes[pipe.0].slot?;
        let (index, _) = self.kernel.files[slot as usize].as_ref()?.owner?;
        Some(index)
    }

    /// Connects to a listener; `key` is called whenever the connection may have changed. `None`: refused, because the
    /// listener is closed or deaf, or its backlog full.
    pub fn connect(&mut self, listener: u32, key: u64) -> Option<PipeId> {
        let backlog_max = self.config.backlog;
        if self.deaf[listener as usize] {
            return None;
        }
        let shaking = self.shaking[listener as usize];
        self.backlogs[listener as usize].as_ref().filter(|backlog| backlog.len() + shaking < backlog_max)?;
        let id = self.new_pipe(key);
        self.shaking[listener as usize] += 1;
        match self.config.handshake_ns_max {
            0 => self.on_shaken(listener, id),
            most => {
                let after = Duration::from_nanos(self.random.below(most));
                self.schedule(self.now.plus(after), Event::Shaken(listener, id));
            }
        }
        Some(PipeId(id))
    }

    /// The handshake of a connection is over: it waits to be accepted; where nobody listens any more it is reset.
    pub(super) fn on_shaken(&mut self, listener: u32, id: usize) {
        self.shaking[listener as usize] -= 1;
        match &mut self.backlogs[listener as usize] {
            Some(backlog) => {
                backlog.push_back(id);
                self.poll_accept(listener);
            }
            None => {
                self.pipes[id].shut_out_at = Some(self.now);
                self.refuse(id);
            }
        }
    }

    pub(super) fn has_waiting(&self, listener: u32) -> bool {
        self.backlogs[listener as usize].as_ref().is_some_and(|backlog| !backlog.is_empty())
    }

    /// No connection more begins at this listener.
    pub(super) fn deafen(&mut self, listener: u32) {
        self.deaf[listener as usize] = true;
    }

    /// When the engine closed the listener at which this connection waited to be accepted, which reset it.
    pub fn shut_out_at(&self, pipe: PipeId) -> Option<Time> {
        self.pipes[pipe.0].shut_out_at
    }

    /// The next connection that the engine made, and where to. `key` is called whenever it may have changed.
    pub fn take_dialled(&mut self, key: u64) -> Option<(SocketAddr, PipeId)> {
        let (remote, pipe) = self.dialled.pop_front()?;
        self.pipes[pipe.0].key = key;
        Some((remote, pipe))
    }

    /// The address that a peer connects from, which tells the low 24 bits of its key.
    pub fn address_of_key(key: u64) -> SocketAddr {
        let [.., a, b, c] = key.to_be_bytes();
        SocketAddr::from(([10, a, b, c], 1024 + (key % 50_000) as u16))
    }

    pub(super) fn address_of(&self, id: usize) -> SocketAddr {
        Self::address_of_key(self.pipes[id].key)
    }

    /// A connection, whichever end began it.
    pub(super) fn new_pipe(&mut self, key: u64) -> usize {
        let id = self.pipes.len();
        let (rx, tx) = (self.config.rx_capacity, self.config.tx_capacity);
        let mut stream = |(least, most)| Stream {
            capacity: self.random.range(least as u64, most as u64) as usize,
            ..Stream::default()
        };
        let (rx, tx) = (stream(rx), stream(tx));
        let acks = Acks::new(&self.config, id, tx.capacity, self.now);
        self.pipes.push(Pipe {
            key,
            rx,
            tx,
            acks,
            aborted: false,
            broken: None,
            broken_at: self.now,
            told: false,
            unheard_after: None,
            reset: false,
            closed: false,
            closing_at: None,
            left: false,
            slot: None,
            faulted: false,
            neglected_at: None,
            shut_out_at: None,
            taken: 0,
            taken_at: Vec::new(),
            read: 0,
            blocked: false,
            active_at: self.now,
            called: false,
        });
        id
    }

    /// Sends what there is room for.
    pub fn write(&mut self, pipe: PipeId, bytes: &[u8]) -> Written {
        let pipe = &mut self.pipes[pipe.0];
        assert!(!pipe.rx.ended, "a peer wrote after the end of its stream");
        if pipe.reset {
            return Written::Reset;
        }
        if pipe.closed {
            // RFC 793: a segment for a closed socket is answered with a reset; what was unread may be lost by it.
            pipe.reset = true;
            return Written::Reset;
        }
        let count = pipe.rx.room().min(bytes.len());
        pipe.rx.bytes.extend(&bytes[..count]);
        pipe.blocked = count < bytes.len();
        let slot = pipe.slot;
        if count > 0 {
            pipe.active_at = self.now;
            self.notify_recv(slot);
        }
        Written::Bytes(count)
    }

    /// Receives up to `most` bytes.
    pub fn read(&mut self, pipe: PipeId, most: usize, to: &mut Vec<u8>) -> Read {
        let id = pipe.0;
        let pipe = &mut self.pipes[id];
        let count = pipe.tx.bytes.len().min(most);
        if count > 0 {
            pipe.active_at = self.now;
            pipe.tx.take(count, to);
            pipe.acks.on_read(count);
            pipe.read += count;
            let slot = pipe.slot;
            self.acknowledge(id);
            self.notify_send(slot);
            return Read::Bytes(count);
        }
        match pipe {
            Pipe { reset: true, .. } => Read::Reset,
            Pipe { tx: Stream { ended: true, bytes, .. }, .. } if bytes.is_empty() => Read::Eof,
            _ => Read::Nothing,
        }
    }

    /// Ends the peer's stream (shutdown(2) for writing).
    pub fn finish(&mut self, pipe: PipeId) {
        let pipe = &mut self.pipes[pipe.0];
        pipe.rx.ended = true;
        pipe.active_at = self.now;
        let slot = pipe.slot;
        self.notify_recv(slot);
    }

    /// Closes the peer's socket: an end of its stream if it has read everything, else a reset.
    pub fn close(&mut self, pipe: PipeId) {
        let id = pipe.0;
        let pipe = &mut self.pipes[id];
        pipe.left = true;
        pipe.rx.ended = true;
        if !pipe.tx.bytes.is_empty() {
            self.break_pipe(id, libc::ECONNRESET);
        } else {
            let slot = pipe.slot;
            self.notify_recv(slot);
        }
    }

    /// Resets the connection from the peer's side.
    pub fn reset(&mut self, pipe: PipeId) {
        self.pipes[pipe.0].left = true;
        self.break_pipe(pipe.0, libc::ECONNRESET);
    }

    /// Whether the kernel broke this connection by a fault of its own.
    pub fn is_faulted(&self, pipe: PipeId) -> bool {
        self.pipes[pipe.0].faulted
    }

    /// When the engine gave this connection up while bytes of it waited that it could have had: those that had been received by the
    /// clock of the pass before.
    pub fn neglected_at(&self, pipe: PipeId) -> Option<Time> {
        self.pipes[pipe.0].neglected_at
    }

    /// How long this connection had been broken when the engine closed it, if bytes that the peer had sent before lay unread.
    pub fn unheard_after(&self, pipe: PipeId) -> Option<Duration> {
        self.pipes[pipe.0].unheard_after
    }

    /// A socket is closed: whether it was broken, and the peer not heard to the end.
    pub(super) fn note_unheard(&mut self, id: usize) {
        let now = self.now;
        let pipe = &mut self.pipes[id];
        if pipe.broken.is_some() && !pipe.rx.bytes.is_empty() {
            pipe.unheard_after = Some(now.since(pipe.broken_at));
        }
    }

    /// All operations on a connection are being cancelled.
    pub(super) fn note_neglect(&mut self, token: Token, by: Time) {
        if self.kernel.neglects(token, by) {
            let owner = Some((token.index(), token.generation()));
            let file = self.kernel.files.iter().flatten().find(|file| file.owner == owner);
            if let Some(pipe) = file.map(|file| file.pipe) {
                self.pipes[pipe].neglected_at = Some(self.now);
            }
        }
    }

    /// How long nothing has moved on this connection.
    pub fn still_for(&self, pipe: PipeId) -> Duration {
        self.now.since(self.pipes[pipe.0].active_at)
    }

    /// When the kernel had what the peer has read, but for so many bytes at its end.
    pub fn taken_at(&self, pipe: PipeId, behind: usize) -> Option<Time> {
        let pipe = &self.pipes[pipe.0];
        let wanted = pipe.read.checked_sub(behind)?;
        pipe.taken_at.iter().find(|(_, taken)| *taken >= wanted).map(|(at, _)| *at)
    }

    /// How the engine cut this connection off, if it did.
    pub fn abort_of(&self, pipe: PipeId) -> Option<Abort> {
        self.pipes[pipe.0].acks.aborted()
    }

    /// The server closes a connection by a reset: what has not arrived is lost, and what has can still be read.
    pub(super) fn abort(&mut self, id: usize) {
        let now = self.now;
        let pipe = &mut self.pipes[id];
        if !std::mem::replace(&mut pipe.reset, true) {
            let arrived = pipe.acks.abort(now);
            pipe.tx.bytes.truncate(arrived);
        }
        self.call(id);
    }

    /// Both ends of a connection fail; what was on the way to the peer may be lost.
    pub(super) fn break_pipe(&mut self, id: usize, errno: i32) {
        let keep_received = self.random.chance(500);
        let keep_sent = self.random.below(self.pipes[id].tx.bytes.len() as u64 + 1) as usize;
        let now = self.now;
        let pipe = &mut self.pipes[id];
        if pipe.broken.is_none() {
            (pipe.broken, pipe.broken_at) = (Some(errno), now);
        }
        pipe.reset = true;
        if !keep_received {
            pipe.rx.bytes.clear();
        }
        pipe.tx.bytes.truncate(keep_sent);
        let slot = pipe.slot;
        self.notify_recv(slot);
        self.notify_send(slot);
        self.call(id);
    }

    /// Calls whoever has the other end, soon.
    pub(super) fn call(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        if !pipe.called {
            pipe.called = true;
            let key = pipe.key;
            self.soon(Event::Outside(key));
        }
    }

    /// The call of [`Self::call`] is being made.
    pub(super) fn on_called(&mut self, key: u64) {
        for pipe in self.pipes.iter_mut().filter(|pipe| pipe.key == key) {
            pipe.called = false;
        }
    }

    pub(super) fn schedule(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        // What falls on one moment comes in any order.
        let tie = if self.config.in_order { 0 } else { self.random.below(1 << 20) };
        self.calendar.push(Reverse((at, tie, self.scheduled, event)));
    }

    /// After an ordinary delay, or a long one if the kernel is rude.
    pub(super) fn soon(&mut self, event: Event) {
        let mut nanos = self.random.below(self.config.delay_ns_max + 1);
        if self.random.chance(self.config.faults.slow) {
            nanos = nanos * 100 + 1000;
        }
        self.schedule(self.now.plus(Duration::from_nanos(nanos)), event);
    }
}
