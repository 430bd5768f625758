//! The only submitter of a connection's operations: one receive, one send, and a close when nothing else is with the kernel.
//!
//! A connection that anything happened to is settled at the end of the pass: its output goes out, and [`next_step`] says, of
//! its state alone, what else is to be done until nothing is.

use super::conns::{Link, Stash, Waiting};
use super::core::{Core, PART};
use super::flight::{Recv, Unacked};
use super::life::{Dying, Event, Life, Parting};
#[cfg(feature = "tls")]
use super::output::Next;
use super::output::{COALESCE_MAX, Lent};
use super::planted::planted;
use super::reach::Waits;
use crate::handler::Handler;
use crate::ring::{Heap, Kind, Memory, Op, Payload, Ring, Token};

/// What is at most so many parts long goes whole: all that is gathered of small frames is.
const PARTS_WHOLE: u32 = 5;
const _: () = assert!(PART * PARTS_WHOLE >= COALESCE_MAX as u32);

/// What is to be done for a connection next, its send aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Submit a receive.
    Recv,
    /// Cancel the receive: its bytes would have to be kept.
    CancelRecv,
    /// Ask what the peer has not acknowledged.
    Ask,
    /// Cancel everything on the socket.
    CancelAll,
    /// Close the socket.
    Close,
}

/// Cancel, await the terminal completions, close: a slot is never closed under an armed receive. `waiting`: bytes were received
/// that wait; `starved`: it waits for receive buffers.
#[inline]
fn next_step(link: &Link, waiting: Waiting, starved: bool) -> Step {
    match link.life {
        Life::Free => Step::Nothing,
        // To compare with when a deadline comes, or because nothing else is waited for.
        Life::Pinged { .. } | Life::Closing { .. } | Life::Lingering { eof: true, .. }
            if link.flight.unacked == Unacked::Unknown =>
        {
            Step::Ask
        }
        Life::Finishing { .. }
            if link.flight.unacked == Unacked::Unknown && link.output.is_sending && !link.output.is_empty() =>
        {
            Step::Ask
        }
        Life::Dying(how, _) => {
            let busy = planted!(CloseUnderRecv, link.output.is_sending; link.is_busy());
            match how {
                Dying::Begun if busy => Step::CancelAll,
                Dying::Begun | Dying::Cancelled if !busy => Step::Close,
                _ => Step::Nothing,
            }
        }
        life if life.wants_bytes() && waiting != Waiting::Much => match link.flight.recv {
            Recv::Idle if waiting == Waiting::Nothing && !starved && !life.is_past_end() => Step::Recv,
            _ => Step::Nothing,
        },
        life if link.flight.recv == Recv::Armed
            && (waiting == Waiting::Much || life.is_the_applications() || matches!(life, Life::Broken { .. })) =>
        {
            Step::CancelRecv
        }
        _ => Step::Nothing,
    }
}

impl<R: Ring, H: Handler> Core<R, H> {
    /// Settles each connection that is marked.
    pub(super) fn settle_all(&mut self) {
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
        self.settle_output(index);
        let stash = self.conns.get(index as usize).and_then(|conn| conn.stash.as_deref());
        let waiting = stash.map_or(Waiting::Nothing, Stash::waiting);
        #[cfg(feature = "tls")]
        let waiting = if self.handshakes.is_empty() { waiting } else { self.waiting_of(index, waiting) };
        loop {
            let waits = self.shortage.waits(index) && !self.is_released(index);
            let step = next_step(self.out.link(index), waiting, waits);
            if step == Step::Nothing {
                break;
            }
            self.take_step(index, step);
        }
        if waiting != Waiting::Nothing
            && self.out.link(index).life.takes_messages()
            && let Some(stash) = &mut self.conns[index as usize].stash
            && !std::mem::replace(&mut stash.listed, true)
        {
            let (generation, since) = (self.out.link(index).tenant.generation(), self.out.stats.passes);
            let waits = Waits { index, generation, since };
            planted!(TurnTaken, {
                self.out.replay.push_front(waits);
                return;
            });
            self.out.replay.push_back(waits);
        }
    }

    /// A connection that waits for memory and is not open any more is read again: it has an end to hear, and nothing more to keep.
    #[cold]
    fn is_released(&mut self, index: u32) -> bool {
        !self.out.link(index).life.is_open() && self.shortage.release(index)
    }

