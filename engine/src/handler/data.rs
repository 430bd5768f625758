//! The application's states of connections, as callbacks have them: of the callback's own connection ([`Cx`]), of any other, and of all in turn.

use std::fmt;

use super::callbacks::{Conn, CoreCx, Cx, Handler};
use crate::engine::ConnId;
use crate::engine::planted::planted;

impl<'a, H: Handler> Cx<'a, H> {
    /// The application's state of this connection. It is borrowed together with everything that can be sent to; [`split`](Self::split)
    /// lends them apart.
    #[inline]
    pub fn data(&mut self) -> &mut H::Conn {
        self.conn.data().expect(THERE)
    }

    /// The state and the connection apart: what is sent may be made of the state, and the state may be changed by what became of that.
    /// Through the second half this state cannot be reached, and all others can; where a connection that was found through it is
    /// split again, no other.
    ///
    /// ```
    /// use wsring::{Cx, Handler};
    ///
    /// struct Log { lines: Vec<String>, sent: usize }
    ///
    /// fn send_on<H: Handler<Conn = Log>>(cx: &mut Cx<'_, H>) {
    ///     let (log, mut conn) = cx.split();
    ///     for line in &log.lines[log.sent..] {
    ///         if !conn.send(line.as_str()).is_queued() {
    ///             break;
    ///         }
    ///         log.sent += 1;
    ///     }
    /// }
    /// ```
    pub fn split(&mut self) -> (&mut H::Conn, Conn<'_, H>) {
        let index = self.conn.index();
        let core: &mut CoreCx<'a, H> = &mut self.conn;
        let (data, others) = core.states.split(index).expect(THERE);
        (data, Conn::new(CoreCx::new(core.out, others), index))
    }

    /// Whether no further whole message of this connection has arrived with this one. Outside of `on_message` true.
    #[inline]
    pub fn is_last_in_batch(&self) -> bool {
        self.last
    }
}

/// Only connections that have one become a [`Cx`], and none ends within a callback.
const THERE: &str = "an open connection has a state";

/// # Connections
/// A connection is found between its `on_open` (while that is called, already) and its `on_close` (while that is called, no more).
impl<H: Handler> CoreCx<'_, H> {
    /// The state of a connection of this core by its id. `None` where [`conn`](Self::conn) has none, and for the connection whose state is lent
    /// apart by [`Cx::split`].
    ///
    /// ```
    /// use wsring::{ConnId, Cx, Handler, Message};
    ///
    /// /// Each player hits another, named by its id.
    /// struct Game;
    /// struct Player { health: u32, target: Option<ConnId> }
    ///
    /// impl Handler for Game {
    ///     type Conn = Player;
    ///     type Mail = ();
    ///     fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
    ///         let Some(target) = cx.data().target else { return };
    ///         if let Some(hit) = cx.data_of(target) {
    ///             hit.health = hit.health.saturating_sub(1);
    ///         }
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn data_of(&mut self, id: ConnId) -> Option<&mut H::Conn> {
        let index = planted!(StateOfStale, id.index(); self.found(id)?);
        self.states.get(index)
    }

    /// A connection of this core with its state, by its id. `None` where [`data_of`](Self::data_of) has none.
    pub fn cx_of(&mut self, id: ConnId) -> Option<Cx<'_, H>> {
        let index = self.found(id)?;
        self.states.get(index)?;
        Some(Cx::new(self.reborrow(), index, true))
    }

    /// Calls `visit` for each connection of this core, in no particular order; not for the one whose state is lent apart by
    /// [`Cx::split`]. It may do with each, and with any other, what any callback may. Takes time by the most connections that
    /// the core has had at once; does not allocate.
    ///
    /// ```
    /// use wsring::{CoreCx, Handler};
    ///
    /// fn tell_the_rich<H: Handler<Conn = u64>>(core: &mut CoreCx<'_, H>) {
    ///     core.for_each(|cx| {
    ///         if *cx.data() > 1_000_000 {
    ///             let _ = cx.send("taxes are due");
    ///         }
    ///     });
    /// }
    /// ```
    pub fn for_each(&mut self, mut visit: impl FnMut(&mut Cx<'_, H>)) {
        for index in 0..planted!(VisitMissed, self.states.end().saturating_sub(1); self.states.end()) {
            if self.states.get(index).is_some() {
                visit(&mut Cx::new(self.reborrow(), index, true));
            }
        }
    }

    /// How many connections of this core [`for_each`](Self::for_each) would find if none was lent apart: those that are open.
    pub fn open(&self) -> usize {
        self.out.stats.open as usize
    }
}

impl<H: Handler> Conn<'_, H> {
    /// The application's state of this connection; `None` if it is lent apart by [`Cx::split`].
    #[inline]
    pub fn data(&mut self) -> Option<&mut H::Conn> {
        let index = self.index();
        self.states.get(index)
    }
}

impl<H: Handler> fmt::Debug for Cx<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("conn", &self.conn).field("last", &self.last).finish_non_exhaustive()
    }
}
