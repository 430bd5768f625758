//! The server's answer to a handshake, as a client reads and judges it (RFC 6455 §4.1).
//!
//! Owns: the parsed head of a response, and the order of the checks.
//! Promises: an answer that passes opens the connection by the letter of RFC 6455 §4.1; no allocation, no panic on peer bytes.
//! Refuses to know: whether an extension that was answered was offered (its negotiator judges), redirects, bodies.

use alloc::string::String;

use super::answer_error::AnswerError;
use super::fields::{Fields, HeaderTable, StatusLines, split_status_lines};
use super::head::HeadLimits;
use super::values::{EXTENSIONS, SUBPROTOCOLS, Single, Values, is, lists};
use super::{Malformed, Offers, accept_key, ascii, is_token};

/// How much stands behind the head of an answer that is no 101 (RFC 7230 §3.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum BodyLen {
    /// This many bytes: 0 for a status that has no body.
    Exactly(u64),
    /// Chunks (RFC 7230 §4.1), whose sizes stand between them.
    Chunked,
    /// Whatever comes until the server closes; also where Content-Length is malformed or says two things.
    UntilClose,
}

/// The status that the first bytes of a response say, 100 to 999, whatever is wrong with the rest of its head or too long about it. `None`:
/// they are no status line of HTTP/1.1 or HTTP/1.0 (RFC 9112 §4), or no whole status.
#[must_use]
pub fn status_of(bytes: &[u8]) -> Option<u16> {
    let number = |digit: u8| u16::from(digit - b'0');
    match bytes.strip_prefix(b"HTTP/1.")? {
        [b'0' | b'1', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ' | b'\r' | b'\n', ..] => {
            Some(100 * number(*a) + 10 * number(*b) + number(*c))
        }
        _ => None,
    }
}

/// The parsed head of a response, borrowing its bytes.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    version_minor: u8,
    status: u16,
    reason: &'a str,
    fields: Fields<'a>,
    known: Known<'a>,
}

impl core::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut answer = f.debug_struct("Answer");
        answer.field("status", &self.status).field("reason", &self.reason);
        answer.field("headers", &self.fields).finish_non_exhaustive()
    }
}

/// What one pass over the headers notes.
#[derive(Clone, Copy, Debug, Default)]
struct Known<'a> {
    upgrade: Single<'a>,
    connection: Single<'a>,
    /// A Connection list names upgrade.
    connection_lists: bool,
    accept: Single<'a>,
    subprotocol: Single<'a>,
    extensions: Single<'a>,
    content_length: ContentLength,
    transfer_encoding: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ContentLength {
    #[default]
    Absent,
    Is(u64),
    /// No number, or two different ones.
    Malformed,
}

impl<'a> Known<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            7 if is(name, b"Upgrade") => self.upgrade.note(value),
            10 if is(name, b"Connection") => {
                self.connection.note(value);
                self.connection_lists |= lists(value, b"Upgrade");
            }
            14 if is(name, b"Content-Length") => self.content_length = self.content_length.and(value),
            17 if is(name, b"Transfer-Encoding") => self.transfer_encoding = true,
            20 if is(name, b"Sec-WebSocket-Accept") => self.accept.note(value),
            22 if is(name, SUBPROTOCOLS) => self.subprotocol.note(value),
            24 if is(name, EXTENSIONS) => self.extensions.note(value),
            _ => {}
        }
    }
}

impl ContentLength {
    /// RFC 7230 §3.3.2: digits; the same number again is one number.
    fn and(self, value: &[u8]) -> ContentLength {
        let number = value.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        });
        match (self, number) {
            (ContentLength::Absent, Some(number)) if !value.is_empty() => ContentLength::Is(number),
            (ContentLength::Is(known), Some(number)) if !value.is_empty() && known == number => self,
            _ => ContentLength::Malformed,
        }
    }
}

