//! The values of the headers that a handshake is judged by, whichever end reads them.
//!
//! Owns: how often a header is there, its values over its repetitions, and how names and lists are compared. Promises: no
//! allocation. Refuses to know: which headers a request or an answer must have.

use super::fields::Fields;
use super::list_elements;

/// How often a header is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Single<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Single<'a> {
    pub(super) fn note(&mut self, value: &'a [u8]) {
        *self = if matches!(self, Single::Absent) { Single::Once(value) } else { Single::Repeated };
    }
}

pub(super) const SUBPROTOCOLS: &[u8; 22] = b"Sec-WebSocket-Protocol";
pub(super) const EXTENSIONS: &[u8; 24] = b"Sec-WebSocket-Extensions";

/// Whether `name` is `known` in any case; in the usual case of clients, this is a comparison of words. Another header of the
/// same length usually differs in its first letter.
#[inline(always)]
pub(super) fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    name == known || (name[0] | 0x20 == known[0] | 0x20 && name.eq_ignore_ascii_case(known))
}

/// Whether a comma-separated list holds `token`, in any case (RFC 7230 §6.1, §6.7).
pub(super) fn lists(value: &[u8], token: &[u8]) -> bool {
    value == token || list_elements(value).any(|element| element.eq_ignore_ascii_case(token))
}

/// The values of one header, over its repetitions.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    only: Option<&'a [u8]>,
    /// Walked for `name` if it is there more than once.
    fields: Fields<'a>,
    name: &'static [u8],
}

impl<'a> Values<'a> {
    pub(super) const NONE: Values<'static> = Values { only: None, fields: Fields::NONE, name: &[] };

    pub(super) fn new(noted: Single<'a>, fields: Fields<'a>, name: &'static [u8]) -> Self {
        match noted {
            Single::Absent => Values::NONE,
            Single::Once(value) => Values { only: Some(value), ..Values::NONE },
            Single::Repeated => Values { only: None, fields, name },
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.only.take().or_else(|| {
            self.fields.find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(self.name)).map(|(_, value)| value)
        })
    }
}
