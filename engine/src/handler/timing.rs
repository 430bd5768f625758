//! Time as a callback has it: the clock, and timers of the core and of a connection.

use std::time::Duration;

use super::callbacks::{Conn, CoreCx, Handler};
use crate::engine::panics::ours;
use crate::engine::{TimerId, TimersFull};
use crate::ring::Time;

impl<H: Handler> CoreCx<'_, H> {
    /// The time of this pass of the loop. The clock is read once a pass, behind the wait: all callbacks of a pass see the same time, and what
    /// `on_message` is told had come by then. (A message that waited because its connection was not read had come earlier.)
    #[inline]
    pub fn now(&self) -> Time {
        self.out.clock
    }

    /// Sets a timer of the core: once `after` has passed [`on_timer`](crate::Handler::on_timer) is called with `key`, not before and in a
    /// later pass in any case. Timers come in the order of their times, and those of one time in the order in which they were set;
    /// how late depends on what else the core does, and no pass tells of more than 512. Setting and cancelling cost some ten
    /// nanoseconds, whatever else is set.
    ///
    /// Where a connection is at hand ([`Cx`](crate::Cx), [`Conn`](crate::Conn)) `set_timer` is the connection's; the core's is
    /// `CoreCx::set_timer(cx, ..)` there.
    ///
    /// # Errors
    /// If as many are set as [`Config::timers_max`](crate::Config::timers_max) allows.
    pub fn set_timer(&mut self, after: Duration, key: u64) -> Result<TimerId, TimersFull> {
        self.set_alarm(after, false, key, None)
    }

    /// Sets a timer of the core that comes each `period` (at least a nanosecond), first in one. It does not drift: each time is a period
    /// behind the one before, however late that was told. Where the core was too late for some of them, they are counted
    /// ([`Fired::missed`](crate::Fired::missed)), not told one by one.
    ///
    /// # Errors
    /// As [`set_timer`](Self::set_timer).
    pub fn set_interval(&mut self, period: Duration, key: u64) -> Result<TimerId, TimersFull> {
        self.set_alarm(period, true, key, None)
    }

    /// A timer, of the core or of any connection, is not to come any more: nothing is called for it from here on. False if it is none, because it has come
    /// (and does not repeat), was cancelled, its connection has ended, or it is another core's.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        ours(|| self.out.alarms.cancel(timer))
    }

    fn set_alarm(
        &mut self,
        after: Duration,
        repeats: bool,
        key: u64,
        owner: Option<u32>,
    ) -> Result<TimerId, TimersFull> {
        ours(|| self.out.alarms.set(self.out.clock, after, repeats, key, owner))
    }
}

impl<H: Handler> Conn<'_, H> {
    /// Sets a timer of this connection: once `after` has passed [`on_conn_timer`](crate::Handler::on_conn_timer) is called with `key`.
    /// It ends with the connection, before its `on_close`. What the peer had sent by its time is handled first, if the connection is read: a
    /// peer that answered in time has been heard, however long the process stood still. So such a timer comes a pass later than one
    /// of the core's, and the order in which they come is the core's and the connections' apart. Else as [`CoreCx::set_timer`].
    ///
    /// # Errors
    /// If as many are set as [`Config::timers_max`](crate::Config::timers_max) allows.
    ///
    /// # Examples
    /// A heartbeat of the application, and an end of who does not answer:
    /// ```
    /// use std::time::Duration;
    /// use wsring::{CloseCode, Cx, Fired, Handler, Message, TimerId};
    ///
    /// struct Beats;
    /// const BEAT: u64 = 1;
    /// const LATE: u64 = 2;
    ///
    /// impl Handler for Beats {
    ///     type Conn = Option<TimerId>;
    ///     type Mail = ();
    ///     fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
    ///         if cx.set_interval(Duration::from_secs(20), BEAT).is_err() {
    ///             cx.close(CloseCode::TRY_AGAIN, "too many timers");
    ///         }
    ///     }
    ///     fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
    ///         if let Some(late) = cx.data().take() {
    ///             cx.cancel(late);
    ///         }
    ///     }
    ///     fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Fired) {
    ///         if timer.key == LATE {
    ///             return cx.close(CloseCode::POLICY, "no answer");
    ///         }
    ///         let _ = cx.send(r#"{"op":"beat"}"#);
    ///         if cx.data().is_none() {
    ///             *cx.data() = cx.set_timer(Duration::from_secs(5), LATE).ok();
    ///         }
    ///     }
    /// }
    /// ```
    pub fn set_timer(&mut self, after: Duration, key: u64) -> Result<TimerId, TimersFull> {
        let index = self.index();
        self.set_alarm(after, false, key, Some(index))
    }

    /// Sets a timer of this connection that repeats: see [`CoreCx::set_interval`] and [`set_timer`](Self::set_timer).
    ///
    /// # Errors
    /// As [`set_timer`](Self::set_timer).
    pub fn set_interval(&mut self, period: Duration, key: u64) -> Result<TimerId, TimersFull> {
        let index = self.index();
        self.set_alarm(period, true, key, Some(index))
    }
}
