//! What happens when timers of the application and ticks have come.

use super::alarms::Came;
use super::core::Core;
use super::planted::planted;
use super::ticks::Tick;
use crate::handler::Handler;
use crate::ring::Ring;

/// Timers of connections told in a pass, and as many of the core: sockets do not wait for more.
const FIRE_MAX: usize = 512;

impl<R: Ring, H: Handler> Core<R, H> {
    /// Tells the application of timers that have come. What it sets now comes in a later pass.
    #[inline]
    pub(super) fn fire_timers(&mut self) {
        if self.out.alarms.is_due(self.out.clock) {
            self.fire_due_timers();
        }
    }

    #[cold]
    fn fire_due_timers(&mut self) {
        for _ in 0..FIRE_MAX {
            let heard = self.heard.until();
            let Some((index, came)) = self.out.alarms.pop_conn(heard) else { break };
            // One that ends with a callback of this pass takes its timers with it.
            if !self.calls.has_state(index) {
                continue;
            }
            let timer = match came {
                Came::Timer(timer) => timer,
                Came::Age(age) => {
                    self.on_age(index, age);
                    continue;
                }
            };
            self.out.stats.timers += 1;
            self.out.stats.timers_missed += timer.missed;
            if self.calls.conn_timer(&mut self.out, index, timer).is_err() {
                self.on_panicked(index);
            }
        }
        for _ in 0..FIRE_MAX {
            let timer = match self.out.alarms.pop_core(self.out.clock) {
                None => break,
                Some((_, Came::Timer(timer))) => timer,
                Some((owner, Came::Age(age))) => {
                    owner.into_iter().for_each(|index| self.on_age(index, age));
                    continue;
                }
            };
            planted!(TimerLost, continue);
            self.out.stats.timers += 1;
            self.out.stats.timers_missed += timer.missed;
            self.calls.timer(&mut self.out, timer);
        }
        if let Some(tick) = self.out.alarms.pop_tick(self.out.clock) {
            self.on_tick(tick);
        }
        self.out.alarms.look_ahead();
    }

    /// Behind everything else of its pass, so that what peers had said and what timers did is in it.
    fn on_tick(&mut self, tick: Tick) {
        self.out.stats.ticks += 1;
        self.out.stats.ticks_missed += tick.missed;
        self.out.stats.ticks_late_us += tick.late.as_micros() as u64;
        planted!(TickUntold, return);
        self.calls.tick(&mut self.out, tick);
        self.out.flush();
    }
}
