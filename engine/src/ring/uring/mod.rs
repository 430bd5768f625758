//! The io_uring driver: the only code that speaks to the kernel. One ring of one thread. `probe` asks the kernel what it does, `setup`
//! makes the ring, `teardown` ends it; `recv_buffers` owns what the kernel receives into, `send_blocks` what it sends from, `descriptors`
//! the sockets that are in no table, `locked` how small a ring may be, `limits` what bounds the process, `accepting` and `accepts` the accepts of those that are, `questions` their addresses, `connects` those that are not connected yet; `waker` how other threads wake it; `heap` is about the
//! process's memory; this file turns [`Op`]s into SQEs and CQEs into [`Done`]s.
//!
//! Sends carry the key of their payload in `user_data`, connects that of their attempt; everything else carries its
//! [`Token`]. So a payload is found by one index, and memory is kept for sends that are with the kernel, not for connections.

mod accepting;
mod accepts;
mod clock;
mod connects;
mod descriptors;
mod features;
pub(crate) mod heap;
mod limits;
mod locked;
mod probe;
mod questions;
mod recv_buffers;
pub mod send_blocks;
mod setup;
mod sizes;
mod teardown;
mod waker;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;

pub use clock::monotonic;
#[cfg(feature = "unstable-ring")]
pub use descriptors::reset_on_close;
pub use descriptors::unacked;
pub use features::{Feature, Features, UnknownFeature};
pub(crate) use locked::{Fewer, fitting};
pub use recv_buffers::Lease;
pub use setup::{RingConfig, SetupError, raise_nofile, usable};
pub(crate) use setup::{allowed, descriptors_open};
pub use sizes::{QueueEntries, RecvBuffers, SendBuffers};
pub(in crate::ring) use waker::Alarm;
pub use waker::Waker;

use super::deaf::deafen;
use super::{Done, Errno, Kind, Op, Payload, RecvEnd, Ring, SendBlocks, Socket, Time, Token};
use accepts::{Accepts, MANY, address_bytes};
use connects::{Connects, Step};
use descriptors::Descriptors;
use recv_buffers::{BufferRing, GROUP};

/// IORING_ENTER_GETEVENTS and IORING_ENTER_EXT_ARG of linux/io_uring.h.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
/// Spinning reads the clock once in so many looks at the completion queue.
const SPIN_LOOKS: u32 = 32;

/// SOCKET_URING_OP_SIOCOUTQ of linux/io_uring.h, since Linux 6.7.
const SOCKET_OUTQ: u32 = 1;

/// Of what the driver does for itself, such as some cancels: nobody is told of it.
const OWN: Token = Token::new(Kind::Cancel, Token::GENERATION_MASK, u32::MAX);

/// A payload the kernel holds.
struct Sending {
    token: Token,
    payload: Payload,
}

/// One thread's io_uring. Must be made and used on one thread (IORING_SETUP_SINGLE_ISSUER).
pub struct Uring {
    uring: IoUring,
    /// Operations whose last completion has not been looked at, those not yet handed over among them.
    in_flight: u32,
    buffers: BufferRing,
    sends: Slab<Sending>,
    connects: Connects,
    /// Accepts into the table of fixed files, if the sockets live there.
    accepts: Option<Accepts>,
    /// Slots of that table, and those that are taken.
    slots: u32,
    taken: u32,
    /// Fewer accepts are with the kernel than would be if there were room.
    accepts_wait: bool,
    /// Who is asked what its peer has not acknowledged, where that is a system call.
    asked: Vec<(Token, Socket)>,
    /// The sockets, unless they live in the table of fixed files.
    descriptors: Option<Descriptors>,
    /// The most connections that may wait in a listener's queue.
    backlog: u32,
    /// Listeners whose queue is other rings' too.
    shared: Vec<bool>,
    /// Accepts that serve many connections, by listener, while they go on and nobody has cancelled them.
    many: Vec<Option<Token>>,
    /// What tells the kernel that a socket is a slot of that table.
    socket_flags: squeue::Flags,
    listeners: Vec<Option<Arc<TcpListener>>>,
    alarm: Alarm,
    ready: Vec<cqueue::Entry>,
    cursor: usize,
    now: Time,
    spin: Duration,
    /// Before this a wait polls rather than sleeps.
    spin_until: Time,
    features: Features,
    /// What it has been granted, if that is less than was configured.
    fewer: Fewer,
    enters: u64,
}

