//! Owns the pongs of connections that are read on while their output is high: of each, one waits in the output, and the ping that
//! came last since then is remembered.
//!
//! Promises that pings cannot make an output grow, whatever their number: RFC 6455 §5.5.3 has an endpoint that has not yet sent the
//! pongs of earlier pings answer the most recent one alone. Refuses to know the outputs, and what a frame is.

use std::collections::BTreeMap;

use wsring_proto::close::CONTROL_PAYLOAD_MAX;

/// The payload of a ping.
#[derive(Clone, Copy)]
pub(crate) struct Ping {
    len: u8,
    bytes: [u8; CONTROL_PAYLOAD_MAX],
}

impl Ping {
    fn of(payload: &[u8]) -> Self {
        let mut bytes = [0; CONTROL_PAYLOAD_MAX];
        bytes[..payload.len()].copy_from_slice(payload);
        Self { len: payload.len() as u8, bytes }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A pong in an output.
struct Waiting {
    /// Bytes of the output up to its end.
    ahead: u32,
    /// The last ping that came behind the one that it answers.
    last: Option<Ping>,
}

/// What is to be done for a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Answer {
    /// Its pong is queued now.
    Now,
    /// When the pong that waits has gone, unless another ping comes before.
    Later,
    /// The same, and the ping that was to be answered then is not.
    Instead,
}

/// By connection. Empty but for pings that meet high output.
#[derive(Default)]
pub(crate) struct Pongs {
    waiting: BTreeMap<u32, Box<Waiting>>,
}

impl Pongs {
    /// A ping of a connection whose output is high. With [`Answer::Now`] follows [`Self::on_queued`].
    pub(crate) fn on_ping(&mut self, index: u32, payload: &[u8]) -> Answer {
        let Some(waiting) = self.waiting.get_mut(&index) else { return Answer::Now };
        match waiting.last.replace(Ping::of(payload)) {
            None => Answer::Later,
            Some(_) => Answer::Instead,
        }
    }

    /// A pong is the last of `queued` bytes.
    pub(crate) fn on_queued(&mut self, index: u32, queued: u32) {
        self.waiting.insert(index, Box::new(Waiting { ahead: queued, last: None }));
    }

    /// So many bytes have gone: the ping that is to be answered now, if the pong that waited was among them.
    pub(crate) fn on_sent(&mut self, index: u32, sent: u32) -> Option<Ping> {
        let waiting = self.waiting.get_mut(&index)?;
        waiting.ahead = waiting.ahead.saturating_sub(sent);
        if waiting.ahead > 0 { None } else { self.end(index) }
    }

    /// The output is not high any more, or nothing more will be said: the ping that is to be answered now.
    pub(crate) fn end(&mut self, index: u32) -> Option<Ping> {
        self.waiting.remove(&index)?.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pong_waits_and_the_last_ping_is_answered_behind_it() {
        let mut pongs = Pongs::default();
        let last = |ping: Option<Ping>| ping.map(|ping| ping.payload().to_vec());
        assert_eq!(pongs.on_ping(3, b"a"), Answer::Now);
        pongs.on_queued(3, 1_000);
        assert_eq!((pongs.on_ping(3, b"b"), pongs.on_ping(3, &[7; 125])), (Answer::Later, Answer::Instead));
        assert_eq!(pongs.on_ping(4, b"z"), Answer::Now, "another's");
        assert_eq!(last(pongs.on_sent(3, 999)), None);
        assert_eq!(last(pongs.on_sent(4, 5_000)), None, "its pong was never queued");
        assert_eq!(last(pongs.on_sent(3, 1)), Some(vec![7; 125]));
        assert_eq!(pongs.on_ping(3, b"c"), Answer::Now, "none waits");
        pongs.on_queued(3, 10);
        assert_eq!(last(pongs.on_sent(3, 500)), None, "no ping came behind it");
        pongs.on_queued(3, 10);
        assert_eq!(pongs.on_ping(3, b""), Answer::Later);
        assert_eq!((last(pongs.end(3)), last(pongs.end(3))), (Some(Vec::new()), None));
    }
}
