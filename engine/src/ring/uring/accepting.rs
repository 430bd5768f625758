//! Accepting, in both forms: into the fixed-file table ([`accepts`](super::accepts) says what is submitted), and as descriptors. How many accepts are with the
//! kernel follows the room that there is.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::opcode::AsyncCancel2;
use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{cqueue, opcode};

use super::accepts::{Accepts, Told};
use super::recv_buffers::Lease;
use super::{OWN, Uring};
use crate::ring::{Done, Errno, Socket, Token};

impl Uring {
    /// Has for each listener one accept that goes on with the kernel, if there is room for all that may wait, and else as many as there is room for; the listener that has
    /// fewest is served first, so that none goes without because another is busy. Where there is no room, who connects waits in the listener's queue.
    pub(super) fn fill_accepts(&mut self) {
        let has_room = self.has_room_for_many();
        for listener in 0..self.listeners.len() {
            let many = has_room && !self.shared[listener];
            if let (Some(accepts), Some(socket)) = (&mut self.accepts, &self.listeners[listener])
                && let Some(entry) = accepts.turn(listener as u32, Fd(socket.as_raw_fd()), many, OWN)
            {
                self.push(&entry);
            }
        }
        while let Some(accepts) = &mut self.accepts
            && let Some((listener, fd)) = accepts.neediest(|listener| {
                self.listeners[listener as usize].as_ref().map(|listener| Fd(listener.as_raw_fd()))
            })
        {
            let has_room = self.taken + accepts.armed() + self.connects.count() < self.slots;
            let Some(entry) = accepts.next(listener, fd, has_room) else {
                self.accepts_wait = true;
                return;
            };
            self.push(&entry);
        }
    }

    /// Completions have come, from this one on, and there are addresses among what came with them.
    #[cold]
    pub(super) fn name_the_last(&mut self, from: usize) {
        // What found no room in the queue comes later: then the last that is there is not the last that there was.
        let is_all = !self.uring.submission().cq_overflow();
        if let Some(accepts) = self.accepts.as_mut().filter(|_| is_all) {
            accepts.name_the_last(&self.ready[from..]);
        }
    }

    /// A slot of the table may be free that was not, because a socket has closed or a connect has ended.
    pub(super) fn on_room(&mut self) {
        if std::mem::take(&mut self.accepts_wait) {
            self.fill_accepts();
        }
    }

    /// An accept that goes on takes all that wait before anybody sees the first. Of a cap on descriptors the kernel knows nothing, and whom it finds no slot for it drops. So
    /// there must be room for the whole queues of all listeners.
    pub(super) fn has_room_for_many(&self) -> bool {
        let room = match &self.descriptors {
            Some(descriptors) => descriptors.room(),
            None => self.slots.saturating_sub(self.taken + self.connects.count()),
        };
        let queues = self.listeners.iter().flatten().count() as u32;
        room > self.backlog.saturating_mul(queues)
    }

    /// A cancel has completed: what it has not found of a listener that ends is cancelled again.
    pub(super) fn cancel_left_behind(&mut self) {
        let Some(listener) = self.accepts.as_mut().and_then(Accepts::left_behind) else { return };
        let cancel = AsyncCancel2::new(CancelBuilder::fd(Fd(self.listener_fd(listener))).all()).build();
        self.push(&cancel.user_data(OWN.to_bits()));
    }

    /// A socket has come or is on its way: if there is no room for many any more, accepts that go on end, and what is submitted next
    /// serves one connection. Of descriptors they end with ECANCELED.
    pub(super) fn end_accepts_without_room(&mut self) {
        if self.has_room_for_many() {
            return;
        }
        if self.accepts.is_some() {
            return self.fill_accepts();
        }
        for listener in 0..self.many.len() {
            if let Some(accept) = self.many[listener].take() {
                let cancel = AsyncCancel2::new(CancelBuilder::user_data(accept.to_bits())).build();
                self.push(&cancel.user_data(OWN.to_bits()));
            }
        }
    }

    /// An accept came back that should have waited, because the socket is not to block (O_NONBLOCK, fcntl(2)). That is one mark for all processes that have
    /// it, and another one has set it: here it is taken off.
    fn have_block(&self, listener: u32) {
        if let Some(listener) = &self.listeners[listener as usize] {
            let _ = listener.set_nonblocking(false); // else the next accept comes back as well
        }
    }

    /// A completion of an accept into the table, or of a question for an address. `None`: nobody is told.
    #[cold]
    pub(super) fn accepted_direct(&mut self, name: Token, entry: &cqueue::Entry) -> Option<(Token, Done<Lease>)> {
        let (listener, result, more) = (name.index(), entry.result(), cqueue::more(entry.flags()));
        if result == -libc::EAGAIN {
            self.have_block(listener);
        }
        self.taken += u32::from(result >= 0 && !Accepts::is_answer(name));
        let accepts = self.accepts.as_mut().expect("sockets are in the table");
        let (told, others, next) = accepts.on_done(name, result, more);
        next.iter().for_each(|entry| self.push(entry));
        while let Some(question) = self.accepts.as_mut().and_then(Accepts::next_question) {
            self.push(&question);
        }
        if others {
            let fd = Fd(self.listener_fd(listener));
            let cancel = AsyncCancel2::new(CancelBuilder::fd(fd).all()).build();
            self.push(&cancel.user_data(OWN.to_bits()));
        }
        let told = match told {
            Told::Engine(token, result, peer, more) => {
                Some((token, Done::Accepted { result: result.map(Socket), peer, more }))
            }
            Told::Gone(token, slot, errno) => {
                self.push(&opcode::Close::new(Fixed(slot)).build().user_data(OWN.to_bits()));
                self.taken -= 1;
                Some((token, Done::Accepted { result: Err(errno), peer: None, more: true }))
            }
            Told::Nobody => None,
        };
        if more {
            self.end_accepts_without_room();
        } else {
            self.fill_accepts();
        }
        told
    }

    #[cold]
    pub(super) fn accepted(&mut self, token: Token, entry: &cqueue::Entry) -> Done<Lease> {
        let more = cqueue::more(entry.flags());
        if !more {
            self.many[token.index() as usize] = None;
        }
        if entry.result() == -libc::EAGAIN {
            self.have_block(token.index());
        }
        let descriptors = self.descriptors.as_mut().expect("sockets are descriptors");
        let (result, peer) = match Some(entry.result()).filter(|number| *number >= 0) {
            None => (Err(Errno(-entry.result())), None),
            Some(number) => {
                // SAFETY: the kernel made this descriptor for this completion, which is looked at once: nobody else has it.
                let socket = unsafe { OwnedFd::from_raw_fd(number) };
                let peer = socket2::SockRef::from(&socket).peer_addr().ok().and_then(|peer| peer.as_socket());
                (descriptors.add(socket), peer)
            }
        };
        self.end_accepts_without_room();
        Done::Accepted { result, peer, more }
    }
}
