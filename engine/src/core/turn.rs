//! One thread's engine: the loop, and the stages of a connection.
//!
//! A turn is: wait, work on every completion, replay what was stashed, look at deadlines, `on_batch_end`, and then
//! settle each connection that anything happened to. **Only `settle` submits operations of a connection**, so what may be
//! in flight is decided in one place: one receive, one send, and a close when nothing else is.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use slab::Slab;
use wsring_proto::close::CloseCode;
use wsring_proto::opcode::Opcode;

use super::calls::Calls;
use super::conns::{Conn, Link, Phase};
use super::deadlines::Tick;
use super::dial::CANCEL_CONNECT;
use super::flight::Recv;
use super::id::Origin;
use super::life::{Dying, Event, Life};
use super::listener::Listeners;
use super::output::COALESCE_MAX;
use super::planted::planted;
use super::reach::Reach;
use super::shortage::Shortage;
use crate::config::Config;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Done, Errno, Kind, Memory, Op, Payload, RecvEnd, Ring, SendBlocks, Time, Token};
use crate::stats::Stats;

/// How long after the stop timeout the kernel may take to complete what was cancelled.
const GIVE_UP: Duration = Duration::from_secs(1);
/// Bytes of a part of a long send, unless a test sets others: what the loopback interface carries in one segment. So the copy
/// of a long message does not hold up everybody else of a pass, and a segment is on its way while the next is copied.
/// Zero-copy sends are not parted: their memory comes back too late to go on with.
const PART: u32 = 65_483;
/// What is at most so many parts long goes whole: all that is gathered of small frames is.
const PARTS_WHOLE: u32 = 5;
const _: () = assert!(PART * PARTS_WHOLE >= COALESCE_MAX as u32);
/// Deadlines looked at in a turn.
const EXPIRE_MAX: usize = 512;

/// The cancel of an accept, which belongs to no connection.
pub(super) const CANCEL_ACCEPT: Token = Token::new(Kind::Cancel, 0, u32::MAX);

/// What other threads tell a core; read when its ring wakes.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) stop: AtomicBool,
    pub(crate) woken: AtomicBool,
    /// There is something in `resolved`.
    pub(crate) has_resolved: AtomicBool,
    pub(crate) resolved: Mutex<Vec<Resolved>>,
}

/// A lookup for a dial: its index, and the number of the timer that this lookup has. A dial looks its name up anew in each
/// attempt, and a late answer belongs to none but its own.
pub(crate) type Lookup = (u32, u64);

/// A name that was looked up.
pub(crate) type Resolved = (Lookup, io::Result<Vec<SocketAddr>>);

/// Looks up a host and port for a dial, elsewhere; the answer comes by way of [`Control::resolved`] and a wake.
pub(crate) type Resolve = Box<dyn Fn(String, u16, Lookup)>;

/// A core's place in the process, and what it has of the world beside its ring.
pub(crate) struct Seat {
    pub(crate) number: u8,
    pub(crate) control: Arc<Control>,
    /// A CSPRNG (RFC 6455 §10.3).
    pub(crate) random: StdRng,
    /// `None`: names are not looked up, and dials of them fail.
    pub(crate) resolve: Option<Resolve>,
}

/// One thread's engine.
pub(crate) struct Core<R: Ring, H: Handler> {
    pub(super) ring: R,
    pub(super) calls: Calls<H>,
    pub(super) conns: Slab<Conn<H::Conn>>,
    pub(super) out: Reach,
    pub(super) config: Arc<Config>,
    pub(super) listeners: Listeners,
    control: Arc<Control>,
    /// Who waits for receive buffers.
    shortage: Shortage,
    due: Vec<u32>,
    /// Connections under the cap; those being told 503 are not.
    pub(super) admitted: u32,
    /// Set when stopping: the time by which all is over.
    pub(super) stopping: Option<Tick>,
    /// Bytes of a part of a long send.
    pub(super) part: u32,
    /// Connects that are with the kernel.
    pub(super) connects: u32,
    pub(super) resolve: Option<Resolve>,
    /// What one receive decrypts to; empty between receives.
    #[cfg(feature = "tls")]
    pub(super) plain: Vec<u8>,
}

