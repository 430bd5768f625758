//! The lines of a head (RFC 7230 §3): the request line, then one field after another.
//!
//! Owns: the grammar of both. Promises: one pass, nothing stored: a head that passed once is walked again when asked, which
//! costs less than a table of its headers would. Tests hold it against httparse, byte for byte.
//! Refuses to know: what any field means.
//!
//! Why not httparse itself: it needs a table of headers, which is either capped on the stack behind a callback or allocated,
//! and its walk alone takes as long (270 ns for a browser's head) as this one with all that `request` notes on the way.

use super::{ONES, Refusal, TOPS, token_len};

const BAD_LINE_END: Refusal = Refusal::new(400, "malformed line end");

/// The request line's parts, and the fields behind it.
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    /// Visible ASCII only (RFC 7230 §5.3 by way of RFC 3986).
    pub(super) target: &'a [u8],
    pub(super) version_minor: u8,
    pub(super) fields: Fields<'a>,
}

/// method SP request-target SP HTTP-version CRLF (RFC 7230 §3.1.1), with exactly these spaces; empty lines in front of it are
/// skipped (§3.5).
pub(super) fn split_request_line(mut head: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    const MALFORMED: Refusal = Refusal::new(400, "malformed request line");
    while let [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] = head {
        head = rest;
    }
    let (method, rest) = head.split_at(token_len(head));
    let rest = rest.strip_prefix(b" ").filter(|_| !method.is_empty()).ok_or(MALFORMED)?;
    let target_len = rest.iter().position(|b| !b.is_ascii_graphic()).ok_or(MALFORMED)?;
    let (target, rest) = rest.split_at(target_len);
    let rest = rest.strip_prefix(b" ").filter(|_| !target.is_empty()).ok_or(MALFORMED)?;
    let (version_minor, rest) = match rest.strip_prefix(b"HTTP/1.") {
        Some([minor @ (b'0' | b'1'), rest @ ..]) => (minor - b'0', rest),
        _ => return Err(Refusal::new(400, "unsupported HTTP version")),
    };
    let fields = Fields(strip_line_end(rest).ok_or(BAD_LINE_END)?);
    Ok(RequestLine { method, target, version_minor, fields })
}

/// The fields left in a head, down to its empty line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

/// A header field: a token, and a value without the whitespace around it.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const NONE: Fields<'static> = Fields(&[]);

    /// field-name ":" OWS field-value OWS CRLF (RFC 7230 §3.2), or None at the empty line. A space before the colon and a
    /// folded line (which begins with a space) fail as names that are no tokens, as §3.2.4 demands.
    #[inline(always)] // its result is large, and the one hot caller takes it apart at once
    pub(super) fn split_next(&mut self) -> Result<Option<Field<'a>>, Refusal> {
        if strip_line_end(self.0).is_some() {
            return Ok(None);
        }
        // The line's end is sought from its beginning, not from the colon: so the next line need not wait for this one's name.
        let (line, rest) = self.0.split_at(text_len(self.0));
        let (name, value) = line.split_at(token_len(self.0));
        let Some(value) = value.strip_prefix(b":").filter(|_| !name.is_empty()) else {
            return Err(Refusal::new(400, "malformed header name"));
        };
        self.0 = strip_line_end(rest).ok_or(match rest {
            [b'\r', ..] => BAD_LINE_END,
            _ => Refusal::new(400, "malformed header value"),
        })?;
        Ok(Some((name, trim_ows(value))))
    }
}

/// Of a head that passed: ends where an unread one would fail.
impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Field<'a>> {
        self.split_next().ok().flatten()
    }
}

/// RFC 7230 §3.5: a bare LF is taken for a CRLF; a bare CR is not.
fn strip_line_end(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// One space in front and none behind is how nearly all values are written.
#[inline(always)]
fn trim_ows(value: &[u8]) -> &[u8] {
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match value {
        [first, .., last] if *first > b' ' && *last > b' ' => value,
        _ => value.trim_ascii(), // of what a value may hold, space and HTAB alone
    }
}

/// How many bytes from the start are HTAB, space, visible or obs-text (RFC 7230 §3.2.6).
///
/// Sixteen at a time, without a branch among them (the compiler makes vector instructions of that), then eight as one
/// little-endian word: `w - 0x20` borrows into the top bit of a byte below 0x20, and `x - 1` into that of a byte that is zero,
/// where `x` is `w` with 0x7f made zero. A borrow may spoil bytes above the first hit, never below it, so the lowest is exact.
fn text_len(bytes: &[u8]) -> usize {
    let is_text = |b: u8| ((b >= b' ') & (b != 0x7f)) | (b == b'\t');
    let mut at = 0;
    while let Some(window) = bytes[at..].first_chunk::<16>() {
        if !window.iter().fold(true, |all, &b| all & is_text(b)) {
            break;
        }
        at += 16;
    }
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let w = u64::from_le_bytes(*word);
        let x = w ^ (ONES * 0x7f);
        let hits = ((w.wrapping_sub(ONES * 0x20) & !w) | (x.wrapping_sub(ONES) & !x)) & TOPS;
        if hits == 0 {
            at += 8;
            continue;
        }
        at += (hits.trailing_zeros() / 8) as usize;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().position(|&b| !is_text(b)).unwrap_or(bytes.len() - at)
}