impl Uring {
    /// Sets up a ring and its send blocks on this thread, listening on `listeners` and woken by `waker`.
    ///
    /// # Errors
    /// [`SetupError`] names the cause and the knob.
    pub fn new(
        config: &RingConfig,
        listeners: Vec<impl Into<Arc<TcpListener>>>,
        waker: Waker,
    ) -> Result<(Self, SendBlocks), SetupError> {
        let listeners: Vec<Arc<TcpListener>> = listeners.into_iter().map(Into::into).collect();
        let mut features = usable(config.features)?;
        let direct = features.has(Feature::DirectDescriptors);
        let ((mut uring, (buffers, wanted)), size) = locked::shrinking(config.queue_entries, |size| {
            let uring = setup::ring(config, size.queues, direct)?;
            let buffers = setup::receive_buffers(&uring, config, size)?;
            Ok((uring, buffers))
        })?;
        let blocks = SendBlocks::new(config.send_buffers.count as usize, config.send_buffers.bytes as usize);
        if !buffers.is_incremental() {
            features = features.without(Feature::IncrementalBuffers);
        }
        let many = features.has(Feature::MultishotAccept);
        let may_ask = direct && many && features.has(Feature::DeferTaskrun);
        let answers = may_ask && probe::tells_peers(&mut uring).map_err(|e| SetupError::new("a question", 0, e))?;
        let families = listeners.iter().map(|socket| address_bytes(socket));
        let accepts = direct.then(|| Accepts::new(families, if many { MANY } else { 1 }, answers));
        let ring = Self {
            uring,
            in_flight: 0,
            buffers,
            sends: Slab::with_capacity(256),
            connects: Connects::default(),
            accepts,
            slots: config.sockets_max,
            taken: 0,
            accepts_wait: false,
            asked: Vec::new(),
            descriptors: (!direct).then(|| Descriptors::new(config.sockets_max)),
            backlog: config.backlog,
            shared: vec![false; listeners.len()],
            many: vec![None; listeners.len()],
            socket_flags: if direct { squeue::Flags::FIXED_FILE } else { squeue::Flags::empty() },
            listeners: listeners.into_iter().map(Some).collect(),
            alarm: Alarm::new(waker),
            ready: Vec::with_capacity(size.queues.completion as usize),
            cursor: 0,
            now: clock::monotonic(),
            spin: config.spin,
            spin_until: Time::default(),
            features,
            fewer: size.fewer(config.queue_entries, wanted),
            enters: 0,
        };
        Ok((ring, blocks))
    }

    /// What the limit on locked memory left less of than was configured.
    pub(crate) fn fewer(&self) -> Fewer {
        self.fewer
    }

    /// By listener: other rings accept from the same queue. An accept that goes on would stay the first to be woken, and take all of it; one that serves
    /// one connection comes behind those of others when it is submitted again.
    pub(crate) fn share(&mut self, shared: Vec<bool>) {
        self.shared = shared;
    }

    /// The features in use.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Wakes this ring from another thread. A server makes its wakers before its rings, so this is for rings that are used alone.
    #[cfg(feature = "unstable-ring")]
    pub fn waker(&self) -> Waker {
        self.alarm.waker().clone()
    }

    fn listener_fd(&self, listener: u32) -> RawFd {
        self.listeners[listener as usize].as_ref().expect("accepting on a closed listener").as_raw_fd()
    }

