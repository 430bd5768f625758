//! TLS of one connection, without I/O: ciphertext in, plaintext out, and what is to be sent. Both roles.
//!
//! rustls does the work, by its unbuffered API; the configuration, and with it the cryptography, names, certificates and
//! resumption, is the application's. What is ours is where the bytes lie: records are decrypted in the buffer they were
//! received in, and a [`Tls`] at rest holds no buffer. A record that was cut waits in pooled memory for its end; so do
//! the pieces of a handshake message, up to [`HELD_MAX`].
//!
//! rustls 0.23 decrypts in place, but lends the plaintext from a copy of its own. So it is appended to a run that the
//! caller decodes: all records of a receive in one piece, so that a frame that fills two records is whole.
//!
//! Early data (0-RTT) is refused: RFC 8446 appendix E.5 forbids it without a profile, and WebSocket has none.
//! Renegotiation is refused and keys are updated by rustls.

mod error;
mod name;
mod peer;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};
use wsring_proto::pool::Pool;
use wsring_proto::simd;

pub use error::TlsError;
pub(crate) use name::telling;
pub use peer::TlsPeer;

/// Bytes of a record's header, RFC 8446 §5.1.
const HEADER: usize = 5;
/// Plaintext of a record, RFC 8446 §5.1.
const FRAGMENT_MAX: usize = 1 << 14;
/// What a record adds to its plaintext with the ciphers in use; a guess, which [`Tls::seal`] corrects.
const OVERHEAD: usize = 32;
/// Bytes of one connection that wait for their end. A record has at most 18 KiB; rustls takes handshake messages of
/// 64 KiB, and their records' headers come on top. A handshake has no more than six messages from one side, so this
/// bounds the whole handshake as well.
const HELD_MAX: usize = 96 << 10;

/// Why nothing was sealed.
#[derive(Debug)]
pub(crate) enum Unsealed {
    /// The buffer is too small, one of so many bytes is not; nothing is lost.
    Room(usize),
    /// The connection can send no more: its keys are used up (TLS 1.2 has no update of keys).
    Failed(TlsError),
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One connection's TLS.
pub(crate) struct Tls {
    side: Side,
    /// A record, or a handshake message, whose end has not come. rustls counts from its first byte. Without capacity at
    /// rest.
    held: Vec<u8>,
    /// TLS's own bytes to send: handshake messages, tickets, alerts. Without capacity at rest.
    own: Vec<u8>,
    /// A byte has come.
    begun: bool,
    /// See [`Self::take_worked`].
    worked: bool,
    /// The peer's close_notify has come: it sends no more (RFC 8446 §6.1).
    peer_closed: bool,
    end: End,
    /// Of a server: the name that its client asked for.
    name: Option<Box<str>>,
}

/// Whether anything more can be sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Our close_notify was: of what the peer still sends, its own is wanted (RFC 8446 §6.1).
    Goodbye,
    /// TLS has failed.
    Failed,
}

/// What rustls wants next.
enum Step {
    /// To be asked again.
    Again,
    /// More bytes.
    Starved,
    /// Nothing: the peer has closed.
    Closed,
}

/// What is to be encrypted.
#[derive(Clone, Copy)]
enum What<'a> {
    Plain(&'a [u8]),
    CloseNotify,
}

/// What became of it.
enum Wrote {
    Sealed(usize),
    Room(usize),
    /// TLS's own bytes go first, and lie in [`Tls::own`] now.
    OwnFirst,
}

impl Tls {
    /// What rustls takes for a connection, in its handshake and open, nearly: 2.6 to 3.9 KB (`tests/tls_memory`). A peer's certificates,
    /// where one must show them, are not in it.
    pub(crate) const BYTES: usize = 4 << 10;

