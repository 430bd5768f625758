//! Pings of the application that no pong has answered yet: one of a connection at a time.
//!
//! Owns when each went. Promises that a pong counts once, and only with the payload of the ping that is awaited (RFC 6455 §5.5.3), so that what a
//! peer says unasked tells nothing. Refuses to know what becomes of a round trip. Who never pings pays no memory.

use std::time::Duration;

use crate::ring::Time;

/// By the slots of connections, as far as somebody has pinged; 0: none is awaited.
#[derive(Debug, Default)]
pub(crate) struct Pings(Vec<u64>);

impl Pings {
    /// The payload of a ping to this connection; `None` if one is awaited.
    pub(crate) fn begin(&mut self, index: u32, now: Time) -> Option<[u8; 8]> {
        let index = index as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        if self.0[index] != 0 {
            return None;
        }
        self.0[index] = now.as_nanos().max(1);
        Some(self.0[index].to_be_bytes())
    }

    /// A pong with this payload: how long it took, if it is the one that is awaited.
    pub(crate) fn end(&mut self, index: u32, payload: &[u8], now: Time) -> Option<Duration> {
        let sent = self.0.get_mut(index as usize).filter(|sent| **sent != 0 && sent.to_be_bytes() == payload)?;
        Some(now.since(Time::from_nanos(std::mem::take(sent))))
    }

    /// The connection is over.
    pub(crate) fn forget(&mut self, index: u32) {
        if let Some(sent) = self.0.get_mut(index as usize) {
            *sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pong_that_is_awaited_counts_once() {
        let at = Time::from_nanos;
        let mut pings = Pings::default();
        assert_eq!(pings.end(3, &[0; 8], at(5)), None);
        let payload = pings.begin(3, at(1_000)).expect("the first");
        assert_eq!(pings.begin(3, at(1_001)), None, "one at a time");
        let other = pings.begin(5, at(1_002)).expect("another's");
        for wrong in [&other[..], &payload[1..], b"", &[0; 8]] {
            assert_eq!(pings.end(3, wrong, at(2_000)), None, "{wrong:?}");
        }
        assert_eq!(pings.end(4, &[0; 8], at(2_000)), None, "nobody was asked");
        assert_eq!(pings.end(3, &payload, at(2_500)), Some(Duration::from_nanos(1_500)));
        assert_eq!(pings.end(3, &payload, at(2_600)), None, "once");
        let payload = pings.begin(3, at(3_000)).expect("it has been answered");
        pings.forget(3);
        pings.forget(99);
        assert_eq!(pings.end(3, &payload, at(3_001)), None, "its slot is another's");
    }

    #[test]
    fn a_clock_may_begin_at_nothing() {
        let mut pings = Pings::default();
        let payload = pings.begin(0, Time::default()).expect("the first");
        assert_eq!(pings.end(0, &payload, Time::from_nanos(7)), Some(Duration::from_nanos(6)));
    }
}
