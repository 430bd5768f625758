//! Owns what a callback may touch: the connections of its core by id, their output, the dials, and what it wishes.
//!
//! Decides whether a message may go out, and how; how it is encoded is the [`Output`](super::output::Output)'s. Nothing here
//! submits an operation. What callbacks want is left in the links and the list of connections to settle; `settle` makes
//! operations of it at the end of the pass.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use wsring_proto::close::{CONTROL_PAYLOAD_MAX, CloseCode};
use wsring_proto::deflate::Settings;
use wsring_proto::encode;
use wsring_proto::opcode::{Message, Opcode};
use wsring_proto::simd::MaskKey;

use super::addresses::{Addresses, More};
use super::alarms::Alarms;
use super::conns::Link;
use super::deadlines::Tick;
use super::dials::Dials;
use super::flight::Unacked;
use super::forms::Forms;
use super::held::Held;
use super::id::ConnId;
use super::life::{Event, Life};
use super::names::Names;
use super::norms::{Marks, Norms};
use super::output::head_in_front;
use super::pack::{Framing, Packer};
use super::panics::Payload as Panic;
use super::peers::Peers;
use super::pending::Deferrals;
use super::pings::Pings;
use super::planted::planted;
use super::pongs::Pongs;
use super::promise::{MOVE_BEHIND_MIN, Offer, Placed, is_worth_moving};
use super::rates::Rates;
use super::slow::Slow;
use super::stores::Stores;
use super::topics::Topics;
use super::work::{self, Work};
use crate::config::Config;
use crate::cores::Place;
use crate::drain::Drain;
use crate::flush::Flush;
use crate::ring::{Heap, Memory, Payload, SendBlocks, Time};
use crate::stats::Stats;

/// A message that is given away is sent from where it lies from this length on, unless a test sets another: it costs a send of
/// its own, as a moved one behind other output does.
const SHARE_MIN: usize = MOVE_BEHIND_MIN;

/// What became of a message given to `send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused or gone message is not delivered"]
#[non_exhaustive]
pub enum SendOutcome {
    /// Queued; the output is below the high-water mark.
    Queued,
    /// Queued, and the output is above the high-water mark: stop sending until
    /// [`on_writable`](crate::Handler::on_writable). Whether messages of this peer are taken meanwhile is another matter: see
    /// [`Pressure`](crate::Pressure).
    High,
    /// Not queued: the output is at its cap. Counted as `refused`.
    Refused,
    /// Not queued: the connection is closing, or broken. Counted as `gone`.
    Gone,
}

impl SendOutcome {
    /// The message will be sent unless the connection fails.
    pub fn is_queued(self) -> bool {
        matches!(self, SendOutcome::Queued | SendOutcome::High)
    }
}

/// What the application said of compressing a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As the settings say.
    Any,
    /// Not to.
    Plain,
}

/// A connection whose stash is to be worked on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) index: u32,
    pub(super) generation: u32,
    /// The pass since which it waits.
    pub(super) since: u64,
}