    /// The server's side of a new connection.
    ///
    /// # Errors
    /// [`TlsError::Ours`] if rustls refuses the configuration.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(Side::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// The client's side of a new connection to a server of this name, which its certificate must prove. Its first bytes
    /// to send are there at once.
    ///
    /// # Errors
    /// [`TlsError::Ours`] if rustls refuses the configuration or the name.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        pool: &mut Pool,
    ) -> Result<Self, TlsError> {
        let mut tls = Self::new(Side::Client(UnbufferedClientConnection::new(config, name)?));
        match tls.run(&mut [], &mut Vec::new(), pool) {
            Ok(_) => Ok(tls),
            Err(error) => {
                tls.recycle(pool);
                Err(error)
            }
        }
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            held: Vec::new(),
            own: Vec::new(),
            begun: false,
            worked: false,
            peer_closed: false,
            end: End::Open,
            name: None,
        }
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(conn) => conn,
            Side::Client(conn) => conn,
        }
    }

    /// Whether application data cannot flow yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Whether the peer has said that it sends no more (close_notify, RFC 8446 §6.1).
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether the peer's bytes are still wanted: for what they say, or for its close_notify alone.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.end != End::Failed && !self.peer_closed
    }

    /// The peer's last byte has come. True if it came in the middle of the handshake.
    pub(crate) fn cut(&mut self) -> bool {
        let unfinished = self.end == End::Open && self.is_handshaking();
        if unfinished {
            self.end = End::Failed;
        }
        unfinished && self.begun
    }

    /// Something of the peer has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Bytes of the memory that its own bytes lie in.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.capacity() + self.own.capacity()
    }

    /// Gives back what it holds.
    pub(crate) fn recycle(self, pool: &mut Pool) {
        pool.put(self.held);
        pool.put(self.own);
    }

    /// Whether [`Self::seal`] can take application data.
    pub(crate) fn takes_plain(&self) -> bool {
        self.end == End::Open && !self.is_handshaking()
    }

    /// Whether TLS itself has something to send. Behind our close_notify it has not.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.is_empty() || self.end == End::Open && self.state().wants_write()
    }

    /// The name that the client asked for, if that has come with what was fed last.
    pub(crate) fn hear_name(&mut self) {
        if let Some(name) = name::asked() {
            self.name = Some(name);
        }
    }

    /// Whether records were worked on since it was last asked: each may have cost a computation, whether or not that leaves something to send (in
    /// TLS 1.2 the shared secret does not).
    pub(crate) fn take_worked(&mut self) -> bool {
        mem::take(&mut self.worked)
    }

    /// Takes received bytes, which are overwritten, and appends what they decrypt to to `plain`.
    ///
    /// # Errors
    /// TLS has failed, as it did for good: `plain` holds what came before, an alert may be there to be sealed, and
    /// nothing more may be fed.
    pub(crate) fn feed(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, pool: &mut Pool) -> Result<(), TlsError> {
        let own = self.own.len();
        let fed = self.feed_records(bytes, plain, pool);
        if self.end == End::Goodbye {
            self.own.truncate(own); // nothing goes out behind our close_notify
        }
        fed
    }

    fn feed_records(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, pool: &mut Pool) -> Result<(), TlsError> {
        self.begun |= !bytes.is_empty();
        let mut at = 0;
        // Up to the end of the record that was cut, so that those behind it are decrypted where they lie; while a
        // handshake message is put together, all: rustls wants its records in one piece.
        while !self.held.is_empty() && at < bytes.len() {
            let missing = match record_len(&self.held) {
                None => HEADER - self.held.len(),
                Some(len) if len > self.held.len() => len - self.held.len(),
                Some(_) => HELD_MAX + 1 - self.held.len(),
            };
            let more = missing.min(bytes.len() - at);
            pool.append(&bytes[at..at + more], &mut self.held);
            at += more;
            let mut held = mem::take(&mut self.held);
            let ran = self.run(&mut held, plain, pool);
            let done = *ran.as_ref().unwrap_or(&0);
            held.drain(..done);
            if held.is_empty() || self.peer_closed {
                pool.put(held);
            } else if done > 0 {
                self.held = pool.fit(held); // little may be left of a handshake message
            } else {
                self.held = held;
            }
            ran?;
            if self.held.len() > HELD_MAX {
                self.end = End::Failed;
                return Err(TlsError::TooLong);
            }
        }
        if at == bytes.len() || self.peer_closed {
            return Ok(()); // RFC 8446 §6.1: what follows a close_notify is ignored
        }
        let done = self.run(&mut bytes[at..], plain, pool)?;
        let rest = &bytes[at + done..];
        if !rest.is_empty() && !self.peer_closed {
            let whole = record_len(rest).unwrap_or(0).min(FRAGMENT_MAX + (2 << 10));
            self.held = pool.take(rest.len(), whole);
            simd::copy_append(rest, &mut self.held);
            if rest.len() > HELD_MAX {
                self.end = End::Failed;
                return Err(TlsError::TooLong);
            }
        }
        Ok(())
    }

    /// Works on records until more bytes are needed; says how many bytes at the front are done with.
    fn run(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, pool: &mut Pool) -> Result<usize, TlsError> {
        let mut at = 0;
        loop {
            let rest = &mut bytes[at..];
            let (done, step) = match &mut self.side {
                Side::Server(conn) => step(conn.process_tls_records(rest), plain, &mut self.own, pool),
                Side::Client(conn) => step(conn.process_tls_records(rest), plain, &mut self.own, pool),
            };
            at += done;
            self.worked |= done > 0;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Starved) => return Ok(at),
                Ok(Step::Closed) => {
                    self.peer_closed = true;
                    return Ok(at);
                }
                Err(error) => {
                    // The alert that rustls has for the peer. Bounded: each call takes one piece of what it has to say.
                    while self.end == End::Open && self.state().wants_write() && self.pull(&mut bytes[at..], pool) {}
                    self.end = End::Failed;
                    return Err(error.into());
                }
            }
        }
    }

    /// Takes a piece of TLS's own output out of rustls; false if it has something else to do first.
    fn pull(&mut self, bytes: &mut [u8], pool: &mut Pool) -> bool {
        fn take<D>(status: UnbufferedStatus<'_, '_, D>, own: &mut Vec<u8>, pool: &mut Pool) -> bool {
            let Ok(ConnectionState::EncodeTlsData(chunk)) = status.state else { return false };
            encode(chunk, own, pool);
            true
        }
        match &mut self.side {
            Side::Server(conn) => take(conn.process_tls_records(bytes), &mut self.own, pool),
            Side::Client(conn) => take(conn.process_tls_records(bytes), &mut self.own, pool),
        }
    }

    /// Bytes that [`Self::seal`] most likely needs for `plain` bytes.
    pub(crate) fn sealed_len(&self, plain: usize) -> usize {
        self.own.len() + plain + (plain.div_ceil(FRAGMENT_MAX) + 1) * OVERHEAD
    }

    /// Writes what is to be sent next: TLS's own bytes, then all of `plain` (which must be empty unless
    /// [`Self::takes_plain`]), then, if it is the `last`, close_notify (RFC 8446 §6.1) unless TLS has ended. Returns how
    /// many bytes that is.
    ///
    /// # Errors
    /// Nothing was written.
    pub(crate) fn seal(
        &mut self,
        plain: &[u8],
        last: bool,
        out: &mut [u8],
        pool: &mut Pool,
    ) -> Result<usize, Unsealed> {
        let open = self.takes_plain();
        assert!(open || plain.is_empty(), "data to encrypt before the handshake or after the end");
        let mut written = loop {
            let own = self.own.len();
            let Some(room) = out.get_mut(own..) else { return Err(Unsealed::Room(self.sealed_len(plain.len()))) };
            if !open {
                break own;
            }
            match self.write(What::Plain(plain), room, pool)? {
                Wrote::Sealed(len) => break own + len,
                Wrote::Room(len) => return Err(Unsealed::Room(own + len)),
                Wrote::OwnFirst => {}
            }
        };
        out[..self.own.len()].copy_from_slice(&self.own);
        pool.put(mem::take(&mut self.own));
        if last && open {
            match self.write(What::CloseNotify, &mut out[written..], pool)? {
                Wrote::Sealed(len) => {
                    written += len;
                    self.end = End::Goodbye;
                }
                Wrote::Room(_) => {
                    // It is made all the same, and waits among TLS's own bytes for the next call.
                    let mut held = mem::take(&mut self.held);
                    self.pull(&mut held, pool);
                    self.held = held;
                    self.end = End::Goodbye;
                }
                Wrote::OwnFirst => {} // the next call closes
            }
        }
        Ok(written)
    }

    fn write(&mut self, what: What<'_>, out: &mut [u8], pool: &mut Pool) -> Result<Wrote, Unsealed> {
        let (held, own) = (&mut self.held, &mut self.own);
        match &mut self.side {
            Side::Server(conn) => write(conn.process_tls_records(held), what, out, own, pool),
            Side::Client(conn) => write(conn.process_tls_records(held), what, out, own, pool),
        }
    }
}

