//! A server's answer to the handshake of a dial, as far as it has come.
//!
//! Promises that what is kept of it is at most a head, or the wanted part of a body, and a segment. Refuses to know the
//! connection it comes on, the dial's attempts, and what the application thinks of it: that is asked.

use wsring_proto::deflate::{Agreed, ClientOffer};
use wsring_proto::handshake::{
    self, Answer, AnswerError, BodyLen, Expected, HeadEnd, HeadLimits, HeadScan, HeaderTable,
};

use super::dial_error::{Declined, DialError};
use super::planted::planted;
use crate::ring::Errno;

/// Interim answers (1xx) before the answer.
const INTERIMS_MAX: u8 = 8;

/// The answer of a server as far as it has come.
pub(crate) struct Answering {
    /// The dial that it is to.
    pub(crate) dial: u32,
    key: [u8; 24],
    scan: HeadScan,
    bytes: Vec<u8>,
    interims: u8,
    /// Why the request did not go out.
    unsent: Option<Errno>,
    /// It is no 101: what of the body is still wanted, and the rest of it.
    declined: Option<(Declined, usize)>,
}

/// What was asked for, and may be answered.
pub(crate) struct Asked<'a> {
    pub(crate) limits: &'a HeadLimits,
    pub(crate) offer: Option<ClientOffer>,
    pub(crate) subprotocols: &'a [String],
    /// The application has given the dial up.
    pub(crate) abandoned: bool,
}

/// What some bytes came to.
pub(crate) enum Fed<D> {
    /// More is to come.
    More,
    /// The connection is open: the application's state for it, and all bytes, of which those from `len` on are frames.
    Opened { data: D, compression: Option<Agreed>, bytes: Vec<u8>, len: usize },
    /// The attempt has failed.
    Failed(DialError),
}

/// What an answer's head came to.
enum Judged<D> {
    /// Another head follows.
    Interim,
    Opened(D, Option<Agreed>),
    /// A body follows, of which so many bytes are wanted.
    Declined(Declined, usize),
    Failed(DialError),
}

impl Answering {
    /// Nothing has come yet; `key` is what was sent.
    pub(crate) fn new(dial: u32, key: [u8; 24]) -> Self {
        Self { dial, key, scan: HeadScan::default(), bytes: Vec::new(), interims: 0, unsent: None, declined: None }
    }