pub(crate) struct Reach {
    pub(crate) peers: Peers,
    pub(crate) addresses: Addresses,
    /// Connections whose stash is to be worked on, in the order in which they began to wait.
    pub(super) replay: VecDeque<Waits>,
    /// How much of the pass and of a connection's share in it is left.
    pub(super) work: Work,
    pub(crate) stores: Stores,
    pub(crate) stats: Stats,
    pub(crate) now: Tick,
    /// The same by the nanosecond.
    pub(crate) clock: Time,
    pub(crate) alarms: Alarms,
    pub(crate) held: Held,
    /// What holds for each connection.
    pub(super) norms: Norms,
    /// The marks of connections that are not sent to apart, where the path of a message finds them.
    pub(super) marks: Marks,
    pub(super) slow: Slow,
    pub(super) pongs: Pongs,
    pub(super) pings: Pings,
    /// A message that the application gives away is sent from where it lies from this length on.
    pub(super) share_from: usize,
    /// The message being handled, if it may be moved.
    offer: Option<Offer>,
    /// Something is to be looked at when the handler has returned: an offer, or a share that is used up.
    aftermath: bool,
    pub(crate) dials: Dials,
    /// A CSPRNG (RFC 6455 §10.3): masking keys, nonces, jitter. It makes its numbers in blocks.
    pub(crate) random: StdRng,
    /// The application wants the core to stop.
    pub(crate) stop: bool,
    /// It wants the core to be drained.
    pub(crate) drains: Vec<Drain>,
    /// The core is drained, or was.
    pub(crate) draining: bool,
    /// Nobody new is wanted: listeners close when nobody waits there any more.
    pub(crate) stop_accepting: bool,
    pub(crate) packer: Packer,
    /// Of the last message that was prepared for many.
    pub(crate) forms: Forms,
    /// Once there are any.
    pub(super) topics: Option<Box<Topics>>,
    /// Bytes a second that they give.
    pub(super) rates: Rates,
    /// Connections that the application has cut in this pass.
    pub(super) aborted: Vec<ConnId>,
    /// Connections with a message of a topic in whose closure the application panicked.
    pub(super) panicked: Vec<(ConnId, Panic)>,
    pub(crate) names: Arc<Names>,
    /// Of requests whose answer is deferred.
    pub(crate) pending: Deferrals,
    /// Of this core and those beside it: a `Handle` of the handler's mail, once there is a core.
    pub(crate) handle: Box<dyn Any>,
}

impl Reach {
    pub(crate) fn new(
        place: Place,
        blocks: SendBlocks,
        connections_max: usize,
        config: &Config,
        random: StdRng,
        names: Arc<Names>,
    ) -> Self {
        let norms = Norms::new(config);
        Self {
            addresses: Addresses::default(),
            peers: Peers::new(place, connections_max, config.message_timeout.is_some()),
            replay: VecDeque::new(),
            work: Work::new(config.pass_share_messages),
            stores: Stores::new(blocks, config.pool_max_bytes),
            stats: Stats::default(),
            now: Tick::ZERO,
            clock: Time::default(),
            alarms: Alarms::new(place, config.pace.timers_max, config.pace.tick),
            held: Held::new(config.pace.flush == Flush::AtTick),
            marks: norms.common().marks,
            norms,
            slow: Slow::default(),
            pongs: Pongs::default(),
            pings: Pings::default(),
            share_from: SHARE_MIN,
            offer: None,
            aftermath: false,
            dials: Dials::new(place, config.pace.connects_per_second),
            random,
            stop: false,
            drains: Vec::new(),
            draining: false,
            stop_accepting: false,
            packer: Packer::new(&config.deflate),
            forms: Forms::new(),
            topics: None,
            rates: Rates::default(),
            aborted: Vec::new(),
            panicked: Vec::new(),
            names,
            pending: Deferrals::new(place, config.topics.pending_max),
            handle: Box::new(()),
        }
    }

    /// The counters, as they are in this moment.
    pub(crate) fn stats(&self) -> Stats {
        Stats { memory_bytes: self.stores.pool.lent_bytes() as u64, ..self.stats }
    }

    pub(crate) fn link(&self, index: u32) -> &Link {
        self.peers.get(index)
    }

    /// Nothing is kept of a connection whose slot is free.
    pub(crate) fn forget(&mut self, index: u32) {
        self.peers.free(index, planted!(GenerationKept, 0; 1));
        if let Some(more) = self.addresses.lift(index) {
            self.stores.pool.discharge(more.held_bytes());
        }
        let terms = self.norms.forget(index);
        self.stores.pool.discharge(terms);
        self.packer.forget(index, &mut self.stores.pool);
        self.slow.forget(index);
        self.pongs.end(index);
        self.pings.forget(index);
        self.dials.untie(index);
        self.held.forget(index);
    }

