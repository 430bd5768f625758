//! The fan-out: everybody in a room hears what anybody there says, the speaker included.
//!
//! Owns a queue for each connection. Promises that nothing is dropped (the queues have no limit: the load client
//! bounds what is in flight), that the order is the same for all, and that what waits for a connection is written at
//! once. Refuses to know the message, save that a copy of it shares the payload.

use std::sync::Mutex;

use futures_util::{Sink, SinkExt, Stream};
use tokio::sync::mpsc;

use crate::{BATCH_MAX, gather};

/// Everybody connected to [`crate::FAN_OUT_PATH`].
#[derive(Debug)]
pub struct Room<M> {
    // One thread: the lock is never waited for. A queue for each connection rather than one that all read
    // (tokio's broadcast), because that one drops messages for those who fall behind.
    seats: Mutex<Vec<mpsc::UnboundedSender<M>>>,
}

impl<M: Clone> Room<M> {
    /// An empty room.
    pub const fn new() -> Self {
        Self { seats: Mutex::new(Vec::new()) }
    }

    /// Takes a seat: its queue, both ends. It is left by dropping the receiver.
    pub fn enter(&self) -> (mpsc::UnboundedSender<M>, mpsc::UnboundedReceiver<M>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.seats.lock().expect("nobody panics while holding it").push(sender.clone());
        (sender, receiver)
    }

    /// Queues a message for everybody; those who left lose their seat.
    pub fn publish(&self, message: &M) {
        let mut seats = self.seats.lock().expect("nobody panics while holding it");
        seats.retain(|seat| seat.send(message.clone()).is_ok());
    }

    /// One connection's stay: publishes what it says, writes what it hears.
    pub async fn stay<S, E>(&self, ws: &mut S, carries_data: fn(&M) -> bool) -> Result<(), E>
    where
        S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    {
        let (_seat, mut inbox) = self.enter();
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        let mut open = true;
        while open {
            // Reading comes first: what was said together is then heard together.
            tokio::select! { biased;
                still_open = gather(ws, &mut said) => open = still_open,
                _ = inbox.recv_many(&mut heard, BATCH_MAX) => {}
            }
            for message in said.drain(..).filter(carries_data) {
                self.publish(&message);
            }
            while heard.len() < BATCH_MAX
                && let Ok(message) = inbox.try_recv()
            {
                heard.push(message);
            }
            for message in heard.drain(..) {
                ws.feed(message).await?;
            }
            ws.flush().await?;
        }
        Ok(())
    }
}

impl<M: Clone> Default for Room<M> {
    fn default() -> Self {
        Self::new()
    }
}