    fn entry(&mut self, token: Token, op: Op) -> squeue::Entry {
        let direct = self.descriptors.is_none();
        let entry = match op {
            Op::Accept { listener } => {
                let (fd, flags) = (Fd(self.listener_fd(listener)), libc::SOCK_CLOEXEC);
                let alone = !self.shared[listener as usize];
                if alone && self.features.has(Feature::MultishotAccept) && self.has_room_for_many() {
                    self.many[listener as usize] = Some(token);
                    opcode::AcceptMulti::new(fd).flags(flags).build()
                } else {
                    opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(flags).build()
                }
            }
            Op::Recv { socket, once: false } if self.features.has(Feature::MultishotRecv) => {
                opcode::RecvMulti::new(descriptor(socket), GROUP).build().flags(self.socket_flags)
            }
            Op::Recv { socket, .. } => opcode::Recv::new(descriptor(socket), std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT | self.socket_flags),
            Op::Send { socket, payload } => return self.send_entry(token, socket, payload),
            Op::Connect { remote, nodelay, local } => {
                return self.connects.begin(token, remote, nodelay, local.map(|local| *local));
            }
            Op::Cancel { target } if target.kind() == Kind::Accept && direct => {
                let last = self.accepts.as_mut().and_then(|accepts| accepts.cancel(target.index()));
                last.iter().for_each(|entry| self.push(entry));
                let fd = Fd(self.listener_fd(target.index()));
                AsyncCancel2::new(CancelBuilder::fd(fd).all()).build()
            }
            Op::Cancel { target } => {
                let of_connect = target.kind() == Kind::Connect;
                let bits = if of_connect { self.connects.cancel_name(target) } else { target.to_bits() };
                AsyncCancel2::new(CancelBuilder::user_data(bits)).build()
            }
            Op::CancelSocket { socket } => {
                let of_socket =
                    if direct { CancelBuilder::fd(Fixed(socket.0)) } else { CancelBuilder::fd(descriptor(socket)) };
                AsyncCancel2::new(of_socket.all()).build()
            }
            // Where there is a descriptor a system call answers when this completes: see `unacked`.
            Op::Unacked { socket } if !direct => {
                self.asked.push((token, socket));
                opcode::Nop::new().build()
            }
            Op::Unacked { socket } => opcode::UringCmd16::new(Fixed(socket.0), SOCKET_OUTQ).build(),
            Op::Close { socket, .. } => match &mut self.descriptors {
                None => opcode::Close::new(Fixed(socket.0)).build(),
                Some(descriptors) => opcode::Close::new(Fd(descriptors.give_up(socket))).build(),
            },
            Op::Wake => unreachable!("the alarm has it"),
        };
        // By such a token a completion ends what the kernel has memory for, which it still reads or writes.
        assert!(!matches!(token.kind(), Kind::Send | Kind::Connect), "{token:?} is of an operation that has memory");
        entry.user_data(token.to_bits())
    }

    fn send_entry(&mut self, token: Token, socket: Socket, payload: Payload) -> squeue::Entry {
        // Without MSG_WAITALL, which keeps to itself what a slow peer takes of a send until it has taken all.
        const FLAGS: i32 = libc::MSG_NOSIGNAL;
        let bytes = payload.bytes();
        let (at, len) = (bytes.as_ptr(), payload.to - payload.from);
        let entry = opcode::Send::new(descriptor(socket), at, len).flags(FLAGS).build();
        let key = self.sends.insert(Sending { token, payload });
        entry.flags(self.socket_flags).user_data(Token::new(Kind::Send, 0, key as u32).to_bits())
    }

