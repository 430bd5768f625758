//! What happens to connections whose deadline has come.

use wsring_proto::opcode::Opcode;

use super::core::Core;
use super::life::Life;
use super::patience::LOOK;
use crate::handler::{CloseReason, Handler};
use crate::ring::{Errno, Ring};

/// Deadlines looked at in a turn.
const EXPIRE_MAX: usize = 512;

impl<R: Ring, H: Handler> Core<R, H> {
    pub(super) fn expire_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.out.peers.advance(self.heard.tick(), &mut due, EXPIRE_MAX);
        for index in due.drain(..) {
            self.expire(index);
        }
        self.due = due;
        self.expire_stop();
    }

    /// The deadline of a connection has come, or the wheel's horizon before it.
    pub(super) fn expire(&mut self, index: u32) {
        let heard = self.heard.tick();
        let life = self.out.link(index).life;
        if let Some(due) = life.due().filter(|due| !due.is_due(heard)) {
            return self.out.peers.set_due(index, Some(due));
        }
        match life {
            Life::Head { .. } => {
                self.out.stats.timeouts += 1;
                self.end_head(index, &CloseReason::Timeout);
            }
            Life::Quiet { .. } | Life::Pinged { .. } => self.expire_idle(index),
            Life::Broken { errno, .. } => {
                self.end(index, &CloseReason::Reset(Errno(errno.into())), false);
                self.die(index);
            }
            Life::Closing { .. } | Life::Finishing { .. } | Life::Lingering { .. } => self.look_at(index, LOOK),
            Life::Dying(..) | Life::Free => {}
        }
    }

    /// An open connection: ping a silent peer, and end one that does not answer.
    pub(super) fn expire_idle(&mut self, index: u32) {
        let Some(idle) = self.config.idle_timeout else { return };
        let (now, heard) = (self.out.now, self.heard.tick());
        let is_sending = self.out.link(index).output.is_sending;
        let is_held = self.shortage.waits_for_memory(index);
        let life = self.out.peers.life(index);
        let is_read = life.takes_messages() && !is_held;
        if !is_read {
            life.forget_ping(); // its answer may lie unread: ask again when it is read
        }
        match *life {
            // It may be taking what stands between it and our ping.
            Life::Pinged { due, .. } if due.is_due(heard) => self.look_at(index, self.config.pong_timeout),
            Life::Pinged { due, .. } => self.out.peers.set_due(index, Some(due)),
            Life::Quiet { since, .. } if !since.after(idle).is_due(heard) => {
                self.out.peers.set_due(index, Some(since.after(idle)));
            }
            // Not read, so its silence is ours; but it must take what is queued for it.
            Life::Quiet { .. } if !is_read && is_sending => self.look_at(index, idle),
            Life::Quiet { .. } if !is_read => self.out.peers.set_due(index, Some(now.after(idle))),
            _ => {
                let due = now.after(self.config.pong_timeout);
                life.on_pinged(due);
                self.out.peers.mark(index);
                self.out.forget_look(index);
                self.out.control(index, Opcode::Ping, &[]);
                self.out.peers.set_due(index, Some(due));
            }
        }
    }
}
