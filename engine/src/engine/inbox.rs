//! Owns what other threads leave for a core and what it tells them, and the only atomics and lock of the engine. It is read when the
//! core's ring wakes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use super::board::Board;
use crate::cores::CoreState;
use crate::drain::Drain;
use crate::stats::Stats;

/// What other threads tell a core.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stop: AtomicBool,
    stop_accepting: AtomicBool,
    /// By listener: another process has it too, and gets who waits there. None before anybody has said so.
    shared: Mutex<Arc<[bool]>>,
    has_shared: AtomicBool,
    /// Its accepts are to begin anew.
    again: AtomicBool,
    leaving: Mutex<Leaving>,
    has_left: Condvar,
    woken: AtomicBool,
    /// There is something in `drains`.
    has_drains: AtomicBool,
    drains: Mutex<Vec<Drain>>,
    /// There is something in `resolved`.
    has_resolved: AtomicBool,
    resolved: Mutex<Vec<Resolved>>,
    /// A [`CoreState`].
    state: AtomicU8,
    board: Board,
}

/// How far a core has come that is to accept nobody any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    #[default]
    Accepting,
    /// Its listeners are closed.
    Closed,
    /// And whoever it had accepted is open, answered or gone.
    Left,
}

/// A lookup for a dial: its index, and the number of the timer that this lookup has. A dial looks its name up anew in each
/// attempt, and a late answer belongs to none but its own.
pub(crate) type Lookup = (u32, u64);

/// A name that was looked up.
pub(crate) type Resolved = (Lookup, io::Result<Vec<SocketAddr>>);

/// Looks up a host and port for a dial, elsewhere; the answer comes by way of [`Control::resolved`] and a wake. What is weak is gone when the
/// answer is not wanted any more.
pub(crate) type Resolve = Box<dyn Fn(String, u16, Lookup, Weak<()>)>;

/// For other threads. Each is followed by a wake of the ring.
impl Control {
    /// Asks for a clean stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks that nobody more be accepted.
    pub(crate) fn stop_accepting(&self) {
        self.stop_accepting.store(true, Ordering::Release);
    }

    /// Asks that it be drained.
    pub(crate) fn drain(&self, drain: Drain) {
        self.drains.lock().expect("nobody panics with it").push(drain);
        self.has_drains.store(true, Ordering::Release);
    }

    /// Says which listeners another process has too, from here on.
    pub(crate) fn share(&self, shared: Arc<[bool]>) {
        *self.shared.lock().expect("nobody panics with it") = shared;
        self.has_shared.store(true, Ordering::Release);
    }

    /// Has its accepts begin anew: another process that had a listener too may have been woken for somebody who waits there, and have gone without taking
    /// him. (The kernel wakes one of those that wait to accept.)
    pub(crate) fn accept_again(&self) {
        self.again.store(true, Ordering::Release);
    }

    /// Waits until it has come so far, of which the end of the core is part.
    pub(crate) fn wait_until(&self, far: Leaving) {
        let leaving = self.leaving.lock().expect("nobody panics with it");
        let _leaving = self.has_left.wait_while(leaving, |come| *come < far).expect("nobody panics with it");
    }

    /// Asks for `on_wake`. False if somebody has asked already, and woken the ring.
    pub(crate) fn wake(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    /// How far its life has come.
    pub(crate) fn state(&self) -> CoreState {
        let state = self.state.load(Ordering::Acquire);
        let all = [CoreState::Starting, CoreState::Running, CoreState::Draining, CoreState::Stopping];
        let over = [CoreState::Ended, CoreState::Failed];
        all.into_iter().chain(over).find(|known| *known as u8 == state).expect("nobody else stores one")
    }

    /// The core's counters, from a pass after this call or from its end, if that comes in time. `ring` wakes the ring.
    pub(crate) fn stats(&self, ring: impl FnOnce(), patience: Duration) -> Option<Stats> {
        self.board.ask(ring, patience)
    }

    /// A name was looked up.
    pub(crate) fn resolved(&self, resolved: Resolved) {
        self.resolved.lock().expect("nobody panics with it").push(resolved);
        self.has_resolved.store(true, Ordering::Release);
    }
}

/// Of a core that is not over: when this goes, it is.
#[must_use]
pub(crate) struct Tenure(Arc<Control>);

impl Drop for Tenure {
    fn drop(&mut self) {
        self.0.tell(if std::thread::panicking() { CoreState::Failed } else { CoreState::Ended });
        self.0.tell_leaving(Leaving::Left);
        self.0.board.end(None); // unless its last counters are there
    }
}

/// For the core.
impl Control {
    /// It is being made.
    pub(crate) fn begin(self: &Arc<Self>) -> Tenure {
        Tenure(Arc::clone(self))
    }

