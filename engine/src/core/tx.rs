//! Owns the output of all connections of a core: messages in, pieces of bytes ready to send out.
//!
//! Frames are encoded straight into the connection's current piece: a send block while it fits, then a pooled buffer,
//! so that all replies of a pass leave in one send. A large message that arrived in a buffer of its own is not copied:
//! its place in the queue is promised, and the buffer moves in when the handler returns.
//!
//! Nothing here submits an operation. What callbacks want is left in the links and the list of dirty connections; `turn`
//! makes operations of it at the end of the pass.

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use wsring_proto::close::{CONTROL_PAYLOAD_MAX, CloseCode};
use wsring_proto::encode;
use wsring_proto::opcode::{Message, Opcode};
use wsring_proto::pool::Pool;
use wsring_proto::simd::{self, HEADROOM, MaskKey};

use super::conns::Link;
use super::deadlines::{Deadlines, Tick};
use super::dials::Dials;
use super::id::ConnId;
use super::input::Input;
use super::life::Event;
use super::output::{Output, Segment};
use super::pack::{Framing, Packer};
use super::planted::planted;
use crate::config::Config;
use crate::ring::{Memory, Payload, SendBlocks};
use crate::stats::Stats;

/// Small frames are gathered in one piece up to this many bytes; larger pieces would be copied too often.
pub(super) const COALESCE_MAX: usize = 256 << 10;
/// A message shorter than this is copied into the current piece rather than moved: one send beats one copy.
const MOVE_MIN: usize = 8 << 10;
/// The same where other output waits before it. From here on it fills segments of its own, so that no send is saved.
const MOVE_BEHIND_MIN: usize = 64 << 10;
/// The longest frame of the short way through `send`.
const SMALL_FRAME_MAX: u32 = encode::frame_len(CONTROL_PAYLOAD_MAX, false) as u32;
/// Queues kept for connections with more than one piece of output, and pieces that a kept one has room for.
const QUEUES_MAX: usize = 1024;
const QUEUE_ROOM_MAX: usize = 32;

/// What became of a message given to `send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused or gone message is not delivered"]
pub enum Pressure {
    /// Queued; the output is below the high-water mark.
    Low,
    /// Queued, and the output is above the high-water mark: the engine takes nothing more from this peer until its
    /// output has drained. Stop sending until `on_writable`.
    High,
    /// Not queued: the output is at its cap. Counted as `refused`.
    Refused,
    /// Not queued: the connection is closing or gone. Counted as `gone`.
    Gone,
}

impl Pressure {
    /// The message will be sent unless the connection fails.
    pub fn is_queued(self) -> bool {
        matches!(self, Pressure::Low | Pressure::High)
    }
}

/// What the application said of compressing a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As the settings say.
    Any,
    /// Not to.
    Plain,
    /// Once for all who get it: this is its number.
    Prepared(u64),
}

/// Where the message being handled lies, when it has a buffer of its own.
struct Assembled {
    at: usize,
    len: usize,
}

/// A place in the output of a connection that was promised to it.
struct Promised {
    id: ConnId,
    opcode: Opcode,
    framing: Framing,
}

/// Output marks in bytes: see `Config`.
#[derive(Clone, Copy)]
struct Marks {
    high: u32,
    low: u32,
    max: u32,
    /// Below this a small frame more stays below `high`.
    small: u32,
}

pub(crate) struct Outbox {
    core: u8,
    pub(crate) links: Vec<Link>,
    /// Connections to settle at the end of the pass.
    pub(crate) dirty: Vec<u32>,
    /// Connections whose stash is to be worked on.
    pub(crate) replay: Vec<u32>,
    pub(crate) blocks: SendBlocks,
    pub(crate) pool: Pool,
    /// Empty, for the next connection that has more than one piece of output: see `Output::rest`.
    #[allow(clippy::vec_box, reason = "they move between here and the links as they are")]
    queues: Vec<Box<VecDeque<Segment>>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) stats: Stats,
    pub(crate) now: Tick,
    marks: Marks,
    closing: Duration,
    assembled: Option<Assembled>,
    promised: Option<Promised>,
    pub(crate) dials: Dials,
    /// A CSPRNG (RFC 6455 §10.3): masking keys, nonces, jitter. It makes its numbers in blocks.
    pub(crate) random: StdRng,
    /// The application wants the core to stop.
    pub(crate) stop: bool,
    pub(crate) packer: Packer,
}

