//! A connection of the load client: a socket, and TLS over it if the server speaks that.
//!
//! Owns both. Promises: as a stream it blocks, and what it reads and writes is plaintext. The ring takes it apart and puts it
//! together again: see `net`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::tls::Sealed;

/// A connection.
pub struct Stream {
    /// Its socket.
    pub tcp: TcpStream,
    /// What lies between.
    pub sealed: Option<Box<Sealed>>,
    /// Received, decrypted and not read.
    plain: Vec<u8>,
    at: usize,
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Stream {
        Stream { tcp, sealed: None, plain: Vec::new(), at: 0 }
    }
}

impl Stream {
    /// Speaks TLS from here on; the handshake is the first write's.
    pub fn over_tls(tcp: TcpStream, config: &Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Stream> {
        let sealed = Sealed::client(config, name).map_err(io::Error::other)?;
        Ok(Stream { sealed: Some(Box::new(sealed)), ..Stream::from(tcp) })
    }

    /// The handshake of TLS, if there is to be one and it is not over.
    pub fn shake(&mut self) -> io::Result<()> {
        self.push()?;
        while self.sealed.as_ref().is_some_and(|sealed| sealed.is_handshaking()) {
            match self.pull() {
                Ok(true) => {}
                Ok(false) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the end in the TLS handshake")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what TLS has to send.
    fn push(&mut self) -> io::Result<()> {
        let Some(sealed) = &mut self.sealed else { return Ok(()) };
        let pushed = sealed.send().map_or(Ok(()), |bytes| self.tcp.write_all(bytes));
        sealed.sent();
        pushed
    }

    /// Receives once; false at the end of the stream.
    fn pull(&mut self) -> io::Result<bool> {
        let Some(sealed) = &mut self.sealed else { return Ok(false) };
        let mut bytes = [0; 16 << 10];
        let len = self.tcp.read(&mut bytes)?;
        sealed.feed(&mut bytes[..len], &mut self.plain).map_err(io::Error::other)?;
        self.push()?;
        Ok(len > 0)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.sealed.is_none() {
            return self.tcp.read(bytes);
        }
        while self.at == self.plain.len() {
            self.at = 0;
            self.plain.clear();
            if !self.pull()? {
                return Ok(0);
            }
        }
        let len = (&self.plain[self.at..]).read(bytes)?;
        self.at += len;
        Ok(len)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sealed.is_none() {
            return self.tcp.write(bytes);
        }
        self.shake()?;
        if let Some(sealed) = &mut self.sealed {
            sealed.write(bytes).map_err(io::Error::other)?;
        }
        self.push()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
