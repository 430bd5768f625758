//! What can be wrong with a server's answer to a handshake (RFC 6455 §4.1), or why it is none yet.
//!
//! Owns the words. Refuses to know: how an answer is read.

use core::fmt;

/// How an answer is wrong, or no answer yet. The server's fault: fail the connection (RFC 6455 §7.1.7), except after
/// [`Interim`](AnswerError::Interim), and with more to tell after [`Status`](AnswerError::Status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The head is longer than the limit.
    HeadTooLarge,
    /// More header fields than the limit.
    TooManyHeaders,
    /// What begins the answer is no status line of HTTP/1.1 or HTTP/1.0 with a status of 100 or more (RFC 7230 §3.1.2). Nor is
    /// an empty line in front of one.
    StatusLine,
    /// A malformed header field; one that is folded, too, unless it was [`unfold`](super::unfold)ed (RFC 9112 §5.2).
    Header,
    /// The bytes given are not one whole head.
    Incomplete,
    /// An interim response with this status, 100 to 199 but not 101: the answer is still to come, in the next head (RFC 7231
    /// §6.2). How many of them to sit through is the caller's to bound.
    Interim(u16),
    /// The server answered with this status, 200 or more, and did not switch (item 1 of the RFC's list): a redirect, a refusal,
    /// a page.
    Status(u16),
    /// A 101 of HTTP/1.0, which has no upgrade (RFC 7230 §6.7).
    Http10,
    /// A 101 without Upgrade (item 2).
    UpgradeMissing,
    /// An Upgrade that is not just `websocket` (item 2), or a second one.
    UpgradeWrong,
    /// A 101 without Connection (item 3).
    ConnectionMissing,
    /// A Connection that does not list `upgrade` (item 3).
    ConnectionWrong,
    /// A 101 without Sec-WebSocket-Accept (item 4).
    AcceptMissing,
    /// A Sec-WebSocket-Accept that does not answer our key (item 4): a cache, or no WebSocket server.
    AcceptWrong,
    /// More than one Sec-WebSocket-Accept (RFC 6455 §11.3.3).
    AcceptRepeated,
    /// Extensions, though none were offered (item 5).
    ExtensionUnoffered,
    /// Extensions that break the grammar of RFC 6455 §9.1 (item 5).
    ExtensionsMalformed,
    /// A subprotocol that was not offered, or is none at all (item 6).
    SubprotocolUnoffered,
    /// More than one Sec-WebSocket-Protocol (RFC 6455 §11.3.4).
    SubprotocolRepeated,
    /// A 101 with Transfer-Encoding or a Content-Length that is not 0 (RFC 7230 §3.3.1, §3.3.2): a body could be taken for
    /// frames, or frames for a body.
    Body,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerError::HeadTooLarge => "response head too large",
            AnswerError::TooManyHeaders => "too many response headers",
            AnswerError::StatusLine => "the answer does not begin with a status line of HTTP/1.1",
            AnswerError::Header => "malformed response header",
            AnswerError::Incomplete => "incomplete response head",
            AnswerError::Interim(status) => return write!(f, "interim response {status}"),
            AnswerError::Status(status) => return write!(f, "the server answered {status}, not 101"),
            AnswerError::Http10 => "the server switched protocols in HTTP/1.0",
            AnswerError::UpgradeMissing => "missing Upgrade header",
            AnswerError::UpgradeWrong => "the Upgrade header is not websocket",
            AnswerError::ConnectionMissing => "missing Connection header",
            AnswerError::ConnectionWrong => "the Connection header does not list upgrade",
            AnswerError::AcceptMissing => "missing Sec-WebSocket-Accept",
            AnswerError::AcceptWrong => "Sec-WebSocket-Accept does not answer our key",
            AnswerError::AcceptRepeated => "repeated Sec-WebSocket-Accept",
            AnswerError::ExtensionUnoffered => "the server chose an extension though none was offered",
            AnswerError::ExtensionsMalformed => "malformed Sec-WebSocket-Extensions",
            AnswerError::SubprotocolUnoffered => "the server chose a subprotocol that was not offered",
            AnswerError::SubprotocolRepeated => "repeated Sec-WebSocket-Protocol",
            AnswerError::Body => "a 101 response with a body",
        })
    }
}

impl core::error::Error for AnswerError {}