impl Outbox {
    pub(crate) fn new(core: u8, blocks: SendBlocks, connections_max: usize, config: &Config, random: StdRng) -> Self {
        Self {
            core,
            links: Vec::with_capacity(connections_max),
            dirty: Vec::with_capacity(1024),
            replay: Vec::new(),
            blocks,
            pool: Pool::new(config.pool_bytes_max),
            queues: Vec::new(),
            deadlines: Deadlines::new(connections_max),
            stats: Stats::default(),
            now: Tick::ZERO,
            marks: Marks {
                high: config.output_high,
                low: config.output_low,
                max: config.output_max,
                small: config.output_high.saturating_sub(SMALL_FRAME_MAX),
            },
            closing: config.closing_timeout,
            assembled: None,
            promised: None,
            dials: Dials::new(core),
            random,
            stop: false,
            packer: Packer::new(&config.deflate),
        }
    }

    pub(crate) fn id_of(&self, index: u32) -> ConnId {
        ConnId::new(self.core, self.links[index as usize].tenant.generation(), index)
    }

    /// The index of a connection that still exists.
    pub(crate) fn find(&self, id: ConnId) -> Option<u32> {
        let link = self.links.get(id.index() as usize)?;
        let is_it = id.core() == usize::from(self.core) && link.tenant.generation() == id.generation();
        (is_it && !link.life.is_free()).then_some(id.index())
    }

    pub(crate) fn link(&mut self, index: u32) -> &mut Link {
        &mut self.links[index as usize]
    }

    /// Has `turn` look at the connection at the end of the pass.
    #[inline]
    pub(crate) fn mark(&mut self, index: u32) {
        let flight = &mut self.links[index as usize].flight;
        if !std::mem::replace(&mut flight.marked, true) {
            self.dirty.push(index);
        }
    }

    /// Queues a message.
    #[inline(always)] // some 50 instructions in the handler, instead of a call and a message in memory
    pub(crate) fn send(&mut self, index: u32, message: Message<'_>) -> Pressure {
        let bytes = message.as_bytes();
        // The path of almost every message: a small one behind others of its pass. The rest is a call.
        if let Some(link) = self.links.get_mut(index as usize)
            && bytes.len() <= CONTROL_PAYLOAD_MAX
            && link.output.queued < self.marks.small
            && let Some((block, to)) = link.block_of_pass()
            && let Some(written) = encode::frame(&mut block[*to as usize..], true, message.opcode(), bytes, None)
        {
            *to += written as u32;
            link.output.queued += written as u32;
            self.stats.sent += 1;
            return Pressure::Low;
        }
        self.send_any(index, message)
    }

    #[inline(never)]
    fn send_any(&mut self, index: u32, message: Message<'_>) -> Pressure {
        match self.links[index as usize].life.framing() {
            Some(framing) if framing.packs() => self.send_how(index, message, How::Any),
            Some(framing) => self.send_as_is(index, framing, message),
            None => self.gone(),
        }
    }

    /// Queues a message, compressed if its connection agreed to that and it is worth it.
    #[inline(never)]
    pub(crate) fn send_how(&mut self, index: u32, message: Message<'_>, how: How) -> Pressure {
        let link = &self.links[index as usize];
        let len = message.as_bytes().len();
        let Some(framing) = link.life.framing() else { return self.gone() };
        if framing.packs()
            && how != How::Plain
            && self.packer.wants(len)
            // By its length as it is: what it will be compressed is not known yet.
            && link.output.queued as usize + encode::frame_len(len, framing.is_masked()) <= self.marks.max as usize
        {
            self.stats.sent += 1;
            return self.send_packed(index, message, framing, how);
        }
        self.send_as_is(index, framing, message)
    }

    /// The connection is closing.
    fn gone(&mut self) -> Pressure {
        self.stats.gone += 1;
        Pressure::Gone
    }

    #[inline]
    fn send_as_is(&mut self, index: u32, framing: Framing, message: Message<'_>) -> Pressure {
        let link = &self.links[index as usize];
        let bytes = message.as_bytes();
        let need = encode::frame_len(bytes.len(), framing.is_masked());
        if link.output.queued as usize + need > self.marks.max as usize {
            self.stats.refused += 1;
            return Pressure::Refused;
        }
        self.stats.sent += 1;
        let move_min = if link.output.first.is_none() { MOVE_MIN } else { MOVE_BEHIND_MIN };
        if bytes.len() >= move_min && self.is_assembled(bytes) {
            self.promise(index, message.opcode(), framing, need);
        } else {
            self.frame(index, framing, message.opcode(), bytes);
        }
        self.press(index)
    }

