//! One client of a test: what it writes, how it reads, and what it has got.
//!
//! Promises that it acts only when it is asked to ([`Client::act`]), at the moment that it is told. Refuses to know the core and the clock.

use std::collections::VecDeque;
use std::time::Duration;

use wsring_proto::close::CloseCode;
use wsring_proto::deflate::ClientOffer;
use wsring_proto::encode;
use wsring_proto::frame::Role;
use wsring_proto::handshake::{self, Answer, BodyLen, Expected, HeadEnd, HeadLimits, HeadScan, HeaderTable};
use wsring_proto::opcode::Opcode;
use wsring_proto::pool::Pool;
use wsring_proto::session::input::Event;
use wsring_proto::simd::MaskKey;
use wsring_proto::{Limits, Session};

use super::handshake::Handshake;
use crate::handler::{OwnedMessage, Response};
use crate::headers::header_map;
use crate::ring::Time;
use crate::ring::sim::{Net, PipeId, Random, Read, Written};

/// What clients of a bench have together.
pub(super) struct Means {
    pub(super) pool: Pool,
    pub(super) random: Random,
}

/// How a client's connection ended, as that client has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The core sent a Close.
    Closed {
        /// Its code; `None` if it has none.
        code: Option<CloseCode>,
        /// Its reason, or nothing.
        reason: String,
    },
    /// The core ended the connection without a Close.
    Eof,
    /// The connection was reset.
    Reset,
    /// The client left: [`Bench::hang_up`](super::Bench::hang_up), [`Bench::reset`](super::Bench::reset).
    Left,
}

/// How a client reads.
#[derive(Clone, Copy, Debug)]
enum Reading {
    All,
    Nothing,
    /// So many bytes a second, and not before that moment.
    Slowly {
        per_second: u64,
        next_at: Time,
    },
}

/// What has come of its request.
enum Stage {
    /// Its answer is awaited.
    Asking(Asking),
    Open(Session),
    /// It is another than 101, and as much of its body has come; of which so much is to come, or all up to the end.
    Answered(Response, Option<usize>),
}

struct Asking {
    key: [u8; 24],
    subprotocols: Vec<String>,
    offer: Option<ClientOffer>,
    /// The answer has no body, whatever it says.
    is_head: bool,
    scan: HeadScan,
    bytes: Vec<u8>,
}

/// A client.
pub(super) struct Client {
    pub(super) pipe: PipeId,
    stage: Stage,
    /// What the socket had no room for yet.
    unsent: Vec<u8>,
    reading: Reading,
    /// It answers nothing.
    is_silent: bool,
    has_closed: bool,
    close: Option<(Option<CloseCode>, String)>,
    /// Nothing goes or comes any more.
    end: Option<Ending>,
    pub(super) answer: Option<http::Response<()>>,
    pub(super) messages: VecDeque<(Time, OwnedMessage)>,
    pub(super) pongs: Vec<Vec<u8>>,
    pub(super) pings: usize,
}

