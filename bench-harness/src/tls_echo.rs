//! TLS for the ring echo: what rustls costs on the kernel's interface alone, decrypted and encrypted again, and nothing
//! between. It is the limit for a server that speaks TLS by rustls.
//!
//! Owns one connection's rustls, its cut record, and the bytes on their way out. Promises: records are decrypted in the
//! buffer they arrived in, all of a receive are encrypted at once, and memory that the kernel reads does not move.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ServerConfig, crypto::ring};

/// Bytes of a record's header, RFC 8446 §5.1.
const HEADER: usize = 5;
/// A cut record and handshake messages that are put together: beyond this a peer is given up.
const HELD_MAX: usize = 96 << 10;

/// A server's configuration from two files of PEM.
pub fn config(certificate: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
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

/// One connection.
pub struct Sealed {
    tls: UnbufferedServerConnection,
    held: Vec<u8>,
    /// To be sent after what the kernel has.
    next: Filled,
    /// With the kernel: not touched until it has completed.
    sending: Filled,
}

impl Sealed {
    /// A new connection.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Sealed, rustls::Error> {
        let tls = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Sealed { tls, held: Vec::new(), next: Filled::default(), sending: Filled::default() })
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
        self.encrypt(plain)
    }

    /// Says how many bytes at the front are done with.
    fn decrypt(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut bytes[at..]);
            let more = match state? {
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut chunk) => {
                    if let Err(EncodeError::InsufficientSize(need)) = chunk.encode(&mut []) {
                        self.next.len +=
                            chunk.encode(self.next.room(need.required_size)).expect("as much as it asked for");
                    }
                    true
                }
                ConnectionState::TransmitTlsData(sent) => {
                    sent.done();
                    true
                }
                _ => false,
            };
            at += discard;
            if !more {
                return Ok(at);
            }
        }
    }

    fn encrypt(&mut self, plain: &[u8]) -> Result<(), rustls::Error> {
        if plain.is_empty() {
            return Ok(());
        }
        let ConnectionState::WriteTraffic(mut open) = self.tls.process_tls_records(&mut self.held).state? else {
            return Err(rustls::Error::HandshakeNotComplete);
        };
        let mut room = plain.len() + (plain.len() / (16 << 10) + 1) * 32;
        loop {
            match open.encrypt(plain, self.next.room(room)) {
                Ok(len) => {
                    self.next.len += len;
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(need)) => room = need.required_size,
                Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
            }
        }
    }
}

/// Bytes of the record that `bytes` begin with, once its header is there.
fn record_len(bytes: &[u8]) -> Option<usize> {
    Some(HEADER + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])))
}