    /// Queues a message compressed, or plain where that is shorter (RFC 7692 §6 leaves it to each message).
    fn send_packed(&mut self, index: u32, message: Message<'_>, framing: Framing, how: How) -> Pressure {
        let (opcode, bytes) = (message.opcode(), message.as_bytes());
        if let How::Prepared(number) = how
            && !framing.is_own()
        {
            let payload = self.packer.lend_prepared(number, framing, bytes, &mut self.pool);
            match &payload {
                Some(payload) => self.frame_packed(index, framing, opcode, &payload[HEADROOM..]),
                None => self.frame(index, framing, opcode, bytes),
            }
            self.packer.return_prepared(payload);
            return self.press(index);
        }
        match self.packer.pack(index, framing, bytes, &mut self.pool) {
            None => self.frame(index, framing, opcode, bytes),
            Some(mut payload) if payload.len() - HEADROOM >= MOVE_MIN => {
                self.stats.compressed += 1;
                let from = self.head_in_front(framing, opcode, &mut payload);
                encode::mark_compressed(&mut payload[from as usize..], opcode);
                let ready = Payload { from, to: payload.len() as u32, memory: Memory::Heap(payload) };
                self.links[index as usize].output.queued += ready.len() as u32;
                self.push(index, Segment::Ready(ready));
                self.mark(index);
            }
            Some(payload) => {
                self.frame_packed(index, framing, opcode, &payload[HEADROOM..]);
                self.pool.put(payload);
            }
        }
        self.press(index)
    }

    /// Encodes a frame of a compressed payload: as any, then marked (RFC 7692 §6.1).
    fn frame_packed(&mut self, index: u32, framing: Framing, opcode: Opcode, payload: &[u8]) {
        self.stats.compressed += 1;
        self.frame(index, framing, opcode, payload);
        let frame_len = encode::frame_len(payload.len(), framing.is_masked());
        // It is the end of the last piece.
        if let Some(Segment::Ready(Payload { memory, to, .. })) = self.links[index as usize].output.tail() {
            encode::mark_compressed(&mut memory.bytes_mut()[*to as usize - frame_len..], opcode);
        }
    }

    /// Writes a frame's header in front of the payload behind the headroom, masked as the connection needs it; where it
    /// begins.
    fn head_in_front(&mut self, framing: Framing, opcode: Opcode, bytes: &mut [u8]) -> u32 {
        let mask = self.mask_of(framing);
        if let Some(key) = mask {
            simd::mask(&mut bytes[HEADROOM..], key);
        }
        let payload_len = bytes.len() - HEADROOM;
        encode::write_head(bytes, HEADROOM, true, opcode, payload_len, mask) as u32
    }

    /// Notes that the connection's output went over the high-water mark.
    #[inline]
    fn press(&mut self, index: u32) -> Pressure {
        if self.links[index as usize].output.queued <= self.marks.high {
            return Pressure::Low;
        }
        self.hold(index, Input::press);
        Pressure::High
    }

    /// Takes nothing more from the peer until that is over. With a send in flight it has the idle timeout to take that, from
    /// here on: until now it was timed by what it said. (A later send starts the time again: see `settle`.)
    fn hold(&mut self, index: u32, hold: impl FnOnce(&mut Input)) {
        let now = self.now;
        let link = self.link(index);
        if link.output.is_sending() && link.life.takes_messages() {
            link.life.on_progress(now);
        }
        if let Some(input) = link.life.input() {
            hold(input);
        }
    }

    /// An open connection is below the low-water mark after it was pressed: the press is over.
    pub(crate) fn relax(&mut self, index: u32) -> bool {
        let low = self.marks.low;
        let link = self.link(index);
        match link.life.input() {
            Some(input) if input.is_pressed() && link.output.queued <= low => {
                input.relax();
                true
            }
            _ => false,
        }
    }

    /// A new masking key, if frames are masked (RFC 6455 §5.3).
    #[inline(always)]
    fn mask_of(&mut self, framing: Framing) -> Option<MaskKey> {
        let masked = planted!(MaskLost, false; framing.is_masked());
        masked.then(|| MaskKey::from_bytes(self.random.next_u32().to_ne_bytes()))
    }

    /// Encodes a frame at the end of an open connection's output, whatever its size.
    #[inline]
    fn frame(&mut self, index: u32, framing: Framing, opcode: Opcode, bytes: &[u8]) {
        // A server's frame has no mask, which leaves half of the encoder out.
        match self.mask_of(framing) {
            None => self.frame_masked(index, opcode, bytes, None),
            Some(key) => self.frame_of_client(index, opcode, bytes, key),
        }
    }

