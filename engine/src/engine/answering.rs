//! A server's answer to the handshake of a dial, as far as it has come.
//!
//! Promises that what is kept of it is at most a head, or the wanted part of a body, and a segment; and that whoever says a status is told
//! by it, whatever else is wrong with what it says. Refuses to know the connection it comes on, the dial's attempts, and what the application thinks of it: that is asked.

use wsring_proto::deflate::{Agreed, ClientOffer};
use wsring_proto::handshake::{
    self, Answer, AnswerError, BodyLen, ChunkScan, Chunks, Expected, HeadEnd, HeadLimits, HeadScan, HeaderTable,
};
use wsring_proto::tunnel::{Tunnel, TunnelError};

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
    /// The proxy that is asked for the server first.
    tunnel: Option<Box<Tunnel>>,
    scan: HeadScan,
    bytes: Vec<u8>,
    interims: u8,
    /// Why the request did not go out.
    unsent: Option<Errno>,
    /// It is no 101: that, and what of its body is to come.
    declined: Option<(Declined, Rest)>,
}

/// What is to come of the body of a refusal.
enum Rest {
    /// So many bytes are wanted.
    Bytes(usize),
    /// Chunks, up to the last.
    Chunks(ChunkScan),
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
    /// A body follows.
    Declined(Declined, Rest),
    Failed(DialError),
}

impl Answering {
    /// Nothing has come yet; `key` is what was sent.
    pub(crate) fn new(dial: u32, key: [u8; 24]) -> Self {
        Self {
            dial,
            key,
            tunnel: None,
            scan: HeadScan::default(),
            bytes: Vec::new(),
            interims: 0,
            unsent: None,
            declined: None,
        }
    }

    /// What was sent, or is to be.
    pub(crate) fn key(&self) -> &[u8; 24] {
        &self.key
    }

    /// A proxy stands in front of the server.
    pub(crate) fn go_through(&mut self, tunnel: Tunnel) {
        self.tunnel = Some(Box::new(tunnel));
    }

    /// What comes is of a proxy.
    pub(crate) fn is_on_the_way(&self) -> bool {
        self.tunnel.is_some()
    }

