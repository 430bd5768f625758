//! Whose a panic is: the application's, which ends what its callback was about, or the engine's own, which is a fault of ours and
//! ends the core.
//!
//! ```text
//! catch ── the engine ── theirs ── a callback ── ours ── a verb of the engine
//!          ours          theirs                  ours
//! ```
//! A panic that unwinds through [`theirs`] is the application's, unless it came through [`ours`] before: an assertion of the
//! engine that fails inside of a callback says that the engine's state is wrong, whoever called. [`catch`] lets only the
//! application's be caught.
//!
//! Promises to cost nothing where nobody panics: the marks are made by what is dropped in unwinding. With `panic = "abort"` nothing
//! unwinds, and a panic ends the process. Refuses to know what a panic ends.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a panic said.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A callback panicked: what it was about is over.
#[derive(Debug)]
#[must_use]
pub(crate) struct Panicked;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// It has come through neither.
    Unknown,
    Theirs,
    Ours,
}

thread_local! {
    /// Of the panic that unwinds on this thread.
    static WHOSE: Cell<Whose> = const { Cell::new(Whose::Unknown) };
}

/// As [`theirs`] or [`ours`], from here to [`Self::end`]: for what must not be behind a closure, which the compiler may make a call. Dropped
/// only in unwinding.
pub(crate) struct Mark(Whose);

impl Mark {
    #[inline(always)]
    pub(crate) fn theirs() -> Self {
        Self(Whose::Theirs)
    }

    #[inline(always)]
    pub(crate) fn ours() -> Self {
        Self(Whose::Ours)
    }

    #[inline(always)]
    pub(crate) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Mark {
    #[cold]
    fn drop(&mut self) {
        WHOSE.with(|whose| {
            if whose.get() == Whose::Unknown {
                whose.set(self.0);
            }
        });
    }
}

#[inline(always)]
fn marked<R>(whose: Whose, work: impl FnOnce() -> R) -> R {
    let mark = Mark(whose);
    let result = work();
    mark.end();
    result
}

/// Calls the application: a panic is its own.
#[inline(always)]
pub(crate) fn theirs<R>(callback: impl FnOnce() -> R) -> R {
    marked(Whose::Theirs, callback)
}

/// What the engine does for a callback: a panic is ours.
#[inline(always)]
pub(crate) fn ours<R>(verb: impl FnOnce() -> R) -> R {
    marked(Whose::Ours, verb)
}

/// Does some work, in which the application may panic. A panic of ours goes on.
#[inline]
pub(crate) fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Payload> {
    // What the work leaves half done is the caller's to know.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match WHOSE.replace(Whose::Unknown) {
        Whose::Theirs => panic,
        Whose::Ours | Whose::Unknown => resume_unwind(panic),
    })
}

/// Lets go what the application made, such as what a panic said, and which may panic in turn.
pub(crate) fn let_go<T>(it: T) {
    if let Err(panic) = catch(|| theirs(|| drop(it))) {
        // What that said may panic as well, and then that is kept for ever.
        if let Err(another) = catch(|| theirs(|| drop(panic))) {
            std::mem::forget(another);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(&'static str);

    fn panic_with(said: &'static str) {
        resume_unwind(Box::new(Said(said))); // without the hook, which would print it
    }

    fn said(panic: Payload) -> &'static str {
        panic.downcast::<Said>().expect("it is what was said").0
    }

    #[test]
    fn only_the_applications_panics_are_caught() {
        assert_eq!(catch(|| 7).expect("nobody panics"), 7);
        let caught = catch(|| theirs(|| panic_with("theirs")));
        assert_eq!(said(caught.expect_err("a panic")), "theirs");
        // Around a callback, and inside of one.
        let around = catch_unwind(|| catch(|| panic_with("around")));
        assert_eq!(said(around.expect_err("it is ours")), "around");
        let inside = catch_unwind(|| catch(|| theirs(|| ours(|| panic_with("inside")))));
        assert_eq!(said(inside.expect_err("it is ours")), "inside");
        // Without a closure.
        let caught = catch(|| {
            let theirs = Mark::theirs();
            panic_with("between the two");
            theirs.end();
        });
        assert_eq!(said(caught.expect_err("a panic")), "between the two");
        let inside = catch_unwind(|| {
            catch(|| {
                theirs(|| {
                    let ours = Mark::ours();
                    panic_with("inside of the two");
                    ours.end();
                })
            })
        });
        assert_eq!(said(inside.expect_err("it is ours")), "inside of the two");
        // Each is judged anew.
        let caught = catch(|| theirs(|| panic_with("again")));
        assert_eq!(said(caught.expect_err("a panic")), "again");
    }

    /// What the application writes in place is its own, though the engine lends the place.
    #[test]
    fn what_is_between_two_verbs_is_theirs() {
        let caught = catch(|| {
            theirs(|| {
                ours(|| ());
                panic_with("between");
                ours(|| ());
            });
        });
        assert_eq!(said(caught.expect_err("a panic")), "between");
    }

    #[test]
    fn what_a_panic_said_may_panic() {
        struct Spiteful;
        impl Drop for Spiteful {
            fn drop(&mut self) {
                panic_with("and in the end");
            }
        }
        let_go(Box::new(Spiteful) as Payload);
        assert!(matches!(WHOSE.get(), Whose::Unknown));
    }
}