impl<'a> Answer<'a> {
    /// Parses `head`, the bytes that [`HeadScan`](super::HeadScan) called complete, into `table`. Allocates nothing.
    ///
    /// # Errors
    /// `HeadTooLarge`, `TooManyHeaders` (the exact number passes), `StatusLine`, `Header`, `Incomplete`. Whether the answer
    /// opens a connection is for [`verify`] to say.
    pub fn parse(
        head: &'a [u8],
        limits: &HeadLimits,
        table: &'a mut HeaderTable<'a>,
    ) -> Result<Answer<'a>, AnswerError> {
        if head.len() > limits.bytes_max {
            return Err(AnswerError::HeadTooLarge);
        }
        // The scan skips empty lines, as a server should (RFC 7230 §3.5); a client has no reason to.
        if matches!(head, [b'\r' | b'\n', ..]) {
            return Err(AnswerError::StatusLine);
        }
        let StatusLines { version_minor, status, reason, fields } =
            split_status_lines(head, limits.headers_max, table)?;
        if status < 100 {
            return Err(AnswerError::StatusLine);
        }
        let mut known = Known::default();
        for (name, value) in fields {
            known.note(name.as_bytes(), value);
        }
        Ok(Answer { version_minor, status, reason, fields, known })
    }

    /// The status code, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase as sent: ASCII without control characters, maybe empty.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        self.reason
    }

    /// The value of the first header called `name` in any case, without the whitespace around it: `Location` of a redirect,
    /// say.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        { self.fields }.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in the order sent, names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone + 'a {
        self.fields
    }

    /// The extensions that the server chose, in its order, over repeated headers.
    #[must_use]
    pub fn extensions(&self) -> Offers<'a> {
        Offers::new(Values::new(self.known.extensions, self.fields, EXTENSIONS))
    }

    /// How long the body is, for one who wants to show the first bytes of a refusal. The answer to a GET (RFC 7230 §3.3.3).
    pub fn body_len(&self) -> BodyLen {
        match (self.status, self.known.content_length) {
            (100..200 | 204 | 304, _) => BodyLen::Exactly(0),
            _ if self.known.transfer_encoding => BodyLen::Chunked,
            (_, ContentLength::Is(len)) => BodyLen::Exactly(len),
            (_, ContentLength::Absent | ContentLength::Malformed) => BodyLen::UntilClose,
        }
    }
}

/// What the client asked for, as [`verify`] needs it.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The key sent.
    pub key: &'a [u8; 24],
    /// The subprotocols offered.
    pub subprotocols: &'a [String],
    /// Whether any extension was offered. If so, who offered it must judge [`Answer::extensions`], names and all.
    pub extensions_offered: bool,
}

/// An answer that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement<'a> {
    /// The one chosen among those offered. None if the server chose none, which is its right (RFC 6455 §4.2.2, item 5); whether
    /// that will do is the caller's to say.
    pub subprotocol: Option<&'a str>,
}

/// Judges an answer by RFC 6455 §4.1, the six items on the server's answer, strictly. Allocates nothing.
///
/// # Errors
/// The first of these that fails: the status (`Interim`, `Status`), the version, Upgrade, Connection, Sec-WebSocket-Accept,
/// extensions, the subprotocol, a body. `verify` does not check extensions that were offered beyond their grammar.
pub fn verify<'a>(answer: &Answer<'a>, expected: &Expected<'_>) -> Result<Agreement<'a>, AnswerError> {
    let known = &answer.known;
    match answer.status {
        101 => {}
        100..200 => return Err(AnswerError::Interim(answer.status)),
        _ => return Err(AnswerError::Status(answer.status)),
    }
    if answer.version_minor < 1 {
        return Err(AnswerError::Http10);
    }
    match known.upgrade {
        Single::Once(value) if value.eq_ignore_ascii_case(b"websocket") => {}
        Single::Once(_) | Single::Repeated => return Err(AnswerError::UpgradeWrong),
        Single::Absent => return Err(AnswerError::UpgradeMissing),
    }
    if !known.connection_lists {
        let is_there = !matches!(known.connection, Single::Absent);
        return Err(if is_there { AnswerError::ConnectionWrong } else { AnswerError::ConnectionMissing });
    }
    match known.accept {
        Single::Once(value) if value == accept_key(expected.key) => {}
        Single::Once(_) => return Err(AnswerError::AcceptWrong),
        Single::Absent => return Err(AnswerError::AcceptMissing),
        Single::Repeated => return Err(AnswerError::AcceptRepeated),
    }
    if !expected.extensions_offered && !matches!(known.extensions, Single::Absent) {
        return Err(AnswerError::ExtensionUnoffered);
    }
    if answer.extensions().any(|offer| matches!(offer, Err(Malformed))) {
        return Err(AnswerError::ExtensionsMalformed);
    }
    let subprotocol = match known.subprotocol {
        Single::Absent => None,
        Single::Repeated => return Err(AnswerError::SubprotocolRepeated),
        // One name, compared exactly, and never a list of them (RFC 6455 §4.2.2, item 5).
        Single::Once(value) if expected.subprotocols.iter().any(|name| name.as_bytes() == value) && is_token(value) => {
            Some(ascii(value))
        }
        Single::Once(_) => return Err(AnswerError::SubprotocolUnoffered),
    };
    match (known.transfer_encoding, known.content_length) {
        (false, ContentLength::Absent | ContentLength::Is(0)) => Ok(Agreement { subprotocol }),
        _ => Err(AnswerError::Body),
    }
}