    /// Bytes of the proxy, and what is said to it in turn. `Some(n)`: the server is reached, and has said those from `n` on.
    pub(crate) fn feed_tunnel(&mut self, bytes: &[u8], said: &mut Vec<u8>) -> Result<Option<usize>, TunnelError> {
        let Some(tunnel) = &mut self.tunnel else { return Ok(Some(0)) };
        let used = tunnel.feed(bytes, said)?;
        if used.is_some() {
            self.tunnel = None;
        }
        Ok(used)
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
                HeadEnd::TooLarge => return Fed::Failed(unread(&self.bytes, AnswerError::HeadTooLarge)),
                HeadEnd::Complete(len) => len,
            };
            let mut bytes = std::mem::take(&mut self.bytes);
            if planted!(FoldKept, false; true) {
                handshake::unfold(&mut bytes[..len]);
            }
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
                Judged::Declined(declined, rest) => {
                    self.declined = Some((declined, rest));
                    return self.feed_body(&bytes[len..]);
                }
            }
        }
    }

    fn feed_body<D>(&mut self, bytes: &[u8]) -> Fed<D> {
        let Some((declined, rest)) = &mut self.declined else { return Fed::More };
        let is_over = match rest {
            Rest::Bytes(wanted) => {
                let here = planted!(BodyKept, bytes.len(); bytes.len().min(*wanted));
                declined.body.extend_from_slice(&bytes[..here]);
                *wanted = wanted.saturating_sub(here);
                *wanted == 0
            }
            Rest::Chunks(scan) => {
                let come = scan.feed(bytes, &mut declined.body, Declined::BODY_MAX);
                let is_full = declined.body.len() == Declined::BODY_MAX;
                planted!(ChunksUnended, is_full; come != Chunks::Partial || is_full)
            }
        };
        if is_over { Fed::Failed(DialError::Eof) } else { Fed::More }
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

/// What an answer comes to that cannot be read, or not to its end: its status, if it is one that declines.
fn unread(bytes: &[u8], error: AnswerError) -> DialError {
    match handshake::status_of(bytes) {
        Some(status @ 200..) => DialError::Declined(Box::new(Declined::new(status, std::iter::empty()))),
        _ => error.into(),
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
        Err(error) => return Judged::Failed(unread(head, error)),
    };
    if asked.abandoned {
        return Judged::Failed(DialError::Abandoned); // earlier in this pass
    }
    let expected = Expected { key, subprotocols: asked.subprotocols, extensions_offered: asked.offer.is_some() };
    let agreement = match handshake::verify(&answer, &expected) {
        Ok(agreement) => agreement,
        Err(AnswerError::Interim(_)) => return Judged::Interim,
        Err(AnswerError::Status(status)) => {
            let most = Declined::BODY_MAX;
            let rest = match answer.body_len() {
                BodyLen::Exactly(len) => Rest::Bytes(usize::try_from(len).unwrap_or(usize::MAX).min(most)),
                BodyLen::Chunked => Rest::Chunks(ChunkScan::default()),
                _ => Rest::Bytes(most),
            };
            return Judged::Declined(Declined::new(status, answer.headers()), rest);
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
        feed_within(HeadLimits::of_answers(), answering, bytes, abandoned, wanted)
    }

    fn feed_within(
        limits: HeadLimits,
        answering: &mut Answering,
        bytes: &[u8],
        abandoned: bool,
        wanted: bool,
    ) -> Fed<&'static str> {
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

    /// What these bytes come to, in pieces of each of these sizes.
    fn refused(bytes: &[u8], limits: HeadLimits, steps: &[usize]) -> Declined {
        let mut all = steps.iter().map(|&step| {
            let (mut answering, _) = opening();
            let fed = bytes
                .chunks(step)
                .map(|piece| feed_within(limits, &mut answering, piece, false, true))
                .find(|fed| !matches!(fed, Fed::More));
            let Some(Fed::Failed(error)) = fed else { panic!("it is not over: {}", bytes.escape_ascii()) };
            let DialError::Declined(declined) = answering.failed(error) else { panic!("it has a status") };
            *declined
        });
        let first = all.next().expect("a step");
        assert!(all.all(|other| (other.status, &other.body) == (first.status, &first.body)), "the pieces matter");
        first
    }

    /// RFC 9112 §7.1: the body ends with its last chunk, whatever the connection does.
    #[test]
    fn a_body_in_chunks_ends_with_its_last() {
        let head = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";
        let limits = HeadLimits::of_answers();
        for (chunks, body) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], &b"hello"[..]),
            (b"0\r\n", b""),
            (b"2\r\nwa\r\n3\r\nit!\r\n0\r\n", b"wait!"),
            (b"2\r\nwa\r\nno chunk", b"wa"), // nothing more of it can be read
        ] {
            let declined = refused(&[head, chunks].concat(), limits, &[1, 10_000]);
            assert_eq!((declined.status.as_u16(), &declined.body[..]), (403, body));
        }
        let long = [&head[..], b"fffff\r\n", &[b'x'; Declined::BODY_MAX + 9]].concat();
        assert_eq!(refused(&long, limits, &[1, 1_000, 100_000]).body.len(), Declined::BODY_MAX);
        let (mut answering, _) = opening();
        assert!(matches!(feed(&mut answering, &[head, &b"5\r\nhello\r\n"[..]].concat(), false, true), Fed::More));
    }

    /// 64 KiB and 256 headers pass; of what is beyond, or malformed, the status is told.
    #[test]
    fn a_status_is_told_whatever_its_head() {
        let limits = HeadLimits::of_answers();
        let head = |status: &str, len: usize| {
            let (first, last) = (format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nX-Long: "), "\r\n\r\n");
            [&first, &*"a".repeat(len - first.len() - last.len()), last].concat()
        };
        let whole = refused(head("403 No", 64 << 10).as_bytes(), limits, &[1_000, 100_000]);
        assert_eq!((whole.status.as_u16(), whole.headers.len()), (403, 2));
        let beyond = refused(head("403 No", (64 << 10) + 1).as_bytes(), limits, &[1_000, 100_000]);
        assert_eq!((beyond.status.as_u16(), beyond.headers.len()), (403, 0));
        let lines = |count: usize| {
            ["HTTP/1.1 429 Later\r\n", &"A: b\r\n".repeat(count - 1), "Content-Length: 0\r\n\r\n"].concat()
        };
        assert_eq!(refused(lines(256).as_bytes(), limits, &[1_000]).headers.len(), 256);
        let many = refused(lines(257).as_bytes(), limits, &[1_000]);
        assert_eq!((many.status.as_u16(), many.headers.len()), (429, 0));
        let malformed = refused(b"HTTP/1.1 403 No\r\nA b\r\n\r\n", limits, &[1, 100]);
        assert_eq!((malformed.status.as_u16(), malformed.headers.len()), (403, 0));
        let short =
            refused(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", HeadLimits::of_answers().bytes_max(20), &[1]);
        assert_eq!(short.status, 403);
        // What would have opened the connection is another fault.
        let (mut answering, _) = opening();
        let fed = feed(&mut answering, head("101 Switching Protocols", (64 << 10) + 1).as_bytes(), false, true);
        assert!(matches!(fed, Fed::Failed(DialError::Answer(AnswerError::HeadTooLarge))));
    }

    /// RFC 9112 §5.2: an answer with folded fields opens the connection, and a refusal's are in one line.
    #[test]
    fn folded_fields_are_one_line() {
        let (mut answering, head) = opening();
        let head = String::from_utf8(head).expect("text").replacen("Connection: ", "Connection: keep-alive,\r\n\t", 1);
        for (at, byte) in head.bytes().enumerate() {
            match feed(&mut answering, &[byte], false, true) {
                Fed::More => assert!(at + 2 < head.len(), "it is not open"),
                Fed::Opened { data, .. } => assert_eq!((data, at + 2), ("state", head.len())),
                Fed::Failed(error) => panic!("{error}"),
            }
            if at + 2 == head.len() {
                break;
            }
        }
        let refusal = b"HTTP/1.1 403 No\r\nX-Policy: a\r\n b\r\nContent-Length: 0\r\n\r\n";
        let declined = refused(refusal, HeadLimits::of_answers(), &[1, 100]);
        assert_eq!(declined.headers["x-policy"], "a   b");
    }
}