    #[inline(never)]
    fn frame_of_client(&mut self, index: u32, opcode: Opcode, bytes: &[u8], key: MaskKey) {
        self.frame_masked(index, opcode, bytes, Some(key));
    }

    #[inline(always)]
    fn frame_masked(&mut self, index: u32, opcode: Opcode, bytes: &[u8], mask: Option<MaskKey>) {
        self.mark(index);
        let need = encode::frame_len(bytes.len(), mask.is_some());
        let output = &mut self.links[index as usize].output;
        if output.first.is_none() && need <= self.blocks.size() {
            let block = self.blocks.take();
            output.first = block.map(|block| Segment::Ready(Payload { memory: Memory::Block(block), from: 0, to: 0 }));
        }
        if let Some(Segment::Ready(Payload { memory: Memory::Block(block), to, .. })) = output.tail()
            && let Some(written) = encode::frame(&mut block[*to as usize..], true, opcode, bytes, mask)
        {
            *to += written as u32;
            output.queued += written as u32;
            return;
        }
        match self.room(index, need) {
            Payload { memory: Memory::Block(block), to, .. } => {
                let written = encode::frame(&mut block[*to as usize..], true, opcode, bytes, mask);
                *to += written.expect("room was made") as u32;
            }
            Payload { memory: Memory::Heap(heap), to, .. } => {
                encode::append_frame(heap, true, opcode, bytes, mask);
                *to = heap.len() as u32;
            }
        }
        self.links[index as usize].output.queued += need as u32;
    }

    /// The piece of output with room for `need` more bytes: the last one, grown if it stays small, or a new one.
    fn room(&mut self, index: u32, need: usize) -> &mut Payload {
        let grown = match self.links[index as usize].output.tail() {
            Some(Segment::Ready(tail)) if tail.to as usize + need <= COALESCE_MAX => {
                let used = tail.to as usize;
                match &mut tail.memory {
                    Memory::Heap(heap) if heap.capacity() - heap.len() >= need => true,
                    memory => {
                        let mut larger = self.pool.take(used + need, (used + need) * 2);
                        simd::copy_append(&memory.bytes()[..used], &mut larger);
                        match std::mem::replace(memory, Memory::Heap(larger)) {
                            Memory::Block(block) => self.blocks.put(block),
                            Memory::Heap(heap) => self.pool.put(heap),
                        }
                        true
                    }
                }
            }
            _ => false,
        };
        if !grown {
            let block = if need <= self.blocks.size() { self.blocks.take() } else { None };
            let memory = match block {
                Some(block) => Memory::Block(block),
                None => Memory::Heap(self.pool.take(need, need)),
            };
            self.push(index, Segment::Ready(Payload { memory, from: 0, to: 0 }));
        }
        match self.links[index as usize].output.tail() {
            Some(Segment::Ready(payload)) => payload,
            _ => unreachable!("a piece was just found or pushed"),
        }
    }

    /// Queues bytes that are no frame: an HTTP response.
    pub(crate) fn raw(&mut self, index: u32, bytes: Vec<u8>) {
        let to = u32::try_from(bytes.len()).expect("a response is below 4 GiB");
        if to == 0 {
            self.pool.put(bytes);
            return;
        }
        self.link(index).output.queued += to;
        self.push(index, Segment::Ready(Payload { memory: Memory::Heap(bytes), from: 0, to }));
        self.mark(index);
    }

    /// Adds a piece at the end of the connection's output.
    fn push(&mut self, index: u32, segment: Segment) {
        self.make_queue(index).push(segment);
    }

    /// Puts the rest of a send back in front.
    pub(crate) fn unpop(&mut self, index: u32, payload: Payload) {
        self.make_queue(index).unpop(payload);
    }

    /// The connection's output, with a queue if one more piece needs it.
    fn make_queue(&mut self, index: u32) -> &mut Output {
        let output = &mut self.links[index as usize].output;
        if output.first.is_some() && output.rest.is_none() {
            output.rest = Some(self.queues.pop().unwrap_or_default());
        }
        output
    }

