//! The kernel's side: fixed files, operations in flight, the completion queue.
//!
//! Owns what is in flight, and how it is begun and cancelled. Promises of the real kernel are kept and no more: one order on each
//! socket, none between sockets; every operation completes; a multishot says when it has ended; cancelling may come too late.
//! What the real kernel only punishes is asserted here, with the numbers: see `Net::start`. `steps` takes
//! operations further.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::buffers::{Buffers, SimLease};
use super::held::{Held, NodeId};
use super::net::{Event, Net};
use super::{Done, Kind, Op, Payload, Random, SimConfig, Socket, Token};

/// A receive or accept in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub(super) token: Token,
    pub(super) serial: u64,
    /// A look at the stream is in the calendar.
    pub(super) looks: bool,
    /// It ends with the first bytes.
    pub(super) once: bool,
    /// What it holds of files that are closed meanwhile.
    pub(super) node: Option<NodeId>,
}

/// A send in flight.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: Token,
    pub(super) serial: u64,
    pub(super) payload: Payload,
    pub(super) sent: usize,
    pub(super) looks: bool,
    pub(super) node: Option<NodeId>,
}

/// A socket of the ring: a slot of the fixed-file table that is in use, or a descriptor.
#[derive(Debug)]
pub(super) struct File {
    pub(super) pipe: usize,
    /// Index and generation of the tokens of its operations.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) recv: Option<Shot>,
    pub(super) send: Option<Sending>,
    /// Zero-copy payloads still read.
    pub(super) lent: u32,
}

/// A completion and its token.
type Entry = (Token, Done<SimLease>);

/// The kernel's own state.
pub(super) struct Kernel {
    pub(super) files: Vec<Option<File>>,
    /// They are slots of the table.
    pub(super) direct: bool,
    /// Sockets that the ring may have.
    files_max: usize,
    /// Which descriptor is free, drawn apart from everything else.
    places: Random,
    /// What a kernel that keeps closed files keeps.
    held: Option<Held>,
    pub(super) accepts: Vec<Option<Shot>>,
    /// Connects in flight, by the bits of their tokens.
    pub(super) connects: BTreeMap<u64, SocketAddr>,
    pub(super) wake: Option<Token>,
    /// The waker was rung and nobody has been told.
    pub(super) wakes: bool,
    pub(super) buffers: Buffers,
    /// Zero-copy payloads, by key.
    pub(super) returns: BTreeMap<u64, (Token, Payload, u32)>,
    serial: u64,
    queue: VecDeque<Entry>,
    /// What did not fit into the queue. The kernel keeps it until there is room (IORING_SQ_CQ_OVERFLOW).
    overflow: VecDeque<Entry>,
    queue_max: usize,
    /// The last generation of each index, to tell an owner from an earlier one.
    generations: BTreeMap<u32, u32>,
    pub(super) counts: Counts,
}

/// What the kernel has done, to compare with what the engine says it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Sockets given to the engine.
    pub accepted: u64,
    /// Sockets connected for the engine.
    pub connected: u64,
    /// Sockets it closed.
    pub closed: u64,
    /// The longest time from the close of a socket to the moment at which its peer can see that, in nanoseconds.
    pub closing_ns_max: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent, of sends that were said to have sent them.
    pub bytes_out: u64,
    /// Receives that found no buffer.
    pub no_buffers: u64,
    /// Completions that did not fit into the queue at once.
    pub overflows: u64,
    /// Sends whose memory came back on its own.
    pub zero_copies: u64,
    /// Completions.
    pub completions: u64,
    /// The most completions of one wait.
    pub batch_max: u64,
}

