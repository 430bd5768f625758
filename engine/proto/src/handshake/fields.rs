//! The lines of a head (RFC 7230 §3), as httparse reads them: the request or status line, and a table of header fields.
//!
//! Owns: the table's place, on the caller's stack and uninitialised until parsed into, and what a parser's error is called.
//! Promises: no allocation; one parse a head.
//! Refuses to know: what any field means.

use core::mem::MaybeUninit;

use super::Refusal;
use super::answer_error::AnswerError;
use super::head::HEADERS_MAX;

/// Room for the headers of one head: make one on the stack and lend it to [`Request::parse`](super::Request::parse) or
/// [`Answer::parse`](super::Answer::parse).
pub struct HeaderTable<'a>([MaybeUninit<httparse::Header<'a>>; HEADERS_MAX]);

impl HeaderTable<'_> {
    /// An empty table. Writes nothing: 8 KiB of stack are reserved.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        HeaderTable([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

impl Default for HeaderTable<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for HeaderTable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HeaderTable")
    }
}

/// The request line's parts, and the fields behind it.
pub(super) struct Lines<'a> {
    pub(super) method: &'a [u8],
    /// Visible ASCII only (RFC 7230 §5.3 by way of RFC 3986).
    pub(super) target: &'a [u8],
    pub(super) version_minor: u8,
    pub(super) fields: Fields<'a>,
}

/// Reads a whole head of at most `headers_max` fields.
pub(super) fn split_lines<'a>(
    head: &'a [u8],
    headers_max: usize,
    table: &'a mut HeaderTable<'a>,
) -> Result<Lines<'a>, Refusal> {
    let mut request = httparse::Request::new(&mut []);
    let room = &mut table.0[..headers_max.min(HEADERS_MAX)];
    let status = request.parse_with_uninit_headers(head, room).map_err(refusal)?;
    let (Some(method), Some(target), Some(version_minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::new(400, "incomplete request"));
    };
    // The scan that found the head's end and the parser must mean the same bytes.
    if status != httparse::Status::Complete(head.len()) {
        return Err(Refusal::new(400, "incomplete request"));
    }
    if !target.bytes().fold(true, |ok, b| ok & b.is_ascii_graphic()) {
        return Err(Refusal::new(400, "malformed request target"));
    }
    Ok(Lines { method: method.as_bytes(), target: target.as_bytes(), version_minor, fields: Fields(request.headers) })
}

/// A folded line (§3.2.4) fails as a value, a space before the colon as a name.
fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many request headers"),
        httparse::Error::HeaderName => Refusal::new(400, "malformed header name"),
        httparse::Error::HeaderValue => Refusal::new(400, "malformed header value"),
        httparse::Error::NewLine => Refusal::new(400, "malformed line end"),
        httparse::Error::Version => Refusal::new(400, "unsupported HTTP version"),
        httparse::Error::Status | httparse::Error::Token => Refusal::new(400, "malformed request line"),
    }
}

/// The status line's parts, and the fields behind it.
pub(super) struct StatusLines<'a> {
    pub(super) version_minor: u8,
    /// 0 to 999.
    pub(super) status: u16,
    /// ASCII; empty if the line has none, or one with obs-text (RFC 7230 §3.1.2).
    pub(super) reason: &'a str,
    pub(super) fields: Fields<'a>,
}

/// As `split_lines`, of the head of a response.
pub(super) fn split_status_lines<'a>(
    head: &'a [u8],
    headers_max: usize,
    table: &'a mut HeaderTable<'a>,
) -> Result<StatusLines<'a>, AnswerError> {
    let mut response = httparse::Response::new(&mut []);
    let room = &mut table.0[..headers_max.min(HEADERS_MAX)];
    let end = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, head, room)
        .map_err(answer_error)?;
    let (Some(version_minor), Some(status), Some(reason)) = (response.version, response.code, response.reason) else {
        return Err(AnswerError::Incomplete);
    };
    // As above: the scan and the parser must mean the same bytes.
    if end != httparse::Status::Complete(head.len()) {
        return Err(AnswerError::Incomplete);
    }
    Ok(StatusLines { version_minor, status, reason, fields: Fields(response.headers) })
}

fn answer_error(error: httparse::Error) -> AnswerError {
    match error {
        httparse::Error::TooManyHeaders => AnswerError::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => AnswerError::Header,
        // A line end is also what stands behind a header.
        httparse::Error::NewLine => AnswerError::Header,
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => AnswerError::StatusLine,
    }
}

/// The fields of a head from some place on.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [httparse::Header<'a>]);

/// As text, which they nearly always are; other bytes are escaped.
impl core::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.map(|(name, value)| (name, Escaped(value)))).finish()
    }
}

struct Escaped<'a>(&'a [u8]);

impl core::fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Fields<'_> {
    pub(super) const NONE: Fields<'static> = Fields(&[]);
}

/// Name and value, without the whitespace around it.
impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(&'a str, &'a [u8])> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some((first.name, first.value))
    }
}

impl DoubleEndedIterator for Fields<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (last, rest) = self.0.split_last()?;
        self.0 = rest;
        Some((last.name, last.value))
    }
}
