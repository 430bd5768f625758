//! Where a connection stands, from the socket that takes its slot to the slot's end, with the clock of each stage inside it.
//!
//! ```text
//! Free ──> Head ──> Quiet <─> Pinged ──> Closing ──> Broken ──> Finishing ──> Lingering ──> Dying ──> Free
//!                   └───── open ──────┘
//! ```
//! Whoever is closing has two clocks: `due`, which moves on while the peer takes what is sent to it, and `until`, which does not. Any stage may be skipped forwards. Backwards there is one way: a TLS handshake that breaks while a connection lingers has an
//! alert to send, and finishes anew. [`Life::on`] is the one place that says so; what else it is asked for is a fault
//! of ours. Refuses to know operations, bytes, and who is told.

use super::deadlines::Tick;
use super::input::Input;
use super::pack::Framing;

/// The stage of a connection's slot. An open connection is `Quiet` or `Pinged`; what both have lies at the same place
/// (`repr`, and the order of their fields), so that asking an open connection for it is one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Life {
    /// The slot has no connection.
    Free,
    /// Its request head is awaited until `due`, or our answer if the application has deferred that; of one that we dialled, the server's answer.
    Head { due: Tick, eof: bool },
    /// Messages flow. `since`: when the peer last showed life. `taken`: when it last took a byte or was first offered one, while
    /// that is what it is timed by ([`Input::is_timed_by_output`]).
    Quiet { input: Input, framing: Framing, since: Tick, taken: Tick },
    /// The same, and the answer to a ping of ours is awaited until `due`.
    Pinged { input: Input, framing: Framing, since: Tick, due: Tick },
    /// A send has failed, so nothing goes out any more; what the peer had said before is still heard, until `due`. `closed`: we have
    /// closed, and of what comes its Close alone counts.
    Broken { input: Input, own: u8, closed: bool, errno: u16, due: Tick },
    /// Our Close is queued or sent; the peer's is awaited until `due`. `own`: bytes of that Close, the end of all output.
    Closing { eof: bool, own: u8, due: Tick, until: Tick },
    /// Nothing more is taken from the peer; what is queued still goes out until `due`. `linger`: the peer's last bytes may
    /// still be on the way, so the socket stays a while after that.
    Finishing { linger: bool, eof: bool, own: u8, due: Tick, until: Tick },
    /// All is with the kernel, and the peer has time until `due` to take it. Unless `eof`, which is that no byte of the peer can do
    /// harm any more, what it still sends is discarded, so that our last bytes survive (RFC 6455 §7.1.1).
    Lingering { eof: bool, due: Tick, until: Tick },
    /// Nothing more comes or goes.
    Dying(Dying, Parting),
}

/// Where the errno of a failed send would stand: none failed, the application has cut the connection.
const ABORTED: u16 = u16::MAX;

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// In order: what the kernel holds it still delivers, then the peer sees the end.
    Fin,
    /// By a reset: the peer takes nothing, and the kernel is to keep nothing for it.
    Reset,
}

/// How far the end of a socket has come. It is closed when the kernel has nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dying {
    /// Nothing has been submitted for it.
    Begun,
    /// All of its operations have been cancelled.
    Cancelled,
    /// The close is with the kernel.
    Closing,
}

/// What moves a connection from one stage to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A socket takes the slot.
    Taken { due: Tick },
    /// The opening handshake is done.
    Opened { now: Tick, framing: Framing },
    /// Our Close is queued, a frame of `own` bytes; none if it cannot go out.
    CloseQueued { due: Tick, until: Tick, own: u8 },
    /// A send has failed with this error.
    SendFailed { due: Tick, errno: u16 },
    /// The application cuts it: nothing goes out any more, and nothing is heard.
    Aborted { due: Tick },
    /// The application's part, if it had one, is over.
    Ended { due: Tick, until: Tick, linger: bool },
    /// The peer has sent its last byte.
    PeerEnded,
    /// All output is with the kernel. `due`: how long to linger, if at all.
    Drained { due: Tick },
    /// Nothing more is to go out.
    Died(Parting),
    /// All operations have been cancelled.
    Cancelled,
    /// The close was submitted.
    CloseSubmitted,
    /// The close has completed.
    Freed,
}

const _: () = assert!(size_of::<Life>() == 12, "an idle connection pays for every byte of its life");