    /// Takes the piece that goes next. A queue with nothing left in it comes back, unless it has grown large.
    pub(crate) fn pop(&mut self, index: u32) -> Option<Payload> {
        let output = &mut self.links[index as usize].output;
        let payload = output.pop()?;
        if let Some(queue) = output.rest.take_if(|rest| rest.is_empty())
            && self.queues.len() < QUEUES_MAX
            && queue.capacity() <= QUEUE_ROOM_MAX
        {
            self.queues.push(queue);
        }
        Some(payload)
    }

    /// Answers a ping with the same payload (RFC 6455 §5.5.3). Pongs may pass the cap of the output: they are small,
    /// and a peer whose output is over the high-water mark is not read, so they cannot pile up.
    pub(crate) fn control(&mut self, index: u32, opcode: Opcode, payload: &[u8]) {
        if let Some(framing) = self.links[index as usize].life.framing() {
            self.frame(index, framing, opcode, payload);
            let _ = self.press(index);
        }
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2): queues a Close, takes no more messages. Nothing if it has begun.
    pub(crate) fn close(&mut self, index: u32, code: Option<CloseCode>, reason: &str) {
        if !self.links[index as usize].life.is_open() {
            return;
        }
        self.close_frame(index, code, reason);
        let deadline = self.now.after(self.closing);
        self.link(index).life.on(Event::CloseQueued { due: deadline });
        self.deadlines.set(index, deadline);
    }

    /// Queues a Close frame on an open connection.
    pub(crate) fn close_frame(&mut self, index: u32, code: Option<CloseCode>, reason: &str) {
        let Some(framing) = self.links[index as usize].life.framing() else { return };
        let mut payload = [0_u8; 125];
        let payload = wsring_proto::close::write_payload(&mut payload, code, reason);
        self.frame(index, framing, Opcode::Close, payload);
    }

    pub(crate) fn pause(&mut self, index: u32) {
        self.hold(index, Input::pause);
        self.mark(index);
    }

    pub(crate) fn resume(&mut self, index: u32) {
        if let Some(input) = self.link(index).life.input() {
            input.resume();
        }
        self.mark(index);
    }

    /// The message about to be handled lies in a buffer that can be moved.
    #[inline]
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        if bytes.len() >= MOVE_MIN {
            self.assembled = Some(Assembled { at: bytes.as_ptr() as usize, len: bytes.len() });
        }
    }

    #[inline]
    fn is_assembled(&self, bytes: &[u8]) -> bool {
        self.promised.is_none()
            && self.assembled.as_ref().is_some_and(|a| a.at == bytes.as_ptr() as usize && a.len == bytes.len())
    }

    fn promise(&mut self, index: u32, opcode: Opcode, framing: Framing, need: usize) {
        self.mark(index);
        self.promised = Some(Promised { id: self.id_of(index), opcode, framing });
        let output = &mut self.link(index).output;
        output.queued += need as u32;
        planted!(PromiseMisplaced, {
            if let Some(first) = output.first.replace(Segment::Promised) {
                output.rest.get_or_insert_default().push_front(first);
            }
            return;
        });
        self.push(index, Segment::Promised);
    }

    /// The handler has returned: if it sent the message on, `take` gives its buffer, which moves into the queue.
    #[inline]
    pub(crate) fn settle_offer(&mut self, take: impl FnOnce() -> Option<Vec<u8>>) {
        if self.assembled.take().is_none() {
            return;
        }
        let Some(Promised { id, opcode, framing }) = self.promised.take() else { return };
        let mut bytes = take().expect("an offered message lies in a buffer of its own");
        let from = self.head_in_front(framing, opcode, &mut bytes);
        let ready = Segment::Ready(Payload { from, to: bytes.len() as u32, memory: Memory::Heap(bytes) });
        let output = &mut self.link(id.index()).output;
        let rest = output.rest.iter_mut().flat_map(|rest| rest.iter_mut());
        let place = output.first.iter_mut().chain(rest).find(|segment| matches!(segment, Segment::Promised));
        *place.expect("a promised place stays until the handler returns") = ready;
    }

    /// Gives the memory of a finished or abandoned piece back.
    pub(crate) fn recycle(&mut self, memory: Memory) {
        match memory {
            Memory::Block(block) => self.blocks.put(block),
            Memory::Heap(bytes) => self.pool.put(bytes),
        }
    }

    /// Throws away what is queued: the connection has failed.
    pub(crate) fn abandon(&mut self, index: u32) {
        while let Some(payload) = self.pop(index) {
            self.link(index).output.queued -= payload.len() as u32;
            self.recycle(payload.memory);
        }
        assert!(self.link(index).output.first.is_none(), "a promised piece outlived its handler");
    }
}
