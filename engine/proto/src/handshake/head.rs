//! Where the head of a request or response ends, found with linear work however slowly it arrives.
//!
//! Owns: the limits on a head and the place where the search for its end stopped.
//! Promises: every byte is examined a constant number of times over all calls, and never one beyond the limit.
//! Refuses to know: what the head says (`request`), and when a slow one is cut off (the engine's deadline).

/// The most header fields that a head can be allowed.
pub const HEADERS_MAX: usize = 256;

/// Limits on a head; a request that exceeds one is refused with 431 (RFC 6585 §5). A limit hit exactly passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Bytes of a head, its first line and final empty line included. Default 8192.
    pub bytes_max: usize,
    /// Header fields of a head. Default 64, at most [`HEADERS_MAX`]; more is taken for that.
    pub headers_max: usize,
}

impl HeadLimits {
    /// For the answers to a client's own requests: 64 KiB and 256 fields. Gateways and content policies write long heads.
    #[must_use]
    pub const fn of_answers() -> Self {
        HeadLimits { bytes_max: 64 << 10, headers_max: HEADERS_MAX }
    }

    /// Sets [`bytes_max`](Self#structfield.bytes_max).
    #[must_use]
    pub const fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets [`headers_max`](Self#structfield.headers_max).
    #[must_use]
    pub const fn headers_max(mut self, headers: usize) -> Self {
        self.headers_max = headers;
        self
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { bytes_max: 8192, headers_max: 64 }
    }
}

/// What [`HeadScan::feed`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[allow(clippy::exhaustive_enums)] // callers must handle each
pub enum HeadEnd {
    /// No end yet, and room below the limit: come back with more.
    Partial,
    /// The head is this many bytes long, its empty line included. What follows is no part of it: frames of an eager peer, or
    /// the next head after an interim response.
    Complete(usize),
    /// No end within the limit: a server refuses with [`Refusal::HEAD_TOO_LARGE`](super::Refusal::HEAD_TOO_LARGE), a client
    /// fails with [`AnswerError::HeadTooLarge`](super::AnswerError::HeadTooLarge).
    TooLarge,
}

/// The search for the end of a head: the first empty line after the request or status line.
///
/// A line ends in CRLF or a bare LF (RFC 7230 §3.5 allows both; so does the parser behind [`Request`](super::Request), and the
/// two must agree), and empty lines in front of the request line are skipped and counted into the head (same section), for
/// [`Answer::parse`](super::Answer::parse) to refuse in front of a status line. Each call goes on where the last one stopped,
/// so a head that arrives byte by byte costs linear, not quadratic, work.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// No end of the head starts before this offset.
    searched: usize,
    /// A byte of the request line was seen, so an empty line is now the end.
    begun: bool,
    #[cfg(test)]
    examined: usize,
}

impl HeadScan {
    /// Looks for the end of the head in `bytes`: all bytes since the head's first, those of earlier calls included.
    ///
    /// Never looks at a byte beyond `limits.bytes_max`. Allocates nothing.
    pub fn feed(&mut self, bytes: &[u8], limits: &HeadLimits) -> HeadEnd {
        let seen = &bytes[..bytes.len().min(limits.bytes_max)];
        // An unfinished head that fills the limit needs at least one byte more than it.
        let unfinished = if seen.len() == limits.bytes_max { HeadEnd::TooLarge } else { HeadEnd::Partial };
        // Fewer bytes than in an earlier call would be the caller's fault; it finds nothing new in them.
        let mut at = self.searched.min(seen.len());
        while !self.begun {
            match seen[at..] {
                [b'\n', ..] => at += 1,
                [b'\r', b'\n', ..] => at += 2,
                [] | [b'\r'] => {
                    self.searched = at;
                    return unfinished;
                }
                _ => self.begun = true,
            }
        }
        #[cfg(test)]
        {
            self.examined += seen.len() - at;
        }
        match find_empty_line(&seen[at..]) {
            Some(len) => {
                self.searched = at;
                HeadEnd::Complete(at + len)
            }
            None => {
                // The end is LF LF or LF CR LF: its first two bytes may be here already.
                self.searched = seen.len().saturating_sub(2).max(at);
                unfinished
            }
        }
    }

    /// Bytes the searches of all calls so far went over.
    #[cfg(test)]
    pub(super) fn examined(&self) -> usize {
        self.examined
    }
}

/// Offset just behind the first LF LF or LF CR LF.
///
/// A window passes by unless some place holds LF with another LF one or two bytes on; line ends alone do not stop it. The
/// places of a window are compared without a branch among them: vector instructions, once compiled.
fn find_empty_line(bytes: &[u8]) -> Option<usize> {
    const WINDOW: usize = 32;
    let mut at = 0;
    while let Some(window) = bytes[at..].first_chunk::<{ WINDOW + 2 }>() {
        let mut hit = false;
        for i in 0..WINDOW {
            hit |= (window[i] == b'\n') & ((window[i + 1] == b'\n') | (window[i + 2] == b'\n'));
        }
        if hit && let Some(len) = find_empty_line_by_lines(window) {
            return Some(at + len);
        }
        at += WINDOW;
    }
    find_empty_line_by_lines(&bytes[at..]).map(|len| at + len)
}

fn find_empty_line_by_lines(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(lf) = bytes[from..].iter().position(|&b| b == b'\n') {
        from += lf + 1;
        match bytes[from..] {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
    None
}
