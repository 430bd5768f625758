//! How operations begin and are cancelled, and who is told that there is something for one that waits.
//!
//! What the real kernel only punishes is asserted here, with the numbers.

use std::time::Duration;

use super::held::NodeId;
use super::kernel::{Sending, Shot};
use super::net::{Event, Net};
use super::{Kind, Op, Socket, Token};

impl Net {
    /// Takes an operation. Panics on what the real kernel would only punish.
    pub(super) fn start(&mut self, token: Token, op: Op) {
        let expected = match &op {
            Op::Accept { .. } => Kind::Accept,
            Op::Connect { .. } => Kind::Connect,
            Op::Recv { .. } => Kind::Recv,
            Op::Send { .. } => Kind::Send,
            Op::Cancel { .. } | Op::CancelSocket { .. } => Kind::Cancel,
            Op::Unacked { .. } => Kind::Unacked,
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
                let hangs = self.random.chance(self.config.faults.connect_hangs);
                if !hangs && !self.config.deaf.contains(&remote.ip()) {
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
                file.send = Some(Sending { token, serial, payload, looks: false, full: false, node });
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
            Op::Unacked { socket } => {
                let file = self.kernel.file(socket, "a question", token);
                assert!(!std::mem::replace(&mut file.asked, true), "two questions on {socket:?}");
                self.soon(Event::Unacked(socket.0, token.to_bits()));
            }
            Op::Close { socket, reset } => self.close_file(token, socket, reset),
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
    fn close_file(&mut self, token: Token, socket: Socket, reset: bool) {
        let file = self.kernel.file(socket, "a close", token);
        assert!(
            file.recv.is_none() && file.send.is_none() && !file.asked,
            "{socket:?} is closed under its operations: {file:?}"
        );
        let id = file.pipe;
        self.note_unheard(id);
        self.kernel.files[socket.0 as usize] = None;
        self.kernel.counts.closed += 1;
        let now = self.now;
        let pipe = &mut self.pipes[id];
        pipe.slot = None;
        pipe.closing_at = Some(now);
        pipe.aborted = reset;
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
        if pipe.aborted {
            return self.abort(id);
        }
        // tcp(7): closing with bytes unread resets the connection, and that may overtake our last bytes (RFC 6455 §7.1.1).
        if !pipe.rx.bytes.is_empty() {
            self.break_pipe(id, libc::ECONNRESET);
        } else {
            // What the peer has not acknowledged stays with the kernel, for as long as the peer lives.
            if pipe.broken.is_none() && !pipe.left {
                let kept = &mut self.kernel.counts.kept_max;
                *kept = (*kept).max(u64::from(pipe.acks.unacked()));
            }
            self.call(id);
        }
    }

    /// The listener's socket closes; peers that wait there are reset.
    pub(super) fn close_listener(&mut self, listener: u32) {
        let accept = self.kernel.accepts[listener as usize];
        assert!(accept.is_none(), "listener {listener} is closed under its accept: {accept:?}");
        let backlog = self.backlogs[listener as usize].take();
        for id in backlog.unwrap_or_else(|| panic!("listener {listener} is closed twice")) {
            self.pipes[id].shut_out_at = Some(self.now);
            self.refuse(id);
        }
    }

    pub(super) fn refuse(&mut self, id: usize) {
        let pipe = &mut self.pipes[id];
        (pipe.closed, pipe.faulted) = (true, true);
        self.break_pipe(id, libc::ECONNRESET);
    }

    pub(super) fn poll_accept(&mut self, listener: u32) {
        let waiting = self.has_waiting(listener);
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
        // A send that found no room is woken when a third of all is free (sk_stream_write_space of net/core/stream.c).
        let enough = |full: bool| if full { pipe.tx.capacity.div_ceil(3) } else { 1 };
        let ready = |full: bool| pipe.tx.room() >= enough(full) || pipe.broken.is_some() || pipe.left;
        if let Some(send) = file.send.as_mut().filter(|op| ready(op.full) && !op.looks) {
            send.looks = true;
            let serial = send.serial;
            self.soon(Event::Send(slot, serial));
        }
    }
}