    /// Something more has become known of a connection than its peer's address.
    #[cold]
    pub(super) fn note(&mut self, index: u32, note: impl FnOnce(&mut More)) {
        let slot = self.addresses.more_mut(index);
        let before = slot.as_ref().map_or(0, |more| more.held_bytes());
        let more = slot.get_or_insert_default();
        note(more);
        self.stores.pool.note_change(before, more.held_bytes());
    }

    /// A socket has taken so many bytes since its peer was looked at. Once all is well again nobody counts.
    #[cold]
    pub(super) fn on_sent_since(&mut self, index: u32, sent: u32) {
        let life = self.link(index).life;
        if matches!(life, Life::Quiet { .. }) && !life.is_timed_by_output() {
            return self.forget_look(index);
        }
        planted!(SentUncounted, return);
        self.slow.on_sent(index, sent, self.now);
    }

    /// What was seen of how much a peer takes does not matter any more.
    #[cold]
    pub(super) fn forget_look(&mut self, index: u32) {
        self.peers.settling(index).flight.outdate();
        self.slow.forget(index);
    }

    /// Queues a message.
    #[inline(always)] // some 50 instructions in the handler, instead of a call and a message in memory
    pub(crate) fn send(&mut self, index: u32, message: Message<'_>) -> SendOutcome {
        let (opcode, bytes) = (message.opcode(), message.as_bytes());
        if self.send_small(index, opcode, bytes) { SendOutcome::Queued } else { self.send_any(index, opcode, bytes) }
    }

    /// The same, and if it is the message being handled, and long, its own buffer goes rather than a copy.
    #[inline(always)]
    pub(crate) fn forward(&mut self, index: u32, message: Message<'_>) -> SendOutcome {
        // By parts: a message that is handed on by its address has to lie in memory, twice, for each that goes the short way as well.
        let (opcode, bytes) = (message.opcode(), message.as_bytes());
        if self.send_small(index, opcode, bytes) {
            SendOutcome::Queued
        } else if self.offer.is_none() {
            self.send_any(index, opcode, bytes)
        } else {
            self.forward_long(index, opcode, bytes)
        }
    }

    /// The path of almost every message: a small one behind others of its pass. Whether it was queued; the rest is a call.
    #[inline(always)]
    fn send_small(&mut self, index: u32, opcode: Opcode, bytes: &[u8]) -> bool {
        if let Some(link) = self.peers.filling(index)
            && bytes.len() <= CONTROL_PAYLOAD_MAX
            && link.output.queued < self.marks.small
            && let Some((block, to)) = link.block_of_pass()
            && let Some(written) = encode::frame(&mut block[*to as usize..], true, opcode, bytes, None)
        {
            *to += written as u32;
            link.output.queued += written as u32;
            self.stats.sent += 1;
            return true;
        }
        false
    }

    #[inline(never)]
    fn send_any(&mut self, index: u32, opcode: Opcode, bytes: &[u8]) -> SendOutcome {
        match self.peers.get(index).life.framing() {
            Some(framing) if framing.is_ordinary() => {
                if !self.fits(index, framing, bytes.len(), self.marks.max) {
                    return self.refused();
                }
                self.stats.sent += 1;
                self.frame(index, framing, opcode, bytes);
                self.press_above(index, self.marks.high)
            }
            Some(_) => self.send_how(index, opcode, bytes, How::Any),
            None => self.gone(),
        }
    }

    /// Queues a message, compressed if its connection agreed to that and it is worth it.
    #[inline(never)]
    pub(crate) fn send_how(&mut self, index: u32, opcode: Opcode, bytes: &[u8], how: How) -> SendOutcome {
        let Some(framing) = self.peers.get(index).life.framing() else { return self.gone() };
        // Whether there is room, by its length as it is: what it will be compressed is not known yet.
        if how != How::Plain && self.packs(index, framing, bytes.len()) && self.has_room(index, framing, bytes.len()) {
            self.stats.sent += 1;
            return self.send_packed(index, framing, opcode, bytes);
        }
        self.send_as_is(index, framing, opcode, bytes)
    }

