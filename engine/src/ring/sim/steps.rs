//! How operations go on: each event of the calendar takes one of them a step further, or ends it.
//!
//! Owns every choice the kernel has: how many bytes, which error, whether a multishot goes on. `kernel` owns the state,
//! and `start` says what may begin.

use super::kernel::{File, Sending, Shot};
use super::net::{Event, Net, PipeId};
use super::{Done, Errno, RecvEnd, Socket, Token};

impl Net {
    /// Something of the calendar, other than a call of the world outside.
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Recv(slot, serial) => self.on_recv(slot, serial, false),
            Event::RecvCancel(slot, serial) => self.on_recv(slot, serial, true),
            Event::Send(slot, serial) => self.on_send(slot, serial),
            Event::Ack(pipe) => self.on_ack(pipe),
            Event::Unacked(slot, bits) => self.on_unacked(slot, bits),
            Event::SendCancel(slot, serial) => self.on_send_cancel(slot, serial),
            Event::Connect(bits) => self.on_connect(bits),
            Event::ConnectCancel(bits) => {
                if self.kernel.connects.remove(&bits).is_some() {
                    let result = Err(Errno(libc::ECANCELED));
                    self.kernel.post(Token::from_bits(bits), Done::Connected { result });
                }
            }
            Event::Shaken(listener, pipe) => self.on_shaken(listener, pipe),
            Event::Accept(listener, serial) => self.on_accept(listener, serial),
            Event::AcceptCancel(listener, serial) => self.on_accept_cancel(listener, serial),
            Event::Cancelled(bits) => {
                self.kernel.post(Token::from_bits(bits), Done::Cancelled);
            }
            Event::Closed(bits) => {
                self.kernel.post(Token::from_bits(bits), Done::Closed);
            }
            Event::Wake => {
                if let Some(token) = self.kernel.wake.take_if(|_| self.kernel.wakes) {
                    self.kernel.wakes = false;
                    self.kernel.post(token, Done::Woken);
                }
            }
            Event::Outside(_) => unreachable!("the ring calls the world outside"),
        }
    }

    fn shot_of(&mut self, slot: u32, serial: u64) -> Option<(&mut Shot, usize)> {
        let file = self.kernel.files[slot as usize].as_mut()?;
        let pipe = file.pipe;
        Some((file.recv.as_mut().filter(|op| op.serial == serial)?, pipe))
    }

    /// One step of a receive: some bytes, an end, or both. `cancelled`: it must end now.
    fn on_recv(&mut self, slot: u32, serial: u64, cancelled: bool) {
        let Some((recv, id)) = self.shot_of(slot, serial) else {
            return;
        };
        recv.looks &= cancelled;
        let (token, once) = (recv.token, recv.once);
        let faults = self.config.faults.clone();
        let has_bytes = !self.pipes[id].rx.bytes.is_empty();
        // Cancelling may lose to success: then the bytes come, and say that the receive has ended.
        if cancelled && !(has_bytes && self.random.chance(faults.cancel_loses)) {
            return self.end_recv(slot, token, RecvEnd::Cancelled);
        }
        if !cancelled && self.random.chance(faults.reset) {
            self.fault(id);
        }
        let pipe = &self.pipes[id];
        if pipe.rx.bytes.is_empty() {
            return match (pipe.broken, pipe.rx.ended || pipe.told) {
                (Some(errno), _) if !pipe.told => self.end_recv(slot, token, RecvEnd::Failed(Errno(errno))),
                (_, true) => self.end_recv(slot, token, RecvEnd::Eof),
                (_, false) => {} // someone else took them; the next bytes look again
            };
        }
        let room = self.kernel.buffers.room().filter(|_| !self.random.chance(faults.no_buffers));
        let Some(room) = room else {
            self.kernel.counts.no_buffers += 1;
            return self.end_recv(slot, token, RecvEnd::NoBuffers);
        };
        let mut count = room.min(self.pipes[id].rx.bytes.len());
        if self.random.chance(faults.short_recv) {
            count = self.random.range(1, count as u64) as usize;
        }
        let last = self.random.chance(faults.buffer_ends);
        self.pipes[id].active_at = self.now;
        let rx = &mut self.pipes[id].rx;
        let lease = self.kernel.buffers.lend(count, last, |to| rx.take(count, to));
        self.kernel.counts.bytes_in += count as u64;
        if std::mem::take(&mut self.pipes[id].blocked) {
            self.call(id);
        }
        let multishot = self.config.multishot_recv && !once;
        let more = multishot && !cancelled && self.kernel.fits() && !self.random.chance(faults.more_cleared);
        if !more {
            self.take_recv(slot);
        }
        self.kernel.post(token, Done::Received { lease: Some(lease), end: (!more).then_some(RecvEnd::Rearm) });
        self.notify_recv(Some(slot));
    }

    fn end_recv(&mut self, slot: u32, token: Token, end: RecvEnd) {
        self.take_recv(slot);
        self.kernel.post(token, Done::Received { lease: None, end: Some(end) });
    }

    /// A receive has ended.
    fn take_recv(&mut self, slot: u32) {
        let recv = self.kernel.files[slot as usize].as_mut().and_then(|file| file.recv.take());
        self.end_operation(recv.expect("it was receiving").node);
    }

    /// The network breaks a connection.
    fn fault(&mut self, id: usize) {
        let errno = self.random.pick(&[libc::ECONNRESET, libc::ETIMEDOUT, libc::EPIPE, libc::EHOSTUNREACH]);
        self.pipes[id].faulted = true;
        self.break_pipe(id, errno);
    }

    /// One step of a send: what there is room for.
    fn on_send(&mut self, slot: u32, serial: u64) {
        let Some(file) = self.kernel.files[slot as usize].as_mut() else {
            return;
        };
        let id = file.pipe;
        let Some(send) = file.send.as_mut().filter(|op| op.serial == serial) else {
            return;
        };
        send.looks = false;
        if self.random.chance(self.config.faults.reset) {
            self.fault(id);
        }
        if self.pipes[id].left && self.pipes[id].broken.is_none() {
            self.break_pipe(id, libc::ECONNRESET); // bytes for a socket that its owner closed
        }
        let file = self.kernel.files[slot as usize].as_mut().expect("found above");
        let send = file.send.as_mut().expect("found above");
        let pipe = &mut self.pipes[id];
        if let Some(errno) = pipe.broken {
            pipe.told = true;
            return self.end_send(slot, Err(Errno(errno)));
        }
        let len = send.payload.len();
        let mut count = pipe.tx.room().min(len);
        if count == 0 {
            send.full = true;
            return; // called again when there is room
        }
        if self.random.chance(self.config.faults.short_send) {
            count = self.random.range(1, count as u64) as usize;
        }
        pipe.tx.bytes.extend(&send.payload.bytes()[..count]);
        pipe.acks.on_sent(count, self.now);
        pipe.active_at = self.now;
        pipe.taken += count;
        pipe.taken_at.push((self.now, pipe.taken));
        self.call(id);
        self.acknowledge(id);
        self.end_send(slot, Ok(count));
    }

    /// What has arrived at the peer will be acknowledged.
    pub(super) fn acknowledge(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        if pipe.broken.is_none()
            && let Some(at) = pipe.acks.travel(self.now)
        {
            self.schedule(at, Event::Ack(id));
        }
    }

    fn on_ack(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        pipe.acks.on_ack(pipe.broken.is_some(), self.now);
    }

    /// An answer to a question of the engine's. Of a broken connection the kernel keeps nothing.
    fn on_unacked(&mut self, slot: u32, bits: u64) {
        let file = self.kernel.files[slot as usize].as_mut().expect("a slot cannot close while it is asked");
        file.asked = false;
        let pipe = &mut self.pipes[file.pipe];
        let told = pipe.acks.tell(self.now);
        let unacked = if pipe.broken.is_some() { 0 } else { told };
        self.kernel.post(Token::from_bits(bits), Done::Unacked { result: Ok(unacked) });
    }

    fn on_send_cancel(&mut self, slot: u32, serial: u64) {
        let Some(file) = self.kernel.files[slot as usize].as_ref() else {
            return;
        };
        if file.send.as_ref().is_some_and(|op| op.serial == serial) {
            self.end_send(slot, Err(Errno(libc::ECANCELED)));
        }
    }

    fn end_send(&mut self, slot: u32, result: Result<usize, Errno>) {
        let file = self.kernel.files[slot as usize].as_mut().expect("it was sending");
        let Sending { token, payload, node, .. } = file.send.take().expect("it was sending");
        self.end_operation(node);
        self.kernel.counts.bytes_out += *result.as_ref().unwrap_or(&0) as u64;
        self.kernel.post(token, Done::Sent { payload, result });
    }

    fn on_accept(&mut self, listener: u32, serial: u64) {
        let Some(accept) = self.kernel.accepts[listener as usize].as_mut().filter(|op| op.serial == serial) else {
            return;
        };
        accept.looks = false;
        let (token, multishot) = (accept.token, self.config.multishot_accept && !accept.once);
        let backlog = self.backlogs[listener as usize].as_mut().expect("an open listener accepts");
        let Some(id) = backlog.pop_front() else {
            return;
        };
        let free = self.kernel.free_place();
        let faults = self.config.faults.clone();
        let mut goes_on = false;
        let errno = if self.random.chance(faults.accept_aborted) {
            self.refuse(id);
            Some(libc::ECONNABORTED)
        } else if self.random.chance(faults.accept_failed) {
            self.backlogs[listener as usize].as_mut().expect("seen above").push_front(id);
            Some(self.random.pick(&[
                libc::EMFILE,
                libc::ENFILE,
                libc::ENOMEM,
                libc::ENOBUFS,
                libc::EPERM,
                libc::ENETDOWN,
            ]))
        } else if free.is_none() {
            self.refuse(id); // the connection was taken, and there is no place to keep it in
            goes_on = !self.kernel.direct && multishot && self.kernel.fits(); // the driver closed it, which the kernel does not see
            Some(libc::ENFILE)
        } else {
            None
        };
        if let Some(errno) = errno {
            if !goes_on {
                self.kernel.accepts[listener as usize] = None;
            }
            self.kernel.post(token, Done::Accepted { result: Err(Errno(errno)), peer: None, more: goes_on });
            return self.poll_accept(listener);
        }
        let slot = free.expect("otherwise an error");
        self.kernel.files[slot] = Some(File { pipe: id, owner: None, recv: None, send: None, asked: false });
        self.pipes[id].slot = Some(slot as u32);
        self.pipes[id].active_at = self.now;
        self.kernel.counts.accepted += 1;
        let more = multishot && self.kernel.fits() && !self.random.chance(faults.more_cleared);
        if !more {
            self.kernel.accepts[listener as usize] = None;
        } else if !self.kernel.has_room_for_many(self.waiting_max()) {
            self.cancel_later(Event::AcceptCancel(listener, serial)); // by the driver; more may come until then
        }
        let peer = Some(self.address_of(id));
        self.kernel.post(token, Done::Accepted { result: Ok(Socket(slot as u32)), peer, more });
        self.poll_accept(listener);
    }

    /// A connect succeeds, or fails for the network's reasons or the table's. Nobody listens without a key to call.
    fn on_connect(&mut self, bits: u64) {
        let Some(remote) = self.kernel.connects.remove(&bits) else { return };
        let token = Token::from_bits(bits);
        let free = self.kernel.free_place();
        let refused = self.random.chance(self.config.faults.connect_refused);
        let refused = refused || self.config.unheard.contains(&remote.ip());
        let result = match (self.config.dialled_key.filter(|_| !refused), free) {
            (None, _) => Err(Errno(self.random.pick(&[libc::ECONNREFUSED, libc::ENETUNREACH, libc::ETIMEDOUT]))),
            (_, None) => Err(Errno(self.random.pick(&[libc::ENFILE, libc::EMFILE]))),
            (Some(key), Some(slot)) => {
                let id = self.new_pipe(key);
                self.kernel.files[slot] = Some(File { pipe: id, owner: None, recv: None, send: None, asked: false });
                self.pipes[id].slot = Some(slot as u32);
                self.kernel.counts.connected += 1;
                self.dialled.push_back((remote, PipeId(id)));
                self.soon(Event::Outside(key));
                Ok(Socket(slot as u32))
            }
        };
        self.kernel.post(token, Done::Connected { result });
    }

    fn on_accept_cancel(&mut self, listener: u32, serial: u64) {
        if let Some(accept) = self.kernel.accepts[listener as usize].take_if(|op| op.serial == serial) {
            self.kernel
                .post(accept.token, Done::Accepted { result: Err(Errno(libc::ECANCELED)), peer: None, more: false });
        }
    }
}