    /// Bytes of the answer, in order. `agree` is asked about an answer that opens the connection.
    pub(crate) fn feed<D>(
        &mut self,
        bytes: &[u8],
        asked: &Asked<'_>,
        agree: impl FnOnce(&Answer<'_>, Option<&str>) -> Result<D, DialError>,
    ) -> Fed<D> {
        if self.declined.is_some() {
            return self.feed_body(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        let mut agree = Some(agree);
        loop {
            let len = match self.scan.feed(&self.bytes, asked.limits) {
                HeadEnd::Partial => return Fed::More,
                HeadEnd::TooLarge => return Fed::Failed(AnswerError::HeadTooLarge.into()),
                HeadEnd::Complete(len) => len,
            };
            let mut bytes = std::mem::take(&mut self.bytes);
            match judge(&bytes[..len], &self.key, asked, &mut agree) {
                Judged::Opened(data, compression) => return Fed::Opened { data, compression, bytes, len },
                Judged::Failed(error) => return Fed::Failed(error),
                Judged::Interim => {
                    self.interims += 1;
                    if self.interims > INTERIMS_MAX {
                        return Fed::Failed(AnswerError::HeadTooLarge.into());
                    }
                    bytes.drain(..len);
                    (self.bytes, self.scan) = (bytes, HeadScan::default());
                }
                Judged::Declined(declined, wanted) => {
                    self.declined = Some((declined, wanted));
                    return self.feed_body(&bytes[len..]);
                }
            }
        }
    }

    fn feed_body<D>(&mut self, bytes: &[u8]) -> Fed<D> {
        let Some((declined, wanted)) = &mut self.declined else { return Fed::More };
        let here = planted!(BodyKept, bytes.len(); bytes.len().min(*wanted));
        declined.body.extend_from_slice(&bytes[..here]);
        *wanted = wanted.saturating_sub(here);
        if *wanted == 0 { Fed::Failed(DialError::Eof) } else { Fed::More }
    }

    /// The request did not go out, or not all of it.
    pub(crate) fn on_send_failed(&mut self, errno: Errno) {
        self.unsent = Some(errno);
    }

    /// Why the attempt failed, of which `error` is all that the connection knows: a server that answered with a status has
    /// said more than any end of the connection.
    pub(crate) fn failed(self, error: DialError) -> DialError {
        match (self.declined, self.unsent, error) {
            (Some((declined, _)), ..) => DialError::Declined(Box::new(declined)),
            (None, Some(errno), DialError::Eof) => DialError::Reset(errno.into()),
            (None, _, error) => error,
        }
    }
}

fn judge<D>(
    head: &[u8],
    key: &[u8; 24],
    asked: &Asked<'_>,
    agree: &mut Option<impl FnOnce(&Answer<'_>, Option<&str>) -> Result<D, DialError>>,
) -> Judged<D> {
    let mut table = HeaderTable::new();
    let answer = match Answer::parse(head, asked.limits, &mut table) {
        Ok(answer) => answer,
        Err(error) => return Judged::Failed(error.into()),
    };
    if asked.abandoned {
        return Judged::Failed(DialError::Abandoned); // earlier in this pass
    }
    let expected = Expected { key, subprotocols: asked.subprotocols, extensions_offered: asked.offer.is_some() };
    let agreement = match handshake::verify(&answer, &expected) {
        Ok(agreement) => agreement,
        Err(AnswerError::Interim(_)) => return Judged::Interim,
        Err(AnswerError::Status(status)) => {
            let wanted = match answer.body_len() {
                BodyLen::Exactly(len) => usize::try_from(len).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            return Judged::Declined(Declined::new(status, answer.headers()), wanted.min(Declined::BODY_MAX));
        }
        Err(error) => return Judged::Failed(error.into()),
    };
    let compression = match asked.offer.as_ref().map_or(Ok(None), |offer| offer.judge(answer.extensions())) {
        Ok(compression) => compression,
        Err(error) => return Judged::Failed(error.into()),
    };
    let agree = agree.take().expect("one answer of them all opens the connection");
    match agree(&answer, agreement.subprotocol) {
        Ok(data) => Judged::Opened(data, compression),
        Err(error) => Judged::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nwait, and more";

    /// The key of RFC 6455 §1.3 and the answer to it, with the beginning of a frame behind.
    fn opening() -> (Answering, Vec<u8>) {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x01";
        (Answering::new(7, *b"dGhlIHNhbXBsZSBub25jZQ=="), head.into())
    }

    fn feed(answering: &mut Answering, bytes: &[u8], abandoned: bool, wanted: bool) -> Fed<&'static str> {
        let limits = HeadLimits::default();
        let asked = Asked { limits: &limits, offer: None, subprotocols: &[], abandoned };
        answering.feed(bytes, &asked, |answer, _| {
            assert_eq!(answer.status(), 101);
            wanted.then_some("state").ok_or(DialError::Unwanted)
        })
    }

    /// In one piece or drop by drop, and behind interim answers: the frames behind the head are given on.
    #[test]
    fn an_answer_opens_whatever_its_pieces() {
        for interims in 0..=INTERIMS_MAX {
            for step in [1, 7, 10_000] {
                let (mut answering, head) = opening();
                let bytes = [INTERIM.repeat(interims.into()), head].concat();
                let last = bytes
                    .chunks(step)
                    .map(|piece| feed(&mut answering, piece, false, true))
                    .find(|fed| !matches!(fed, Fed::More));
                let Some(Fed::Opened { data, compression, bytes, len }) = last else { panic!("it is not open") };
                assert_eq!((data, compression, bytes[len..].iter().all(|&byte| byte == 1)), ("state", None, true));
            }
        }
    }

    #[test]
    fn interim_answers_have_an_end() {
        let (mut answering, head) = opening();
        let bytes = [INTERIM.repeat(usize::from(INTERIMS_MAX) + 1), head].concat();
        let fed = feed(&mut answering, &bytes, false, true);
        assert!(matches!(fed, Fed::Failed(DialError::Answer(AnswerError::HeadTooLarge))));
    }

    #[test]
    fn the_application_is_asked_and_may_have_given_up() {
        let (mut answering, head) = opening();
        assert!(matches!(feed(&mut answering, &head, false, false), Fed::Failed(DialError::Unwanted)));
        let (mut answering, head) = opening();
        assert!(matches!(feed(&mut answering, &head, true, true), Fed::Failed(DialError::Abandoned)));
    }

    /// Of another status' body as much is kept as it said it has, and that is the reason whatever ends the connection.
    #[test]
    fn another_status_is_the_reason() {
        for step in [1, 10_000] {
            let (mut answering, _) = opening();
            let last = BUSY
                .chunks(step)
                .map(|piece| feed(&mut answering, piece, false, true))
                .find(|fed| !matches!(fed, Fed::More));
            let Some(Fed::Failed(error)) = last else { panic!("it is over") };
            let DialError::Declined(declined) = answering.failed(error) else { panic!("it has a status") };
            assert_eq!((declined.status.as_u16(), &declined.body[..]), (503, &b"wait"[..]));
        }
        let (mut answering, _) = opening();
        assert!(matches!(feed(&mut answering, &BUSY[..30], false, true), Fed::More));
        assert!(matches!(answering.failed(DialError::HandshakeTimeout), DialError::HandshakeTimeout), "no head yet");
    }
}