    /// A message of this length is compressed, unless the application wants it plain.
    #[inline]
    pub(super) fn packs(&self, index: u32, framing: Framing, len: usize) -> bool {
        framing.packs() && self.is_worth_packing(index, framing, len)
    }

    fn is_worth_packing(&self, index: u32, framing: Framing, len: usize) -> bool {
        match framing.is_apart() {
            true => len >= self.norms.of(index).deflate.threshold_bytes as usize,
            false => self.packer.wants(len),
        }
    }

    /// A message of this length stays below the cap of the output.
    #[inline(always)]
    pub(super) fn has_room(&self, index: u32, framing: Framing, len: usize) -> bool {
        self.fits(index, framing, len, self.marks_of(index, framing).max)
    }

    /// The same below this cap.
    #[inline(always)]
    fn fits(&self, index: u32, framing: Framing, len: usize, max: u32) -> bool {
        let need = encode::frame_len(len, framing.is_masked());
        self.peers.get(index).output.queued as usize + need <= max as usize
    }

    /// The connection is closing.
    pub(super) fn gone(&mut self) -> SendOutcome {
        self.stats.gone += 1;
        SendOutcome::Gone
    }

    /// The output is at its cap.
    pub(super) fn refused(&mut self) -> SendOutcome {
        self.stats.refused += 1;
        SendOutcome::Refused
    }

    #[inline]
    fn send_as_is(&mut self, index: u32, framing: Framing, opcode: Opcode, bytes: &[u8]) -> SendOutcome {
        if !self.has_room(index, framing, bytes.len()) {
            return self.refused();
        }
        self.stats.sent += 1;
        self.frame(index, framing, opcode, bytes);
        self.press(index, framing)
    }

    /// Queues a message that the application gives away: a long one is sent from where it lies, unless it has to be masked or
    /// compressed.
    pub(crate) fn send_owned(&mut self, index: u32, opcode: Opcode, bytes: Bytes) -> SendOutcome {
        let Some(framing) = self.peers.get(index).life.framing() else { return self.gone() };
        let len = bytes.len();
        if len < self.share_from || framing.is_masked() || self.packs(index, framing, len) {
            return self.send_how(index, opcode, &bytes, How::Any);
        }
        if !self.has_room(index, framing, len) {
            return self.refused();
        }
        self.stats.sent += 1;
        self.peers.touch(index).output.share(&mut self.stores, opcode, bytes);
        self.press(index, framing)
    }

    /// Promises the message being handled a place in the output; any other is sent.
    #[inline(never)]
    fn forward_long(&mut self, index: u32, opcode: Opcode, bytes: &[u8]) -> SendOutcome {
        let link = self.peers.get(index);
        let Some(framing) = link.life.framing() else { return self.gone() };
        let is_moved =
            is_worth_moving(bytes.len(), !link.output.is_empty()) && !self.packs(index, framing, bytes.len());
        let max = self.marks_of(index, framing).max as usize;
        let Some(offer) = self.offer.as_mut().filter(|offer| is_moved && offer.is_for(bytes)) else {
            return self.send_any(index, opcode, bytes);
        };
        let need = encode::frame_len(bytes.len(), framing.is_masked());
        if link.output.queued as usize + need > max {
            return self.refused();
        }
        self.stats.sent += 1;
        offer.place(Placed { id: self.peers.id_of(index), opcode, framing });
        self.peers.touch(index).output.promise(&mut self.stores, need);
        self.press(index, framing)
    }