    fn push(&mut self, entry: &squeue::Entry) {
        self.in_flight += 1;
        loop {
            // SAFETY: what the entry points to is kept until its completion: sends by `self.sends` (no memory
            // moves its bytes when it is moved itself, and of shared bytes one owner is there), addresses and slots by
            // `self.connects` and `self.accepts`, the wake by `self.alarm`; receives name a registered buffer group. `drop` waits for
            // all completions, and keeps the memory for ever if they do not come, but for that of connects: the kernel has
            // copied the address when it took the entry (io_connect_prep), and fills the slot before it comes back.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full: hand it over without waiting. Gathering makes room for completions, without which the
            // kernel may refuse; what it gathers is delivered by `next` as usual.
            self.enter(0, ENTER_GETEVENTS, None)
                .unwrap_or_else(|error| panic!("io_uring_enter(2) cannot submit: {error}"));
            self.gather();
        }
    }

    /// One io_uring_enter(2).
    fn enter(&mut self, want: u32, flags: u32, args: Option<&SubmitArgs<'_, '_>>) -> io::Result<()> {
        self.enters += 1;
        let queued = self.uring.submission().len() as u32;
        // SAFETY: `args` is a SubmitArgs, which is what IORING_ENTER_EXT_ARG wants; with `None` the flag is not set and
        // the kernel reads no pointer.
        let done = unsafe {
            match args {
                Some(args) => self.uring.submitter().enter(queued, want, flags | ENTER_EXT_ARG, Some(args)),
                None => self.uring.submitter().enter::<libc::sigset_t>(queued, want, flags, None),
            }
        };
        match done {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Nothing came in time, a signal did, or completions must be taken first (CQ overflow, short memory):
                // each is the next pass's to go on with.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves all completions out of the shared queue, so that it has room while they are worked on.
    fn gather(&mut self) {
        if self.cursor == self.ready.len() {
            self.ready.clear();
            self.cursor = 0;
        }
        let from = self.ready.len();
        self.ready.extend(self.uring.completion());
        if self.accepts.as_ref().is_some_and(Accepts::has_news) {
            self.name_the_last(from);
        }
    }

    /// Takes up what is there. No system call if the kernel is to do nothing and has nothing to tell.
    fn poll(&mut self) -> io::Result<()> {
        let queue = self.uring.submission();
        let is_idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        if is_idle { Ok(()) } else { self.enter(0, ENTER_GETEVENTS, None) }
    }

    /// Polls until a completion shows, somebody rings, or `most` has passed, and says how long that was. Deferred completions
    /// and those that did not fit into the queue show only when entered for.
    fn spin(&mut self, most: Duration) -> io::Result<Option<Duration>> {
        let start = Instant::now();
        let mut looks = 0_u32;
        loop {
            if !self.uring.completion().is_empty() || self.alarm.is_rung() {
                return Ok(None);
            }
            let flags = self.uring.submission();
            let kernel_has_some = flags.taskrun() || flags.cq_overflow();
            drop(flags);
            looks = looks.wrapping_add(1);
            if kernel_has_some {
                // It may bring nothing, as a step of a long send does: then the time is looked at as well.
                self.enter(0, ENTER_GETEVENTS, None)?;
                if !self.uring.completion().is_empty() {
                    return Ok(None);
                }
            } else if !looks.is_multiple_of(SPIN_LOOKS) {
                std::hint::spin_loop();
                continue;
            }
            let spun = start.elapsed();
            if spun >= most {
                return Ok(Some(spun));
            }
        }
    }

    fn received(&mut self, entry: &cqueue::Entry) -> Done<Lease> {
        let (result, flags) = (entry.result(), entry.flags());
        let ended = !cqueue::more(flags);
        if result > 0 {
            let lease = Some(self.buffers.lend(flags, result as u32));
            return Done::Received { lease, end: ended.then_some(RecvEnd::Rearm) };
        }
        self.buffers.skip(flags);
        let end = match -result {
            0 => RecvEnd::Eof,
            libc::ENOBUFS => RecvEnd::NoBuffers,
            libc::ECANCELED => RecvEnd::Cancelled,
            libc::EINTR | libc::EAGAIN => RecvEnd::Rearm,
            errno => RecvEnd::Failed(Errno(errno)),
        };
        debug_assert!(ended, "a receive that brings nothing has ended");
        Done::Received { lease: None, end: Some(end) }
    }

    /// A completion of a connect. `None`: it goes on, and nobody is told.
    #[cold]
    fn connected(&mut self, entry: &cqueue::Entry) -> Option<(Token, Done<Lease>)> {
        let key = Token::from_bits(entry.user_data()).index() as usize;
        match self.connects.on_done(key, entry.result(), self.descriptors.as_mut()) {
            Step::Over(token, result) => {
                self.taken += u32::from(result.is_ok());
                self.on_room();
                self.end_accepts_without_room();
                Some((token, Done::Connected { result }))
            }
            Step::On(next) => {
                self.push(&next);
                None
            }
        }
    }

    /// A completion of a send: of its bytes, and its memory.
    fn sent(&mut self, entry: &cqueue::Entry) -> (Token, Done<Lease>) {
        let key = Token::from_bits(entry.user_data()).index() as usize;
        let result = usize::try_from(entry.result()).map_err(|_| Errno(-entry.result()));
        let Sending { token, payload } = self.sends.remove(key);
        (token, Done::Sent { payload, result })
    }

    /// Has the close that is submitted next reset the connection.
    #[cold]
    fn reset_on_close(&mut self, socket: Socket) {
        /// Lingering on, and for no time: socket(7).
        static AT_ONCE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
        if let Some(descriptors) = &self.descriptors {
            return descriptors.reset_on_close(socket);
        }
        let (level, option) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
        let (value, len) = (&raw const AT_ONCE, size_of::<libc::linger>() as u32);
        let set = opcode::SetSockOpt::new(Fixed(socket.0), level, option, value.cast(), len).build();
        // A hard link: the close waits for it, and comes even if a kernel does not know it (Linux 6.7; this table is of 6.13).
        self.push(&set.flags(squeue::Flags::IO_HARDLINK).user_data(OWN.to_bits()));
    }

    /// A completion of a question for what was not acknowledged.
    #[cold]
    fn unacked(&mut self, token: Token, result: i32) -> Done<Lease> {
        let result = match &self.descriptors {
            None => u32::try_from(result).map_err(|_| Errno(-result)),
            Some(descriptors) => {
                let asked = self.asked.iter().position(|(asked, _)| *asked == token).expect("it was asked");
                descriptors.unacked(self.asked.swap_remove(asked).1)
            }
        };
        Done::Unacked { result }
    }
}

/// How a socket is named to the kernel; [`Uring::socket_flags`] says in which table.
fn descriptor(socket: Socket) -> Fd {
    Fd(socket.0 as RawFd)
}

impl Ring for Uring {
    type Lease = Lease;

    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Close { socket, reset: true } => self.reset_on_close(socket),
            Op::Wake => return self.alarm.arm(token).iter().for_each(|entry| self.push(entry)),
            _ => {}
        }
        if let (Op::Accept { .. }, Some(accepts)) = (&op, &mut self.accepts) {
            accepts.begin(token);
            return self.fill_accepts();
        }
        let is_connect = matches!(op, Op::Connect { .. });
        let entry = self.entry(token, op);
        self.push(&entry);
        if is_connect {
            self.end_accepts_without_room();
        }
    }

