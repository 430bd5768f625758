//! What an application may know of the other end. The name that a client asked for (SNI) is not there: rustls shows it to
//! the configuration's resolver of certificates alone.

use std::fmt;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use super::Tls;

/// What TLS knows of the peer of a connection whose TLS handshake is done.
#[derive(Clone, Copy)]
pub struct TlsPeer<'a>(pub(crate) &'a Tls);

impl TlsPeer<'_> {
    /// The certificates that it showed, its own first. `None` if it was not asked for any, or had none. They are verified as
    /// the configuration of rustls says.
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.state().peer_certificates()
    }

    /// The protocol agreed on by ALPN (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.state().alpn_protocol()
    }

    /// The version of TLS.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.0.state().protocol_version()
    }
}

/// How many certificates it showed, and not what they say.
impl fmt::Debug for TlsPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPeer")
            .field("certificates", &self.certificates().map_or(0, <[_]>::len))
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("version", &self.version())
            .finish()
    }
}