    #[inline(never)]
    fn take_step(&mut self, index: u32, step: Step) {
        let link = self.out.peers.settling(index);
        let (socket, generation) = (link.socket, link.tenant.generation());
        let token = |kind| Token::new(kind, generation, index);
        match step {
            Step::Nothing => {}
            Step::Recv => {
                link.flight.recv = Recv::Armed;
                let once = !self.shortage.is_over();
                self.ring.submit(token(Kind::Recv), Op::Recv { socket, once });
            }
            Step::CancelRecv => {
                link.flight.recv = Recv::Cancelling;
                link.flight.cancels += 1;
                self.ring.submit(token(Kind::Cancel), Op::Cancel { target: token(Kind::Recv) });
            }
            Step::Ask => self.ask(index),
            Step::CancelAll => {
                link.flight.cancels += 1;
                self.out.peers.settle(index, Event::Cancelled);
                self.ring.submit(token(Kind::Cancel), Op::CancelSocket { socket });
            }
            Step::Close => {
                let reset = matches!(link.life, Life::Dying(_, Parting::Reset));
                self.out.peers.settle(index, Event::CloseSubmitted);
                self.ring.submit(token(Kind::Close), Op::Close { socket, reset });
                planted!(SlotReusedEarly, self.on_closed(index));
            }
        }
    }

    /// Sends what goes next, if nothing is being sent; a connection that is finishing and has nothing left moves on.
    fn settle_output(&mut self, index: u32) {
        if self.out.held.is_on() && self.out.holds_back(index) {
            return self.out.keep_along(index); // others go on
        }
        let link = self.out.link(index);
        match link.life {
            Life::Free | Life::Broken { .. } => return,
            Life::Dying(..) => return self.give_up_output(index),
            _ if planted!(TwoSends, false; link.output.is_sending) => return,
            _ if link.output.waits => self.out.drain(index),
            _ => {}
        }
        #[cfg(feature = "tls")]
        if self.conns[index as usize].tls.is_some() {
            self.out.settle_along(index);
            return self.settle_sealed(index);
        }
        match self.out.pop(index) {
            Some(payload) => self.send_piece(index, payload),
            None => self.on_nothing_left(index),
        }
    }

    /// The same over TLS.
    #[cfg(feature = "tls")]
    #[inline(never)]
    fn settle_sealed(&mut self, index: u32) {
        match self.pop_sealed(index) {
            Next::Piece(payload) => self.send_piece(index, payload),
            Next::Waits => {}
            Next::Nothing => self.on_nothing_left(index),
        }
    }

    #[inline]
    fn on_nothing_left(&mut self, index: u32) {
        if matches!(self.out.link(index).life, Life::Finishing { .. }) {
            let due = self.out.now.after(self.config.linger);
            self.out.peers.settle(index, Event::Drained { due });
            self.out.peers.settling(index).flight.outdate(); // what is asked now is asked of all output
        }
    }

    #[inline]
    fn send_piece(&mut self, index: u32, mut payload: Payload) {
        // In parts, so that a slow reader's progress shows within the send timeout. A block goes whole: it does not know
        // how full it is (`Payload::whole`).
        let partible = planted!(BlockParted, true; !matches!(payload.memory, Memory::Block(_)));
        if matches!(payload.memory, Memory::Heap(Heap::Trail(_))) {
            self.out.peers.settling(index).output.lent = Lent::of(&payload.memory); // it is no longer than a part
        } else if partible {
            payload.to = payload.from + next_part(&payload, self.part);
            self.out.peers.settling(index).output.lent = Lent::of(&payload.memory);
        }
        let link = self.out.peers.settling(index);
        debug_assert!(payload.from < payload.to, "a send of nothing");
        link.output.is_sending = true;
        if self.out.held.is_on() && link.output.is_empty() {
            self.out.held.forget(index);
        }
        let (token, socket) = (Token::new(Kind::Send, link.tenant.generation(), index), link.socket);
        if link.life.is_timed_by_output() {
            self.out.time_output(index); // from here on it has the send timeout to take it
        }
        self.ring.submit(token, Op::Send { socket, payload });
    }

    /// Nothing more goes out.
    pub(super) fn give_up_output(&mut self, index: u32) {
        self.out.abandon(index);
        #[cfg(feature = "tls")]
        self.drop_tls(index);
    }