    /// How far its life has come. A failure is for ever.
    pub(crate) fn tell(&self, state: CoreState) {
        if self.state() != CoreState::Failed {
            self.state.store(state as u8, Ordering::Release);
        }
    }

    pub(super) fn take_woken(&self) -> bool {
        take(&self.woken)
    }

    /// Names that were looked up since the last call.
    pub(super) fn take_resolved(&self) -> Vec<Resolved> {
        match take(&self.has_resolved) {
            true => std::mem::take(&mut *self.resolved.lock().expect("nobody panics with it")),
            false => Vec::new(),
        }
    }

    /// Drains that were asked for since the last call, in order.
    pub(super) fn take_drains(&self) -> Vec<Drain> {
        match take(&self.has_drains) {
            true => std::mem::take(&mut *self.drains.lock().expect("nobody panics with it")),
            false => Vec::new(),
        }
    }

    /// Somebody wants its counters at the end of this pass: the number of that question.
    pub(super) fn question(&self) -> Option<u64> {
        self.board.question()
    }

    /// Its counters, to that question.
    pub(super) fn answer(&self, question: u64, stats: Stats) {
        self.board.answer(question, stats);
    }

    /// Its counters at its end.
    pub(super) fn answer_last(&self, stats: Stats) {
        self.board.end(Some(stats));
    }

    /// Which listeners another process has too, if that has changed.
    pub(super) fn take_shared(&self) -> Option<Arc<[bool]>> {
        take(&self.has_shared).then(|| Arc::clone(&self.shared.lock().expect("nobody panics with it")))
    }

    pub(super) fn take_again(&self) -> bool {
        take(&self.again)
    }

    pub(super) fn tell_leaving(&self, come: Leaving) {
        *self.leaving.lock().expect("nobody panics with it") = come;
        self.has_left.notify_all();
    }

    /// That is never taken back.
    pub(super) fn must_stop_accepting(&self) -> bool {
        self.stop_accepting.load(Ordering::Acquire)
    }

    /// A stop is never taken back.
    pub(crate) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Takes a mark off. Whoever set it has woken the ring since, so what is seen without a locked instruction is not old.
fn take(mark: &AtomicBool) -> bool {
    mark.load(Ordering::Relaxed) && mark.swap(false, Ordering::AcqRel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_taken_once_but_for_a_stop() {
        let control = Control::default();
        assert!(!control.take_woken() && !control.must_stop() && control.take_resolved().is_empty());
        assert!(control.wake() && !control.wake());
        control.resolved(((1, 2), Ok(Vec::new())));
        control.resolved(((3, 4), Ok(Vec::new())));
        let drains = [1, 2].map(|secs| Drain::over(Duration::from_secs(secs)));
        drains.iter().for_each(|drain| control.drain(drain.clone()));
        control.stop();
        assert_eq!((control.take_drains(), control.take_drains()), (drains.to_vec(), vec![]));
        assert!(control.take_woken() && !control.take_woken());
        let lookups: Vec<Lookup> = control.take_resolved().into_iter().map(|(lookup, _)| lookup).collect();
        assert_eq!(lookups, [(1, 2), (3, 4)]);
        assert!(control.take_resolved().is_empty() && control.must_stop() && control.must_stop());
    }

    #[test]
    fn a_core_that_is_over_has_left() {
        let control = Arc::new(Control::default());
        assert!(control.take_shared().is_none());
        control.share([true, false].into());
        assert_eq!(control.take_shared().as_deref(), Some(&[true, false][..]));
        assert!(control.take_shared().is_none(), "told once");
        let tenure = control.begin();
        let waits = {
            let control = Arc::clone(&control);
            std::thread::spawn(move || control.wait_until(Leaving::Left))
        };
        control.tell_leaving(Leaving::Closed);
        control.wait_until(Leaving::Closed);
        drop(tenure);
        waits.join().expect("no panic");
    }

    #[test]
    fn a_core_says_how_it_ended() {
        for (fails, panics, end) in
            [(false, false, CoreState::Ended), (true, false, CoreState::Failed), (false, true, CoreState::Failed)]
        {
            let control = Arc::new(Control::default());
            assert_eq!(control.state(), CoreState::Starting);
            let tenure = control.begin();
            for state in [CoreState::Running, CoreState::Draining, CoreState::Stopping] {
                control.tell(state);
                assert_eq!(control.state(), state);
            }
            if fails {
                control.tell(CoreState::Failed);
                control.tell(CoreState::Stopping);
                assert_eq!(control.state(), CoreState::Failed);
            }
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _tenure = tenure;
                if panics {
                    std::panic::resume_unwind(Box::new(()));
                }
            }));
            assert_eq!(control.state(), end);
        }
    }
}
