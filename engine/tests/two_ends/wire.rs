//! What joins the networks of two simulated kernels: bytes that one engine's peer has read are what the other's writes.
//!
//! Owns the bytes on the way, which are few, and the ends and resets behind them. Each engine is woken once a tick, so that neither sleeps
//! through what the other does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use wsring::ring::sim::{Net, Outside, PipeId, Read, Written};

/// Called each tick.
pub const TICK: u64 = 1;
/// Called when the connection may have changed.
pub const PIPE: u64 = 2;

/// Bytes on the way in one direction.
const HELD_MAX: usize = 4_096;

/// Which side of the wire an engine is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Serves,
    Dials,
}

/// One direction.
#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    ended: bool,
    told: bool,
}

/// Both directions, by who reads them.
#[derive(Default)]
pub struct Cable {
    to_server: Lane,
    to_client: Lane,
    connected: bool,
    broken: bool,
}

/// The world outside of one engine.
pub struct Post {
    way: Way,
    cable: Rc<RefCell<Cable>>,
    tick: Duration,
    pipe: Option<PipeId>,
    over: bool,
}

impl Post {
    pub fn new(way: Way, cable: Rc<RefCell<Cable>>, tick: Duration) -> Self {
        Self { way, cable, tick, pipe: None, over: false }
    }

    fn carry(&mut self, net: &mut Net) {
        let cable = &mut *self.cable.borrow_mut();
        if self.pipe.is_none() {
            self.pipe = match self.way {
                Way::Dials => net.take_dialled(PIPE).map(|(_, pipe)| pipe),
                Way::Serves => cable.connected.then(|| net.connect(0, PIPE).expect("nobody else connects")),
            };
            cable.connected |= self.pipe.is_some();
        }
        let Some(pipe) = self.pipe.filter(|_| !self.over) else { return };
        let (from, to) = match self.way {
            Way::Serves => (&mut cable.to_client, &mut cable.to_server),
            Way::Dials => (&mut cable.to_server, &mut cable.to_client),
        };
        if cable.broken {
            self.over = true;
            return net.reset(pipe);
        }
        // What our engine said.
        while from.bytes.len() < HELD_MAX && !from.ended {
            let mut bytes = Vec::new();
            match net.read(pipe, HELD_MAX - from.bytes.len(), &mut bytes) {
                Read::Bytes(_) => from.bytes.extend(bytes),
                Read::Nothing => break,
                Read::Eof => from.ended = true,
                Read::Reset => {
                    (cable.broken, self.over) = (true, true);
                    return;
                }
            }
        }
        // What the other one said.
        while !to.bytes.is_empty() {
            let bytes: Vec<u8> = to.bytes.iter().copied().collect();
            match net.write(pipe, &bytes) {
                Written::Bytes(0) => break,
                Written::Bytes(count) => drop(to.bytes.drain(..count)),
                Written::Reset => {
                    (cable.broken, self.over) = (true, true);
                    return;
                }
            }
        }
        if to.ended && to.bytes.is_empty() && !to.told {
            to.told = true;
            net.finish(pipe);
        }
        if from.ended && to.told {
            self.over = true;
            net.close(pipe);
        }
    }
}

impl Outside for Post {
    fn on_event(&mut self, net: &mut Net, key: u64) {
        self.carry(net);
        if key == TICK {
            net.wake();
            net.call_after(self.tick, TICK);
        }
    }
}