    /// Queues a message compressed, or plain where that is shorter (RFC 7692 §6 leaves it to each message).
    pub(super) fn send_packed(&mut self, index: u32, framing: Framing, opcode: Opcode, bytes: &[u8]) -> SendOutcome {
        let settings = self.packing(index, framing);
        self.owe_packing(bytes.len(), settings.level);
        let (packer, stores) = (&mut self.packer, &mut self.stores);
        let packed = packer.pack(index, framing, &settings, bytes, &mut stores.pool);
        let mask = mask_of(&mut self.random, framing);
        let output = &mut self.peers.touch(index).output;
        planted!(PackedWide, output.begin_piece(stores, bytes.len()));
        // Copied, whatever its length: that costs nothing beside compressing it, and a queue takes no more memory than it counts.
        output.frame(stores, opcode, packed.unwrap_or(bytes), mask);
        if let Some(payload) = packed {
            self.stats.compressed += 1;
            // As any frame, then marked (RFC 7692 §6.1).
            planted!(CompressedUnmarked, return self.press(index, framing));
            output.mark_compressed(opcode, encode::frame_len(payload.len(), framing.is_masked()));
        }
        packer.recycle(&mut stores.pool);
        self.press(index, framing)
    }

    /// How messages for this connection are compressed.
    pub(super) fn packing(&self, index: u32, framing: Framing) -> Settings {
        if framing.is_apart() { self.norms.of(index).deflate } else { *self.packer.settings() }
    }

    /// A new masking key, if frames are masked (RFC 6455 §5.3).
    #[inline(always)]
    pub(super) fn mask_of(&mut self, framing: Framing) -> Option<MaskKey> {
        mask_of(&mut self.random, framing)
    }

    /// Encodes a frame at the end of an open connection's output, whatever its size.
    #[inline(always)]
    pub(super) fn frame(&mut self, index: u32, framing: Framing, opcode: Opcode, bytes: &[u8]) {
        let mask = self.mask_of(framing);
        self.peers.touch(index).output.frame(&mut self.stores, opcode, bytes, mask);
    }

    /// Queues bytes that are no frame: an HTTP response.
    pub(crate) fn raw(&mut self, index: u32, bytes: Vec<u8>) {
        let to = u32::try_from(bytes.len()).expect("a response is below 4 GiB");
        if to == 0 {
            self.stores.pool.put(bytes);
            return;
        }
        let piece = Payload { memory: Memory::Heap(Heap::Pooled(bytes)), from: 0, to };
        self.held.let_go(index);
        self.peers.touch(index).output.add(&mut self.stores, piece);
    }

    /// Takes the piece that goes next.
    pub(crate) fn pop(&mut self, index: u32) -> Option<Payload> {
        self.peers.settling(index).output.pop(&mut self.stores)
    }

    /// Puts the rest of a send back in front.
    pub(crate) fn unpop(&mut self, index: u32, rest: Payload) {
        self.peers.touch(index).output.unpop(&mut self.stores, rest);
    }

    /// Throws away what is queued: the connection has failed.
    pub(crate) fn abandon(&mut self, index: u32) {
        self.peers.settling(index).output.abandon(&mut self.stores);
    }

    /// Has a connection end by a reset when the callbacks of the pass are over.
    #[cold]
    pub(crate) fn abort(&mut self, index: u32) {
        if self.link(index).life.is_aborted() {
            return;
        }
        self.stats.aborted += 1;
        self.end_topics(index);
        let (due, _) = self.norms.clocks(index, self.now);
        self.peers.on(index, Event::Aborted { due });
        self.aborted.push(self.peers.id_of(index));
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2): queues a Close, takes no more messages. Nothing if it has begun.
    pub(crate) fn close(&mut self, index: u32, code: Option<CloseCode>, reason: &str) {
        match self.peers.get(index).life {
            Life::Quiet { .. } | Life::Pinged { .. } => self.close_frame(index, code, reason),
            // It cannot go out; the peer may have said one.
            Life::Broken { closed: false, .. } => {
                let (due, until) = self.norms.clocks(index, self.now);
                self.peers.on(index, Event::CloseQueued { due, until, own: 0 });
            }
            _ => {}
        }
    }

