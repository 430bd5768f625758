//! The kernel's side: fixed files, operations in flight, the completion queue.
//!
//! Owns what is in flight. Promises of the real kernel are kept and no more: one order on each
//! socket, none between sockets; every operation completes; a multishot says when it has ended; cancelling may come too late.
//! What the real kernel only punishes is asserted, with the numbers. `start` takes operations up, `steps` takes them further.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::buffers::{Buffers, SimLease};
use super::held::{Held, NodeId};
use super::{Done, Payload, Random, SimConfig, Socket, Time, Token};

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
    pub(super) looks: bool,
    /// It has found no room.
    pub(super) full: bool,
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
    /// It is being asked what its peer has not acknowledged.
    pub(super) asked: bool,
}

/// A completion, its token, and when it came.
type Entry = (Time, Token, Done<SimLease>);

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
    pub(super) held: Option<Held>,
    pub(super) accepts: Vec<Option<Shot>>,
    /// Connects in flight, by the bits of their tokens.
    pub(super) connects: BTreeMap<u64, SocketAddr>,
    pub(super) wake: Option<Token>,
    /// The waker was rung and nobody has been told.
    pub(super) wakes: bool,
    pub(super) buffers: Buffers,
    serial: u64,
    queue: VecDeque<Entry>,
    /// What did not fit into the queue. The kernel keeps it until there is room (IORING_SQ_CQ_OVERFLOW).
    overflow: VecDeque<Entry>,
    queue_max: usize,
    /// The last generation of each index, to tell an owner from an earlier one.
    generations: BTreeMap<u32, u32>,
    pub(super) counts: Counts,
    /// The time, for completions.
    pub(super) now: Time,
    /// Waits in a row that left something in the queue.
    behind: u32,
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
    /// The most bytes that the kernel kept of a connection which the engine had closed, and whose peer had not acknowledged them.
    pub kept_max: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent, of sends that were said to have sent them.
    pub bytes_out: u64,
    /// Receives that found no buffer.
    pub no_buffers: u64,
    /// Completions that did not fit into the queue at once.
    pub overflows: u64,
    /// Completions.
    pub completions: u64,
    /// The most completions of one wait.
    pub batch_max: u64,
}

/// The memory that a completion brings back.
pub(super) fn payload_of<L>(done: &Done<L>) -> Option<&Payload> {
    if let Done::Sent { payload, .. } = done { Some(payload) } else { None }
}

impl Kernel {
    /// All memory that sends have and the ring has not been told is free.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &Payload> {
        let sending = self.files.iter().flatten().filter_map(|file| file.send.as_ref()).map(|send| &send.payload);
        let posted = self.queue.iter().chain(&self.overflow).filter_map(|(_, _, done)| payload_of(done));
        sending.chain(posted)
    }

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
            serial: 0,
            queue: VecDeque::new(),
            overflow: VecDeque::new(),
            queue_max: config.cq_entries,
            generations: BTreeMap::new(),
            counts: Counts::default(),
            now: config.start,
            behind: 0,
        }
    }

    pub(super) fn file(&mut self, socket: Socket, what: &str, token: Token) -> &mut File {
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
    pub(super) fn begin(&mut self) -> Option<NodeId> {
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

    /// There is one, or one that did not fit into the queue.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty() || !self.overflow.is_empty()
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

    /// Hands over completions in the order in which they came, at most `most`.
    pub(super) fn gather(&mut self, to: &mut VecDeque<(Token, Done<SimLease>)>, most: usize) {
        let count = self.queue.len().min(most);
        to.extend(self.queue.drain(..count).map(|(_, token, done)| (token, done)));
        self.counts.completions += to.len() as u64;
        self.counts.batch_max = self.counts.batch_max.max(to.len() as u64);
    }

    /// A wait has ended.
    pub(super) fn on_gathered(&mut self) {
        self.behind = if self.has_more() { self.behind + 1 } else { 0 };
    }

    /// Whether bytes of the connection with this token had been received by then, and the engine did not look at them. Nothing if there
    /// was no end of completions, or too few buffers: that is the engine's excuse.
    pub(super) fn neglects(&self, token: Token, by: Time) -> bool {
        let owner = (token.index(), token.generation());
        let is_excused = self.behind > 64 || self.counts.no_buffers > 0;
        !is_excused
            && self.queue.iter().chain(&self.overflow).any(|(at, token, done)| {
                let brings_bytes = matches!(done, Done::Received { lease: Some(_), .. });
                brings_bytes && *at <= by && (token.index(), token.generation()) == owner
            })
    }

    /// A multishot may go on: its completion fits.
    pub(super) fn fits(&self) -> bool {
        self.queue.len() < self.queue_max && self.overflow.is_empty()
    }

    pub(super) fn post(&mut self, token: Token, done: Done<SimLease>) {
        if self.fits() {
            self.queue.push_back((self.now, token, done));
        } else {
            self.counts.overflows += 1;
            self.overflow.push_back((self.now, token, done));
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
        left
    }
}
