//! A client that only listens, for as long as it takes: it answers pings, and tells of everything else.

use crate::client::{Client, Frame, PING, PONG};

impl Client {
    /// The next frame that is no ping; those are answered, as by a peer that says nothing for longer than the idle timeout.
    #[track_caller]
    pub fn frame_past_pings(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if frame.opcode != PING {
                return frame;
            }
            self.send(PONG, &frame.payload);
        }
    }
}
