//! The lines of a head (RFC 7230 §3), as httparse reads them: the request line, and a table of header fields.
//!
//! Owns: the table's place, on the caller's stack and uninitialised until parsed into, and what a parser's error is called.
//! Promises: no allocation; one parse a head.
//! Refuses to know: what any field means.

use core::mem::MaybeUninit;

use super::Refusal;
use super::head::HEADERS_MAX;

/// Room for the headers of one request: make one on the stack and lend it to [`Request::parse`](super::Request::parse).
pub struct HeaderTable<'a>([MaybeUninit<httparse::Header<'a>>; HEADERS_MAX]);

impl HeaderTable<'_> {
    /// An empty table. Writes nothing: 4 KiB of stack are reserved.
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

/// The fields of a head from some place on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [httparse::Header<'a>]);

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