impl Kernel {
    pub(super) fn new(config: &SimConfig) -> Self {
        let direct = config.is_direct();
        Self {
            // Descriptors are the whole process's: their numbers lie further apart than those of slots.
            files: (0..config.sockets_max * if direct { 1 } else { 4 }).map(|_| None).collect(),
            direct,
            files_max: config.sockets_max as usize,
            places: Random::new(config.seed ^ 0x706c_6163_6573),
            held: (direct && config.keeps_closed_files).then(Held::new),
            accepts: (0..config.listeners).map(|_| None).collect(),
            connects: BTreeMap::new(),
            wake: None,
            wakes: false,
            buffers: Buffers::new(config.buffers.0, config.buffers.1, config.incremental),
            returns: BTreeMap::new(),
            serial: 0,
            queue: VecDeque::new(),
            overflow: VecDeque::new(),
            queue_max: config.cq_entries,
            generations: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    fn file(&mut self, socket: Socket, what: &str, token: Token) -> &mut File {
        let file = self.files.get_mut(socket.0 as usize).and_then(Option::as_mut);
        let file = file.unwrap_or_else(|| panic!("{what} on {socket:?}, which is closed: {token:?}"));
        let owner = (token.index(), token.generation());
        match file.owner {
            Some(known) => assert_eq!(known, owner, "{what} on {socket:?} with a token of another connection"),
            None => {
                let last = self.generations.insert(owner.0, owner.1);
                assert!(last.is_none_or(|last| last != owner.1), "connections of index {} share a generation", owner.0);
                file.owner = Some(owner);
            }
        }
        file
    }

    /// An operation on a socket begins.
    fn begin(&mut self) -> Option<NodeId> {
        self.held.as_mut().map(Held::begin)
    }

    /// A place for one socket more: the lowest slot, or some descriptor.
    pub(super) fn free_place(&mut self) -> Option<usize> {
        let mut free = self.files.iter().enumerate().filter(|(_, file)| file.is_none()).map(|(place, _)| place);
        if self.direct {
            return free.next();
        }
        let free: Vec<usize> = free.collect();
        let room = self.files.len() - free.len() < self.files_max;
        room.then(|| self.places.pick(&free))
    }

    /// An accept may go on, because there is room for all that may wait (`Uring::has_room_for_many`).
    pub(super) fn has_room_for_many(&self, waiting_max: usize) -> bool {
        self.direct || self.files_max - self.files.iter().flatten().count() > waiting_max
    }

    /// There is a completion to be read.
    pub(super) fn has_completions(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Moves what did not fit into the queue, as far as it fits now.
    pub(super) fn flush_overflow(&mut self) {
        while self.queue.len() < self.queue_max {
            let Some(entry) = self.overflow.pop_front() else {
                return;
            };
            self.queue.push_back(entry);
        }
    }

    pub(super) fn gather(&mut self, to: &mut VecDeque<Entry>) {
        to.extend(self.queue.drain(..));
        self.counts.completions += to.len() as u64;
        self.counts.batch_max = self.counts.batch_max.max(to.len() as u64);
    }

    /// A multishot may go on: its completion fits.
    pub(super) fn fits(&self) -> bool {
        self.queue.len() < self.queue_max && self.overflow.is_empty()
    }

    pub(super) fn post(&mut self, token: Token, done: Done<SimLease>) {
        if self.fits() {
            self.queue.push_back((token, done));
        } else {
            self.counts.overflows += 1;
            self.overflow.push_back((token, done));
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// What is left when the engine has ended; nothing, if it kept its promises.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (slot, file) in self.files.iter().enumerate() {
            if let Some(file) = file {
                left.push(format!("socket {slot} is still open: {file:?}"));
            }
        }
        for (listener, accept) in self.accepts.iter().enumerate() {
            if let Some(accept) = accept {
                left.push(format!("listener {listener} still accepts: {accept:?}"));
            }
        }
        if !self.connects.is_empty() {
            left.push(format!("still connecting: {:?}", self.connects));
        }
        if self.buffers.lent() > 0 {
            left.push(format!("{} leases were never released", self.buffers.lent()));
        }
        if !self.returns.is_empty() {
            left.push(format!("{} zero-copy payloads are still with the kernel", self.returns.len()));
        }
        left
    }
}

impl Net {
    /// Takes an operation. Panics on what the real kernel would only punish.
    pub(super) fn start(&mut self, token: Token, op: Op) {
        let expected = match &op {
            Op::Accept { .. } => Kind::Accept,
            Op::Connect { .. } => Kind::Connect,
            Op::Recv { .. } => Kind::Recv,
            Op::Send { .. } => Kind::Send,
            Op::Cancel { .. } | Op::CancelSocket { .. } => Kind::Cancel,
            Op::Close { .. } => Kind::Close,
            Op::Wake => Kind::Wake,
        };
        assert_eq!(token.kind(), expected, "{op:?} with a token of another kind");
        let serial = self.kernel.next_serial();
        match op {
            Op::Accept { listener } => {
                assert!(self.backlogs[listener as usize].is_some(), "accepting on the closed listener {listener}");
                let once = !self.kernel.has_room_for_many(self.waiting_max());
                let accept = &mut self.kernel.accepts[listener as usize];
                assert!(accept.is_none(), "two accepts on listener {listener}: {accept:?}");
                *accept = Some(Shot { token, serial, looks: false, once, node: None });
                self.poll_accept(listener);
            }
            Op::Connect { remote, .. } => {
                let twice = self.kernel.connects.insert(token.to_bits(), remote);
                assert!(twice.is_none(), "two connects of {token:?}");
                if !self.random.chance(self.config.faults.connect_hangs) {
                    self.soon(Event::Connect(token.to_bits()));
                }
            }
            Op::Recv { socket, once } => {
                let node = self.kernel.begin();
                let file = self.kernel.file(socket, "a receive", token);
                assert!(file.recv.is_none(), "two receives on {socket:?}: {:?} and {token:?}", file.recv);
                file.recv = Some(Shot { token, serial, looks: false, once, node });
                self.notify_recv(Some(socket.0));
            }
            Op::Send { socket, payload } => {
                let node = self.kernel.begin();
                let file = self.kernel.file(socket, "a send", token);
                assert!(!payload.is_empty(), "an empty send on {socket:?}");
                assert!(file.send.is_none(), "two sends on {socket:?}: {:?} and {token:?}", file.send);
                file.send = Some(Sending { token, serial, payload, sent: 0, looks: false, node });
                self.notify_send(Some(socket.0));
            }
            Op::Cancel { target } => {
                self.cancel(target);
                self.soon(Event::Cancelled(token.to_bits()));
            }
            Op::CancelSocket { socket } => {
                let file = self.kernel.file(socket, "a cancel", token);
                let (recv, send) = (file.recv.map(|op| op.serial), file.send.as_ref().map(|op| op.serial));
                recv.into_iter().for_each(|serial| self.cancel_later(Event::RecvCancel(socket.0, serial)));
                send.into_iter().for_each(|serial| self.cancel_later(Event::SendCancel(socket.0, serial)));
                self.soon(Event::Cancelled(token.to_bits()));
            }
            Op::Close { socket } => self.close_file(token, socket),
            Op::Wake => {
                assert!(self.kernel.wake.is_none(), "two wakes");
                self.kernel.wake = Some(token);
                let spurious = self.random.chance(self.config.faults.spurious_wake);
                self.kernel.wakes |= spurious;
                if self.kernel.wakes {
                    self.soon(Event::Wake);
                }
            }
        }
    }

    /// The most connections that may wait at all listeners.
    pub(super) fn waiting_max(&self) -> usize {
        self.config.backlog * self.backlogs.iter().flatten().count()
    }

    fn cancel(&mut self, target: Token) {
        let accept = self.kernel.accepts.iter().position(|op| op.is_some_and(|op| op.token == target));
        if let Some(listener) = accept {
            let serial = self.kernel.accepts[listener].expect("found above").serial;
            return self.cancel_later(Event::AcceptCancel(listener as u32, serial));
        }
        if self.kernel.connects.contains_key(&target.to_bits()) {
            return self.cancel_later(Event::ConnectCancel(target.to_bits()));
        }
        let files = self.kernel.files.iter().enumerate();
        let found = files.filter_map(|(slot, file)| {
            let file = file.as_ref()?;
            let recv = file.recv.filter(|op| op.token == target).map(|op| Event::RecvCancel(slot as u32, op.serial));
            let send = file.send.as_ref().filter(|op| op.token == target);
            recv.or(send.map(|op| Event::SendCancel(slot as u32, op.serial)))
        });
        // Nothing found is ordinary: the operation has completed, and its completion is on the way.
        let found: Vec<Event> = found.collect();
        found.into_iter().for_each(|event| self.cancel_later(event));
    }

    /// An operation is cancelled; a rude kernel takes its time, in which the operation goes on.
    pub(super) fn cancel_later(&mut self, event: Event) {
        if self.random.chance(self.config.faults.cancel_loses) {
            let late = Duration::from_nanos(self.random.below(10_000_000));
            self.schedule(self.now.plus(late), event);
        } else {
            self.soon(event);
        }
    }

    /// Frees the place at once, before the completion is seen: the next accept may have it.
    fn close_file(&mut self, token: Token, socket: Socket) {
        let file = self.kernel.file(socket, "a close", token);
        assert!(
            file.recv.is_none() && file.send.is_none() && file.lent == 0,
            "{socket:?} is closed under its operations: {file:?}"
        );
        let id = file.pipe;
        self.kernel.files[socket.0 as usize] = None;
        self.kernel.counts.closed += 1;
        let now = self.now;
        let pipe = &mut self.pipes[id];
        pipe.slot = None;
        pipe.closing_at = Some(now);
        let closed = self.kernel.held.as_mut().map_or_else(|| vec![id], |held| held.close(id));
        closed.into_iter().for_each(|id| self.close_pipe(id));
        self.soon(Event::Closed(token.to_bits()));
    }

    /// An operation on a socket has completed: files that it held are closed.
    pub(super) fn end_operation(&mut self, node: Option<NodeId>) {
        let closed = node.zip(self.kernel.held.as_mut()).map(|(node, held)| held.end(node));
        closed.into_iter().flatten().for_each(|id| self.close_pipe(id));
    }

    /// The ring ends, and with it all that it held.
    pub(super) fn close_held_files(&mut self) {
        let held = (0..self.pipes.len()).filter(|&id| self.pipes[id].closing_at.is_some());
        held.collect::<Vec<_>>().into_iter().for_each(|id| self.close_pipe(id));
    }

    /// The socket is closed: from now on the peer can see it.
    fn close_pipe(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        let began = pipe.closing_at.take().expect("a file is closed once");
        let longest = &mut self.kernel.counts.closing_ns_max;
        *longest = (*longest).max(self.now.since(began).as_nanos() as u64);
        pipe.closed = true;
        pipe.tx.ended = true;
        // tcp(7): closing with bytes unread resets the connection, and that may overtake our last bytes (RFC 6455 §7.1.1).
        if !pipe.rx.bytes.is_empty() {
            self.break_pipe(id, libc::ECONNRESET);
        } else {
            self.call(id);
        }
    }

    /// The listener's socket closes; who waits there is refused.
    pub(super) fn close_listener(&mut self, listener: u32) {
        let accept = self.kernel.accepts[listener as usize];
        assert!(accept.is_none(), "listener {listener} is closed under its accept: {accept:?}");
        let backlog = self.backlogs[listener as usize].take();
        for id in backlog.unwrap_or_else(|| panic!("listener {listener} is closed twice")) {
            self.refuse(id);
        }
    }

    pub(super) fn refuse(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        (pipe.closed, pipe.faulted) = (true, true);
        self.break_pipe(id, libc::ECONNRESET);
    }

    pub(super) fn poll_accept(&mut self, listener: u32) {
        let waiting = self.backlogs[listener as usize].as_ref().is_some_and(|backlog| !backlog.is_empty());
        if let Some(accept) = self.kernel.accepts[listener as usize].as_mut().filter(|op| waiting && !op.looks) {
            accept.looks = true;
            let serial = accept.serial;
            self.soon(Event::Accept(listener, serial));
        }
    }

    pub(super) fn notify_recv(&mut self, slot: Option<u32>) {
        let Some(slot) = slot else { return };
        let Some(file) = &mut self.kernel.files[slot as usize] else {
            return;
        };
        let pipe = &self.pipes[file.pipe];
        let ready = !pipe.rx.bytes.is_empty() || pipe.rx.ended || pipe.broken.is_some();
        if let Some(recv) = file.recv.as_mut().filter(|op| ready && !op.looks) {
            recv.looks = true;
            let serial = recv.serial;
            self.soon(Event::Recv(slot, serial));
        }
    }

    pub(super) fn notify_send(&mut self, slot: Option<u32>) {
        let Some(slot) = slot else { return };
        let Some(file) = &mut self.kernel.files[slot as usize] else {
            return;
        };
        let pipe = &self.pipes[file.pipe];
        let ready = pipe.tx.room() > 0 || pipe.broken.is_some() || pipe.left;
        if let Some(send) = file.send.as_mut().filter(|op| ready && !op.looks) {
            send.looks = true;
            let serial = send.serial;
            self.soon(Event::Send(slot, serial));
        }
    }
}
