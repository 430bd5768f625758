//! Whose the sockets are: what each of two processes at a hand-over believes, by what it has heard of the other, and what it says next.
//!
//! ```text
//! the one that comes                               the one that goes
//!                                                  Given: it accepts, and the other one may
//! Ready: its cores accept      -- ready ->         Asked
//! Waits                        <- yours --         Promised: it accepts still
//! Sure                         -- mine  ->         Told: is the other one there? Then it leaves
//! Owns                                             Leaves
//! ```
//! Both accept all the time between, so nobody has to know in which moment the other one learns what it was told. What is said is heard, in order, unless its hearer is gone
//! or has stopped listening, which the one that speaks is told at once: so `mine`, once said, is certain for both. Either may say `no` before that, or be gone.
//!
//! Promises that one of the two accepts at every moment, and one alone in the end, whichever dies, hangs or gives up between any two words; `tests` walks through all of that. Refuses
//! to know sockets, clocks, and what is handed over.

/// What is said, as far as it decides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Word {
    /// The cores of the one that comes accept.
    Ready,
    /// Nothing hinders: it may have the sockets.
    Yours,
    /// It has heard that, and has them.
    Mine,
    /// It is as it was before.
    No,
    /// Nothing that belongs here.
    Other,
}

/// What one of the two does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Say(Word),
    /// Waits for a word, for its time.
    Hear,
    /// Listens no more, from which moment nothing can be said to it, and looks for what was said before.
    HearLast,
    /// Looks whether the other one is there.
    Look,
}

/// What came of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It was said: who is there and listens will hear it.
    Said,
    /// It cannot be said: the other one is gone, or listens no more.
    Unsaid,
    Heard(Word),
    /// Nothing was, in time, or by the moment of the last look.
    Late,
    /// The other one is gone, and all that it has said was heard.
    Gone,
    /// The other one is there.
    There,
    /// This server has come to its end.
    Over,
}

/// The process that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Goes {
    /// The other one has been given all, and starts.
    Given,
    /// The other one is ready.
    Asked,
    /// And was told that it may have all.
    Promised,
    /// It has not answered to that in time.
    Doubts,
    /// It has it.
    Told,
    /// The other one is to be told that nothing has happened.
    Refuses,
    /// Over: it goes on as it was.
    Stays,
    /// Over: it accepts nobody more.
    Leaves,
    /// Over, as this server is: all is the other one's.
    Ended,
}

impl Goes {
    /// None: it is settled.
    pub(super) fn next(self) -> Option<Step> {
        Some(match self {
            Goes::Given | Goes::Promised => Step::Hear,
            Goes::Asked => Step::Say(Word::Yours),
            Goes::Doubts if is_planted(Flaw::DoubtsListening) => Step::Hear,
            Goes::Doubts => Step::HearLast,
            Goes::Told => Step::Look,
            Goes::Refuses => Step::Say(Word::No),
            Goes::Stays | Goes::Leaves | Goes::Ended => return None,
        })
    }

    /// Whether it accepts, or lets the other one do so alone.
    #[cfg(test)]
    pub(super) fn accepts(self) -> bool {
        !matches!(self, Goes::Leaves | Goes::Ended)
    }

    pub(super) fn on(self, event: Event) -> Goes {
        match (self, event) {
            (Goes::Stays | Goes::Leaves | Goes::Ended, _) => self,
            // Without a word: that would have said that it goes on.
            (_, Event::Over) => Goes::Ended,
            (Goes::Given, Event::Heard(Word::Ready)) => Goes::Asked,
            (Goes::Asked, Event::Said) if is_planted(Flaw::LeavesUnheard) => Goes::Leaves,
            (Goes::Asked, Event::Said) => Goes::Promised,
            (Goes::Promised | Goes::Doubts, Event::Heard(Word::Mine)) if is_planted(Flaw::LooksNot) => Goes::Leaves,
            (Goes::Promised | Goes::Doubts, Event::Heard(Word::Mine)) => Goes::Told,
            (Goes::Promised, Event::Heard(_)) if is_planted(Flaw::RefusesListening) => Goes::Refuses,
            // Also where it cannot be heard what is said: `mine` may be, until it listens no more.
            (Goes::Promised, Event::Late | Event::Heard(_)) => Goes::Doubts,
            // Also where that cannot be seen: the other one has all, which it has said.
            (Goes::Told, Event::There | Event::Heard(_)) => Goes::Leaves,
            // Nobody is to be told.
            (Goes::Refuses, Event::Said | Event::Unsaid) | (_, Event::Gone) => Goes::Stays,
            _ if is_planted(Flaw::StaysSilently) => Goes::Stays,
            _ => Goes::Refuses,
        }
    }
}

/// The process that comes, from the moment in which its cores accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Comes {
    /// All that may fail has not.
    Ready,
    /// It has said so.
    Waits,
    /// It may have all.
    Sure,
    /// The other one is gone or listens no more: its last word says which.
    Parts,
    /// Over: all is its own.
    Owns,
    /// Over: the other one goes on, and this one stops.
    Fails,
}

impl Comes {
    /// None: it is settled.
    pub(super) fn next(self) -> Option<Step> {
        Some(match self {
            Comes::Ready => Step::Say(Word::Ready),
            Comes::Waits | Comes::Parts => Step::Hear,
            Comes::Sure => Step::Say(Word::Mine),
            Comes::Owns | Comes::Fails => return None,
        })
    }

    pub(super) fn on(self, event: Event) -> Comes {
        match (self, event) {
            (Comes::Owns | Comes::Fails, _) => self,
            (Comes::Ready, Event::Said) => Comes::Waits,
            (Comes::Waits, Event::Heard(Word::Yours)) if is_planted(Flaw::OwnsUnsaid) => Comes::Owns,
            (Comes::Waits, Event::Heard(Word::Yours)) => Comes::Sure,
            (Comes::Sure, Event::Said) => Comes::Owns,
            (Comes::Ready | Comes::Sure, Event::Unsaid) if is_planted(Flaw::OwnsUnheard) => Comes::Owns,
            (Comes::Ready | Comes::Sure, Event::Unsaid) => Comes::Parts,
            (Comes::Waits | Comes::Parts, Event::Gone) if is_planted(Flaw::FailsAlone) => Comes::Fails,
            (Comes::Waits | Comes::Parts, Event::Gone) => Comes::Owns,
            _ => Comes::Fails,
        }
    }
}

/// Faults on purpose, one at a time, that the walk through all that can happen must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The one that goes leaves when it has said `yours`, whether that is heard or not.
    LeavesUnheard,
    /// It does not look whether the other one is still there that has said `mine`.
    LooksNot,
    /// Where it gives up it goes on without saying so, and is taken for one that has died.
    StaysSilently,
    /// Where it gives up waiting for `mine`, that can be said still.
    DoubtsListening,
    /// So it can where it could not hear what was said.
    RefusesListening,
    /// The one that comes does not say `mine`, and has all.
    OwnsUnsaid,
    /// It takes one that listens no more for one that has died.
    OwnsUnheard,
    /// It gives up where the other one has died.
    FailsAlone,
}

#[cfg(not(test))]
const fn is_planted(_: Flaw) -> bool {
    false
}

#[cfg(test)]
use tests::is_planted;

#[cfg(test)]
mod tests;
