//! What other threads say to have cores emptied before they end: [`Handle::drain`].

use super::{Handle, Member};
use crate::cores::CoreState;
use crate::drain::Drain;

impl<M> Member<M> {
    pub(crate) fn drain(&self, drain: Drain) {
        if matches!(self.control.state(), CoreState::Ended | CoreState::Failed) {
            return; // nobody would take it up
        }
        self.control.drain(drain);
        self.ring();
    }
}

impl<M> Handle<M> {
    /// Drains all cores, each of which ends when its connections have gone, as by [`stop`](Self::stop): see [`Drain`]. Does not wait;
    /// [`Running::join`](crate::Running::join) does, and returns the counters, with what came of it ([`Stats::drain_report`](crate::Stats::drain_report)).
    ///
    /// Asked for again, it makes the window, the deadline and the least time of a drain shorter, counted from then, and never longer; code and reason are those that it began
    /// with. A core that stops is not drained any more, and [`stop`](Self::stop) ends a drain at once.
    ///
    /// Cores accept meanwhile, and say 503. Where another server shares the port, or has been given the listener, say [`stop_accepting`](Self::stop_accepting)
    /// first: what is new goes there.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use wsring::{Client, Cx, Drain, Handler, Message};
    /// # struct Desk;
    /// # impl Handler for Desk {
    /// #     type Conn = ();
    /// #     type Mail = ();
    /// #     fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    /// # }
    /// # let running = Client::new().start(|_| Desk)?;
    /// running.handle().drain(Drain::over(Duration::from_secs(30)));
    /// for stats in running.join()? {
    ///     println!("{}", stats.drain_report().unwrap_or_default());
    /// }
    /// # Ok::<(), wsring::Error>(())
    /// ```
    pub fn drain(&self, drain: Drain) {
        self.members.iter().for_each(|member| member.drain(drain.clone()));
    }
}