impl<R: Ring, H: Handler> Core<R, H> {
    pub(crate) fn new(
        seat: Seat,
        ring: R,
        blocks: SendBlocks,
        handler: H,
        config: Arc<Config>,
        listeners: u32,
    ) -> Self {
        let Seat { number, control, random, resolve } = seat;
        let slots = config.sockets_max();
        Self {
            ring,
            calls: Calls::new(handler),
            conns: Slab::with_capacity(slots),
            out: Reach::new(number, blocks, slots, &config, random),
            config,
            listeners: Listeners::new(listeners),
            control,
            shortage: Shortage::default(),
            due: Vec::new(),
            admitted: 0,
            stopping: None,
            part: PART,
            connects: 0,
            resolve,
            #[cfg(feature = "tls")]
            plain: Vec::new(),
        }
    }

    /// Runs until stopped; bounded by the stop timeout from then on.
    pub(crate) fn run(&mut self) -> io::Result<Stats> {
        self.start();
        while !self.is_finished() {
            self.turn()?;
        }
        self.abandon_all();
        Ok(self.stats())
    }

    /// The same in a runtime: `wait` comes back when the ring has completions or the time has come.
    #[cfg(feature = "tokio-uring")]
    pub(crate) async fn run_async(&mut self, mut wait: impl AsyncFnMut(Option<Time>)) -> io::Result<Stats> {
        self.start();
        while !self.is_finished() {
            wait(self.until()).await;
            self.turn()?;
        }
        self.abandon_all();
        Ok(self.stats())
    }

    pub(crate) fn start(&mut self) {
        self.ring.submit(Token::new(Kind::Wake, 0, 0), Op::Wake);
        self.arm_accepts();
        self.calls.started(&mut self.out);
        // What it wants is done by the first turn.
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { enters: self.ring.enters(), ..self.out.stats }
    }

