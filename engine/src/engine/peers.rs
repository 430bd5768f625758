//! Owns the table of connections that callbacks may reach: who has which slot, which of them are to be settled at the end of
//! the pass, and when each is due.
//!
//! Promises that nothing changes unseen: [`Peers::touch`] marks the connection that it lends, and a stage and its place on the
//! wheel change together. Refuses to know the receive side, and what settling means.

use super::begun::Begun;
use super::conns::Link;
use super::deadlines::{Deadlines, Span, Tick};
use super::flight::Unacked;
use super::id::ConnId;
use super::life::{Event, Life};
use crate::cores::Place;
use crate::ring::{Socket, Time};

/// The connections of a core.
pub(crate) struct Peers {
    place: Place,
    links: Vec<Link>,
    /// To settle at the end of the pass.
    marked: Vec<u32>,
    deadlines: Deadlines,
    begun: Begun,
}

impl Peers {
    /// `times_messages`: those that have begun are timed, as a rule.
    pub(crate) fn new(place: Place, connections_max: usize, times_messages: bool) -> Self {
        Self {
            place,
            links: Vec::with_capacity(connections_max),
            marked: Vec::with_capacity(1024),
            deadlines: Deadlines::new(connections_max),
            begun: Begun::new(times_messages, connections_max),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Link {
        &self.links[index as usize]
    }

    pub(crate) fn id_of(&self, index: u32) -> ConnId {
        ConnId::new(self.place, self.links[index as usize].tenant.generation(), index)
    }

    /// The index of a connection that still exists.
    pub(crate) fn find(&self, id: ConnId) -> Option<u32> {
        let link = self.links.get(id.index() as usize)?;
        let is_it = id.place() == self.place && link.tenant.generation() == id.generation();
        (is_it && !link.life.is_free()).then_some(id.index())
    }

    /// The index of a connection that the application has been told is open and has not been told is closed.
    #[inline]
    pub(crate) fn find_open(&self, id: ConnId) -> Option<u32> {
        self.find(id).filter(|&index| self.get(index).life.is_the_applications())
    }

    /// Gives a slot to a socket whose handshake is due then.
    pub(crate) fn take(&mut self, index: u32, socket: Socket, due: Tick) {
        if self.links.len() <= index as usize {
            self.links.resize_with(index as usize + 1, Link::free);
        }
        let link = &mut self.links[index as usize];
        assert!(link.life.is_free() && !link.is_busy(), "slot {index} was reused before its last completion");
        link.socket = socket;
        self.on(index, Event::Taken { due });
    }

    /// A connection to be changed: it is settled at the end of the pass.
    #[inline]
    pub(crate) fn touch(&mut self, index: u32) -> &mut Link {
        let link = &mut self.links[index as usize];
        if !std::mem::replace(&mut link.flight.marked, true) {
            self.marked.push(index);
        }
        link
    }

    /// Has a connection settled at the end of the pass: something changed on its receive side.
    #[inline]
    pub(crate) fn mark(&mut self, index: u32) {
        self.touch(index);
    }

    /// The connection moves on, and its deadline with it.
    #[inline]
    pub(crate) fn on(&mut self, index: u32, event: Event) {
        self.mark(index);
        self.settle(index, event);
    }

    /// For adding to its [`Link::block_of_pass`], which only a connection has that is marked already.
    #[inline]
    pub(crate) fn filling(&mut self, index: u32) -> Option<&mut Link> {
        self.links.get_mut(index as usize)
    }

    /// The clocks of a connection, which change nothing that would have to be submitted.
    #[inline]
    pub(crate) fn life(&mut self, index: u32) -> &mut Life {
        &mut self.links[index as usize].life
    }

    /// For settling alone, which is what a mark asks for.
    #[inline]
    pub(crate) fn settling(&mut self, index: u32) -> &mut Link {
        &mut self.links[index as usize]
    }

    /// The same: it moves on.
    #[inline]
    pub(crate) fn settle(&mut self, index: u32, event: Event) {
        step(&mut self.links[index as usize].life, &mut self.deadlines, index, event);
    }

    /// Takes the mark off a connection that is about to be settled.
    pub(crate) fn unmark(&mut self, index: u32) {
        self.links[index as usize].flight.marked = false;
    }

    /// The marked connection at this place; settling may add others.
    pub(crate) fn marked(&self, place: usize) -> Option<u32> {
        self.marked.get(place).copied()
    }

    /// All that were marked have been settled.
    pub(crate) fn clear_marked(&mut self) {
        self.marked.clear();
    }

    /// The slot is free for the next, `generations` on. It may still be in the list of those to settle.
    pub(crate) fn free(&mut self, index: u32, generations: u32) {
        let link = &mut self.links[index as usize];
        assert!(!link.is_busy() && link.output.is_empty(), "a slot ended before its last operation");
        debug_assert_eq!(link.output.queued, 0, "bytes were counted that were neither sent nor thrown away");
        link.tenant = link.tenant.next(generations);
        link.flight.unacked = Unacked::Unknown;
        self.begun.clear(index);
        step(&mut link.life, &mut self.deadlines, index, Event::Freed);
    }

    /// Has [`Self::advance`] bring the connection up then, or not at all; and an open one by the end of a message's round at the latest.
    pub(crate) fn set_due(&mut self, index: u32, due: Option<Tick>) {
        match due {
            Some(due) => self.deadlines.set(index, due),
            None => self.deadlines.remove(index),
        }
        self.set_round_due(index);
    }

    /// The clock of a message that has begun.
    #[inline]
    pub(crate) fn begun(&mut self) -> &mut Begun {
        &mut self.begun
    }

    /// A message has begun or goes on, of which so many bytes are kept: its clock runs from here on, in rounds of this length, unless it does already.
    #[inline]
    pub(crate) fn begin_message(&mut self, index: u32, now: Tick, round: Span, kept: usize) {
        if let Some(end) = self.begun.begin(index, now, round, kept) {
            self.deadlines.set_earlier(index, end);
        }
    }

    /// Has [`Self::advance`] bring an open connection up by the end of a message's round, whatever else it waits for.
    pub(crate) fn set_round_due(&mut self, index: u32) {
        if let Some(end) = self.begun.end(index)
            && self.get(index).life.is_open()
        {
            self.deadlines.set_earlier(index, end);
        }
    }

    /// Messages of the connection are not taken from here on, if a callback said so: then its round does not count.
    pub(crate) fn excuse_unread(&mut self, index: u32) {
        if !self.get(index).life.takes_messages() {
            self.begun.excuse(index);
        }
    }

    /// Adds those that are due to `due`, at most `most`.
    pub(crate) fn advance(&mut self, now: Tick, due: &mut Vec<u32>, most: usize) {
        self.deadlines.advance(now, due, most);
    }

    /// Time begins here: a clock may have run before.
    pub(crate) fn begin(&mut self, now: Tick) {
        self.deadlines.begin(now);
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self, now: Time) -> Option<Time> {
        self.deadlines.next_due(now)
    }
}

/// The one place where a stage and its deadline change.
#[inline(always)] // which event it is, each caller knows
fn step(life: &mut Life, deadlines: &mut Deadlines, index: u32, event: Event) {
    life.on(event);
    match event {
        Event::Taken { due }
        | Event::CloseQueued { due, .. }
        | Event::SendFailed { due, .. }
        | Event::Aborted { due }
        | Event::Ended { due, .. }
        | Event::Drained { due } => deadlines.set(index, due),
        Event::CloseSubmitted | Event::Freed => deadlines.remove(index),
        Event::Opened { .. } | Event::PeerEnded | Event::Died(_) | Event::Cancelled => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::life::Parting;

    #[test]
    fn who_is_touched_is_settled_once() {
        let mut peers = Peers::new(Place::new(0), 4, false);
        for index in 0..3 {
            peers.take(index, Socket(index), Tick::ZERO);
        }
        peers.on(1, Event::Died(Parting::Fin));
        peers.mark(1);
        assert_eq!([0, 1, 2, 3].map(|place| peers.marked(place)), [Some(0), Some(1), Some(2), None]);
        peers.clear_marked();
        (0..3).for_each(|index| peers.unmark(index));
        assert!(!peers.life(2).on_heard(Tick::ZERO));
        assert_eq!(peers.marked(0), None, "a clock is nothing to settle");
        peers.touch(2).output.queued = 0;
        assert_eq!(peers.marked(0), Some(2));
    }

    #[test]
    fn a_stage_and_its_deadline_change_together() {
        let mut peers = Peers::new(Place::new(0), 4, false);
        let fired = |peers: &mut Peers, after: u64| {
            let mut due = Vec::new();
            peers.advance(Tick::ZERO.after(Duration::from_secs(after)), &mut due, 10);
            due
        };
        peers.take(0, Socket(0), Tick::ZERO.after(Duration::from_secs(1)));
        let id = peers.id_of(0);
        assert_eq!(fired(&mut peers, 2), [0]);
        let (due, until) = (Tick::ZERO.after(Duration::from_secs(3)), Tick::ZERO.after(Duration::from_secs(9)));
        peers.on(0, Event::Ended { due, until, linger: true });
        peers.settle(0, Event::Drained { due: Tick::ZERO.after(Duration::from_secs(5)) });
        assert_eq!(fired(&mut peers, 4), [], "that deadline was moved");
        peers.settle(0, Event::Died(Parting::Reset));
        peers.settle(0, Event::CloseSubmitted);
        assert_eq!(fired(&mut peers, 9), []);
        assert_eq!(peers.find(id), Some(0));
        peers.free(0, 1);
        assert_eq!(peers.find(id), None);
    }
}
