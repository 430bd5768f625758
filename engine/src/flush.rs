//! When what is sent goes out: [`Flush`].

/// When messages that are sent go out: see [`Config::flush`](crate::Config::flush).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flush {
    /// With all others of the pass, at its end.
    #[default]
    EndOfPass,
    /// With all others since the last tick, at the end of the pass that tells of the next ([`Config::tick`](crate::Config::tick)), so that each
    /// connection gets one send a tick, however many messages it was sent since.
    ///
    /// Not waited for is what is no message: an answer to a request or an upgrade, a ping, a pong, a Close; and a connection that has more than
    /// [`output_high_bytes`](crate::Config::output_high_bytes) queued. Since a connection's bytes are in one order, what is queued in front of such
    /// goes along. Output of more than a send block ([`SendBuffers`](crate::SendBuffers), 4 KiB by default) takes several sends, one after the other,
    /// and what is sent to its connection before the last of them goes along as well.
    AtTick,
}