    fn wait(&mut self, until: Option<Time>) -> io::Result<()> {
        self.buffers.publish();
        // Measured from the pass's one clock read: late by the length of a pass, which no deadline notices.
        let mut timeout = until.map(|until| until.since(self.now));
        if timeout == Some(Duration::ZERO) || self.cursor < self.ready.len() {
            self.enter(0, ENTER_GETEVENTS, None)?;
        } else if self.alarm.is_rung() {
            self.poll()?;
        } else {
            let mut wait = true;
            let spin = self.spin_until.since(self.now);
            if !spin.is_zero() {
                if !self.uring.submission().is_empty() {
                    self.enter(0, ENTER_GETEVENTS, None)?;
                }
                let most = timeout.map_or(spin, |timeout| timeout.min(spin));
                let spun = self.spin(most)?;
                timeout = timeout.map(|timeout| timeout.saturating_sub(spun.unwrap_or_default()));
                wait = spun.is_some() && timeout != Some(Duration::ZERO);
            }
            if wait && self.alarm.sleep() {
                let timespec = timeout.map(Timespec::from);
                let args = timespec.as_ref().map(|timespec| SubmitArgs::new().timespec(timespec));
                self.enter(1, ENTER_GETEVENTS, args.as_ref())?;
                self.alarm.wake_up();
            } else if wait {
                self.poll()?;
            }
        }
        self.gather();
        self.alarm.look();
        self.now = clock::monotonic();
        Ok(())
    }

