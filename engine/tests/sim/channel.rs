//! A peer's end of a connection: the pipe, and over it TLS by rustls's ordinary client, if the run has that.
//!
//! What a peer writes and reads is plaintext either way. Promises that whatever the server sends is sound TLS: the
//! simulated kernel breaks connections, never bytes.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use wsring::ring::sim::{Net, PipeId, Read, Written};

use wsring_testkit::certificates::name;

pub struct Channel {
    pipe: PipeId,
    tls: Option<Box<ClientConnection>>,
    /// Encrypted, and not sent from `at` on.
    sealed: Vec<u8>,
    at: usize,
    /// The stream ends when that is sent.
    fin: bool,
    /// It has ended: TLS may have something to answer, and cannot any more.
    ended: bool,
    reset: bool,
}

impl Channel {
    pub fn new(pipe: PipeId, config: Option<&Arc<ClientConfig>>) -> Self {
        let tls = config.map(|config| {
            Box::new(ClientConnection::new(Arc::clone(config), name()).expect("rustls takes the configuration"))
        });
        Self { pipe, tls, sealed: Vec::new(), at: 0, fin: false, ended: false, reset: false }
    }

    pub fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    pub fn pipe(&self) -> PipeId {
        self.pipe
    }

    /// Sends what TLS has to send; false if not all of it went out.
    pub fn flush(&mut self, net: &mut Net) -> bool {
        let Some(tls) = self.tls.as_mut().filter(|_| !self.ended) else { return true };
        while tls.wants_write() {
            tls.write_tls(&mut self.sealed).expect("into memory");
        }
        if self.at < self.sealed.len() {
            match net.write(self.pipe, &self.sealed[self.at..]) {
                Written::Bytes(count) => self.at += count,
                Written::Reset => {
                    self.reset = true;
                    return false;
                }
            }
        }
        if self.at < self.sealed.len() {
            return false;
        }
        self.sealed.clear();
        self.at = 0;
        if std::mem::take(&mut self.fin) {
            self.ended = true;
            net.finish(self.pipe);
        }
        true
    }

    /// Sends what there is room for.
    pub fn write(&mut self, net: &mut Net, bytes: &[u8]) -> Written {
        if self.tls.is_none() {
            return net.write(self.pipe, bytes);
        }
        if !self.flush(net) {
            return if self.reset { Written::Reset } else { Written::Bytes(0) };
        }
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_handshaking()) else { return Written::Bytes(0) };
        let count = tls.writer().write(bytes).expect("it is open");
        self.flush(net);
        Written::Bytes(count)
    }

    /// Ends the stream behind what was written, with a goodbye.
    pub fn finish(&mut self, net: &mut Net, goodbye: bool) {
        let Some(tls) = &mut self.tls else { return net.finish(self.pipe) };
        if goodbye {
            tls.send_close_notify();
        }
        self.fin = true;
        self.flush(net);
    }

    /// The server has said goodbye (RFC 8446 §6.1), and we have not.
    pub fn owes_goodbye(&mut self) -> bool {
        self.tls.is_some() && !self.ended && !self.fin && self.has_goodbye()
    }

    /// Ends the stream with a goodbye.
    pub fn say_goodbye(&mut self, net: &mut Net) {
        self.finish(net, true);
    }

    /// Receives up to `most` bytes of the stream, and appends the plaintext in them.
    pub fn read(&mut self, net: &mut Net, most: usize, to: &mut Vec<u8>) -> Read {
        let Some(tls) = &mut self.tls else { return net.read(self.pipe, most, to) };
        let mut sealed = Vec::new();
        let came = net.read(self.pipe, most, &mut sealed);
        let mut bytes = &sealed[..];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).expect("from memory");
            tls.process_new_packets().expect("the server's records are sound");
            let _ = tls.reader().read_to_end(to); // WouldBlock after the last byte
        }
        came
    }

    /// Whether the server has said that it sends no more (RFC 8446 §6.1).
    pub fn has_goodbye(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return true };
        tls.process_new_packets().expect("the server's records are sound").peer_has_closed()
    }
}