impl Client {
    /// One that asks for a WebSocket.
    #[track_caller]
    pub(super) fn new(pipe: PipeId, asked: &Handshake, means: &mut Means) -> Self {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&means.random.bits().to_le_bytes());
        nonce[8..].copy_from_slice(&means.random.bits().to_le_bytes());
        let key = handshake::client_key(nonce);
        let mut unsent = Vec::new();
        asked.write(&mut unsent, &key);
        Self::asking(pipe, key, asked.subprotocols.clone(), asked.offer, false, unsent)
    }

    /// One that makes a plain request.
    pub(super) fn plain(pipe: PipeId, request: Vec<u8>, is_head: bool) -> Self {
        Self::asking(pipe, handshake::client_key([0; 16]), Vec::new(), None, is_head, request)
    }

    fn asking(
        pipe: PipeId,
        key: [u8; 24],
        subprotocols: Vec<String>,
        offer: Option<ClientOffer>,
        is_head: bool,
        unsent: Vec<u8>,
    ) -> Self {
        let asking = Asking { key, subprotocols, offer, is_head, scan: HeadScan::default(), bytes: Vec::new() };
        Self {
            pipe,
            stage: Stage::Asking(asking),
            unsent,
            reading: Reading::All,
            is_silent: false,
            has_closed: false,
            close: None,
            end: None,
            answer: None,
            messages: VecDeque::new(),
            pongs: Vec::new(),
            pings: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_)) && self.end.is_none()
    }

    /// The whole answer to its request, if that is another than 101.
    pub(super) fn declined(&self) -> Option<&Response> {
        match &self.stage {
            Stage::Answered(response, left) if *left == Some(0) || self.end.is_some() => Some(response),
            _ => None,
        }
    }

    /// How it ended, from the Close on.
    pub(super) fn ending(&self) -> Option<Ending> {
        match &self.close {
            Some((code, reason)) => Some(Ending::Closed { code: *code, reason: reason.clone() }),
            None => self.end.clone(),
        }
    }

    /// Why it cannot say anything, if so.
    pub(super) fn muteness(&self) -> Option<String> {
        match self.ending() {
            Some(ending) => Some(format!("its connection has ended: {ending:?}")),
            None => self.has_closed.then(|| "it has sent a Close".to_owned()),
        }
    }

    // ---- what it does ----

    pub(super) fn say(&mut self, opcode: Opcode, payload: &[u8], means: &mut Means) {
        let key = MaskKey::from_bytes((means.random.bits() as u32).to_le_bytes());
        encode::append_frame(&mut self.unsent, true, opcode, payload, Some(key));
    }

    pub(super) fn say_close(&mut self, code: Option<CloseCode>, reason: &str, means: &mut Means) {
        let mut payload = [0; wsring_proto::close::CONTROL_PAYLOAD_MAX];
        let payload = wsring_proto::close::write_payload(&mut payload, code, reason);
        self.say(Opcode::Close, payload, means);
        self.has_closed = true;
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    pub(super) fn read_all(&mut self) {
        self.reading = Reading::All;
    }

    pub(super) fn read_nothing(&mut self) {
        self.reading = Reading::Nothing;
    }

    pub(super) fn read_slowly(&mut self, per_second: u64, now: Time) {
        self.reading = Reading::Slowly { per_second, next_at: now };
    }

    pub(super) fn fall_silent(&mut self) {
        self.is_silent = true;
    }

    /// It closes its socket; or, at once, resets the connection.
    pub(super) fn leave(&mut self, net: &mut Net, at_once: bool) {
        if self.end.replace(Ending::Left).is_none() {
            if at_once { net.reset(self.pipe) } else { net.close(self.pipe) }
        }
    }

    /// Writes and reads what it can. Whether there was any.
    pub(super) fn act(&mut self, net: &mut Net, means: &mut Means) -> bool {
        let mut has_acted = false;
        while self.end.is_none() {
            let wrote = self.flush(net);
            let read = self.read(net, means);
            if !wrote && !read {
                break;
            }
            has_acted = true;
        }
        has_acted
    }

    /// When it reads on although nothing comes.
    pub(super) fn wants_at(&self, now: Time) -> Option<Time> {
        match self.reading {
            Reading::Slowly { next_at, .. } if self.end.is_none() && next_at > now => Some(next_at),
            _ => None,
        }
    }

    fn flush(&mut self, net: &mut Net) -> bool {
        if self.unsent.is_empty() {
            return false;
        }
        match net.write(self.pipe, &self.unsent) {
            Written::Bytes(count) => {
                self.unsent.drain(..count);
                count > 0
            }
            Written::Reset => {
                self.unsent.clear(); // what can still be read tells the end
                true
            }
        }
    }

    fn read(&mut self, net: &mut Net, means: &mut Means) -> bool {
        let now = net.now();
        let most = match self.reading {
            Reading::All => usize::MAX,
            Reading::Slowly { per_second, next_at } if next_at <= now => (per_second / 100).max(1) as usize,
            Reading::Nothing | Reading::Slowly { .. } => return false,
        };
        let mut bytes = Vec::new();
        match net.read(self.pipe, most, &mut bytes) {
            Read::Nothing => return false,
            Read::Eof => {
                net.close(self.pipe);
                self.end = Some(Ending::Eof);
            }
            Read::Reset => self.end = Some(Ending::Reset),
            Read::Bytes(count) => {
                if let Reading::Slowly { per_second, next_at } = &mut self.reading {
                    let nanos = (count as u64).saturating_mul(1_000_000_000) / *per_second;
                    *next_at = now.plus(Duration::from_nanos(nanos.max(1)));
                }
                self.on_bytes(&mut bytes, now, means);
            }
        }
        if self.declined().is_some() && self.end.is_none() {
            net.close(self.pipe); // it has what it asked for
            self.end = Some(Ending::Eof);
        }
        true
    }

    // ---- what it gets ----

    fn on_bytes(&mut self, bytes: &mut Vec<u8>, now: Time, means: &mut Means) {
        if let Stage::Asking(asking) = &mut self.stage {
            asking.bytes.append(bytes);
            let Some((stage, answer, behind)) = asking.judge() else { return };
            (self.stage, self.answer, *bytes) = (stage, Some(answer), behind);
        }
        match &mut self.stage {
            Stage::Open(_) => self.on_frames(bytes, now, means),
            Stage::Answered(response, left) => {
                let here = left.map_or(bytes.len(), |left| left.min(bytes.len()));
                response.body_mut().extend_from_slice(&bytes[..here]);
                *left = left.map(|left| left - here);
            }
            Stage::Asking(_) => unreachable!("its answer is here"),
        }
    }

    fn on_frames(&mut self, bytes: &mut [u8], now: Time, means: &mut Means) {
        let Stage::Open(session) = &mut self.stage else { return };
        let most = u64::from(u32::MAX);
        let limits = Limits::default().frame_max_bytes(most).message_max_bytes(most).inflate_ratio_max(u32::MAX);
        let (mut asked, mut closed) = (Vec::new(), None);
        let mut input = session.input(bytes, &limits);
        while let Some(event) = input.next(&mut means.pool).expect("a core breaks no rule of the protocol") {
            match event {
                Event::Message { message, .. } => self.messages.push_back((now, message.into())),
                Event::Ping(payload) => asked.push(payload.to_vec()),
                Event::Pong(payload) => self.pongs.push(payload.to_vec()),
                Event::Close { code, reason } => closed = Some((code, reason.to_owned())),
                _ => {}
            }
        }
        self.pings += asked.len();
        for payload in asked {
            if !self.is_silent && !self.has_closed {
                self.say(Opcode::Pong, &payload, means);
            }
        }
        if let Some((code, reason)) = closed {
            if !self.is_silent && !self.has_closed {
                self.say_close(code, "", means); // RFC 6455 §5.5.1
            }
            self.close = Some((code, reason));
        }
    }
}