    /// Queues a Close frame on an open connection, which is closing from then on.
    pub(crate) fn close_frame(&mut self, index: u32, code: Option<CloseCode>, reason: &str) {
        self.end_topics(index);
        self.end_pongs(index); // behind our Close nothing is said (RFC 6455 §5.5.1)
        let Some(framing) = self.peers.get(index).life.framing() else { return };
        let mut payload = [0_u8; 125];
        let payload = wsring_proto::close::write_payload(&mut payload, code, reason);
        self.frame(index, framing, Opcode::Close, payload);
        if self.link(index).flight.unacked != Unacked::Unknown {
            self.forget_look(index); // the peer's time to answer begins
        }
        let (due, until) = self.norms.clocks(index, self.now);
        let own = encode::frame_len(payload.len(), framing.is_masked()) as u8;
        self.peers.on(index, Event::CloseQueued { due, until, own });
    }

    /// The message about to be handled lies in a buffer that can be moved.
    #[inline(never)] // long messages alone come here, and the loop of the short ones keeps its registers
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        self.offer = Offer::of(bytes);
        self.aftermath = true;
    }

    /// The handler has returned, and something is to be looked at: [`Self::settle_offer`], and [`Self::go_on`].
    #[inline]
    pub(crate) fn has_aftermath(&self) -> bool {
        self.aftermath
    }

    /// The place in some output that the handler gave the message, if it did.
    #[inline(never)]
    pub(crate) fn settle_offer(&mut self) -> Option<Placed> {
        self.aftermath = false;
        self.offer.take().and_then(Offer::settle)
    }

    /// So many bytes are compressed, at this level.
    pub(super) fn owe_packing(&mut self, bytes: usize, level: u8) {
        self.owe(work::packed(bytes, level));
    }

    /// Something is done for the message that is being handled, worth so many small ones.
    pub(super) fn owe(&mut self, work: u64) {
        self.work.owe(work);
        self.aftermath = true;
    }

    /// What a callback had done that was not about bytes of a connection is nobody's.
    #[inline]
    pub(crate) fn forgive(&mut self) {
        self.work.forgive();
        self.aftermath = self.offer.is_some();
    }

    /// Where to look at the share of a connection first, whose bytes are worked on as they come: behind a short receive, if nothing is
    /// to be looked at.
    #[inline]
    pub(super) fn stop_of(&mut self, index: u32, len: usize) -> usize {
        if self.work.is_calm(len, self.stats.messages) {
            return len;
        }
        self.share_of(index)
    }

    /// The same, and its share is counted from here on.
    #[cold]
    #[inline(never)]
    pub(super) fn share_of(&mut self, index: u32) -> usize {
        self.work.begin(index, self.stats.messages)
    }

    /// The decoder has walked over a connection's bytes up to `at`: where to look again, if some of its share is left.
    #[cold]
    #[inline(never)]
    pub(super) fn go_on(&mut self, index: u32, at: usize) -> Option<usize> {
        self.work.go_on(index, self.stats.messages, at)
    }

    /// Something else than a message was done for a connection. True if its share is used up.
    #[inline(never)]
    pub(super) fn spends(&mut self, index: u32, work: u64) -> bool {
        self.work.spends(index, self.stats.messages, work)
    }

    /// Moves a message, in its own buffer and behind headroom, to the place that was promised to it.
    #[inline(never)]
    pub(crate) fn move_in(&mut self, Placed { id, opcode, framing }: Placed, mut bytes: Vec<u8>) {
        let from = head_in_front(opcode, &mut bytes, self.mask_of(framing));
        // It may be long until it is sent, and what was inflated lies in the memory that it might have needed.
        let bytes = self.stores.pool.fit(bytes);
        let piece = Payload { from, to: bytes.len() as u32, memory: Memory::Heap(Heap::Pooled(bytes)) };
        self.peers.touch(id.index()).output.keep_promise(piece);
    }
}

#[inline(always)]
pub(super) fn mask_of(random: &mut StdRng, framing: Framing) -> Option<MaskKey> {
    let masked = planted!(MaskLost, false; framing.is_masked());
    masked.then(|| MaskKey::from_bytes(random.next_u32().to_ne_bytes()))
}
