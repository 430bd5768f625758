//! Requests whose answer is deferred: how the application names one ([`Pending`]), what is kept of it ([`Asked`]), and whether one more may be.
//!
//! Promises that a name is of one deferral alone, whoever has the slot later, and that what is kept is the request's head, which the settings
//! bound. Refuses to know connections, deadlines, and what is answered.

use std::fmt;

use super::planted::planted;
use crate::cores::Place;

/// Names a request whose answer is deferred: see [`CoreCx::defer`](crate::CoreCx::defer). It goes to any thread, and answers it once, by
/// [`Handle::admit`](crate::Handle::admit) or [`Handle::respond`](crate::Handle::respond). One that is stale is a quiet "too late", never somebody else's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pending {
    place: Place,
    index: u32,
    /// Counts the deferrals of the core.
    number: u64,
}

impl Pending {
    /// The place of the core on which the request waits.
    pub const fn place(self) -> Place {
        self.place
    }

    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

/// `place/index#number`
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.place, self.index, self.number)
    }
}

/// As many requests wait for their answers as [`Config::pending_max`](crate::Config::pending_max) allows. Nothing was deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many requests wait for their answers as pending_max allows")]
pub struct PendingFull;

/// What is kept of a request until it is answered.
pub(crate) struct Asked {
    pub(crate) pending: Pending,
    /// Its head, in a pooled buffer.
    pub(crate) head: Vec<u8>,
    /// It asks for an upgrade, so what comes behind it may be frames.
    pub(crate) is_upgrade: bool,
}

impl Asked {
    /// It is what this names.
    pub(crate) fn is(&self, pending: Pending) -> bool {
        planted!(AnswerOfAnother, true; self.pending == pending)
    }
}

/// The names that a core gives.
pub(crate) struct Deferrals {
    place: Place,
    most: u32,
    next: u64,
    /// The one that the callback which runs has been given.
    given: Option<Pending>,
}

impl Deferrals {
    /// Of a core on which at most so many requests wait.
    pub(crate) fn new(place: Place, most: u32) -> Self {
        Self { place, most, next: 0, given: None }
    }

    /// A callback begins that may defer.
    pub(crate) fn begin(&mut self) {
        self.given = None;
    }

    /// A name for the request on this connection, the same if it is asked for again. `waiting`: so many others wait.
    pub(crate) fn give(&mut self, index: u32, waiting: u64) -> Result<Pending, PendingFull> {
        if let Some(given) = self.given {
            return Ok(given);
        }
        if planted!(PendingUnbounded, false; waiting >= u64::from(self.most)) {
            return Err(PendingFull);
        }
        let given = Pending { place: self.place, index, number: self.next };
        self.next += 1;
        self.given = Some(given);
        Ok(given)
    }

    /// Whether that callback was given this one.
    pub(crate) fn has_given(&self, pending: Pending) -> bool {
        self.given == Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_deferral() {
        let mut names = Deferrals::new(Place::new(3), 2);
        names.begin();
        let first = names.give(7, 0).expect("nobody waits");
        assert_eq!((names.give(7, 0), first.place(), first.index()), (Ok(first), Place::new(3), 7));
        assert!(names.has_given(first));
        names.begin();
        assert!(!names.has_given(first), "it was another callback's");
        let second = names.give(7, 1).expect("one waits");
        assert!(second != first && names.has_given(second) && !names.has_given(first), "the slot is the same");
        let asked = Asked { pending: second, head: Vec::new(), is_upgrade: true };
        assert!(asked.is(second) && !asked.is(first));
        assert_eq!(format!("{second:?}"), "3/7#1");
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut names = Deferrals::new(Place::new(0), 2);
        for (waiting, may) in [(0, true), (1, true), (2, false), (3, false)] {
            names.begin();
            assert_eq!(names.give(1, waiting).is_ok(), may, "{waiting} wait");
        }
        let mut none = Deferrals::new(Place::new(0), 0);
        none.begin();
        assert_eq!(none.give(1, 0), Err(PendingFull));
    }
}