    /// Receives from connections that wait for buffers, as many as there is room for.
    pub(super) fn rearm_starved(&mut self) {
        for _ in 0..self.shortage.pass(|bytes| self.ring.room_for(bytes)) {
            let Some((index, generation)) = self.shortage.next() else { return };
            let link = self.out.link(index);
            if link.tenant.generation() == generation && self.shortage.waits_for_buffers(index) {
                self.shortage.serve(index);
                self.out.peers.unmark(index);
                self.settle(index);
            }
        }
        // `settle` may have marked a connection it already settled; it comes up again in the next turn.
        self.settle_all();
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
    use crate::engine::deadlines::Tick;
    use crate::engine::input::Input;
    use crate::engine::pack::Framing;

    /// Every stage, with everything that a step depends on: what is submitted, and that nothing is submitted twice.
    #[test]
    fn every_step() {
        let (since, due, framing) = (Tick::ZERO, Tick::ZERO, Framing::PLAIN);
        let held = {
            let mut input = Input::new(false);
            input.pause();
            input
        };
        let open = |input| Life::Quiet { input, framing, since, taken: since };
        // Where bytes are wanted, and where a receive that is armed is cancelled.
        let lives = [
            (Life::Free, false, false),
            (Life::Head { due, eof: false }, true, false),
            (Life::Head { due, eof: true }, false, false),
            (open(Input::new(false)), true, false),
            (open(Input::new(true)), false, false),
            (open(held), false, true),
            (Life::Pinged { input: held, framing, since, due }, false, true),
            (Life::Broken { input: Input::new(false), own: 0, closed: false, errno: 32, due }, true, false),
            (Life::Broken { input: Input::new(true), own: 0, closed: false, errno: 32, due }, false, false),
            (Life::Broken { input: held, own: 0, closed: false, errno: 32, due }, false, true),
            (Life::Closing { eof: false, own: 4, due, until: due }, true, false),
            (Life::Finishing { linger: false, eof: false, own: 0, due, until: due }, false, false),
            (Life::Finishing { linger: true, eof: false, own: 0, due, until: due }, true, false),
            (Life::Finishing { linger: true, eof: true, own: 0, due, until: due }, false, false),
            (Life::Lingering { eof: false, due, until: due }, true, false),
        ];
        let link = |life, recv| {
            let mut link = Link::free();
            (link.life, link.flight.recv, link.flight.unacked) = (life, recv, Unacked::Known);
            link
        };
        use Waiting::{Little, Much, Nothing};
        for (life, wanted, cancelled) in lives {
            let expected = if wanted { Step::Recv } else { Step::Nothing };
            assert_eq!(next_step(&link(life, Recv::Idle), Nothing, false), expected, "{life:?}");
            assert_eq!(next_step(&link(life, Recv::Idle), Nothing, true), Step::Nothing, "{life:?} waits for buffers");
            let expected = if cancelled { Step::CancelRecv } else { Step::Nothing };
            assert_eq!(next_step(&link(life, Recv::Armed), Nothing, false), expected, "{life:?}");
            // Who waits for a turn keeps its receive until much has come.
            assert_eq!(
                next_step(&link(life, Recv::Armed), Little, false),
                expected,
                "{life:?} has a little that waits"
            );
            let expected = if life.is_free() { Step::Nothing } else { Step::CancelRecv };
            assert_eq!(next_step(&link(life, Recv::Armed), Much, false), expected, "{life:?} has much that waits");
            for waiting in [Little, Much] {
                assert_eq!(next_step(&link(life, Recv::Idle), waiting, false), Step::Nothing, "{life:?}: {waiting:?}");
            }
            for waiting in [Nothing, Little, Much] {
                assert_eq!(next_step(&link(life, Recv::Cancelling), waiting, false), Step::Nothing, "{life:?}");
            }
        }
        // Where the kernel is asked what the peer has not acknowledged.
        for (life, _, _) in lives {
            let mut unknown = link(life, Recv::Armed);
            unknown.flight.unacked = Unacked::Unknown;
            let asks = matches!(life, Life::Pinged { .. } | Life::Closing { .. });
            assert_eq!(next_step(&unknown, Nothing, false) == Step::Ask, asks, "{life:?}");
        }
        let mut lingering = link(Life::Lingering { eof: true, due, until: due }, Recv::Idle);
        assert_eq!(next_step(&lingering, Nothing, false), Step::Nothing);
        lingering.flight.unacked = Unacked::Unknown;
        assert_eq!(next_step(&lingering, Nothing, false), Step::Ask);
        let dying = [
            (Dying::Begun, Step::Close, Step::CancelAll),
            (Dying::Cancelled, Step::Close, Step::Nothing),
            (Dying::Closing, Step::Nothing, Step::Nothing),
        ];
        for (how, at_rest, busy) in dying {
            assert_eq!(
                next_step(&link(Life::Dying(how, Parting::Fin), Recv::Idle), Nothing, false),
                at_rest,
                "{how:?}"
            );
            assert_eq!(next_step(&link(Life::Dying(how, Parting::Fin), Recv::Armed), Nothing, false), busy, "{how:?}");
            let mut cancelling = link(Life::Dying(how, Parting::Fin), Recv::Idle);
            cancelling.flight.cancels = 1;
            assert_eq!(next_step(&cancelling, Nothing, false), busy, "{how:?}");
            let mut sending = link(Life::Dying(how, Parting::Fin), Recv::Idle);
            sending.output.is_sending = true;
            assert_eq!(next_step(&sending, Nothing, false), busy, "{how:?}");
        }
    }

    #[test]
    fn a_long_send_goes_in_parts_and_a_small_rest_along_with_the_last() {
        let parts = |len: u32, part: u32| {
            let mut payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![0; len as usize])), from: 0, to: len };
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