/// Bytes of the record that `bytes` begin with, once its header is there.
fn record_len(bytes: &[u8]) -> Option<usize> {
    Some(HEADER + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])))
}

/// Does what rustls wants; says how many bytes are done with, and how to go on.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    own: &mut Vec<u8>,
    pool: &mut Pool,
) -> (usize, Result<Step, rustls::Error>) {
    let mut done = status.discard;
    let next = match status.state {
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                Some(Ok(record)) => {
                    simd::copy_append(record.payload, plain);
                    done += record.discard;
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(chunk)) => {
            encode(chunk, own, pool);
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            sent.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Step::Starved),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(ConnectionState::ReadEarlyData(_)) => Err(rustls::Error::General("early data is refused".to_owned())),
        Ok(state) => Err(rustls::Error::General(format!("rustls is in an unknown state, {state:?}"))),
        Err(error) => Err(error),
    };
    (done, next)
}

/// Moves a piece of TLS's own output behind `own`.
fn encode<D>(mut chunk: EncodeTlsData<'_, D>, own: &mut Vec<u8>, pool: &mut Pool) {
    let Err(EncodeError::InsufficientSize(need)) = chunk.encode(&mut []) else {
        return; // it is empty
    };
    pool.reserve(own, need.required_size);
    let at = own.len();
    own.resize(at + need.required_size, 0);
    let encoded = chunk.encode(&mut own[at..]).expect("rustls was given the room it asked for");
    own.truncate(at + encoded);
}

