//! TLS for the ring echo and for the load client: rustls on the kernel's interface alone. The echo decrypts and encrypts again,
//! with nothing between: the limit for a server that speaks TLS by rustls.
//!
//! Owns one connection's rustls, its cut record, and the bytes on their way out. Promises: records are decrypted in the
//! buffer they arrived in, and memory that the kernel reads does not move. Refuses to know: sockets, and the engine's TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, RootCertStore, ServerConfig, crypto::ring};

/// Bytes of a record's header, RFC 8446 §5.1.
const HEADER: usize = 5;
/// A cut record and handshake messages that are put together: beyond this a peer is given up.
const HELD_MAX: usize = 96 << 10;

/// A server's configuration from two files of PEM.
pub fn server(certificate: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// A client's configuration that trusts the certificates in a file of PEM, or what they sign. It offers TLS 1.3 with
/// AES-128-GCM and nothing else (RFC 8446 §9.1: everybody has it): servers are compared on one cipher.
pub fn client(authority: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a cipher of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Memory that grows and is never cleared, with so many bytes of it in use.
#[derive(Default)]
struct Filled {
    memory: Vec<u8>,
    len: usize,
}

impl Filled {
    /// Room for at least `more` bytes behind those in use.
    fn room(&mut self, more: usize) -> &mut [u8] {
        if self.memory.len() < self.len + more {
            self.memory.resize((self.len + more).next_power_of_two(), 0);
        }
        &mut self.memory[self.len..]
    }
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One connection.
pub struct Sealed {
    side: Side,
    held: Vec<u8>,
    /// To be sent after what the kernel has.
    next: Filled,
    /// With the kernel: not touched until it has completed.
    sending: Filled,
}

impl Sealed {
    /// A new connection, as the server.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Sealed, rustls::Error> {
        Ok(Self::new(Side::Server(UnbufferedServerConnection::new(Arc::clone(config))?)))
    }

    /// A new connection, as the client: its first bytes to send are there.
    pub fn client(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Result<Sealed, rustls::Error> {
        let mut sealed = Self::new(Side::Client(UnbufferedClientConnection::new(Arc::clone(config), name)?));
        sealed.decrypt(&mut [], &mut Vec::new())?;
        Ok(sealed)
    }

    fn new(side: Side) -> Sealed {
        Sealed { side, held: Vec::new(), next: Filled::default(), sending: Filled::default() }
    }

    /// Whether application data cannot flow yet.
    pub fn is_handshaking(&self) -> bool {
        let state: &CommonState = match &self.side {
            Side::Server(tls) => tls,
            Side::Client(tls) => tls,
        };
        state.is_handshaking()
    }

    /// Bytes not sent yet.
    pub fn behind(&self) -> usize {
        self.next.len + self.sending.len
    }

    /// Whether something is with the kernel.
    pub fn is_sending(&self) -> bool {
        self.sending.len > 0
    }

    /// What goes next, which stays where it is until [`Self::sent`]. Nothing may be with the kernel.
    pub fn send(&mut self) -> Option<&[u8]> {
        assert!(!self.is_sending(), "two sends at once");
        std::mem::swap(&mut self.next, &mut self.sending);
        (self.sending.len > 0).then(|| &self.sending.memory[..self.sending.len])
    }

    /// The last `left` bytes of what is with the kernel, which a short send has left.
    pub fn rest(&self, left: usize) -> &[u8] {
        &self.sending.memory[self.sending.len - left..self.sending.len]
    }

    /// What was with the kernel is sent or given up; says how many bytes that was.
    pub fn sent(&mut self) -> usize {
        std::mem::take(&mut self.sending.len)
    }

    /// Gives up what waits.
    pub fn give_up(&mut self) {
        self.next.len = 0;
    }

    /// Takes received bytes, and has what they decrypt to encrypted to be sent. `plain` is memory to do it in.
    pub fn echo(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        plain.clear();
        self.feed(bytes, plain)?;
        self.write(plain)
    }

    /// Takes received bytes, which are overwritten, and appends what they decrypt to to `plain`.
    pub fn feed(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let mut at = 0;
        while !self.held.is_empty() && at < bytes.len() {
            // To the end of the cut record; all while a handshake message is put together.
            let missing = match record_len(&self.held) {
                None => HEADER - self.held.len(),
                Some(len) if len > self.held.len() => len - self.held.len(),
                Some(_) => bytes.len(),
            };
            let more = missing.min(bytes.len() - at);
            self.held.extend_from_slice(&bytes[at..at + more]);
            at += more;
            let mut held = std::mem::take(&mut self.held);
            let done = self.decrypt(&mut held, plain)?;
            held.drain(..done);
            self.held = held;
        }
        if at < bytes.len() {
            let done = self.decrypt(&mut bytes[at..], plain)?;
            self.held.extend_from_slice(&bytes[at + done..]);
        }
        if self.held.len() > HELD_MAX {
            return Err(rustls::Error::General("a handshake message is too long".to_owned()));
        }
        Ok(())
    }

    /// Says how many bytes at the front are done with.
    fn decrypt(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        let mut at = 0;
        loop {
            let rest = &mut bytes[at..];
            let (done, more) = match &mut self.side {
                Side::Server(tls) => step(tls.process_tls_records(rest), plain, &mut self.next)?,
                Side::Client(tls) => step(tls.process_tls_records(rest), plain, &mut self.next)?,
            };
            at += done;
            if !more {
                return Ok(at);
            }
        }
    }

    /// Has bytes encrypted to be sent. The handshake must be over.
    pub fn write(&mut self, plain: &[u8]) -> Result<(), rustls::Error> {
        if plain.is_empty() {
            return Ok(());
        }
        match &mut self.side {
            Side::Server(tls) => encrypt(tls.process_tls_records(&mut self.held), plain, &mut self.next),
            Side::Client(tls) => encrypt(tls.process_tls_records(&mut self.held), plain, &mut self.next),
        }
    }
}

/// Does what rustls wants; says how many bytes are done with, and whether it wants more than bytes.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    next: &mut Filled,
) -> Result<(usize, bool), rustls::Error> {
    let mut done = status.discard;
    match status.state? {
        ConnectionState::ReadTraffic(mut records) => {
            while let Some(record) = records.next_record() {
                let record = record?;
                plain.extend_from_slice(record.payload);
                done += record.discard;
            }
        }
        ConnectionState::EncodeTlsData(mut chunk) => {
            if let Err(EncodeError::InsufficientSize(need)) = chunk.encode(&mut []) {
                next.len += chunk.encode(next.room(need.required_size)).expect("as much as it asked for");
            }
        }
        ConnectionState::TransmitTlsData(sent) => sent.done(),
        _ => return Ok((done, false)),
    }
    Ok((done, true))
}

fn encrypt<D>(status: UnbufferedStatus<'_, '_, D>, plain: &[u8], next: &mut Filled) -> Result<(), rustls::Error> {
    let ConnectionState::WriteTraffic(mut open) = status.state? else {
        return Err(rustls::Error::HandshakeNotComplete);
    };
    let mut room = plain.len() + (plain.len() / (16 << 10) + 1) * 32;
    loop {
        match open.encrypt(plain, next.room(room)) {
            Ok(len) => {
                next.len += len;
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(need)) => room = need.required_size,
            Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
        }
    }
}

/// Bytes of the record that `bytes` begin with, once its header is there.
fn record_len(bytes: &[u8]) -> Option<usize> {
    Some(HEADER + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])))
}