impl Life {
    /// Moves on. Panics with the stage and the event if there is no such move.
    #[inline(always)]
    pub(crate) fn on(&mut self, event: Event) {
        *self = self.after(event).unwrap_or_else(|| illegal(*self, event));
    }

    /// The stage that `event` leads to; `None` if it cannot happen in this one.
    #[inline(always)]
    fn after(self, event: Event) -> Option<Life> {
        use Life::{Broken, Closing, Finishing, Free, Head, Lingering, Pinged, Quiet};
        Some(match (self, event) {
            (Free, Event::Taken { due }) => Head { due, eof: false },
            (Head { eof, .. }, Event::Opened { now, framing }) => {
                Quiet { since: now, taken: now, input: Input::new(eof), framing }
            }
            (Quiet { input, .. } | Pinged { input, .. }, Event::CloseQueued { due, until, own }) => {
                Closing { eof: input.eof, own, due, until }
            }
            (Broken { input, own, errno, .. }, Event::CloseQueued { due, .. }) => {
                Broken { input: Input::new(input.eof), own, closed: true, errno, due }
            }
            (Quiet { mut input, .. } | Pinged { mut input, .. }, Event::SendFailed { due, errno }) => {
                input.relax();
                Broken { input, own: 0, closed: false, errno, due }
            }
            (Closing { eof, own, .. }, Event::SendFailed { due, errno }) => {
                Broken { input: Input::new(eof), own, closed: true, errno, due }
            }
            (Quiet { .. } | Pinged { .. } | Broken { .. } | Closing { .. }, Event::Aborted { due }) => {
                let input = Input::shut(self.is_past_end());
                Broken { input, own: self.own(), closed: true, errno: ABORTED, due }
            }
            (Head { .. } | Quiet { .. } | Pinged { .. } | Broken { .. }, Event::Ended { due, until, linger }) => {
                Finishing { linger, eof: self.is_past_end(), own: self.own(), due, until }
            }
            // The end of the whole is counted from our Close.
            (Closing { eof, own, until, .. }, Event::Ended { due, linger, .. }) => {
                Finishing { linger, eof, own, due: due.earlier(until), until }
            }
            (Finishing { linger: before, eof, own, until, .. }, Event::Ended { due, linger, .. }) => {
                Finishing { linger: before || linger, eof, own, due: due.earlier(until), until }
            }
            (Lingering { eof, until, .. }, Event::Ended { due, .. }) => {
                Finishing { linger: true, eof, own: 0, due: due.earlier(until), until }
            }
            (Head { due, .. }, Event::PeerEnded) => Head { due, eof: true },
            (Quiet { since, taken, input, framing }, Event::PeerEnded) => {
                Quiet { since, taken, input: input.past_end(), framing }
            }
            (Pinged { since, due, input, framing }, Event::PeerEnded) => {
                Pinged { since, due, input: input.past_end(), framing }
            }
            (Broken { input, own, closed, errno, due }, Event::PeerEnded) => {
                Broken { input: input.past_end(), own, closed, errno, due }
            }
            (Closing { own, due, until, .. }, Event::PeerEnded) => Closing { eof: true, own, due, until },
            (Finishing { linger, own, due, until, .. }, Event::PeerEnded) => {
                Finishing { linger, eof: true, own, due, until }
            }
            (Lingering { due, until, .. }, Event::PeerEnded) => Lingering { eof: true, due, until },
            (Finishing { linger, eof, until, .. }, Event::Drained { due }) => {
                Lingering { eof: eof || !linger, due: due.earlier(until), until }
            }
            (Life::Dying(..), Event::PeerEnded | Event::Died(_)) => self,
            (Head { .. } | Quiet { .. } | Pinged { .. } | Broken { .. } | Closing { .. }, Event::Died(parting))
            | (Finishing { .. } | Lingering { .. }, Event::Died(parting)) => Life::Dying(Dying::Begun, parting),
            (Life::Dying(Dying::Begun, parting), Event::Cancelled) => Life::Dying(Dying::Cancelled, parting),
            (Life::Dying(Dying::Begun | Dying::Cancelled, parting), Event::CloseSubmitted) => {
                Life::Dying(Dying::Closing, parting)
            }
            (Life::Dying(Dying::Closing, _), Event::Freed) => Free,
            _ => return None,
        })
    }

    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Life::Free)
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Life::Quiet { .. } | Life::Pinged { .. })
    }

    /// The application has been told of the connection, and not of its end.
    #[inline]
    pub(crate) fn is_the_applications(&self) -> bool {
        matches!(self, Life::Quiet { .. } | Life::Pinged { .. } | Life::Broken { .. } | Life::Closing { .. })
    }

    /// We have closed: of what the peer still says, its Close alone counts. Asked of a connection that is not open.
    pub(crate) fn is_closed_by_us(&self) -> bool {
        !matches!(self, Life::Broken { closed: false, .. })
    }

    /// The application has cut it, and has not been told of its end.
    pub(crate) fn is_aborted(&self) -> bool {
        matches!(self, Life::Broken { errno: ABORTED, .. })
    }

    /// How frames leave; nothing but an open connection sends any.
    #[inline]
    pub(crate) fn framing(&self) -> Option<Framing> {
        match self {
            Life::Quiet { framing, .. } | Life::Pinged { framing, .. } => Some(*framing),
            _ => None,
        }
    }

    /// The decoder may go on: nobody paused, nothing ended. While closing all but the peer's Close is discarded, so neither
    /// a pause nor pressure holds it up.
    #[inline]
    pub(crate) fn takes_messages(&self) -> bool {
        match self {
            Life::Quiet { input, .. } | Life::Pinged { input, .. } | Life::Broken { input, .. } => {
                input.takes_messages()
            }
            life => matches!(life, Life::Closing { .. }),
        }
    }

    /// A receive should be with the kernel, unless the peer has ended.
    #[inline]
    pub(crate) fn wants_bytes(&self) -> bool {
        match self {
            Life::Head { .. } | Life::Lingering { .. } => true,
            Life::Quiet { .. } | Life::Pinged { .. } | Life::Broken { .. } | Life::Closing { .. } => {
                self.takes_messages()
            }
            Life::Finishing { linger, .. } => *linger,
            Life::Free | Life::Dying(..) => false,
        }
    }

    /// The peer has sent its last byte.
    #[inline]
    pub(crate) fn is_past_end(&self) -> bool {
        match *self {
            Life::Head { eof, .. }
            | Life::Closing { eof, .. }
            | Life::Finishing { eof, .. }
            | Life::Lingering { eof, .. } => eof,
            Life::Quiet { input, .. } | Life::Pinged { input, .. } | Life::Broken { input, .. } => input.eof,
            Life::Free | Life::Dying(..) => false,
        }
    }

    /// Bytes of our Close, which is the last of all output.
    pub(crate) fn own(&self) -> u8 {
        match *self {
            Life::Broken { own, .. } | Life::Closing { own, .. } | Life::Finishing { own, .. } => own,
            _ => 0,
        }
    }

    /// By when this stage must end; an open connection has no such time.
    pub(crate) fn due(&self) -> Option<Tick> {
        match *self {
            Life::Head { due, .. }
            | Life::Broken { due, .. }
            | Life::Closing { due, .. }
            | Life::Finishing { due, .. }
            | Life::Lingering { due, .. } => Some(due),
            Life::Quiet { .. } | Life::Pinged { .. } | Life::Free | Life::Dying(..) => None,
        }
    }

    /// The same for a connection that is closing, however steadily its peer takes what is sent to it.
    pub(crate) fn until(&self) -> Option<Tick> {
        match *self {
            Life::Closing { until, .. } | Life::Finishing { until, .. } | Life::Lingering { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The deadline of this stage moves, at most to the end of the whole.
    pub(crate) fn put_off(&mut self, later: Tick) {
        if let Life::Pinged { due, .. } = self {
            *due = later;
        } else if let Life::Closing { due, until, .. }
        | Life::Finishing { due, until, .. }
        | Life::Lingering { due, until, .. } = self
        {
            *due = later.earlier(*until);
        }
    }

    /// The input of a connection whose messages the application may hold up.
    #[inline]
    pub(crate) fn input(&mut self) -> Option<&mut Input> {
        match self {
            Life::Quiet { input, .. } | Life::Pinged { input, .. } | Life::Broken { input, closed: false, .. } => {
                Some(input)
            }
            _ => None,
        }
    }

    /// A byte came in. True if that is the answer to a ping.
    #[inline]
    pub(crate) fn on_heard(&mut self, now: Tick) -> bool {
        match self {
            Life::Quiet { since, .. } => *since = now,
            &mut Life::Pinged { input, framing, .. } => {
                *self = Life::Quiet { since: now, taken: now, input, framing };
                return true;
            }
            _ => {}
        }
        false
    }

    /// An open connection whose peer is timed by what it takes, not by what it says: it is not read, or its output is high.
    #[inline]
    pub(crate) fn is_timed_by_output(&self) -> bool {
        match self {
            Life::Quiet { input, .. } | Life::Pinged { input, .. } => input.is_timed_by_output(),
            _ => false,
        }
    }

    /// An open connection whose output is high.
    #[inline]
    pub(crate) fn is_high(&self) -> bool {
        match self {
            Life::Quiet { input, .. } | Life::Pinged { input, .. } => input.is_high(),
            _ => false,
        }
    }

    /// A peer took a byte at that time, if not later ones since: clocks do not go back. One that was pinged answers in its own time.
    #[inline]
    pub(crate) fn on_progress(&mut self, at: Tick) {
        if let Life::Quiet { since, taken, .. } = self {
            *since = since.later(at);
            *taken = taken.later(at);
        }
    }

    /// A peer that is timed by what it takes took a byte, or has its time to take one from here on. An answer to a ping is not awaited
    /// from it: it may lie unread.
    #[inline]
    pub(crate) fn on_offered(&mut self, now: Tick) {
        if let Life::Quiet { input, framing, .. } | Life::Pinged { input, framing, .. } = *self {
            *self = Life::Quiet { since: now, taken: now, input, framing };
        }
    }

    /// A silent peer is pinged.
    pub(crate) fn on_pinged(&mut self, due: Tick) {
        if let Life::Quiet { since, input, framing, .. } = *self {
            *self = Life::Pinged { since, due, input, framing };
        }
    }

    /// The answer to a ping is not awaited any more; nothing has been offered before `now`.
    pub(crate) fn forget_ping(&mut self, now: Tick) {
        if let Life::Pinged { since, input, framing, .. } = *self {
            *self = Life::Quiet { since, taken: now, input, framing };
        }
    }
}

#[cold]
fn illegal(life: Life, event: Event) -> ! {
    panic!("{event:?} cannot come to a connection that is {life:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::ZERO;

    fn due() -> Tick {
        NOW.after(std::time::Duration::from_secs(1))
    }

    /// Every stage, with the peer's end before and after it has come where a stage knows that.
    fn stages() -> Vec<(&'static str, Life)> {
        let mut all = vec![("free", Life::Free)];
        for eof in [false, true] {
            let (input, framing) = (Input::new(eof), Framing::PLAIN);
            all.extend([
                ("head", Life::Head { due: NOW, eof }),
                ("open", Life::Quiet { since: NOW, taken: NOW, input, framing }),
                ("open", Life::Pinged { since: NOW, due: NOW, input, framing }),
                ("broken", Life::Broken { input, own: 0, closed: false, errno: 32, due: NOW }),
                ("broken", Life::Broken { input, own: 4, closed: true, errno: 32, due: NOW }),
                ("closing", Life::Closing { eof, own: 4, due: NOW, until: due() }),
                ("finishing", Life::Finishing { linger: false, eof, own: 4, due: NOW, until: due() }),
                ("finishing", Life::Finishing { linger: true, eof, own: 4, due: NOW, until: due() }),
                ("lingering", Life::Lingering { eof, due: NOW, until: due() }),
            ]);
        }
        for parting in [Parting::Fin, Parting::Reset] {
            let dying = [Dying::Begun, Dying::Cancelled, Dying::Closing].map(|how| Life::Dying(how, parting));
            all.extend(["dying", "cancelled", "closed"].into_iter().zip(dying));
        }
        all
    }

    fn name(life: Life) -> &'static str {
        match life {
            Life::Free => "free",
            Life::Head { .. } => "head",
            Life::Quiet { .. } | Life::Pinged { .. } => "open",
            Life::Broken { .. } => "broken",
            Life::Closing { .. } => "closing",
            Life::Finishing { .. } => "finishing",
            Life::Lingering { .. } => "lingering",
            Life::Dying(Dying::Begun, _) => "dying",
            Life::Dying(Dying::Cancelled, _) => "cancelled",
            Life::Dying(Dying::Closing, _) => "closed",
        }
    }

    /// Every stage and every event: where it leads, and that nothing else is legal.
    #[test]
    fn every_move() {
        let framing = Framing::PLAIN;
        let table: [(Event, &[(&str, &str)]); 13] = [
            (Event::Taken { due: NOW }, &[("free", "head")]),
            (Event::Opened { now: NOW, framing }, &[("head", "open")]),
            (Event::CloseQueued { due: NOW, until: NOW, own: 4 }, &[("open", "closing"), ("broken", "broken")]),
            (Event::SendFailed { due: NOW, errno: 32 }, &[("open", "broken"), ("closing", "broken")]),
            (Event::Aborted { due: NOW }, &[("open", "broken"), ("broken", "broken"), ("closing", "broken")]),
            (
                Event::Ended { due: NOW, until: NOW, linger: false },
                &[
                    ("head", "finishing"),
                    ("open", "finishing"),
                    ("broken", "finishing"),
                    ("closing", "finishing"),
                    ("finishing", "finishing"),
                    ("lingering", "finishing"),
                ],
            ),
            (
                Event::Ended { due: NOW, until: NOW, linger: true },
                &[
                    ("head", "finishing"),
                    ("open", "finishing"),
                    ("broken", "finishing"),
                    ("closing", "finishing"),
                    ("finishing", "finishing"),
                    ("lingering", "finishing"),
                ],
            ),
            (
                Event::PeerEnded,
                &[
                    ("head", "head"),
                    ("open", "open"),
                    ("broken", "broken"),
                    ("closing", "closing"),
                    ("finishing", "finishing"),
                    ("lingering", "lingering"),
                    ("dying", "dying"),
                    ("cancelled", "cancelled"),
                    ("closed", "closed"),
                ],
            ),
            (Event::Drained { due: NOW }, &[("finishing", "lingering")]),
            (
                Event::Died(Parting::Reset),
                &[
                    ("head", "dying"),
                    ("open", "dying"),
                    ("broken", "dying"),
                    ("closing", "dying"),
                    ("finishing", "dying"),
                    ("lingering", "dying"),
                    ("dying", "dying"),
                    ("cancelled", "cancelled"),
                    ("closed", "closed"),
                ],
            ),
            (Event::Cancelled, &[("dying", "cancelled")]),
            (Event::CloseSubmitted, &[("dying", "closed"), ("cancelled", "closed")]),
            (Event::Freed, &[("closed", "free")]),
        ];
        for (event, legal) in table {
            for (stage, life) in stages() {
                let expected = legal.iter().find(|(from, _)| *from == stage).map(|(_, to)| *to);
                assert_eq!(life.after(event).map(name), expected, "{event:?} in {life:?}");
            }
        }
    }

    /// What a stage knows goes along: the peer's end is never forgotten, nor that a connection lingers.
    #[test]
    fn what_is_known_goes_along() {
        for (_, life) in stages() {
            let later = due().after(std::time::Duration::from_secs(1));
            let ended = life.after(Event::Ended { due: due(), until: later, linger: false });
            if let Some(Life::Finishing { due: at, linger, eof, own, until }) = ended {
                let lingered = matches!(life, Life::Lingering { .. } | Life::Finishing { linger: true, .. });
                assert_eq!((at, linger, eof, own), (due(), lingered, life.is_past_end(), life.own()), "{life:?}");
                assert_eq!(until, life.until().unwrap_or(later), "the whole ends when it did: {life:?}");
                let drained = ended.and_then(|life| life.after(Event::Drained { due: later }));
                let lingering = Life::Lingering { eof: eof || !linger, due: later.earlier(until), until };
                assert_eq!(drained, Some(lingering), "{life:?}");
            }
            for parting in [Parting::Fin, Parting::Reset] {
                let died = life.after(Event::Died(parting)).filter(|_| !matches!(life, Life::Dying(..)));
                assert!(died.is_none_or(|died| died == Life::Dying(Dying::Begun, parting)), "{life:?}");
            }
            let past = life.after(Event::PeerEnded).filter(|life| !matches!(life, Life::Dying(..)));
            assert!(past.is_none_or(|life| life.is_past_end()), "{life:?}");
            let closing = life.after(Event::CloseQueued { due: due(), until: due(), own: 9 });
            let own = if matches!(life, Life::Broken { .. }) { life.own() } else { 9 };
            let goes_along = |closing: Life| (closing.is_past_end(), closing.own()) == (life.is_past_end(), own);
            assert!(closing.is_none_or(goes_along), "{life:?}");
            assert!(closing.is_none_or(|closing| closing.is_closed_by_us()), "{life:?}");
            let broken = life.after(Event::SendFailed { due: due(), errno: 32 });
            let knows = |life: Life| (life.is_past_end(), life.own(), life.is_closed_by_us());
            let closed = matches!(life, Life::Closing { .. });
            assert!(broken.is_none_or(|broken| knows(broken) == (life.is_past_end(), life.own(), closed)), "{life:?}");
            let aborted = life.after(Event::Aborted { due: due() });
            assert!(aborted.is_none_or(|aborted| knows(aborted) == (life.is_past_end(), life.own(), true)), "{life:?}");
            let is_shut = |life: Life| life.is_aborted() && !life.takes_messages() && life.framing().is_none();
            assert!(!life.is_aborted() && aborted.is_none_or(is_shut), "{life:?}");
        }
    }

    /// Nothing goes out, so nothing that is queued holds up what the peer has said; the application's pause does.
    #[test]
    fn who_cannot_be_sent_to_is_heard() {
        let framing = Framing::PLAIN;
        for paused in [false, true] {
            let mut input = Input::new(false);
            input.press();
            if paused {
                input.pause();
            }
            let open = Life::Quiet { since: NOW, taken: NOW, input, framing };
            let mut broken = open.after(Event::SendFailed { due: due(), errno: 32 }).expect("it was open");
            assert_eq!((broken.takes_messages(), broken.wants_bytes(), broken.framing()), (!paused, !paused, None));
            assert_eq!((broken.due(), broken.is_open(), broken.is_the_applications()), (Some(due()), false, true));
            broken.input().expect("it may be resumed").resume();
            assert!(broken.takes_messages());
            let closed =
                broken.after(Event::CloseQueued { due: due(), until: due(), own: 0 }).expect("it may be closed");
            assert!(closed.takes_messages() && closed.wants_bytes(), "the peer's Close is awaited");
        }
    }

    /// A ping has a clock beside the one that says how long the peer has been silent.
    #[test]
    fn a_pinged_peer_has_two_clocks() {
        let (input, framing) = (Input::new(false), Framing::PLAIN);
        let mut life = Life::Quiet { since: NOW, taken: NOW, input, framing };
        life.on_pinged(due());
        assert_eq!(life, Life::Pinged { since: NOW, due: due(), input, framing });
        life.forget_ping(due());
        assert_eq!(life, Life::Quiet { since: NOW, taken: due(), input, framing });
        life.on_pinged(due());
        assert!(life.on_heard(due()) && !life.on_heard(due()), "it answers once");
        assert_eq!(life, Life::Quiet { since: due(), taken: due(), input, framing });
        let mut closing = Life::Closing { eof: false, own: 4, due: NOW, until: due() };
        assert!(!closing.on_heard(due()));
        closing.on_progress(due());
        closing.on_pinged(due());
        assert_eq!(closing.due(), Some(NOW), "its clock is another");
        closing.put_off(due().after(std::time::Duration::from_secs(1)));
        assert_eq!(closing.due(), Some(due()), "and ends with the whole");
    }

    /// What it says does not help a peer that is timed by what it takes.
    #[test]
    fn what_a_peer_says_and_what_it_takes_are_two_clocks() {
        let (input, framing) = (Input::new(false), Framing::PLAIN);
        let mut life = Life::Quiet { since: NOW, taken: NOW, input, framing };
        life.on_heard(due());
        assert_eq!(life, Life::Quiet { since: due(), taken: NOW, input, framing });
        life.on_progress(NOW);
        assert_eq!(life, Life::Quiet { since: due(), taken: NOW, input, framing }, "clocks do not go back");
        life.on_pinged(due());
        let pinged = life;
        life.on_progress(due());
        assert_eq!(life, pinged, "its answer is awaited still");
        life.on_offered(due());
        assert_eq!(life, Life::Quiet { since: due(), taken: due(), input, framing });
    }
}