impl Asking {
    /// What the answer is, if its head is here; and what came behind that.
    fn judge(&mut self) -> Option<(Stage, http::Response<()>, Vec<u8>)> {
        let limits = HeadLimits::default().bytes_max(1 << 20);
        let len = match self.scan.feed(&self.bytes, &limits) {
            HeadEnd::Partial => return None,
            HeadEnd::Complete(len) => len,
            HeadEnd::TooLarge => panic!("the head of the answer is longer than a mebibyte"),
        };
        let behind = self.bytes.split_off(len);
        let mut table = HeaderTable::new();
        let answer = Answer::parse(&self.bytes, &limits, &mut table).expect("a core answers in HTTP");
        let mut copy = http::Response::new(());
        *copy.status_mut() = http::StatusCode::from_u16(answer.status()).expect("it was parsed");
        *copy.headers_mut() = header_map(answer.headers());
        if answer.status() != 101 {
            let left = match answer.body_len() {
                _ if self.is_head => Some(0),
                BodyLen::Exactly(len) => usize::try_from(len).ok(),
                _ => None,
            };
            return Some((Stage::Answered(copy.clone().map(|()| Vec::new()), left), copy, behind));
        }
        let extensions_offered = self.offer.is_some();
        let expected = Expected { key: &self.key, subprotocols: &self.subprotocols, extensions_offered };
        handshake::verify(&answer, &expected).expect("a core answers what was asked");
        let agreed = self.offer.and_then(|offer| offer.judge(answer.extensions()).expect("and takes what was offered"));
        let session =
            agreed.map_or_else(|| Session::new(Role::Client), |agreed| Session::with_deflate(Role::Client, &agreed));
        Some((Stage::Open(session), copy, behind))
    }
}
