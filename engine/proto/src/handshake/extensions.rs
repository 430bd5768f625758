//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), as offered by a client or answered by a server.
//!
//! Owns: the text of the header, and nothing beyond it: offers are views into the peer's bytes, so nothing is allocated
//! (an escaped value is, when asked for as text).
//! Promises: all of the grammar (quoted strings, escapes, repeated headers, whitespace, empty elements), in order, duplicates
//! kept; counts bounded. Refuses to know: any extension. A negotiator judges names, duplicates and values.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use super::values::Values;
use super::{TOKEN, ascii, is_ows, token_len};

/// The most extensions one handshake may offer. Browsers offer one, test suites a handful of alternatives.
pub const OFFERS_MAX: usize = 16;

/// The most parameters one offer may carry; permessage-deflate defines four (RFC 7692 §7.1).
pub const PARAMS_MAX: usize = 16;

/// The header breaks the grammar of RFC 6455 §9.1, or exceeds [`OFFERS_MAX`] or [`PARAMS_MAX`]: answer 400. A server's, but
/// not a client's, breaks it if it lists nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed Sec-WebSocket-Extensions")
    }
}

impl core::error::Error for Malformed {}

/// All offers of a head in order, over repeated headers as over one (RFC 6455 §9.1); ends after the first error.
#[derive(Clone, Debug)]
pub struct Offers<'a> {
    headers: Values<'a>,
    /// What is left of the header being read.
    rest: Cursor<'a>,
    present: bool,
    /// How many there have to be if a header is there.
    count_min: usize,
    count: usize,
}

impl<'a> Offers<'a> {
    /// RFC 6455 §9.1, `1#extension`: at least one over all the repeated headers.
    pub(super) fn new(headers: Values<'a>) -> Self {
        Offers { headers, rest: Cursor(&[]), present: false, count_min: 1, count: 0 }
    }

    /// As [`Self::new`], but a header may list nothing: there are clients that always write it, and RFC 7230 §7 has the
    /// empty elements of a list ignored.
    pub(super) fn or_none(headers: Values<'a>) -> Self {
        Offers { count_min: 0, ..Offers::new(headers) }
    }

    fn fail(&mut self) -> Option<Result<Offer<'a>, Malformed>> {
        *self = Offers::new(Values::NONE);
        Some(Err(Malformed))
    }
}

impl<'a> Iterator for Offers<'a> {
    type Item = Result<Offer<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.skip_to_element() {
                break;
            }
            let Some(value) = self.headers.next() else {
                return if self.present && self.count < self.count_min { self.fail() } else { None };
            };
            self.present = true;
            self.rest = Cursor(value);
        }
        self.count += 1;
        match self.rest.offer() {
            Some(offer) if self.count <= OFFERS_MAX => Some(Ok(offer)),
            _ => self.fail(),
        }
    }
}

/// One extension and its parameters, as written by the peer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    name: &'a [u8],
    /// From the first `;` to the end of the offer; passed the grammar once.
    params: Cursor<'a>,
}

impl<'a> Offer<'a> {
    /// The extension's name: a token, as written.
    #[must_use]
    pub fn name(&self) -> &'a str {
        ascii(self.name)
    }

    /// The parameters in order, duplicates included: RFC 7692 §7.1 wants an offer with one declined, not the handshake failed.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params(self.params)
    }
}

/// The parameters of an [`Offer`], in order.
#[derive(Clone, Debug)]
pub struct Params<'a>(Cursor<'a>);

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        self.0.skip_ows();
        if !self.0.eat(b';') {
            return None;
        }
        let (name, value) = self.0.param()?;
        Some(Param { name: ascii(name), value: value.map(|raw| ParamValue { raw: ascii(raw) }) })
    }
}

/// One parameter: `name` or `name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param<'a> {
    /// A token, as written.
    pub name: &'a str,
    /// What follows `=`, if anything does.
    pub value: Option<ParamValue<'a>>,
}

/// A parameter's value: a token, once quotes and escapes are off (RFC 6455 §9.1). Equal to another if the tokens are.
#[derive(Clone, Copy, Debug)]
pub struct ParamValue<'a> {
    /// Without the quotes, with the escapes.
    raw: &'a str,
}

impl<'a> ParamValue<'a> {
    /// The value's bytes, escapes undone. All are token characters.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        // A backslash is no token character, so each one seen here escapes the byte behind it.
        self.raw.bytes().filter(|&b| b != b'\\')
    }

    /// The value as text. Allocates only if it was written with escapes.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        if self.raw.contains('\\') {
            Cow::Owned(self.bytes().map(char::from).collect::<String>())
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

impl PartialEq for ParamValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for ParamValue<'_> {}

impl PartialEq<&str> for ParamValue<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.bytes().eq(other.bytes())
    }
}

/// What is left to read of one header's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    fn skip_ows(&mut self) {
        while let [first, rest @ ..] = self.0
            && is_ows(*first)
        {
            self.0 = rest;
        }
    }

    /// To the next element of a list, over empty ones (RFC 7230 §7). False if there is none.
    pub(super) fn skip_to_element(&mut self) -> bool {
        while let [b' ' | b'\t' | b',', rest @ ..] = self.0 {
            self.0 = rest;
        }
        !self.0.is_empty()
    }

    /// Whether the element of a list ends here.
    pub(super) fn at_element_end(&mut self) -> bool {
        self.skip_ows();
        matches!(self.0, [] | [b',', ..])
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// extension = token *( ";" extension-param ), up to a comma or the end.
    fn offer(&mut self) -> Option<Offer<'a>> {
        let name = self.token()?;
        let params = *self;
        let mut count = 0;
        loop {
            if self.at_element_end() {
                return Some(Offer { name, params });
            }
            count += 1;
            if !self.eat(b';') || count > PARAMS_MAX {
                return None;
            }
            self.param()?;
        }
    }

    /// extension-param = token [ "=" ( token | quoted-string ) ], whitespace allowed around each part (RFC 2616 §2.1).
    fn param(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        self.skip_ows();
        let name = self.token()?;
        self.skip_ows();
        if !self.eat(b'=') {
            return Some((name, None));
        }
        self.skip_ows();
        let raw = if self.eat(b'"') { self.quoted()? } else { self.token()? };
        Some((name, Some(raw)))
    }

    pub(super) fn token(&mut self) -> Option<&'a [u8]> {
        self.take(token_len(self.0))
    }

    /// The inside of a quoted string whose opening quote is behind us, and its closing quote.
    /// RFC 6455 §9.1: once unescaped it must be a token, so nothing but token characters, each escaped or not.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let mut len = 0;
        while *self.0.get(len)? != b'"' {
            len += usize::from(self.0[len] == b'\\');
            if !TOKEN[usize::from(*self.0.get(len)?)] {
                return None;
            }
            len += 1;
        }
        let raw = self.take(len)?;
        self.eat(b'"').then_some(raw)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).filter(|_| len > 0)?;
        self.0 = rest;
        Some(taken)
    }
}