/// Encrypts, if nothing else must go first.
fn write<D>(
    status: UnbufferedStatus<'_, '_, D>,
    what: What<'_>,
    out: &mut [u8],
    own: &mut Vec<u8>,
    pool: &mut Pool,
) -> Result<Wrote, Unsealed> {
    debug_assert_eq!(status.discard, 0, "what is held is not whole");
    let mut open = match status.state {
        Ok(ConnectionState::WriteTraffic(open)) => open,
        Ok(ConnectionState::EncodeTlsData(chunk)) => {
            encode(chunk, own, pool);
            return Ok(Wrote::OwnFirst);
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            sent.done();
            return Ok(Wrote::OwnFirst);
        }
        Ok(state) => {
            let says = format!("rustls cannot write in the state {state:?}");
            return Err(Unsealed::Failed(TlsError::Ours(rustls::Error::General(says))));
        }
        Err(error) => return Err(Unsealed::Failed(error.into())),
    };
    let wrote = match what {
        What::Plain(plain) => open.encrypt(plain, out),
        What::CloseNotify => open.queue_close_notify(out),
    };
    match wrote {
        Ok(len) => Ok(Wrote::Sealed(len)),
        Err(EncryptError::InsufficientSize(need)) => Ok(Wrote::Room(need.required_size)),
        Err(EncryptError::EncryptExhausted) => Err(Unsealed::Failed(TlsError::Ours(rustls::Error::EncryptError))),
    }
}