    /// One pass of the loop.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        let until = self.until();
        self.ring.wait(until)?;
        self.out.now = Tick::of(self.ring.now());
        self.out.stats.passes += 1;
        let messages = self.out.stats.messages;
        while let Some((token, done)) = self.ring.next() {
            self.complete(token, done);
        }
        self.replay_stashes();
        if self.out.stats.messages != messages {
            self.ring.expect_more();
        }
        self.expire_deadlines();
        self.drive_dials();
        self.finish_pass();
        self.arm_accepts();
        Ok(())
    }

    /// Tells the application that all is handled, and makes operations of what it wants. A stop fails dials, and settling may
    /// find that TLS of a connection is broken: what is called then is followed by a batch end as well. That ends, because
    /// a core stops once and a connection fails once.
    fn finish_pass(&mut self) {
        loop {
            self.calls.batch_end(&mut self.out);
            if self.out.stop && self.stopping.is_none() {
                self.begin_stop();
            }
            self.settle_all();
            self.rearm_starved();
            planted!(BatchEndLost, return);
            if !self.calls.is_owed() {
                return;
            }
        }
    }

    /// When the ring must come back although nothing completes; the past if there is work left.
    fn until(&self) -> Option<Time> {
        // `on_start` may have asked to stop, before the first turn.
        let must_stop = self.out.stop && self.stopping.is_none();
        if !self.shortage.is_over() || !self.out.replay.is_empty() || !self.due.is_empty() || must_stop {
            return Some(Time::default());
        }
        let deadline = self.out.peers.next_due(self.ring.now());
        [deadline, self.listeners.retry_at(), self.stop_due(), self.dial_due()].into_iter().flatten().min()
    }

    fn complete(&mut self, token: Token, done: Done<R::Lease>) {
        let index = token.index();
        match done {
            Done::Accepted { result, more } => return self.on_accepted(index, result, more),
            Done::Woken => return self.on_woken(),
            Done::Connected { result } => return self.on_connected(token, result),
            Done::Cancelled if token == CANCEL_ACCEPT || token == CANCEL_CONNECT => return,
            _ => {}
        }
        let link = self.out.link(index);
        assert_eq!(link.tenant.generation(), token.generation(), "a completion outlived its connection: {token:?}");
        match done {
            Done::Received { lease, end } => self.on_received(index, lease, end),
            Done::Sent { payload, result } => self.on_sent(index, payload, result),
            Done::Returned { payload } => {
                self.out.peers.touch(index).flight.owed -= 1;
                self.out.stores.recycle(payload.memory);
            }
            Done::Cancelled => self.out.peers.touch(index).flight.owed -= 1,
            Done::Closed => self.on_closed(index),
            Done::Accepted { .. } | Done::Connected { .. } | Done::Woken => unreachable!("handled above"),
        }
    }

    fn on_received(&mut self, index: u32, lease: Option<R::Lease>, end: Option<RecvEnd>) {
        if let Some(mut lease) = lease {
            self.out.peers.life(index).on_heard(self.out.now);
            self.out.stats.bytes_in += lease.len() as u64;
            self.shortage.on_received(lease.len());
            self.feed(index, &mut lease);
            planted!(LeaseKept, {
                std::mem::forget(lease);
                return;
            });
            self.ring.release(lease);
        }
        match end {
            None => {}
            Some(RecvEnd::Rearm | RecvEnd::Cancelled) => {
                planted!(LostRearm, return);
                // Others were first. Who is not to be received from has no turn to wait for.
                self.out.peers.touch(index).flight.recv = Recv::Idle;
                if !self.shortage.is_over() && self.out.link(index).life.wants_bytes() {
                    self.starve(index);
                }
            }
            Some(RecvEnd::NoBuffers) => {
                self.out.stats.starved += 1;
                planted!(LostStarved, return);
                self.out.peers.touch(index).flight.recv = Recv::Idle;
                self.starve(index);
            }
            Some(RecvEnd::Eof) => {
                self.end_of_input(index);
                self.on_eof(index);
            }
            Some(RecvEnd::Failed(errno)) => {
                self.end_of_input(index);
                self.fail(index, errno);
            }
        }
    }

    /// A receive has ended for good.
    fn end_of_input(&mut self, index: u32) {
        self.out.peers.touch(index).flight.recv = Recv::Idle;
        self.out.peers.on(index, Event::PeerEnded);
    }

    /// Has a connection wait for receive buffers.
    fn starve(&mut self, index: u32) {
        let in_frame = match &self.conns[index as usize].phase {
            Phase::Open { session, .. } => session.is_in_frame(),
            _ => false,
        };
        self.shortage.wait(index, self.out.link(index).tenant.generation(), in_frame);
    }

    /// The peer's last byte has come. What is stashed before it is delivered first.
    pub(super) fn on_eof(&mut self, index: u32) {
        self.out.peers.mark(index);
        let stashed = self.conns[index as usize].stash.is_some();
        if planted!(EofFirst, false; stashed) {
            return;
        }
        #[cfg(feature = "tls")]
        if self.is_cut(index) {
            return;
        }
        match self.out.link(index).life {
            Life::Head { .. } => self.end_head(index, &CloseReason::Eof),
            // Half-closed: what was queued for it still goes out.
            Life::Quiet { .. } | Life::Pinged { .. } => self.end(index, &CloseReason::Eof, false),
            Life::Closing { .. } => self.end_closing(index, false),
            Life::Finishing { .. } | Life::Lingering { .. } | Life::Dying(_) | Life::Free => {}
        }
    }

    fn on_sent(&mut self, index: u32, payload: Option<Payload>, result: Result<usize, Errno>) {
        let now = self.out.now;
        let link = self.out.peers.touch(index);
        let asked = link.output.sending.take().map_or(0, NonZeroU32::get);
        let sent = *result.as_ref().unwrap_or(&0) as u32;
        link.output.queued -= sent;
        if sent > 0 && !link.life.takes_messages() {
            link.life.on_progress(now); // a peer that is not read shows its life by reading
        }
        self.out.stats.bytes_out += u64::from(sent);
        let short = sent < asked;
        // What is lost still counts as queued when `on_close` is told.
        let (failed, lost) = match (result, payload) {
            (Err(errno), Some(payload)) => {
                let lost = payload.whole();
                self.out.stores.recycle(payload.memory);
                (Some(errno), lost)
            }
            // io_uring_prep_send_zc(3): a failed request may be followed by a notification too.
            (Err(errno), None) => {
                self.out.peers.touch(index).flight.owed += planted!(ZeroCopyForgotten, 0; 1);
                (Some(errno), asked)
            }
            (Ok(_), Some(mut payload)) => {
                let left = payload.whole() - sent;
                payload.from += sent;
                payload.to = payload.from + left;
                if left == 0 {
                    self.out.stores.recycle(payload.memory);
                } else {
                    // A short count, or a long piece that goes in parts.
                    planted!(ShortSendLost, {
                        self.out.peers.touch(index).output.queued -= left;
                        self.out.stores.recycle(payload.memory);
                        return;
                    });
                    self.unpop(index, payload);
                }
                (None, 0)
            }
            // Zero-copy: the memory comes back on its own. A short count is how the kernel reports a failed socket
            // when some bytes had gone (MSG_WAITALL), and the rest cannot be named any more.
            (Ok(_), None) => {
                self.out.peers.touch(index).flight.owed += 1;
                (short.then_some(Errno(libc::EPIPE)), asked - sent)
            }
        };
        if let Some(errno) = failed {
            self.fail(index, errno);
            self.out.peers.touch(index).output.queued -= lost;
            return;
        }
        if self.out.relax(index) {
            planted!(WritableLost, return);
            if let Phase::Open { data, .. } = &mut self.conns[index as usize].phase {
                self.calls.writable(&mut self.out, index, data);
            }
        }
    }

    /// Takes the bytes that go next; and says whether there are some that must wait.
    fn pop(&mut self, index: u32) -> (Option<Payload>, bool) {
        #[cfg(feature = "tls")]
        if self.conns[index as usize].tls.is_some() {
            return self.pop_sealed(index);
        }
        (self.out.pop(index), false)
    }

    /// Puts the rest of a short send back in front.
    fn unpop(&mut self, index: u32, payload: Payload) {
        #[cfg(feature = "tls")]
        if let Some(secure) = &mut self.conns[index as usize].tls {
            return secure.keep_rest(payload);
        }
        self.out.unpop(index, payload);
    }

    /// The socket is broken: nothing more can come or go.
    fn fail(&mut self, index: u32, errno: Errno) {
        let life = self.out.link(index).life;
        if matches!(life, Life::Dying(_) | Life::Free) {
            return self.out.peers.mark(index);
        }
        if (life.is_open() || matches!(life, Life::Closing { .. })) && errno.0 != libc::ECANCELED {
            self.out.stats.resets += 1;
        }
        #[cfg(feature = "tls")]
        if self.is_cut(index) {
            return self.die(index);
        }
        self.end(index, &CloseReason::Reset(errno), false);
        self.die(index);
    }

    /// The application's part of the connection is over: `on_close`, then what is queued goes out and the socket closes,
    /// after a pause for the peer to read our last bytes if `linger`.
    pub(super) fn end(&mut self, index: u32, why: &CloseReason<'_>, linger: bool) {
        let deadline = self.out.now.after(self.config.closing_timeout);
        self.out.peers.on(index, Event::Ended { due: deadline, linger });
        let conn = &mut self.conns[index as usize];
        if let Some(stash) = conn.stash.take() {
            self.out.stores.pool.put(stash.bytes);
        }
        match std::mem::replace(&mut conn.phase, Phase::Ended) {
            Phase::Open { mut session, data } => {
                session.recycle(&mut self.out.stores.pool);
                let id = self.out.peers.id_of(index);
                self.calls.closed(&mut self.out, id, data, why);
            }
            Phase::Head(_, Some(buffer)) => self.out.stores.pool.put(*buffer),
            Phase::Answer(answering) => self.on_answer_lost(*answering, why),
            Phase::Head(_, None) | Phase::Ended => {}
        }
        if self.out.link(index).tenant.is_dialled() {
            self.on_dialled_end(index, why);
        }
    }

    /// A connection ends before it is open.
    fn end_head(&mut self, index: u32, why: &CloseReason<'_>) {
        if matches!(self.conns[index as usize].phase, Phase::Answer(_)) {
            self.end(index, why, false);
        }
        self.die(index);
    }

    /// The end of a closing handshake that we began.
    pub(super) fn end_closing(&mut self, index: u32, clean: bool) {
        let why = if self.stopping.is_some() { CloseReason::Stopped } else { CloseReason::Local { clean } };
        // RFC 6455 §7.1.1: the server closes the TCP connection; a client gives it a moment.
        let linger = clean && self.out.link(index).tenant.is_dialled();
        self.end(index, &why, linger);
    }

    /// Nothing more goes out: cancel what is in flight, then close.
    pub(super) fn die(&mut self, index: u32) {
        // A head that is still awaited ends here too: its receive may yet bring bytes before it is cancelled.
        let ends = !matches!(self.conns[index as usize].phase, Phase::Ended);
        if planted!(HeadAfterDeath, matches!(self.conns[index as usize].phase, Phase::Open { .. }); ends) {
            self.end(index, &CloseReason::Local { clean: false }, false);
        }
        self.out.peers.on(index, Event::Died);
    }

    fn on_closed(&mut self, index: u32) {
        self.admitted -= u32::from(self.out.link(index).tenant.origin() != Origin::Guest);
        self.out.forget(index);
        self.shortage.forget(index);
        self.conns.remove(index as usize);
        self.out.stats.closed += 1;
        self.listeners.on_slot_freed();
    }

    fn settle_all(&mut self) {
        let mut next = 0;
        while let Some(index) = self.out.peers.marked(next) {
            next += 1;
            self.out.peers.unmark(index);
            self.settle(index);
        }
        self.out.peers.clear_marked();
    }

    /// Makes operations of what the turn left behind, and moves the stage on.
    fn settle(&mut self, index: u32) {
        let linger = self.out.now.after(self.config.linger);
        let link = self.out.peers.settling(index);
        let token = |kind, link: &Link| Token::new(kind, link.tenant.generation(), index);
        if link.life.is_free() {
            return;
        }
        let sendable = planted!(TwoSends, true; !link.output.is_sending());
        if !matches!(link.life, Life::Dying(_)) && sendable {
            let (payload, waits) = self.pop(index);
            let link = self.out.peers.settling(index);
            if let Some(mut payload) = payload {
                // In parts, so that a slow reader's progress shows within the idle timeout. A block goes whole: it does
                // not know how full it is (`Payload::whole`).
                let partible = planted!(BlockParted, true; matches!(payload.memory, Memory::Heap(_)));
                if partible && self.config.zero_copy_from.is_none() {
                    payload.to = payload.from + next_part(&payload, self.part);
                }
                if !link.life.takes_messages() {
                    link.life.on_progress(self.out.now); // from here on it has the idle timeout to take it
                }
                link.output.sending = NonZeroU32::new(payload.len() as u32);
                debug_assert!(link.output.is_sending(), "a send of nothing");
                let (token, socket) = (token(Kind::Send, link), link.socket);
                self.ring.submit(token, Op::Send { socket, payload });
            } else if matches!(link.life, Life::Finishing { .. }) && !waits {
                self.out.peers.settle(index, Event::Drained { due: linger });
            }
        }
        let link = self.out.peers.settling(index);
        if matches!(link.life, Life::Lingering { eof: true, .. }) {
            link.life.on(Event::Died);
        }
        if let Life::Dying(how) = link.life {
            return self.settle_dying(index, how);
        }
        let stash = &mut self.conns[index as usize].stash;
        if link.life.wants_bytes() && stash.is_none() {
            if link.flight.recv == Recv::Idle && !self.shortage.waits(index) && !link.life.is_past_end() {
                link.flight.recv = Recv::Armed;
                let (token, socket) = (token(Kind::Recv, link), link.socket);
                let once = !self.shortage.is_over();
                self.ring.submit(token, Op::Recv { socket, once });
            }
        } else if link.flight.recv == Recv::Armed && link.life.is_open() {
            link.flight.recv = Recv::Cancelling;
            link.flight.owed += 1;
            let (target, token) = (token(Kind::Recv, link), token(Kind::Cancel, link));
            self.ring.submit(token, Op::Cancel { target });
        }
        if let Some(stash) = stash
            && self.out.link(index).life.takes_messages()
            && !std::mem::replace(&mut stash.listed, true)
        {
            self.out.replay.push(index);
        }
    }

    /// Cancel, await the terminal completions, close: a slot is never closed under an armed receive (design §5).
    fn settle_dying(&mut self, index: u32, how: Dying) {
        self.out.abandon(index);
        #[cfg(feature = "tls")]
        self.drop_tls(index);
        let link = self.out.peers.settling(index);
        let (socket, generation) = (link.socket, link.tenant.generation());
        let busy = planted!(CloseUnderRecv, link.output.is_sending(); link.is_busy());
        if busy && how == Dying::Begun {
            link.life.on(Event::Cancelled);
            link.flight.owed += 1;
            self.ring.submit(Token::new(Kind::Cancel, generation, index), Op::CancelSocket { socket });
        } else if !busy && how != Dying::Closing {
            self.out.peers.settle(index, Event::CloseSubmitted);
            self.ring.submit(Token::new(Kind::Close, generation, index), Op::Close { socket });
            planted!(SlotReusedEarly, self.on_closed(index));
        }
    }

    /// Receives from those who wait for buffers, as many as there is room for.
    fn rearm_starved(&mut self) {
        for _ in 0..self.shortage.pass(|bytes| self.ring.room_for(bytes)) {
            let Some((index, generation)) = self.shortage.next() else { return };
            let link = self.out.link(index);
            if link.tenant.generation() == generation && self.shortage.waits(index) {
                self.shortage.serve(index);
                self.out.peers.unmark(index);
                self.settle(index);
            }
        }
        // `settle` may have marked a connection it already settled; it comes up again in the next turn.
        self.settle_all();
    }

    fn expire_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.out.peers.advance(self.out.now, &mut due, EXPIRE_MAX);
        for index in due.drain(..) {
            self.expire(index);
        }
        self.due = due;
        self.expire_stop();
    }

    /// The deadline of a connection has come, or the wheel's horizon before it.
    fn expire(&mut self, index: u32) {
        let now = self.out.now;
        let life = self.out.link(index).life;
        if let Some(due) = life.due().filter(|due| !due.is_due(now)) {
            return self.out.peers.set_due(index, Some(due));
        }
        match life {
            Life::Head { .. } => {
                self.out.stats.timeouts += 1;
                self.end_head(index, &CloseReason::Timeout);
            }
            Life::Quiet { .. } | Life::Pinged { .. } => self.expire_idle(index),
            Life::Closing { .. } => {
                self.out.stats.timeouts += 1;
                self.end_closing(index, false);
                self.die(index);
            }
            Life::Finishing { .. } | Life::Lingering { .. } => self.die(index),
            Life::Dying(_) | Life::Free => {}
        }
    }

    /// An open connection: ping a silent peer, and end one that does not answer.
    fn expire_idle(&mut self, index: u32) {
        let Some(idle) = self.config.idle_timeout else { return };
        let now = self.out.now;
        let is_sending = self.out.link(index).output.is_sending();
        let life = self.out.peers.life(index);
        let is_read = life.takes_messages();
        if !is_read {
            life.forget_ping(); // its answer may lie unread: ask again when it is read
        }
        match *life {
            Life::Pinged { due, .. } if due.is_due(now) => self.time_out(index),
            Life::Pinged { due, .. } => self.out.peers.set_due(index, Some(due)),
            Life::Quiet { since, .. } if !since.after(idle).is_due(now) => {
                self.out.peers.set_due(index, Some(since.after(idle)));
            }
            // Not read, so its silence is ours; but it must take what is queued for it.
            Life::Quiet { .. } if !is_read && is_sending => self.time_out(index),
            Life::Quiet { .. } if !is_read => self.out.peers.set_due(index, Some(now.after(idle))),
            _ => {
                let due = now.after(self.config.pong_timeout);
                life.on_pinged(due);
                self.out.control(index, Opcode::Ping, &[]);
                self.out.peers.set_due(index, Some(due));
            }
        }
    }

    fn time_out(&mut self, index: u32) {
        self.out.stats.timeouts += 1;
        self.end(index, &CloseReason::Timeout, false);
        self.die(index);
    }

    fn on_woken(&mut self) {
        self.ring.submit(Token::new(Kind::Wake, 0, 0), Op::Wake);
        if self.control.woken.swap(false, Ordering::AcqRel) {
            self.calls.woken(&mut self.out);
            self.ring.expect_more();
        }
        if self.control.has_resolved.swap(false, Ordering::AcqRel) {
            let resolved = std::mem::take(&mut *self.control.resolved.lock().expect("nobody panics with it"));
            resolved.into_iter().for_each(|(dial, found)| self.on_resolved(dial, found));
        }
        if self.control.stop.load(Ordering::Acquire) && self.stopping.is_none() {
            self.begin_stop();
        }
    }

    /// Stops accepting, tells every peer 1001 (RFC 6455 §7.4.1), and gives them until the stop timeout.
    fn begin_stop(&mut self) {
        let deadline = self.out.now.after(self.config.stop_timeout);
        self.stopping = Some(deadline);
        self.cancel_accepts();
        self.stop_dials();
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            match self.out.link(index).life {
                Life::Head { .. } => self.die(index),
                Life::Quiet { .. } | Life::Pinged { .. } => {
                    self.out.close(index, Some(CloseCode::GOING_AWAY), "server stopping");
                }
                Life::Closing { .. }
                | Life::Finishing { .. }
                | Life::Lingering { .. }
                | Life::Dying(_)
                | Life::Free => {}
            }
        }
    }

    fn stop_due(&self) -> Option<Time> {
        let deadline = self.stopping?;
        let given_up = deadline.after(GIVE_UP);
        Some(if deadline.is_due(self.out.now) { given_up.start() } else { deadline.start() })
    }

    /// Past the stop timeout every connection is cut.
    fn expire_stop(&mut self) {
        if self.stopping.is_none_or(|deadline| !deadline.is_due(self.out.now)) {
            return;
        }
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            let life = self.out.link(index).life;
            if life.is_open() || matches!(life, Life::Closing { .. }) {
                self.end_closing(index, false);
            }
            self.die(index);
        }
    }

    fn is_finished(&self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let all_gone = self.conns.is_empty() && !self.listeners.is_accepting() && self.connects == 0;
        // The kernel owes the last completions within this; if not, the ring's end settles it.
        all_gone || deadline.after(GIVE_UP).is_due(self.out.now)
    }

    /// After the loop: whoever is still there was opened and gets its `on_close`. What is dialled from here on is forgotten.
    fn abandon_all(&mut self) {
        let all: Vec<u32> = self.conns.iter().map(|(index, _)| index as u32).collect();
        for index in all {
            if matches!(self.conns[index as usize].phase, Phase::Open { .. }) {
                self.end(index, &CloseReason::Stopped, false);
            }
        }
        self.end_dials();
        self.calls.batch_end(&mut self.out);
        self.out.dials.clear();
    }
}

/// How much of a piece is sent at once. A small rest goes along with the last part: it is not worth its own send.
fn next_part(payload: &Payload, part: u32) -> u32 {
    let left = payload.len() as u32;
    let is_long = payload.to > part.saturating_mul(PARTS_WHOLE);
    if is_long && left.saturating_sub(part) > part / 4 { part } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_send_goes_in_parts_and_a_small_rest_along_with_the_last() {
        let parts = |len: u32, part: u32| {
            let mut payload = Payload { memory: Memory::Heap(vec![0; len as usize]), from: 0, to: len };
            let mut parts = Vec::new();
            while !payload.is_empty() {
                parts.push(next_part(&payload, part));
                payload.from += parts[parts.len() - 1];
            }
            parts
        };
        assert_eq!(parts(5000, 1000), [5000]);
        assert_eq!(parts(5001, 1000), [1000, 1000, 1000, 1000, 1001]);
        assert_eq!(parts(5251, 1000), [1000, 1000, 1000, 1000, 1000, 251]);
        assert_eq!(parts(6, 1), [1; 6]);
    }
}