    fn has_more(&mut self) -> bool {
        // Without deferred task work the kernel may have put completions into the queue since.
        let flags = self.uring.submission();
        let kernel_has_some = flags.taskrun() || flags.cq_overflow();
        drop(flags);
        kernel_has_some || !self.uring.completion().is_empty()
    }

    fn room_for(&self, bytes: u32) -> usize {
        self.buffers.room_for(bytes) / 2
    }

    fn expect_more(&mut self) {
        self.spin_until = self.now.plus(self.spin);
    }

    #[inline]
    fn next(&mut self) -> Option<(Token, Done<Lease>)> {
        loop {
            let Some(entry) = self.ready.get(self.cursor).cloned() else {
                return self.alarm.tell().map(|token| (token, Done::Woken));
            };
            self.cursor += 1;
            // io_uring(7): IORING_CQE_F_MORE says that another completion of the same operation follows.
            self.in_flight -= u32::from(!cqueue::more(entry.flags()));
            let token = Token::from_bits(entry.user_data());
            let done = match token.kind() {
                Kind::Recv => self.received(&entry),
                Kind::Send => return Some(self.sent(&entry)),
                Kind::Accept if self.accepts.is_some() => match self.accepted_direct(token, &entry) {
                    Some(done) => return Some(done),
                    None => continue,
                },
                Kind::Accept => self.accepted(token, &entry),
                Kind::Connect => match self.connected(&entry) {
                    Some(done) => return Some(done),
                    None => continue,
                },
                Kind::Cancel => {
                    self.cancel_left_behind();
                    if token == OWN {
                        continue;
                    }
                    Done::Cancelled
                }
                Kind::Unacked => self.unacked(token, entry.result()),
                Kind::Close => {
                    self.taken = self.taken.saturating_sub(1);
                    self.on_room();
                    Done::Closed
                }
                Kind::Wake => match self.alarm.on_read() {
                    Some(token) => return Some((token, Done::Woken)),
                    None => continue,
                },
            };
            return Some((token, done));
        }
    }

    fn release(&mut self, lease: Lease) {
        self.buffers.release(lease);
    }

    fn has_waiting(&mut self, listener: u32) -> bool {
        let mut asked = libc::pollfd { fd: self.listener_fd(listener), events: libc::POLLIN, revents: 0 };
        // SAFETY: poll(2) writes to the one entry that it is given, which lives as long as the call; it does not wait. Of an error
        // nothing is known, and then nobody waits.
        let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
        ready > 0 && asked.revents & libc::POLLIN != 0
    }

    fn deafen(&mut self, listener: u32) -> bool {
        self.listeners[listener as usize].as_deref().is_none_or(deafen)
    }

    fn unlisten(&mut self, listener: u32) {
        self.listeners[listener as usize] = None;
    }

    fn now(&self) -> Time {
        self.now
    }

    fn enters(&self) -> u64 {
        self.enters
    }
}
